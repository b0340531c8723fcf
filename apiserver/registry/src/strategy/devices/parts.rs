//! What the checks of devices share: lists with a bound, names, selectors, opaque configurations.

use apiserver_cel::device_selector_error;
use apiserver_json::{Map, Value};
use apiserver_meta::field::FieldError;
use apiserver_meta::names;

use super::super::shared::{at, check_rule, items, text};

const ID_BYTES_MAX: usize = 32;
const DRIVER_BYTES_MAX: usize = 63;
const SELECTORS_MAX: usize = 32;
const EXPRESSION_BYTES_MAX: usize = 10 * 1024;
const PARAMETERS_BYTES_MAX: usize = 10 * 1024;
/// Bytes of a key that a path shows: a domain, a slash, a name.
const KEY_BYTES_SHOWN: usize = 96;

pub(super) const CONDITIONS_MAX: usize = 4;
pub(super) const EFFECTS: &[&str] = &["NoExecute", "NoSchedule", "None"];

/// One check of a value at a path.
pub(super) type Check<'c> = &'c dyn Fn(&Value, &str, &mut Vec<FieldError>);

/// Errors of a list that has at most `max` items: of too long a one nothing else is told.
pub(super) fn check_list(
    list: &[Value],
    max: usize,
    path: &str,
    check: Check<'_>,
    errors: &mut Vec<FieldError>,
) {
    if list.len() > max {
        errors.push(FieldError::too_many(path, list.len(), max));
        return;
    }
    for (i, item) in list.iter().enumerate() {
        check(item, &format!("{path}[{i}]"), errors);
    }
}

/// As [`check_list`], of one whose items' keys differ.
pub(super) fn check_set(
    list: &[Value],
    max: usize,
    path: &str,
    key: impl Fn(&Value) -> String,
    check: Check<'_>,
    errors: &mut Vec<FieldError>,
) {
    check_list(list, max, path, check, errors);
    if list.len() > max {
        return;
    }
    let mut seen: Vec<String> = Vec::new();
    for (i, item) in list.iter().enumerate() {
        let key = key(item);
        if seen.contains(&key) {
            errors.push(FieldError::duplicate(format!("{path}[{i}]"), &key.into()));
        } else {
            seen.push(key);
        }
    }
}

/// Errors of a map: of its keys, told of the map itself, and of its values.
pub(super) fn check_map(
    map: Option<&Map>,
    max: usize,
    path: &str,
    check_key: fn(&str, &str, &mut Vec<FieldError>),
    check: Check<'_>,
    errors: &mut Vec<FieldError>,
) {
    let count = map.map_or(0, Map::len);
    if count > max {
        errors.push(FieldError::too_many(path, count, max));
        return;
    }
    for (key, item) in map.into_iter().flatten() {
        check_key(key, path, errors);
        check(item, &format!("{path}[{}]", shortened(key)), errors);
    }
}

/// A key as paths show it: without its middle where it is long.
fn shortened(key: &str) -> String {
    let parts = || {
        let kept = KEY_BYTES_SHOWN - 3;
        Some((key.get(..kept.div_ceil(2))?, key.get(key.len() - kept / 2..)?))
    };
    match parts().filter(|_| key.len() > KEY_BYTES_SHOWN) {
        Some((start, end)) => format!("{start}...{end}"),
        None => key.to_owned(),
    }
}

/// The text an item of a list is.
pub(super) fn as_text(item: &Value) -> String {
    item.as_str().unwrap_or("").to_owned()
}

pub(super) fn check_label(name: &str, path: &str, errors: &mut Vec<FieldError>) {
    check_rule(name, names::dns1123_label, path, errors);
}

/// A driver has the name of a CSI driver: `ValidateCSIDriverName`.
pub(super) fn check_driver(name: &str, path: &str, errors: &mut Vec<FieldError>) {
    if name.is_empty() {
        errors.push(FieldError::required(path, ""));
        return;
    }
    if name.len() > DRIVER_BYTES_MAX {
        errors.push(FieldError::too_long(path, DRIVER_BYTES_MAX));
    }
    let problems = names::dns1123_subdomain(&name.to_lowercase());
    errors.extend(problems.into_iter().map(|why| FieldError::invalid(path, &name.into(), why)));
}

/// A pool's name is made of subdomains.
pub(super) fn check_pool(name: &str, path: &str, errors: &mut Vec<FieldError>) {
    if name.is_empty() {
        errors.push(FieldError::required(path, ""));
        return;
    }
    if name.len() > 253 {
        errors.push(FieldError::too_long(path, 253));
    }
    for part in name.split('/') {
        check_rule(part, names::dns1123_subdomain, path, errors);
    }
}

fn check_identifier(name: &str, path: &str, errors: &mut Vec<FieldError>) {
    if name.len() > ID_BYTES_MAX {
        errors.push(FieldError::too_long(path, ID_BYTES_MAX));
    }
    check_rule(name, names::c_identifier, path, errors);
}

/// A name of an attribute or a capacity, with its domain or without.
pub(super) fn check_qualified(name: &str, path: &str, errors: &mut Vec<FieldError>) {
    let parts: Vec<&str> = name.split('/').collect();
    match parts.as_slice() {
        [name] => check_identifier(name, path, errors),
        [domain, name] => {
            if domain.is_empty() {
                errors.push(FieldError::invalid(path, &"".into(), "the domain must not be empty"));
            } else {
                check_driver(domain, path, errors);
            }
            if name.is_empty() {
                errors.push(FieldError::invalid(path, &"".into(), "the name must not be empty"));
            } else {
                check_identifier(name, path, errors);
            }
        }
        // More than one slash is fine upstream, too.
        _ => {}
    }
}

pub(super) fn check_fully_qualified(name: &str, path: &str, errors: &mut Vec<FieldError>) {
    check_qualified(name, path, errors);
    if !name.contains('/') {
        let why = "a fully qualified name must be a domain and a name separated by a slash";
        errors.push(FieldError::invalid(path, &name.into(), why));
    }
}

/// Errors of expressions that choose devices.
pub(super) fn check_selectors(holder: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let path = format!("{path}.selectors");
    check_list(items(holder, "selectors"), SELECTORS_MAX, &path, &check_selector, errors);
}

fn check_selector(selector: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let cel = at(selector, &["cel"]);
    if cel.is_null() {
        errors.push(FieldError::required(format!("{path}.cel"), ""));
        return;
    }
    let (expression, path) = (text(cel, "expression"), format!("{path}.cel.expression"));
    if expression.len() > EXPRESSION_BYTES_MAX {
        errors.push(FieldError::too_long(path, EXPRESSION_BYTES_MAX));
    } else if let Some(why) = device_selector_error(expression) {
        errors.push(FieldError::invalid(path, &expression.into(), why));
    }
}

/// Errors of what is handed to a driver. Parameters that were there before may be longer.
pub(super) fn check_configuration(config: &Value, stored: bool, path: &str, errors: &mut Vec<FieldError>) {
    let (opaque, path) = (at(config, &["opaque"]), format!("{path}.opaque"));
    if opaque.is_null() {
        errors.push(FieldError::required(path, ""));
        return;
    }
    check_driver(text(opaque, "driver"), &format!("{path}.driver"), errors);
    let max = if stored { usize::MAX } else { PARAMETERS_BYTES_MAX };
    check_raw(at(opaque, &["parameters"]), max, &format!("{path}.parameters"), errors);
}

/// Errors of a value of whatever members.
pub(super) fn check_raw(value: &Value, max: usize, path: &str, errors: &mut Vec<FieldError>) {
    if value.is_null() {
        errors.push(FieldError::required(path, ""));
    } else if value.to_string().len() > max {
        errors.push(FieldError::too_long(path, max));
    } else if !value.is_object() {
        errors.push(FieldError::invalid(path, &"<value omitted>".into(), "must be a valid JSON object"));
    }
}

/// Errors of conditions that a device must have, or must not have, before it is bound.
pub(super) fn check_binding_conditions(device: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let members = ["bindingConditions", "bindingFailureConditions"];
    let check = |item: &Value, path: &str, errors: &mut Vec<FieldError>| {
        check_rule(item.as_str().unwrap_or(""), names::qualified_name, path, errors);
    };
    for member in members {
        check_list(items(device, member), CONDITIONS_MAX, &format!("{path}.{member}"), &check, errors);
    }
    let [wanted, failures] = members.map(|member| items(device, member));
    for (member, list) in [(members[0], wanted), (members[1], failures)] {
        for (i, condition) in list.iter().enumerate() {
            let path = format!("{path}.{member}[{i}]");
            if list[..i].contains(condition) {
                errors.push(FieldError::duplicate(&path, condition));
            }
            if member == members[1] && wanted.contains(condition) {
                let why = "bindingFailureConditions must not overlap with bindingConditions";
                errors.push(FieldError::invalid(path, condition, why));
            }
        }
    }
    for (missing, there) in [(members[0], members[1]), (members[1], members[0])] {
        if items(device, missing).is_empty() && !items(device, there).is_empty() {
            let why = format!("{missing} are required to use {there}");
            errors.push(FieldError::invalid(format!("{path}.{missing}"), at(device, &[missing]), why));
        }
    }
}
