//! `/metrics` over the whole way of a request: who may read it, and what is counted of whom.

mod common;

use apiserver_json::{Value, json};
use apiserver_server::{ApiServer, User};
use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};

use common::server;

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

async fn ask(
    server: &ApiServer,
    method: Method,
    path: &str,
    body: &Value,
    user: &User,
) -> http::Response<apiserver_server::ResponseBody> {
    let body = if body.is_null() { Bytes::new() } else { body.to_string().into() };
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("content-type", "application/json")
        .body(Full::new(body).map_err(|never| match never {}).boxed_unsync())
        .expect("a request");
    server.handle(request, Some(user)).await
}

async fn metrics(server: &ApiServer) -> String {
    let answer = ask(server, Method::GET, "/metrics", &Value::Null, &User::master("test")).await;
    assert_eq!(answer.status(), StatusCode::OK);
    let media = answer.headers()["content-type"].to_str().expect("a media type").to_owned();
    assert_eq!(media, "text/plain; version=0.0.4; charset=utf-8; escaping=underscores");
    let bytes = answer.into_body().collect().await.expect("a whole body").to_bytes();
    String::from_utf8(bytes.to_vec()).expect("text")
}

/// The value of a sample; 0 where it is missing.
fn value(text: &str, name: &str, labels: &[&str]) -> f64 {
    let found = text.lines().find(|line| {
        line.split(['{', ' ']).next() == Some(name) && labels.iter().all(|label| line.contains(label))
    });
    found.and_then(|line| line.rsplit_once(' ')).map_or(0.0, |(_, value)| value.parse().expect("a number"))
}

#[tokio::test]
async fn requests_are_counted_by_what_was_asked() {
    let server = server().await;
    let admin = User::master("test");
    let map = json!({"metadata": {"name": "a"}});
    for _ in 0..2 {
        drop(ask(&server, Method::POST, MAPS, &map, &admin).await);
    }
    drop(
        ask(
            &server,
            Method::POST,
            &format!("{MAPS}?dryRun=All"),
            &json!({"metadata": {"name": "b"}}),
            &admin,
        )
        .await,
    );
    drop(ask(&server, Method::GET, MAPS, &Value::Null, &admin).await);
    drop(ask(&server, Method::GET, &format!("{MAPS}/none"), &Value::Null, &admin).await);
    let unknown = "/api/v1/namespaces/default/configmaps/a/made-up";
    drop(ask(&server, Method::GET, unknown, &Value::Null, &admin).await);
    let watch = ask(&server, Method::GET, &format!("{MAPS}?watch=true"), &Value::Null, &admin).await;

    let text = metrics(&server).await;
    let total = "apiserver_request_total";
    let of_maps = "resource=\"configmaps\"";
    for (labels, want) in [
        (&["code=\"201\"", "verb=\"POST\"", "scope=\"resource\"", "dry_run=\"\""][..], 1.0),
        (&["code=\"409\"", "verb=\"POST\"", "component=\"apiserver\"", "version=\"v1\""], 1.0),
        (&["code=\"201\"", "verb=\"POST\"", "dry_run=\"All\""], 1.0),
        (&["code=\"200\"", "verb=\"LIST\"", "scope=\"namespace\"", "group=\"\""], 1.0),
        (&["code=\"404\"", "verb=\"GET\"", "scope=\"resource\""], 1.0),
        (&["verb=\"WATCH\""], 0.0),
    ] {
        let labels = [labels, &[of_maps]].concat();
        assert_eq!(value(&text, total, &labels), want, "{labels:?}");
    }
    assert!(!text.contains("made-up"), "what a client makes up is no label");
    let list = [of_maps, "verb=\"LIST\"", "le=\"+Inf\""];
    assert_eq!(value(&text, "apiserver_request_duration_seconds_bucket", &list), 1.0);
    assert_eq!(value(&text, "apiserver_request_sli_duration_seconds_bucket", &list), 1.0);
    assert_eq!(value(&text, "apiserver_longrunning_requests", &[of_maps, "verb=\"WATCH\""]), 1.0);
    let stored = ["group=\"\"", "resource=\"namespaces\""];
    assert_eq!(value(&text, "apiserver_resource_objects", &stored), 4.0);
    assert!(value(&text, "process_resident_memory_bytes", &[]) > 0.0);
    assert_eq!(value(&text, "kubernetes_build_info", &["major=\"1\"", "git_version=\"v1.36.0\""]), 1.0);

    // A watch is counted once it has ended.
    drop(watch);
    let text = metrics(&server).await;
    assert_eq!(value(&text, "apiserver_longrunning_requests", &[of_maps, "verb=\"WATCH\""]), 0.0);
    assert_eq!(value(&text, total, &[of_maps, "verb=\"WATCH\"", "code=\"200\""]), 1.0);
}

#[tokio::test]
async fn metrics_are_for_those_who_may() {
    let server = server().await;
    let in_group = |group: &str| User {
        name: "jane".into(),
        groups: vec![group.into(), "system:authenticated".into()],
        ..User::default()
    };
    for (group, want) in [("developers", StatusCode::FORBIDDEN), ("system:monitoring", StatusCode::OK)] {
        let answer = ask(&server, Method::GET, "/metrics", &Value::Null, &in_group(group)).await;
        assert_eq!(answer.status(), want, "{group}");
    }
    let answer = ask(&server, Method::DELETE, "/metrics", &Value::Null, &User::master("test")).await;
    assert_eq!(answer.status(), StatusCode::METHOD_NOT_ALLOWED);
}
