//! Custom objects after their definition changed: they are what the definition says now, whenever they were written.

mod common;

use apiserver_json::{Value, json};
use apiserver_server::{ApiServer, User};
use bytes::Bytes;
use http::{Method, StatusCode};
use http_body_util::BodyExt;

use common::{ask, send, server};

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

fn reason(definition: &Value, kind: &str) -> String {
    let conditions = definition["status"]["conditions"].as_array().map(<[_]>::to_vec).unwrap_or_default();
    let found = conditions.iter().find(|condition| condition["type"] == kind);
    found.and_then(|condition| condition["reason"].as_str()).unwrap_or("").to_owned()
}

#[tokio::test]
async fn writes_to_what_is_going_delete_nothing_again() {
    let server = server().await;
    let mut given = definition(&[("v1", json!({"a": {"type": "string"}}))]);
    given["metadata"]["finalizers"] = json!(["a.io/kept"]);
    ask(&server, Method::POST, DEFINITIONS, &given).await;
    let objects = "/apis/a.io/v1/namespaces/default/ws";
    let object = |name: &str| json!({"apiVersion": "a.io/v1", "kind": "W", "metadata": {"name": name, "finalizers": ["a.io/b"]}});
    ask(&server, Method::POST, objects, &object("w")).await;
    let path = format!("{DEFINITIONS}/ws.a.io");
    ask(&server, Method::DELETE, &path, &Value::Null).await;
    let before = ask(&server, Method::GET, &path, &Value::Null).await.1;
    assert_eq!(reason(&before, "Terminating"), "InstanceDeletionInProgress");
    let let_go = json!({"metadata": {"finalizers": null}});
    ask(&server, Method::PATCH, &format!("{objects}/w?dryRun=All"), &let_go).await;
    ask(&server, Method::PATCH, &format!("{objects}/w"), &json!({"metadata": {"labels": {"a": "b"}}})).await;
    assert_eq!(ask(&server, Method::GET, &path, &Value::Null).await.1, before);
    let verbs =
        ask(&server, Method::GET, "/apis/a.io/v1", &Value::Null).await.1["resources"][0]["verbs"].clone();
    assert_eq!(verbs, json!(["delete", "deletecollection", "get", "list", "watch"]));

    ask(&server, Method::PATCH, &format!("{objects}/w"), &let_go).await;
    let after = ask(&server, Method::GET, &path, &Value::Null).await.1;
    assert_eq!(reason(&after, "Terminating"), "InstanceDeletionCompleted", "{after}");
    assert_eq!(after["metadata"]["finalizers"], json!(["a.io/kept"]));
    assert_eq!(ask(&server, Method::POST, objects, &object("late")).await.0, StatusCode::CREATED);
}

#[tokio::test]
async fn objects_of_no_served_version_go_along() {
    let server = server().await;
    let given = definition(&[("v1", json!({"a": {"type": "string"}}))]);
    ask(&server, Method::POST, DEFINITIONS, &given).await;
    let objects = "/apis/a.io/v1/namespaces/default/ws";
    let object = json!({"apiVersion": "a.io/v1", "kind": "W", "metadata": {"name": "w"}});
    ask(&server, Method::POST, objects, &object).await;
    let path = format!("{DEFINITIONS}/ws.a.io");
    let mut unserved = ask(&server, Method::GET, &path, &Value::Null).await.1;
    unserved["spec"]["versions"].as_array_mut().unwrap()[0]["served"] = false.into();
    ask(&server, Method::PUT, &path, &unserved).await;
    ask(&server, Method::DELETE, &path, &Value::Null).await;
    assert_eq!(ask(&server, Method::GET, &path, &Value::Null).await.0, StatusCode::NOT_FOUND);
    ask(&server, Method::POST, DEFINITIONS, &given).await;
    let list = ask(&server, Method::GET, objects, &Value::Null).await.1;
    assert_eq!(list["items"], json!([]));
}

#[tokio::test]
async fn who_frees_a_name_gives_it_to_who_waits() {
    let server = server().await;
    let named = |plural: &str| {
        let mut given = definition(&[("v1", json!({}))]);
        given["metadata"]["name"] = format!("{plural}.a.io").into();
        given["spec"]["names"] = json!({"plural": plural, "singular": plural, "kind": "W"});
        given
    };
    ask(&server, Method::POST, DEFINITIONS, &named("first")).await;
    ask(&server, Method::POST, DEFINITIONS, &named("second")).await;
    let path = format!("{DEFINITIONS}/second.a.io");
    let waits = ask(&server, Method::GET, &path, &Value::Null).await.1;
    assert_eq!(reason(&waits, "NamesAccepted"), "ListKindConflict", "{waits}");
    assert_eq!(reason(&waits, "Established"), "NotAccepted", "{waits}");
    ask(&server, Method::DELETE, &format!("{DEFINITIONS}/first.a.io"), &Value::Null).await;
    let has = ask(&server, Method::GET, &path, &Value::Null).await.1;
    assert_eq!(reason(&has, "NamesAccepted"), "NoConflicts", "{has}");
    assert_eq!(reason(&has, "Established"), "InitialNamesAccepted", "{has}");
}

#[tokio::test]
async fn a_definition_named_as_a_built_in_kind_takes_nothing_along() {
    let server = server().await;
    let mut given = definition(&[("v9", json!({}))]);
    given["metadata"] = json!({
        "name": "clusterroles.rbac.authorization.k8s.io",
        "annotations": {"api-approved.kubernetes.io": "unapproved"},
    });
    given["spec"]["group"] = "rbac.authorization.k8s.io".into();
    given["spec"]["names"] =
        json!({"plural": "clusterroles", "singular": "clusterrole", "kind": "ClusterRole"});
    given["spec"]["scope"] = "Cluster".into();
    let roles = "/apis/rbac.authorization.k8s.io/v1/clusterroles";
    let role = json!({"metadata": {"name": "kept"}, "rules": []});
    let (status, answer) = ask(&server, Method::POST, roles, &role).await;
    assert_eq!(status, StatusCode::CREATED, "{answer}");
    let (status, answer) = ask(&server, Method::POST, DEFINITIONS, &given).await;
    assert_eq!(status, StatusCode::CREATED, "{answer}");
    let path = format!("{DEFINITIONS}/clusterroles.rbac.authorization.k8s.io");
    let live = ask(&server, Method::GET, &path, &Value::Null).await.1;
    assert_eq!(reason(&live, "KubernetesAPIApprovalPolicyConformant"), "UnapprovedAnnotation", "{live}");
    ask(&server, Method::DELETE, &path, &Value::Null).await;
    assert_eq!(ask(&server, Method::GET, &path, &Value::Null).await.0, StatusCode::NOT_FOUND);
    let kept = ask(&server, Method::GET, &format!("{roles}/kept"), &Value::Null).await;
    assert_eq!(kept.0, StatusCode::OK, "{}", kept.1);
}

#[tokio::test]
async fn watches_end_where_their_definition_changes() {
    let server = server().await;
    let text = json!({"type": "string"});
    ask(&server, Method::POST, DEFINITIONS, &definition(&[("v1", json!({"a": text}))])).await;
    let objects = "/apis/a.io/v1/namespaces/default/ws";
    let object = json!({"apiVersion": "a.io/v1", "kind": "W", "metadata": {"name": "w"}, "spec": {"a": "1"}});
    ask(&server, Method::POST, objects, &object).await;
    let path = format!("{objects}?watch=true&timeoutSeconds=300");
    let media = ["application/json"; 2];
    let watched = send(&server, &User::master("test"), (Method::GET, &path), media, Bytes::new()).await;
    redefine(&server, &[("v1", json!({"a": text, "b": text}))]).await;
    let whole = tokio::time::timeout(std::time::Duration::from_secs(20), watched.into_body().collect()).await;
    let events = whole.expect("the watch ends").expect("a whole body").to_bytes();
    let event: Value = apiserver_json::from_slice(&events).expect("one event");
    assert_eq!(event["type"], "ADDED", "{event}");
}

#[tokio::test]
async fn one_handler_has_all_paths_of_custom_resources() {
    let server = server().await;
    ask(&server, Method::POST, DEFINITIONS, &definition(&[("v1", json!({}))])).await;
    let object = json!({"apiVersion": "a.io/v1", "kind": "W", "metadata": {"name": "w"}});
    for (method, path, status) in [
        (Method::PUT, "/apis/a.io/v1/namespaces/default/ws", StatusCode::BAD_REQUEST),
        (Method::POST, "/apis/a.io/v1/namespaces/default/ws/w", StatusCode::CREATED),
        (Method::POST, "/apis/a.io/v1/namespaces/default/ws/w", StatusCode::CONFLICT),
        (Method::GET, "/apis/a.io/v1/ws", StatusCode::OK),
        (Method::POST, "/apis/a.io/v1/namespaces/default/ws/w/status", StatusCode::NOT_FOUND),
    ] {
        let (found, answer) = ask(&server, method.clone(), path, &object).await;
        assert_eq!(found, status, "{method} {path} {answer}");
    }
}
