//! The whole cloud as one value: resources by id, and operations as functions from state to state.
//!
//! Pure: time is passed in, identifiers are derived from names. A refused operation changes nothing.

use crate::{bootstrap, report::Report};
use ccm_mock_aws_api::acm::Certificate;
use ccm_mock_aws_api::ec2::*;
use ccm_mock_aws_api::elbv2::{Listener, LoadBalancer, Rule, TargetGroup};
use ccm_mock_aws_api::object::{from_object, to_object};
use ccm_mock_aws_api::route53::HostedZone;
use ccm_mock_aws_api::{Answer, Code, Error, Operation, Resource, layout};
use imbl::OrdSet;
use imbl::ordmap::{DiffItem, OrdMap};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Resources of a kind by id or ARN. States share what does not differ between them: a copy costs nothing, and what differs
/// is found without looking at the rest.
pub type Map<T> = OrdMap<String, Arc<T>>;

/// Everything there is.
#[derive(Debug, Clone, Default, PartialEq)]
#[allow(missing_docs)]
pub struct State {
    pub zones: u8,
    pub vpcs: Map<Vpc>,
    pub subnets: Map<Subnet>,
    pub route_tables: Map<RouteTable>,
    pub internet_gateways: Map<InternetGateway>,
    pub nat_gateways: Map<NatGateway>,
    pub network_interfaces: Map<NetworkInterface>,
    pub instances: Map<Instance>,
    pub security_groups: Map<SecurityGroup>,
    pub load_balancers: Map<LoadBalancer>,
    pub listeners: Map<Listener>,
    pub rules: Map<Rule>,
    pub target_groups: Map<TargetGroup>,
    pub hosted_zones: Map<HostedZone>,
    pub certificates: Map<Certificate>,
    /// Addresses of all interfaces.
    pub(crate) addresses: OrdSet<u32>,
    /// Where the search for a free address of a subnet goes on.
    pub(crate) cursors: BTreeMap<String, u32>,
}

/// One object that is new, different or gone.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// Kind.
    pub kind: &'static str,
    /// Plural.
    pub plural: &'static str,
    /// Object name.
    pub name: String,
    /// The object before; None if new.
    pub old: Option<Value>,
    /// The object now; None if gone.
    pub new: Option<Value>,
}

macro_rules! each_kind {
    ($apply:ident!($($args:tt)*)) => {
        $apply!($($args)* vpcs, Vpc);
        $apply!($($args)* subnets, Subnet);
        $apply!($($args)* route_tables, RouteTable);
        $apply!($($args)* internet_gateways, InternetGateway);
        $apply!($($args)* nat_gateways, NatGateway);
        $apply!($($args)* network_interfaces, NetworkInterface);
        $apply!($($args)* instances, Instance);
        $apply!($($args)* security_groups, SecurityGroup);
        $apply!($($args)* load_balancers, LoadBalancer);
        $apply!($($args)* listeners, Listener);
        $apply!($($args)* rules, Rule);
        $apply!($($args)* target_groups, TargetGroup);
        $apply!($($args)* hosted_zones, HostedZone);
        $apply!($($args)* certificates, Certificate);
    };
}

fn diff_map<T: Resource>(old: &Map<T>, new: &Map<T>, out: &mut Vec<Change>) {
    let mut by_name: BTreeMap<String, (Option<&T>, Option<&T>)> = BTreeMap::new();
    for difference in old.diff(new) {
        let (before, after) = match difference {
            DiffItem::Add(_, new) => (None, Some(new)),
            DiffItem::Update { old: (_, old), new: (_, new) } => (Some(old), Some(new)),
            DiffItem::Remove(_, old) => (Some(old), None),
        };
        if let Some(before) = before {
            by_name.entry(before.object_name()).or_default().0 = Some(before);
        }
        if let Some(after) = after {
            by_name.entry(after.object_name()).or_default().1 = Some(after);
        }
    }
    for (name, (old, new)) in by_name {
        if old == new {
            continue;
        }
        out.push(Change {
            kind: T::KIND,
            plural: T::PLURAL,
            name,
            old: old.map(to_object),
            new: new.map(to_object),
        });
    }
}

impl State {
    /// A VPC with public and private subnets in each zone, gateways, NAT and routes.
    pub fn bootstrap(zones: u8) -> State {
        bootstrap::state(zones, layout::PRIVATE_SUBNET_PREFIX)
    }

    /// The same with private subnets of another size.
    pub fn bootstrap_with(zones: u8, private_prefix: u8) -> State {
        bootstrap::state(zones, private_prefix)
    }

    /// Perform an operation: the state after it, and the answer.
    pub fn apply(&self, operation: Operation, now_ms: u64) -> Result<(State, Answer), Error> {
        let mut next = self.clone();
        let answer = next.perform(operation, now_ms)?;
        next.settle();
        Ok((next, answer))
    }

    /// The state after what the data plane or a user reports.
    pub fn report(&self, report: Report, now_ms: u64) -> State {
        let mut next = self.clone();
        next.take(report, now_ms);
        next.settle();
        next
    }

    /// Objects that differ between two states.
    pub fn changes_to(&self, next: &State) -> Vec<Change> {
        let mut out = Vec::new();
        macro_rules! diff {
            ($field:ident, $ty:ty) => {
                diff_map::<$ty>(&self.$field, &next.$field, &mut out);
            };
        }
        each_kind!(diff!());
        out
    }

    /// Put an object of the API server into the state; objects of other kinds and unreadable ones are refused.
    pub fn load(&mut self, kind: &str, object: &Value) -> Result<(), serde_json::Error> {
        macro_rules! load {
            ($field:ident, $ty:ty) => {
                if kind == <$ty>::KIND {
                    let resource: $ty = from_object(object)?;
                    self.$field.insert(Resource::id(&resource).to_string(), Arc::new(resource));
                    return Ok(());
                }
            };
        }
        each_kind!(load!());
        Ok(())
    }

    /// After loading: what is derived from the objects.
    pub fn loaded(&mut self) {
        let zones: std::collections::BTreeSet<&str> =
            self.subnets.values().map(|s| s.availability_zone.as_str()).collect();
        self.zones = u8::try_from(zones.len()).unwrap_or(0);
        self.count_addresses();
        self.settle();
    }

    fn perform(&mut self, operation: Operation, now_ms: u64) -> Result<Answer, Error> {
        use Operation as O;
        macro_rules! run {
            ($($name:ident => $call:expr),+ $(,)?) => {
                match operation { $(O::$name(input) => { let run: fn(&mut State, ccm_mock_aws_api::operation::$name, u64) -> Result<<ccm_mock_aws_api::operation::$name as ccm_mock_aws_api::Request>::Answer, Error> = $call; run(self, input, now_ms).map(Answer::$name) })+ }
            };
        }
        run! {
            DescribeVpcs => |s, i, _| s.describe_vpcs(i),
            DescribeSubnets => |s, i, _| s.describe_subnets(i),
            DescribeAvailabilityZones => |s, i, _| s.describe_availability_zones(i),
            DescribeRouteTables => |s, i, _| s.describe_route_tables(i),
            DescribeInternetGateways => |s, _, _| Ok(values(&s.internet_gateways)),
            DescribeNatGateways => |s, _, _| Ok(values(&s.nat_gateways)),
            DescribeSecurityGroups => |s, i, _| s.describe_security_groups(i),
            DescribeInstances => |s, i, _| s.describe_instances(i),
            DescribeNetworkInterfaces => |s, i, _| s.describe_network_interfaces(i),
            RunInstances => |s, i, now| s.run_instances(i, now),
            TerminateInstances => |s, i, _| s.terminate_instances(i),
            CreateNetworkInterface => |s, i, _| s.create_network_interface(i),
            AttachNetworkInterface => |s, i, _| s.attach_network_interface(i),
            DetachNetworkInterface => |s, i, _| s.detach_network_interface(i),
            DeleteNetworkInterface => |s, i, _| s.delete_network_interface(i),
            AssignPrivateIpAddresses => |s, i, _| s.assign_private_ip_addresses(i),
            UnassignPrivateIpAddresses => |s, i, _| s.unassign_private_ip_addresses(i),
            CreateSecurityGroup => |s, i, _| s.create_security_group(i),
            DeleteSecurityGroup => |s, i, _| s.delete_security_group(i),
            AuthorizeSecurityGroupIngress => |s, i, _| s.authorize_ingress(i),
            RevokeSecurityGroupIngress => |s, i, _| s.revoke_ingress(i),
            CreateTags => |s, i, _| s.create_tags(i),
            DeleteTags => |s, i, _| s.delete_tags(i),
            CreateLoadBalancer => |s, i, now| s.create_load_balancer(i, now),
            DescribeLoadBalancers => |s, i, _| s.describe_load_balancers(i),
            DeleteLoadBalancer => |s, i, _| s.delete_load_balancer(i),
            ModifyLoadBalancerAttributes => |s, i, _| s.modify_load_balancer_attributes(i),
            SetSubnets => |s, i, _| s.set_subnets(i),
            SetSecurityGroups => |s, i, _| s.set_security_groups(i),
            SetIpAddressType => |s, i, _| s.set_ip_address_type(i),
            CreateTargetGroup => |s, i, _| s.create_target_group(i),
            DescribeTargetGroups => |s, i, _| s.describe_target_groups(i),
            ModifyTargetGroup => |s, i, _| s.modify_target_group(i),
            ModifyTargetGroupAttributes => |s, i, _| s.modify_target_group_attributes(i),
            DeleteTargetGroup => |s, i, _| s.delete_target_group(i),
            RegisterTargets => |s, i, _| s.register_targets(i),
            DeregisterTargets => |s, i, now| s.deregister_targets(i, now),
            DescribeTargetHealth => |s, i, _| s.describe_target_health(i),
            CreateListener => |s, i, _| s.create_listener(i),
            DescribeListeners => |s, i, _| s.describe_listeners(i),
            ModifyListener => |s, i, _| s.modify_listener(i),
            ModifyListenerAttributes => |s, i, _| s.modify_listener_attributes(i),
            DeleteListener => |s, i, _| s.delete_listener(i),
            AddListenerCertificates => |s, i, _| s.add_listener_certificates(i),
            RemoveListenerCertificates => |s, i, _| s.remove_listener_certificates(i),
            CreateRule => |s, i, _| s.create_rule(i),
            DescribeRules => |s, i, _| s.describe_rules(i),
            ModifyRule => |s, i, _| s.modify_rule(i),
            DeleteRule => |s, i, _| s.delete_rule(i),
            SetRulePriorities => |s, i, _| s.set_rule_priorities(i),
            AddTags => |s, i, _| s.add_tags(i),
            RemoveTags => |s, i, _| s.remove_tags(i),
            CreateHostedZone => |s, i, _| s.create_hosted_zone(i),
            ListHostedZones => |s, _, _| Ok(values(&s.hosted_zones)),
            DeleteHostedZone => |s, i, _| s.delete_hosted_zone(i),
            ChangeResourceRecordSets => |s, i, _| s.change_resource_record_sets(i),
            ListResourceRecordSets => |s, i, _| s.list_resource_record_sets(i),
            RequestCertificate => |s, i, _| s.request_certificate(i),
            ImportCertificate => |s, i, _| s.import_certificate(i),
            ListCertificates => |s, _, _| Ok(values(&s.certificates)),
            DescribeCertificate => |s, i, _| s.describe_certificate(i),
            DeleteCertificate => |s, i, _| s.delete_certificate(i),
        }
    }
}

/// All resources of a map, copied.
pub(crate) fn values<T: Clone>(map: &Map<T>) -> Vec<T> {
    map.values().map(|v| v.as_ref().clone()).collect()
}

/// Leaves in a map what is to be kept.
pub(crate) fn keep<T>(map: &mut Map<T>, kept: impl Fn(&T) -> bool) {
    let gone: Vec<String> = map.iter().filter(|(_, v)| !kept(v)).map(|(id, _)| id.clone()).collect();
    gone.iter().for_each(|id| drop(map.remove(id)));
}

/// A resource to change; a shared one is copied first.
pub(crate) fn get_mut<'a, T: Clone>(
    map: &'a mut Map<T>,
    id: &str,
    missing: impl FnOnce() -> Error,
) -> Result<&'a mut T, Error> {
    map.get_mut(id).map(Arc::make_mut).ok_or_else(missing)
}

/// `digits` hex digits derived from a text; a number is added until nothing has them.
pub(crate) fn fresh_id(text: &str, digits: usize, taken: impl Fn(&str) -> bool) -> String {
    let mut n = 0u32;
    loop {
        let digest = Sha256::digest(if n == 0 { text.to_string() } else { format!("{text}#{n}") }.as_bytes());
        let hex: String = digest.iter().map(|b| format!("{b:02x}")).collect();
        let id = hex[..digits.min(hex.len())].to_string();
        if !taken(&id) {
            return id;
        }
        n += 1;
    }
}

/// The error for a thing that is not there.
pub(crate) fn not_found(code: Code, message: String) -> Error {
    Error::new(code, message)
}
