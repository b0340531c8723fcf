//! Validating custom resources by the value rules of their schema, in upstream's words.
//!
//! The order of errors is that of upstream's validators: type, combinations, text, numbers, lists, enums, objects;
//! then duplicates in lists. CEL rules are the caller's.

use std::collections::HashMap;

use apiserver_json::{Map, Value};
use apiserver_meta::field::{FieldError, Problem, go_quote};

use super::formats;
use crate::node::{ListKind, Object, Rules, Schema, Shape};

/// What is wrong with a value. `path` is where the value stands; empty for a whole object.
pub fn validate(schema: &Schema, value: &Value, path: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    check(schema, value, path, &mut errors);
    list_types(schema, value, path, &mut errors);
    errors
}

/// As [`validate`], by the schema's value rules alone.
pub fn value_errors(schema: &Schema, value: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    check(schema, value, "", &mut errors);
    errors
}

fn check(schema: &Schema, value: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let Some(rules) = &schema.rules else {
        if let (Some(object), Value::Object(map)) = (schema.object(), value) {
            members(schema, object, map, path, errors);
        }
        return;
    };
    check_type(schema, rules, value, path, errors);
    if value.is_null() {
        check_enum(schema, rules, value, path, errors);
        return;
    }
    combinations(rules, value, path, errors);
    match value {
        Value::String(text) => check_text(rules, text, value, path, errors),
        Value::Number(_) => check_number(schema, rules, value, path, errors),
        Value::Array(items) => check_list(schema, rules, items, path, errors),
        _ => {}
    }
    check_enum(schema, rules, value, path, errors);
    if let Value::Object(map) = value {
        check_object(schema, rules, map, path, errors);
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
        Value::Object(_) => "object",
    }
}

fn is_whole(value: &Value) -> bool {
    match value {
        Value::Number(number) if number.is_f64() => number.as_f64().is_some_and(|f| f.fract() == 0.0),
        Value::Number(_) => true,
        _ => false,
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
        let (wanted, got) = (type_names(&schema.shape), value_type(value));
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

fn combinations(rules: &Rules, value: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let run = |schema: &Schema| {
        let mut found = Vec::new();
        check(schema, value, path, &mut found);
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
    if let Some(max) = rules.max_length.filter(|max| length > *max) {
        errors.push(FieldError::too_long(path, usize::try_from(max).unwrap_or(usize::MAX)));
    }
    if let Some(min) = rules.min_length.filter(|min| length < *min) {
        errors.push(FieldError::invalid(
            path,
            value,
            format!("{path} in body should be at least {min} chars long"),
        ));
    }
    if let Some((pattern, compiled)) = &rules.pattern
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

fn check_number(schema: &Schema, rules: &Rules, value: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let number = value.as_f64().unwrap_or(0.0);
    if matches!(schema.shape, Shape::Integer(_)) && rules.typed {
        let (kind, in_range) = match rules.format.as_deref() {
            Some("int32") => {
                ("integer with format int32", (f64::from(i32::MIN)..=f64::from(i32::MAX)).contains(&number))
            }
            Some("int64") => ("integer with format int64", true),
            _ => ("integer (default format)", true),
        };
        if !is_whole(value) || !in_range {
            errors.push(loose(format!("Checked value must be of type {kind} in {path}")));
        }
    }
    bounds(rules, number, value, path, errors);
}

fn bounds(rules: &Rules, number: f64, value: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let mut fail = |detail: String| {
        errors.push(FieldError::invalid(path, value, format!("{path} in body should be {detail}")));
    };
    if let Some(factor) = rules.multiple_of.filter(|factor| *factor > 0.0) {
        let quotient = number / factor;
        if quotient.fract() != 0.0 {
            fail(format!("a multiple of {factor}"));
        }
    }
    match rules.maximum {
        Some(max) if rules.exclusive_maximum && number >= max => fail(format!("less than {max}")),
        Some(max) if !rules.exclusive_maximum && number > max => fail(format!("less than or equal to {max}")),
        _ => {}
    }
    match rules.minimum {
        Some(min) if rules.exclusive_minimum && number <= min => fail(format!("greater than {min}")),
        Some(min) if !rules.exclusive_minimum && number < min => {
            fail(format!("greater than or equal to {min}"));
        }
        _ => {}
    }
}

fn check_list(schema: &Schema, rules: &Rules, items: &[Value], path: &str, errors: &mut Vec<FieldError>) {
    if let Some(list) = schema.list() {
        for (i, item) in items.iter().enumerate() {
            check(list.items.get(), item, &format!("{path}[{i}]"), errors);
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

fn check_enum(schema: &Schema, rules: &Rules, value: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let Some(allowed) = &rules.enumeration else { return };
    if allowed.iter().any(|v| crate::golang::equal(v, value)) || (value.is_null() && schema.nullable) {
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

fn check_object(schema: &Schema, rules: &Rules, map: &Map, path: &str, errors: &mut Vec<FieldError>) {
    let size = map.len();
    if let Some(min) = rules.min_properties.filter(|min| (size as u64) < *min) {
        let detail = format!("{path} in body should have at least {min} properties");
        errors.push(FieldError::invalid(path, &Value::from(size), detail));
    }
    if let Some(max) = rules.max_properties.filter(|max| size as u64 > *max) {
        errors.push(FieldError::too_many(path, size, usize::try_from(max).unwrap_or(usize::MAX)));
    }
    if let Some(object) = schema.object() {
        members(schema, object, map, path, errors);
        for name in object.required.iter().filter(|name| !map.contains_key(name)) {
            errors.push(FieldError::required(join(path, name), ""));
        }
    }
}

fn members(schema: &Schema, object: &Object, map: &Map, path: &str, errors: &mut Vec<FieldError>) {
    for (key, item) in map {
        if object.go_struct && key == "managedFields" {
            continue;
        }
        if let Some(child) = schema.child(key) {
            check(child, item, &join(path, key), errors);
        }
    }
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

/// Duplicates in lists of type set and map.
fn list_types(schema: &Schema, value: &Value, path: &str, errors: &mut Vec<FieldError>) {
    match (&schema.shape, value) {
        (Shape::Object(object), Value::Object(map)) if !object.go_struct => {
            for (key, item) in map {
                let Some(child) = schema.child(key) else { continue };
                let at = if object.fields.contains_key(key.as_str()) {
                    join(path, key)
                } else {
                    format!("{path}[{key}]")
                };
                list_types(child, item, &at, errors);
            }
        }
        (Shape::List(list), Value::Array(items)) => {
            match &list.kind {
                ListKind::Set => duplicates(items.iter().cloned(), path, errors),
                ListKind::Map(keys) => duplicate_keys(keys, items, path, errors),
                ListKind::Atomic => {}
            }
            for (i, item) in items.iter().enumerate() {
                list_types(list.items.get(), item, &format!("{path}[{i}]"), errors);
            }
        }
        _ => {}
    }
}

fn duplicate_keys(keys: &[Box<str>], items: &[Value], path: &str, errors: &mut Vec<FieldError>) {
    if let Some((i, item)) = items.iter().enumerate().find(|(_, item)| !item.is_object() && !item.is_null()) {
        errors.push(FieldError::invalid(
            format!("{path}[{i}]"),
            item,
            "must be an object for an array of list-type map",
        ));
        return;
    }
    let key_of = |item: &Value| {
        let pairs = keys.iter().filter_map(|key| Some((key.to_string(), item.get(&**key)?.clone())));
        Value::Object(pairs.collect())
    };
    duplicates(items.iter().map(key_of), path, errors);
}

fn duplicates(items: impl Iterator<Item = Value>, path: &str, errors: &mut Vec<FieldError>) {
    let mut seen: HashMap<String, usize> = HashMap::new();
    for (i, item) in items.enumerate() {
        let times = seen.entry(item.to_string()).or_default();
        *times += 1;
        if *times == 2 {
            errors.push(FieldError::duplicate(format!("{path}[{i}]"), &item));
        }
    }
}
