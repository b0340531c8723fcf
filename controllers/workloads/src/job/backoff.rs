//! How long a Job waits after failures before it makes the next Pod: upstream's `backoff_utils.go`.
//!
//! It remembers nothing: failures are read from the Pods there are.

use super::plan::has_failed;
use controllers_kit::pods;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;
use std::sync::Arc;
use std::time::Duration;

const FIRST: i64 = 10;
const MAX: i64 = 600;

/// What is left of the wait, if anything.
pub(super) fn left(job: &Job, all: &[Arc<Pod>], at: Timestamp) -> Option<Duration> {
    let succeeded = all.iter().filter(|pod| pods::phase(pod) == "Succeeded").map(|pod| ended(pod)).max();
    let failures: Vec<i64> = all
        .iter()
        .filter(|pod| has_failed(job, pod))
        .map(|pod| ended(pod))
        .filter(|failed| succeeded.is_none_or(|succeeded| *failed > succeeded))
        .collect();
    let last = failures.iter().max()?;
    let doublings = u32::try_from(failures.len() - 1).unwrap_or(u32::MAX).min(6);
    let wait = (FIRST << doublings).min(MAX);
    u64::try_from(last + wait - at.as_second()).ok().filter(|left| *left > 0).map(Duration::from_secs)
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
        let pod = |(phase, second): &(&str, u32)| {
            let at = format!("2026-01-01T00:00:{second:02}Z");
            let state = json!({"terminated": {"exitCode": 1, "finishedAt": at}});
            let statuses = json!([{"name": "c", "image": "", "imageID": "", "ready": false, "restartCount": 0, "state": state}]);
            Arc::new(
                serde_json::from_value(
                    json!({"metadata": {}, "status": {"phase": phase, "containerStatuses": statuses}}),
                )
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
        for (all, expected) in table {
            let all: Vec<Arc<Pod>> = all.iter().map(pod).collect();
            let left = left(&Job::default(), &all, "2026-01-01T00:00:30Z".parse().unwrap());
            assert_eq!(left.map(|d| d.as_secs()), *expected);
        }
    }
}
