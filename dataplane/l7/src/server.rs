//! Serving one connection, and joining the two sides of an upgrade.
//!
//! Accepting sockets is the caller's: it knows the virtual addresses.

use crate::{Body, BodyError};
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use std::future::Future;
use std::net::SocketAddrV4;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, copy_bidirectional};
use tokio::sync::{Notify, watch};

/// Bytes in both directions.
pub trait Io: AsyncRead + AsyncWrite + Unpin + Send + 'static {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send + 'static> Io for T {}

/// What a handler knows about the connection of a request.
#[derive(Debug, Clone)]
pub struct ConnectionInfo {
    /// The client as it appears.
    pub peer: SocketAddrV4,
    /// The address it connected to.
    pub local: SocketAddrV4,
    /// `https` behind TLS, else `http`.
    pub scheme: &'static str,
    /// TLS version and cipher suite, server name.
    pub tls: Option<(String, String, Option<String>)>,
}

/// Answers requests.
pub type Handler = Arc<
    dyn Fn(Request<Incoming>, Arc<ConnectionInfo>) -> Pin<Box<dyn Future<Output = Response<Body>> + Send>>
        + Send
        + Sync,
>;

/// True asks connections to finish what is under way and close.
pub type Shutdown = watch::Receiver<bool>;

/// How long a client may take for the head of a request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(60);

/// How long a closing connection waits for a request that may be on its way.
const FIRST_REQUEST: Duration = Duration::from_millis(500);

/// Ends with the connection.
pub type Connection = Pin<Box<dyn Future<Output = Result<(), BodyError>> + Send>>;

/// Serve one connection until it ends. After `shutdown` it takes no further request.
pub fn serve_connection(
    io: impl Io,
    info: ConnectionInfo,
    handler: Handler,
    shutdown: Shutdown,
) -> Connection {
    serve_boxed(Box::new(io), info, handler, shutdown)
}

/// The engine is compiled here, once for all kinds of sockets.
fn serve_boxed(io: Box<dyn Io>, info: ConnectionInfo, handler: Handler, shutdown: Shutdown) -> Connection {
    Box::pin(serve(io, info, handler, shutdown))
}

async fn serve(
    io: Box<dyn Io>,
    info: ConnectionInfo,
    handler: Handler,
    mut shutdown: Shutdown,
) -> Result<(), BodyError> {
    let info = Arc::new(info);
    let begun = Arc::new(Notify::new());
    let first = begun.clone();
    let service = service_fn(move |request| {
        first.notify_one();
        let answer = handler(request, info.clone());
        async move { Ok::<_, std::convert::Infallible>(answer.await) }
    });
    let mut builder = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT).max_buf_size(64 * 1024);
    builder.http2().timer(TokioTimer::new()).max_concurrent_streams(128);
    let connection = builder.serve_connection_with_upgrades(TokioIo::new(io), service);
    tokio::pin!(connection);
    // A client that has connected is owed one answer, so closing waits for its first request.
    let closing = async {
        let _ = shutdown.wait_for(|closing| *closing).await;
        let _ = tokio::time::timeout(FIRST_REQUEST, begun.notified()).await;
    };
    tokio::select! {
        result = connection.as_mut() => return result,
        () = closing => {}
    }
    connection.as_mut().graceful_shutdown();
    connection.await
}

/// Join two sides of an upgrade once both have happened; ends when either side ends or is silent for `idle`.
pub async fn upgrade(client: OnUpgrade, upstream: OnUpgrade, idle: Duration) {
    let (client, upstream): (Upgraded, Upgraded) = match tokio::try_join!(client, upstream) {
        Ok(both) => both,
        Err(error) => {
            tracing::debug!(%error, "upgrade did not happen");
            return;
        }
    };
    let (mut client, mut upstream) = (TokioIo::new(client), TokioIo::new(upstream));
    let joined = copy_bidirectional(&mut client, &mut upstream);
    // An upgraded connection lives as long as bytes flow; `idle` bounds one that never sends anything again.
    let _ = tokio::time::timeout(idle.saturating_mul(60), joined).await;
}
