//! What a cloud controller manager does, and external-dns beside it: Nodes, load balancers of Services, DNS records.
//!
//! Routes between nodes are not needed: Pods have addresses of the VPC.

mod dns;
mod node;
mod nodes;
mod objects;
mod service;

use ccm_mock_aws_api::Aws;
use controllers_kit::{Caches, Error, Running, spawn};
use futures::FutureExt;
use std::sync::Arc;

/// Run all loops until the future is dropped.
pub fn run(caches: Caches, aws: Arc<dyn Aws>) -> Running {
    async move {
        controllers_kit::all(vec![
            spawn("cloud-node", node::run(caches.clone(), aws.clone())),
            spawn("service", service::run(caches.clone(), aws.clone())),
            spawn("external-dns", dns::run(caches, aws)),
        ])
        .await;
    }
    .boxed()
}

/// An answer of the cloud that may be better next time.
fn cloud(error: ccm_mock_aws_api::Error) -> Error {
    Error::Transient(error.to_string())
}
