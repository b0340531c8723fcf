//! Asks a component how it is, over HTTP: what kubelet's probes do, and what they make of an answer (`pkg/probe/http`).

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{ACCEPT, CONNECTION, HOST, LOCATION, USER_AGENT};
use http::{Request, Response, Uri};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use super::Outcome;
use crate::webhooks;

/// As much of an answer as is shown: `maxRespBodyLength`.
const ANSWER_BYTES_MAX: usize = 10 << 10;
/// Requests of one question: what Go's client gives up after.
const REQUESTS_MAX: usize = 10;

/// How whoever answers at this URL is.
pub(super) async fn ask(url: Uri, patience: Duration) -> Outcome {
    let deadline = Instant::now() + patience;
    let failed = |url: &str, why: &str| Outcome::unhealthy(format!("Get \"{url}\": {why}"));
    let mut url = url;
    for _ in 0..REQUESTS_MAX {
        let answer = match timeout_at(deadline, head(&url)).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(why)) => return failed(&url.to_string(), &why),
            Err(_) => {
                let why = "context deadline exceeded (Client.Timeout exceeded while awaiting headers)";
                return failed(&url.to_string(), why);
            }
        };
        match redirect(&url, &answer.head) {
            None => return outcome(answer, deadline).await,
            Some(Ok(next)) => url = next,
            Some(Err(place)) => {
                return failed(
                    &url.to_string(),
                    &format!("failed to parse Location header {place:?}: invalid URL"),
                );
            }
        }
    }
    // Go shows how the last one was written, which came without a host where it is on the same.
    failed(&url.to_string(), &format!("stopped after {REQUESTS_MAX} redirects"))
}

/// An answer whose body is still to be read, and what reads it, which ends with it.
struct Answered {
    head: Response<Incoming>,
    _driver: JoinSet<()>,
}

/// # Errors
/// The sentence of Go's client.
async fn head(url: &Uri) -> Result<Answered, String> {
    let host = url.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    let socket = match url.scheme_str() {
        Some("https") => webhooks::connect_unverified(host, url.port_u16().unwrap_or(443)).await?,
        Some("http") => webhooks::connect(host, url.port_u16().unwrap_or(80)).await?,
        scheme => return Err(format!("unsupported protocol scheme \"{}\"", scheme.unwrap_or_default())),
    };
    let (mut sender, driver) = hyper::client::conn::http1::handshake(TokioIo::new(socket))
        .await
        .map_err(|error| sentence(&error))?;
    let mut driving = JoinSet::new();
    driving.spawn(async move {
        if let Err(error) = driver.await {
            tracing::debug!(error = %error, "a component's answer broke off");
        }
    });
    let path = url.path_and_query().map_or("/", |path| path.as_str());
    let request = Request::get(path)
        .header(HOST, url.authority().map_or("", |authority| authority.as_str()))
        .header(USER_AGENT, "kube-probe/1.36")
        .header(ACCEPT, "*/*")
        .header(CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(|error| error.to_string())?;
    let head = sender.send_request(request).await.map_err(|error| sentence(&error))?;
    Ok(Answered { head, _driver: driving })
}

fn sentence(error: &hyper::Error) -> String {
    if error.is_incomplete_message() || error.is_canceled() { "EOF".to_owned() } else { error.to_string() }
}

/// Where an answer leads, or what can't be read of it; `None` where it is the last one.
fn redirect(from: &Uri, answer: &Response<Incoming>) -> Option<Result<Uri, String>> {
    if !matches!(answer.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
        return None;
    }
    let place = String::from_utf8_lossy(answer.headers().get(LOCATION)?.as_bytes()).into_owned();
    (!place.is_empty()).then(|| resolved(from, &place).ok_or(place))
}

/// A place as it is meant at this URL.
fn resolved(from: &Uri, place: &str) -> Option<Uri> {
    let (scheme, authority) = (from.scheme_str()?, from.authority()?);
    let place = place.split('#').next().unwrap_or_default();
    let text = if place.split_once("://").is_some_and(|(scheme, _)| !scheme.contains(['/', '?'])) {
        place.to_owned()
    } else if place.starts_with("//") {
        format!("{scheme}:{place}")
    } else if place.starts_with('/') {
        format!("{scheme}://{authority}{place}")
    } else if place.starts_with('?') {
        format!("{scheme}://{authority}{}{place}", from.path())
    } else {
        let folder = from.path().rsplit_once('/').map_or("", |(folder, _)| folder);
        format!("{scheme}://{authority}{folder}/{place}")
    };
    text.parse().ok().filter(|uri: &Uri| uri.host().is_some())
}

/// What an answer says; of bad ones it is not shown.
async fn outcome(answer: Answered, deadline: Instant) -> Outcome {
    let Answered { head, _driver } = answer;
    let status = head.status();
    let text = match timeout_at(deadline, beginning(head.into_body())).await {
        Ok(Ok(text)) => text,
        Ok(Err(why)) => return Outcome::unknown("", why),
        Err(_) => {
            let why = "context deadline exceeded (Client.Timeout or context cancellation while reading body)";
            return Outcome::unknown("", why.to_owned());
        }
    };
    match status.as_u16() {
        200..300 => Outcome::healthy(text),
        300..400 => Outcome::unknown(format!("Probe terminated redirects, Response body: {text}"), ""),
        code => Outcome::unhealthy(format!("HTTP probe failed with statuscode: {code}")),
    }
}

/// A body, as far as it is shown.
async fn beginning(mut body: Incoming) -> Result<String, String> {
    let mut read = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| {
            let source = std::error::Error::source(&error);
            let io = source.and_then(|source| source.downcast_ref::<std::io::Error>());
            match io.map(std::io::Error::kind) {
                None | Some(std::io::ErrorKind::UnexpectedEof) => "unexpected EOF".to_owned(),
                Some(_) => io.map_or_else(String::new, std::string::ToString::to_string),
            }
        })?;
        let Some(chunk) = frame.data_ref() else { continue };
        read.extend_from_slice(&chunk[..chunk.len().min(ANSWER_BYTES_MAX - read.len())]);
        if read.len() == ANSWER_BYTES_MAX {
            break;
        }
    }
    Ok(String::from_utf8_lossy(&read).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::SocketAddr;
    use std::sync::Arc;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    const PATIENCE: Duration = Duration::from_secs(20);

    /// Answers connections over TLS, one after the other.
    async fn component(answers: Vec<String>) -> SocketAddr {
        let authority = rcgen::generate_simple_self_signed(["nobody.example".to_owned()]).unwrap();
        let key = rustls::pki_types::PrivateKeyDer::try_from(authority.signing_key.serialize_der()).unwrap();
        let config =
            rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_no_client_auth()
                .with_single_cert(vec![authority.cert.der().clone()], key)
                .unwrap();
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            for answer in answers {
                let (socket, _) = listener.accept().await.unwrap();
                let mut stream = acceptor.accept(socket).await.unwrap();
                let mut request = [0; 1024];
                let length = stream.read(&mut request).await.unwrap();
                assert!(request[..length].starts_with(b"GET /"));
                stream.write_all(answer.as_bytes()).await.unwrap();
                stream.shutdown().await.unwrap();
            }
        });
        address
    }

    fn url(address: SocketAddr) -> Uri {
        format!("https://{address}/healthz").parse().unwrap()
    }

    #[tokio::test]
    async fn a_component_is_what_it_answers() {
        let long = "x".repeat(ANSWER_BYTES_MAX);
        for (answers, want) in [
            (vec!["200 OK\r\ncontent-length: 2\r\n\r\nok".to_owned()], Outcome::healthy("ok")),
            (vec!["200 OK\r\n\r\nok".to_owned()], Outcome::healthy("ok")),
            (vec![format!("200 OK\r\n\r\n{long}y")], Outcome::healthy(long.clone())),
            (
                vec!["200 OK\r\ncontent-length: 9\r\n\r\nok".to_owned()],
                Outcome::unknown("", "unexpected EOF"),
            ),
            (
                vec!["500 Oh\r\ncontent-length: 6\r\n\r\nsecret".to_owned()],
                Outcome::unhealthy("HTTP probe failed with statuscode: 500"),
            ),
            (
                vec!["302 Found\r\ncontent-length: 4\r\n\r\nbody".to_owned()],
                Outcome::unknown("Probe terminated redirects, Response body: body", ""),
            ),
            (
                vec![
                    "302 Found\r\nlocation: /livez\r\ncontent-length: 0\r\n\r\n".to_owned(),
                    "200 OK\r\n\r\nalive".to_owned(),
                ],
                Outcome::healthy("alive"),
            ),
        ] {
            let lines = answers.iter().map(|answer| format!("HTTP/1.1 {answer}")).collect();
            assert_eq!(ask(url(component(lines).await), PATIENCE).await, want, "{answers:?}");
        }
        let around = vec!["HTTP/1.1 307 On\r\nlocation: /healthz\r\n\r\n".to_owned(); REQUESTS_MAX];
        let address = component(around).await;
        let want = format!("Get \"https://{address}/healthz\": stopped after 10 redirects");
        assert_eq!(ask(url(address), PATIENCE).await, Outcome::unhealthy(want));
    }

    #[tokio::test]
    async fn who_is_not_there_or_says_nothing_is_unhealthy() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let outcome = ask(url(address), Duration::from_millis(50)).await;
        assert_eq!(outcome.status, "False");
        let message = outcome.message;
        assert!(message.ends_with("(Client.Timeout exceeded while awaiting headers)"), "{message}");
        drop(listener);
        let want =
            format!("Get \"https://{address}/healthz\": dial tcp {address}: connect: connection refused");
        assert_eq!(ask(url(address), PATIENCE).await, Outcome::unhealthy(want));
    }

    #[test]
    fn places_are_meant_where_they_are_read() {
        let from: Uri = "https://127.0.0.1:10257/a/healthz".parse().unwrap();
        for (place, want) in [
            ("http://example.com/x", Some("http://example.com/x")),
            ("//example.com", Some("https://example.com/")),
            ("/livez?verbose#top", Some("https://127.0.0.1:10257/livez?verbose")),
            ("livez", Some("https://127.0.0.1:10257/a/livez")),
            ("?verbose", Some("https://127.0.0.1:10257/a/healthz?verbose")),
            ("http://", None),
            ("https:// /", None),
        ] {
            let found = resolved(&from, place).map(|uri| uri.to_string());
            assert_eq!(found.as_deref(), want, "{place}");
        }
    }
}
