//! Merging an applied configuration into a live object, checking it first, and taking fields out again.
//!
//! Follows the schema: structs and maps merge key by key, keyed lists item by item, everything else is replaced.

use std::collections::{HashMap, HashSet};

use apiserver_json::{Items, Map, Value};

use super::set::FieldSet;
use super::walk::{Form, child_of, entries, form, item_step, items};
use crate::golang;
use crate::node::{List, Schema, Shape};

/// What an applied configuration gets wrong, in upstream's words: path and message.
pub(super) fn check(schema: &Schema, value: &Value) -> Vec<(String, String)> {
    let mut errors = Vec::new();
    check_at(schema, value, true, &mut String::new(), &mut errors);
    errors
}

/// As [`check`], of what is there already: its lists may hold something twice.
pub(super) fn check_live(schema: &Schema, value: &Value) -> Vec<(String, String)> {
    let mut errors = Vec::new();
    check_at(schema, value, false, &mut String::new(), &mut errors);
    errors
}

/// The errors as one text: alone, or as a list.
pub(super) fn join(errors: &[(String, String)]) -> String {
    let line = |(path, message): &(String, String)| {
        if path.is_empty() { message.clone() } else { format!("{path}: {message}") }
    };
    match errors {
        [one] => line(one),
        many => {
            let lines: Vec<_> = many.iter().map(|error| format!("  {}", line(error))).collect();
            format!("errors:\n{}", lines.join("\n"))
        }
    }
}

fn check_at(
    schema: &Schema,
    value: &Value,
    once: bool,
    path: &mut String,
    errors: &mut Vec<(String, String)>,
) {
    if value.is_null() {
        return;
    }
    match (&schema.shape, value) {
        (Shape::Any { .. } | Shape::SchemaOr, _) => {}
        // Owned as a whole, whatever it is.
        (Shape::Raw, _) => {}
        (Shape::Object(_), Value::Object(map)) => {
            // The owners of fields are none themselves, and in a form of their own here.
            let is_owners = |key: &str| path == ".metadata" && key == "managedFields";
            let members: Vec<_> = map.iter().filter(|(key, _)| !is_owners(key)).collect();
            for (key, item) in members {
                let length = path.len();
                path.push('.');
                path.push_str(key);
                match child_of(schema, key) {
                    Some(child) => check_at(child, item, once, path, errors),
                    None => errors.push((path.clone(), "field not declared in schema".to_owned())),
                }
                path.truncate(length);
            }
        }
        (Shape::Object(_), other) => {
            errors.push((path.clone(), format!("expected map, got {}", pointer(other))));
        }
        (Shape::List(list), Value::Array(items)) => check_items(list, items, once, path, errors),
        (Shape::List(_), other) => {
            errors.push((path.clone(), format!("expected list, got {}", pointer(other))));
        }
        // A custom resource's has no type where upstream merges.
        (Shape::IntOrString, _) if schema.rules.is_some() => {}
        (Shape::String, value) if has_format(schema) => {
            if value.is_object() || value.is_array() {
                errors.push((path.clone(), format!("expected any scalar, got {}", pointer(value))));
            }
        }
        (shape, value) => {
            if let Some(message) = check_scalar(shape, value) {
                errors.push((path.clone(), message));
            }
        }
    }
}

/// Text of a custom resource that has a format has no type where upstream merges, but for bytes.
fn has_format(schema: &Schema) -> bool {
    let format = schema.rules.as_ref().and_then(|rules| rules.format.as_deref());
    format.is_some_and(|format| !matches!(format, "" | "byte"))
}

fn check_items(
    list: &List,
    items: &[Value],
    once: bool,
    path: &mut String,
    errors: &mut Vec<(String, String)>,
) {
    let keyed = !matches!(list.kind, crate::node::ListKind::Atomic);
    let mut seen = HashSet::new();
    for (i, item) in items.iter().enumerate() {
        let length = path.len();
        if keyed {
            match item_step(list, item) {
                Ok(step) => {
                    let printed = super::set::print_path(&[&step]);
                    if once && !seen.insert(step) {
                        errors.push((path.clone(), format!("duplicate entries for key {printed}")));
                    }
                    path.push_str(&printed);
                }
                Err(message) => {
                    errors.push((path.clone(), format!("element {i}: {message}")));
                    return;
                }
            }
        } else {
            path.push_str(&format!("[{i}]"));
        }
        check_at(list.items.get(), item, once, path, errors);
        path.truncate(length);
    }
}

fn check_scalar(shape: &Shape, value: &Value) -> Option<String> {
    match shape {
        Shape::String | Shape::Bytes if !value.is_string() => {
            Some(format!("expected string, got &value.valueUnstructured{{Value:{}}}", golang::syntax(value)))
        }
        Shape::Integer(_) | Shape::Number if !value.is_number() => {
            Some(format!("expected numeric (int or float), got {}", golang::type_name(value)))
        }
        Shape::Boolean if !value.is_boolean() => Some(format!("expected boolean, got {}", pointer(value))),
        _ if value.is_object() || value.is_array() => {
            Some(format!("expected any scalar, got {}", pointer(value)))
        }
        _ => None,
    }
}

fn pointer(value: &Value) -> String {
    format!("&{{{}}}", golang::display(value))
}

/// The live object with the applied configuration merged in.
pub(super) fn merge(schema: &Schema, live: &Value, applied: &Value) -> Result<Value, String> {
    merge_at(schema, Some(live), Some(applied)).map(|merged| merged.unwrap_or(Value::Null))
}

fn merge_at(schema: &Schema, live: Option<&Value>, applied: Option<&Value>) -> Result<Option<Value>, String> {
    let Some(applied) = applied else { return Ok(live.cloned()) };
    match form(schema, Some(applied)) {
        Form::Map(node) => {
            let (old, new) = (entries(live), entries(Some(applied)));
            if old.is_none_or(Map::is_empty) && new.is_none_or(Map::is_empty)
                || !(applied.is_object() || applied.is_null())
            {
                return Ok(Some(applied.clone()));
            }
            let mut out = old.cloned().unwrap_or_default();
            for (key, value) in new.into_iter().flatten() {
                let child = child_of(node, key).unwrap_or_else(|| super::walk::any());
                let before = out.remove(key);
                if let Some(merged) = merge_at(child, before.as_ref(), Some(value))? {
                    out.insert(key.clone(), merged);
                }
            }
            Ok((!out.is_empty()).then_some(Value::Object(out)))
        }
        Form::List(list) => {
            let (old, new) = (items(live), items(Some(applied)));
            if old.is_empty() && new.is_empty() {
                return Ok(Some(applied.clone()));
            }
            merge_lists(list, old, new)
        }
        _ => Ok(Some(applied.clone())),
    }
}

/// The steps of a list's items in order, and where each stands.
struct Indexed {
    order: Vec<String>,
    at: HashMap<String, Vec<usize>>,
}

impl Indexed {
    fn of(list: &List, values: &[Value], unique: bool) -> Result<Self, String> {
        let mut out =
            Self { order: Vec::with_capacity(values.len()), at: HashMap::with_capacity(values.len()) };
        for (i, value) in values.iter().enumerate() {
            let step = item_step(list, value).map_err(|message| format!("element {i}: {message}"))?;
            let seen = out.at.entry(step.clone()).or_default();
            if unique && !seen.is_empty() {
                let printed = super::set::print_path(&[&step]);
                return Err(format!("duplicate entries for key {printed}"));
            }
            seen.push(i);
            out.order.push(step);
        }
        Ok(out)
    }
}

/// Items of the applied list keep their order; items only the live object has stay between their neighbours.
fn merge_lists(list: &List, live: &[Value], applied: &[Value]) -> Result<Option<Value>, String> {
    let Indexed { order: new_order, at: new_at } = Indexed::of(list, applied, true)?;
    let Indexed { order: old_order, at: old_at } = Indexed::of(list, live, false)?;
    let node = list.items.get();
    let combine = |step: &String| -> Result<Option<Value>, String> {
        let before = old_at.get(step).and_then(|at| match at[..] {
            [only] => live.get(only),
            _ => None,
        });
        let value = new_at.get(step).and_then(|at| applied.get(*at.first()?));
        merge_at(node, before, value)
    };
    let mut shared = new_order.iter().filter(|step| old_at.contains_key(*step));
    let mut next_shared = shared.next();
    let mut merged: HashSet<&String> = HashSet::new();
    let mut out = Items::with_capacity(live.len().max(applied.len()));
    let (mut l, mut r) = (0, 0);
    while l < old_order.len() || r < new_order.len() {
        if let (Some(old), Some(new)) = (old_order.get(l), new_order.get(r)) {
            if old == new {
                merged.insert(new);
                out.extend(combine(new)?);
                (l, r) = (l + 1, r + 1);
                next_shared = shared.next();
                continue;
            }
            if new_at.contains_key(old) && next_shared.is_some_and(|next| next != old) {
                l += 1;
                continue;
            }
        }
        if let Some(old) = old_order.get(l) {
            if !new_at.contains_key(old) {
                out.push(live[l].clone());
                l += 1;
                continue;
            }
            if merged.contains(old) {
                l += 1;
            }
        }
        if let Some(new) = new_order.get(r) {
            merged.insert(new);
            out.extend(combine(new)?);
            r += 1;
            if next_shared == Some(new) {
                next_shared = shared.next();
            }
        }
    }
    Ok((!out.is_empty()).then_some(Value::Array(out)))
}

/// The object without the fields and items of the set.
pub(super) fn remove(schema: &Schema, value: &Value, set: &FieldSet) -> Value {
    match form(schema, Some(value)) {
        Form::Map(node) => match value {
            Value::Object(map) if !map.is_empty() => remove_keys(node, map, set),
            _ => Value::Null,
        },
        Form::List(list) => match value {
            Value::Array(items) if !items.is_empty() => remove_items(list, items, set),
            _ => Value::Null,
        },
        Form::Leaf => value.clone(),
        Form::AtomicMap | Form::AtomicList => Value::Null,
    }
}

fn remove_keys(schema: &Schema, map: &Map, set: &FieldSet) -> Value {
    let mut out = Map::new();
    let mut matched = false;
    for (key, item) in map {
        let step = format!("f:{key}");
        if set.has_step(&step) {
            continue;
        }
        let kept = match (set.below(&step), child_of(schema, key)) {
            (Some(below), Some(child)) => {
                matched = true;
                keep_container(item, remove(child, item, below))
            }
            _ => item.clone(),
        };
        out.insert(key.clone(), kept);
    }
    if out.is_empty() && !matched { Value::Null } else { Value::Object(out) }
}

fn remove_items(list: &List, items: &[Value], set: &FieldSet) -> Value {
    let mut out = Items::new();
    let mut matched = false;
    for item in items {
        let step = item_step(list, item).unwrap_or_default();
        if set.has_step(&step) {
            continue;
        }
        out.push(match set.below(&step) {
            Some(below) => {
                matched = true;
                keep_container(item, remove(list.items.get(), item, below))
            }
            None => item.clone(),
        });
    }
    if out.is_empty() && !matched { Value::Null } else { Value::Array(out) }
}

/// What lost its members stays as an empty container.
fn keep_container(before: &Value, after: Value) -> Value {
    match (before, after) {
        (Value::Object(_), Value::Null) => Value::Object(Map::new()),
        (Value::Array(_), Value::Null) => Value::Array(Items::new()),
        (_, after) => after,
    }
}
