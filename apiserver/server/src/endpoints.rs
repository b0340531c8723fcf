//! The endpoints of the `kubernetes` Service: where this server is, and others that share its store. They are put right again whatever becomes of them, and
//! when a restart moves the server, as upstream's endpoint reconciler does.

use std::collections::BTreeSet;
use std::net::IpAddr;

use apiserver_json::{Value, json};
use apiserver_meta::Status;
use apiserver_registry::{Call, Changed};

use crate::service::ApiServer;

/// Writes what differs.
///
/// # Errors
/// When the store refuses.
pub(crate) async fn publish(server: &ApiServer) -> Result<(), Status> {
    let address = server.inner.config.endpoint;
    if address.ip().is_loopback() {
        return Ok(());
    }
    let family = if address.is_ipv4() { "IPv4" } else { "IPv6" };
    // The ports of a slice are those of all its addresses.
    let others = crate::housekeeping::other_endpoints(server).into_iter();
    let others =
        others.filter(|other| other.port() == address.port() && other.is_ipv4() == address.is_ipv4());
    let addresses: BTreeSet<IpAddr> = others.chain([address]).map(|place| place.ip()).collect();
    let in_slice: Vec<Value> = addresses
        .iter()
        .map(|ip| json!({"addresses": [ip.to_string()], "conditions": {"ready": true}}))
        .collect();
    let in_subset: Vec<Value> = addresses.iter().map(|ip| json!({"ip": ip.to_string()})).collect();
    let ports = json!([{"name": "https", "port": address.port(), "protocol": "TCP"}]);
    let slice = json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {"name": "kubernetes", "namespace": "default", "labels": {"kubernetes.io/service-name": "kubernetes"}},
        "addressType": family,
        "endpoints": in_slice,
        "ports": ports,
    });
    let endpoints = json!({
        "apiVersion": "v1", "kind": "Endpoints",
        "metadata": {
            "name": "kubernetes", "namespace": "default",
            "labels": {"endpointslice.kubernetes.io/skip-mirror": "true"},
        },
        "subsets": [{"addresses": in_subset, "ports": ports}],
    });
    // Together, so that they share a sync.
    let (slice, endpoints) = futures::join!(
        put(server, ("discovery.k8s.io", "endpointslices"), slice),
        put(server, ("", "endpoints"), endpoints)
    );
    slice.and(endpoints)
}

async fn put(server: &ApiServer, (group, plural): (&str, &str), wanted: Value) -> Result<(), Status> {
    let catalogue = server.registry().catalogue();
    let Some(resource) = catalogue.get(group, "v1", plural) else { return Ok(()) };
    let call = Call {
        resource,
        namespace: Some("default"),
        subresource: "",
        manager: "kube-apiserver",
        dry_run: false,
        requester: apiserver_registry::Requester::default(),
    };
    let change = |live: Option<&Value>| {
        let Some(live) = live else { return Ok(Changed::Patched(wanted.clone())) };
        let mut next = live.clone();
        for member in ["endpoints", "ports", "subsets"] {
            if let Some(value) = wanted.get(member) {
                next[member] = value.clone();
            }
        }
        next["metadata"]["labels"] = wanted["metadata"]["labels"].clone();
        Ok(Changed::Patched(next))
    };
    server.registry().update(&call, "kubernetes", true, change).await.map(|_| ())
}
