//! The programs of all nodes as one value, and how a change gets into them.
//!
//! A change of a Service or one of its slices rebuilds that Service on every node and nothing else.

use k8s_openapi::api::core::v1::{Node, Service};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointSlice};
use proxy_agent_ruleset::{self as ruleset, Cidr, Program, ServiceKey, build_service};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

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
#[derive(Debug, Clone)]
pub struct Programs {
    config: Config,
    services: BTreeMap<Key, Arc<Service>>,
    slices: BTreeMap<Key, Arc<EndpointSlice>>,
    by_service: BTreeMap<Key, BTreeSet<Key>>,
    by_node: BTreeMap<String, Program>,
}

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
            services: BTreeMap::new(),
            slices: BTreeMap::new(),
            by_service: BTreeMap::new(),
            by_node: BTreeMap::new(),
        }
    }

    /// The program of a node.
    pub fn get(&self, node: &str) -> Option<&Program> {
        self.by_node.get(node)
    }

    /// Names and programs of all nodes.
    pub fn iter(&self) -> impl Iterator<Item = (&String, &Program)> {
        self.by_node.iter()
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
                    self.services.retain(|k, _| keep.contains(k));
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
                        self.by_node.keys().filter(|name| !keep.contains(*name)).cloned().collect();
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
        self.by_node.remove(name)?;
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
        if self.by_node.get(&wanted.name).is_some_and(|p| *p.node() == wanted) {
            return false;
        }
        let mut program = Program::new(wanted);
        for key in self.services.keys() {
            set(&mut program, key, self.services.get(key), &self.slices_of(&key.0, &key.1));
        }
        self.by_node.insert(program.node().name.clone(), program);
        true
    }

    fn rebuild(&mut self, key: &Key) -> usize {
        let service = self.services.get(key).cloned();
        let keys = self.by_service.get(key).cloned().unwrap_or_default();
        let slices: Vec<Arc<EndpointSlice>> =
            keys.iter().filter_map(|k| self.slices.get(k)).cloned().collect();
        let slices: Vec<&EndpointSlice> = slices.iter().map(AsRef::as_ref).collect();
        self.by_node
            .values_mut()
            .map(|program| usize::from(set(program, key, service.as_ref(), &slices)))
            .sum()
    }
}

fn set(program: &mut Program, key: &Key, service: Option<&Arc<Service>>, slices: &[&EndpointSlice]) -> bool {
    let built = service.map(|s| build_service(s, slices.iter().copied(), program.node()));
    program.set_service(&ServiceKey { namespace: key.0.clone(), name: key.1.clone() }, built)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Agent;
    use proxy_agent_ruleset::{Choice, Entry, Packet, Protocol, Verdict};
    use serde_json::{from_value, json};

    fn node(name: &str, ip: &str) -> Input {
        Input::Node(
            from_value(
                json!({"metadata": {"name": name, "labels": {"topology.kubernetes.io/zone": "us-east-1a"}},
            "status": {"addresses": [{"type": "InternalIP", "address": ip}]}}),
            )
            .expect("node"),
        )
    }

    fn slice(name: &str, ips: &[&str]) -> Input {
        let endpoints: Vec<_> = ips
            .iter()
            .map(|ip| json!({"addresses": [ip], "nodeName": "node-1", "conditions": {"ready": true}}))
            .collect();
        Input::Slice(from_value(json!({"metadata": {"namespace": "default", "name": name, "labels": {"kubernetes.io/service-name": "web"}},
            "addressType": "IPv4", "ports": [{"name": "http", "port": 80, "protocol": "TCP"}], "endpoints": endpoints})).expect("slice"))
    }

    fn service() -> Input {
        Input::Service(
            from_value(
                json!({"metadata": {"namespace": "default", "name": "web"}, "spec": {"clusterIP": "10.96.0.7",
            "sessionAffinity": "ClientIP", "type": "NodePort",
            "ports": [{"name": "http", "port": 80, "nodePort": 30080, "targetPort": 80}]}}),
            )
            .expect("service"),
        )
    }

    #[test]
    fn programs_follow_their_inputs_in_any_order() {
        let block = |text: &str| text.parse().expect("block");
        let agent =
            Agent::new(Config { cluster_cidr: block("10.0.0.0/16"), service_cidr: block("10.96.0.0/16") });
        let programs = |inputs| agent.apply(inputs).iter().map(|c| c.programs).collect::<Vec<_>>();
        assert!(programs(vec![slice("a", &["10.0.16.20"])]).is_empty());
        assert_eq!(
            programs(vec![node("node-1", "10.0.16.4"), service(), node("node-2", "10.0.32.4")]),
            [1, 1, 1]
        );
        assert!(programs(vec![service()]).is_empty(), "the same again changes nothing");
        let changed = agent.apply(vec![slice("b", &["10.0.16.21"])]);
        let told = Changed {
            object: "default/web".into(),
            cause: "EndpointSlice default/b changed".into(),
            change: "rules of 2 nodes lead to 10.0.16.20, 10.0.16.21".into(),
            programs: 2,
        };
        assert_eq!(changed, [told]);
        let packet = Packet {
            source: "10.0.16.99".parse().expect("ip"),
            source_port: 1,
            destination: "10.96.0.7".parse().expect("ip"),
            destination_port: 80,
            protocol: Protocol::Tcp,
        };
        let to = |n| match agent.evaluate("node-2", packet, Entry::Arriving, Choice::Random(n)) {
            Some(Verdict::Accept { destination: (ip, _), .. }) => ip.to_string(),
            other => format!("{other:?}"),
        };
        assert_eq!((to(1), to(0)), ("10.0.16.21".into(), "10.0.16.21".into()), "the client is remembered");
        assert_eq!(programs(vec![Input::SlicesAre(vec![("default".into(), "a".into())])]), [2]);
        assert_eq!(to(1), "10.0.16.20");
        assert_eq!(programs(vec![Input::ServicesAre(vec![])]), [2]);
        assert_eq!(to(0), "Some(Drop)", "the cluster IP is nobody's");
        assert_eq!(programs(vec![Input::NodesAre(vec![])]), [1, 1]);
        assert!(agent.programs().get("node-1").is_none());
    }
}
