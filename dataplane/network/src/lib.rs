//! Virtual addresses on real loopback sockets, without root: nodes, Pods and load balancers.
//!
//! [`Fabric`] knows who stands where and opens the socket; what a node's rules do to a connection it asks
//! [`Forwarding`]. [`proxy`] is the user's way in. It moves bytes and understands no HTTP beyond a proxy's first line.

mod fabric;
mod inside;
pub mod proxy;

pub use fabric::{Accepted, CLIENT, Connection, Entry, Error, Fabric, Forwarding, Listener, Translation};
pub use inside::Inside;
