//! Decoding, as tables.

use apiserver_json::json;

use super::*;
use crate::types::builtin;

fn read(kind: (&str, &str, &str), mut value: Value) -> Result<(Value, Vec<String>), String> {
    let schema = builtin(kind.0, kind.1, kind.2).unwrap();
    let unknown = decode(&schema, &mut value, Decode::Json).map_err(|e| e.message)?;
    Ok((value, unknown.into_iter().map(|u| u.0).collect()))
}

const SERVICE: (&str, &str, &str) = ("", "v1", "Service");

#[test]
fn what_go_writes_back() {
    for (kind, sent, want) in [
        (
            SERVICE,
            json!({"metadata": {"name": "a", "labels": {}, "annotations": null}, "spec": {"ports": [], "type": ""}}),
            json!({"metadata": {"name": "a"}, "spec": {}, "status": {"loadBalancer": {}}}),
        ),
        (
            ("", "v1", "ConfigMap"),
            json!({"data": {"k": null, "l": ""}, "immutable": false}),
            json!({"metadata": {}, "data": {"k": "", "l": ""}, "immutable": false}),
        ),
        (
            ("rbac.authorization.k8s.io", "v1", "Role"),
            json!({"rules": []}),
            json!({"metadata": {}, "rules": null}),
        ),
        (
            ("discovery.k8s.io", "v1", "EndpointSlice"),
            json!({"addressType": "IPv4", "endpoints": [{"addresses": ["10.1.0.1"]}], "ports": null}),
            json!({"addressType": "IPv4", "endpoints": [{"addresses": ["10.1.0.1"], "conditions": {}}],
                "metadata": {}, "ports": null}),
        ),
        (
            ("", "v1", "Pod"),
            json!({"spec": {"containers": [{"name": "c", "resources": {"limits": {"cpu": 0.5}}}]}}),
            json!({"metadata": {}, "status": {},
                "spec": {"containers": [{"name": "c", "resources": {"limits": {"cpu": "500m"}}}]}}),
        ),
    ] {
        assert_eq!(read(kind, sent.clone()).unwrap().0, want, "{sent}");
    }
}

#[test]
fn empty_kinds_are_the_zero_structs() {
    let deployment = builtin("apps", "v1", "Deployment").unwrap();
    let want = json!({"metadata": {}, "status": {}, "spec": {"selector": null, "strategy": {},
        "template": {"metadata": {}, "spec": {"containers": null}}}});
    assert_eq!(zero(&deployment), want);
}

#[test]
fn unknown_fields_are_dropped_and_named() {
    let (value, unknown) =
        read(SERVICE, json!({"spec": {"foo": 1, "ports": [{"port": 1, "x": 2}]}, "a": 1})).unwrap();
    assert_eq!(unknown, ["a", "spec.foo", "spec.ports[0].x"]);
    assert_eq!(value["spec"], json!({"ports": [{"port": 1, "targetPort": 0}]}));
}

#[test]
fn errors_are_in_go_words() {
    let field = "json: cannot unmarshal";
    for (kind, sent, want) in [
        (
            SERVICE,
            json!({"spec": {"ports": "x"}}),
            format!("{field} string into Go struct field ServiceSpec.spec.ports of type []v1.ServicePort"),
        ),
        (
            SERVICE,
            json!({"spec": {"ports": [{"port": "x"}]}}),
            format!("{field} string into Go struct field ServicePort.spec.ports.port of type int32"),
        ),
        (
            SERVICE,
            json!({"spec": {"ports": [{"port": 1.5}]}}),
            format!("{field} number 1.5 into Go struct field ServicePort.spec.ports.port of type int32"),
        ),
        (
            SERVICE,
            json!({"spec": {"type": 5}}),
            format!("{field} number into Go struct field ServiceSpec.spec.type of type v1.ServiceType"),
        ),
        (
            ("", "v1", "Pod"),
            json!({"spec": {"volumes": [{"emptyDir": "x"}]}}),
            format!(
                "{field} string into Go struct field Volume.spec.volumes.VolumeSource.emptyDir of type v1.EmptyDirVolumeSource"
            ),
        ),
        (
            ("", "v1", "Pod"),
            json!({"spec": {"containers": [{"livenessProbe": {"httpGet": {"path": 1}}}]}}),
            format!(
                "{field} number into Go struct field HTTPGetAction.spec.containers.livenessProbe.ProbeHandler.httpGet.path of type string"
            ),
        ),
        (
            ("", "v1", "ConfigMap"),
            json!({"data": {"k": 5}}),
            format!("{field} number into Go struct field ConfigMap.data of type string"),
        ),
        (
            ("", "v1", "ConfigMap"),
            json!({"data": "x"}),
            format!("{field} string into Go struct field ConfigMap.data of type map[string]string"),
        ),
        (("", "v1", "ConfigMap"), json!([]), format!("{field} array into Go value of type v1.ConfigMap")),
        (
            ("", "v1", "Secret"),
            json!({"data": {"k": "abc"}}),
            "illegal base64 data at input byte 0".to_owned(),
        ),
        (
            ("", "v1", "Secret"),
            json!({"data": {"k": "abc!"}}),
            "illegal base64 data at input byte 3".to_owned(),
        ),
    ] {
        assert_eq!(read(kind, sent.clone()).unwrap_err(), want, "{sent}");
    }
}

#[test]
fn merged_trees_fail_in_other_words() {
    let deployment = builtin("apps", "v1", "Deployment").unwrap();
    for (sent, want) in [
        (json!({"spec": {"replicas": "many"}}), "unrecognized type: int32"),
        (
            json!({"spec": {"template": {"spec": {"containers": {"name": "c"}}}}}),
            "cannot restore slice from map",
        ),
        (json!({"metadata": {"labels": 1}}), "cannot restore map from int64"),
        (json!({"spec": {"paused": "x"}}), "unrecognized type: bool"),
    ] {
        let mut value = sent.clone();
        let error = decode(&deployment, &mut value, Decode::Unstructured).unwrap_err();
        assert_eq!(error.message, want, "{sent}");
    }
}

#[test]
fn merged_numbers_are_cut_to_their_type() {
    let deployment = builtin("apps", "v1", "Deployment").unwrap();
    for (sent, want) in [
        (7, 7),
        (-7, -7),
        (i64::from(i32::MAX) + 1, i64::from(i32::MIN)),
        (1 << 32, 0),
        (i64::MAX, -1),
        (i64::MIN, 0),
    ] {
        let mut value = json!({"spec": {"replicas": sent}});
        decode(&deployment, &mut value, Decode::Unstructured).unwrap();
        assert_eq!(value["spec"]["replicas"], want, "{sent}");
        let fits = decode(&deployment, &mut json!({"spec": {"replicas": sent}}), Decode::Json).is_ok();
        assert_eq!(fits, sent == want, "{sent}");
    }
}

#[test]
fn amounts_of_resources_are_rounded_and_other_quantities_are_not() {
    let amounts = json!({"cpu": "0.0001", "memory": "1Gi"});
    for (kind, sent, place, want) in [
        (
            ("", "v1", "Pod"),
            json!({"spec": {"containers": [{"name": "a", "resources": {"requests": amounts}}]}}),
            "/spec/containers/0/resources/requests/cpu",
            "1m",
        ),
        (("", "v1", "ResourceQuota"), json!({"spec": {"hard": amounts}}), "/spec/hard/cpu", "1m"),
        (
            ("apps", "v1", "Deployment"),
            json!({"spec": {"template": {"spec": {"overhead": amounts}}}}),
            "/spec/template/spec/overhead/cpu",
            "1m",
        ),
        (
            ("node.k8s.io", "v1", "RuntimeClass"),
            json!({"overhead": {"podFixed": amounts}}),
            "/overhead/podFixed/cpu",
            "100u",
        ),
        (("storage.k8s.io", "v1", "CSIStorageCapacity"), json!({"capacity": "0.0001"}), "/capacity", "100u"),
    ] {
        let (read, _) = read(kind, sent).unwrap();
        assert_eq!(read.pointer(place).and_then(Value::as_str), Some(want), "{kind:?}");
    }
}
