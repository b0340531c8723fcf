//! What a PodDisruptionBudget says of its Pods. Pure.

use controllers_kit::pods::{is_ready, is_terminating};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, LabelSelector, Time};
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

const ALLOWED: &str = "DisruptionAllowed";
/// A Pod whose eviction was granted counts as gone for so long.
const DELETED_WITHIN: SignedDuration = SignedDuration::from_mins(2);

/// How many Pods there should be, and how many of them healthy.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Counts {
    pub(super) expected: i32,
    pub(super) desired: i32,
}

/// Pods whose eviction was granted and that are still there; those of them that should be gone by now; and when to
/// look again.
pub(super) fn disrupted(
    budget: &PodDisruptionBudget,
    pods: &[Arc<Pod>],
    at: Timestamp,
) -> (BTreeMap<String, Time>, Vec<Arc<Pod>>, Option<Duration>) {
    let granted = budget.status.as_ref().and_then(|status| status.disrupted_pods.as_ref());
    let (mut still, mut late, mut again) = (BTreeMap::new(), Vec::new(), None);
    for pod in pods.iter().filter(|pod| !is_terminating(pod)) {
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        let Some(since) = granted.and_then(|granted| granted.get(name)) else { continue };
        match Duration::try_from((since.0 + DELETED_WITHIN).duration_since(at)) {
            Ok(left) => {
                again = Some(again.map_or(left, |before: Duration| before.min(left)));
                still.insert(name.to_owned(), since.clone());
            }
            Err(_) => late.push(pod.clone()),
        }
    }
    (still, late, again)
}

/// How many Pods are ready and stay.
pub(super) fn healthy(pods: &[Arc<Pod>], disrupted: &BTreeMap<String, Time>) -> i32 {
    let stays = |pod: &&Arc<Pod>| {
        !is_terminating(pod) && !disrupted.contains_key(pod.metadata.name.as_deref().unwrap_or_default())
    };
    let count = pods.iter().filter(stays).filter(|pod| is_ready(pod)).count();
    i32::try_from(count).unwrap_or(i32::MAX)
}

/// The status of a budget.
pub(super) fn of(
    budget: &PodDisruptionBudget,
    counts: &Counts,
    healthy: i32,
    disrupted: BTreeMap<String, Time>,
    at: Time,
) -> PodDisruptionBudgetStatus {
    // One that selects nothing allows nothing: its first Pods are not counted yet when they come.
    let allowed = if counts.expected > 0 { (healthy - counts.desired).max(0) } else { 0 };
    let generation = budget.metadata.generation;
    let (status, reason) =
        if allowed > 0 { ("True", "SufficientPods") } else { ("False", "InsufficientPods") };
    PodDisruptionBudgetStatus {
        conditions: Some(with(budget, condition(status, reason, "", generation, at))),
        current_healthy: Some(healthy),
        desired_healthy: Some(counts.desired),
        disrupted_pods: (!disrupted.is_empty()).then_some(disrupted),
        disruptions_allowed: Some(allowed),
        expected_pods: Some(counts.expected),
        observed_generation: generation,
    }
}

/// The status of a budget that can't be counted: nothing may be evicted.
pub(super) fn failed(budget: &PodDisruptionBudget, why: &str, at: Time) -> PodDisruptionBudgetStatus {
    let before = budget.status.clone().unwrap_or_default();
    let condition = condition("False", "SyncFailed", why, before.observed_generation, at);
    PodDisruptionBudgetStatus {
        conditions: Some(with(budget, condition)),
        disruptions_allowed: Some(0),
        ..before
    }
}

fn condition(status: &str, reason: &str, message: &str, generation: Option<i64>, at: Time) -> Condition {
    Condition {
        type_: ALLOWED.into(),
        status: status.into(),
        reason: reason.into(),
        message: message.into(),
        observed_generation: generation,
        last_transition_time: at,
    }
}

/// The conditions with this one; it keeps its time while its status stays.
fn with(budget: &PodDisruptionBudget, mut condition: Condition) -> Vec<Condition> {
    let mut all = budget.status.as_ref().and_then(|status| status.conditions.clone()).unwrap_or_default();
    match all.iter_mut().find(|before| before.type_ == condition.type_) {
        Some(before) => {
            if before.status == condition.status {
                condition.last_transition_time = before.last_transition_time.clone();
            }
            *before = condition;
        }
        None => all.push(condition),
    }
    all
}

/// What is said of Pods that no controller counts.
pub(super) fn unmanaged(selector: Option<&LabelSelector>) -> String {
    let labels = selector.and_then(|selector| selector.match_labels.as_ref());
    let labels: Vec<String> =
        labels.into_iter().flatten().map(|(name, value)| format!("{name}={value}")).collect();
    format!(
        "Pods of this budget (selector: {}) have no controller that says how many there should be: its status can't be \
         right. Give it a whole number as \".spec.minAvailable\".",
        labels.join(",")
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(name: &str, ready: &str, deleting: bool) -> Arc<Pod> {
        let mut pod = json!({"metadata": {"name": name}, "spec": {"containers": []},
            "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": ready}]}});
        if deleting {
            pod["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        }
        Arc::new(serde_json::from_value(pod).unwrap())
    }

    #[test]
    fn what_may_be_evicted_is_what_is_healthy_beyond_what_is_needed() {
        let granted = json!({"granted": "2026-01-01T00:00:00Z", "late": "2025-12-31T23:57:00Z", "gone": "2026-01-01T00:00:00Z"});
        let budget: PodDisruptionBudget =
            serde_json::from_value(json!({"metadata": {"generation": 3}, "status": {"currentHealthy": 0, "desiredHealthy": 0, "disruptionsAllowed": 0, "expectedPods": 0, "disruptedPods": granted}})).unwrap();
        let pods = [
            pod("a", "True", false),
            pod("b", "True", false),
            pod("unready", "False", false),
            pod("going", "True", true),
            pod("granted", "True", false),
            pod("late", "True", false),
        ];
        let at: Timestamp = "2026-01-01T00:00:30Z".parse().unwrap();
        let (still, late, again) = disrupted(&budget, &pods, at);
        assert_eq!(still.keys().collect::<Vec<_>>(), ["granted"]);
        assert_eq!(late.iter().filter_map(|pod| pod.metadata.name.as_deref()).collect::<Vec<_>>(), ["late"]);
        assert_eq!(again, Some(Duration::from_secs(90)));
        let healthy = healthy(&pods, &still);
        assert_eq!(healthy, 3, "a, b and late");
        for (expected, desired, allowed, reason) in [
            (6, 2, 1, "SufficientPods"),
            (6, 3, 0, "InsufficientPods"),
            (6, 9, 0, "InsufficientPods"),
            (0, 0, 0, "InsufficientPods"),
        ] {
            let status = of(&budget, &Counts { expected, desired }, healthy, still.clone(), Time(at));
            assert_eq!(status.disruptions_allowed, Some(allowed));
            assert_eq!(status.observed_generation, Some(3));
            assert_eq!(status.conditions.unwrap()[0].reason, reason);
        }
        let status = failed(&budget, "no scale", Time(at));
        assert_eq!(
            (status.disruptions_allowed, &*status.conditions.unwrap()[0].message),
            (Some(0), "no scale")
        );
    }
}
