//! Defaults in a schema: each must be what the schema allows, and its validation rules too.

use apiserver_json::Value;
use apiserver_meta::field::FieldError;
use apiserver_schema::Schema;

use crate::embedded;

/// Errors of the defaults of a schema that is otherwise right.
pub(super) fn validate(openapi: &Value, path: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if let Ok(schema) = apiserver_schema::from_crd_schema(openapi) {
        node(openapi, &schema, path, Place::Root, &mut errors);
    }
    errors
}

/// Does a schema say a default anywhere?
pub(super) fn has_some(openapi: &Value) -> bool {
    let below = |member: &str| match openapi.get(member) {
        Some(Value::Array(schemas)) => schemas.iter().any(has_some),
        Some(schema @ Value::Object(_)) => has_some(schema),
        _ => false,
    };
    let properties = openapi.get("properties").and_then(Value::as_object);
    openapi.get("default").is_some_and(|default| !default.is_null())
        || properties.into_iter().flatten().any(|(_, schema)| has_some(schema))
        || ["items", "additionalProperties", "allOf", "oneOf", "anyOf", "not"].into_iter().any(below)
}

#[derive(Clone, Copy, PartialEq)]
enum Place {
    Root,
    Metadata,
    Elsewhere,
}

fn node(openapi: &Value, schema: &Schema, path: &str, place: Place, errors: &mut Vec<FieldError>) {
    if let Some(value) = openapi.get("default").filter(|value| !value.is_null()) {
        let path = format!("{path}.default");
        if place == Place::Metadata {
            errors.push(FieldError::forbidden(path, "must not be set in top-level metadata"));
        } else {
            errors.extend(check(openapi, schema, value, &path, place));
        }
    }
    if let (Some(items), Some(list)) = (openapi.get("items"), schema.list()) {
        node(items, list.items.get(), &format!("{path}.items"), below(place, ""), errors);
    }
    for (name, property) in openapi.get("properties").and_then(Value::as_object).into_iter().flatten() {
        if let Some(child) = schema.child(name) {
            let path = format!("{path}.properties[{name}]");
            node(property, child, &path, below(place, name), errors);
        }
    }
    // Upstream takes it that there are none below additionalProperties, and does not look.
}

fn below(place: Place, name: &str) -> Place {
    match place {
        Place::Root if name == "metadata" => Place::Metadata,
        Place::Metadata => Place::Metadata,
        _ => Place::Elsewhere,
    }
}

/// The errors of the first of upstream's steps that finds any.
fn check(openapi: &Value, schema: &Schema, value: &Value, path: &str, place: Place) -> Vec<FieldError> {
    let is_object = schema.embedded || place == Place::Root;
    let mut known = value.clone();
    apiserver_schema::prune_part(schema, &mut known, is_object);
    if known != *value {
        return vec![FieldError::invalid(path, value, "must not have unknown fields")];
    }
    if let Err(error) = apiserver_schema::decode_embedded(schema, &mut known, path, is_object) {
        return vec![error];
    }
    let mut errors = Vec::new();
    embedded::validate(schema, value, path, is_object, &mut errors);
    if !errors.is_empty() {
        return errors;
    }
    // The value's rules name fields from where the value begins. Here they know no type of integers or strings.
    let either = openapi["x-kubernetes-int-or-string"] == Value::Bool(true);
    let errors = if either { Vec::new() } else { apiserver_schema::value_errors(schema, value) };
    if !errors.is_empty() {
        return errors.into_iter().map(|error| placed(error, path, false)).collect();
    }
    let rules = apiserver_cel::Rules::compile(openapi);
    let found = rules.map(|rules| rules.validate(value, None).errors).unwrap_or_default();
    found.into_iter().map(|error| placed(error, path, true)).collect()
}

/// An error where its value stands; of items, only rules know that they need no dot.
fn placed(mut error: FieldError, path: &str, is_rule: bool) -> FieldError {
    error.field = match error.field.as_str() {
        "" | "<nil>" => path.to_owned(),
        field if is_rule && field.starts_with('[') => format!("{path}{field}"),
        field => format!("{path}.{field}"),
    };
    error
}
