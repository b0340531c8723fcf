//! Bindings of Pods to nodes, and what is refused of a read.

mod common;

use apiserver_json::{Value, json};
use apiserver_server::ApiServer;
use http::{Method, StatusCode};

use common::{ask, server};

const PODS: &str = "/api/v1/namespaces/default/pods";

async fn pod(server: &ApiServer, name: &str) -> Value {
    let account = json!({"metadata": {"name": "default"}});
    ask(server, Method::POST, "/api/v1/namespaces/default/serviceaccounts", &account).await;
    let object = json!({"metadata": {"name": name}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    let (status, made) = ask(server, Method::POST, PODS, &object).await;
    assert_eq!(status, StatusCode::CREATED, "{made}");
    made
}

#[tokio::test]
async fn a_binding_is_for_the_pod_it_was_made_for() {
    let server = server().await;
    let made = pod(&server, "p").await;
    let path = format!("{PODS}/p");
    let status = json!({"status": {
        "nominatedNodeName": "m",
        "conditions": [
            {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "lastTransitionTime": "2026-01-01T00:00:00Z"},
            {"type": "Other", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"},
        ],
    }});
    let mut next = made.clone();
    next["status"] = status["status"].clone();
    let (code, next) = ask(&server, Method::PUT, &format!("{path}/status"), &next).await;
    assert_eq!(code, StatusCode::OK, "{next}");
    let binding = |metadata: Value| json!({"metadata": metadata, "target": {"kind": "Node", "name": "n"}});
    let own = made["metadata"]["uid"].as_str().expect("a uid");
    let version = next["metadata"]["resourceVersion"].as_str().expect("a version");
    let refusal = |what: &str| {
        format!(
            "Operation cannot be fulfilled on pods \"p\": StorageError: invalid object, Code: 4, Key: /registry/pods/default/p, ResourceVersion: 0, AdditionalErrorMsg: Precondition failed: {what}"
        )
    };
    for (metadata, want) in [
        (json!({"name": "p", "uid": "zzz"}), format!("UID in precondition: zzz, UID in object meta: {own}")),
        (
            json!({"name": "p", "resourceVersion": "1"}),
            format!("ResourceVersion in precondition: 1, ResourceVersion in object meta: {version}"),
        ),
    ] {
        let (code, answer) = ask(&server, Method::POST, &format!("{path}/binding"), &binding(metadata)).await;
        assert_eq!((code, answer["message"].as_str()), (StatusCode::CONFLICT, Some(&*refusal(&want))));
    }
    let bound = binding(json!({"name": "p", "uid": own, "resourceVersion": version}));
    let (code, answer) = ask(&server, Method::POST, &format!("{path}/binding"), &bound).await;
    assert_eq!(code, StatusCode::CREATED, "{answer}");
    let (_, found) = ask(&server, Method::GET, &path, &Value::Null).await;
    assert_eq!(found["spec"]["nodeName"], "n");
    assert!(found["status"].get("nominatedNodeName").is_none(), "{found}");
    let types: Vec<&str> = found["status"]["conditions"]
        .as_array()
        .expect("conditions")
        .iter()
        .filter_map(|condition| condition["type"].as_str())
        .collect();
    assert_eq!(types, ["PodScheduled", "Other"], "a condition stays where it stands");
    assert_eq!(found["status"]["conditions"][0]["status"], "True");
}

#[tokio::test]
async fn nothing_is_exported() {
    let server = server().await;
    for (query, want) in [("export=true", 400), ("export", 400), ("export=false", 200), ("export=0", 200)] {
        let path = format!("/api/v1/namespaces/default?{query}");
        let (code, answer) = ask(&server, Method::GET, &path, &Value::Null).await;
        assert_eq!(code.as_u16(), want, "{query}: {answer}");
    }
}
