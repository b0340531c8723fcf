//! Commands in containers that have no processes: a few of the usual tools, answered from what the Pod is.
//!
//! Whatever is not among them gets what a container without that binary gives; nothing is run on the machine.

mod commands;
mod container;
mod entry;
mod http;
mod parse;
mod pi;
mod shell;

use std::net::Ipv4Addr;

use bytes::Bytes;
use dataplane_network::Fabric;
use tokio::sync::mpsc;

use crate::run::Workloads;
use container::View;
pub use entry::{Entry, entry};

/// What a process can ask of the cluster around it.
pub trait Surroundings: Send + Sync {
    /// The addresses of a name, as a Pod's resolver gives them.
    fn resolve(&self, namespace: &str, pod: &str, name: &str) -> Vec<Ipv4Addr>;

    /// The variables that tell a new container of the Services of a namespace; without one, of the API's own.
    fn service_variables(&self, namespace: &str) -> Vec<(String, String)>;
}

/// Input of a process. It ends when its sender is dropped.
pub type Input = mpsc::Receiver<Bytes>;

/// The streams of a process, those that somebody wants.
#[derive(Default)]
pub struct Streams {
    /// What is typed.
    pub stdin: Option<Input>,
    /// What it says.
    pub stdout: Option<mpsc::Sender<Bytes>>,
    /// What it complains about.
    pub stderr: Option<mpsc::Sender<Bytes>>,
    /// Somebody sits in front of it: what is typed is shown.
    pub tty: bool,
}

/// Why a command was not even started.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExecError {
    /// The Pod or its container does not run.
    #[error("container is not running")]
    NotRunning,
    /// Nothing to run.
    #[error("args must not be empty")]
    Empty,
    /// No binary of that name.
    #[error("exec: {0:?}: executable file not found in $PATH")]
    NotFound(String),
    /// No file at that path.
    #[error("exec: {0:?}: stat {0}: no such file or directory")]
    NoFile(String),
}

impl Workloads {
    /// Run a command in a container and give its exit code.
    pub async fn exec(
        &self,
        (uid, container): (&str, &str),
        command: &[String],
        streams: Streams,
        around: &dyn Surroundings,
    ) -> Result<i32, ExecError> {
        let (pod, ip) = self.pod(uid).ok_or(ExecError::NotRunning)?;
        let view = container::view(&pod, container, ip, around).ok_or(ExecError::NotRunning)?;
        let name = command.first().ok_or(ExecError::Empty)?;
        if commands::tool(name, &view).is_none() {
            let missing = name.clone();
            let path = missing.contains('/');
            return Err(if path { ExecError::NoFile(missing) } else { ExecError::NotFound(missing) });
        }
        let mut process = Process {
            view,
            input: streams.stdin,
            output: Output { stdout: streams.stdout, stderr: streams.stderr, tty: streams.tty },
            fabric: self.fabric(),
            around,
        };
        // A tool that was found answers.
        Ok(commands::run(&mut process, command).await.unwrap_or(127))
    }
}

/// A process and all it can reach.
struct Process<'a> {
    view: View,
    input: Option<Input>,
    output: Output,
    fabric: &'a Fabric,
    around: &'a dyn Surroundings,
}

impl Process<'_> {
    async fn read(&mut self) -> Option<Bytes> {
        self.input.as_mut()?.recv().await
    }

    async fn out(&self, text: impl AsRef<[u8]> + Send) {
        self.output.out(text.as_ref()).await;
    }

    async fn err(&self, text: impl AsRef<[u8]> + Send) {
        self.output.err(text.as_ref()).await;
    }
}

/// Where a process writes. Whoever no longer listens misses it: then the process is ended from outside.
struct Output {
    stdout: Option<mpsc::Sender<Bytes>>,
    stderr: Option<mpsc::Sender<Bytes>>,
    tty: bool,
}

impl Output {
    async fn out(&self, bytes: &[u8]) {
        put(self.stdout.as_ref(), self.cooked(bytes)).await;
    }

    /// A terminal shows both in one place.
    async fn err(&self, bytes: &[u8]) {
        let to = if self.tty { self.stdout.as_ref() } else { self.stderr.as_ref() };
        put(to, self.cooked(bytes)).await;
    }

    /// A terminal has to be told to go back to the start of the line.
    fn cooked(&self, bytes: &[u8]) -> Bytes {
        if !self.tty {
            return Bytes::copy_from_slice(bytes);
        }
        let mut out = Vec::with_capacity(bytes.len() + 8);
        for byte in bytes {
            if *byte == b'\n' {
                out.push(b'\r');
            }
            out.push(*byte);
        }
        out.into()
    }
}

async fn put(to: Option<&mpsc::Sender<Bytes>>, bytes: Bytes) {
    if let Some(to) = to
        && !bytes.is_empty()
        && to.send(bytes).await.is_err()
    {
        tracing::trace!("nobody listens to a process");
    }
}

#[cfg(test)]
mod tests;
