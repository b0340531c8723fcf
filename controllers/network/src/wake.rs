//! Which Services a change concerns, and the log's words for it.
//!
//! Changes of a Pod that no endpoint shows wake nobody.

use crate::slices::{MANAGED_BY, SERVICE_NAME};
use controllers_kit::meta::label;
use controllers_kit::selector::contains;
use controllers_kit::{Cache, Change, Index, Key, Queue, label_place, pods};
use k8s_openapi::api::core::v1::{Node, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use std::collections::BTreeSet;
use std::sync::Arc;

pub(crate) const ZONE: &str = "topology.kubernetes.io/zone";

/// How a Service is woken by its Pods.
pub(crate) type Wake = fn(&Queue<Key>, Key, String);

/// Wake Services when they change, when one of their Pods does (`by_pod`), and when a node moves to another zone.
pub(crate) fn services(
    queue: &Queue<Key>,
    services: &Cache<Service>,
    pods: &Cache<Pod>,
    nodes: &Cache<Node>,
    by_pod: Wake,
) {
    let by_selector = by_selector(services);
    services.wake(queue);
    let (q, of) = (queue.clone(), by_selector.clone());
    pods.on_change(move |change| pod_changed(&q, &of, change, by_pod));
    let (q, of, there) = (queue.clone(), by_selector.clone(), pods::by_node(pods));
    nodes.on_change(move |change| {
        let zone = |node: Option<&Arc<Node>>| node.and_then(|n| label(&n.metadata, ZONE).map(str::to_string));
        let after = zone(change.new.as_ref());
        if after.is_some() && after != zone(change.old.as_ref()) {
            for pod in there.at(&change.key.name) {
                for service in selecting(&of, &[&*pod]) {
                    q.add(Key::of(&service.metadata), format!("Node {} has a zone", change.key));
                }
            }
        }
    });
}

/// Wake the Services whose slices, as `manager` writes them, are changed by somebody.
pub(crate) fn by_slices(queue: &Queue<Key>, slices: &Cache<EndpointSlice>, manager: &'static str) {
    let queue = queue.clone();
    slices.on_change(move |change| {
        let Some(slice) = change.latest() else { return };
        if let (Some(by), Some(service)) =
            (label(&slice.metadata, MANAGED_BY), label(&slice.metadata, SERVICE_NAME))
            && by == manager
        {
            queue.add(Key::new(&change.key.namespace, service), change.story());
        }
    });
}

/// Services by the first label that their selectors ask for: a Pod that one selects has it.
fn by_selector(services: &Cache<Service>) -> Index<Service> {
    services.index("selector", |service| {
        let namespace = service.metadata.namespace.as_deref().unwrap_or_default();
        let first = service.spec.iter().flat_map(|spec| spec.selector.iter().flatten()).next();
        first.map(|label| label_place(namespace, label)).into_iter().collect()
    })
}

/// The Services whose selectors select a Pod in one of its versions.
fn selecting(services: &Index<Service>, versions: &[&Pod]) -> Vec<Arc<Service>> {
    let place = |pod: &&Pod| {
        let namespace = pod.metadata.namespace.clone().unwrap_or_default();
        let labels = pod.metadata.labels.clone().into_iter().flatten();
        labels.map(move |(key, value)| label_place(&namespace, (&key, &value)))
    };
    let places: BTreeSet<String> = versions.iter().flat_map(place).collect();
    let mut found: Vec<Arc<Service>> = places.iter().flat_map(|place| services.at(place)).collect();
    found.retain(|service| {
        let selector = service.spec.as_ref().and_then(|s| s.selector.as_ref()).filter(|s| !s.is_empty());
        let labels = versions.iter().filter_map(|pod| pod.metadata.labels.as_ref());
        selector.is_some_and(|selector| labels.into_iter().any(|labels| contains(labels, selector)))
    });
    found
}

/// The Pods that a Service's selector may select, and few others.
pub(crate) fn candidates(pods: &Index<Pod>, service: &Service) -> Vec<Arc<Pod>> {
    let namespace = service.metadata.namespace.as_deref().unwrap_or_default();
    let selector = service.spec.iter().flat_map(|spec| spec.selector.iter().flatten());
    pods.at_rarest(selector.map(|label| label_place(namespace, label)))
}

fn pod_changed(queue: &Queue<Key>, services: &Index<Service>, change: &Change<Pod>, wake: Wake) {
    let (old, new) = (change.old.as_deref(), change.new.as_deref());
    if old.and_then(shown) == new.and_then(shown) {
        return;
    }
    let versions: Vec<&Pod> = [old, new].into_iter().flatten().collect();
    for service in selecting(services, &versions) {
        wake(queue, Key::of(&service.metadata), pods::story(&change.key, old, new));
    }
}

/// Everything of a Pod that endpoints show; nothing before it has an address.
fn shown(pod: &Pod) -> Option<impl PartialEq> {
    let spec = pod.spec.as_ref();
    pods::pod_ip(pod)?;
    Some((
        pod.metadata.uid.clone(),
        pod.metadata.labels.clone(),
        pods::pod_ip(pod).map(str::to_string),
        (pods::is_ready(pod), pods::is_terminating(pod), pods::is_finished(pod)),
        pods::node_name(pod).map(str::to_string),
        spec.and_then(|s| s.hostname.clone()),
        spec.and_then(|s| s.subdomain.clone()),
    ))
}
