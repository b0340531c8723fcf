//! EC2's nouns: network, addresses, instances, security groups, with AWS's member names.
//!
//! Members that only a billing or hypervisor view needs are left out.

use crate::elbv2::Scheme;
use crate::text_enum::text_enum;
use crate::{Tag, tag};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;

/// A virtual private cloud.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Vpc {
    pub vpc_id: String,
    pub cidr_block: String,
    /// Further blocks: a VPC's own has room for 65,536 addresses.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub secondary_cidr_blocks: Vec<String>,
    pub is_default: bool,
    pub state: String,
    pub tags: Vec<Tag>,
}

impl Vpc {
    /// Whether an address is in one of its blocks.
    pub fn holds(&self, ip: Ipv4Addr) -> bool {
        std::iter::once(&self.cidr_block).chain(&self.secondary_cidr_blocks).any(|block| is_in(ip, block))
    }
}

fn is_in(ip: Ipv4Addr, block: &str) -> bool {
    let Some((network, length)) = block.split_once('/') else { return false };
    let (Ok(network), Ok(length)) = (network.parse::<Ipv4Addr>(), length.parse::<u32>()) else {
        return false;
    };
    let apart = u32::from(ip) ^ u32::from(network);
    apart.checked_shr(32_u32.saturating_sub(length)).unwrap_or(0) == 0
}

/// A subnet of one zone.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Subnet {
    pub subnet_id: String,
    pub vpc_id: String,
    pub availability_zone: String,
    pub availability_zone_id: String,
    pub cidr_block: String,
    /// Filled in when described; not part of the stored object.
    pub available_ip_address_count: u32,
    pub map_public_ip_on_launch: bool,
    pub state: String,
    pub tags: Vec<Tag>,
}

/// Ids of the subnets that controllers choose for a load balancer when nobody names any: those tagged for its scheme,
/// the first by id of each zone.
#[must_use]
pub fn subnets_for(all: &[Subnet], scheme: Scheme) -> Vec<String> {
    let role = match scheme {
        Scheme::InternetFacing => "kubernetes.io/role/elb",
        Scheme::Internal => "kubernetes.io/role/internal-elb",
    };
    let mut zones: BTreeMap<&str, &str> = BTreeMap::new();
    for subnet in all.iter().filter(|s| matches!(tag(&s.tags, role), Some("" | "1"))) {
        let first = zones.entry(&subnet.availability_zone).or_insert(&subnet.subnet_id);
        *first = (*first).min(&subnet.subnet_id);
    }
    zones.into_values().map(str::to_string).collect()
}

/// A zone of the region.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AvailabilityZone {
    pub zone_name: String,
    pub zone_id: String,
    pub zone_type: String,
    pub region_name: String,
    pub state: String,
}

/// The door between VPC and internet.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct InternetGateway {
    pub internet_gateway_id: String,
    pub attachments: Vec<InternetGatewayAttachment>,
    pub tags: Vec<Tag>,
}

/// Where an internet gateway is attached.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct InternetGatewayAttachment {
    pub vpc_id: String,
    pub state: String,
}

/// Source NAT for private subnets.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NatGateway {
    pub nat_gateway_id: String,
    pub subnet_id: String,
    pub vpc_id: String,
    pub state: String,
    pub nat_gateway_addresses: Vec<NatGatewayAddress>,
    pub tags: Vec<Tag>,
}

/// An address pair of a NAT gateway.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NatGatewayAddress {
    pub network_interface_id: String,
    pub private_ip: String,
    pub public_ip: String,
}

/// Routes of one or more subnets.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RouteTable {
    pub route_table_id: String,
    pub vpc_id: String,
    pub associations: Vec<RouteTableAssociation>,
    pub routes: Vec<Route>,
    pub tags: Vec<Tag>,
}

/// Which subnet uses the route table.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RouteTableAssociation {
    pub route_table_association_id: String,
    pub main: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subnet_id: Option<String>,
}

/// One route: destination and the gateway that takes it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Route {
    pub destination_cidr_block: String,
    /// `local`, or `igw-…`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gateway_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nat_gateway_id: Option<String>,
    pub state: String,
    pub origin: String,
}

/// An elastic network interface.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NetworkInterface {
    pub network_interface_id: String,
    pub subnet_id: String,
    pub vpc_id: String,
    pub availability_zone: String,
    pub description: String,
    pub interface_type: String,
    pub mac_address: String,
    /// The primary private address.
    pub private_ip_address: String,
    /// Primary first, then secondary ones in order of assignment.
    pub private_ip_addresses: Vec<PrivateIpAddress>,
    pub groups: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attachment: Option<NetworkInterfaceAttachment>,
    /// The public address in front of the primary private one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub public_ip: Option<String>,
    /// True when a service (a load balancer, a NAT gateway) owns it.
    pub requester_managed: bool,
    /// `available` or `in-use`.
    pub status: String,
    pub tags: Vec<Tag>,
}

/// An address of an interface.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PrivateIpAddress {
    pub private_ip_address: String,
    pub primary: bool,
}

/// Which instance holds an interface.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NetworkInterfaceAttachment {
    pub attachment_id: String,
    pub instance_id: String,
    pub device_index: u32,
    pub delete_on_termination: bool,
    pub status: String,
}

text_enum! {
    /// State of an instance.
    InstanceState {
        Pending = "pending", Running = "running", ShuttingDown = "shutting-down",
        Terminated = "terminated", Stopping = "stopping", Stopped = "stopped",
    }
}

/// A machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Instance {
    pub instance_id: String,
    pub instance_type: String,
    #[serde(default)]
    pub image_id: String,
    pub private_ip_address: String,
    pub private_dns_name: String,
    pub subnet_id: String,
    pub vpc_id: String,
    pub availability_zone: String,
    pub state: InstanceState,
    #[serde(default)]
    pub security_groups: Vec<String>,
    #[serde(default)]
    pub launch_time: String,
    #[serde(default)]
    pub tags: Vec<Tag>,
}

/// A stateful packet filter attached to interfaces.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SecurityGroup {
    pub group_id: String,
    pub group_name: String,
    pub description: String,
    pub vpc_id: String,
    pub ip_permissions: Vec<IpPermission>,
    pub ip_permissions_egress: Vec<IpPermission>,
    pub tags: Vec<Tag>,
}

/// What a security group lets through.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct IpPermission {
    /// `tcp`, `udp`, `icmp`, or `-1` for everything.
    pub ip_protocol: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from_port: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to_port: Option<i32>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ip_ranges: Vec<IpRange>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub user_id_group_pairs: Vec<UserIdGroupPair>,
}

/// A permitted CIDR.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct IpRange {
    pub cidr_ip: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub description: String,
}

/// A permitted peer group.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct UserIdGroupPair {
    pub group_id: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub description: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vpc_holds_what_is_in_any_of_its_blocks() {
        let vpc = Vpc {
            cidr_block: "10.0.0.0/16".into(),
            secondary_cidr_blocks: vec!["10.1.0.0/16".into(), "100.64.0.0/28".into()],
            ..Vpc::default()
        };
        for (ip, held) in [
            ("10.0.0.1", true),
            ("10.0.255.255", true),
            ("10.1.3.4", true),
            ("10.2.0.1", false),
            ("100.64.0.15", true),
            ("100.64.0.16", false),
        ] {
            assert_eq!(vpc.holds(ip.parse().unwrap()), held, "{ip}");
        }
    }
}
