//! Who listens where, who stands where, and how a connection gets from one to the other.
//!
//! The accepting side learns the virtual peer through a table keyed by the real local port of the connecting socket.

use crate::inside::{Inbox, Inboxes, Inside};
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

/// How a connection comes to a node's rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entry {
    /// From the network or a Pod.
    Arriving,
    /// From the node itself.
    Local,
}

/// What a node's rules make of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Translation {
    /// It goes on, perhaps to another destination or from another source.
    To {
        /// Source address as the destination sees it.
        source: Ipv4Addr,
        /// Destination.
        destination: SocketAddrV4,
    },
    /// The source gets an error at once.
    Reject,
    /// The source hears nothing.
    Drop,
}

/// A node's rules.
pub trait Forwarding: Send + Sync {
    /// What the rules of `node` do to the first packet of a connection.
    fn forward(
        &self,
        node: &str,
        entry: Entry,
        source: SocketAddrV4,
        destination: SocketAddrV4,
    ) -> Translation;
}

/// Why a connection could not be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Nobody listens there, or a rule rejects.
    #[error("connection to {0} refused")]
    Refused(SocketAddrV4),
    /// A rule drops: the source would wait in vain.
    #[error("packets to {0} are dropped")]
    Dropped(SocketAddrV4),
    /// No way leads there from the source.
    #[error("no route from {1} to {0}")]
    NoRoute(SocketAddrV4, Ipv4Addr),
    /// The machine refused.
    #[error("socket: {0}")]
    Io(String),
}

impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Self {
        Error::Io(error.to_string())
    }
}

/// An open connection and what became of its addresses.
#[derive(Debug)]
pub struct Connection {
    /// The socket.
    pub stream: TcpStream,
    /// Source as the other side sees it.
    pub source: SocketAddrV4,
    /// Destination after translation.
    pub destination: SocketAddrV4,
    /// The node whose rules were asked.
    pub node: Option<String>,
}

/// An accepted connection.
#[derive(Debug)]
pub struct Accepted {
    /// The socket.
    pub stream: TcpStream,
    /// The virtual peer.
    pub peer: SocketAddrV4,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    Node(String),
    Pod(String),
}

/// A real socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Bound {
    pub(crate) address: SocketAddr,
    /// Its owner asks [`Fabric::peer_of`] who connects.
    pub(crate) asks: bool,
    /// Whose connections come through the socket that many share.
    pub(crate) inbox: Option<Inbox>,
}

#[derive(Default)]
struct Inner {
    listeners: RwLock<HashMap<SocketAddrV4, Bound>>,
    places: RwLock<HashMap<Ipv4Addr, Place>>,
    peers: Mutex<HashMap<u16, SocketAddrV4>>,
    inboxes: Inboxes,
    nat: RwLock<HashMap<String, Ipv4Addr>>,
    forwarding: RwLock<Option<Arc<dyn Forwarding>>>,
}

/// The network of the cluster; clones share it.
#[derive(Clone, Default)]
pub struct Fabric {
    inner: Arc<Inner>,
}

/// A network that ends when nobody else holds it.
pub(crate) struct Weak(std::sync::Weak<Inner>);

impl Weak {
    pub(crate) fn upgrade(&self) -> Option<Fabric> {
        Some(Fabric { inner: self.0.upgrade()? })
    }
}

/// Where a client on the internet stands.
pub const CLIENT: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 10);

fn public(ip: Ipv4Addr) -> bool {
    ip.octets()[..2] == [127, 66]
}

impl Fabric {
    /// An empty network.
    pub fn new() -> Self {
        Self::default()
    }

    pub(crate) fn downgrade(&self) -> Weak {
        Weak(Arc::downgrade(&self.inner))
    }

    pub(crate) fn expected(&self, port: u16) -> Option<Inbox> {
        self.inner.inboxes.expected(port)
    }

    /// Whose rules to ask.
    pub fn set_forwarding(&self, forwarding: Arc<dyn Forwarding>) {
        *self.inner.forwarding.write().unwrap_or_else(PoisonError::into_inner) = Some(forwarding);
    }

    /// A node stands at this address.
    pub fn add_node(&self, ip: Ipv4Addr, name: &str) {
        self.place(ip, Some(Place::Node(name.to_string())));
    }

    /// A Pod of a node stands at this address.
    pub fn add_pod(&self, ip: Ipv4Addr, node: &str) {
        self.place(ip, Some(Place::Pod(node.to_string())));
    }

    /// The public address that connections from a node and its Pods have outside the VPC.
    pub fn set_nat(&self, node: &str, public: Ipv4Addr) {
        self.inner.nat.write().unwrap_or_else(PoisonError::into_inner).insert(node.to_string(), public);
    }

    fn outside(&self, source: Ipv4Addr) -> Ipv4Addr {
        let (Some(Place::Node(node)) | Some(Place::Pod(node))) = self.place_of(source) else { return source };
        self.inner.nat.read().unwrap_or_else(PoisonError::into_inner).get(&node).copied().unwrap_or(source)
    }

    /// Nobody stands there any more.
    pub fn remove(&self, ip: Ipv4Addr) {
        self.place(ip, None);
    }

    fn place(&self, ip: Ipv4Addr, place: Option<Place>) {
        let mut places = self.inner.places.write().unwrap_or_else(PoisonError::into_inner);
        match place {
            Some(place) => places.insert(ip, place),
            None => places.remove(&ip),
        };
    }

    fn place_of(&self, ip: Ipv4Addr) -> Option<Place> {
        self.inner.places.read().unwrap_or_else(PoisonError::into_inner).get(&ip).cloned()
    }

    /// Listen on a virtual address. A loopback address is bound as it is where the machine allows it.
    pub async fn listen(&self, address: SocketAddrV4) -> Result<Listener, Error> {
        let direct = if address.ip().is_loopback() { TcpListener::bind(address).await.ok() } else { None };
        let listener = match direct {
            Some(listener) => listener,
            None => TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?,
        };
        let bound = listener.local_addr()?;
        if self.bind(address, Bound { address: bound, asks: true, inbox: None }).is_some() {
            tracing::debug!(%address, "listener replaced");
        }
        Ok(Listener { fabric: self.clone(), listener, address, bound })
    }

    /// One more virtual address for a listener that is already bound.
    pub fn alias(&self, address: SocketAddrV4, bound: SocketAddr) {
        self.bind(address, Bound { address: bound, asks: true, inbox: None });
    }

    /// A virtual address for a server that knows nothing of this network.
    pub fn lend(&self, address: SocketAddrV4, server: SocketAddr) {
        self.bind(address, Bound { address: server, asks: false, inbox: None });
    }

    /// Listen on a virtual address without a socket of its own: connections of [`Fabric::connect`] come through one that all
    /// such listeners share. There can be more of these than a process may have sockets, or a machine ports.
    pub async fn listen_within(&self, address: SocketAddrV4) -> Result<Inside, Error> {
        let shared = self.inner.inboxes.address(self).await?;
        let inbox = Inbox::default();
        let bound = Bound { address: shared, asks: true, inbox: Some(inbox.clone()) };
        if self.bind(address, bound).is_some() {
            tracing::debug!(%address, "listener replaced");
        }
        Ok(Inside { fabric: self.clone(), address, inbox })
    }

    /// An inside listener is gone, unless another has its address by now.
    pub(crate) fn left(&self, address: SocketAddrV4, inbox: &Inbox) {
        let mut listeners = self.inner.listeners.write().unwrap_or_else(PoisonError::into_inner);
        if listeners.get(&address).is_some_and(|bound| bound.inbox.as_ref() == Some(inbox)) {
            listeners.remove(&address);
        }
    }

    fn bind(&self, address: SocketAddrV4, bound: Bound) -> Option<Bound> {
        self.inner.listeners.write().unwrap_or_else(PoisonError::into_inner).insert(address, bound)
    }

    /// Take back an address given with [`Fabric::alias`].
    pub fn remove_alias(&self, address: SocketAddrV4) {
        self.inner.listeners.write().unwrap_or_else(PoisonError::into_inner).remove(&address);
    }

    fn listener(&self, address: SocketAddrV4) -> Option<Bound> {
        self.inner.listeners.read().unwrap_or_else(PoisonError::into_inner).get(&address).cloned()
    }

    /// The translation that a connection would get, and the node that decides it.
    pub fn way(&self, source: SocketAddrV4, destination: SocketAddrV4) -> (Option<String>, Translation) {
        let as_is = Translation::To { source: *source.ip(), destination };
        if public(*destination.ip()) {
            return (None, Translation::To { source: self.outside(*source.ip()), destination });
        }
        let asked = match (self.place_of(*source.ip()), self.place_of(*destination.ip())) {
            (Some(Place::Node(node)), _) => Some((node, Entry::Local)),
            (Some(Place::Pod(node)), _) => Some((node, Entry::Arriving)),
            (None, Some(Place::Node(node))) => Some((node, Entry::Arriving)),
            (None, _) => None,
        };
        let forwarding = self.inner.forwarding.read().unwrap_or_else(PoisonError::into_inner).clone();
        let (Some((node, entry)), Some(forwarding)) = (asked.clone(), forwarding) else {
            return (asked.map(|(node, _)| node), as_is);
        };
        let translation = forwarding.forward(&node, entry, source, destination);
        let Translation::To { source: ip, destination } = translation else {
            return (Some(node), translation);
        };
        // What goes on to another node's own address meets that node's rules there.
        match self.place_of(*destination.ip()) {
            Some(Place::Node(other)) if other != node => {
                let source = SocketAddrV4::new(ip, source.port());
                let translation = forwarding.forward(&other, Entry::Arriving, source, destination);
                (Some(other), translation)
            }
            _ => (Some(node), translation),
        }
    }

    /// Connect from a virtual source (port 0: any) to a virtual destination.
    pub async fn connect(
        &self,
        source: SocketAddrV4,
        destination: SocketAddrV4,
    ) -> Result<Connection, Error> {
        let socket = TcpSocket::new_v4()?;
        socket.set_nodelay(true)?;
        socket.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
        let local = socket.local_addr()?.port();
        let source = SocketAddrV4::new(*source.ip(), if source.port() == 0 { local } else { source.port() });
        let (node, translation) = self.way(source, destination);
        let (seen, reached) = match translation {
            Translation::To { source: ip, destination } => {
                (SocketAddrV4::new(ip, source.port()), destination)
            }
            Translation::Reject => return Err(Error::Refused(destination)),
            Translation::Drop => return Err(Error::Dropped(destination)),
        };
        let Some(real) = self.listener(reached) else {
            let known = self.place_of(*reached.ip()).is_some() || public(*reached.ip());
            return Err(if known { Error::Refused(reached) } else { Error::NoRoute(reached, *source.ip()) });
        };
        // What nobody asks for would be told to the next who connects from this port.
        if real.asks {
            self.peers().insert(local, seen);
        }
        if let Some(inbox) = &real.inbox {
            self.inner.inboxes.expect(local, inbox);
        }
        match socket.connect(real.address).await {
            Ok(stream) => Ok(Connection { stream, source: seen, destination: reached, node }),
            Err(error) => {
                self.peers().remove(&local);
                drop(self.inner.inboxes.expected(local));
                if error.kind() == std::io::ErrorKind::ConnectionRefused {
                    return Err(Error::Refused(reached));
                }
                Err(error.into())
            }
        }
    }

    fn peers(&self) -> std::sync::MutexGuard<'_, HashMap<u16, SocketAddrV4>> {
        self.inner.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The virtual peer of an accepted socket: known for connections made here, else a client on the internet.
    pub fn peer_of(&self, real: SocketAddr) -> SocketAddrV4 {
        let known = self.peers().remove(&real.port());
        known.unwrap_or_else(|| match real.ip() {
            IpAddr::V4(ip) if !ip.is_loopback() => SocketAddrV4::new(ip, real.port()),
            _ => SocketAddrV4::new(CLIENT, real.port()),
        })
    }
}

/// A listener on a virtual address; dropping it ends it.
pub struct Listener {
    fabric: Fabric,
    listener: TcpListener,
    address: SocketAddrV4,
    bound: SocketAddr,
}

impl Listener {
    /// The virtual address.
    pub fn address(&self) -> SocketAddrV4 {
        self.address
    }
    /// The real socket.
    pub fn bound(&self) -> SocketAddr {
        self.bound
    }
    /// The next connection.
    pub async fn accept(&self) -> std::io::Result<Accepted> {
        let (stream, real) = self.listener.accept().await?;
        let _ = stream.set_nodelay(true);
        Ok(Accepted { stream, peer: self.fabric.peer_of(real) })
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let mut listeners = self.fabric.inner.listeners.write().unwrap_or_else(PoisonError::into_inner);
        if listeners.get(&self.address).is_some_and(|bound| bound.address == self.bound) {
            listeners.remove(&self.address);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    struct NodePort;

    impl Forwarding for NodePort {
        fn forward(
            &self,
            node: &str,
            _: Entry,
            source: SocketAddrV4,
            destination: SocketAddrV4,
        ) -> Translation {
            match destination.port() {
                30080 if node == "node-1" => Translation::To {
                    source: Ipv4Addr::new(10, 0, 16, 4),
                    destination: SocketAddrV4::new(Ipv4Addr::new(10, 0, 32, 20), 80),
                },
                1 => Translation::Reject,
                2 => Translation::Drop,
                _ => Translation::To { source: *source.ip(), destination },
            }
        }
    }

    #[tokio::test]
    async fn a_node_port_leads_to_a_pod_that_sees_the_node() {
        let fabric = Fabric::new();
        fabric.set_forwarding(Arc::new(NodePort));
        let (node, pod) = (Ipv4Addr::new(10, 0, 16, 4), Ipv4Addr::new(10, 0, 32, 20));
        fabric.add_node(node, "node-1");
        fabric.add_pod(pod, "node-2");
        let listener = fabric.listen(SocketAddrV4::new(pod, 80)).await.expect("listen");
        let from = SocketAddrV4::new(Ipv4Addr::new(10, 0, 1, 5), 0);
        let to = |port| SocketAddrV4::new(node, port);
        let mut connection = fabric.connect(from, to(30080)).await.expect("connect");
        assert_eq!((connection.destination.ip(), connection.node.as_deref()), (&pod, Some("node-1")));
        let mut accepted = listener.accept().await.expect("accept");
        assert_eq!(*accepted.peer.ip(), node);
        connection.stream.write_all(b"hi").await.expect("write");
        let mut bytes = [0; 2];
        accepted.stream.read_exact(&mut bytes).await.expect("read");
        assert_eq!(&bytes, b"hi");
        // From a Pod of another node it is the node of the port that decides.
        let elsewhere = Ipv4Addr::new(10, 0, 48, 7);
        fabric.add_pod(elsewhere, "node-3");
        let inside = fabric.connect(SocketAddrV4::new(elsewhere, 0), to(30080)).await.expect("connect");
        assert_eq!((inside.destination.ip(), inside.node.as_deref()), (&pod, Some("node-1")));
        drop(listener.accept().await.expect("accept"));
        assert_eq!(fabric.connect(from, to(1)).await.expect_err("rejected"), Error::Refused(to(1)));
        assert_eq!(fabric.connect(from, to(2)).await.expect_err("dropped"), Error::Dropped(to(2)));
        assert_eq!(fabric.connect(from, to(3)).await.expect_err("nobody"), Error::Refused(to(3)));
        let cluster_ip = SocketAddrV4::new(Ipv4Addr::new(10, 96, 0, 1), 443);
        assert!(matches!(fabric.connect(from, cluster_ip).await, Err(Error::NoRoute(..))));
        drop(listener);
        assert!(matches!(fabric.connect(from, to(30080)).await, Err(Error::Refused(_))));
    }
}
