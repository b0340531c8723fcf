//! Structural schemas of definitions, as tables.

use apiserver_json::{Value, json};
use apiserver_meta::field::aggregate;

use super::*;

fn spec(properties: Value) -> Value {
    json!({"type": "object", "properties": {"spec": {"type": "object", "properties": properties}}})
}

#[test]
fn scalars_fail_in_upstream_words() {
    let schema = from_crd_schema(&spec(json!({
        "n": {"type": "integer", "minimum": 1, "maximum": 10, "multipleOf": 2},
        "s": {"type": "string", "minLength": 2, "maxLength": 4, "pattern": "^[a-z]+$"},
        "e": {"type": "string", "enum": ["a", "b"]},
        "z": {"type": "string", "nullable": true, "enum": ["a", null]},
        "x": {"x-kubernetes-int-or-string": true},
    })))
    .unwrap();
    for (value, want) in [
        (json!({"n": 0}), "spec.n: Invalid value: 0: spec.n in body should be greater than or equal to 1"),
        (json!({"n": 12}), "spec.n: Invalid value: 12: spec.n in body should be less than or equal to 10"),
        (
            json!({"n": "x"}),
            "spec.n: Invalid value: \"string\": spec.n in body must be of type integer: \"string\"",
        ),
        (
            json!({"n": 1.5}),
            "[spec.n: Invalid value: \"number\": spec.n in body must be of type integer: \"number\", <nil>: Invalid \
             value: \"\": Checked value must be of type integer (default format) in spec.n, spec.n: Invalid value: \
             1.5: spec.n in body should be a multiple of 2]",
        ),
        (json!({"s": "x"}), "spec.s: Invalid value: \"x\": spec.s in body should be at least 2 chars long"),
        (json!({"s": "abcde"}), "spec.s: Too long: may not be more than 4 bytes"),
        (json!({"s": "AB"}), "spec.s: Invalid value: \"AB\": spec.s in body should match '^[a-z]+$'"),
        (json!({"e": "c"}), "spec.e: Unsupported value: \"c\": supported values: \"a\", \"b\""),
        (json!({"z": null}), "spec.z: Unsupported value: null: supported values: \"a\", \"null\""),
        (
            json!({"x": true}),
            "spec.x: Invalid value: \"boolean\": spec.x in body must be of type integer,string: \"boolean\"",
        ),
        (json!({"x": "1", "n": 4, "s": "ab", "e": "a"}), ""),
    ] {
        assert_eq!(aggregate(&validate(&schema, &json!({"spec": value}), "")), want, "{value}");
    }
}

#[test]
fn lists_have_no_duplicates() {
    let schema = from_crd_schema(&spec(json!({
        "s": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
        "m": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["id"],
            "items": {"type": "object", "required": ["id"], "properties": {"id": {"type": "string"}}}},
    })))
    .unwrap();
    for (value, want) in [
        (json!({"m": [{"id": "a"}, {"id": "a"}]}), "spec.m[1]: Duplicate value: {\"id\":\"a\"}"),
        (json!({"s": ["x", "y", "x"]}), "spec.s[2]: Duplicate value: \"x\""),
        (json!({"m": [{}]}), "spec.m[0].id: Required value"),
    ] {
        assert_eq!(aggregate(&validate(&schema, &json!({"spec": value}), "")), want);
    }
}

#[test]
fn what_did_not_change_is_held_against_nobody() {
    let schema = from_crd_schema(&spec(json!({
        "s": {"type": "string", "maxLength": 1},
        "o": {"type": "object", "required": ["z"], "properties": {"x": {"type": "string", "maxLength": 1}}},
        "few": {"type": "object", "maxProperties": 1, "x-kubernetes-preserve-unknown-fields": true, "properties": {
            "more": {"type": "integer"},
            "map": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["id"],
                "items": {"type": "object", "required": ["id"], "properties": {"id": {"type": "string"}}}}}},
        "set": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string", "maxLength": 2}},
        "map": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["id"],
            "items": {"type": "object", "required": ["id"],
                "properties": {"id": {"type": "string"}, "v": {"type": "string", "maxLength": 1}}}},
    })))
    .unwrap();
    for (old, new, want) in [
        (json!({"s": "ab"}), json!({"s": "ab", "set": []}), ""),
        // The same complaint about another value is another complaint.
        (json!({"s": "ab"}), json!({"s": "cd"}), "spec.s: Too long: may not be more than 1 byte"),
        (json!({"o": {"x": "ab"}}), json!({"o": {"x": "ab"}, "s": "a"}), ""),
        (json!({"o": {"x": "ab"}}), json!({"o": {"x": "ab", "y": 1}}), "spec.o.z: Required value"),
        // Who is in a set is somebody else in a changed one.
        (
            json!({"set": ["abc"]}),
            json!({"set": ["abc", "a"]}),
            "spec.set[0]: Too long: may not be more than 2 bytes",
        ),
        (json!({"set": ["a", "a"]}), json!({"set": ["b", "b"]}), ""),
        (json!({"set": ["a"]}), json!({"set": ["b", "b"]}), "spec.set[1]: Duplicate value: \"b\""),
        (
            json!({"map": [{"id": "1", "v": "ab"}]}),
            json!({"map": [{"id": "2", "v": "cd"}, {"id": "1", "v": "ab"}]}),
            "spec.map[0].v: Too long: may not be more than 1 byte",
        ),
        // The order of what has keys is no change; content that nobody knows is always one.
        (
            json!({"few": {"map": [{"id": "1"}, {"id": "2"}], "more": 1}}),
            json!({"few": {"map": [{"id": "2"}, {"id": "1"}], "more": 1}}),
            "",
        ),
        (
            json!({"few": {"more": 1, "zz": 1}}),
            json!({"few": {"more": 1, "zz": 1}, "s": "a"}),
            "spec.few: Too many: 2: must have at most 1 item",
        ),
    ] {
        let (old, new) = (json!({"spec": old}), json!({"spec": new}));
        assert_eq!(aggregate(&validate_change(&schema, &new, &old, "")), want, "{new}");
    }
}

#[test]
fn unknown_fields_are_pruned() {
    let schema = from_crd_schema(&spec(json!({
        "size": {"type": "integer"},
        "items": {"type": "array", "items": {"type": "object", "properties": {"a": {"type": "integer"}}}},
        "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true, "properties": {
            "known": {"type": "object", "properties": {"a": {"type": "integer"}}}}},
    })))
    .unwrap();
    let mut value = json!({"metadata": {"name": "w"}, "top": 1, "spec": {"size": 1, "gone": 1,
        "items": [{"a": 1, "b": 2}], "free": {"kept": {"x": 1}, "known": {"a": 1, "b": 2}}}});
    let unknown = prune(&schema, &mut value);
    assert_eq!(unknown, ["spec.free.known.b", "spec.gone", "spec.items[0].b", "top"]);
    let want = json!({"size": 1, "items": [{"a": 1}], "free": {"kept": {"x": 1}, "known": {"a": 1}}});
    assert_eq!(value["spec"], want);
    let root =
        from_crd_schema(&json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true})).unwrap();
    let mut value = json!({"spec": {"a": {"b": [1, null]}}, "top": {"x": 1}});
    let before = value.clone();
    assert!(prune(&root, &mut value).is_empty());
    apply_defaults(&root, &mut value);
    assert_eq!(value, before);
}

#[test]
fn defaults_fill_in_parents_first() {
    let schema = from_crd_schema(&spec(json!({
        "mode": {"type": "string", "default": "auto"},
        "nul": {"type": "string", "nullable": true, "default": "d"},
        "notnul": {"type": "string", "default": "d"},
        "gone": {"type": "string"},
        "nested": {"type": "object", "default": {}, "properties": {"x": {"type": "string", "default": "deep"}}},
        "list": {"type": "array", "items": {"type": "object", "properties": {
            "p": {"type": "string", "default": "TCP"}}}},
    })))
    .unwrap();
    let mut value = json!({"spec": {"nul": null, "notnul": null, "gone": null, "list": [{}, {"p": "UDP"}]}});
    drop_nulls(&schema, &mut value);
    apply_defaults(&schema, &mut value);
    assert_eq!(
        value["spec"],
        json!({"mode": "auto", "nul": null, "notnul": "d", "nested": {"x": "deep"},
            "list": [{"p": "TCP"}, {"p": "UDP"}]})
    );
}

#[test]
fn structural_rules() {
    // Only rules at the root have to be complete.
    let rule = json!({"type": "object", "allOf": [{"properties": {"x": {"minimum": 1}}}]});
    assert_eq!(
        aggregate(&structure(&rule, "s").structural),
        "s.properties[x]: Required value: because it is defined in s.allOf[0].properties[x]"
    );
    let root = "spec.validation.openAPIV3Schema";
    let a = "spec.validation.openAPIV3Schema.properties[spec].properties[a]";
    for (property, want) in [
        (
            json!({"type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "nope"}),
            format!(
                "{a}.x-kubernetes-list-type: Unsupported value: \"nope\": supported values: \"atomic\", \"set\", \"map\""
            ),
        ),
        (
            json!({"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["id"],
                "items": {"type": "object", "properties": {"other": {"type": "string"}}}}),
            format!(
                "{a}.x-kubernetes-list-map-keys: Invalid value: [\"id\"]: entries must all be names of item properties"
            ),
        ),
        (
            json!({"type": "object", "x-kubernetes-preserve-unknown-fields": false}),
            format!(
                "{a}.x-kubernetes-preserve-unknown-fields: Invalid value: false: must be true or undefined"
            ),
        ),
        (json!({}), format!("{a}.type: Required value: must not be empty for specified object fields")),
        (json!({"type": "array"}), format!("{a}.items: Required value: must be specified")),
        (json!({"type": "object", "allOf": [{"properties": {"x": {"minimum": 1}}}]}), String::new()),
        (
            json!({"x-kubernetes-int-or-string": true, "anyOf": [{"type": "integer"}, {"type": "string"}]}),
            String::new(),
        ),
    ] {
        let found = structure(&spec(json!({"a": property})), root);
        let errors = [found.faults, found.structural].concat();
        assert_eq!(aggregate(&errors), want, "{property}");
    }
}

#[test]
fn metadata_is_read_as_go_does() {
    let mut object = json!({"metadata": {"name": "w", "labels": null, "nope": 1}});
    assert_eq!(decode_metadata(&mut object).unwrap()[0].0, "metadata.nope");
    assert_eq!(object, json!({"metadata": {"name": "w"}}));
    let error = decode_metadata(&mut json!({"metadata": "x"})).unwrap_err();
    assert_eq!(error.message, "json: cannot unmarshal string into Go value of type v1.ObjectMeta");
}

#[test]
fn defaults_of_objects_inside_have_what_metadata_have() {
    let metadata = json!({"name": "a", "unknown": "b"});
    let typed = |metadata: Value| {
        json!({"type": "object", "x-kubernetes-embedded-resource": true, "properties": {
            "apiVersion": {"type": "string", "default": "v1"},
            "kind": {"type": "string", "default": "K"},
            "metadata": metadata,
        }})
    };
    let text = |default: &str| json!({"type": "string", "default": default});
    let each =
        json!({"type": "object", "default": {}, "properties": {"name": text("a"), "unknown": text("b")}});
    let mut whole = typed(json!({"type": "object"}));
    whole["default"] = json!({"apiVersion": "v1", "kind": "K", "metadata": metadata});
    let around = json!({"type": "object", "properties": {"in": typed(json!({"type": "object"}))}, "default": {"in": {"metadata": metadata}}});
    let properties = json!({
        "each": typed(each),
        "metadata_of": typed(json!({"type": "object", "default": metadata})),
        "whole": whole,
        "around": around,
    });
    let schema = from_crd_schema(&json!({"type": "object", "properties": properties})).unwrap();
    let mut value = json!({"each": {}, "metadata_of": {}});
    apply_defaults(&schema, &mut value);
    let full = json!({"apiVersion": "v1", "kind": "K", "metadata": {"name": "a"}});
    assert_eq!(value, json!({"each": full, "metadata_of": full, "whole": full, "around": {"in": full}}));
}
