//! Endpoints, the older form of EndpointSlices, still read by some.
//!
//! Endpoints of Services without a selector are their author's and are left alone.

use crate::ports::{Port, is_headless, is_selecting, publishes_not_ready, resolve};
use crate::wake;
use controllers_kit::meta::{label, now_micro};
use controllers_kit::selector::contains;
use controllers_kit::{Cache, Caches, Done, Error, Index, Key, Queue, Recorder, pods};
use k8s_openapi::api::core::v1::{
    EndpointAddress, EndpointPort, EndpointSubset, Endpoints, Node, ObjectReference, Pod, Service,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::DeleteParams;
use std::collections::BTreeMap;
use std::sync::Arc;

const MANAGED_BY: &str = "endpoints.kubernetes.io/managed-by";
const MANAGER: &str = "endpoint-controller";
const HEADLESS: &str = "service.kubernetes.io/headless";
const TRIGGER: &str = "endpoints.kubernetes.io/last-change-trigger-time";
const OVER_CAPACITY: &str = "endpoints.kubernetes.io/over-capacity";
/// Most addresses of an Endpoints object.
const ADDRESSES_MAX: usize = 1000;

struct Loop {
    services: Cache<Service>,
    pods: Index<Pod>,
    endpoints: Cache<Endpoints>,
    events: Recorder,
}

pub(crate) async fn run(caches: Caches) {
    let (services, pods, nodes) = (caches.of::<Service>(), caches.of::<Pod>(), caches.of::<Node>());
    let endpoints = caches.of::<Endpoints>();
    let by_label = pods::by_label(&pods);
    let queue: Queue<Key> = Queue::new();
    wake::services(&queue, &services, &pods, &nodes, Queue::add_settled);
    endpoints.wake(&queue);
    services.synced().await;
    pods.synced().await;
    endpoints.synced().await;
    let events = Recorder::new(caches.client().clone(), "endpoint-controller");
    let this = Arc::new(Loop { services, pods: by_label, endpoints, events });
    controllers_kit::run("endpoints", queue, 2, move |key| {
        let this = this.clone();
        async move { this.reconcile(key).await }
    })
    .await;
}

impl Loop {
    async fn reconcile(&self, key: Key) -> Result<Done, Error> {
        let current = self.endpoints.get(&key);
        let Some(service) = self.services.get(&key) else {
            let ours = current.is_some_and(|e| label(&e.metadata, MANAGED_BY) == Some(MANAGER));
            return if ours && self.endpoints.delete(&key, &DeleteParams::default()).await? {
                Ok(Done::change("deleted with its Service"))
            } else {
                Ok(Done::nothing())
            };
        };
        if service.metadata.deletion_timestamp.is_some() || !is_selecting(&service) {
            return Ok(Done::nothing());
        }
        let (subsets, truncated) = build(&service, &wake::candidates(&self.pods, &service));
        let labels = labels(&service);
        if let Some(current) = &current {
            let same = current.subsets.clone().unwrap_or_default() == subsets;
            if same && current.metadata.labels.as_ref() == Some(&labels) {
                return Ok(Done::nothing());
            }
        }
        let mut object = current.as_deref().cloned().unwrap_or_else(|| Endpoints {
            metadata: ObjectMeta {
                name: Some(key.name.clone()),
                namespace: Some(key.namespace.clone()),
                ..Default::default()
            },
            ..Default::default()
        });
        object.metadata.labels = Some(labels);
        let annotations = object.metadata.annotations.get_or_insert_default();
        annotations.insert(TRIGGER.into(), now_micro().0.to_string());
        annotations.remove(OVER_CAPACITY);
        if truncated {
            annotations.insert(OVER_CAPACITY.into(), "truncated".into());
        }
        let count: usize = subsets.iter().map(|s| s.addresses.as_ref().map_or(0, Vec::len)).sum();
        object.subsets = Some(subsets).filter(|s| !s.is_empty());
        let (written, reason) = match current {
            Some(_) => (self.endpoints.replace_object(&object).await, "FailedToUpdateEndpoint"),
            None => (self.endpoints.create(&object).await, "FailedToCreateEndpoint"),
        };
        if let Err(error) = written {
            if !error.is_code(409) {
                let text = format!("Failed to update endpoint {key}: {}", error.sentence());
                self.events.warning(&*service, reason, text);
            }
            return Err(error);
        }
        Ok(Done::change(format!("{count} ready addresses")))
    }
}

fn labels(service: &Service) -> BTreeMap<String, String> {
    let mut labels = service.metadata.labels.clone().unwrap_or_default();
    labels.insert(MANAGED_BY.into(), MANAGER.into());
    if is_headless(service) {
        labels.insert(HEADLESS.into(), String::new());
    } else {
        labels.remove(HEADLESS);
    }
    labels
}

/// The subsets, and true if not all addresses fit.
fn build(service: &Service, all: &[Arc<Pod>]) -> (Vec<EndpointSubset>, bool) {
    let tolerant = publishes_not_ready(service);
    let selector = service.spec.as_ref().and_then(|s| s.selector.clone()).unwrap_or_default();
    type Addresses = Vec<(bool, EndpointAddress)>;
    let mut groups: BTreeMap<Vec<Port>, Addresses> = BTreeMap::new();
    for pod in all {
        let selected = pod.metadata.labels.as_ref().is_some_and(|labels| contains(labels, &selector));
        let counts = selected && !pods::is_finished(pod) && (tolerant || !pods::is_terminating(pod));
        let Some(address) = address(service, pod).filter(|_| counts) else { continue };
        let mut ports = resolve(service, pod);
        if ports.is_empty() && !is_headless(service) {
            continue;
        }
        ports.sort();
        groups.entry(ports).or_default().push((tolerant || pods::is_ready(pod), address));
    }
    let total: usize = groups.values().map(Vec::len).sum();
    let mut room = ADDRESSES_MAX;
    let mut subsets = Vec::new();
    for (ports, mut addresses) in groups {
        addresses.sort_by(|(_, a), (_, b)| a.ip.cmp(&b.ip));
        addresses.truncate(room);
        room -= addresses.len();
        let (ready, rest): (Addresses, Addresses) = addresses.into_iter().partition(|(ready, _)| *ready);
        let list = |part: Addresses| {
            Some(part.into_iter().map(|(_, a)| a).collect::<Vec<_>>()).filter(|list| !list.is_empty())
        };
        let one = |p: Port| EndpointPort {
            name: Some(p.name).filter(|n| !n.is_empty()),
            port: p.port,
            protocol: Some(p.protocol),
            app_protocol: p.app_protocol,
        };
        let ports: Vec<EndpointPort> = ports.into_iter().map(one).collect();
        subsets.push(EndpointSubset {
            addresses: list(ready),
            not_ready_addresses: list(rest),
            ports: (!ports.is_empty()).then_some(ports),
        });
    }
    (subsets, total > ADDRESSES_MAX)
}

fn address(service: &Service, pod: &Pod) -> Option<EndpointAddress> {
    let spec = pod.spec.as_ref()?;
    let hostname = spec.hostname.clone().filter(|h| !h.is_empty() && spec.subdomain == service.metadata.name);
    Some(EndpointAddress {
        ip: pods::pod_ip(pod)?.to_string(),
        hostname,
        node_name: pods::node_name(pod).map(str::to_string),
        target_ref: Some(ObjectReference {
            kind: Some("Pod".into()),
            namespace: pod.metadata.namespace.clone(),
            name: pod.metadata.name.clone(),
            uid: pod.metadata.uid.clone(),
            ..Default::default()
        }),
    })
}
