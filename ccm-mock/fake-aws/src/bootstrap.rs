//! The resources that are there from the start.
//!
//! Ids are fixed, so that every run has the same ones.

use crate::state::State;
use ccm_mock_aws_api::ec2::*;
use ccm_mock_aws_api::{Tag, layout};
use std::sync::Arc;

const IGW: &str = "igw-0a1b2c3d4e5f60718";

pub(crate) fn state(zones: u8, private_prefix: u8) -> State {
    let zones = zones.clamp(1, layout::MAX_ZONES);
    let mut state = State { zones, ..Default::default() };
    let name = |n: &str| Tag::new("Name", n);
    let vpc = Vpc {
        vpc_id: layout::VPC_ID.into(),
        cidr_block: layout::VPC_CIDR.into(),
        secondary_cidr_blocks: (1..=zones)
            .filter_map(|zone| layout::secondary_cidr(zone, private_prefix))
            .collect(),
        is_default: false,
        state: "available".into(),
        tags: vec![name("hopyard")],
    };
    state.vpcs.insert(vpc.vpc_id.clone(), Arc::new(vpc));
    let gateway = InternetGateway {
        internet_gateway_id: IGW.into(),
        attachments: vec![InternetGatewayAttachment {
            vpc_id: layout::VPC_ID.into(),
            state: "available".into(),
        }],
        tags: vec![name("hopyard")],
    };
    state.internet_gateways.insert(IGW.into(), Arc::new(gateway));
    let group = default_group();
    state.security_groups.insert(group.group_id.clone(), Arc::new(group));
    for zone in 1..=zones {
        let private = layout::private_subnet_cidr(zone, private_prefix);
        subnet(&mut state, zone, true, layout::public_subnet_cidr(zone));
        subnet(&mut state, zone, false, private);
        nat(&mut state, zone);
        route_tables(&mut state, zone);
    }
    route_table(&mut state, "rtb-0main0b1c2d3e4f5a", true, None, None, "main");
    state
}

fn default_group() -> SecurityGroup {
    let all = || IpPermission { ip_protocol: "-1".into(), ..Default::default() };
    let id = "sg-0default1c2d3e4f5".to_string();
    let itself = UserIdGroupPair { group_id: id.clone(), description: String::new() };
    let anywhere = IpRange { cidr_ip: "0.0.0.0/0".into(), description: String::new() };
    SecurityGroup {
        group_name: "default".into(),
        description: "default VPC security group".into(),
        vpc_id: layout::VPC_ID.into(),
        ip_permissions: vec![IpPermission { user_id_group_pairs: vec![itself], ..all() }],
        ip_permissions_egress: vec![IpPermission { ip_ranges: vec![anywhere], ..all() }],
        tags: Vec::new(),
        group_id: id,
    }
}

fn subnet(state: &mut State, zone: u8, public: bool, cidr: String) {
    let (id, role, kind) = if public {
        (layout::public_subnet_id(zone), "kubernetes.io/role/elb", "public")
    } else {
        (layout::private_subnet_id(zone), "kubernetes.io/role/internal-elb", "private")
    };
    let subnet = Subnet {
        subnet_id: id.clone(),
        vpc_id: layout::VPC_ID.into(),
        availability_zone: layout::zone_name(zone),
        availability_zone_id: layout::zone_id(zone),
        cidr_block: cidr,
        available_ip_address_count: 0,
        map_public_ip_on_launch: public,
        state: "available".into(),
        tags: vec![
            Tag::new("Name", format!("hopyard-{kind}-{}", layout::zone_name(zone))),
            Tag::new(role, "1"),
        ],
    };
    state.subnets.insert(id, Arc::new(subnet));
}

fn nat(state: &mut State, zone: u8) {
    let subnet_id = layout::public_subnet_id(zone);
    let public_ip = format!("203.0.113.{}", 10 + zone);
    let description = format!("Interface for NAT Gateway nat-0{zone}a1b2c3d4e5f6071");
    let private_ip =
        state.service_interface(&subnet_id, &description, "nat_gateway", Some(public_ip.clone()), &[]);
    let Ok(interface) = private_ip else { return };
    let gateway = NatGateway {
        nat_gateway_id: format!("nat-0{zone}a1b2c3d4e5f6071"),
        subnet_id,
        vpc_id: layout::VPC_ID.into(),
        state: "available".into(),
        nat_gateway_addresses: vec![NatGatewayAddress {
            network_interface_id: interface.network_interface_id,
            private_ip: interface.private_ip_address,
            public_ip,
        }],
        tags: vec![Tag::new("Name", format!("hopyard-{}", layout::zone_name(zone)))],
    };
    state.nat_gateways.insert(gateway.nat_gateway_id.clone(), Arc::new(gateway));
}

fn route_tables(state: &mut State, zone: u8) {
    let nat = format!("nat-0{zone}a1b2c3d4e5f6071");
    let (public, private) = (layout::public_subnet_id(zone), layout::private_subnet_id(zone));
    route_table(
        state,
        &format!("rtb-0{zone}c2d3e4f5a6b7c8d"),
        false,
        Some(public),
        Some((IGW, false)),
        "public",
    );
    route_table(
        state,
        &format!("rtb-0{zone}b1c2d3e4f5a6b7c"),
        false,
        Some(private),
        Some((&nat, true)),
        "private",
    );
}

fn route_table(
    state: &mut State,
    id: &str,
    main: bool,
    subnet: Option<String>,
    default: Option<(&str, bool)>,
    name: &str,
) {
    let route = |destination: &str, gateway: Option<String>, nat: Option<String>| Route {
        origin: if gateway.as_deref() == Some("local") { "CreateRouteTable" } else { "CreateRoute" }.into(),
        destination_cidr_block: destination.into(),
        gateway_id: gateway,
        nat_gateway_id: nat,
        state: "active".into(),
    };
    let blocks =
        state.vpcs.values().flat_map(|vpc| [&vpc.cidr_block].into_iter().chain(&vpc.secondary_cidr_blocks));
    let mut routes: Vec<Route> = blocks.map(|block| route(block, Some("local".into()), None)).collect();
    if let Some((gateway, is_nat)) = default {
        let gateway = Some(gateway.to_string());
        routes.push(if is_nat {
            route("0.0.0.0/0", None, gateway)
        } else {
            route("0.0.0.0/0", gateway, None)
        });
    }
    let association = RouteTableAssociation {
        route_table_association_id: id.replacen("rtb-", "rtbassoc-", 1),
        main,
        subnet_id: subnet,
    };
    let table = RouteTable {
        route_table_id: id.into(),
        vpc_id: layout::VPC_ID.into(),
        associations: vec![association],
        routes,
        tags: vec![Tag::new("Name", format!("hopyard-{name}"))],
    };
    state.route_tables.insert(id.into(), Arc::new(table));
}
