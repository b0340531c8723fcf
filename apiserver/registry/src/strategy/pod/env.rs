//! Environment variables and what they are taken from: `ValidateEnv`, `ValidateEnvFrom` upstream.

use std::fmt::Display;

use apiserver_json::Value;
use apiserver_meta::field::FieldError;
use apiserver_meta::{names, quantity};

use super::super::shared::{
    at, below, check_optional, check_required, check_rule, has, items, require, text,
};
use super::Spec;
use super::paths::check_no_backsteps;

/// Fields of a Pod a variable may show.
const ENV_FIELDS: &[&str] = &[
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];
/// Fields of a Pod a file of a volume may show.
pub(super) const VOLUME_FIELDS: &[&str] =
    &["metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid"];
/// Fields the API knows, though not everything may show them.
const KNOWN_FIELDS: &[&str] =
    &["metadata.annotations", "metadata.labels", "spec.restartPolicy", "spec.schedulerName", "status.phase"];
const RESOURCES: &[&str] = &[
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
];
const DIVISORS: &[&str] =
    &["1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei"];

/// Errors of a container's variables.
pub(super) fn check(container: &Value, path: &str, errors: &mut Vec<FieldError>) {
    for (i, variable) in items(container, "env").iter().enumerate() {
        let name = text(variable, "name");
        let source = variable.get("valueFrom").filter(|source| !source.is_null());
        // Of most there is nothing to say, and there may be many.
        if source.is_none() && !name.is_empty() && names::env_var_name(name).is_empty() {
            continue;
        }
        let path = format!("{path}.env[{i}]");
        check_required(variable, "name", names::env_var_name, &path, errors);
        if let Some(source) = source {
            check_source(source, text(variable, "value"), &below(&path, "valueFrom"), errors);
        }
    }
    for (i, source) in items(container, "envFrom").iter().enumerate() {
        let list = below(path, "envFrom");
        let path = format!("{list}[{i}]");
        check_optional(source, "prefix", names::env_var_name, &path, errors);
        let mut found = 0;
        for kind in ["configMapRef", "secretRef"] {
            if let Some(named) = source.get(kind).filter(|named| !named.is_null()) {
                found += 1;
                let path = format!("{path}.{kind}");
                check_required(named, "name", names::dns1123_subdomain_prefix, &path, errors);
            }
        }
        let why = match found {
            0 => "must specify one of: `configMapRef` or `secretRef`",
            1 => continue,
            _ => "may not have more than one field specified at a time",
        };
        errors.push(FieldError::invalid(list, &"".into(), why));
    }
}

fn check_source(source: &Value, value: &str, path: &str, errors: &mut Vec<FieldError>) {
    let kinds = ["fieldRef", "resourceFieldRef", "configMapKeyRef", "secretKeyRef", "fileKeyRef"];
    let mut found = 0;
    for kind in kinds {
        let Some(reference) = source.get(kind).filter(|reference| !reference.is_null()) else { continue };
        let path = format!("{path}.{kind}");
        found += 1;
        match kind {
            "fieldRef" => check_field_ref(reference, ENV_FIELDS, &path, errors),
            "resourceFieldRef" => check_resource_ref(reference, false, &path, errors),
            "fileKeyRef" => check_file_key(reference, &path, errors),
            _ => {
                let name = text(reference, "name");
                check_rule(name, names::dns1123_subdomain, format_args!("{path}.name"), errors);
                check_required(reference, "key", names::config_map_key, &path, errors);
            }
        }
    }
    let why = match found {
        0 => {
            "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`"
        }
        _ if !value.is_empty() => "may not be specified when `value` is not empty",
        1 => return,
        _ => "may not have more than one field specified at a time",
    };
    errors.push(FieldError::invalid(path, &"".into(), why));
}

fn check_file_key(reference: &Value, path: &str, errors: &mut Vec<FieldError>) {
    check_required(reference, "key", names::env_var_name, path, errors);
    check_required(reference, "volumeName", names::dns1123_label, path, errors);
    if require(reference, "path", path, errors) {
        check_no_backsteps(text(reference, "path"), &below(path, "path"), errors);
    }
}

/// Splits `metadata.labels['a']`.
fn subscripted(field: &str) -> Option<(&str, &str)> {
    let (name, subscript) = field.strip_suffix("']")?.split_once("['")?;
    (!name.is_empty()).then_some((name, subscript))
}

/// Errors of a reference to a field of the Pod: `validateObjectFieldSelector`.
pub(super) fn check_field_ref(
    reference: &Value,
    allowed: &[&str],
    path: impl Display + Copy,
    errors: &mut Vec<FieldError>,
) {
    if !require(reference, "apiVersion", path, errors) || !require(reference, "fieldPath", path, errors) {
        return;
    }
    let (version, field) = (text(reference, "apiVersion"), text(reference, "fieldPath"));
    let mut unknown = |why: String| {
        let why = format!("error converting fieldPath: {why}");
        errors.push(FieldError::invalid(format!("{path}.fieldPath"), &field.into(), why));
    };
    if version != "v1" {
        return unknown(format!("unsupported pod version: {version}"));
    }
    match subscripted(field) {
        Some(("metadata.annotations", key)) => {
            let key = key.to_lowercase();
            check_rule(&key, names::qualified_name, path, errors);
        }
        Some(("metadata.labels", key)) => check_rule(key, names::qualified_name, path, errors),
        Some(_) => unknown(format!("field label does not support subscript: {field}")),
        None => {
            let shown = if field == "spec.host" { "spec.nodeName" } else { field };
            if !ENV_FIELDS.contains(&shown) && !KNOWN_FIELDS.contains(&shown) {
                unknown(format!("field label not supported: {field}"));
            } else if !allowed.contains(&shown) {
                let path = format!("{path}.fieldPath");
                errors.push(FieldError::not_supported(path.to_string(), &shown.into(), allowed));
            }
        }
    }
}

/// Errors of a reference to a container's resources: `validateContainerResourceFieldSelector`.
pub(super) fn check_resource_ref(
    reference: &Value,
    of_volume: bool,
    path: impl Display + Copy,
    errors: &mut Vec<FieldError>,
) {
    let resource = text(reference, "resource");
    let is_huge = resource.starts_with("limits.hugepages-") || resource.starts_with("requests.hugepages-");
    if of_volume && !require(reference, "containerName", path, errors) {
        // Nothing is said of the resource then.
    } else if require(reference, "resource", path, errors) && !RESOURCES.contains(&resource) && !is_huge {
        errors.push(FieldError::not_supported(format!("{path}.resource"), &resource.into(), RESOURCES));
    }
    let divisor = at(reference, &["divisor"]);
    if quantity::parse(divisor).unwrap_or(0) == 0 {
        return;
    }
    let divisor = divisor.as_str().unwrap_or("");
    let memory = "only divisor's values 1, 1k, 1M, 1G, 1T, 1P, 1E, 1Ki, 1Mi, 1Gi, 1Ti, 1Pi, 1Ei are supported with the";
    let (good, why) = match resource {
        "limits.cpu" | "requests.cpu" => (
            ["1m", "1"].contains(&divisor),
            "only divisor's values 1m and 1 are supported with the cpu resource".to_owned(),
        ),
        "limits.memory" | "requests.memory" => {
            (DIVISORS.contains(&divisor), format!("{memory} memory resource"))
        }
        "limits.ephemeral-storage" | "requests.ephemeral-storage" => {
            (DIVISORS.contains(&divisor), format!("{memory} local ephemeral storage resource"))
        }
        _ if is_huge => (DIVISORS.contains(&divisor), format!("{memory} hugepages resource")),
        _ => return,
    };
    if !good {
        errors.push(FieldError::invalid(format!("{path}.divisor"), &resource.into(), why));
    }
}

/// Files of variables live in an emptyDir: `validateFileKeyRefVolumes`.
pub(super) fn check_file_volumes(pod: &Spec, errors: &mut Vec<FieldError>) {
    for (container, path) in pod.containers() {
        for (i, variable) in items(container, "env").iter().enumerate() {
            let Some(reference) = variable.get("valueFrom").and_then(|from| from.get("fileKeyRef")) else {
                continue;
            };
            let name = text(reference, "volumeName");
            let path = format!("{path}.env[{i}].valueFrom.fileKeyRef.volumeName");
            match items(pod.spec, "volumes").iter().rev().find(|volume| text(volume, "name") == name) {
                None => errors.push(FieldError::not_found(path, &name.into())),
                Some(volume) if !has(volume, "emptyDir") => {
                    let why = "referenced volume must be of type emptyDir";
                    errors.push(FieldError::invalid(path, &name.into(), why));
                }
                Some(_) => {}
            }
        }
    }
}
