//! Dynamic resource allocation: what `pkg/apis/resource/v1` fills in, what counts as a generation, and what is wrong.

mod capacity;
mod claim;
mod parts;
mod slice;

use apiserver_json::{Map, Value, json};
use apiserver_meta::field::FieldError;

use super::shared::{
    at, at_mut, check_immutable_as, check_template_metadata, default, default_text, items_mut, keep_status,
};
use super::{PLAIN, Strategy};

pub(super) static CLAIM: Strategy = Strategy {
    update_checks: super::order::METADATA_THEN_CHANGES,
    status_keeps: super::ALL_KEPT,
    default: |claim| {
        default_requests(claim.get_mut("spec"));
        let allocated = claim.pointer_mut("/status/allocation/devices");
        allocated.into_iter().flat_map(|devices| items_mut(devices, "results")).for_each(default_tolerations);
    },
    prepare_create: |claim| claim["status"] = json!({}),
    prepare_update: keep_status,
    validate_create: |claim| claim::check_claim(at(claim, &["spec"]), "spec"),
    validate_update: |new, old| fixed_spec("resource.ResourceClaimSpec", new, old),
    validate_status: claim::check_status,
    status: true,
    ..PLAIN_DEVICES
};

pub(super) static CLAIM_TEMPLATE: Strategy = Strategy {
    update_checks: super::order::NEW_THEN_CHANGES,
    default: |template| default_requests(template.pointer_mut("/spec/spec")),
    validate_create: check_template,
    validate_fields: |new, _| check_template(new),
    validate_update: |new, old| fixed_spec("resource.ResourceClaimTemplateSpec", new, old),
    ..PLAIN_DEVICES
};

pub(super) static CLASS: Strategy = Strategy {
    checks_prefix: false,
    update_checks: super::order::METADATA_THEN_CHANGES,
    generation: true,
    validate_create: |class| claim::check_class(at(class, &["spec"]), &Value::Null),
    validate_update: |new, old| claim::check_class(at(new, &["spec"]), at(old, &["spec"])),
    ..PLAIN_DEVICES
};

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
    prepare_create: drop_disabled,
    prepare_update: |slice, _| drop_disabled(slice),
    validate_create: |slice| slice::check_slice(slice, None),
    validate_update: |new, old| slice::check_slice(new, Some(old)),
    ..PLAIN_DEVICES
};

const PLAIN_DEVICES: Strategy = Strategy { delete_returns_object: true, ..PLAIN };

fn check_template(template: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let metadata = at(template, &["spec", "metadata"]);
    check_template_metadata(metadata, "spec.metadata", &mut errors);
    errors.extend(claim::check_claim(at(template, &["spec", "spec"]), "spec.spec"));
    errors
}

/// Lists of values and mappings to nodes' resources are behind gates that are off.
fn drop_disabled(slice: &mut Value) {
    let Some(spec) = slice.get_mut("spec") else { return };
    for device in items_mut(spec, "devices").filter_map(Value::as_object_mut) {
        device.remove("nodeAllocatableResourceMappings");
        let attributes = device.get_mut("attributes").and_then(Value::as_object_mut);
        for attribute in attributes.into_iter().flat_map(Map::values_mut).filter_map(Value::as_object_mut) {
            attribute.retain(|member, _| !slice::LISTS.contains(&member.as_str()));
        }
    }
}

/// What somebody asked for stays as it was asked for.
fn fixed_spec(go_type: &str, new: &Value, old: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    check_immutable_as(go_type, at(new, &["spec"]), at(old, &["spec"]), "spec", &mut errors);
    errors
}

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

fn default_count(request: &mut Map) {
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
