//! What gives Pods addresses and Services endpoints.
//!
//! It carries no packet and programs no rule: proxies and load balancers read what it writes.

mod cni;
mod endpoints;
mod endpointslice;
mod mirroring;
mod pool;
mod ports;
mod slices;
mod wake;

use controllers_kit::{Caches, Running, spawn};
use futures::FutureExt;
use std::sync::Arc;

pub use cni::Cni;

/// Run the endpoint loops and keep addresses ready on every node, until the future is dropped.
pub fn run(caches: Caches, cni: Arc<Cni>) -> Running {
    async move {
        let endpoints = spawn("endpoints of Services", run_endpoints(caches.clone()));
        controllers_kit::all(vec![endpoints, spawn("vpc-cni", cni::run(caches, cni))]).await
    }
    .boxed()
}

/// Run the endpoint loops alone until the future is dropped.
pub fn run_endpoints(caches: Caches) -> Running {
    async move {
        controllers_kit::all(vec![
            spawn("endpointslice", endpointslice::run(caches.clone())),
            spawn("endpointslicemirroring", mirroring::run(caches.clone())),
            spawn("endpoints", endpoints::run(caches)),
        ])
        .await
    }
    .boxed()
}
