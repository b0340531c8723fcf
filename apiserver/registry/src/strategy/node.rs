//! Nodes.

use std::collections::HashSet;
use std::sync::LazyLock;

use apiserver_json::Value;
use apiserver_meta::field::FieldError;
use apiserver_meta::names;
use apiserver_schema::FieldSet;

use super::addresses::{check_range, parse_sloppily};
use super::pod::scheduling::check_taint_effect;
use super::resources::check_quantity;
use super::shared::{at, check_rule, go_struct, is_empty, items, keep_status, text};
use super::{PLAIN, Strategy};

/// A new Node keeps the status it is sent with, which is nobody's all the same.
static STATUS: LazyLock<FieldSet> = LazyLock::new(|| FieldSet::of(&[&["status"]]));

pub(super) static NODE: Strategy = Strategy {
    update_checks: super::order::NEW_THEN_CHANGES,
    resets: |subresource| subresource.is_empty().then(|| &*STATUS),
    default: |node| {
        if let Some(spec) = node.get_mut("spec").and_then(Value::as_object_mut) {
            name_first_range(spec);
        }
        if let Some(status) = node.get_mut("status").and_then(Value::as_object_mut)
            && is_empty(status.get("allocatable").unwrap_or(&Value::Null))
            && let Some(capacity) = status.get("capacity").cloned()
        {
            status.insert("allocatable".into(), capacity);
        }
    },
    warnings,
    warns_again: true,
    prepare_create: |node| {
        drop_config_source(node);
        if let Some(status) = node.get_mut("status").and_then(Value::as_object_mut) {
            status.remove("config");
        }
    },
    prepare_update: |node, old| {
        keep_status(node, old);
        drop_config_source(node);
    },
    validate_create: validate,
    validate_fields: |node, _| validate(node),
    validate_update,
    prepare_status: |node, old| {
        if at(old, &["status", "config"]).is_null()
            && let Some(status) = node.get_mut("status").and_then(Value::as_object_mut)
        {
            status.remove("config");
        }
    },
    validate_status: validate_update,
    // A kubelet may register its node with a status.
    status: false,
    ..PLAIN
};

/// Configuration of kubelets through the API is gone.
fn drop_config_source(node: &mut Value) {
    if let Some(spec) = node.get_mut("spec").and_then(Value::as_object_mut) {
        spec.remove("configSource");
    }
}

fn warnings(node: &Value) -> Vec<String> {
    let id = text(at(node, &["spec"]), "externalID");
    let why = "spec.externalID: this field is deprecated, and is unused by Kubernetes";
    if id.is_empty() { Vec::new() } else { vec![why.to_owned()] }
}

/// The older member is the first of the newer one.
fn name_first_range(spec: &mut apiserver_json::Map) {
    let one =
        spec.get("podCIDR").filter(|range| range.as_str().is_some_and(|range| !range.is_empty())).cloned();
    let first = spec.get("podCIDRs").and_then(|ranges| ranges.get(0)).cloned();
    match (one, first) {
        (Some(one), first) if first.as_ref() != Some(&one) => {
            spec.insert("podCIDRs".into(), [one].into());
        }
        (None, Some(first)) => {
            spec.insert("podCIDR".into(), first);
        }
        _ => {}
    }
}

/// `ValidateNodeUpdate`, of statuses too.
fn validate_update(node: &Value, old: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    check_amounts(node, &mut errors);
    check_features(node, &mut errors);
    let mut seen = HashSet::new();
    let addresses = items(at(node, &["status"]), "addresses");
    for (i, address) in addresses.iter().enumerate().filter(|(_, one)| !seen.insert(*one)) {
        let shown = go_struct(address, &[("Type", "type"), ("Address", "address")]);
        let path = format!("status.addresses[{i}]");
        errors.push(FieldError { value: shown, ..FieldError::duplicate(path, address) });
    }
    check_kept(node, old, &mut errors);
    let (spec, before) = (at(node, &["spec"]), at(old, &["spec"]));
    if !text(before, "providerID").is_empty() && text(before, "providerID") != text(spec, "providerID") {
        let why = "node updates may not change providerID except from \"\" to valid";
        errors.push(FieldError::forbidden("spec.providerID", why));
    }
    check_taints(spec, &mut errors);
    if text(before, "externalID") != text(spec, "externalID") {
        errors.push(FieldError::forbidden("spec.externalID", "may not be updated"));
    }
    errors
}

fn validate(node: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    check_taints(at(node, &["spec"]), &mut errors);
    check_amounts(node, &mut errors);
    check_features(node, &mut errors);
    check_ranges(at(node, &["spec"]), &mut errors);
    errors
}

/// Features that a kubelet declares: their names, in order.
fn check_features(node: &Value, errors: &mut Vec<FieldError>) {
    let features = items(at(node, &["status"]), "declaredFeatures");
    for (i, feature) in features.iter().enumerate() {
        let path = |i: usize| format!("status.declaredFeatures[{i}]");
        let name = feature.as_str().unwrap_or("");
        let quoted = apiserver_meta::field::go_quote(name);
        if name.len() > FEATURE_BYTES_MAX {
            let why =
                format!("invalid feature name {quoted}: must be no more than {FEATURE_BYTES_MAX} characters");
            errors.push(FieldError::invalid(path(i), feature, why));
        } else if !is_feature(name) {
            let why = format!(
                "invalid feature name {quoted}: must start with an UpperCamelCase segment, with subsequent segments separated by '/' (e.g., MyFeature or MyFeature/mySubFeature), and contain only alphanumeric characters and slashes"
            );
            errors.push(FieldError::invalid(path(i), feature, why));
        }
        match features.get(i + 1) {
            Some(next) if next == feature => errors.push(FieldError::duplicate(path(i + 1), next)),
            Some(next) if next.as_str() < Some(name) => {
                let why = "list must be sorted alphabetically";
                errors.push(FieldError::invalid(path(i + 1), next, why));
            }
            _ => {}
        }
    }
}

const FEATURE_BYTES_MAX: usize = 253;

fn is_feature(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_uppercase())
        && name.split('/').all(|part| {
            part.starts_with(|c: char| c.is_ascii_alphabetic())
                && part.chars().all(|c| c.is_ascii_alphanumeric())
        })
}

fn check_taints(spec: &Value, errors: &mut Vec<FieldError>) {
    let mut seen: Vec<(&str, &str)> = Vec::new();
    for (i, taint) in items(spec, "taints").iter().enumerate() {
        // Upstream looks for taints in the metadata, so its paths say.
        let path = format!("metadata.taints[{i}]");
        let (key, value) = (text(taint, "key"), text(taint, "value"));
        check_rule(key, names::qualified_name, format_args!("{path}.key"), errors);
        let problems = names::label_value(value);
        if !problems.is_empty() {
            errors.push(FieldError::invalid(format!("{path}.value"), &value.into(), problems.join(";")));
        }
        check_taint_effect(taint, &path, errors);
        if seen.contains(&(key, text(taint, "effect"))) {
            let members =
                [("Key", "key"), ("Value", "value"), ("Effect", "effect"), ("TimeAdded", "timeAdded")];
            let mut shown = taint.clone();
            if let Some(shown) = shown.as_object_mut() {
                super::shared::default(shown, "value", "");
            }
            errors.push(FieldError {
                value: go_struct(&shown, &members),
                detail: "taints must be unique by key and effect pair".into(),
                ..FieldError::duplicate(path, taint)
            });
            continue;
        }
        seen.push((key, text(taint, "effect")));
    }
}

/// Errors of what a node says it has: `ValidateNodeResources`.
fn check_amounts(node: &Value, errors: &mut Vec<FieldError>) {
    for list in ["capacity", "allocatable"] {
        for (name, amount) in at(node, &["status", list]).as_object().into_iter().flatten() {
            check_quantity(name, amount, &format!("status.{list}.{name}"), errors);
        }
    }
}

/// Errors of the ranges of a node's Pods: one of each family at most.
fn check_ranges(spec: &Value, errors: &mut Vec<FieldError>) {
    let ranges = items(spec, "podCIDRs");
    let texts: Vec<&str> = ranges.iter().filter_map(Value::as_str).collect();
    for (i, range) in texts.iter().enumerate() {
        check_range(range, &format!("spec.podCIDRs[{i}]"), errors);
    }
    if texts.len() < 2 {
        return;
    }
    if let Some((i, text)) = texts.iter().enumerate().find(|(_, range)| parse_sloppily(range).is_none()) {
        let why = "invalid PodCIDRs. failed to check with dual stack with error:invalid";
        let why = format!("{why} CIDR[{i}]: <nil> (invalid CIDR address: {text})");
        errors.push(FieldError::internal("spec.podCIDRs", why));
    }
    let families: Vec<bool> =
        texts.iter().filter_map(|range| parse_sloppily(range)).map(|(base, _)| base.is_ipv4()).collect();
    if !matches!(families.as_slice(), [one, other] if one != other) {
        let why = "may specify no more than one CIDR for each IP family";
        errors.push(FieldError::invalid("spec.podCIDRs", at(spec, &["podCIDRs"]), why));
    }
}

/// Addresses of pods on a node are given once.
fn check_kept(node: &Value, old: &Value, errors: &mut Vec<FieldError>) {
    let (after, before) = (items(at(node, &["spec"]), "podCIDRs"), items(at(old, &["spec"]), "podCIDRs"));
    if !before.is_empty() && after != before {
        let why = "node updates may not change podCIDR except from \"\" to valid";
        errors.push(FieldError::forbidden("spec.podCIDRs", why));
    }
}

#[cfg(test)]
mod tests {
    use apiserver_json::json;

    use super::*;

    #[test]
    fn an_address_is_told_once() {
        let address = |kind: &str, address: &str| json!({"type": kind, "address": address});
        let (a, b) = (address("InternalIP", "10.0.0.1"), address("Hostname", "10.0.0.1"));
        for (addresses, want) in [
            (json!([a, b]), &[][..]),
            (json!([a, b, a]), &["status.addresses[2]"]),
            (json!([b, b, b]), &["status.addresses[1]", "status.addresses[2]"]),
        ] {
            let node = json!({"metadata": {"name": "n"}, "status": {"addresses": addresses}});
            let errors = validate_update(&node, &node);
            let told: Vec<&str> = errors.iter().map(|error| &*error.field).collect();
            assert_eq!(told, want, "{addresses}");
        }
    }
}
