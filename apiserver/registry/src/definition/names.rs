//! The names of a definition and of what it defines.

use apiserver_json::Value;
use apiserver_meta::field::FieldError;

use super::label;
use crate::object;
use crate::strategy::shared::{items, text};

/// The definition's own name says what it defines.
pub(super) fn check_name(definition: &Value, errors: &mut Vec<FieldError>) {
    let spec = &definition["spec"];
    let wanted = format!("{}.{}", text(&spec["names"], "plural"), text(spec, "group"));
    for member in ["generateName", "name"] {
        let name = object::text(definition, member);
        if !name.is_empty() && name != wanted {
            let why = "must be spec.names.plural+\".\"+spec.group";
            errors.push(FieldError::invalid(format!("metadata.{member}"), &name.into(), why));
        }
    }
}

/// Errors of `spec.names`, of which some are needed.
pub(super) fn validate(spec: &Value, errors: &mut Vec<FieldError>) {
    let names = &spec["names"];
    for member in ["plural", "singular", "kind", "listKind"] {
        if text(names, member).is_empty() {
            errors.push(FieldError::required(format!("spec.names.{member}"), ""));
        }
    }
    check(names, "spec.names", errors);
}

/// Errors of the names that there are.
pub(super) fn check(names: &Value, path: &str, errors: &mut Vec<FieldError>) {
    for member in ["plural", "singular"] {
        let name = text(names, member);
        if !name.is_empty() {
            check_label(name, &format!("{path}.{member}"), errors);
        }
    }
    for member in ["kind", "listKind"] {
        let name = text(names, member);
        let problems = if name.is_empty() { Vec::new() } else { label(&name.to_lowercase()) };
        for problem in problems {
            let why = format!("may have mixed case, but should otherwise match: {problem}");
            errors.push(FieldError::invalid(format!("{path}.{member}"), &name.into(), why));
        }
    }
    for member in ["shortNames", "categories"] {
        for (i, name) in items(names, member).iter().enumerate() {
            check_label(name.as_str().unwrap_or(""), &format!("{path}.{member}[{i}]"), errors);
        }
    }
    let (kind, list_kind) = (text(names, "kind"), text(names, "listKind"));
    if !kind.is_empty() && kind == list_kind {
        let why = "kind and listKind may not be the same";
        errors.push(FieldError::invalid(format!("{path}.listKind"), &list_kind.into(), why));
    }
}

fn check_label(name: &str, path: &str, errors: &mut Vec<FieldError>) {
    errors.extend(label(name).into_iter().map(|why| FieldError::invalid(path, &name.into(), why)));
}
