//! Which endpoints a service port uses on a node: ready ones, hints, traffic policies, terminating as a last resort.
//!
//! It does not look at Pods; what an EndpointSlice says is taken as it is.

use crate::Node;
use crate::service::{Protocol, ServicePort};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;

/// An address and port that a service port can reach.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Address.
    pub ip: Ipv4Addr,
    /// Port.
    pub port: u16,
    /// Node it runs on, empty if unknown.
    pub node: String,
    /// Takes new connections.
    pub ready: bool,
    /// Answers, even if terminating.
    pub serving: bool,
    /// Its Pod is being deleted.
    pub terminating: bool,
    /// `hints.forZones`.
    pub zone_hints: Vec<String>,
    /// `hints.forNodes`.
    pub node_hints: Vec<String>,
    /// Name of the EndpointSlice.
    pub slice: String,
}

impl Endpoint {
    /// `ip:port`.
    pub fn text(&self) -> String {
        format!("{}:{}", self.ip, self.port)
    }
    fn draining(&self) -> bool {
        self.serving && self.terminating
    }
}

/// Endpoints of one service port, from all slices of its Service, in upstream's order.
pub fn endpoints_of<'a>(
    port_name: &str,
    protocol: Protocol,
    slices: impl IntoIterator<Item = &'a EndpointSlice>,
) -> Vec<Endpoint> {
    let mut by_text: BTreeMap<String, Endpoint> = BTreeMap::new();
    for slice in slices {
        if slice.address_type != "IPv4" {
            continue;
        }
        let number = slice.ports.iter().flatten().find_map(|p| {
            let same = p.name.as_deref().unwrap_or_default() == port_name
                && Protocol::of(p.protocol.as_deref()) == protocol;
            if same { p.port.and_then(|n| u16::try_from(n).ok()) } else { None }
        });
        let Some(port) = number else { continue };
        for endpoint in slice.endpoints.iter().flatten() {
            let Some(ip) = endpoint.addresses.first().and_then(|a| a.parse().ok()) else { continue };
            let conditions = endpoint.conditions.as_ref();
            let ready = conditions.and_then(|c| c.ready).unwrap_or(true);
            let hints = endpoint.hints.as_ref();
            let value = Endpoint {
                ip,
                port,
                node: endpoint.node_name.clone().unwrap_or_default(),
                ready,
                serving: conditions.and_then(|c| c.serving).unwrap_or(ready),
                terminating: conditions.and_then(|c| c.terminating).unwrap_or(false),
                zone_hints: hints
                    .and_then(|h| h.for_zones.as_ref())
                    .into_iter()
                    .flatten()
                    .map(|z| z.name.clone())
                    .collect(),
                node_hints: hints
                    .and_then(|h| h.for_nodes.as_ref())
                    .into_iter()
                    .flatten()
                    .map(|n| n.name.clone())
                    .collect(),
                slice: slice.metadata.name.clone().unwrap_or_default(),
            };
            // The same address in two slices: the one that is ready counts.
            match by_text.get(&value.text()) {
                Some(known) if known.ready || !value.ready => {}
                _ => {
                    by_text.insert(value.text(), value);
                }
            }
        }
    }
    by_text.into_values().collect()
}

/// The endpoints of each policy.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Categorized {
    /// Usable under policy Cluster.
    pub cluster: Vec<Endpoint>,
    /// Usable under policy Local.
    pub local: Vec<Endpoint>,
    /// Union of both.
    pub reachable: Vec<Endpoint>,
    /// False if nothing in the whole cluster could take a connection.
    pub any: bool,
}

fn filter(all: &[Endpoint], keep: impl Fn(&Endpoint) -> bool) -> Vec<Endpoint> {
    all.iter().filter(|e| keep(e)).cloned().collect()
}

#[derive(Clone, Copy, PartialEq)]
enum Topology {
    Any,
    SameNode,
    SameZone,
}

fn topology(all: &[Endpoint], node: &Node) -> Topology {
    let ready: Vec<&Endpoint> = all.iter().filter(|e| e.ready).collect();
    let mode = |hints: fn(&Endpoint) -> &Vec<String>, here: &str| {
        !ready.is_empty()
            && !here.is_empty()
            && ready.iter().all(|e| !hints(e).is_empty())
            && ready.iter().any(|e| hints(e).iter().any(|h| h == here))
    };
    if mode(|e| &e.node_hints, &node.name) {
        Topology::SameNode
    } else if mode(|e| &e.zone_hints, &node.zone) {
        Topology::SameZone
    } else {
        Topology::Any
    }
}

/// What upstream's CategorizeEndpoints answers.
pub fn categorize(all: &[Endpoint], service: &ServicePort, node: &Node) -> Categorized {
    let mut out = Categorized::default();
    let local = |e: &Endpoint| !e.node.is_empty() && e.node == node.name;
    if service.uses_cluster_endpoints() {
        let mode = topology(all, node);
        out.cluster = filter(all, |e| {
            e.ready
                && match mode {
                    Topology::Any => true,
                    Topology::SameNode => e.node_hints.contains(&node.name),
                    Topology::SameZone => e.zone_hints.contains(&node.zone),
                }
        });
        if out.cluster.is_empty() {
            out.cluster = filter(all, Endpoint::draining);
        }
        out.any = !out.cluster.is_empty();
    }
    if !service.uses_local_endpoints() {
        out.reachable = out.cluster.clone();
        return out;
    }
    out.any |= all.iter().any(|e| e.ready || e.draining());
    out.local = filter(all, |e| local(e) && e.ready);
    if out.local.is_empty() {
        out.local = filter(all, |e| local(e) && e.draining());
    }
    out.reachable = if service.uses_cluster_endpoints() {
        filter(all, |e| out.cluster.contains(e) || out.local.contains(e))
    } else {
        out.local.clone()
    };
    out
}

/// How many ready endpoints are on the node: what a healthCheckNodePort answers.
pub fn local_ready_count(all: &[Endpoint], node: &Node) -> usize {
    all.iter().filter(|e| e.ready && e.node == node.name).count()
}
