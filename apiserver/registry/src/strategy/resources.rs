//! Requests and limits of containers and Pods, and the quantities in them: `validateResourceRequirements` upstream.

use std::fmt::{Arguments, Display};

use apiserver_json::Value;
use apiserver_meta::field::FieldError;
use apiserver_meta::{names, quantity};

use super::shared::{NOT_NEGATIVE, check_rule};

const CONTAINER_RESOURCES: &[&str] = &["cpu", "memory", "ephemeral-storage"];
/// Names without a domain that mean a resource somewhere.
const STANDARD: &[&str] = &[
    "configmaps",
    "cpu",
    "ephemeral-storage",
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "memory",
    "persistentvolumeclaims",
    "pods",
    "replicationcontrollers",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
    "requests.storage",
    "resourcequotas",
    "secrets",
    "services",
    "services.loadbalancers",
    "services.nodeports",
    "storage",
];
/// Those of them that count objects.
const COUNTS: &[&str] = &[
    "configmaps",
    "persistentvolumeclaims",
    "pods",
    "replicationcontrollers",
    "resourcequotas",
    "secrets",
    "services",
    "services.loadbalancers",
    "services.nodeports",
];

/// Errors of a container's `resources`.
pub(super) fn validate(resources: &Value, path: &str, errors: &mut Vec<FieldError>) {
    check(resources, |name, path, errors| check_container_name(name, path, errors), path, errors);
}

/// Errors of a Pod's own `resources`.
pub(super) fn validate_of_pod(resources: &Value, path: &str, errors: &mut Vec<FieldError>) {
    check(resources, |name, path, errors| check_pod_name(name, path, errors), path, errors);
}

/// May a Pod as a whole have this resource?
pub(super) fn is_of_pods(name: &str) -> bool {
    name == "cpu" || name == "memory" || is_huge(name)
}

fn is_huge(name: &str) -> bool {
    name.starts_with("hugepages-")
}

/// Is the resource the API's own, not somebody else's?
fn is_native(name: &str) -> bool {
    !name.contains('/') || name.contains("kubernetes.io/")
}

/// `example.com/gpu`, with room for a quota's `requests.` before it.
pub(super) fn is_extended(name: &str) -> bool {
    !is_native(name)
        && !name.starts_with("requests.")
        && names::qualified_name(&format!("requests.{name}")).is_empty()
}

/// May more of it be limited than is asked for?
pub(super) fn may_be_overcommitted(name: &str) -> bool {
    is_native(name) && !is_huge(name)
}

fn check(
    resources: &Value,
    check_name: fn(&str, Arguments<'_>, &mut Vec<FieldError>),
    path: &str,
    errors: &mut Vec<FieldError>,
) {
    let of = |list: &str| resources.get(list).and_then(Value::as_object);
    let (limits, requests) = (of("limits"), of("requests"));
    for (name, value) in limits.into_iter().flatten() {
        let path = format_args!("{path}.limits[{name}]");
        check_name(name, path, errors);
        check_quantity(name, value, path, errors);
        check_pages(name, value, path, errors);
    }
    for (name, request) in requests.into_iter().flatten() {
        let place = format_args!("{path}.requests[{name}]");
        check_name(name, place, errors);
        check_quantity(name, request, place, errors);
        let overcommits = may_be_overcommitted(name);
        match limits.and_then(|limits| limits.get(name)) {
            Some(limit) => {
                if let (Some(asked), Some(most)) = (quantity::parse(request), quantity::parse(limit)) {
                    let what = match (overcommits, asked > most, asked == most) {
                        (false, _, false) => "equal to",
                        (true, true, _) => "less than or equal to",
                        _ => "",
                    };
                    if !what.is_empty() {
                        let limit = as_text(limit);
                        let why = format!("must be {what} {name} limit of {}", limit.as_str().unwrap_or(""));
                        errors.push(FieldError::invalid(format!("{path}.requests"), &as_text(request), why));
                    }
                }
            }
            None if !overcommits => {
                let why = "Limit must be set for non overcommitable resources";
                errors.push(FieldError::required(format!("{path}.limits"), why));
            }
            None => {}
        }
        check_pages(name, request, place, errors);
    }
    let mut names = limits.into_iter().chain(requests).flat_map(|list| list.keys());
    if names.any(|name| is_huge(name)) {
        let mut names = limits.into_iter().chain(requests).flat_map(|list| list.keys());
        if !names.any(|name| name == "cpu" || name == "memory") {
            errors.push(FieldError::forbidden(path, "HugePages require cpu or memory"));
        }
    }
}

/// Errors of an amount: `ValidateResourceQuantityValue`.
pub(super) fn check_quantity(
    name: &str,
    value: &Value,
    path: impl Display + Copy,
    errors: &mut Vec<FieldError>,
) {
    let Some(amount) = quantity::parse(value) else { return };
    if amount < 0 {
        errors.push(FieldError::invalid(path.to_string(), &as_text(value), NOT_NEGATIVE));
    }
    if amount % 1000 != 0 && (COUNTS.contains(&name) || is_extended(name)) {
        errors.push(FieldError::invalid(path.to_string(), &as_text(value), "must be an integer"));
    }
}

fn check_pages(name: &str, value: &Value, path: impl Display + Copy, errors: &mut Vec<FieldError>) {
    let Some(size) = name.strip_prefix("hugepages-") else { return };
    let size = quantity::parse_text(size).filter(|size| *size > 0 && size % 1000 == 0);
    let divides = size.is_some_and(|size| quantity::parse(value).is_some_and(|amount| amount % size == 0));
    if !divides {
        let shown = as_text(value);
        let why = format!("{} is not positive integer multiple of {name}", shown.as_str().unwrap_or(""));
        errors.push(FieldError::invalid(path.to_string(), &shown, why));
    }
}

/// Errors of a resource's name: `validateResourceName`.
pub(super) fn check_name(name: &str, path: impl Display + Copy, errors: &mut Vec<FieldError>) {
    let before = errors.len();
    check_rule(name, names::qualified_name, path, errors);
    let is_known = STANDARD.contains(&name) || is_huge(name) || name.starts_with("requests.hugepages-");
    if errors.len() == before && !name.contains('/') && !is_known {
        let why = "must be a standard resource type or fully qualified";
        errors.push(FieldError::invalid(path.to_string(), &name.into(), why));
    }
}

pub(super) fn check_container_name(name: &str, path: impl Display + Copy, errors: &mut Vec<FieldError>) {
    check_name(name, path, errors);
    let why = if !name.contains('/') {
        match CONTAINER_RESOURCES.contains(&name) || is_huge(name) {
            true => return,
            false => "must be a standard resource for containers",
        }
    } else if is_native(name) || is_extended(name) {
        return;
    } else {
        "doesn't follow extended resource name standard"
    };
    errors.push(FieldError::invalid(path.to_string(), &name.into(), why));
}

fn check_pod_name(name: &str, path: impl Display + Copy, errors: &mut Vec<FieldError>) {
    let before = errors.len();
    check_name(name, path, errors);
    if errors.len() == before && !is_of_pods(name) {
        errors.push(FieldError::not_supported(
            path.to_string(),
            &name.into(),
            &["cpu", "hugepages-", "memory"],
        ));
    }
}

/// Errors of a quota's resource: `ValidateResourceQuotaResourceName`.
pub(super) fn check_quota_name(name: &str, path: impl Display + Copy, errors: &mut Vec<FieldError>) {
    check_name(name, path, errors);
    let is_known = STANDARD.contains(&name) && name != "storage";
    if !name.contains('/') && !is_known && !is_huge(name) && !name.starts_with("requests.hugepages-") {
        errors.push(FieldError::invalid(
            path.to_string(),
            &name.into(),
            "must be a standard resource for quota",
        ));
    }
}

fn as_text(value: &Value) -> Value {
    match value {
        Value::String(_) => value.clone(),
        other => Value::String(other.to_string().into()),
    }
}
