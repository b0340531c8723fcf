//! What an update is warned of: some kinds tell of it every time, others of what is new alone.

mod common;

use apiserver_json::{Value, json};
use apiserver_server::{ApiServer, User};
use http::Method;

use common::{ask, send, server};

/// The warnings of a merge patch of labels.
async fn warnings(server: &ApiServer, path: &str, label: &str) -> Vec<String> {
    let patch = json!({"metadata": {"labels": {"changed": label}}}).to_string().into();
    let media = ["application/json", "application/merge-patch+json"];
    let answer = send(server, &User::master("test"), (Method::PATCH, path), media, patch).await;
    assert!(answer.status().is_success(), "{path}: {}", answer.status());
    let headers = answer.headers().get_all("warning");
    headers.iter().map(|text| text.to_str().expect("text").to_owned()).collect()
}

#[tokio::test]
async fn updates_are_warned_as_the_kind_says() {
    let server = server().await;
    let accounts = "/api/v1/namespaces/default/serviceaccounts";
    ask(&server, Method::POST, accounts, &json!({"metadata": {"name": "default"}})).await;
    let node = json!({"metadata": {"name": "a"}, "spec": {"externalID": "x"}});
    let pod = json!({
        "metadata": {"name": "a"},
        "spec": {"nodeSelector": {"beta.kubernetes.io/os": "linux"}, "containers": [{"name": "c", "image": "i"}]},
    });
    let external_id = "299 - \"spec.externalID: this field is deprecated, and is unused by Kubernetes\"";
    let cases: [(&str, Value, &[&str]); 2] =
        [("/api/v1/nodes", node, &[external_id]), ("/api/v1/namespaces/default/pods", pod, &[])];
    for (path, object, want) in cases {
        let (status, answer) = ask(&server, Method::POST, path, &object).await;
        assert!(status.is_success(), "{answer}");
        for label in ["one", "two"] {
            assert_eq!(warnings(&server, &format!("{path}/a"), label).await, want, "{path}");
        }
    }
}
