//! Requests and limits of containers, and the quantities in them.

use apiserver_meta::field::FieldError;
use apiserver_meta::{names, quantity};
use serde_json::Value;

use super::shared::NOT_NEGATIVE;

const CONTAINER_RESOURCES: &[&str] = &["cpu", "memory", "ephemeral-storage"];

/// Errors of a container's `resources`.
pub(super) fn validate(resources: &Value, path: &str, errors: &mut Vec<FieldError>) {
    for list in ["limits", "requests"] {
        for (name, value) in resources.get(list).and_then(Value::as_object).into_iter().flatten() {
            let path = format!("{path}.{list}[{name}]");
            validate_name(name, &path, errors);
            if quantity::parse(value).is_some_and(|amount| amount < 0) {
                errors.push(FieldError::invalid(&path, &as_text(value), NOT_NEGATIVE));
            }
        }
    }
    let limits = resources.get("limits").and_then(Value::as_object);
    for (name, request) in resources.get("requests").and_then(Value::as_object).into_iter().flatten() {
        let Some(limit) = limits.and_then(|limits| limits.get(name)) else { continue };
        if let (Some(request_amount), Some(limit_amount)) = (quantity::parse(request), quantity::parse(limit))
            && request_amount > limit_amount
        {
            let limit_text = as_text(limit);
            errors.push(FieldError::invalid(
                format!("{path}.requests"),
                &as_text(request),
                format!(
                    "must be less than or equal to {name} limit of {}",
                    limit_text.as_str().unwrap_or("")
                ),
            ));
        }
    }
}

fn validate_name(name: &str, path: &str, errors: &mut Vec<FieldError>) {
    for problem in names::qualified_name(name) {
        errors.push(FieldError::invalid(path, &name.into(), problem));
    }
    if !name.contains('/') && !CONTAINER_RESOURCES.contains(&name) && !name.starts_with("hugepages-") {
        errors.push(FieldError::invalid(
            path,
            &name.into(),
            "must be a standard resource type or fully qualified",
        ));
        errors.push(FieldError::invalid(path, &name.into(), "must be a standard resource for containers"));
    }
}

fn as_text(value: &Value) -> Value {
    match value {
        Value::String(_) => value.clone(),
        other => Value::String(other.to_string()),
    }
}
