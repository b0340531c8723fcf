//! The whole program of a node, changed one Service at a time and shared as an immutable snapshot.
//!
//! Cloning is cheap: unchanged Services share their chains and elements.

use crate::build::ServiceProgram;
use crate::rule::{Chain, Statement};
use crate::service::{Protocol, ServiceKey};
use crate::{Node, base};
use imbl::OrdMap;
use std::fmt;
use std::net::Ipv4Addr;
use std::sync::Arc;

/// The object and field that a line or element comes from.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Source {
    /// `Service` or `EndpointSlice`.
    pub kind: &'static str,
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// Field path.
    pub field: String,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}/{} {}", self.kind, self.namespace, self.name, self.field)
    }
}

/// Key of an element of a set or map.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ElementKey {
    /// An address.
    Ip(Ipv4Addr),
    /// Address, protocol, port.
    Service(Ipv4Addr, Protocol, u16),
    /// Protocol, port.
    NodePort(Protocol, u16),
    /// An endpoint that may speak to itself.
    Hairpin(Ipv4Addr, Protocol, u16),
}

impl fmt::Display for ElementKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ElementKey::Ip(ip) => write!(f, "{ip}"),
            ElementKey::Service(ip, protocol, port) => write!(f, "{ip} . {protocol} . {port}"),
            ElementKey::NodePort(protocol, port) => write!(f, "{protocol} . {port}"),
            ElementKey::Hairpin(ip, protocol, port) => write!(f, "{ip} . {ip} . {protocol} . {port}"),
        }
    }
}

/// An element of a set, or of a map with its verdict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Element {
    /// Set or map.
    pub set: &'static str,
    /// Key.
    pub key: ElementKey,
    /// What a map says: Goto or Drop.
    pub verdict: Option<Statement>,
    /// Comment.
    pub comment: Option<String>,
    /// Object and field.
    pub source: Arc<Source>,
}

impl fmt::Display for Element {
    /// As nft lists it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.key)?;
        if let Some(comment) = &self.comment {
            write!(f, " comment \"{comment}\"")?;
        }
        match &self.verdict {
            Some(verdict) => write!(f, " : {verdict}"),
            None => Ok(()),
        }
    }
}

/// The memory of one endpoint's clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AffinitySet {
    /// Name of the set.
    pub name: String,
    /// How long a client is remembered.
    pub seconds: u32,
}

/// The rules of one node.
#[derive(Debug, Clone)]
pub struct Program {
    node: Arc<Node>,
    frame: Arc<Vec<Chain>>,
    services: OrdMap<ServiceKey, Arc<ServiceProgram>>,
    chains: OrdMap<String, Arc<Chain>>,
    /// Several Services can bring the same element (a Pod behind two of them).
    elements: OrdMap<(&'static str, ElementKey), Vec<Arc<Element>>>,
}

impl Program {
    /// The frame alone.
    pub fn new(node: Node) -> Self {
        let frame = base::chains(&node);
        Program {
            node: Arc::new(node),
            frame: Arc::new(frame),
            services: OrdMap::new(),
            chains: OrdMap::new(),
            elements: OrdMap::new(),
        }
    }

    /// The same Services for another node: those that it sees in its own way are to be set anew.
    #[must_use]
    pub fn for_node(&self, node: Arc<Node>) -> Self {
        Program { frame: Arc::new(base::chains(&node)), node, ..self.clone() }
    }

    /// The node it is for.
    pub fn node(&self) -> &Node {
        &self.node
    }

    /// Replace a Service's rules; None removes them. Answers whether anything changed.
    pub fn set_service(&mut self, key: &ServiceKey, service: Option<ServiceProgram>) -> bool {
        let service = service.filter(|s| !s.ports.is_empty());
        match (self.services.get(key), &service) {
            (None, None) => return false,
            (Some(old), Some(new)) if **old == *new => return false,
            _ => {}
        }
        if let Some(old) = self.services.remove(key) {
            for chain in &old.chains {
                self.chains.remove(&chain.name);
            }
            for element in &old.elements {
                let place = (element.set, element.key);
                let rest: Vec<Arc<Element>> = self
                    .elements
                    .remove(&place)
                    .into_iter()
                    .flatten()
                    .filter(|e| !(e.source.namespace == key.namespace && e.source.name == key.name))
                    .collect();
                if !rest.is_empty() {
                    self.elements.insert(place, rest);
                }
            }
        }
        if let Some(new) = service {
            for chain in &new.chains {
                self.chains.insert(chain.name.clone(), chain.clone());
            }
            for element in &new.elements {
                self.elements.entry((element.set, element.key)).or_default().push(element.clone());
            }
            self.services.insert(key.clone(), Arc::new(new));
        }
        true
    }

    /// A chain by name.
    pub fn chain(&self, name: &str) -> Option<&Chain> {
        self.frame.iter().find(|c| c.name == name).or_else(|| self.chains.get(name).map(|c| c.as_ref()))
    }

    /// The frame's chains, in order.
    pub fn frame(&self) -> &[Chain] {
        &self.frame
    }

    /// Chains of Services, by name.
    pub fn service_chains(&self) -> impl Iterator<Item = &Arc<Chain>> {
        self.chains.values()
    }

    /// Services with rules.
    pub fn services(&self) -> impl Iterator<Item = (&ServiceKey, &Arc<ServiceProgram>)> {
        self.services.iter()
    }

    /// Rules of one Service.
    pub fn service(&self, key: &ServiceKey) -> Option<&Arc<ServiceProgram>> {
        self.services.get(key)
    }

    /// Elements of a set or map that Services brought (`nodeport-ips` is the node's and not among them).
    pub fn elements(&self, set: &str) -> impl Iterator<Item = &Arc<Element>> {
        self.elements.iter().filter(move |((s, _), _)| *s == set).filter_map(|(_, owners)| owners.first())
    }

    /// An element by key.
    pub fn element(&self, set: &'static str, key: ElementKey) -> Option<&Arc<Element>> {
        self.elements.get(&(set, key)).and_then(|owners| owners.first())
    }

    /// Sets that remember clients.
    pub fn affinity_sets(&self) -> impl Iterator<Item = &AffinitySet> {
        self.services.values().flat_map(|s| s.affinity_sets.iter())
    }

    /// How long an affinity set remembers.
    pub fn affinity_seconds(&self, set: &str) -> Option<u32> {
        self.affinity_sets().find(|s| s.name == set).map(|s| s.seconds)
    }

    /// True if `ip` is an address of the node itself.
    pub fn is_local(&self, ip: Ipv4Addr) -> bool {
        ip == self.node.ip || ip.is_loopback()
    }

    /// The healthCheckNodePorts that this node answers.
    pub fn health_check_ports(&self) -> impl Iterator<Item = u16> + '_ {
        self.services.values().map(|s| s.health_check_node_port).filter(|port| *port != 0)
    }

    /// Whom a healthCheckNodePort is for, and how many endpoints this node has.
    pub fn health_check(&self, port: u16) -> Option<(&ServiceKey, usize)> {
        self.services
            .iter()
            .find(|(_, s)| s.health_check_node_port == port && port != 0)
            .map(|(key, s)| (key, s.local_ready))
    }
}
