//! PersistentVolumes and their claims, new and updated: `ValidatePersistentVolumeSpec` and its like upstream.

use std::borrow::Cow;

use apiserver_json::{Map, Value, json};
use apiserver_meta::field::FieldError;
use apiserver_meta::{names, quantity};
use apiserver_schema::internal_diff;

use super::pod::defaults::default_source;
use super::shared::{
    at, at_mut, check_immutable, default, default_text, has, invalid_as, items_mut, keep_status, text,
};
use super::volume_spec::{SOURCES, check_amount, check_volume_spec};
use super::volumes::{check_claim_spec, claim_warnings};
use super::{PLAIN, Strategy};

pub(super) static PERSISTENT_VOLUME_CLAIM: Strategy = Strategy {
    update_checks: super::order::CHANGES_THEN_METADATA,
    warnings: |claim| {
        const DEPRECATED: &str = "volume.beta.kubernetes.io/storage-class";
        let old = !at(claim, &["metadata", "annotations", DEPRECATED]).is_null();
        let why = format!(
            "metadata.annotations[{DEPRECATED}]: deprecated since v1.8; use \"storageClassName\" attribute instead"
        );
        old.then_some(why).into_iter().chain(claim_warnings(at(claim, &["spec"]), "spec")).collect()
    },
    warns_again: true,
    default: |claim| {
        if let Some(spec) = at_mut(claim, &["spec"]) {
            default(spec, "volumeMode", "Filesystem");
        }
        if let Some(status) = at_mut(claim, &["status"]) {
            default_text(status, "phase", "Pending");
        }
    },
    prepare_create: |claim| {
        claim["status"] = json!({"phase": "Pending"});
        if let Some(spec) = at_mut(claim, &["spec"]) {
            settle_sources(spec, &Value::Null);
        }
    },
    prepare_update: |claim, old| {
        keep_status(claim, old);
        if let Some(spec) = at_mut(claim, &["spec"]) {
            settle_sources(spec, at(old, &["spec"]));
        }
    },
    validate_create: |claim| {
        let mut errors = Vec::new();
        check_claim_spec(at(claim, &["spec"]), "spec", &mut errors);
        errors
    },
    validate_update: validate_claim_update,
    validate_status: |claim, _| validate_claim_status(at(claim, &["status"])),
    status: true,
    delete_returns_object: true,
    ..PLAIN
};

/// Two members say where the data comes from: what one says the other says, too.
fn settle_sources(spec: &mut Map, old: &Value) {
    // `CrossNamespaceVolumeDataSource` is off.
    let is_far = |source: &Value| !text(source, "namespace").is_empty();
    if !has(old, "dataSourceRef") && spec.get("dataSourceRef").is_some_and(is_far) {
        spec.remove("dataSourceRef");
    }
    // Alone, the older member names what it could name of old, or nothing.
    let had = has(old, "dataSource") || has(old, "dataSourceRef");
    if !had
        && !spec.contains_key("dataSourceRef")
        && spec.get("dataSource").is_some_and(|source| !is_of_old(source))
    {
        spec.remove("dataSource");
    }
    for (from, to) in [("dataSource", "dataSourceRef"), ("dataSourceRef", "dataSource")] {
        if let Some(source) = spec.get(from).filter(|source| text(source, "namespace").is_empty()).cloned()
            && !spec.contains_key(to)
        {
            let mut source = source;
            if let Some(source) = source.as_object_mut() {
                source.remove("namespace");
            }
            spec.insert(to.to_owned().into(), source);
        }
    }
}

fn is_of_old(source: &Value) -> bool {
    let source = (text(source, "apiGroup"), text(source, "kind"));
    source == ("", "PersistentVolumeClaim") || source == ("snapshot.storage.k8s.io", "VolumeSnapshot")
}

/// Where the class of a claim stood before there was a field for it.
const CLASS: &str = "volume.beta.kubernetes.io/storage-class";

/// A claim is what it was made as, but that it may be bound, and grow once it is.
fn validate_claim_update(new: &Value, old: &Value) -> Vec<FieldError> {
    let (spec, before) = (at(new, &["spec"]), at(old, &["spec"]));
    let mut errors = Vec::new();
    check_claim_spec(spec, "spec", &mut errors);
    let class = |claim: &Value| at(claim, &["metadata", "annotations", CLASS]).as_str().map(str::to_owned);
    let (class_now, class_was) = (class(new), class(old));
    let named = at(spec, &["storageClassName"]).as_str();
    let had_name = has(before, "storageClassName");
    // The annotation becomes the field.
    let moves = !had_name
        && class_was.is_some()
        && named == class_was.as_deref()
        && (class_now.is_none() || class_now == class_was);
    if !moves && class_now.as_deref().unwrap_or("") != class_was.as_deref().unwrap_or("") {
        let path = format!("metadata.annotations.{CLASS}");
        let now = class_now.as_deref().unwrap_or("");
        errors.push(FieldError::invalid(path, &now.into(), "field is immutable"));
    }
    if spec == before {
        return errors;
    }
    let is_bound = text(at(new, &["status"]), "phase") == "Bound";
    let class_may_come =
        named.is_some() && !had_name && (class_was.is_none() || named == class_was.as_deref());
    let (mut fixed, mut was) = (spec.clone(), before.clone());
    if text(before, "volumeName").is_empty() {
        keep(&mut was, spec, "volumeName");
    }
    if class_may_come {
        keep(&mut fixed, before, "storageClassName");
    }
    if is_bound {
        keep(&mut fixed, before, "volumeAttributesClassName");
        if let Some(requests) = fixed.pointer_mut("/resources/requests") {
            keep(requests, at(before, &["resources", "requests"]), "storage");
        }
    }
    if fixed != was {
        let changes = internal_diff("core.PersistentVolumeClaimSpec", &was, &fixed);
        let why = "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims";
        errors.push(FieldError::forbidden("spec", format!("{why}\n{changes}")));
    }
    let size = |holder: &Value, path: &[&str]| quantity::parse(at(holder, path)).unwrap_or(0);
    let (now, was) = (
        size(spec, &["resources", "requests", "storage"]),
        size(before, &["resources", "requests", "storage"]),
    );
    if now < was && now <= size(old, &["status", "capacity", "storage"]) {
        let why = "field can not be less than status.capacity";
        errors.push(FieldError::forbidden("spec.resources.requests.storage", why));
    }
    check_immutable(at(spec, &["volumeMode"]), at(before, &["volumeMode"]), "volumeMode", &mut errors);
    let attributes = "volumeAttributesClassName";
    if spec.get(attributes) != before.get(attributes)
        && !at(old, &["status", "currentVolumeAttributesClassName"]).is_null()
        && text(spec, attributes).is_empty()
    {
        let to = if has(spec, attributes) { "empty string" } else { "nil" };
        let why =
            format!("update to {to} is forbidden when status.currentVolumeAttributesClassName is not nil");
        errors.push(FieldError::forbidden(format!("spec.{attributes}"), why));
    }
    errors
}

const RESIZE_STATUSES: &[&str] = &[
    "ControllerResizeInProgress",
    "ControllerResizeInfeasible",
    "NodeResizeInProgress",
    "NodeResizeInfeasible",
    "NodeResizePending",
];

/// Errors of what a claim has got, and of how it grows: `ValidatePersistentVolumeClaimStatusUpdate`.
fn validate_claim_status(status: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let each = |member: &str| at(status, &[member]).as_object().into_iter().flatten();
    for (name, amount) in each("capacity") {
        check_amount(amount, format!("status.capacity[{name}]"), &mut errors);
    }
    let path = "status.allocatedResourceStatuses";
    for (name, state) in each("allocatedResourceStatuses") {
        check_grown(name, path, &mut errors);
        if !state.as_str().is_some_and(|state| RESIZE_STATUSES.contains(&state)) {
            errors.push(FieldError::not_supported(path, &name.as_str().into(), RESIZE_STATUSES));
        }
    }
    for (name, amount) in each("allocatedResources") {
        if check_grown(name, "status.allocatedResources", &mut errors) {
            check_amount(amount, format!("status.allocatedResources[{name}]"), &mut errors);
        }
    }
    errors
}

/// Of the resources that Kubernetes knows, a claim has storage alone.
fn check_grown(name: &str, path: &str, errors: &mut Vec<FieldError>) -> bool {
    let problems = names::qualified_name(name);
    let is_native = !name.contains('/') || name.contains("kubernetes.io/");
    let is_other = problems.is_empty() && is_native && name != "storage";
    if is_other {
        errors.push(FieldError::not_supported(path, &name.into(), &["storage"]));
    }
    let is_fine = problems.is_empty() && !is_other;
    errors.extend(problems.into_iter().map(|why| FieldError::invalid(path, &name.into(), why)));
    is_fine
}

/// Makes a member as it is in another object.
fn keep(object: &mut Value, other: &Value, member: &str) {
    let Some(map) = object.as_object_mut() else { return };
    match other.get(member) {
        Some(value) => map.insert(member.to_owned().into(), value.clone()),
        None => map.remove(member),
    };
}

/// Sources of volumes that have no plugin any more, and since when.
const GONE: &[(&str, &str)] = &[
    ("cephfs", "deprecated in v1.28, non-functional in v1.31+"),
    ("photonPersistentDisk", "deprecated in v1.11, non-functional in v1.16+"),
    ("scaleIO", "deprecated in v1.16, non-functional in v1.22+"),
    ("storageos", "deprecated in v1.22, non-functional in v1.25+"),
    ("glusterfs", "deprecated in v1.25, non-functional in v1.26+"),
    ("rbd", "deprecated in v1.28, non-functional in v1.31+"),
];

fn volume_warnings(volume: &Value) -> Vec<String> {
    let spec = at(volume, &["spec"]);
    let mut out = Vec::new();
    if text(spec, "persistentVolumeReclaimPolicy") == "Recycle" {
        out.push("spec.persistentVolumeReclaimPolicy: The Recycle reclaim policy is deprecated. Instead, the recommended approach is to use dynamic provisioning.".to_owned());
    }
    let shown = |source: &str| if source == "storageos" { "storageOS".to_owned() } else { source.to_owned() };
    let gone = GONE.iter().filter(|(source, _)| has(spec, source));
    out.extend(gone.map(|(source, why)| format!("spec.{}: {why}", shown(source))));
    out
}

pub(super) static PERSISTENT_VOLUME: Strategy = Strategy {
    update_checks: super::order::NEW_TWICE,
    warnings: volume_warnings,
    warns_again: true,
    default: |volume| {
        if let Some(spec) = at_mut(volume, &["spec"]) {
            default(spec, "volumeMode", "Filesystem");
            default_text(spec, "persistentVolumeReclaimPolicy", "Retain");
            default_source(spec);
        }
        if let Some(status) = at_mut(volume, &["status"]) {
            default_text(status, "phase", "Pending");
        }
    },
    prepare_create: |volume| {
        volume["status"] = json!({"phase": "Pending", "lastPhaseTransitionTime": crate::registry::now()});
    },
    prepare_update: keep_status,
    prepare_status: |new, old| {
        let (status, before) = (at(new, &["status"]), at(old, &["status"]));
        let member = "lastPhaseTransitionTime";
        let time = match text(status, "phase") == text(before, "phase") {
            true => before.get(member).cloned().filter(|_| !has(status, member)),
            // A controller may say when it was; otherwise it is now.
            false => (!has(status, member) || status.get(member) == before.get(member))
                .then(|| crate::registry::now().into()),
        };
        if let (Some(time), Some(status)) = (time, at_mut(new, &["status"])) {
            status.insert(member.to_owned().into(), time);
        }
    },
    validate_create: validate_volume,
    validate_fields: |new, _| validate_volume(new),
    validate_update: |new, old| {
        let mut errors = Vec::new();
        let (spec, before) = (at(new, &["spec"]), at(old, &["spec"]));
        let fixed = without_new_secret(spec, before);
        if SOURCES.iter().any(|(source, _)| fixed.get(*source) != before.get(*source)) {
            let changes = internal_diff("core.PersistentVolumeSource", before, &fixed);
            let why = format!("spec.persistentvolumesource is immutable after creation\n{changes}");
            errors.push(FieldError::forbidden("spec.persistentvolumesource", why));
        }
        check_immutable(at(spec, &["volumeMode"]), at(before, &["volumeMode"]), "volumeMode", &mut errors);
        let (nodes, nodes_before) = (at(spec, &["nodeAffinity"]), at(before, &["nodeAffinity"]));
        if !nodes_before.is_null() && nodes != nodes_before && *nodes != renamed(nodes_before) {
            let why = "field is immutable, except for updating from beta label to GA";
            errors.push(invalid_as("*core.VolumeNodeAffinity", "nodeAffinity", nodes, why));
        }
        let class = "volumeAttributesClassName";
        if has(before, class) && !has(spec, class) {
            let why = "update from non-nil value to nil is forbidden";
            errors.push(FieldError::forbidden(format!("spec.{class}"), why));
        }
        errors
    },
    status: true,
    delete_returns_object: true,
    ..PLAIN
};

/// A volume's spec but for the secret to expand it with, which may come where there was none.
fn without_new_secret<'a>(spec: &'a Value, before: &Value) -> Cow<'a, Value> {
    let secret = "controllerExpandSecretRef";
    if !has(before, "csi") || has(at(before, &["csi"]), secret) || !has(at(spec, &["csi"]), secret) {
        return Cow::Borrowed(spec);
    }
    let mut fixed = spec.clone();
    if let Some(csi) = at_mut(&mut fixed, &["csi"]) {
        csi.remove(secret);
    }
    Cow::Owned(fixed)
}

/// Labels of nodes that have had another name.
const RENAMED: &[(&str, &str)] = &[
    ("failure-domain.beta.kubernetes.io/zone", "topology.kubernetes.io/zone"),
    ("failure-domain.beta.kubernetes.io/region", "topology.kubernetes.io/region"),
    ("beta.kubernetes.io/instance-type", "node.kubernetes.io/instance-type"),
    ("beta.kubernetes.io/os", "kubernetes.io/os"),
    ("beta.kubernetes.io/arch", "kubernetes.io/arch"),
];

/// An affinity under the names that labels have today.
fn renamed(affinity: &Value) -> Value {
    let mut affinity = affinity.clone();
    let terms = affinity.pointer_mut("/required/nodeSelectorTerms").and_then(Value::as_array_mut);
    for rule in terms.into_iter().flatten().flat_map(|term| items_mut(term, "matchExpressions")) {
        if let Some((_, now)) = RENAMED.iter().find(|(before, _)| *before == text(rule, "key")) {
            rule["key"] = (*now).into();
        }
    }
    affinity
}

fn validate_volume(volume: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    check_volume_spec(at(volume, &["spec"]), "spec", false, &mut errors);
    errors
}
