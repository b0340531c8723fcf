//! Sockets: TLS, HTTP/1.1 and HTTP/2, client certificates.

use futures::FutureExt;
use futures::future::BoxFuture;

use axum::Router;
use axum::extract::{Request, State};
use axum::response::Response;
use http::StatusCode;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use http_body_util::BodyExt;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpStream};

use crate::authn::RefusedCertificate;
use crate::certificates::{Acceptor, Shown};
use crate::gathered::gathered;
use crate::limits;
use crate::service::ApiServer;

/// Serves until `shutdown` resolves, then lets open connections finish what they are doing.
pub fn serve(
    server: ApiServer,
    listener: TcpListener,
    tls: Option<Acceptor>,
    shutdown: BoxFuture<'static, ()>,
) -> BoxFuture<'static, ()> {
    accept(server, listener, tls, shutdown).boxed()
}

async fn accept(
    server: ApiServer,
    listener: TcpListener,
    tls: Option<Acceptor>,
    mut shutdown: BoxFuture<'static, ()>,
) {
    let connections = hyper_util::server::graceful::GracefulShutdown::new();
    loop {
        let socket = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((socket, _)) => socket,
                Err(error) => {
                    // Out of file descriptors, most likely: wait for some to close.
                    tracing::warn!(error = %error, "a connection could not be accepted");
                    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
                    continue;
                }
            },
            () = &mut shutdown => break,
        };
        if let Err(error) = socket.set_nodelay(true).and_then(|()| keep_alive(&socket)) {
            tracing::debug!(error = %error, "a connection without TCP_NODELAY or keepalive");
        }
        let (server, tls, watcher) = (server.clone(), tls.clone(), connections.watcher());
        tokio::spawn(async move {
            match tls {
                Some(acceptor) => match acceptor.tls.accept(socket).await {
                    Ok(stream) => {
                        let shown = acceptor.shown(stream.get_ref().1.peer_certificates());
                        connection(server, Box::new(stream), shown, watcher).await;
                    }
                    Err(error) => tracing::debug!(error = %error, "a TLS handshake failed"),
                },
                None => connection(server, Box::new(socket), Shown::Nobody, watcher).await,
            }
        });
    }
    server.begin_shutdown();
    drop(listener);
    let grace = std::time::Duration::from_secs(2);
    if tokio::time::timeout(grace, connections.shutdown()).await.is_err() {
        tracing::debug!("connections were still open at the end");
    }
}

/// A connection whose client has gone without a farewell does not stay: watches and sessions may be silent for hours.
fn keep_alive(socket: &TcpStream) -> std::io::Result<()> {
    let probes = TcpKeepalive::new()
        .with_time(limits::CONNECTION_SILENT_MAX)
        .with_interval(limits::CONNECTION_PROBE_INTERVAL);
    SockRef::from(socket).set_tcp_keepalive(&probes)
}

/// A socket, with TLS or without: the HTTP engine is compiled once.
trait Socket: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send {}
impl<T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send> Socket for T {}

/// Any request of a connection whose client has shown this.
async fn answer(State((server, shown)): State<(ApiServer, Shown)>, request: Request) -> Response {
    let audit_id = audit_id(request.headers());
    let mut request =
        request.map(|body| body.map_err(|error| Box::new(error) as crate::body::BoxError).boxed_unsync());
    let user = match &shown {
        Shown::User(user) => Some(&**user),
        Shown::Nobody => None,
        Shown::Refused => {
            request.extensions_mut().insert(RefusedCertificate);
            None
        }
    };
    let mut response = server.handle(request, user).await.map(axum::body::Body::new);
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        response.headers_mut().entry(AUDIT_ID).or_insert(audit_id);
    }
    response
}

/// By which a client and an audit log speak of one request.
const AUDIT_ID: HeaderName = HeaderName::from_static("audit-id");

/// The one a client chose, or a new one, as upstream's `endpoints/filters/audit_init.go`.
fn audit_id(headers: &HeaderMap) -> HeaderValue {
    if let Some(chosen) = headers.get(AUDIT_ID).filter(|chosen| !chosen.is_empty()) {
        return chosen.clone();
    }
    let id = uuid::Uuid::new_v4().hyphenated().to_string();
    let mut id = HeaderValue::try_from(id).unwrap_or(HeaderValue::from_static(""));
    // One that never comes again is not worth a place in HTTP/2's table of headers.
    id.set_sensitive(true);
    id
}

async fn connection(
    server: ApiServer,
    socket: Box<dyn Socket>,
    shown: Shown,
    watcher: hyper_util::server::graceful::Watcher,
) {
    // What is served changes while it runs: the catalogue knows the paths, not a table made here.
    let state = (server.clone(), shown);
    let service = TowerToHyperService::new(Router::new().fallback(answer).with_state(state));
    let mut builder = Builder::new(TokioExecutor::new());
    // Go writes header names so, and some clients look for them so.
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits::CONNECTION_IDLE_MAX)
        .title_case_headers(true);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits::HTTP2_STREAMS_MAX)
        .initial_stream_window_size(1 << 20)
        .initial_connection_window_size(4 << 20)
        .max_send_buf_size(1 << 20);
    let (io, sender) = gathered(socket);
    let serving = builder.serve_connection_with_upgrades(TokioIo::new(io), service).into_owned();
    if let Err(error) = sender.run(watcher.watch(serving).boxed()).await {
        tracing::debug!(error = %error, "a connection ended early");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_has_the_audit_id_its_client_chose_or_a_new_one() {
        let chosen = HeaderMap::from_iter([(AUDIT_ID, HeaderValue::from_static("mine"))]);
        assert_eq!(audit_id(&chosen), "mine");
        let empty = HeaderMap::from_iter([(AUDIT_ID, HeaderValue::from_static(""))]);
        let (one, other) = (audit_id(&empty), audit_id(&HeaderMap::new()));
        assert!(one.len() == 36 && other.len() == 36 && one != other, "{one:?} {other:?}");
    }

    #[tokio::test]
    async fn clients_that_vanish_are_found_out() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let socket = TcpStream::connect(listener.local_addr().expect("an address")).await.expect("connected");
        assert!(!SockRef::from(&socket).keepalive().expect("known"));
        keep_alive(&socket).expect("set");
        assert!(SockRef::from(&socket).keepalive().expect("known"));
    }
}
