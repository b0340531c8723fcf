//! Kinds of `storage.k8s.io`: `pkg/apis/storage/validation` upstream.

use apiserver_json::{Map, Value, json};
use apiserver_meta::field::FieldError;
use apiserver_meta::{names, quantity};

use super::pod::defaults::default_source;
use super::pod::volumes::{check_driver_name, check_token_lifetime};
use super::shared::{
    at, at_mut, check_immutable, check_immutable_as, check_label_selector, check_not_negative, check_rule,
    check_set_enum, default, has, items, keep_status, number, require, text,
};
use super::volume_spec::check_volume_spec;
use super::{PLAIN, Strategy};

/// Parameters a class may have, and bytes of them.
const PARAMETERS_MAX: usize = 512;
const PARAMETER_BYTES_MAX: usize = 256 << 10;
/// Bytes of a node's name in a driver.
const NODE_ID_MAX: usize = 256;
/// Seconds between two looks at what a node can still take.
const PERIOD_MIN: i64 = 10;

pub(super) static STORAGE_CLASS: Strategy = Strategy {
    update_checks: super::order::NEW_THEN_CHANGES,
    default: |class| {
        if let Some(class) = class.as_object_mut() {
            default(class, "reclaimPolicy", "Delete");
            default(class, "volumeBindingMode", "Immediate");
        }
    },
    validate_create: validate_class,
    validate_fields: |new, _| validate_class(new),
    validate_update: |new, old| {
        let mut errors = Vec::new();
        for member in ["parameters", "provisioner", "reclaimPolicy", "volumeBindingMode"] {
            check_immutable(at(new, &[member]), at(old, &[member]), member, &mut errors);
        }
        errors
    },
    delete_returns_object: true,
    ..PLAIN
};

fn validate_class(class: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let provisioner = text(class, "provisioner");
    if provisioner.is_empty() {
        errors.push(FieldError::required("provisioner", ""));
    } else {
        let lower = provisioner.to_lowercase();
        check_rule(&lower, names::qualified_name, "provisioner", &mut errors);
    }
    check_parameters(at(class, &["parameters"]), &mut errors);
    for (member, known) in [
        ("reclaimPolicy", &["Delete", "Retain"]),
        ("volumeBindingMode", &["Immediate", "WaitForFirstConsumer"]),
    ] {
        let value = text(class, member);
        let is_unsaid = member == "reclaimPolicy" && value.is_empty();
        if has(class, member) && !is_unsaid && !known.contains(&value) {
            errors.push(FieldError::not_supported(member, &value.into(), known));
        }
    }
    for (i, term) in items(class, "allowedTopologies").iter().enumerate() {
        check_topology(term, &format!("allowedTopologies[{i}]"), &mut errors);
        let expressions = |term| items(term, "matchLabelExpressions");
        // Upstream takes one that says nothing for a double of what it has not looked at yet.
        let before = &items(class, "allowedTopologies")[..i];
        if expressions(term).is_empty() || before.iter().any(|other| expressions(other) == expressions(term))
        {
            let path = format!("allowedTopologies[{i}].matchLabelExpressions");
            errors.push(FieldError::duplicate(path, &"".into()));
        }
    }
    errors
}

fn check_parameters(parameters: &Value, errors: &mut Vec<FieldError>) {
    let Some(parameters) = parameters.as_object() else { return };
    if parameters.len() > PARAMETERS_MAX {
        errors.push(FieldError::too_long("parameters", PARAMETERS_MAX));
        return;
    }
    if parameters.contains_key("") {
        errors.push(FieldError::invalid("parameters", &"".into(), "field can not be empty."));
    }
    let bytes: usize =
        parameters.iter().map(|(key, value)| key.len() + value.as_str().map_or(0, str::len)).sum();
    if bytes > PARAMETER_BYTES_MAX {
        errors.push(FieldError::too_long("parameters", PARAMETER_BYTES_MAX));
    }
}

pub(super) static VOLUME_ATTRIBUTES_CLASS: Strategy = Strategy {
    update_checks: super::order::CHANGES_THEN_NEW,
    validate_create: validate_attributes_class,
    validate_update: |new, old| {
        let mut errors = Vec::new();
        for member in ["driverName", "parameters"] {
            if at(new, &[member]) != at(old, &[member]) {
                errors.push(FieldError::forbidden(member, format!("updates to {member} are forbidden.")));
            }
        }
        errors
    },
    validate_fields: |new, _| validate_attributes_class(new),
    delete_returns_object: true,
    ..PLAIN
};

fn validate_attributes_class(class: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let driver = text(class, "driverName");
    if driver.is_empty() {
        errors.push(FieldError::required("driverName", ""));
    } else {
        check_rule(&driver.to_lowercase(), names::qualified_name, "driverName", &mut errors);
    }
    let parameters = at(class, &["parameters"]);
    check_parameters(parameters, &mut errors);
    if parameters.as_object().is_none_or(Map::is_empty) {
        errors.push(FieldError::required("parameters", "must contain at least one key/value pair"));
    }
    errors
}

pub(super) static CSI_STORAGE_CAPACITY: Strategy = Strategy {
    update_checks: super::order::NEW_THEN_CHANGES,
    validate_create: validate_capacity,
    validate_fields: |new, _| validate_capacity(new),
    validate_update: |new, old| {
        let mut errors = Vec::new();
        for (member, go_type) in [("nodeTopology", "*v1.LabelSelector"), ("storageClassName", "s")] {
            check_immutable_as(go_type, at(new, &[member]), at(old, &[member]), member, &mut errors);
        }
        errors
    },
    unconditional_update: false,
    ..PLAIN
};

fn validate_capacity(capacity: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    check_label_selector(at(capacity, &["nodeTopology"]), "nodeTopology", &mut errors);
    let class = text(capacity, "storageClassName");
    check_rule(class, names::dns1123_subdomain, "storageClassName", &mut errors);
    let value = at(capacity, &["capacity"]);
    if quantity::parse(value).is_some_and(i128::is_negative) {
        errors.push(FieldError::invalid("capacity", value, "must be greater than or equal to 0"));
    }
    errors
}

/// Errors of where volumes may be: `ValidateTopologySelectorTerm`.
fn check_topology(term: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let mut keys: Vec<&str> = Vec::new();
    for (i, expression) in items(term, "matchLabelExpressions").iter().enumerate() {
        let path = format!("{path}.matchLabelExpressions[{i}]");
        let values = items(expression, "values");
        require(expression, "values", &path, errors);
        for (j, value) in values.iter().enumerate().filter(|(j, value)| values[..*j].contains(value)) {
            errors.push(FieldError::duplicate(format!("{path}.values[{j}]"), value));
        }
        let key = text(expression, "key");
        check_rule(key, names::qualified_name, format_args!("{path}.key"), errors);
        if keys.contains(&key) {
            errors.push(FieldError::duplicate(format!("{path}.key"), &key.into()));
        }
        keys.push(key);
    }
}

pub(super) static CSI_DRIVER: Strategy = Strategy {
    default: |driver| {
        let Some(spec) = at_mut(driver, &["spec"]) else { return };
        for (member, value) in [
            ("attachRequired", true),
            ("podInfoOnMount", false),
            ("storageCapacity", false),
            ("requiresRepublish", false),
            ("seLinuxMount", false),
        ] {
            default(spec, member, value);
        }
        default(spec, "fsGroupPolicy", "ReadWriteOnceWithFSType");
        if spec.get("volumeLifecycleModes").and_then(Value::as_array).is_none_or(<[_]>::is_empty) {
            spec.insert("volumeLifecycleModes".into(), json!(["Persistent"]));
        }
    },
    warnings: |driver| {
        let spec = at(driver, &["spec"]);
        let is_quiet = items(spec, "tokenRequests").is_empty() || has(spec, "serviceAccountTokenInSecrets");
        let why = "spec.serviceAccountTokenInSecrets is unset; if supported by this CSI driver, set to true to prevent possible logging of tokens in volume attributes";
        if is_quiet { Vec::new() } else { vec![why.to_owned()] }
    },
    warned_member: Some(&["spec", "tokenRequests"]),
    prepare_create: drop_prevention,
    prepare_update: |new, old| {
        drop_prevention(new);
        if at(new, &["spec"]) != at(old, &["spec"]) {
            let before = number(at(old, &["metadata"]), "generation").unwrap_or(0);
            crate::object::metadata_mut(new).insert("generation".into(), (before + 1).into());
        }
    },
    warns_again: true,
    validate_create: validate_driver,
    validate_update: |new, old| {
        let mut errors = validate_driver(new);
        for (member, shown) in
            [("attachRequired", "attachedRequired"), ("volumeLifecycleModes", "volumeLifecycleModes")]
        {
            let (new, old) = (at(new, &["spec", member]), at(old, &["spec", member]));
            check_immutable(new, old, &format!("spec.{shown}"), &mut errors);
        }
        errors
    },
    unconditional_update: false,
    delete_returns_object: true,
    ..PLAIN
};

/// `VolumeLimitScaling` is off.
fn drop_prevention(driver: &mut Value) {
    if let Some(spec) = at_mut(driver, &["spec"]) {
        spec.remove("preventPodSchedulingIfMissing");
    }
}

fn validate_driver(driver: &Value) -> Vec<FieldError> {
    let spec = at(driver, &["spec"]);
    let mut errors = Vec::new();
    let policies = ["File", "None", "ReadWriteOnceWithFSType"];
    check_set_enum(spec, "fsGroupPolicy", "spec", &policies, &mut errors);
    let mut audiences: Vec<&str> = Vec::new();
    for (i, request) in items(spec, "tokenRequests").iter().enumerate() {
        let path = format!("spec.tokenRequests[{i}]");
        let audience = text(request, "audience");
        if audiences.contains(&audience) {
            errors.push(FieldError::duplicate(format!("{path}.audience"), &audience.into()));
            continue;
        }
        audiences.push(audience);
        if has(request, "expirationSeconds") {
            check_token_lifetime(request, &path, &mut errors);
        }
    }
    for mode in items(spec, "volumeLifecycleModes") {
        let known = ["Persistent", "Ephemeral"];
        if !known.contains(&mode.as_str().unwrap_or("")) {
            errors.push(FieldError::not_supported_in_order("spec.volumeLifecycleModes", mode, &known));
        }
    }
    if let Some(period) =
        number(spec, "nodeAllocatableUpdatePeriodSeconds").filter(|period| *period < PERIOD_MIN)
    {
        let why = "must be greater than or equal to 10 seconds";
        let path = "spec.nodeAllocatableUpdatePeriodSeconds";
        errors.push(FieldError::invalid(path, &period.into(), why));
    }
    if has(spec, "serviceAccountTokenInSecrets") && items(spec, "tokenRequests").is_empty() {
        let why = "serviceAccountTokenInSecrets is set but no tokenRequests are specified";
        let path = "spec.serviceAccountTokenInSecrets";
        errors.push(FieldError::invalid(path, at(spec, &["serviceAccountTokenInSecrets"]), why));
    }
    errors
}

pub(super) static CSI_NODE: Strategy = Strategy {
    update_checks: super::order::METADATA_FIRST,
    validate_create: validate_node,
    validate_update: |new, old| {
        let mut errors = validate_node(new);
        check_kept_drivers(new, old, &mut errors);
        errors
    },
    unconditional_update: false,
    delete_returns_object: true,
    ..PLAIN
};

/// Of a driver only what a node can hold of it may change.
fn check_kept_drivers(new: &Value, old: &Value, errors: &mut Vec<FieldError>) {
    let drivers = |node: &Value| -> Vec<Value> {
        let mut drivers = items(at(node, &["spec"]), "drivers").to_vec();
        for driver in drivers.iter_mut().filter_map(Value::as_object_mut) {
            driver.remove("allocatable");
        }
        drivers
    };
    let new = drivers(new);
    for before in drivers(old) {
        for driver in new.iter().filter(|driver| text(driver, "name") == text(&before, "name")) {
            check_immutable_as("storage.CSINodeDriver", driver, &before, "spec.drivers", errors);
        }
    }
}

fn validate_node(node: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let mut seen: Vec<&str> = Vec::new();
    for (i, driver) in items(at(node, &["spec"]), "drivers").iter().enumerate() {
        let path = format!("spec.drivers[{i}]");
        let name = text(driver, "name");
        check_driver_name(name, &format!("{path}.name"), &mut errors);
        require(driver, "nodeID", &path, &mut errors);
        let id = text(driver, "nodeID");
        if id.len() > NODE_ID_MAX {
            let why = "must be 256 characters or less";
            errors.push(FieldError::invalid(format!("{path}.nodeID"), &id.into(), why));
        }
        let place = format!("{path}.allocatable.count");
        check_not_negative(at(driver, &["allocatable"]), "count", &place, &mut errors);
        if seen.contains(&name) {
            errors.push(FieldError::duplicate(format!("{path}.name"), &name.into()));
        }
        seen.push(name);
        let keys = items(driver, "topologyKeys");
        for (j, key) in keys.iter().enumerate() {
            let shown = key.as_str().unwrap_or("");
            if shown.is_empty() {
                errors.push(FieldError::required(&path, ""));
            }
            if keys[..j].contains(key) {
                errors.push(FieldError::duplicate(&path, key));
            }
            check_rule(shown, names::qualified_name, &path, &mut errors);
        }
    }
    errors
}

pub(super) static VOLUME_ATTACHMENT: Strategy = Strategy {
    status_keeps: super::ALL_KEPT,
    update_checks: super::order::METADATA_FIRST,
    default: |attachment| {
        if let Some(inline) = at_mut(attachment, &["spec", "source", "inlineVolumeSpec"]) {
            default_source(inline);
        }
    },
    prepare_create: |attachment| attachment["status"] = json!({"attached": false}),
    prepare_update: keep_status,
    validate_create: validate_attachment,
    validate_update: |new, old| {
        let mut errors = validate_attachment(new);
        let (new, old) = (at(new, &["spec"]), at(old, &["spec"]));
        check_immutable_as("storage.VolumeAttachmentSpec", new, old, "spec", &mut errors);
        errors
    },
    validate_status: |attachment, _| check_attached(at(attachment, &["status"])),
    status: true,
    unconditional_update: false,
    delete_returns_object: true,
    ..PLAIN
};

/// Characters of why a volume could not be attached.
const ERROR_BYTES_MAX: usize = 1024;
/// Bytes of what an attacher says of an attachment.
const ATTACHED_BYTES_MAX: usize = 256 << 10;

/// Errors of how an attachment is: `validateVolumeAttachmentStatus`.
fn check_attached(status: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let told = at(status, &["attachmentMetadata"]).as_object().into_iter().flatten();
    let size: usize = told.map(|(key, value)| key.len() + value.as_str().map_or(0, str::len)).sum();
    if size > ATTACHED_BYTES_MAX {
        errors.push(FieldError::too_long("status.attachmentMetadata", ATTACHED_BYTES_MAX));
    }
    for member in ["attachError", "detachError"] {
        let error = at(status, &[member]);
        if text(error, "message").len() > ERROR_BYTES_MAX {
            // The limit that is told is another one's.
            errors.push(FieldError::too_long(format!("status.{member}.message"), ATTACHED_BYTES_MAX));
        }
        if let Some(code) = number(error, "errorCode").filter(|code| *code < 0) {
            let why = "must be between 0 and 2147483647, inclusive";
            errors.push(FieldError::invalid(format!("status.{member}.errorCode"), &code.into(), why));
        }
    }
    errors
}

fn validate_attachment(attachment: &Value) -> Vec<FieldError> {
    let spec = at(attachment, &["spec"]);
    let mut errors = Vec::new();
    check_driver_name(text(spec, "attacher"), "spec.attacher", &mut errors);
    let source = at(spec, &["source"]);
    let name = source.get("persistentVolumeName").and_then(Value::as_str);
    let why = "must specify exactly one of inlineVolumeSpec and persistentVolumeName";
    match (has(source, "inlineVolumeSpec"), name) {
        (false, None) => errors.push(FieldError::required("spec.source", why)),
        (true, Some(_)) => errors.push(FieldError::forbidden("spec.source", why)),
        (false, Some("")) => {
            let why = "must specify non empty persistentVolumeName";
            errors.push(FieldError::required("spec.source.persistentVolumeName", why));
        }
        (true, None) => {
            let inline = at(source, &["inlineVolumeSpec"]);
            check_volume_spec(inline, "spec.source.inlineVolumeSpec", true, &mut errors);
        }
        (false, Some(_)) => {}
    }
    check_rule(text(spec, "nodeName"), names::dns1123_subdomain, "spec.nodeName", &mut errors);
    if let Some(name) = name {
        check_rule(name, names::dns1123_subdomain, "spec.source.persistentVolumeName", &mut errors);
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_of_attachments_is_bounded() {
        for (status, want) in [
            (json!({"attached": true, "attachError": {"message": "x".repeat(1024)}}), None),
            (
                json!({"detachError": {"message": "x".repeat(1025)}}),
                Some("status.detachError.message: Too long: may not be more than 262144 bytes"),
            ),
            (
                json!({"attachError": {"errorCode": -1}}),
                Some(
                    "status.attachError.errorCode: Invalid value: -1: must be between 0 and 2147483647, inclusive",
                ),
            ),
            (
                json!({"attachmentMetadata": {"a": "x".repeat(256 << 10)}}),
                Some("status.attachmentMetadata: Too long: may not be more than 262144 bytes"),
            ),
        ] {
            let told: Vec<String> = check_attached(&status).iter().map(ToString::to_string).collect();
            assert_eq!(told.first().map(String::as_str), want);
        }
    }
}
