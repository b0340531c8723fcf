//! Ownership and apply: upstream's cases as tables, and properties over random objects.

use apiserver_json::{Value, json};

use super::*;
use crate::decode::{Decode, decode};
use crate::node::Schema;
use crate::types::builtin;

fn manager<'a>(name: &'a str, api_version: &'a str) -> Manager<'a> {
    Manager {
        name,
        operation: Operation::Apply,
        api_version,
        subresource: "",
        time: "2024-01-01T00:00:00Z",
        versions: None,
    }
}

fn applied(
    schema: &Schema,
    live: &Value,
    name: &str,
    config: Value,
    force: bool,
) -> Result<Value, ApplyError> {
    let version = config["apiVersion"].as_str().unwrap_or_default().to_owned();
    let mut out = apply(schema, live, &config, &manager(name, &version), force, &FieldSet::new())?;
    decode(schema, &mut out, Decode::Json).unwrap();
    Ok(out)
}

fn fields(object: &Value, name: &str) -> Value {
    let list = object["metadata"]["managedFields"].as_array().unwrap_or_default();
    list.iter().find(|e| e["manager"] == name).map_or(Value::Null, |e| {
        let text = e["fieldsV1"].as_raw().expect("entries are written packed");
        apiserver_json::from_str(text).unwrap()
    })
}

fn config_map(data: Value) -> Value {
    let mut object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}});
    if !data.is_null() {
        object["data"] = data;
    }
    object
}

#[test]
fn fields_left_out_are_removed() {
    let schema = builtin("", "v1", "ConfigMap").unwrap();
    let start = config_map(json!(null));
    let one = applied(&schema, &start, "alpha", config_map(json!({"x": "1", "y": "2"})), false).unwrap();
    let two = applied(&schema, &one, "alpha", config_map(json!({"x": "3"})), false).unwrap();
    assert_eq!(two["data"], json!({"x": "3"}));
    assert_eq!(fields(&two, "alpha"), json!({"f:data": {"f:x": {}}}));
}

#[test]
fn conflicts_name_the_owner() {
    let schema = builtin("", "v1", "ConfigMap").unwrap();
    let one =
        applied(&schema, &config_map(json!(null)), "alpha", config_map(json!({"k": "v"})), false).unwrap();
    let error = applied(&schema, &one, "beta", config_map(json!({"k": "w"})), false).unwrap_err();
    assert_eq!(error.to_string(), r#"Apply failed with 1 conflict: conflict with "alpha": .data.k"#);
    let same = applied(&schema, &one, "beta", config_map(json!({"k": "v"})), false).unwrap();
    assert_eq!(fields(&same, "beta"), json!({"f:data": {"f:k": {}}}));
    let entries = same["metadata"]["managedFields"].as_array().unwrap();
    assert_eq!(entries.iter().filter(|e| e.get("time").is_none()).count(), 1, "a no-op apply has no time");
    let forced = applied(&schema, &one, "beta", config_map(json!({"k": "w"})), true).unwrap();
    assert_eq!(fields(&forced, "alpha"), Value::Null);
    assert_eq!(forced["data"], json!({"k": "w"}));
}

#[test]
fn several_conflicts_are_listed() {
    let schema = builtin("", "v1", "Service").unwrap();
    let service = |spec: Value| json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}, "spec": spec});
    let start = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}});
    let first = service(json!({"selector": {"app": "web"}, "ports": [{"name": "a", "port": 80}],
        "sessionAffinity": "None"}));
    let mut one = applied(&schema, &start, "alpha", first, false).unwrap();
    one.pointer_mut("/spec/ports/0").unwrap()["protocol"] = json!("TCP");
    let second = service(json!({"selector": {"app": "x"}, "ports": [{"name": "b", "port": 80}],
        "sessionAffinity": "ClientIP"}));
    let error = applied(&schema, &one, "beta", second, false).unwrap_err();
    assert_eq!(
        error.to_string(),
        "Apply failed with 3 conflicts: conflicts with \"alpha\":\n- .spec.selector\n- .spec.sessionAffinity\n\
         - .spec.ports[port=80,protocol=\"TCP\"].name"
    );
}

#[test]
fn list_map_items_have_owners() {
    let schema = builtin("", "v1", "Service").unwrap();
    let service = |ports: Value| json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}, "spec": {"ports": ports}});
    let start = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}});
    let one = applied(&schema, &start, "alpha", service(json!([{"name": "a", "port": 80}])), false).unwrap();
    let added = service(json!([{"name": "b", "port": 81, "protocol": "TCP"}]));
    let two = applied(&schema, &one, "beta", added, false).unwrap();
    assert_eq!(
        fields(&two, "beta"),
        json!({"f:spec": {"f:ports": {"k:{\"port\":81,\"protocol\":\"TCP\"}":
            {".": {}, "f:name": {}, "f:port": {}, "f:protocol": {}}}}})
    );
    let three = applied(&schema, &two, "beta", service(json!([])), false).unwrap();
    assert_eq!(three["spec"]["ports"], json!([{"name": "a", "port": 80, "targetPort": 0}]));
    assert_eq!(fields(&three, "beta"), Value::Null);
}

#[test]
fn finalizers_merge_as_a_set() {
    let schema = builtin("", "v1", "ConfigMap").unwrap();
    let with = |finalizers: Value| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "finalizers": finalizers}});
    let one = applied(&schema, &config_map(json!(null)), "alpha", with(json!(["e.com/a"])), false).unwrap();
    let two = applied(&schema, &one, "beta", with(json!(["e.com/b"])), false).unwrap();
    assert_eq!(two["metadata"]["finalizers"], json!(["e.com/a", "e.com/b"]));
    assert_eq!(fields(&two, "beta"), json!({"f:metadata": {"f:finalizers": {"v:\"e.com/b\"": {}}}}));
    let three = applied(&schema, &two, "alpha", config_map(json!({"k": "v"})), false).unwrap();
    assert_eq!(three["metadata"]["finalizers"], json!(["e.com/b"]));
}

#[test]
fn schema_errors_are_in_upstream_words() {
    let schema = builtin("", "v1", "ConfigMap").unwrap();
    let mut bad = config_map(json!({"false": 5}));
    bad["metadata"]["name"] = json!("b");
    let error = applied(&schema, &config_map(json!(null)), "alpha", bad, false).unwrap_err();
    assert_eq!(
        error.to_string(),
        "failed to create typed patch object (/b; /v1, Kind=ConfigMap): .data.false: expected string, got \
         &value.valueUnstructured{Value:5}"
    );
    let mut unknown = config_map(json!(null));
    (unknown["metadata"]["name"], unknown["bar"], unknown["foo"]) = (json!("b"), json!(1), json!(1));
    let error = applied(&schema, &config_map(json!(null)), "alpha", unknown, false).unwrap_err();
    assert_eq!(
        error.to_string(),
        "failed to create typed patch object (/b; /v1, Kind=ConfigMap): .bar: field not declared in schema",
        "upstream looks no further"
    );
    // What is raw is of no type: the kind's own rules say what it may be.
    let schema = builtin("apps", "v1", "ControllerRevision").unwrap();
    for data in [json!({"a": 1}), json!("x"), json!([1])] {
        let revision = json!({"apiVersion": "apps/v1", "kind": "ControllerRevision", "metadata": {"name": "r"}, "data": data});
        let empty = json!({"apiVersion": "apps/v1", "kind": "ControllerRevision"});
        assert!(applied(&schema, &empty, "alpha", revision, false).is_ok(), "{data}");
    }
}

#[test]
fn an_object_that_its_definition_left_behind_has_no_owners() {
    let spec = json!({"type": "object", "properties": {"a": {"type": "integer"}, "l": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}}}});
    let schema =
        crate::from_crd_schema(&json!({"type": "object", "properties": {"spec": spec}})).expect("a schema");
    let object = |spec: Value| json!({"apiVersion": "a.io/v1", "kind": "A", "metadata": {"name": "x", "namespace": "n"}, "spec": spec});
    let who = Manager { operation: Operation::Update, ..manager("m", "a.io/v1") };
    let owned = |spec: Value| {
        let mut object = object(spec);
        object["metadata"]["managedFields"] = json!([{"manager": "u", "operation": "Update", "apiVersion": "a.io/v1",
            "fieldsType": "FieldsV1", "fieldsV1": {"f:spec": {"f:a": {}}}}]);
        object
    };
    let why = ".spec.a: expected numeric (int or float), got string";
    for (live, want) in [
        // What is there twice was there before.
        (owned(json!({"a": 1, "l": ["x", "x"]})), String::new()),
        (
            owned(json!({"a": "s"})),
            format!("failed to create typed live object (n/x; a.io/v1, Kind=A): {why}"),
        ),
        (
            object(json!({"a": "s"})),
            format!(
                "failed to create manager for existing fields: failed to convert new object (n/x; a.io/v1, Kind=A) to smd typed: {why}"
            ),
        ),
    ] {
        let got = applied(&schema, &live, "m", object(json!({"a": 5})), true);
        assert_eq!(got.err().map(|error| error.to_string()).unwrap_or_default(), want);
        let mut new = live.clone();
        new["metadata"]["labels"] = json!({"a": "b"});
        update(&schema, Some(&live), &mut new, &who, &FieldSet::new());
        assert_eq!(new["metadata"].get("managedFields").is_none(), !want.is_empty(), "{live}");
    }
}

#[test]
fn what_is_kept_as_it_was_sent_is_owned_as_a_whole() {
    let schema = builtin("apps", "v1", "ControllerRevision").unwrap();
    let revision = |data: Value| json!({"apiVersion": "apps/v1", "kind": "ControllerRevision", "metadata": {"name": "a"}, "data": data, "revision": 1});
    let mut made = revision(json!({"x": {"y": 1}}));
    let who = Manager { operation: Operation::Update, ..manager("kubectl", "apps/v1") };
    update(&schema, None, &mut made, &who, &FieldSet::new());
    assert_eq!(fields(&made, "kubectl"), json!({"f:data": {}, "f:revision": {}}));
    let one = applied(&schema, &revision(json!(null)), "alpha", revision(json!({"x": 1})), false).unwrap();
    assert_eq!(fields(&one, "alpha"), json!({"f:data": {}, "f:revision": {}}));
    let two = applied(&schema, &one, "alpha", revision(json!({"y": 2})), false).unwrap();
    assert_eq!(two["data"], json!({"y": 2}));
}

#[test]
fn creates_own_what_they_set() {
    let schema = builtin("apps", "v1", "Deployment").unwrap();
    let mut new = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": {
        "paused": true, "replicas": 0, "selector": {"matchLabels": {"app": "web"}},
        "strategy": {"rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}, "type": "RollingUpdate"},
        "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "i",
            "env": [{"name": "A", "value": "1"}], "ports": [{"containerPort": 80, "name": "http", "protocol": "TCP"}],
            "resources": {}}], "securityContext": {}}}}});
    decode(&schema, &mut new, Decode::Json).unwrap();
    let who = Manager { operation: Operation::Update, ..manager("curl", "apps/v1") };
    update(&schema, None, &mut new, &who, &FieldSet::of(&[&["status"]]));
    assert_eq!(
        fields(&new, "curl"),
        json!({"f:spec": {"f:paused": {}, "f:replicas": {}, "f:selector": {},
            "f:strategy": {"f:rollingUpdate": {".": {}, "f:maxSurge": {}, "f:maxUnavailable": {}}, "f:type": {}},
            "f:template": {"f:metadata": {"f:labels": {".": {}, "f:app": {}}}, "f:spec": {"f:containers":
                {"k:{\"name\":\"c\"}": {".": {}, "f:env": {".": {}, "k:{\"name\":\"A\"}": {".": {}, "f:name": {},
                    "f:value": {}}}, "f:image": {}, "f:name": {}, "f:ports": {".": {},
                    "k:{\"containerPort\":80,\"protocol\":\"TCP\"}": {".": {}, "f:containerPort": {}, "f:name": {},
                    "f:protocol": {}}}, "f:resources": {}}}, "f:securityContext": {}}}}})
    );
    let before = new.clone();
    let later = Manager { time: "2025-01-01T00:00:00Z", ..who };
    update(&schema, Some(&before), &mut new, &later, &FieldSet::new());
    assert_eq!(new, before, "an update without a change keeps the entries and their time");
}

#[test]
fn updates_take_and_release_fields() {
    let schema = builtin("", "v1", "ConfigMap").unwrap();
    let mut one = config_map(json!({"k": "v"}));
    let a = Manager { operation: Operation::Update, ..manager("a", "v1") };
    update(&schema, None, &mut one, &a, &FieldSet::new());
    one["metadata"]["uid"] = json!("u");
    assert_eq!(fields(&one, "a"), json!({"f:data": {".": {}, "f:k": {}}}));
    let mut two = one.clone();
    two["data"]["x"] = json!("y");
    update(&schema, Some(&one), &mut two, &Manager { name: "b", ..a }, &FieldSet::new());
    assert_eq!(fields(&two, "a"), json!({"f:data": {".": {}, "f:k": {}}}));
    assert_eq!(fields(&two, "b"), json!({"f:data": {"f:x": {}}}));
    let mut three = two.clone();
    three["data"] = json!({"k": "w"});
    update(&schema, Some(&two), &mut three, &Manager { name: "b", ..a }, &FieldSet::new());
    assert_eq!(fields(&three, "a"), json!({"f:data": {}}));
    assert_eq!(fields(&three, "b"), json!({"f:data": {"f:k": {}}}));
    let mut reset = three.clone();
    reset["metadata"]["managedFields"] = json!([{}]);
    update(&schema, Some(&three), &mut reset, &a, &FieldSet::new());
    assert_eq!(reset["metadata"].get("managedFields"), None);
    let next = applied(&schema, &reset, "alpha", config_map(json!({"n": "1"})), false).unwrap();
    assert_eq!(fields(&next, "before-first-apply"), json!({"f:data": {".": {}, "f:k": {}}}));
    let error = applied(&schema, &next, "alpha", config_map(json!({"k": "x"})), false).unwrap_err();
    assert_eq!(
        error.to_string(),
        "Apply failed with 1 conflict: conflict with \"before-first-apply\" using v1: .data.k"
    );
}

#[test]
fn many_updaters_become_one() {
    let schema = builtin("", "v1", "ConfigMap").unwrap();
    let mut live = config_map(json!({}));
    live["metadata"]["labels"] = json!({"l": "1"});
    update(
        &schema,
        None,
        &mut live,
        &Manager { operation: Operation::Update, ..manager("m", "v1") },
        &FieldSet::new(),
    );
    live["metadata"]["uid"] = json!("u");
    for i in 0..15 {
        let mut next = live.clone();
        next["data"][format!("k{i:02}")] = json!("v");
        let name = format!("m{i:02}");
        let time = format!("2024-01-01T00:00:{i:02}Z");
        let who = Manager { name: &name, operation: Operation::Update, time: &time, ..manager("m", "v1") };
        update(&schema, Some(&live), &mut next, &who, &FieldSet::new());
        live = next;
    }
    assert_eq!(live["metadata"]["managedFields"].as_array().unwrap().len(), 10);
    assert_ne!(fields(&live, "ancient-changes"), Value::Null);
}

#[test]
fn what_is_owned_in_another_version_must_fit_it() {
    let of = |spec: Value| {
        let text = json!({"type": "string"});
        crate::from_crd_schema(&json!({"type": "object", "properties": {
            "spec": {"type": "object", "properties": spec},
            "status": {"type": "object", "properties": {"a": text}},
        }}))
        .unwrap()
    };
    let text = json!({"type": "string"});
    let versions = Versions::from([
        ("g/v1".to_owned(), of(json!({"a": text}))),
        ("g/v2".to_owned(), of(json!({"a": text, "b": text}))),
    ]);
    let object = |version: &str, spec: Value| json!({"apiVersion": version, "kind": "Q", "metadata": {"name": "q"}, "spec": spec});
    let live = object("g/v1", json!({"a": "x"}));
    let first = Manager { versions: Some(&versions), ..manager("one", "g/v1") };
    let reset = FieldSet::of(&[&["status"]]);
    let mut live = apply(&versions["g/v1"], &live, &live, &first, false, &reset).unwrap();
    live["apiVersion"] = json!("g/v2");
    let second = Manager { versions: Some(&versions), ..manager("two", "g/v2") };
    let refused = apply(&versions["g/v2"], &live, &object("g/v2", json!({"b": "y"})), &second, false, &reset);
    let why = "failed to convert new object: .spec.b: field not declared in schema";
    assert_eq!(refused, Err(ApplyError::Failed(why.to_owned())));
    let fits =
        apply(&versions["g/v2"], &live, &object("g/v2", json!({"a": "x"})), &second, false, &reset).unwrap();
    assert_eq!(fits["metadata"]["managedFields"].as_array().map(<[_]>::len), Some(3));
    // A write that owns nothing there any more forgets them all.
    let mut changed = live.clone();
    changed["spec"]["b"] = json!("z");
    let who = Manager { operation: Operation::Update, ..second };
    update(&versions["g/v2"], Some(&live), &mut changed, &who, &reset);
    assert_eq!(changed["metadata"].get("managedFields"), None);
}

#[test]
fn who_owns_in_a_version_that_is_gone_keeps_others_from_applying() {
    let text = json!({"type": "string"});
    let schema =
        json!({"type": "object", "properties": {"spec": {"type": "object", "properties": {"a": text}}}});
    let versions = Versions::from([("g/v2".to_owned(), crate::from_crd_schema(&schema).unwrap())]);
    let object = |spec: Value| json!({"apiVersion": "g/v2", "kind": "Q", "metadata": {"name": "q", "uid": "u"}, "spec": spec});
    let mut live = object(json!({"a": "x"}));
    live["metadata"]["managedFields"] = json!([{"manager": "one", "operation": "Update", "apiVersion": "g/v1",
        "fieldsType": "FieldsV1", "fieldsV1": Value::Raw(r#"{"f:spec":{"f:a":{}}}"#.into())}]);
    let who = Manager { versions: Some(&versions), ..manager("two", "g/v2") };
    let applied = json!({"apiVersion": "g/v2", "kind": "Q", "metadata": {"name": "q"}, "spec": {"a": "y"}});
    let refused = apply(&versions["g/v2"], &live, &applied, &who, true, &FieldSet::new());
    let why = "request to convert CR to an invalid group/version: g/v1";
    assert_eq!(refused, Err(ApplyError::Failed(why.to_owned())));
    let mut changed = live.clone();
    changed["spec"]["a"] = json!("z");
    let updater = Manager { operation: Operation::Update, ..who };
    update(&versions["g/v2"], Some(&live), &mut changed, &updater, &FieldSet::new());
    assert_eq!(changed["metadata"].get("managedFields"), None);
}

#[test]
fn what_an_object_keeps_merges_below_it_and_a_null_leaves_what_is_there() {
    let keeps = "x-kubernetes-preserve-unknown-fields";
    let schema = crate::from_crd_schema(&json!({"type": "object", "properties": {"spec": {"type": "object", "properties": {
        "p": {"type": "object", keeps: true, "properties": {"k": {"type": "object", "properties": {"j": {"type": "string"}}}}},
        "free": {"type": "object"}, "strict": {"type": "object", "properties": {"x": {"type": "string"}}}, "any": {keeps: true},
    }}}}))
    .unwrap();
    let of =
        |spec: Value| json!({"apiVersion": "g/v1", "kind": "Q", "metadata": {"name": "q"}, "spec": spec});
    let live = of(json!({"any": {"x": 1}}));
    for (spec, want) in [
        (json!({"p": {"k": {"u": 1}}}), Ok(json!({"any": {"x": 1}, "p": {"k": {"u": 1}}}))),
        (json!({"free": {"u": 1}}), Ok(json!({"any": {"x": 1}, "free": {"u": 1}}))),
        (json!({"any": null}), Ok(json!({"any": {"x": 1}}))),
        (json!({"strict": {"u": 1}}), Err(".spec.strict.u: field not declared in schema")),
    ] {
        let made = apply(&schema, &live, &of(spec.clone()), &manager("m", "g/v1"), false, &FieldSet::new());
        match want {
            Ok(want) => assert_eq!(made.unwrap()["spec"], want, "{spec}"),
            Err(why) => assert!(made.unwrap_err().to_string().ends_with(why), "{spec}"),
        }
    }
}

#[test]
fn a_new_object_with_an_item_without_a_key_has_no_owners_wherever_it_is() {
    let schema = builtin("", "v1", "Service").unwrap();
    let reset = FieldSet::of(&[&["status"]]);
    let updater = Manager { operation: Operation::Update, ..manager("m", "v1") };
    for (status, owned) in
        [(json!({"conditions": [null]}), false), (json!({"conditions": [{"type": "a"}]}), true)]
    {
        let mut new = json!({"metadata": {"labels": {"a": "b"}}, "status": status});
        let mut slow = new.clone();
        super::manager::update_by_comparison(&schema, None, &mut slow, &updater, &reset);
        update(&schema, None, &mut new, &updater, &reset);
        assert_eq!(new, slow);
        assert_eq!(new["metadata"].get("managedFields").is_some(), owned);
    }
}
