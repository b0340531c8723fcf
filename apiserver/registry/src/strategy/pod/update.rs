//! What may change in a Pod that is there: `ValidatePodUpdate` upstream.

use apiserver_json::{Map, Value, json};
use apiserver_meta::field::FieldError;
use apiserver_schema::internal_diff;

use super::super::shared::{at, at_mut, invalid_as, items, items_mut, number, require, text};
use super::containers::check_image_space;
use super::scheduling::check_tolerations;
use super::{Spec, annotations};

const IMMUTABLE: &str = "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";

/// Errors of an updated Pod.
pub(super) fn check(new: &Value, old: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    super::check_pod(new, &mut errors);
    let (metadata, before) = (at(new, &["metadata"]), at(old, &["metadata"]));
    annotations::check_update(metadata, before, &mut errors);
    let annotated = annotations::of(metadata);
    annotations::check(annotated, "metadata.annotations", &Spec::of_pod(new), &mut errors);
    check_spec(at(new, &["spec"]), at(old, &["spec"]), &mut errors);
    errors
}

fn check_spec(new: &Value, old: &Value, errors: &mut Vec<FieldError>) {
    for list in ["containers", "initContainers"] {
        let path = format!("spec.{list}");
        if items(new, list).len() != items(old, list).len() {
            errors.push(FieldError::forbidden(path, "pod updates may not add or remove containers"));
            return;
        }
        for (i, container) in items(new, list).iter().enumerate() {
            let path = format!("{path}[{i}]");
            require(container, "image", &path, errors);
            check_image_space(container, &path, errors);
        }
    }
    if !check_deadline(new, old, errors) {
        return;
    }
    check_added_tolerations(items(new, "tolerations"), items(old, "tolerations"), errors);
    for (i, gate) in items(new, "schedulingGates").iter().enumerate() {
        let name = text(gate, "name");
        if !items(old, "schedulingGates").iter().any(|known| text(known, "name") == name) {
            let why = format!("only deletion is allowed, but found new scheduling gate '{name}'");
            errors.push(FieldError::forbidden(format!("spec.schedulingGates[{i}].name"), why));
        }
    }
    if new == old {
        return;
    }
    let mut masked = new.clone();
    mask(&mut masked, old);
    if !items(old, "schedulingGates").is_empty() {
        check_gated(new, old, errors);
        mask_gated(&mut masked, old);
    }
    // What was stored before amounts were rounded up when they are read has not changed for that.
    if masked != *old && masked != as_read(old) {
        let changes = internal_diff("core.PodSpec", old, &masked);
        errors.push(FieldError::forbidden("spec", format!("{IMMUTABLE}\n{changes}")));
    }
}

/// A stored spec as the decoder reads it today.
fn as_read(spec: &Value) -> Value {
    let mut pod = json!({"spec": spec});
    if let Some(schema) = apiserver_schema::builtin("", "v1", "Pod") {
        // What was stored was read before.
        let _ = apiserver_schema::decode(&schema, &mut pod, apiserver_schema::Decode::Json);
    }
    pod["spec"].take()
}

/// The deadline may be set, and come nearer. Says whether the rest is looked at.
fn check_deadline(new: &Value, old: &Value, errors: &mut Vec<FieldError>) -> bool {
    let member = "activeDeadlineSeconds";
    let path = format!("spec.{member}");
    let why = match (number(new, member), number(old, member)) {
        (Some(seconds), _) if !(0..=i64::from(i32::MAX)).contains(&seconds) => {
            "must be between 0 and 2147483647, inclusive"
        }
        (Some(seconds), Some(before)) if before < seconds => "must be less than or equal to previous value",
        (None, Some(_)) => {
            let why = "must not update from a positive integer to nil value";
            errors.push(FieldError::invalid(path, &Value::Null, why));
            return true;
        }
        _ => return true,
    };
    errors.push(FieldError::invalid(path, at(new, &[member]), why));
    false
}

fn check_added_tolerations(new: &[Value], old: &[Value], errors: &mut Vec<FieldError>) {
    let same = |a: &Value, b: &Value| {
        ["key", "operator", "value", "effect"].iter().all(|member| text(a, member) == text(b, member))
    };
    if old.iter().all(|before| new.iter().any(|after| same(before, after))) {
        check_tolerations(new, "spec.tolerations", errors);
    } else {
        let why = "existing toleration can not be modified except its tolerationSeconds";
        errors.push(FieldError::forbidden("spec.tolerations", why));
    }
}

/// Makes what may change as it was.
fn mask(spec: &mut Value, old: &Value) {
    for list in ["containers", "initContainers"] {
        for (container, before) in items_mut(spec, list).zip(items(old, list)) {
            if let (Some(container), Some(image)) = (container.as_object_mut(), before.get("image")) {
                container.insert("image".into(), image.clone());
            }
        }
    }
    let was_negative = number(old, "terminationGracePeriodSeconds").is_some_and(|seconds| seconds < 0);
    let is_one = number(spec, "terminationGracePeriodSeconds") == Some(1);
    let Some(map) = spec.as_object_mut() else { return };
    for member in ["activeDeadlineSeconds", "tolerations", "schedulingGates"] {
        keep(map, old, member);
    }
    if was_negative && is_one {
        keep(map, old, "terminationGracePeriodSeconds");
    }
}

fn keep(map: &mut Map, old: &Value, member: &str) {
    match old.get(member) {
        Some(value) => map.insert(member.to_owned().into(), value.clone()),
        None => map.remove(member),
    };
}

/// A Pod that waits may be bound to fewer nodes, not to others.
fn check_gated(new: &Value, old: &Value, errors: &mut Vec<FieldError>) {
    let selector = at(new, &["nodeSelector"]);
    let before = at(old, &["nodeSelector"]).as_object();
    if before.into_iter().flatten().any(|(key, value)| selector.get(key) != Some(value)) {
        let why = "only additions to spec.nodeSelector are allowed (no mutations or deletions)";
        errors.push(FieldError::invalid("spec.nodeSelector", selector, why));
    }
    let required = &["affinity", "nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution"];
    let (after, before) = (at(new, required), at(old, required));
    if after == before {
        return;
    }
    let (after, before) = (items(after, "nodeSelectorTerms"), items(before, "nodeSelectorTerms"));
    let path = format!("spec.{}.nodeSelectorTerms", required.join("."));
    if !before.is_empty() && before.len() != after.len() {
        let why = "no additions/deletions to non-empty NodeSelectorTerms list are allowed";
        let shown = if after.is_empty() { &Value::Null } else { &Value::from(after) };
        errors.push(invalid_as("[core.NodeSelectorTerm", path, shown, why));
        return;
    }
    for (i, (term, was)) in after.iter().zip(before).enumerate() {
        let only_adds = |member: &str| items(term, member).starts_with(items(was, member));
        let was_empty = ["matchExpressions", "matchFields"].iter().all(|list| items(was, list).is_empty());
        let grew = ["matchExpressions", "matchFields"].iter().any(|list| !items(term, list).is_empty());
        if !only_adds("matchExpressions") || !only_adds("matchFields") || (was_empty && grew) {
            let why = "only additions are allowed (no mutations or deletions)";
            errors.push(invalid_as("core.NodeSelectorTerm", format!("{path}[{i}]"), term, why));
        }
    }
}

fn mask_gated(spec: &mut Value, old: &Value) {
    let (had_affinity, node) =
        (old.get("affinity").is_some(), at(old, &["affinity", "nodeAffinity"]).clone());
    let Some(map) = spec.as_object_mut() else { return };
    keep(map, old, "nodeSelector");
    if !map.contains_key("affinity") && !node.is_null() {
        map.insert("affinity".into(), apiserver_json::json!({}));
    }
    if let Some(affinity) = at_mut(spec, &["affinity"]) {
        if node.is_null() {
            affinity.remove("nodeAffinity");
        } else {
            affinity.insert("nodeAffinity".into(), node);
        }
        if affinity.is_empty()
            && !had_affinity
            && let Some(map) = spec.as_object_mut()
        {
            map.remove("affinity");
        }
    }
}
