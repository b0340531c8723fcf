//! APIServices: `pkg/apis/apiregistration/validation` upstream.

use apiserver_json::{Value, json};
use apiserver_meta::field::FieldError;
use apiserver_meta::{base64, names};

use super::shared::{
    at, check_optional, check_rule, default, has, is_true, items, keep_status, number, require, text,
};
use super::{PLAIN, Strategy};
use crate::object;

pub(super) static API_SERVICE: Strategy = Strategy {
    status_keeps: super::ALL_KEPT,
    update_checks: super::order::CHANGES_THEN_METADATA,
    default: |api| {
        if let Some(service) = super::shared::at_mut(api, &["spec", "service"]) {
            default(service, "port", 443);
        }
    },
    prepare_create: |api| {
        api["status"] = json!({});
        if !has(&api["spec"], "service") {
            // Served by this server, hence at once.
            api["status"]["conditions"] = json!([{
                "type": "Available", "status": "True", "lastTransitionTime": crate::registry::now(),
                "reason": "Local", "message": "Local APIServices are always available",
            }]);
        }
    },
    prepare_update: keep_status,
    validate_create: validate,
    validate_update: |new, _| validate(new),
    validate_status: |new, _| {
        let mut errors = Vec::new();
        for (i, condition) in items(&new["status"], "conditions").iter().enumerate() {
            let (path, said) = (format!("status.conditions[{i}].status"), text(condition, "status"));
            let known = ["True", "False", "Unknown"];
            if !known.contains(&said) {
                errors.push(FieldError::not_supported_in_order(path, &said.into(), &known));
            }
        }
        errors
    },
    name_rule: names::path_segment,
    status: true,
    unconditional_update: false,
    standard_finalizers: false,
    ..PLAIN
};

fn validate(api: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let spec = at(api, &["spec"]);
    let (group, version) = (text(spec, "group"), text(spec, "version"));
    let (name, wanted) = (object::name(api), format!("{version}.{group}"));
    if !name.is_empty() && name != wanted && names::path_segment(name).is_empty() {
        let why = format!("must be `spec.version+\".\"+spec.group`: {wanted:?}");
        errors.push(FieldError::invalid("metadata.name", &name.into(), why));
    }
    if group.is_empty() && version != "v1" {
        let why = "only v1 may have an empty group and it better be legacy kube";
        errors.push(FieldError::required("spec.group", why));
    }
    check_optional(spec, "group", names::dns1123_subdomain, "spec", &mut errors);
    check_rule(version, crate::definition::label, "spec.version", &mut errors);
    for (member, most) in [("groupPriorityMinimum", 20000), ("versionPriority", 1000)] {
        let value = number(spec, member).unwrap_or(0);
        if !(1..=most).contains(&value) {
            let why = format!("must be positive and less than {most}");
            errors.push(FieldError::invalid(format!("spec.{member}"), &value.into(), why));
        }
    }
    let bundle = base64::decode(text(spec, "caBundle")).map_or(0, |bytes| bytes.len());
    let insecure = is_true(spec, "insecureSkipTLSVerify");
    let skips = |why: &str| FieldError::invalid("spec.insecureSkipTLSVerify", &true.into(), why);
    if !has(spec, "service") {
        if bundle > 0 {
            let (shown, why) = (format!("{bundle} bytes"), "local APIServices may not have a caBundle");
            errors.push(FieldError::invalid("spec.caBundle", &shown.into(), why));
        }
        if insecure {
            errors.push(skips("local APIServices may not have insecureSkipTLSVerify"));
        }
        return errors;
    }
    let service = &spec["service"];
    require(service, "namespace", "spec.service", &mut errors);
    require(service, "name", "spec.service", &mut errors);
    let port = number(service, "port").unwrap_or(0);
    if !(1..=65535).contains(&port) {
        let why = format!("port is not valid: {}", super::shared::PORT_RANGE);
        errors.push(FieldError::invalid("spec.service.port", &port.into(), why));
    }
    if insecure && bundle > 0 {
        errors.push(skips("may not be true if caBundle is present"));
    }
    errors
}
