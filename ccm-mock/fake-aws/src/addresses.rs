//! Free addresses of subnets, and the loopback addresses that stand for public ones.
//!
//! The search goes on after the last address given out, so that one just freed is not reused at once.

use crate::state::State;
use ccm_mock_aws_api::ec2::Subnet;
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

fn numbers<'a>(ips: impl IntoIterator<Item = &'a String>) -> impl Iterator<Item = u32> {
    ips.into_iter().filter_map(|ip| ip.parse::<Ipv4Addr>().ok()).map(u32::from)
}

impl State {
    /// The addresses of an interface are free again.
    pub(crate) fn free_addresses<'a>(&mut self, ips: impl IntoIterator<Item = &'a String>) {
        for ip in numbers(ips) {
            self.addresses.remove(&ip);
        }
    }

    /// These addresses are somebody's from now on.
    pub(crate) fn use_addresses<'a>(&mut self, ips: impl IntoIterator<Item = &'a String>) {
        self.addresses.extend(numbers(ips));
    }

    /// How many addresses a subnet has left.
    pub fn available_addresses(&self, subnet_id: &str) -> u32 {
        let Some((first, last)) = self.subnets.get(subnet_id).and_then(|s| bounds(&s.cidr_block)) else {
            return 0;
        };
        let used = u32::try_from(self.addresses.range(first..=last).count()).unwrap_or(u32::MAX);
        (last - first + 1).saturating_sub(used)
    }

    /// Take `count` free addresses of a subnet.
    pub(crate) fn allocate(&mut self, subnet_id: &str, count: usize) -> Result<Vec<String>, Error> {
        let subnet = self.subnets.get(subnet_id).ok_or_else(|| {
            Error::new(Code::InvalidSubnetIdNotFound, format!("The subnet ID '{subnet_id}' does not exist"))
        })?;
        let (first, last) = bounds(&subnet.cidr_block).unwrap_or((1, 0));
        let start = self.cursors.get(subnet_id).map_or(first, |c| c + 1).clamp(first, last.max(first));
        let free: Vec<u32> = (start..=last)
            .chain(first..start)
            .filter(|ip| !self.addresses.contains(ip))
            .take(count)
            .collect();
        if free.len() < count {
            let message = format!(
                "The specified subnet does not have enough free addresses to satisfy the request. ({subnet_id})"
            );
            return Err(Error::new(Code::InsufficientFreeAddressesInSubnet, message));
        }
        if let Some(last) = free.last() {
            self.cursors.insert(subnet_id.to_string(), *last);
        }
        self.addresses.extend(free.iter().copied());
        Ok(free.into_iter().map(|ip| Ipv4Addr::from(ip).to_string()).collect())
    }

    /// After a restart: which addresses are in use; the search goes on after the highest.
    pub(crate) fn count_addresses(&mut self) {
        let all = self.network_interfaces.values().flat_map(|n| n.private_ip_addresses.iter());
        self.addresses = numbers(all.map(|a| &a.private_ip_address)).collect();
        let highest = |subnet: &Subnet| {
            let (first, last) = bounds(&subnet.cidr_block)?;
            self.addresses.range(first..=last).next_back().copied()
        };
        let cursors = self.subnets.iter().filter_map(|(id, subnet)| Some((id.clone(), highest(subnet)?)));
        self.cursors = cursors.collect();
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

#[cfg(test)]
mod tests {
    use super::*;
    use ccm_mock_aws_api::Operation;
    use ccm_mock_aws_api::operation::*;
    use proptest::prelude::*;

    /// An operation on the things there are, by numbers that draw them.
    fn operation(state: &State, (what, which, count): (u8, usize, u32)) -> Option<Operation> {
        let subnet_id = layout::private_subnet_id(1 + which as u8 % 2);
        let interface =
            || state.network_interfaces.keys().nth(which % state.network_interfaces.len()).cloned();
        let instance = || state.instances.keys().nth(which % state.instances.len().max(1)).cloned();
        Some(match what {
            0 => RunInstances { subnet_id, count: 1, ..Default::default() }.into(),
            1 => TerminateInstances { instance_ids: vec![instance()?] }.into(),
            2 => CreateNetworkInterface {
                subnet_id,
                secondary_private_ip_address_count: count,
                ..Default::default()
            }
            .into(),
            3 => DeleteNetworkInterface { network_interface_id: interface()? }.into(),
            4 => AssignPrivateIpAddresses {
                network_interface_id: interface()?,
                secondary_private_ip_address_count: count,
                ..Default::default()
            }
            .into(),
            5 => AssignPrivateIpAddresses {
                network_interface_id: interface()?,
                private_ip_addresses: vec![format!("10.0.16.{}", 100 + count)],
                ..Default::default()
            }
            .into(),
            _ => {
                let id = interface()?;
                let known = &state.network_interfaces.get(&id)?.private_ip_addresses;
                let second =
                    known.iter().filter(|a| !a.primary).map(|a| a.private_ip_address.clone()).next()?;
                UnassignPrivateIpAddresses { network_interface_id: id, private_ip_addresses: vec![second] }
                    .into()
            }
        })
    }

    proptest! {
        #[test]
        fn the_addresses_in_use_are_those_of_the_interfaces(
            draws in proptest::collection::vec((0..7u8, 0..50usize, 0..5u32), 0..60)
        ) {
            let mut state = State::bootstrap_with(2, 26);
            for draw in draws {
                let Some(operation) = operation(&state, draw) else { continue };
                if let Ok((next, _)) = state.apply(operation, 0) {
                    state = next;
                }
                let mut counted = state.clone();
                counted.count_addresses();
                prop_assert_eq!(&counted.addresses, &state.addresses);
            }
        }
    }
}
