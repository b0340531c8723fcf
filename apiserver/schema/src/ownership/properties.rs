//! Properties of apply that hold for any configurations.

use apiserver_json::{Map, Value, json};
use proptest::prelude::*;

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
        versions: None,
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
            spec.insert("ports".into(), json!(ports));
        }
        if !selector.is_empty() {
            spec.insert("selector".into(), json!(selector));
        }
        if !spec.is_empty() {
            out["spec"] = Value::Object(spec);
        }
        out
    })
}

/// Anything, mostly of names that mean something somewhere.
fn anything() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        Just(json!("")),
        Just(json!("a\"\\\n")),
        Just(json!("TCP")),
        Just(json!(80)),
        Just(json!([])),
        Just(json!({}))
    ];
    let names = "metadata|spec|status|template|name|labels|annotations|finalizers|ownerReferences|uid|containers|ports\
        |env|containerPort|protocol|image|volumeMounts|mountPath|conditions|type|replicas|selector|matchLabels|a\"b|x"
        .split('|')
        .map(|name| name.trim().to_owned())
        .collect::<Vec<_>>();
    leaf.prop_recursive(7, 200, 6, move |inner| {
        let member = (proptest::sample::select(names.clone()), inner.clone());
        let map = proptest::collection::vec(member, 0..8)
            .prop_map(|members| Value::Object(members.into_iter().collect()));
        prop_oneof![3 => map, 2 => proptest::collection::vec(inner, 0..4).prop_map(Value::from)]
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
        let set = FieldSet::from_fields_v1(entry["fieldsV1"].as_raw().unwrap_or_default())
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

    /// Owners that are read as text are told the same as owners that are taken apart.
    #[test]
    fn text_is_as_good_as_sets(steps in proptest::collection::vec((config(), 0_usize..3), 1..6)) {
        let schema = builtin("", "v1", "Service").expect("a built-in kind");
        let write = |live: Option<&Value>, new: &Value, name: &str| {
            let mut new = new.clone();
            if let Some(list) = live.and_then(|live| live["metadata"].get("managedFields")) {
                new["metadata"]["managedFields"] = list.clone();
            }
            let manager = Manager { operation: Operation::Update, ..manager(name) };
            update(&schema, live, &mut new, &manager, &FieldSet::new());
            new
        };
        let unpacked = |object: &Value| {
            let mut object = object.clone();
            apiserver_meta::packed::unpack(&mut object);
            object
        };
        let mut text: Option<Value> = None;
        let mut sets: Option<Value> = None;
        for (config, who) in &steps {
            let name = ["alpha", "beta", "gamma"][*who];
            text = Some(write(text.as_ref(), config, name));
            sets = Some(unpacked(&write(sets.as_ref(), config, name)));
            prop_assert_eq!(text.as_ref().map(unpacked), sets.clone());
        }
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

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn a_new_object_is_owned_as_one_that_differs_from_the_empty_one(
        object in anything(),
        // Some of them with the same key.
        items in proptest::collection::vec((0_u16..3, anything()), 0..4),
        which in 0_usize..5,
    ) {
        let (group, kind) = [("", "Pod"), ("apps", "Deployment"), ("", "Service"), ("", "ConfigMap"), ("", "-")][which];
        let schema = builtin(group, "v1", kind).unwrap_or_else(Schema::any);
        let reset = FieldSet::of(&[&["status"], &["spec", "replicas"]]);
        let mut new = json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": "x"}});
        for (name, value) in object.as_object().into_iter().flatten() {
            new[name] = value.clone();
        }
        let items = items.into_iter().map(|(key, value)| {
            json!({"name": key.to_string(), "port": key, "env": value})
        });
        if let Some(spec) = new["spec"].as_object_mut() {
            let member = if kind == "Service" { "ports" } else { "containers" };
            spec.insert(member.into(), items.collect());
        }
        let manager = Manager { operation: Operation::Update, ..manager("m") };
        let mut slow = new.clone();
        super::manager::update_by_comparison(&schema, None, &mut slow, &manager, &reset);
        update(&schema, None, &mut new, &manager, &reset);
        prop_assert_eq!(new, slow);
    }
}
