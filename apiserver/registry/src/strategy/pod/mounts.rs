//! Where containers see volumes: mounts and block devices.

use std::fmt::Arguments;

use apiserver_json::Value;
use apiserver_meta::field::FieldError;

use super::super::shared::{at, check_set_enum, has, is_true, items, require, text};
use super::Spec;
use super::paths::check_relative;

/// Errors of mounts: `ValidateVolumeMounts`.
pub(super) fn check_mounts(container: &Value, path: &str, pod: &Spec, errors: &mut Vec<FieldError>) {
    let list = format_args!("{path}.volumeMounts");
    let devices = items(container, "volumeDevices");
    let mut seen: Vec<&str> = Vec::new();
    for (i, mount) in items(container, "volumeMounts").iter().enumerate() {
        let path = format_args!("{list}[{i}]");
        let (name, place) = (text(mount, "name"), text(mount, "mountPath"));
        require(mount, "name", path, errors);
        if !pod.volumes.iter().any(|(known, _)| *known == name) {
            errors.push(FieldError::not_found(format!("{path}.name"), &name.into()));
        }
        require(mount, "mountPath", path, errors);
        let mut wrong = |member: &str, value: &str, why: &str| {
            errors.push(FieldError::invalid(format!("{path}.{member}"), &value.into(), why));
        };
        if seen.contains(&place) {
            wrong("mountPath", place, "must be unique");
        }
        seen.push(place);
        if devices.iter().any(|device| text(device, "name") == name) {
            wrong("name", name, "must not already exist in volumeDevices");
        }
        if devices.iter().any(|device| text(device, "devicePath") == place) {
            wrong("mountPath", place, "must not already exist as a path in volumeDevices");
        }
        let (sub_path, expression) = (text(mount, "subPath"), text(mount, "subPathExpr"));
        check_relative(sub_path, format_args!("{list}.subPath"), errors);
        if !expression.is_empty() && !sub_path.is_empty() {
            let why = "subPathExpr and subPath are mutually exclusive";
            errors.push(FieldError::invalid(format!("{path}.subPathExpr"), &expression.into(), why));
        }
        check_relative(expression, format_args!("{list}.subPathExpr"), errors);
        check_propagation(mount, container, list, errors);
    }
}

fn check_propagation(mount: &Value, container: &Value, path: Arguments<'_>, errors: &mut Vec<FieldError>) {
    check_set_enum(mount, "mountPropagation", path, &["Bidirectional", "HostToContainer", "None"], errors);
    let propagation = text(mount, "mountPropagation");
    let privileged = is_true(at(container, &["securityContext"]), "privileged");
    if propagation == "Bidirectional" && !privileged {
        let why = "Bidirectional mount propagation is available only to privileged containers";
        errors.push(FieldError::forbidden(format!("{path}.mountPropagation"), why));
    }
    let member = "recursiveReadOnly";
    match mount.get(member).and_then(Value::as_str) {
        Some("Enabled" | "IfPossible") => {
            if !is_true(mount, "readOnly") {
                let why = "may only be specified when readOnly is true";
                errors.push(FieldError::forbidden(format!("{path}.{member}"), why));
            }
            if !matches!(mount.get("mountPropagation").and_then(Value::as_str), None | Some("None")) {
                let why = "may only be specified when mountPropagation is None or not specified";
                errors.push(FieldError::forbidden(format!("{path}.{member}"), why));
            }
        }
        _ => check_set_enum(mount, member, path, &["Disabled", "Enabled", "IfPossible"], errors),
    }
}

/// Errors of devices: `ValidateVolumeDevices`.
pub(super) fn check_devices(container: &Value, path: &str, pod: &Spec, errors: &mut Vec<FieldError>) {
    let mounts = items(container, "volumeMounts");
    let (mut names_seen, mut paths_seen): (Vec<&str>, Vec<&str>) = (Vec::new(), Vec::new());
    for (i, device) in items(container, "volumeDevices").iter().enumerate() {
        let path = format!("{path}.volumeDevices[{i}]");
        let (name, place) = (text(device, "name"), text(device, "devicePath"));
        let wrong = |member: &str, value: &str, why: &str| {
            FieldError::invalid(format!("{path}.{member}"), &value.into(), why)
        };
        require(device, "name", &path, errors);
        if names_seen.contains(&name) {
            errors.push(wrong("name", name, "must be unique"));
        }
        match pod.volumes.iter().find(|(known, _)| *known == name) {
            None => errors.push(FieldError::not_found(format!("{path}.name"), &name.into())),
            Some((_, volume)) if !has(volume, "persistentVolumeClaim") && !has(volume, "ephemeral") => {
                let why =
                    "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode";
                errors.push(wrong("name", name, why));
            }
            Some(_) => {}
        }
        require(device, "devicePath", &path, errors);
        if paths_seen.contains(&place) {
            errors.push(wrong("devicePath", place, "must be unique"));
        }
        if place.split('/').any(|part| part == "..") {
            errors.push(wrong("devicePath", place, "can not contain backsteps ('..')"));
        } else {
            paths_seen.push(place);
        }
        if mounts.iter().any(|mount| text(mount, "name") == name) {
            errors.push(wrong("name", name, "must not already exist in volumeMounts"));
        }
        if mounts.iter().any(|mount| text(mount, "mountPath") == place) {
            errors.push(wrong("devicePath", place, "must not already exist as a path in volumeMounts"));
        }
        if !name.is_empty() {
            names_seen.push(name);
        }
    }
}
