//! How long a Job waits after failures before it makes the next Pod: upstream's `backoff_utils.go`.

use super::plan::has_failed;
use controllers_kit::pods;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

const FIRST: i64 = 10;
const MAX: i64 = 600;

/// How a Pod ended, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct End {
    failed: bool,
    at: i64,
}

/// The ends of a Job's Pods by their uid.
pub(super) type Ends = BTreeMap<String, End>;

/// The ends of Jobs that go on, by the uid of the Job: a Pod may be gone before its Job has waited.
#[derive(Default)]
pub(super) struct Memory(Mutex<HashMap<String, Ends>>);

impl Memory {
    /// The ends of a Job's Pods, with those that are gone.
    pub(super) fn ends(&self, job: &Job, all: &[Arc<Pod>]) -> Ends {
        let mut jobs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = jobs.entry(job.metadata.uid.clone().unwrap_or_default()).or_default();
        known.extend(ends(job, all));
        // What came before a success is over.
        let success = known.values().filter(|end| !end.failed).map(|end| end.at).max();
        known.retain(|_, end| success.is_none_or(|success| end.at >= success));
        known.clone()
    }

    /// The Job has ended.
    pub(super) fn forget(&self, job: &Job) {
        let mut jobs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        jobs.remove(job.metadata.uid.as_deref().unwrap_or_default());
    }
}

/// The ends of these Pods.
pub(super) fn ends(job: &Job, all: &[Arc<Pod>]) -> Ends {
    let end = |pod: &Arc<Pod>| {
        let failed = has_failed(job, pod);
        let uid = pod.metadata.uid.clone()?;
        (failed || pods::phase(pod) == "Succeeded").then(|| (uid, End { failed, at: ended(pod) }))
    };
    all.iter().filter_map(end).collect()
}

/// What is left of the wait, if anything.
pub(super) fn left(ends: &Ends, at: Timestamp) -> Option<Duration> {
    let success = ends.values().filter(|end| !end.failed).map(|end| end.at).max();
    let failures = ends.values().filter(|end| end.failed && success.is_none_or(|success| end.at > success));
    let doublings = u32::try_from(failures.clone().count()).unwrap_or(u32::MAX).saturating_sub(1).min(6);
    let wait = (FIRST << doublings).min(MAX);
    let left = failures.map(|end| end.at).max()? + wait - at.as_second();
    u64::try_from(left).ok().filter(|left| *left > 0).map(Duration::from_secs)
}

/// When a Pod ended: as its containers say, or its condition, or its deletion.
fn ended(pod: &Pod) -> i64 {
    let statuses = pod.status.iter().flat_map(|s| s.container_statuses.iter().flatten());
    let each = statuses
        .map(|s| s.state.as_ref()?.terminated.as_ref()?.finished_at.as_ref().map(|t| t.0.as_second()));
    let containers: Option<Vec<i64>> = each.collect();
    let unready = pods::condition(pod, "Ready").filter(|c| c.status == "False");
    let grace = pod.metadata.deletion_grace_period_seconds.unwrap_or(0);
    containers
        .and_then(|all| all.into_iter().max())
        .or_else(|| unready?.last_transition_time.as_ref().map(|t| t.0.as_second()))
        .or_else(|| pod.metadata.deletion_timestamp.as_ref().map(|t| t.0.as_second() - grace))
        .or_else(|| pod.metadata.creation_timestamp.as_ref().map(|t| t.0.as_second()))
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn failures_in_a_row_double_the_wait() {
        let pod = |(i, (phase, second)): (usize, &(&str, u32))| {
            let at = format!("2026-01-01T00:00:{second:02}Z");
            let state = json!({"terminated": {"exitCode": 1, "finishedAt": at}});
            let statuses = json!([{"name": "c", "image": "", "imageID": "", "ready": false, "restartCount": 0, "state": state}]);
            let status = json!({"phase": phase, "containerStatuses": statuses});
            Arc::new(
                serde_json::from_value(json!({"metadata": {"uid": i.to_string()}, "status": status}))
                    .unwrap(),
            )
        };
        type Row<'a> = (&'a [(&'a str, u32)], Option<u64>);
        let table: &[Row] = &[
            (&[], None),
            (&[("Failed", 25)], Some(5)),
            (&[("Failed", 5)], None),
            (&[("Failed", 5), ("Failed", 25)], Some(15)),
            (&[("Failed", 20), ("Succeeded", 22), ("Failed", 25)], Some(5)),
            (&[("Failed", 20), ("Succeeded", 25)], None),
        ];
        let now = "2026-01-01T00:00:30Z".parse().unwrap();
        for (all, expected) in table {
            let all: Vec<Arc<Pod>> = all.iter().enumerate().map(pod).collect();
            let memory = Memory::default();
            memory.ends(&Job::default(), &all);
            // Also once they are gone.
            for ends in [ends(&Job::default(), &all), memory.ends(&Job::default(), &[])] {
                assert_eq!(left(&ends, now).map(|d| d.as_secs()), *expected);
            }
        }
    }
}
