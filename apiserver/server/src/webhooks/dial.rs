//! A connection to a webhook: through the nodes to what is in the cluster, through the machine's network to the rest.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use apiserver_watchcache::Cache;
use tokio::net::TcpStream;

use super::address::Address;
use super::endpoints::{self, Reached};
use crate::node_proxy::{Connection, Nodes};

/// What is needed to get anywhere.
pub(super) struct Reach {
    pub cache: Arc<Cache>,
    /// Without them the addresses of endpoints are those of the machine's network.
    pub nodes: Option<Arc<dyn Nodes>>,
}

impl Reach {
    /// # Errors
    /// The sentence of Go's dialer.
    pub(super) async fn dial(&self, address: &Address) -> Result<Box<dyn Connection>, String> {
        let Some((namespace, name, port)) = &address.service else {
            return dial_host(&address.host, address.port).await;
        };
        match (endpoints::resolve(&self.cache, namespace, name, *port)?, &self.nodes) {
            (Reached::External(host, port), _) => dial_host(&host, port).await,
            (Reached::Endpoint(ip, port), Some(nodes)) => {
                let place = show(&ip, port);
                nodes.connect(ip, port).await.map_err(|why| format!("dial tcp {place}: connect: {why}"))
            }
            (Reached::Endpoint(ip, port), None) => dial_host(&ip, port).await,
        }
    }
}

fn show(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

pub(super) async fn dial_host(host: &str, port: u16) -> Result<Box<dyn Connection>, String> {
    let addresses: Vec<SocketAddr> = match host.parse::<IpAddr>() {
        Ok(ip) => vec![SocketAddr::new(ip, port)],
        Err(_) => {
            let found = tokio::net::lookup_host((host, port)).await.map(Iterator::collect);
            found.map_err(|_| format!("dial tcp: lookup {host}: no such host"))?
        }
    };
    let mut failed = None;
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(stream) => {
                if let Err(error) = stream.set_nodelay(true) {
                    tracing::debug!(error = %error, "no TCP_NODELAY");
                }
                return Ok(Box::new(stream));
            }
            Err(error) => {
                let why = format!(
                    "dial tcp {}: connect: {}",
                    show(&address.ip().to_string(), port),
                    go_error(&error)
                );
                failed.get_or_insert(why);
            }
        }
    }
    Err(failed.unwrap_or_else(|| format!("dial tcp: lookup {host}: no such host")))
}

/// An error of the operating system in Go's words: without the number.
pub(super) fn go_error(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        io::ErrorKind::ConnectionReset => "connection reset by peer".to_owned(),
        io::ErrorKind::HostUnreachable => "no route to host".to_owned(),
        io::ErrorKind::NetworkUnreachable => "network is unreachable".to_owned(),
        io::ErrorKind::TimedOut => "connection timed out".to_owned(),
        io::ErrorKind::BrokenPipe => "broken pipe".to_owned(),
        io::ErrorKind::UnexpectedEof => "EOF".to_owned(),
        _ => error.to_string(),
    }
}
