//! What the server does on its own: events expire, the server's identity Lease is renewed, its endpoints are kept and
//! definitions that wait for their objects are seen to.

use std::time::Duration;

use apiserver_json::{Value, json};
use apiserver_registry::{Call, Changed, DeleteOptions, Exhausted, Registry, Resource, now, object};
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt};
use std::sync::Arc;

use crate::service::ApiServer;

const MANAGER: &str = "kube-apiserver";
/// Age at which an Event is forgotten; upstream's default.
const EVENT_TTL: Duration = Duration::from_secs(3600);
const IDENTITY_LABEL: &str = "apiserver.kubernetes.io/identity";
/// Where a server that shares its store with others is.
const ENDPOINT_ANNOTATION: &str = "hopyard.dev/endpoint";
const SWEEP: Duration = Duration::from_secs(30);
/// How long the state at a revision is told at least, to lists that go on and lists of it; twice as long at most. As upstream's
/// compaction has it (`--etcd-compaction-interval`).
const HISTORY: Duration = Duration::from_secs(300);

/// A write of the server itself.
pub(crate) fn call<'a>(
    resource: &'a Arc<Resource>,
    namespace: Option<&'a str>,
    subresource: &'a str,
) -> Call<'a> {
    Call {
        resource,
        namespace,
        subresource,
        manager: MANAGER,
        dry_run: false,
        requester: apiserver_registry::Requester::default(),
    }
}

/// Runs until the server shuts down.
pub fn run(server: ApiServer) -> BoxFuture<'static, ()> {
    async {
        if server.registry().store().is_shared() {
            futures::join!(keep(server.clone()), follow_definitions(server));
        } else {
            keep(server).await;
        }
    }
    .boxed()
}

/// Serves what definitions say that were written through other servers.
async fn follow_definitions(server: ApiServer) {
    let mut shutdown = server.inner.shutdown.subscribe();
    let registry = server.registry();
    let catalogue = registry.catalogue();
    let Some(definitions) = catalogue.get("apiextensions.k8s.io", "v1", "customresourcedefinitions") else {
        return;
    };
    loop {
        let cache = registry.cache();
        // A watcher that was told that it missed something is replaced: all definitions are read again whatever changed.
        let Ok(mut watcher) = cache.watch(&definitions.prefix, cache.revision()) else { continue };
        registry.reload_custom();
        while let Ok(batch) = watcher.now() {
            if !batch.changes.is_empty() {
                registry.reload_custom();
            }
            tokio::select! {
                () = watcher.changed() => {}
                _ = shutdown.changed() => return,
            }
        }
    }
}

async fn keep(server: ApiServer) {
    let mut shutdown = server.inner.shutdown.subscribe();
    let mut exhausted = match server.registry().exhausted() {
        Some(notes) => notes.left_stream(),
        None => futures::stream::pending().right_stream(),
    };
    let mut addresses = apiserver_registry::AddressRepair::default();
    let mut tracking = crate::legacy_tokens::Made::default();
    let mut sweep = tokio::time::interval(SWEEP);
    sweep.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut history = tokio::time::interval(HISTORY);
    let mut before = 0;
    loop {
        tokio::select! {
            _ = sweep.tick() => {}
            _ = history.tick() => {
                let cache = server.registry().cache();
                cache.forget_states_before(before);
                before = cache.revision();
                continue;
            }
            Some(note) = exhausted.next() => {
                tell_exhausted(server.registry(), &note).await;
                continue;
            }
            _ = shutdown.changed() => return,
        }
        let registry = server.registry();
        renew_identity(&server).await;
        crate::conditions::settle(registry).await;
        if let Err(status) = crate::bootstrap::keep_own(&server).await {
            tracing::warn!(error = %status, "the kubernetes Service could not be written");
        }
        if let Err(status) = crate::endpoints::publish(&server).await {
            tracing::warn!(error = %status, "the endpoints of the kubernetes Service could not be written");
        }
        crate::service_addresses::repair(registry, &mut addresses).await;
        crate::legacy_tokens::keep(registry, &mut tracking).await;
        expire_events(registry).await;
        server.sweep_definitions().await;
    }
}

/// The name of this server's identity. Those that share a store are told apart by where they are.
fn identity(server: &ApiServer) -> String {
    if !server.registry().store().is_shared() {
        return "apiserver-hopyard".to_owned();
    }
    let place = format!("{} {}", server.inner.config.advertise, server.inner.config.endpoint);
    let digest = ring::digest::digest(&ring::digest::SHA256, place.as_bytes());
    let text: String = digest.as_ref().iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    format!("apiserver-hopyard-{text}")
}

/// The Lease by which other servers and components see this one.
async fn renew_identity(server: &ApiServer) {
    let registry = server.registry();
    let catalogue = registry.catalogue();
    let Some(leases) = catalogue.get("coordination.k8s.io", "v1", "leases") else { return };
    let name = identity(server);
    let time = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string();
    let change = |live: Option<&Value>| {
        let mut lease = live.cloned().unwrap_or_else(|| {
            json!({
                "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
                "metadata": {"name": name, "namespace": "kube-system", "labels": {IDENTITY_LABEL: MANAGER}},
                "spec": {"holderIdentity": name, "leaseDurationSeconds": 3600},
            })
        });
        lease["spec"]["renewTime"] = time.clone().into();
        if registry.store().is_shared() {
            lease["metadata"]["annotations"][ENDPOINT_ANNOTATION] =
                server.inner.config.endpoint.to_string().into();
        }
        Ok(Changed::Patched(lease))
    };
    if let Err(status) = registry.update(&call(leases, Some("kube-system"), ""), &name, true, change).await {
        tracing::warn!(error = %status, "the identity Lease could not be renewed");
    }
}

/// Where the other servers are that share the store and have renewed their identity of late.
pub(crate) fn other_endpoints(server: &ApiServer) -> Vec<std::net::SocketAddr> {
    let registry = server.registry();
    let catalogue = registry.catalogue();
    let Some(leases) = catalogue.get("coordination.k8s.io", "v1", "leases") else { return Vec::new() };
    if !registry.store().is_shared() {
        return Vec::new();
    }
    let own = identity(server);
    let horizon = jiff::Timestamp::now() - jiff::SignedDuration::from_secs(3 * SWEEP.as_secs() as i64);
    let snapshot = registry.cache().snapshot(&leases.prefix);
    let scope = leases.scope(Some("kube-system"));
    let others = snapshot.scope(&scope).filter(|lease| lease.label(IDENTITY_LABEL) == Some(MANAGER));
    let parsed = others.map(|lease| lease.parse()).filter(|lease| object::name(lease) != own);
    parsed
        .filter(|lease| {
            let renewed = lease["spec"]["renewTime"].as_str().and_then(|time| time.parse().ok());
            renewed.is_some_and(|renewed: jiff::Timestamp| renewed > horizon)
        })
        .filter_map(|lease| lease["metadata"]["annotations"][ENDPOINT_ANNOTATION].as_str()?.parse().ok())
        .collect()
}

/// The Service that got nothing is told so, as upstream's repair loops do.
async fn tell_exhausted(registry: &Registry, note: &Exhausted) {
    let catalogue = registry.catalogue();
    let Some(events) = catalogue.get("", "v1", "events") else { return };
    let (reason, message) = if note.resource == "node port" {
        let message = format!(
            "Port range {} is full; you must widen the port range in order to create new services",
            note.range
        );
        ("PortRangeFull", message)
    } else {
        let message = format!(
            "Service CIDR {} is full; you must widen the CIDR in order to create new services",
            note.range
        );
        ("ServiceCIDRFull", message)
    };
    let time = now();
    let mut about =
        json!({"kind": "Service", "apiVersion": "v1", "namespace": note.namespace, "name": note.name});
    if !note.uid.is_empty() {
        about["uid"] = note.uid.clone().into();
    }
    let event = json!({
        "apiVersion": "v1", "kind": "Event",
        "metadata": {
            "name": format!("{}.{:x}", note.name, jiff::Timestamp::now().as_nanosecond()),
            "namespace": note.namespace,
        },
        "involvedObject": about,
        "type": "Warning", "reason": reason, "message": message, "count": 1,
        "firstTimestamp": time, "lastTimestamp": time,
        "source": {"component": MANAGER}, "reportingComponent": MANAGER,
    });
    if let Err(status) = registry.create(&call(events, Some(&note.namespace), ""), event).await {
        tracing::warn!(service = note.name, error = %status, "an Event about a full range could not be written");
    }
}

async fn expire_events(registry: &Registry) {
    let catalogue = registry.catalogue();
    let Some(events) = catalogue.get("", "v1", "events") else { return };
    let horizon = jiff::Timestamp::now() - jiff::SignedDuration::from_secs(EVENT_TTL.as_secs() as i64);
    for found in registry.cache().snapshot(&events.prefix).objects.values() {
        let event = found.parse();
        let times = ["/lastTimestamp", "/eventTime", "/metadata/creationTimestamp"];
        let last = times
            .iter()
            .filter_map(|pointer| event.pointer(pointer)?.as_str()?.parse::<jiff::Timestamp>().ok())
            .max();
        if last.is_some_and(|last| last < horizon) {
            let namespace = object::namespace(&event).to_owned();
            let outcome = registry
                .delete(&call(events, Some(&namespace), ""), object::name(&event), &DeleteOptions::default())
                .await;
            if let Err(status) = outcome
                && status.code != 404
            {
                tracing::warn!(error = %status, "an expired Event could not be removed");
            }
        }
    }
}
