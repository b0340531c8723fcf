//! Evaluating a policy for one request.

use std::cell::RefCell;
use std::collections::HashMap;

use apiserver_json::Value;

use super::compile::{Expression, Policy, Validation};
use crate::eval::{Meter, Variables};
use crate::program::CALL_LIMIT;
use crate::value::{Failure, Outcome, Val, from_json};

const CONDITIONS_BUDGET: u64 = 2_500_000;
const POLICY_BUDGET: u64 = 10_000_000;
const MESSAGE_MAX: usize = 5 * 1024;

/// What a policy sees of a request.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    pub object: Option<&'a Value>,
    pub old_object: Option<&'a Value>,
    pub request: &'a Value,
    pub params: Option<&'a Value>,
    pub namespace: Option<&'a Value>,
}

/// Why a request is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    pub message: String,
    /// The reason of the Status.
    pub reason: String,
}

struct Scope<'s, 'a> {
    input: Input<'a>,
    policy: &'s Policy,
    known: RefCell<HashMap<String, Outcome<'a>>>,
}

impl<'a> Variables<'a> for Scope<'_, 'a> {
    fn get(&self, name: &str, meter: &mut Meter) -> Option<Outcome<'a>> {
        let json =
            |value: Option<&'a Value>| Some(value.map_or(Ok(Val::Null), |value| from_json(value, None)));
        match name {
            "object" => json(self.input.object),
            "oldObject" => json(self.input.old_object),
            "request" => json(Some(self.input.request)),
            "params" => json(self.input.params),
            "namespaceObject" => json(self.input.namespace),
            name => self.variable(name.strip_prefix("variables.")?, meter),
        }
    }
}

impl<'a> Scope<'_, 'a> {
    /// A variable of the policy: evaluated once, when something asks for it.
    fn variable(&self, name: &str, meter: &mut Meter) -> Option<Outcome<'a>> {
        if let Some(value) = self.known.borrow().get(name) {
            return Some(value.clone());
        }
        let (_, expression) = self.policy.variables.iter().find(|(known, _)| known == name)?;
        let outcome = expression.program.run(self, meter).map_err(|failure| Failure {
            message: format!("composited variable {name:?} fails to evaluate: {}", failure.message),
            fatal: failure.fatal,
        });
        self.known.borrow_mut().insert(name.to_owned(), outcome.clone());
        Some(outcome)
    }

    /// Runs an expression on what is left of a budget.
    fn run(&self, expression: &Expression, budget: &mut u64) -> Result<Val<'a>, String> {
        let mut meter = Meter::new(CALL_LIMIT.min(*budget));
        let outcome = expression.program.run(self, &mut meter);
        *budget = budget.saturating_sub(meter.spent);
        outcome.map_err(|failure| match (failure.fatal, *budget) {
            (true, 0) => {
                "validation failed due to running out of cost budget, no further validation rules will be run"
                    .to_owned()
            }
            _ => format!("expression '{}' resulted in error: {}", expression.source, failure.message),
        })
    }
}

impl Policy {
    /// Does a request meet the match conditions?
    ///
    /// # Errors
    /// Why that cannot be said, where the policy fails closed.
    pub fn is_met(&self, input: Input<'_>) -> Result<bool, String> {
        match &self.broken {
            Some(_) if self.fails_open => Ok(false),
            Some(why) => Err(why.clone()),
            None => self.matches(&Scope { input, policy: self, known: RefCell::default() }),
        }
    }

    /// The refusals of a request, one a validation.
    pub fn evaluate(&self, input: Input<'_>) -> Vec<Decision> {
        let error = |message: String| {
            if self.fails_open { Vec::new() } else { vec![Decision { message, reason: String::new() }] }
        };
        if let Some(why) = &self.broken {
            return error(why.clone());
        }
        let scope = Scope { input, policy: self, known: RefCell::default() };
        match self.matches(&scope) {
            Ok(true) => {}
            Ok(false) => return Vec::new(),
            Err(message) => return error(message),
        }
        let mut budget = POLICY_BUDGET;
        let mut out = Vec::new();
        for validation in &self.validations {
            match scope.run(&validation.expression, &mut budget) {
                Ok(Val::Bool(true)) => {}
                Ok(_) => out.push(Decision {
                    message: message(&scope, validation, &mut budget),
                    reason: validation.reason.clone(),
                }),
                Err(why) => out.extend(error(why)),
            }
        }
        out
    }

    /// One condition that is false decides; errors count only where none is.
    fn matches(&self, scope: &Scope<'_, '_>) -> Result<bool, String> {
        let mut budget = CONDITIONS_BUDGET;
        let mut errors = Vec::new();
        for condition in &self.conditions {
            match scope.run(condition, &mut budget) {
                Ok(Val::Bool(false)) => return Ok(false),
                Ok(_) => {}
                Err(why) => errors.push(why),
            }
        }
        match errors.as_slice() {
            [] => Ok(true),
            _ if self.fails_open => Ok(false),
            [one] => Err(one.clone()),
            several => Err(format!("[{}]", several.join(", "))),
        }
    }
}

fn message(scope: &Scope<'_, '_>, validation: &Validation, budget: &mut u64) -> String {
    if let Some(expression) = &validation.message_expression
        && let Ok(Val::Text(made)) = scope.run(expression, budget)
    {
        let made = made.trim();
        if !made.is_empty() && made.len() <= MESSAGE_MAX && !made.contains('\n') {
            return made.to_owned();
        }
    }
    if validation.message.is_empty() {
        return format!("failed expression: {}", validation.expression.source.trim());
    }
    validation.message.clone()
}
