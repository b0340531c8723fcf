//! Rules of `x-kubernetes-list-type`, its keys, and `x-kubernetes-map-type`.

use apiserver_json::{Value, json};
use apiserver_meta::field::FieldError;

use super::{elements, flag, not_supported, text, wants_type};

pub(super) fn map_type(node: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let Some(kind) = node.get("x-kubernetes-map-type").and_then(Value::as_str) else { return };
    wants_type(node, path, "object", "x-kubernetes-map-type", errors);
    if !matches!(kind, "atomic" | "granular") {
        errors.push(not_supported(format!("{path}.x-kubernetes-map-type"), kind, &["atomic", "granular"]));
    }
}

pub(super) fn list_type(node: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let Some(kind) = node.get("x-kubernetes-list-type").and_then(Value::as_str) else { return };
    let is_list = wants_type(node, path, "array", "x-kubernetes-list-type", errors);
    if is_list && kind == "set" {
        let items = node.get("items").unwrap_or(&Value::Null);
        let detail = "must be atomic as item of a list with x-kubernetes-list-type=set";
        let inner = text(items, "x-kubernetes-list-type");
        match text(items, "type") {
            "array" if !matches!(inner, "" | "atomic") => {
                let field = format!("{path}.items.x-kubernetes-list-type");
                errors.push(FieldError::invalid(field, &json!(inner), detail));
            }
            "object" if text(items, "x-kubernetes-map-type") != "atomic" => {
                let field = format!("{path}.items.x-kubernetes-map-type");
                let shown = items.get("x-kubernetes-list-type").cloned().unwrap_or_default();
                errors.push(FieldError::invalid(field, &shown, detail));
            }
            _ => {}
        }
    }
    if !matches!(kind, "atomic" | "set" | "map") {
        errors.push(not_supported(format!("{path}.x-kubernetes-list-type"), kind, &["atomic", "set", "map"]));
    }
}

pub(super) fn list_map(node: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let keys = elements(node, "x-kubernetes-list-map-keys");
    let kind = node.get("x-kubernetes-list-type").and_then(Value::as_str);
    let type_field = format!("{path}.x-kubernetes-list-type");
    let detail = "must be map if x-kubernetes-list-map-keys is non-empty";
    match kind {
        None if !keys.is_empty() => errors.push(FieldError::required(type_field, detail)),
        Some(other) if !keys.is_empty() && other != "map" => {
            errors.push(FieldError::invalid(type_field, &json!(other), detail));
        }
        _ => {}
    }
    let items = node.get("items").filter(|items| items.is_object());
    if kind == Some("map") {
        let keys_field = format!("{path}.x-kubernetes-list-map-keys");
        if keys.is_empty() {
            let detail = "must not be empty if x-kubernetes-list-type is map";
            errors.push(FieldError::required(&keys_field, detail));
        }
        match items {
            None => {
                let detail = "must have a schema if x-kubernetes-list-type is map";
                errors.push(FieldError::required(format!("{path}.items"), detail));
            }
            Some(items) if text(items, "type") != "object" => {
                let detail = "must be object if parent array's x-kubernetes-list-type is map";
                let kind = json!(text(items, "type"));
                errors.push(FieldError::invalid(format!("{path}.items.type"), &kind, detail));
            }
            Some(items) => list_keys(items, keys, path, &keys_field, errors),
        }
    }
    if let (Some(kind @ ("set" | "map")), Some(items)) = (kind, items) {
        list_items(items, keys, kind, path, errors);
    }
}

fn list_keys(items: &Value, keys: &[Value], path: &str, keys_field: &str, errors: &mut Vec<FieldError>) {
    let shown = Value::from(keys);
    for (i, key) in keys.iter().enumerate() {
        let name = key.as_str().unwrap_or_default();
        match items.get("properties").and_then(|p| p.get(name)) {
            Some(property) if matches!(text(property, "type"), "array" | "object") => {
                let detail = "must be a scalar type if parent array's x-kubernetes-list-type is map";
                let field = format!("{path}.items.properties[{name}].type");
                errors.push(FieldError::invalid(field, &json!(text(items, "type")), detail));
            }
            Some(_) => {}
            None => {
                let detail = "entries must all be names of item properties";
                errors.push(FieldError::invalid(keys_field, &shown, detail));
            }
        }
        if keys[..i].contains(key) {
            errors.push(FieldError::invalid(keys_field, &shown, "must not contain duplicate entries"));
        }
    }
}

fn list_items(items: &Value, keys: &[Value], kind: &str, path: &str, errors: &mut Vec<FieldError>) {
    if flag(items, "nullable") {
        let detail = format!("cannot be nullable when x-kubernetes-list-type is {kind}");
        errors.push(FieldError::forbidden(format!("{path}.items.nullable"), detail));
    }
    if kind != "map" {
        return;
    }
    for name in keys.iter().filter_map(Value::as_str) {
        let Some(property) = items.get("properties").and_then(|p| p.get(name)) else { continue };
        let required = elements(items, "required").iter().any(|r| r.as_str() == Some(name));
        if !required && property.get("default").is_none_or(Value::is_null) {
            let detail = "this property is in x-kubernetes-list-map-keys, so it must have a default or be a \
                          required property";
            errors.push(FieldError::required(format!("{path}.items.properties[{name}].default"), detail));
        }
        if flag(property, "nullable") {
            let detail = "this property is in x-kubernetes-list-map-keys, so it cannot be nullable";
            errors.push(FieldError::forbidden(format!("{path}.items.properties[{name}].nullable"), detail));
        }
    }
}
