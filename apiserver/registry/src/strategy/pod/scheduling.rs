//! Where a Pod may run: tolerations, affinity, spread, gates.

use std::fmt::Display;

use apiserver_json::{SmolStr, Value};
use apiserver_meta::field::FieldError;
use apiserver_meta::names;

use super::super::shared::{
    at, below, check_label_selector, check_rule, check_set_enum, has, items, number, require, text,
};
use super::Spec;

const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";
pub(crate) const TAINT_EFFECTS: &[&str] = &["NoSchedule", "PreferNoSchedule", "NoExecute"];

/// Errors of tolerations: `ValidateTolerations`.
pub(crate) fn check_tolerations(list: &[Value], path: impl Display, errors: &mut Vec<FieldError>) {
    for (i, toleration) in list.iter().enumerate() {
        let path = || format!("{path}[{i}]");
        let (key, operator) = (text(toleration, "key"), text(toleration, "operator"));
        let (value, effect) = (text(toleration, "value"), text(toleration, "effect"));
        if !key.is_empty() {
            let problems = names::qualified_name(key).into_iter();
            errors
                .extend(problems.map(|why| FieldError::invalid(format!("{}.key", path()), &key.into(), why)));
        } else if operator != "Exists" {
            let why =
                "operator must be Exists when `key` is empty, which means \"match all values and all keys\"";
            errors.push(FieldError::invalid(format!("{}.operator", path()), &operator.into(), why));
        }
        if has(toleration, "tolerationSeconds") && effect != "NoExecute" {
            let why = "effect must be 'NoExecute' when `tolerationSeconds` is set";
            errors.push(FieldError::invalid(format!("{}.effect", path()), &effect.into(), why));
        }
        let place = || format!("{}.operator", path());
        match operator {
            "" | "Equal" => {
                let problems = names::label_value(value);
                if !problems.is_empty() {
                    errors.push(FieldError::invalid(place(), &value.into(), problems.join(";")));
                }
            }
            "Exists" => {
                if !value.is_empty() {
                    let why = "value must be empty when `operator` is 'Exists'";
                    errors.push(FieldError::invalid(place(), &value.into(), why));
                }
            }
            "Lt" | "Gt" => {
                let known = ["Equal", "Exists", "Lt", "Gt"];
                errors.push(FieldError::not_supported_in_order(place(), &operator.into(), &known));
            }
            _ => {
                let known = ["Equal", "Exists"];
                errors.push(FieldError::not_supported_in_order(place(), &operator.into(), &known));
            }
        }
        if !effect.is_empty() && !TAINT_EFFECTS.contains(&effect) {
            check_set_enum(toleration, "effect", path(), TAINT_EFFECTS, errors);
        }
    }
}

/// Errors of a Pod's affinity: `validateAffinity`.
pub(super) fn check_affinity(pod: &Spec, errors: &mut Vec<FieldError>) {
    let affinity = at(pod.spec, &["affinity"]);
    if affinity.is_null() {
        return;
    }
    let path = below(&pod.path, "affinity");
    let node = at(affinity, &["nodeAffinity"]);
    let place = below(&path, "nodeAffinity");
    if let Some(selector) = node.get(REQUIRED).filter(|selector| !selector.is_null()) {
        check_node_selector(selector, &format!("{place}.{REQUIRED}"), errors);
    }
    for (i, term) in items(node, PREFERRED).iter().enumerate() {
        let place = format!("{place}.{PREFERRED}[{i}]");
        check_weight(term, &place, errors);
        check_node_term(at(term, &["preference"]), false, &below(&place, "preference"), errors);
    }
    for kind in ["podAffinity", "podAntiAffinity"] {
        let pods = at(affinity, &[kind]);
        let place = format!("{path}.{kind}");
        for (i, term) in items(pods, REQUIRED).iter().enumerate() {
            check_pod_term(term, &format!("{place}.{REQUIRED}[{i}]"), errors);
        }
        for (i, term) in items(pods, PREFERRED).iter().enumerate() {
            let place = format!("{place}.{PREFERRED}[{i}]");
            check_weight(term, &place, errors);
            check_pod_term(at(term, &["podAffinityTerm"]), &below(&place, "podAffinityTerm"), errors);
        }
    }
}

fn check_weight(term: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let weight = number(term, "weight").unwrap_or(0);
    if !(1..=100).contains(&weight) {
        let why = "must be in the range 1-100";
        errors.push(FieldError::invalid(format!("{path}.weight"), &weight.into(), why));
    }
}

/// Errors of a selector of nodes: `ValidateNodeSelector`.
pub(crate) fn check_node_selector(selector: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let path = below(path, "nodeSelectorTerms");
    let terms = items(selector, "nodeSelectorTerms");
    if terms.is_empty() {
        errors.push(FieldError::required(path, "must have at least one node selector term"));
        return;
    }
    for (i, term) in terms.iter().enumerate() {
        check_node_term(term, true, &format!("{path}[{i}]"), errors);
    }
}

/// `strict` terms have label values only; what is preferred may say anything.
fn check_node_term(term: &Value, strict: bool, path: &str, errors: &mut Vec<FieldError>) {
    for (i, expression) in items(term, "matchExpressions").iter().enumerate() {
        let path = format!("{path}.matchExpressions[{i}]");
        let values = items(expression, "values");
        let place = below(&path, "values");
        match text(expression, "operator") {
            "In" | "NotIn" if values.is_empty() => {
                errors.push(FieldError::required(
                    place,
                    "must be specified when `operator` is 'In' or 'NotIn'",
                ));
            }
            "Exists" | "DoesNotExist" if !values.is_empty() => {
                let why = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
                errors.push(FieldError::forbidden(place, why));
            }
            "Gt" | "Lt" if values.len() != 1 => {
                let why = "must be specified single value when `operator` is 'Lt' or 'Gt'";
                errors.push(FieldError::required(place, why));
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" | "Gt" | "Lt" => {}
            other => {
                let why = "not a valid selector operator";
                errors.push(FieldError::invalid(format!("{path}.operator"), &other.into(), why));
            }
        }
        check_rule(text(expression, "key"), names::qualified_name, format_args!("{path}.key"), errors);
        for (j, value) in values.iter().enumerate().filter(|_| strict) {
            let value = value.as_str().unwrap_or("");
            check_rule(value, names::label_value, format_args!("{path}.values[{j}]"), errors);
        }
    }
    for (i, field) in items(term, "matchFields").iter().enumerate() {
        let path = format!("{path}.matchFields[{i}]");
        let values = items(field, "values");
        match text(field, "operator") {
            "In" | "NotIn" if values.len() != 1 => {
                let why = "must be only one value when `operator` is 'In' or 'NotIn' for node field selector";
                errors.push(FieldError::required(format!("{path}.values"), why));
            }
            "In" | "NotIn" => {}
            other => {
                let why = "not a valid selector operator";
                errors.push(FieldError::invalid(format!("{path}.operator"), &other.into(), why));
            }
        }
        let key = text(field, "key");
        if key != "metadata.name" {
            let why = "not a valid field selector key";
            errors.push(FieldError::invalid(format!("{path}.key"), &key.into(), why));
            continue;
        }
        for (j, value) in values.iter().enumerate() {
            let value = value.as_str().unwrap_or("");
            check_rule(value, names::dns1123_subdomain, format_args!("{path}.values[{j}]"), errors);
        }
    }
}

fn check_pod_term(term: &Value, path: &str, errors: &mut Vec<FieldError>) {
    for member in ["labelSelector", "namespaceSelector"] {
        check_label_selector(at(term, &[member]), &format!("{path}.{member}"), errors);
    }
    for name in items(term, "namespaces") {
        check_rule(
            name.as_str().unwrap_or(""),
            names::dns1123_label,
            format_args!("{path}.namespace"),
            errors,
        );
    }
    check_label_keys(term, path, errors);
    let key = text(term, "topologyKey");
    let place = below(path, "topologyKey");
    if key.is_empty() {
        errors.push(FieldError::required(&place, "can not be empty"));
    }
    check_rule(key, names::qualified_name, &place, errors);
}

/// Keys that become part of a selector: `ValidateMatchLabelKeysAndMismatchLabelKeys`.
fn check_label_keys(holder: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let selector = at(holder, &["labelSelector"]);
    for member in ["matchLabelKeys", "mismatchLabelKeys"] {
        let keys = items(holder, member);
        if selector.is_null() && !keys.is_empty() {
            let why = "must not be specified when labelSelector is not set";
            errors.push(FieldError::forbidden(format!("{path}.{member}"), why));
            continue;
        }
        for (i, key) in keys.iter().enumerate() {
            let key = key.as_str().unwrap_or("");
            check_rule(key, names::qualified_name, format_args!("{path}.{member}[{i}]"), errors);
        }
    }
    let keys = items(holder, "matchLabelKeys");
    let mut selected: Vec<&str> = at(selector, &["matchLabels"])
        .as_object()
        .into_iter()
        .flat_map(|map| map.keys().map(SmolStr::as_str))
        .collect();
    for expression in items(selector, "matchExpressions") {
        let key = text(expression, "key");
        // The server itself adds the first expression of such a key.
        if selected.contains(&key)
            && let Some(i) = keys.iter().rposition(|known| known == key)
        {
            let why = "exists in both matchLabelKeys and labelSelector";
            errors.push(FieldError::invalid(format!("{path}[{i}]"), &key.into(), why));
        }
        selected.push(key);
    }
    for (i, key) in keys.iter().enumerate() {
        if items(holder, "mismatchLabelKeys").contains(key) {
            let why = "exists in both matchLabelKeys and mismatchLabelKeys";
            errors.push(FieldError::invalid(format!("{path}.matchLabelKeys[{i}]"), key, why));
        }
    }
}

/// Errors of spread constraints: `validateTopologySpreadConstraints`.
pub(super) fn check_spread(pod: &Spec, errors: &mut Vec<FieldError>) {
    let constraints = items(pod.spec, "topologySpreadConstraints");
    for (i, constraint) in constraints.iter().enumerate() {
        let path = format!("{}.topologySpreadConstraints[{i}]", pod.path);
        let positive = |member: &str, value: i64| {
            (value <= 0).then(|| {
                FieldError::invalid(format!("{path}.{member}"), &value.into(), "must be greater than zero")
            })
        };
        errors.extend(positive("maxSkew", number(constraint, "maxSkew").unwrap_or(0)));
        let (key, action) = (text(constraint, "topologyKey"), text(constraint, "whenUnsatisfiable"));
        if key.is_empty() {
            errors.push(FieldError::required(format!("{path}.topologyKey"), "can not be empty"));
        }
        let actions = ["DoNotSchedule", "ScheduleAnyway"];
        check_set_enum(constraint, "whenUnsatisfiable", &path, &actions, errors);
        let again =
            |other: &Value| text(other, "topologyKey") == key && text(other, "whenUnsatisfiable") == action;
        if constraints.iter().skip(i + 1).any(again) {
            let shown = format!("{{{key}, {action}}}");
            let place = format!("{path}.{{topologyKey, whenUnsatisfiable}}");
            errors.push(FieldError::duplicate(place, &shown.into()));
        }
        if let Some(domains) = number(constraint, "minDomains") {
            errors.extend(positive("minDomains", domains));
            if action != "DoNotSchedule" {
                let why = format!("can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {action}");
                errors.push(FieldError::invalid(format!("{path}.minDomains"), &domains.into(), why));
            }
        }
        for member in ["nodeAffinityPolicy", "nodeTaintsPolicy"] {
            check_set_enum(constraint, member, &path, &["Honor", "Ignore"], errors);
        }
        check_label_keys(constraint, &path, errors);
        check_label_selector(at(constraint, &["labelSelector"]), &below(&path, "labelSelector"), errors);
    }
}

/// Errors of what the Pod waits for: `validateReadinessGates`, `validateSchedulingGates`.
pub(super) fn check_gates(pod: &Spec, errors: &mut Vec<FieldError>) {
    for (i, gate) in items(pod.spec, "readinessGates").iter().enumerate() {
        let path = format!("{}.readinessGates[{i}].conditionType", pod.path);
        check_rule(text(gate, "conditionType"), names::qualified_name, &path, errors);
    }
    let mut seen: Vec<&str> = Vec::new();
    for (i, gate) in items(pod.spec, "schedulingGates").iter().enumerate() {
        let path = format!("{}.schedulingGates[{i}]", pod.path);
        let name = text(gate, "name");
        check_rule(name, names::qualified_name, &path, errors);
        if seen.contains(&name) {
            errors.push(FieldError::duplicate(path, &name.into()));
        }
        seen.push(name);
    }
}

/// Errors of a taint's effect, which must be there.
pub(crate) fn check_taint_effect(taint: &Value, path: &str, errors: &mut Vec<FieldError>) {
    if require(taint, "effect", path, errors) {
        check_set_enum(taint, "effect", path, TAINT_EFFECTS, errors);
    }
}
