//! The one HTTP engine: accepts HTTP/1.1 and HTTP/2 with or without TLS, forwards over HTTP/1.1 with connections kept
//! for reuse, and passes upgrades through.
//!
//! It knows no load balancer, no rule and no health: callers decide where a request goes and what the answer says.

mod client;
mod server;
mod target_tls;
mod tls;

pub use client::{Pool, SendError};
pub use server::{Connection, ConnectionInfo, Handler, Io, Shutdown, serve_connection, upgrade};
pub use target_tls::tls_to_target;
pub use tls::{Certificates, Error as TlsError, acceptor};

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Full, combinators::BoxBody};

/// A connection to a destination, with TLS or without.
pub trait Socket: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send {}
impl<T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send> Socket for T {}

/// Any such connection.
pub type Stream = Box<dyn Socket>;

/// Error of a body.
pub type BodyError = Box<dyn std::error::Error + Send + Sync>;
/// Any body.
pub type Body = BoxBody<Bytes, BodyError>;

/// A body of these bytes.
pub fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed()
}

/// No body.
pub fn empty() -> Body {
    Empty::new().map_err(|never| match never {}).boxed()
}

/// A received body as any body.
pub fn incoming(body: hyper::body::Incoming) -> Body {
    body.map_err(|e| Box::new(e) as BodyError).boxed()
}
