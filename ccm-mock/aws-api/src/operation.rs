//! Operations as typed values: `aws.send(CreateListener { .. }).await` answers what `CreateListener` answers.
//!
//! One table lists every operation with its answer. Nothing is executed here.

use crate::acm::Certificate;
use crate::ec2::*;
use crate::elbv2::{self, *};
use crate::route53::{Change, HostedZone, ResourceRecordSet};
use crate::{Error, Tag};
use std::future::Future;
use std::pin::Pin;

/// The future of a call.
pub type AwsFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, Error>> + Send + 'a>>;

/// Something that answers operations: the fake in this process, or a client of another one.
pub trait Aws: Send + Sync {
    /// Perform one operation.
    fn call(&self, operation: Operation) -> AwsFuture<'_, Answer>;
}

impl dyn Aws + '_ {
    /// Perform one operation and get its own answer type.
    pub async fn send<R: Request>(&self, request: R) -> Result<R::Answer, Error> {
        let answer = self.call(request.into()).await?;
        R::answer(answer)
            .ok_or_else(|| Error::new(crate::Code::InternalFailure, "answer of another operation"))
    }
}

/// A value that asks for one operation.
pub trait Request: Into<Operation> + Send {
    /// What a success answers.
    type Answer: Send;
    /// The answer of this operation, if it is one.
    fn answer(answer: Answer) -> Option<Self::Answer>;
}

macro_rules! operations {
    ($($name:ident -> $answer:ty;)+) => {
        /// Any operation.
        #[derive(Debug, Clone, PartialEq)]
        pub enum Operation { $(#[doc = stringify!($name)] $name($name)),+ }
        /// Any answer.
        #[derive(Debug, Clone, PartialEq)]
        pub enum Answer { $(#[doc = stringify!($name)] $name($answer)),+ }
        impl Operation {
            /// The operation's name as in an API call log.
            pub const fn name(&self) -> &'static str {
                match self { $(Operation::$name(_) => stringify!($name)),+ }
            }
        }
        $(
            impl From<$name> for Operation {
                fn from(value: $name) -> Self { Operation::$name(value) }
            }
            impl Request for $name {
                type Answer = $answer;
                fn answer(answer: Answer) -> Option<$answer> {
                    match answer { Answer::$name(value) => Some(value), _ => None }
                }
            }
        )+
    };
}

macro_rules! input {
    ($($(#[$meta:meta])* $name:ident { $($field:ident : $ty:ty),* $(,)? })+) => {
        $($(#[$meta])* #[derive(Debug, Clone, PartialEq, Default)]
        #[allow(missing_docs)]
        pub struct $name { $(pub $field: $ty),* })+
    };
}

operations! {
    DescribeVpcs -> Vec<Vpc>;
    DescribeSubnets -> Vec<Subnet>;
    DescribeAvailabilityZones -> Vec<crate::ec2::AvailabilityZone>;
    DescribeRouteTables -> Vec<RouteTable>;
    DescribeInternetGateways -> Vec<InternetGateway>;
    DescribeNatGateways -> Vec<NatGateway>;
    DescribeSecurityGroups -> Vec<SecurityGroup>;
    DescribeInstances -> Vec<Instance>;
    DescribeNetworkInterfaces -> Vec<NetworkInterface>;
    RunInstances -> Vec<Instance>;
    TerminateInstances -> ();
    CreateNetworkInterface -> NetworkInterface;
    AttachNetworkInterface -> NetworkInterface;
    DetachNetworkInterface -> ();
    DeleteNetworkInterface -> ();
    AssignPrivateIpAddresses -> Vec<String>;
    UnassignPrivateIpAddresses -> ();
    CreateSecurityGroup -> SecurityGroup;
    DeleteSecurityGroup -> ();
    AuthorizeSecurityGroupIngress -> ();
    RevokeSecurityGroupIngress -> ();
    CreateTags -> ();
    DeleteTags -> ();
    CreateLoadBalancer -> LoadBalancer;
    DescribeLoadBalancers -> Vec<LoadBalancer>;
    DeleteLoadBalancer -> ();
    ModifyLoadBalancerAttributes -> Attributes;
    SetSubnets -> LoadBalancer;
    SetSecurityGroups -> LoadBalancer;
    SetIpAddressType -> LoadBalancer;
    CreateTargetGroup -> TargetGroup;
    DescribeTargetGroups -> Vec<TargetGroup>;
    ModifyTargetGroup -> TargetGroup;
    ModifyTargetGroupAttributes -> Attributes;
    DeleteTargetGroup -> ();
    RegisterTargets -> ();
    DeregisterTargets -> ();
    DescribeTargetHealth -> Vec<TargetHealthDescription>;
    CreateListener -> Listener;
    DescribeListeners -> Vec<Listener>;
    ModifyListener -> Listener;
    ModifyListenerAttributes -> Attributes;
    DeleteListener -> ();
    AddListenerCertificates -> Vec<elbv2::Certificate>;
    RemoveListenerCertificates -> ();
    CreateRule -> Rule;
    DescribeRules -> Vec<Rule>;
    ModifyRule -> Rule;
    DeleteRule -> ();
    SetRulePriorities -> Vec<Rule>;
    AddTags -> ();
    RemoveTags -> ();
    CreateHostedZone -> HostedZone;
    ListHostedZones -> Vec<HostedZone>;
    DeleteHostedZone -> ();
    ChangeResourceRecordSets -> ();
    ListResourceRecordSets -> Vec<ResourceRecordSet>;
    RequestCertificate -> Certificate;
    ImportCertificate -> Certificate;
    ListCertificates -> Vec<Certificate>;
    DescribeCertificate -> Certificate;
    DeleteCertificate -> ();
}

input! {
    /// All VPCs, or those named.
    DescribeVpcs { vpc_ids: Vec<String> }
    /// All subnets, or those named, or those with all the tags (a value of None: any value).
    DescribeSubnets { subnet_ids: Vec<String>, vpc_id: Option<String>, tags: Vec<(String, Option<String>)> }
    /// The region's zones.
    DescribeAvailabilityZones { zone_names: Vec<String> }
    /// Route tables of a VPC.
    DescribeRouteTables { vpc_id: Option<String> }
    /// Internet gateways.
    DescribeInternetGateways {}
    /// NAT gateways.
    DescribeNatGateways {}
    /// Security groups by id, or by name or tags.
    DescribeSecurityGroups { group_ids: Vec<String>, group_name: Option<String>, tags: Vec<(String, Option<String>)> }
    /// Instances by id (terminated ones too while they are remembered), or by private DNS name or tags.
    DescribeInstances { instance_ids: Vec<String>, private_dns_names: Vec<String>, tags: Vec<(String, Option<String>)> }
    /// Interfaces by id, instance, address or description.
    DescribeNetworkInterfaces { network_interface_ids: Vec<String>, instance_id: Option<String>, private_ip_address: Option<String> }
    /// Start `count` machines in a subnet.
    RunInstances { instance_type: String, image_id: String, subnet_id: String, count: u32, security_group_ids: Vec<String>, tags: Vec<Tag> }
    /// Stop machines for good; their interfaces go too.
    TerminateInstances { instance_ids: Vec<String> }
    /// A new interface with a primary address and `secondary_private_ip_address_count` more.
    CreateNetworkInterface { subnet_id: String, description: String, groups: Vec<String>, secondary_private_ip_address_count: u32, tags: Vec<Tag> }
    /// Put an interface into an instance.
    AttachNetworkInterface { network_interface_id: String, instance_id: String, device_index: u32 }
    /// Take an interface out of its instance.
    DetachNetworkInterface { network_interface_id: String }
    /// Delete an interface that is not attached.
    DeleteNetworkInterface { network_interface_id: String }
    /// More addresses on an interface: those named, or `count` free ones.
    AssignPrivateIpAddresses { network_interface_id: String, private_ip_addresses: Vec<String>, secondary_private_ip_address_count: u32 }
    /// Fewer addresses on an interface.
    UnassignPrivateIpAddresses { network_interface_id: String, private_ip_addresses: Vec<String> }
    /// A new group with the default egress rule.
    CreateSecurityGroup { group_name: String, description: String, vpc_id: String, tags: Vec<Tag> }
    /// Delete a group that nothing uses.
    DeleteSecurityGroup { group_id: String }
    /// Let more in.
    AuthorizeSecurityGroupIngress { group_id: String, ip_permissions: Vec<IpPermission> }
    /// Let less in.
    RevokeSecurityGroupIngress { group_id: String, ip_permissions: Vec<IpPermission> }
    /// Tag EC2 resources.
    CreateTags { resources: Vec<String>, tags: Vec<Tag> }
    /// Untag EC2 resources.
    DeleteTags { resources: Vec<String>, tag_keys: Vec<String> }
    /// Load balancers by ARN or name; all if neither is given.
    DescribeLoadBalancers { load_balancer_arns: Vec<String>, names: Vec<String> }
    /// Delete a load balancer with its listeners and rules.
    DeleteLoadBalancer { load_balancer_arn: String }
    /// Change some attributes; answers all.
    ModifyLoadBalancerAttributes { load_balancer_arn: String, attributes: Attributes }
    /// Move to other subnets.
    SetSubnets { load_balancer_arn: String, subnets: Vec<String> }
    /// Replace the security groups.
    SetSecurityGroups { load_balancer_arn: String, security_groups: Vec<String> }
    /// ipv4 or dualstack.
    SetIpAddressType { load_balancer_arn: String, ip_address_type: String }
    /// Target groups by ARN, name or load balancer; all if none is given.
    DescribeTargetGroups { target_group_arns: Vec<String>, names: Vec<String>, load_balancer_arn: Option<String> }
    /// Change the health check; members that are None stay.
    ModifyTargetGroup {
        target_group_arn: String, health_check_enabled: Option<bool>, health_check_protocol: Option<Protocol>,
        health_check_port: Option<String>, health_check_path: Option<String>, health_check_interval_seconds: Option<u32>,
        health_check_timeout_seconds: Option<u32>, healthy_threshold_count: Option<u32>,
        unhealthy_threshold_count: Option<u32>, matcher: Option<String>,
    }
    /// Change some attributes; answers all.
    ModifyTargetGroupAttributes { target_group_arn: String, attributes: Attributes }
    /// Delete a target group that no listener or rule names.
    DeleteTargetGroup { target_group_arn: String }
    /// Put targets in; registering a draining one brings it back.
    RegisterTargets { target_group_arn: String, targets: Vec<TargetDescription> }
    /// Take targets out; they drain first.
    DeregisterTargets { target_group_arn: String, targets: Vec<TargetDescription> }
    /// Health of all targets or of those named.
    DescribeTargetHealth { target_group_arn: String, targets: Vec<TargetDescription> }
    /// Listeners of a load balancer, or by ARN.
    DescribeListeners { load_balancer_arn: Option<String>, listener_arns: Vec<String> }
    /// Change a listener; members that are None stay.
    ModifyListener {
        listener_arn: String, port: Option<u16>, protocol: Option<Protocol>, ssl_policy: Option<String>,
        certificates: Option<Vec<String>>, default_actions: Option<Vec<Action>>,
    }
    /// Change some attributes; answers all.
    ModifyListenerAttributes { listener_arn: String, attributes: Attributes }
    /// Delete a listener with its rules.
    DeleteListener { listener_arn: String }
    /// More certificates for SNI.
    AddListenerCertificates { listener_arn: String, certificates: Vec<String> }
    /// Fewer certificates for SNI.
    RemoveListenerCertificates { listener_arn: String, certificates: Vec<String> }
    /// A rule of an ALB's listener.
    CreateRule { listener_arn: String, priority: u32, conditions: Vec<RuleCondition>, actions: Vec<Action>, tags: Vec<Tag> }
    /// Rules of a listener in order of priority, or by ARN.
    DescribeRules { listener_arn: Option<String>, rule_arns: Vec<String> }
    /// Replace conditions or actions.
    ModifyRule { rule_arn: String, conditions: Option<Vec<RuleCondition>>, actions: Option<Vec<Action>> }
    /// Delete a rule that is not the default one.
    DeleteRule { rule_arn: String }
    /// Give rules new priorities, all at once.
    SetRulePriorities { rule_priorities: Vec<(String, u32)> }
    /// Tag ELBv2 resources by ARN.
    AddTags { resource_arns: Vec<String>, tags: Vec<Tag> }
    /// Untag ELBv2 resources.
    RemoveTags { resource_arns: Vec<String>, tag_keys: Vec<String> }
    /// A new public or private zone.
    CreateHostedZone { name: String, private_zone: bool, comment: String }
    /// All zones.
    ListHostedZones {}
    /// Delete a zone that has only its NS and SOA.
    DeleteHostedZone { id: String }
    /// All changes or none.
    ChangeResourceRecordSets { hosted_zone_id: String, changes: Vec<Change> }
    /// Records of a zone.
    ListResourceRecordSets { hosted_zone_id: String }
    /// A certificate from the fake's own CA; issued at once.
    RequestCertificate { domain_name: String, subject_alternative_names: Vec<String>, tags: Vec<Tag> }
    /// A certificate made elsewhere: PEM leaf, key and the rest of the chain.
    ImportCertificate { certificate: String, private_key: String, certificate_chain: String, tags: Vec<Tag> }
    /// All certificates.
    ListCertificates {}
    /// One certificate.
    DescribeCertificate { certificate_arn: String }
    /// Delete a certificate that no listener uses.
    DeleteCertificate { certificate_arn: String }
}

/// A new load balancer. Equal settings under the same name answer the existing one.
#[derive(Debug, Clone, PartialEq)]
pub struct CreateLoadBalancer {
    /// At most 32 letters, digits and `-`.
    pub name: String,
    /// Application or network.
    pub r#type: LoadBalancerType,
    /// Who can reach it.
    pub scheme: Scheme,
    /// One per zone.
    pub subnets: Vec<String>,
    /// Groups of its interfaces.
    pub security_groups: Vec<String>,
    /// `ipv4` or `dualstack`.
    pub ip_address_type: String,
    /// Tags.
    pub tags: Vec<Tag>,
}

/// A new target group. Equal settings under the same name answer the existing one.
#[derive(Debug, Clone, PartialEq)]
pub struct CreateTargetGroup {
    /// At most 32 letters, digits and `-`.
    pub name: String,
    /// Protocol to the targets.
    pub protocol: Protocol,
    /// Only with HTTP and HTTPS.
    pub protocol_version: Option<ProtocolVersion>,
    /// Port of targets that are registered without one.
    pub port: u16,
    /// The VPC of the targets.
    pub vpc_id: String,
    /// What a target's id means.
    pub target_type: TargetType,
    /// How targets are checked; see [`HealthCheck::default_for`].
    pub health_check: HealthCheck,
    /// Tags.
    pub tags: Vec<Tag>,
}

/// A new listener.
#[derive(Debug, Clone, PartialEq)]
pub struct CreateListener {
    /// The load balancer that listens.
    pub load_balancer_arn: String,
    /// The port.
    pub port: u16,
    /// HTTP and HTTPS on an ALB; TCP and TLS on an NLB.
    pub protocol: Protocol,
    /// Only with HTTPS and TLS.
    pub ssl_policy: Option<String>,
    /// ARNs; the first is the default one.
    pub certificates: Vec<String>,
    /// What happens when no rule matches.
    pub default_actions: Vec<Action>,
    /// Tags.
    pub tags: Vec<Tag>,
}

impl HealthCheck {
    /// What AWS checks when nothing else is said.
    pub fn default_for(protocol: Protocol) -> Self {
        let http = matches!(protocol, Protocol::Http | Protocol::Https);
        HealthCheck {
            enabled: true,
            protocol: if http { protocol } else { Protocol::Tcp },
            port: "traffic-port".into(),
            path: if http { "/".into() } else { String::new() },
            interval_seconds: 30,
            timeout_seconds: if http { 5 } else { 10 },
            healthy_threshold_count: 5,
            unhealthy_threshold_count: 2,
            matcher: if http { "200".into() } else { String::new() },
        }
    }
}

impl ModifyTargetGroup {
    /// Sets every member of the health check.
    #[must_use]
    pub fn health_check(target_group_arn: &str, check: &HealthCheck) -> Self {
        let check = check.clone();
        Self {
            target_group_arn: target_group_arn.to_owned(),
            health_check_enabled: Some(check.enabled),
            health_check_protocol: Some(check.protocol),
            health_check_port: Some(check.port),
            health_check_path: Some(check.path),
            health_check_interval_seconds: Some(check.interval_seconds),
            health_check_timeout_seconds: Some(check.timeout_seconds),
            healthy_threshold_count: Some(check.healthy_threshold_count),
            unhealthy_threshold_count: Some(check.unhealthy_threshold_count),
            matcher: Some(check.matcher),
        }
    }
}
