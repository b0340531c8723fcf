//! Errors of slices: pools of devices, their attributes, what they share, and where they are.

use apiserver_json::{Map, Value, json};
use apiserver_meta::field::FieldError;
use apiserver_meta::names;

use super::super::pod::scheduling::check_node_selector;
use super::super::shared::{
    at, check_immutable, check_rule, has, invalid_as, is_true, items, number, require, text,
};
use super::capacity::check_policy;
use super::parts::{
    EFFECTS, check_binding_conditions, check_driver, check_label, check_list, check_map, check_pool,
    check_qualified, check_set,
};

const DEVICES_MAX: usize = 128;
/// Of those with taints, counters or lists of values.
const RICH_DEVICES_MAX: usize = 64;
const COUNTER_SETS_MAX: usize = 8;
const COUNTERS_MAX: usize = 32;
const CONSUMPTIONS_MAX: usize = 2;
const TAINTS_MAX: usize = 16;
const ATTRIBUTES_MAX: usize = 32;
const ATTRIBUTE_VALUES_MAX: usize = 48;
const VALUE_BYTES_MAX: usize = 64;

pub(super) const LISTS: [&str; 4] = ["bools", "ints", "strings", "versions"];

/// Errors of a new or an updated slice.
pub(super) fn check_slice(new: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let spec = at(new, &["spec"]);
    let mut errors = Vec::new();
    check_driver(text(spec, "driver"), "spec.driver", &mut errors);
    check_pool_of(at(spec, &["pool"]), &mut errors);
    if let Some(before) = old.map(|old| at(old, &["spec"])) {
        let same = |path: &[&str], errors: &mut Vec<FieldError>| {
            check_immutable(at(spec, path), at(before, path), &format!("spec.{}", path.join(".")), errors);
        };
        same(&["pool", "name"], &mut errors);
        same(&["driver"], &mut errors);
        same(&["nodeName"], &mut errors);
    }
    check_place(spec, &mut errors);
    if has(spec, "sharedCounters") && has(spec, "devices") {
        let why = "only one of `sharedCounters` or `devices` is allowed";
        errors.push(FieldError::invalid("spec", &"".into(), why));
    }
    let devices = items(spec, "devices");
    let max = if devices.iter().any(is_rich) { RICH_DEVICES_MAX } else { DEVICES_MAX };
    let before = old.map_or(&[][..], |old| items(at(old, &["spec"]), "devices"));
    let check = |device: &Value, path: &str, errors: &mut Vec<FieldError>| {
        let old = before.iter().find(|other| text(other, "name") == text(device, "name"));
        check_device(device, old, is_true(spec, "perDeviceNodeSelection"), path, errors);
    };
    let by_name = |item: &Value| text(item, "name").to_owned();
    check_set(devices, max, "spec.devices", by_name, &check, &mut errors);
    let sets = items(spec, "sharedCounters");
    let check = |set: &Value, path: &str, errors: &mut Vec<FieldError>| {
        check_counters(set, "name", path, errors);
    };
    check_set(sets, COUNTER_SETS_MAX, "spec.sharedCounters", by_name, &check, &mut errors);
    errors
}

fn is_rich(device: &Value) -> bool {
    let lists = |attribute: &Value| LISTS.iter().any(|list| has(attribute, list));
    !items(device, "taints").is_empty()
        || !items(device, "consumesCounters").is_empty()
        || members(device, "attributes").into_iter().flatten().any(|(_, attribute)| lists(attribute))
}

fn members<'a>(holder: &'a Value, member: &str) -> Option<&'a Map> {
    holder.get(member).and_then(Value::as_object)
}

fn check_pool_of(pool: &Value, errors: &mut Vec<FieldError>) {
    check_pool(text(pool, "name"), "spec.pool.name", errors);
    let (count, generation) =
        (number(pool, "resourceSliceCount").unwrap_or(0), number(pool, "generation").unwrap_or(0));
    if count <= 0 {
        let why = "must be greater than zero";
        errors.push(FieldError::invalid("spec.pool.resourceSliceCount", &count.into(), why));
    }
    if generation < 0 {
        let why = "must be greater than or equal to zero";
        errors.push(FieldError::invalid("spec.pool.generation", &generation.into(), why));
    }
}

/// Where the devices are: one way to say it.
fn check_place(spec: &Value, errors: &mut Vec<FieldError>) {
    const WHY: &str =
        "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required";
    let mut said = check_nodes(spec, "must be either unset or set to a non-empty string", "spec", errors);
    let terms = items(at(spec, &["nodeSelector"]), "nodeSelectorTerms");
    if has(spec, "nodeSelector") && terms.len() != 1 {
        let path = "spec.nodeSelector.nodeSelectorTerms";
        let shown = at(spec, &["nodeSelector", "nodeSelectorTerms"]);
        let why = "must have exactly one node selector term";
        errors.push(invalid_as("[core.NodeSelectorTerm", path, shown, why));
    }
    check_all_nodes(spec, "spec", &mut said, errors);
    match spec.get("perDeviceNodeSelection") {
        Some(Value::Bool(true)) => said.push("`perDeviceNodeSelection`"),
        Some(Value::Bool(false)) => {
            let path = "spec.perDeviceNodeSelection";
            errors.push(FieldError::invalid(path, &false.into(), "must be either unset or set to true"));
        }
        _ => {}
    }
    match said.len() {
        0 => errors.push(FieldError::required("spec", WHY)),
        1 => {}
        _ => {
            let shown = format!("{{{}}}", said.join(", "));
            let why = format!("{WHY}, but multiple fields are set");
            errors.push(FieldError::invalid("spec", &shown.into(), why));
        }
    }
}

/// Errors of a node's name or a selector of nodes; what of them is said.
fn check_nodes(holder: &Value, empty: &str, path: &str, errors: &mut Vec<FieldError>) -> Vec<&'static str> {
    let mut said = Vec::new();
    if has(holder, "nodeName") {
        let (name, place) = (text(holder, "nodeName"), format!("{path}.nodeName"));
        if name.is_empty() {
            errors.push(FieldError::invalid(place, &"".into(), empty));
        } else {
            said.push("`nodeName`");
            check_rule(name, names::dns1123_subdomain, &place, errors);
        }
    }
    if has(holder, "nodeSelector") {
        said.push("`nodeSelector`");
        check_node_selector(at(holder, &["nodeSelector"]), &format!("{path}.nodeSelector"), errors);
    }
    said
}

fn check_all_nodes(holder: &Value, path: &str, said: &mut Vec<&'static str>, errors: &mut Vec<FieldError>) {
    match holder.get("allNodes") {
        Some(Value::Bool(true)) => said.push("`allNodes`"),
        Some(Value::Bool(false)) => {
            let why = "must be either unset or set to true";
            errors.push(FieldError::invalid(format!("{path}.allNodes"), &false.into(), why));
        }
        _ => {}
    }
}

fn check_counters(holder: &Value, member: &str, path: &str, errors: &mut Vec<FieldError>) {
    if require(holder, member, path, errors) {
        check_label(text(holder, member), &format!("{path}.{member}"), errors);
    }
    if require(holder, "counters", path, errors) {
        let path = format!("{path}.counters");
        check_map(members(holder, "counters"), COUNTERS_MAX, &path, check_label, &|_, _, _| {}, errors);
    }
}

fn check_device(
    device: &Value,
    old: Option<&Value>,
    says_where: bool,
    path: &str,
    errors: &mut Vec<FieldError>,
) {
    check_label(text(device, "name"), &format!("{path}.name"), errors);
    check_attributes(device, path, errors);
    if old.is_none_or(|old| old.get("taints") != device.get("taints")) {
        check_list(items(device, "taints"), TAINTS_MAX, &format!("{path}.taints"), &check_taint, errors);
    }
    let check = |counters: &Value, path: &str, errors: &mut Vec<FieldError>| {
        check_counters(counters, "counterSet", path, errors);
    };
    let by_set = |counters: &Value| text(counters, "counterSet").to_owned();
    let place = format!("{path}.consumesCounters");
    check_set(items(device, "consumesCounters"), CONSUMPTIONS_MAX, &place, by_set, &check, errors);
    check_device_place(device, says_where, path, errors);
    check_binding_conditions(device, path, errors);
}

fn check_device_place(device: &Value, says_where: bool, path: &str, errors: &mut Vec<FieldError>) {
    const WHY: &str = "exactly one of `nodeName`, `nodeSelector`, or `allNodes` is required when `perDeviceNodeSelection` is set to true in the ResourceSlice spec";
    if !says_where {
        if ["nodeName", "nodeSelector", "allNodes"].iter().any(|member| has(device, member)) {
            let why = "`nodeName`, `nodeSelector` and `allNodes` can only be set if `perDeviceNodeSelection` is set to true in the ResourceSlice spec";
            errors.push(FieldError::invalid(path, &Value::Null, why));
        }
        return;
    }
    let mut said = check_nodes(device, "must not be empty", path, errors);
    check_all_nodes(device, path, &mut said, errors);
    match said.len() {
        0 => errors.push(FieldError::required(path, WHY)),
        1 => {}
        _ => {
            let shown = format!("{{{}}}", said.join(", "));
            errors.push(FieldError::invalid(path, &shown.into(), WHY));
        }
    }
}

fn check_attributes(device: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let (attributes, capacity) = (members(device, "attributes"), members(device, "capacity"));
    let count = attributes.map_or(0, Map::len) + capacity.map_or(0, Map::len);
    if count > ATTRIBUTES_MAX {
        let why = format!("the total number of attributes and capacities must not exceed {ATTRIBUTES_MAX}");
        errors.push(FieldError::invalid(path, &json!(count), why));
    }
    let of_lists = |attribute: &Value| LISTS.iter().map(|list| items(attribute, list).len()).sum::<usize>();
    let values: usize =
        attributes.into_iter().flatten().map(|(_, attribute)| of_lists(attribute).max(1)).sum();
    if values > ATTRIBUTE_VALUES_MAX {
        let why = format!("the total number of attribute values must not exceed {ATTRIBUTE_VALUES_MAX}");
        errors.push(FieldError::invalid(path, &json!(values), why));
    }
    let place = format!("{path}.attributes");
    check_map(attributes, usize::MAX, &place, check_qualified, &check_attribute, errors);
    let is_shared = is_true(device, "allowMultipleAllocations");
    let check = |capacity: &Value, path: &str, errors: &mut Vec<FieldError>| {
        let path = format!("{path}.requestPolicy");
        if !has(capacity, "requestPolicy") {
        } else if is_shared {
            check_policy(capacity, &path, errors);
        } else {
            errors.push(FieldError::forbidden(path, "allowMultipleAllocations must be true"));
        }
    };
    check_map(capacity, usize::MAX, &format!("{path}.capacity"), check_qualified, &check, errors);
}

fn check_attribute(attribute: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let kinds = ["bool", "int", "string", "version"];
    let said = kinds.iter().chain(&LISTS).filter(|member| has(attribute, member)).count();
    if has(attribute, "string") {
        check_length(text(attribute, "string"), &format!("{path}.string"), errors);
    }
    if has(attribute, "version") {
        check_version(text(attribute, "version"), &format!("{path}.version"), errors);
    }
    for member in LISTS.iter().filter(|member| has(attribute, member)) {
        let (list, path) = (items(attribute, member), format!("{path}.{member}"));
        if list.is_empty() {
            errors.push(FieldError::invalid(&path, &json!([]), "must not be empty if specified"));
        }
        for (i, item) in list.iter().enumerate() {
            let (item, path) = (item.as_str().unwrap_or(""), format!("{path}[{i}]"));
            match *member {
                "strings" => check_length(item, &path, errors),
                "versions" => check_version(item, &path, errors),
                _ => {}
            }
        }
    }
    let why = "exactly one value must be specified";
    match said {
        0 => errors.push(FieldError::invalid(path, &"".into(), why)),
        1 => {}
        _ => errors.push(invalid_as("resource.DeviceAttribute", path, attribute, why)),
    }
}

fn check_length(value: &str, path: &str, errors: &mut Vec<FieldError>) {
    if value.len() > VALUE_BYTES_MAX {
        errors.push(FieldError::too_long(path, VALUE_BYTES_MAX));
    }
}

fn check_version(value: &str, path: &str, errors: &mut Vec<FieldError>) {
    if !is_semantic_version(value) {
        let why = "must be a string compatible with semver.org spec 2.0.0";
        errors.push(FieldError::invalid(path, &value.into(), why));
    }
    check_length(value, path, errors);
}

/// Is this `1.2.3`, perhaps with `-pre.release` and `+build`?
fn is_semantic_version(value: &str) -> bool {
    let (value, build) = value.split_once('+').map_or((value, None), |(value, build)| (value, Some(build)));
    let (value, release) = value.split_once('-').map_or((value, None), |(value, rest)| (value, Some(rest)));
    let numeric = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let number = |part: &str| numeric(part) && (part == "0" || !part.starts_with('0'));
    let word = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    value.split('.').count() == 3
        && value.split('.').all(number)
        && release
            .is_none_or(|text| text.split('.').all(|part| word(part) && (!numeric(part) || number(part))))
        && build.is_none_or(|text| text.split('.').all(word))
}

/// Errors of a taint of a device.
fn check_taint(taint: &Value, path: &str, errors: &mut Vec<FieldError>) {
    check_rule(text(taint, "key"), names::qualified_name, format_args!("{path}.key"), errors);
    check_rule(text(taint, "value"), names::label_value, format_args!("{path}.value"), errors);
    if require(taint, "effect", path, errors) {
        super::super::shared::check_one_of(taint, "effect", format_args!("{path}.effect"), EFFECTS, errors);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_semantic() {
        for good in ["1.2.3", "0.0.0-a.1", "1.0.0-0a+01.b", "1.0.0+b-c"] {
            assert!(is_semantic_version(good), "{good}");
        }
        for bad in ["", "1.2", "1.2.03", "1.2.3-", "1.2.3-01", "1.2.3+", "v1.2.3", "1.2.3+a+b"] {
            assert!(!is_semantic_version(bad), "{bad}");
        }
    }
}
