//! The `autoscaling/v1` Scale that a kind's scale subresource shows of an object, and how one is written back.

use serde_json::{Map, Value, json};

use crate::catalogue::Resource;
use crate::object;

/// Where a kind keeps its replicas, as pointers.
struct Paths {
    spec: String,
    status: String,
    selector: Option<String>,
}

fn paths(resource: &Resource) -> Option<Paths> {
    let pointer = |path: &str| path.replace('.', "/");
    match &resource.custom {
        Some(custom) => custom.scale.as_ref().map(|scale| Paths {
            spec: pointer(&scale.spec_replicas),
            status: pointer(&scale.status_replicas),
            selector: scale.label_selector.as_deref().map(pointer),
        }),
        None => {
            Some(Paths { spec: "/spec/replicas".into(), status: "/status/replicas".into(), selector: None })
        }
    }
}

/// Where the replicas that are wanted are kept; `None` where the kind has no Scale.
pub fn spec_pointer(resource: &Resource) -> Option<String> {
    paths(resource).map(|paths| paths.spec)
}

/// The Scale of an object; `None` where its kind has none.
pub fn view(resource: &Resource, value: &Value) -> Option<Value> {
    let paths = paths(resource)?;
    let metadata = object::metadata(value);
    let mut kept = Map::new();
    for member in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        if let Some(value) = metadata.get(member) {
            kept.insert(member.to_owned(), value.clone());
        }
    }
    let number = |pointer: &str| value.pointer(pointer).and_then(Value::as_i64).unwrap_or(0);
    let selector = match &paths.selector {
        Some(pointer) => value.pointer(pointer).and_then(Value::as_str).unwrap_or("").to_owned(),
        None if resource.is_custom() => String::new(),
        None => crate::columns::selector(value.pointer("/spec/selector").unwrap_or(&Value::Null)),
    };
    let mut status = json!({"replicas": number(&paths.status)});
    if !selector.is_empty() {
        status["selector"] = selector.into();
    }
    let mut spec = json!({});
    if number(&paths.spec) != 0 {
        spec["replicas"] = number(&paths.spec).into();
    }
    Some(
        json!({"kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": kept, "spec": spec, "status": status}),
    )
}

/// The replicas that a Scale asks for.
pub fn wanted(scale: &Value) -> i64 {
    scale.pointer("/spec/replicas").and_then(Value::as_i64).unwrap_or(0)
}

/// Writes the replicas of a Scale to its object.
pub fn write_back(resource: &Resource, object: &mut Value, scale: &Value) {
    if let Some(pointer) = spec_pointer(resource) {
        set(object, &pointer, wanted(scale).into());
    }
}

/// Sets what a pointer of members leads to; what is missing on the way is made.
pub fn set(object: &mut Value, pointer: &str, value: Value) {
    let mut place = object;
    let mut members = pointer.trim_start_matches('/').split('/').peekable();
    while let Some(member) = members.next() {
        if !place.is_object() {
            *place = json!({});
        }
        if members.peek().is_none() {
            place[member] = value;
            return;
        }
        if place.get(member).is_none() {
            place[member] = json!({});
        }
        place = &mut place[member];
    }
}
