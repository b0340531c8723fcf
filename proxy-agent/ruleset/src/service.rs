//! A Service as its ports: one value for each port, with everything the rules need.
//!
//! Headless and ExternalName Services have no rules and give no ports here.

use crate::rule::Cidr;
use k8s_openapi::api::core::v1::Service;
use std::fmt;
use std::net::Ipv4Addr;

/// Namespace and name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceKey {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
}

impl fmt::Display for ServiceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// A port of a Service, written `namespace/name:port`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServicePortName {
    /// The Service.
    pub service: ServiceKey,
    /// Name of the port; empty for a single unnamed one.
    pub port: String,
}

impl ServicePortName {
    /// From the three texts.
    pub fn new(namespace: &str, name: &str, port: &str) -> Self {
        ServicePortName {
            service: ServiceKey { namespace: namespace.into(), name: name.into() },
            port: port.into(),
        }
    }
}

impl fmt::Display for ServicePortName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.service)?;
        if self.port.is_empty() { Ok(()) } else { write!(f, ":{}", self.port) }
    }
}

/// Transport protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

impl Protocol {
    /// From an API object's text; missing means TCP.
    pub fn of(text: Option<&str>) -> Self {
        match text {
            Some("UDP") => Protocol::Udp,
            Some("SCTP") => Protocol::Sctp,
            _ => Protocol::Tcp,
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
            Protocol::Sctp => "sctp",
        })
    }
}

/// Everything the rules of one service port depend on, endpoints aside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServicePort {
    /// `namespace/name:port`.
    pub name: ServicePortName,
    /// Protocol.
    pub protocol: Protocol,
    /// `spec.clusterIP`.
    pub cluster_ip: Ipv4Addr,
    /// `spec.ports[].port`.
    pub port: u16,
    /// `spec.ports[].targetPort` as written, for explanations.
    pub target_port: String,
    /// `spec.ports[].nodePort`, 0 if none.
    pub node_port: u16,
    /// `spec.externalIPs`.
    pub external_ips: Vec<Ipv4Addr>,
    /// `status.loadBalancer.ingress[].ip` with ipMode VIP.
    pub load_balancer_ips: Vec<Ipv4Addr>,
    /// `spec.loadBalancerSourceRanges`.
    pub source_ranges: Vec<Cidr>,
    /// ClientIP affinity: seconds.
    pub affinity_seconds: Option<u32>,
    /// `spec.externalTrafficPolicy: Local`.
    pub external_policy_local: bool,
    /// `spec.internalTrafficPolicy: Local`.
    pub internal_policy_local: bool,
    /// `spec.healthCheckNodePort`, 0 if none.
    pub health_check_node_port: u16,
}

impl ServicePort {
    /// True if it takes traffic from outside the cluster.
    pub fn externally_accessible(&self) -> bool {
        self.node_port != 0 || !self.load_balancer_ips.is_empty() || !self.external_ips.is_empty()
    }
    /// True if endpoints of the whole cluster are ever used.
    pub fn uses_cluster_endpoints(&self) -> bool {
        !self.internal_policy_local || self.externally_accessible()
    }
    /// True if endpoints of this node alone are ever used.
    pub fn uses_local_endpoints(&self) -> bool {
        self.internal_policy_local || (self.external_policy_local && self.externally_accessible())
    }
}

fn ips<'a>(texts: impl Iterator<Item = &'a String>) -> Vec<Ipv4Addr> {
    texts.filter_map(|t| t.parse().ok()).collect()
}

/// The ports of a Service that have rules.
pub fn service_ports(service: &Service) -> Vec<ServicePort> {
    const OTHER_PROXY: &str = "service.kubernetes.io/service-proxy-name";
    let Some(spec) = &service.spec else { return Vec::new() };
    let labels = service.metadata.labels.as_ref();
    if spec.type_.as_deref() == Some("ExternalName") || labels.is_some_and(|l| l.contains_key(OTHER_PROXY)) {
        return Vec::new();
    }
    let Some(cluster_ip) = spec.cluster_ip.as_deref().and_then(|ip| ip.parse::<Ipv4Addr>().ok()) else {
        return Vec::new();
    };
    let key = ServiceKey {
        namespace: service.metadata.namespace.clone().unwrap_or_default(),
        name: service.metadata.name.clone().unwrap_or_default(),
    };
    let ingress =
        service.status.as_ref().and_then(|s| s.load_balancer.as_ref()).and_then(|l| l.ingress.as_ref());
    let vips: Vec<Ipv4Addr> = ingress
        .into_iter()
        .flatten()
        .filter(|i| i.ip_mode.as_deref() != Some("Proxy"))
        .filter_map(|i| i.ip.as_ref()?.parse().ok())
        .collect();
    let affinity = (spec.session_affinity.as_deref() == Some("ClientIP")).then(|| {
        let seconds = spec
            .session_affinity_config
            .as_ref()
            .and_then(|c| c.client_ip.as_ref())
            .and_then(|c| c.timeout_seconds);
        seconds.and_then(|s| u32::try_from(s).ok()).unwrap_or(10_800)
    });
    let port_of = |n: Option<i32>| n.and_then(|n| u16::try_from(n).ok()).unwrap_or(0);
    let ports = spec.ports.iter().flatten().map(|port| ServicePort {
        name: ServicePortName { service: key.clone(), port: port.name.clone().unwrap_or_default() },
        protocol: Protocol::of(port.protocol.as_deref()),
        cluster_ip,
        port: port_of(Some(port.port)),
        target_port: match &port.target_port {
            Some(k8s_openapi::apimachinery::pkg::util::intstr::IntOrString::String(s)) => s.clone(),
            Some(k8s_openapi::apimachinery::pkg::util::intstr::IntOrString::Int(n)) => n.to_string(),
            None => port.port.to_string(),
        },
        node_port: port_of(port.node_port),
        external_ips: ips(spec.external_ips.iter().flatten()),
        load_balancer_ips: vips.clone(),
        source_ranges: spec
            .load_balancer_source_ranges
            .iter()
            .flatten()
            .filter_map(|t| t.trim().parse().ok())
            .collect(),
        affinity_seconds: affinity,
        external_policy_local: spec.external_traffic_policy.as_deref() == Some("Local"),
        internal_policy_local: spec.internal_traffic_policy.as_deref() == Some("Local"),
        health_check_node_port: port_of(spec.health_check_node_port),
    });
    ports.collect()
}
