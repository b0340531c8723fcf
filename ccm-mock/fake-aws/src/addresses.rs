//! Free addresses of subnets, and the loopback addresses that stand for public ones.
//!
//! The search goes on after the last address given out, so that one just freed is not reused at once.

use crate::state::State;
use ccm_mock_aws_api::{Code, Error, layout};
use std::collections::BTreeSet;
use std::net::Ipv4Addr;

/// First and last address that can be given out, and how many the block has.
fn bounds(cidr: &str) -> Option<(u32, u32)> {
    let (address, prefix) = cidr.split_once('/')?;
    let base = u32::from(address.parse::<Ipv4Addr>().ok()?);
    let prefix: u32 = prefix.parse().ok().filter(|p| (1..=30).contains(p))?;
    let size = 1u32 << (32 - prefix);
    // The first four addresses and the last one are AWS's own.
    Some((base + 4, base + size - 2))
}

impl State {
    fn used_in(&self, subnet_id: &str) -> BTreeSet<u32> {
        self.network_interfaces
            .values()
            .filter(|n| n.subnet_id == subnet_id)
            .flat_map(|n| n.private_ip_addresses.iter())
            .filter_map(|a| a.private_ip_address.parse::<Ipv4Addr>().ok())
            .map(u32::from)
            .collect()
    }

    /// How many addresses a subnet has left.
    pub fn available_addresses(&self, subnet_id: &str) -> u32 {
        let Some((first, last)) = self.subnets.get(subnet_id).and_then(|s| bounds(&s.cidr_block)) else {
            return 0;
        };
        let used = u32::try_from(self.used_in(subnet_id).len()).unwrap_or(u32::MAX);
        (last - first + 1).saturating_sub(used)
    }

    /// Take `count` free addresses of a subnet.
    pub(crate) fn allocate(&mut self, subnet_id: &str, count: usize) -> Result<Vec<String>, Error> {
        let subnet = self.subnets.get(subnet_id).ok_or_else(|| {
            Error::new(Code::InvalidSubnetIdNotFound, format!("The subnet ID '{subnet_id}' does not exist"))
        })?;
        let (first, last) = bounds(&subnet.cidr_block).unwrap_or((1, 0));
        let used = self.used_in(subnet_id);
        let start = self.cursors.get(subnet_id).map_or(first, |c| c + 1).clamp(first, last.max(first));
        let free: Vec<u32> =
            (start..=last).chain(first..start).filter(|ip| !used.contains(ip)).take(count).collect();
        if free.len() < count {
            let message = format!(
                "The specified subnet does not have enough free addresses to satisfy the request. ({subnet_id})"
            );
            return Err(Error::new(Code::InsufficientFreeAddressesInSubnet, message));
        }
        if let Some(last) = free.last() {
            self.cursors.insert(subnet_id.to_string(), *last);
        }
        Ok(free.into_iter().map(|ip| Ipv4Addr::from(ip).to_string()).collect())
    }

    /// After a restart: go on after the highest address in use.
    pub(crate) fn rewind_cursors(&mut self) {
        let cursors =
            self.subnets.keys().filter_map(|id| Some((id.clone(), *self.used_in(id).last()?))).collect();
        self.cursors = cursors;
    }

    /// A loopback /24 that no load balancer has; a zone's address is its host number.
    pub(crate) fn free_public_block(&self) -> Result<u8, Error> {
        let used: BTreeSet<u8> = self
            .load_balancers
            .values()
            .flat_map(|l| l.availability_zones.iter())
            .flat_map(|z| z.load_balancer_addresses.iter())
            .filter_map(|a| a.ip_address.parse::<Ipv4Addr>().ok())
            .map(|ip| ip.octets()[2])
            .collect();
        (1..=254).find(|n| !used.contains(n)).ok_or_else(|| {
            Error::new(Code::TooManyLoadBalancers, "The maximum number of load balancers has been reached")
        })
    }
}

/// The public address of a load balancer's block in a zone.
pub(crate) fn public_address(block: u8, zone: u8) -> String {
    let [a, b] = layout::PUBLIC_PREFIX;
    Ipv4Addr::new(a, b, block, zone).to_string()
}
