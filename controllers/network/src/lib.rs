//! What gives Pods addresses and Services endpoints.
//!
//! It carries no packet and programs no rule: proxies and load balancers read what it writes.

mod cni;
mod endpoints;
mod endpointslice;
mod pool;
mod ports;
mod wake;

use ccm_mock_aws_api::Aws;
use controllers_kit::{Caches, spawn};
use std::sync::Arc;

pub use cni::Cni;

/// The VPC CNI over this cloud: hand it to the kubelets.
pub fn cni(caches: Caches, aws: Arc<dyn Aws>) -> Arc<Cni> {
    Cni::new(caches, aws)
}

/// Run the endpoint loops until the future is dropped.
pub async fn run(caches: Caches) {
    let tasks = [
        spawn("endpointslice", endpointslice::run(caches.clone())),
        spawn("endpoints", endpoints::run(caches.clone())),
    ];
    let _stop = Stop(tasks.iter().map(|t| t.abort_handle()).collect());
    for task in tasks {
        let _ = task.await;
    }
}

struct Stop(Vec<tokio::task::AbortHandle>);

impl Drop for Stop {
    fn drop(&mut self) {
        self.0.iter().for_each(|task| task.abort());
    }
}
