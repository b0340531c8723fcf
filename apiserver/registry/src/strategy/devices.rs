//! Dynamic resource allocation: what `pkg/apis/resource/v1` fills in, and what counts as a generation.

use serde_json::{Map, Value, json};

use super::shared::{at_mut, default, default_text, items_mut, keep_status};
use super::{PLAIN, Strategy};

pub(super) static CLAIM: Strategy = Strategy {
    default: |claim| {
        default_requests(claim.get_mut("spec"));
        let allocated = claim.pointer_mut("/status/allocation/devices");
        allocated.into_iter().flat_map(|devices| items_mut(devices, "results")).for_each(default_tolerations);
    },
    prepare_create: |claim| claim["status"] = json!({}),
    prepare_update: keep_status,
    status: true,
    ..TEMPLATE
};

pub(super) static CLAIM_TEMPLATE: Strategy =
    Strategy { default: |template| default_requests(template.pointer_mut("/spec/spec")), ..TEMPLATE };

pub(super) static CLASS: Strategy = Strategy { generation: true, ..TEMPLATE };

pub(super) static SLICE: Strategy = Strategy {
    default: |slice| {
        let Some(spec) = slice.get_mut("spec") else { return };
        for taint in items_mut(spec, "devices").flat_map(|device| items_mut(device, "taints")) {
            if let Some(taint) = taint.as_object_mut() {
                default(taint, "timeAdded", crate::registry::now());
            }
        }
    },
    generation: true,
    ..TEMPLATE
};

const TEMPLATE: Strategy = Strategy { delete_returns_object: true, ..PLAIN };

/// Requests of a claim, each of which is of one device class or of the first of several that there is.
fn default_requests(spec: Option<&mut Value>) {
    let Some(devices) = spec.and_then(|spec| spec.get_mut("devices")) else { return };
    for request in items_mut(devices, "requests") {
        if let Some(exactly) = at_mut(request, &["exactly"]) {
            default_count(exactly);
        }
        if let Some(exactly) = request.get_mut("exactly") {
            default_tolerations(exactly);
        }
        for choice in items_mut(request, "firstAvailable") {
            choice.as_object_mut().into_iter().for_each(default_count);
            default_tolerations(choice);
        }
    }
}

fn default_count(request: &mut Map<String, Value>) {
    default_text(request, "allocationMode", "ExactCount");
    let counts = request.get("count").and_then(Value::as_i64).is_some_and(|count| count != 0);
    if request.get("allocationMode").is_some_and(|mode| mode == "ExactCount") && !counts {
        request.insert("count".into(), 1.into());
    }
}

fn default_tolerations(of: &mut Value) {
    for toleration in items_mut(of, "tolerations") {
        if let Some(toleration) = toleration.as_object_mut() {
            default_text(toleration, "operator", "Equal");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_filled_in() {
        let rows = [
            (json!({"exactly": {}}), json!({"exactly": {"allocationMode": "ExactCount", "count": 1}})),
            (
                json!({"exactly": {"count": 3}}),
                json!({"exactly": {"allocationMode": "ExactCount", "count": 3}}),
            ),
            (json!({"exactly": {"allocationMode": "All"}}), json!({"exactly": {"allocationMode": "All"}})),
            (
                json!({"firstAvailable": [{"tolerations": [{"key": "a"}, {"operator": "Exists"}]}]}),
                json!({"firstAvailable": [{"allocationMode": "ExactCount", "count": 1, "tolerations": [{"key": "a", "operator": "Equal"}, {"operator": "Exists"}]}]}),
            ),
            (json!({}), json!({})),
        ];
        for (request, want) in rows {
            let mut claim = json!({"spec": {"devices": {"requests": [request]}}});
            let mut template = json!({"spec": {"spec": claim["spec"]}});
            (CLAIM.default)(&mut claim);
            (CLAIM_TEMPLATE.default)(&mut template);
            assert_eq!(claim["spec"]["devices"]["requests"], json!([want]));
            assert_eq!(template["spec"]["spec"], claim["spec"]);
        }
    }

    #[test]
    fn taints_have_a_time() {
        let mut slice = json!({"spec": {"devices": [{"taints": [{"key": "a"}]}, {}]}});
        (SLICE.default)(&mut slice);
        assert!(slice.pointer("/spec/devices/0/taints/0/timeAdded").is_some_and(Value::is_string));
    }
}
