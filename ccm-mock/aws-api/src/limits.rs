//! Quotas and default attribute sets, as AWS documents them.
//!
//! Enforcement is `fake-aws`.

use crate::elbv2::{Attributes, LoadBalancerType, Protocol};

/// Application or network load balancers in a region.
pub const LOAD_BALANCERS: usize = 50;
/// Target groups in a region.
pub const TARGET_GROUPS: usize = 3000;
/// Listeners of a load balancer.
pub const LISTENERS: usize = 50;
/// Rules of an ALB, default rules excluded.
pub const RULES: usize = 100;
/// Certificates of an ALB, default ones excluded.
pub const CERTIFICATES: usize = 25;
/// Target groups of an ALB.
pub const TARGET_GROUPS_PER_LOAD_BALANCER: usize = 100;
/// Target groups of one forward action.
pub const TARGET_GROUPS_PER_ACTION: usize = 5;
/// Targets of a target group.
pub const TARGETS_PER_TARGET_GROUP: usize = 1000;
/// Condition values of a rule.
pub const CONDITION_VALUES: usize = 5;
/// Characters of a condition's value.
pub const CONDITION_VALUE_LENGTH: usize = 128;
/// Characters of a header's name or a method in a condition.
pub const CONDITION_NAME_LENGTH: usize = 40;
/// Characters of host, path or query of a redirect.
pub const REDIRECT_LENGTH: usize = 128;
/// Bytes of a fixed response's body.
pub const MESSAGE_BODY_LENGTH: usize = 1024;
/// Highest weight of a target group in a forward.
pub const MAX_WEIGHT: u32 = 999;
/// Longest stickiness in seconds: seven days.
pub const MAX_STICKINESS_S: u32 = 604_800;
/// Wildcards in the condition values of a rule.
pub const CONDITION_WILDCARDS: usize = 6;
/// Security groups of a load balancer.
pub const SECURITY_GROUPS: usize = 5;
/// Tags of a resource.
pub const TAGS: usize = 50;
/// Highest rule priority.
pub const MAX_PRIORITY: u32 = 50_000;
/// Rules of a security group.
pub const RULES_PER_SECURITY_GROUP: usize = 60;
/// Longest name of a load balancer or target group.
pub const NAME_LENGTH: usize = 32;

const ALB: &[(&str, &str)] = &[
    ("access_logs.s3.bucket", ""),
    ("access_logs.s3.enabled", "false"),
    ("access_logs.s3.prefix", ""),
    ("client_keep_alive.seconds", "3600"),
    ("connection_logs.s3.bucket", ""),
    ("connection_logs.s3.enabled", "false"),
    ("connection_logs.s3.prefix", ""),
    ("deletion_protection.enabled", "false"),
    ("health_check_logs.s3.bucket", ""),
    ("health_check_logs.s3.enabled", "false"),
    ("health_check_logs.s3.prefix", ""),
    ("idle_timeout.timeout_seconds", "60"),
    ("ipv6.deny_all_igw_traffic", "false"),
    ("load_balancing.cross_zone.enabled", "true"),
    ("routing.http.desync_mitigation_mode", "defensive"),
    ("routing.http.drop_invalid_header_fields.enabled", "false"),
    ("routing.http.preserve_host_header.enabled", "false"),
    ("routing.http.x_amzn_tls_version_and_cipher_suite.enabled", "false"),
    ("routing.http.xff_client_port.enabled", "false"),
    ("routing.http.xff_header_processing.mode", "append"),
    ("routing.http2.enabled", "true"),
    ("waf.fail_open.enabled", "false"),
    ("zonal_shift.config.enabled", "false"),
];

const NLB: &[(&str, &str)] = &[
    ("access_logs.s3.bucket", ""),
    ("access_logs.s3.enabled", "false"),
    ("access_logs.s3.prefix", ""),
    ("deletion_protection.enabled", "false"),
    ("dns_record.client_routing_policy", "any_availability_zone"),
    ("ipv6.deny_all_igw_traffic", "false"),
    ("load_balancing.cross_zone.enabled", "false"),
    ("secondary_ips.auto_assigned.per_subnet", "0"),
    ("zonal_shift.config.enabled", "false"),
];

const TARGET_GROUP: &[(&str, &str)] = &[
    ("deregistration_delay.timeout_seconds", "300"),
    ("load_balancing.cross_zone.enabled", "use_load_balancer_configuration"),
    ("stickiness.enabled", "false"),
    ("target_group_health.dns_failover.minimum_healthy_targets.count", "1"),
    ("target_group_health.dns_failover.minimum_healthy_targets.percentage", "off"),
    ("target_group_health.unhealthy_state_routing.minimum_healthy_targets.count", "1"),
    ("target_group_health.unhealthy_state_routing.minimum_healthy_targets.percentage", "off"),
];

const TARGET_GROUP_HTTP: &[(&str, &str)] = &[
    ("load_balancing.algorithm.anomaly_mitigation", "off"),
    ("load_balancing.algorithm.type", "round_robin"),
    ("slow_start.duration_seconds", "0"),
    ("stickiness.app_cookie.cookie_name", ""),
    ("stickiness.app_cookie.duration_seconds", "86400"),
    ("stickiness.lb_cookie.duration_seconds", "86400"),
    ("stickiness.type", "lb_cookie"),
];

const TARGET_GROUP_TCP: &[(&str, &str)] = &[
    ("deregistration_delay.connection_termination.enabled", "false"),
    ("preserve_client_ip.enabled", "true"),
    ("proxy_protocol_v2.enabled", "false"),
    ("stickiness.type", "source_ip"),
    ("target_health_state.unhealthy.connection_termination.enabled", "true"),
    ("target_health_state.unhealthy.draining_interval_seconds", "0"),
];

const LISTENER_ALB: &[(&str, &str)] = &[("routing.http.response.server.enabled", "true")];
const LISTENER_NLB: &[(&str, &str)] = &[("tcp.idle_timeout.seconds", "350")];

/// Values an attribute can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttributeRange {
    /// One of these.
    OneOf(&'static [&'static str]),
    /// A number from and up to, both included.
    Numbers(u32, u32),
    /// The same, or 0, which switches it off.
    ZeroOr(u32, u32),
}

impl AttributeRange {
    /// True if it is one of them.
    pub fn contains(&self, value: &str) -> bool {
        match self {
            Self::OneOf(all) => all.contains(&value),
            Self::Numbers(low, high) => value.parse::<u32>().is_ok_and(|n| (*low..=*high).contains(&n)),
            Self::ZeroOr(low, high) => value == "0" || Self::Numbers(*low, *high).contains(value),
        }
    }
}

impl std::fmt::Display for AttributeRange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::OneOf(all) => write!(f, "one of {}", all.join(", ")),
            Self::Numbers(low, high) => write!(f, "a number from {low} to {high}"),
            Self::ZeroOr(low, high) => write!(f, "0 or a number from {low} to {high}"),
        }
    }
}

/// What the value of an attribute has to be; none where any text will do.
pub fn attribute_range(key: &str) -> Option<AttributeRange> {
    use AttributeRange::{Numbers, OneOf, ZeroOr};
    Some(match key {
        "load_balancing.algorithm.type" => {
            OneOf(&["round_robin", "least_outstanding_requests", "weighted_random"])
        }
        "load_balancing.cross_zone.enabled" => OneOf(&["true", "false", "use_load_balancer_configuration"]),
        "load_balancing.algorithm.anomaly_mitigation" => OneOf(&["on", "off"]),
        "stickiness.type" => {
            OneOf(&["lb_cookie", "app_cookie", "source_ip", "source_ip_dest_ip", "source_ip_dest_ip_proto"])
        }
        "deregistration_delay.timeout_seconds" => Numbers(0, 3600),
        "slow_start.duration_seconds" => ZeroOr(30, 900),
        "stickiness.lb_cookie.duration_seconds" | "stickiness.app_cookie.duration_seconds" => {
            Numbers(1, MAX_STICKINESS_S)
        }
        "idle_timeout.timeout_seconds" => Numbers(1, 4000),
        "client_keep_alive.seconds" => Numbers(60, 604_800),
        "tcp.idle_timeout.seconds" => Numbers(60, 6000),
        "routing.http.desync_mitigation_mode" => OneOf(&["monitor", "defensive", "strictest"]),
        "routing.http.xff_header_processing.mode" => OneOf(&["append", "preserve", "remove"]),
        key if key.ends_with(".enabled") => OneOf(&["true", "false"]),
        _ => return None,
    })
}

fn map(tables: &[&[(&str, &str)]]) -> Attributes {
    tables.iter().flat_map(|t| t.iter()).map(|(k, v)| (k.to_string(), v.to_string())).collect()
}

/// The attribute set of a new load balancer.
pub fn load_balancer_attributes(kind: LoadBalancerType) -> Attributes {
    match kind {
        LoadBalancerType::Application => map(&[ALB]),
        LoadBalancerType::Network => map(&[NLB]),
    }
}

/// The attribute set of a new target group.
pub fn target_group_attributes(protocol: Protocol) -> Attributes {
    match protocol {
        Protocol::Http | Protocol::Https => map(&[TARGET_GROUP, TARGET_GROUP_HTTP]),
        _ => map(&[TARGET_GROUP, TARGET_GROUP_TCP]),
    }
}

/// The attribute set of a new listener.
pub fn listener_attributes(kind: LoadBalancerType) -> Attributes {
    match kind {
        LoadBalancerType::Application => map(&[LISTENER_ALB]),
        LoadBalancerType::Network => map(&[LISTENER_NLB]),
    }
}
