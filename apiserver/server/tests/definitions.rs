//! Custom objects after their definition changed: they are what the definition says now, whenever they were written.

mod common;

use apiserver_json::{Value, json};
use apiserver_server::ApiServer;
use http::{Method, StatusCode};

use common::{ask, server};

const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";

async fn spec(server: &ApiServer, version: &str) -> Value {
    let path = format!("/apis/a.io/{version}/namespaces/default/ws/w");
    ask(server, Method::GET, &path, &Value::Null).await.1["spec"].clone()
}

/// A definition whose versions have these properties; the last one is stored.
fn definition(versions: &[(&str, Value)]) -> Value {
    let last = versions.len() - 1;
    let version = |(i, (name, properties)): (usize, &(&str, Value))| {
        let spec = json!({"type": "object", "properties": properties});
        let schema = json!({"type": "object", "properties": {"spec": spec}});
        json!({"name": name, "served": true, "storage": i == last, "schema": {"openAPIV3Schema": schema}})
    };
    let versions: Vec<Value> = versions.iter().enumerate().map(version).collect();
    json!({"metadata": {"name": "ws.a.io"}, "spec": {
        "group": "a.io", "scope": "Namespaced", "versions": versions,
        "names": {"plural": "ws", "singular": "w", "kind": "W"},
    }})
}

async fn redefine(server: &ApiServer, versions: &[(&str, Value)]) {
    let path = format!("{DEFINITIONS}/ws.a.io");
    let mut next = definition(versions);
    let live = ask(server, Method::GET, &path, &Value::Null).await.1;
    next["metadata"]["resourceVersion"] = live["metadata"]["resourceVersion"].clone();
    let (status, answer) = ask(server, Method::PUT, &path, &next).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
}

#[tokio::test]
async fn objects_are_what_their_definition_says_now() {
    let server = server().await;
    let text = json!({"type": "string"});
    let given = |value: &str| json!({"type": "string", "default": value});
    let (status, answer) =
        ask(&server, Method::POST, DEFINITIONS, &definition(&[("v1", json!({"a": text, "b": text}))])).await;
    assert_eq!(status, StatusCode::CREATED, "{answer}");
    let objects = "/apis/a.io/v1/namespaces/default/ws";
    let object = json!({"apiVersion": "a.io/v1", "kind": "W", "metadata": {"name": "w"}, "spec": {"a": "1", "b": "2"}});
    let (status, answer) = ask(&server, Method::POST, objects, &object).await;
    assert_eq!(status, StatusCode::CREATED, "{answer}");

    redefine(&server, &[("v1", json!({"a": text, "c": given("x")}))]).await;
    assert_eq!(spec(&server, "v1").await, json!({"a": "1", "c": "x"}));
    let list = ask(&server, Method::GET, objects, &Value::Null).await.1;
    assert_eq!(list["items"][0]["spec"], json!({"a": "1", "c": "x"}));
    let label = json!({"metadata": {"labels": {"q": "1"}}});
    let patched = ask(&server, Method::PATCH, &format!("{objects}/w"), &label).await.1;
    assert_eq!(patched["metadata"]["generation"], 1, "nothing but a label changed: {patched}");

    redefine(
        &server,
        &[("v1", json!({"a": text, "c": given("x")})), ("v2", json!({"a": text, "e": given("y")}))],
    )
    .await;
    assert_eq!(spec(&server, "v1").await, json!({"a": "1", "c": "x"}));
    assert_eq!(spec(&server, "v2").await, json!({"a": "1"}));
    let change = json!({"spec": {"c": "z"}});
    ask(&server, Method::PATCH, &format!("{objects}/w"), &change).await;
    assert_eq!(spec(&server, "v2").await, json!({"a": "1", "e": "y"}), "stored as the newer version has it");
    assert_eq!(spec(&server, "v1").await, json!({"a": "1"}));
}

#[tokio::test]
async fn the_last_object_takes_its_definition_along() {
    let server = server().await;
    let given = definition(&[("v1", json!({"a": {"type": "string"}}))]);
    let (status, answer) = ask(&server, Method::POST, DEFINITIONS, &given).await;
    assert_eq!(status, StatusCode::CREATED, "{answer}");
    let objects = "/apis/a.io/v1/namespaces/default/ws";
    let object = |name: &str| json!({"apiVersion": "a.io/v1", "kind": "W", "metadata": {"name": name, "finalizers": ["a.io/b"]}});
    ask(&server, Method::POST, objects, &object("w")).await;
    let path = format!("{DEFINITIONS}/ws.a.io");
    let (status, answer) = ask(&server, Method::DELETE, &path, &Value::Null).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    assert_eq!(answer["status"]["conditions"][2]["reason"], "InstanceDeletionPending", "{answer}");
    let live = ask(&server, Method::GET, &path, &Value::Null).await.1;
    assert_eq!(live["status"]["conditions"][2]["reason"], "InstanceDeletionInProgress", "{live}");
    let (status, answer) = ask(&server, Method::POST, objects, &object("late")).await;
    assert_eq!(status, StatusCode::FORBIDDEN, "{answer}");
    let (status, answer) = ask(&server, Method::POST, DEFINITIONS, &given).await;
    assert_eq!(status, StatusCode::CONFLICT, "{answer}");
    let message = answer["message"].as_str().unwrap_or("");
    assert!(message.starts_with("object is being deleted: "), "{answer}");
    let let_go = json!({"metadata": {"finalizers": null}});
    ask(&server, Method::PATCH, &format!("{objects}/w"), &let_go).await;
    assert_eq!(ask(&server, Method::GET, &path, &Value::Null).await.0, StatusCode::NOT_FOUND);
}
