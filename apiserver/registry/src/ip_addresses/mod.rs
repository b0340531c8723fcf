//! IPAddresses of Services: each cluster IP is an object of its own, written and removed in the transaction of the Service that
//! holds it. What does not agree, because somebody else wrote it, is put right by [`repair`].

mod repair;

pub use repair::{AddressProblem, AddressRepair};

use std::net::IpAddr;
use std::sync::Arc;

use apiserver_json::{Value, json};
use apiserver_meta::Status;
use apiserver_storage::{Op, Write};
use apiserver_watchcache::{Cache, Object};

use crate::allocate::family_of;
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
pub(crate) fn key_of(ip: IpAddr) -> String {
    format!("{ADDRESSES}{ip}")
}

/// Whether an address has an object: then it is taken, whoever made it.
pub(crate) fn is_taken(cache: &Cache, ip: IpAddr) -> bool {
    cache.get(&key_of(ip)).is_some()
}

/// Whether an address is that of this Service.
fn is_of(address: &Object, namespace: &str, service: &str) -> bool {
    repair::parent(&address.parse()) == Some((namespace, service))
}

/// The object of the address of a Service, before it has a uid.
fn address_of(ip: IpAddr, namespace: &str, service: &str) -> Value {
    json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "IPAddress",
        "metadata": {"name": ip.to_string(), "labels": {FAMILY: family_of(ip), MANAGED_BY: CONTROLLER}},
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
    /// What is written in the transaction of a Service that comes to hold `taken` and lets go of `freed`. It is one address
    /// at most: two objects of one resource never have the same revision. A second one is written before, by
    /// [`Registry::hold_second`], or removed after, by [`Registry::let_go_second`].
    pub(crate) fn address_write(
        &self,
        call: &Call,
        service: &str,
        taken: &[IpAddr],
        freed: &[IpAddr],
    ) -> Option<Write> {
        if call.dry_run {
            return None;
        }
        let namespace = call.namespace.unwrap_or("");
        match (taken, freed) {
            ([ip, ..], _) => self.address_creation(*ip, namespace, service),
            ([], [ip, ..]) => self.address_removal(*ip, namespace, service),
            ([], []) => None,
        }
    }

    /// Writes the second address that a Service takes.
    ///
    /// # Errors
    /// When somebody has it, or the store refuses.
    pub(crate) async fn hold_second(
        &self,
        call: &Call<'_>,
        service: &str,
        taken: &[IpAddr],
    ) -> Result<(), Status> {
        for ip in taken.iter().skip(1).filter(|_| !call.dry_run) {
            let creation = self.address_creation(*ip, call.namespace.unwrap_or(""), service);
            self.commit(call, service, Vec::from_iter(creation)).await?;
        }
        Ok(())
    }

    /// Removes the second address that a Service has let go of, or has not come to hold. What fails is left to the repair.
    pub(crate) async fn let_go_second(&self, call: &Call<'_>, service: &str, freed: &[IpAddr]) {
        for ip in freed.iter().skip(1).filter(|_| !call.dry_run) {
            if let Some(removal) = self.address_removal(*ip, call.namespace.unwrap_or(""), service) {
                drop(self.commit(call, service, vec![removal]).await);
            }
        }
    }

    fn address_creation(&self, ip: IpAddr, namespace: &str, service: &str) -> Option<Write> {
        let catalogue = self.catalogue();
        let resource = resource(&catalogue)?;
        let time = now();
        let mut value = address_of(ip, namespace, service);
        record_owner(&own_call(resource), &time, None, &mut value);
        object::fill_for_create(resource, &mut value, &uuid::Uuid::new_v4().to_string(), &time, "");
        Some(Write { key: key_of(ip).into(), op: Op::Create(encode::document(&value)) })
    }

    /// One that is another Service's stays, one that has finalizers is not removed but left to the repair, which asks for its deletion.
    fn address_removal(&self, ip: IpAddr, namespace: &str, service: &str) -> Option<Write> {
        let found = self.cache().get(&key_of(ip)).filter(|found| is_of(found, namespace, service))?;
        let has_finalizers = crate::registry::contains(found.metadata(), b"\"finalizers\"");
        (!has_finalizers)
            .then(|| Write { key: found.key().clone(), op: Op::Delete { expect: found.revision() } })
    }
}
