//! Walks one request through a snapshot of the world, there and back, and explains every hop.
//!
//! It owns no routing rule: it calls `dataplane_dns::lookup`, `alb_routing::route` and `ruleset::evaluate`, the functions
//! the data plane runs. It sends nothing; what really happened can be passed in so that the walk takes the same turns.

mod balancer;
mod cluster;
mod diagnose;
mod hop;
mod mermaid;
mod origin;
mod request;
mod text;
mod walk;
mod world;

pub use hop::{Diagnosis, Hop, Layer, Outcome, Packet, Trace};
pub use mermaid::render as mermaid;
pub use request::{From, Observed, Request, UrlError};
pub use text::{Style, render as text};
pub use walk::trace;
pub use world::{Cloud, World};

#[cfg(test)]
mod tests;
