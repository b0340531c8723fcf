//! What a trace is made of.
//!
//! Plain values; how they look is `text` and `mermaid`.

use serde::Serialize;
use std::fmt;
use std::net::SocketAddrV4;

/// The part of the way a hop is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs)]
pub enum Layer {
    Client,
    Dns,
    Uplink,
    InternetGateway,
    NatGateway,
    LoadBalancer,
    Listener,
    Rule,
    TargetGroup,
    Target,
    Vpc,
    Node,
    Rules,
    Cni,
    Container,
    ApiServer,
}

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Layer::Client => "client",
            Layer::Dns => "dns",
            Layer::Uplink => "uplink",
            Layer::InternetGateway => "igw",
            Layer::NatGateway => "nat gateway",
            Layer::LoadBalancer => "balancer",
            Layer::Listener => "listener",
            Layer::Rule => "rule",
            Layer::TargetGroup => "targets",
            Layer::Target => "target",
            Layer::Vpc => "vpc",
            Layer::Node => "node",
            Layer::Rules => "kube-proxy",
            Layer::Cni => "cni",
            Layer::Container => "container",
            Layer::ApiServer => "api server",
        })
    }
}

/// Source and destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Packet {
    /// From.
    pub source: SocketAddrV4,
    /// To.
    pub destination: SocketAddrV4,
}

impl Packet {
    /// The packet of the answer.
    pub fn reversed(self) -> Packet {
        Packet { source: self.destination, destination: self.source }
    }
}

impl fmt::Display for Packet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} → {}", self.source, self.destination)
    }
}

/// One stop of the journey.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Hop {
    /// Part of the way.
    pub layer: Layer,
    /// Where.
    pub place: String,
    /// What happens.
    pub action: String,
    /// Addresses before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<Packet>,
    /// Addresses after, if they change.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<Packet>,
    /// The record, rule or program line that decided.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub because: Vec<String>,
    /// The object and field it comes from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub object: Option<String>,
    /// Alternatives, and why they were not taken.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub not_taken: Vec<String>,
}

impl Hop {
    pub(crate) fn new(layer: Layer, place: impl Into<String>, action: impl Into<String>) -> Self {
        Hop {
            layer,
            place: place.into(),
            action: action.into(),
            before: None,
            after: None,
            because: vec![],
            object: None,
            not_taken: vec![],
        }
    }
    pub(crate) fn packet(mut self, before: Packet, after: Packet) -> Self {
        self.before = Some(before);
        self.after = (before != after).then_some(after);
        self
    }
    pub(crate) fn because(mut self, line: impl Into<String>) -> Self {
        self.because.push(line.into());
        self
    }
    pub(crate) fn object(mut self, object: impl Into<String>) -> Self {
        self.object = Some(object.into());
        self
    }
    /// What the object was made from, if that is known.
    pub(crate) fn made_from(mut self, origin: Option<String>) -> Self {
        if let (Some(object), Some(origin)) = (&mut self.object, origin) {
            object.push_str(&format!(", made from {origin}"));
        }
        self
    }
    pub(crate) fn not_taken(mut self, lines: impl IntoIterator<Item = String>) -> Self {
        self.not_taken.extend(lines);
        self
    }
}

/// Why a path ends, and what to change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Diagnosis {
    /// Where it ends.
    pub place: String,
    /// Why.
    pub cause: String,
    /// What to change.
    pub fix: String,
}

/// Who answers most requests that reach no Pod.
pub(crate) const BALANCER: &str = "the load balancer";

/// How the request ends.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Outcome {
    /// A container answers.
    Delivered {
        /// `namespace/name` of the Pod, or the address if it is none.
        pod: String,
        /// Address and port.
        address: SocketAddrV4,
    },
    /// The control plane answers.
    ApiServer {
        /// Address and port.
        address: SocketAddrV4,
    },
    /// What is on the way answers itself, as it was told.
    Answered {
        /// Who: `the load balancer`, or a node's kube-proxy.
        by: String,
        /// Status.
        status: u16,
        /// What it says.
        text: String,
    },
    /// The path ends.
    DeadEnd(Diagnosis),
}

/// The journey there and back.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Trace {
    /// Method and URL.
    pub request: String,
    /// Where it starts.
    pub from: String,
    /// Hops there.
    pub hops: Vec<Hop>,
    /// Hops back.
    pub reply: Vec<Hop>,
    /// How it ends.
    pub outcome: Outcome,
    /// Things worth knowing that do not end the path.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}
