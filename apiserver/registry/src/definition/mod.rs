//! What a custom resource definition must be: `apiextensions-apiserver/pkg/apis/apiextensions/validation`.
//!
//! Upstream checks its internal type, into which it moves what all versions say alike: errors of that are told of
//! `spec.validation`, `spec.subresources` and so on.

pub mod conditions;
mod conversion;
mod defaults;
mod internal;
mod members;
mod names;
mod status;
mod versions;

use apiserver_json::{Value, json};
use apiserver_meta::field::FieldError;
use apiserver_meta::names::{dns1035_label, dns1123_subdomain};

pub(crate) use conversion::bundle_problem;

use crate::object;
use crate::strategy::shared::{default_text, items, text};
use crate::strategy::{PLAIN, Strategy};

pub(crate) static DEFINITION: Strategy = Strategy {
    default: fill_in,
    prepare_create: status::begin,
    prepare_update: status::keep,
    validate_create: |definition| {
        let mut errors = Vec::new();
        names::check_name(definition, &mut errors);
        validate(definition, None, &mut errors);
        errors
    },
    validate_update: |definition, old| {
        let mut errors = Vec::new();
        validate(definition, Some(old), &mut errors);
        errors
    },
    validate_status: |definition, _| {
        let mut errors = Vec::new();
        names::check(&definition["status"]["acceptedNames"], "status.acceptedNames", &mut errors);
        errors
    },
    warnings: versions::warnings,
    status: true,
    generation: true,
    unconditional_update: false,
    standard_finalizers: false,
    ..PLAIN
};

/// Defaults: the other names, the conversion, the version that is stored.
fn fill_in(definition: &mut Value) {
    let stored = storage_version(definition);
    let Some(spec) = definition.get_mut("spec").and_then(Value::as_object_mut) else { return };
    conversion::fill_in(spec);
    if let Some(names) = spec.get_mut("names").and_then(Value::as_object_mut) {
        let kind = names.get("kind").and_then(Value::as_str).unwrap_or("").to_owned();
        if !kind.is_empty() {
            default_text(names, "singular", &kind.to_lowercase());
            default_text(names, "listKind", &format!("{kind}List"));
        }
    }
    let status = object::member_mut(definition, "status");
    if items(&Value::Object(status.clone()), "storedVersions").is_empty()
        && let Some(stored) = stored
    {
        status.insert("storedVersions".into(), json!([stored]));
    }
}

/// The name of the first version that is to be stored.
fn storage_version(definition: &Value) -> Option<String> {
    let mut versions = items(&definition["spec"], "versions").iter();
    let stored = versions.find(|version| version["storage"] == Value::Bool(true))?;
    Some(text(stored, "name").to_owned())
}

/// Upstream's older copies of the rules, of which one error is made, and whose lengths are of characters.
fn problem(value: &str, rule: fn(&str) -> Vec<String>) -> Option<String> {
    let problems = rule(value);
    (!problems.is_empty()).then(|| problems.join(",").replace(" bytes", " characters"))
}

/// A DNS label of RFC 1035, as [`problem`] has it.
pub(crate) fn label(value: &str) -> Vec<String> {
    problem(value, dns1035_label).into_iter().collect()
}

fn validate(definition: &Value, old: Option<&Value>, errors: &mut Vec<FieldError>) {
    let spec = &definition["spec"];
    validate_place(spec, errors);
    let has_defaults = || {
        let versions = items(spec, "versions").iter();
        versions.filter_map(|version| version.pointer("/schema/openAPIV3Schema")).any(defaults::has_some)
    };
    if spec["preserveUnknownFields"] == Value::Bool(true) && has_defaults() {
        let why = "must be false in order to use defaults in the schema";
        errors.push(FieldError::invalid("spec.preserveUnknownFields", &true.into(), why));
    }
    let hoisted = versions::Hoisted::of(items(spec, "versions"));
    versions::validate(spec, old, &hoisted, errors);
    names::validate(spec, errors);
    versions::validate_hoisted(spec, old, &hoisted, errors);
    conversion::validate(definition, old, errors);
    if let Some(old) = old {
        validate_change(definition, old, errors);
    }
    status::validate(definition, old, errors);
    validate_approval(definition, old, errors);
    let preserves = |definition: &Value| definition["spec"]["preserveUnknownFields"] == Value::Bool(true);
    if preserves(definition) && !old.is_some_and(preserves) {
        let why = "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead";
        errors.push(FieldError::invalid("spec.preserveUnknownFields", &true.into(), why));
    }
}

/// Errors of group and scope.
fn validate_place(spec: &Value, errors: &mut Vec<FieldError>) {
    let group = text(spec, "group");
    if group.is_empty() {
        errors.push(FieldError::required("spec.group", ""));
    } else if let Some(why) = problem(group, dns1123_subdomain) {
        errors.push(FieldError::invalid("spec.group", &group.into(), why));
    } else if !group.contains('.') {
        let why = "should be a domain with at least one dot";
        errors.push(FieldError::invalid("spec.group", &group.into(), why));
    }
    match text(spec, "scope") {
        "" => errors.push(FieldError::required("spec.scope", "")),
        "Cluster" | "Namespaced" => {}
        other => {
            errors.push(FieldError::not_supported("spec.scope", &other.into(), &["Cluster", "Namespaced"]));
        }
    }
}

/// Errors of what may not change: the place of objects in the store at all, their kind once they are served.
fn validate_change(definition: &Value, old: &Value, errors: &mut Vec<FieldError>) {
    let members: [(&str, &str, bool); 4] = [
        ("/spec/scope", "spec.scope", true),
        ("/spec/names/kind", "spec.names.kind", true),
        ("/spec/group", "spec.group", false),
        ("/spec/names/plural", "spec.names.plural", false),
    ];
    let is_served = crate::custom::has_condition(old, "Established");
    for (pointer, field, once_served) in members {
        let at =
            |definition: &Value| definition.pointer(pointer).and_then(Value::as_str).unwrap_or("").to_owned();
        if at(definition) != at(old) && (is_served || !once_served) {
            errors.push(FieldError::invalid(field, &at(definition).into(), "field is immutable"));
        }
    }
}

/// Groups of the Kubernetes project need somebody's word for it.
fn validate_approval(definition: &Value, old: Option<&Value>, errors: &mut Vec<FieldError>) {
    if !is_protected(definition) {
        return;
    }
    let said = approval_annotation(definition);
    let state = approval(said);
    if old.is_some_and(|old| approval(approval_annotation(old)) == state) {
        return;
    }
    let field = format!("metadata.annotations[{APPROVAL}]");
    match state {
        Approval::Given | Approval::Bypassed => {}
        Approval::Missing => {
            errors.push(FieldError::required(field, format!("{}, {SEE}", missing_approval())));
        }
        Approval::Invalid => {
            let why = format!("{}, {SEE}", invalid_approval());
            errors.push(FieldError::invalid(field, &said.into(), why));
        }
    }
}

const APPROVAL: &str = "api-approved.kubernetes.io";
const SEE: &str = "see https://github.com/kubernetes/enhancements/pull/1111";

fn missing_approval() -> String {
    format!("protected groups must have approval annotation {APPROVAL:?}")
}

fn invalid_approval() -> String {
    format!("{} with either a URL or a reason starting with \"unapproved\"", missing_approval())
}

/// Is the group one of the Kubernetes project?
fn is_protected(definition: &Value) -> bool {
    let group = format!(".{}", text(&definition["spec"], "group"));
    [".k8s.io", ".kubernetes.io"].iter().any(|end| group.ends_with(end))
}

fn approval_annotation(definition: &Value) -> &str {
    text(&definition["metadata"]["annotations"], APPROVAL)
}

#[derive(PartialEq)]
enum Approval {
    Given,
    Bypassed,
    Missing,
    Invalid,
}

fn approval(annotation: &str) -> Approval {
    let (scheme, rest) = annotation.split_once("://").unwrap_or(("", ""));
    let is_url = !scheme.is_empty() && !rest.split('/').next().unwrap_or("").is_empty();
    match annotation {
        "" => Approval::Missing,
        text if text.starts_with("unapproved") => Approval::Bypassed,
        _ if is_url => Approval::Given,
        _ => Approval::Invalid,
    }
}

#[cfg(test)]
mod tests;
