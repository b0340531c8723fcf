//! Paths within volumes, and the modes of files there.

use std::fmt::Display;

use apiserver_json::Value;
use apiserver_meta::field::FieldError;

use super::super::shared::number;

/// No part of the path may be `..`.
pub(crate) fn check_no_backsteps(value: &str, path: impl Display + Copy, errors: &mut Vec<FieldError>) {
    if value.split('/').any(|part| part == "..") {
        errors.push(FieldError::invalid(path.to_string(), &value.into(), "must not contain '..'"));
    }
}

/// A path below something: relative, and without steps back. `validateLocalDescendingPath` upstream.
pub(super) fn check_relative(value: &str, path: impl Display + Copy, errors: &mut Vec<FieldError>) {
    if value.starts_with('/') {
        errors.push(FieldError::invalid(path.to_string(), &value.into(), "must be a relative path"));
    }
    check_no_backsteps(value, path, errors);
}

/// As [`check_relative`], and no name of the kubelet's own: `ValidateLocalNonReservedPath` upstream.
pub(super) fn check_local(value: &str, path: impl Display + Copy, errors: &mut Vec<FieldError>) {
    check_relative(value, path, errors);
    if value.starts_with("..") && !value.starts_with("../") {
        errors.push(FieldError::invalid(path.to_string(), &value.into(), "must not start with '..'"));
    }
}

/// Permission bits of a file.
pub(super) fn check_file_mode(
    object: &Value,
    member: &str,
    path: impl Display + Copy,
    errors: &mut Vec<FieldError>,
) {
    if let Some(mode) = number(object, member)
        && !(0..=0o777).contains(&mode)
    {
        let why = "must be a number between 0 and 0777 (octal), both inclusive";
        errors.push(FieldError::invalid(format!("{path}.{member}"), &mode.into(), why));
    }
}
