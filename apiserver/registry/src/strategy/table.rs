//! Runs the rules of a kind as the verbs do, for tables of objects and what upstream says of them.

use std::sync::OnceLock;

use apiserver_json::Value;
use apiserver_meta::{GroupVersion, GroupVersionKind};
use apiserver_schema::{Decode, decode_sent, merge_patch};

use crate::catalogue::{Catalogue, Resource};
use crate::object;

/// What is checked: a new object, an updated one, an updated status.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Write {
    Create,
    Update,
    Status,
}

/// Checks rows of (what differs from the base before, what the write changes, causes).
pub(super) fn check(write: Write, base: &Value, rows: &[(Value, Value, &[&str])]) {
    let mut wrong = String::new();
    for (before, change, want) in rows {
        let old = merge_patch(base, before);
        let new = merge_patch(&old, change);
        let got = causes(write, &old, &new);
        if got != *want {
            wrong.push_str(&format!("\n{before} {change}\n  got  {got:#?}\n  want {want:#?}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

/// As [`check`], of new objects: rows of (what differs from the base, causes).
pub(super) fn check_new(base: &Value, rows: &[(Value, &[&str])]) {
    let none = Value::Object(apiserver_json::Map::new());
    let rows: Vec<(Value, Value, &[&str])> =
        rows.iter().map(|(change, want)| (none.clone(), change.clone(), *want)).collect();
    check(Write::Create, base, &rows);
}

fn causes(write: Write, old: &Value, new: &Value) -> Vec<String> {
    let resource = resource_of(new);
    let strategy = resource.strategy;
    let read = |value: &Value| {
        let mut value = value.clone();
        if let Some(schema) = resource.schema() {
            decode_sent(&schema, &mut value, Decode::Json).expect("a row is an object of its kind");
        }
        value
    };
    let mut new = read(new);
    let errors = if write == Write::Create {
        if strategy.status
            && let Some(map) = new.as_object_mut()
        {
            map.remove("status");
        }
        object::fill_for_create(resource, &mut new, "u", "2020-01-01T00:00:00Z", "abcde");
        (strategy.default)(&mut new);
        (strategy.prepare_create)(&mut new);
        object::tidy(&mut new);
        let mut errors = object::validate_create(resource, &new);
        errors.extend((strategy.validate_create)(&new));
        errors
    } else {
        let mut old = read(old);
        (strategy.default)(&mut old);
        object::keep_for_update(resource.namespaced, &mut new, &old);
        (strategy.default)(&mut new);
        let mut errors = Vec::new();
        if write == Write::Status {
            (strategy.prepare_status)(&mut new, &old);
            let checks = super::order::PLAIN;
            errors.extend(object::validate_update(strategy, &new, &old, checks, strategy.validate_status));
        } else {
            (strategy.prepare_update)(&mut new, &old);
            let checks = strategy.update_checks;
            errors.extend(object::validate_update(strategy, &new, &old, checks, strategy.validate_update));
        }
        errors
    };
    // What changed is told by the printer of internal types, which has tests of its own.
    let first = |text: String| text.split("\n@@").next().unwrap_or_default().to_owned();
    errors.iter().map(|error| first(error.to_string())).collect()
}

fn resource_of(object: &Value) -> &'static Resource {
    static CATALOGUE: OnceLock<Catalogue> = OnceLock::new();
    let catalogue = CATALOGUE.get_or_init(Catalogue::builtin);
    let text = |member: &str| object.get(member).and_then(Value::as_str).unwrap_or("");
    let version = GroupVersion::parse(text("apiVersion"));
    let kind = GroupVersionKind::new(version.group, version.version, text("kind"));
    catalogue.by_kind(&kind).expect("a kind of the catalogue")
}
