//! Kinds with few rules of their own: RuntimeClass, ControllerRevision, IngressClass.

use apiserver_json::{Value, json};
use apiserver_meta::field::FieldError;
use apiserver_meta::names;

use super::pod::scheduling::check_tolerations;
use super::shared::{
    at, at_mut, check_immutable, check_immutable_as, check_not_negative, check_required, check_rule,
    check_set_enum, default, has, invalid_as, items, text,
};
use super::{PLAIN, Strategy, resources};

/// `pkg/apis/node/validation`.
pub(super) static RUNTIME_CLASS: Strategy = Strategy {
    update_checks: super::order::NEW_THEN_CHANGES,
    standard_finalizers: false,
    validate_create: validate_class,
    validate_fields: |new, _| validate_class(new),
    validate_update: |new, old| {
        let mut errors = Vec::new();
        check_immutable(at(new, &["handler"]), at(old, &["handler"]), "handler", &mut errors);
        errors
    },
    create_on_update: true,
    unconditional_update: false,
    ..PLAIN
};

fn validate_class(class: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    match text(class, "handler") {
        "" => errors.push(FieldError::required("handler", "")),
        handler => check_rule(handler, names::dns1123_label, "handler", &mut errors),
    }
    if let Some(overhead) = class.get("overhead") {
        let limits = json!({"limits": at(overhead, &["podFixed"])});
        resources::validate(&limits, "overhead", &mut errors);
    }
    let scheduling = at(class, &["scheduling"]);
    let selector = scheduling.get("nodeSelector");
    crate::object::validate_labels(selector, "scheduling.nodeSelector", &mut errors);
    let tolerations = items(scheduling, "tolerations");
    check_tolerations(tolerations, "scheduling.tolerations", &mut errors);
    for (i, toleration) in tolerations.iter().enumerate() {
        if tolerations[..i].contains(toleration) {
            let path = format!("scheduling.tolerations[{i}]");
            let shown = invalid_as("core.Toleration", "", toleration, "").value;
            errors.push(FieldError { value: shown, ..FieldError::duplicate(path, toleration) });
        }
    }
    errors
}

/// `ValidateControllerRevisionCreate`.
pub(super) static CONTROLLER_REVISION: Strategy = Strategy {
    update_checks: super::order::CHANGES_THEN_METADATA,
    validate_create: |revision| {
        let mut errors = Vec::new();
        check_not_negative(revision, "revision", "revision", &mut errors);
        match at(revision, &["data"]) {
            Value::Null => errors.push(FieldError::required("data", "data is mandatory")),
            Value::Object(_) => {}
            _ => errors.push(FieldError::required("data", "data must be a valid JSON object")),
        }
        errors
    },
    validate_update: |new, old| {
        let mut errors = Vec::new();
        check_not_negative(new, "revision", "revision", &mut errors);
        check_immutable(at(new, &["data"]), at(old, &["data"]), "data", &mut errors);
        errors
    },
    ..PLAIN
};

/// Bytes of an ingress controller's name.
const CONTROLLER_MAX: usize = 250;

/// `ValidateIngressClass`.
pub(super) static INGRESS_CLASS: Strategy = Strategy {
    update_checks: super::order::CHANGES_THEN_NEW,
    default: |class| {
        if let Some(parameters) = at_mut(class, &["spec", "parameters"]) {
            default(parameters, "scope", "Cluster");
        }
    },
    validate_create: validate_ingress_class,
    validate_update: |class, old| {
        let mut errors = Vec::new();
        let (new, before) = (at(class, &["spec", "controller"]), at(old, &["spec", "controller"]));
        check_immutable_as("s", new, before, "spec.controller", &mut errors);
        errors
    },
    validate_fields: |class, _| validate_ingress_class(class),
    generation: true,
    ..PLAIN
};

fn validate_ingress_class(class: &Value) -> Vec<FieldError> {
    let spec = at(class, &["spec"]);
    let mut errors = Vec::new();
    let controller = text(spec, "controller");
    if controller.len() > CONTROLLER_MAX {
        errors.push(FieldError::too_long("spec.controller", CONTROLLER_MAX));
    }
    super::job::check_domain_path(controller, "spec.controller", &mut errors);
    let parameters = at(spec, &["parameters"]);
    if parameters.is_null() {
        return errors;
    }
    let path = "spec.parameters";
    if let Some(group) = parameters.get("apiGroup").and_then(Value::as_str) {
        check_rule(group, names::dns1123_subdomain, format_args!("{path}.apiGroup"), &mut errors);
    }
    for member in ["kind", "name"] {
        check_required(parameters, member, names::path_segment, path, &mut errors);
    }
    let namespace = format!("{path}.namespace");
    match (text(parameters, "scope"), has(parameters, "namespace")) {
        ("Namespace", false) => {
            errors.push(FieldError::required(namespace, "`parameters.scope` is set to 'Namespace'"));
        }
        ("Namespace", true) => {
            check_rule(text(parameters, "namespace"), names::dns1123_label, &namespace, &mut errors);
        }
        ("Cluster", true) => {
            errors.push(FieldError::forbidden(namespace, "`parameters.scope` is set to 'Cluster'"));
        }
        ("Cluster", false) => {}
        _ => check_set_enum(parameters, "scope", path, &["Cluster", "Namespace"], &mut errors),
    }
    errors
}
