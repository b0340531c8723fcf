//! What a PersistentVolume is made of: `ValidatePersistentVolumeSpec`.

use apiserver_json::{Map, Value};
use apiserver_meta::field::FieldError;
use apiserver_meta::{names, quantity};

use super::pod::paths::check_no_backsteps;
use super::pod::scheduling::check_node_selector;
use super::pod::sources;
use super::pod::volumes::{check_driver_name, host_path};
use super::shared::{
    at, check_optional, check_required, check_rule, check_set_enum, has, is_empty, items, require, text,
};
use super::volumes::{VOLUME_MODES, check_access_modes};

const NOT_INLINE: &str = "may not be specified in the context of inline volumes";

type Check = fn(&Value, &str, &mut Vec<FieldError>);

/// (source, its own rules) in the order upstream looks at them.
pub(super) const SOURCES: &[(&str, Check)] = &[
    ("hostPath", host_path),
    ("gcePersistentDisk", |source, path, errors| {
        sources::gce_disk(source, &path.replace("gcePersistentDisk", "persistentDisk"), errors);
    }),
    ("awsElasticBlockStore", sources::aws_disk),
    ("glusterfs", glusterfs),
    ("flocker", sources::flocker),
    ("nfs", sources::nfs),
    ("rbd", |source, path, errors| sources::require_all("rbd", source, path, errors)),
    ("quobyte", sources::quobyte),
    ("cephfs", |source, path, errors| sources::require_all("cephfs", source, path, errors)),
    ("iscsi", |source, path, errors| sources::iscsi(source, path, Some(""), errors)),
    ("cinder", |source, path, errors| {
        sources::cinder(source, path, errors);
        require_secret_namespace(source, path, errors);
    }),
    ("fc", sources::fc),
    ("flexVolume", sources::flex),
    ("azureFile", |source, path, errors| {
        sources::require_all("azureFile", source, path, errors);
        if source.get("secretNamespace").is_some_and(|namespace| namespace == "") {
            errors.push(FieldError::required(format!("{path}.secretNamespace"), ""));
        }
    }),
    ("vsphereVolume", |source, path, errors| sources::require_all("vsphereVolume", source, path, errors)),
    ("photonPersistentDisk", |source, path, errors| {
        sources::require_all("photonPersistentDisk", source, path, errors);
    }),
    ("portworxVolume", |source, path, errors| sources::require_all("portworxVolume", source, path, errors)),
    ("azureDisk", sources::azure_disk),
    ("scaleIO", |source, path, errors| sources::require_all("scaleIO", source, path, errors)),
    ("local", |source, path, errors| {
        require(source, "path", path, errors);
        check_no_backsteps(text(source, "path"), &format!("{path}.path"), errors);
    }),
    ("storageos", |source, path, errors| {
        sources::storage_os(source, path, errors);
        require_secret_namespace(source, path, errors);
    }),
    ("csi", csi),
];

fn glusterfs(source: &Value, path: &str, errors: &mut Vec<FieldError>) {
    sources::require_all("glusterfs", source, path, errors);
    let place = format!("{path}.endpointsNamespace");
    match source.get("endpointsNamespace").and_then(Value::as_str) {
        None => {}
        Some("") => {
            let why = "if the endpointnamespace is set, it must be a valid namespace name";
            errors.push(FieldError::invalid(place, &"".into(), why));
        }
        Some(namespace) => check_rule(namespace, names::dns1123_label, &place, errors),
    }
}

/// A volume's secret may be in any namespace, a Pod's is in its own.
fn require_secret_namespace(source: &Value, path: &str, errors: &mut Vec<FieldError>) {
    if let Some(secret) = source.get("secretRef") {
        require(secret, "namespace", format_args!("{path}.secretRef"), errors);
    }
}

fn csi(source: &Value, path: &str, errors: &mut Vec<FieldError>) {
    check_driver_name(text(source, "driver"), &format!("{path}.driver"), errors);
    require(source, "volumeHandle", path, errors);
    for member in [
        "controllerPublishSecretRef",
        "controllerExpandSecretRef",
        "nodePublishSecretRef",
        "nodeExpandSecretRef",
    ] {
        if let Some(secret) = source.get(member).filter(|secret| !secret.is_null()) {
            let path = format!("{path}.{member}");
            check_required(secret, "name", names::dns1123_subdomain, &path, errors);
            check_required(secret, "namespace", names::dns1123_label, &path, errors);
        }
    }
}

/// Errors of a volume's spec, which is its own or stands `inline` in a VolumeAttachment.
pub(super) fn check_volume_spec(spec: &Value, path: &str, inline: bool, errors: &mut Vec<FieldError>) {
    if inline {
        for member in ["claimRef", "capacity"].into_iter().filter(|member| !is_empty(at(spec, &[member]))) {
            errors.push(FieldError::forbidden(format!("{path}.{member}"), NOT_INLINE));
        }
        if !has(spec, "csi") {
            let why = "has to be specified in the context of inline volumes";
            errors.push(FieldError::required(format!("{path}.csi"), why));
        }
    }
    if items(spec, "accessModes").is_empty() {
        errors.push(FieldError::required(format!("{path}.accessModes"), ""));
    }
    check_access_modes(spec, path, errors);
    if inline {
        check_inline_policy(spec, path, errors);
    } else {
        check_capacity(at(spec, &["capacity"]), &format!("{path}.capacity"), errors);
        let policies = ["Delete", "Recycle", "Retain"];
        check_set_enum(spec, "persistentVolumeReclaimPolicy", path, &policies, errors);
        check_affinity(spec, path, errors);
    }
    check_source(spec, path, errors);
    let root = spec.pointer("/hostPath/path").and_then(Value::as_str);
    let is_root = root.is_some_and(|path| !path.is_empty() && path.chars().all(|c| c == '/'));
    if is_root && text(spec, "persistentVolumeReclaimPolicy") == "Recycle" {
        let why = "may not be 'recycle' for a hostPath mount of '/'";
        errors.push(FieldError::forbidden(format!("{path}.persistentVolumeReclaimPolicy"), why));
    }
    if inline {
        return check_inline_kind(spec, path, errors);
    }
    check_optional(spec, "storageClassName", names::dns1123_subdomain, path, errors);
    check_set_enum(spec, "volumeMode", path, VOLUME_MODES, errors);
    check_optional(spec, "volumeAttributesClassName", names::dns1123_subdomain, path, errors);
    if spec.get("volumeAttributesClassName").is_some_and(|class| class == "") {
        let why = "an empty string is disallowed";
        errors.push(FieldError::required(format!("{path}.volumeAttributesClassName"), why));
    }
    if has(spec, "volumeAttributesClassName") && !has(spec, "csi") {
        let why = "has to be specified when using volumeAttributesClassName";
        errors.push(FieldError::required(format!("{path}.csi"), why));
    }
}

/// What an inline volume may say of what becomes of it, and where.
fn check_inline_policy(spec: &Value, path: &str, errors: &mut Vec<FieldError>) {
    if !matches!(text(spec, "persistentVolumeReclaimPolicy"), "" | "Retain") {
        let why = "may only be Retain in the context of inline volumes";
        errors.push(FieldError::forbidden(format!("{path}.persistentVolumeReclaimPolicy"), why));
    }
    if has(spec, "nodeAffinity") {
        errors.push(FieldError::forbidden(format!("{path}.nodeAffinity"), NOT_INLINE));
    }
}

/// What an inline volume may say of its class and mode.
fn check_inline_kind(spec: &Value, path: &str, errors: &mut Vec<FieldError>) {
    if !text(spec, "storageClassName").is_empty() {
        errors.push(FieldError::forbidden(format!("{path}.storageClassName"), NOT_INLINE));
    }
    if has(spec, "volumeMode") && text(spec, "volumeMode") != "Filesystem" {
        let why = "may not specify volumeMode other than Filesystem in the context of inline volumes";
        errors.push(FieldError::forbidden(format!("{path}.volumeMode"), why));
    }
}

fn check_affinity(spec: &Value, path: &str, errors: &mut Vec<FieldError>) {
    if !has(spec, "nodeAffinity") {
        return;
    }
    let path = format!("{path}.nodeAffinity.required");
    match at(spec, &["nodeAffinity", "required"]) {
        Value::Null => errors.push(FieldError::required(path, "must specify required node constraints")),
        required => check_node_selector(required, &path, errors),
    }
}

/// A volume has one source.
fn check_source(spec: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let mut found = false;
    for (member, check) in SOURCES {
        let Some(source) = spec.get(*member).filter(|source| !source.is_null()) else { continue };
        let shown = if *member == "cephfs" { "cephFS" } else { member };
        // Upstream counts a flexVolume, and does not look at what was counted before.
        if std::mem::replace(&mut found, true) && *member != "flexVolume" {
            let why = "may not specify more than 1 volume type";
            errors.push(FieldError::forbidden(format!("{path}.{shown}"), why));
            continue;
        }
        check(source, &format!("{path}.{member}"), errors);
        if *member == "local" && !has(spec, "nodeAffinity") {
            let why = "Local volume requires node affinity";
            errors.push(FieldError::required(format!("{path}.nodeAffinity"), why));
        }
    }
    if !found {
        errors.push(FieldError::required(path, "must specify a volume type"));
    }
}

fn check_capacity(capacity: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let empty = Map::new();
    let amounts = capacity.as_object().unwrap_or(&empty);
    if amounts.is_empty() {
        errors.push(FieldError::required(path, ""));
    }
    if amounts.len() != 1 || !amounts.contains_key("storage") {
        errors.push(FieldError::not_supported(path, capacity, &["storage"]));
    }
    for (name, value) in amounts {
        let path = format!("{path}[{name}]");
        let amount = quantity::parse(value).unwrap_or(0);
        check_amount(value, path.clone(), errors);
        if amount <= 0 {
            errors.push(FieldError::invalid(path, value, "must be greater than zero"));
        }
    }
}

pub(super) fn check_amount(amount: &Value, path: String, errors: &mut Vec<FieldError>) {
    if let Some(amount) = quantity::parse(amount).filter(|amount| amount.is_negative()) {
        let whole = i64::try_from(amount.div_euclid(1000)).unwrap_or(i64::MIN);
        errors.push(FieldError::invalid(path, &whole.into(), "must be a valid resource quantity"));
    }
}
