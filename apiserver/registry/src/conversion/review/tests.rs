//! The answers of a webhook, right and wrong, in the words upstream has for them.

use super::*;

fn original() -> Value {
    json!({
        "apiVersion": "e.com/v1", "kind": "Thing", "spec": {"hostPort": "a:1"},
        "metadata": {"name": "a", "namespace": "n", "uid": "u", "generation": 3, "labels": {"l": "a"}},
    })
}

fn converted() -> Value {
    let mut object = original();
    object["apiVersion"] = "e.com/v2".into();
    object["spec"] = json!({"host": "a", "port": "1"});
    object
}

fn answer(objects: &Value) -> Value {
    let response = json!({"uid": "r", "result": {"status": "Success"}, "convertedObjects": objects});
    json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "ConversionReview", "response": response})
}

fn convert(version: Version, answer: &Value) -> Result<Value, String> {
    let originals = [original()];
    let objects = read(version, "r", answer.to_string().as_bytes())
        .map_err(|why| format!("{} failed: {why}", subject(originals.first())))?;
    Ok(checked(&originals, objects, "e.com/v2")?.remove(0))
}

/// `base` with what a JSON merge patch says.
fn with(base: Value, change: &Value) -> Value {
    apiserver_schema::merge_patch(&base, change)
}

#[test]
fn reviews_are_sent_as_upstream_sends_them() {
    let mut object = original();
    object["metadata"]["managedFields"] =
        json!([{"manager": "m", "fieldsV1": Value::Raw(r#"{"f:spec":{}}"#.into())}]);
    let sent = body(Version::V1beta1, "r", "e.com/v2", &[object, original()]);
    let sent: Value = apiserver_json::from_slice(&sent).expect("JSON");
    assert_eq!(sent["apiVersion"], "apiextensions.k8s.io/v1beta1");
    let request = &sent["request"];
    assert_eq!((&request["uid"], &request["desiredAPIVersion"]), (&json!("r"), &json!("e.com/v2")));
    assert_eq!(request["objects"][0]["metadata"]["managedFields"][0]["fieldsV1"], json!({"f:spec": {}}));
    assert_eq!(request["objects"][1], original());
}

#[test]
fn answers_are_checked() {
    let object = |change: Value| answer(&json!([with(converted(), &change)]));
    let review = |change: Value| with(answer(&json!([converted()])), &change);
    for (answer, want) in [
        (answer(&json!([])), "conversion webhook for e.com/v1, Kind=Thing returned 0 objects, expected 1"),
        (answer(&Value::Null), "conversion webhook for e.com/v1, Kind=Thing returned 0 objects, expected 1"),
        (answer(&json!([null])), "unexpected end of JSON input"),
        (
            answer(&json!(["x"])),
            "json: cannot unmarshal string into Go value of type map[string]interface {}",
        ),
        (answer(&json!([{"spec": {}}])), "Object 'Kind' is missing in '{\"spec\":{}}'"),
        (
            answer(&json!([original()])),
            "conversion webhook for e.com/v1, Kind=Thing returned invalid object at index 0: invalid groupVersion (expected e.com/v2, received e.com/v1)",
        ),
        (
            object(json!({"kind": "Other"})),
            "conversion webhook for e.com/v1, Kind=Thing returned invalid object at index 0: invalid kind (expected Thing, received Other)",
        ),
        (
            object(json!({"metadata": {"name": "z"}})),
            "conversion webhook for e.com/v1, Kind=Thing returned invalid object: must have the same name: a != z",
        ),
        (
            object(json!({"metadata": {"namespace": "z"}})),
            "conversion webhook for e.com/v1, Kind=Thing returned invalid object: must have the same namespace: n != z",
        ),
        (
            object(json!({"metadata": {"uid": "z"}})),
            "conversion webhook for e.com/v1, Kind=Thing returned invalid object: must have the same UID: u != z",
        ),
        (
            object(json!({"metadata": "x"})),
            "conversion webhook for e.com/v1, Kind=Thing returned invalid object: must have the same name: a != ",
        ),
        (
            object(json!({"metadata": {"labels": {"a": 1}}})),
            "conversion webhook for e.com/v1, Kind=Thing returned invalid metadata: metadata.labels[a] must be a string, but is int64 in converted object",
        ),
        (
            object(json!({"metadata": {"labels": ["a"]}})),
            "conversion webhook for e.com/v1, Kind=Thing returned invalid metadata: invalid metadata.labels of type []interface {} in converted object",
        ),
        (
            object(json!({"metadata": {"annotations": {"a b": "c"}}})),
            "conversion webhook for e.com/v1, Kind=Thing returned invalid metadata: metadata.annotation: Invalid value: \"a b\": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')",
        ),
        (
            review(json!({"response": {"result": {"status": "Failure", "message": "no way"}}})),
            "conversion webhook for e.com/v1, Kind=Thing failed: no way",
        ),
        (
            review(json!({"response": {"result": null}})),
            "conversion webhook for e.com/v1, Kind=Thing failed: response.result.status was '', not 'Success'",
        ),
        (
            review(json!({"response": {"uid": "x"}})),
            "conversion webhook for e.com/v1, Kind=Thing failed: expected response.uid=\"r\", got \"x\"",
        ),
        (
            review(json!({"response": null})),
            "conversion webhook for e.com/v1, Kind=Thing failed: no response provided",
        ),
        (
            review(json!({"apiVersion": null, "kind": null})),
            "conversion webhook for e.com/v1, Kind=Thing failed: expected webhook response of apiextensions.k8s.io/v1, Kind=ConversionReview, got /, Kind=",
        ),
        (
            review(json!({"apiVersion": "apiextensions.k8s.io/v1beta1"})),
            "conversion webhook for e.com/v1, Kind=Thing failed: converting (v1beta1.ConversionReview) to (v1.ConversionReview): unknown conversion",
        ),
        (
            review(json!({"kind": "Foo"})),
            "conversion webhook for e.com/v1, Kind=Thing failed: no kind \"Foo\" is registered for version \"apiextensions.k8s.io/v1\" in scheme \"pkg/runtime/scheme.go:111\"",
        ),
        (
            review(json!({"response": {"convertedObjects": "x"}})),
            "conversion webhook for e.com/v1, Kind=Thing failed: json: cannot unmarshal string into Go struct field ConversionResponse.response.convertedObjects of type []runtime.RawExtension",
        ),
    ] {
        assert_eq!(convert(Version::V1, &answer), Err(want.to_owned()), "{answer}");
    }
}

#[test]
fn only_labels_and_annotations_of_the_metadata_are_the_webhooks() {
    let change = json!({"metadata": {
        "labels": {"l": null, "m": "b"}, "annotations": {"x": "y"}, "generation": 99, "finalizers": ["e.com/f"],
    }});
    let found = convert(Version::V1, &answer(&json!([with(converted(), &change)]))).expect("it is taken");
    let want = json!({
        "name": "a", "namespace": "n", "uid": "u", "generation": 3, "labels": {"m": "b"}, "annotations": {"x": "y"},
    });
    assert_eq!((&found["metadata"], &found["spec"]), (&want, &json!({"host": "a", "port": "1"})));
    let bare = answer(&json!([with(converted(), &json!({"metadata": {"labels": null}}))]));
    assert!(convert(Version::V1, &bare).expect("it is taken")["metadata"].get("labels").is_none());
}

#[test]
fn v1beta1_answers_need_neither_uid_nor_kind() {
    let answer = with(
        answer(&json!([converted()])),
        &json!({"apiVersion": null, "kind": null, "response": {"uid": null}}),
    );
    assert_eq!(convert(Version::V1beta1, &answer), Ok(converted()));
    assert!(convert(Version::V1, &answer).is_err());
}
