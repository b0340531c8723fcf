//! Paths where nothing is, and what is said there.

mod common;

use apiserver_json::Value;
use apiserver_server::{ApiServer, User};
use bytes::Bytes;
use http::{Method, StatusCode};
use http_body_util::BodyExt;

use common::{ask, server};

async fn get(server: &ApiServer, path: &str) -> (u16, String) {
    let media = ["application/json"; 2];
    let user = User::master("test");
    let answer = common::send(server, &user, (Method::GET, path), media, Bytes::new()).await;
    let (parts, body) = answer.into_parts();
    let body = body.collect().await.expect("a whole body").to_bytes();
    (parts.status.as_u16(), String::from_utf8_lossy(&body).into_owned())
}

#[tokio::test]
async fn what_is_not_there_is_told_by_who_would_know() {
    let server = server().await;
    const NOBODY: &str = "404 page not found\n";
    const API: &str = "the server could not find the requested resource";
    for (path, want) in [
        // Of a group that is known the API says it, whatever the version.
        ("/apis/batch/v1beta1/namespaces/x/cronjobs/y", API),
        ("/apis/apps/v9/deployments", API),
        ("/apis/apps/v1/nope", API),
        ("/api/v2/pods", API),
        ("/apis/nope.io/v1/x", NOBODY),
        ("/apis/nope.io", NOBODY),
        ("/apis//", NOBODY),
        ("/version/x", API),
        ("/openid/v1/jwks/x", API),
        ("/openid/v1", NOBODY),
    ] {
        let (status, text) = get(&server, path).await;
        assert!(status == 404 && text.contains(want), "{path}: {status} {text}");
    }
    for path in ["/version/", "/index.html"] {
        assert_eq!(ask(&server, Method::GET, path, &Value::Null).await.0, StatusCode::OK, "{path}");
    }
}
