//! Properties of apply that hold for any configurations.

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::*;
use crate::node::Schema;
use crate::types::builtin;

fn manager(name: &str) -> Manager<'_> {
    Manager {
        name,
        operation: Operation::Apply,
        api_version: "v1",
        subresource: "",
        time: "2024-01-01T00:00:00Z",
    }
}

/// A Service with some ports, selector entries, labels and finalizers.
fn config() -> impl Strategy<Value = Value> {
    let ports = proptest::collection::btree_set(1_u8..6, 0..4);
    let names = proptest::collection::btree_map("[a-c]", "[xy]", 0..3);
    let labels = proptest::collection::btree_map("[a-c]", "[xy]", 0..3);
    let finalizers = proptest::collection::btree_set("e.com/[a-c]", 0..3);
    (ports, names, labels, finalizers).prop_map(|(ports, selector, labels, finalizers)| {
        let ports: Vec<_> =
            ports.into_iter().map(|port| json!({"port": port, "name": format!("p{port}")})).collect();
        let mut out = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}});
        if !labels.is_empty() {
            out["metadata"]["labels"] = json!(labels);
        }
        if !finalizers.is_empty() {
            out["metadata"]["finalizers"] = json!(finalizers);
        }
        let mut spec = Map::new();
        if !ports.is_empty() {
            spec.insert("ports".to_owned(), json!(ports));
        }
        if !selector.is_empty() {
            spec.insert("selector".to_owned(), json!(selector));
        }
        if !spec.is_empty() {
            out["spec"] = Value::Object(spec);
        }
        out
    })
}

fn force(schema: &Schema, live: &Value, name: &str, config: &Value) -> Value {
    apply(schema, live, config, &manager(name), true, &FieldSet::new())
        .expect("a forced apply of a valid object")
}

fn start() -> Value {
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}})
}

/// All paths that some entry owns, and their owners.
fn owned(object: &Value) -> Vec<(String, String)> {
    let mut out = Vec::new();
    for entry in object["metadata"]["managedFields"].as_array().into_iter().flatten() {
        let set = FieldSet::from_fields_v1(entry["fieldsV1"].as_str().unwrap_or_default())
            .expect("entries are readable");
        let name = entry["manager"].as_str().unwrap_or_default().to_owned();
        set.each(&mut |path| out.push((print_path(path), name.clone())));
    }
    out
}

fn without_owners(object: &Value) -> Value {
    let mut out = object.clone();
    if let Some(Value::Object(metadata)) = out.get_mut("metadata") {
        metadata.remove("managedFields");
    }
    out
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn applying_twice_changes_nothing(a in config(), b in config()) {
        let schema = builtin("", "v1", "Service").expect("a built-in kind");
        let live = force(&schema, &start(), "alpha", &a);
        let once = force(&schema, &live, "beta", &b);
        let twice = force(&schema, &once, "beta", &b);
        prop_assert_eq!(once, twice);
    }

    #[test]
    fn ownership_never_leaks(a in config(), b in config(), c in config()) {
        let schema = builtin("", "v1", "Service").expect("a built-in kind");
        let live = force(&schema, &start(), "alpha", &a);
        let live = force(&schema, &live, "beta", &b);
        let live = force(&schema, &live, "alpha", &c);
        let set = super::walk::field_set(&schema, &live);
        let mut there = std::collections::HashSet::new();
        set.each(&mut |path| { there.insert(print_path(path)); });
        for (path, owner) in owned(&live) {
            prop_assert!(there.contains(&path), "{owner} owns {path}, which is not there");
        }
        let claimed = super::walk::field_set(&schema, &c);
        let mut claims = std::collections::HashSet::new();
        claimed.each(&mut |path| { claims.insert(print_path(path)); });
        for (path, _) in owned(&live).into_iter().filter(|(_, owner)| owner == "alpha") {
            prop_assert!(claims.contains(&path), "alpha owns {path} without claiming it");
        }
    }

    #[test]
    fn the_last_owner_takes_the_field_along(a in config()) {
        let schema = builtin("", "v1", "Service").expect("a built-in kind");
        let live = force(&schema, &start(), "alpha", &a);
        let gone = force(&schema, &live, "alpha", &start());
        prop_assert_eq!(owned(&gone), vec![]);
        let left = without_owners(&gone);
        let empty = |v: &Value| v.as_object().is_none_or(|m| m.values().all(|v| v.is_null() || *v == json!({}) || *v == json!([])));
        prop_assert!(empty(&left["spec"]), "{}", left);
        prop_assert!(left["metadata"].get("labels").is_none_or(empty), "{}", left);
    }

    #[test]
    fn two_owners_keep_a_field(a in config()) {
        let schema = builtin("", "v1", "Service").expect("a built-in kind");
        let live = force(&schema, &start(), "alpha", &a);
        let live = force(&schema, &live, "beta", &a);
        let left = force(&schema, &live, "alpha", &start());
        prop_assert_eq!(&without_owners(&left)["spec"], &without_owners(&live)["spec"]);
    }
}
