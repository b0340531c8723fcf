//! Events, in both of their groups: `pkg/apis/core/validation/events.go`. Errors name the members of the core group.

use apiserver_json::Value;
use apiserver_meta::field::FieldError;
use apiserver_meta::names;

use super::shared::{at, check_immutable_as, check_rule, has, number, text};
use super::{PLAIN, Strategy};
use crate::convert::EVENT_MEMBERS;
use crate::object;

/// Bytes of an action, a reason or an instance.
const SHORT_MAX: usize = 128;
const NOTE_MAX: usize = 1024;

pub(super) static EVENT: Strategy = Strategy {
    read_from_store: true,
    validate_create: validate_any,
    validate_update: |new, _| validate_any(new),
    update_checks: super::order::OWN,
    standard_finalizers: false,
    name_rule: |_| Vec::new(),
    create_on_update: true,
    ..PLAIN
};

/// Those of `events.k8s.io` are looked at more closely.
pub(super) static NEW_EVENT: Strategy = Strategy {
    validate_create: validate_new,
    validate_update: |new, old| {
        let mut errors = validate_any(new);
        if at(new, &["series"]) != at(old, &["series"]) {
            check_series(new, &mut errors);
        }
        for (name, go_type) in [
            ("involvedObject", "core.ObjectReference"),
            ("reason", "s"),
            ("message", "s"),
            ("source", "core.EventSource"),
            ("firstTimestamp", "t"),
            ("lastTimestamp", "t"),
            ("count", "i"),
            ("reason", "s"),
            ("type", "s"),
            ("eventTime", "t"),
            ("action", "s"),
            ("related", "*core.ObjectReference"),
        ] {
            check_immutable_as(go_type, member(new, name), member(old, name), name, &mut errors);
        }
        for name in ["reportingController", "reportingInstance"] {
            check_immutable_as("s", at(new, &[name]), at(old, &[name]), name, &mut errors);
        }
        errors
    },
    update_checks: PLAIN.update_checks,
    standard_finalizers: true,
    name_rule: names::dns1123_subdomain,
    ..EVENT
};

/// A member under its name of the core group, whatever it is called here.
fn member<'a>(event: &'a Value, core: &str) -> &'a Value {
    let other = EVENT_MEMBERS.iter().find(|(name, _)| *name == core).map(|(_, other)| *other);
    event.get(core).or_else(|| event.get(other?)).unwrap_or(&Value::Null)
}

fn validate_any(event: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let about = text(member(event, "involvedObject"), "namespace");
    let namespace = object::namespace(event);
    let timed = has(event, "eventTime");
    let mismatch = match (timed, about.is_empty()) {
        (true, true) => !["default", "kube-system"].contains(&namespace),
        (true, false) => false,
        (false, true) => !["", "default"].contains(&namespace),
        (false, false) => about != namespace,
    };
    if mismatch {
        let why = "does not match event.namespace";
        errors.push(FieldError::invalid("involvedObject.namespace", &about.into(), why));
    }
    if !timed {
        return errors;
    }
    let is_core = text(event, "apiVersion") == "v1";
    let reporter = if is_core { "reportingComponent" } else { "reportingController" };
    let controller = text(event, reporter);
    if controller.is_empty() {
        errors.push(FieldError::required(reporter, ""));
    }
    check_rule(controller, names::qualified_name, reporter, &mut errors);
    for (name, value, max, required) in [
        ("reportingInstance", text(event, "reportingInstance"), SHORT_MAX, true),
        ("action", text(event, "action"), SHORT_MAX, true),
        ("reason", text(event, "reason"), SHORT_MAX, true),
        ("message", member(event, "message").as_str().unwrap_or(""), NOTE_MAX, false),
    ] {
        if required && value.is_empty() {
            errors.push(FieldError::required(name, ""));
        }
        if value.len() > max {
            errors.push(FieldError::invalid(name, &"".into(), format!("can have at most {max} characters")));
        }
    }
    errors
}

fn validate_new(event: &Value) -> Vec<FieldError> {
    let mut errors = validate_any(event);
    check_series(event, &mut errors);
    if !has(event, "eventTime") {
        errors.push(FieldError::required("eventTime", ""));
    }
    let kind = text(event, "type");
    if !["Normal", "Warning"].contains(&kind) {
        errors.push(FieldError::invalid("type", &"".into(), format!("has invalid value: {kind}")));
    }
    for name in ["firstTimestamp", "lastTimestamp", "count", "source"] {
        let value = member(event, name);
        let set = match value {
            Value::Null => false,
            Value::Number(number) => number.as_i64() != Some(0),
            Value::Object(source) => {
                source.values().any(|part| part.as_str().is_some_and(|part| !part.is_empty()))
            }
            _ => true,
        };
        if set {
            errors.push(FieldError::invalid(name, &"".into(), "needs to be unset"));
        }
    }
    errors
}

fn check_series(event: &Value, errors: &mut Vec<FieldError>) {
    let Some(series) = event.get("series").filter(|series| series.is_object()) else { return };
    if number(series, "count").unwrap_or(0) < 2 {
        errors.push(FieldError::invalid("series.count", &"".into(), "should be at least 2"));
    }
    if !has(series, "lastObservedTime") {
        errors.push(FieldError::required("series.lastObservedTime", ""));
    }
}
