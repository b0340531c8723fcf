//! Validating custom resources by the value rules of their schema, in upstream's words.
//!
//! The order of errors is that of upstream's validators: type, combinations, text, numbers, lists, enums, objects;
//! then duplicates in lists. CEL rules are the caller's.

mod duplicates;
mod numbers;
mod unchanged;

use apiserver_json::{Map, Value};
use apiserver_meta::field::{FieldError, Problem, go_quote};

use super::formats;
use crate::node::{Object, Rules, Schema, Shape};
use duplicates::list_types;
use numbers::{check_number, is_whole};
use unchanged::Unchanged;

/// What is wrong with a value. `path` is where the value stands; empty for a whole object.
pub fn validate(schema: &Schema, value: &Value, path: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    check(schema, value, &Unchanged::default(), path, &mut errors);
    list_types(schema, value, path, &mut errors);
    placed(errors)
}

/// What a change makes wrong: what was as it is now is held against nobody, and duplicates only where there were none.
pub fn validate_change(schema: &Schema, value: &Value, old: &Value, path: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    check(schema, value, &Unchanged::of(schema, old, value), path, &mut errors);
    let (mut duplicates, mut before) = (Vec::new(), Vec::new());
    list_types(schema, value, path, &mut duplicates);
    list_types(schema, old, path, &mut before);
    errors.extend(duplicates.into_iter().filter(|_| before.is_empty()));
    placed(errors)
}

/// As [`validate`], by the schema's value rules alone.
pub fn value_errors(schema: &Schema, value: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    check(schema, value, &Unchanged::default(), "", &mut errors);
    errors
}

/// Checks a value, if it is not as it was.
fn check(schema: &Schema, value: &Value, known: &Unchanged, path: &str, errors: &mut Vec<FieldError>) {
    if !known.has(value) {
        check_changed(schema, value, known, path, errors);
    }
}

fn check_changed(
    schema: &Schema,
    value: &Value,
    known: &Unchanged,
    path: &str,
    errors: &mut Vec<FieldError>,
) {
    let Some(rules) = &schema.rules else {
        if let (Some(object), Value::Object(map)) = (schema.object(), value) {
            members(schema, object, map, known, path, errors);
        }
        return;
    };
    check_type(schema, rules, value, path, errors);
    if value.is_null() {
        check_enum(rules, value, path, errors);
        return;
    }
    combinations(rules, value, known, path, errors);
    match value {
        Value::String(text) => check_text(rules, text, value, path, errors),
        Value::Number(_) => check_number(schema, rules, value, path, errors),
        Value::Array(items) => check_list(schema, rules, items, known, path, errors),
        _ => {}
    }
    check_enum(rules, value, path, errors);
    if let Value::Object(map) = value {
        check_object(schema, rules, map, known, path, errors);
    }
}

/// The names a schema's `type` has in messages.
fn type_names(shape: &Shape) -> &'static str {
    match shape {
        Shape::Object(_) => "object",
        Shape::List(_) => "array",
        Shape::String | Shape::Bytes => "string",
        Shape::Integer(_) => "integer",
        Shape::Number => "number",
        Shape::Boolean => "boolean",
        Shape::IntOrString => "integer,string",
        _ => "",
    }
}

fn value_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) | Value::Raw(_) => "object",
    }
}

fn check_type(schema: &Schema, rules: &Rules, value: &Value, path: &str, errors: &mut Vec<FieldError>) {
    if !rules.typed || (value.is_null() && schema.nullable) {
        return;
    }
    let fits = match (&schema.shape, value) {
        (Shape::Object(_), Value::Object(_))
        | (Shape::List(_), Value::Array(_))
        | (Shape::String | Shape::IntOrString, Value::String(_))
        | (Shape::Boolean, Value::Bool(_))
        | (Shape::Number, Value::Number(_)) => true,
        (Shape::Integer(_) | Shape::IntOrString, number) => is_whole(number),
        _ => false,
    };
    if !fits {
        let mut wanted = type_names(&schema.shape);
        let mut got = value_type(value);
        // A format is told of instead, unless what is there is a text, a list or nothing.
        if let Some(format) = &rules.format
            && !matches!(value, Value::String(_) | Value::Array(_) | Value::Null)
        {
            wanted = format;
            got = match value {
                Value::Number(number) if number.is_f64() => "float64",
                Value::Number(_) => "int64",
                _ => "",
            };
        }
        let detail = format!("{path} in body must be of type {wanted}: {}", go_quote(got));
        errors.push(FieldError {
            problem: Problem::TypeInvalid,
            field: path.to_owned(),
            value: go_quote(got),
            detail,
        });
    }
}

/// An error that upstream reports without a field.
fn loose(detail: String) -> FieldError {
    FieldError { problem: Problem::Invalid, field: "<nil>".to_owned(), value: "\"\"".to_owned(), detail }
}

fn combinations(rules: &Rules, value: &Value, known: &Unchanged, path: &str, errors: &mut Vec<FieldError>) {
    let run = |schema: &Schema| {
        let mut found = Vec::new();
        check_changed(schema, value, known, path, &mut found);
        found
    };
    if !rules.any_of.is_empty() {
        let mut best: Option<Vec<FieldError>> = None;
        let mut fits = false;
        for option in &rules.any_of {
            let found = run(option);
            fits = found.is_empty();
            if fits {
                break;
            }
            best.get_or_insert(found);
        }
        if !fits {
            errors.push(loose(format!("{} must validate at least one schema (anyOf)", go_quote(path))));
            errors.extend(best.unwrap_or_default());
        }
    }
    if !rules.one_of.is_empty() {
        let results: Vec<_> = rules.one_of.iter().map(|option| run(option)).collect();
        let valid = results.iter().filter(|found| found.is_empty()).count();
        if valid != 1 {
            let found = if valid == 0 {
                "Found none valid".to_owned()
            } else {
                format!("Found {valid} valid alternatives")
            };
            errors.push(loose(format!(
                "{} must validate one and only one schema (oneOf). {found}",
                go_quote(path)
            )));
            if valid == 0 {
                errors.extend(results.into_iter().next().unwrap_or_default());
            }
        }
    }
    if !rules.all_of.is_empty() {
        let mut valid = 0;
        for part in &rules.all_of {
            let found = run(part);
            valid += usize::from(found.is_empty());
            errors.extend(found);
        }
        if valid != rules.all_of.len() {
            let none = if valid == 0 { ". None validated" } else { "" };
            errors.push(loose(format!("{} must validate all the schemas (allOf){none}", go_quote(path))));
        }
    }
    if rules.not.as_ref().is_some_and(|not| run(not).is_empty()) {
        errors.push(loose(format!("{} must not validate the schema (not)", go_quote(path))));
    }
}

fn check_text(rules: &Rules, text: &str, value: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let length = text.chars().count() as u64;
    // Of these the first that is wrong is told.
    if let Some(max) = rules.max_length.filter(|max| length > *max) {
        errors.push(FieldError::too_long(path, usize::try_from(max).unwrap_or(usize::MAX)));
    } else if let Some(min) = rules.min_length.filter(|min| length < *min) {
        let detail = format!("{path} in body should be at least {min} chars long");
        errors.push(FieldError::invalid(path, value, detail));
    } else if let Some((pattern, compiled)) = &rules.pattern
        && compiled.as_ref().is_some_and(|regex| !regex.is_match(text))
    {
        errors.push(FieldError::invalid(path, value, format!("{path} in body should match '{pattern}'")));
    }
    if let Some(format) = rules.format.as_deref().filter(|format| !formats::matches(format, text)) {
        let detail = format!("{path} in body must be of type {format}: {}", go_quote(text));
        errors.push(FieldError {
            problem: Problem::TypeInvalid,
            field: path.to_owned(),
            value: go_quote(text),
            detail,
        });
    }
}

fn check_list(
    schema: &Schema,
    rules: &Rules,
    items: &[Value],
    known: &Unchanged,
    path: &str,
    errors: &mut Vec<FieldError>,
) {
    if let Some(list) = schema.list() {
        for (i, item) in items.iter().enumerate() {
            check(list.items.get(), item, known, &format!("{path}[{i}]"), errors);
        }
    }
    let size = items.len();
    if let Some(min) = rules.min_items.filter(|min| (size as u64) < *min) {
        let detail = format!("{path} in body should have at least {min} items");
        errors.push(FieldError::invalid(path, &Value::from(size), detail));
    }
    if let Some(max) = rules.max_items.filter(|max| size as u64 > *max) {
        errors.push(FieldError::too_many(path, size, usize::try_from(max).unwrap_or(usize::MAX)));
    }
}

fn check_enum(rules: &Rules, value: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let Some(allowed) = &rules.enumeration else { return };
    // Go converts a number to the type of what is listed.
    let converted = |listed: &Value| {
        listed.as_i64().zip(value.as_f64()).is_some_and(|(listed, number)| number as i64 == listed)
    };
    // A null is none of them, though it be listed and may stand there.
    if !value.is_null() && allowed.iter().any(|v| crate::golang::equal(v, value) || converted(v)) {
        return;
    }
    let names: Vec<String> = allowed
        .iter()
        .map(|v| match v {
            Value::String(text) => go_quote(text),
            other => go_quote(&other.to_string()),
        })
        .collect();
    errors.push(FieldError {
        problem: Problem::NotSupported,
        field: path.to_owned(),
        value: apiserver_meta::field::go_value(value),
        detail: format!("supported values: {}", names.join(", ")),
    });
}

fn check_object(
    schema: &Schema,
    rules: &Rules,
    map: &Map,
    known: &Unchanged,
    path: &str,
    errors: &mut Vec<FieldError>,
) {
    let size = map.len();
    if let Some(min) = rules.min_properties.filter(|min| (size as u64) < *min) {
        let detail = format!("{path} in body should have at least {min} properties");
        errors.push(FieldError::invalid(path, &Value::from(size), detail));
    }
    if let Some(max) = rules.max_properties.filter(|max| size as u64 > *max) {
        errors.push(FieldError::too_many(path, size, usize::try_from(max).unwrap_or(usize::MAX)));
    }
    if let Some(object) = schema.object() {
        members(schema, object, map, known, path, errors);
        for name in object.required.iter().filter(|name| !map.contains_key(name)) {
            errors.push(FieldError::required(join(path, name), ""));
        }
    }
}

fn members(
    schema: &Schema,
    object: &Object,
    map: &Map,
    known: &Unchanged,
    path: &str,
    errors: &mut Vec<FieldError>,
) {
    for (key, item) in map {
        if object.go_struct && key == "managedFields" {
            continue;
        }
        if let Some(child) = schema.child(key) {
            // Only what has a name of its own begins a path.
            let is_named = object.fields.contains_key(key.as_str());
            let at = if is_named { join(path, key) } else { format!("{path}.{key}") };
            check(child, item, known, &at, errors);
        }
    }
}

/// The errors of a path that begins where nothing has a name have the field without that beginning.
fn placed(mut errors: Vec<FieldError>) -> Vec<FieldError> {
    for error in &mut errors {
        if let Some(field) = error.field.strip_prefix('.') {
            error.field = field.to_owned();
        }
    }
    errors
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}
