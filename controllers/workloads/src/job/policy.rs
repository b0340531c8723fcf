//! What a Job's policies say: of a failed Pod, and of the indexes that have succeeded. Pure.
//!
//! `FailIndex` counts as a failure like any other: limits per index are not followed.

use super::indexes;
use controllers_kit::Key;
use k8s_openapi::api::batch::v1::{Job, PodFailurePolicyOnExitCodesRequirement, PodFailurePolicyRule};
use k8s_openapi::api::core::v1::{ContainerStateTerminated, ContainerStatus, Pod};
use std::collections::BTreeSet;

/// What a failed Pod means for its Job.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Judgement {
    /// One failure more.
    Counts,
    /// Nothing: it is replaced.
    Ignored,
    /// The end, and why.
    FailsJob(String),
}

/// What the first rule that matches says.
pub(super) fn judge(job: &Job, pod: &Pod) -> Judgement {
    let rules = job.spec.iter().filter_map(|spec| spec.pod_failure_policy.as_ref()).flat_map(|p| &p.rules);
    let matching = rules.enumerate().find_map(|(i, rule)| Some((i, rule, matched(rule, pod)?)));
    let Some((i, rule, what)) = matching else { return Judgement::Counts };
    match rule.action.as_str() {
        "Ignore" => Judgement::Ignored,
        "FailJob" => Judgement::FailsJob(format!("{what} matching FailJob rule at index {i}")),
        _ => Judgement::Counts,
    }
}

/// What of the Pod a rule is about.
fn matched(rule: &PodFailurePolicyRule, pod: &Pod) -> Option<String> {
    let (status, key) = (pod.status.as_ref()?, Key::of(&pod.metadata));
    if let Some(wanted) = &rule.on_exit_codes {
        let lists = [&status.container_statuses, &status.init_container_statuses];
        let all = lists.into_iter().flatten().flatten();
        let (container, ended) =
            all.filter_map(|one| Some((one, ended(one)?))).find(|(container, ended)| {
                let named = wanted.container_name.as_ref().is_none_or(|name| *name == container.name);
                named && ended.exit_code != 0 && is_wanted(wanted, ended.exit_code)
            })?;
        let (name, code) = (&container.name, ended.exit_code);
        return Some(format!("Container {name} for pod {key} failed with exit code {code}"));
    }
    let wanted = rule.on_pod_conditions.as_ref()?;
    let conditions = status.conditions.iter().flatten();
    let found = conditions.into_iter().find(|condition| {
        // What upstream takes for granted is said where the API server has filled it in.
        wanted.iter().any(|one| {
            one.type_ == condition.type_ && one.status.as_deref().unwrap_or("True") == condition.status
        })
    })?;
    Some(format!("Pod {key} has condition {}", found.type_))
}

fn ended(container: &ContainerStatus) -> Option<&ContainerStateTerminated> {
    container.state.as_ref()?.terminated.as_ref()
}

fn is_wanted(wanted: &PodFailurePolicyOnExitCodesRequirement, code: i32) -> bool {
    match wanted.operator.as_str() {
        "In" => wanted.values.contains(&code),
        "NotIn" => !wanted.values.contains(&code),
        _ => false,
    }
}

/// The first rule of the success policy that these indexes meet, as the condition tells it.
pub(super) fn success(job: &Job, succeeded: &BTreeSet<i32>) -> Option<String> {
    let spec = job.spec.as_ref()?;
    let rules = &spec.success_policy.as_ref().filter(|_| !succeeded.is_empty())?.rules;
    let enough = |count: Option<i32>, have: usize| {
        count.and_then(|count| usize::try_from(count).ok()).is_some_and(|count| have >= count)
    };
    let met = rules.iter().position(|rule| match &rule.succeeded_indexes {
        Some(text) => {
            let wanted = indexes::parse(text, spec.completions.unwrap_or(0));
            let have = wanted.intersection(succeeded).count();
            !wanted.is_empty() && (have == wanted.len() || enough(rule.succeeded_count, have))
        }
        None => enough(rule.succeeded_count, succeeded.len()),
    })?;
    Some(format!("Matched rules at index {met}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn job(spec: Value) -> Job {
        let mut job = json!({"spec": {"completions": 5, "template": {}}});
        for (member, value) in spec.as_object().unwrap() {
            job["spec"][member] = value.clone();
        }
        serde_json::from_value(job).unwrap()
    }

    #[test]
    fn the_first_rule_that_matches_decides() {
        let status = |name: &str, code: i32| json!({"name": name, "image": "", "imageID": "", "ready": false, "restartCount": 0, "state": {"terminated": {"exitCode": code}}});
        let pod = |code: i32, condition: &str| -> Pod {
            serde_json::from_value(json!({"metadata": {"name": "p", "namespace": "n"}, "status": {
                "containerStatuses": [status("main", code), status("side", 0)],
                "conditions": [{"type": condition, "status": "True"}],
            }}))
            .unwrap()
        };
        let codes = |action: &str, operator: &str, values: &[i32], container: Value| json!({"action": action, "onExitCodes": {"operator": operator, "values": values, "containerName": container}});
        let disrupted =
            json!({"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]});
        let rules = json!([
            disrupted,
            codes("FailJob", "In", &[42], Value::Null),
            codes("Ignore", "In", &[7], "side".into()),
            codes("Count", "In", &[8], Value::Null),
            codes("Ignore", "NotIn", &[1, 7], "main".into()),
        ]);
        let with = job(json!({"podFailurePolicy": {"rules": rules}}));
        let fails = "Container main for pod n/p failed with exit code 42 matching FailJob rule at index 1";
        for (pod, want) in [
            (pod(42, "Ready"), Judgement::FailsJob(fails.to_owned())),
            (pod(42, "DisruptionTarget"), Judgement::Ignored),
            (pod(7, "Ready"), Judgement::Counts),
            (pod(8, "Ready"), Judgement::Counts),
            (pod(9, "Ready"), Judgement::Ignored),
            (pod(1, "Ready"), Judgement::Counts),
            (pod(0, "Ready"), Judgement::Counts),
        ] {
            assert_eq!(judge(&with, &pod), want);
            assert_eq!(judge(&job(json!({})), &pod), Judgement::Counts);
        }
        let on_condition =
            json!([{"action": "FailJob", "onPodConditions": [{"type": "Bad", "status": "True"}]}]);
        let why = "Pod n/p has condition Bad matching FailJob rule at index 0";
        let judged = judge(&job(json!({"podFailurePolicy": {"rules": on_condition}})), &pod(1, "Bad"));
        assert_eq!(judged, Judgement::FailsJob(why.to_owned()));
    }

    #[test]
    fn a_success_policy_is_met_by_indexes_or_their_count() {
        let all = json!({"succeededIndexes": "0-2"});
        let some = json!({"succeededIndexes": "0-2", "succeededCount": 2});
        let any = json!({"succeededCount": 3});
        for (rules, succeeded, want) in [
            (json!([all]), &[0, 1, 2][..], Some(0)),
            (json!([all]), &[0, 1], None),
            (json!([some]), &[0, 3, 4], None),
            (json!([some]), &[0, 2], Some(0)),
            (json!([all, any]), &[0, 3, 4], Some(1)),
            (json!([any]), &[], None),
        ] {
            let met = success(
                &job(json!({"successPolicy": {"rules": rules}})),
                &succeeded.iter().copied().collect(),
            );
            assert_eq!(met, want.map(|i| format!("Matched rules at index {i}")), "{rules} {succeeded:?}");
        }
        assert_eq!(success(&job(json!({})), &BTreeSet::from([0])), None);
    }
}
