//! Rules of a Job's status: `ValidateJobStatusUpdate` upstream. Most are about what a write changes only, so that a status
//! that was wrong before does not stand in the way of other changes.

use apiserver_json::Value;
use apiserver_meta::field::FieldError;

use super::job::{count_indexes, plain};
use super::shared::{at, check_not_negative, has, is_true, items, number, text};

/// A Job as one of its two states.
struct State<'a> {
    spec: &'a Value,
    status: &'a Value,
}

impl<'a> State<'a> {
    fn of(job: &'a Value) -> Self {
        State { spec: at(job, &["spec"]), status: at(job, &["status"]) }
    }

    fn has_condition(&self, kind: &str, status: &str) -> bool {
        let is_it =
            |condition: &Value| text(condition, "type") == kind && text(condition, "status") == status;
        items(self.status, "conditions").iter().any(is_it)
    }

    fn is(&self, kind: &str) -> bool {
        self.has_condition(kind, "True")
    }

    fn is_finished(&self) -> bool {
        self.is("Complete") || self.is("Failed")
    }

    fn count(&self, member: &str) -> i64 {
        number(self.status, member).unwrap_or(0)
    }
}

/// What a write changes of a status.
struct Change<'a> {
    new: State<'a>,
    old: State<'a>,
}

impl Change<'_> {
    fn of(&self, member: &str) -> bool {
        at(self.new.status, &[member]) != at(self.old.status, &[member])
    }

    fn of_condition(&self, kind: &str) -> bool {
        self.new.is(kind) != self.old.is(kind)
    }

    fn of_end(&self) -> bool {
        self.new.is_finished() != self.old.is_finished()
    }
}

/// Errors of an updated status.
pub(super) fn check(new: &Value, old: &Value) -> Vec<FieldError> {
    let change = Change { new: State::of(new), old: State::of(old) };
    let mut errors = Vec::new();
    check_counts(change.new.status, &mut errors);
    check_end(&change, &mut errors);
    check_rest_of_end(&change, &mut errors);
    check_indexes(&change, &mut errors);
    let (job, before) = (&change.new, &change.old);
    if (change.of_end() || change.of("terminating")) && job.is_finished() && job.count("terminating") > 0 {
        let why = "terminating>0 is invalid for finished job";
        errors.push(FieldError::invalid("status.terminating", at(job.status, &["terminating"]), why));
    }
    let is_told = !at(job.status, &["ready"]).is_null();
    if is_told && (change.of("ready") || change.of("active")) && job.count("ready") > job.count("active") {
        let why = "cannot set more ready pods than active";
        errors.push(FieldError::invalid("status.ready", at(job.status, &["ready"]), why));
    }
    let mut conditions = |why: &str| errors.push(plain("status.conditions", why));
    let is_met = job.is("SuccessCriteriaMet");
    if is_met && job.is("Failed") {
        conditions("cannot set SuccessCriteriaMet=True and Failed=true conditions");
    }
    if is_met && job.is("FailureTarget") {
        conditions("cannot set SuccessCriteriaMet=True and FailureTarget=true conditions");
    }
    if has(job.spec, "successPolicy") && !is_met && job.is("Complete") {
        conditions("cannot set Complete=True for Job with SuccessPolicy unless SuccessCriteriaMet=True");
    }
    for kind in ["Failed", "Complete", "FailureTarget"] {
        if before.is(kind) && !job.is(kind) {
            conditions(&format!("cannot disable the terminal {kind}=True condition"));
        }
    }
    check_what_stays(&change, &mut errors);
    errors
}

fn check_counts(status: &Value, errors: &mut Vec<FieldError>) {
    for member in ["active", "succeeded", "failed", "ready", "terminating"] {
        check_not_negative(status, member, format_args!("status.{member}"), errors);
    }
    let uncounted = at(status, &["uncountedTerminatedPods"]);
    let mut seen: Vec<&Value> = Vec::new();
    for member in ["succeeded", "failed"] {
        for (i, uid) in items(uncounted, member).iter().enumerate() {
            let path = format!("status.uncountedTerminatedPods.{member}[{i}]");
            if uid.as_str() == Some("") {
                errors.push(FieldError::invalid(path, uid, "must not be empty"));
            } else if seen.contains(&uid) {
                errors.push(FieldError::duplicate(path, uid));
            } else {
                seen.push(uid);
            }
        }
    }
}

/// Errors of how a Job says that it ended.
fn check_end(change: &Change<'_>, errors: &mut Vec<FieldError>) {
    let (job, status) = (&change.new, change.new.status);
    let completion = at(status, &["completionTime"]);
    let is_complete = job.is("Complete");
    let completes = change.of_condition("Complete");
    if (completes || change.of_condition("Failed")) && is_complete && job.is("Failed") {
        errors.push(plain("status.conditions", "cannot set Complete=True and Failed=true conditions"));
    }
    if (completes || change.of_condition("FailureTarget")) && is_complete && job.is("FailureTarget") {
        errors.push(plain("status.conditions", "cannot set Complete=True and FailureTarget=true conditions"));
    }
    if completes || change.of("completionTime") {
        if !completion.is_null() && !is_complete {
            let why = "cannot set completionTime when there is no Complete=True condition";
            errors.push(FieldError::invalid("status.completionTime", completion, why));
        }
        if completion.is_null() && is_complete {
            let why = "completionTime is required for Complete jobs";
            errors.push(FieldError::required("status.completionTime", why));
        }
    }
    // Both are written in UTC, to the second: their texts come in the order of the times.
    let is_early = !completion.is_null() && text(status, "completionTime") < text(status, "startTime");
    if (change.of("startTime") || change.of("completionTime")) && is_early {
        let why = "must be equal to or after `startTime`";
        errors.push(FieldError::invalid("status.completionTime", completion, why));
    }
    if (change.of_condition("Failed") || change.of("failedIndexes"))
        && job.is("Failed")
        && !job.is("FailureTarget")
    {
        let why = "cannot set Failed=True condition without the FailureTarget=true condition";
        errors.push(plain("status.conditions", why));
    }
    if (completes || change.of_condition("SuccessCriteriaMet"))
        && is_complete
        && !job.is("SuccessCriteriaMet")
    {
        let why = "cannot set Complete=True condition without the SuccessCriteriaMet=true condition";
        errors.push(plain("status.conditions", why));
    }
}

/// Errors of what a Job that ended still has.
fn check_rest_of_end(change: &Change<'_>, errors: &mut Vec<FieldError>) {
    let (job, status) = (&change.new, change.new.status);
    if !job.is_finished() {
        return;
    }
    if (change.of_end() || change.of("active")) && job.count("active") > 0 {
        let why = "active>0 is invalid for finished job";
        errors.push(FieldError::invalid("status.active", at(status, &["active"]), why));
    }
    let never_ran = is_true(job.spec, "suspend") && number(job.spec, "completions") == Some(0);
    if (change.of_end() || change.of("startTime")) && !never_ran && !has(status, "startTime") {
        errors.push(FieldError::required("status.startTime", "startTime is required for finished job"));
    }
    let uncounted = at(status, &["uncountedTerminatedPods"]);
    let is_left = ["succeeded", "failed"].iter().any(|member| !items(uncounted, member).is_empty());
    if (change.of_end() || change.of("uncountedTerminatedPods")) && is_left {
        let list = |member: &str| uncounted.get(member).map_or("null".to_owned(), Value::to_string);
        errors.push(FieldError {
            value: format!("{{\"Succeeded\":{},\"Failed\":{}}}", list("succeeded"), list("failed")),
            ..plain("status.uncountedTerminatedPods", "must be empty for finished job")
        });
    }
}

fn check_indexes(change: &Change<'_>, errors: &mut Vec<FieldError>) {
    let (spec, status) = (change.new.spec, change.new.status);
    let completions = number(spec, "completions");
    let limited = has(spec, "backoffLimitPerIndex");
    let mut wrong = |member: &str, why: String| {
        errors.push(FieldError::invalid(format!("status.{member}"), &text(status, member).into(), why));
    };
    let (completed, failed) = (text(status, "completedIndexes"), text(status, "failedIndexes"));
    for (member, due) in
        [("completedIndexes", true), ("failedIndexes", limited && has(status, "failedIndexes"))]
    {
        if let Some(completions) = completions.filter(|_| due && change.of(member))
            && let Err(why) = count_indexes(text(status, member), completions)
        {
            wrong(member, format!("error parsing {member}: {why}"));
        }
    }
    if change.of("completedIndexes") && !completed.is_empty() && text(spec, "completionMode") != "Indexed" {
        let why = "cannot set non-empty completedIndexes when non-indexed completion mode";
        wrong("completedIndexes", why.to_owned());
    }
    if change.of("failedIndexes") && !limited && has(status, "failedIndexes") {
        let why = "cannot set non-null failedIndexes when backoffLimitPerIndex is null";
        wrong("failedIndexes", why.to_owned());
    }
    if (change.of("failedIndexes") || change.of("completedIndexes"))
        && let Some(index) = completions.and_then(|count| common_index(completed, failed, count))
    {
        wrong("failedIndexes", format!("failedIndexes and completedIndexes overlap at index: {index}"));
    }
}

/// The first index that two lists of intervals have in common; what is no interval is passed over.
fn common_index(completed: &str, failed: &str, completions: i64) -> Option<i64> {
    let read = |list: &str| -> Vec<(i64, i64)> {
        let interval = |part: &str| {
            count_indexes(part, completions).ok().filter(|count| *count > 0)?;
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            Some((first.parse().ok()?, last.parse().ok()?))
        };
        list.split(',').filter_map(interval).collect()
    };
    let (completed, failed) = (read(completed), read(failed));
    let (mut completed, mut failed) = (completed.iter().peekable(), failed.iter().peekable());
    while let (Some((first, last)), Some((from, to))) = (completed.peek(), failed.peek()) {
        if first <= to && from <= last {
            return Some(*first.max(from));
        }
        if first <= from {
            completed.next()
        } else {
            failed.next()
        };
    }
    None
}

/// Errors of what no later status takes back.
fn check_what_stays(change: &Change<'_>, errors: &mut Vec<FieldError>) {
    let (job, before) = (&change.new, &change.old);
    let spec = job.spec;
    let shrinks = |member: &str| job.count(member) < before.count(member);
    let decreased = |member: &str| {
        let why = format!("cannot decrease the {member} counter");
        FieldError::invalid(format!("status.{member}"), &job.count(member).into(), why)
    };
    if shrinks("failed") {
        errors.push(decreased("failed"));
    }
    // One of as many completions as Pods at once can be made smaller.
    let may_shrink = text(spec, "completionMode") == "Indexed"
        && number(spec, "completions") == number(spec, "parallelism");
    if shrinks("succeeded") && !may_shrink {
        errors.push(decreased("succeeded"));
    }
    let moved = |member: &str| has(before.status, member) && change.of(member);
    if has(job.status, "completionTime") && moved("completionTime") {
        let value = at(job.status, &["completionTime"]);
        errors.push(FieldError::invalid("status.completionTime", value, "field is immutable"));
    }
    let resumes = before.is("Suspended") && job.has_condition("Suspended", "False");
    if !resumes && moved("startTime") && !is_true(spec, "suspend") {
        let why = "field is immutable for unsuspended job once set";
        errors.push(FieldError::invalid("status.startTime", at(job.status, &["startTime"]), why));
    }
    let (was_met, is_met) = (before.is("SuccessCriteriaMet"), job.is("SuccessCriteriaMet"));
    if was_met && !is_met {
        errors.push(plain("status.conditions", "cannot disable the SuccessCriteriaMet=True condition"));
    }
    if before.is("Complete") && !was_met && is_met {
        let why = "cannot set SuccessCriteriaMet=True for Job already has Complete=true conditions";
        errors.push(plain("status.conditions", why));
    }
}

#[cfg(test)]
mod tests {
    use apiserver_json::json;

    use super::super::table::{Write, check};
    use super::common_index;

    #[test]
    fn a_status_says_what_a_job_can_have_come_to() {
        let base = json!({
            "apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "a", "namespace": "x", "uid": "u"},
            "spec": {"completions": 3, "parallelism": 1, "completionMode": "Indexed", "template": {"spec": {}}},
            "status": {"failed": 2}});
        let yes = |kind: &str| json!({"type": kind, "status": "True"});
        let none = json!({});
        let rows = [
            (none.clone(), json!({"status": {"failed": 3, "active": 1, "ready": 1}}), &[][..]),
            (
                none.clone(),
                json!({"status": {"failed": 1, "ready": 1, "completedIndexes": "0,5"}}),
                &[
                    "status.completedIndexes: Invalid value: \"0,5\": error parsing completedIndexes: too large index: \"5\"",
                    "status.ready: Invalid value: 1: cannot set more ready pods than active",
                    "status.failed: Invalid value: 1: cannot decrease the failed counter",
                ],
            ),
            (
                none.clone(),
                json!({"status": {"conditions": [yes("Complete")]}}),
                &[
                    "status.completionTime: Required value: completionTime is required for Complete jobs",
                    "status.conditions: Invalid value: cannot set Complete=True condition without the SuccessCriteriaMet=true condition",
                    "status.startTime: Required value: startTime is required for finished job",
                ],
            ),
            (
                json!({"status": {"conditions": [yes("FailureTarget")]}}),
                json!({"status": {"conditions": []}}),
                &[
                    "status.conditions: Invalid value: cannot disable the terminal FailureTarget=True condition",
                ],
            ),
        ];
        check(Write::Status, &base, &rows);
    }

    #[test]
    fn intervals_of_two_lists_meet() {
        for (completed, failed, want) in
            [("0,2-4", "1,4", Some(4)), ("0,2", "1,3-4", None), ("x,1", "1", Some(1)), ("", "1", None)]
        {
            assert_eq!(common_index(completed, failed, 9), want, "{completed} {failed}");
        }
    }
}
