//! Errors of claims of devices, of templates of such, and of classes.

use apiserver_json::Value;
use apiserver_meta::field::{FieldError, go_json};
use apiserver_meta::names;

use super::super::addresses::parse_range;
use super::super::pod::scheduling::check_node_selector;
use super::super::shared::{
    at, check_immutable_as, check_one_of, check_rule, has, items, number, require, text,
};
use super::parts::{
    EFFECTS, as_text, check_binding_conditions, check_configuration, check_driver, check_fully_qualified,
    check_label, check_list, check_pool, check_raw, check_selectors, check_set,
};

const REQUESTS_MAX: usize = 32;
const CHOICES_MAX: usize = 8;
const CONSTRAINTS_MAX: usize = 32;
const CONFIGS_MAX: usize = 32;
const USERS_MAX: usize = 256;
const IPS_MAX: usize = 16;
const STATUS_CONDITIONS_MAX: usize = 8;
const STATUS_DATA_BYTES_MAX: usize = 10 * 1024;

const NOT_A_REQUEST: &str =
    "must be the name of a request in the claim or the name of a request and a subrequest separated by '/'";

/// Errors of what a claim asks for.
pub(super) fn check_claim(spec: &Value, path: &str) -> Vec<FieldError> {
    let (devices, path) = (at(spec, &["devices"]), format!("{path}.devices"));
    let known = request_names(devices);
    let mut errors = Vec::new();
    let by_name = |request: &Value| text(request, "name").to_owned();
    let requests = items(devices, "requests");
    check_set(requests, REQUESTS_MAX, &format!("{path}.requests"), by_name, &check_request, &mut errors);
    let constraint = |constraint: &Value, path: &str, errors: &mut Vec<FieldError>| {
        check_references(constraint, &known, path, errors);
        if has(constraint, "matchAttribute") {
            let path = format!("{path}.matchAttribute");
            check_fully_qualified(text(constraint, "matchAttribute"), &path, errors);
        } else if has(constraint, "distinctAttribute") {
            let path = format!("{path}.distinctAttribute");
            check_fully_qualified(text(constraint, "distinctAttribute"), &path, errors);
        } else {
            let why = "exactly one of \"matchAttribute\" or \"distinctAttribute\" is required, but multiple fields are set";
            errors.push(FieldError::required(path, why));
        }
    };
    let constraints = items(devices, "constraints");
    check_list(constraints, CONSTRAINTS_MAX, &format!("{path}.constraints"), &constraint, &mut errors);
    let config = |config: &Value, path: &str, errors: &mut Vec<FieldError>| {
        check_references(config, &known, path, errors);
        check_configuration(config, false, path, errors);
    };
    check_list(items(devices, "config"), CONFIGS_MAX, &format!("{path}.config"), &config, &mut errors);
    errors
}

/// What configurations may name: requests, and choices within them as `request/choice`.
fn request_names(devices: &Value) -> Vec<String> {
    let mut names = Vec::new();
    for request in items(devices, "requests") {
        let name = text(request, "name");
        names.push(name.to_owned());
        let choices = items(request, "firstAvailable").iter();
        names.extend(choices.map(|choice| format!("{name}/{}", text(choice, "name"))));
    }
    names
}

fn check_references(holder: &Value, known: &[String], path: &str, errors: &mut Vec<FieldError>) {
    let check = |name: &Value, path: &str, errors: &mut Vec<FieldError>| {
        check_reference(name.as_str().unwrap_or(""), known, path, errors);
    };
    let path = format!("{path}.requests");
    check_set(items(holder, "requests"), REQUESTS_MAX, &path, as_text, &check, errors);
}

fn check_reference(name: &str, known: &[String], path: &str, errors: &mut Vec<FieldError>) {
    if name.matches('/').count() > 1 {
        errors.push(FieldError::invalid(path, &name.into(), NOT_A_REQUEST));
        return;
    }
    name.split('/').for_each(|part| check_label(part, path, errors));
    if !known.iter().any(|other| other == name) {
        errors.push(FieldError::invalid(path, &name.into(), NOT_A_REQUEST));
    }
}

fn check_request(request: &Value, path: &str, errors: &mut Vec<FieldError>) {
    check_label(text(request, "name"), &format!("{path}.name"), errors);
    let (exactly, choices) = (at(request, &["exactly"]), items(request, "firstAvailable"));
    let why = "exactly one of `exactly` or `firstAvailable` is required";
    match (exactly.is_null(), choices.is_empty()) {
        (true, true) => errors.push(FieldError::required(path, why)),
        (false, false) => {
            let why = format!("{why}, but multiple fields are set");
            errors.push(FieldError::invalid(path, &Value::Null, why));
        }
        (false, true) => check_demand(exactly, &format!("{path}.exactly"), errors),
        (true, false) => {
            let check = |choice: &Value, path: &str, errors: &mut Vec<FieldError>| {
                check_label(text(choice, "name"), &format!("{path}.name"), errors);
                check_demand(choice, path, errors);
            };
            let by_name = |choice: &Value| text(choice, "name").to_owned();
            check_set(choices, CHOICES_MAX, &format!("{path}.firstAvailable"), by_name, &check, errors);
        }
    }
}

/// What one request, or one choice of it, demands.
fn check_demand(demand: &Value, path: &str, errors: &mut Vec<FieldError>) {
    if require(demand, "deviceClassName", path, errors) {
        let class = text(demand, "deviceClassName");
        check_rule(class, names::dns1123_subdomain, format_args!("{path}.deviceClassName"), errors);
    }
    check_selectors(demand, path, errors);
    let count = number(demand, "count").unwrap_or(0);
    let place = format!("{path}.count");
    match text(demand, "allocationMode") {
        "All" if count != 0 => {
            let why = "must not be specified when allocationMode is 'All'";
            errors.push(FieldError::invalid(place, &count.into(), why));
        }
        "ExactCount" if count <= 0 => {
            errors.push(FieldError::invalid(place, &count.into(), "must be greater than zero"));
        }
        "All" | "ExactCount" => {}
        other => {
            let path = format!("{path}.allocationMode");
            errors.push(FieldError::not_supported(path, &other.into(), &["All", "ExactCount"]));
        }
    }
    for (i, toleration) in items(demand, "tolerations").iter().enumerate() {
        check_toleration(toleration, &format!("{path}.tolerations[{i}]"), errors);
    }
}

fn check_toleration(toleration: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let (key, value) = (text(toleration, "key"), text(toleration, "value"));
    if !key.is_empty() {
        check_rule(key, names::qualified_name, format_args!("{path}.key"), errors);
    }
    match text(toleration, "operator") {
        "Exists" if !value.is_empty() => {
            let why = "must be empty for operator `Exists`";
            errors.push(FieldError::invalid(format!("{path}.value"), &value.into(), why));
        }
        "Exists" => {}
        "Equal" => check_rule(value, names::label_value, format_args!("{path}.value"), errors),
        "" => errors.push(FieldError::required(format!("{path}.operator"), "")),
        other => {
            let path = format!("{path}.operator");
            errors.push(FieldError::not_supported(path, &other.into(), &["Equal", "Exists"]));
        }
    }
    check_one_of(toleration, "effect", format_args!("{path}.effect"), EFFECTS, errors);
}

/// Errors of a class. What it had before may break rules that are younger than it.
pub(super) fn check_class(spec: &Value, old: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    check_selectors(spec, "spec", &mut errors);
    let stored = spec.get("config") == old.get("config");
    let config = |config: &Value, path: &str, errors: &mut Vec<FieldError>| {
        check_configuration(config, stored, path, errors);
    };
    check_list(items(spec, "config"), CONFIGS_MAX, "spec.config", &config, &mut errors);
    let name = text(spec, "extendedResourceName");
    if has(spec, "extendedResourceName") && !super::super::resources::is_extended(name) {
        let why = "must be a valid extended resource name";
        errors.push(FieldError::invalid("spec.extendedResourceName", &name.into(), why));
    }
    errors
}

/// Errors of an updated status: who uses the claim, and what it was given.
pub(super) fn check_status(new: &Value, old: &Value) -> Vec<FieldError> {
    let (status, before) = (at(new, &["status"]), at(old, &["status"]));
    let mut errors = Vec::new();
    let user = |user: &Value, path: &str, errors: &mut Vec<FieldError>| {
        for member in ["resource", "name", "uid"] {
            require(user, member, path, errors);
        }
    };
    let users = items(status, "reservedFor");
    let by_uid = |user: &Value| text(user, "uid").to_owned();
    check_set(users, USERS_MAX, "status.reservedFor", by_uid, &user, &mut errors);
    let allocation = at(status, &["allocation"]);
    let given = items(at(allocation, &["devices"]), "results");
    for (i, device) in items(status, "devices").iter().enumerate() {
        check_device_status(device, given, &format!("status.devices[{i}]"), &mut errors);
    }
    if !users.is_empty() && allocation.is_null() {
        let why = "may not be specified when `allocated` is not set";
        errors.push(FieldError::forbidden("status.reservedFor", why));
    } else if crate::object::is_deleting(new)
        && users.iter().any(|user| !items(before, "reservedFor").contains(user))
    {
        let why = "new entries may not be added while `deallocationRequested` or `deletionTimestamp` are set";
        errors.push(FieldError::forbidden("status.reservedFor", why));
    }
    let was_given = at(before, &["allocation"]);
    if !was_given.is_null() && !allocation.is_null() {
        let path = "status.allocation";
        check_immutable_as("*resource.AllocationResult", allocation, was_given, path, &mut errors);
    } else if !allocation.is_null() {
        check_allocation(allocation, &request_names(at(new, &["spec", "devices"])), &mut errors);
    }
    errors
}

fn check_allocation(allocation: &Value, known: &[String], errors: &mut Vec<FieldError>) {
    let path = "status.allocation";
    let devices = at(allocation, &["devices"]);
    let result = |result: &Value, path: &str, errors: &mut Vec<FieldError>| {
        check_reference(text(result, "request"), known, &format!("{path}.request"), errors);
        check_driver(text(result, "driver"), &format!("{path}.driver"), errors);
        check_pool(text(result, "pool"), &format!("{path}.pool"), errors);
        check_label(text(result, "device"), &format!("{path}.device"), errors);
        check_binding_conditions(result, path, errors);
        check_share(result, path, errors);
    };
    let results = format!("{path}.devices.results");
    check_list(items(devices, "results"), REQUESTS_MAX, &results, &result, errors);
    let config = |config: &Value, path: &str, errors: &mut Vec<FieldError>| {
        if require(config, "source", path, errors) {
            let known = ["FromClaim", "FromClass"];
            check_one_of(config, "source", format_args!("{path}.source"), &known, errors);
        }
        check_references(config, known, path, errors);
        check_configuration(config, false, path, errors);
    };
    // Those of the class and those of the claim.
    check_list(items(devices, "config"), 2 * CONFIGS_MAX, &format!("{path}.devices.config"), &config, errors);
    if has(allocation, "nodeSelector") {
        check_node_selector(at(allocation, &["nodeSelector"]), &format!("{path}.nodeSelector"), errors);
    }
}

fn check_device_status(device: &Value, given: &[Value], path: &str, errors: &mut Vec<FieldError>) {
    check_driver(text(device, "driver"), &format!("{path}.driver"), errors);
    check_pool(text(device, "pool"), &format!("{path}.pool"), errors);
    check_label(text(device, "device"), &format!("{path}.device"), errors);
    check_share(device, path, errors);
    const ID: [(&str, &str); 4] =
        [("Driver", "driver"), ("Pool", "pool"), ("Device", "device"), ("ShareID", "shareID")];
    let same = |other: &&Value| ID.iter().all(|(_, member)| text(device, member) == text(other, member));
    if given.iter().find(same).is_none() {
        let shown = ID.map(|(name, member)| format!("{name:?}:{}", go_json(&text(device, member).into())));
        let value = format!("{{{}}}", shown.join(","));
        let why = "must be an allocated device in the claim";
        errors.push(FieldError { value, ..FieldError::invalid(path, &Value::Null, why) });
    }
    let conditions = items(device, "conditions").len();
    if conditions > STATUS_CONDITIONS_MAX {
        let path = format!("{path}.conditions");
        errors.push(FieldError::too_many(path, conditions, STATUS_CONDITIONS_MAX));
    }
    super::super::conditions::check(device, path, errors);
    if has(device, "data") {
        check_raw(at(device, &["data"]), STATUS_DATA_BYTES_MAX, &format!("{path}.data"), errors);
    }
    check_network(at(device, &["networkData"]), &format!("{path}.networkData"), errors);
}

/// What is given to several has an id each time.
fn check_share(device: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let Some(id) = device.get("shareID").and_then(Value::as_str) else { return };
    let why = match uuid::Uuid::try_parse(id) {
        Err(_) if !matches!(id.len(), 32 | 36 | 38 | 45) => {
            format!("error validating uid: invalid UUID length: {}", id.len())
        }
        Err(_) => "error validating uid: invalid UUID format".to_owned(),
        Ok(_) if id.len() != 36 || id.chars().any(|c| c.is_ascii_uppercase()) => "uid must be in RFC 4122 normalized form, `xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx` with lowercase hexadecimal characters".to_owned(),
        Ok(_) => return,
    };
    errors.push(FieldError::invalid(format!("{path}.shareID"), &id.into(), why));
}

fn check_network(data: &Value, path: &str, errors: &mut Vec<FieldError>) {
    for (member, max) in [("interfaceName", 256), ("hardwareAddress", 128)] {
        if text(data, member).len() > max {
            errors.push(FieldError::too_long(format!("{path}.{member}"), max));
        }
    }
    let check = |address: &Value, path: &str, errors: &mut Vec<FieldError>| {
        let sent = address.as_str().unwrap_or("");
        let why = match parse_range(sent) {
            None => "must be a valid address in CIDR form, (e.g. 10.9.8.7/24 or 2001:db8::1/64)".to_owned(),
            Some((ip, length)) if format!("{ip}/{length}") != sent => {
                format!("must be in canonical form ({:?})", format!("{ip}/{length}"))
            }
            Some(_) => return,
        };
        errors.push(FieldError::invalid(path, address, why));
    };
    check_set(items(data, "ips"), IPS_MAX, &format!("{path}.ips"), as_text, &check, errors);
}
