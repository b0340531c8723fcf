//! Puts right what does not agree between Services and IPAddresses, as upstream's `ipallocator-repair-controller` does: objects
//! that somebody deleted or changed, that an older server did not write, or that others left behind.

use std::net::IpAddr;

use apiserver_json::Value;
use apiserver_meta::Status;
use apiserver_storage::Revision;
use apiserver_watchcache::{Object, Snapshot};
use jiff::{SignedDuration, Timestamp};

use super::{ADDRESSES, CONTROLLER, FAMILY, MANAGED_BY, key_of, own_call, resource};
use crate::allocate::{RANGES, cidrs_of, cluster_ips, family_of};
use crate::delete::DeleteOptions;
use crate::object;
use crate::registry::Registry;
use crate::shared::claims::SERVICES;

/// How long an address may be there without its Service: other servers write it first.
const GRACE: SignedDuration = SignedDuration::from_secs(60);
/// The same of an address that its Service does not name.
const SHORT_GRACE: SignedDuration = SignedDuration::from_secs(5);

/// How far the repair has looked.
#[derive(Clone, Copy, Debug, Default)]
pub struct AddressRepair {
    seen: Revision,
    /// Whether something must be looked at again though it does not change.
    waits: bool,
}

/// Something that was wrong, to be told in an Event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressProblem {
    /// `Service` or `IPAddress`.
    pub kind: &'static str,
    /// Empty of an IPAddress.
    pub namespace: String,
    pub name: String,
    pub uid: String,
    pub reason: &'static str,
    pub message: String,
}

/// The Service that an IPAddress refers to: namespace and name, where it refers to one.
pub(super) fn parent(address: &Value) -> Option<(&str, &str)> {
    let text = |member: &str| {
        address
            .pointer("/spec/parentRef")?
            .get(member)
            .and_then(Value::as_str)
            .filter(|text| !text.is_empty())
    };
    (text("group").is_none() && text("resource") == Some("services"))
        .then(|| (text("namespace").unwrap_or(""), text("name").unwrap_or("")))
}

/// As Go prints a reference.
fn shown_parent(address: &Value) -> String {
    let parent = address.pointer("/spec/parentRef").unwrap_or(&Value::Null);
    let part = |member: &str| parent.get(member).and_then(Value::as_str).unwrap_or("");
    let (group, resource) = (part("group"), part("resource"));
    let (namespace, name) = (part("namespace"), part("name"));
    format!("&ParentReference{{Group:{group},Resource:{resource},Namespace:{namespace},Name:{name},}}")
}

fn service_key(namespace: &str, name: &str) -> String {
    format!("{SERVICES}{namespace}/{name}")
}

fn age(address: &Value) -> SignedDuration {
    let created = object::text(address, "creationTimestamp").parse::<Timestamp>();
    Timestamp::now().duration_since(created.unwrap_or_else(|_| Timestamp::now()))
}

fn problem(kind: &'static str, about: &Value, reason: &'static str, message: String) -> AddressProblem {
    AddressProblem {
        kind,
        namespace: object::namespace(about).to_owned(),
        name: object::name(about).to_owned(),
        uid: object::uid(about).to_owned(),
        reason,
        message,
    }
}

/// What is to be done about the address of a Service.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Right,
    /// Made anew for this Service.
    Wrong(Option<(&'static str, String)>),
    /// Another Service holds it as well; nothing is done.
    Shared(&'static str, String),
}

fn judge(ip: IpAddr, service: &Value, found: Option<&Object>, services: &Snapshot) -> Verdict {
    let (namespace, name) = (object::namespace(service), object::name(service));
    let Some(found) = found else {
        let message = format!("Cluster IP [{}]: {ip} is not allocated; repairing", family_of(ip));
        return Verdict::Wrong(Some(("ClusterIPNotAllocated", message)));
    };
    let address = found.parse();
    let wrong = || {
        let message = format!(
            "the ClusterIP [{}]: {ip} for Service {namespace}/{name} has a wrong reference; repairing",
            family_of(ip)
        );
        Verdict::Wrong(Some(("ClusterIPNotAllocated", message)))
    };
    let Some(parent) = parent(&address) else { return wrong() };
    if parent != (namespace, name) {
        let Some(other) = services.objects.get(service_key(parent.0, parent.1).as_str()) else {
            return wrong();
        };
        if cluster_ips(&other.parse()).contains(&ip) {
            let message = format!(
                "Cluster IP [{}]:{ip} was assigned to multiple services; please recreate service",
                family_of(ip)
            );
            return Verdict::Shared("ClusterIPAlreadyAllocated", message);
        }
    }
    let labelled = found.label(FAMILY) == Some(family_of(ip)) && found.label(MANAGED_BY) == Some(CONTROLLER);
    if labelled { Verdict::Right } else { Verdict::Wrong(None) }
}

impl Registry {
    /// Looks at what changed since `state`, and answers what was wrong with it.
    pub async fn repair_addresses(&self, state: &mut AddressRepair) -> Vec<AddressProblem> {
        let cache = self.cache();
        let changed = cache.last_change(ADDRESSES).max(cache.last_change(SERVICES));
        if state.seen != 0 && changed <= state.seen && !state.waits {
            return Vec::new();
        }
        let since = if state.waits { 0 } else { state.seen };
        // The addresses first: a Service that is written meanwhile has one, and making a second is refused.
        let (addresses, services) = (cache.snapshot(ADDRESSES), cache.snapshot(SERVICES));
        *state = AddressRepair { seen: addresses.revision.max(1), waits: false };
        let mut problems = Vec::new();
        for (ip, owner) in self.given_out() {
            let Some(service) = services.objects.get(&owner) else { continue };
            let found = addresses.objects.get(key_of(ip).as_str());
            let newest = found.map_or(Revision::MAX, |found| found.revision()).max(service.revision());
            if newest <= since {
                continue;
            }
            problems.extend(self.repair_service(ip, service, found.map(AsRef::as_ref), &services).await);
        }
        for found in addresses.objects.values() {
            if found.revision() > since && found.label(MANAGED_BY) == Some(CONTROLLER) {
                let (problem, waits) = self.repair_address(found, &services).await;
                problems.extend(problem);
                state.waits |= waits;
            }
        }
        problems
    }

    async fn repair_service(
        &self,
        ip: IpAddr,
        service: &Object,
        found: Option<&Object>,
        services: &Snapshot,
    ) -> Option<AddressProblem> {
        let service = service.parse();
        if !cluster_ips(&service).contains(&ip) {
            return None;
        }
        let told = |reason, message| Some(problem("Service", &service, reason, message));
        if !self.is_in_a_range(ip) {
            let message = format!(
                "Cluster IP [{}]: {ip} is not within any configured Service CIDR; please recreate service",
                family_of(ip)
            );
            return told("ClusterIPOutOfRange", message);
        }
        let reason = match judge(ip, &service, found, services) {
            Verdict::Right => return None,
            Verdict::Shared(reason, message) => return told(reason, message),
            Verdict::Wrong(reason) => reason,
        };
        // Only what was looked at goes, and only what was done is told.
        if let Some(found) = found
            && !self.delete_address(ip, found).await
        {
            return None;
        }
        if !self.create_address(ip, &service).await {
            return None;
        }
        reason.and_then(|(reason, message)| told(reason, message))
    }

    /// An address that should not be there goes; says whether it must be looked at again.
    async fn repair_address(&self, found: &Object, services: &Snapshot) -> (Option<AddressProblem>, bool) {
        let address = found.parse();
        let name = object::name(&address);
        let Ok(ip) = name.parse::<IpAddr>() else { return (None, false) };
        let told = |reason, message| (Some(problem("IPAddress", &address, reason, message)), false);
        let Some((namespace, service)) = parent(&address) else {
            self.delete_address(ip, found).await;
            let parent = shown_parent(&address);
            let message = format!(
                "IPAddress {name} appears to have been modified, not referencing a Service {parent}: cleaning up"
            );
            return told("IPAddressNotAllocated", message);
        };
        let Some(holder) = services.objects.get(service_key(namespace, service).as_str()) else {
            if age(&address) <= GRACE {
                return (None, true);
            }
            self.delete_address(ip, found).await;
            let message = format!(
                "IPAddress: {name} for Service {namespace}/{service} appears to have leaked: cleaning up"
            );
            return told("IPAddressNotAllocated", message);
        };
        let holder = holder.parse();
        if cluster_ips(&holder).contains(&ip) {
            return (None, false);
        }
        let becomes = holder.pointer("/spec/type").and_then(Value::as_str) == Some("ExternalName");
        if age(&address) < if becomes { GRACE } else { SHORT_GRACE } {
            return (None, true);
        }
        self.delete_address(ip, found).await;
        let message =
            format!("IPAddress: {name} for Service {namespace}/{service} has a wrong reference; cleaning up");
        told("IPAddressWrongReference", message)
    }

    fn is_in_a_range(&self, ip: IpAddr) -> bool {
        let ranges = self.cache().snapshot(RANGES);
        ranges.objects.values().any(|range| cidrs_of(&range.parse()).any(|cidr| cidr.holds(ip)))
    }

    async fn create_address(&self, ip: IpAddr, service: &Value) -> bool {
        let catalogue = self.catalogue();
        let (namespace, name) = (object::namespace(service), object::name(service));
        let creation = self.address_creation(ip, namespace, name);
        let (Some(resource), Some(write)) = (resource(&catalogue), creation) else { return false };
        let made = self.commit(&own_call(resource), &ip.to_string(), vec![write]).await;
        let is_made = matches!(made, Ok(Some(_)));
        log_failure(ip, made.map(drop));
        is_made
    }

    /// Whether it is gone by this.
    async fn delete_address(&self, ip: IpAddr, found: &Object) -> bool {
        let catalogue = self.catalogue();
        let Some(resource) = resource(&catalogue) else { return false };
        let uid = object::uid(&found.parse()).to_owned();
        let options = DeleteOptions { uid: Some(uid), ..DeleteOptions::default() };
        let gone = self.delete(&own_call(resource), &ip.to_string(), &options).await;
        let is_gone = gone.is_ok();
        log_failure(ip, gone.map(drop));
        is_gone
    }
}

/// What another server did first is done.
fn log_failure(ip: IpAddr, outcome: Result<(), Status>) {
    if let Err(status) = outcome
        && !matches!(status.code, 404 | 409)
    {
        tracing::warn!(ip = %ip, error = %status, "the IPAddress of a Service could not be put right");
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use apiserver_json::json;
    use apiserver_watchcache::Object;

    use super::super::address_of;
    use super::*;

    fn stored(key: &str, object: &Value) -> Arc<Object> {
        Arc::new(Object::of(key.into(), 7, object.to_string().into()))
    }

    fn service(name: &str, ip: &str) -> Value {
        json!({"metadata": {"namespace": "n", "name": name}, "spec": {"clusterIP": ip, "clusterIPs": [ip]}})
    }

    #[test]
    fn the_address_of_a_service_is_judged() {
        let ip = IpAddr::from([10, 96, 7, 7]);
        let other = "/registry/core/services/n/other";
        let services = |held: &str| Snapshot {
            revision: 9,
            objects: [(apiserver_storage::Key::from(other), stored(other, &service("other", held)))]
                .into_iter()
                .collect(),
        };
        let mine = address_of(ip, "n", "mine");
        let (mut gateway, mut bare) = (mine.clone(), mine.clone());
        gateway["spec"]["parentRef"]["group"] = "gateway.networking.k8s.io".into();
        bare["metadata"]["labels"] = json!({FAMILY: "IPv4"});
        let reason = |verdict| match verdict {
            Verdict::Right => "right",
            Verdict::Wrong(None) => "unlabelled",
            Verdict::Wrong(Some((_, message))) if message.contains("wrong reference") => "wrong",
            Verdict::Wrong(Some((reason, _))) => reason,
            Verdict::Shared(reason, _) => reason,
        };
        for (address, elsewhere, want) in [
            (Some(mine), "10.96.7.7", "right"),
            (None, "10.96.7.8", "ClusterIPNotAllocated"),
            (Some(gateway), "10.96.7.8", "wrong"),
            (Some(bare), "10.96.7.8", "unlabelled"),
            (Some(address_of(ip, "n", "gone")), "10.96.7.8", "wrong"),
            (Some(address_of(ip, "n", "other")), "10.96.7.7", "ClusterIPAlreadyAllocated"),
        ] {
            let found = address.map(|address| stored(&key_of(ip), &address));
            let verdict = judge(ip, &service("mine", "10.96.7.7"), found.as_deref(), &services(elsewhere));
            assert_eq!(reason(verdict), want);
        }
    }
}
