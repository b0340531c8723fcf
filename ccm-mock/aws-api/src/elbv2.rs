//! Elastic Load Balancing v2's nouns with AWS's member names.
//!
//! Attributes are kept as the map AWS returns; trust stores and capacity reservations are not modelled.

use crate::Tag;
use crate::text_enum::text_enum;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

pub use crate::action::*;

/// Attribute keys to values, as AWS lists them: always the whole set, always strings.
pub type Attributes = BTreeMap<String, String>;

text_enum! {
    /// Who can reach a load balancer.
    Scheme { InternetFacing = "internet-facing", Internal = "internal" }
}
text_enum! {
    /// Kind of load balancer.
    LoadBalancerType { Application = "application", Network = "network" }
}
text_enum! {
    /// Life of a load balancer.
    LoadBalancerState { Provisioning = "provisioning", Active = "active", ActiveImpaired = "active_impaired", Failed = "failed" }
}
text_enum! {
    /// Protocol of a listener, target group or health check.
    Protocol { Http = "HTTP", Https = "HTTPS", Tcp = "TCP", Tls = "TLS", Udp = "UDP", TcpUdp = "TCP_UDP" }
}
text_enum! {
    /// What a target's id means.
    TargetType { Instance = "instance", Ip = "ip" }
}
text_enum! {
    /// HTTP version between load balancer and target.
    ProtocolVersion { Http1 = "HTTP1", Http2 = "HTTP2", Grpc = "GRPC" }
}
text_enum! {
    /// Health of one target.
    HealthState {
        Initial = "initial", Healthy = "healthy", Unhealthy = "unhealthy", Unused = "unused",
        Draining = "draining", Unavailable = "unavailable",
    }
}
text_enum! {
    /// What an action does.
    ActionType { Forward = "forward", Redirect = "redirect", FixedResponse = "fixed-response" }
}

/// A load balancer with its attributes, and the addresses it has in each zone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LoadBalancer {
    pub load_balancer_arn: String,
    pub load_balancer_name: String,
    pub dns_name: String,
    pub canonical_hosted_zone_id: String,
    pub scheme: Scheme,
    pub r#type: LoadBalancerType,
    pub ip_address_type: String,
    pub vpc_id: String,
    #[serde(default)]
    pub availability_zones: Vec<AvailabilityZone>,
    #[serde(default)]
    pub security_groups: Vec<String>,
    pub state: LoadBalancerState,
    pub created_time: String,
    #[serde(default)]
    pub attributes: Attributes,
    /// Where the listeners really accept connections on this machine.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub endpoints: Vec<Endpoint>,
    #[serde(default)]
    pub tags: Vec<Tag>,
}

/// A zone a load balancer stands in.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AvailabilityZone {
    pub zone_name: String,
    pub subnet_id: String,
    pub load_balancer_addresses: Vec<LoadBalancerAddress>,
}

/// The addresses of a load balancer in one zone.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LoadBalancerAddress {
    /// The address clients use: a loopback address, so it works on this machine as it is.
    pub ip_address: String,
    /// The address of the interface in the subnet.
    #[serde(rename = "privateIPv4Address")]
    pub private_ipv4_address: String,
    pub network_interface_id: String,
}

/// A virtual `address:port` and the socket that stands for it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Endpoint {
    /// `127.66.a.b:port`, what DNS and the listener say.
    pub address: String,
    /// The same, or `127.0.0.1:free port` where the machine does not allow it.
    pub bound: String,
}

/// A port that a load balancer accepts connections on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Listener {
    pub listener_arn: String,
    pub load_balancer_arn: String,
    pub port: u16,
    pub protocol: Protocol,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ssl_policy: Option<String>,
    /// The first is the default one; the rest are chosen by server name.
    #[serde(default)]
    pub certificates: Vec<Certificate>,
    pub default_actions: Vec<Action>,
    #[serde(default)]
    pub attributes: Attributes,
    #[serde(default)]
    pub tags: Vec<Tag>,
}

/// A certificate on a listener.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Certificate {
    pub certificate_arn: String,
    pub is_default: bool,
}

/// A rule of a listener. The default rule has priority `default` and no conditions.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Rule {
    pub rule_arn: String,
    pub listener_arn: String,
    /// The listener's port: beyond AWS, so that a table of rules can be read.
    pub listener_port: u16,
    /// `1`..`50000`, or `default`.
    pub priority: String,
    pub conditions: Vec<RuleCondition>,
    pub actions: Vec<Action>,
    pub is_default: bool,
    pub tags: Vec<Tag>,
}

impl Rule {
    /// The number to order by; the default rule comes last.
    pub fn order(&self) -> u32 {
        self.priority.parse().unwrap_or(u32::MAX)
    }
}

/// One condition of a rule. Exactly the config that `field` names is set.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RuleCondition {
    /// `host-header`, `path-pattern`, `http-header`, `http-request-method`, `query-string` or `source-ip`.
    pub field: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host_header_config: Option<Values>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path_pattern_config: Option<Values>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http_header_config: Option<HttpHeaderConfig>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http_request_method_config: Option<Values>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub query_string_config: Option<QueryStringConfig>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_ip_config: Option<Values>,
}

impl RuleCondition {
    /// A host-header condition over these globs.
    pub fn host_header(values: Vec<String>) -> Self {
        RuleCondition {
            field: "host-header".into(),
            host_header_config: Some(Values::of(values)),
            ..Default::default()
        }
    }
    /// A path-pattern condition over these globs.
    pub fn path_pattern(values: Vec<String>) -> Self {
        RuleCondition {
            field: "path-pattern".into(),
            path_pattern_config: Some(Values::of(values)),
            ..Default::default()
        }
    }
    /// A source-ip condition over these CIDRs.
    pub fn source_ip(values: Vec<String>) -> Self {
        RuleCondition {
            field: "source-ip".into(),
            source_ip_config: Some(Values::of(values)),
            ..Default::default()
        }
    }
    /// A method condition.
    pub fn http_request_method(values: Vec<String>) -> Self {
        RuleCondition {
            field: "http-request-method".into(),
            http_request_method_config: Some(Values::of(values)),
            ..Default::default()
        }
    }

    /// How many values count against the quota of a rule.
    pub fn value_count(&self) -> usize {
        let values = |v: &Option<Values>| v.as_ref().map_or(0, |v| v.values.len() + v.regex_values.len());
        values(&self.host_header_config)
            + values(&self.path_pattern_config)
            + values(&self.http_request_method_config)
            + values(&self.source_ip_config)
            + self.http_header_config.as_ref().map_or(0, |c| c.values.len() + c.regex_values.len())
            + self.query_string_config.as_ref().map_or(0, |c| c.values.len())
    }

    /// `Host shop.example.com`, `Path /cart or /cart/*`, … for tables and traces.
    pub fn summary(&self) -> String {
        let or = |v: &Values| {
            let all: Vec<String> =
                v.values.iter().cloned().chain(v.regex_values.iter().map(|r| format!("~{r}"))).collect();
            all.join(" or ")
        };
        if let Some(v) = &self.host_header_config {
            return format!("Host {}", or(v));
        }
        if let Some(v) = &self.path_pattern_config {
            return format!("Path {}", or(v));
        }
        if let Some(v) = &self.http_request_method_config {
            return format!("Method {}", or(v));
        }
        if let Some(v) = &self.source_ip_config {
            return format!("Source {}", or(v));
        }
        if let Some(c) = &self.http_header_config {
            return format!("Header {}: {}", c.http_header_name, c.values.join(" or "));
        }
        if let Some(c) = &self.query_string_config {
            let pairs: Vec<String> = c
                .values
                .iter()
                .map(|p| match &p.key {
                    Some(key) => format!("{key}={}", p.value),
                    None => p.value.clone(),
                })
                .collect();
            return format!("Query {}", pairs.join(" or "));
        }
        self.field.clone()
    }
}

/// Values of a condition; any one is enough.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Values {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub regex_values: Vec<String>,
}

impl Values {
    /// Plain values without regular expressions.
    pub fn of(values: Vec<String>) -> Self {
        Values { values, regex_values: Vec::new() }
    }
}

/// An http-header condition.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HttpHeaderConfig {
    pub http_header_name: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub regex_values: Vec<String>,
}

/// A query-string condition.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct QueryStringConfig {
    pub values: Vec<QueryStringKeyValuePair>,
}

/// A pair to find in the query; without key, the value may stand under any key.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct QueryStringKeyValuePair {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    pub value: String,
}

/// Targets and how to speak to them and check them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TargetGroup {
    pub target_group_arn: String,
    pub target_group_name: String,
    pub protocol: Protocol,
    pub port: u16,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol_version: Option<ProtocolVersion>,
    pub target_type: TargetType,
    pub vpc_id: String,
    #[serde(default)]
    pub ip_address_type: String,
    pub health_check: HealthCheck,
    /// Load balancers whose listeners or rules name it.
    #[serde(default)]
    pub load_balancer_arns: Vec<String>,
    #[serde(default)]
    pub targets: Vec<TargetHealthDescription>,
    #[serde(default)]
    pub attributes: Attributes,
    #[serde(default)]
    pub tags: Vec<Tag>,
}

/// How a target group's targets are checked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HealthCheck {
    pub enabled: bool,
    pub protocol: Protocol,
    /// `traffic-port` or a number.
    pub port: String,
    #[serde(default)]
    pub path: String,
    pub interval_seconds: u32,
    pub timeout_seconds: u32,
    pub healthy_threshold_count: u32,
    pub unhealthy_threshold_count: u32,
    /// `200`, `200-299`, `200,301`; empty for TCP.
    #[serde(default)]
    pub matcher: String,
}

/// A target by identity: the same id on two ports is two targets.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TargetDescription {
    /// Instance id or address.
    pub id: String,
    /// The target group's port if not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub availability_zone: Option<String>,
}

impl TargetDescription {
    /// A target of this id and port.
    pub fn new(id: impl Into<String>, port: u16) -> Self {
        TargetDescription { id: id.into(), port: Some(port), availability_zone: None }
    }
}

/// A registered target and its health.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TargetHealthDescription {
    pub id: String,
    pub port: u16,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub availability_zone: Option<String>,
    pub state: HealthState,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// While draining: when the delay ends, in milliseconds since the epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub draining_until_ms: Option<u64>,
}

impl TargetHealthDescription {
    /// True if it is the target of this id and port.
    pub fn is(&self, id: &str, port: u16) -> bool {
        self.id == id && self.port == port
    }
}
