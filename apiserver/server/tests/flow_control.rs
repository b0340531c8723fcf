//! What an answer says of the FlowSchema its request fell under.

mod common;

use apiserver_json::{Value, json};
use apiserver_server::{ApiServer, User};
use bytes::Bytes;
use http::{Method, StatusCode};

use common::{ask, send, server};

const GROUP: &str = "/apis/flowcontrol.apiserver.k8s.io/v1";

/// The uids of schema and level that the answer names.
async fn told(server: &ApiServer, user: &User, path: &str) -> (u16, Option<[String; 2]>) {
    let media = ["application/json"; 2];
    let answer = send(server, user, (Method::GET, path), media, Bytes::new()).await;
    let header = |name: &str| Some(answer.headers().get(name)?.to_str().expect("text").to_owned());
    let schema = header("X-Kubernetes-PF-FlowSchema-UID");
    let uids = schema.zip(header("X-Kubernetes-PF-PriorityLevel-UID")).map(|(schema, level)| [schema, level]);
    (answer.status().as_u16(), uids)
}

async fn made(server: &ApiServer, plural: &str, name: &str, spec: Value) -> String {
    let object = json!({"metadata": {"name": name}, "spec": spec});
    let (status, answer) = ask(server, Method::POST, &format!("{GROUP}/{plural}"), &object).await;
    assert_eq!(status, StatusCode::CREATED, "{answer}");
    answer["metadata"]["uid"].as_str().expect("a uid").to_owned()
}

async fn uid(server: &ApiServer, plural: &str, name: &str) -> String {
    let (_, found) = ask(server, Method::GET, &format!("{GROUP}/{plural}/{name}"), &Value::Null).await;
    found["metadata"]["uid"].as_str().expect("a uid").to_owned()
}

/// A schema of the server's own, and its level, which is called the same.
async fn own(server: &ApiServer, name: &str) -> [String; 2] {
    [uid(server, "flowschemas", name).await, uid(server, "prioritylevelconfigurations", name).await]
}

#[tokio::test]
async fn an_answer_says_what_its_request_fell_under() {
    let server = server().await;
    let limited = json!({"type": "Limited", "limited": {"limitResponse": {"type": "Reject"}}});
    let level = made(&server, "prioritylevelconfigurations", "l", limited).await;
    let rules = |user: &str| {
        let rule = json!({"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "namespaces": ["default"]});
        let subject = json!({"kind": "User", "user": {"name": user}});
        json!([{"subjects": [subject], "resourceRules": [rule]}])
    };
    let spec = json!({"priorityLevelConfiguration": {"name": "l"}, "matchingPrecedence": 500, "rules": rules("bob")});
    let schema = made(&server, "flowschemas", "s", spec).await;
    let [exempt, default] = [own(&server, "exempt").await, own(&server, "global-default").await];
    let (pods, missing) = ("/api/v1/namespaces/default/pods", "/api/v1/namespaces/default/pods/p");
    let master = User::master("m");
    assert_eq!(told(&server, &master, pods).await, (200, Some(exempt.clone())));
    assert_eq!(told(&server, &master, missing).await, (404, Some(exempt)));
    // Streams are none of its business.
    assert_eq!(told(&server, &master, &format!("{missing}/log")).await, (404, None));
    // Who may not is told, too; a change of the schema holds at once.
    let [bob, eve] = ["bob", "eve"].map(|name| User { name: name.to_owned(), ..User::default() });
    let both = Some([schema, level]);
    assert_eq!(told(&server, &bob, pods).await, (403, both.clone()));
    assert_eq!(told(&server, &eve, pods).await, (403, Some(default.clone())));
    let patch = json!({"spec": {"rules": rules("eve")}});
    let (status, answer) = ask(&server, Method::PATCH, &format!("{GROUP}/flowschemas/s"), &patch).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    assert_eq!(told(&server, &bob, pods).await, (403, Some(default)));
    assert_eq!(told(&server, &eve, pods).await, (403, both));
}
