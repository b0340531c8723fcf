//! Objects inside custom resources: their types are read as any object's, their metadata as Go would.

use apiserver_json::Value;
use apiserver_meta::field::FieldError;

use crate::decode::{Decode, Unknown, decode};
use crate::node::Schema;
use crate::types::named;

/// Reads the objects inside a value that stands at `path`, in place; `is_object` says that it is one itself. Gives
/// the paths of what is unknown in their metadata.
///
/// # Errors
/// What is of the wrong type.
pub fn decode_embedded(
    schema: &Schema,
    value: &mut Value,
    path: &str,
    is_object: bool,
) -> Result<Vec<String>, FieldError> {
    let mut unknown = Vec::new();
    visit(schema, value, path, is_object, &mut unknown)?;
    Ok(unknown)
}

fn visit(
    schema: &Schema,
    value: &mut Value,
    path: &str,
    is_object: bool,
    unknown: &mut Vec<String>,
) -> Result<(), FieldError> {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                let is_property =
                    schema.object().is_some_and(|object| object.fields.contains_key(key.as_str()));
                let path = match (is_property || is_object, path) {
                    (true, "") => key.to_string(),
                    (true, path) => format!("{path}.{key}"),
                    (false, path) => format!("{path}[{key}]"),
                };
                match key.as_str() {
                    "apiVersion" | "kind" if is_object && !value.is_string() => {
                        return Err(FieldError::invalid(path, value, "must be a string"));
                    }
                    "metadata" if is_object => metadata(value, &path, unknown)?,
                    _ => {}
                }
                if let Some(child) = schema.child(key) {
                    visit(child, value, &path, child.embedded, unknown)?;
                }
            }
        }
        Value::Array(list) => {
            let Some(items) = schema.list().map(|list| list.items.get()) else { return Ok(()) };
            for (i, value) in list.iter_mut().enumerate() {
                visit(items, value, &format!("{path}[{i}]"), items.embedded, unknown)?;
            }
        }
        _ => {}
    }
    Ok(())
}

pub(super) fn metadata(value: &mut Value, path: &str, unknown: &mut Vec<String>) -> Result<(), FieldError> {
    if value.is_null() {
        *value = Value::Object(apiserver_json::Map::new());
    }
    let schema = named("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta");
    let before = value.clone();
    let found = decode(&schema, value, Decode::Json)
        .map_err(|error| FieldError::invalid(path, &before, error.message))?;
    unknown.extend(found.into_iter().map(|Unknown(member)| format!("{path}.{member}")));
    Ok(())
}
