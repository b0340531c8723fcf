//! What a cloud controller manager does, and external-dns beside it: Nodes, load balancers of Services, DNS records.
//!
//! Routes between nodes are not needed: Pods have addresses of the VPC.

mod dns;
mod node;
mod nodes;
mod objects;
mod service;

use ccm_mock_aws_api::Aws;
use controllers_kit::{Caches, Error, spawn};
use std::sync::Arc;
use tokio::task::JoinHandle;

/// Run all loops until the future is dropped.
pub async fn run(caches: Caches, aws: Arc<dyn Aws>) {
    let loops = Loops(vec![
        spawn("cloud-node", node::run(caches.clone(), aws.clone())),
        spawn("service", service::run(caches.clone(), aws.clone())),
        spawn("external-dns", dns::run(caches, aws)),
    ]);
    std::future::pending::<()>().await;
    drop(loops);
}

/// Tasks that end with their owner.
struct Loops(Vec<JoinHandle<()>>);

impl Drop for Loops {
    fn drop(&mut self) {
        self.0.iter().for_each(JoinHandle::abort);
    }
}

/// An answer of the cloud that may be better next time.
fn cloud(error: ccm_mock_aws_api::Error) -> Error {
    Error::Transient(error.to_string())
}
