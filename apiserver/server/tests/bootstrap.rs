//! What a server does at its start about what an earlier one left.

mod common;

use apiserver_json::{Value, json};
use http::{Method, StatusCode};

use common::{ask, server};

const ROLES: &str = "/apis/rbac.authorization.k8s.io/v1/clusterroles";

#[tokio::test]
async fn the_bootstrap_policy_gets_back_what_it_lacks() {
    let server = server().await;
    let path = format!("{ROLES}/system:node-problem-detector");
    let (_, made) = ask(&server, Method::GET, &path, &Value::Null).await;
    let rules = made["rules"].as_array().expect("rules").to_vec();
    let kept = format!("{ROLES}/system:node-proxier");
    for (path, annotation) in [(&path, "true"), (&kept, "false")] {
        let (_, mut cut) = ask(&server, Method::GET, path, &Value::Null).await;
        cut["rules"] = json!([{"verbs": ["get"], "apiGroups": ["x"], "resources": ["y"]}]);
        cut["metadata"]["annotations"]["rbac.authorization.kubernetes.io/autoupdate"] = annotation.into();
        let (status, answer) = ask(&server, Method::PUT, path, &cut).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
    }
    apiserver_server::bootstrap(&server).await.expect("a second start");
    let (_, found) = ask(&server, Method::GET, &path, &Value::Null).await;
    let again = found["rules"].as_array().expect("rules");
    assert_eq!(again[0]["apiGroups"], json!(["x"]), "what was added stays");
    assert!(again.len() > rules.len(), "{found}");
    let (_, found) = ask(&server, Method::GET, &kept, &Value::Null).await;
    assert_eq!(found["rules"].as_array().map(<[_]>::len), Some(1), "{found}");
    let (_, before) = ask(&server, Method::GET, ROLES, &Value::Null).await;
    apiserver_server::bootstrap(&server).await.expect("a third start");
    let (_, after) = ask(&server, Method::GET, ROLES, &Value::Null).await;
    assert_eq!(before, after, "a start that finds everything writes nothing");
}
