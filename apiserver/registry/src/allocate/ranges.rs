//! Where cluster IPs and node ports come from.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use crate::strategy::addresses::{masked, parse_range};

/// A range of addresses: its base and the length of its prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cidr {
    network: IpAddr,
    prefix_len: u8,
}

/// Where cluster IPs and node ports come from. Further ranges are ServiceCIDR objects.
#[derive(Clone, Copy, Debug)]
pub struct ServiceRanges {
    /// Its family is what a Service gets that asks for none.
    pub primary: Cidr,
    /// Of the other family, where Services may have both.
    pub secondary: Option<Cidr>,
    /// First and last node port.
    pub node_ports: (u16, u16),
}

impl Default for ServiceRanges {
    fn default() -> Self {
        let primary = Cidr { network: Ipv4Addr::new(10, 96, 0, 0).into(), prefix_len: 16 };
        Self { primary, secondary: None, node_ports: (30000, 32767) }
    }
}

impl ServiceRanges {
    /// The first is what a Service gets that asks for none.
    pub fn cidrs(&self) -> impl Iterator<Item = Cidr> {
        std::iter::once(self.primary).chain(self.secondary)
    }
}

/// As objects spell the family of an address.
pub(crate) fn family_of(ip: IpAddr) -> &'static str {
    if ip.is_ipv4() { "IPv4" } else { "IPv6" }
}

impl Cidr {
    /// An IPv4 range, from a base that is masked.
    pub fn v4(base: Ipv4Addr, prefix_len: u8) -> Self {
        let prefix_len = prefix_len.min(32);
        Self { network: masked(base.into(), prefix_len), prefix_len }
    }

    pub(crate) fn family(&self) -> &'static str {
        family_of(self.network)
    }

    pub fn network(&self) -> IpAddr {
        self.network
    }

    pub fn prefix_len(&self) -> u8 {
        self.prefix_len
    }

    /// Whether it has an address to give: the first is the network's own, and the last of IPv4 is for all.
    pub(crate) fn holds(&self, ip: IpAddr) -> bool {
        ip.is_ipv4() == self.network.is_ipv4()
            && masked(ip, self.prefix_len) == self.network
            && ip != self.network
            && Some(ip) != self.broadcast()
    }

    fn broadcast(&self) -> Option<IpAddr> {
        let IpAddr::V4(base) = self.network else { return None };
        let hosts = u32::MAX.checked_shr(u32::from(self.prefix_len)).unwrap_or(0);
        Some(IpAddr::V4((u32::from(base) | hosts).into()))
    }

    /// How many addresses can be given out; ranges that are larger have [`u64::MAX`].
    pub fn size(&self) -> u64 {
        let (bits, lost) = if self.network.is_ipv4() { (32, 2) } else { (128, 1) };
        1u64.checked_shl(bits - u32::from(self.prefix_len)).map_or(u64::MAX, |all| all.saturating_sub(lost))
    }

    /// The address at a place among those that can be given out.
    pub(crate) fn at(&self, offset: u64) -> IpAddr {
        match self.network {
            IpAddr::V4(base) => Ipv4Addr::from(u32::from(base).wrapping_add(1 + offset as u32)).into(),
            IpAddr::V6(base) => Ipv6Addr::from(u128::from(base).wrapping_add(1 + u128::from(offset))).into(),
        }
    }

    /// The first address, which is the API server's own Service's.
    pub fn first(&self) -> IpAddr {
        self.at(0)
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{}/{}", self.network, self.prefix_len)
    }
}

impl FromStr for Cidr {
    type Err = ();

    /// What is beyond the prefix is cleared.
    fn from_str(text: &str) -> Result<Self, ()> {
        let (base, prefix_len) = parse_range(text).ok_or(())?;
        Ok(Self { network: masked(base, prefix_len), prefix_len })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_holds_what_it_can_give() {
        for (range, address, want) in [
            ("10.96.0.0/16", "10.96.0.1", true),
            ("10.96.0.0/16", "10.96.0.0", false),
            ("10.96.0.0/16", "10.96.255.255", false),
            ("10.96.0.0/16", "10.97.0.1", false),
            ("10.0.0.0/32", "10.0.0.0", false),
            ("0.0.0.0/0", "10.0.0.1", true),
            ("fd00::/64", "fd00::1", true),
            ("fd00::/64", "fd00::", false),
            ("fd00::/64", "fd00::ffff:ffff:ffff:ffff", true),
            ("fd00::/64", "10.0.0.1", false),
        ] {
            let range: Cidr = range.parse().unwrap();
            assert_eq!(range.holds(address.parse().unwrap()), want, "{address} in {range}");
        }
        assert!("nonsense".parse::<Cidr>().is_err());
    }

    #[test]
    fn addresses_are_counted_from_the_first() {
        for (range, size, last) in [
            ("10.0.0.0/29", 6, "10.0.0.6"),
            ("10.0.0.0/32", 0, "10.0.0.1"),
            ("fd00::/124", 15, "fd00::f"),
            ("fd00::/64", u64::MAX, "fd00::ffff:ffff:ffff:ffff"),
        ] {
            let range: Cidr = range.parse().unwrap();
            assert_eq!(range.size(), size, "{range}");
            assert_eq!(range.at(range.size().max(1) - 1).to_string(), last, "{range}");
        }
    }
}
