//! Eviction: the deletion of a Pod where its disruption budget allows it (`core/pod/storage/eviction.go`).

use std::sync::Arc;

use apiserver_json::{Map, Value, json};
use apiserver_meta::field::FieldError;
use apiserver_meta::selector::LabelSelector;
use apiserver_meta::{GroupResource, GroupVersionKind, Status};
use apiserver_registry::{
    Body, Call, Changed, DeleteOptions, Operation, Resource, cannot_handle, check_sent_kind, object,
};
use bytes::Bytes;
use http::StatusCode;

use super::options::{self, WriteOptions};
use super::subresources::{sent, set_condition};
use super::{parse_body, scaling};
use crate::answer::Answer;
use crate::context::Context;
use crate::negotiate;

/// Evictions that the controller of budgets has not seen to yet, at most.
const DISRUPTED_MAX: usize = 2000;

/// Evicts a Pod.
///
/// # Errors
/// 429 where the budget does not allow it now, 500 of several budgets, and those of a deletion.
pub(super) async fn create(
    context: &Context<'_>,
    resource: &Arc<Resource>,
    raw: &Bytes,
) -> Result<Answer, Status> {
    let media = negotiate::body_media(context.headers)?;
    let Body { value, .. } = parse_body(media, raw, ("policy", "v1", "Eviction"))?;
    let gvk = GroupVersionKind::new("policy", "v1", "Eviction");
    check_sent_kind(&gvk, &value, raw)?;
    super::create::check_namespace(context, resource, &value)?;
    let name = &context.info.name;
    if object::name(&value) != name {
        return Err(Status::bad_request("name in URL does not match name in Eviction object"));
    }
    let options = options::write_options(context, "CreateOptions")?;
    let mut warnings = Vec::new();
    if let Some(schema) = apiserver_schema::builtin(&gvk.group, &gvk.version, &gvk.kind) {
        // What is read of the options of a deletion is read below.
        let read = apiserver_schema::decode(&schema, &mut value.clone(), apiserver_schema::Decode::Json);
        scaling::strict(options.validation, read.unwrap_or_default(), &mut warnings)
            .map_err(|why| cannot_handle(&gvk, &why))?;
    }
    let evicted = evict(context, resource, value, &gvk, &options).await;
    context.told(&warnings, evicted)?;
    let success =
        json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201});
    Ok(Answer::value(StatusCode::CREATED, context.accepted, &success).warn(warnings))
}

async fn evict(
    context: &Context<'_>,
    resource: &Arc<Resource>,
    mut value: Value,
    gvk: &GroupVersionKind,
    options: &WriteOptions,
) -> Result<(), Status> {
    let name = &context.info.name;
    let delete = value.get("deleteOptions").cloned().unwrap_or_else(|| json!({}));
    check_delete_options(gvk, name, &delete, options.dry_run, context)?;
    let delete_options = if delete.as_object().is_some_and(Map::is_empty) {
        DeleteOptions::default()
    } else {
        options::inner_delete_options(context, delete.clone())?.0
    };
    let dry_run = options.dry_run || delete["dryRun"].as_array().is_some_and(|list| !list.is_empty());
    let call = Call {
        resource,
        namespace: context.info.scope(),
        subresource: "eviction",
        manager: &options.manager,
        dry_run,
        requester: context.requester(),
    };
    sent(&mut value, gvk, context, name);
    let registry = context.server.registry();
    registry.admit_request(&call, name, Operation::Create, value).await?;
    let pod = registry.get(&call, name)?.parse();
    charge(context, &call, &pod).await?;
    if !dry_run {
        disrupt(&call, context, name, &delete_options).await?;
    }
    // The version that was insisted on is that of before the condition was set.
    let resource_version = delete_options.resource_version.filter(|_| dry_run);
    let delete_options = DeleteOptions { resource_version, ..delete_options };
    registry.delete(&call, name, &delete_options).await.map(drop)
}

/// What the options may not say here: `EvictionREST.Create`.
fn check_delete_options(
    gvk: &GroupVersionKind,
    name: &str,
    options: &Value,
    dry_run: bool,
    context: &Context<'_>,
) -> Result<(), Status> {
    const IGNORES: &str = "ignoreStoreReadErrorWithClusterBreakingPotential";
    if options[IGNORES] == true {
        let why = "can not be set for pod eviction, try after removing the option";
        let error = FieldError::invalid(format!("deleteOptions.{IGNORES}"), &true.into(), why);
        return Err(Status::invalid(gvk, name, &[error]));
    }
    let told = options["dryRun"].as_array().unwrap_or_default();
    let told: Vec<&str> = told.iter().filter_map(Value::as_str).collect();
    let asked: Vec<&str> = context.query.all("dryRun").collect();
    if dry_run && !told.is_empty() && told != asked {
        let (asked, told) = (asked.join(" "), told.join(" "));
        let why = format!("Non-matching dry-run options in request and content: [{asked}] and [{told}]");
        return Err(Status::new(500, "", why));
    }
    Ok(())
}

/// Notes in the Pod why it goes.
async fn disrupt(
    call: &Call<'_>,
    context: &Context<'_>,
    name: &str,
    options: &DeleteOptions,
) -> Result<(), Status> {
    let now = apiserver_registry::now();
    let change = |live: Option<&Value>| {
        let live = live.ok_or_else(|| Status::not_found(&call.resource.group_resource(), name))?;
        check_precondition(
            name,
            "UID",
            options.uid.as_deref(),
            object::uid(live),
            "deleted and then recreated",
        )?;
        let version = object::text(live, "resourceVersion");
        check_precondition(
            name,
            "ResourceVersion",
            options.resource_version.as_deref(),
            version,
            "modified",
        )?;
        let mut next = live.clone();
        set_condition(
            &mut next,
            json!({
                "type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI",
                "message": "Eviction API: evicting", "lastProbeTime": null, "lastTransitionTime": now,
            }),
        );
        Ok(Changed::Patched(next))
    };
    context.server.registry().update(call, name, false, change).await.map(drop)
}

fn check_precondition(
    name: &str,
    what: &str,
    wanted: Option<&str>,
    found: &str,
    since: &str,
) -> Result<(), Status> {
    let Some(wanted) = wanted.filter(|wanted| !wanted.is_empty() && *wanted != found) else { return Ok(()) };
    let why = format!(
        "the {what} in the precondition ({wanted}) does not match the {what} in record ({found}). The object might have been {since}"
    );
    Err(Status::conflict(&GroupResource::new("", "Pod"), name, &why))
}

/// Takes the disruption of a Pod from its budget.
async fn charge(context: &Context<'_>, call: &Call<'_>, pod: &Value) -> Result<(), Status> {
    let phase = pod.pointer("/status/phase").and_then(Value::as_str).unwrap_or("");
    if matches!(phase, "Succeeded" | "Failed" | "Pending") || object::is_deleting(pod) {
        return Ok(());
    }
    let registry = context.server.registry();
    let catalogue = registry.catalogue();
    let Some(budgets) = catalogue.get("policy", "v1", "poddisruptionbudgets") else { return Ok(()) };
    let snapshot = registry.cache().snapshot(&budgets.prefix);
    let scope = budgets.scope(context.info.scope());
    let mut of_pod = snapshot.scope(&scope).map(|found| found.parse()).filter(|budget| selects(budget, pod));
    let Some(budget) = of_pod.next() else { return Ok(()) };
    if of_pod.next().is_some() {
        let why = "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.";
        return Err(Status::new(500, "", why));
    }
    if goes_unhealthy(&budget, pod) {
        return Ok(());
    }
    let budget_call = Call { resource: budgets, subresource: "status", manager: "kube-apiserver", ..*call };
    let (name, time) = (object::name(&budget), apiserver_registry::now());
    let change = |live: Option<&Value>| {
        let live = live.ok_or_else(|| Status::not_found(&budgets.group_resource(), name))?;
        charged(live, object::name(pod), &time).map(Changed::Patched)
    };
    registry.update(&budget_call, name, false, change).await.map(drop)
}

fn selects(budget: &Value, pod: &Value) -> bool {
    let labels = object::metadata(pod).get("labels");
    let selector = budget.pointer("/spec/selector").and_then(LabelSelector::from_json);
    selector.is_some_and(|selector| {
        selector.matches(|key| labels.and_then(|labels| labels.get(key)).and_then(Value::as_str))
    })
}

/// Whether a Pod that is not ready may go without a charge: it does not count.
fn goes_unhealthy(budget: &Value, pod: &Value) -> bool {
    let mut conditions = pod.pointer("/status/conditions").and_then(Value::as_array).into_iter().flatten();
    if conditions.any(|condition| condition["type"] == "Ready" && condition["status"] == "True") {
        return false;
    }
    let desired = number(budget, "desiredHealthy");
    budget["spec"]["unhealthyPodEvictionPolicy"] == "AlwaysAllow"
        || number(budget, "currentHealthy") >= desired && desired > 0
}

fn number(budget: &Value, member: &str) -> i64 {
    budget["status"][member].as_i64().unwrap_or(0)
}

/// A budget that one more Pod was taken from.
///
/// # Errors
/// 429 and 403 where none can be.
fn charged(budget: &Value, pod: &str, time: &str) -> Result<Value, Status> {
    let name = object::name(budget);
    let generation = object::metadata(budget).get("generation").and_then(Value::as_i64).unwrap_or(0);
    if number(budget, "observedGeneration") < generation {
        let why = format!("The disruption budget {name} is still being processed by the server.");
        return Err(refused(&why, Some(10)));
    }
    let gr = GroupResource::new("policy", "poddisruptionbudget");
    let allowed = number(budget, "disruptionsAllowed");
    if allowed < 0 {
        return Err(Status::forbidden(&gr, name, "pdb disruptions allowed is negative"));
    }
    if budget["status"]["disruptedPods"].as_object().is_some_and(|pods| pods.len() > DISRUPTED_MAX) {
        let why = "DisruptedPods map too big - too many evictions not confirmed by PDB controller";
        return Err(Status::forbidden(&gr, name, why));
    }
    if allowed == 0 {
        return Err(refused(&why_not(budget, name), None));
    }
    let mut next = budget.clone();
    next["status"]["disruptionsAllowed"] = (allowed - 1).into();
    next["status"]["disruptedPods"][pod] = time.into();
    if allowed == 1 {
        let before = condition(budget);
        let since = before
            .filter(|before| before["status"] == "False")
            .map(|before| before["lastTransitionTime"].clone());
        set_condition(
            &mut next,
            json!({
                "type": "DisruptionAllowed", "status": "False", "reason": "InsufficientPods", "message": "",
                "observedGeneration": number(budget, "observedGeneration"),
                "lastTransitionTime": since.unwrap_or_else(|| time.into()),
            }),
        );
    }
    Ok(next)
}

fn condition(budget: &Value) -> Option<&Value> {
    let conditions = budget.pointer("/status/conditions").and_then(Value::as_array);
    conditions.into_iter().flatten().find(|condition| condition["type"] == "DisruptionAllowed")
}

/// Why a budget allows nothing.
fn why_not(budget: &Value, name: &str) -> String {
    let told = condition(budget).filter(|condition| {
        condition["status"] == "False" && condition["message"].as_str().is_some_and(|text| !text.is_empty())
    });
    let text = |condition: &Value, member: &str| condition[member].as_str().unwrap_or("").to_owned();
    let (current, desired) = (number(budget, "currentHealthy"), number(budget, "desiredHealthy"));
    let not_now = format!("The disruption budget {name} does not allow evicting pods currently");
    match told {
        Some(condition) if condition["reason"] == "SyncFailed" => {
            format!("{not_now} because it failed sync: {}", text(condition, "message"))
        }
        _ if current <= desired => {
            format!("The disruption budget {name} needs {desired} healthy pods and has {current} currently")
        }
        Some(condition) => {
            format!("{not_now} ({}): {}", text(condition, "reason"), text(condition, "message"))
        }
        None => not_now,
    }
}

fn refused(why: &str, retry_after_s: Option<u32>) -> Status {
    let text = "Cannot evict pod as it would violate the pod's disruption budget.";
    let mut status = Status::new(429, "TooManyRequests", text);
    let mut details = json!({"causes": [{"reason": "DisruptionBudget", "message": why}]});
    if let Some(seconds) = retry_after_s {
        details["retryAfterSeconds"] = seconds.into();
        status.retry_after_s = Some(seconds);
    }
    status.details = Some(details);
    status
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget(status: Value) -> Value {
        json!({"metadata": {"name": "b", "generation": 2}, "spec": {}, "status": status})
    }

    #[test]
    fn a_budget_is_charged_or_says_why_not() {
        let told = |reason: &str| json!([{"type": "DisruptionAllowed", "status": "False", "reason": reason, "message": "m"}]);
        for (status, want) in [
            (
                json!({"observedGeneration": 1, "disruptionsAllowed": 1}),
                "is still being processed by the server.",
            ),
            (
                json!({"observedGeneration": 2, "currentHealthy": 1, "desiredHealthy": 1}),
                "needs 1 healthy pods and has 1 currently",
            ),
            (json!({"observedGeneration": 2, "currentHealthy": 1}), "does not allow evicting pods currently"),
            (
                json!({"observedGeneration": 2, "currentHealthy": 1, "conditions": told("X")}),
                "does not allow evicting pods currently (X): m",
            ),
            (
                json!({"observedGeneration": 2, "conditions": told("SyncFailed")}),
                "does not allow evicting pods currently because it failed sync: m",
            ),
        ] {
            let refused = charged(&budget(status), "p", "t").unwrap_err();
            let cause = &refused.details.expect("details")["causes"][0]["message"];
            assert_eq!(*cause, format!("The disruption budget b {want}"));
        }
        let last =
            charged(&budget(json!({"observedGeneration": 2, "disruptionsAllowed": 1})), "p", "t").unwrap();
        assert_eq!(last["status"]["disruptedPods"], json!({"p": "t"}));
        assert_eq!(last["status"]["conditions"][0]["reason"], "InsufficientPods");
        let one_left =
            charged(&budget(json!({"observedGeneration": 2, "disruptionsAllowed": 2})), "p", "t").unwrap();
        assert_eq!(one_left["status"]["disruptionsAllowed"], 1);
        assert_eq!(one_left["status"].get("conditions"), None);
    }

    #[test]
    fn what_is_not_ready_does_not_count() {
        let ready = json!({"status": {"conditions": [{"type": "Ready", "status": "True"}]}});
        let waits = json!({"status": {}});
        let healthy = budget(json!({"currentHealthy": 1, "desiredHealthy": 1}));
        let sick = budget(json!({"currentHealthy": 0, "desiredHealthy": 1}));
        let mut always = sick.clone();
        always["spec"]["unhealthyPodEvictionPolicy"] = "AlwaysAllow".into();
        for (budget, pod, want) in [
            (&healthy, &ready, false),
            (&healthy, &waits, true),
            (&sick, &waits, false),
            (&always, &waits, true),
            (&always, &ready, false),
        ] {
            assert_eq!(goes_unhealthy(budget, pod), want, "{budget} {pod}");
        }
    }
}
