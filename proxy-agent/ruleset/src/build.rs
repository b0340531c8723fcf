//! A Service's part of a node's program: its chains, elements and affinity sets.
//!
//! Pure and infallible: a Service that can have no rules gives an empty part.

use crate::Node;
use crate::endpoints::{Categorized, Endpoint, categorize, endpoints_of, local_ready_count};
use crate::names::{nft_base, nft_endpoint_base};
use crate::program::{AffinitySet, Element, ElementKey, Source};
use crate::rule::{Chain, Match, Rule, Statement};
use crate::service::{ServicePort, service_ports};
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use std::net::Ipv4Addr;
use std::sync::Arc;

/// What was decided for one service port; renderers of other formats start from here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortPlan {
    /// The port.
    pub service: ServicePort,
    /// All endpoints, usable or not.
    pub endpoints: Vec<Endpoint>,
    /// The usable ones, by policy.
    pub categorized: Categorized,
}

impl PortPlan {
    /// Endpoints of traffic to the cluster IP.
    pub fn internal(&self) -> &[Endpoint] {
        if self.service.internal_policy_local { &self.categorized.local } else { &self.categorized.cluster }
    }
    /// Endpoints of traffic from outside.
    pub fn external(&self) -> &[Endpoint] {
        if self.service.external_policy_local { &self.categorized.local } else { &self.categorized.cluster }
    }
    /// True if the chain for policy Cluster exists.
    pub fn uses_cluster_chain(&self) -> bool {
        !self.categorized.cluster.is_empty() && self.service.uses_cluster_endpoints()
    }
    /// True if the chain for policy Local exists.
    pub fn uses_local_chain(&self) -> bool {
        !self.categorized.local.is_empty() && self.service.uses_local_endpoints()
    }
    /// True if the chain for external traffic exists.
    pub fn uses_external_chain(&self) -> bool {
        self.categorized.any && self.service.externally_accessible()
    }
    /// True if source ranges guard the load balancer addresses.
    pub fn uses_firewall(&self) -> bool {
        !self.service.load_balancer_ips.is_empty() && !self.service.source_ranges.is_empty()
    }
    /// Sources let through to the load balancer addresses.
    pub fn firewall_sources(&self, node: &Node) -> Vec<crate::Cidr> {
        let mut sources = self.service.source_ranges.clone();
        if sources.iter().any(|c| c.contains(node.ip)) {
            // A node that speaks to the address does so with the address itself as source.
            sources.extend(
                self.service.load_balancer_ips.iter().map(|ip| crate::Cidr { address: *ip, prefix: 32 }),
            );
        }
        sources
    }
}

/// A Service's part of a node's program.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ServiceProgram {
    /// Decisions, one a port.
    pub ports: Vec<PortPlan>,
    /// Chains.
    pub chains: Vec<Arc<Chain>>,
    /// Elements of the frame's sets and maps.
    pub elements: Vec<Arc<Element>>,
    /// Sets that remember clients.
    pub affinity_sets: Vec<AffinitySet>,
    /// `spec.healthCheckNodePort`, 0 if none.
    pub health_check_node_port: u16,
    /// Ready endpoints on this node.
    pub local_ready: usize,
}

/// Build a Service's part for a node from the Service and its slices.
pub fn build_service<'a>(
    service: &Service,
    slices: impl IntoIterator<Item = &'a EndpointSlice> + Clone,
    node: &Node,
) -> ServiceProgram {
    let mut out = ServiceProgram::default();
    for port in service_ports(service) {
        let endpoints = endpoints_of(&port.name.port, port.protocol, slices.clone());
        let categorized = categorize(&endpoints, &port, node);
        out.health_check_node_port = port.health_check_node_port;
        out.local_ready = out.local_ready.max(local_ready_count(&endpoints, node));
        let plan = PortPlan { service: port, endpoints, categorized };
        Builder { plan: &plan, node, out: &mut out }.build();
        out.ports.push(plan);
    }
    out
}

struct Builder<'a> {
    plan: &'a PortPlan,
    node: &'a Node,
    out: &'a mut ServiceProgram,
}

impl Builder<'_> {
    fn source(&self, field: impl Into<String>) -> Arc<Source> {
        let service = &self.plan.service.name.service;
        Arc::new(Source {
            kind: "Service",
            namespace: service.namespace.clone(),
            name: service.name.clone(),
            field: field.into(),
        })
    }

    fn port_field(&self, member: &str) -> String {
        let name = &self.plan.service.name.port;
        if name.is_empty() {
            format!("spec.ports[0].{member}")
        } else {
            format!("spec.ports[{name}].{member}")
        }
    }

    fn endpoints_source(&self, endpoints: &[Endpoint]) -> Arc<Source> {
        let mut slices: Vec<&str> = endpoints.iter().map(|e| e.slice.as_str()).collect();
        slices.dedup();
        let service = &self.plan.service.name.service;
        Arc::new(Source {
            kind: "EndpointSlice",
            namespace: service.namespace.clone(),
            name: slices.join(","),
            field: "endpoints".into(),
        })
    }

    fn chain(&mut self, name: String, rules: Vec<Rule>) {
        self.out.chains.push(Arc::new(Chain { name, hook: None, comment: None, rules }));
    }

    fn element(&mut self, set: &'static str, key: ElementKey, verdict: Option<Statement>, field: String) {
        let blocked = set.starts_with("no-endpoint");
        let comment = blocked.then(|| self.plan.service.name.to_string());
        let source = self.source(field);
        self.out.elements.push(Arc::new(Element { set, key, verdict, comment, source }));
    }

    fn build(&mut self) {
        let plan = self.plan;
        let service = &plan.service;
        let base = nft_base(&service.name, service.protocol);
        let cluster_chain = format!("service-{base}");
        let local_chain = format!("local-{base}");
        let internal_chain = if service.internal_policy_local { &local_chain } else { &cluster_chain };
        let cluster_key = ElementKey::Service(service.cluster_ip, service.protocol, service.port);
        self.element("cluster-ips", ElementKey::Ip(service.cluster_ip), None, "spec.clusterIP".into());
        if plan.internal().is_empty() {
            self.element("no-endpoint-services", cluster_key, Some(self.blocked()), self.blocked_field());
        } else {
            let goto = Statement::Goto(internal_chain.clone());
            self.element(
                "service-ips",
                cluster_key,
                Some(goto),
                format!("spec.clusterIP, {}", self.port_field("port")),
            );
        }
        self.external_elements(&base);
        if plan.uses_local_chain() {
            self.endpoints_chain(local_chain, &plan.categorized.local);
        }
        if plan.uses_cluster_chain() {
            self.endpoints_chain(cluster_chain, &plan.categorized.cluster);
        }
        if plan.uses_external_chain() {
            self.external_chain(&base);
        }
        self.endpoint_chains();
        let hairpins: Vec<(Ipv4Addr, u16)> = plan
            .categorized
            .reachable
            .iter()
            .filter(|e| e.node == self.node.name)
            .map(|e| (e.ip, e.port))
            .collect();
        for (ip, port) in hairpins {
            self.element(
                "hairpin-connections",
                ElementKey::Hairpin(ip, service.protocol, port),
                None,
                "endpoints".into(),
            );
        }
    }

    /// Reject when nothing serves anywhere; drop when only this node has nothing.
    fn blocked(&self) -> Statement {
        if self.plan.categorized.any { Statement::Drop } else { Statement::Goto("reject-chain".into()) }
    }

    fn blocked_field(&self) -> String {
        if !self.plan.categorized.any {
            return "spec.selector".into();
        }
        if self.plan.service.internal_policy_local {
            "spec.internalTrafficPolicy"
        } else {
            "spec.externalTrafficPolicy"
        }
        .into()
    }

    fn external_elements(&mut self, base: &str) {
        let plan = self.plan;
        let service = &plan.service;
        let no_endpoints = plan.external().is_empty();
        let goto = Statement::Goto(format!("external-{base}"));
        let field_of = |builder: &Self, field: &str| format!("{field}, {}", builder.port_field("port"));
        let addresses = service
            .external_ips
            .iter()
            .map(|ip| (*ip, "spec.externalIPs"))
            .chain(service.load_balancer_ips.iter().map(|ip| (*ip, "status.loadBalancer.ingress[].ip")));
        for (ip, field) in addresses {
            let key = ElementKey::Service(ip, service.protocol, service.port);
            if plan.categorized.any {
                self.element("service-ips", key, Some(goto.clone()), field_of(self, field));
            }
            if no_endpoints {
                self.element("no-endpoint-services", key, Some(self.blocked()), self.blocked_field());
            }
        }
        if plan.uses_firewall() {
            let chain = format!("firewall-{base}");
            for ip in &service.load_balancer_ips {
                let key = ElementKey::Service(*ip, service.protocol, service.port);
                self.element(
                    "firewall-ips",
                    key,
                    Some(Statement::Goto(chain.clone())),
                    "spec.loadBalancerSourceRanges".into(),
                );
            }
            let mut sources = plan.firewall_sources(self.node);
            sources.sort();
            sources.dedup();
            let rule = Rule::new(vec![Match::SourceNotIn(sources)], Statement::Drop)
                .source(&self.source("spec.loadBalancerSourceRanges"));
            self.chain(chain, vec![rule]);
        }
        if service.node_port != 0 {
            let key = ElementKey::NodePort(service.protocol, service.node_port);
            if plan.categorized.any {
                self.element("service-nodeports", key, Some(goto), self.port_field("nodePort"));
            }
            if no_endpoints {
                self.element("no-endpoint-nodeports", key, Some(self.blocked()), self.blocked_field());
            }
        }
    }

    fn endpoints_chain(&mut self, name: String, endpoints: &[Endpoint]) {
        let source = self.endpoints_source(endpoints);
        let service = &self.plan.service;
        if service.affinity_seconds.is_none() {
            let targets = endpoints.iter().map(|e| (e.ip, e.port)).collect();
            let rule = Rule::new(vec![Match::Protocol(service.protocol)], Statement::DnatRandom(targets))
                .source(&source);
            return self.chain(name, vec![rule]);
        }
        let bases: Vec<String> = endpoints
            .iter()
            .map(|e| nft_endpoint_base(&service.name, service.protocol, e.ip, e.port))
            .collect();
        let affinity = self.source("spec.sessionAffinity");
        let mut rules: Vec<Rule> = bases
            .iter()
            .map(|base| {
                let remembered = Match::SourceRemembered(format!("affinity-{base}"));
                Rule::new(vec![remembered], Statement::Goto(format!("endpoint-{base}"))).source(&affinity)
            })
            .collect();
        let chains = bases.iter().map(|base| format!("endpoint-{base}")).collect();
        rules.push(Rule::new(vec![], Statement::GotoRandom(chains)).source(&source));
        self.chain(name, rules);
    }

    fn external_chain(&mut self, base: &str) {
        let cluster_chain = format!("service-{base}");
        let policy = self.source("spec.externalTrafficPolicy");
        let mut rules = Vec::new();
        if self.plan.service.external_policy_local {
            let goto = || Statement::Goto(cluster_chain.clone());
            rules.push(
                Rule::new(vec![Match::Source(self.node.cluster_cidr)], goto())
                    .comment("short-circuit pod traffic"),
            );
            rules.push(
                Rule::new(vec![Match::SourceLocal], Statement::Mark).comment("masquerade local traffic"),
            );
            rules.push(Rule::new(vec![Match::SourceLocal], goto()).comment("short-circuit local traffic"));
        } else {
            rules.push(Rule::new(vec![], Statement::Mark).comment("masquerade"));
        }
        if !self.plan.external().is_empty() {
            let target =
                if self.plan.service.external_policy_local { format!("local-{base}") } else { cluster_chain };
            rules.push(Rule::new(vec![], Statement::Goto(target)));
        }
        let rules = rules.into_iter().map(|r| r.source(&policy)).collect();
        self.chain(format!("external-{base}"), rules);
    }

    fn endpoint_chains(&mut self) {
        let plan = self.plan;
        let Some(seconds) = plan.service.affinity_seconds else { return };
        let affinity = self.source("spec.sessionAffinity");
        for endpoint in &plan.categorized.reachable {
            let base =
                nft_endpoint_base(&plan.service.name, plan.service.protocol, endpoint.ip, endpoint.port);
            let set = format!("affinity-{base}");
            let dnat = Statement::Dnat(endpoint.ip, endpoint.port);
            let source = self.endpoints_source(std::slice::from_ref(endpoint));
            self.chain(
                format!("endpoint-{base}"),
                vec![
                    Rule::new(vec![], Statement::Remember(set.clone())).source(&affinity),
                    Rule::new(vec![Match::Protocol(plan.service.protocol)], dnat).source(&source),
                ],
            );
            self.out.affinity_sets.push(AffinitySet { name: set, seconds });
        }
    }
}
