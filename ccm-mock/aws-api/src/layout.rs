//! The one account, region and address plan that everybody shares.
//!
//! Numbers only; the resources of the plan are made by `fake-aws`.

/// The account.
pub const ACCOUNT_ID: &str = "123456789012";
/// The region.
pub const REGION: &str = "us-east-1";
/// The VPC's block.
pub const VPC_CIDR: &str = "10.0.0.0/16";
/// The VPC's id.
pub const VPC_ID: &str = "vpc-0a1b2c3d4e5f60718";
/// The most zones there can be.
pub const MAX_ZONES: u8 = 6;
/// Where a client on the internet stands.
pub const CLIENT_IP: &str = "198.51.100.10";
/// Block of Service cluster addresses.
pub const SERVICE_CIDR: &str = "10.96.0.0/16";
/// Where the control plane stands in the VPC: what the `kubernetes` Service leads to.
pub const CONTROL_PLANE: std::net::SocketAddrV4 =
    std::net::SocketAddrV4::new(std::net::Ipv4Addr::new(10, 0, 0, 10), 443);
/// Block that load balancers' client-side addresses come from: loopback, so they work as they are.
pub const PUBLIC_PREFIX: [u8; 2] = [127, 66];

/// Name of zone `index`, counted from 1.
pub fn zone_name(index: u8) -> String {
    let letter = (b'a' + index.saturating_sub(1).min(25)) as char;
    format!("{REGION}{letter}")
}

/// Id of zone `index`, counted from 1.
pub fn zone_id(index: u8) -> String {
    format!("use1-az{index}")
}

/// Usual length of a private subnet's prefix; longer ones run out of addresses sooner.
pub const PRIVATE_SUBNET_PREFIX: u8 = 20;
/// The shortest there can be: each zone has a block of its own then, beside the VPC's first.
pub const PRIVATE_SUBNET_PREFIX_MIN: u8 = 16;

/// The private subnet's block of zone `index`: nodes and Pods.
pub fn private_subnet_cidr(index: u8, prefix: u8) -> String {
    let prefix = prefix.clamp(PRIVATE_SUBNET_PREFIX_MIN, 28);
    if prefix < PRIVATE_SUBNET_PREFIX {
        return format!("10.{index}.0.0/{prefix}");
    }
    format!("10.0.{}.0/{prefix}", u16::from(index) * 16)
}

/// The VPC's further block that zone `index` needs for a private subnet of this size, if it needs one.
pub fn secondary_cidr(index: u8, prefix: u8) -> Option<String> {
    (prefix < PRIVATE_SUBNET_PREFIX).then(|| format!("10.{index}.0.0/16"))
}

/// The zone of an address in a private subnet, counted from 1.
pub fn zone_of(private: std::net::Ipv4Addr) -> u8 {
    match private.octets() {
        [_, 0, third, _] => third / 16,
        [_, second, ..] => second,
    }
}

/// The public subnet's block of zone `index`: load balancers and NAT.
pub fn public_subnet_cidr(index: u8) -> String {
    format!("10.0.{index}.0/24")
}

/// The private subnet's id of zone `index`.
pub fn private_subnet_id(index: u8) -> String {
    format!("subnet-0{index}0b1c2d3e4f5a6b7")
}

/// The public subnet's id of zone `index`.
pub fn public_subnet_id(index: u8) -> String {
    format!("subnet-0{index}1c2d3e4f5a6b7c8")
}
