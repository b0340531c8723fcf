//! Evaluating a policy for one request.

use std::cell::RefCell;
use std::collections::HashMap;

use apiserver_json::Value;

use super::compile::{Expression, Policy, Validation};
use crate::authority::{Authority, Check};
use crate::eval::{Meter, Variables};
use crate::library::authz::Stage;
use crate::library::object::Opaque;
use crate::library::opaque;
use crate::program::CALL_LIMIT;
use crate::value::{Failure, Outcome, Val, from_json};

const CONDITIONS_BUDGET: u64 = 2_500_000;
pub(super) const POLICY_BUDGET: u64 = 10_000_000;
const MESSAGE_MAX: usize = 5 * 1024;

/// What a policy sees of a request.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    pub object: Option<&'a Value>,
    pub old_object: Option<&'a Value>,
    pub request: &'a Value,
    pub params: Option<&'a Value>,
    pub namespace: Option<&'a Value>,
    /// Who decides what the one that asks may do.
    pub authority: Option<&'a dyn Authority>,
}

impl Input<'_> {
    /// The resource of the request, to be asked about.
    fn requested(&self) -> Check {
        let text =
            |pointer: &str| self.request.pointer(pointer).and_then(Value::as_str).unwrap_or("").to_owned();
        Check {
            group: text("/resource/group"),
            resource: text("/resource/resource"),
            subresource: text("/subResource"),
            namespace: text("/namespace"),
            name: text("/name"),
            ..Check::default()
        }
    }
}

/// Why a request is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    pub message: String,
    /// The reason of the Status.
    pub reason: String,
}

pub(super) struct Scope<'s, 'a> {
    pub input: Input<'a>,
    pub policy: &'s Policy,
    pub known: RefCell<HashMap<String, Outcome<'a>>>,
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
            "authorizer" => Some(opaque(Opaque::Check(Stage::Authorizer, Check::default()))),
            "authorizer.requestResource" => {
                Some(opaque(Opaque::Check(Stage::Resource, self.input.requested())))
            }
            name => self.variable(name.strip_prefix("variables.")?, meter),
        }
    }

    fn authority(&self) -> Option<&dyn Authority> {
        self.input.authority.map(|authority| authority as &dyn Authority)
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
    pub(super) fn run(&self, expression: &Expression, budget: &mut u64) -> Result<Val<'a>, String> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authority::Verdict;
    use apiserver_json::json;

    /// Allows what it is asked, and tells what that is.
    #[derive(Debug)]
    struct Echo;

    impl Authority for Echo {
        fn decide(&self, check: &Check) -> Verdict {
            let parts = [
                &check.verb,
                &check.group,
                &check.resource,
                &check.subresource,
                &check.namespace,
                &check.name,
            ];
            let mut reason = parts.map(String::as_str).join("|");
            if let Some((namespace, name)) = &check.account {
                reason = format!("{namespace}:{name} {reason}");
            }
            Verdict { allowed: check.verb == "get", reason: reason + check.path.as_deref().unwrap_or("") }
        }
    }

    #[test]
    fn the_authorizer_is_asked_for_what_an_expression_puts_together() {
        let request = json!({"resource": {"group": "g", "resource": "rs"}, "subResource": "s", "namespace": "n", "name": "o"});
        for (expression, want) in [
            ("authorizer.path('/x').check('get').reason() == 'get|||||/x'", None),
            ("authorizer.group('apps').resource('r').check('list').allowed()", Some("no")),
            ("authorizer.group('apps').resource('r').check('get').allowed()", None),
            (
                "authorizer.serviceAccount('n', 'a').group('').resource('r').subresource('s').namespace('m').name('x').check('get').reason() == 'n:a get||r|s|m|x'",
                None,
            ),
            ("authorizer.requestResource.check('get').reason() == 'get|g|rs|s|n|o'", None),
            ("authorizer.requestResource.fieldSelector('a=b').check('get').errored()", Some("no")),
            (
                "authorizer.serviceAccount('n', 'A').path('/x').check('get').allowed()",
                Some(
                    "expression 'authorizer.serviceAccount('n', 'A').path('/x').check('get').allowed()' resulted in error: Invalid service account name",
                ),
            ),
        ] {
            let policy =
                Policy::compile(&json!({"validations": [{"expression": expression, "message": "no"}]}));
            let input = Input {
                object: None,
                old_object: None,
                request: &request,
                params: None,
                namespace: None,
                authority: Some(&Echo),
            };
            let told: Vec<String> =
                policy.evaluate(input).into_iter().map(|decision| decision.message).collect();
            assert_eq!(told, Vec::from_iter(want.map(str::to_owned)), "{expression}");
        }
    }

    #[test]
    fn what_is_asked_of_an_object_that_is_gone_fails_in_upstreams_words() {
        let request = json!({});
        for (expression, why) in [
            ("!has(object.data) || 'bad' in object.data", ""),
            ("object == null && object.?data.?x.orValue('z') == 'z'", ""),
            ("object.data.x == 'y'", "no such key: data"),
            ("object[0] == 1", "no such key: 0"),
            ("size(object) == 0", "no such overload: size"),
            ("object + 1 == 2", "no such overload: _+_"),
            ("object > 1", "no such overload: _>_"),
            ("-object == 1", "no such overload: -_"),
            ("!object", "no such overload"),
            ("'a' in object", "no such overload"),
            ("object.startsWith('a')", "no such overload"),
            ("dyn('a') + 1 == 2", "no such overload"),
            ("int(object) == 1", "no such overload: int(null_type)"),
            ("object.split('a') == []", "no such overload: split(null_type, string)"),
            ("object.all(x, true)", "got 'types.Null', expected iterable type"),
        ] {
            let policy = Policy::compile(&json!({"validations": [{"expression": expression}]}));
            let input = Input {
                object: None,
                old_object: None,
                request: &request,
                params: None,
                namespace: None,
                authority: None,
            };
            let told: Vec<String> =
                policy.evaluate(input).into_iter().map(|decision| decision.message).collect();
            let want = format!("expression '{expression}' resulted in error: {why}");
            assert_eq!(told, Vec::from_iter((!why.is_empty()).then_some(want)));
        }
    }
}
