//! `/metrics` over the whole way of a request: who may read it, and what is counted of whom.

mod common;

use apiserver_json::{Value, json};
use apiserver_server::{ApiServer, ResponseBody, User};
use bytes::Bytes;
use http::{Method, Response, StatusCode};
use http_body_util::BodyExt;

use common::{ask, send, server};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

/// What somebody is answered who asks for the metrics.
async fn asked(server: &ApiServer, method: Method, user: &User) -> Response<ResponseBody> {
    send(server, user, (method, "/metrics"), ["*/*", "text/plain"], Bytes::new()).await
}

async fn metrics(server: &ApiServer) -> String {
    let answer = asked(server, Method::GET, &User::master("test")).await;
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
    let map = json!({"metadata": {"name": "a"}});
    let dry = json!({"metadata": {"name": "b"}});
    for (method, path, body) in [
        (Method::POST, "", &map),
        (Method::POST, "", &map),
        (Method::POST, "?dryRun=All", &dry),
        (Method::GET, "", &Value::Null),
        (Method::GET, "/none", &Value::Null),
        (Method::GET, "/a/made-up", &Value::Null),
    ] {
        ask(&server, method, &format!("{MAPS}{path}"), body).await;
    }
    let path = format!("{MAPS}?watch=true");
    let json = ["application/json"; 2];
    let watch = send(&server, &User::master("test"), (Method::GET, &path), json, Bytes::new()).await;

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
        let answer = asked(&server, Method::GET, &in_group(group)).await;
        assert_eq!(answer.status(), want, "{group}");
    }
    let answer = asked(&server, Method::DELETE, &User::master("test")).await;
    assert_eq!(answer.status(), StatusCode::METHOD_NOT_ALLOWED);
}
