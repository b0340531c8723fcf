//! Workloads: what makes Pods, places them and runs them.
//!
//! It reaches the cluster through a `kube::Client` only; real processes are behind [`Runtime`].

mod control;
mod cronjob;
mod daemonset;
mod deployment;
mod disruption;
mod history;
mod job;
mod kubelet;
mod replicaset;
mod scheduler;
mod statefulset;

use controllers_kit::{Caches, PodAddresses, Running, spawn};
use futures::FutureExt;
use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::ReplicationController;
use std::sync::Arc;

pub use kubelet::runtime::{NodeSpec, ProbeOutcome, ProbeTarget, Runtime, RuntimeFuture, StartError};

/// Run the loops that make Pods until the future is dropped.
pub fn run(caches: Caches) -> Running {
    async move {
        controllers_kit::all(vec![
            spawn("deployment", deployment::run(caches.clone())),
            spawn("replicaset", replicaset::run::<ReplicaSet>(caches.clone())),
            spawn("replicationcontroller", replicaset::run::<ReplicationController>(caches.clone())),
            spawn("daemonset", daemonset::run(caches.clone())),
            spawn("statefulset", statefulset::run(caches.clone())),
            spawn("job", job::run(caches.clone())),
            spawn("cronjob", cronjob::run(caches.clone())),
            spawn("disruption", disruption::run(caches.clone())),
        ])
        .await
    }
    .boxed()
}

/// Run the loop that places Pods until the future is dropped.
pub fn run_scheduler(caches: Caches) -> Running {
    scheduler::run(caches).boxed()
}

/// Run the simulated kubelets of these nodes until the future is dropped.
pub fn run_kubelets(
    caches: Caches,
    nodes: Vec<NodeSpec>,
    runtime: Arc<dyn Runtime>,
    addresses: Arc<dyn PodAddresses>,
) -> Running {
    kubelet::run(caches, nodes, runtime, addresses).boxed()
}
