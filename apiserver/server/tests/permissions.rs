//! What somebody may do as somebody else, and what else a request needs.

mod common;

use apiserver_json::{Value, json};
use apiserver_server::{ApiServer, User};
use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};

use common::{ask, server};

const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";

async fn allow(server: &ApiServer, name: &str, rules: Value) {
    let role = json!({"metadata": {"name": name}, "rules": rules});
    let reference = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name});
    let subject = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "bob"});
    let binding = json!({"metadata": {"name": name}, "roleRef": reference, "subjects": [subject]});
    for (plural, object) in [("clusterroles", role), ("clusterrolebindings", binding)] {
        let (status, answer) = ask(server, Method::POST, &format!("{RBAC}/{plural}"), &object).await;
        assert_eq!(status, StatusCode::CREATED, "{answer}");
    }
}

/// Headers of a request: names and values.
type Headers<'a> = &'a [(&'a str, &'a str)];

/// Asks as this user, with further headers: the status and the message.
async fn ask_as(
    server: &ApiServer,
    user: &str,
    (method, path): (Method, &str),
    headers: Headers<'_>,
    body: &Value,
) -> (u16, Value) {
    let user = User { name: user.to_owned(), ..User::default() };
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers.iter() {
        request = request.header(*name, *value);
    }
    let body = Bytes::from(if body.is_null() { String::new() } else { body.to_string() });
    let request =
        request.body(Full::new(body).map_err(|never| match never {}).boxed_unsync()).expect("a request");
    let (parts, body) = server.handle(request, Some(&user)).await.into_parts();
    let body = body.collect().await.expect("a whole body").to_bytes();
    (parts.status.as_u16(), apiserver_json::from_slice(&body).unwrap_or_default())
}

#[tokio::test]
async fn who_may_be_somebody_for_one_thing_may_not_for_another() {
    let server = server().await;
    let rule = |group: &str, resources: &[&str], verbs: &[&str]| json!({"apiGroups": [group], "resources": resources, "verbs": verbs});
    let on = ["impersonate-on:user-info:get", "impersonate-on:arbitrary-node:get"];
    allow(
        &server,
        "constrained",
        json!([
            rule("", &["namespaces"], &on),
            rule("authentication.k8s.io", &["users"], &["impersonate:user-info"]),
            rule("authentication.k8s.io", &["nodes"], &["impersonate:arbitrary-node"]),
        ]),
    )
    .await;
    let (namespace, all) = ("/api/v1/namespaces/default", "/api/v1/namespaces");
    let user = |name: &'static str| ("impersonate-user", name);
    let not_on = |mode: &str, verb: &str| {
        format!(
            "namespaces is forbidden: User \"bob\" cannot impersonate-on:{mode}:{verb} resource \"namespaces\" in API group \"\" at the cluster scope"
        )
    };
    let cases: [(&str, Headers, String); 6] = [
        (namespace, &[user("jane")], "namespaces \"default\" is forbidden: User \"jane\" cannot get resource \"namespaces\" in API group \"\" in the namespace \"default\"".to_owned()),
        (all, &[user("jane")], not_on("user-info", "list")),
        (all, &[user("system:node:n")], not_on("arbitrary-node", "list")),
        (all, &[user("system:serviceaccount:n:a")], not_on("serviceaccount", "list")),
        (namespace, &[user("jane"), ("impersonate-group", "g")], "groups.authentication.k8s.io \"g\" is forbidden: User \"bob\" cannot impersonate:user-info resource \"groups\" in API group \"authentication.k8s.io\" at the cluster scope".to_owned()),
        (namespace, &[user("jane"), ("impersonate-group", "system:masters")], "groups.authentication.k8s.io \"system:masters\" is forbidden: User \"bob\" cannot impersonate:user-info resource \"groups\" in API group \"authentication.k8s.io\" at the cluster scope: impersonating the system:masters group is not allowed".to_owned()),
    ];
    for (path, headers, want) in cases {
        let (_, answer) = ask_as(&server, "bob", (Method::GET, path), headers, &Value::Null).await;
        assert_eq!(answer["message"].as_str(), Some(want.as_str()), "{headers:?}");
    }
    allow(&server, "old", json!([rule("", &["users", "serviceaccounts"], &["impersonate"])])).await;
    for (name, want) in [
        ("jane", "system:authenticated"),
        ("system:serviceaccount:n:a", "system:serviceaccounts,system:serviceaccounts:n,system:authenticated"),
        ("system:anonymous", "system:unauthenticated"),
    ] {
        let path = (Method::POST, "/apis/authentication.k8s.io/v1/selfsubjectreviews");
        let (_, answer) = ask_as(&server, "bob", path, &[("impersonate-user", name)], &json!({})).await;
        let groups = answer.pointer("/status/userInfo/groups").and_then(Value::as_array).unwrap_or_default();
        let groups: Vec<&str> = groups.iter().filter_map(Value::as_str).collect();
        // Nobody who is not authenticated may ask who they are.
        if name != "system:anonymous" {
            assert_eq!(groups.join(","), want, "{name}");
        }
    }
    // Masters may be whom they like, and a node is known by its name.
    let masters = User::master("root");
    let request = Request::builder()
        .method(Method::POST)
        .uri("/apis/authentication.k8s.io/v1/selfsubjectreviews")
        .header("impersonate-user", "system:node:n")
        .header("content-type", "application/json")
        .body(Full::new(Bytes::from_static(b"{}")).map_err(|never| match never {}).boxed_unsync())
        .expect("a request");
    let body =
        server.handle(request, Some(&masters)).await.into_body().collect().await.expect("a body").to_bytes();
    let answer: Value = apiserver_json::from_slice(&body).expect("JSON");
    assert_eq!(
        answer["status"]["userInfo"]["groups"],
        json!(["system:nodes", "system:authenticated"]),
        "{answer}"
    );
}

#[tokio::test]
async fn who_changes_what_is_not_there_has_to_be_allowed_to_make_it() {
    let server = server().await;
    allow(&server, "changes", json!([{"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["update", "patch"]}])).await;
    let path = "/apis/coordination.k8s.io/v1/namespaces/default/leases/a";
    let lease = json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "a"}});
    let applied = format!("{path}?fieldManager=m");
    let ways = [
        (Method::PUT, path, "application/json"),
        (Method::PATCH, applied.as_str(), "application/apply-patch+yaml"),
    ];
    for (made, code) in [(false, 403), (true, 200)] {
        if made {
            ask(&server, Method::PUT, path, &lease).await;
        }
        // Nobody replaces a Lease without saying which.
        for (method, path, media) in ways.iter().skip(usize::from(made)).cloned() {
            let (status, answer) =
                ask_as(&server, "bob", (method, path), &[("content-type", media)], &lease).await;
            assert_eq!(status, code, "{answer}");
            assert_eq!(answer["reason"].as_str(), (!made).then_some("Forbidden"));
        }
    }
}

#[tokio::test]
async fn what_is_allocated_is_said_by_whoever_may_bind() {
    let server = server().await;
    let rule = |resource: &str, verbs: &[&str]| json!({"apiGroups": ["resource.k8s.io"], "resources": [resource], "verbs": verbs});
    allow(&server, "status", json!([rule("resourceclaims/status", &["patch"])])).await;
    let path = "/apis/resource.k8s.io/v1/namespaces/default/resourceclaims";
    let request = json!({"name": "r", "exactly": {"deviceClassName": "c"}});
    let claim = json!({"metadata": {"name": "a"}, "spec": {"devices": {"requests": [request]}}});
    let (status, answer) = ask(&server, Method::POST, path, &claim).await;
    assert_eq!(status, StatusCode::CREATED, "{answer}");
    let status_of = format!("{path}/a/status");
    let device = json!({"driver": "d.e", "pool": "p", "device": "x"});
    let mut result = device.clone();
    result["request"] = "r".into();
    let allocation = json!({"status": {"allocation": {"devices": {"results": [result]}}}});
    let devices = json!({"status": {"devices": [device]}});
    let merge = [("content-type", "application/merge-patch+json")];
    for (granted, body, want) in [
        (None, &allocation, Some("status.allocation")),
        (Some(("resourceclaims/binding", "patch")), &allocation, None),
        (None, &devices, Some("status.devices")),
        (Some(("resourceclaims/driver", "arbitrary-node:patch")), &devices, None),
    ] {
        if let Some((resource, verb)) = granted {
            allow(&server, verb, json!([rule(resource, &[verb])])).await;
        }
        let (_, answer) = ask_as(&server, "bob", (Method::PATCH, &status_of), &merge, body).await;
        let field = answer.pointer("/details/causes/0/field").and_then(Value::as_str);
        assert_eq!(field, want, "{answer}");
    }
}
