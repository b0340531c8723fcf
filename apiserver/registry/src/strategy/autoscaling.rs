//! HorizontalPodAutoscalers of both versions: `pkg/apis/autoscaling/validation` upstream.

use apiserver_json::{Map, Value, json};
use apiserver_meta::field::FieldError;
use apiserver_meta::{names, quantity};

use super::shared::{
    at, at_mut, check_not_negative, check_required, check_rule, check_set_enum, default, has, items,
    keep_status, number, text,
};
use super::{PLAIN, Strategy};
use crate::convert::autoscaling::{drop_annotations, from_v2, to_v2};

/// Seconds a window and a period of a scaling rule may last.
const WINDOW_MAX: i64 = 3600;
const PERIOD_MAX: i64 = 1800;

pub(super) static AUTOSCALER: Strategy = Strategy {
    default: |autoscaler| {
        if let Some(spec) = at_mut(autoscaler, &["spec"]) {
            default(spec, "minReplicas", 1);
        }
        if is_v1(autoscaler) {
            // What else v1 defaults is a matter of its annotations, too: the conversion does it.
            in_v2(autoscaler, &Value::Null, |_, _| {});
            return;
        }
        drop_annotations(autoscaler);
        at_mut(autoscaler, &["spec"]).into_iter().for_each(default_v2);
    },
    prepare_create: |autoscaler| {
        in_v2(autoscaler, &Value::Null, |autoscaler, _| {
            autoscaler["status"] = json!({"desiredReplicas": 0, "currentMetrics": null});
        });
    },
    prepare_update: |new, old| in_v2(new, old, keep_status),
    prepare_status: |new, old| in_v2(new, old, |new, old| new["spec"] = at(old, &["spec"]).clone()),
    validate_create: |autoscaler| validate(autoscaler, None),
    validate_update: |autoscaler, old| validate(autoscaler, Some(old)),
    validate_status: |autoscaler, _| {
        let mut errors = Vec::new();
        for member in ["currentReplicas", "desiredReplicas"] {
            let path = format!("status.{member}");
            check_not_negative(at(autoscaler, &["status"]), member, &path, &mut errors);
        }
        errors
    },
    status: true,
    ..PLAIN
};

fn is_v1(autoscaler: &Value) -> bool {
    text(autoscaler, "apiVersion") == "autoscaling/v1"
}

/// Changes an object in the version that has all there is; of v1 the annotations are part of spec and status.
fn in_v2(new: &mut Value, old: &Value, change: fn(&mut Value, &Value)) {
    if !is_v1(new) {
        change(new, old);
        return;
    }
    let mut old = old.clone();
    to_v2(&mut old);
    to_v2(new);
    change(new, &old);
    from_v2(new);
}

fn default_v2(spec: &mut Map) {
    if spec.get("metrics").and_then(Value::as_array).is_none_or(<[_]>::is_empty) {
        let target = json!({"type": "Utilization", "averageUtilization": 80});
        let metric = json!({"type": "Resource", "resource": {"name": "cpu", "target": target}});
        spec.insert("metrics".into(), json!([metric]));
    }
    let Some(behavior) = spec.get_mut("behavior").and_then(Value::as_object_mut) else { return };
    let percent = json!({"type": "Percent", "value": 100, "periodSeconds": 15});
    let pods = json!({"type": "Pods", "value": 4, "periodSeconds": 15});
    for (member, policies) in [("scaleUp", json!([pods, percent])), ("scaleDown", json!([percent]))] {
        let rules = behavior.entry(member).or_insert_with(|| json!({}));
        let Some(rules) = rules.as_object_mut() else { continue };
        if member == "scaleUp" {
            default(rules, "stabilizationWindowSeconds", 0);
        }
        default(rules, "selectPolicy", "Max");
        default(rules, "policies", policies);
    }
}

fn validate(autoscaler: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut converted;
    let autoscaler = if is_v1(autoscaler) {
        converted = autoscaler.clone();
        to_v2(&mut converted);
        &converted
    } else {
        autoscaler
    };
    let spec = at(autoscaler, &["spec"]);
    let mut errors = Vec::new();
    let (least, most) = (number(spec, "minReplicas"), number(spec, "maxReplicas").unwrap_or(0));
    if let Some(least) = least.filter(|least| *least < 1) {
        let why = "must be greater than or equal to 1";
        errors.push(FieldError::invalid("spec.minReplicas", &least.into(), why));
    }
    match most {
        0 => errors.push(FieldError::required("spec.maxReplicas", "must be set and greater than 0")),
        ..0 => {
            let why = "must be greater than or equal to 1";
            errors.push(FieldError::invalid("spec.maxReplicas", &most.into(), why));
        }
        _ => {}
    }
    if least.is_some_and(|least| most < least) {
        let why = "must be greater than or equal to `minReplicas`";
        errors.push(FieldError::invalid("spec.maxReplicas", &most.into(), why));
    }
    let target = at(spec, &["scaleTargetRef"]);
    let unchanged = old.is_some_and(|old| {
        let before = at(old, &["spec", "scaleTargetRef"]);
        ["apiVersion", "kind"].iter().all(|member| text(before, member) == text(target, member))
    });
    let of_core = text(target, "kind") == "ReplicationController";
    check_reference(target, "spec.scaleTargetRef", of_core, unchanged, &mut errors);
    for (i, metric) in items(spec, "metrics").iter().enumerate() {
        check_metric(metric, &format!("spec.metrics[{i}]"), &mut errors);
    }
    let from_outside = |metric: &Value| matches!(text(metric, "type"), "Object" | "External");
    if least == Some(0) && !items(spec, "metrics").iter().any(from_outside) {
        let why = "must specify at least one Object or External metric to support scaling to zero replicas";
        errors.push(FieldError::forbidden("spec.metrics", why));
    }
    for member in ["scaleUp", "scaleDown"] {
        let rules = at(spec, &["behavior", member]);
        if !rules.is_null() {
            check_rules(rules, &format!("spec.behavior.{member}"), &mut errors);
        }
    }
    errors
}

fn check_reference(
    reference: &Value,
    path: &str,
    may_be_core: bool,
    any_version: bool,
    errors: &mut Vec<FieldError>,
) {
    check_required(reference, "kind", names::path_segment, path, errors);
    check_required(reference, "name", names::path_segment, path, errors);
    let version = text(reference, "apiVersion");
    let unexpected = format!("unexpected GroupVersion string: {version}");
    let why = if any_version {
        return;
    } else if version.matches('/').count() > 1 {
        unexpected.as_str()
    } else if !may_be_core && version.split_once('/').is_none_or(|(group, _)| group.is_empty()) {
        "apiVersion must specify API group"
    } else {
        return;
    };
    errors.push(FieldError::invalid(format!("{path}.apiVersion"), &version.into(), why));
}

const METRICS: &[&str] = &["ContainerResource", "External", "Object", "Pods", "Resource"];
/// (type, member) in the order upstream looks at them.
const SOURCES: [(&str, &str); 5] = [
    ("Object", "object"),
    ("External", "external"),
    ("Pods", "pods"),
    ("Resource", "resource"),
    ("ContainerResource", "containerResource"),
];

fn check_metric(metric: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let kind = text(metric, "type");
    if kind.is_empty() {
        errors.push(FieldError::required(format!("{path}.type"), "must specify a metric source type"));
    }
    let unknown = || FieldError::not_supported(format!("{path}.type"), &kind.into(), METRICS);
    let is_known = METRICS.contains(&kind);
    errors.extend((!is_known).then(unknown));
    let present: Vec<&str> =
        SOURCES.iter().map(|(_, member)| *member).filter(|member| has(metric, member)).collect();
    if let Some(member) = present.first() {
        check_source(at(metric, &[member]), member, &format!("{path}.{member}"), errors);
    }
    let expected = SOURCES.iter().find(|(known, _)| *known == kind).map_or("", |(_, member)| *member);
    if !is_known {
        errors.push(unknown());
    } else if !present.contains(&expected) {
        let why = "must populate information for the given metric source";
        errors.push(FieldError::required(format!("{path}.{expected}"), why));
    }
    for member in present.iter().filter(|member| present.len() > 1 && **member != expected) {
        let why = "must populate the given metric source only";
        errors.push(FieldError::forbidden(format!("{path}.{member}"), why));
    }
}

fn check_source(source: &Value, kind: &str, path: &str, errors: &mut Vec<FieldError>) {
    if kind == "object" {
        let place = format!("{path}.describedObject");
        check_reference(at(source, &["describedObject"]), &place, true, false, errors);
    }
    let of_resource = matches!(kind, "resource" | "containerResource");
    if of_resource {
        if text(source, "name").is_empty() {
            errors.push(FieldError::required(format!("{path}.name"), "must specify a resource name"));
        } else if kind == "containerResource" {
            super::resources::check_container_name(text(source, "name"), &format!("{path}.name"), errors);
        }
    } else {
        let name = text(at(source, &["metric"]), "name");
        let place = format!("{path}.metric.name");
        if name.is_empty() {
            errors.push(FieldError::required(place, "must specify a metric name"));
        } else {
            check_rule(name, names::path_segment, &place, errors);
        }
    }
    if kind == "containerResource" {
        let container = text(source, "container");
        if container.is_empty() {
            errors.push(FieldError::required(format!("{path}.container"), "must specify a container"));
        } else {
            check_rule(container, names::dns1123_label, format_args!("{path}.container"), errors);
        }
    }
    let target = at(source, &["target"]);
    let path = format!("{path}.target");
    check_target(target, &path, errors);
    let set = |member: &str| has(target, member);
    let lacks = |member: &str, why: &str| FieldError::required(format!("{path}.{member}"), why);
    let clash = |member: &str, why: &str| FieldError::forbidden(format!("{path}.{member}"), why);
    match kind {
        "object" if !set("value") && !set("averageValue") => {
            errors.push(lacks("averageValue", "must set either a target value or averageValue"));
        }
        "external" if !set("value") && !set("averageValue") => {
            let why = "must set either a target value for metric or a per-pod target";
            errors.push(lacks("averageValue", why));
        }
        "external" if set("value") && set("averageValue") => {
            let why = "may not set both a target value for metric and a per-pod target";
            errors.push(clash("value", why));
        }
        "pods" if !set("averageValue") => {
            errors.push(lacks("averageValue", "must specify a positive target averageValue"));
        }
        _ if of_resource && !set("averageUtilization") && !set("averageValue") => {
            let why = "must set either a target raw value or a target utilization";
            errors.push(lacks("averageUtilization", why));
        }
        _ if of_resource && set("averageUtilization") && set("averageValue") => {
            let why = "may not set both a target raw value and a target utilization";
            errors.push(clash("averageValue", why));
        }
        _ => {}
    }
}

fn check_target(target: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let kind = text(target, "type");
    if kind.is_empty() {
        errors.push(FieldError::required(format!("{path}.type"), "must specify a metric target type"));
    }
    if !["Utilization", "Value", "AverageValue"].contains(&kind) {
        let why = "must be either Utilization, Value, or AverageValue";
        errors.push(FieldError::invalid(format!("{path}.type"), &kind.into(), why));
    }
    for member in ["value", "averageValue"] {
        if target.get(member).and_then(quantity::parse).is_some_and(|amount| amount <= 0) {
            let shown = at(target, &[member]);
            errors.push(FieldError::invalid(format!("{path}.{member}"), shown, "must be positive"));
        }
    }
    if let Some(share) = number(target, "averageUtilization").filter(|share| *share < 1) {
        let path = format!("{path}.averageUtilization");
        errors.push(FieldError::invalid(path, &share.into(), "must be greater than 0"));
    }
}

fn check_rules(rules: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let place = format!("{path}.stabilizationWindowSeconds");
    let window = number(rules, "stabilizationWindowSeconds").unwrap_or(0);
    if window < 0 {
        errors.push(FieldError::invalid(&place, &window.into(), "must be greater than or equal to zero"));
    }
    if window > WINDOW_MAX {
        let why = format!("must be less than or equal to {WINDOW_MAX}");
        errors.push(FieldError::invalid(place, &window.into(), why));
    }
    check_set_enum(rules, "selectPolicy", path, &["Disabled", "Max", "Min"], errors);
    let policies = items(rules, "policies");
    if policies.is_empty() {
        errors.push(FieldError::required(format!("{path}.policies"), "must specify at least one Policy"));
    }
    for (i, policy) in policies.iter().enumerate() {
        let path = format!("{path}.policies[{i}]");
        check_set_enum(policy, "type", &path, &["Percent", "Pods"], errors);
        for member in ["value", "periodSeconds"] {
            let value = number(policy, member).unwrap_or(0);
            if value <= 0 {
                let why = "must be greater than zero";
                errors.push(FieldError::invalid(format!("{path}.{member}"), &value.into(), why));
            }
        }
        if let Some(period) = number(policy, "periodSeconds").filter(|period| *period > PERIOD_MAX) {
            let why = format!("must be less than or equal to {PERIOD_MAX}");
            errors.push(FieldError::invalid(format!("{path}.periodSeconds"), &period.into(), why));
        }
    }
    if rules.get("tolerance").and_then(quantity::parse).is_some_and(|amount| amount < 0) {
        let why = super::shared::NOT_NEGATIVE;
        errors.push(FieldError::invalid(format!("{path}.tolerance"), at(rules, &["tolerance"]), why));
    }
}
