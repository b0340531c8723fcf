//! What stands twice in lists of type set and map.
//!
//! The same text is the same item: values are compared as they are written.

use std::collections::HashMap;

use apiserver_json::Value;
use apiserver_meta::field::FieldError;

use super::join;
use crate::node::{ListKind, Schema, Shape};

/// Duplicates in lists of type set and map.
pub(super) fn list_types(schema: &Schema, value: &Value, path: &str, errors: &mut Vec<FieldError>) {
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
