//! How a resource is written as an object of the API server, and read back: group `aws.hopyard.dev`, version `v1`.
//!
//! An object is cluster-scoped; what a caller asked for stands in `spec`, what AWS decided in `status`.
//! Summaries in `status.summary` are for tables only and are not read back.

use crate::acm::Certificate;
use crate::ec2::*;
use crate::elbv2::{HealthState, Listener, LoadBalancer, Rule, TargetGroup, TargetHealthDescription};
use crate::names;
use crate::route53::HostedZone;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

/// API group of all objects.
pub const GROUP: &str = "aws.hopyard.dev";
/// API version of all objects.
pub const VERSION: &str = "v1";
/// Annotation that holds the AWS id or ARN.
pub const ID_LABEL: &str = "aws.hopyard.dev/id";

/// A noun that is written as an object. The constants are the table; the functions read the noun.
pub trait Resource: Serialize + DeserializeOwned + Clone + PartialEq + Send + Sync + 'static {
    /// The object's kind.
    const KIND: &'static str;
    /// The plural in URLs.
    const PLURAL: &'static str;
    /// Members that AWS decided: written under `status`.
    const STATUS: &'static [&'static str];
    /// Key in AWS: id or ARN.
    fn id(&self) -> &str;
    /// Name of the object; the same for the same resource every time.
    fn object_name(&self) -> String;
    /// Texts for table columns.
    fn summary(&self) -> Vec<(&'static str, Value)> {
        Vec::new()
    }
    /// Take over what only the object knows.
    fn set_object_name(&mut self, _name: &str) {}
}

/// The object of a resource, without resourceVersion.
pub fn to_object<T: Resource>(resource: &T) -> Value {
    let mut spec = match serde_json::to_value(resource) {
        Ok(Value::Object(map)) => map,
        _ => Map::new(),
    };
    let mut status = Map::new();
    for key in T::STATUS {
        if let Some(value) = spec.remove(*key) {
            status.insert((*key).to_string(), value);
        }
    }
    spec.remove("availableIpAddressCount");
    let summary = resource.summary();
    if !summary.is_empty() {
        let map: Map<String, Value> = summary.into_iter().map(|(k, v)| (k.to_string(), v)).collect();
        status.insert("summary".into(), Value::Object(map));
    }
    json!({
        "apiVersion": format!("{GROUP}/{VERSION}"),
        "kind": T::KIND,
        "metadata": {"name": resource.object_name(), "annotations": {ID_LABEL: resource.id()}},
        "spec": spec,
        "status": status,
    })
}

/// The resource of an object written by [`to_object`].
pub fn from_object<T: Resource>(object: &Value) -> Result<T, serde_json::Error> {
    let mut members = Map::new();
    for part in ["spec", "status"] {
        if let Some(Value::Object(map)) = object.get(part) {
            members.extend(map.clone());
        }
    }
    members.remove("summary");
    let mut resource: T = serde_json::from_value(Value::Object(members))?;
    if let Some(name) = object.pointer("/metadata/name").and_then(Value::as_str) {
        resource.set_object_name(name);
    }
    Ok(resource)
}

macro_rules! resource {
    ($ty:ty, $kind:literal, $plural:literal, status [$($status:literal),*], id $id:ident, name |$me:ident| $name:expr $(, summary $summary:expr)?) => {
        impl Resource for $ty {
            const KIND: &'static str = $kind;
            const PLURAL: &'static str = $plural;
            const STATUS: &'static [&'static str] = &[$($status),*];
            fn id(&self) -> &str { &self.$id }
            fn object_name(&self) -> String { let $me = self; $name }
            $(fn summary(&self) -> Vec<(&'static str, Value)> { $summary(self) })?
        }
    };
}

resource!(Vpc, "Vpc", "vpcs", status ["vpcId", "state"], id vpc_id, name |v| v.vpc_id.clone());
resource!(Subnet, "Subnet", "subnets", status ["subnetId", "state", "availabilityZoneId"], id subnet_id, name |s| s.subnet_id.clone(), summary |s: &Subnet| {
    let public = crate::tag(&s.tags, "kubernetes.io/role/elb").is_some();
    vec![("role", json!(if public { "public" } else { "private" }))]
});
resource!(RouteTable, "RouteTable", "routetables", status ["routeTableId"], id route_table_id, name |r| r.route_table_id.clone(), summary |r: &RouteTable| {
    let routes: Vec<String> = r.routes.iter().map(|route| {
        let via = route.nat_gateway_id.as_ref().or(route.gateway_id.as_ref()).cloned().unwrap_or_default();
        format!("{}→{via}", route.destination_cidr_block)
    }).collect();
    let subnets: Vec<&str> = r.associations.iter().filter_map(|a| a.subnet_id.as_deref()).collect();
    vec![("routes", json!(routes.join(" "))), ("subnets", json!(subnets.join(",")))]
});
resource!(InternetGateway, "InternetGateway", "internetgateways", status ["internetGatewayId"], id internet_gateway_id, name |g| g.internet_gateway_id.clone());
resource!(NatGateway, "NatGateway", "natgateways", status ["natGatewayId", "state", "natGatewayAddresses"], id nat_gateway_id, name |g| g.nat_gateway_id.clone());
resource!(NetworkInterface, "NetworkInterface", "networkinterfaces",
    status ["networkInterfaceId", "macAddress", "attachment", "status", "publicIp", "requesterManaged"],
    id network_interface_id, name |n| n.network_interface_id.clone(), summary |n: &NetworkInterface| {
    let secondary: Vec<&str> = n.private_ip_addresses.iter().filter(|a| !a.primary).map(|a| a.private_ip_address.as_str()).collect();
    vec![("secondary", json!(secondary.join(","))),
         ("instance", json!(n.attachment.as_ref().map(|a| a.instance_id.clone()).unwrap_or_default()))]
});
resource!(Instance, "Instance", "instances", status ["instanceId", "state", "launchTime", "privateDnsName"], id instance_id, name |i| i.instance_id.clone(), summary |i: &Instance| {
    vec![("name", json!(crate::tag(&i.tags, "Name").unwrap_or_default()))]
});
resource!(SecurityGroup, "SecurityGroup", "securitygroups", status ["groupId"], id group_id, name |g| g.group_id.clone(), summary |g: &SecurityGroup| {
    vec![("ingress", json!(g.ip_permissions.iter().map(permission).collect::<Vec<_>>().join(" ")))]
});
resource!(LoadBalancer, "LoadBalancer", "loadbalancers",
    status ["loadBalancerArn", "dnsName", "canonicalHostedZoneId", "state", "createdTime", "availabilityZones", "endpoints", "vpcId"],
    id load_balancer_arn, name |l| names::object_name(&l.load_balancer_name), summary |l: &LoadBalancer| {
    let addresses: Vec<&str> = l.availability_zones.iter()
        .flat_map(|z| z.load_balancer_addresses.iter().map(|a| a.ip_address.as_str())).collect();
    let zones: Vec<&str> = l.availability_zones.iter().map(|z| z.zone_name.as_str()).collect();
    let moved: Vec<String> = l.endpoints.iter().filter(|e| e.address != e.bound).map(|e| format!("{}→{}", e.address, e.bound)).collect();
    vec![("addresses", json!(addresses.join(","))), ("zones", json!(zones.join(","))), ("moved", json!(moved.join(",")))]
});
resource!(Listener, "Listener", "listeners", status ["listenerArn"], id listener_arn,
    name |l| format!("{}-{}", names::object_name(names::load_balancer_name(&l.listener_arn)), l.port), summary |l: &Listener| {
    let actions: Vec<String> = l.default_actions.iter().map(|a| a.summary()).collect();
    let certificates: Vec<&str> = l.certificates.iter().map(|c| c.certificate_arn.rsplit('/').next().unwrap_or_default()).collect();
    vec![("defaultAction", json!(actions.join(", "))), ("certificates", json!(certificates.join(","))),
         ("loadBalancer", json!(names::load_balancer_name(&l.listener_arn)))]
});
resource!(Rule, "ListenerRule", "listenerrules", status ["ruleArn"], id rule_arn,
    name |r| format!("{}-{}-{}", names::object_name(names::load_balancer_name(&r.rule_arn)), r.listener_port, r.priority), summary |r: &Rule| {
    let conditions: Vec<String> = r.conditions.iter().map(|c| c.summary()).collect();
    let actions: Vec<String> = r.actions.iter().map(|a| a.summary()).collect();
    vec![("conditions", json!(if conditions.is_empty() { "any request".to_string() } else { conditions.join(" and ") })),
         ("actions", json!(actions.join(", "))),
         ("listener", json!(format!("{}:{}", names::load_balancer_name(&r.rule_arn), r.listener_port)))]
});
resource!(TargetGroup, "TargetGroup", "targetgroups", status ["targetGroupArn", "loadBalancerArns", "targets"], id target_group_arn,
    name |t| names::object_name(&t.target_group_name), summary |t: &TargetGroup| {
    let healthy = t.targets.iter().filter(|x| x.state == HealthState::Healthy).count();
    let counted = t.targets.iter().filter(|x| x.state != HealthState::Draining).count();
    let balancers: Vec<&str> = t.load_balancer_arns.iter().map(|a| names::load_balancer_name(a)).collect();
    vec![("healthy", json!(format!("{healthy}/{counted}"))),
         ("targets", json!(t.targets.iter().map(target).collect::<Vec<_>>().join(","))),
         ("loadBalancers", json!(balancers.join(",")))]
});

impl Resource for HostedZone {
    const KIND: &'static str = "HostedZone";
    const PLURAL: &'static str = "hostedzones";
    const STATUS: &'static [&'static str] = &["id", "nameServers"];
    fn id(&self) -> &str {
        &self.id
    }
    fn object_name(&self) -> String {
        if self.object_name.is_empty() {
            names::object_name(self.name.trim_end_matches('.'))
        } else {
            self.object_name.clone()
        }
    }
    fn summary(&self) -> Vec<(&'static str, Value)> {
        vec![
            ("records", json!(self.resource_record_sets.len())),
            ("nameServers", json!(self.name_servers.join(","))),
        ]
    }
    fn set_object_name(&mut self, name: &str) {
        self.object_name = name.to_string();
    }
}

impl Resource for Certificate {
    const KIND: &'static str = "Certificate";
    const PLURAL: &'static str = "certificates";
    const STATUS: &'static [&'static str] = &[
        "certificateArn",
        "status",
        "type",
        "keyAlgorithm",
        "issuer",
        "serial",
        "notBefore",
        "notAfter",
        "certificateChain",
    ];
    fn id(&self) -> &str {
        &self.certificate_arn
    }
    fn object_name(&self) -> String {
        if self.object_name.is_empty() {
            let short: String = Certificate::id(self).chars().take(8).collect();
            format!("{}-{short}", self.domain_name.replace("*.", "wildcard."))
        } else {
            self.object_name.clone()
        }
    }
    fn set_object_name(&mut self, name: &str) {
        self.object_name = name.to_string();
    }
}

fn target(target: &TargetHealthDescription) -> String {
    format!("{}:{} {}", target.id, target.port, target.state)
}

fn permission(p: &IpPermission) -> String {
    let ports = match (p.from_port, p.to_port) {
        (Some(from), Some(to)) if from == to => format!(":{from}"),
        (Some(from), Some(to)) => format!(":{from}-{to}"),
        _ => String::new(),
    };
    let protocol = if p.ip_protocol == "-1" { "all" } else { &p.ip_protocol };
    let from: Vec<&str> = p
        .ip_ranges
        .iter()
        .map(|r| r.cidr_ip.as_str())
        .chain(p.user_id_group_pairs.iter().map(|g| g.group_id.as_str()))
        .collect();
    format!("{protocol}{ports}←{}", from.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::elbv2::{Action, RuleCondition};

    #[test]
    fn rule_round_trips_and_reads_well() {
        let rule = Rule {
            rule_arn: "arn:aws:elasticloadbalancing:us-east-1:123456789012:listener-rule/app/web/1/2/3"
                .into(),
            listener_arn: "arn:aws:elasticloadbalancing:us-east-1:123456789012:listener/app/web/1/2".into(),
            listener_port: 443,
            priority: "1".into(),
            conditions: vec![
                RuleCondition::host_header(vec!["shop.example.com".into()]),
                RuleCondition::path_pattern(vec!["/cart".into(), "/cart/*".into()]),
            ],
            actions: vec![Action::forward(names::target_group_arn("tg", "1"))],
            ..Default::default()
        };
        let object = to_object(&rule);
        assert_eq!(object["metadata"]["name"], "web-443-1");
        assert_eq!(
            object["status"]["summary"]["conditions"],
            "Host shop.example.com and Path /cart or /cart/*"
        );
        assert_eq!(object["status"]["summary"]["actions"], "forward tg");
        assert_eq!(from_object::<Rule>(&object).expect("reads back"), rule);
    }

    #[test]
    fn zone_keeps_the_name_its_author_gave_it() {
        let object = json!({"metadata": {"name": "mine"}, "spec": {"name": "example.com."}});
        let zone: HostedZone = from_object(&object).expect("reads");
        assert_eq!(zone.object_name(), "mine");
    }
}
