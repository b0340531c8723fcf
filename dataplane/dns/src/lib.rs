//! Names: Route 53 zones, load balancer names, private names of the VPC, and cluster.local.
//!
//! [`resolve`] is pure and shared with the tracer; [`serve`] puts it on UDP and TCP. Names outside the known zones are
//! refused: there is no recursion to the real internet.

mod cluster;
mod resolve;
mod server;
mod zones;

pub use cluster::{ClusterService, cluster_service};
pub use resolve::{lookup, resolve, search_names};
pub use server::{Serving, Snapshot, serve};
pub use zones::{Answer, Balancer, Code, Record, Step, Type, View, Zones};
