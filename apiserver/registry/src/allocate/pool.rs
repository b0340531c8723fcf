//! What is given out, to whom, and what is left.

use std::collections::{HashMap, HashSet};
use std::net::Ipv4Addr;
use std::sync::Arc;

use apiserver_json::Value;
use apiserver_storage::EventKind;
use apiserver_watchcache::{Cache, Watcher};
use rand::RngExt;

use super::{Owner, ServiceRanges, cluster_ips, node_ports};
use crate::ip_addresses;
use crate::shared::claims::SERVICES;

/// What is given out, and to whom.
#[derive(Debug)]
pub(crate) struct Allocator {
    pub(super) ranges: ServiceRanges,
    pub(super) ips: HashMap<Ipv4Addr, Owner>,
    /// A port may be shared by the protocols of one Service.
    pub(super) ports: HashMap<u16, Owner>,
    /// Follows the Services where other servers write some.
    followed: Option<Watcher>,
}

impl Allocator {
    pub(crate) fn new(ranges: ServiceRanges) -> Self {
        Self { ranges, ips: HashMap::new(), ports: HashMap::new(), followed: None }
    }

    /// What is given out, to try something on.
    pub(super) fn copy(&self) -> Self {
        Self { ranges: self.ranges, ips: self.ips.clone(), ports: self.ports.clone(), followed: None }
    }

    /// Takes over what a stored Service holds.
    pub(crate) fn adopt(&mut self, owner: &Owner, service: &Value) {
        for ip in cluster_ips(service) {
            self.ips.insert(ip, owner.clone());
        }
        for port in node_ports(service) {
            self.ports.insert(port, owner.clone());
        }
    }

    /// Takes back what is the owner's still: another server may have given it to somebody else meanwhile.
    pub(super) fn free<'a>(
        &mut self,
        owner: &Owner,
        ips: &[Ipv4Addr],
        ports: impl IntoIterator<Item = &'a u16>,
    ) {
        for ip in ips {
            if self.ips.get(ip) == Some(owner) {
                self.ips.remove(ip);
            }
        }
        for port in ports {
            if self.ports.get(port) == Some(owner) {
                self.ports.remove(port);
            }
        }
    }

    /// Learns what other servers gave out and took back.
    pub(super) fn follow(&mut self, cache: &Arc<Cache>) {
        loop {
            let Some(changes) = self.followed.as_mut().and_then(|watcher| watcher.now().ok()) else {
                return self.adopt_all(cache);
            };
            if changes.changes.is_empty() {
                return;
            }
            for change in changes.changes {
                self.release(change.object.key());
                if change.kind != EventKind::Deleted {
                    self.adopt(change.object.key(), &change.object.parse());
                }
            }
        }
    }

    fn adopt_all(&mut self, cache: &Arc<Cache>) {
        let services = cache.snapshot(SERVICES);
        self.ips.clear();
        self.ports.clear();
        for object in services.objects.values() {
            self.adopt(object.key(), &object.parse());
        }
        self.followed = cache.watch(SERVICES, services.revision).ok();
    }

    fn release(&mut self, key: &Owner) {
        self.ips.retain(|_, owner| owner != key);
        self.ports.retain(|_, owner| owner != key);
    }

    pub(super) fn free_ip(&self, cache: &Cache) -> Option<Ipv4Addr> {
        let size = self.ranges.size();
        // Dynamic addresses come from the upper part, so that fixed ones below rarely collide (KEP-3070).
        let reserved = size.checked_div(16).unwrap_or(0).clamp(16, 256).min(size);
        let start = rand::rng().random_range(0..size.max(1));
        let at = |offset: u32| Ipv4Addr::from(u32::from(self.ranges.network) + 1 + offset);
        let free = |offset: &u32| {
            !self.ips.contains_key(&at(*offset)) && !ip_addresses::is_taken(cache, at(*offset))
        };
        (0..size)
            .map(|i| (start + i) % size)
            .find(|offset| *offset >= reserved && free(offset))
            .or_else(|| (0..reserved).find(free))
            .map(at)
    }

    pub(super) fn free_port(&self, taken: &HashSet<u16>) -> Option<u16> {
        let (first, last) = self.ranges.node_ports;
        let size = u32::from(last - first) + 1;
        // The lower part is for ports people choose (KEP-3668).
        let reserved = size.checked_div(32).unwrap_or(0).clamp(16, 128).min(size);
        let start = rand::rng().random_range(0..size);
        let at = |offset: u32| first + offset as u16;
        let free = |offset: &u32| !self.ports.contains_key(&at(*offset)) && !taken.contains(&at(*offset));
        (0..size)
            .map(|i| (start + i) % size)
            .find(|offset| *offset >= reserved && free(offset))
            .or_else(|| (0..reserved).find(free))
            .map(at)
    }
}

#[cfg(test)]
mod tests {
    use apiserver_json::json;

    use super::*;

    #[test]
    fn only_the_owners_own_is_taken_back() {
        let mut allocator = Allocator::new(ServiceRanges::default());
        let (mine, other): (Owner, Owner) = ("/mine".into(), "/other".into());
        let ip = Ipv4Addr::new(10, 96, 7, 7);
        allocator
            .adopt(&other, &json!({"spec": {"clusterIPs": ["10.96.7.7"], "ports": [{"nodePort": 30007}]}}));
        allocator.free(&mine, &[ip], &[30007]);
        assert_eq!((allocator.ips.len(), allocator.ports.len()), (1, 1));
        allocator.free(&other, &[ip], &[30007]);
        assert_eq!((allocator.ips.len(), allocator.ports.len()), (0, 0));
    }
}
