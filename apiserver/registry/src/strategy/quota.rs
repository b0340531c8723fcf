//! ResourceQuotas: `ValidateResourceQuotaSpec` upstream.

use apiserver_json::{Value, json};
use apiserver_meta::field::FieldError;

use super::resources::{check_quantity, check_quota_name};
use super::shared::{at, go_struct, items, keep_status, text};
use super::{PLAIN, Strategy};

pub(super) static RESOURCE_QUOTA: Strategy = Strategy {
    prepare_create: |quota| quota["status"] = json!({}),
    prepare_update: keep_status,
    validate_create: validate,
    validate_update: |new, old| {
        let mut errors = validate(new);
        let scopes = |quota: &Value| {
            let mut scopes: Vec<String> =
                items(at(quota, &["spec"]), "scopes").iter().map(Value::to_string).collect();
            scopes.sort();
            scopes.dedup();
            scopes
        };
        if scopes(new) != scopes(old) {
            let shown = at(new, &["spec", "scopes"]);
            errors.push(FieldError::invalid("spec.scopes", shown, "field is immutable"));
        }
        errors
    },
    validate_status: |new, _| {
        let mut errors = Vec::new();
        check_amounts(at(new, &["status"]), "hard", "status", &mut errors);
        check_amounts(at(new, &["status"]), "used", "status", &mut errors);
        errors
    },
    status: true,
    delete_returns_object: true,
    ..PLAIN
};

fn check_amounts(holder: &Value, member: &str, path: &str, errors: &mut Vec<FieldError>) {
    for (name, value) in at(holder, &[member]).as_object().into_iter().flatten() {
        let path = format!("{path}.{member}[{name}]");
        check_quota_name(name, &path, errors);
        check_quantity(name, value, &path, errors);
    }
}

const PODS: &[&str] =
    &["cpu", "limits.cpu", "limits.memory", "memory", "pods", "requests.cpu", "requests.memory"];
/// (scope, resources of the quota's own that it may be about).
const SCOPES: &[(&str, &[&str])] = &[
    ("BestEffort", &["pods"]),
    ("CrossNamespacePodAffinity", PODS),
    ("NotBestEffort", PODS),
    ("NotTerminating", PODS),
    ("PriorityClass", PODS),
    ("Terminating", PODS),
    ("VolumeAttributesClass", &["persistentvolumeclaims", "requests.storage"]),
];
const CONFLICTS: [[&str; 2]; 2] = [["BestEffort", "NotBestEffort"], ["NotTerminating", "Terminating"]];

/// How many of the quota's resources a scope says nothing of.
fn misfits(spec: &Value, scope: &str) -> usize {
    let Some((_, about)) = SCOPES.iter().find(|(known, _)| *known == scope) else { return 0 };
    let hard = at(spec, &["hard"]).as_object();
    let is_standard = |name: &str| {
        let mut errors = Vec::new();
        check_quota_name(name, "", &mut errors);
        errors.is_empty() && !name.contains('/')
    };
    hard.into_iter()
        .flatten()
        .filter(|(name, _)| is_standard(name) && !about.contains(&name.as_str()))
        .count()
}

fn validate(quota: &Value) -> Vec<FieldError> {
    let spec = at(quota, &["spec"]);
    let mut errors = Vec::new();
    check_amounts(spec, "hard", "spec", &mut errors);
    let scopes = items(spec, "scopes");
    let mut wrong = |why: &str| errors.push(FieldError::invalid("spec.scopes", &json!(scopes), why));
    for scope in scopes.iter().filter_map(Value::as_str) {
        if !SCOPES.iter().any(|(known, _)| *known == scope) {
            wrong("unsupported scope");
        }
        for _ in 0..misfits(spec, scope) {
            wrong("unsupported scope applied to resource");
        }
    }
    for pair in CONFLICTS {
        if pair.iter().all(|scope| scopes.contains(&json!(scope))) {
            wrong("conflicting scopes");
        }
    }
    check_selector(spec, &mut errors);
    errors
}

fn check_selector(spec: &Value, errors: &mut Vec<FieldError>) {
    let path = "spec.scopeSelector.matchExpressions";
    let selector = at(spec, &["scopeSelector"]);
    let expressions = items(selector, "matchExpressions");
    for expression in expressions {
        let (scope, operator) = (text(expression, "scopeName"), text(expression, "operator"));
        let values = items(expression, "values");
        if !SCOPES.iter().any(|(known, _)| *known == scope) {
            errors.push(FieldError::invalid(format!("{path}.scopeName"), &scope.into(), "unsupported scope"));
        }
        for _ in 0..misfits(spec, scope) {
            let members = [("ScopeName", "scopeName"), ("Operator", "operator"), ("Values", "values")];
            let shown: Vec<String> = expressions.iter().map(|one| go_struct(one, &members)).collect();
            errors.push(FieldError {
                value: format!("{{\"MatchExpressions\":[{}]}}", shown.join(",")),
                ..FieldError::invalid(path, selector, "unsupported scope applied to resource")
            });
        }
        if !matches!(scope, "PriorityClass" | "VolumeAttributesClass")
            && SCOPES.iter().any(|(known, _)| *known == scope)
            && operator != "Exists"
        {
            let why = "must be 'Exists' when scope is any of ResourceQuotaScopeTerminating, ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity";
            errors.push(FieldError::invalid(format!("{path}.operator"), &operator.into(), why));
        }
        match operator {
            "In" | "NotIn" if values.is_empty() => {
                let why = "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector";
                errors.push(FieldError::required(format!("{path}.values"), why));
            }
            "Exists" | "DoesNotExist" if !values.is_empty() => {
                let why = "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector";
                errors.push(FieldError::invalid(format!("{path}.values"), &json!(values), why));
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            _ => {
                let why = "not a valid selector operator";
                errors.push(FieldError::invalid(format!("{path}.operator"), &operator.into(), why));
            }
        }
    }
    for pair in CONFLICTS {
        if pair.iter().all(|scope| expressions.iter().any(|one| text(one, "scopeName") == *scope)) {
            errors.push(FieldError::invalid(path, at(spec, &["scopes"]), "conflicting scopes"));
        }
    }
}
