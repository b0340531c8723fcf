//! A server in the test's own process, and how it is asked.

mod server;

use apiserver_json::Value;
use apiserver_server::{ApiServer, ResponseBody, User};
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};

pub(crate) use server::server;

/// Asks as some user; `media` is what is accepted, and what is sent.
pub(crate) async fn send(
    server: &ApiServer,
    user: &User,
    (method, path): (Method, &str),
    media: [&str; 2],
    body: Bytes,
) -> Response<ResponseBody> {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("accept", media[0])
        .header("content-type", media[1])
        .body(Full::new(body).map_err(|never| match never {}).boxed_unsync())
        .expect("a request");
    server.handle(request, Some(user)).await
}

/// Asks as an administrator, in JSON; a null body is none, and a patch is merged.
pub(crate) async fn ask(server: &ApiServer, method: Method, path: &str, body: &Value) -> (StatusCode, Value) {
    let sent = if method == Method::PATCH { "application/merge-patch+json" } else { "application/json" };
    let body = if body.is_null() { Bytes::new() } else { body.to_string().into() };
    let media = ["application/json", sent];
    let answer = send(server, &User::master("test"), (method, path), media, body).await;
    let (parts, body) = answer.into_parts();
    let body = body.collect().await.expect("a whole body").to_bytes();
    (parts.status, apiserver_json::from_slice(&body).expect("JSON"))
}
