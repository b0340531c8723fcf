//! Listeners without sockets of their own: one real socket takes the connections of all of them, and who connects says
//! before which one is meant.
//!
//! Only connections made by this process's [`Fabric`] can come this way.

use crate::fabric::{Accepted, Error, Fabric};
use std::collections::{HashMap, VecDeque};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::net::TcpListener;
use tokio::sync::{Notify, OnceCell};

/// Connections that wait to be taken; more are closed, as a full backlog would.
const WAITING_MAX: usize = 1024;
/// How long to wait when the machine has no socket to spare.
const PAUSE: std::time::Duration = std::time::Duration::from_millis(10);

/// Where the connections of one listener wait; clones share it.
#[derive(Clone, Default)]
pub(crate) struct Inbox(Arc<Waiting>);

#[derive(Default)]
struct Waiting {
    connections: Mutex<VecDeque<Accepted>>,
    arrived: Notify,
}

impl PartialEq for Inbox {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}
impl Eq for Inbox {}

impl std::fmt::Debug for Inbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Inbox")
    }
}

impl Inbox {
    fn put(&self, accepted: Accepted) {
        let mut connections = self.0.connections.lock().unwrap_or_else(PoisonError::into_inner);
        if connections.len() < WAITING_MAX {
            connections.push_back(accepted);
            drop(connections);
            self.0.arrived.notify_one();
        }
    }

    fn take(&self) -> Option<Accepted> {
        self.0.connections.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }
}

/// The shared socket, and whom connections on their way are for.
#[derive(Default)]
pub(crate) struct Inboxes {
    shared: OnceCell<Shared>,
    /// By the real port that is connected from.
    expected: Mutex<HashMap<u16, Inbox>>,
}

struct Shared {
    address: SocketAddr,
    accepting: tokio::task::AbortHandle,
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Inboxes {
    /// The address of the shared socket, which is opened for the first listener.
    pub(crate) async fn address(&self, fabric: &Fabric) -> Result<SocketAddr, Error> {
        let open = || async {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
            let address = listener.local_addr()?;
            let accepting = tokio::spawn(accept(listener, fabric.downgrade())).abort_handle();
            Ok::<_, Error>(Shared { address, accepting })
        };
        Ok(self.shared.get_or_try_init(open).await?.address)
    }

    /// Who connects from this port means this listener.
    pub(crate) fn expect(&self, port: u16, inbox: &Inbox) {
        self.lock().insert(port, inbox.clone());
    }

    /// Whom the connection from this port is for.
    pub(crate) fn expected(&self, port: u16) -> Option<Inbox> {
        self.lock().remove(&port)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<u16, Inbox>> {
        self.expected.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn accept(listener: TcpListener, fabric: crate::fabric::Weak) {
    loop {
        let accepted = listener.accept().await;
        let Some(fabric) = fabric.upgrade() else { return };
        match accepted {
            Ok((stream, real)) => {
                // Nobody else is meant to come here: what was not announced is closed.
                let from_here = real.ip() == Ipv4Addr::LOCALHOST;
                let announced = from_here.then(|| fabric.expected(real.port())).flatten();
                let Some(inbox) = announced else { continue };
                let _ = stream.set_nodelay(true);
                inbox.put(Accepted { stream, peer: fabric.peer_of(real) });
            }
            Err(error) => {
                tracing::debug!(%error, "connection not accepted");
                drop(fabric);
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// A listener on a virtual address that has no socket of its own; dropping it ends it.
pub struct Inside {
    pub(crate) fabric: Fabric,
    pub(crate) address: SocketAddrV4,
    pub(crate) inbox: Inbox,
}

impl Inside {
    /// The virtual address.
    pub fn address(&self) -> SocketAddrV4 {
        self.address
    }

    /// The next connection.
    pub async fn accept(&self) -> Accepted {
        loop {
            if let Some(accepted) = self.inbox.take() {
                return accepted;
            }
            self.inbox.0.arrived.notified().await;
        }
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        self.fabric.left(self.address, &self.inbox);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[tokio::test]
    async fn many_listen_and_each_hears_its_own() {
        let fabric = Fabric::new();
        let at = |i: u8| SocketAddrV4::new(Ipv4Addr::new(10, 0, 16, i), 80);
        let mut listeners = Vec::new();
        for i in 1..=50 {
            fabric.add_pod(*at(i).ip(), "node-1");
            listeners.push(fabric.listen_within(at(i)).await.expect("listen"));
        }
        let from = SocketAddrV4::new(Ipv4Addr::new(10, 0, 1, 5), 0);
        let connect = |i: u8| {
            let fabric = fabric.clone();
            async move {
                let mut stream = fabric.connect(from, at(i)).await.expect("connect").stream;
                stream.write_all(&[i]).await.expect("write");
                stream.read_u8().await.expect("answer")
            }
        };
        let clients: Vec<_> = (1..=50).rev().map(|i| tokio::spawn(connect(i))).collect();
        for (i, listener) in (1..=50).zip(&listeners) {
            let mut accepted = listener.accept().await;
            assert_eq!(accepted.peer.ip(), from.ip());
            assert_eq!(accepted.stream.read_u8().await.expect("read"), i);
            accepted.stream.write_u8(i).await.expect("write");
        }
        for (i, client) in (1..=50).rev().zip(clients) {
            assert_eq!(client.await.expect("a client"), i);
        }
        // Another one takes the address over; the first one's end does not take it away.
        let second = fabric.listen_within(at(1)).await.expect("listen");
        drop(listeners.remove(0));
        let client = tokio::spawn(connect(1));
        second.accept().await.stream.write_u8(7).await.expect("write");
        assert_eq!(client.await.expect("a client"), 7);
        drop(second);
        assert_eq!(fabric.connect(from, at(1)).await.expect_err("nobody"), Error::Refused(at(1)));
    }
}
