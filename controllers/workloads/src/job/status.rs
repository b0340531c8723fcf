//! Status of a Job: which ends are noted, which are counted, and what was decided. Nothing is written here.

use super::plan::{Verdict, counts_as_failed, ends, has_failed, is_indexed, is_suspended, is_uncounted};
use super::{TRACKING, indexes};
use controllers_kit::meta::{has_finalizer, seconds};
use controllers_kit::pods;
use k8s_openapi::api::batch::v1::{Job, JobCondition, JobStatus};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use std::collections::BTreeSet;
use std::sync::Arc;

/// No more ends than this are noted at once: the status stays small.
const UNCOUNTED_MAX: usize = 500;

pub(super) fn is_true(status: &JobStatus, kind: &str) -> bool {
    status.conditions.iter().flatten().any(|c| c.type_ == kind && c.status == "True")
}

/// The condition that says that the Job has ended.
pub(super) fn finished(job: &Job) -> Option<&JobCondition> {
    let conditions = job.status.as_ref()?.conditions.as_ref()?;
    conditions.iter().find(|c| matches!(c.type_.as_str(), "Complete" | "Failed") && c.status == "True")
}

/// The indexes that have succeeded, with those the status does not have yet.
pub(super) fn succeeded_indexes(job: &Job, all: &[Arc<Pod>]) -> BTreeSet<i32> {
    let bound = job.spec.as_ref().and_then(|s| s.completions).unwrap_or(0);
    let known = job.status.as_ref().and_then(|s| s.completed_indexes.as_deref()).unwrap_or_default();
    let new = all.iter().filter(|pod| pods::phase(pod) == "Succeeded" && is_uncounted(job, pod));
    let mut succeeded = indexes::parse(known, bound);
    succeeded.extend(new.filter_map(|pod| indexes::of(pod)));
    succeeded
}

fn count_of(n: usize) -> i32 {
    i32::try_from(n).unwrap_or(i32::MAX)
}

fn some(n: i32) -> Option<i32> {
    Some(n).filter(|n| *n > 0)
}

/// Pods that nobody has to keep for the count any more, once the status has been written.
pub(super) fn releasable(job: &Job, all: &[Arc<Pod>], verdict: Option<&Verdict>) -> Vec<Arc<Pod>> {
    let decided = verdict.is_some() || job.metadata.deletion_timestamp.is_some();
    let status = job.status.clone().unwrap_or_default();
    let uncounted = status.uncounted_terminated_pods.unwrap_or_default();
    let noted: BTreeSet<&String> =
        uncounted.succeeded.iter().flatten().chain(uncounted.failed.iter().flatten()).collect();
    let completed = succeeded_indexes(job, &[]);
    let may_go = |pod: &Pod| {
        let succeeded = pods::phase(pod) == "Succeeded";
        let by_index = succeeded && indexes::of(pod).is_none_or(|index| completed.contains(&index));
        // One that is to be counted is noted first.
        let is_noted = pod.metadata.uid.as_ref().is_some_and(|uid| noted.contains(uid));
        let counts = is_uncounted(job, pod) && (succeeded || counts_as_failed(job, pod));
        is_noted
            || (is_indexed(job) && by_index)
            || (!counts && (decided || succeeded || has_failed(job, pod)))
    };
    all.iter().filter(|pod| has_finalizer(&pod.metadata, TRACKING) && may_go(pod)).cloned().collect()
}

/// The status with the ends noted that are not counted yet, and with what was decided.
pub(super) fn build(job: &Job, all: &[Arc<Pod>], verdict: Option<&Verdict>, at: Timestamp) -> JobStatus {
    let mut status = settled(job, all);
    let at = Time(seconds(at));
    let failing = verdict.is_some_and(|v| !v.is_success());
    let mut uncounted = status.uncounted_terminated_pods.take().unwrap_or_default();
    let (mut succeeded, mut failed) =
        (uncounted.succeeded.take().unwrap_or_default(), uncounted.failed.take().unwrap_or_default());
    for pod in all.iter().filter(|pod| is_uncounted(job, pod)) {
        if succeeded.len() + failed.len() >= UNCOUNTED_MAX {
            break;
        }
        let Some(uid) = &pod.metadata.uid else { continue };
        if pods::phase(pod) == "Succeeded" {
            if !is_indexed(job) && !succeeded.contains(uid) && !failed.contains(uid) {
                succeeded.push(uid.clone());
            }
        } else if (counts_as_failed(job, pod) || (failing && !has_failed(job, pod))) && !failed.contains(uid)
        {
            failed.push(uid.clone());
        }
    }
    uncounted.succeeded = Some(succeeded).filter(|all| !all.is_empty());
    uncounted.failed = Some(failed).filter(|all| !all.is_empty());
    status.uncounted_terminated_pods = Some(uncounted);
    if is_indexed(job) {
        let indexes = succeeded_indexes(job, all);
        status.succeeded = some(count_of(indexes.len()));
        status.completed_indexes = Some(indexes::text(&indexes)).filter(|text| !text.is_empty());
    }
    if let Some(verdict) = verdict {
        let kind = if verdict.is_success() { "SuccessCriteriaMet" } else { "FailureTarget" };
        set(&mut status, kind, "True", verdict.reason(), verdict.message(), &at);
        status.start_time.get_or_insert(at);
    } else if is_suspended(job) {
        if set(&mut status, "Suspended", "True", "JobSuspended", "Job suspended", &at) {
            status.start_time = None;
        }
    } else {
        let was = is_true(&status, "Suspended");
        set(&mut status, "Suspended", "False", "JobResumed", "Job resumed", &at);
        if was || status.start_time.is_none() {
            status.start_time = Some(at);
        }
    }
    status
}

/// The status with those counted that were let go, and with the end where nothing is left to wait for.
pub(super) fn count(job: &Job, all: &[Arc<Pod>], verdict: Option<&Verdict>, at: Timestamp) -> JobStatus {
    let mut status = settled(job, all);
    let uncounted = status.uncounted_terminated_pods.clone().unwrap_or_default();
    let kept = all.iter().any(|pod| has_finalizer(&pod.metadata, TRACKING));
    let waits =
        kept || uncounted.succeeded.is_some() || uncounted.failed.is_some() || status.terminating != Some(0);
    let active = status.active.unwrap_or(0) > 0;
    if let Some(verdict) = verdict.filter(|_| !waits && !active) {
        let at = Time(seconds(at));
        let kind = if verdict.is_success() { "Complete" } else { "Failed" };
        set(&mut status, kind, "True", verdict.reason(), verdict.message(), &at);
        if verdict.is_success() {
            status.completion_time = Some(at);
        }
    }
    status
}

/// Pods as they are now, and noted ends counted of Pods that have been let go.
fn settled(job: &Job, all: &[Arc<Pod>]) -> JobStatus {
    let mut status = job.status.clone().unwrap_or_default();
    let kept: BTreeSet<&String> = all
        .iter()
        .filter(|pod| has_finalizer(&pod.metadata, TRACKING))
        .filter_map(|pod| pod.metadata.uid.as_ref())
        .collect();
    let mut uncounted = status.uncounted_terminated_pods.take().unwrap_or_default();
    for (noted, total) in
        [(&mut uncounted.succeeded, &mut status.succeeded), (&mut uncounted.failed, &mut status.failed)]
    {
        let (still, gone): (Vec<String>, Vec<String>) =
            noted.take().unwrap_or_default().into_iter().partition(|uid| kept.contains(uid));
        *noted = Some(still).filter(|all| !all.is_empty());
        *total = some(total.unwrap_or(0).saturating_add(count_of(gone.len())));
    }
    status.uncounted_terminated_pods = Some(uncounted);
    let active: Vec<_> = all.iter().filter(|pod| pods::is_active(pod)).collect();
    status.active = some(count_of(active.len()));
    status.ready = Some(count_of(active.iter().filter(|pod| pods::is_ready(pod)).count()));
    status.terminating = Some(count_of(all.iter().filter(|pod| ends(pod)).count()));
    status
}

/// Set a condition; true if that changed anything. One that is not there is not made False.
fn set(status: &mut JobStatus, kind: &str, value: &str, reason: &str, message: &str, at: &Time) -> bool {
    let conditions = status.conditions.get_or_insert_default();
    let known = conditions.iter().position(|c| c.type_ == kind);
    let same = |c: &JobCondition| {
        c.status == value && c.reason.as_deref() == Some(reason) && c.message.as_deref() == Some(message)
    };
    if known.map_or(value == "False", |at| same(&conditions[at])) {
        if conditions.is_empty() {
            status.conditions = None;
        }
        return false;
    }
    let condition = JobCondition {
        type_: kind.into(),
        status: value.into(),
        reason: Some(reason.into()),
        message: Some(message.into()),
        last_probe_time: Some(at.clone()),
        last_transition_time: Some(at.clone()),
    };
    match known {
        Some(at) => conditions[at] = condition,
        None => conditions.push(condition),
    }
    true
}
