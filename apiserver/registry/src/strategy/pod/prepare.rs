//! What the server decides of a Pod: `PrepareForCreate` and the admission of tolerations upstream.

use apiserver_json::{Map, Value, json};
use apiserver_meta::quantity;

use super::super::shared::{at, at_mut, default, items, items_mut, text};

/// Seconds a Pod stays on a node that is gone.
const TOLERATION_SECONDS: i64 = 300;

pub(super) fn create(pod: &mut Value) {
    drop_disabled(at_mut(pod, &["spec"]));
    // Who makes a Pod may say which class it is of; nobody else may.
    let class = match text(at(pod, &["status"]), "qosClass") {
        "" => qos_class(at(pod, &["spec"])).to_owned(),
        sent => sent.to_owned(),
    };
    let mut status = json!({"phase": "Pending", "qosClass": class});
    if !items(at(pod, &["spec"]), "schedulingGates").is_empty() {
        status["conditions"] = json!([{
            "type": "PodScheduled", "status": "False", "lastProbeTime": null, "lastTransitionTime": null,
            "reason": "SchedulingGated", "message": "Scheduling is blocked due to non-empty scheduling gates",
        }]);
        if let Some(condition) = status.pointer_mut("/conditions/0/lastTransitionTime") {
            *condition = crate::registry::now().into();
        }
    }
    pod["status"] = status;
    merge_label_keys(pod);
}

/// Every Pod stays a while on a node that is gone: `DefaultTolerationSeconds`, of updates too.
pub(crate) fn tolerate_lost_nodes(pod: &mut Value) {
    let Some(spec) = at_mut(pod, &["spec"]) else { return };
    let tolerations = spec.entry("tolerations").or_insert_with(|| json!([]));
    if let Some(tolerations) = tolerations.as_array_mut() {
        for key in ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"] {
            let tolerated = tolerations.iter().any(|toleration| {
                let matches_key = text(toleration, "key") == key || text(toleration, "key").is_empty();
                matches_key && matches!(text(toleration, "effect"), "" | "NoExecute")
            });
            if !tolerated {
                tolerations.push(json!({
                    "key": key, "operator": "Exists", "effect": "NoExecute",
                    "tolerationSeconds": TOLERATION_SECONDS,
                }));
            }
        }
    }
}

/// Fields of features that are off in 1.36 are taken away: `dropDisabledFields`.
pub(crate) fn drop_disabled(spec: Option<&mut Map>) {
    let Some(spec) = spec else { return };
    spec.remove("schedulingGroup");
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        for container in spec.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
            let Some(container) = container.as_object_mut() else { continue };
            if let Some(Value::Object(lifecycle)) = container.get_mut("lifecycle")
                && lifecycle.remove("stopSignal").is_some()
                && lifecycle.is_empty()
            {
                container.remove("lifecycle");
            }
        }
    }
    for volume in spec.get_mut("volumes").and_then(Value::as_array_mut).into_iter().flatten() {
        let Some(projected) = volume.get_mut("projected") else { continue };
        for source in items_mut(projected, "sources").filter_map(Value::as_object_mut) {
            source.remove("clusterTrustBundle");
            source.remove("podCertificate");
        }
    }
}

/// `matchLabelKeys` become part of the selector beside them, with the Pod's own labels.
fn merge_label_keys(pod: &mut Value) {
    let spec = at(pod, &["spec"]);
    if spec.get("affinity").is_none() && spec.get("topologySpreadConstraints").is_none() {
        return;
    }
    let labels = at(pod, &["metadata", "labels"]).clone();
    let Some(spec) = pod.get_mut("spec") else { return };
    for constraint in items_mut(spec, "topologySpreadConstraints") {
        merge_keys(constraint, &["matchLabelKeys"], &labels);
    }
    let both = ["matchLabelKeys", "mismatchLabelKeys"];
    for kind in ["podAffinity", "podAntiAffinity"] {
        let Some(pods) = spec.pointer_mut(&format!("/affinity/{kind}")) else { continue };
        for term in items_mut(pods, "preferredDuringSchedulingIgnoredDuringExecution") {
            if let Some(term) = term.get_mut("podAffinityTerm") {
                merge_keys(term, &both, &labels);
            }
        }
        for term in items_mut(pods, "requiredDuringSchedulingIgnoredDuringExecution") {
            merge_keys(term, &both, &labels);
        }
    }
}

fn merge_keys(holder: &mut Value, members: &[&str], labels: &Value) {
    let mut added = Vec::new();
    for member in members {
        let operator = if *member == "matchLabelKeys" { "In" } else { "NotIn" };
        for key in items(holder, member).iter().filter_map(Value::as_str) {
            if let Some(value) = labels.get(key) {
                added.push(json!({"key": key, "operator": operator, "values": [value]}));
            }
        }
    }
    if added.is_empty() {
        return;
    }
    if let Some(selector) = at_mut(holder, &["labelSelector"]) {
        let expressions = selector.entry("matchExpressions").or_insert_with(|| json!([]));
        if let Some(expressions) = expressions.as_array_mut() {
            expressions.extend(added);
        }
    }
}

/// `Guaranteed`, `Burstable` or `BestEffort`: `ComputePodQOS`. What asks for nothing of a resource does not ask for it.
pub(super) fn qos_class(spec: &Value) -> &'static str {
    const NAMES: [&str; 2] = ["cpu", "memory"];
    let own = at(spec, &["resources"]);
    // A Pod that has resources of its own is judged by them, be they empty.
    let holders: Vec<&Value> = if own.is_object() {
        vec![own]
    } else {
        let containers = items(spec, "containers").iter().chain(items(spec, "initContainers"));
        containers.map(|container| at(container, &["resources"])).collect()
    };
    let (mut requests, mut limits, mut guaranteed) = ([0_i128; 2], [0_i128; 2], true);
    for resources in holders {
        let asked = |list: &str| {
            NAMES.map(|name| quantity::parse(at(resources, &[list, name])).filter(|amount| *amount > 0))
        };
        let (wanted, allowed) = (asked("requests"), asked("limits"));
        guaranteed &= allowed.iter().all(Option::is_some);
        for (sum, amounts) in [(&mut requests, wanted), (&mut limits, allowed)] {
            for (sum, amount) in sum.iter_mut().zip(amounts) {
                *sum = sum.saturating_add(amount.unwrap_or(0));
            }
        }
    }
    if requests == [0; 2] && limits == [0; 2] {
        "BestEffort"
    } else if guaranteed && requests == limits {
        "Guaranteed"
    } else {
        "Burstable"
    }
}

/// What admission made of a priority class stays where an update says nothing of it.
pub(crate) fn keep_priority(pod: &mut Value, old: &Value) {
    let Some(spec) = at_mut(pod, &["spec"]) else { return };
    for member in ["priority", "preemptionPolicy"] {
        let was = at(old, &["spec", member]);
        if !was.is_null() {
            default(spec, member, was.clone());
        }
    }
}
