//! What loops ask about Pods.

use crate::{Cache, Index, label_place};
use k8s_openapi::api::core::v1::{Pod, PodCondition};
use k8s_openapi::jiff::Timestamp;

/// The condition of this type.
pub fn condition<'a>(pod: &'a Pod, kind: &str) -> Option<&'a PodCondition> {
    pod.status.as_ref()?.conditions.as_ref()?.iter().find(|c| c.type_ == kind)
}

/// True if the Ready condition is True.
pub fn is_ready(pod: &Pod) -> bool {
    condition(pod, "Ready").is_some_and(|c| c.status == "True")
}

/// Since when it is ready.
pub fn ready_since(pod: &Pod) -> Option<Timestamp> {
    condition(pod, "Ready").filter(|c| c.status == "True")?.last_transition_time.as_ref().map(|t| t.0)
}

/// True if it has been ready for at least this long.
pub fn is_available(pod: &Pod, min_ready_seconds: i32, now: Timestamp) -> bool {
    is_ready(pod)
        && (min_ready_seconds <= 0
            || ready_since(pod)
                .is_some_and(|since| now.as_second() - since.as_second() >= i64::from(min_ready_seconds)))
}

/// The phase; empty if not set yet.
pub fn phase(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|s| s.phase.as_deref()).unwrap_or_default()
}

/// True if it will not run again.
pub fn is_finished(pod: &Pod) -> bool {
    matches!(phase(pod), "Succeeded" | "Failed")
}

/// True if deletion has begun.
pub fn is_terminating(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_some()
}

/// True if it counts: neither finished nor being deleted.
pub fn is_active(pod: &Pod) -> bool {
    !is_finished(pod) && !is_terminating(pod)
}

/// The node it is bound to.
pub fn node_name(pod: &Pod) -> Option<&str> {
    pod.spec.as_ref()?.node_name.as_deref().filter(|name| !name.is_empty())
}

/// The Pods by the node they are bound to.
pub fn by_node(pods: &Cache<Pod>) -> Index<Pod> {
    pods.index("node", |pod| node_name(pod).map(str::to_owned).into_iter().collect())
}

/// The Pods by each of their labels, see [`label_place`].
pub fn by_label(pods: &Cache<Pod>) -> Index<Pod> {
    pods.index("label", |pod| {
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        pod.metadata.labels.iter().flatten().map(|label| label_place(namespace, label)).collect()
    })
}

/// Its address.
pub fn pod_ip(pod: &Pod) -> Option<&str> {
    pod.status.as_ref()?.pod_ip.as_deref().filter(|ip| !ip.is_empty())
}

/// A sentence for the log: what happened between two states of a Pod.
pub fn story(key: &crate::Key, old: Option<&Pod>, new: Option<&Pod>) -> String {
    match (old, new) {
        (None, Some(_)) => format!("Pod {key} added"),
        (Some(_), None) => format!("Pod {key} deleted"),
        (Some(a), Some(b)) if !is_terminating(a) && is_terminating(b) => format!("Pod {key} is terminating"),
        (Some(a), Some(b)) if !is_ready(a) && is_ready(b) => format!("Pod {key} became Ready"),
        (Some(a), Some(b)) if is_ready(a) && !is_ready(b) => format!("Pod {key} is no longer Ready"),
        (Some(a), Some(b)) if node_name(a) != node_name(b) => {
            format!("Pod {key} was bound to {}", node_name(b).unwrap_or_default())
        }
        _ => format!("Pod {key} changed"),
    }
}
