//! ConfigMap, Secret, Namespace, ServiceAccount, Endpoints, volumes.

use apiserver_json::{Map, Value, json};
use apiserver_meta::field::FieldError;
use apiserver_meta::names;

use super::shared::{
    at, check_ip, check_one_of, check_optional, check_port, check_rule, default_text, has_leading_zeros,
    items, items_mut, keep_status, text,
};
use super::{PLAIN, Strategy};

/// Bytes of data a ConfigMap or Secret may hold.
pub(super) const DATA_BYTES_MAX: usize = 1 << 20;

pub(super) static CONFIG_MAP: Strategy = Strategy {
    // Of its two maps one is never nil upstream, so it is not told from an empty one.
    default: |map| {
        if map.get("data").and_then(Value::as_object).is_some_and(Map::is_empty)
            && let Some(map) = map.as_object_mut()
        {
            map.remove("data");
        }
    },
    validate_create: validate_config_map,
    validate_update: update_config_map,
    validate_fields: |map, _| validate_config_map(map),
    tells_empty: true,
    update_checks: super::order::CHANGES_THEN_NEW,
    ..PLAIN
};

fn validate_config_map(map: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let mut size = 0;
    let binary = map.get("binaryData").and_then(Value::as_object);
    for (key, value) in map.get("data").and_then(Value::as_object).into_iter().flatten() {
        for problem in names::config_map_key(key) {
            errors.push(FieldError::invalid(format!("data[{key}]"), &key.clone().into(), problem));
        }
        if binary.is_some_and(|binary| binary.contains_key(key)) {
            errors.push(FieldError::invalid(
                format!("data[{key}]"),
                &key.clone().into(),
                "duplicate of key present in binaryData",
            ));
        }
        size += value.as_str().map_or(0, str::len);
    }
    for (key, value) in binary.into_iter().flatten() {
        for problem in names::config_map_key(key) {
            errors.push(FieldError::invalid(format!("binaryData[{key}]"), &key.clone().into(), problem));
        }
        size += value.as_str().map_or(0, |text| text.len() / 4 * 3);
    }
    if size > DATA_BYTES_MAX {
        errors.push(FieldError::too_long("[]", DATA_BYTES_MAX));
    }
    errors
}

fn update_config_map(map: &Value, old: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    immutable_data(map, old, &["data", "binaryData"], &mut errors);
    errors
}

pub(super) fn immutable_data(new: &Value, old: &Value, members: &[&str], errors: &mut Vec<FieldError>) {
    if old.get("immutable").and_then(Value::as_bool) != Some(true) {
        return;
    }
    if new.get("immutable").and_then(Value::as_bool) != Some(true) {
        errors.push(FieldError::forbidden("immutable", "field is immutable when `immutable` is set"));
    }
    for member in members {
        if new.get(*member) != old.get(*member) {
            errors.push(FieldError::forbidden(*member, "field is immutable when `immutable` is set"));
        }
    }
}

fn label_with_name(namespace: &mut Value) {
    let name = crate::object::name(namespace).to_owned();
    if !name.is_empty() {
        let labels = crate::object::metadata_mut(namespace).entry("labels").or_insert_with(|| json!({}));
        if let Some(labels) = labels.as_object_mut() {
            labels.insert("kubernetes.io/metadata.name".into(), name.into());
        }
    }
}

pub(super) static NAMESPACE: Strategy = Strategy {
    update_checks: super::order::METADATA_THEN_CHANGES,
    default: |namespace| {
        if let Some(status) = namespace.get_mut("status").and_then(Value::as_object_mut) {
            super::shared::default_text(status, "phase", "Active");
        }
        label_with_name(namespace);
    },
    prepare_create: |namespace| {
        // A generated name is known only now.
        label_with_name(namespace);
        let extra: Vec<Value> = items(at(namespace, &["spec"]), "finalizers").to_vec();
        let mut finalizers = extra;
        if !finalizers.contains(&json!("kubernetes")) {
            finalizers.push("kubernetes".into());
        }
        namespace["spec"] = json!({"finalizers": finalizers});
        namespace["status"] = json!({"phase": "Active"});
    },
    prepare_update: |new, old| {
        keep_status(new, old);
        if let Some(object) = new.as_object_mut() {
            match old.get("spec") {
                Some(spec) => object.insert("spec".into(), spec.clone()),
                None => object.remove("spec"),
            };
        }
    },
    validate_create: |namespace| {
        let mut errors = Vec::new();
        for finalizer in items(at(namespace, &["spec"]), "finalizers").iter().filter_map(Value::as_str) {
            crate::object::validate_finalizer(finalizer, "spec.finalizers", &mut errors);
            crate::object::validate_short_finalizer(finalizer, "spec.finalizers", &mut errors);
        }
        errors
    },
    validate_status: |namespace, _| {
        let phase = text(at(namespace, &["status"]), "phase");
        let (want, when) = if crate::object::is_deleting(namespace) {
            ("Terminating", "is not empty")
        } else {
            ("Active", "is empty")
        };
        if phase == want {
            return Vec::new();
        }
        let why = format!("may only be '{want}' if `deletionTimestamp` {when}");
        vec![FieldError::invalid("status.Phase", &phase.into(), why)]
    },
    part: |name| (name == "finalize").then_some(&FINALIZE),
    name_rule: names::dns1123_label,
    status: true,
    ..PLAIN
};

static FINALIZE: super::Part = super::Part {
    prepare: keep_status,
    validate: |namespace, _| {
        let mut errors = Vec::new();
        for (i, finalizer) in items(at(namespace, &["spec"]), "finalizers").iter().enumerate() {
            let (finalizer, path) = (finalizer.as_str().unwrap_or(""), format!("spec.finalizers[{i}]"));
            crate::object::validate_finalizer(finalizer, &path, &mut errors);
            crate::object::validate_short_finalizer(finalizer, &path, &mut errors);
        }
        errors
    },
};

pub(super) static SERVICE_ACCOUNT: Strategy = Strategy {
    delete_returns_object: true,
    update_checks: super::order::CHANGES_THEN_METADATA,
    prepare_create: name_secrets,
    prepare_update: |account, _| name_secrets(account),
    warnings: |account| {
        const ANNOTATION: &str = "kubernetes.io/enforce-mountable-secrets";
        let annotations = at(account, &["metadata", "annotations"]);
        let told = annotations.get(ANNOTATION).map(|_| {
            format!(
                "metadata.annotations[{ANNOTATION}]: deprecated in v1.32+; prefer separate namespaces to isolate access to mounted secrets"
            )
        });
        Vec::from_iter(told)
    },
    ..PLAIN
};

/// Of its secrets an account knows the names alone.
fn name_secrets(account: &mut Value) {
    for secret in items_mut(account, "secrets").filter_map(Value::as_object_mut) {
        secret.retain(|member, _| member == "name");
    }
}

pub(super) static ENDPOINTS: Strategy = Strategy {
    update_checks: super::order::CHANGES_THEN_METADATA,
    default: |endpoints| {
        for subset in items_mut(endpoints, "subsets") {
            for port in items_mut(subset, "ports") {
                if let Some(port) = port.as_object_mut() {
                    default_text(port, "protocol", "TCP");
                }
            }
        }
    },
    validate_create: validate_endpoints,
    validate_update: |endpoints, _| validate_endpoints(endpoints),
    warnings: |_| {
        vec!["v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice".to_owned()]
    },
    create_on_update: true,
    ..PLAIN
};

pub(super) static COMPONENT_STATUS: Strategy =
    Strategy { warnings: |_| vec!["v1 ComponentStatus is deprecated in v1.19+".to_owned()], ..PLAIN };

fn validate_endpoints(endpoints: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for (i, subset) in items(endpoints, "subsets").iter().enumerate() {
        let path = format!("subsets[{i}]");
        if items(subset, "addresses").is_empty() && items(subset, "notReadyAddresses").is_empty() {
            errors.push(FieldError::required(&path, "must specify `addresses` or `notReadyAddresses`"));
        }
        for list in ["addresses", "notReadyAddresses"] {
            for (j, address) in items(subset, list).iter().enumerate() {
                validate_address(address, &format!("{path}.{list}[{j}]"), &mut errors);
            }
        }
        let ports = items(subset, "ports");
        for (j, port) in ports.iter().enumerate() {
            let path = format!("{path}.ports[{j}]");
            let name = text(port, "name");
            if name.is_empty() && ports.len() > 1 {
                errors.push(FieldError::required(format!("{path}.name"), ""));
            } else if !name.is_empty() {
                errors.extend(
                    names::dns1123_label(name)
                        .into_iter()
                        .map(|problem| FieldError::invalid(format!("{path}.name"), &name.into(), problem)),
                );
            }
            check_port(port.get("port").unwrap_or(&json!(0)), format!("{path}.port"), &mut errors);
            check_one_of(
                port,
                "protocol",
                format_args!("{path}.protocol"),
                &["SCTP", "TCP", "UDP"],
                &mut errors,
            );
            if let Some(protocol) = port.get("appProtocol").and_then(Value::as_str) {
                check_rule(protocol, names::qualified_name, format_args!("{path}.appProtocol"), &mut errors);
            }
        }
    }
    errors
}

fn validate_address(address: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let ip = text(address, "ip");
    check_ip(ip, format!("{path}.ip"), errors);
    check_optional(address, "hostname", names::dns1123_label, path, errors);
    if let Some(node) = address.get("nodeName").and_then(Value::as_str) {
        check_rule(node, names::dns1123_subdomain, format_args!("{path}.nodeName"), errors);
    }
    // Upstream checks the address twice: as one, then the special ranges of what it could parse.
    // What has zeros in front is an address to it the second time.
    let why = if ip.parse::<std::net::IpAddr>().is_ok() || has_leading_zeros(ip) {
        special_ip_error(ip)
    } else {
        Some("must be a valid IP address".to_owned())
    };
    errors.extend(why.map(|why| FieldError::invalid(format!("{path}.ip"), &ip.into(), why)));
}

/// Why an address may not be an endpoint's.
pub(super) fn special_ip_error(ip: &str) -> Option<String> {
    let ip: std::net::IpAddr = ip.parse().ok()?;
    if ip.is_unspecified() {
        return Some(format!("may not be unspecified ({ip})"));
    }
    if ip.is_loopback() {
        return Some("may not be in the loopback range (127.0.0.0/8, ::1/128)".to_owned());
    }
    let range = match ip {
        std::net::IpAddr::V4(v4) if v4.is_link_local() => {
            Some("may not be in the link-local range (169.254.0.0/16, fe80::/10)")
        }
        std::net::IpAddr::V4(v4) if v4.octets()[..3] == [224, 0, 0] => {
            Some("may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)")
        }
        std::net::IpAddr::V6(v6) if v6.segments()[0] & 0xffc0 == 0xfe80 => {
            Some("may not be in the link-local range (169.254.0.0/16, fe80::/10)")
        }
        std::net::IpAddr::V6(v6) if v6.segments()[0] & 0xff0f == 0xff02 => {
            Some("may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)")
        }
        _ => None,
    };
    range.map(str::to_owned)
}
