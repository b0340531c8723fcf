//! Schemas as CEL declares them: types, bounds of sizes, and how JSON is to be read.

use std::collections::BTreeMap;
use std::sync::Arc;

use apiserver_json::{Map, Value};

use crate::check::Env;
use crate::escape::escape;
use crate::types::Type;

/// The largest request, which bounds what no schema bounds.
pub(crate) const REQUEST_MAX: i64 = 3 * 1024 * 1024;
/// Upstream declares no size for these, so estimates take them for nothing.
const UNSIZED: i64 = 0;

/// How an array is compared and joined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ListType {
    Atomic,
    Set,
    Map(Vec<String>),
}

/// What a node holds.
#[derive(Clone, Debug)]
pub(crate) enum Shape {
    Scalar,
    /// `x-kubernetes-int-or-string`.
    Either,
    Object(BTreeMap<String, Property>),
    List(Arc<Decl>, ListType),
    Map(Arc<Decl>),
}

/// A property, by its identifier in CEL.
#[derive(Clone, Debug)]
pub(crate) struct Property {
    pub name: String,
    pub decl: Arc<Decl>,
}

/// One declared schema node.
#[derive(Clone, Debug)]
pub(crate) struct Decl {
    pub shape: Shape,
    pub of: Type,
    pub max_elements: i64,
    pub min_size: i64,
    pub nullable: bool,
}

fn flag(schema: &Map, name: &str) -> bool {
    schema.get(name).and_then(Value::as_bool).unwrap_or(false)
}

fn bound(schema: &Map, name: &str) -> Option<i64> {
    schema.get(name).and_then(Value::as_i64).map(|max| max.max(0))
}

fn text<'a>(schema: &'a Map, name: &str) -> &'a str {
    schema.get(name).and_then(Value::as_str).unwrap_or("")
}

/// Declares a structural schema; `None` where CEL cannot see the value. `root` is a resource: it has a name and a
/// kind whatever the schema says. `name` is what its type is called.
pub(crate) fn declare(schema: &Value, root: bool, name: &str) -> Option<Arc<Decl>> {
    let map = schema.as_object()?;
    let nullable = flag(map, "nullable");
    let decl = |shape, of, max_elements, min_size| {
        Some(Arc::new(Decl { shape, of, max_elements, min_size, nullable }))
    };
    let max_length = bound(map, "maxLength");
    if flag(map, "x-kubernetes-int-or-string") {
        let max = max_length.map_or(REQUEST_MAX - 2, |max| max.saturating_mul(4));
        return decl(Shape::Either, Type::Dyn, max, 1);
    }
    match text(map, "type") {
        "array" => {
            let items = map.get("items")?;
            let item = declare(items, embedded(items), &format!("{name}.@idx"))?;
            let max = bound(map, "maxItems").unwrap_or((REQUEST_MAX - 2) / (item.min_size + 1));
            let kind = match text(map, "x-kubernetes-list-type") {
                "set" => ListType::Set,
                "map" => ListType::Map(
                    map.get("x-kubernetes-list-map-keys")
                        .and_then(Value::as_array)
                        .into_iter()
                        .flatten()
                        .filter_map(Value::as_str)
                        .map(str::to_owned)
                        .collect(),
                ),
                _ => ListType::Atomic,
            };
            let of = Type::list(item.of.clone());
            decl(Shape::List(item, kind), of, max, 2)
        }
        "object" => declare_object(map, root, name),
        "string" => declare_text(map, max_length, nullable),
        "boolean" => decl(Shape::Scalar, Type::Bool, UNSIZED, 4),
        "number" => decl(Shape::Scalar, Type::Double, UNSIZED, 1),
        "integer" => decl(Shape::Scalar, Type::Int, UNSIZED, 1),
        _ => None,
    }
}

pub(crate) fn embedded(schema: &Value) -> bool {
    schema.get("x-kubernetes-embedded-resource").and_then(Value::as_bool).unwrap_or(false)
}

fn declare_text(map: &Map, max_length: Option<i64>, nullable: bool) -> Option<Arc<Decl>> {
    let enumerated = || {
        let values = map.get("enum").and_then(Value::as_array).filter(|values| !values.is_empty())?;
        let longest = values.iter().filter_map(Value::as_str).map(str::len).max().unwrap_or(0);
        i64::try_from(longest).ok()
    };
    let (of, max, min) = match text(map, "format") {
        "byte" => (Type::Bytes, max_length.unwrap_or(REQUEST_MAX - 2), 2),
        "duration" => (Type::Duration, 32, 3),
        "date" => (Type::Timestamp, 12, 12),
        "date-time" => (Type::Timestamp, 32, 21),
        _ => {
            let max = max_length.map(|max| max.saturating_mul(4)).or_else(enumerated);
            (Type::Text, max.unwrap_or(REQUEST_MAX - 2), 2)
        }
    };
    Some(Arc::new(Decl { shape: Shape::Scalar, of, max_elements: max, min_size: min, nullable }))
}

fn declare_object(map: &Map, root: bool, name: &str) -> Option<Arc<Decl>> {
    let nullable = flag(map, "nullable");
    if !root && let Some(values) = map.get("additionalProperties").filter(|values| values.is_object()) {
        let value = declare(values, embedded(values), &format!("{name}.@elem"))?;
        let max = bound(map, "maxProperties").unwrap_or((REQUEST_MAX - 2) / (value.min_size + 6));
        let of = Type::map(Type::Text, value.of.clone());
        return Some(Arc::new(Decl {
            shape: Shape::Map(value),
            of,
            max_elements: max,
            min_size: 2,
            nullable,
        }));
    }
    let own = map.get("properties").and_then(Value::as_object);
    let mut properties: BTreeMap<&str, Value> =
        own.into_iter().flatten().map(|(name, schema)| (name.as_str(), schema.clone())).collect();
    if root {
        let string = || apiserver_json::json!({"type": "string"});
        properties.insert("kind", string());
        properties.insert("apiVersion", string());
        let metadata = apiserver_json::json!({"name": string(), "generateName": string()});
        properties.insert("metadata", apiserver_json::json!({"type": "object", "properties": metadata}));
    }
    let required: Vec<&str> = map
        .get("required")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let (mut fields, mut min_size) = (BTreeMap::new(), 2_i64);
    for (property, schema) in properties {
        let Some(decl) = declare(&schema, embedded(&schema), &format!("{name}.{property}")) else { continue };
        let defaulted = schema.get("default").is_some_and(|value| !value.is_null());
        if required.contains(&property) && !defaulted {
            min_size += property.len() as i64 + decl.min_size + 4;
        }
        if let Some(identifier) = escape(property) {
            fields.insert(identifier, Property { name: property.to_owned(), decl });
        }
    }
    let of = Type::object(name);
    Some(Arc::new(Decl { shape: Shape::Object(fields), of, max_elements: UNSIZED, min_size, nullable }))
}

impl Decl {
    /// The child that a step of a path leads to.
    pub(crate) fn step(&self, name: &str) -> Option<&Decl> {
        match (&self.shape, name) {
            (Shape::List(item, _), "@items") => Some(item),
            (Shape::Map(value), "@values" | "@items") => Some(value),
            (Shape::Object(fields), name) => fields.get(name).map(|property| &*property.decl),
            _ => None,
        }
    }

    /// Makes the fields of this type, and of those below, known.
    pub(crate) fn define(&self, env: &mut Env) {
        match &self.shape {
            Shape::Object(fields) => {
                if let Type::Object(name) = &self.of {
                    let known =
                        fields.iter().map(|(name, property)| (name.clone(), property.decl.of.clone()));
                    env.objects.insert(name.clone(), known.collect());
                }
                fields.values().for_each(|property| property.decl.define(env));
            }
            Shape::List(item, _) => item.define(env),
            Shape::Map(value) => value.define(env),
            Shape::Scalar | Shape::Either => {}
        }
    }
}
