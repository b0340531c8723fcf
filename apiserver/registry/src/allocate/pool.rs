//! What is given out, to whom, and what is left.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

use apiserver_json::Value;
use apiserver_storage::{EventKind, Revision};
use apiserver_watchcache::{Cache, Watcher};
use rand::RngExt;

use super::{Cidr, Owner, ServiceRanges, cluster_ips, node_ports};
use crate::shared::claims::SERVICES;
use crate::{ip_addresses, object};

/// Where ServiceCIDRs are.
pub(crate) const RANGES: &str = "/registry/networking.k8s.io/servicecidrs/";

/// The ServiceCIDR of the ranges that the server was started with.
pub const OWN_RANGE: &str = "kubernetes";

/// What is given out, and to whom.
#[derive(Debug)]
pub(crate) struct Allocator {
    pub(super) ranges: ServiceRanges,
    pub(super) ips: HashMap<IpAddr, Owner>,
    /// A port may be shared by the protocols of one Service.
    pub(super) ports: HashMap<u16, Owner>,
    /// Follows the Services where other servers write some.
    followed: Option<Watcher>,
    /// Where addresses may come from now, as of this change of the ServiceCIDRs.
    open: (Option<Stamp>, Vec<Cidr>),
}

/// The newest revision of the ServiceCIDRs, and how many there are.
type Stamp = (Revision, usize);

impl Allocator {
    pub(crate) fn new(ranges: ServiceRanges) -> Self {
        let open = (None, ranges.cidrs().collect());
        Self { ranges, ips: HashMap::new(), ports: HashMap::new(), followed: None, open }
    }

    /// What is given out, to try something on.
    pub(super) fn copy(&self) -> Self {
        let (ips, ports, open) = (self.ips.clone(), self.ports.clone(), self.open.clone());
        Self { ranges: self.ranges, ips, ports, followed: None, open }
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
        ips: &[IpAddr],
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

    /// Learns which ranges are there. The server's own count as there until their object is.
    pub(super) fn look_at_ranges(&mut self, cache: &Cache) {
        let changed = cache.last_change(RANGES);
        let snapshot = cache.snapshot(RANGES);
        let stamp = Some((changed, snapshot.objects.len()));
        if self.open.0 == stamp {
            return;
        }
        let ranges: Vec<Value> = snapshot.objects.values().map(|range| range.parse()).collect();
        let own = ranges.iter().all(|range| object::name(range) != OWN_RANGE);
        let own = self.ranges.cidrs().filter(|_| own);
        let open = own.chain(ranges.iter().filter(|range| is_open(range)).flat_map(cidrs_of));
        // Upstream makes no allocator of an IPv6 range that is larger.
        let open = open.filter(|cidr| cidr.network().is_ipv4() || cidr.prefix_len() >= 64);
        self.open = (stamp, open.collect());
    }

    /// The ranges of a family that addresses may come from.
    pub(super) fn open(&self, family: &str) -> impl Iterator<Item = &Cidr> {
        self.open.1.iter().filter(move |cidr| cidr.family() == family)
    }

    pub(super) fn free_ip(&self, cache: &Cache, family: &str) -> Option<IpAddr> {
        let free = |ip: &IpAddr| !self.ips.contains_key(ip) && !ip_addresses::is_taken(cache, *ip);
        self.open(family).find_map(|cidr| {
            let size = cidr.size();
            let reserved = reserved_of(size);
            // Each part from a place by chance.
            let part = |first: u64, last: u64| {
                let start = rand::rng().random_range(first..last.max(first + 1));
                (start..last).chain(first..start.min(last)).map(|offset| cidr.at(offset)).find(free)
            };
            part(reserved, size).or_else(|| part(0, reserved))
        })
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

/// Dynamic addresses come from the upper part, so that fixed ones below rarely collide (KEP-3070).
fn reserved_of(size: u64) -> u64 {
    if size < 16 { 0 } else { (size / 16).clamp(16, 256).min(size) }
}

/// Whether a ServiceCIDR gives addresses: one that is not known to be unready, and stays.
fn is_open(range: &Value) -> bool {
    let conditions = range.pointer("/status/conditions").and_then(Value::as_array);
    let ready = conditions.into_iter().flatten().find(|condition| condition["type"] == "Ready");
    !object::is_deleting(range) && ready.is_none_or(|ready| ready["status"] == "True")
}

/// The ranges of a ServiceCIDR.
pub(crate) fn cidrs_of(range: &Value) -> impl Iterator<Item = Cidr> {
    let cidrs = range.pointer("/spec/cidrs").and_then(Value::as_array);
    cidrs.into_iter().flatten().filter_map(|cidr| cidr.as_str()?.parse().ok())
}

#[cfg(test)]
mod tests {
    use apiserver_json::json;

    use super::*;

    #[test]
    fn only_the_owners_own_is_taken_back() {
        let mut allocator = Allocator::new(ServiceRanges::default());
        let (mine, other): (Owner, Owner) = ("/mine".into(), "/other".into());
        let ip = IpAddr::from([10, 96, 7, 7]);
        allocator
            .adopt(&other, &json!({"spec": {"clusterIPs": ["10.96.7.7"], "ports": [{"nodePort": 30007}]}}));
        allocator.free(&mine, &[ip], &[30007]);
        assert_eq!((allocator.ips.len(), allocator.ports.len()), (1, 1));
        allocator.free(&other, &[ip], &[30007]);
        assert_eq!((allocator.ips.len(), allocator.ports.len()), (0, 0));
    }
}
