//! The rule program of a node: what kube-proxy programs, as an explicit value, and what it does to one packet.
//!
//! [`Program`] is built from Services and EndpointSlices, one Service at a time; [`evaluate()`] walks it for a
//! packet. The data plane and the tracer call the same function. IPv4 only. No kernel, no clock, no dice:
//! the random number and the affinity memory are passed in. Text of whole tables is the `nft` crate.

mod base;
mod build;
mod endpoints;
mod evaluate;
pub mod names;
mod program;
mod rule;
mod service;

pub use base::{CHAINS as BASE_CHAINS, SETS as BASE_SETS, SetDecl};
pub use build::{PortPlan, ServiceProgram, build_service};
pub use endpoints::{Categorized, Endpoint, categorize, endpoints_of, local_ready_count};
pub use evaluate::{Affinity, Choice, Entry, Evaluation, NoAffinity, Packet, Step, Verdict, evaluate};
pub use program::{AffinitySet, Element, ElementKey, Program, Source};
pub use rule::{Chain, Cidr, Hook, MASQUERADE_MARK, Match, Rule, Statement};
pub use service::{Protocol, ServiceKey, ServicePort, ServicePortName, service_ports};

use std::net::Ipv4Addr;

/// What a program needs to know about the node it is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Name of the Node.
    pub name: String,
    /// Zone, from the label `topology.kubernetes.io/zone`.
    pub zone: String,
    /// The address that accepts node ports and that masquerading writes.
    pub ip: Ipv4Addr,
    /// Where Pods are; other sources of cluster IP traffic are masqueraded.
    pub cluster_cidr: Cidr,
    /// Where cluster IPs are; unallocated ones are dropped.
    pub service_cidr: Cidr,
}
