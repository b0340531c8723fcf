//! EndpointSlices of Services with a selector, as upstream's endpointslice-controller writes them.
//!
//! Slices that somebody else manages are left alone; slices of deleted Services go by their owner reference.

mod plan;

use crate::ports::is_selecting;
use crate::slices::{self, MANAGED_BY, SERVICE_NAME, managed_by};
use crate::wake;
use controllers_kit::meta::label;
use controllers_kit::{Cache, Caches, Done, Error, Index, Key, Queue, Recorder, pods};
use k8s_openapi::api::core::v1::{Node, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use std::collections::BTreeMap;
use std::sync::Arc;

const MANAGER: &str = "endpointslice-controller.k8s.io";

struct Loop {
    services: Cache<Service>,
    pods: Index<Pod>,
    nodes: Cache<Node>,
    slices: Cache<EndpointSlice>,
    by_service: Index<EndpointSlice>,
    events: Recorder,
}

pub(crate) async fn run(caches: Caches) {
    let (services, pods, nodes) = (caches.of::<Service>(), caches.of::<Pod>(), caches.of::<Node>());
    let slices = caches.of::<EndpointSlice>();
    let (by_label, by_service) = (pods::by_label(&pods), slices::by_service(&slices));
    let queue: Queue<Key> = Queue::new();
    wake::services(&queue, &services, &pods, &nodes, Queue::add);
    wake::by_slices(&queue, &slices, MANAGER);
    services.synced().await;
    pods.synced().await;
    nodes.synced().await;
    slices.synced().await;
    let events = Recorder::new(caches.client().clone(), "endpoint-slice-controller");
    let this = Arc::new(Loop { services, pods: by_label, nodes, slices, by_service, events });
    controllers_kit::run("endpointslice", queue, 4, move |key| {
        let this = this.clone();
        async move { this.reconcile(key).await }
    })
    .await;
}

impl Loop {
    async fn reconcile(&self, key: Key) -> Result<Done, Error> {
        let mut done = Done::nothing();
        let Some(service) = self.services.get(&key) else { return Ok(done) };
        if service.metadata.deletion_timestamp.is_some() || !is_selecting(&service) {
            return Ok(done);
        }
        let existing = managed_by(MANAGER, &self.by_service, &key);
        let pods = wake::candidates(&self.pods, &service);
        let zone_of = |name: &str| {
            let node = self.nodes.get(&Key::new("", name))?;
            Some((name.to_owned(), label(&node.metadata, wake::ZONE)?.to_owned()))
        };
        let zones: BTreeMap<String, String> =
            pods.iter().filter_map(|pod| controllers_kit::pods::node_name(pod)).filter_map(zone_of).collect();
        for step in plan::build(&service, &pods, &zones, &existing) {
            if let Err(error) = step.write(&self.slices, &mut done).await {
                if !error.is_code(409) {
                    let text =
                        format!("Error updating Endpoint Slices for Service {key}: {}", error.sentence());
                    self.events.warning(&*service, "FailedToUpdateEndpointSlices", text);
                }
                return Err(error);
            }
        }
        Ok(done)
    }
}
