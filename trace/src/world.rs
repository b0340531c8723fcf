//! Everything a trace looks at, as plain data of one moment.
//!
//! Lookups only; nothing is decided here.

use ccm_mock_aws_api::acm::Certificate;
use ccm_mock_aws_api::ec2::{Instance, InternetGateway, NatGateway, NetworkInterface};
use ccm_mock_aws_api::elbv2::{Listener, LoadBalancer, Rule, TargetGroup};
use dataplane_dns::Zones;
use k8s_openapi::api::core::v1::{Node, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::Ingress;
use proxy_agent_ruleset::Program;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;

/// The resources of the cloud.
#[derive(Debug, Clone, Default)]
#[allow(missing_docs)]
pub struct Cloud {
    pub load_balancers: Vec<LoadBalancer>,
    pub listeners: Vec<Listener>,
    pub rules: Vec<Rule>,
    pub target_groups: Vec<TargetGroup>,
    pub instances: Vec<Instance>,
    pub network_interfaces: Vec<NetworkInterface>,
    pub internet_gateways: Vec<InternetGateway>,
    pub nat_gateways: Vec<NatGateway>,
    pub certificates: Vec<Certificate>,
}

/// Objects, cloud, zones and rule programs.
#[derive(Debug, Clone, Default)]
#[allow(missing_docs)]
pub struct World {
    pub cloud: Cloud,
    pub zones: Zones,
    /// Rule programs by node name.
    pub programs: BTreeMap<String, Program>,
    pub pods: Vec<Pod>,
    pub services: Vec<Service>,
    pub endpoint_slices: Vec<EndpointSlice>,
    pub nodes: Vec<Node>,
    pub ingresses: Vec<Ingress>,
}

/// `namespace/name` of anything with both.
pub(crate) fn full_name(meta: &k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta) -> String {
    format!("{}/{}", meta.namespace.as_deref().unwrap_or_default(), meta.name.as_deref().unwrap_or_default())
}

impl World {
    /// The Pod at an address; a running one before one that has ended.
    pub(crate) fn pod_at(&self, ip: Ipv4Addr) -> Option<&Pod> {
        let text = ip.to_string();
        let at = |p: &&Pod| p.status.as_ref().and_then(|s| s.pod_ip.as_deref()) == Some(text.as_str());
        let ended = |p: &Pod| {
            matches!(p.status.as_ref().and_then(|s| s.phase.as_deref()), Some("Succeeded" | "Failed"))
        };
        self.pods.iter().filter(at).min_by_key(|p| ended(p))
    }

    /// A Pod by name.
    pub(crate) fn pod(&self, namespace: &str, name: &str) -> Option<&Pod> {
        self.pods.iter().find(|p| full_name(&p.metadata) == format!("{namespace}/{name}"))
    }

    /// A node by name.
    pub(crate) fn node(&self, name: &str) -> Option<&Node> {
        self.nodes.iter().find(|n| n.metadata.name.as_deref() == Some(name))
    }

    /// The InternalIP of a node.
    pub(crate) fn node_ip(&self, name: &str) -> Option<Ipv4Addr> {
        let addresses = self.node(name)?.status.as_ref()?.addresses.as_ref()?;
        addresses.iter().find(|a| a.type_ == "InternalIP")?.address.parse().ok()
    }

    /// The node whose InternalIP it is.
    pub(crate) fn node_at(&self, ip: Ipv4Addr) -> Option<String> {
        self.nodes.iter().filter_map(|n| n.metadata.name.clone()).find(|name| self.node_ip(name) == Some(ip))
    }

    /// The interface that holds an address.
    pub(crate) fn interface_of(&self, ip: Ipv4Addr) -> Option<&NetworkInterface> {
        let text = ip.to_string();
        self.cloud
            .network_interfaces
            .iter()
            .find(|n| n.private_ip_addresses.iter().any(|a| a.private_ip_address == text))
    }

    /// A Service by name.
    pub(crate) fn service(&self, namespace: &str, name: &str) -> Option<&Service> {
        self.services.iter().find(|s| full_name(&s.metadata) == format!("{namespace}/{name}"))
    }
}
