//! Rules of kinds that make Pods of a template: `pkg/apis/apps/validation` upstream.

use apiserver_json::{Value, json};
use apiserver_meta::field::{FieldError, Problem};
use apiserver_meta::{names, selector::LabelSelector};
use apiserver_schema::internal_json;

use crate::convert::annotations::ROLLBACK_TO;

use super::shared::{
    NOT_NEGATIVE, at, check_label_selector, check_not_negative, check_optional, check_set_enum, invalid_as,
    is_empty, items, number, text,
};
use super::{pod, volumes};

/// A label selector as upstream prints it.
pub(super) fn selector_as_go(selector: &Value) -> String {
    internal_json("*v1.LabelSelector", selector)
}

pub(super) fn invalid_selector(selector: &Value, why: &str) -> FieldError {
    FieldError {
        problem: Problem::Invalid,
        field: "spec.selector".into(),
        value: selector_as_go(selector),
        detail: why.to_owned(),
    }
}

/// The selector of a workload stays as it was made.
pub(super) fn check_same_selector(new: &Value, old: &Value, errors: &mut Vec<FieldError>) {
    let (selector, before) = (at(new, &["spec", "selector"]), at(old, &["spec", "selector"]));
    if selector != before {
        errors.push(invalid_selector(selector, "field is immutable"));
    }
}

/// Errors of a selector that must be there and select something. Says whether it can be understood.
fn check_selector(spec: &Value, kind: &str, errors: &mut Vec<FieldError>) -> bool {
    let selector = at(spec, &["selector"]);
    if selector.is_null() {
        errors.push(FieldError::required("spec.selector", ""));
        return true;
    }
    let before = errors.len();
    check_label_selector(selector, "spec.selector", errors);
    let understood = errors.len() == before;
    if is_everything(selector) {
        errors.push(invalid_selector(selector, &format!("empty selector is invalid for {kind}")));
    }
    understood
}

fn is_everything(selector: &Value) -> bool {
    ["matchLabels", "matchExpressions"].iter().all(|member| is_empty(at(selector, &[member])))
}

/// Errors of a template whose labels its selector does not match.
pub(super) fn check_labels_match(spec: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let labels = at(spec, &["template", "metadata", "labels"]);
    let selector = spec.get("selector").filter(|selector| !selector.is_null());
    let matches = selector
        .and_then(LabelSelector::from_json)
        .is_some_and(|selector| selector.matches(|key| labels.get(key).and_then(Value::as_str)));
    if !matches {
        let why = "`selector` does not match template `labels`";
        errors.push(FieldError::invalid(format!("{path}.template.metadata.labels"), labels, why));
    }
}

/// Pods of a workload that keeps them running: started again for ever.
fn check_endless(template: &Value, kind: &str, errors: &mut Vec<FieldError>) {
    let path = "spec.template.spec";
    let restart = text(template, "restartPolicy");
    if restart != "Always" {
        let path = format!("{path}.restartPolicy");
        errors.push(FieldError::not_supported(path, &restart.into(), &["Always"]));
    }
    if number(template, "activeDeadlineSeconds").is_some() {
        let why = format!("activeDeadlineSeconds in {kind} is not Supported");
        errors.push(FieldError::forbidden(format!("{path}.activeDeadlineSeconds"), why));
    }
}

fn check_counts(spec: &Value, members: &[&str], errors: &mut Vec<FieldError>) {
    for member in members {
        check_not_negative(spec, member, format_args!("spec.{member}"), errors);
    }
}

/// Errors of the selector and the template of a Deployment or ReplicaSet.
fn check_replicated(spec: &Value, errors: &mut Vec<FieldError>) {
    let selector = at(spec, &["selector"]);
    if !check_selector(spec, "deployment", errors) {
        errors.push(invalid_selector(selector, "invalid label selector"));
        return;
    }
    // No selector selects nothing, and so nothing of the template; an empty one selects everything.
    if selector.is_null() || !is_everything(selector) {
        check_labels_match(spec, "spec", errors);
    }
    pod::check_template(at(spec, &["template"]), "spec.template", errors);
    check_endless(at(spec, &["template", "spec"]), "ReplicaSet", errors);
}

/// Errors of a ReplicaSet: `ValidateReplicaSetSpec`.
pub(super) fn check_replica_set(set: &Value) -> Vec<FieldError> {
    let (spec, mut errors) = (at(set, &["spec"]), Vec::new());
    check_counts(spec, &["replicas", "minReadySeconds"], &mut errors);
    check_replicated(spec, &mut errors);
    errors
}

/// Errors of a Deployment: `ValidateDeploymentSpec`.
pub(super) fn check_deployment(deployment: &Value) -> Vec<FieldError> {
    let (spec, mut errors) = (at(deployment, &["spec"]), Vec::new());
    check_counts(spec, &["replicas"], &mut errors);
    check_replicated(spec, &mut errors);
    check_strategy(at(spec, &["strategy"]), &mut errors);
    check_counts(spec, &["minReadySeconds", "revisionHistoryLimit", "progressDeadlineSeconds"], &mut errors);
    let rollback = at(deployment, &["metadata", "annotations", ROLLBACK_TO]).as_str();
    if let Some(revision) =
        rollback.and_then(|text| text.parse::<i64>().ok()).filter(|revision| *revision < 0)
    {
        let why = "must be greater than or equal to 0";
        errors.push(FieldError::invalid("spec.rollback.version", &revision.into(), why));
    }
    if let Some(deadline) = number(spec, "progressDeadlineSeconds")
        && deadline <= number(spec, "minReadySeconds").unwrap_or(0)
    {
        let why = "must be greater than minReadySeconds";
        errors.push(FieldError::invalid("spec.progressDeadlineSeconds", &deadline.into(), why));
    }
    errors
}

/// A strategy of an unknown type, as upstream prints its internal type.
fn unknown_strategy(go_type: &str, path: &str, strategy: &Value, known: &[&str]) -> FieldError {
    FieldError {
        value: internal_json(go_type, strategy),
        ..FieldError::not_supported_in_order(path, &Value::Null, known)
    }
}

fn check_strategy(strategy: &Value, errors: &mut Vec<FieldError>) {
    let rolling = at(strategy, &["rollingUpdate"]);
    let path = "spec.strategy.rollingUpdate";
    match text(strategy, "type") {
        "Recreate" if !rolling.is_null() => {
            let why = "may not be specified when strategy `type` is 'Recreate'";
            errors.push(FieldError::forbidden(path, why));
        }
        "Recreate" => {}
        "RollingUpdate" => {
            let unavailable = at(rolling, &["maxUnavailable"]);
            check_amount(unavailable, &format!("{path}.maxUnavailable"), errors);
            check_amount(at(rolling, &["maxSurge"]), &format!("{path}.maxSurge"), errors);
            if amount(unavailable) == 0 && amount(at(rolling, &["maxSurge"])) == 0 {
                let why = "may not be 0 when `maxSurge` is 0";
                errors.push(FieldError::invalid(format!("{path}.maxUnavailable"), unavailable, why));
            }
            check_whole(unavailable, &format!("{path}.maxUnavailable"), errors);
        }
        _ => {
            errors.push(unknown_strategy(
                "apps.DeploymentStrategy",
                "spec.strategy",
                strategy,
                &["Recreate", "RollingUpdate"],
            ));
        }
    }
}

const PERCENT: &str = "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')";

fn percent(text: &str) -> Option<i64> {
    let digits = text.strip_suffix('%')?;
    (!digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()))
        .then(|| digits.parse().unwrap_or(i64::MAX))
}

/// Errors of a count that may be a share: `ValidatePositiveIntOrPercent`.
pub(super) fn check_amount(value: &Value, path: &str, errors: &mut Vec<FieldError>) {
    match value {
        Value::String(share) if percent(share).is_none() => {
            errors.push(FieldError::invalid(path, value, PERCENT));
        }
        Value::Number(number) if number.as_i64().unwrap_or(0) < 0 => {
            errors.push(FieldError::invalid(path, value, NOT_NEGATIVE));
        }
        _ => {}
    }
}

/// Errors of a share above everything: `IsNotMoreThan100Percent`.
pub(super) fn check_whole(value: &Value, path: &str, errors: &mut Vec<FieldError>) {
    if value.as_str().and_then(percent).is_some_and(|share| share > 100) {
        errors.push(FieldError::invalid(path, value, "must not be greater than 100%"));
    }
}

/// The number in a count or share; text that is none counts as nothing.
fn amount(value: &Value) -> i64 {
    match value {
        Value::String(text) => percent(text).or_else(|| text.parse().ok()).unwrap_or(0),
        other => other.as_i64().unwrap_or(0),
    }
}

/// Errors of a DaemonSet: `ValidateDaemonSetSpec`.
pub(super) fn check_daemon_set(set: &Value) -> Vec<FieldError> {
    let (spec, mut errors) = (at(set, &["spec"]), Vec::new());
    let selector = at(spec, &["selector"]);
    check_label_selector(selector, "spec.selector", &mut errors);
    if errors.is_empty() {
        check_labels_match(spec, "spec", &mut errors);
    }
    if !selector.is_null() && is_everything(selector) {
        errors.push(invalid_selector(selector, "empty selector is invalid for daemonset"));
    }
    pod::check_template(at(spec, &["template"]), "spec.template", &mut errors);
    check_endless(at(spec, &["template", "spec"]), "DaemonSet", &mut errors);
    check_counts(spec, &["minReadySeconds"], &mut errors);
    check_daemon_strategy(at(spec, &["updateStrategy"]), &mut errors);
    check_counts(spec, &["revisionHistoryLimit"], &mut errors);
    errors
}

fn check_daemon_strategy(strategy: &Value, errors: &mut Vec<FieldError>) {
    let path = "spec.updateStrategy.rollingUpdate";
    match text(strategy, "type") {
        "OnDelete" => return,
        "RollingUpdate" => {}
        _ => {
            let known = ["RollingUpdate", "OnDelete"];
            errors.push(unknown_strategy(
                "apps.DaemonSetUpdateStrategy",
                "spec.updateStrategy",
                strategy,
                &known,
            ));
            return;
        }
    }
    let rolling = at(strategy, &["rollingUpdate"]);
    for check in [check_amount, check_whole] {
        for member in ["maxUnavailable", "maxSurge"] {
            check(at(rolling, &[member]), &format!("{path}.{member}"), errors);
        }
    }
    let surge = at(rolling, &["maxSurge"]);
    match (amount(at(rolling, &["maxUnavailable"])) != 0, amount(surge) != 0) {
        (true, true) => {
            let why = "may not be set when maxUnavailable is non-zero";
            errors.push(FieldError::invalid(format!("{path}.maxSurge"), surge, why));
        }
        (false, false) => {
            let why = "cannot be 0 when maxSurge is 0";
            errors.push(FieldError::required(format!("{path}.maxUnavailable"), why));
        }
        _ => {}
    }
}

/// Errors of a StatefulSet, new or updated: `ValidateStatefulSetSpec`.
pub(super) fn check_stateful_set(set: &Value, is_new: bool) -> Vec<FieldError> {
    let (spec, mut errors) = (at(set, &["spec"]), Vec::new());
    let policy = text(spec, "podManagementPolicy");
    if !["OrderedReady", "Parallel"].contains(&policy) {
        let why = "must be 'OrderedReady' or 'Parallel'";
        errors.push(FieldError::invalid("spec.podManagementPolicy", &policy.into(), why));
    }
    check_stateful_strategy(at(spec, &["updateStrategy"]), &mut errors);
    let path = "spec.persistentVolumeClaimRetentionPolicy";
    for member in ["whenDeleted", "whenScaled"] {
        let policy = at(spec, &["persistentVolumeClaimRetentionPolicy"]);
        check_set_enum(policy, member, path, &["Retain", "Delete"], &mut errors);
    }
    let claims = items(spec, "volumeClaimTemplates");
    for (i, claim) in claims.iter().enumerate().filter(|_| is_new) {
        let path = format!("spec.volumeClaimTemplates[{i}].spec");
        volumes::check_claim_spec(at(claim, &["spec"]), &path, &mut errors);
    }
    check_counts(spec, &["replicas", "minReadySeconds"], &mut errors);
    check_not_negative(at(spec, &["ordinals"]), "start", "spec.ordinals.start", &mut errors);
    if is_new {
        check_optional(spec, "serviceName", names::dns1123_label, "spec", &mut errors);
    }
    let understood = check_selector(spec, "statefulset", &mut errors);
    let selector = at(spec, &["selector"]);
    if understood {
        if !is_everything(selector) || selector.is_null() {
            check_labels_match(spec, "spec", &mut errors);
        }
        pod::check_template(&with_claims(spec), "spec.template", &mut errors);
        let metadata = at(spec, &["template", "metadata"]);
        // Looked at once more by upstream.
        crate::object::validate_labels(metadata.get("labels"), "spec.template.labels", &mut errors);
        let place = "spec.template.annotations";
        crate::object::validate_annotations(metadata.get("annotations"), place, &mut errors);
    } else {
        errors.push(invalid_selector(selector, ""));
    }
    check_endless(at(spec, &["template", "spec"]), "StatefulSet", &mut errors);
    errors
}

/// The template with the volumes its Pods get of claims, and without names they get otherwise.
fn with_claims(spec: &Value) -> Value {
    let mut template = at(spec, &["template"]).clone();
    let claims = items(spec, "volumeClaimTemplates");
    let Some(pod) = template.get_mut("spec").and_then(Value::as_object_mut) else { return template };
    pod.remove("hostname");
    pod.remove("subdomain");
    if claims.is_empty() {
        return template;
    }
    let name_of = |claim: &Value| crate::object::name(claim).to_owned();
    // Of several of one name the Pods get one.
    let first = |i: usize| !claims[..i].iter().any(|claim| name_of(claim) == name_of(&claims[i]));
    let mut volumes: Vec<Value> = claims
        .iter()
        .enumerate()
        .filter(|(i, _)| first(*i))
        .map(|(_, claim)| claim)
        .map(|claim| json!({"name": name_of(claim), "persistentVolumeClaim": {"claimName": name_of(claim)}}))
        .collect();
    let own = pod.get("volumes").and_then(Value::as_array).unwrap_or_default();
    volumes.extend(
        own.iter()
            .filter(|volume| !claims.iter().any(|claim| name_of(claim) == text(volume, "name")))
            .cloned(),
    );
    pod.insert("volumes".into(), volumes.into());
    template
}

fn check_stateful_strategy(strategy: &Value, errors: &mut Vec<FieldError>) {
    let rolling = at(strategy, &["rollingUpdate"]);
    let path = "spec.updateStrategy.rollingUpdate";
    match text(strategy, "type") {
        "OnDelete" if !rolling.is_null() => {
            let why = "only allowed for updateStrategy 'RollingUpdate'";
            errors.push(invalid_as("apps.RollingUpdateStatefulSetStrategy", path, rolling, why));
        }
        "OnDelete" => {}
        "RollingUpdate" => {
            check_not_negative(rolling, "partition", format_args!("{path}.partition"), errors);
        }
        _ => {
            let why = "must be 'RollingUpdate' or 'OnDelete'";
            errors.push(invalid_as("apps.StatefulSetUpdateStrategy", "spec.updateStrategy", strategy, why));
        }
    }
}

/// Errors of a ReplicationController: `ValidateReplicationControllerSpec`.
pub(super) fn check_replication_controller(controller: &Value) -> Vec<FieldError> {
    let (spec, mut errors) = (at(controller, &["spec"]), Vec::new());
    check_counts(spec, &["minReadySeconds"], &mut errors);
    let selector = at(spec, &["selector"]);
    if is_empty(selector) {
        errors.push(FieldError::required("spec.selector", ""));
    }
    check_counts(spec, &["replicas"], &mut errors);
    let template = at(spec, &["template"]);
    if template.is_null() {
        errors.push(FieldError::required("spec.template", ""));
        return errors;
    }
    let labels = at(template, &["metadata", "labels"]);
    let mut wanted = selector.as_object().into_iter().flatten();
    if wanted.any(|(key, value)| labels.get(key) != Some(value)) {
        let why = "`selector` does not match template `labels`";
        errors.push(FieldError::invalid("spec.template.metadata.labels", labels, why));
    }
    pod::check_template(template, "spec.template", &mut errors);
    check_endless(at(template, &["spec"]), "ReplicationController", &mut errors);
    errors
}

/// Errors of what a controller says it has: no count is negative, and no part is above the whole.
pub(super) fn check_status(
    status: &Value,
    counts: &[&str],
    parts: &[&str],
    of_ready: &str,
) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for member in counts {
        check_not_negative(status, member, format_args!("status.{member}"), &mut errors);
    }
    let count = |member: &str| number(status, member).unwrap_or(0);
    let mut part = |member: &str, whole: &str, why: &str| {
        if count(member) > count(whole) {
            errors.push(FieldError::invalid(format!("status.{member}"), &count(member).into(), why));
        }
    };
    for member in parts {
        part(member, "replicas", "cannot be greater than status.replicas");
    }
    if !parts.is_empty() {
        part("availableReplicas", "readyReplicas", of_ready);
    }
    errors
}
