//! The rules of a schema, compiled: a tree of the nodes that have any.

use std::collections::BTreeMap;
use std::sync::Arc;

use apiserver_json::{Map, Value};

use super::field_path;
use crate::check::Env;
use crate::cost::estimate;
use crate::decl::{Decl, REQUEST_MAX, declare, embedded};
use crate::escape::escape;
use crate::program::Program;
use crate::types::Type;

/// The compiled rules of one version of a definition.
#[derive(Debug)]
pub struct Rules {
    pub(super) root: Node,
}

impl Rules {
    /// Compiles every rule of an `openAPIV3Schema`; `None` if it has none.
    pub fn compile(schema: &Value) -> Option<Self> {
        let decl = declare(schema, true, "object");
        Some(Self { root: node(schema, schema, decl.as_ref())? })
    }
}

/// A node that has rules, or has them below.
#[derive(Debug)]
pub(super) struct Node {
    pub decl: Option<Arc<Decl>>,
    /// The `type` of the schema.
    pub of: String,
    pub rules: Vec<Rule>,
    pub items: Option<Box<Node>>,
    pub keys: Option<Vec<String>>,
    pub properties: BTreeMap<String, Node>,
    pub additional: Option<Box<Node>>,
    pub all_of: Vec<Node>,
}

/// One rule.
#[derive(Debug)]
pub(super) struct Rule {
    pub text: String,
    pub message: String,
    pub reason: Option<String>,
    pub field_path: Option<String>,
    pub optional_old: bool,
    pub compiled: Compiled,
}

/// What compiling a rule gave.
#[derive(Debug)]
pub(super) struct Compiled {
    /// `None` where the rule is empty.
    pub program: Option<Result<Program, String>>,
    pub uses_old: bool,
    pub cost: u64,
    pub message: Option<Result<(Program, String), String>>,
    pub message_cost: u64,
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value.get(name).and_then(Value::as_str).unwrap_or("")
}

/// The rules a schema node writes.
pub(super) fn written(schema: &Value) -> &[Value] {
    schema.get("x-kubernetes-validations").and_then(Value::as_array).unwrap_or_default()
}

/// How often a value of this size fits into the largest request.
pub(super) fn cardinality(decl: &Decl) -> u64 {
    u64::try_from(REQUEST_MAX / (decl.min_size + 1)).unwrap_or(0)
}

/// What rules of a node may name.
pub(super) fn environments(decl: &Decl) -> (Env, Env) {
    let mut env = Env::default();
    decl.define(&mut env);
    env.variables.insert("self".to_owned(), decl.of.clone());
    let mut optional = env.clone();
    env.variables.insert("oldSelf".to_owned(), decl.of.clone());
    optional.variables.insert("oldSelf".to_owned(), Type::optional(decl.of.clone()));
    (env, optional)
}

/// Compiles one rule.
pub(super) fn compile_rule(rule: &Value, decl: &Decl, env: &Env) -> Compiled {
    let mut out = Compiled { program: None, uses_old: false, cost: 0, message: None, message_cost: 0 };
    let source = text(rule, "rule");
    if source.trim().is_empty() {
        return out;
    }
    let program = match Program::compile(source, env) {
        Ok(program) => program,
        Err(why) => {
            out.program = Some(Err(format!("compilation failed: {why}")));
            return out;
        }
    };
    if *program.output() != Type::Bool {
        out.program = Some(Err("cel expression must evaluate to a bool".to_owned()));
        return out;
    }
    if let Err(why) = program.plan() {
        out.program = Some(Err(format!("program instantiation failed: {why}")));
        return out;
    }
    out.uses_old = program.uses("oldSelf");
    out.cost = estimate(&program.tree, &program.checked, decl).max;
    out.program = Some(Ok(program));
    let source = text(rule, "messageExpression");
    if source.is_empty() {
        return out;
    }
    out.message = Some(match Program::compile(source, env) {
        Err(why) => Err(format!("messageExpression compilation failed: {why}")),
        Ok(program) if *program.output() != Type::Text => {
            Err("messageExpression must evaluate to a string".to_owned())
        }
        Ok(program) if let Err(why) = program.plan() => {
            Err(format!("messageExpression instantiation failed: {why}"))
        }
        Ok(program) => {
            out.message_cost = estimate(&program.tree, &program.checked, decl).max;
            Ok((program, source.to_owned()))
        }
    });
    out
}

fn rules(rules: &[Value], schema: &Value, decl: &Decl) -> Vec<Rule> {
    if rules.is_empty() {
        return Vec::new();
    }
    let (env, optional) = environments(decl);
    let compiled = rules.iter().map(|rule| {
        let optional_old = rule.get("optionalOldSelf").and_then(Value::as_bool).unwrap_or(false);
        let path = text(rule, "fieldPath");
        Rule {
            text: text(rule, "rule").trim().to_owned(),
            message: text(rule, "message").trim().to_owned(),
            reason: rule.get("reason").and_then(Value::as_str).map(str::to_owned),
            field_path: (!path.is_empty()).then(|| field_path::normalise(path, schema).ok()).flatten(),
            optional_old,
            compiled: compile_rule(rule, decl, if optional_old { &optional } else { &env }),
        }
    });
    compiled.collect()
}

/// A node for `schema`, whose rules may also stand in one of its `allOf` (`validations`).
fn node(validations: &Value, schema: &Value, decl: Option<&Arc<Decl>>) -> Option<Node> {
    let empty = Map::new();
    let object = |value: &'_ Value, name: &str| value.get(name).and_then(Value::as_object).cloned();
    let own = decl.map_or_else(Vec::new, |decl| rules(written(validations), schema, decl));
    let child = |below: &Value, node_schema: &Value, step: &str| {
        let known = decl.and_then(|decl| shared_step(decl, step));
        let declared =
            known.or_else(|| declare(node_schema, embedded(node_schema), &format!("object.{step}")));
        node(below, node_schema, declared.as_ref())
    };
    let items = match (validations.get("items"), schema.get("items")) {
        (Some(below), Some(items)) => child(below, items, "@items").map(Box::new),
        _ => None,
    };
    let mut properties = BTreeMap::new();
    let node_properties = object(schema, "properties").unwrap_or_default();
    for (name, below) in validations.get("properties").and_then(Value::as_object).unwrap_or(&empty) {
        let Some(property) = node_properties.get(name) else { continue };
        let step = escape(name).unwrap_or_else(|| format!("\u{0}{name}"));
        if let Some(made) = child(below, property, &step) {
            properties.insert(name.to_string(), made);
        }
    }
    let additional = match (validations.get("additionalProperties"), schema.get("additionalProperties")) {
        (Some(below), Some(values)) if values.is_object() => child(below, values, "@values").map(Box::new),
        _ => None,
    };
    let parts = validations.get("allOf").and_then(Value::as_array).unwrap_or_default();
    let all_of: Vec<Node> = parts.iter().filter_map(|part| node(part, schema, decl)).collect();
    if own.is_empty() && items.is_none() && properties.is_empty() && additional.is_none() && all_of.is_empty()
    {
        return None;
    }
    let keys = (text(schema, "x-kubernetes-list-type") == "map").then(|| {
        let keys = schema.get("x-kubernetes-list-map-keys").and_then(Value::as_array);
        keys.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
    });
    Some(Node {
        decl: decl.cloned(),
        of: text(schema, "type").to_owned(),
        rules: own,
        items,
        keys,
        properties,
        additional,
        all_of,
    })
}

/// The declaration that a step leads to, shared.
pub(super) fn shared_step(decl: &Arc<Decl>, step: &str) -> Option<Arc<Decl>> {
    use crate::decl::Shape;
    match (&decl.shape, step) {
        (Shape::List(item, _), "@items") => Some(item.clone()),
        (Shape::Map(value), "@values") => Some(value.clone()),
        (Shape::Object(fields), name) => fields.get(name).map(|property| property.decl.clone()),
        _ => None,
    }
}
