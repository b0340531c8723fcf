//! IPAddresses of Services: each cluster IP is an object of its own, written and removed in the transaction of the Service that
//! holds it. What does not agree, because somebody else wrote it, is put right by [`repair`].

mod repair;

pub use repair::{AddressProblem, AddressRepair};

use std::net::Ipv4Addr;
use std::sync::Arc;

use apiserver_json::{Value, json};
use apiserver_storage::{Op, Write};
use apiserver_watchcache::{Cache, Object};

use crate::catalogue::{Catalogue, Resource};
use crate::registry::{Call, Registry, now};
use crate::update::record_owner;
use crate::{encode, object};

/// Where IPAddresses are.
pub(crate) const ADDRESSES: &str = "/registry/networking.k8s.io/ipaddresses/";
const FAMILY: &str = "ipaddress.kubernetes.io/ip-family";
const MANAGED_BY: &str = "ipaddress.kubernetes.io/managed-by";
/// Who manages the addresses of Services.
const CONTROLLER: &str = "ipallocator.k8s.io";
/// Who writes them, as `managedFields` have it.
const MANAGER: &str = "kube-apiserver";

/// Where the object of an address is.
pub(crate) fn key_of(ip: Ipv4Addr) -> String {
    format!("{ADDRESSES}{ip}")
}

/// Whether an address has an object: then it is taken, whoever made it.
pub(crate) fn is_taken(cache: &Cache, ip: Ipv4Addr) -> bool {
    cache.get(&key_of(ip)).is_some()
}

/// Whether an address is that of this Service.
fn is_of(address: &Object, namespace: &str, service: &str) -> bool {
    repair::parent(&address.parse()) == Some((namespace, service))
}

/// The object of the address of a Service, before it has a uid.
fn address_of(ip: Ipv4Addr, namespace: &str, service: &str) -> Value {
    json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "IPAddress",
        "metadata": {"name": ip.to_string(), "labels": {FAMILY: "IPv4", MANAGED_BY: CONTROLLER}},
        "spec": {"parentRef": {"resource": "services", "namespace": namespace, "name": service}},
    })
}

fn resource(catalogue: &Catalogue) -> Option<&Arc<Resource>> {
    catalogue.get("networking.k8s.io", "v1", "ipaddresses")
}

/// A call of the server's own.
fn own_call(resource: &Arc<Resource>) -> Call<'_> {
    let requester = crate::Requester::default();
    Call { resource, namespace: None, subresource: "", manager: MANAGER, dry_run: false, requester }
}

impl Registry {
    /// What is written with a Service that comes to hold `taken` and lets go of `freed`.
    pub(crate) fn address_writes(
        &self,
        call: &Call,
        service: &str,
        taken: &[Ipv4Addr],
        freed: &[Ipv4Addr],
    ) -> Vec<Write> {
        if call.dry_run {
            return Vec::new();
        }
        let namespace = call.namespace.unwrap_or("");
        let created = taken.iter().filter_map(|ip| self.address_creation(*ip, namespace, service));
        let writes: Vec<Write> = created.collect();
        // Two IPAddresses never share a transaction; no Service changes one for another, and if it did, the repair is near.
        if !writes.is_empty() {
            return writes;
        }
        freed.iter().filter_map(|ip| self.address_removal(*ip, namespace, service)).take(1).collect()
    }

    fn address_creation(&self, ip: Ipv4Addr, namespace: &str, service: &str) -> Option<Write> {
        let catalogue = self.catalogue();
        let resource = resource(&catalogue)?;
        let time = now();
        let mut value = address_of(ip, namespace, service);
        record_owner(&own_call(resource), &time, None, &mut value);
        object::fill_for_create(resource, &mut value, &uuid::Uuid::new_v4().to_string(), &time, "");
        Some(Write { key: key_of(ip).into(), op: Op::Create(encode::document(&value)) })
    }

    /// One that is another Service's stays, one that has finalizers is not removed but left to the repair, which asks for its deletion.
    fn address_removal(&self, ip: Ipv4Addr, namespace: &str, service: &str) -> Option<Write> {
        let found = self.cache().get(&key_of(ip)).filter(|found| is_of(found, namespace, service))?;
        let has_finalizers = crate::registry::contains(found.metadata(), b"\"finalizers\"");
        (!has_finalizers)
            .then(|| Write { key: found.key().clone(), op: Op::Delete { expect: found.revision() } })
    }
}
