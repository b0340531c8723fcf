//! EndpointSlices: `pkg/apis/discovery/validation` upstream.

use apiserver_json::Value;
use apiserver_meta::field::FieldError;
use apiserver_meta::names;

use super::core::special_ip_error;
use super::shared::{
    Rule, check_fqdn, check_ip, check_one_of, check_optional, check_rule, check_set_enum, has, items,
    items_mut, number, text,
};
use super::{PLAIN, Strategy};
use crate::object;

const ENDPOINTS_MAX: usize = 1000;
const ADDRESSES_MAX: usize = 100;
const PORTS_MAX: usize = 20_000;
const HINTS_MAX: usize = 8;

pub(super) static ENDPOINT_SLICE: Strategy = Strategy {
    update_checks: super::order::METADATA_FIRST,
    default: |slice| {
        for port in items_mut(slice, "ports") {
            if let Some(port) = port.as_object_mut() {
                super::shared::default(port, "protocol", "TCP");
                super::shared::default(port, "name", "");
            }
        }
    },
    prepare_create: drop_topology,
    prepare_update: |slice, old| {
        if slice.get("endpoints") != old.get("endpoints") {
            drop_topology(slice);
        }
        // Labels count as content.
        let labels = |slice: &Value| object::metadata(slice).get("labels").cloned();
        if labels(slice) != labels(old) {
            let before = number(&old["metadata"], "generation").unwrap_or(0);
            object::metadata_mut(slice).insert("generation".into(), (before + 1).into());
        }
    },
    warnings: |slice| match text(slice, "addressType") {
        "FQDN" => vec!["spec.addressType: FQDN endpoints are deprecated".to_owned()],
        _ => Vec::new(),
    },
    validate_create: |slice| {
        let mut errors = validate(slice);
        errors.extend(validate_endpoints(slice));
        errors
    },
    validate_update: |slice, old| {
        let mut errors = validate(slice);
        // What was taken once may stay.
        if slice.get("endpoints") != old.get("endpoints") {
            errors.extend(validate_endpoints(slice));
        }
        if slice.get("addressType") != old.get("addressType") {
            let shown = text(slice, "addressType").into();
            errors.push(FieldError::invalid("addressType", &shown, "field is immutable"));
        }
        errors
    },
    generation: true,
    ..PLAIN
};

/// The member of v1beta1 is not written through v1.
fn drop_topology(slice: &mut Value) {
    for endpoint in items_mut(slice, "endpoints") {
        if let Some(endpoint) = endpoint.as_object_mut() {
            endpoint.remove("deprecatedTopology");
        }
    }
}

fn validate(slice: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if text(slice, "addressType").is_empty() {
        errors.push(FieldError::required("addressType", ""));
    } else {
        check_one_of(slice, "addressType", "addressType", &["FQDN", "IPv4", "IPv6"], &mut errors);
    }
    let ports = items(slice, "ports");
    if ports.len() > PORTS_MAX {
        errors.push(FieldError::too_many("ports", ports.len(), PORTS_MAX));
        return errors;
    }
    let mut seen: Vec<&str> = Vec::new();
    for (i, port) in ports.iter().enumerate() {
        let path = format!("ports[{i}]");
        let name = text(port, "name");
        check_optional(port, "name", names::dns1123_label, &path, &mut errors);
        if seen.contains(&name) {
            errors.push(FieldError::duplicate(format!("{path}.name"), &name.into()));
        }
        seen.push(name);
        check_set_enum(port, "protocol", &path, &["SCTP", "TCP", "UDP"], &mut errors);
        if has(port, "appProtocol") {
            let protocol = text(port, "appProtocol");
            check_rule(protocol, names::qualified_name, format_args!("{path}.appProtocol"), &mut errors);
        }
    }
    errors
}

fn validate_endpoints(slice: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let endpoints = items(slice, "endpoints");
    if endpoints.len() > ENDPOINTS_MAX {
        return vec![FieldError::too_many("endpoints", endpoints.len(), ENDPOINTS_MAX)];
    }
    for (i, endpoint) in endpoints.iter().enumerate() {
        let path = format!("endpoints[{i}]");
        let addresses = items(endpoint, "addresses");
        let place = format!("{path}.addresses");
        match addresses.len() {
            0 => errors.push(FieldError::required(&place, "must contain at least 1 address")),
            1..=ADDRESSES_MAX => {}
            many => errors.push(FieldError::too_many(&place, many, ADDRESSES_MAX)),
        }
        for (j, address) in addresses.iter().filter_map(Value::as_str).enumerate() {
            check_address(address, text(slice, "addressType"), &place, j, &mut errors);
        }
        if has(endpoint, "nodeName") {
            let name = text(endpoint, "nodeName");
            check_rule(name, names::dns1123_subdomain, format_args!("{path}.nodeName"), &mut errors);
        }
        if has(endpoint, "hostname") {
            check_rule(
                text(endpoint, "hostname"),
                names::dns1123_label,
                format_args!("{path}.hostname"),
                &mut errors,
            );
        }
        let hints = &endpoint["hints"];
        if check_hints(hints, "forZones", names::label_value, &path, &mut errors) {
            check_hints(hints, "forNodes", names::dns1123_subdomain, &path, &mut errors);
        }
    }
    errors
}

fn check_address(address: &str, family: &str, path: &str, index: usize, errors: &mut Vec<FieldError>) {
    let place = format!("{path}[{index}]");
    let before = errors.len();
    match family {
        "FQDN" => check_fqdn(address, &place, errors),
        "IPv4" | "IPv6" => {
            check_ip(address, place.clone(), errors);
            let Ok(ip) = address.parse::<std::net::IpAddr>() else { return };
            let canonical = ip.to_string();
            if family == "IPv6" && errors.len() == before && canonical != address {
                let why = format!("must be in canonical form ({canonical:?})");
                errors.push(FieldError::invalid(&place, &address.into(), why));
            }
            if errors.len() != before {
                return;
            }
            if ip.is_ipv4() != (family == "IPv4") {
                errors.push(FieldError::invalid(
                    path,
                    &address.into(),
                    format!("must be an {family} address"),
                ));
            }
            let special = special_ip_error(address);
            errors.extend(special.map(|why| FieldError::invalid(place, &address.into(), why)));
        }
        _ => {}
    }
}

/// Errors of hints; false where there are too many to look at more.
fn check_hints(hints: &Value, list: &str, rule: Rule, path: &str, errors: &mut Vec<FieldError>) -> bool {
    let (path, hints) = (format!("{path}.hints.{list}"), items(hints, list));
    if hints.len() > HINTS_MAX {
        errors.push(FieldError::too_many(path, hints.len(), HINTS_MAX));
        return false;
    }
    let mut seen: Vec<&str> = Vec::new();
    for (i, hint) in hints.iter().enumerate() {
        let (path, name) = (format!("{path}[{i}].name"), text(hint, "name"));
        if seen.contains(&name) {
            errors.push(FieldError::duplicate(&path, &name.into()));
        }
        seen.push(name);
        check_rule(name, rule, &path, errors);
    }
    true
}
