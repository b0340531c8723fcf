//! The IPAddresses of Services are kept right, and what was wrong is told in Events, as upstream's repair controller does.

use apiserver_json::json;
use apiserver_registry::{AddressProblem, AddressRepair, Call, Registry, Requester};
use jiff::Timestamp;

/// Who tells of it.
const REPORTER: &str = "ipallocator-repair-controller";

/// Puts right what changed since `state` and does not agree.
pub(crate) async fn repair(registry: &Registry, state: &mut AddressRepair) {
    for problem in registry.repair_addresses(state).await {
        tracing::warn!(
            kind = problem.kind,
            namespace = problem.namespace,
            name = problem.name,
            reason = problem.reason,
            message = problem.message,
            "an address of a Service was not as it should be"
        );
        tell(registry, &problem).await;
    }
}

async fn tell(registry: &Registry, problem: &AddressProblem) {
    let catalogue = registry.catalogue();
    let Some(events) = catalogue.get("", "v1", "events") else { return };
    // Events of what has no namespace are in this one.
    let namespace = if problem.namespace.is_empty() { "default" } else { &problem.namespace };
    let (api_version, action) = match problem.kind {
        "Service" => ("v1", "ClusterIPAllocation"),
        _ => ("networking.k8s.io/v1", "IPAddressAllocation"),
    };
    let mut about = json!({
        "apiVersion": api_version, "kind": problem.kind, "name": problem.name, "uid": problem.uid,
    });
    if !problem.namespace.is_empty() {
        about["namespace"] = problem.namespace.clone().into();
    }
    let time = Timestamp::now();
    let event = json!({
        "apiVersion": "v1", "kind": "Event",
        "metadata": {"name": format!("{}.{:x}", problem.name, time.as_nanosecond()), "namespace": namespace},
        "involvedObject": about,
        "type": "Warning", "reason": problem.reason, "action": action, "message": problem.message,
        "eventTime": time.strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string(),
        "reportingComponent": REPORTER, "reportingInstance": REPORTER,
    });
    let call = Call {
        resource: events,
        namespace: Some(namespace),
        subresource: "",
        manager: "kube-apiserver",
        dry_run: false,
        requester: Requester::default(),
    };
    if let Err(status) = registry.create(&call, event).await {
        tracing::warn!(name = problem.name, error = %status, "an Event about an address could not be written");
    }
}
