//! Which stream protocol a request asks for, and the answer that switches to it.
//!
//! Refusals have the words and codes of `k8s.io/streaming/pkg/httpstream` and of the WebSocket servers behind it.

use base64::Engine;
use base64::alphabet;
use base64::engine::GeneralPurpose;
use base64::engine::general_purpose::{NO_PAD, STANDARD};
use http::StatusCode;
use http::header::{
    CONNECTION, HeaderMap, HeaderName, HeaderValue, ORIGIN, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY,
    SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE, X_CONTENT_TYPE_OPTIONS,
};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;

use super::websocket;
use crate::answer::Answer;

const PROTOCOL_VERSION: HeaderName = HeaderName::from_static("x-stream-protocol-version");
const ACCEPTED_VERSIONS: HeaderName = HeaderName::from_static("x-accepted-stream-protocol-versions");

/// What comes before the name of a protocol whose SPDY is tunnelled through a WebSocket.
const TUNNEL: &str = "SPDY/3.1+";

/// What comes before a bearer token that is a subprotocol.
const TOKEN: &str = "base64url.bearer.authorization.k8s.io.";

/// Go's `RawURLEncoding`, to which it is the same what the last bits say.
const RAW_URL: GeneralPurpose =
    GeneralPurpose::new(&alphabet::URL_SAFE, NO_PAD.with_decode_allow_trailing_bits(true));

/// A refusal that is no Status: clients of streams show its text.
pub(crate) type Refusal = Box<Answer>;

/// What a client wants to speak.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    Spdy,
    /// SPDY in a WebSocket, and the protocols in it, without their prefix.
    Tunnel(Vec<String>),
    /// A WebSocket, and its subprotocols.
    WebSocket(Vec<String>),
}

/// What a request wants to become; nothing where it is no upgrade.
pub(crate) fn wanted(headers: &HeaderMap) -> Option<Wanted> {
    let asks = headers.get_all(CONNECTION).iter().any(|value| lower(value).contains("upgrade"));
    if !asks {
        return None;
    }
    let upgrade = headers.get(UPGRADE).map(lower).unwrap_or_default();
    if upgrade != "websocket" {
        return Some(Wanted::Spdy);
    }
    let protocols = list(headers, &SEC_WEBSOCKET_PROTOCOL);
    let tunnelled: Vec<String> = protocols
        .iter()
        .filter(|name| name.ends_with(".k8s.io"))
        .filter_map(|name| name.strip_prefix(TUNNEL))
        .map(str::to_owned)
        .collect();
    Some(if tunnelled.is_empty() { Wanted::WebSocket(protocols) } else { Wanted::Tunnel(tunnelled) })
}

fn lower(value: &HeaderValue) -> String {
    String::from_utf8_lossy(value.as_bytes()).to_ascii_lowercase()
}

/// The items of a header that is a list, over all its lines; without a token, which is nothing to agree on.
fn list(headers: &HeaderMap, name: &HeaderName) -> Vec<String> {
    all(headers, name).filter(|item| !item.starts_with(TOKEN)).map(str::to_owned).collect()
}

fn all<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    let lines = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    lines.flat_map(|line| line.split(',')).map(str::trim).filter(|item| !item.is_empty())
}

/// A refusal in plain text.
pub(crate) fn refusal(status: StatusCode, text: impl Into<String>) -> Refusal {
    Box::new(Answer::text(status, text))
}

/// As [`refusal`], as Go's `http.Error` writes it.
fn error(status: StatusCode, text: &str) -> Refusal {
    let mut answer = refusal(status, format!("{text}\n"));
    answer.headers.push((X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")));
    answer
}

/// The first of the client's protocols that is among `known`.
///
/// # Errors
/// 400 without any, 403 without a common one.
pub(crate) fn negotiate(offered: &[String], known: &[&'static str]) -> Result<&'static str, Refusal> {
    let common = offered.iter().find_map(|name| known.iter().find(|other| *other == name)).copied();
    common.ok_or_else(|| {
        let text = format!(
            "unable to upgrade: unable to negotiate protocol: client supports [{}], server accepts [{}]",
            offered.join(" "),
            known.join(" ")
        );
        let mut answer = error(StatusCode::FORBIDDEN, &text);
        for name in known {
            answer.headers.push((ACCEPTED_VERSIONS, HeaderValue::from_static(name)));
        }
        answer
    })
}

/// As [`negotiate`], refused as servers of channels refuse.
///
/// # Errors
/// 403 without a common protocol.
pub(crate) fn negotiate_channels(
    offered: &[String],
    known: &[&'static str],
) -> Result<&'static str, Refusal> {
    let common = offered.iter().find_map(|name| known.iter().find(|other| *other == name)).copied();
    common.ok_or_else(|| refusal(StatusCode::FORBIDDEN, ""))
}

/// The answer that switches to SPDY, and the protocol that is spoken in it.
///
/// # Errors
/// As upstream's handshake.
pub(crate) fn to_spdy(
    headers: &HeaderMap,
    known: &[&'static str],
) -> Result<(&'static str, Answer), Refusal> {
    if !headers.contains_key(&PROTOCOL_VERSION) {
        let text = format!(
            "unable to upgrade: header X-Stream-Protocol-Version does not exist in request with {} headers",
            headers.keys_len()
        );
        return Err(error(StatusCode::BAD_REQUEST, &text));
    }
    let offered = list(headers, &PROTOCOL_VERSION);
    if offered.is_empty() {
        let text = "unable to upgrade: header X-Stream-Protocol-Version contains [], but no valid protocols";
        return Err(error(StatusCode::BAD_REQUEST, text));
    }
    let protocol = negotiate(&offered, known)?;
    if !headers.get(UPGRADE).map(lower).unwrap_or_default().contains("spdy/3.1") {
        let text = "unable to upgrade: missing upgrade headers in request";
        return Err(error(StatusCode::BAD_REQUEST, text));
    }
    let answer = switching("SPDY/3.1", [(PROTOCOL_VERSION, HeaderValue::from_static(protocol))]);
    Ok((protocol, answer))
}

/// The answer that switches to a WebSocket with this subprotocol.
///
/// # Errors
/// 400 where the request is no handshake of this version.
pub(crate) fn to_websocket(headers: &HeaderMap, subprotocol: &str) -> Result<Answer, Refusal> {
    let text = |name: &HeaderName| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("");
    let key = text(&SEC_WEBSOCKET_KEY).trim();
    if key.is_empty() {
        return Err(refusal(StatusCode::BAD_REQUEST, "mismatch challenge/response"));
    }
    if text(&SEC_WEBSOCKET_VERSION) != "13" {
        let mut answer = refusal(StatusCode::BAD_REQUEST, "missing or bad WebSocket Version");
        answer.headers.push((SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13")));
        return Err(answer);
    }
    let accept = HeaderValue::from_str(&websocket::accept_key(key));
    let Ok(accept) = accept else {
        return Err(refusal(StatusCode::BAD_REQUEST, "mismatch challenge/response"));
    };
    let mut answer = switching("websocket", [(SEC_WEBSOCKET_ACCEPT, accept)]);
    if let Ok(value) = HeaderValue::from_str(subprotocol)
        && !subprotocol.is_empty()
    {
        answer.headers.push((SEC_WEBSOCKET_PROTOCOL, value));
    }
    Ok(answer)
}

/// The answer that switches to a WebSocket for who comes from a browser, or says it does: a page must be named, and at most
/// one subprotocol.
///
/// # Errors
/// As those of `golang.org/x/net/websocket`.
pub(crate) fn to_page(headers: &HeaderMap) -> Result<Answer, Refusal> {
    let text = |name: &HeaderName| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("");
    let protocols = list(headers, &SEC_WEBSOCKET_PROTOCOL);
    let answer = to_websocket(headers, protocols.first().map_or("", String::as_str))?;
    let origin = text(&ORIGIN);
    // What Go's `ParseRequestURI` takes.
    let scheme = origin.split_once(':').map_or("", |(scheme, _)| scheme);
    let is_scheme = scheme.starts_with(|first: char| first.is_ascii_alphabetic())
        && scheme.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'));
    if !is_scheme && !origin.starts_with('/') {
        return Err(refusal(StatusCode::FORBIDDEN, ""));
    }
    if protocols.len() > 1 { Err(refusal(StatusCode::BAD_REQUEST, "")) } else { Ok(answer) }
}

/// The subprotocols that a request offers, without a token.
pub(crate) fn subprotocols(headers: &HeaderMap) -> Vec<String> {
    list(headers, &SEC_WEBSOCKET_PROTOCOL)
}

/// Whether a request wants to become a WebSocket.
pub(crate) fn wants_websocket(headers: &HeaderMap) -> bool {
    matches!(wanted(headers), Some(Wanted::WebSocket(_) | Wanted::Tunnel(_)))
}

/// The token that a page gives as a subprotocol, for it can't set headers.
///
/// # Errors
/// Where there are several, it can't be read, or nothing is left that could be agreed on.
pub(crate) fn token(headers: &HeaderMap) -> Result<Option<String>, BadToken> {
    if !wants_websocket(headers) {
        return Ok(None);
    }
    let (mut tokens, mut others) = (Vec::new(), 0);
    for name in all(headers, &SEC_WEBSOCKET_PROTOCOL) {
        match name.strip_prefix(TOKEN) {
            Some(encoded) => tokens.push(encoded.to_owned()),
            None => others += 1,
        }
    }
    let [encoded] = tokens.as_slice() else {
        return if tokens.is_empty() { Ok(None) } else { Err(BadToken) };
    };
    let decoded = RAW_URL.decode(encoded).map_err(|_| BadToken)?;
    let token = String::from_utf8(decoded).map_err(|_| BadToken)?;
    match token.is_empty() {
        true => Ok(None),
        false if others == 0 => Err(BadToken),
        false => Ok(Some(token)),
    }
}

/// A token that is none.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct BadToken;

/// As [`to_websocket`], with SPDY of this protocol in it.
///
/// # Errors
/// As [`negotiate`] and [`to_websocket`].
pub(crate) fn to_tunnel(
    headers: &HeaderMap,
    offered: &[String],
    known: &[&'static str],
) -> Result<Answer, Refusal> {
    let protocol = negotiate(offered, known)?;
    let key = headers.get(&SEC_WEBSOCKET_KEY).map(HeaderValue::as_bytes).unwrap_or_default();
    // Another server of WebSockets is behind these, which looks at the key.
    if STANDARD.decode(key.trim_ascii()).map_or(0, |bytes| bytes.len()) != 16 {
        return Err(refusal(StatusCode::BAD_REQUEST, "mismatch challenge/response"));
    }
    to_websocket(headers, &format!("{TUNNEL}{protocol}"))
}

fn switching<const N: usize>(to: &'static str, more: [(HeaderName, HeaderValue); N]) -> Answer {
    let mut answer = Answer::text(StatusCode::SWITCHING_PROTOCOLS, "");
    answer.headers.push((CONNECTION, HeaderValue::from_static("Upgrade")));
    answer.headers.push((UPGRADE, HeaderValue::from_static(to)));
    answer.headers.extend(more);
    answer
}

/// What the connection of a request becomes once it was answered.
///
/// # Errors
/// 500 where the request did not come over a connection that can be taken over.
pub(crate) fn taken(upgrade: Option<OnUpgrade>) -> Result<OnUpgrade, Refusal> {
    upgrade.ok_or_else(|| {
        error(StatusCode::INTERNAL_SERVER_ERROR, "unable to upgrade: unable to hijack response")
    })
}

/// Runs a session on the connection, after the answer went out.
pub(crate) fn run<F>(upgrade: OnUpgrade, session: impl FnOnce(TokioIo<Upgraded>) -> F + Send + 'static)
where
    F: Future<Output = ()> + Send,
{
    tokio::spawn(async move {
        match upgrade.await {
            Ok(io) => session(TokioIo::new(io)).await,
            Err(error) => tracing::debug!(error = %error, "a connection was lost before it was upgraded"),
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    type Pairs = &'static [(&'static str, &'static str)];

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn what_is_wanted_is_read_as_upstream_reads_it() {
        let tunnel = Wanted::Tunnel(vec!["portforward.k8s.io".to_owned()]);
        let table: [(Pairs, Option<Wanted>); 6] = [
            (&[], None),
            (&[("upgrade", "SPDY/3.1")], None),
            (&[("connection", "keep-alive, Upgrade"), ("upgrade", "SPDY/3.1")], Some(Wanted::Spdy)),
            (&[("connection", "upgrade"), ("upgrade", "WebSocket")], Some(Wanted::WebSocket(vec![]))),
            (
                &[
                    ("connection", "Upgrade"),
                    ("upgrade", "websocket"),
                    ("sec-websocket-protocol", "v5.channel.k8s.io, v4.channel.k8s.io"),
                ],
                Some(Wanted::WebSocket(vec!["v5.channel.k8s.io".into(), "v4.channel.k8s.io".into()])),
            ),
            (
                &[
                    ("connection", "Upgrade"),
                    ("upgrade", "websocket"),
                    ("sec-websocket-protocol", "SPDY/3.1+portforward.k8s.io"),
                ],
                Some(tunnel),
            ),
        ];
        for (given, expected) in table {
            assert_eq!(wanted(&headers(given)), expected, "{given:?}");
        }
    }

    const KEY: (&str, &str) = ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
    const SOCKET: [(&str, &str); 4] =
        [("connection", "Upgrade"), ("upgrade", "websocket"), ("sec-websocket-version", "13"), KEY];

    #[test]
    fn a_page_names_itself_and_one_protocol() {
        let table: [(Pairs, u16, Option<&str>); 7] = [
            (&[], 403, None),
            (&[("origin", "null")], 403, None),
            (&[("origin", "https://127.0.0.1:6443")], 101, None),
            (&[("origin", "/x")], 101, None),
            (&[("origin", "http://x"), ("sec-websocket-protocol", "a, b")], 400, None),
            (&[("origin", "http://x"), ("sec-websocket-protocol", "a")], 101, Some("a")),
            (
                &[
                    ("origin", "http://x"),
                    ("sec-websocket-protocol", "base64url.bearer.authorization.k8s.io.dG9r, a"),
                ],
                101,
                Some("a"),
            ),
        ];
        for (given, status, protocol) in table {
            let all: Vec<_> = SOCKET.iter().chain(given).copied().collect();
            let answer = to_page(&headers(&all)).unwrap_or_else(|refusal| *refusal);
            let chosen = answer.headers.iter().find(|(name, _)| *name == SEC_WEBSOCKET_PROTOCOL);
            let chosen = chosen.and_then(|(_, value)| value.to_str().ok());
            assert_eq!((answer.status.as_u16(), chosen), (status, protocol), "{given:?}");
        }
    }

    #[test]
    fn a_token_comes_with_another_protocol() {
        let of = |protocols: &'static str| {
            let all: Vec<_> = SOCKET.iter().copied().chain([("sec-websocket-protocol", protocols)]).collect();
            token(&headers(&all))
        };
        for (protocols, want) in [
            ("a", Ok(None)),
            ("base64url.bearer.authorization.k8s.io.dG9r, a", Ok(Some("tok".to_owned()))),
            ("a,base64url.bearer.authorization.k8s.io.dG9r", Ok(Some("tok".to_owned()))),
            ("base64url.bearer.authorization.k8s.io.,a", Ok(None)),
            ("base64url.bearer.authorization.k8s.io.dG9r", Err(BadToken)),
            ("base64url.bearer.authorization.k8s.io.dG9rCg==, a", Err(BadToken)),
            ("base64url.bearer.authorization.k8s.io.dG8, a", Ok(Some("to".to_owned()))),
            ("base64url.bearer.authorization.k8s.io.dG9, a", Ok(Some("to".to_owned()))),
            ("base64url.bearer.authorization.k8s.io.d, a", Err(BadToken)),
            ("base64url.bearer.authorization.k8s.io._w, a", Err(BadToken)),
            (
                "base64url.bearer.authorization.k8s.io.dG9r, base64url.bearer.authorization.k8s.io.dG9r, a",
                Err(BadToken),
            ),
        ] {
            assert_eq!(of(protocols), want, "{protocols}");
        }
        let plain = [("sec-websocket-protocol", "base64url.bearer.authorization.k8s.io.dG9r, a")];
        assert_eq!(token(&headers(&plain)), Ok(None));
    }

    #[test]
    fn handshakes_are_answered_or_refused() {
        let spdy = [("connection", "Upgrade"), ("upgrade", "SPDY/3.1")];
        let table: [(Pairs, u16); 5] = [
            (&[], 400),
            (&[("x-stream-protocol-version", " ,")], 400),
            (&[("x-stream-protocol-version", "v9.channel.k8s.io")], 403),
            (&[("x-stream-protocol-version", "v9.x, b"), ("x-stream-protocol-version", "a")], 101),
            (&[("x-stream-protocol-version", "a")], 101),
        ];
        for (given, status) in table {
            let all: Vec<_> = spdy.iter().chain(given).copied().collect();
            let answer = to_spdy(&headers(&all), &["a", "b"]);
            let found = answer.as_ref().map_or_else(|refusal| refusal.status, |(_, answer)| answer.status);
            assert_eq!(found.as_u16(), status, "{given:?}");
        }
        let chosen =
            to_spdy(&headers(&[spdy[0], spdy[1], ("x-stream-protocol-version", "b, a")]), &["a", "b"]);
        assert_eq!(chosen.ok().map(|(protocol, _)| protocol), Some("b"));

        let key = KEY;
        let table = [
            (vec![], 400),
            (vec![("sec-websocket-version", "13")], 400),
            (vec![key], 400),
            (vec![key, ("sec-websocket-version", "12")], 400),
            (vec![("sec-websocket-key", "c2hvcnQ="), ("sec-websocket-version", "13")], 101),
            (vec![key, ("sec-websocket-version", "13")], 101),
        ];
        for (given, status) in table {
            let answer = to_websocket(&headers(&given), "v4.channel.k8s.io");
            let found = answer.as_ref().map_or_else(|refusal| refusal.status, |answer| answer.status);
            assert_eq!(found.as_u16(), status, "{given:?}");
        }
    }
}
