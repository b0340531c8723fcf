//! The slices a Service should have, and the fewest writes that lead there. Pure.
//!
//! Topology hints follow `trafficDistribution` only; the retired topology-mode annotation is ignored.

use super::{MANAGED_BY, MANAGER, SERVICE_NAME};
use crate::ports::{Port, is_headless, publishes_not_ready, resolve};
use crate::slices::{Step, TRIGGER, endpoint_ports, endpoints, ports_of};
use controllers_kit::meta::{controller_reference, now_micro};
use controllers_kit::pods;
use controllers_kit::selector::contains;
use k8s_openapi::api::core::v1::{ObjectReference, Pod, Service};
use k8s_openapi::api::discovery::v1::{
    Endpoint, EndpointConditions, EndpointHints, EndpointPort, EndpointSlice, ForNode, ForZone,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Most endpoints of a slice.
const SLICE_MAX: usize = 100;
const HEADLESS: &str = "service.kubernetes.io/headless";

type Wanted = BTreeMap<Vec<Port>, BTreeMap<String, Endpoint>>;

/// The writes that make the Service's slices what they should be.
pub(super) fn build(
    service: &Service,
    all: &[Arc<Pod>],
    zones: &BTreeMap<String, String>,
    existing: &[Arc<EndpointSlice>],
) -> Vec<Step> {
    let mut wanted = wanted(service, all, zones);
    let (mut kept, mut leftover) = (Vec::new(), Vec::new());
    for slice in existing.iter().filter(|s| s.address_type == "IPv4") {
        let Some(group) = wanted.get_mut(&ports_of(slice)) else {
            leftover.push(slice.clone());
            continue;
        };
        let still = endpoints(slice).iter().filter_map(|e| group.remove(&identity(e))).collect::<Vec<_>>();
        kept.push((slice.clone(), still));
    }
    let mut steps = Vec::new();
    for (ports, group) in wanted {
        let mut rest = group.into_values().collect::<std::collections::VecDeque<_>>();
        for (_, endpoints) in kept.iter_mut().filter(|(slice, _)| ports_of(slice) == ports) {
            while endpoints.len() < SLICE_MAX && !rest.is_empty() {
                endpoints.extend(rest.pop_front());
            }
        }
        while !rest.is_empty() {
            let part: Vec<Endpoint> = rest.drain(..rest.len().min(SLICE_MAX)).collect();
            steps.push(Step::Create(fresh(service, &ports, part)));
        }
    }
    for (slice, endpoints) in kept {
        if endpoints.is_empty() {
            leftover.push(slice);
        } else if self::endpoints(&slice) != endpoints || !same_labels(service, &slice) {
            steps.push(Step::Update(updated(service, &slice, slice.ports.clone(), endpoints)));
        }
    }
    let survivors = existing.len() > leftover.len();
    if steps.is_empty() && !survivors {
        return placeholder(service, leftover);
    }
    recycle(service, steps, leftover)
}

/// A Service without endpoints has one empty slice.
fn placeholder(service: &Service, mut leftover: Vec<Arc<EndpointSlice>>) -> Vec<Step> {
    let is_empty =
        |s: &Arc<EndpointSlice>| endpoints(s).is_empty() && s.ports.iter().flatten().next().is_none();
    let mut steps = Vec::new();
    if let Some(at) = leftover.iter().position(is_empty) {
        let slice = leftover.remove(at);
        if !same_labels(service, &slice) {
            steps.push(Step::Update(updated(service, &slice, None, Vec::new())));
        }
    } else if let Some(slice) = leftover.pop() {
        steps.push(Step::Update(updated(service, &slice, None, Vec::new())));
    } else {
        steps.push(Step::Create(fresh(service, &[], Vec::new())));
    }
    steps.extend(leftover.into_iter().map(Step::Delete));
    steps
}

/// A slice to be created takes the place of one to be deleted.
fn recycle(service: &Service, steps: Vec<Step>, mut leftover: Vec<Arc<EndpointSlice>>) -> Vec<Step> {
    let mut result: Vec<Step> = steps
        .into_iter()
        .map(|step| match step {
            Step::Create(new) => match leftover.pop() {
                Some(old) => {
                    Step::Update(updated(service, &old, new.ports, new.endpoints.unwrap_or_default()))
                }
                None => Step::Create(new),
            },
            other => other,
        })
        .collect();
    result.extend(leftover.into_iter().map(Step::Delete));
    result
}

fn wanted(service: &Service, all: &[Arc<Pod>], zones: &BTreeMap<String, String>) -> Wanted {
    let Some(selector) = service.spec.as_ref().and_then(|s| s.selector.as_ref()) else {
        return Wanted::new();
    };
    let mut wanted = Wanted::new();
    for pod in all {
        let selected = pod.metadata.labels.as_ref().is_some_and(|labels| contains(labels, selector));
        if !selected || pods::is_finished(pod) || pods::pod_ip(pod).is_none() {
            continue;
        }
        let ports = resolve(service, pod);
        if ports.is_empty() && !is_headless(service) {
            continue;
        }
        let endpoint = endpoint(service, pod, zones);
        wanted.entry(ports).or_default().insert(identity(&endpoint), endpoint);
    }
    wanted
}

fn identity(endpoint: &Endpoint) -> String {
    endpoint.target_ref.as_ref().map_or_else(
        || endpoint.addresses.join(","),
        |target| {
            let part = |text: &Option<String>| text.clone().unwrap_or_default();
            format!("{}/{}", part(&target.name), part(&target.uid))
        },
    )
}

fn endpoint(service: &Service, pod: &Pod, zones: &BTreeMap<String, String>) -> Endpoint {
    let (serving, terminating) = (pods::is_ready(pod), pods::is_terminating(pod));
    let ready = publishes_not_ready(service) || (serving && !terminating);
    let node = pods::node_name(pod).map(str::to_string);
    let zone = node.as_ref().and_then(|node| zones.get(node).cloned());
    let spec = pod.spec.as_ref();
    let subdomain = spec.and_then(|s| s.subdomain.as_ref());
    let hostname =
        spec.and_then(|s| s.hostname.clone()).filter(|_| subdomain == service.metadata.name.as_ref());
    let hints = if ready { hints(service, zone.as_deref(), node.as_deref()) } else { None };
    Endpoint {
        addresses: pods::pod_ip(pod).map(str::to_string).into_iter().collect(),
        conditions: Some(EndpointConditions {
            ready: Some(ready),
            serving: Some(publishes_not_ready(service) || serving),
            terminating: Some(terminating),
        }),
        hostname: hostname.filter(|h| !h.is_empty()),
        hints,
        zone,
        node_name: node,
        target_ref: Some(ObjectReference {
            kind: Some("Pod".into()),
            namespace: pod.metadata.namespace.clone(),
            name: pod.metadata.name.clone(),
            uid: pod.metadata.uid.clone(),
            ..Default::default()
        }),
        deprecated_topology: None,
    }
}

fn hints(service: &Service, zone: Option<&str>, node: Option<&str>) -> Option<EndpointHints> {
    let for_zones = || zone.map(|name| vec![ForZone { name: name.to_string() }]);
    match service.spec.as_ref()?.traffic_distribution.as_deref()? {
        "PreferClose" | "PreferSameZone" => {
            Some(EndpointHints { for_zones: Some(for_zones()?), for_nodes: None })
        }
        "PreferSameNode" => Some(EndpointHints {
            for_zones: for_zones(),
            for_nodes: Some(vec![ForNode { name: node?.to_string() }]),
        }),
        _ => None,
    }
}

fn labels(service: &Service) -> BTreeMap<String, String> {
    let mut labels = service.metadata.labels.clone().unwrap_or_default();
    labels.insert(SERVICE_NAME.into(), service.metadata.name.clone().unwrap_or_default());
    labels.insert(MANAGED_BY.into(), MANAGER.into());
    if is_headless(service) {
        labels.insert(HEADLESS.into(), String::new());
    } else {
        labels.remove(HEADLESS);
    }
    labels
}

fn same_labels(service: &Service, slice: &EndpointSlice) -> bool {
    slice.metadata.labels.as_ref() == Some(&labels(service))
}

fn stamp() -> BTreeMap<String, String> {
    BTreeMap::from([(TRIGGER.to_string(), now_micro().0.to_string())])
}

fn fresh(service: &Service, ports: &[Port], endpoints: Vec<Endpoint>) -> EndpointSlice {
    EndpointSlice {
        metadata: ObjectMeta {
            generate_name: Some(format!("{}-", service.metadata.name.as_deref().unwrap_or_default())),
            namespace: service.metadata.namespace.clone(),
            labels: Some(labels(service)),
            annotations: Some(stamp()),
            owner_references: Some(vec![controller_reference(service)]),
            ..Default::default()
        },
        address_type: "IPv4".into(),
        endpoints: Some(endpoints),
        ports: endpoint_ports(ports),
    }
}

fn updated(
    service: &Service,
    slice: &EndpointSlice,
    ports: Option<Vec<EndpointPort>>,
    endpoints: Vec<Endpoint>,
) -> EndpointSlice {
    let mut slice = EndpointSlice { ports, endpoints: Some(endpoints), ..slice.clone() };
    slice.metadata.labels = Some(labels(service));
    slice.metadata.annotations.get_or_insert_default().extend(stamp());
    slice
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::slices::is_ready;
    use serde_json::{Value, json};

    fn service(target: Value) -> Service {
        serde_json::from_value(json!({
            "metadata": {"name": "web", "namespace": "default", "uid": "s"},
            "spec": {"selector": {"app": "web"}, "clusterIP": "10.96.0.9", "ports": [{"name": "http", "port": 80, "targetPort": target}]},
        }))
        .unwrap()
    }

    fn pod(name: &str, ip: &str, ready: bool, port: i32) -> Arc<Pod> {
        Arc::new(
            serde_json::from_value(json!({
                "metadata": {"name": name, "namespace": "default", "uid": name, "labels": {"app": "web"}},
                "spec": {"nodeName": "node-1", "containers": [{"name": "c", "ports": [{"name": "web", "containerPort": port}]}]},
                "status": {"phase": "Running", "podIP": ip,
                    "conditions": [{"type": "Ready", "status": if ready { "True" } else { "False" }}]},
            }))
            .unwrap(),
        )
    }

    fn only(steps: Vec<Step>) -> EndpointSlice {
        assert_eq!(steps.len(), 1, "{steps:?}");
        match steps.into_iter().next() {
            Some(Step::Create(mut slice) | Step::Update(mut slice)) => {
                slice.metadata.name = Some("web-abcde".into());
                slice
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn pods_come_and_go_with_one_write_each_and_the_second_run_writes_nothing() {
        let (service, zones) =
            (service(json!("web")), BTreeMap::from([("node-1".into(), "us-east-1a".into())]));
        let empty = only(build(&service, &[], &zones, &[]));
        assert!(endpoints(&empty).is_empty() && empty.ports.is_none());
        assert_eq!(build(&service, &[], &zones, &[Arc::new(empty.clone())]), []);

        let pods = [pod("a", "10.0.16.5", true, 8080), pod("b", "10.0.16.6", false, 8080)];
        let full = only(build(&service, &pods, &zones, &[Arc::new(empty)]));
        assert_eq!(endpoints(&full).len(), 2);
        assert_eq!(endpoints(&full)[0].zone.as_deref(), Some("us-east-1a"));
        assert_eq!(endpoints(&full).iter().filter(|e| is_ready(e)).count(), 1);
        assert_eq!(full.ports.as_ref().unwrap()[0].port, Some(8080));
        assert_eq!(build(&service, &pods, &zones, &[Arc::new(full.clone())]), []);

        let none = only(build(&service, &[], &zones, &[Arc::new(full)]));
        assert!(endpoints(&none).is_empty() && none.ports.is_none());
    }

    #[test]
    fn pods_that_name_a_port_differently_get_slices_of_their_own() {
        let pods = [pod("a", "10.0.16.5", true, 8080), pod("b", "10.0.16.6", true, 9090)];
        assert_eq!(build(&service(json!("web")), &pods, &BTreeMap::new(), &[]).len(), 2);
    }

    #[test]
    fn a_slice_holds_a_hundred() {
        let pods: Vec<_> =
            (0..150).map(|i| pod(&format!("p{i}"), &format!("10.0.17.{i}"), true, 80)).collect();
        assert_eq!(build(&service(json!(80)), &pods, &BTreeMap::new(), &[]).len(), 2);
    }
}
