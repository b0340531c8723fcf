//! Whether a definition's rules can stand: their shape, their types, and what they can cost.

use std::collections::BTreeSet;
use std::ops::Bound;

use apiserver_json::{Value, json};
use apiserver_meta::field::FieldError;

use super::compile::{cardinality, compile_rule, environments, shared_step, written};
use super::field_path;
use crate::decl::{Decl, declare, embedded};
use crate::escape::escape;

const RULE_COST_MAX: u64 = 10_000_000;
const SCHEMA_COST_MAX: u64 = 100_000_000;
const REASONS: [&str; 4] =
    ["FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired"];
/// Only so many of the most expensive rules are named.
const NAMED_MAX: usize = 4;

/// What is wrong with the rules of a schema.
#[derive(Debug, Default)]
pub struct SchemaErrors {
    /// How rules are written.
    pub shape: Vec<FieldError>,
    /// Their expressions. Empty wherever the shape below is wrong.
    pub expressions: Vec<FieldError>,
    /// What they cost together.
    pub cost: Vec<FieldError>,
}

/// Checks the rules of an `openAPIV3Schema` that stands at `path`. Expressions are compiled only if there are `faults`, the
/// paths of what else is wrong with the schema, and none of these is at the node or below it. `unchanged` says that the
/// schema was accepted before.
pub fn schema_errors(schema: &Value, path: &str, faults: Option<&[&str]>, unchanged: bool) -> SchemaErrors {
    let faulty = faults.unwrap_or(&[]).iter().map(|fault| (*fault).to_owned()).collect();
    let mut check =
        Check { unchanged, faulty, total: 0, expensive: Vec::new(), out: SchemaErrors::default() };
    let context = faults.is_some().then_some(Context { decl: None, root: true, cardinality: Some(1) });
    check.node(schema, path, context, None);
    let Check { total, mut expensive, mut out, .. } = check;
    if total > SCHEMA_COST_MAX {
        expensive.sort_by_key(|(_, cost)| std::cmp::Reverse(*cost));
        out.cost.extend(expensive.into_iter().take(NAMED_MAX).map(|(path, _)| {
            FieldError::forbidden(
                path,
                "contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema",
            )
        }));
        let what = "x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema";
        out.cost.push(FieldError::forbidden(path, over_budget(what, total, SCHEMA_COST_MAX)));
    }
    out
}

#[derive(Clone)]
struct Context {
    /// The type of the node, where a node above has one.
    decl: Option<std::sync::Arc<Decl>>,
    root: bool,
    /// How many values of this node an object can have; `None` without a bound.
    cardinality: Option<u64>,
}

struct Check {
    unchanged: bool,
    faulty: BTreeSet<String>,
    total: u64,
    expensive: Vec<(String, u64)>,
    out: SchemaErrors,
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value.get(name).and_then(Value::as_str).unwrap_or("")
}

fn over_budget(what: &str, cost: u64, limit: u64) -> String {
    let factor = cost as f64 / limit as f64;
    let factor = if factor > 100.0 {
        "more than 100x".to_owned()
    } else if factor < 1.5 {
        format!("{factor:.6}x")
    } else {
        format!("{factor:.1}x")
    };
    format!(
        "{what} exceeds budget by factor of {factor} (try simplifying the rule, or adding maxItems, maxProperties, and maxLength where arrays, maps, and strings are declared)"
    )
}

fn multiplied(schema: &Value) -> Option<u64> {
    let bound = |name: &str| schema.get(name).and_then(Value::as_i64).map(|max| max.max(0) as u64);
    match text(schema, "type") {
        "object" if schema.get("additionalProperties").is_some() => bound("maxProperties"),
        "array" => bound("maxItems"),
        _ => Some(1),
    }
}

/// A rule as Go's encoder prints upstream's internal type.
fn go_rule(rule: &Value) -> String {
    let value = json!([
        text(rule, "rule"),
        text(rule, "message"),
        text(rule, "messageExpression"),
        rule.get("reason").cloned().unwrap_or(Value::Null),
        text(rule, "fieldPath"),
        rule.get("optionalOldSelf").cloned().unwrap_or(Value::Null),
    ]);
    let names = ["Rule", "Message", "MessageExpression", "Reason", "FieldPath", "OptionalOldSelf"];
    let parts: Vec<String> =
        names.iter().enumerate().map(|(i, name)| format!("\"{name}\":{}", value[i])).collect();
    let escaped = [('<', "\\u003c"), ('>', "\\u003e"), ('&', "\\u0026")];
    escaped.iter().fold(format!("{{{}}}", parts.join(",")), |text, (c, to)| text.replace(*c, to))
}

/// Is one of the paths this one, or one below it? They are sorted, so those that begin alike stand together; what goes on
/// in other letters, which is another node, may stand in between.
fn is_at_or_below(paths: &BTreeSet<String>, path: &str) -> bool {
    let begins = |with: &str| {
        let from = (Bound::Included(with), Bound::Unbounded);
        paths.range::<str, _>(from).next().is_some_and(|first| first.starts_with(with))
    };
    paths.contains(path) || begins(&format!("{path}.")) || begins(&format!("{path}["))
}

fn invalid_rule(path: String, rule: &Value, detail: &str) -> FieldError {
    let mut error = FieldError::invalid(path, &Value::Null, detail);
    error.value = go_rule(rule);
    error
}

impl Check {
    /// Checks a node and those below it.
    fn node(&mut self, schema: &Value, path: &str, context: Option<Context>, uncorrelatable: Option<&str>) {
        let before = self.out.shape.len();
        let context = context.map(|context| scoped(schema, context));
        if let Some(values) = schema.get("additionalProperties").filter(|values| values.is_object()) {
            let child = context.as_ref().map(|context| below(schema, context, values, "@values"));
            self.node(values, &format!("{path}.additionalProperties"), child, uncorrelatable);
        }
        for (name, property) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
            let step = escape(name).unwrap_or_else(|| format!("\u{0}{name}"));
            let child = context.as_ref().map(|context| below(schema, context, property, &step));
            self.node(property, &format!("{path}.properties[{name}]"), child, uncorrelatable);
        }
        if let Some(not) = schema.get("not") {
            self.node(not, &format!("{path}.not"), None, uncorrelatable);
        }
        for list in ["allOf", "oneOf", "anyOf"] {
            let parts = schema.get(list).and_then(Value::as_array).into_iter().flatten();
            for (i, part) in parts.enumerate() {
                self.node(part, &format!("{path}.{list}[{i}]"), None, uncorrelatable);
            }
        }
        if let Some(items) = schema.get("items").filter(|items| items.is_object()) {
            let correlates = text(schema, "x-kubernetes-list-type") == "map";
            let lost = uncorrelatable.or((!correlates).then_some(path));
            let child = context.as_ref().map(|context| below(schema, context, items, "@items"));
            self.node(items, &format!("{path}.items"), child, lost);
        }
        for (i, rule) in written(schema).iter().enumerate() {
            self.shape(schema, rule, &format!("{path}.x-kubernetes-validations[{i}]"));
        }
        // The paths matter only where something is compiled.
        if self.out.shape.len() == before
            && let Some(context) = context
            && !written(schema).is_empty()
            && !is_at_or_below(&self.faulty, path)
        {
            self.expressions(schema, path, &context, uncorrelatable);
        }
    }

    fn shape(&mut self, schema: &Value, rule: &Value, path: &str) {
        let errors = &mut self.out.shape;
        let lines = |text: &str| text.contains(['\n', '\r']);
        let (source, message) = (text(rule, "rule").trim(), text(rule, "message"));
        let raw = |name: &str| Value::from(text(rule, name));
        if source.is_empty() {
            errors.push(FieldError::required(format!("{path}.rule"), "rule is not specified"));
        } else if !message.is_empty() && message.trim().is_empty() {
            let why = "must be non-empty if specified";
            errors.push(FieldError::invalid(format!("{path}.message"), &raw("message"), why));
        } else if lines(message.trim()) {
            let why = "must not contain line breaks";
            errors.push(FieldError::invalid(format!("{path}.message"), &raw("message"), why));
        } else if lines(source) && message.trim().is_empty() {
            let why = "message must be specified if rule contains line breaks";
            errors.push(FieldError::required(format!("{path}.message"), why));
        }
        let expression = text(rule, "messageExpression");
        if !expression.is_empty() && expression.trim().is_empty() {
            let why = "messageExpression must be non-empty if specified";
            errors.push(FieldError::required(format!("{path}.messageExpression"), why));
        }
        if let Some(reason) = rule.get("reason").filter(|reason| reason.is_string())
            && !REASONS.contains(&reason.as_str().unwrap_or(""))
        {
            errors.push(FieldError::not_supported(format!("{path}.reason"), reason, &REASONS));
        }
        let field = text(rule, "fieldPath");
        let mut fail = |why: &str| {
            errors.push(FieldError::invalid(format!("{path}.fieldPath"), &raw("fieldPath"), why));
        };
        if !field.is_empty() {
            if field.trim().is_empty() {
                fail("must be non-empty if specified");
            }
            if lines(field) {
                fail("must not contain line breaks");
            }
            if field_path::normalise(field, schema).is_err() {
                fail("must be a valid path");
            }
        }
    }

    fn expressions(&mut self, schema: &Value, path: &str, context: &Context, uncorrelatable: Option<&str>) {
        let rules = written(schema);
        let Some(decl) = context.decl.as_deref().filter(|_| !rules.is_empty()) else {
            if !rules.is_empty() {
                let mut error = FieldError::forbidden(
                    format!("{path}.x-kubernetes-validations"),
                    "internal error: failed to construct type information for x-kubernetes-validations rules: unable to convert structural schema to CEL declarations",
                );
                error.problem = apiserver_meta::field::Problem::Internal;
                self.out.expressions.push(error);
            }
            return;
        };
        let (env, optional) = environments(decl);
        for (i, rule) in rules.iter().enumerate() {
            let at = format!("{path}.x-kubernetes-validations[{i}]");
            let optional_old = rule.get("optionalOldSelf").and_then(Value::as_bool);
            let chosen = if optional_old == Some(true) { &optional } else { &env };
            let made = compile_rule(rule, decl, chosen);
            let times = context.cardinality.unwrap_or_else(|| cardinality(decl));
            self.observe(&at, "rule", "estimated rule cost", made.cost.saturating_mul(times));
            if let Some(Err(why)) = &made.program {
                self.out.expressions.push(invalid_rule(format!("{at}.rule"), rule, why));
            }
            match &made.message {
                Some(Err(why)) => {
                    self.out.expressions.push(invalid_rule(format!("{at}.messageExpression"), rule, why));
                }
                Some(Ok(_)) => {
                    let what = "estimated messageExpression cost";
                    self.observe(&at, "messageExpression", what, made.message_cost);
                }
                None => {}
            }
            if made.uses_old {
                if let Some(lost) = uncorrelatable {
                    let why = format!(
                        "oldSelf cannot be used on the uncorrelatable portion of the schema within {lost}"
                    );
                    let source = Value::from(text(rule, "rule"));
                    self.out.expressions.push(FieldError::invalid(format!("{at}.rule"), &source, why));
                }
            } else if let Some(optional) = optional_old {
                let why = "may not be set if oldSelf is not used in rule";
                let error = FieldError::invalid(format!("{at}.optionalOldSelf"), &optional.into(), why);
                self.out.expressions.push(error);
            }
        }
    }

    fn observe(&mut self, path: &str, member: &str, what: &str, cost: u64) {
        let path = format!("{path}.{member}");
        if !self.unchanged && cost > RULE_COST_MAX {
            self.out.expressions.push(FieldError::forbidden(&*path, over_budget(what, cost, RULE_COST_MAX)));
        }
        self.total = self.total.saturating_add(cost);
        if cost >= SCHEMA_COST_MAX / 100 {
            self.expensive.push((path, cost));
        }
    }
}

/// A node's context with its type known, if it or one above has rules.
fn scoped(schema: &Value, mut context: Context) -> Context {
    if context.decl.is_none() && !written(schema).is_empty() {
        context.decl = declare(schema, context.root || embedded(schema), "object");
    }
    context
}

fn below(schema: &Value, context: &Context, child: &Value, step: &str) -> Context {
    let shared = context.decl.as_ref().and_then(|decl| shared_step(decl, step));
    let decl = match (&context.decl, shared) {
        (Some(_), None) => declare(child, embedded(child), "object"),
        (_, shared) => shared,
    };
    let cardinality = context.cardinality.zip(multiplied(schema)).map(|(a, b)| a.saturating_mul(b));
    Context { decl, root: false, cardinality }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_at_a_node_or_below_it() {
        let set = |paths: &[&str]| paths.iter().map(|path| (*path).to_owned()).collect::<BTreeSet<_>>();
        for (paths, path, want) in [
            (&[][..], "a", false),
            (&["a"], "a", true),
            (&["a.b"], "a", true),
            (&["a[0]"], "a", true),
            (&["a-b", "a/b", "ab", "aa.b"], "a", false),
            (&["a-b", "a.b.c", "a/b", "a[1].d", "ab"], "a", true),
            (&["a-b", "a/b", "a[1]", "b"], "a", true),
            (&["a.b"], "a.b.c", false),
        ] {
            assert_eq!(is_at_or_below(&set(paths), path), want, "{path} of {paths:?}");
        }
    }
}
