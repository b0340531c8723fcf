//! What the kubelet needs from whatever really runs Pods: plain data in and out.
//!
//! It is implemented elsewhere; logs and port-forward do not go through it.

use k8s_openapi::api::core::v1::Pod;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

/// A node to stand for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeSpec {
    /// Name of the Node.
    pub name: String,
    /// Cores.
    pub cpu: u32,
    /// Memory.
    pub memory_mib: u32,
    /// Most Pods.
    pub max_pods: u32,
}

/// Why a Pod does not start.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StartError {
    /// Nobody knows what the image does.
    #[error("{message}")]
    UnknownImage {
        /// Container.
        container: String,
        /// The registry's sentence.
        message: String,
    },
    /// The sandbox or the process could not be made.
    #[error("{0}")]
    Failed(String),
}

/// What a probe asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProbeTarget {
    /// A GET; 200 to 399 is success.
    Http {
        /// True for HTTPS (the certificate is not verified).
        tls: bool,
        /// Host to connect to: the Pod's address unless the probe says otherwise.
        host: String,
        /// Port.
        port: u16,
        /// Path with query.
        path: String,
        /// Further headers.
        headers: Vec<(String, String)>,
    },
    /// A call of gRPC's health service.
    Grpc {
        /// Host to connect to.
        host: String,
        /// Port.
        port: u16,
        /// Service that is asked after; empty means the server.
        service: String,
    },
    /// A command in the container; exit code 0 is success.
    Exec {
        /// Container.
        container: String,
        /// The command with its arguments.
        command: Vec<String>,
    },
    /// A connection.
    Tcp {
        /// Host to connect to.
        host: String,
        /// Port.
        port: u16,
    },
}

/// What came of a probe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProbeOutcome {
    /// As hoped.
    Success,
    /// Not, with upstream's words.
    Failure(String),
}

/// A future of the runtime.
pub type RuntimeFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Runs Pods.
pub trait Runtime: Send + Sync {
    /// The registry's sentence if nobody knows what the image does.
    fn missing_image(&self, pod: &Pod, image: &str) -> Option<String>;
    /// Start all containers of the Pod; `status.podIP` is set. Starting what runs already does nothing.
    fn start<'a>(&'a self, pod: &'a Arc<Pod>) -> RuntimeFuture<'a, Result<(), StartError>>;
    /// A Pod that was started has one more container, an ephemeral one.
    fn add(&self, pod: &Arc<Pod>, container: &str);
    /// Why the command that a container was given is not simulated, if it is not.
    fn unsupported(&self, pod: &Pod, container: &str) -> Option<String>;
    /// The exit code of the command of a container in a Pod that was started, once it has ended; it is killed where this
    /// is dropped. A container that serves or idles never ends.
    fn run<'a>(&'a self, pod: &'a Pod, container: &'a str) -> RuntimeFuture<'a, i32>;
    /// Take no new connections, let requests finish for at most `grace`, then end.
    fn stop<'a>(&'a self, uid: &'a str, grace: Duration) -> RuntimeFuture<'a, ()>;
    /// The Pod's object is gone: its logs may go too.
    fn forget(&self, uid: &str);
    /// Ask the Pod once.
    fn probe<'a>(
        &'a self,
        pod: &'a Pod,
        target: &'a ProbeTarget,
        timeout: Duration,
    ) -> RuntimeFuture<'a, ProbeOutcome>;
}
