//! What an apply writes, and what it does not.

mod common;

use apiserver_json::{Value, json};
use apiserver_server::{ApiServer, User};
use bytes::Bytes;
use http::{Method, StatusCode};
use http_body_util::BodyExt;

use common::{ask, send, server};

async fn apply(server: &ApiServer, path: &str, object: &Value) -> Value {
    let target = format!("{path}?fieldManager=m");
    let media = ["application/json", "application/apply-patch+yaml"];
    let body = Bytes::from(object.to_string());
    let answer = send(server, &User::master("m"), (Method::PATCH, &target), media, body).await;
    let (parts, body) = answer.into_parts();
    let body = body.collect().await.expect("a whole body").to_bytes();
    assert!(parts.status.is_success(), "{} {}", parts.status, String::from_utf8_lossy(&body));
    apiserver_json::from_slice(&body).expect("JSON")
}

#[tokio::test]
async fn an_apply_of_what_is_there_writes_nothing() {
    let server = server().await;
    let claim = json!({
        "metadata": {"name": "data"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1024Mi"}}},
    });
    let template = json!({
        "metadata": {"labels": {"app": "a"}, "annotations": {}},
        "spec": {"containers": [{"name": "c", "image": "i", "resources": {"limits": {"memory": "2048Mi"}}}]},
    });
    let spec = json!({
        "serviceName": "a", "selector": {"matchLabels": {"app": "a"}},
        "template": template, "volumeClaimTemplates": [claim],
    });
    let metadata =
        json!({"name": "a", "labels": {"app": "a"}, "creationTimestamp": null, "resourceVersion": null});
    let types =
        |version: &str, kind: &str| json!({"apiVersion": version, "kind": kind, "metadata": metadata});
    let (mut set, mut map) = (types("apps/v1", "StatefulSet"), types("v1", "ConfigMap"));
    set["spec"] = spec;
    map["data"] = json!({"k": "v"});
    for (path, object) in [
        ("/apis/apps/v1/namespaces/default/statefulsets/a", set),
        ("/api/v1/namespaces/default/configmaps/a", map),
    ] {
        apply(&server, path, &object).await;
        // As if that had been long ago, which is believed of whoever changes something else, too.
        let (status, mut live) = ask(&server, Method::GET, path, &Value::Null).await;
        assert_eq!(status, StatusCode::OK, "{live}");
        *live.pointer_mut("/metadata/managedFields/0/time").expect("an owner") =
            json!("2020-01-01T00:00:00Z");
        live["metadata"]["annotations"] = json!({"a": "b"});
        let (status, live) = ask(&server, Method::PUT, path, &live).await;
        assert_eq!(status, StatusCode::OK, "{live}");
        assert_eq!(live["metadata"]["managedFields"][0]["time"], "2020-01-01T00:00:00Z", "{live}");
        assert_eq!(apply(&server, path, &object).await, live);
        let mut other = object.clone();
        other["metadata"]["labels"] = json!({"app": "b"});
        let moved = apply(&server, path, &other).await;
        assert_ne!(moved["metadata"]["managedFields"][0]["time"], "2020-01-01T00:00:00Z");
    }
}
