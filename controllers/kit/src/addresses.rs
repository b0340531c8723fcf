//! How the kubelet asks the CNI for a Pod's address: a handle inside one process.
//!
//! It says nothing about where addresses come from.

use crate::Key;
use std::future::Future;
use std::net::Ipv4Addr;
use std::pin::Pin;

/// A Pod that wants an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sandbox {
    /// Uid of the Pod.
    pub uid: String,
    /// The Pod.
    pub pod: Key,
    /// The node it runs on.
    pub node: String,
    /// The address it has had before, to be kept if possible.
    pub previous: Option<Ipv4Addr>,
}

/// The answer of a CNI call.
pub type AddressFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Gives and takes back Pod addresses.
pub trait PodAddresses: Send + Sync {
    /// The address of a Pod; the same again if asked again. The error is the plugin's sentence.
    fn allocate<'a>(&'a self, sandbox: &'a Sandbox) -> AddressFuture<'a, Result<Ipv4Addr, String>>;
    /// The Pod is gone.
    fn release<'a>(&'a self, uid: &'a str) -> AddressFuture<'a, ()>;
}
