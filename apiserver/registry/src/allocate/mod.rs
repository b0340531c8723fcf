//! Cluster IPs and node ports: given out once, taken back with their Service. No races: one lock, and a claim that
//! is undone unless the write it belongs to succeeded.

mod ips;
mod pool;
mod ports;
mod ranges;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use apiserver_json::{Value, json};
use apiserver_meta::Status;
use apiserver_meta::field::{FieldError, Problem};
use apiserver_watchcache::{Cache, Object};

use crate::object;
use crate::registry::{Call, Registry};
use crate::strategy::service_ips;
use crate::strategy::shared::text;

use ips::claim_ips;
pub use pool::OWN_RANGE;
pub(crate) use pool::{Allocator, RANGES, cidrs_of};
use ports::{HEALTH_PORT, TWICE, claim_ports};
pub(crate) use ranges::family_of;
pub use ranges::{Cidr, ServiceRanges};

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

/// The key of a Service.
type Owner = Arc<str>;

/// Allocations of one write; given back unless kept.
#[must_use]
pub(crate) struct Claim {
    /// Where it is entered, and as whose.
    made: Option<(Registry, Owner)>,
    ips: Vec<IpAddr>,
    ports: BTreeSet<u16>,
    dry_run: bool,
    /// What the write lets go of, once it succeeded.
    freed: (Vec<IpAddr>, Vec<u16>),
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
    pub(crate) fn cluster_ips(&self) -> (&[IpAddr], &[IpAddr]) {
        (&self.ips, &self.freed.0)
    }

    /// A port for what is only tried: the one after the last it has, or one beyond the usual range. A guess, as upstream's: it may
    /// be somebody's, and is not taken from them.
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

/// In their order, each once.
pub(crate) fn cluster_ips(service: &Value) -> Vec<IpAddr> {
    let list = service.pointer("/spec/clusterIPs").and_then(Value::as_array).into_iter().flatten();
    let single = service.pointer("/spec/clusterIP").into_iter();
    let mut ips: Vec<IpAddr> = Vec::new();
    for ip in list.chain(single).filter_map(Value::as_str).filter_map(|ip| ip.parse().ok()) {
        if !ips.contains(&ip) {
            ips.push(ip);
        }
    }
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

fn claim_all(
    allocator: &mut Allocator,
    cache: &Cache,
    claim: &mut Claim,
    key: &Owner,
    service: &mut Value,
    old: Option<&Value>,
) -> Result<(), FieldError> {
    claim_ips(allocator, cache, claim, key, service, old)?;
    claim_ports(allocator, claim, key, service, old)
}

impl Registry {
    /// Where cluster IPs and node ports come from.
    pub fn service_ranges(&self) -> ServiceRanges {
        self.allocator().ranges
    }

    /// The cluster IPs that are given out, and the keys of the Services that hold them.
    pub(crate) fn given_out(&self) -> Vec<(IpAddr, Owner)> {
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
        let cluster: Vec<&str> = self.allocator().ranges.cidrs().map(|cidr| cidr.family()).collect();
        let wrong = service_ips::settle(&mut service["spec"], old.map(|old| &old["spec"]), &cluster);
        if !wrong.is_empty() {
            return Err(Status::invalid(&call.resource.gvk(), object::name(service), &wrong));
        }
        // An address is an object that names whose it is, and what has no name can't be named.
        let is_nameless = object::name(service).is_empty() && text(&service["spec"], "clusterIP").is_empty();
        let mut claim = Claim::nothing();
        claim.dry_run = call.dry_run;
        let outcome = {
            let mut allocator = self.allocator();
            if self.store().is_shared() {
                allocator.follow(self.cache());
            }
            allocator.look_at_ranges(self.cache());
            if call.dry_run {
                // What is only tried is tried on a copy: nobody loses what is his to a guess.
                let mut copy = allocator.copy();
                drop(allocator);
                claim_all(&mut copy, self.cache(), &mut claim, key, service, old)
            } else {
                claim.made = Some((self.clone(), key.clone()));
                claim_all(&mut allocator, self.cache(), &mut claim, key, service, old)
            }
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
        if let Some(ip) = claim.ips.first().filter(|_| is_nameless && !call.dry_run) {
            let why = format!(
                "failed to allocate IP: IPAddress.networking.k8s.io \"{ip}\" is invalid: spec.parentRef.name: Required value"
            );
            let error = FieldError::invalid("spec.clusterIPs", &json!(vec![""; claim.ips.len()]), why);
            return Err(Status::invalid(&call.resource.gvk(), "", &[error]));
        }
        if let Some(old) = old.filter(|_| !call.dry_run) {
            let (ips, ports) = (cluster_ips(service), node_ports(service));
            claim.freed.0 = cluster_ips(old).into_iter().filter(|ip| !ips.contains(ip)).collect();
            claim.freed.1 =
                node_ports(old).into_iter().filter(|port| ports.binary_search(port).is_err()).collect();
        }
        Ok(claim)
    }

    /// A Service got nothing because nothing is left: whoever waits in [`Registry::exhausted`] is told.
    fn note_exhausted(&self, namespace: &str, service: &Value, old: Option<&Value>, field: &str) {
        let ranges = self.allocator().ranges;
        let (resource, range) = if field.ends_with("nodePort") {
            ("node port", format!("{}-{}", ranges.node_ports.0, ranges.node_ports.1))
        } else {
            ("cluster IP", ranges.primary.to_string())
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
    pub(crate) fn held_by_service(&self, call: &Call, object: &Value) -> Vec<IpAddr> {
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
