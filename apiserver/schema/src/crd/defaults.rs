//! Structural defaulting of custom resources.

use apiserver_json::Value;

use crate::node::{Schema, Shape};

/// Fills in defaults, parents before children; a null where none is allowed takes the default, too.
pub fn apply_defaults(schema: &Schema, value: &mut Value) {
    fill(schema, value);
}

fn refuses_null(schema: &Schema) -> bool {
    !schema.nullable && !matches!(schema.shape, Shape::Any { .. })
}

/// A property that is declared must say that it takes a null, whatever else it takes.
fn member_refuses_null(parent: &Schema, key: &str, child: &Schema) -> bool {
    let is_declared = parent.object().is_some_and(|object| object.fields.contains_key(key));
    if is_declared { !child.nullable } else { refuses_null(child) }
}

/// Takes out nulls where none is allowed and there is no default.
pub fn drop_nulls(schema: &Schema, value: &mut Value) {
    match value {
        Value::Object(map) => map.retain(|key, item| {
            let Some(child) = schema.child(key) else { return true };
            if item.is_null() {
                return !member_refuses_null(schema, key, child) || child.default.is_some();
            }
            drop_nulls(child, item);
            true
        }),
        Value::Array(items) => {
            if let Some(list) = schema.list() {
                items.iter_mut().for_each(|item| drop_nulls(list.items.get(), item));
            }
        }
        _ => {}
    }
}

/// Takes out what [`drop_nulls`] would of members whose type is not given: of the others validation tells.
pub fn drop_untyped_nulls(schema: &Schema, value: &mut Value) {
    match value {
        Value::Object(map) => map.retain(|key, item| {
            let Some(child) = schema.child(key) else { return true };
            if item.is_null() {
                let is_untyped = matches!(child.shape, Shape::Any { .. });
                return !is_untyped || !member_refuses_null(schema, key, child) || child.default.is_some();
            }
            drop_untyped_nulls(child, item);
            true
        }),
        Value::Array(items) => {
            if let Some(list) = schema.list() {
                items.iter_mut().for_each(|item| drop_untyped_nulls(list.items.get(), item));
            }
        }
        _ => {}
    }
}

fn fill(schema: &Schema, value: &mut Value) {
    match (&schema.shape, value) {
        (Shape::Object(object), Value::Object(map)) => {
            for (name, field) in &object.fields {
                let node = field.schema.get();
                let Some(default) = &node.default else { continue };
                let missing = map.get(name).is_none_or(|v| v.is_null() && !node.nullable);
                if missing {
                    map.insert(name.to_string().into(), default.clone());
                }
            }
            for (key, item) in map.iter_mut() {
                let Some(child) = schema.child(key) else { continue };
                fill_null(child, item);
                fill(child, item);
            }
        }
        (Shape::List(list), Value::Array(items)) => {
            let child = list.items.get();
            for item in items {
                fill_null(child, item);
                fill(child, item);
            }
        }
        _ => {}
    }
}

fn fill_null(schema: &Schema, value: &mut Value) {
    if let (true, true, Some(default)) = (value.is_null(), refuses_null(schema), &schema.default) {
        *value = default.clone();
    }
}
