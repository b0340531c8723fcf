//! Status of a StatefulSet: counts by state and by revision.

use super::{REVISION, plan};
use controllers_kit::meta::label;
use controllers_kit::pods;
use k8s_openapi::api::apps::v1::{StatefulSet, StatefulSetStatus};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;
use std::sync::Arc;

/// The status as it should be; the revisions are those before and after the update.
pub(super) fn build(
    set: &StatefulSet,
    (current, update): (&str, &str),
    all: &[Arc<Pod>],
    at: Timestamp,
) -> StatefulSetStatus {
    let before = set.status.clone().unwrap_or_default();
    let spec = set.spec.clone().unwrap_or_default();
    let min_ready = spec.min_ready_seconds.unwrap_or(0);
    let count = |f: &dyn Fn(&Pod) -> bool| {
        i32::try_from(all.iter().filter(|pod| plan::ordinal(pod).is_some() && f(pod)).count())
            .unwrap_or(i32::MAX)
    };
    let ready = |pod: &Pod| pods::phase(pod) == "Running" && pods::is_ready(pod);
    let of =
        |pod: &Pod, revision| !pods::is_terminating(pod) && label(&pod.metadata, REVISION) == Some(revision);
    let replicas = count(&|_| true);
    let ready_replicas = count(&ready);
    let updated = count(&|pod| of(pod, update));
    let rolls = spec.update_strategy.and_then(|s| s.type_).as_deref() != Some("OnDelete");
    let complete = rolls && [updated, ready_replicas, replicas] == [plan::replicas(set); 3];
    let current = if complete { update } else { current };
    let some = |n: i32| Some(n).filter(|n| *n > 0);
    StatefulSetStatus {
        observed_generation: set.metadata.generation,
        replicas,
        ready_replicas: some(ready_replicas),
        available_replicas: Some(count(&|pod| ready(pod) && pods::is_available(pod, min_ready, at))),
        current_replicas: some(count(&|pod| of(pod, current))),
        updated_replicas: some(updated),
        current_revision: Some(current.to_string()),
        update_revision: Some(update.to_string()),
        collision_count: Some(before.collision_count.unwrap_or(0)),
        conditions: before.conditions,
    }
}
