//! The addresses of one node: its interfaces, which address is whose, and which rest after use. Pure bookkeeping.
//!
//! It calls nobody: what to ask the cloud for is answered as a value.

use ccm_mock_aws_api::ec2::NetworkInterface;
use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

/// Addresses fetched at once.
pub(crate) const BATCH: u32 = 4;
/// A released address rests this long before it is given to another Pod, as upstream's does.
const COOLDOWN: Duration = Duration::from_secs(30);

/// One interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Interface {
    pub(crate) id: String,
    pub(crate) device_index: u32,
    /// Secondary addresses in order of assignment.
    pub(crate) addresses: Vec<Ipv4Addr>,
}

impl Interface {
    pub(crate) fn of(interface: &NetworkInterface) -> Self {
        let secondary = interface.private_ip_addresses.iter().filter(|a| !a.primary);
        Interface {
            id: interface.network_interface_id.clone(),
            device_index: interface.attachment.as_ref().map_or(0, |a| a.device_index),
            addresses: secondary.filter_map(|a| a.private_ip_address.parse().ok()).collect(),
        }
    }
}

/// How the pool can grow.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Growth {
    /// More addresses on this interface.
    Addresses { interface: String, count: u32 },
    /// Another interface at this index with so many addresses.
    Interface { device_index: u32, count: u32 },
    /// The instance type allows no more.
    Full,
}

/// The pool.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    pub(crate) interfaces: Vec<Interface>,
    pub(crate) max_interfaces: u32,
    /// Secondary addresses of an interface.
    pub(crate) per_interface: u32,
    used: HashMap<String, Ipv4Addr>,
    resting: HashMap<Ipv4Addr, Instant>,
}

impl Pool {
    pub(crate) fn new(mut interfaces: Vec<Interface>, max_interfaces: u32, per_interface: u32) -> Self {
        interfaces.sort_by_key(|i| i.device_index);
        Pool { interfaces, max_interfaces, per_interface, ..Default::default() }
    }

    fn addresses(&self) -> impl Iterator<Item = Ipv4Addr> + '_ {
        self.interfaces.iter().flat_map(|i| i.addresses.iter().copied())
    }

    pub(crate) fn get(&self, uid: &str) -> Option<Ipv4Addr> {
        self.used.get(uid).copied()
    }

    /// Keep an address a Pod has already.
    pub(crate) fn keep(&mut self, uid: &str, ip: Ipv4Addr) -> bool {
        let mine = self.addresses().any(|a| a == ip) && !self.used.values().any(|a| *a == ip);
        if mine {
            self.used.insert(uid.to_string(), ip);
        }
        mine
    }

    /// A free address; a resting one only if allowed.
    pub(crate) fn take(&mut self, uid: &str, now: Instant, also_resting: bool) -> Option<Ipv4Addr> {
        self.resting.retain(|_, since| now.duration_since(*since) < COOLDOWN);
        let free = |a: &Ipv4Addr| !self.used.values().any(|used| used == a);
        let ip = self.addresses().find(|a| free(a) && (also_resting || !self.resting.contains_key(a)))?;
        self.resting.remove(&ip);
        self.used.insert(uid.to_string(), ip);
        Some(ip)
    }

    pub(crate) fn release(&mut self, uid: &str, now: Instant) -> Option<Ipv4Addr> {
        let ip = self.used.remove(uid)?;
        self.resting.insert(ip, now);
        Some(ip)
    }

    pub(crate) fn growth(&self) -> Growth {
        let room = |i: &Interface| {
            self.per_interface.saturating_sub(u32::try_from(i.addresses.len()).unwrap_or(u32::MAX))
        };
        if let Some(interface) = self.interfaces.iter().find(|i| room(i) > 0) {
            return Growth::Addresses { interface: interface.id.clone(), count: room(interface).min(BATCH) };
        }
        let taken: Vec<u32> = self.interfaces.iter().map(|i| i.device_index).collect();
        match (0..self.max_interfaces).find(|index| !taken.contains(index)) {
            Some(device_index) => Growth::Interface { device_index, count: self.per_interface.min(BATCH) },
            None => Growth::Full,
        }
    }

    pub(crate) fn grown(&mut self, interface: &str, addresses: &[Ipv4Addr]) {
        if let Some(interface) = self.interfaces.iter_mut().find(|i| i.id == interface) {
            interface.addresses.extend(addresses);
        }
    }

    /// An interface beside the first that no Pod uses, if enough addresses stay free without it.
    pub(crate) fn spare(&self) -> Option<String> {
        let used = |a: &Ipv4Addr| self.used.values().any(|used| used == a);
        let free = self.addresses().filter(|a| !used(a)).count();
        let idle = self.interfaces.iter().filter(|i| i.device_index > 0).rev();
        let batch = BATCH as usize;
        idle.filter(|i| !i.addresses.iter().any(used) && free >= i.addresses.len() + batch)
            .map(|i| i.id.clone())
            .next()
    }

    pub(crate) fn forget(&mut self, interface: &str) {
        self.interfaces.retain(|i| i.id != interface);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool() -> Pool {
        let first = Interface { id: "eni-1".into(), device_index: 0, addresses: Vec::new() };
        Pool::new(vec![first], 2, 5)
    }

    fn ips(from: u8, count: u8) -> Vec<Ipv4Addr> {
        (from..from + count).map(|i| Ipv4Addr::new(10, 0, 16, i)).collect()
    }

    #[test]
    fn the_first_interface_fills_then_another_comes_then_nothing() {
        let mut pool = pool();
        assert_eq!(pool.growth(), Growth::Addresses { interface: "eni-1".into(), count: 4 });
        pool.grown("eni-1", &ips(5, 4));
        assert_eq!(pool.growth(), Growth::Addresses { interface: "eni-1".into(), count: 1 });
        pool.grown("eni-1", &ips(9, 1));
        assert_eq!(pool.growth(), Growth::Interface { device_index: 1, count: 4 });
        pool.interfaces.push(Interface { id: "eni-2".into(), device_index: 1, addresses: ips(20, 5) });
        assert_eq!(pool.growth(), Growth::Full);
        assert_eq!(pool.spare(), Some("eni-2".into()));
    }

    #[test]
    fn a_released_address_rests() {
        let (mut pool, start) = (pool(), Instant::now());
        pool.grown("eni-1", &ips(5, 2));
        assert_eq!(pool.take("a", start, false), Some(ips(5, 1)[0]));
        pool.release("a", start);
        assert_eq!(pool.take("b", start, false), Some(ips(6, 1)[0]));
        assert_eq!(pool.take("c", start, false), None);
        assert_eq!(pool.take("c", start, true), Some(ips(5, 1)[0]));
        pool.release("c", start);
        assert_eq!(pool.take("d", start + COOLDOWN, false), Some(ips(5, 1)[0]));
        assert!(!pool.keep("e", ips(6, 1)[0]));
    }
}
