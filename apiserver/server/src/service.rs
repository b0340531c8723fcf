//! The server as a value: configuration, and the tower service that sockets and in-process clients share.

use futures::FutureExt;
use futures::future::BoxFuture;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use apiserver_registry::Registry;
use bytes::Bytes;
use http::{HeaderValue, Request, Response, header};
use http_body_util::BodyExt;
use tokio_util::sync::CancellationToken;

use crate::authn::{Authentication, User};
use crate::authz::Rbac;
use crate::body::{BoxError, RequestBody, ResponseBody};
use crate::node_proxy::Nodes;

/// What a server is started with.
#[derive(Clone)]
pub struct Config {
    pub authentication: Arc<Authentication>,
    /// Everybody may do everything, whatever RBAC grants.
    pub always_allows: bool,
    /// How the server reaches Pods and Services: logs, exec, port-forward, proxy.
    pub nodes: Option<Arc<dyn Nodes>>,
    /// PEM of the certificate authority that clients of the cluster trust.
    pub ca_pem: String,
    /// `gitVersion` of `/version`.
    pub version: String,
    /// Address that the server names itself by.
    pub advertise: std::net::SocketAddr,
    /// Address that the `kubernetes` Service leads to. Validation refuses loopback endpoints, as upstream's does: a
    /// server on loopback has none.
    pub endpoint: std::net::SocketAddr,
}

/// The API server. Cloning is cheap.
#[derive(Clone)]
pub struct ApiServer {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub registry: Registry,
    pub config: Config,
    pub rbac: Rbac,
    pub flow_control: crate::flow_control::FlowControl,
    pub impersonation: crate::impersonation::Modes,
    /// When it began.
    pub started: jiff::Timestamp,
    pub openapi: crate::openapi::Documents,
    pub metrics: crate::metrics::Metrics,
    /// Compressed pieces of large lists.
    pub pieces: Arc<crate::handlers::Pieces>,
    /// Set when the server shuts down: readiness fails, watches end.
    pub shutdown: tokio::sync::watch::Sender<bool>,
    /// As `shutdown`, for sessions that have left the HTTP server.
    pub stopping: CancellationToken,
}

impl ApiServer {
    pub fn new(registry: Registry, config: Config) -> Self {
        let rbac = Rbac::new(config.always_allows);
        let webhooks = crate::webhooks::Client::new(registry.cache().clone(), config.nodes.clone());
        registry.call_webhooks_through(Arc::new(webhooks));
        Self {
            inner: Arc::new(Inner {
                registry,
                config,
                rbac,
                flow_control: crate::flow_control::FlowControl::default(),
                impersonation: crate::impersonation::Modes::default(),
                started: jiff::Timestamp::now(),
                openapi: crate::openapi::Documents::default(),
                metrics: crate::metrics::Metrics::default(),
                pieces: Arc::default(),
                shutdown: tokio::sync::watch::Sender::new(false),
                stopping: CancellationToken::new(),
            }),
        }
    }

    pub fn registry(&self) -> &Registry {
        &self.inner.registry
    }

    /// Makes readiness fail and ends watches, so that connections drain.
    pub fn begin_shutdown(&self) {
        self.inner.shutdown.send_replace(true);
        self.inner.stopping.cancel();
    }

    /// A client's transport without a socket: requests come from `user`, and from the program `agent` unless they
    /// say otherwise. Its name is the field manager of what it writes.
    pub fn in_process(&self, user: User, agent: &'static str) -> InProcess {
        InProcess { server: self.clone(), user: Arc::new(user), agent: HeaderValue::from_static(agent) }
    }

    /// Cancelled when the server shuts down; long-lived sessions end with it.
    pub(crate) fn stopping(&self) -> CancellationToken {
        self.inner.stopping.clone()
    }

    /// Answers one request. `certificate` is the user that TLS vouches for.
    pub fn handle<'a>(
        &'a self,
        request: Request<RequestBody>,
        certificate: Option<&'a User>,
    ) -> BoxFuture<'a, Response<ResponseBody>> {
        crate::dispatch::answer(self, request, certificate).boxed()
    }
}

/// The server as a `tower::Service`, for `kube::Client` inside the same process.
#[derive(Clone)]
pub struct InProcess {
    server: ApiServer,
    user: Arc<User>,
    agent: HeaderValue,
}

impl<B> tower::Service<Request<B>> for InProcess
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<ResponseBody>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let (server, user) = (self.server.clone(), self.user.clone());
        let mut request = request.map(|body| body.map_err(Into::into).boxed_unsync());
        request.headers_mut().entry(header::USER_AGENT).or_insert_with(|| self.agent.clone());
        Box::pin(async move { Ok(server.handle(request, Some(&user)).await) })
    }
}
