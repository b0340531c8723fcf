//! Projected volumes and files of the downward API.

use std::fmt::Display;

use apiserver_json::Value;
use apiserver_meta::field::FieldError;

use super::super::shared::{has, items, require, text};
use super::Spec;
use super::env::{VOLUME_FIELDS, check_field_ref, check_resource_ref};
use super::paths::{check_file_mode, check_local};
use super::volumes::{check_key_path, check_token_lifetime};

/// Errors of a projected volume: `validateProjectionSources`.
pub(super) fn check(volume: &Value, path: &str, _: &Spec, errors: &mut Vec<FieldError>) {
    check_file_mode(volume, "defaultMode", path, errors);
    let mut taken: Vec<&str> = Vec::new();
    for (i, source) in items(volume, "sources").iter().enumerate() {
        let place = format_args!("{path}.sources[{i}]");
        for kind in ["secret", "configMap"] {
            let Some(named) = source.get(kind) else { continue };
            let place = format_args!("{place}.{kind}");
            require(named, "name", place, errors);
            for (j, item) in items(named, "items").iter().enumerate() {
                check_key_path(item, format_args!("{place}.items[{j}]"), errors);
                take(&mut taken, text(item, "path"), text(named, "name"), path, errors);
            }
        }
        for file in source.get("downwardAPI").map_or(&[][..], |api| items(api, "items")) {
            check_downward_file(file, format_args!("{place}.downwardAPI"), errors);
            take(&mut taken, text(file, "path"), text(file, "path"), path, errors);
        }
        if let Some(token) = source.get("serviceAccountToken") {
            check_token_lifetime(token, format_args!("{place}.serviceAccountToken"), errors);
            if require(token, "path", path, errors) {
                check_local(text(token, "path"), format_args!("{path}.path"), errors);
            }
        }
        let kinds = ["secret", "configMap", "downwardAPI", "serviceAccountToken"];
        if kinds.iter().filter(|kind| has(source, kind)).count() > 1 {
            let why = "may not specify more than 1 volume type per source";
            errors.push(FieldError::forbidden(place.to_string(), why));
        }
    }
}

/// Two sources may not write one file.
fn take<'a>(taken: &mut Vec<&'a str>, file: &'a str, shown: &str, path: &str, errors: &mut Vec<FieldError>) {
    if file.is_empty() {
        return;
    }
    if taken.contains(&file) {
        errors.push(FieldError::invalid(path, &shown.into(), "conflicting duplicate paths"));
    } else {
        taken.push(file);
    }
}

/// Errors of a file of the downward API; its path is that of the volume, as upstream has it.
pub(super) fn check_downward_file(file: &Value, path: impl Display + Copy, errors: &mut Vec<FieldError>) {
    require(file, "path", path, errors);
    check_local(text(file, "path"), format_args!("{path}.path"), errors);
    match (file.get("fieldRef"), file.get("resourceFieldRef")) {
        (Some(field), resource) => {
            check_field_ref(field, VOLUME_FIELDS, format_args!("{path}.fieldRef"), errors);
            if resource.is_some() {
                let why = "fieldRef and resourceFieldRef can not be specified simultaneously";
                errors.push(FieldError::invalid(path.to_string(), &"resource".into(), why));
            }
        }
        (None, Some(resource)) => {
            check_resource_ref(resource, true, format_args!("{path}.resourceFieldRef"), errors);
        }
        (None, None) => {
            errors.push(FieldError::required(
                path.to_string(),
                "one of fieldRef and resourceFieldRef is required",
            ));
        }
    }
    check_file_mode(file, "mode", path, errors);
}
