//! The fixed frame: sets, maps, hooks and helper chains that are there with no Service at all.
//!
//! Names, comments and order are upstream kube-proxy's.

use crate::Node;
use crate::rule::{Chain, Hook, Match, Rule, Statement};

/// A named set or map of the frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SetDecl {
    /// Name.
    pub name: &'static str,
    /// True for a verdict map.
    pub map: bool,
    /// Key type.
    pub key: &'static str,
    /// Comment.
    pub comment: &'static str,
}

const TUPLE: &str = "ipv4_addr . inet_proto . inet_service";

/// Sets and maps in order of creation.
pub const SETS: &[SetDecl] = &[
    SetDecl {
        name: "hairpin-connections",
        map: false,
        key: "ipv4_addr . ipv4_addr . inet_proto . inet_service",
        comment: "service hairpin connections",
    },
    SetDecl { name: "cluster-ips", map: false, key: "ipv4_addr", comment: "Active ClusterIPs" },
    SetDecl {
        name: "nodeport-ips",
        map: false,
        key: "ipv4_addr",
        comment: "IPs that accept NodePort traffic",
    },
    SetDecl {
        name: "no-endpoint-services",
        map: true,
        key: TUPLE,
        comment: "vmap to drop or reject packets to services with no endpoints",
    },
    SetDecl {
        name: "no-endpoint-nodeports",
        map: true,
        key: "inet_proto . inet_service",
        comment: "vmap to drop or reject packets to service nodeports with no endpoints",
    },
    SetDecl {
        name: "firewall-ips",
        map: true,
        key: TUPLE,
        comment: "destinations that are subject to LoadBalancerSourceRanges",
    },
    SetDecl {
        name: "service-ips",
        map: true,
        key: TUPLE,
        comment: "ClusterIP, ExternalIP and LoadBalancer IP traffic",
    },
    SetDecl {
        name: "service-nodeports",
        map: true,
        key: "inet_proto . inet_service",
        comment: "NodePort traffic",
    },
];

/// Names of the frame's chains in order of creation.
pub const CHAINS: &[&str] = &[
    "filter-prerouting-pre-dnat",
    "filter-output-pre-dnat",
    "filter-input",
    "filter-forward",
    "filter-output",
    "nat-prerouting",
    "nat-output",
    "nat-postrouting",
    "nodeport-endpoints-check",
    "service-endpoints-check",
    "firewall-check",
    "services",
    "masquerading",
    "cluster-ips-check",
    "reject-chain",
];

fn hooked(
    name: &str,
    r#type: &'static str,
    hook: &'static str,
    priority: &'static str,
    jumps: &[&str],
) -> Chain {
    let matches = || if r#type == "filter" { vec![Match::StateNew] } else { Vec::new() };
    Chain {
        name: name.into(),
        hook: Some(Hook { r#type, hook, priority }),
        comment: None,
        rules: jumps.iter().map(|j| Rule::new(matches(), Statement::Jump((*j).into()))).collect(),
    }
}

fn plain(name: &str, rules: Vec<Rule>) -> Chain {
    Chain { name: name.into(), hook: None, comment: None, rules }
}

/// The frame's chains for a node, in order of [`CHAINS`].
pub(crate) fn chains(node: &Node) -> Vec<Chain> {
    use Match::*;
    use Statement::*;
    vec![
        hooked("filter-prerouting-pre-dnat", "filter", "prerouting", "dstnat - 10", &["firewall-check"]),
        hooked("filter-output-pre-dnat", "filter", "output", "-110", &["firewall-check"]),
        hooked(
            "filter-input",
            "filter",
            "input",
            "filter",
            &["nodeport-endpoints-check", "service-endpoints-check"],
        ),
        hooked(
            "filter-forward",
            "filter",
            "forward",
            "filter",
            &["service-endpoints-check", "cluster-ips-check"],
        ),
        hooked(
            "filter-output",
            "filter",
            "output",
            "filter",
            &["service-endpoints-check", "cluster-ips-check"],
        ),
        hooked("nat-prerouting", "nat", "prerouting", "dstnat", &["services"]),
        hooked("nat-output", "nat", "output", "-100", &["services"]),
        hooked("nat-postrouting", "nat", "postrouting", "srcnat", &["masquerading"]),
        plain(
            "nodeport-endpoints-check",
            vec![Rule::new(vec![DestinationIn("nodeport-ips")], NodePortMap("no-endpoint-nodeports"))],
        ),
        plain("service-endpoints-check", vec![Rule::new(vec![], ServiceMap("no-endpoint-services"))]),
        plain("firewall-check", vec![Rule::new(vec![], ServiceMap("firewall-ips"))]),
        plain(
            "services",
            vec![
                Rule::new(vec![DestinationIn("cluster-ips"), SourceNot(node.cluster_cidr)], Mark)
                    .comment("masquerade clusterIP traffic from outside cluster"),
                Rule::new(vec![], ServiceMap("service-ips")),
                Rule::new(vec![DestinationIn("nodeport-ips")], NodePortMap("service-nodeports")),
            ],
        ),
        plain(
            "masquerading",
            vec![Rule::new(vec![Marked], MasqueradeMarked), Rule::new(vec![Hairpin], Masquerade)],
        ),
        plain(
            "cluster-ips-check",
            vec![
                Rule::new(vec![DestinationIn("cluster-ips")], Reject)
                    .comment("Reject traffic to invalid ports of ClusterIPs"),
                Rule::new(vec![Destination(node.service_cidr)], Drop)
                    .comment("Drop traffic to unallocated ClusterIPs"),
            ],
        ),
        Chain {
            comment: Some("helper for @no-endpoint-services / @no-endpoint-nodeports"),
            ..plain("reject-chain", vec![Rule::new(vec![], Reject)])
        },
    ]
}
