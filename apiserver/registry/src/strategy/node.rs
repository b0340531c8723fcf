//! Nodes.

use apiserver_meta::field::FieldError;
use serde_json::Value;

use super::shared::{at, items, keep_status, text};
use super::{PLAIN, Strategy};

pub(super) static NODE: Strategy = Strategy {
    default: |node| {
        if let Some(status) = node.get_mut("status").and_then(Value::as_object_mut)
            && !status.contains_key("allocatable")
            && let Some(capacity) = status.get("capacity").cloned()
        {
            status.insert("allocatable".into(), capacity);
        }
    },
    prepare_create: |node| {
        // A new node takes no Pods until the node lifecycle controller has seen it ready.
        let taint = serde_json::json!({"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"});
        let spec = crate::object::member_mut(node, "spec");
        let taints = spec.entry("taints").or_insert_with(|| serde_json::json!([]));
        if let Some(taints) = taints.as_array_mut()
            && !taints.iter().any(|known| known["key"] == taint["key"] && known["effect"] == taint["effect"])
        {
            taints.push(taint);
        }
    },
    prepare_update: keep_status,
    validate_create: validate,
    validate_update: |node, old| {
        let mut errors = validate(node);
        let (before, after) =
            (text(at(old, &["spec"]), "providerID"), text(at(node, &["spec"]), "providerID"));
        if !before.is_empty() && before != after {
            errors.push(FieldError::forbidden(
                "spec.providerID",
                "node updates may not change providerID except from \"\" to valid",
            ));
        }
        errors
    },
    // A kubelet may register its node with a status.
    status: false,
    ..PLAIN
};

fn validate(node: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for (i, taint) in items(at(node, &["spec"]), "taints").iter().enumerate() {
        let path = format!("spec.taints[{i}]");
        for problem in apiserver_meta::names::qualified_name(text(taint, "key")) {
            errors.push(FieldError::invalid(format!("{path}.key"), &text(taint, "key").into(), problem));
        }
        let effect = text(taint, "effect");
        let known = ["NoSchedule", "PreferNoSchedule", "NoExecute"];
        if effect.is_empty() {
            errors.push(FieldError::required(format!("{path}.effect"), ""));
        } else if !known.contains(&effect) {
            errors.push(FieldError::not_supported_in_order(format!("{path}.effect"), &effect.into(), &known));
        }
    }
    errors
}
