//! Defaults in a schema: each must be what the schema allows, and its validation rules too.

use apiserver_json::{Map, Value, json};
use apiserver_meta::field::FieldError;
use apiserver_schema::Schema;

use crate::embedded;

/// Errors of the defaults of a schema that is otherwise right.
pub(super) fn validate(openapi: &Value, path: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if let Ok(schema) = apiserver_schema::from_crd_schema(openapi) {
        node(openapi, &schema, path, Place::root(&schema), &mut errors);
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

/// Where a schema stands.
#[derive(Clone)]
struct Place<'s> {
    is_root: bool,
    /// In the metadata of the resource itself, where there are no defaults.
    is_own_metadata: bool,
    /// In what says what an object is: `apiVersion`, `kind`, `metadata`.
    is_of_object: bool,
    /// The schema of the nearest object around it, and the way from there.
    around: (&'s Schema, Vec<Step>),
}

#[derive(Clone)]
enum Step {
    Member(String),
    Item,
}

impl<'s> Place<'s> {
    fn root(schema: &'s Schema) -> Self {
        Self { is_root: true, is_own_metadata: false, is_of_object: false, around: (schema, Vec::new()) }
    }

    /// Where the schema at this place is one of whole objects, what is below it begins there.
    fn at(mut self, schema: &'s Schema) -> Self {
        if schema.embedded {
            self.is_of_object = false;
            self.around = (schema, Vec::new());
        }
        self
    }

    fn below(&self, schema: &Schema, step: Step) -> Self {
        let (around, mut steps) = self.around.clone();
        let is_object = self.is_root || schema.embedded;
        let member = if let Step::Member(name) = &step { name.as_str() } else { "" };
        let is_of_object =
            self.is_of_object || (is_object && matches!(member, "metadata" | "apiVersion" | "kind"));
        let is_own_metadata = self.is_own_metadata || (self.is_root && member == "metadata");
        steps.push(step);
        Self { is_root: false, is_own_metadata, is_of_object, around: (around, steps) }
    }

    /// The object around a value, as little of it as there has to be.
    fn object_with(&self, value: &Value) -> Value {
        let mut value = value.clone();
        for step in self.around.1.iter().rev() {
            value = match step {
                Step::Item => json!([value]),
                Step::Member(name) => Value::Object(Map::from_iter([(name.clone(), value)])),
            };
        }
        if let Some(map) = value.as_object_mut() {
            for (member, text) in [("apiVersion", "validation/v1"), ("kind", "Validation")] {
                if !map.contains_key(member) {
                    map.insert(member.into(), text.into());
                }
            }
        }
        value
    }
}

fn node<'s>(openapi: &Value, schema: &'s Schema, path: &str, place: Place<'s>, errors: &mut Vec<FieldError>) {
    let place = place.at(schema);
    if let Some(value) = openapi.get("default").filter(|value| !value.is_null()) {
        let path = format!("{path}.default");
        if place.is_own_metadata {
            errors.push(FieldError::forbidden(path, "must not be set in top-level metadata"));
        } else {
            errors.extend(check(openapi, schema, value, &path, &place));
        }
    }
    if let (Some(items), Some(list)) = (openapi.get("items"), schema.list()) {
        let below = place.below(schema, Step::Item);
        node(items, list.items.get(), &format!("{path}.items"), below, errors);
    }
    for (name, property) in openapi.get("properties").and_then(Value::as_object).into_iter().flatten() {
        if let Some(child) = schema.child(name) {
            let path = format!("{path}.properties[{name}]");
            node(property, child, &path, place.below(schema, Step::Member(name.to_string())), errors);
        }
    }
    // Upstream takes it that there are none below additionalProperties, and does not look.
}

/// The errors of the first of upstream's steps that finds any.
fn check(openapi: &Value, schema: &Schema, value: &Value, path: &str, place: &Place<'_>) -> Vec<FieldError> {
    let errors =
        if place.is_of_object { of_object(value, path, place) } else { whole(schema, value, path, place) };
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

/// What says what an object is must be right in an object; what is not known there is left out of each that is made.
fn of_object(value: &Value, path: &str, place: &Place<'_>) -> Vec<FieldError> {
    let mut object = place.object_with(value);
    let schema = place.around.0;
    let mut found = Vec::new();
    match apiserver_schema::decode_embedded(schema, &mut object, "", true) {
        Err(error) => found.push(error),
        Ok(_) => embedded::validate(schema, &object, "", true, &mut found),
    }
    let told: Vec<String> = found.iter().map(ToString::to_string).collect();
    let why = match told.as_slice() {
        [] => return Vec::new(),
        [one] => one.clone(),
        several => format!("[{}]", several.join(", ")),
    };
    vec![FieldError::invalid(path, value, format!("must result in valid metadata: {why}"))]
}

/// Any other value has nothing that is not known, and is right where it is an object or has some in it.
fn whole(schema: &Schema, value: &Value, path: &str, place: &Place<'_>) -> Vec<FieldError> {
    let is_object = schema.embedded || place.is_root;
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
    errors
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
