//! Cluster IPs and node ports: given out once, taken back with their Service. No races: one lock, and a claim that
//! is undone unless the write it belongs to succeeded.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::net::Ipv4Addr;
use std::sync::Arc;

use apiserver_json::{Value, json};
use apiserver_meta::Status;
use apiserver_meta::field::{FieldError, Problem};
use apiserver_storage::EventKind;
use apiserver_watchcache::{Cache, Object, Watcher};
use rand::RngExt;

use crate::ip_addresses;
use crate::object;
use crate::registry::{Call, Registry};
use crate::shared::claims::SERVICES;
use crate::strategy::addresses::range_holds;
use crate::strategy::service::needs_node_ports;
use crate::strategy::service_ips;

/// The port whose trouble is upstream's own error, not the Service's.
const HEALTH_PORT: &str = "spec.healthCheckNodePort";

/// Two ports of one update that ask for the same: upstream's own error, and not in words for one.
const TWICE: &str = "spec.ports[].nodePort";

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
    fn contains(&self, ip: Ipv4Addr) -> bool {
        range_holds(&self.cidr(), ip.into())
    }

    /// Addresses that can be given out: all but the network's own and the broadcast address.
    fn size(&self) -> u32 {
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

/// A Service that could not be given what it needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exhausted {
    pub namespace: String,
    pub name: String,
    /// Empty where the Service was not created.
    pub uid: String,
    /// `node port` or `cluster IP`.
    pub resource: &'static str,
    /// The range that is full.
    pub range: String,
}

type Owner = Arc<str>;

/// What is given out, and to whom.
#[derive(Debug)]
pub(crate) struct Allocator {
    ranges: ServiceRanges,
    ips: HashMap<Ipv4Addr, Owner>,
    /// A port may be shared by the protocols of one Service.
    ports: HashMap<u16, Owner>,
    /// Follows the Services where other servers write some.
    followed: Option<Watcher>,
}

/// Allocations of one write; given back unless kept.
#[must_use]
pub(crate) struct Claim {
    /// Where it is entered, and as whose.
    made: Option<(Registry, Owner)>,
    ips: Vec<Ipv4Addr>,
    ports: BTreeSet<u16>,
    dry_run: bool,
    /// What the write lets go of, once it succeeded.
    freed: (Vec<Ipv4Addr>, Vec<u16>),
}

impl Claim {
    pub(crate) fn nothing() -> Self {
        Self {
            made: None,
            ips: Vec::new(),
            ports: BTreeSet::new(),
            dry_run: false,
            freed: (Vec::new(), Vec::new()),
        }
    }

    /// The cluster IPs that the write takes and those it lets go of.
    pub(crate) fn cluster_ips(&self) -> (&[Ipv4Addr], &[Ipv4Addr]) {
        (&self.ips, &self.freed.0)
    }

    /// A port for what is only tried: the one after the last it has, or one beyond the usual range. A guess: where a port
    /// was asked for, the next one may be somebody's.
    fn made_up_port(&self) -> u16 {
        const FIRST: u16 = 32769;
        self.ports.last().map_or(FIRST, |last| last.saturating_add(1))
    }

    /// The write succeeded.
    pub(crate) fn keep(mut self) {
        if let Some((registry, owner)) = self.made.take() {
            registry.allocator().free(&owner, &self.freed.0, &self.freed.1);
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if let Some((registry, owner)) = self.made.take() {
            registry.allocator().free(&owner, &self.ips, &self.ports);
        }
    }
}

impl Allocator {
    pub(crate) fn new(ranges: ServiceRanges) -> Self {
        Self { ranges, ips: HashMap::new(), ports: HashMap::new(), followed: None }
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
    fn free<'a>(&mut self, owner: &Owner, ips: &[Ipv4Addr], ports: impl IntoIterator<Item = &'a u16>) {
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
    fn follow(&mut self, cache: &Arc<Cache>) {
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

    fn free_ip(&self, cache: &Cache) -> Option<Ipv4Addr> {
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

    fn free_port(&self, taken: &HashSet<u16>) -> Option<u16> {
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

pub(crate) fn cluster_ips(service: &Value) -> Vec<Ipv4Addr> {
    let list = service.pointer("/spec/clusterIPs").and_then(Value::as_array).into_iter().flatten();
    let single = service.pointer("/spec/clusterIP").into_iter();
    let mut ips: Vec<Ipv4Addr> =
        list.chain(single).filter_map(Value::as_str).filter_map(|ip| ip.parse().ok()).collect();
    ips.dedup();
    ips
}

/// In their order, each once.
pub(crate) fn node_ports(service: &Value) -> Vec<u16> {
    let ports = service.pointer("/spec/ports").and_then(Value::as_array).into_iter().flatten();
    let health = service.pointer("/spec/healthCheckNodePort").into_iter();
    let mut numbers: Vec<u16> = ports
        .filter_map(|port| port.get("nodePort"))
        .chain(health)
        .filter_map(Value::as_u64)
        .filter_map(|number| u16::try_from(number).ok())
        .filter(|number| *number != 0)
        .collect();
    numbers.sort_unstable();
    numbers.dedup();
    numbers
}

impl Registry {
    /// Where cluster IPs and node ports come from.
    pub fn service_ranges(&self) -> ServiceRanges {
        self.allocator().ranges
    }

    /// The cluster IPs that are given out, and the keys of the Services that hold them.
    pub(crate) fn given_out(&self) -> Vec<(Ipv4Addr, Owner)> {
        let mut allocator = self.allocator();
        if self.store().is_shared() {
            allocator.follow(self.cache());
        }
        allocator.ips.iter().map(|(ip, owner)| (*ip, owner.clone())).collect()
    }

    /// Gives a Service what it needs, and writes it into the Service.
    ///
    /// # Errors
    /// 422 where what it asks for is taken or out of range, 500 where nothing is left.
    pub(crate) fn claim_for_service(
        &self,
        call: &Call,
        key: &Owner,
        service: &mut Value,
        old: Option<&Value>,
    ) -> Result<Claim, Status> {
        if call.resource.kind != "Service" || !call.resource.group.is_empty() {
            return Ok(Claim::nothing());
        }
        let spec = service.get("spec").unwrap_or(&Value::Null);
        let wrong = service_ips::errors(spec);
        if !wrong.is_empty() {
            return Err(Status::invalid(&call.resource.gvk(), object::name(service), &wrong));
        }
        let mut claim = Claim::nothing();
        claim.made = Some((self.clone(), key.clone()));
        claim.dry_run = call.dry_run;
        let outcome = {
            let mut allocator = self.allocator();
            if self.store().is_shared() {
                allocator.follow(self.cache());
            }
            let outcome = claim_ips(&mut allocator, self.cache(), &mut claim, key, service, old)
                .and_then(|()| claim_ports(&mut allocator, &mut claim, key, service, old));
            if call.dry_run {
                // What is only tried is in nobody's way.
                allocator.free(key, &std::mem::take(&mut claim.ips), &std::mem::take(&mut claim.ports));
            }
            outcome
        };
        outcome.map_err(|error| {
            if error.field == TWICE {
                return Status::new(500, "", &error.detail);
            }
            if error.problem == Problem::Internal && error.field != HEALTH_PORT && !call.dry_run {
                self.note_exhausted(call.namespace.unwrap_or(""), service, old, &error.field);
            }
            if error.problem == Problem::Internal {
                return Status::internal(&error.detail);
            }
            Status::invalid(&call.resource.gvk(), object::name(service), &[error])
        })?;
        if let Some(old) = old {
            let (ips, ports) = (cluster_ips(service), node_ports(service));
            claim.freed.0 = cluster_ips(old).into_iter().filter(|ip| !ips.contains(ip)).collect();
            claim.freed.1 =
                node_ports(old).into_iter().filter(|port| ports.binary_search(port).is_err()).collect();
        }
        if call.dry_run {
            claim.freed = (Vec::new(), Vec::new());
        }
        Ok(claim)
    }

    /// A Service got nothing because nothing is left: whoever waits in [`Registry::exhausted`] is told.
    fn note_exhausted(&self, namespace: &str, service: &Value, old: Option<&Value>, field: &str) {
        let ranges = self.allocator().ranges;
        let (resource, range) = if field.ends_with("nodePort") {
            ("node port", format!("{}-{}", ranges.node_ports.0, ranges.node_ports.1))
        } else {
            ("cluster IP", ranges.cidr())
        };
        let note = Exhausted {
            namespace: namespace.to_owned(),
            name: object::name(service).to_owned(),
            uid: old.map(object::uid).unwrap_or("").to_owned(),
            resource,
            range,
        };
        // Whoever listens is behind by a whole queue: one Event less matters to nobody.
        drop(self.exhausted_notes().try_send(note));
    }

    /// The cluster IPs a Service holds; none of what is no Service.
    pub(crate) fn held_by_service(&self, call: &Call, object: &Value) -> Vec<Ipv4Addr> {
        let is_service = call.resource.kind == "Service" && call.resource.group.is_empty();
        if is_service { cluster_ips(object) } else { Vec::new() }
    }

    /// Takes back what a deleted Service held, and nothing that the next one of its name has got meanwhile.
    pub(crate) fn release_service(&self, call: &Call, gone: &Object) {
        if call.resource.kind == "Service" && call.resource.group.is_empty() {
            let service = self.trees().of(gone);
            self.allocator().free(gone.key(), &cluster_ips(&service), &node_ports(&service));
        }
    }
}

fn claim_ips(
    allocator: &mut Allocator,
    cache: &Cache,
    claim: &mut Claim,
    key: &Owner,
    service: &mut Value,
    old: Option<&Value>,
) -> Result<(), FieldError> {
    let name = object::name(service).to_owned();
    let spec = object::member_mut(service, "spec");
    let is_name = |spec: Option<&Value>| spec.is_some_and(|spec| spec["type"] == "ExternalName");
    // What a Service has it keeps; its rules say that it may not ask for another one.
    let has =
        |old: &Value| old.pointer("/spec/clusterIP").and_then(Value::as_str).is_some_and(|ip| !ip.is_empty());
    let keeps = old.is_some_and(|old| !is_name(old.get("spec")) && has(old));
    if keeps || spec.get("type").and_then(Value::as_str) == Some("ExternalName") {
        return Ok(());
    }
    let wanted = spec.get("clusterIP").and_then(Value::as_str).filter(|ip| !ip.is_empty());
    let wanted = wanted.or_else(|| spec.get("clusterIPs")?.get(0)?.as_str()).map(str::to_owned);
    match wanted.as_deref() {
        Some("None") => {
            spec.insert("clusterIP".into(), "None".into());
            spec.insert("clusterIPs".into(), json!(["None"]));
        }
        Some(text) => {
            let given: Vec<Value> = spec
                .get("clusterIPs")
                .and_then(Value::as_array)
                .filter(|ips| !ips.is_empty())
                .map(<[_]>::to_vec)
                .unwrap_or_else(|| vec![text.into()]);
            // Unparsable addresses were refused before.
            let Ok(ip) = text.parse::<Ipv4Addr>() else { return Ok(()) };
            let refuse = |why: String| FieldError::invalid("spec.clusterIPs", &json!(given), why);
            let held = allocator.ips.get(&ip);
            // What is entered for a Service that is created is one's that is there, or another creation's of the same name.
            let is_own = held == Some(key) && old.is_some();
            let is_kept = old.is_some_and(|old| cluster_ips(old).contains(&ip));
            if is_kept && held.is_none() {
                allocator.ips.insert(ip, key.clone());
            } else if !is_own && !is_kept {
                if !allocator.ranges.contains(ip) {
                    // A dry run asks the one range, not for the range that the address is of.
                    let why = if claim.dry_run {
                        let range = allocator.ranges.cidr();
                        format!(
                            "the provided IP ({ip}) is not in the valid range. The range of valid IPs is {range}"
                        )
                    } else {
                        "the provided network does not match the current range".to_owned()
                    };
                    return Err(refuse(format!("failed to allocate IP {ip}: {why}")));
                }
                // A dry run is not held against what is taken, and takes nothing.
                if !claim.dry_run {
                    if held.is_some() || ip_addresses::is_taken(cache, ip) {
                        return Err(refuse(format!(
                            "failed to allocate IP {ip}: provided IP is already allocated"
                        )));
                    }
                    allocator.ips.insert(ip, key.clone());
                    claim.ips.push(ip);
                }
            }
            spec.insert("clusterIP".into(), text.into());
            spec.insert("clusterIPs".into(), json!(given));
        }
        None if claim.dry_run => {
            let ip = allocator.ranges.network.to_string();
            spec.insert("clusterIPs".into(), json!([ip]));
            spec.insert("clusterIP".into(), ip.into());
        }
        None => {
            let ip = allocator.free_ip(cache).ok_or_else(|| FieldError {
                problem: Problem::Internal,
                field: "spec.clusterIPs".into(),
                value: String::new(),
                detail: format!("failed to allocate a serviceIP for Service {name:?}: range is full"),
            })?;
            allocator.ips.insert(ip, key.clone());
            claim.ips.push(ip);
            spec.insert("clusterIP".into(), ip.to_string().into());
            spec.insert("clusterIPs".into(), json!([ip.to_string()]));
        }
    }
    Ok(())
}

fn claim_ports(
    allocator: &mut Allocator,
    claim: &mut Claim,
    key: &Owner,
    service: &mut Value,
    old: Option<&Value>,
) -> Result<(), FieldError> {
    let kind = service.pointer("/spec/type").and_then(Value::as_str).unwrap_or("").to_owned();
    let allocates =
        service.pointer("/spec/allocateLoadBalancerNodePorts").and_then(Value::as_bool) != Some(false);
    if !needs_node_ports(&kind) {
        return Ok(());
    }
    let held = old.map(node_ports).unwrap_or_default();
    let holds = |port: &u16| held.binary_search(port).is_ok();
    let mut taken: HashSet<u16> = node_ports(service).into_iter().collect();
    // A port number given to the first protocol serves the same service port's other protocols too.
    let mut by_port: HashMap<i64, u16> = HashMap::new();
    let mut pairs: HashSet<(String, u16)> = HashSet::new();
    let Some(ports) = service.pointer_mut("/spec/ports").and_then(Value::as_array_mut) else { return Ok(()) };
    for (i, port) in ports.iter_mut().enumerate() {
        let number = port.get("port").and_then(Value::as_i64).unwrap_or(0);
        let given = port.get("nodePort").and_then(Value::as_i64).filter(|given| *given != 0);
        let in_words = |why: String, given: i64| {
            FieldError::invalid(format!("spec.ports[{i}].nodePort"), &given.into(), why)
        };
        let given = match given.map(|given| (given, u16::try_from(given))) {
            Some((_, Ok(port))) => Some(port),
            // No port at all; a dry run does not mind.
            Some((_, Err(_))) if claim.dry_run => continue,
            Some((given, Err(_))) => return Err(in_words(out_of_range(allocator), given)),
            None => None,
        };
        let node_port = match given {
            Some(given) => {
                // Ports of one number share a node port, whatever their protocols; an update is not that strict.
                let shared = match old {
                    None => by_port.get(&number) == Some(&given),
                    Some(_) => claim.ports.contains(&given) || holds(&given),
                };
                claim_port(allocator, claim, key, given, shared)
                    .map_err(|why| in_words(why, given.into()))?;
                given
            }
            None if needs_node_ports(&kind) && (kind == "NodePort" || allocates) => {
                let next = match by_port.get(&number).filter(|_| old.is_none()) {
                    Some(shared) => *shared,
                    None if claim.dry_run => claim.made_up_port(),
                    None => allocator.free_port(&taken).ok_or_else(|| FieldError {
                        problem: Problem::Internal,
                        field: format!("spec.ports[{i}].nodePort"),
                        value: String::new(),
                        detail: "failed to allocate a nodePort: range is full".into(),
                    })?,
                };
                allocator.ports.insert(next, key.clone());
                claim.ports.insert(next);
                port["nodePort"] = next.into();
                taken.insert(next);
                next
            }
            None => continue,
        };
        let protocol = port.get("protocol").and_then(Value::as_str).unwrap_or("").to_owned();
        let pair = (protocol, node_port);
        if old.is_some() && pairs.contains(&pair) {
            return Err(FieldError {
                problem: Problem::Internal,
                field: TWICE.into(),
                value: String::new(),
                detail: format!("duplicate nodePort: {{{} {}}}", pair.0, pair.1),
            });
        }
        pairs.insert(pair);
        by_port.insert(number, node_port);
    }
    let spec = object::member_mut(service, "spec");
    let local = spec.get("externalTrafficPolicy").and_then(Value::as_str) == Some("Local");
    if kind == "LoadBalancer" && local {
        let asked = spec.get("healthCheckNodePort").and_then(Value::as_i64).filter(|port| *port != 0);
        let refuse = |why: String, port: i64| FieldError {
            problem: Problem::Internal,
            field: HEALTH_PORT.into(),
            value: String::new(),
            detail: format!("failed to allocate requested HealthCheck NodePort {port}: {why}"),
        };
        match asked.map(|port| (port, u16::try_from(port))) {
            Some((_, Ok(port))) => claim_port(allocator, claim, key, port, holds(&port))
                .map_err(|why| refuse(why, port.into()))?,
            // Its rules say that it is none.
            Some((_, Err(_))) if claim.dry_run => {}
            Some((port, Err(_))) => return Err(refuse(out_of_range(allocator), port)),
            None if claim.dry_run => {
                let port = claim.made_up_port();
                claim.ports.insert(port);
                spec.insert("healthCheckNodePort".into(), port.into());
            }
            None => {
                if let Some(port) = allocator.free_port(&taken) {
                    allocator.ports.insert(port, key.clone());
                    claim.ports.insert(port);
                    spec.insert("healthCheckNodePort".into(), port.into());
                }
            }
        }
    }
    Ok(())
}

fn claim_port(
    allocator: &mut Allocator,
    claim: &mut Claim,
    key: &Owner,
    port: u16,
    ours: bool,
) -> Result<(), String> {
    let (first, last) = allocator.ranges.node_ports;
    match allocator.ports.get(&port) {
        Some(owner) if owner == key && ours => Ok(()),
        Some(_) => Err("provided port is already allocated".to_owned()),
        // A dry run looks only at what is taken.
        None if claim.dry_run || (first..=last).contains(&port) => {
            allocator.ports.insert(port, key.clone());
            claim.ports.insert(port);
            Ok(())
        }
        None => Err(out_of_range(allocator)),
    }
}

fn out_of_range(allocator: &Allocator) -> String {
    let (first, last) = allocator.ranges.node_ports;
    format!("provided port is not in the valid range. The range of valid ports is {first}-{last}")
}

#[cfg(test)]
mod tests {
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

    #[test]
    fn what_is_only_tried_is_given_the_port_after_its_last() {
        for (asked, want) in [
            (&[0][..], &[32769][..]),
            (&[0, 0], &[32769, 32770]),
            (&[30000, 0, 0], &[30000, 30001, 30002]),
            (&[30005, 30001, 0], &[30005, 30001, 30006]),
        ] {
            let mut allocator = Allocator::new(ServiceRanges::default());
            let mut claim = Claim::nothing();
            claim.dry_run = true;
            let ports: Vec<Value> = (1..)
                .zip(asked)
                .map(|(port, asked)| json!({"port": port, "protocol": "TCP", "nodePort": asked}))
                .collect();
            let mut service = json!({"spec": {"type": "NodePort", "ports": ports}});
            claim_ports(&mut allocator, &mut claim, &"/mine".into(), &mut service, None).unwrap();
            let given: Vec<u64> = service["spec"]["ports"]
                .as_array()
                .unwrap()
                .iter()
                .filter_map(|port| port["nodePort"].as_u64())
                .collect();
            assert_eq!(given, want, "{asked:?}");
        }
    }

    #[test]
    fn an_update_may_not_name_a_port_twice_of_one_protocol() {
        for (protocols, fails) in [(["TCP", "UDP"], false), (["TCP", "TCP"], true)] {
            let mut allocator = Allocator::new(ServiceRanges::default());
            let mut claim = Claim::nothing();
            let port = |protocol: &str| json!({"port": 1, "protocol": protocol, "nodePort": 30001});
            let mut service = json!({"spec": {"type": "NodePort", "ports": protocols.map(port)}});
            let old = json!({"spec": {"type": "NodePort", "ports": []}});
            let outcome = claim_ports(&mut allocator, &mut claim, &"/mine".into(), &mut service, Some(&old));
            assert_eq!(outcome.is_err_and(|error| error.field == TWICE), fails, "{protocols:?}");
        }
    }
}
