//! Annotations that mean something in a Pod: profiles of old, the cost of deletion, mirrors of files.

use apiserver_json::{Map, Value};
use apiserver_meta::field::FieldError;

use super::super::shared::{at, text};
use super::Spec;
use super::paths::check_relative;

pub(super) const MIRROR: &str = "kubernetes.io/config.mirror";
const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";
const SECCOMP_POD: &str = "seccomp.security.alpha.kubernetes.io/pod";
const SECCOMP_CONTAINER: &str = "container.seccomp.security.alpha.kubernetes.io/";
pub(super) const APPARMOR: &str = "container.apparmor.security.beta.kubernetes.io/";

/// The annotations of a Pod or template.
pub(super) fn of(metadata: &Value) -> Option<&Map> {
    metadata.get("annotations").and_then(Value::as_object).filter(|map| !map.is_empty())
}

/// Errors of annotations a Pod reads: `ValidatePodSpecificAnnotations`.
pub(super) fn check(annotations: Option<&Map>, path: &str, pod: &Spec, errors: &mut Vec<FieldError>) {
    let Some(annotations) = annotations else { return };
    let value = |key: &str| annotations.get(key).and_then(Value::as_str);
    if let Some(mirror) = value(MIRROR)
        && text(pod.spec, "nodeName").is_empty()
    {
        let why = "must set spec.nodeName if mirror pod annotation is set";
        errors.push(FieldError::invalid(format!("{path}[{MIRROR}]"), &mirror.into(), why));
    }
    if let Some(cost) = value(DELETION_COST)
        && !is_deletion_cost(cost)
    {
        let why = "must be a 32bit integer";
        errors.push(FieldError::invalid(format!("{path}[{DELETION_COST}]"), &cost.into(), why));
    }
    if let Some(profile) = value(SECCOMP_POD) {
        check_seccomp(profile, &format!("{path}.{SECCOMP_POD}"), errors);
    }
    for (key, profile) in annotations.iter().filter(|(key, _)| key.starts_with(SECCOMP_CONTAINER)) {
        check_seccomp(profile.as_str().unwrap_or(""), &format!("{path}.{key}"), errors);
    }
    for (key, profile) in annotations {
        let Some(container) = key.strip_prefix(APPARMOR) else { continue };
        let path = format!("{path}[{key}]");
        if !pod.containers().any(|(known, _)| text(known, "name") == container) {
            errors.push(FieldError::invalid(&path, &container.into(), "container not found"));
        }
        let profile = profile.as_str().unwrap_or("");
        let known = ["", "runtime/default", "unconfined"].contains(&profile);
        if !known && !profile.starts_with("localhost/") {
            let why = format!("invalid AppArmor profile name: {profile:?}");
            errors.push(FieldError::invalid(path, &profile.into(), why));
        }
    }
}

/// A number without a plus sign and without zeros in front.
fn is_deletion_cost(cost: &str) -> bool {
    cost.parse::<i32>().is_ok() && (cost == "0" || !cost.starts_with(['+', '0']))
}

fn check_seccomp(profile: &str, path: &str, errors: &mut Vec<FieldError>) {
    if ["runtime/default", "docker/default", "unconfined"].contains(&profile) {
        return;
    }
    match profile.strip_prefix("localhost/") {
        Some(file) => check_relative(file, path, errors),
        None => {
            let why = "must be a valid seccomp profile";
            errors.push(FieldError::invalid(path, &profile.into(), why));
        }
    }
}

/// Errors of annotations that say something else than the fields that took their place.
pub(super) fn check_match(annotations: Option<&Map>, pod: &Spec, errors: &mut Vec<FieldError>) {
    let Some(annotations) = annotations else { return };
    let value = |key: String| annotations.get(&key).and_then(Value::as_str);
    let own = at(pod.spec, &["securityContext"]);
    if let Some(profile) = own.get("seccompProfile")
        && let Some(annotation) = value(SECCOMP_POD.to_owned())
    {
        let path = format!("{}.securityContext.seccompProfile", pod.path);
        let defaults = ["runtime/default", "docker/default"];
        check_same(annotation, profile, &defaults, "seccomp", &path, errors);
    }
    for (container, path) in pod.containers() {
        let Some(profile) = at(container, &["securityContext"]).get("seccompProfile") else { continue };
        if let Some(annotation) = value(format!("{SECCOMP_CONTAINER}{}", text(container, "name"))) {
            let path = format!("{path}.securityContext.seccompProfile");
            let defaults = ["runtime/default", "docker/default"];
            check_same(annotation, profile, &defaults, "seccomp", &path, errors);
        }
    }
    if text(at(pod.spec, &["os"]), "name") == "windows" {
        return;
    }
    for (container, path) in pod.containers() {
        let profile = at(container, &["securityContext"]).get("appArmorProfile");
        let Some(profile) = profile.or_else(|| own.get("appArmorProfile")) else { continue };
        if let Some(annotation) = value(format!("{APPARMOR}{}", text(container, "name"))) {
            let path = format!("{path}.securityContext.appArmorProfile");
            check_same(annotation, profile, &["runtime/default"], "apparmor", &path, errors);
        }
    }
}

fn check_same(
    annotation: &str,
    profile: &Value,
    defaults: &[&str],
    what: &str,
    path: &str,
    errors: &mut Vec<FieldError>,
) {
    let same_type = match text(profile, "type") {
        "Unconfined" => annotation == "unconfined",
        "RuntimeDefault" => defaults.contains(&annotation),
        "Localhost" => match annotation.strip_prefix("localhost/") {
            Some(name) if profile.get("localhostProfile").and_then(Value::as_str) == Some(name) => true,
            Some(_) => {
                let why = format!("{what} profile in annotation and field must match");
                errors.push(FieldError::forbidden(format!("{path}.localhostProfile"), why));
                return;
            }
            None => false,
        },
        _ => true,
    };
    if !same_type {
        let why = format!("{what} type in annotation and field must match");
        errors.push(FieldError::forbidden(format!("{path}.type"), why));
    }
}

/// Errors of annotations that changed and may not: `ValidatePodSpecificAnnotationUpdates`.
pub(super) fn check_update(new: &Value, old: &Value, errors: &mut Vec<FieldError>) {
    let empty = Map::new();
    let (after, before) = (of(new).unwrap_or(&empty), of(old).unwrap_or(&empty));
    let mut refuse = |key: &str, verb: &str| {
        let what = match key {
            MIRROR => "mirror pod annotation",
            key if key.starts_with(APPARMOR) => "AppArmor annotations",
            _ => return,
        };
        let path = format!("metadata.annotations[{key}]");
        errors.push(FieldError::forbidden(path, format!("may not {verb} {what}")));
    };
    for key in before.iter().filter(|(key, value)| after.get(key) != Some(value)).map(|(key, _)| key) {
        refuse(key, "remove or update");
    }
    for key in after.keys().filter(|key| !before.contains_key(key)) {
        refuse(key, "add");
    }
}
