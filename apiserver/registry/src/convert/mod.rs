//! Between the version a client speaks and the version an object is stored in.
//!
//! Only kinds that several groups or versions serve need more than a change of `apiVersion`.

pub(crate) mod annotations;
pub(crate) mod autoscaling;

use std::borrow::Cow;
use std::sync::Arc;

use apiserver_json::{Value, json};

use crate::catalogue::Resource;

/// The object as it is stored.
pub fn to_stored(resource: &Resource, mut object: Value) -> Value {
    let served = resource.api_version();
    if served == resource.stored_api_version {
        return object;
    }
    match (served.as_str(), resource.kind.as_str()) {
        ("events.k8s.io/v1", "Event") => event_to_core(&mut object),
        ("autoscaling/v1", "HorizontalPodAutoscaler") => autoscaling::to_v2(&mut object),
        _ => {}
    }
    set_api_version(&mut object, &resource.stored_api_version);
    object
}

/// As [`from_stored`], of a tree that others may hold.
pub(crate) fn shared_from_stored(resource: &Resource, object: Arc<Value>) -> Arc<Value> {
    if object.get("apiVersion").and_then(Value::as_str) == Some(resource.api_version().as_str()) {
        return object;
    }
    Arc::new(from_stored(resource, Arc::unwrap_or_clone(object)))
}

/// The object as a client of `resource`'s version sees it.
pub fn from_stored(resource: &Resource, mut object: Value) -> Value {
    let served = resource.api_version();
    if object.get("apiVersion").and_then(Value::as_str) == Some(served.as_str()) {
        return object;
    }
    match (served.as_str(), resource.kind.as_str()) {
        ("events.k8s.io/v1", "Event") => event_from_core(&mut object),
        ("autoscaling/v1", "HorizontalPodAutoscaler") => autoscaling::from_v2(&mut object),
        _ => {}
    }
    set_api_version(&mut object, &served);
    object
}

/// The object with what some version tells in annotations at its place: what is printed of it.
pub fn unfolded(object: &Value) -> Cow<'_, Value> {
    let is = |member: &str, text: &str| object.get(member).is_some_and(|value| value == text);
    if !(is("apiVersion", "autoscaling/v1") && is("kind", "HorizontalPodAutoscaler")) {
        return Cow::Borrowed(object);
    }
    let mut object = object.clone();
    autoscaling::to_v2(&mut object);
    Cow::Owned(object)
}

fn set_api_version(object: &mut Value, api_version: &str) {
    if let Some(map) = object.as_object_mut() {
        map.insert("apiVersion".into(), api_version.into());
    }
}

/// Members of an Event under their core name and their events.k8s.io name.
pub(crate) const EVENT_MEMBERS: &[(&str, &str)] = &[
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
    ("reportingComponent", "reportingController"),
];

fn event_to_core(object: &mut Value) {
    rename(object, EVENT_MEMBERS.iter().map(|(core, new)| (*new, *core)));
    if let Some(map) = object.as_object_mut() {
        for (member, empty) in
            [("source", json!({})), ("firstTimestamp", Value::Null), ("lastTimestamp", Value::Null)]
        {
            map.entry(member).or_insert(empty);
        }
        for member in REPORTED {
            map.entry(member).or_insert_with(|| "".into());
        }
    }
}

/// Who reports an event, which only the core group tells where it is nobody.
const REPORTED: [&str; 2] = ["reportingComponent", "reportingInstance"];

fn event_from_core(object: &mut Value) {
    if let Some(map) = object.as_object_mut() {
        for member in REPORTED {
            if map.get(member).is_some_and(|value| value == "") {
                map.remove(member);
            }
        }
    }
    rename(object, EVENT_MEMBERS.iter().copied());
}

fn rename<'a>(object: &mut Value, names: impl Iterator<Item = (&'a str, &'a str)>) {
    let Some(map) = object.as_object_mut() else { return };
    for (from, to) in names {
        if let Some(value) = map.remove(from) {
            map.insert(to.to_owned().into(), value);
        }
    }
}
