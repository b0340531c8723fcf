//! Whether a CronJob starts a Job now, and which of its Jobs go: a pure function, upstream's rules.

use super::schedule::{self, Schedule};
use controllers_kit::EventKind;
use controllers_kit::events::reference;
use k8s_openapi::api::batch::v1::{CronJob, CronJobSpec, CronJobStatus, Job, JobCondition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::{SignedDuration, Timestamp, tz::TimeZone};
use std::cmp::Reverse;
use std::sync::Arc;
use std::time::Duration;

/// A clock may be late by so much.
const SKEW: Duration = Duration::from_millis(100);
/// More missed times than this are worth a warning.
const MISSED_MAX: i64 = 100;

/// What is to be done next.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) status: CronJobStatus,
    /// The time of the Job that is started.
    pub(super) create: Option<Timestamp>,
    pub(super) delete: Vec<Arc<Job>>,
    /// Events about the CronJob.
    pub(super) told: Vec<(EventKind, &'static str, String)>,
    pub(super) again: Option<Duration>,
}

/// Name of the Job of a time: it is made once.
pub(super) fn job_name(cron: &CronJob, due: Timestamp) -> String {
    format!("{}-{}", cron.metadata.name.as_deref().unwrap_or_default(), due.as_second() / 60)
}

/// A Job was started for a time.
pub(super) fn note_started(status: &mut CronJobStatus, job: &Job, due: Timestamp) {
    status.last_schedule_time = Some(Time(due));
    if end(job).is_none() {
        status.active.get_or_insert_default().push(reference(job));
    }
}

/// The condition with which a Job has ended.
fn end(job: &Job) -> Option<&JobCondition> {
    let mut conditions = job.status.iter().flat_map(|s| s.conditions.iter().flatten());
    conditions.find(|c| matches!(c.type_.as_str(), "Complete" | "Failed") && c.status == "True")
}

/// The next step.
pub(super) fn build(
    cron: &CronJob,
    jobs: &[Arc<Job>],
    zone: &Result<TimeZone, String>,
    at: Timestamp,
) -> Plan {
    let mut plan = Plan { status: cron.status.clone().unwrap_or_default(), ..Plan::default() };
    let spec = &cron.spec;
    look_at(jobs, &mut plan);
    if cron.metadata.deletion_timestamp.is_some() {
        return plan;
    }
    plan.delete = history(spec, jobs);
    let zone = match zone {
        Ok(zone) => zone,
        Err(why) => {
            let name = spec.time_zone.as_deref().unwrap_or_default();
            plan.told.push((
                EventKind::Warning,
                "UnknownTimeZone",
                format!("invalid timeZone: {name:?}: {why}"),
            ));
            return plan;
        }
    };
    if spec.suspend == Some(true) {
        return plan;
    }
    match schedule::parse(&spec.schedule) {
        Ok(schedule) => start(cron, spec, jobs, (&schedule, zone), at, &mut plan),
        Err(why) => {
            let text = format!("unparseable schedule: {:?} : {why}", spec.schedule);
            plan.told.push((EventKind::Warning, "UnparseableSchedule", text));
        }
    }
    plan
}

/// What became of the Jobs that were at work.
fn look_at(jobs: &[Arc<Job>], plan: &mut Plan) {
    let mut active = plan.status.active.take().unwrap_or_default();
    for job in jobs {
        let name = job.metadata.name.as_deref().unwrap_or_default();
        let known = active.iter().position(|a| a.uid == job.metadata.uid);
        let Some(end) = end(job) else {
            if known.is_none() {
                let text = format!("Saw a job that the controller did not create or forgot: {name}");
                plan.told.push((EventKind::Warning, "UnexpectedJob", text));
            }
            continue;
        };
        if let Some(at) = known {
            active.remove(at);
            let text = format!("Saw completed job: {name}, condition: {}", end.type_);
            plan.told.push((EventKind::Normal, "SawCompletedJob", text));
        }
        let completed = job.status.as_ref().and_then(|s| s.completion_time.clone());
        if completed > plan.status.last_successful_time && end.type_ == "Complete" {
            plan.status.last_successful_time = completed;
        }
    }
    active.retain(|known| {
        let there = jobs.iter().any(|job| job.metadata.uid == known.uid);
        if !there {
            let name = known.name.as_deref().unwrap_or_default();
            plan.told.push((EventKind::Normal, "MissingJob", format!("Active job went missing: {name}")));
        }
        there
    });
    plan.status.active = Some(active).filter(|active| !active.is_empty());
}

/// The oldest Jobs beyond what is kept of each kind of end.
fn history(spec: &CronJobSpec, jobs: &[Arc<Job>]) -> Vec<Arc<Job>> {
    let mut gone = Vec::new();
    for (kind, limit) in
        [("Complete", spec.successful_jobs_history_limit), ("Failed", spec.failed_jobs_history_limit)]
    {
        let Some(limit) = limit.and_then(|n| usize::try_from(n).ok()) else { continue };
        let ended = |job: &&Arc<Job>| {
            end(job).is_some_and(|c| c.type_ == kind) && job.metadata.deletion_timestamp.is_none()
        };
        let mut ended: Vec<_> = jobs.iter().filter(ended).cloned().collect();
        ended.sort_by_key(|job| {
            let since = job.status.as_ref().and_then(|s| s.start_time.as_ref()).map(|t| t.0);
            (Reverse(since), Reverse(job.metadata.name.clone()))
        });
        gone.extend(ended.into_iter().skip(limit));
    }
    gone
}

fn start(
    cron: &CronJob,
    spec: &CronJobSpec,
    jobs: &[Arc<Job>],
    (schedule, zone): (&Schedule, &TimeZone),
    at: Timestamp,
    plan: &mut Plan,
) {
    let seen = |with_deadline| most_recent(cron, (schedule, zone), at, with_deadline);
    let due = match seen(true) {
        Ok(due) => due,
        Err(why) => {
            let text = format!("invalid schedule: {} : {why}", spec.schedule);
            plan.told.push((EventKind::Warning, "InvalidSchedule", text));
            return;
        }
    };
    // The next time follows the last one that was due, whether or not a Job was made for it.
    let last = seen(false).ok().map_or(at, |seen| seen.due.unwrap_or(seen.earliest));
    plan.again = schedule.next(last, zone).map(|next| {
        let left = next.as_millisecond() - at.as_millisecond();
        Duration::from_millis(u64::try_from(left).unwrap_or(0)) + SKEW
    });
    if due.missed > MISSED_MAX {
        let text =
            "too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew";
        plan.told.push((EventKind::Warning, "TooManyMissedTimes", text.into()));
    }
    let Some(due) = due.due else { return };
    let deadline = spec.starting_deadline_seconds.map(|seconds| due.as_second().saturating_add(seconds));
    if deadline.is_some_and(|deadline| deadline < at.as_second()) {
        let when = due.strftime("%a, %d %b %Y %H:%M:%S +0000");
        plan.told.push((
            EventKind::Warning,
            "MissSchedule",
            format!("Missed scheduled time to start a job: {when}"),
        ));
        return;
    }
    let name = job_name(cron, due);
    let active = plan.status.active.clone().unwrap_or_default();
    let known = active.iter().any(|job| job.name.as_ref() == Some(&name));
    if known || plan.status.last_schedule_time.as_ref().is_some_and(|last| last.0 == due) {
        return;
    }
    let policy = spec.concurrency_policy.as_deref();
    if policy == Some("Forbid") && !active.is_empty() {
        let text = "Not starting job because prior execution is running and concurrency policy is Forbid";
        plan.told.push((EventKind::Normal, "JobAlreadyActive", text.into()));
        return;
    }
    if policy == Some("Replace") {
        let running = |job: &&Arc<Job>| active.iter().any(|known| known.uid == job.metadata.uid);
        plan.delete.extend(jobs.iter().filter(running).cloned());
        plan.status.active = None;
    }
    plan.create = Some(due);
}

/// The last time that was due, the time from which that was counted, and how many there were.
struct Recent {
    due: Option<Timestamp>,
    earliest: Timestamp,
    missed: i64,
}

fn most_recent(
    cron: &CronJob,
    (schedule, zone): (&Schedule, &TimeZone),
    at: Timestamp,
    with_deadline: bool,
) -> Result<Recent, &'static str> {
    const NEVER: &str = "time difference between two schedules is less than 1 second";
    let spec = &cron.spec;
    let last = cron.status.as_ref().and_then(|s| s.last_schedule_time.as_ref());
    let begin = last.or(cron.metadata.creation_timestamp.as_ref()).map_or(at, |t| t.0);
    let deadline = spec.starting_deadline_seconds.filter(|_| with_deadline).map(SignedDuration::from_secs);
    let earliest =
        deadline.and_then(|d| at.checked_sub(d).ok()).map_or(begin, |deadline| begin.max(deadline));
    let first = schedule.next(earliest, zone).ok_or(NEVER)?;
    let second = schedule.next(first, zone).ok_or(NEVER)?;
    if at < first {
        return Ok(Recent { due: None, earliest, missed: 0 });
    }
    if at < second {
        return Ok(Recent { due: Some(first), earliest, missed: 0 });
    }
    let between = (second.as_second() - first.as_second()).max(1);
    let missed = (at.as_second() - first.as_second()) / between + 1;
    // Not all of them are walked: there may be years of minutes.
    let jump = SignedDuration::from_secs((missed - 2).max(0).saturating_mul(between));
    let mut due = first;
    let mut next = schedule.next(first.checked_add(jump).unwrap_or(first), zone);
    while let Some(time) = next.filter(|time| *time <= at) {
        due = time;
        next = schedule.next(time, zone);
    }
    Ok(Recent { due: Some(due), earliest, missed })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn cron(spec: &Value, status: &Value) -> CronJob {
        let mut cron = json!({
            "metadata": {"name": "tick", "uid": "c", "creationTimestamp": "2026-01-01T00:00:00Z"},
            "spec": {"schedule": "*/10 * * * *", "jobTemplate": {"spec": {"template": {}}},
                "successfulJobsHistoryLimit": 1, "failedJobsHistoryLimit": 1},
            "status": status,
        });
        for (key, value) in spec.as_object().unwrap() {
            cron["spec"][key] = value.clone();
        }
        serde_json::from_value(cron).unwrap()
    }

    /// `a Complete 5`: name, end, minute of its beginning.
    fn job(text: &str) -> Arc<Job> {
        let words: Vec<&str> = text.split(' ').collect();
        let [name, end, minute] = words[..] else { panic!("{text}") };
        let time = format!("2026-01-01T00:{minute:0>2}:00Z");
        let conditions = if end == "-" { json!([]) } else { json!([{"type": end, "status": "True"}]) };
        let status = json!({"conditions": conditions, "startTime": time, "completionTime": time});
        Arc::new(
            serde_json::from_value(
                json!({"metadata": {"name": name, "uid": name}, "spec": {"template": {}}, "status": status}),
            )
            .unwrap(),
        )
    }

    #[test]
    fn jobs_are_started_when_they_are_due() {
        let none = json!({});
        let ten = json!({"lastScheduleTime": "2026-01-01T00:10:00Z"});
        let active =
            json!({"lastScheduleTime": "2026-01-01T00:10:00Z", "active": [{"name": "a", "uid": "a"}]});
        let forbid = json!({"concurrencyPolicy": "Forbid"});
        let replace = json!({"concurrencyPolicy": "Replace"});
        let late = json!({"startingDeadlineSeconds": 60});
        let suspended = json!({"suspend": true});
        let broken = json!({"schedule": "x"});
        let never = json!({"schedule": "0 0 31 2 *"});
        // What, spec, status, Jobs, minute, minute of the Job, Jobs that go, Events, seconds to wait.
        type Row<'a> = (
            &'a str,
            &'a Value,
            &'a Value,
            &'a [&'a str],
            u32,
            Option<u32>,
            &'a [&'a str],
            &'a [&'a str],
            Option<u64>,
        );
        let table: &[Row] = &[
            ("not yet", &none, &none, &[], 9, None, &[], &[], Some(60)),
            ("due", &none, &none, &[], 10, Some(10), &[], &[], Some(600)),
            ("only once", &none, &ten, &[], 11, None, &[], &[], Some(540)),
            ("the last that was missed", &none, &none, &[], 45, Some(40), &[], &[], Some(300)),
            ("beside another", &none, &active, &["a - 10"], 20, Some(20), &[], &[], Some(600)),
            (
                "not beside another",
                &forbid,
                &active,
                &["a - 10"],
                20,
                None,
                &[],
                &["JobAlreadyActive"],
                Some(600),
            ),
            ("instead of another", &replace, &active, &["a - 10"], 20, Some(20), &["a"], &[], Some(600)),
            ("ended", &none, &active, &["a Complete 10"], 11, None, &[], &["SawCompletedJob"], Some(540)),
            ("gone", &none, &active, &[], 11, None, &[], &["MissingJob"], Some(540)),
            (
                "history",
                &none,
                &ten,
                &["a Complete 1", "b Complete 2", "c Failed 1", "d Failed 2"],
                11,
                None,
                &["a", "c"],
                &[],
                Some(540),
            ),
            ("too late", &late, &none, &[], 15, None, &[], &[], Some(300)),
            ("suspended", &suspended, &none, &[], 10, None, &[], &[], None),
            ("no schedule", &broken, &none, &[], 10, None, &[], &["UnparseableSchedule"], None),
            ("never", &never, &none, &[], 10, None, &[], &["InvalidSchedule"], None),
        ];
        for (what, spec, status, jobs, minute, due, delete, told, again) in table {
            let jobs: Vec<_> = jobs.iter().map(|text| job(text)).collect();
            let at = |minute: u32| -> Timestamp { format!("2026-01-01T00:{minute:02}:00Z").parse().unwrap() };
            let plan = build(&cron(spec, status), &jobs, &Ok(TimeZone::UTC), at(*minute));
            assert_eq!(plan.create, due.map(at), "{what}");
            let gone: Vec<_> = plan.delete.iter().filter_map(|j| j.metadata.name.as_deref()).collect();
            assert_eq!(gone, *delete, "{what}");
            let reasons: Vec<_> = plan.told.iter().map(|(_, reason, _)| *reason).collect();
            assert_eq!(reasons, *told, "{what}");
            assert_eq!(plan.again, again.map(|s| Duration::from_secs(s) + SKEW), "{what}");
        }
    }

    #[test]
    fn years_of_missed_minutes_are_not_walked() {
        let cron =
            cron(&json!({"schedule": "* * * * *"}), &json!({"lastScheduleTime": "2016-01-01T00:00:00Z"}));
        let plan = build(&cron, &[], &Ok(TimeZone::UTC), "2026-01-01T00:00:30Z".parse().unwrap());
        assert_eq!(plan.create, Some("2026-01-01T00:00:00Z".parse().unwrap()));
        assert_eq!(plan.told[0].1, "TooManyMissedTimes");
        assert_eq!(job_name(&cron, "2026-01-01T00:00:00Z".parse().unwrap()), "tick-29453760");
    }
}
