//! Sending requests to targets over HTTP/1.1, reusing connections.
//!
//! A kept connection that turns out to be closed costs the caller nothing: the request goes out on a fresh one.

use crate::Body;
use http::{Method, Request, Response};
use hyper::body::{Body as _, Incoming};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Why a request got no answer.
#[derive(Debug, thiserror::Error)]
pub enum SendError<E> {
    /// No connection; nothing was sent and the request is given back.
    #[error("connect: {error}")]
    Connect {
        /// The reason.
        error: E,
        /// The request, unsent.
        request: Box<Request<Body>>,
    },
    /// The target closed or spoke nonsense after the request was sent.
    #[error("target: {0}")]
    Broken(hyper::Error),
}

/// Idle connections kept per target.
const MAX_IDLE: usize = 32;
/// How long one is kept.
const KEEP: Duration = Duration::from_secs(60);

struct Kept {
    sender: SendRequest<Body>,
    since: Instant,
}

/// Connections to targets, by a key the caller chooses.
#[derive(Clone, Default)]
pub struct Pool {
    idle: Arc<Mutex<HashMap<String, Vec<Kept>>>>,
}

/// A request that may be sent a second time: nothing of it can have had an effect, or it has none.
fn replay(request: &Request<Body>) -> Option<Request<()>> {
    let safe = matches!(
        *request.method(),
        Method::GET | Method::HEAD | Method::OPTIONS | Method::PUT | Method::DELETE
    );
    if !safe || !request.body().is_end_stream() {
        return None;
    }
    let mut copy = Request::new(());
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.headers_mut() = request.headers().clone();
    Some(copy)
}

impl Pool {
    /// An empty pool.
    pub fn new() -> Self {
        Self::default()
    }

    /// Forget the connections to a target.
    pub fn forget(&self, key: &str) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }

    fn take(&self, key: &str) -> Option<SendRequest<Body>> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = idle.get_mut(key)?;
        while let Some(connection) = kept.pop() {
            if connection.sender.is_ready() && connection.since.elapsed() < KEEP {
                return Some(connection.sender);
            }
        }
        idle.remove(key);
        None
    }

    fn keep(&self, key: String, sender: SendRequest<Body>) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = idle.entry(key).or_default();
        kept.retain(|k| !k.sender.is_closed());
        if kept.len() < MAX_IDLE {
            kept.push(Kept { sender, since: Instant::now() });
        }
    }

    /// Send on a kept connection if there is one, else on a new one from `connect`. Without a key the connection is
    /// new and not kept: for destinations where every connection may lead elsewhere.
    pub async fn send<E, F, C>(
        &self,
        key: Option<&str>,
        mut request: Request<Body>,
        connect: C,
    ) -> Result<Response<Incoming>, SendError<E>>
    where
        C: FnOnce() -> F,
        F: Future<Output = Result<crate::Stream, E>>,
    {
        while let Some(mut sender) = key.and_then(|key| self.take(key)) {
            let copy = replay(&request);
            match sender.try_send_request(request).await {
                Ok(response) => {
                    self.keep_later(key, sender);
                    return Ok(response);
                }
                Err(mut error) => match (error.take_message(), copy) {
                    (Some(unsent), _) => request = unsent,
                    (None, Some(copy)) => request = copy.map(|()| crate::empty()),
                    (None, None) => return Err(SendError::Broken(error.into_error())),
                },
            }
        }
        let stream = match connect().await {
            Ok(stream) => stream,
            Err(error) => return Err(SendError::Connect { error, request: Box::new(request) }),
        };
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(SendError::Broken)?;
        tokio::spawn(async move {
            if let Err(error) = connection.with_upgrades().await {
                tracing::trace!(%error, "connection to target");
            }
        });
        let response = sender.send_request(request).await.map_err(SendError::Broken)?;
        self.keep_later(key, sender);
        Ok(response)
    }

    /// Keep a connection once its answer has been read.
    fn keep_later(&self, key: Option<&str>, mut sender: SendRequest<Body>) {
        let Some(key) = key else { return };
        if sender.is_ready() {
            return self.keep(key.to_string(), sender);
        }
        let (pool, key) = (self.clone(), key.to_string());
        tokio::spawn(async move {
            if sender.ready().await.is_ok() {
                pool.keep(key, sender);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ConnectionInfo, Handler, empty, full, incoming, serve_connection};
    use http_body_util::BodyExt;
    use std::net::{Ipv4Addr, SocketAddrV4};
    use std::sync::atomic::{AtomicUsize, Ordering};
    use tokio::net::TcpListener;
    use tokio::sync::watch;

    #[tokio::test]
    async fn connections_are_reused_and_closed_ones_replaced() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let address = listener.local_addr().expect("address");
        let accepted = Arc::new(AtomicUsize::new(0));
        let (stop, stopped) = watch::channel(false);
        let handler: Handler = Arc::new(|request, _| {
            Box::pin(async move {
                let body =
                    incoming(request.into_body()).collect().await.map(|b| b.to_bytes()).unwrap_or_default();
                Response::new(full(body))
            })
        });
        let count = accepted.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                // Every second connection ends after the request under way.
                let n = count.fetch_add(1, Ordering::SeqCst);
                let any = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0);
                let info = ConnectionInfo { peer: any, local: any, scheme: "http", tls: None };
                let shutdown = if n == 1 { watch::channel(true).1 } else { stopped.clone() };
                tokio::spawn(serve_connection(stream, info, handler.clone(), shutdown));
            }
        });
        let pool = Pool::new();
        for i in 0..20 {
            let request = Request::builder().uri("/").header("host", "x").body(if i % 2 == 0 {
                empty()
            } else {
                full("hi")
            });
            let response = pool
                .send(Some("t"), request.expect("request"), || async {
                    Ok::<_, std::io::Error>(
                        Box::new(tokio::net::TcpStream::connect(address).await?) as crate::Stream
                    )
                })
                .await
                .expect("answer");
            let body = response.into_body().collect().await.expect("body").to_bytes();
            assert_eq!(body.len(), if i % 2 == 0 { 0 } else { 2 });
        }
        assert!(accepted.load(Ordering::SeqCst) < 5, "{}", accepted.load(Ordering::SeqCst));
        drop(stop);
    }
}
