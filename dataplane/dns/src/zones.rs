//! Everything that can be asked, as plain data, and what an answer is.
//!
//! Nothing is computed here.

use crate::cluster::ClusterService;
use ccm_mock_aws_api::elbv2::{LoadBalancer, Scheme};
use ccm_mock_aws_api::route53::HostedZone;
use std::collections::BTreeMap;
use std::fmt;
use std::net::Ipv4Addr;

/// All zones at one moment.
#[derive(Debug, Clone, Default)]
pub struct Zones {
    /// Public and private hosted zones.
    pub hosted: Vec<HostedZone>,
    /// Load balancers by DNS name, lower case, without trailing dot.
    pub balancers: BTreeMap<String, Balancer>,
    /// Services by namespace and name.
    pub services: BTreeMap<(String, String), ClusterService>,
    /// The cluster's domain; `cluster.local` if empty.
    pub cluster_domain: String,
}

/// What the name of a load balancer leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Balancer {
    /// Name of the load balancer.
    pub name: String,
    /// Addresses that its name answers.
    pub addresses: Vec<Ipv4Addr>,
}

impl Zones {
    /// The cluster's domain.
    pub fn domain(&self) -> &str {
        if self.cluster_domain.is_empty() { "cluster.local" } else { &self.cluster_domain }
    }

    /// Put in the names of load balancers.
    pub fn set_balancers<'a>(&mut self, balancers: impl IntoIterator<Item = &'a LoadBalancer>) {
        self.balancers =
            balancers.into_iter().map(|b| (b.dns_name.to_ascii_lowercase(), Balancer::of(b))).collect();
    }
}

impl Balancer {
    /// Internal ones answer their interfaces' addresses, others their public ones.
    pub fn of(balancer: &LoadBalancer) -> Self {
        let all = balancer.availability_zones.iter().flat_map(|z| &z.load_balancer_addresses);
        let internal = balancer.scheme == Scheme::Internal;
        let addresses = all.filter_map(|a| {
            if internal { a.private_ipv4_address.parse() } else { a.ip_address.parse() }.ok()
        });
        Balancer { name: balancer.load_balancer_name.clone(), addresses: addresses.collect() }
    }
}

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum View {
    /// A client on the internet.
    Internet,
    /// A machine in the VPC: private zones and private names too.
    Vpc,
    /// A Pod of this namespace: the cluster's domain too, and search names.
    Cluster {
        /// The Pod's namespace.
        namespace: String,
    },
}

/// Types of records that are answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "UPPERCASE")]
#[allow(missing_docs)]
pub enum Type {
    A,
    Aaaa,
    Cname,
    Ns,
    Soa,
    Txt,
    Mx,
    Srv,
    Caa,
    /// Any other type: exists as a question only.
    Other,
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = format!("{self:?}").to_ascii_uppercase();
        f.pad(&text)
    }
}

/// A record of an answer, its data as in a zone file.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Record {
    /// Owner, with trailing dot.
    pub name: String,
    /// Type.
    pub r#type: Type,
    /// Seconds.
    pub ttl: u32,
    /// Data.
    pub data: String,
}

/// Outcome of a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub enum Code {
    /// The name exists (perhaps without records of the type).
    NoError,
    /// It does not exist.
    NxDomain,
    /// No zone here is about it.
    Refused,
}

/// Who said what on the way to an answer.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Step {
    /// Server.
    pub server: String,
    /// Name and type asked.
    pub question: String,
    /// What it said.
    pub answer: String,
    /// Seconds it may be kept.
    pub ttl: Option<u32>,
    /// Object and field behind it.
    pub source: Option<String>,
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Answer {
    /// Outcome.
    pub code: Code,
    /// Records, aliases followed.
    pub records: Vec<Record>,
    /// The SOA for negative answers.
    pub authority: Vec<Record>,
    /// How it came about.
    pub steps: Vec<Step>,
}

impl Answer {
    /// The IPv4 addresses in it.
    pub fn addresses(&self) -> Vec<Ipv4Addr> {
        self.records.iter().filter(|r| r.r#type == Type::A).filter_map(|r| r.data.parse().ok()).collect()
    }
}
