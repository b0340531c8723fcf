//! Volume sources that Pods and PersistentVolumes have in common: what each must say.

use apiserver_json::Value;
use apiserver_meta::field::FieldError;
use apiserver_meta::names;

use super::super::shared::{
    at, check_optional, check_range, check_required, has, is_true, items, number, require, text,
};

/// Members that must say something, by source.
const REQUIRED: &[(&str, &[&str])] = &[
    ("glusterfs", &["endpoints", "path"]),
    ("rbd", &["monitors", "image"]),
    ("cephfs", &["monitors"]),
    ("azureFile", &["secretName", "shareName"]),
    ("vsphereVolume", &["volumePath"]),
    ("photonPersistentDisk", &["pdID"]),
    ("portworxVolume", &["volumeID"]),
    ("scaleIO", &["gateway", "system", "volumeName"]),
];

/// Errors of members a source lacks.
pub(crate) fn require_all(kind: &str, source: &Value, path: &str, errors: &mut Vec<FieldError>) {
    for (_, members) in REQUIRED.iter().filter(|(known, _)| *known == kind) {
        for member in *members {
            require(source, member, path, errors);
        }
    }
}

fn check_partition(source: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let partition = number(source, "partition").unwrap_or(0);
    if !(0..=255).contains(&partition) {
        let why = "must be between 1 and 255, inclusive";
        errors.push(FieldError::invalid(format!("{path}.partition"), &partition.into(), why));
    }
}

pub(crate) fn gce_disk(source: &Value, path: &str, errors: &mut Vec<FieldError>) {
    require(source, "pdName", path, errors);
    check_partition(source, path, errors);
}

pub(crate) fn aws_disk(source: &Value, path: &str, errors: &mut Vec<FieldError>) {
    require(source, "volumeID", path, errors);
    check_partition(source, path, errors);
}

pub(crate) fn nfs(source: &Value, path: &str, errors: &mut Vec<FieldError>) {
    require(source, "server", path, errors);
    require(source, "path", path, errors);
    let directory = text(source, "path");
    if !directory.starts_with('/') {
        let why = "must be an absolute path";
        errors.push(FieldError::invalid(format!("{path}.path"), &directory.into(), why));
    }
}

pub(crate) const INITIATOR_TOO_LONG: &str = "Total length of <volume name>:<iscsi.targetPortal> must be under 64 characters if iscsi.initiatorName is specified.";

/// Why a qualified name of iSCSI is none; `of_pod` words it as the check of Pods does.
fn iscsi_problem(name: &str, of_pod: bool) -> Option<&'static str> {
    let fixed = |digits: usize| {
        name.len() == digits + 4
            && name.get(4..).is_some_and(|rest| rest.bytes().all(|b| b.is_ascii_alphanumeric()))
    };
    let good = match name.get(..3) {
        Some("iqn") => is_iqn(name),
        Some("eui") => fixed(16),
        Some("naa") => fixed(32),
        _ if of_pod => return Some("must be valid format starting with iqn, eui, or naa"),
        _ => false,
    };
    (!good).then_some("must be valid format")
}

/// `iqn.yyyy-mm.reversed.domain:name`.
fn is_iqn(name: &str) -> bool {
    let Some((domain, unique)) = name.strip_prefix("iqn.").and_then(|rest| rest.split_once(':')) else {
        return false;
    };
    let digits = |text: Option<&str>, count: usize| {
        text.is_some_and(|text| text.len() == count && text.bytes().all(|byte| byte.is_ascii_digit()))
    };
    digits(domain.get(..4), 4)
        && domain.get(4..5) == Some("-")
        && digits(domain.get(5..7), 2)
        && domain.get(7..8) == Some(".")
        && domain.len() > 8
        && domain.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.')
        && !unique.is_empty()
        && !unique.contains(|c: char| ",;*&$|".contains(c) || c.is_ascii_whitespace())
}

/// Errors of an iSCSI target, in a Pod or in the PersistentVolume of that name.
pub(crate) fn iscsi(source: &Value, path: &str, volume: Option<&str>, errors: &mut Vec<FieldError>) {
    require(source, "targetPortal", path, errors);
    let portal = text(source, "targetPortal");
    if has(source, "initiatorName") && volume.is_some_and(|name| name.len() + 1 + portal.len() > 64) {
        let place = format!("{path}.targetportal");
        errors.push(FieldError::invalid(place, &portal.into(), INITIATOR_TOO_LONG));
    }
    if require(source, "iqn", path, errors)
        && let Some(why) = iscsi_problem(text(source, "iqn"), volume.is_none())
    {
        errors.push(FieldError::invalid(format!("{path}.iqn"), &text(source, "iqn").into(), why));
    }
    check_range(source, "lun", (0, 255), path, errors);
    let chap = is_true(source, "chapAuthDiscovery") || is_true(source, "chapAuthSession");
    if chap && !has(source, "secretRef") {
        errors.push(FieldError::required(format!("{path}.secretRef"), ""));
    }
    if volume.is_some() && has(source, "secretRef") {
        require(at(source, &["secretRef"]), "name", format_args!("{path}.secretRef"), errors);
    }
    if let Some(name) = source.get("initiatorName").and_then(Value::as_str)
        && let Some(why) = iscsi_problem(name, volume.is_none())
    {
        errors.push(FieldError::invalid(format!("{path}.initiatorname"), &name.into(), why));
    }
}

pub(crate) fn flocker(source: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let (name, uuid) = (text(source, "datasetName"), text(source, "datasetUUID"));
    if name.is_empty() && uuid.is_empty() {
        errors.push(FieldError::required(path, "one of datasetName and datasetUUID is required"));
    }
    if !name.is_empty() && !uuid.is_empty() {
        let why = "datasetName and datasetUUID can not be specified simultaneously";
        errors.push(FieldError::invalid(path, &"resource".into(), why));
    }
    if name.contains('/') {
        let why = "must not contain '/'";
        errors.push(FieldError::invalid(format!("{path}.datasetName"), &name.into(), why));
    }
}

pub(crate) fn cinder(source: &Value, path: &str, errors: &mut Vec<FieldError>) {
    require(source, "volumeID", path, errors);
    if let Some(secret) = source.get("secretRef") {
        require(secret, "name", format_args!("{path}.secretRef"), errors);
    }
}

pub(crate) fn quobyte(source: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let why = "must be a host:port pair or multiple pairs separated by commas";
    let registry = text(source, "registry");
    if registry.is_empty() {
        errors.push(FieldError::required(format!("{path}.registry"), why));
    } else if text(source, "tenant").len() >= 65 {
        let why = "must be a UUID and may not exceed a length of 64 characters";
        errors.push(FieldError::required(format!("{path}.tenant"), why));
    } else {
        for _ in registry.split(',').filter(|pair| pair.matches(':').count() != 1) {
            errors.push(FieldError::invalid(format!("{path}.registry"), &registry.into(), why));
        }
    }
    require(source, "volume", path, errors);
}

pub(crate) fn fc(source: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let place = format!("{path}.targetWWNs");
    let names = items(source, "targetWWNs");
    match (names.is_empty(), items(source, "wwids").is_empty()) {
        (true, true) => {
            let why = "must specify either targetWWNs or wwids, but not both";
            errors.push(FieldError::required(place, why));
        }
        (false, false) => {
            let why = "targetWWNs and wwids can not be specified simultaneously";
            errors.push(FieldError::invalid(place, at(source, &["targetWWNs"]), why));
        }
        _ => {}
    }
    if names.is_empty() {
        return;
    }
    if has(source, "lun") {
        check_range(source, "lun", (0, 255), path, errors);
    } else {
        let why = "lun is required if targetWWNs is specified";
        errors.push(FieldError::required(format!("{path}.lun"), why));
    }
}

pub(crate) fn flex(source: &Value, path: &str, errors: &mut Vec<FieldError>) {
    require(source, "driver", path, errors);
    for key in source.get("options").and_then(Value::as_object).into_iter().flat_map(|map| map.keys()) {
        let domain = format!(".{}", key.split('/').next().unwrap_or(key).to_lowercase());
        if domain.ends_with(".kubernetes.io") || domain.ends_with(".k8s.io") {
            let why = "kubernetes.io and k8s.io namespaces are reserved";
            let place = format!("{path}.options[{key}]");
            errors.push(FieldError::invalid(place, &key.as_str().into(), why));
        }
    }
}

pub(crate) fn azure_disk(source: &Value, path: &str, errors: &mut Vec<FieldError>) {
    require(source, "diskName", path, errors);
    require(source, "diskURI", path, errors);
    for (member, allowed) in
        [("cachingMode", &["None", "ReadOnly", "ReadWrite"]), ("kind", &["Dedicated", "Managed", "Shared"])]
    {
        super::super::shared::check_set_enum(source, member, path, allowed, errors);
    }
    let Some(kind) = source.get("kind").and_then(Value::as_str) else { return };
    let (start, shape) = if kind == "Managed" {
        (
            "/subscriptions/",
            "/subscriptions/{sub-id}/resourcegroups/{group-name}/providers/microsoft.compute/disks/{disk-id}",
        )
    } else {
        ("https://", "https://{account-name}.blob.core.windows.net/{container-name}/{disk-name}.vhd")
    };
    let uri = text(source, "diskURI");
    if !uri.starts_with(start) {
        errors.push(FieldError::not_supported(format!("{path}.diskURI"), &uri.into(), &[shape]));
    }
}

pub(crate) fn storage_os(source: &Value, path: &str, errors: &mut Vec<FieldError>) {
    check_required(source, "volumeName", names::dns1123_label, path, errors);
    check_optional(source, "volumeNamespace", names::dns1123_label, path, errors);
    if let Some(secret) = source.get("secretRef") {
        require(secret, "name", format_args!("{path}.secretRef"), errors);
    }
}
