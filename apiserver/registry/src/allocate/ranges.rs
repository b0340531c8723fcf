//! Where cluster IPs and node ports come from.

use std::net::Ipv4Addr;

use crate::strategy::addresses::range_holds;

/// Where cluster IPs and node ports come from.
#[derive(Clone, Copy, Debug)]
pub struct ServiceRanges {
    pub network: Ipv4Addr,
    pub prefix_len: u8,
    /// First and last node port.
    pub node_ports: (u16, u16),
}

impl Default for ServiceRanges {
    fn default() -> Self {
        Self { network: Ipv4Addr::new(10, 96, 0, 0), prefix_len: 16, node_ports: (30000, 32767) }
    }
}

impl ServiceRanges {
    pub(super) fn contains(&self, ip: Ipv4Addr) -> bool {
        range_holds(&self.cidr(), ip.into())
    }

    /// Addresses that can be given out: all but the network's own and the broadcast address.
    pub(super) fn size(&self) -> u32 {
        (1u32 << (32 - u32::from(self.prefix_len.min(31)))).saturating_sub(2)
    }

    /// The first address, which is the API server's own Service's.
    pub fn first(&self) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.network) + 1)
    }

    pub fn cidr(&self) -> String {
        format!("{}/{}", self.network, self.prefix_len)
    }
}
