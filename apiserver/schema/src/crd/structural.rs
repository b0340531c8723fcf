//! Whether a CRD's schema is acceptable: the rules of structural schemas, and what CRDs may not say at all.
//!
//! CEL rules are not compiled here.

mod lists;

use apiserver_json::{Map, SmolStr, Value, json};
use apiserver_meta::field::{FieldError, Problem, go_quote};

use super::is_meta;

/// What is wrong with a schema.
#[derive(Debug, Default)]
pub struct Structure {
    /// What no schema may say.
    pub faults: Vec<FieldError>,
    /// What keeps it from being structural: its rules and defaults are not looked at then.
    pub structural: Vec<FieldError>,
    /// It has no structure at all, which is told where nothing else is wrong.
    pub unsupported: Option<FieldError>,
}

impl Structure {
    /// Whether rules and defaults can be looked at.
    pub fn is_structural(&self) -> bool {
        self.structural.is_empty() && self.unsupported.is_none()
    }
}

/// What is wrong with an `openAPIV3Schema` that stands at `path`.
pub fn structure(openapi_v3: &Value, path: &str) -> Structure {
    let mut found = Structure::default();
    schema(openapi_v3, path, true, &mut found.faults);
    if let Some(name) = unsupported(openapi_v3) {
        let detail = format!("OpenAPIV3Schema '{name}' is not supported");
        found.unsupported = Some(FieldError::invalid(path, &json!(""), detail));
        return found;
    }
    invariants(openapi_v3, Level::Root, path, &mut found.structural);
    completeness(openapi_v3, openapi_v3, path, path, &mut found.structural);
    found.structural.sort_by_key(ToString::to_string);
    found
}

/// A member, anywhere in a schema, that structural schemas cannot hold.
fn unsupported(node: &Value) -> Option<&'static str> {
    let members_of = [
        ("id", "id"),
        ("$schema", "schema"),
        ("$ref", "$ref"),
        ("additionalItems", "additionalItems"),
        ("patternProperties", "patternProperties"),
        ("definitions", "definitions"),
        ("dependencies", "dependencies"),
    ];
    let own = members_of.iter().find(|(member, _)| {
        node.get(member).is_some_and(|v| !v.is_null() && *v != json!({}) && *v != json!(""))
    });
    if let Some((_, name)) = own {
        return Some(name);
    }
    if node.get("items").is_some_and(Value::is_array) {
        return Some("items");
    }
    let nested = ["items", "additionalProperties", "not"].into_iter().filter_map(|name| node.get(name));
    let listed = ["allOf", "anyOf", "oneOf"].into_iter().flat_map(|name| elements(node, name));
    members(node, "properties").map(|(_, child)| child).chain(nested).chain(listed).find_map(unsupported)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Level {
    Root,
    Item,
    Field,
}

fn text<'a>(node: &'a Value, name: &str) -> &'a str {
    node.get(name).and_then(Value::as_str).unwrap_or_default()
}

fn flag(node: &Value, name: &str) -> bool {
    node.get(name).and_then(Value::as_bool).unwrap_or(false)
}

fn members<'a>(node: &'a Value, name: &str) -> impl Iterator<Item = (&'a SmolStr, &'a Value)> {
    node.get(name).and_then(Value::as_object).into_iter().flatten()
}

fn elements<'a>(node: &'a Value, name: &str) -> &'a [Value] {
    node.get(name).and_then(Value::as_array).unwrap_or_default()
}

fn not_supported(field: String, value: &str, supported: &[&str]) -> FieldError {
    let names: Vec<_> = supported.iter().map(|name| go_quote(name)).collect();
    FieldError {
        problem: Problem::NotSupported,
        field,
        value: go_quote(value),
        detail: format!("supported values: {}", names.join(", ")),
    }
}

/// Rules for every node, nested ones too.
fn schema(node: &Value, path: &str, is_root: bool, errors: &mut Vec<FieldError>) {
    if !node.is_object() {
        return;
    }
    let kind = text(node, "type");
    if !kind.is_empty() && !TYPES.contains(&kind) {
        errors.push(not_supported(format!("{path}.type"), kind, TYPES));
    }
    for name in ["id", "additionalItems", "patternProperties", "definitions", "dependencies", "$ref"] {
        let is_said = |v: &Value| name == "dependencies" || *v != json!({}) && *v != json!("");
        let set = node.get(name).is_some_and(|v| !v.is_null() && is_said(v));
        if set {
            errors.push(FieldError::forbidden(format!("{path}.{name}"), format!("{name} is not supported")));
        }
    }
    if text(node, "type") == "null" {
        let detail = "type cannot be set to null, use nullable as an alternative";
        errors.push(FieldError::forbidden(format!("{path}.type"), detail));
    }
    if node.get("items").is_some_and(Value::is_array) {
        let detail = "items must be a schema object and not an array";
        errors.push(FieldError::forbidden(format!("{path}.items"), detail));
    }
    if flag(node, "uniqueItems") {
        let detail = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic";
        errors.push(FieldError::forbidden(format!("{path}.uniqueItems"), detail));
    }
    children(node, path, is_root, errors);
    if node.get("x-kubernetes-preserve-unknown-fields") == Some(&Value::Bool(false)) {
        let field = format!("{path}.x-kubernetes-preserve-unknown-fields");
        errors.push(FieldError::invalid(field, &json!(false), "must be true or undefined"));
    }
    lists::map_type(node, path, errors);
    lists::list_type(node, path, errors);
    lists::list_map(node, path, errors);
}

fn children(node: &Value, path: &str, is_root: bool, errors: &mut Vec<FieldError>) {
    if let Some(additional) = node.get("additionalProperties").filter(|v| !v.is_null()) {
        let contradicts = *additional != Value::Bool(true);
        if contradicts && members(node, "properties").next().is_some() {
            let detail = "additionalProperties and properties are mutual exclusive";
            errors.push(FieldError::forbidden(format!("{path}.additionalProperties"), detail));
        }
        schema(additional, &format!("{path}.additionalProperties"), false, errors);
    }
    for (name, child) in members(node, "properties") {
        let at = format!("{path}.properties[{name}]");
        if is_root && is_meta(name) && child.get("default").is_some_and(|v| !v.is_null()) {
            let detail = format!("must not be set in top-level {name}");
            errors.push(FieldError::forbidden(format!("{at}.default"), detail));
        }
        schema(child, &at, false, errors);
    }
    if let Some(not) = node.get("not") {
        schema(not, &format!("{path}.not"), false, errors);
    }
    for name in ["allOf", "oneOf", "anyOf"] {
        for (i, child) in elements(node, name).iter().enumerate() {
            schema(child, &format!("{path}.{name}[{i}]"), false, errors);
        }
    }
    if let Some(items) = node.get("items").filter(|items| items.is_object()) {
        schema(items, &format!("{path}.items"), false, errors);
    }
}

fn wants_type(node: &Value, path: &str, wanted: &str, because: &str, errors: &mut Vec<FieldError>) -> bool {
    let kind = text(node, "type");
    let detail = format!("must be {wanted} if {because} is specified");
    if kind == wanted {
        return true;
    }
    errors.push(if kind.is_empty() {
        FieldError::required(format!("{path}.type"), detail)
    } else {
        FieldError::invalid(format!("{path}.type"), &json!(kind), detail)
    });
    false
}

const TYPES: &[&str] = &["array", "boolean", "integer", "number", "object", "string"];

/// What makes a schema structural: every node that is not a mere value rule has a type.
fn invariants(node: &Value, level: Level, path: &str, errors: &mut Vec<FieldError>) {
    if !node.is_object() {
        return;
    }
    let kind = text(node, "type");
    let items = node.get("items").filter(|items| items.is_object());
    if kind == "array" && items.is_none() {
        errors.push(FieldError::required(format!("{path}.items"), "must be specified"));
    }
    if let Some(items) = items {
        invariants(items, Level::Item, &format!("{path}.items"), errors);
    }
    for (name, child) in members(node, "properties") {
        invariants(child, Level::Field, &format!("{path}.properties[{name}]"), errors);
    }
    let additional = node.get("additionalProperties").filter(|v| !v.is_null());
    if let Some(additional) = additional {
        let field = format!("{path}.additionalProperties");
        if level == Level::Root {
            errors.push(FieldError::forbidden(&field, "must not be used at the root"));
        }
        invariants(additional, Level::Field, &field, errors);
    }
    extensions(node, path, errors);
    value_rules(node, path, errors);
    node_type(node, level, path, additional.is_some(), errors);
    meta_fields(node, level, path, errors);
}

fn extensions(node: &Value, path: &str, errors: &mut Vec<FieldError>) {
    if !flag(node, "x-kubernetes-int-or-string") {
        return;
    }
    for name in ["x-kubernetes-preserve-unknown-fields", "x-kubernetes-embedded-resource"] {
        if flag(node, name) {
            let detail = "must be false if x-kubernetes-int-or-string is true";
            errors.push(FieldError::invalid(format!("{path}.{name}"), &json!(true), detail));
        }
    }
}

fn node_type(node: &Value, level: Level, path: &str, has_additional: bool, errors: &mut Vec<FieldError>) {
    let kind = text(node, "type");
    let embedded = flag(node, "x-kubernetes-embedded-resource");
    let preserve = flag(node, "x-kubernetes-preserve-unknown-fields");
    let field = format!("{path}.type");
    if embedded && kind != "object" {
        let detail = "must be object if x-kubernetes-embedded-resource is true";
        errors.push(if kind.is_empty() {
            FieldError::required(&field, detail)
        } else {
            FieldError::invalid(&field, &json!(kind), detail)
        });
    } else if kind.is_empty() && !flag(node, "x-kubernetes-int-or-string") && !preserve {
        let detail = match level {
            Level::Root => "must not be empty at the root",
            Level::Item => "must not be empty for specified array items",
            Level::Field => "must not be empty for specified object fields",
        };
        errors.push(FieldError::required(&field, detail));
    }
    if embedded && has_additional {
        let detail = "must not be used if x-kubernetes-embedded-resource is set";
        errors.push(FieldError::forbidden(format!("{path}.additionalProperties"), detail));
    }
    if level == Level::Root && !kind.is_empty() && kind != "object" {
        errors.push(FieldError::invalid(&field, &json!(kind), "must be object at the root"));
    }
    if embedded && !preserve && members(node, "properties").next().is_none() {
        let detail = "must not be empty if x-kubernetes-embedded-resource is true without \
                      x-kubernetes-preserve-unknown-fields";
        errors.push(FieldError::required(format!("{path}.properties"), detail));
    }
}

fn meta_fields(node: &Value, level: Level, path: &str, errors: &mut Vec<FieldError>) {
    if level != Level::Root && !flag(node, "x-kubernetes-embedded-resource") {
        return;
    }
    for (name, child) in members(node, "properties").filter(|(name, _)| is_meta(name)) {
        let at = format!("{path}.properties[{name}]");
        let wanted = if name == "metadata" { "object" } else { "string" };
        let kind = text(child, "type");
        if kind != wanted {
            errors.push(FieldError::invalid(format!("{at}.type"), &json!(kind), format!("must be {wanted}")));
        }
        if name != "metadata" || level != Level::Root {
            continue;
        }
        let only_names =
            members(child, "properties").all(|(key, _)| matches!(&**key, "name" | "generateName"));
        let nothing_else = child.as_object().into_iter().flatten().all(|(key, value)| {
            matches!(&**key, "type" | "properties" | "default" | "description") || value.is_null()
        });
        if !only_names || !nothing_else {
            let detail = "must not specify anything other than name and generateName, but metadata is implicitly \
                          specified";
            errors.push(FieldError::forbidden(at, detail));
        }
    }
}

/// `anyOf: [{type: integer}, {type: string}]`, which nodes may spell out.
fn is_int_or_string(node: &Value) -> bool {
    *node == json!([{"type": "integer"}, {"type": "string"}])
}

fn value_rules(node: &Value, path: &str, errors: &mut Vec<FieldError>) {
    // Any node may spell that out, whether or not it says that it is such.
    rules_below(node, path, true, errors);
}

fn rules_below(node: &Value, path: &str, int_or_string: bool, errors: &mut Vec<FieldError>) {
    for name in ["anyOf", "allOf", "oneOf"] {
        let spelled_out = int_or_string && name == "anyOf" && node.get(name).is_some_and(is_int_or_string);
        if spelled_out {
            continue;
        }
        for (i, child) in elements(node, name).iter().enumerate() {
            let first_all_of = int_or_string && name == "allOf" && i == 0;
            nested(child, &format!("{path}.{name}[{i}]"), first_all_of, errors);
        }
    }
    if let Some(not) = node.get("not") {
        nested(not, &format!("{path}.not"), false, errors);
    }
    let pattern = text(node, "pattern");
    if let Err(why) = apiserver_meta::re2::compile(pattern, super::PATTERN_MAX) {
        let detail = format!("must be a valid regular expression, but isn't: {why}");
        errors.push(FieldError::invalid(format!("{path}.pattern"), &json!(pattern), detail));
    }
}

/// A value rule may not say what the structure is.
fn nested(node: &Value, path: &str, int_or_string: bool, errors: &mut Vec<FieldError>) {
    if !node.is_object() {
        return;
    }
    rules_below(node, path, int_or_string, errors);
    if let Some(items) = node.get("items") {
        nested(items, &format!("{path}.items"), false, errors);
    }
    for (name, child) in members(node, "properties") {
        nested(child, &format!("{path}.properties[{name}]"), false, errors);
    }
    let empty: Map = Map::new();
    let map = node.as_object().unwrap_or(&empty);
    for (name, detail) in [
        ("type", "must be empty to be structural"),
        ("additionalProperties", "must be undefined to be structural"),
        ("default", "must be undefined to be structural"),
        ("title", "must be empty to be structural"),
        ("description", "must be empty to be structural"),
        ("nullable", "must be false to be structural"),
        ("x-kubernetes-preserve-unknown-fields", "must be false to be structural"),
        ("x-kubernetes-embedded-resource", "must be false to be structural"),
        ("x-kubernetes-int-or-string", "must be false to be structural"),
        ("x-kubernetes-list-map-keys", "must be empty to be structural"),
        ("x-kubernetes-list-type", "must be undefined to be structural"),
        ("x-kubernetes-map-type", "must be undefined to be structural"),
        ("x-kubernetes-validations", "must be empty to be structural"),
    ] {
        let set = map.get(name).is_some_and(|v| !v.is_null() && *v != json!(false) && *v != json!(""));
        if set {
            errors.push(FieldError::forbidden(format!("{path}.{name}"), detail));
        }
    }
    if node.get("properties").is_some_and(|p| p.get("metadata").is_some()) {
        let field = format!("{path}.properties[metadata]");
        errors.push(FieldError::forbidden(field, "must not be specified in a nested context"));
    }
}

/// Every field a value rule speaks of is specified outside of value rules too.
fn completeness(rule: &Value, node: &Value, node_path: &str, path: &str, errors: &mut Vec<FieldError>) {
    if let Some(not) = rule.get("not") {
        nested_completeness(not, Some(node), node_path, &format!("{path}.not"), errors);
    }
    for name in ["allOf", "anyOf", "oneOf"] {
        for (i, child) in elements(rule, name).iter().enumerate() {
            nested_completeness(child, Some(node), node_path, &format!("{path}.{name}[{i}]"), errors);
        }
    }
}

fn nested_completeness(
    rule: &Value,
    node: Option<&Value>,
    node_path: &str,
    path: &str,
    errors: &mut Vec<FieldError>,
) {
    let Some(node) = node else {
        errors.push(FieldError::required(node_path, format!("because it is defined in {path}")));
        return;
    };
    completeness(rule, node, node_path, path, errors);
    if let Some(items) = rule.get("items") {
        let at = (format!("{node_path}.items"), format!("{path}.items"));
        nested_completeness(items, node.get("items"), &at.0, &at.1, errors);
    }
    for (name, child) in members(rule, "properties") {
        let own = node.get("properties").and_then(|p| p.get(name));
        let at = (format!("{node_path}.properties[{name}]"), format!("{path}.properties[{name}]"));
        nested_completeness(child, own, &at.0, &at.1, errors);
    }
}
