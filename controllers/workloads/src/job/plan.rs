//! Which Pods a Job makes and ends next, and whether it is decided: a pure function, upstream's order of reasons.

use super::policy::{self, Judgement};
use super::{TRACKING, backoff, indexes, status};
use crate::replicaset::choose;
use controllers_kit::meta::has_finalizer;
use controllers_kit::pods;
use k8s_openapi::api::batch::v1::{Job, JobSpec, JobStatus};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// More Pods than this are never created or deleted in one step.
const BURST: usize = 500;

/// How a Job ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    Success(String, String),
    Failure(String, String),
}

impl Verdict {
    pub(super) fn is_success(&self) -> bool {
        matches!(self, Verdict::Success(..))
    }

    pub(super) fn reason(&self) -> &str {
        let (Verdict::Success(reason, _) | Verdict::Failure(reason, _)) = self;
        reason
    }

    pub(super) fn message(&self) -> &str {
        let (Verdict::Success(_, message) | Verdict::Failure(_, message)) = self;
        message
    }
}

/// What is to be done next.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// A Pod each, with its index where the Job has them.
    pub(super) create: Vec<Option<i32>>,
    pub(super) delete: Vec<Arc<Pod>>,
    pub(super) verdict: Option<Verdict>,
    pub(super) again: Option<Duration>,
}

/// True if each Pod has an index.
pub(super) fn is_indexed(job: &Job) -> bool {
    job.spec.as_ref().and_then(|s| s.completion_mode.as_deref()) == Some("Indexed")
}

pub(super) fn is_suspended(job: &Job) -> bool {
    job.spec.as_ref().and_then(|s| s.suspend) == Some(true)
}

/// True if only Pods that have ended are replaced, not those that still end.
fn replaces_ended_only(job: &Job) -> bool {
    job.spec.as_ref().and_then(|s| s.pod_replacement_policy.as_deref()) == Some("Failed")
}

/// True if the Pod counts as failed: one that was deleted may never tell.
pub(super) fn has_failed(job: &Job, pod: &Pod) -> bool {
    pods::phase(pod) == "Failed"
        || (pods::is_terminating(pod) && pods::phase(pod) != "Succeeded" && !replaces_ended_only(job))
}

/// True if the Pod failed in a way that the Job's policy does not ignore.
pub(super) fn counts_as_failed(job: &Job, pod: &Pod) -> bool {
    has_failed(job, pod) && policy::judge(job, pod) != Judgement::Ignored
}

/// True if the end of the Pod is not counted yet, and will be.
pub(super) fn is_uncounted(job: &Job, pod: &Pod) -> bool {
    let bound = job.spec.as_ref().and_then(|s| s.completions).unwrap_or(0);
    let counts = !is_indexed(job) || indexes::of(pod).is_some_and(|index| index < bound);
    has_finalizer(&pod.metadata, TRACKING) && counts
}

/// How many Pods have failed, with those the status does not have yet.
fn failures(job: &Job, all: &[Arc<Pod>], before: &JobStatus) -> usize {
    let known = before.uncounted_terminated_pods.iter().flat_map(|u| u.failed.iter().flatten());
    let known: BTreeSet<&String> = known.collect();
    let new = all.iter().filter(|pod| {
        let noted = pod.metadata.uid.as_ref().is_some_and(|uid| known.contains(uid));
        !noted && is_uncounted(job, pod) && counts_as_failed(job, pod)
    });
    size(before.failed) + known.len() + new.count()
}

/// How many Pods or indexes have succeeded, with those the status does not have yet.
fn successes(job: &Job, all: &[Arc<Pod>], before: &JobStatus) -> usize {
    if is_indexed(job) {
        return status::succeeded_indexes(job, all).len();
    }
    let known = before.uncounted_terminated_pods.iter().flat_map(|u| u.succeeded.iter().flatten());
    let known: BTreeSet<&String> = known.collect();
    let new = all.iter().filter(|pod| {
        let noted = pod.metadata.uid.as_ref().is_some_and(|uid| known.contains(uid));
        !noted && is_uncounted(job, pod) && pods::phase(pod) == "Succeeded"
    });
    size(before.succeeded) + known.len() + new.count()
}

fn size(value: Option<i32>) -> usize {
    usize::try_from(value.unwrap_or(0)).unwrap_or(0)
}

/// The next step; `ends` are those of the Pods there are and of some that are gone.
pub(super) fn build(job: &Job, all: &[Arc<Pod>], ends: &backoff::Ends, at: Timestamp) -> Plan {
    let mut plan = Plan::default();
    let Some(spec) = &job.spec else { return plan };
    let before = job.status.clone().unwrap_or_default();
    let active: Vec<Arc<Pod>> = all.iter().filter(|pod| pods::is_active(pod)).cloned().collect();
    plan.verdict = decided(&before)
        .or_else(|| failure(job, spec, all, &before, at))
        .or_else(|| success_by_policy(job, all));
    if plan.verdict.is_some() {
        plan.delete = active;
        return plan;
    }
    plan.again = until_deadline(job, spec, &before, at);
    if job.metadata.deletion_timestamp.is_some() {
        return plan;
    }
    let succeeded = successes(job, all, &before);
    manage(job, spec, all, (active.clone(), succeeded), backoff::left(ends, at), &mut plan);
    let remaining = active.len() + plan.create.len() - plan.delete.len().min(active.len());
    let enough = spec.completions.map_or(succeeded > 0, |wanted| succeeded >= size(Some(wanted)));
    if enough && remaining == 0 {
        let message = "Reached expected number of succeeded pods".to_string();
        plan.verdict = Some(Verdict::Success("CompletionsReached".into(), message));
    }
    plan
}

/// What was decided before and is still being carried out.
fn decided(before: &JobStatus) -> Option<Verdict> {
    let text = |kind| {
        let condition = before.conditions.iter().flatten().find(|c| c.type_ == kind && c.status == "True")?;
        Some((condition.reason.clone().unwrap_or_default(), condition.message.clone().unwrap_or_default()))
    };
    let success = text("SuccessCriteriaMet").map(|(reason, message)| Verdict::Success(reason, message));
    success.or_else(|| text("FailureTarget").map(|(reason, message)| Verdict::Failure(reason, message)))
}

fn success_by_policy(job: &Job, all: &[Arc<Pod>]) -> Option<Verdict> {
    job.spec.as_ref()?.success_policy.as_ref()?;
    let why = policy::success(job, &status::succeeded_indexes(job, all)).filter(|_| is_indexed(job))?;
    Some(Verdict::Success("SuccessPolicy".into(), why))
}

fn failure(
    job: &Job,
    spec: &JobSpec,
    all: &[Arc<Pod>],
    before: &JobStatus,
    at: Timestamp,
) -> Option<Verdict> {
    let limit = size(Some(spec.backoff_limit.unwrap_or(6)));
    let failed = |reason: &str, message: &str| Some(Verdict::Failure(reason.into(), message.into()));
    let fatal = all.iter().filter(|pod| has_failed(job, pod)).find_map(|pod| match policy::judge(job, pod) {
        Judgement::FailsJob(why) => Some(why),
        _ => None,
    });
    if let Some(why) = fatal {
        return failed("PodFailurePolicy", &why);
    }
    if failures(job, all, before) > limit || restarts_past(spec, all, limit) {
        return failed("BackoffLimitExceeded", "Job has reached the specified backoff limit");
    }
    if until_deadline(job, spec, before, at).is_some_and(|left| left.is_zero()) {
        return failed("DeadlineExceeded", "Job was active longer than specified deadline");
    }
    None
}

/// Containers that were run again count where their Pod is not replaced.
fn restarts_past(spec: &JobSpec, all: &[Arc<Pod>], limit: usize) -> bool {
    let policy = spec.template.spec.as_ref().and_then(|s| s.restart_policy.as_deref());
    if policy != Some("OnFailure") {
        return false;
    }
    let living = all.iter().filter(|pod| matches!(pods::phase(pod), "Running" | "Pending"));
    let statuses = living.filter_map(|pod| pod.status.as_ref()).flat_map(|s| {
        s.init_container_statuses.iter().flatten().chain(s.container_statuses.iter().flatten())
    });
    let restarts: usize = statuses.map(|s| size(Some(s.restart_count))).sum();
    if limit == 0 { restarts > 0 } else { restarts >= limit }
}

/// Time until the Job has been active for too long.
fn until_deadline(job: &Job, spec: &JobSpec, before: &JobStatus, at: Timestamp) -> Option<Duration> {
    let seconds = spec.active_deadline_seconds.filter(|_| !is_suspended(job))?;
    // A Job that starts now has all of it.
    let since = before.start_time.as_ref().map_or(at.as_second(), |t| t.0.as_second());
    Some(Duration::from_secs(u64::try_from(since.saturating_add(seconds) - at.as_second()).unwrap_or(0)))
}

fn manage(
    job: &Job,
    spec: &JobSpec,
    all: &[Arc<Pod>],
    (active, succeeded): (Vec<Arc<Pod>>, usize),
    wait: Option<Duration>,
    plan: &mut Plan,
) {
    if is_suspended(job) {
        plan.delete = active;
        return;
    }
    let parallelism = size(Some(spec.parallelism.unwrap_or(1)));
    let wanted = match spec.completions {
        Some(completions) => size(Some(completions)).saturating_sub(succeeded).min(parallelism),
        // Once one has succeeded the others may finish, but none is added.
        None if succeeded > 0 => active.len(),
        None => parallelism,
    };
    plan.delete = surplus(job, spec, &active, active.len().saturating_sub(wanted));
    if !plan.delete.is_empty() {
        return;
    }
    let ending = if replaces_ended_only(job) { all.iter().filter(|p| ends(p)).count() } else { 0 };
    let missing = wanted.saturating_sub(ending + active.len()).min(BURST);
    if missing == 0 {
        return;
    }
    if let Some(left) = wait {
        plan.again = Some(plan.again.map_or(left, |before| before.min(left)));
        return;
    }
    plan.create = if is_indexed(job) {
        let held = |pod: &&Arc<Pod>| pods::is_active(pod) || (replaces_ended_only(job) && ends(pod));
        let mut taken: BTreeSet<i32> = all.iter().filter(held).filter_map(|pod| indexes::of(pod)).collect();
        taken.extend(status::succeeded_indexes(job, all));
        let free = (0..spec.completions.unwrap_or(0)).filter(|index| !taken.contains(index));
        free.take(missing).map(Some).collect()
    } else {
        vec![None; missing]
    };
}

/// True if the Pod is being deleted and still runs.
pub(super) fn ends(pod: &Pod) -> bool {
    pods::is_terminating(pod) && !pods::is_finished(pod)
}

/// Pods with an index that another one has, or none, and then those whose loss hurts least.
fn surplus(job: &Job, spec: &JobSpec, active: &[Arc<Pod>], excess: usize) -> Vec<Arc<Pod>> {
    let (mut unwanted, mut rest) = (Vec::new(), active.to_vec());
    if is_indexed(job) {
        let mut seen = BTreeSet::new();
        let bound = spec.completions.unwrap_or(0);
        let fits = |pod: &Arc<Pod>| indexes::of(pod).is_some_and(|index| index < bound && seen.insert(index));
        (rest, unwanted) = rest.into_iter().partition(fits);
    }
    let more = excess.saturating_sub(unwanted.len());
    unwanted.extend(choose(rest, more));
    unwanted.truncate(BURST);
    unwanted
}

#[cfg(test)]
mod tests;
