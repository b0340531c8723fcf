//! Which Pod of a StatefulSet is made or ended next: a pure function, upstream's order.

use super::REVISION;
use controllers_kit::meta::label;
use controllers_kit::pods;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;
use std::collections::BTreeMap;
use std::sync::Arc;

/// More Pods than this are never created in one step.
const BURST: usize = 500;

/// What is to be done next.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// Ordinals that get a Pod.
    pub(super) create: Vec<i32>,
    /// Ordinals whose Pod waits, perhaps for a claim that somebody deleted.
    pub(super) claims: Vec<i32>,
    pub(super) delete: Vec<Arc<Pod>>,
}

/// `web-3`: of `web`, number 3.
pub(super) fn ordinal(pod: &Pod) -> Option<(&str, i32)> {
    let (parent, number) = pod.metadata.name.as_deref()?.rsplit_once('-')?;
    let digits = !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit());
    Some((parent, number.parse().ok().filter(|_| digits)?))
}

/// The first ordinal.
pub(super) fn start(set: &StatefulSet) -> i32 {
    set.spec.as_ref().and_then(|s| s.ordinals.as_ref()).and_then(|o| o.start).unwrap_or(0)
}

/// `spec.replicas`.
pub(super) fn replicas(set: &StatefulSet) -> i32 {
    set.spec.as_ref().and_then(|s| s.replicas).unwrap_or(1)
}

/// True if there should be a Pod of this number.
pub(super) fn is_wanted(set: &StatefulSet, ordinal: i32) -> bool {
    ordinal >= start(set) && ordinal - start(set) < replicas(set)
}

/// How many Pods an update leaves as they are.
pub(super) fn partition(set: &StatefulSet) -> Option<i32> {
    let strategy = set.spec.as_ref()?.update_strategy.as_ref()?;
    strategy.rolling_update.as_ref().map(|rolling| rolling.partition.unwrap_or(0))
}

type Numbered<'a> = BTreeMap<i32, &'a Arc<Pod>>;

/// The next step; `update` is the name of the newest revision.
pub(super) fn build(set: &StatefulSet, update: &str, all: &[Arc<Pod>], at: Timestamp) -> Plan {
    let mut plan = Plan::default();
    let Some(spec) = &set.spec else { return plan };
    let min_ready = spec.min_ready_seconds.unwrap_or(0);
    let works = |pod: &Pod| pods::phase(pod) == "Running" && pods::is_available(pod, min_ready, at);
    let ordered = spec.pod_management_policy.as_deref() != Some("Parallel");
    let numbered = all.iter().filter_map(|pod| Some((ordinal(pod)?.1, pod)));
    let (wanted, condemned): (Numbered<'_>, Numbered<'_>) =
        numbered.partition(|(number, _)| is_wanted(set, *number));

    // Each has to work before the next is made.
    for index in 0..replicas(set) {
        let number = start(set).saturating_add(index);
        let Some(pod) = wanted.get(&number) else {
            plan.create.push(number);
            if ordered || plan.create.len() >= BURST {
                return plan;
            }
            continue;
        };
        if pods::is_finished(pod) {
            plan.delete.extend(Some(Arc::clone(pod)).filter(|pod| !pods::is_terminating(pod)));
        } else if pods::phase(pod) == "Pending" {
            plan.claims.push(number);
        }
        if ordered && (pods::is_terminating(pod) || !works(pod)) {
            return plan;
        }
    }

    // From the highest down; one that does not work may go before others if it is the lowest such.
    let first_broken = condemned.iter().find(|(_, pod)| pods::is_terminating(pod) || !works(pod));
    let first_broken = first_broken.map(|(number, _)| *number);
    for (number, pod) in condemned.iter().rev() {
        let waits = !works(pod) && first_broken != Some(*number);
        if ordered && (pods::is_terminating(pod) || waits) {
            return plan;
        }
        plan.delete.extend(Some(Arc::clone(pod)).filter(|pod| !pods::is_terminating(pod)));
        if ordered {
            return plan;
        }
    }

    let strategy = spec.update_strategy.as_ref().and_then(|s| s.type_.as_deref());
    if strategy != Some("OnDelete") {
        plan.delete.extend(update_next(set, update, &wanted, works));
    }
    plan
}

/// The highest Pod that is not of the newest revision, if all above it work.
fn update_next(
    set: &StatefulSet,
    update: &str,
    wanted: &Numbered<'_>,
    works: impl Fn(&Pod) -> bool,
) -> Option<Arc<Pod>> {
    for index in (partition(set).unwrap_or(0)..replicas(set)).rev() {
        let pod = wanted.get(&start(set).saturating_add(index))?;
        if pods::is_terminating(pod) {
            return None;
        }
        if label(&pod.metadata, REVISION) != Some(update) {
            return Some(Arc::clone(pod)).filter(|pod| !pods::is_finished(pod));
        }
        if !works(pod) {
            return None;
        }
    }
    None
}

#[cfg(test)]
mod tests;
