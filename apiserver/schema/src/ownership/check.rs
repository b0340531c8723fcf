//! Whether an object is of its type where upstream merges, and what is wrong where it is not.
//!
//! Types and the keys of items are looked at, nothing else: values are validated elsewhere.

use std::collections::HashSet;
use std::fmt::Write as _;

use apiserver_json::Value;

use super::walk::{child_of, item_step};
use crate::golang;
use crate::node::{List, Schema, Shape};

/// What an applied configuration gets wrong, in upstream's words: path and message.
pub(super) fn check(schema: &Schema, value: &Value) -> Vec<(String, String)> {
    let mut errors = Vec::new();
    check_at(schema, value, true, &mut Trail::default(), &mut errors);
    errors
}

/// As [`check`], of what is there already: its lists may hold something twice.
pub(super) fn check_live(schema: &Schema, value: &Value) -> Vec<(String, String)> {
    if is_readable(schema, value) {
        return Vec::new();
    }
    let mut errors = Vec::new();
    check_at(schema, value, false, &mut Trail::default(), &mut errors);
    errors
}

/// Does [`check_live`] find nothing? No way is written down for that.
pub(super) fn is_readable(schema: &Schema, value: &Value) -> bool {
    let mut errors = Vec::new();
    check_at(schema, value, false, &mut Trail { is_untold: true, ..Trail::default() }, &mut errors);
    errors.is_empty()
}

/// The way to what is checked.
#[derive(Default)]
struct Trail {
    text: String,
    depth: usize,
    /// Nobody is going to read it: only its first step is written.
    is_untold: bool,
}

impl Trail {
    /// Takes a step; what is returned leads back.
    fn enter(&mut self, write: impl FnOnce(&mut String)) -> usize {
        let length = self.text.len();
        if !self.is_untold || self.depth == 0 {
            write(&mut self.text);
        }
        self.depth += 1;
        length
    }

    fn leave(&mut self, length: usize) {
        self.depth -= 1;
        self.text.truncate(length);
    }

    fn is_owners(&self, key: &str) -> bool {
        self.depth == 1 && key == "managedFields" && self.text == ".metadata"
    }
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
    path: &mut Trail,
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
            for (key, item) in map {
                if path.is_owners(key) {
                    continue;
                }
                let back = path.enter(|text| {
                    text.push('.');
                    text.push_str(key);
                });
                let child = child_of(schema, key);
                match child {
                    Some(child) => check_at(child, item, once, path, errors),
                    None => errors.push((path.text.clone(), "field not declared in schema".to_owned())),
                }
                path.leave(back);
                if child.is_none() {
                    // Upstream looks no further in what holds a member that nobody knows.
                    break;
                }
            }
        }
        (Shape::Object(_), other) => {
            errors.push((path.text.clone(), format!("expected map, got {}", pointer(other))));
        }
        (Shape::List(list), Value::Array(items)) => check_items(list, items, once, path, errors),
        (Shape::List(_), other) => {
            errors.push((path.text.clone(), format!("expected list, got {}", pointer(other))));
        }
        // It has no type where upstream merges.
        (Shape::IntOrString, _) => {}
        (Shape::String, value) if has_format(schema) => {
            if value.is_object() || value.is_array() {
                errors.push((path.text.clone(), format!("expected any scalar, got {}", pointer(value))));
            }
        }
        (shape, value) => {
            if let Some(message) = check_scalar(shape, value) {
                errors.push((path.text.clone(), message));
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
    path: &mut Trail,
    errors: &mut Vec<(String, String)>,
) {
    let keyed = !matches!(list.kind, crate::node::ListKind::Atomic);
    let mut seen = HashSet::new();
    for (i, item) in items.iter().enumerate() {
        let step = match keyed.then(|| item_step(list, item)).transpose() {
            Ok(step) => step,
            Err(message) => {
                errors.push((path.text.clone(), format!("element {i}: {message}")));
                return;
            }
        };
        if let Some(step) = step.as_ref().filter(|step| once && !seen.insert((*step).clone())) {
            let printed = super::set::print_path(&[step]);
            errors.push((path.text.clone(), format!("duplicate entries for key {printed}")));
        }
        let back = path.enter(|text| match &step {
            Some(step) => text.push_str(&super::set::print_path(&[step])),
            None => {
                let _ = write!(text, "[{i}]");
            }
        });
        check_at(list.items.get(), item, once, path, errors);
        path.leave(back);
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
