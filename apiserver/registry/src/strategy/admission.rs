//! ValidatingAdmissionPolicies: their shape, and that their expressions compile. Bindings of all policies.

use apiserver_json::{Value, json};
use apiserver_meta::field::FieldError;
use apiserver_meta::names;

use super::shared::{
    at, at_mut, check_required, check_rule, default, invalid_as, items, items_mut, keep_status, text,
};
use super::{PLAIN, Strategy, match_resources};

pub(super) static POLICY: Strategy = Strategy {
    status_keeps: super::ALL_KEPT,
    update_checks: super::order::METADATA_FIRST,
    default: |policy| {
        default_match(policy.pointer_mut("/spec/matchConstraints"));
        if let Some(spec) = at_mut(policy, &["spec"]) {
            default(spec, "failurePolicy", "Fail");
        }
    },
    prepare_create: |policy| policy["status"] = json!({}),
    prepare_update: keep_status,
    validate_create: validate_policy,
    validate_update: |policy, _| validate_policy(policy),
    validate_status: |policy, _| {
        let mut errors = Vec::new();
        super::conditions::check(at(policy, &["status"]), "status", &mut errors);
        errors
    },
    status: true,
    generation: true,
    unconditional_update: false,
    standard_finalizers: false,
    ..PLAIN
};

pub(super) static BINDING: Strategy = Strategy {
    update_checks: super::order::METADATA_FIRST,
    validate_create: validate_binding,
    validate_update: |binding, _| validate_binding(binding),
    ..BINDING_RULES
};

const BINDING_RULES: Strategy = Strategy {
    default: |binding| default_match(binding.pointer_mut("/spec/matchResources")),
    generation: true,
    unconditional_update: false,
    standard_finalizers: false,
    ..PLAIN
};

pub(super) static MUTATING_BINDING: Strategy = Strategy {
    update_checks: super::order::METADATA_FIRST,
    validate_create: validate_mutating_binding,
    validate_update: |binding, _| validate_mutating_binding(binding),
    ..BINDING_RULES
};

fn default_match(constraints: Option<&mut Value>) {
    let Some(constraints) = constraints else { return };
    for list in ["resourceRules", "excludeResourceRules"] {
        for rule in items_mut(constraints, list) {
            if let Some(rule) = rule.as_object_mut() {
                default(rule, "scope", "*");
            }
        }
    }
    if let Some(map) = constraints.as_object_mut() {
        default(map, "matchPolicy", "Equivalent");
        default(map, "namespaceSelector", json!({}));
        default(map, "objectSelector", json!({}));
    }
}

pub(super) static MUTATING_POLICY: Strategy = Strategy {
    update_checks: super::order::METADATA_FIRST,
    default: POLICY.default,
    validate_create: validate_mutating_policy,
    validate_update: |policy, _| validate_mutating_policy(policy),
    ..BINDING_RULES
};

/// What is deleted cannot be changed.
const MUTABLE: &[&str] = &["*", "CONNECT", "CREATE", "UPDATE"];

fn check_operations(constraints: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let rules = items(constraints, "resourceRules").iter();
    for operation in rules.flat_map(|rule| items(rule, "operations")) {
        if !MUTABLE.contains(&operation.as_str().unwrap_or("")) {
            errors.push(FieldError::not_supported(
                format!("{path}.resourceRules.operations"),
                operation,
                MUTABLE,
            ));
        }
    }
}

fn validate_mutating_policy(policy: &Value) -> Vec<FieldError> {
    let spec = at(policy, &["spec"]);
    let mut errors = Vec::new();
    check_shape(spec, &mut errors);
    check_operations(at(spec, &["matchConstraints"]), "spec.matchConstraints", &mut errors);
    errors.extend(apiserver_cel::mutating_policy_errors(spec));
    let (again, path) = (text(spec, "reinvocationPolicy"), "spec.reinvocationPolicy");
    if again.is_empty() {
        errors.push(FieldError::required(path, ""));
    } else if !["IfNeeded", "Never"].contains(&again) {
        errors.push(FieldError::not_supported(path, &again.into(), &["IfNeeded", "Never"]));
    }
    errors
}

/// Errors of what policies of both kinds say: what follows from a failure, the parameters, what they match.
fn check_shape(spec: &Value, errors: &mut Vec<FieldError>) {
    let policy_text = text(spec, "failurePolicy");
    if !["Fail", "Ignore"].contains(&policy_text) {
        errors.push(FieldError::not_supported(
            "spec.failurePolicy",
            &policy_text.into(),
            &["Fail", "Ignore"],
        ));
    }
    let param_kind = at(spec, &["paramKind"]);
    if param_kind.is_object() {
        match_resources::check_param_kind(param_kind, "spec.paramKind", errors);
    }
    let constraints = at(spec, &["matchConstraints"]);
    if constraints.is_null() {
        errors.push(FieldError::required("spec.matchConstraints", ""));
    } else {
        match_resources::check(constraints, "spec.matchConstraints", errors);
        if items(constraints, "resourceRules").is_empty() {
            errors.push(FieldError::required("spec.matchConstraints.resourceRules", ""));
        }
    }
}

fn validate_policy(policy: &Value) -> Vec<FieldError> {
    let spec = at(policy, &["spec"]);
    let mut errors = Vec::new();
    check_shape(spec, &mut errors);
    if items(spec, "validations").is_empty() && items(spec, "auditAnnotations").is_empty() {
        let why = "validations or auditAnnotations must contain at least one item";
        errors.push(FieldError::required("spec.validations", why));
        errors.push(FieldError::required("spec.auditAnnotations", why));
    }
    let (of_annotations, others) = apiserver_cel::policy_errors(spec)
        .into_iter()
        .partition(|error| error.field.starts_with("spec.auditAnnotations["));
    errors.extend::<Vec<_>>(others);
    check_annotations(policy, items(spec, "auditAnnotations"), of_annotations, &mut errors);
    errors
}

/// Annotations of the audit log are named after their policy; `expressions` is what is wrong with their expressions.
fn check_annotations(
    policy: &Value,
    annotations: &[Value],
    expressions: Vec<FieldError>,
    errors: &mut Vec<FieldError>,
) {
    let mut expressions = expressions.into_iter().peekable();
    const MAX: usize = 20;
    if annotations.len() > MAX {
        let (path, why) =
            ("spec.auditAnnotations", format!("must not have more than {MAX} auditAnnotations"));
        let go_type = "[admissionregistration.AuditAnnotation";
        errors.push(invalid_as(go_type, path, &annotations.into(), why));
    }
    for (i, annotation) in annotations.iter().enumerate() {
        let (key, path) = (text(annotation, "key"), format!("spec.auditAnnotations[{i}].key"));
        let whole = format!("{}/{key}", crate::object::name(policy));
        check_rule(&whole, names::qualified_name, &path, errors);
        if annotations[..i].iter().any(|other| text(other, "key") == key) {
            errors.push(FieldError::duplicate(path, &key.into()));
        }
        let own = format!("spec.auditAnnotations[{i}].");
        errors.extend(std::iter::from_fn(|| expressions.next_if(|error| error.field.starts_with(&own))));
    }
    errors.extend(expressions);
}

/// Errors of what bindings of both kinds say: the policy, its parameters and what they match.
fn check_binding(spec: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    check_required(spec, "policyName", names::dns1123_subdomain, "spec", &mut errors);
    for (member, check) in [
        ("paramRef", match_resources::check_param_ref as fn(&Value, &str, &mut Vec<FieldError>)),
        ("matchResources", match_resources::check),
    ] {
        if at(spec, &[member]).is_object() {
            check(at(spec, &[member]), &format!("spec.{member}"), &mut errors);
        }
    }
    errors
}

fn validate_mutating_binding(binding: &Value) -> Vec<FieldError> {
    let spec = at(binding, &["spec"]);
    let mut errors = check_binding(spec);
    check_operations(at(spec, &["matchResources"]), "spec.matchResources", &mut errors);
    errors
}

fn validate_binding(binding: &Value) -> Vec<FieldError> {
    let spec = at(binding, &["spec"]);
    let actions = items(spec, "validationActions");
    let mut errors = check_binding(spec);
    if actions.is_empty() {
        errors.push(FieldError::required(
            "spec.validationActions",
            "at least one validation action is required",
        ));
    }
    for (i, action) in actions.iter().enumerate() {
        if !["Audit", "Deny", "Warn"].contains(&action.as_str().unwrap_or("")) {
            errors.push(FieldError::not_supported(
                format!("spec.validationActions[{i}]"),
                action,
                &["Audit", "Deny", "Warn"],
            ));
        }
        if actions[..i].contains(action) {
            errors.push(FieldError::duplicate(format!("spec.validationActions[{i}]"), action));
        }
    }
    if actions.contains(&json!("Deny")) && actions.contains(&json!("Warn")) {
        errors.push(FieldError::invalid(
            "spec.validationActions",
            &json!(actions),
            "must not contain both Deny and Warn (repeating the same validation failure information in the API response and headers serves no purpose)",
        ));
    }
    errors
}
