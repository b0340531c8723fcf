//! Helpers that defaulting and validation of many kinds share.

use std::fmt::Display;
use std::net::IpAddr;

use apiserver_json::{Map, Value, json};
use apiserver_meta::field::FieldError;
use apiserver_meta::names;
use apiserver_schema::internal_json;

/// Sets a member where it is missing, or nothing.
pub(crate) fn default(object: &mut Map, member: &str, value: impl Into<Value>) {
    if object.get(member).is_none_or(Value::is_null) {
        object.insert(member.into(), value.into());
    }
}

/// Sets a string member where it is missing or empty.
pub(crate) fn default_text(object: &mut Map, member: &str, value: &str) {
    if object.get(member).and_then(Value::as_str).is_none_or(str::is_empty) {
        object.insert(member.into(), value.into());
    }
}

/// The object at a path of members, where there is one.
pub(crate) fn at_mut<'a>(object: &'a mut Value, path: &[&str]) -> Option<&'a mut Map> {
    let mut place = object;
    for member in path {
        place = place.get_mut(member)?;
    }
    place.as_object_mut()
}

/// The value at a path of members; null where there is none.
pub(crate) fn at<'a>(object: &'a Value, path: &[&str]) -> &'a Value {
    let mut place = object;
    for member in path {
        match place.get(member) {
            Some(next) => place = next,
            None => return &Value::Null,
        }
    }
    place
}

pub(crate) fn text<'a>(object: &'a Value, member: &str) -> &'a str {
    object.get(member).and_then(Value::as_str).unwrap_or("")
}

pub(crate) fn items<'a>(object: &'a Value, member: &str) -> &'a [Value] {
    object.get(member).and_then(Value::as_array).unwrap_or_default()
}

pub(crate) fn items_mut<'a>(object: &'a mut Value, member: &str) -> impl Iterator<Item = &'a mut Value> {
    object.get_mut(member).and_then(Value::as_array_mut).into_iter().flatten()
}

pub(crate) fn number(object: &Value, member: &str) -> Option<i64> {
    object.get(member).and_then(Value::as_i64)
}

/// Is every member of the object empty or missing?
pub(crate) fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(map) => map.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::String(text) => text.is_empty(),
        _ => false,
    }
}

/// Is the member there, and not null?
pub(crate) fn has(object: &Value, member: &str) -> bool {
    object.get(member).is_some_and(|value| !value.is_null())
}

/// Is the member true? A missing one is not.
pub(crate) fn is_true(object: &Value, member: &str) -> bool {
    object.get(member).and_then(Value::as_bool) == Some(true)
}

/// A rule about a text: what is wrong with it.
pub(crate) type Rule = fn(&str) -> Vec<String>;

/// One error for each thing a rule finds wrong.
pub(crate) fn check_rule(value: &str, rule: Rule, path: impl Display, errors: &mut Vec<FieldError>) {
    errors
        .extend(rule(value).into_iter().map(|why| FieldError::invalid(path.to_string(), &value.into(), why)));
}

/// As [`check_rule`], of a member that may be missing or empty.
pub(crate) fn check_optional(
    object: &Value,
    member: &str,
    rule: Rule,
    path: impl Display,
    errors: &mut Vec<FieldError>,
) {
    let value = text(object, member);
    for why in if value.is_empty() { Vec::new() } else { rule(value) } {
        errors.push(FieldError::invalid(format!("{path}.{member}"), &value.into(), why));
    }
}

/// As [`check_optional`], of a member that must say something.
pub(crate) fn check_required(
    object: &Value,
    member: &str,
    rule: Rule,
    path: impl Display,
    errors: &mut Vec<FieldError>,
) {
    if require(object, member, &path, errors) {
        check_optional(object, member, rule, path, errors);
    }
}

/// Does a text, list or object member say something? If not, that is an error.
pub(crate) fn require(
    object: &Value,
    member: &str,
    path: impl Display,
    errors: &mut Vec<FieldError>,
) -> bool {
    let found = object.get(member).is_some_and(|value| !is_empty(value));
    if !found {
        errors.push(FieldError::required(format!("{path}.{member}"), ""));
    }
    found
}

/// Errors of a text member that must be one of `allowed`, which are printed in their order.
pub(crate) fn check_enum(
    object: &Value,
    member: &str,
    path: impl Display,
    allowed: &[&str],
    errors: &mut Vec<FieldError>,
) {
    if require(object, member, &path, errors) {
        check_set_enum(object, member, path, allowed, errors);
    }
}

/// As [`check_enum`]; a missing member is fine, an empty one is not.
pub(crate) fn check_set_enum(
    object: &Value,
    member: &str,
    path: impl Display,
    allowed: &[&str],
    errors: &mut Vec<FieldError>,
) {
    let Some(value) = object.get(member).and_then(Value::as_str) else { return };
    if !allowed.contains(&value) {
        errors.push(FieldError::not_supported_in_order(format!("{path}.{member}"), &value.into(), allowed));
    }
}

/// Errors of a number outside a range, both ends of which belong to it.
pub(crate) fn check_range(
    object: &Value,
    member: &str,
    (least, most): (i64, i64),
    path: impl Display,
    errors: &mut Vec<FieldError>,
) {
    if let Some(number) = number(object, member)
        && !(least..=most).contains(&number)
    {
        let why = format!("must be between {least} and {most}, inclusive");
        errors.push(FieldError::invalid(format!("{path}.{member}"), &number.into(), why));
    }
}

/// A struct as upstream prints its internal type: (name in Go, member), all of them, null where missing.
pub(crate) fn go_struct(value: &Value, members: &[(&str, &str)]) -> String {
    let shown: Vec<String> =
        members.iter().map(|(name, member)| format!("{name:?}:{}", at(value, &[member]))).collect();
    format!("{{{}}}", shown.join(","))
}

pub(crate) const PORT_RANGE: &str = "must be between 1 and 65535, inclusive";
pub(crate) const NOT_NEGATIVE: &str = "must be greater than or equal to 0";
pub(crate) const NOT_AN_IP: &str = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";

/// Errors of a port number.
pub(crate) fn check_port(value: &Value, path: impl Display, errors: &mut Vec<FieldError>) {
    let number = value.as_i64().unwrap_or(0);
    if !(1..=65535).contains(&number) {
        errors.push(FieldError::invalid(path.to_string(), &number.into(), PORT_RANGE));
    }
}

/// The path of a member: of many that are made few are shown, and to write them by a format takes thrice as long.
pub(crate) fn below(path: &str, member: &str) -> String {
    [path, ".", member].concat()
}

/// Errors of a port that is a number or a name.
pub(crate) fn check_port_or_name(value: &Value, path: impl Display, errors: &mut Vec<FieldError>) {
    match value {
        Value::String(name) => {
            for problem in names::port_name(name) {
                errors.push(FieldError::invalid(path.to_string(), value, problem));
            }
        }
        other => check_port(other, path, errors),
    }
}

pub(crate) fn check_not_negative(
    object: &Value,
    member: &str,
    path: impl Display,
    errors: &mut Vec<FieldError>,
) {
    if let Some(number) = number(object, member)
        && number < 0
    {
        errors.push(FieldError::invalid(path.to_string(), &number.into(), NOT_NEGATIVE));
    }
}

/// Errors of a member that must be one of `allowed`, printed sorted. A missing one is fine.
pub(crate) fn check_one_of(
    object: &Value,
    member: &str,
    path: impl Display,
    allowed: &[&str],
    errors: &mut Vec<FieldError>,
) {
    let value = text(object, member);
    if !value.is_empty() && !allowed.contains(&value) {
        errors.push(FieldError::not_supported(path.to_string(), &value.into(), allowed));
    }
}

/// Errors of a `metav1.LabelSelector`.
pub(crate) fn check_label_selector(value: &Value, path: &str, errors: &mut Vec<FieldError>) {
    for (key, label) in value.get("matchLabels").and_then(Value::as_object).into_iter().flatten() {
        for problem in names::qualified_name(key) {
            errors.push(FieldError::invalid(format!("{path}.matchLabels"), &key.clone().into(), problem));
        }
        for problem in names::label_value(label.as_str().unwrap_or("")) {
            errors.push(FieldError::invalid(format!("{path}.matchLabels"), label, problem));
        }
    }
    for (i, expression) in items(value, "matchExpressions").iter().enumerate() {
        let path = format!("{path}.matchExpressions[{i}]");
        let values = items(expression, "values");
        match text(expression, "operator") {
            "In" | "NotIn" if values.is_empty() => errors.push(FieldError::required(
                format!("{path}.values"),
                "must be specified when `operator` is 'In' or 'NotIn'",
            )),
            "Exists" | "DoesNotExist" if !values.is_empty() => errors.push(FieldError::forbidden(
                format!("{path}.values"),
                "may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
            )),
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            other => errors.push(FieldError::invalid(
                format!("{path}.operator"),
                &other.into(),
                "not a valid selector operator",
            )),
        }
        check_rule(text(expression, "key"), names::qualified_name, format_args!("{path}.key"), errors);
        for (j, value) in items(expression, "values").iter().enumerate() {
            check_rule(
                value.as_str().unwrap_or(""),
                names::label_value,
                format_args!("{path}.values[{j}]"),
                errors,
            );
        }
    }
}

/// Members of metadata that a template may not set, in the order of the Go struct and spelt as upstream tells them.
const NOT_OF_TEMPLATES: &[&str] = &[
    "name",
    "generateName",
    "namespace",
    "selfLink",
    "uID",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "ownerReferences",
    "finalizers",
    "managedFields",
];

/// Errors of the metadata of an object to be made from a template: `ValidateTemplateObjectMeta`.
pub(crate) fn check_template_metadata(metadata: &Value, path: &str, errors: &mut Vec<FieldError>) {
    crate::object::validate_annotations(metadata.get("annotations"), &below(path, "annotations"), errors);
    crate::object::validate_labels(metadata.get("labels"), format_args!("{path}.labels"), errors);
    for told in NOT_OF_TEMPLATES {
        let member = if *told == "uID" { "uid" } else { told };
        if metadata.get(member).is_some_and(|value| !value.is_null()) {
            errors.push(FieldError::forbidden(below(path, told), "cannot be set"));
        }
    }
}

/// The status member of an update is the old one's: only the status subresource writes it.
pub(crate) fn keep_status(new: &mut Value, old: &Value) {
    if let Some(object) = new.as_object_mut() {
        match old.get("status") {
            Some(status) => object.insert("status".into(), status.clone()),
            None => object.remove("status"),
        };
    }
}

/// Adds one error where a field changed that may not.
pub(crate) fn check_immutable(new: &Value, old: &Value, path: &str, errors: &mut Vec<FieldError>) {
    if !is_equal(new, old) {
        errors.push(FieldError::invalid(path, new, "field is immutable"));
    }
}

/// Equality as `equality.Semantic.DeepEqual` has it: a list that is missing is an empty one.
fn is_equal(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Null, Value::Array(list)) | (Value::Array(list), Value::Null) => list.is_empty(),
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| is_equal(a, b))
        }
        (Value::Object(a), Value::Object(b)) => {
            a.iter().all(|(key, value)| is_equal(value, b.get(key).unwrap_or(&Value::Null)))
                && b.iter().all(|(key, value)| a.contains_key(key) || is_equal(value, &Value::Null))
        }
        (a, b) => a == b,
    }
}

/// An error of a value that upstream prints as one of its internal types.
pub(crate) fn invalid_as(
    go_type: &str,
    path: impl Into<String>,
    value: &Value,
    why: impl Into<String>,
) -> FieldError {
    FieldError { value: internal_json(go_type, value), ..FieldError::invalid(path, &Value::Null, why) }
}

/// As [`check_immutable`], of a value that upstream prints as one of its internal types.
pub(crate) fn check_immutable_as(
    go_type: &str,
    new: &Value,
    old: &Value,
    path: &str,
    errors: &mut Vec<FieldError>,
) {
    if !is_equal(new, old) {
        errors.push(invalid_as(go_type, path, new, "field is immutable"));
    }
}

/// The errors of an IP address: `IsValidIPForLegacyField` with strict validation.
pub(crate) fn check_ip(value: &str, path: String, errors: &mut Vec<FieldError>) {
    let why = match value.parse::<IpAddr>() {
        Ok(IpAddr::V6(address)) if address.to_ipv4_mapped().is_some() => {
            "must not be an IPv4-mapped IPv6 address"
        }
        Ok(_) => return,
        Err(_) if has_leading_zeros(value) => "must not have leading 0s",
        Err(_) => NOT_AN_IP,
    };
    errors.push(FieldError::invalid(path, &json!(value), why));
}

/// Errors of a host's full name: `IsFullyQualifiedDomainName`.
pub(crate) fn check_fqdn(name: &str, path: &str, errors: &mut Vec<FieldError>) {
    if name.is_empty() {
        errors.push(FieldError::required(path, ""));
        return;
    }
    let name = name.strip_suffix('.').unwrap_or(name);
    let mut wrong = |value: &str, why: String| errors.push(FieldError::invalid(path, &value.into(), why));
    let problems = names::dns1123_subdomain(name);
    if !problems.is_empty() {
        wrong(name, problems.join(","));
    } else if !name.contains('.') {
        wrong(name, "should be a domain with at least two segments separated by dots".to_owned());
    } else if let Some(label) = name.split('.').find(|label| !names::dns1123_label(label).is_empty()) {
        wrong(label, names::dns1123_label(label).join(","));
    }
}

/// Is this an IPv4 address but for leading zeros?
pub(crate) fn has_leading_zeros(value: &str) -> bool {
    let octets: Vec<&str> = value.split('.').collect();
    octets.len() == 4
        && octets.iter().all(|octet| {
            octet.bytes().all(|byte| byte.is_ascii_digit())
                && octet.parse::<u64>().is_ok_and(|number| number < 256)
        })
}
