//! Definitions right and wrong, with the errors kube-apiserver 1.36 has for them.

use apiserver_json::{Value, json};

use super::DEFINITION;

fn base() -> Value {
    json!({
        "metadata": {"name": "foos.e.example.com"},
        "spec": {
            "group": "e.example.com",
            "scope": "Namespaced",
            "names": {"plural": "foos", "kind": "Foo"},
            "versions": [version("v1", true)],
        },
    })
}

fn version(name: &str, storage: bool) -> Value {
    let spec = json!({"type": "object", "properties": {"a": {"type": "string"}}});
    let schema = json!({"openAPIV3Schema": {"type": "object", "properties": {"spec": spec}}});
    json!({"name": name, "served": true, "storage": storage, "schema": schema})
}

fn set(definition: &mut Value, pointer: &str, value: Value) {
    let (parent, member) = pointer.rsplit_once('/').expect("a pointer");
    let place = definition.pointer_mut(parent).expect("a place");
    match value {
        Value::Null => drop(place.as_object_mut().expect("an object").remove(member)),
        value => place[member] = value,
    }
}

/// A schema of objects whose metadata have a default.
fn object_with_metadata(default: Value) -> Value {
    let metadata = json!({"type": "object", "default": default, "properties": {
        "name": {"type": "string"}, "labels": {"type": "object", "additionalProperties": {"type": "string"}},
    }});
    json!({"type": "object", "x-kubernetes-embedded-resource": true, "properties": {"metadata": metadata}})
}

fn created(mut definition: Value) -> Vec<String> {
    (DEFINITION.default)(&mut definition);
    (DEFINITION.prepare_create)(&mut definition);
    (DEFINITION.validate_create)(&definition).iter().map(ToString::to_string).collect()
}

#[test]
fn definitions_are_checked() {
    let a = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/a";
    let at_a = "spec.validation.openAPIV3Schema.properties[spec].properties[a]";
    let label = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')";
    for (changes, want) in [
        (vec![("/spec/preserveUnknownFields", json!(false))], vec![]),
        (
            vec![("/spec/preserveUnknownFields", json!(true))],
            vec!["spec.preserveUnknownFields: Invalid value: true: cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead".to_owned()],
        ),
        (vec![("/spec/scope", Value::Null)], vec!["spec.scope: Required value".to_owned()]),
        (
            vec![("/spec/names/kind", json!(""))],
            ["singular", "kind", "listKind"].map(|name| format!("spec.names.{name}: Required value")).to_vec(),
        ),
        (
            vec![("/spec/names/shortNames", json!(["A"])), ("/spec/names/categories", json!(["B"]))],
            vec![
                format!("spec.names.shortNames[0]: Invalid value: \"A\": {label}"),
                format!("spec.names.categories[0]: Invalid value: \"B\": {label}"),
            ],
        ),
        (
            vec![("/spec/versions/0/storage", json!(false))],
            vec![
                "spec.versions: Invalid value: [{\"Name\":\"v1\",\"Served\":true,\"Storage\":false,\"Deprecated\":false,\"DeprecationWarning\":null,\"Schema\":null,\"Subresources\":null,\"AdditionalPrinterColumns\":null,\"SelectableFields\":null}]: must have exactly one version marked as storage version".to_owned(),
                "status.storedVersions: Invalid value: null: must have at least one stored version".to_owned(),
            ],
        ),
        (
            vec![("/spec/versions/0/deprecationWarning", json!("x"))],
            vec!["spec.versions[0].deprecationWarning: Invalid value: \"x\": can only be set for deprecated versions".to_owned()],
        ),
        (
            vec![("/spec/versions/0/deprecated", json!(true)), ("/spec/versions/0/deprecationWarning", json!("a\nb"))],
            vec!["spec.versions[0].deprecationWarning: Invalid value: \"a\\nb\": must only contain printable UTF-8 characters; non-printable character found at index 1".to_owned()],
        ),
        (
            vec![("/spec/versions/0/schema/openAPIV3Schema/nullable", json!(true))],
            vec!["spec.validation.openAPIV3Schema.nullable: Forbidden: nullable cannot be true at the root".to_owned()],
        ),
        (
            vec![(a, json!({"type": "x"}))],
            vec![format!("{at_a}.type: Unsupported value: \"x\": supported values: \"array\", \"boolean\", \"integer\", \"number\", \"object\", \"string\"")],
        ),
        (vec![(a, json!({"$ref": "#/x"}))], vec![format!("{at_a}.$ref: Forbidden: $ref is not supported")]),
        (
            vec![(a, json!({"type": "string", "default": 5}))],
            vec![format!("{at_a}.default: Invalid value: \"integer\":  in body must be of type string: \"integer\"")],
        ),
        (
            vec![(a, json!({"type": "object", "default": {"b": 1}, "properties": {"c": {"type": "string"}}}))],
            vec![format!("{at_a}.default: Invalid value: {{\"b\":1}}: must not have unknown fields")],
        ),
        (
            vec![(a, json!({"type": "string", "default": "b", "x-kubernetes-validations": [{"rule": "self == 'a'"}]}))],
            vec![format!("{at_a}.default: Invalid value: \"b\": failed rule: self == 'a'")],
        ),
        // Of what says what an object is, what is not known is left out later.
        (
            vec![(a, object_with_metadata(json!({"name": "b", "unknown": "c"})))],
            vec![],
        ),
        (
            vec![(a, object_with_metadata(json!({"name": "b/c", "labels": {"d": "e f"}})))],
            vec![format!("{at_a}.properties[metadata].default: Invalid value: {{\"labels\":{{\"d\":\"e f\"}},\"name\":\"b/c\"}}: must result in valid metadata: [metadata.name: Invalid value: \"b/c\": may not contain '/', metadata.labels: Invalid value: \"e f\": a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')]")],
        ),
        (
            vec![(a, object_with_metadata(json!({"labels": 1})))],
            vec![format!("{at_a}.properties[metadata].default: Invalid value: {{\"labels\":1}}: must result in valid metadata: metadata: Invalid value: {{\"labels\":1}}: json: cannot unmarshal number into Go struct field ObjectMeta.labels of type map[string]string")],
        ),
        (
            vec![("/spec/group", json!("x.k8s.io")), ("/metadata/name", json!("foos.x.k8s.io"))],
            vec!["metadata.annotations[api-approved.kubernetes.io]: Required value: protected groups must have approval annotation \"api-approved.kubernetes.io\", see https://github.com/kubernetes/enhancements/pull/1111".to_owned()],
        ),
    ] {
        let mut definition = base();
        for (pointer, value) in &changes {
            set(&mut definition, pointer, value.clone());
        }
        assert_eq!(created(definition), want, "{changes:?}");
    }
}

#[test]
fn what_all_versions_say_is_told_once() {
    let mut definition = base();
    definition["spec"]["versions"] = json!([version("v1", true), version("v2", false)]);
    assert_eq!(created(definition.clone()), Vec::<String>::new());
    for version in definition["spec"]["versions"].as_array_mut().unwrap() {
        version["subresources"] = json!({"scale": {}});
    }
    definition.pointer_mut("/spec/versions/1").unwrap()["additionalPrinterColumns"] =
        json!([{"name": "a", "jsonPath": ".a"}]);
    let types = "must be one of boolean,date,integer,number,string";
    let want = vec![
        format!("spec.versions[1].additionalPrinterColumns[0].type: Required value: {types}"),
        "spec.subresources.scale.specReplicasPath: Required value".to_owned(),
        "spec.subresources.scale.statusReplicasPath: Required value".to_owned(),
    ];
    assert_eq!(created(definition), want);
}

#[test]
fn a_stored_version_has_to_stay() {
    let mut old = base();
    (DEFINITION.default)(&mut old);
    assert_eq!(old["status"]["storedVersions"], json!(["v1"]));
    let mut new = old.clone();
    new["spec"]["versions"] = json!([version("v2", true)]);
    (DEFINITION.prepare_update)(&mut new, &old);
    assert_eq!(new["status"]["storedVersions"], json!(["v1", "v2"]));
    let found: Vec<String> =
        (DEFINITION.validate_update)(&new, &old).iter().map(ToString::to_string).collect();
    let want = "status.storedVersions[0]: Invalid value: \"v1\": missing from spec.versions; v1 was previously a storage version, and must remain in spec.versions until a storage migration ensures no data remains persisted in v1 and removes v1 from status.storedVersions";
    assert_eq!(found, [want]);
}

#[test]
fn unknown_formats_are_warned_of() {
    for (kind, format, warns) in [
        ("string", "date", false),
        ("string", "int32", true),
        ("integer", "int32", false),
        ("number", "double", false),
        ("boolean", "x", true),
    ] {
        let mut definition = base();
        let schema = definition.pointer_mut("/spec/versions/0/schema/openAPIV3Schema").unwrap();
        schema["properties"]["spec"]["properties"]["a"] = json!({"type": kind, "format": format});
        let want = if warns { vec![format!("unrecognized format {format:?}")] } else { Vec::new() };
        assert_eq!((DEFINITION.warnings)(&definition), want, "{kind} {format}");
    }
}
