//! EndpointSlices of Endpoints that somebody wrote by hand, as upstream's endpointslice-mirroring-controller writes them:
//! what routes requests reads slices alone.
//!
//! Endpoints of Services with a selector have slices from the Pods; those of no Service, of leader elections, and those
//! labelled so are not mirrored.

mod plan;

use crate::slices::{by_service, managed_by};
use crate::wake;
use controllers_kit::meta::{annotation, label};
use controllers_kit::{Cache, Caches, Done, Error, Index, Key, Queue, Recorder};
use k8s_openapi::api::core::v1::{Endpoints, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use std::sync::Arc;

const MANAGER: &str = "endpointslicemirroring-controller.k8s.io";
const SKIP: &str = "endpointslice.kubernetes.io/skip-mirror";
const LEADER: &str = "control-plane.alpha.kubernetes.io/leader";

struct Loop {
    services: Cache<Service>,
    endpoints: Cache<Endpoints>,
    slices: Cache<EndpointSlice>,
    by_service: Index<EndpointSlice>,
    events: Recorder,
}

pub(crate) async fn run(caches: Caches) {
    let (services, endpoints) = (caches.of::<Service>(), caches.of::<Endpoints>());
    let slices = caches.of::<EndpointSlice>();
    let queue: Queue<Key> = Queue::new();
    services.wake(&queue);
    endpoints.wake(&queue);
    let by_service = by_service(&slices);
    wake::by_slices(&queue, &slices, MANAGER);
    services.synced().await;
    endpoints.synced().await;
    slices.synced().await;
    let events = Recorder::new(caches.client().clone(), "endpoint-slice-mirroring-controller");
    let this = Arc::new(Loop { services, endpoints, slices, by_service, events });
    controllers_kit::run("endpointslicemirroring", queue, 2, move |key| {
        let this = this.clone();
        async move { this.reconcile(key).await }
    })
    .await;
}

impl Loop {
    async fn reconcile(&self, key: Key) -> Result<Done, Error> {
        let mut done = Done::nothing();
        let existing = managed_by(MANAGER, &self.by_service, &key);
        let has_no_selector = |service: &Arc<Service>| {
            let selector = service.spec.as_ref().and_then(|spec| spec.selector.as_ref());
            selector.is_none_or(|selector| selector.is_empty())
        };
        let mirrored = self.services.get(&key).filter(has_no_selector);
        let mirrored = mirrored.and_then(|_| self.endpoints.get(&key)).filter(|found| is_mirrored(found));
        let plan = plan::build(mirrored.as_deref(), &existing);
        if let (Some(endpoints), true) = (&mirrored, plan.skipped > 0) {
            let (most, skipped) = (plan::ADDRESSES_MAX, plan.skipped);
            let text = format!(
                "A max of {most} addresses can be mirrored to EndpointSlices per Endpoints subset. {skipped} addresses were skipped"
            );
            self.events.warning(&**endpoints, "TooManyAddressesToMirror", text);
        }
        for step in plan.steps {
            if let Err(error) = step.write(&self.slices, &mut done).await {
                if let (Some(endpoints), false) = (&mirrored, error.is_code(409)) {
                    let text =
                        format!("Error updating Endpoint Slices for Endpoints {key}: {}", error.sentence());
                    self.events.warning(&**endpoints, "FailedToUpdateEndpointSlices", text);
                }
                return Err(error);
            }
        }
        Ok(done)
    }
}

fn is_mirrored(endpoints: &Endpoints) -> bool {
    let metadata = &endpoints.metadata;
    metadata.deletion_timestamp.is_none()
        && label(metadata, SKIP) != Some("true")
        && annotation(metadata, LEADER).is_none()
}
