//! The plan: what a group wants of the cloud. It can be printed, compared and read back.
//!
//! ARNs are not in it: an action names a target group of the plan by its resource id (`ns/ing-svc:port`).

use crate::origin::Origin;
use ccm_mock_aws_api::elbv2::{
    Action, Attributes, HealthCheck, Protocol, ProtocolVersion, RuleCondition, Scheme, TargetType,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Tag that names the cluster.
pub const CLUSTER_TAG: &str = "elbv2.k8s.aws/cluster";
/// Tag that names the group.
pub const STACK_TAG: &str = "ingress.k8s.aws/stack";
/// Tag that names the resource within the group.
pub const RESOURCE_TAG: &str = "ingress.k8s.aws/resource";

/// Tags of a resource.
pub type Tags = BTreeMap<String, String>;

/// Everything a group wants. Without load balancer it wants nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Plan {
    /// Name of the cluster.
    pub cluster: String,
    /// The group.
    pub stack: String,
    /// The managed security group; none if groups are given by annotation.
    pub security_group: Option<SecurityGroupPlan>,
    /// Target groups in the order rules name them.
    pub target_groups: Vec<TargetGroupPlan>,
    /// The load balancer.
    pub load_balancer: Option<LoadBalancerPlan>,
    /// Listeners in order of port.
    pub listeners: Vec<ListenerPlan>,
}

impl Plan {
    /// The plan of a group without members: nothing.
    pub fn empty(cluster: impl Into<String>, stack: impl Into<String>) -> Self {
        Plan { cluster: cluster.into(), stack: stack.into(), ..Default::default() }
    }
}

/// A security group in front of the load balancer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SecurityGroupPlan {
    /// Name.
    pub name: String,
    /// Ports let in.
    pub ports: Vec<u16>,
    /// From where.
    pub cidrs: Vec<String>,
    /// Tags.
    pub tags: Tags,
}

/// The load balancer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LoadBalancerPlan {
    /// Name.
    pub name: String,
    /// Who can reach it.
    pub scheme: Scheme,
    /// `ipv4` or `dualstack`.
    pub ip_address_type: String,
    /// One per zone.
    pub subnets: Vec<String>,
    /// Groups given by annotation; empty if the managed one is used.
    pub security_groups: Vec<String>,
    /// Attributes that were asked for; others stay as they are.
    pub attributes: Attributes,
    /// Tags.
    pub tags: Tags,
    /// Where its values were written.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub origins: Vec<Origin>,
}

/// A target group and the Service port its targets come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TargetGroupPlan {
    /// `ns/ing-svc:port`.
    pub resource: String,
    /// Name.
    pub name: String,
    /// Namespace of the Service.
    pub namespace: String,
    /// Name of the Service.
    pub service: String,
    /// Name or number of the Service's port.
    pub service_port: String,
    /// What targets are.
    pub target_type: TargetType,
    /// Protocol to the targets.
    pub protocol: Protocol,
    /// HTTP version to the targets.
    pub protocol_version: ProtocolVersion,
    /// Port of the group.
    pub port: u16,
    /// How targets are checked.
    pub health_check: HealthCheck,
    /// Attributes that were asked for.
    pub attributes: Attributes,
    /// Tags.
    pub tags: Tags,
    /// Where its values were written.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub origins: Vec<Origin>,
}

/// A listener with its rules.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ListenerPlan {
    /// Port.
    pub port: u16,
    /// HTTP or HTTPS.
    pub protocol: Protocol,
    /// Policy of HTTPS.
    pub ssl_policy: Option<String>,
    /// ARNs; the first is the default.
    pub certificates: Vec<String>,
    /// What happens when no rule matches.
    pub default_actions: Vec<Action>,
    /// Rules in order of priority.
    pub rules: Vec<RulePlan>,
    /// Attributes that were asked for.
    pub attributes: Attributes,
    /// Tags.
    pub tags: Tags,
    /// Where its values were written.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub origins: Vec<Origin>,
}

/// A rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RulePlan {
    /// 1..N.
    pub priority: u32,
    /// All must hold.
    pub conditions: Vec<RuleCondition>,
    /// What is done.
    pub actions: Vec<Action>,
    /// Tags.
    pub tags: Tags,
    /// Where its values were written.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub origins: Vec<Origin>,
}
