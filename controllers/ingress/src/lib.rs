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
use controllers_kit::{Caches, Recorder, Running, spawn};
use futures::FutureExt;
use std::sync::Arc;

/// Run the controller until the future is dropped.
pub fn run(caches: Caches, aws: Arc<dyn Aws>, cluster_name: String) -> Running {
    async move {
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
        controllers_kit::all(vec![
            spawn("targets", registrar.run()),
            spawn("ingress-class", class::ensure(caches.of())),
            spawn("ingress", model::run(Arc::new(model))),
        ])
        .await;
    }
    .boxed()
}
