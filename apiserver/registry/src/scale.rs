//! The `autoscaling/v1` Scale that a kind's scale subresource shows of an object, and how one is written back.

use apiserver_json::{Map, Value, json};
use apiserver_meta::Status;
use apiserver_meta::field::FieldError;

use crate::catalogue::Resource;
use crate::custom::ScalePaths;
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
            kept.insert(member.to_owned().into(), value.clone());
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

/// Upstream shows no Scale of a custom resource that does not say its replicas.
///
/// # Errors
/// 500.
pub fn check_shown(resource: &Resource, value: &Value) -> Result<(), Status> {
    let Some(scale) = resource.custom.as_ref().and_then(|custom| custom.scale.as_ref()) else {
        return Ok(());
    };
    match value.pointer(&scale.spec_replicas.replace('.', "/")) {
        Some(_) => Ok(()),
        None => {
            Err(Status::internal(format!("the spec replicas field {:?} does not exist", scale.spec_replicas)))
        }
    }
}

/// Errors of a custom resource where its Scale comes from.
pub(crate) fn validate(paths: &ScalePaths, value: &Value, errors: &mut Vec<FieldError>) {
    let mut wrong = |path: &str, shown: &Value, why: String| {
        errors.push(FieldError::invalid(path, shown, why));
    };
    for path in [&paths.spec_replicas, &paths.status_replicas] {
        if let Some(why) = no_map_on_the_way(path, value) {
            wrong(path, &0.into(), why);
            continue;
        }
        let Some(found) = value.pointer(&path.replace('.', "/")) else { continue };
        match found.as_i64() {
            Some(0..=MAX_REPLICAS) => {}
            Some(number) if number < 0 => wrong(path, found, "should be a non-negative integer".to_owned()),
            Some(_) => wrong(path, found, format!("should be less than or equal to {MAX_REPLICAS}")),
            None => wrong(path, &0.into(), accessor_error(path, found, "int64")),
        }
    }
    let Some(path) = &paths.label_selector else { return };
    if let Some(found) = value.pointer(&path.replace('.', "/")).filter(|found| !found.is_string()) {
        wrong(path, &"".into(), accessor_error(path, found, "string"));
    }
}

/// What is wrong where something on the way to a value is no map.
fn no_map_on_the_way(path: &str, value: &Value) -> Option<String> {
    let mut place = value;
    let mut walked = String::new();
    for step in path.trim_start_matches('.').split('.') {
        walked.push('.');
        walked.push_str(step);
        match place {
            Value::Null => return None,
            Value::Object(members) => place = members.get(step)?,
            other => return Some(accessor_error(&walked, other, "map[string]interface{}")),
        }
    }
    None
}

const MAX_REPLICAS: i64 = i32::MAX as i64;

fn accessor_error(path: &str, found: &Value, wanted: &str) -> String {
    let kind = match found {
        Value::Null => "<nil>",
        Value::Bool(_) => "bool",
        Value::Number(_) => "float64",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) | Value::Raw(_) => "map[string]interface {}",
    };
    let shown = apiserver_schema::go_display(found);
    format!("{path} accessor error: {shown} is of the type {kind}, expected {wanted}")
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_scale_is_made_of_is_checked() {
        let paths = ScalePaths {
            spec_replicas: ".spec.replicas".to_owned(),
            status_replicas: ".status.replicas".to_owned(),
            label_selector: Some(".status.selector".to_owned()),
        };
        for (value, want) in [
            (json!({"spec": {"replicas": 3}, "status": {"selector": "a=b"}}), vec![]),
            (json!({}), vec![]),
            (
                json!({"spec": {"replicas": -1}}),
                vec![".spec.replicas: Invalid value: -1: should be a non-negative integer"],
            ),
            (
                json!({"status": {"replicas": 3_000_000_000_i64}}),
                vec![
                    ".status.replicas: Invalid value: 3000000000: should be less than or equal to 2147483647",
                ],
            ),
            (
                json!({"status": {"replicas": "q"}}),
                vec![
                    ".status.replicas: Invalid value: 0: .status.replicas accessor error: q is of the type string, expected int64",
                ],
            ),
        ] {
            let mut errors = Vec::new();
            validate(&paths, &value, &mut errors);
            let found: Vec<String> = errors.iter().map(ToString::to_string).collect();
            assert_eq!(found, want, "{value}");
        }
    }
}
