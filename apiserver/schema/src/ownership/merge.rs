//! Merging an applied configuration into a live object, checking it first, and taking fields out again.
//!
//! Follows the schema: structs and maps merge key by key, keyed lists item by item, everything else is replaced.

use std::collections::{HashMap, HashSet};

use apiserver_json::{Items, Map, Value};

use super::set::FieldSet;
use super::walk::{Form, child_of, entries, form, item_step, items};
use crate::node::{List, Schema};

/// The live object with the applied configuration merged in.
pub(super) fn merge(schema: &Schema, live: &Value, applied: &Value) -> Result<Value, String> {
    merge_at(schema, Some(live), Some(applied)).map(|merged| merged.unwrap_or(Value::Null))
}

fn merge_at(schema: &Schema, live: Option<&Value>, applied: Option<&Value>) -> Result<Option<Value>, String> {
    let Some(applied) = applied else { return Ok(live.cloned()) };
    // A null takes whatever form is there.
    let shown = if applied.is_null() { live } else { Some(applied) };
    match form(schema, shown) {
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
