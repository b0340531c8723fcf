//! The ALB controller: Ingresses of its class become load balancers, listeners, rules and target groups.
//!
//! Two loops: one makes the model of a group of Ingresses true, the other keeps the targets of target groups. The
//! controller carries no request and checks no target's health.

mod apply;
mod class;
mod load;
mod model;
mod objects;
mod targets;
mod wake;

use ccm_mock_aws_api::Aws;
use controllers_kit::{Caches, Recorder, spawn};
use std::sync::Arc;
use tokio::task::JoinHandle;

/// Run the controller until the future is dropped.
pub async fn run(caches: Caches, aws: Arc<dyn Aws>, cluster_name: String) {
    let bindings = targets::Bindings::default();
    let registrar = targets::Registrar::new(&caches, aws.clone(), bindings.clone());
    let model = model::Model {
        classes: caches.of(),
        ingresses: caches.of(),
        services: caches.of(),
        certificates: caches.of(),
        events: Recorder::new(caches.client().clone(), "ingress"),
        aws,
        cluster: cluster_name,
        bindings,
    };
    let _loops = Loops(vec![
        spawn("targets", registrar.run()),
        spawn("ingress-class", class::ensure(caches.of())),
        spawn("ingress", model::run(Arc::new(model))),
    ]);
    std::future::pending::<()>().await;
}

/// Tasks that end with their owner.
struct Loops(Vec<JoinHandle<()>>);

impl Drop for Loops {
    fn drop(&mut self) {
        self.0.iter().for_each(JoinHandle::abort);
    }
}
