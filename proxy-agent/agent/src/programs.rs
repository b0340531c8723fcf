//! The programs of all nodes as one value, and how a change gets into them.
//!
//! A change of a Service or one of its slices rebuilds that Service, once for each zone, and nothing else.

use imbl::{OrdMap, OrdSet};
use k8s_openapi::api::core::v1::{Node, Service};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointSlice};
use proxy_agent_ruleset::{self as ruleset, Cidr, Program, ServiceKey, build_service};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

type Key = (String, String);

/// What all nodes share.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where Pods are.
    pub cluster_cidr: Cidr,
    /// Where cluster IPs are.
    pub service_cidr: Cidr,
}

/// A change.
#[derive(Debug, Clone)]
#[expect(clippy::large_enum_variant, reason = "it lives for one batch")]
pub enum Input {
    /// A Service is new or different.
    Service(Service),
    /// A Service is gone.
    ServiceGone(Key),
    /// There are these Services and no others.
    ServicesAre(Vec<Key>),
    /// An EndpointSlice is new or different.
    Slice(EndpointSlice),
    /// An EndpointSlice is gone.
    SliceGone(Key),
    /// There are these slices and no others.
    SlicesAre(Vec<Key>),
    /// A Node is new or different.
    Node(Node),
    /// A Node is gone.
    NodeGone(Key),
    /// There are these Nodes and no others.
    NodesAre(Vec<Key>),
}

/// What became different, for the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changed {
    /// The Service or node whose rules they are.
    pub object: String,
    /// What was taken in.
    pub cause: String,
    /// What the rules say now.
    pub change: String,
    /// Programs that changed.
    pub programs: usize,
}

/// The programs of all nodes, and what they were built from.
///
/// What nodes have in common is built once for each zone: the rules of all Services as a node sees them that has none of
/// their endpoints. A node's own program is that with the few Services it sees in its own way, made when somebody asks for
/// it. A copy costs nothing, and a change costs the same however many nodes there are.
#[derive(Debug, Clone)]
pub struct Programs {
    config: Config,
    services: OrdMap<Key, Arc<Service>>,
    slices: OrdMap<Key, Arc<EndpointSlice>>,
    by_service: OrdMap<Key, OrdSet<Key>>,
    nodes: OrdMap<String, Arc<ruleset::Node>>,
    zones: OrdMap<String, Zone>,
    /// Services that some nodes see in their own way, by node.
    special: OrdMap<String, OrdSet<Key>>,
    /// Those nodes, by Service.
    special_of: OrdMap<Key, Arc<BTreeSet<String>>>,
    /// Services that every node may see in its own way.
    everywhere: OrdSet<Key>,
    /// `healthCheckNodePort`s by Service.
    health_ports: OrdMap<Key, u16>,
    /// What was asked for of this state.
    made: Made,
}

/// What the nodes of a zone have in common.
#[derive(Debug, Clone)]
struct Zone {
    nodes: usize,
    program: Program,
}

/// Programs that were made of one state; a copy begins with none, for it is about to change.
#[derive(Debug, Default)]
struct Made(Mutex<HashMap<String, Arc<Program>>>);

impl Clone for Made {
    fn clone(&self) -> Self {
        Self::default()
    }
}

/// The name of no node: what is built for it is what all nodes see that have nothing to do with a Service.
const NOBODY: &str = " ";

fn key(meta: &kube::core::ObjectMeta) -> Key {
    (meta.namespace.clone().unwrap_or_default(), meta.name.clone().unwrap_or_default())
}

fn owner(slice: &EndpointSlice) -> Option<Key> {
    let name = slice.metadata.labels.as_ref()?.get("kubernetes.io/service-name")?;
    Some((slice.metadata.namespace.clone().unwrap_or_default(), name.clone()))
}

fn node_of(node: &Node, config: &Config) -> Option<ruleset::Node> {
    let addresses = node.status.as_ref()?.addresses.as_ref()?;
    let ip = addresses.iter().find(|a| a.type_ == "InternalIP")?.address.parse().ok()?;
    let zone = node.metadata.labels.as_ref().and_then(|l| l.get("topology.kubernetes.io/zone"));
    Some(ruleset::Node {
        name: node.metadata.name.clone()?,
        zone: zone.cloned().unwrap_or_default(),
        ip,
        cluster_cidr: config.cluster_cidr,
        service_cidr: config.service_cidr,
    })
}

impl Input {
    /// What is taken in, for the log.
    fn story(&self) -> String {
        let name = |meta: &kube::core::ObjectMeta| match key(meta) {
            (namespace, name) if namespace.is_empty() => name,
            (namespace, name) => format!("{namespace}/{name}"),
        };
        match self {
            Input::Service(service) => format!("Service {} changed", name(&service.metadata)),
            Input::ServiceGone((namespace, name)) => format!("Service {namespace}/{name} deleted"),
            Input::Slice(slice) => format!("EndpointSlice {} changed", name(&slice.metadata)),
            Input::SliceGone((namespace, name)) => format!("EndpointSlice {namespace}/{name} deleted"),
            Input::Node(node) => format!("Node {} changed", name(&node.metadata)),
            Input::NodeGone((_, name)) => format!("Node {name} deleted"),
            Input::ServicesAre(_) | Input::SlicesAre(_) | Input::NodesAre(_) => "all were listed".into(),
        }
    }
}

impl Programs {
    /// No nodes, no Services.
    pub fn new(config: Config) -> Self {
        Programs {
            config,
            services: OrdMap::new(),
            slices: OrdMap::new(),
            by_service: OrdMap::new(),
            nodes: OrdMap::new(),
            zones: OrdMap::new(),
            special: OrdMap::new(),
            special_of: OrdMap::new(),
            everywhere: OrdSet::new(),
            health_ports: OrdMap::new(),
            made: Made::default(),
        }
    }

    /// The program of a node.
    pub fn get(&self, node: &str) -> Option<Arc<Program>> {
        let node = self.nodes.get(node)?;
        let lock = || self.made.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(made) = lock().get(&node.name) {
            return Some(made.clone());
        }
        let made = Arc::new(self.make(node)?);
        lock().insert(node.name.clone(), made.clone());
        Some(made)
    }

    fn make(&self, node: &Arc<ruleset::Node>) -> Option<Program> {
        let mut program = self.zones.get(&node.zone)?.program.for_node(node.clone());
        let own = self.special.get(&node.name).into_iter().flatten();
        for key in own.chain(&self.everywhere) {
            set(&mut program, key, self.services.get(key), &self.slices_of(&key.0, &key.1));
        }
        Some(program)
    }

    /// All nodes.
    pub fn nodes(&self) -> impl Iterator<Item = &Arc<ruleset::Node>> {
        self.nodes.values()
    }

    /// The healthCheckNodePorts that every node answers.
    pub fn health_check_ports(&self) -> BTreeSet<u16> {
        self.health_ports.values().copied().collect()
    }

    /// Services the programs were built from.
    pub fn services(&self) -> impl Iterator<Item = &Arc<Service>> {
        self.services.values()
    }

    /// Slices of a Service.
    pub fn slices_of(&self, namespace: &str, name: &str) -> Vec<&EndpointSlice> {
        let keys = self.by_service.get(&(namespace.to_string(), name.to_string()));
        keys.into_iter().flatten().filter_map(|k| self.slices.get(k)).map(AsRef::as_ref).collect()
    }

    /// Take in changes; answers what became different.
    pub fn apply(&mut self, inputs: Vec<Input>) -> Vec<Changed> {
        self.made = Made::default();
        let mut causes: BTreeMap<Key, String> = BTreeMap::new();
        let mut changed = Vec::new();
        for input in inputs {
            let cause = input.story();
            let mut touched: BTreeSet<Key> = BTreeSet::new();
            match input {
                Input::Service(service) => {
                    let key = key(&service.metadata);
                    self.services.insert(key.clone(), Arc::new(service));
                    touched.insert(key);
                }
                Input::ServiceGone(key) => {
                    self.services.remove(&key);
                    touched.insert(key);
                }
                Input::ServicesAre(keys) => {
                    let keep: BTreeSet<Key> = keys.into_iter().collect();
                    touched.extend(self.services.keys().filter(|k| !keep.contains(k)).cloned());
                    for key in &touched {
                        self.services.remove(key);
                    }
                }
                Input::Slice(slice) => touched.extend(self.put_slice(slice)),
                Input::SliceGone(key) => touched.extend(self.drop_slice(&key)),
                Input::SlicesAre(keys) => {
                    let keep: BTreeSet<Key> = keys.into_iter().collect();
                    let gone: Vec<Key> = self.slices.keys().filter(|k| !keep.contains(k)).cloned().collect();
                    gone.iter().for_each(|key| touched.extend(self.drop_slice(key)));
                }
                Input::Node(node) => {
                    if self.put_node(&node) {
                        let name = node.metadata.name.unwrap_or_default();
                        let change = format!("built from {} Services", self.services.len());
                        changed.push(Changed { object: name, cause: cause.clone(), change, programs: 1 });
                    }
                }
                Input::NodeGone((_, name)) => changed.extend(self.drop_node(&name, &cause)),
                Input::NodesAre(keys) => {
                    let keep: BTreeSet<String> = keys.into_iter().map(|(_, name)| name).collect();
                    let gone: Vec<String> =
                        self.nodes.keys().filter(|name| !keep.contains(*name)).cloned().collect();
                    changed.extend(gone.iter().filter_map(|name| self.drop_node(name, &cause)));
                }
            }
            causes.extend(touched.into_iter().map(|key| (key, cause.clone())));
        }
        for (key, cause) in causes {
            let programs = self.rebuild(&key);
            if programs > 0 {
                let change = self.story(&key, programs);
                changed.push(Changed { object: format!("{}/{}", key.0, key.1), cause, change, programs });
            }
        }
        changed
    }

    fn drop_node(&mut self, name: &str, cause: &str) -> Option<Changed> {
        let gone = self.nodes.remove(name)?;
        self.leave_zone(&gone.zone);
        let change = "rules removed".to_string();
        Some(Changed { object: name.to_string(), cause: cause.to_string(), change, programs: 1 })
    }

    /// What the rules of a Service say after a change.
    fn story(&self, key: &Key, programs: usize) -> String {
        if !self.services.contains_key(key) {
            return format!("rules removed from {programs} nodes");
        }
        let slices = self.slices_of(&key.0, &key.1);
        let ready = |e: &&Endpoint| e.conditions.as_ref().and_then(|c| c.ready).unwrap_or(true);
        let mut addresses: Vec<&str> = slices
            .iter()
            .flat_map(|slice| slice.endpoints.iter().flatten())
            .filter(ready)
            .flat_map(|endpoint| endpoint.addresses.iter().map(String::as_str))
            .collect();
        addresses.sort_unstable();
        let to = match addresses.as_slice() {
            [] => "no ready endpoint".to_string(),
            few if few.len() <= 5 => few.join(", "),
            many => format!("{}, … ({} endpoints)", many[..5].join(", "), many.len()),
        };
        format!("rules of {programs} nodes lead to {to}")
    }

    fn put_slice(&mut self, slice: EndpointSlice) -> Vec<Key> {
        let key = key(&slice.metadata);
        let mut touched = self.drop_slice(&key);
        if let Some(owner) = owner(&slice) {
            self.by_service.entry(owner.clone()).or_default().insert(key.clone());
            self.slices.insert(key, Arc::new(slice));
            touched.push(owner);
        }
        touched
    }

    fn drop_slice(&mut self, key: &Key) -> Vec<Key> {
        let Some(owner) = self.slices.remove(key).and_then(|s| owner(&s)) else { return Vec::new() };
        if let Some(keys) = self.by_service.get_mut(&owner) {
            keys.remove(key);
            if keys.is_empty() {
                self.by_service.remove(&owner);
            }
        }
        vec![owner]
    }

    fn put_node(&mut self, node: &Node) -> bool {
        let Some(wanted) = node_of(node, &self.config) else { return false };
        let old = self.nodes.get(&wanted.name).cloned();
        if old.as_ref().is_some_and(|old| **old == wanted) {
            return false;
        }
        if old.as_ref().is_none_or(|old| old.zone != wanted.zone) {
            if let Some(old) = old {
                self.leave_zone(&old.zone);
            }
            self.enter_zone(&wanted);
        }
        self.nodes.insert(wanted.name.clone(), Arc::new(wanted));
        true
    }

    fn leave_zone(&mut self, name: &str) {
        let Some(zone) = self.zones.get_mut(name) else { return };
        zone.nodes -= 1;
        if zone.nodes == 0 {
            self.zones.remove(name);
        }
    }

    fn enter_zone(&mut self, node: &ruleset::Node) {
        if let Some(zone) = self.zones.get_mut(&node.zone) {
            zone.nodes += 1;
            return;
        }
        let nobody =
            ruleset::Node { name: NOBODY.into(), ip: std::net::Ipv4Addr::UNSPECIFIED, ..node.clone() };
        let mut program = Program::new(nobody);
        for key in self.services.keys() {
            set(&mut program, key, self.services.get(key), &self.slices_of(&key.0, &key.1));
        }
        self.zones.insert(node.zone.clone(), Zone { nodes: 1, program });
    }

    /// Builds a Service's rules anew; answers how many nodes' programs changed.
    fn rebuild(&mut self, key: &Key) -> usize {
        let service = self.services.get(key).cloned();
        let keys = self.by_service.get(key).cloned().unwrap_or_default();
        let slices: Vec<Arc<EndpointSlice>> =
            keys.iter().filter_map(|k| self.slices.get(k)).cloned().collect();
        let slices: Vec<&EndpointSlice> = slices.iter().map(AsRef::as_ref).collect();
        let spec = service.as_ref().and_then(|service| service.spec.as_ref());
        match spec.and_then(|spec| u16::try_from(spec.health_check_node_port?).ok()).filter(|port| *port != 0)
        {
            Some(port) => drop(self.health_ports.insert(key.clone(), port)),
            None => drop(self.health_ports.remove(key)),
        }
        // A node that is among the sources lets its load balancer's address through.
        match spec.is_some_and(|spec| spec.load_balancer_source_ranges.iter().flatten().next().is_some()) {
            true => drop(self.everywhere.insert(key.clone())),
            false => drop(self.everywhere.remove(key)),
        }
        let named = match service {
            Some(_) => nodes_named(&slices),
            None => BTreeSet::new(),
        };
        self.note_special(key, named);
        let mut changed = 0;
        let names: Vec<String> = self.zones.keys().cloned().collect();
        for name in names {
            let Some(zone) = self.zones.get_mut(&name) else { continue };
            if set(&mut zone.program, key, service.as_ref(), &slices) {
                changed += zone.nodes;
            }
        }
        changed
    }

    /// These nodes see the Service in their own way, and no others.
    fn note_special(&mut self, key: &Key, named: BTreeSet<String>) {
        let before = self.special_of.get(key).cloned().unwrap_or_default();
        if *before == named {
            return;
        }
        for node in before.difference(&named) {
            if let Some(keys) = self.special.get_mut(node) {
                keys.remove(key);
                if keys.is_empty() {
                    self.special.remove(node);
                }
            }
        }
        for node in named.difference(&before) {
            self.special.entry(node.clone()).or_default().insert(key.clone());
        }
        if named.is_empty() {
            self.special_of.remove(key);
        } else {
            self.special_of.insert(key.clone(), Arc::new(named));
        }
    }
}

/// The nodes that have an endpoint, or that one is meant for.
fn nodes_named(slices: &[&EndpointSlice]) -> BTreeSet<String> {
    let endpoints = slices.iter().flat_map(|slice| slice.endpoints.iter().flatten());
    let named = |endpoint: &Endpoint| {
        let hints = endpoint.hints.iter().flat_map(|hints| hints.for_nodes.iter().flatten());
        let mut all: Vec<String> = hints.map(|node| node.name.clone()).collect();
        all.extend(endpoint.node_name.clone());
        all
    };
    endpoints.flat_map(named).collect()
}

fn set(program: &mut Program, key: &Key, service: Option<&Arc<Service>>, slices: &[&EndpointSlice]) -> bool {
    let built = service.map(|s| build_service(s, slices.iter().copied(), program.node()));
    program.set_service(&ServiceKey { namespace: key.0.clone(), name: key.1.clone() }, built)
}

#[cfg(test)]
mod tests;
