//! Which values of a changed object are the ones they were.
//!
//! Upstream holds what did not change against nobody. Each value is compared once, from the leaves up, whatever the
//! number of those that ask for it.

use std::collections::{HashMap, HashSet};

use apiserver_json::Value;

use crate::node::{ListKind, Schema, Shape};

/// The values of an object that are as they were, known by where they stand in memory. What is within one of them is not
/// told of.
#[derive(Debug, Default)]
pub(super) struct Unchanged(HashSet<usize>);

impl Unchanged {
    /// Compares an object with what it was.
    pub(super) fn of(schema: &Schema, old: &Value, value: &Value) -> Self {
        let mut found = Vec::new();
        compare(schema, old, value, &mut found);
        Self(found.into_iter().collect())
    }

    pub(super) fn has(&self, value: &Value) -> bool {
        !self.0.is_empty() && self.0.contains(&address(value))
    }
}

fn address(value: &Value) -> usize {
    std::ptr::from_ref(value) as usize
}

/// Is a value the one it was? As upstream sees it: items that have keys are the same in any order, and what the schema
/// does not know is never the same.
fn compare(schema: &Schema, old: &Value, value: &Value, found: &mut Vec<usize>) -> bool {
    let before = found.len();
    let is_same = match (old, value) {
        (Value::Array(old_items), Value::Array(items)) => compare_lists(schema, old_items, items, found),
        (Value::Object(old_map), Value::Object(map)) if schema.object().is_none() => {
            old_map.is_empty() && map.is_empty()
        }
        (Value::Object(old_map), Value::Object(map)) => {
            let Some(object) = schema.object() else { return false };
            let is_known = |key: &str, child: &Schema| {
                let is_named = object.fields.contains_key(key);
                !object.go_struct && (is_named || !matches!(child.shape, Shape::Any { .. }))
            };
            let mut is_same = old_map.len() == map.len();
            for (key, item) in map {
                let child = schema.child(key).filter(|child| is_known(key, child));
                is_same &=
                    child.zip(old_map.get(key)).is_some_and(|(child, old)| compare(child, old, item, found));
            }
            is_same
        }
        _ => crate::golang::equal(old, value),
    };
    if is_same {
        found.truncate(before);
        found.push(address(value));
    }
    is_same
}

fn compare_lists(schema: &Schema, old: &[Value], items: &[Value], found: &mut Vec<usize>) -> bool {
    let of_keys = schema.list().and_then(|list| match &list.kind {
        ListKind::Map(keys) => Some((list.items.get(), keys.as_slice())),
        _ => None,
    });
    let Some((item_schema, keys)) = of_keys else {
        let is_same = |(old, item): (&Value, &Value)| crate::golang::equal(old, item);
        return old.len() == items.len() && old.iter().zip(items).all(is_same);
    };
    let mut by_key: HashMap<String, &Value> = HashMap::new();
    for item in old {
        if let Some(key) = key_of(keys, item) {
            by_key.entry(key).or_insert(item);
        }
    }
    let mut is_same = old.len() == items.len();
    for item in items {
        let old = key_of(keys, item).and_then(|key| by_key.get(&key));
        is_same &= old.is_some_and(|old| compare(item_schema, old, item, found));
    }
    is_same
}

/// The keys of an item, as one text; an item that lacks one, or has one that is no scalar, is like no other.
fn key_of(keys: &[Box<str>], item: &Value) -> Option<String> {
    let mut text = String::new();
    for key in keys {
        match item.get(&**key)? {
            Value::Null | Value::Array(_) | Value::Object(_) => return None,
            scalar => {
                text.push_str(&scalar.to_string());
                text.push('\0');
            }
        }
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use apiserver_json::json;

    use super::*;

    /// A definition may make a list of what was a map: an empty one is still held against nobody.
    #[test]
    fn an_empty_map_is_as_it_was_whatever_it_should_be() {
        let texts = json!({"type": "array", "items": {"type": "string"}});
        let schema = json!({"type": "object", "properties": {"a": {"type": "integer"}, "m": texts}});
        let schema = crate::from_crd_schema(&schema).unwrap();
        let (old, value) = (json!({"a": 1, "m": {}}), json!({"a": 2, "m": {}}));
        let known = Unchanged::of(&schema, &old, &value);
        assert!(known.has(&value["m"]) && !known.has(&value["a"]));
    }

    /// Would not end in anybody's time if each item were looked for among all others.
    #[test]
    fn a_long_list_may_be_turned_round() {
        let list = json!({"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["id"],
            "items": {"type": "object", "properties": {"id": {"type": "integer"}, "n": {"type": "string"}}}});
        let schema = json!({"type": "object", "properties": {"l": list}});
        let schema = crate::from_crd_schema(&schema).unwrap();
        let item = |id: u64| json!({"id": id, "n": "x"});
        let old = json!({"l": (0..100_000).map(item).collect::<Vec<_>>()});
        let mut value = json!({"l": (0..100_000).rev().map(item).collect::<Vec<_>>()});
        assert!(Unchanged::of(&schema, &old, &value).has(&value));
        value["l"].as_array_mut().unwrap()[7]["n"] = "y".into();
        let known = Unchanged::of(&schema, &old, &value);
        let items = value["l"].as_array().unwrap();
        assert!(!known.has(&value) && !known.has(&items[7]) && known.has(&items[8]));
    }

    #[test]
    fn keys_tell_items_apart() {
        let keys: Vec<Box<str>> = vec!["a".into(), "b".into()];
        for (item, other, is_same) in [
            (json!({"a": 1, "b": "x", "c": 1}), json!({"a": 1, "b": "x"}), true),
            (json!({"a": 1, "b": "x"}), json!({"a": "1", "b": "x"}), false),
            (json!({"a": "1", "b": "2"}), json!({"a": "12", "b": ""}), false),
            (json!({"a": 1}), json!({"a": 1}), false),
            (json!({"a": 1, "b": {}}), json!({"a": 1, "b": {}}), false),
        ] {
            let key = key_of(&keys, &item);
            assert_eq!(key.is_some() && key == key_of(&keys, &other), is_same, "{item} {other}");
        }
    }
}
