//! PersistentVolumeClaims and PersistentVolumes: `ValidatePersistentVolumeClaimSpec` and its like upstream.

use apiserver_json::Value;
use apiserver_meta::field::FieldError;
use apiserver_meta::{names, quantity};

use super::resources;
use super::shared::{at, check_label_selector, check_optional, check_set_enum, items, require, text};

pub(super) const ACCESS_MODES: &[&str] =
    &["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];
pub(super) const VOLUME_MODES: &[&str] = &["Block", "Filesystem"];

/// Amounts of storage that are no whole bytes: `GetWarningsForPersistentVolumeClaimSpec`.
pub(super) fn claim_warnings(spec: &Value, path: &str) -> Vec<String> {
    let mut out = Vec::new();
    for list in ["requests", "limits"] {
        let amount = at(spec, &["resources", list, "storage"]);
        if quantity::is_fractional(amount) {
            let shown = amount.as_str().map_or_else(|| amount.to_string(), str::to_owned);
            out.push(format!(
                "{path}.resources.{list}[storage]: fractional byte value {shown:?} is invalid, must be an integer"
            ));
        }
    }
    out
}

/// Errors of access modes: known ones, and the exclusive one alone.
pub(super) fn check_access_modes(spec: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let modes = items(spec, "accessModes");
    let place = format!("{path}.accessModes");
    let is_known = |mode: &Value| ACCESS_MODES.contains(&mode.as_str().unwrap_or(""));
    for mode in modes.iter().filter(|mode| !is_known(mode)) {
        errors.push(FieldError::not_supported(&place, mode, ACCESS_MODES));
    }
    let exclusive = |mode: &Value| mode == "ReadWriteOncePod";
    if modes.iter().any(exclusive) && modes.iter().any(|mode| is_known(mode) && !exclusive(mode)) {
        let why = "may not use ReadWriteOncePod with other access modes";
        errors.push(FieldError::forbidden(place, why));
    }
}

/// Errors of a storage amount, which must be above zero.
pub(super) fn check_storage(amount: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let Some(size) = quantity::parse(amount) else { return };
    if size <= 0 {
        errors.push(FieldError::invalid(path, amount, "must be greater than zero"));
    } else {
        resources::check_quantity("storage", amount, path, errors);
    }
}

/// Errors of a claim's spec.
pub(crate) fn check_claim_spec(spec: &Value, path: &str, errors: &mut Vec<FieldError>) {
    if items(spec, "accessModes").is_empty() {
        let why = "at least 1 access mode is required";
        errors.push(FieldError::required(format!("{path}.accessModes"), why));
    }
    check_label_selector(at(spec, &["selector"]), &format!("{path}.selector"), errors);
    check_access_modes(spec, path, errors);
    let place = format!("{path}.resources[storage]");
    match at(spec, &["resources", "requests", "storage"]) {
        Value::Null => errors.push(FieldError::required(place, "")),
        amount => check_storage(amount, &place, errors),
    }
    check_optional(spec, "storageClassName", names::dns1123_subdomain, path, errors);
    check_set_enum(spec, "volumeMode", path, VOLUME_MODES, errors);
    check_source(spec, "dataSource", path, errors);
    check_source(spec, "dataSourceRef", path, errors);
    let (source, reference) = (at(spec, &["dataSource"]), at(spec, &["dataSourceRef"]));
    let differs =
        ["apiGroup", "kind", "name"].iter().any(|member| source.get(member) != reference.get(member));
    let why = if source.is_null() || reference.is_null() {
        ""
    } else if !text(reference, "namespace").is_empty() {
        "may not be specified when dataSourceRef.namespace is specified"
    } else if differs {
        "must match dataSourceRef"
    } else {
        ""
    };
    if !why.is_empty() {
        // Upstream shows the path itself, which has no exported members.
        errors.push(FieldError {
            problem: apiserver_meta::field::Problem::Invalid,
            field: path.to_owned(),
            value: "{}".into(),
            detail: why.into(),
        });
    }
    check_optional(spec, "volumeAttributesClassName", names::dns1123_subdomain, path, errors);
}

fn check_source(spec: &Value, member: &str, path: &str, errors: &mut Vec<FieldError>) {
    let Some(source) = spec.get(member).filter(|source| !source.is_null()) else { return };
    let path = format!("{path}.{member}");
    require(source, "name", &path, errors);
    require(source, "kind", &path, errors);
    if text(source, "apiGroup").is_empty() && text(source, "kind") != "PersistentVolumeClaim" {
        let why = "must be 'PersistentVolumeClaim' when referencing the default apiGroup";
        errors.push(FieldError::invalid(&path, &text(source, "kind").into(), why));
    }
    check_optional(source, "apiGroup", names::dns1123_subdomain, &path, errors);
    if member == "dataSourceRef" {
        check_optional(source, "namespace", names::dns1123_label, &path, errors);
    }
}
