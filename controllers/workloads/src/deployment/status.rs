//! Status of a Deployment: counts and the conditions Available and Progressing.
//!
//! Nothing is written here.

use super::{Rollout, plan, replicas};
use k8s_openapi::api::apps::v1::{Deployment, DeploymentCondition, DeploymentStatus, ReplicaSet};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use std::time::Duration;

fn sum(rollout: &Rollout, f: impl Fn(&ReplicaSet) -> i32) -> i32 {
    rollout.all().map(|set| f(set)).sum()
}

fn status_of(set: &ReplicaSet) -> k8s_openapi::api::apps::v1::ReplicaSetStatus {
    set.status.clone().unwrap_or_default()
}

/// True if all Pods are of the new template and available.
pub(super) fn is_complete(rollout: &Rollout) -> bool {
    let wanted = plan::desired(rollout);
    let Some(new) = &rollout.new else { return false };
    status_of(new).replicas == wanted
        && sum(rollout, |set| status_of(set).replicas) == wanted
        && sum(rollout, |set| status_of(set).available_replicas.unwrap_or(0)) == wanted
}

fn find<'a>(status: &'a DeploymentStatus, kind: &str) -> Option<&'a DeploymentCondition> {
    status.conditions.as_ref()?.iter().find(|c| c.type_ == kind)
}

fn set_condition(status: &mut DeploymentStatus, new: DeploymentCondition) {
    let conditions = status.conditions.get_or_insert_default();
    if let Some(old) = conditions.iter_mut().find(|c| c.type_ == new.type_) {
        if old.status == new.status && old.reason == new.reason && old.message == new.message {
            return;
        }
        let since = if old.status == new.status {
            old.last_transition_time.clone()
        } else {
            new.last_transition_time.clone()
        };
        *old = DeploymentCondition { last_transition_time: since, ..new };
    } else {
        conditions.push(new);
    }
}

fn condition(kind: &str, status: &str, reason: &str, message: String, at: &Time) -> DeploymentCondition {
    DeploymentCondition {
        type_: kind.into(),
        status: status.into(),
        reason: Some(reason.into()),
        message: Some(message),
        last_transition_time: Some(at.clone()),
        last_update_time: Some(at.clone()),
    }
}

/// The status as it should be.
pub(super) fn build(rollout: &Rollout, at: &Time) -> DeploymentStatus {
    let before = rollout.deployment.status.clone().unwrap_or_default();
    let some = |n: i32| Some(n).filter(|n| *n > 0);
    let available = sum(rollout, |set| status_of(set).available_replicas.unwrap_or(0));
    let total = sum(rollout, replicas);
    let mut status = DeploymentStatus {
        observed_generation: rollout.deployment.metadata.generation,
        replicas: some(sum(rollout, |set| status_of(set).replicas)),
        updated_replicas: some(rollout.new.as_ref().map_or(0, |set| status_of(set).replicas)),
        ready_replicas: some(sum(rollout, |set| status_of(set).ready_replicas.unwrap_or(0))),
        available_replicas: some(available),
        unavailable_replicas: some(total - available),
        conditions: before.conditions.clone(),
        collision_count: before.collision_count,
        terminating_replicas: before.terminating_replicas,
    };
    let enough = available >= plan::desired(rollout) - plan::max_unavailable(rollout);
    let (word, reason, text) = if enough {
        ("True", "MinimumReplicasAvailable", "Deployment has minimum availability.")
    } else {
        ("False", "MinimumReplicasUnavailable", "Deployment does not have minimum availability.")
    };
    set_condition(&mut status, condition("Available", word, reason, text.into(), at));
    progress(rollout, &before, &mut status, at);
    status
}

fn progress(rollout: &Rollout, before: &DeploymentStatus, status: &mut DeploymentStatus, at: &Time) {
    let spec = rollout.deployment.spec.clone().unwrap_or_default();
    if spec.progress_deadline_seconds == Some(i32::MAX) {
        return;
    }
    let current = find(before, "Progressing");
    let reason = current.and_then(|c| c.reason.as_deref()).unwrap_or_default();
    if spec.paused == Some(true) {
        if reason != "DeploymentPaused" {
            let paused =
                condition("Progressing", "Unknown", "DeploymentPaused", "Deployment is paused".into(), at);
            set_condition(status, paused);
        }
        return;
    }
    let name = rollout.new.as_ref().and_then(|set| set.metadata.name.clone()).unwrap_or_default();
    if reason == "DeploymentPaused" {
        let resumed =
            condition("Progressing", "Unknown", "DeploymentResumed", "Deployment is resumed".into(), at);
        set_condition(status, resumed);
    } else if is_complete(rollout) {
        let text = format!("ReplicaSet \"{name}\" has successfully progressed.");
        set_condition(status, condition("Progressing", "True", "NewReplicaSetAvailable", text, at));
    } else if current.is_none() {
        let text = format!("Created new replica set \"{name}\"");
        set_condition(status, condition("Progressing", "True", "NewReplicaSetCreated", text, at));
    } else if has_progressed(before, status) {
        let text = format!("ReplicaSet \"{name}\" is progressing.");
        let mut new = condition("Progressing", "True", "ReplicaSetUpdated", text, at);
        if let Some(old) = current.filter(|c| c.status == "True") {
            new.last_transition_time = old.last_transition_time.clone();
        }
        status.conditions.get_or_insert_default().retain(|c| c.type_ != "Progressing");
        status.conditions.get_or_insert_default().push(new);
    } else if until_deadline(&rollout.deployment, status).is_some_and(|left| left.is_zero()) {
        let text = format!("ReplicaSet \"{name}\" has timed out progressing.");
        set_condition(status, condition("Progressing", "False", "ProgressDeadlineExceeded", text, at));
    }
}

fn has_progressed(before: &DeploymentStatus, now: &DeploymentStatus) -> bool {
    let n = |value: Option<i32>| value.unwrap_or(0);
    let old_before = n(before.replicas) - n(before.updated_replicas);
    let old_now = n(now.replicas) - n(now.updated_replicas);
    n(now.updated_replicas) > n(before.updated_replicas)
        || old_now < old_before
        || n(now.ready_replicas) > n(before.ready_replicas)
        || n(now.available_replicas) > n(before.available_replicas)
}

/// Time until the rollout counts as stuck; None if it cannot become so.
pub(super) fn until_deadline(deployment: &Deployment, status: &DeploymentStatus) -> Option<Duration> {
    let spec = deployment.spec.as_ref()?;
    let deadline = i64::from(spec.progress_deadline_seconds.unwrap_or(600));
    let progressing = find(status, "Progressing")?;
    let ended =
        matches!(progressing.reason.as_deref(), Some("NewReplicaSetAvailable" | "ProgressDeadlineExceeded"));
    if ended || spec.paused == Some(true) || deadline >= i64::from(i32::MAX) {
        return None;
    }
    let since = progressing.last_update_time.as_ref()?.0.as_second();
    let left = since + deadline - Timestamp::now().as_second();
    Some(Duration::from_secs(u64::try_from(left).unwrap_or(0)))
}
