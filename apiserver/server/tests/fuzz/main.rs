//! Requests that no client sends: every operation of the published document with bodies, queries, names and media drawn from
//! what it says, and then damaged. Nothing panics, hangs or is answered with a server error.
//!
//! Runs for some seconds from a fixed seed. By hand, from a new one, for as long as you like:
//! `HOPYARD_FUZZ_SECONDS=600 cargo test -p apiserver-server --test fuzz -- --nocapture`

#[path = "../common/server.rs"]
mod common;
mod draw;
mod request;

use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use apiserver_json::Value;
use apiserver_server::{ApiServer, User};
use futures::FutureExt;
use http::{Method, Request};
use http_body_util::{BodyExt, Full};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use request::{Asked, Operations};

/// How long a run takes unless it is told otherwise.
const SECONDS: u64 = 15;
/// How long one request may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// What is read of a stream that does not end.
const STREAM: Duration = Duration::from_millis(5);

/// The status and the body.
async fn send(server: &ApiServer, asked: &Asked) -> Option<(u16, Vec<u8>)> {
    let mut request = Request::builder().method(asked.method.clone()).uri(&asked.uri);
    for (name, value) in &asked.headers {
        request = request.header(*name, value);
    }
    let body = Full::from(asked.body.clone()).map_err(|never| match never {}).boxed_unsync();
    // What is no request never reaches a server.
    let request = request.body(body).ok()?;
    let user = User::master("fuzz");
    let answer = tokio::time::timeout(PATIENCE, server.handle(request, Some(&user))).await;
    let answer = answer.unwrap_or_else(|_| panic!("no answer within {PATIENCE:?}"));
    let (status, mut body, mut bytes) = (answer.status().as_u16(), answer.into_body(), Vec::new());
    while let Ok(Some(Ok(frame))) = tokio::time::timeout(STREAM, body.frame()).await {
        bytes.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data));
    }
    Some((status, bytes))
}

/// A server error that upstream answers with, too.
fn is_upstreams(asked: &Asked, status: u16, body: &[u8]) -> bool {
    let text = String::from_utf8_lossy(body);
    let sent = |media: &str| asked.headers.iter().any(|(_, value)| value.starts_with(media));
    match status {
        // Validation of a binding is no Status there.
        500 if asked.uri.contains("binding") && text.contains("target.") => true,
        // Nor is most of what strategic merge patches and apply patches are refused for.
        500 if sent("application/strategic-merge-patch") => true,
        500 if sent("application/apply-patch") => {
            ["failed to create typed patch object", "failed to convert new object"]
                .iter()
                .any(|said| text.contains(said))
        }
        // Nor is what storage says.
        500 if text.contains("failed to create RequestInfo") => true,
        500 => ["resourceVersion should not be set", "resourceVersion: Invalid value"]
            .iter()
            .any(|said| text.contains(said)),
        // A server alone has no nodes, so no logs and no streams.
        501 | 503 => {
            ["/log", "/exec", "/attach", "/portforward", "/proxy"].iter().any(|end| asked.uri.contains(end))
        }
        504 => text.contains("Timeout: "),
        _ => false,
    }
}

async fn document(server: &ApiServer) -> Value {
    let asked = Asked::get("/openapi/v2");
    let (_, body) = send(server, &asked).await.expect("a request");
    apiserver_json::from_slice(&body).expect("the document is JSON")
}

#[tokio::test]
async fn no_request_breaks_the_server() {
    let long = std::env::var("HOPYARD_FUZZ_SECONDS").ok().and_then(|text| text.parse().ok());
    let given = std::env::var("HOPYARD_FUZZ_SEED").ok().and_then(|text| text.parse().ok());
    let seed: u64 = given.unwrap_or_else(|| if long.is_some() { rand::random() } else { 1 });
    let end = Instant::now() + Duration::from_secs(long.unwrap_or(SECONDS));
    let panicked = Arc::new(Mutex::new(String::new()));
    let note = panicked.clone();
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        *note.lock().expect("the note") = info.to_string();
    }));
    let mut rng = StdRng::seed_from_u64(seed);
    let (mut sent, mut written) = (0, 0);
    let mut failure = None;
    'worlds: while Instant::now() < end {
        // A new world now and then: one that is full of nonsense refuses everything.
        let server = common::server().await;
        for definition in request::definitions() {
            send(&server, &definition).await;
        }
        let operations = Operations::read(&document(&server).await);
        for _ in 0..rng.random_range(200..4000) {
            if Instant::now() > end {
                break;
            }
            let asked = operations.draw(&mut rng);
            let answer = AssertUnwindSafe(send(&server, &asked)).catch_unwind().await;
            let said = std::mem::take(&mut *panicked.lock().expect("the note"));
            let why = match answer {
                _ if !said.is_empty() => said,
                Ok(Some((status, body))) if status >= 500 && !is_upstreams(&asked, status, &body) => {
                    format!("{status}: {}", String::from_utf8_lossy(&body))
                }
                Ok(Some((status, _))) => {
                    sent += 1;
                    written += u32::from(status < 300 && asked.method != Method::GET);
                    continue;
                }
                Ok(None) => continue,
                Err(_) => "a panic without words".to_owned(),
            };
            failure = Some(format!("seed {seed}, after {sent} requests: {why}\n{asked}"));
            break 'worlds;
        }
    }
    std::panic::set_hook(usual);
    println!("{sent} requests from seed {seed}, {written} of them written");
    assert!(failure.is_none(), "{}", failure.unwrap_or_default());
    assert!(written * 50 > sent, "most requests only fail: {written} of {sent} were written");
}
