//! What a patch leaves of the object's type.

mod common;

use apiserver_json::{Value, json};
use apiserver_server::User;
use http::{Method, StatusCode};

use common::{ask, send, server};

#[tokio::test]
async fn a_kind_that_a_patch_takes_away_is_still_stored() {
    let server = server().await;
    let path = "/api/v1/namespaces/default/configmaps";
    let (status, answer) = ask(&server, Method::POST, path, &json!({"metadata": {"name": "a"}})).await;
    assert_eq!(status, StatusCode::CREATED, "{answer}");
    let path = &format!("{path}/a");
    let merged = json!({"kind": null, "data": {"a": "1"}});
    let operations = json!([
        {"op": "remove", "path": "/kind"},
        {"op": "add", "path": "/data/b", "value": "2"},
    ]);
    for (media, patch) in [
        ("application/merge-patch+json", merged),
        ("application/json-patch+json", operations),
        ("application/merge-patch+json", json!({"kind": "", "data": {"c": "3"}})),
    ] {
        let media = ["application/json", media];
        let body = patch.to_string().into();
        let answer = send(&server, &User::master("test"), (Method::PATCH, path), media, body).await;
        assert_eq!(answer.status(), StatusCode::OK, "{patch}");
        let (_, stored) = ask(&server, Method::GET, path, &Value::Null).await;
        assert_eq!((&stored["apiVersion"], &stored["kind"]), (&json!("v1"), &json!("ConfigMap")), "{patch}");
    }
    let (_, stored) = ask(&server, Method::GET, path, &Value::Null).await;
    assert_eq!(stored["data"], json!({"a": "1", "b": "2", "c": "3"}));
}
