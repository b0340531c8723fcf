//! Running a definition's rules on an object: `validation.go` of upstream's `schema/cel`.

use std::collections::HashMap;

use apiserver_json::{Map, Value};
use apiserver_meta::field::{FieldError, Problem, go_quote, go_value};

use super::compile::{Node, Rule, Rules};
use crate::eval::{Meter, Variables};
use crate::program::{CALL_LIMIT, Program};
use crate::value::{Failure, Outcome, Val, from_json};

/// What all rules of one object may cost.
const OBJECT_BUDGET: i64 = 10_000_000;
const MESSAGE_MAX: usize = 5 * 1024;
const NO_BUDGET: &str =
    "validation failed due to running out of cost budget, no further validation rules will be run";

/// What the rules say of an object.
#[derive(Debug, Default)]
pub struct Findings {
    pub errors: Vec<FieldError>,
    /// Of values that were wrong before and did not change.
    pub warnings: Vec<String>,
}

/// The value as it was, as far as the way there can be followed.
#[derive(Clone, Copy)]
struct Past<'a> {
    current: Option<(&'a Value, &'a Value)>,
    parent: Option<(&'a Value, &'a Value)>,
}

impl<'a> Past<'a> {
    fn unchanged(self) -> bool {
        self.current.or(self.parent).is_some_and(|(new, old)| new == old)
    }

    /// Goes to a member, or an item that a list of type map can find again.
    fn step(self, new: &'a Value, find: impl FnOnce(&'a Value) -> Option<&'a Value>) -> Self {
        let Some((_, old)) = self.current else { return self };
        Self { current: find(old).map(|old| (new, old)), parent: self.current }
    }
}

struct Run<'r> {
    found: Findings,
    budget: i64,
    rules: std::marker::PhantomData<&'r ()>,
}

impl Rules {
    /// Errors of an object, and warnings where an update leaves wrong what was wrong.
    pub fn validate(&self, object: &Value, old: Option<&Value>) -> Findings {
        let mut run =
            Run { found: Findings::default(), budget: OBJECT_BUDGET, rules: std::marker::PhantomData };
        let past = Past { current: old.map(|old| (object, old)), parent: None };
        run.node(&self.root, "", object, old, past);
        run.found
    }
}

struct SelfAndOld<'a> {
    current: Val<'a>,
    old: Option<Val<'a>>,
}

impl<'a> Variables<'a> for SelfAndOld<'a> {
    fn get(&self, name: &str, _: &mut Meter) -> Option<Outcome<'a>> {
        match name {
            "self" => Some(Ok(self.current.clone())),
            "oldSelf" => self.old.clone().map(Ok),
            _ => None,
        }
    }
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

/// A path that leads nowhere prints as Go prints nil.
fn shown(path: &str) -> String {
    if path.is_empty() { "<nil>".to_owned() } else { path.to_owned() }
}

/// The items of a list of type map, by their keys.
type ByKey<'a> = HashMap<String, &'a Value>;

fn by_key<'a>(keys: &[String], list: &'a Value) -> ByKey<'a> {
    let mut found = ByKey::new();
    for item in list.as_array().into_iter().flatten() {
        if let Some(key) = key_of(keys, item) {
            found.entry(key).or_insert(item);
        }
    }
    found
}

/// The keys of an item, as one text; an item that lacks one, or has one that is no scalar, is like no other.
fn key_of(keys: &[String], item: &Value) -> Option<String> {
    let mut text = String::new();
    for key in keys {
        match item.get(key.as_str())? {
            Value::Null | Value::Array(_) | Value::Object(_) => return None,
            scalar => {
                text.push_str(&scalar.to_string());
                text.push('\0');
            }
        }
    }
    Some(text)
}

impl<'r> Run<'r> {
    fn node<'a>(
        &mut self,
        node: &'a Node,
        path: &str,
        value: &'a Value,
        old: Option<&'a Value>,
        past: Past<'a>,
    ) {
        if value.is_null() || self.budget < 0 {
            return;
        }
        let old = old.filter(|old| !old.is_null());
        self.rules(node, path, value, old, past);
        for part in &node.all_of {
            if self.budget >= 0 {
                self.node(part, path, value, old, Past { current: None, parent: past.parent });
            }
        }
        match value {
            Value::Array(items) => self.items(node, path, items, old, past),
            Value::Object(map) => self.members(node, path, map, old, past),
            _ => {}
        }
    }

    fn members<'a>(
        &mut self,
        node: &'a Node,
        path: &str,
        map: &'a Map,
        old: Option<&'a Value>,
        past: Past<'a>,
    ) {
        for (name, value) in map {
            let (below, at) = match (&node.additional, node.properties.get(name.as_str())) {
                (Some(additional), _) => (&**additional, format!("{path}[{name}]")),
                (None, Some(property)) => (property, join(path, name)),
                (None, None) => continue,
            };
            // Both are served at the version that was asked for, so a change of it cannot be seen.
            let versioned = past.parent.is_none() && matches!(name.as_str(), "apiVersion" | "kind");
            let next = if versioned && past.current.is_some() {
                Past { current: None, parent: None }
            } else {
                past.step(value, |old| old.get(name))
            };
            self.node(below, &at, value, old.and_then(|old| old.get(name)), next);
            if self.budget < 0 {
                return;
            }
        }
    }

    fn items<'a>(
        &mut self,
        node: &'a Node,
        path: &str,
        items: &'a [Value],
        old: Option<&'a Value>,
        past: Past<'a>,
    ) {
        let Some(below) = &node.items else { return };
        let keys = node.keys.as_deref();
        let before = old.zip(keys).map(|(old, keys)| by_key(keys, old));
        let was = past.current.map(|(_, old)| old);
        // What it was and what it is compared with is the same list, where both are known.
        let is_same = old.zip(was).is_some_and(|(old, was)| std::ptr::eq(old, was));
        let others = was.filter(|_| !is_same).zip(keys).map(|(old, keys)| by_key(keys, old));
        let compared = if is_same { &before } else { &others };
        let find =
            |found: &Option<ByKey<'a>>, item: &Value| found.as_ref()?.get(&key_of(keys?, item)?).copied();
        for (i, item) in items.iter().enumerate() {
            let next = past.step(item, |_| find(compared, item));
            self.node(below, &format!("{path}[{i}]"), item, find(&before, item), next);
            if self.budget < 0 {
                return;
            }
        }
    }

    fn fail(&mut self, node: &Node, path: &str, detail: String) {
        self.found.errors.push(FieldError {
            problem: Problem::Invalid,
            field: shown(path),
            value: go_quote(&node.of),
            detail,
        });
    }

    fn stop(&mut self, node: &Node, path: &str, detail: &str) {
        self.fail(node, path, detail.to_owned());
        self.budget = -1;
    }

    fn rules<'a>(
        &mut self,
        node: &'a Node,
        path: &str,
        value: &'a Value,
        old: Option<&'a Value>,
        past: Past<'a>,
    ) {
        let Some(decl) = node.decl.as_deref() else { return };
        if node.rules.is_empty() {
            return;
        }
        if self.budget == 0 {
            return self.stop(node, path, NO_BUDGET);
        }
        let read = |value: &'a Value| from_json(value, Some(decl));
        let Ok(current) = read(value) else { return };
        let old_value = old.and_then(|old| read(old).ok());
        let plain = SelfAndOld { current: current.clone(), old: old_value.clone() };
        let optional = SelfAndOld { current, old: Some(Val::Optional(old_value.map(std::sync::Arc::new))) };
        for rule in &node.rules {
            let program = match &rule.compiled.program {
                None => continue,
                Some(Err(why)) => {
                    self.fail(node, path, format!("rule compile error: {why}"));
                    continue;
                }
                Some(Ok(program)) => program,
            };
            if rule.compiled.uses_old && old.is_none() && !rule.optional_old {
                continue;
            }
            let variables = if rule.optional_old { &optional } else { &plain };
            let Some(outcome) = self.evaluate(program, variables) else {
                return self.stop(node, path, NO_BUDGET);
            };
            match outcome {
                Ok(Val::Bool(true)) => {}
                Ok(_) => self.refuse(node, rule, path, value, past, &plain),
                Err(failure) => self.failed(node, rule, path, &failure),
            }
            if self.budget < 0 {
                return;
            }
        }
    }

    /// Runs a program on the remaining budget; `None` if it took more than there was.
    fn evaluate<'a>(&mut self, program: &Program, variables: &SelfAndOld<'a>) -> Option<Outcome<'a>> {
        let mut meter = Meter::new(CALL_LIMIT);
        let outcome = program.run(variables, &mut meter);
        let spent = i64::try_from(meter.spent).unwrap_or(i64::MAX);
        if spent > self.budget {
            return None;
        }
        self.budget -= spent;
        Some(outcome)
    }

    fn failed(&mut self, node: &Node, rule: &Rule, path: &str, failure: &Failure) {
        let why = &failure.message;
        let shown = if rule.message.is_empty() { &rule.text } else { &rule.message };
        if why.starts_with("no such overload") {
            let text = format!(
                "'{why}': call arguments did not match a supported operator, function or macro signature for rule: {shown}"
            );
            self.fail(node, path, text);
        } else if failure.fatal {
            let text = format!(
                "'{why}': no further validation rules will be run due to call cost exceeds limit for rule: {shown}"
            );
            self.stop(node, path, &text);
        } else {
            self.fail(node, path, format!("{why} evaluating rule: {shown}"));
        }
    }

    fn refuse(
        &mut self,
        node: &Node,
        rule: &Rule,
        path: &str,
        value: &Value,
        past: Past<'_>,
        variables: &SelfAndOld<'_>,
    ) {
        let field = match &rule.field_path {
            Some(below) if !below.is_empty() => join(path, below),
            _ => shown(path),
        };
        let default = || {
            if rule.message.is_empty() { format!("failed rule: {}", rule.text) } else { rule.message.clone() }
        };
        let detail = match &rule.compiled.message {
            Some(Ok((program, source))) => match self.message(program, source, variables) {
                Ok(made) => made.unwrap_or_else(default),
                Err(why) => {
                    let error = FieldError {
                        problem: Problem::Invalid,
                        field,
                        value: go_quote(&node.of),
                        detail: why,
                    };
                    self.add(rule, past, error);
                    self.budget = -1;
                    return;
                }
            },
            _ => default(),
        };
        let printed =
            if matches!(node.of.as_str(), "object" | "array") { String::new() } else { go_value(value) };
        let error = match rule.reason.as_deref() {
            Some("FieldValueForbidden") => FieldError::forbidden(field, detail),
            Some("FieldValueRequired") => FieldError::required(field, detail),
            // As with the others, an object or a list is not shown.
            Some("FieldValueDuplicate") => {
                FieldError { problem: Problem::Duplicate, field, value: printed, detail: String::new() }
            }
            _ => FieldError { problem: Problem::Invalid, field, value: printed, detail },
        };
        self.add(rule, past, error);
    }

    fn add(&mut self, rule: &Rule, past: Past<'_>, error: FieldError) {
        if !rule.compiled.uses_old && past.unchanged() {
            self.found.warnings.push(error.to_string());
        } else {
            self.found.errors.push(error);
        }
    }

    /// The message an expression makes; none if it makes no good one, an error if it costs too much.
    fn message(
        &mut self,
        program: &Program,
        source: &str,
        variables: &SelfAndOld<'_>,
    ) -> Result<Option<String>, String> {
        let Some(outcome) = self.evaluate(program, variables) else {
            return Err("messageExpression evaluation failed due to running out of cost budget, no further validation rules will be run".to_owned());
        };
        match outcome {
            Err(failure) if failure.fatal => Err(format!(
                "no further validation rules will be run due to call cost exceeds limit for messageExpression: {}",
                go_quote(source)
            )),
            Ok(Val::Text(text)) => {
                let text = text.trim();
                let good = !text.is_empty() && text.len() <= MESSAGE_MAX && !text.contains('\n');
                Ok(good.then(|| text.to_owned()))
            }
            _ => Ok(None),
        }
    }
}
