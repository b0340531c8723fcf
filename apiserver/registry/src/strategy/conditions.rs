//! Conditions of the kind that many statuses share: `ValidateConditions` of `metav1` upstream.

use std::collections::HashSet;

use apiserver_json::Value;
use apiserver_meta::field::FieldError;
use apiserver_meta::names;

use super::shared::{check_rule, has, items, number, text};

const REASON_BYTES_MAX: usize = 1024;
const MESSAGE_BYTES_MAX: usize = 32 * 1024;
const BAD_REASON: &str = "a condition reason must start with alphabetic character, optionally followed by a string of alphanumeric characters or '_,:', and must end with an alphanumeric character or '_' (e.g. 'my_name',  or 'MY_NAME',  or 'MyName',  or 'ReasonA,ReasonB',  or 'ReasonA:ReasonB', regex used for validation is '[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?')";

/// Errors of the conditions that an object holds at `path`.
pub(super) fn check(holder: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let mut seen = HashSet::new();
    for (i, condition) in items(holder, "conditions").iter().enumerate() {
        let path = format!("{path}.conditions[{i}]");
        let kind = text(condition, "type");
        if !seen.insert(kind) {
            errors.push(FieldError::duplicate(format!("{path}.type"), &kind.into()));
        }
        check_rule(kind, names::qualified_name, format_args!("{path}.type"), errors);
        let (status, known) = (text(condition, "status"), ["False", "True", "Unknown"]);
        if !known.contains(&status) {
            errors.push(FieldError::not_supported(format!("{path}.status"), &status.into(), &known));
        }
        if let Some(generation) = number(condition, "observedGeneration").filter(|number| *number < 0) {
            let why = "must be greater than or equal to zero";
            errors.push(FieldError::invalid(format!("{path}.observedGeneration"), &generation.into(), why));
        }
        if !has(condition, "lastTransitionTime") {
            errors.push(FieldError::required(format!("{path}.lastTransitionTime"), ""));
        }
        check_reason(text(condition, "reason"), format!("{path}.reason"), errors);
        if text(condition, "message").len() > MESSAGE_BYTES_MAX {
            errors.push(FieldError::too_long(format!("{path}.message"), MESSAGE_BYTES_MAX));
        }
    }
}

fn check_reason(reason: &str, path: String, errors: &mut Vec<FieldError>) {
    if reason.is_empty() {
        errors.push(FieldError::required(path, ""));
        return;
    }
    let inner = |c: char| c.is_ascii_alphanumeric() || "_,:".contains(c);
    let is_good = reason.starts_with(|c: char| c.is_ascii_alphabetic())
        && reason.ends_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
        && reason.chars().all(inner);
    if !is_good {
        errors.push(FieldError::invalid(path.as_str(), &reason.into(), BAD_REASON));
    }
    if reason.len() > REASON_BYTES_MAX {
        errors.push(FieldError::too_long(path, REASON_BYTES_MAX));
    }
}

#[cfg(test)]
mod tests {
    use apiserver_json::json;

    use super::*;

    #[test]
    fn conditions_say_what_when_and_why() {
        let good = json!({"type": "Ready", "status": "True", "lastTransitionTime": "2024-01-01T00:00:00Z", "reason": "Up_"});
        for (change, want) in [
            (json!({}), &[][..]),
            (json!({"type": "a b"}), &["status.conditions[0].type"]),
            (json!({"status": "true"}), &["status.conditions[0].status"]),
            (json!({"observedGeneration": -1}), &["status.conditions[0].observedGeneration"]),
            (
                json!({"lastTransitionTime": null, "reason": ""}),
                &["status.conditions[0].lastTransitionTime", "status.conditions[0].reason"],
            ),
            (json!({"reason": "1st"}), &["status.conditions[0].reason"]),
        ] {
            let mut condition = good.clone();
            for (member, value) in change.as_object().unwrap() {
                condition[member] = value.clone();
            }
            let mut errors = Vec::new();
            check(&json!({"conditions": [condition]}), "status", &mut errors);
            let told: Vec<&str> = errors.iter().map(|error| &*error.field).collect();
            assert_eq!(told, want, "{change}");
        }
        let mut errors = Vec::new();
        check(&json!({"conditions": [good, good]}), "status", &mut errors);
        assert_eq!(errors.len(), 1);
        let many: Vec<Value> = (0..3).flat_map(|_| [good.clone(), json!({"type": "Other"})]).collect();
        let mut errors = Vec::new();
        check(&json!({"conditions": many}), "status", &mut errors);
        let twice = errors.iter().filter(|error| error.problem == apiserver_meta::field::Problem::Duplicate);
        let told: Vec<&str> = twice.map(|error| &*error.field).collect();
        assert_eq!(told, [2, 3, 4, 5].map(|i| format!("status.conditions[{i}].type")));
    }
}
