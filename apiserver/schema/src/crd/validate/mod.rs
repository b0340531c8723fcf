//! Validating custom resources by the value rules of their schema, in upstream's words.
//!
//! The order of errors is that of upstream's validators: type, combinations, text, numbers, lists, enums, objects;
//! then duplicates in lists. CEL rules are the caller's.

use std::collections::HashMap;

use apiserver_json::{Map, Value};
use apiserver_meta::field::{FieldError, Problem, go_float, go_quote};

use super::formats;
use crate::node::{ListKind, Object, Rules, Schema, Shape};

/// What is wrong with a value. `path` is where the value stands; empty for a whole object.
pub fn validate(schema: &Schema, value: &Value, path: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    check(schema, value, None, path, &mut errors);
    list_types(schema, value, path, &mut errors);
    placed(errors)
}

/// What a change makes wrong: what was as it is now is held against nobody, and duplicates only where there were none.
pub fn validate_change(schema: &Schema, value: &Value, old: &Value, path: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    check(schema, value, Some(old), path, &mut errors);
    let (mut duplicates, mut before) = (Vec::new(), Vec::new());
    list_types(schema, value, path, &mut duplicates);
    list_types(schema, old, path, &mut before);
    errors.extend(duplicates.into_iter().filter(|_| before.is_empty()));
    placed(errors)
}

/// As [`validate`], by the schema's value rules alone.
pub fn value_errors(schema: &Schema, value: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    check(schema, value, None, "", &mut errors);
    errors
}

/// Checks a value, where `old` is the one that stood there before, if that is known.
fn check(schema: &Schema, value: &Value, old: Option<&Value>, path: &str, errors: &mut Vec<FieldError>) {
    if old.is_none_or(|old| !is_unchanged(schema, old, value)) {
        check_changed(schema, value, old, path, errors);
    }
}

/// Is a value the one it was? As upstream sees it: items that have keys are the same in any order, and what the schema
/// does not know is never the same.
fn is_unchanged(schema: &Schema, old: &Value, value: &Value) -> bool {
    match (old, value) {
        (Value::Array(before), Value::Array(items)) => {
            before.len() == items.len()
                && match schema.list() {
                    Some(list) if matches!(list.kind, ListKind::Map(_)) => items.iter().all(|item| {
                        same_item(&list.kind, old, item)
                            .is_some_and(|before| is_unchanged(list.items.get(), before, item))
                    }),
                    _ => crate::golang::equal(old, value),
                }
        }
        (Value::Object(before), Value::Object(map)) => {
            let Some(object) = schema.object() else { return before.is_empty() && map.is_empty() };
            let is_known = |key: &str, child: &Schema| {
                let is_named = object.fields.contains_key(key);
                !object.go_struct && (is_named || !matches!(child.shape, Shape::Any { .. }))
            };
            before.len() == map.len()
                && map.iter().all(|(key, item)| {
                    let child = schema.child(key).filter(|child| is_known(key, child));
                    child
                        .zip(before.get(key))
                        .is_some_and(|(child, before)| is_unchanged(child, before, item))
                })
        }
        _ => crate::golang::equal(old, value),
    }
}

fn check_changed(
    schema: &Schema,
    value: &Value,
    old: Option<&Value>,
    path: &str,
    errors: &mut Vec<FieldError>,
) {
    let Some(rules) = &schema.rules else {
        if let (Some(object), Value::Object(map)) = (schema.object(), value) {
            members(schema, object, map, old, path, errors);
        }
        return;
    };
    check_type(schema, rules, value, path, errors);
    if value.is_null() {
        check_enum(schema, rules, value, path, errors);
        return;
    }
    combinations(rules, value, old, path, errors);
    match value {
        Value::String(text) => check_text(rules, text, value, path, errors),
        Value::Number(_) => check_number(schema, rules, value, path, errors),
        Value::Array(items) => check_list(schema, rules, items, old, path, errors),
        _ => {}
    }
    check_enum(schema, rules, value, path, errors);
    if let Value::Object(map) = value {
        check_object(schema, rules, map, old, path, errors);
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
        Value::Number(number) if number.is_f64() => number.as_f64().is_some_and(is_json_integer),
        Value::Number(_) => true,
        _ => false,
    }
}

/// Whether a floating point number is near enough to an integer that it can hold.
fn is_json_integer(number: f64) -> bool {
    const LARGEST: f64 = 9_007_199_254_740_991.0;
    const NEAR: f64 = 1e-9;
    let difference = number.fract().abs();
    number.abs() <= LARGEST
        && (difference == 0.0 || difference / (number.abs() + number.trunc().abs()) < NEAR)
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

fn combinations(rules: &Rules, value: &Value, old: Option<&Value>, path: &str, errors: &mut Vec<FieldError>) {
    let run = |schema: &Schema| {
        let mut found = Vec::new();
        check_changed(schema, value, old, path, &mut found);
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

fn check_number(schema: &Schema, rules: &Rules, value: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let range = Range::of(schema, rules);
    range.check("Checked", value, path, errors);
    if let Some(factor) = rules.multiple_of {
        check_factor(&range, factor, value, path, errors);
    }
    // The sides of a range: its bound, whether that belongs to it, and what is said of it.
    let sides = [
        ("Minimum", rules.minimum, rules.exclusive_minimum, "greater than"),
        ("Maximum", rules.maximum, rules.exclusive_maximum, "less than"),
    ];
    for (name, bound, exclusive, than) in sides {
        let Some(bound) = bound else { continue };
        let known = range.check(&format!("{name} boundary"), &bound.into(), path, errors);
        let (outside, at, shown) = match value.as_i64() {
            // Integers are compared as such, with what is left of the bound.
            Some(number) if known => {
                let bound = bound as i64;
                (
                    if name == "Minimum" { number < bound } else { number > bound },
                    number == bound,
                    bound.to_string(),
                )
            }
            _ => {
                let number = value.as_f64().unwrap_or(0.0);
                let outside = if name == "Minimum" { number < bound } else { number > bound };
                (outside, number == bound, go_float(bound))
            }
        };
        if outside || exclusive && at {
            let or_equal = if exclusive { "" } else { " or equal to" };
            let detail = format!("{path} in body should be {than}{or_equal} {shown}");
            errors.push(FieldError::invalid(path, value, detail));
        }
    }
}

/// The numbers that a type and its format have room for.
struct Range<'a> {
    integer: bool,
    format: Option<&'a str>,
}

impl<'a> Range<'a> {
    fn of(schema: &Schema, rules: &'a Rules) -> Self {
        let integer = matches!(schema.shape, Shape::Integer(_)) && rules.typed;
        let known: &[&str] = match &schema.shape {
            Shape::Integer(_) => &["int32", "int64", "uint32", "uint64"],
            Shape::Number => &["float", "double"],
            _ => &[],
        };
        Self { integer, format: rules.format.as_deref().filter(|format| known.contains(format)) }
    }

    /// Whether a number is in it. `what` is told where it is not.
    fn check(&self, what: &str, value: &Value, path: &str, errors: &mut Vec<FieldError>) -> bool {
        let number = value.as_f64().unwrap_or(0.0);
        let whole = number.fract() == 0.0;
        let fits = match (self.integer, self.format) {
            (true, Some("int32")) => whole && (f64::from(i32::MIN)..=f64::from(i32::MAX)).contains(&number),
            (true, Some("uint32")) => whole && (0.0..=f64::from(u32::MAX)).contains(&number),
            (true, Some("uint64")) => whole && (0.0..u64::MAX as f64).contains(&number),
            (true, _) => {
                value.as_i64().is_some() || whole && (i64::MIN as f64..i64::MAX as f64).contains(&number)
            }
            (false, Some("float")) => number.abs() <= f64::from(f32::MAX),
            (false, _) => true,
        };
        if !fits {
            let kind = if self.integer { "integer" } else { "number" };
            let format =
                self.format.map_or("(default format)".to_owned(), |format| format!("with format {format}"));
            errors.push(loose(format!("{what} value must be of type {kind} {format} in {path}")));
        }
        fits
    }
}

fn check_factor(range: &Range<'_>, factor: f64, value: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let known = range.check("MultipleOf", &factor.into(), path, errors);
    let not_positive = |shown: String| FieldError {
        problem: Problem::Invalid,
        field: path.to_owned(),
        detail: format!("factor MultipleOf declared for {path} must be positive: {shown}"),
        value: shown,
    };
    let (fits, shown) = match value.as_i64() {
        // Of a factor below one nothing is left for an integer.
        Some(number) if known => match factor as i64 {
            whole @ ..=0 => return errors.push(not_positive(whole.to_string())),
            whole => (number % whole == 0, whole.to_string()),
        },
        _ if factor <= 0.0 => return errors.push(not_positive(go_float(factor))),
        _ => {
            let number = value.as_f64().unwrap_or(0.0);
            let times = if factor < 1.0 { 1.0 / factor * number } else { number / factor };
            (is_json_integer(times), go_float(factor))
        }
    };
    if !fits {
        errors.push(FieldError::invalid(
            path,
            value,
            format!("{path} in body should be a multiple of {shown}"),
        ));
    }
}

fn check_list(
    schema: &Schema,
    rules: &Rules,
    items: &[Value],
    old: Option<&Value>,
    path: &str,
    errors: &mut Vec<FieldError>,
) {
    if let Some(list) = schema.list() {
        for (i, item) in items.iter().enumerate() {
            let before = old.and_then(|old| same_item(&list.kind, old, item));
            check(list.items.get(), item, before, &format!("{path}[{i}]"), errors);
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

/// The item that an item was before: only keys tell.
fn same_item<'a>(kind: &ListKind, old: &'a Value, item: &Value) -> Option<&'a Value> {
    let ListKind::Map(keys) = kind else { return None };
    let is_same = |one: &&Value| keys.iter().all(|key| one.get(&**key) == item.get(&**key));
    old.as_array()?.iter().find(is_same)
}

fn check_enum(schema: &Schema, rules: &Rules, value: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let Some(allowed) = &rules.enumeration else { return };
    // Go converts a number to the type of what is listed.
    let converted = |listed: &Value| {
        listed.as_i64().zip(value.as_f64()).is_some_and(|(listed, number)| number as i64 == listed)
    };
    if allowed.iter().any(|v| crate::golang::equal(v, value) || converted(v))
        || (value.is_null() && schema.nullable)
    {
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
    old: Option<&Value>,
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
        members(schema, object, map, old, path, errors);
        for name in object.required.iter().filter(|name| !map.contains_key(name)) {
            errors.push(FieldError::required(join(path, name), ""));
        }
    }
}

fn members(
    schema: &Schema,
    object: &Object,
    map: &Map,
    old: Option<&Value>,
    path: &str,
    errors: &mut Vec<FieldError>,
) {
    for (key, item) in map {
        if object.go_struct && key == "managedFields" {
            continue;
        }
        if let Some(child) = schema.child(key) {
            // Only what has a name of its own begins a path.
            let known = object.fields.contains_key(key.as_str());
            let at = if known { join(path, key) } else { format!("{path}.{key}") };
            check(child, item, old.and_then(|old| old.get(key)), &at, errors);
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
