//! How many replicas each ReplicaSet should have next: pure arithmetic, upstream's.
//!
//! Each function answers pairs of ReplicaSet and count; the same count again means only its notes are renewed.

use super::{MAX, Rollout, replicas};
use crate::control::scaled;
use controllers_kit::meta::annotation;
use k8s_openapi::api::apps::v1::{DeploymentSpec, ReplicaSet};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use std::sync::Arc;

type Scaling = Vec<(Arc<ReplicaSet>, i32)>;

/// `spec.replicas` of the Deployment.
pub(super) fn desired(rollout: &Rollout) -> i32 {
    rollout.deployment.spec.as_ref().and_then(|s| s.replicas).unwrap_or(1)
}

/// How many Pods there may be beyond the desired ones.
pub(super) fn surge(rollout: &Rollout) -> i32 {
    rollout.deployment.spec.as_ref().map_or(0, surge_of)
}

/// The same, from the spec.
pub(super) fn surge_of(spec: &DeploymentSpec) -> i32 {
    fenceposts(spec).0
}

/// How many Pods may be missing.
pub(super) fn max_unavailable(rollout: &Rollout) -> i32 {
    rollout.deployment.spec.as_ref().map_or(0, |spec| fenceposts(spec).1)
}

fn fenceposts(spec: &DeploymentSpec) -> (i32, i32) {
    let strategy = spec.strategy.clone().unwrap_or_default();
    let count = spec.replicas.unwrap_or(1);
    if strategy.type_.as_deref() == Some("Recreate") {
        return (0, 0);
    }
    let rolling = strategy.rolling_update.unwrap_or_default();
    let surge = resolve(rolling.max_surge.as_ref(), count, true);
    let unavailable = resolve(rolling.max_unavailable.as_ref(), count, false).min(count);
    if surge == 0 && unavailable == 0 { (0, 1) } else { (surge, unavailable) }
}

fn resolve(value: Option<&IntOrString>, of: i32, up: bool) -> i32 {
    scaled(value.unwrap_or(&IntOrString::String("25%".into())), of, up)
}

fn total(rollout: &Rollout) -> i32 {
    rollout.all().map(|set| replicas(set)).sum()
}

fn available(set: &ReplicaSet) -> i32 {
    set.status.as_ref().and_then(|s| s.available_replicas).unwrap_or(0)
}

/// Replicas of the new ReplicaSet now.
pub(super) fn new_replicas(rollout: &Rollout) -> i32 {
    let wanted = desired(rollout);
    let spec = rollout.deployment.spec.as_ref();
    let recreate =
        spec.and_then(|s| s.strategy.as_ref()).and_then(|s| s.type_.as_deref()) == Some("Recreate");
    let current = rollout.new.as_ref().map_or(0, |set| replicas(set));
    if recreate {
        let others =
            rollout.old.iter().any(|s| replicas(s) > 0 || s.status.as_ref().is_some_and(|s| s.replicas > 0));
        return if others { current } else { wanted };
    }
    let room = wanted + surge(rollout) - total(rollout);
    if current >= wanted { wanted } else { current + room.clamp(0, wanted - current) }
}

/// The next step of a rolling update: up first, else down.
pub(super) fn rolling(rollout: &Rollout) -> Scaling {
    let Some(new) = &rollout.new else { return Vec::new() };
    let next = new_replicas(rollout);
    if next != replicas(new) {
        return vec![(new.clone(), next)];
    }
    let mut steps = vec![(new.clone(), next)];
    steps.extend(scale_down_old(rollout, new));
    steps
}

fn scale_down_old(rollout: &Rollout, new: &ReplicaSet) -> Scaling {
    let minimum = desired(rollout) - max_unavailable(rollout);
    let new_missing = replicas(new) - available(new);
    let room = total(rollout) - minimum - new_missing;
    let mut counts: Vec<i32> = rollout.old.iter().map(|set| replicas(set)).collect();
    if room <= 0 {
        return Vec::new();
    }
    // What does not work anyway goes first.
    let mut removed = 0;
    for (set, count) in rollout.old.iter().zip(&mut counts) {
        let broken = (*count - available(set)).clamp(0, (room - removed).max(0));
        *count -= broken;
        removed += broken;
    }
    let available_now: i32 = rollout.all().map(|set| available(set)).sum();
    let mut spare = (available_now - minimum).max(0);
    for count in &mut counts {
        let step = (*count).min(spare);
        *count -= step;
        spare -= step;
    }
    let steps = rollout.old.iter().cloned().zip(counts);
    steps.filter(|(set, to)| replicas(set) != *to).collect()
}

/// Scaling in the middle of a rollout: each active ReplicaSet gets its share.
pub(super) fn proportional(rollout: &Rollout) -> Scaling {
    let wanted = desired(rollout);
    let active: Vec<&Arc<ReplicaSet>> = rollout.all().filter(|set| replicas(set) > 0).collect();
    match active.as_slice() {
        [] => return rollout.new.iter().map(|set| (set.clone(), wanted)).collect(),
        [only] => return vec![((*only).clone(), wanted)],
        _ => {}
    }
    if let Some(new) = rollout.new.as_ref().filter(|set| available(set) == wanted && replicas(set) == wanted)
    {
        let old = rollout.old.iter().filter(|set| replicas(set) > 0).map(|set| (set.clone(), 0));
        return old.chain([(new.clone(), wanted)]).collect();
    }
    let allowed = if wanted > 0 { wanted + surge(rollout) } else { 0 };
    let mut left = allowed - total(rollout);
    let mut sorted = active;
    sorted.sort_by_key(|set| {
        (std::cmp::Reverse(replicas(set)), set.metadata.creation_timestamp.as_ref().map(|t| t.0))
    });
    let mut steps: Scaling = Vec::new();
    for set in sorted {
        let before =
            annotation(&set.metadata, MAX).and_then(|text| text.parse::<i32>().ok()).filter(|n| *n > 0);
        let share = f64::from(replicas(set)) * f64::from(allowed)
            / f64::from(before.unwrap_or(total(rollout).max(1)));
        let change = (share.round() as i32 - replicas(set)).clamp(left.min(0), left.max(0));
        left -= change;
        steps.push((set.clone(), replicas(set) + change));
    }
    if let Some((_, count)) = steps.first_mut() {
        *count = (*count + left).max(0);
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn set(name: &str, replicas: i32, available: i32) -> Arc<ReplicaSet> {
        let value = json!({
            "metadata": {"name": name, "uid": name, "annotations": {super::MAX: "13"}},
            "spec": {"replicas": replicas, "selector": {}},
            "status": {"replicas": replicas, "availableReplicas": available},
        });
        Arc::new(serde_json::from_value(value).unwrap())
    }

    fn rollout(count: i32, surge: &str, unavailable: &str, new: (i32, i32), old: &[(i32, i32)]) -> Rollout {
        let deployment = json!({
            "metadata": {"name": "web"},
            "spec": {"replicas": count, "selector": {}, "template": {}, "strategy": {"type": "RollingUpdate",
                "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}}},
        });
        Rollout {
            deployment: Arc::new(serde_json::from_value(deployment).unwrap()),
            new: Some(set("new", new.0, new.1)),
            old: old.iter().enumerate().map(|(i, (r, a))| set(&format!("old{i}"), *r, *a)).collect(),
        }
    }

    fn steps(scaling: Scaling) -> Vec<(String, i32)> {
        scaling.into_iter().map(|(s, n)| (s.metadata.name.clone().unwrap_or_default(), n)).collect()
    }

    #[test]
    fn a_rolling_update_goes_up_then_down() {
        // surge 25 % of 4 = 1, unavailable 25 % of 4 = 1
        assert_eq!(steps(rolling(&rollout(4, "25%", "25%", (0, 0), &[(4, 4)]))), [("new".into(), 1)]);
        let down = steps(rolling(&rollout(4, "25%", "25%", (1, 0), &[(4, 4)])));
        assert_eq!(down, [("new".to_string(), 1), ("old0".to_string(), 3)]);
        assert_eq!(steps(rolling(&rollout(4, "25%", "25%", (1, 1), &[(3, 3)]))), [("new".into(), 2)]);
        assert_eq!(steps(rolling(&rollout(4, "0%", "0%", (0, 0), &[(4, 4)])))[1], ("old0".to_string(), 3));
    }

    #[test]
    fn broken_old_pods_go_first() {
        let down = steps(rolling(&rollout(4, "0%", "50%", (2, 2), &[(1, 0), (1, 1)])));
        assert_eq!(down[1..], [("old0".to_string(), 0), ("old1".to_string(), 0)]);
    }

    #[test]
    fn scaling_shares_in_proportion() {
        let shares = steps(proportional(&rollout(20, "30%", "0%", (5, 5), &[(8, 8)])));
        assert_eq!(shares, [("old0".to_string(), 16), ("new".to_string(), 10)]);
    }
}
