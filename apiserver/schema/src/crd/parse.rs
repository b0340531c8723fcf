//! From `openAPIV3Schema` to a schema node.
//!
//! Reads what is there; whether the schema is acceptable is `structural_errors`' question.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use apiserver_json::{Map, Value};
use apiserver_meta::field::FieldError;

use super::embedded::{decode_embedded, metadata};
use crate::node::{Field, List, ListKind, Object, Rules, Schema, Shape, Slot};
use crate::types::named;

/// Schemas nested deeper than this are refused.
const MAX_DEPTH: usize = 100;
const OBJECT_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";

/// The schema of a custom resource, with `apiVersion`, `kind` and `metadata` added at its root and in embedded
/// resources.
pub fn from_crd_schema(openapi_v3: &Value) -> Result<Arc<Schema>, Vec<FieldError>> {
    if depth(openapi_v3) > MAX_DEPTH {
        return Err(vec![FieldError::invalid(
            "",
            &Value::String(String::new().into()),
            "schema is nested too deeply",
        )]);
    }
    let empty = Map::new();
    let mut root = node(openapi_v3.as_object().unwrap_or(&empty), false);
    if !matches!(root.shape, Shape::Object(_)) {
        root.shape = Shape::Object(Object::default());
    }
    if let Shape::Object(object) = &mut root.shape {
        object.lenient = root.preserve_unknown;
    }
    add_meta(&mut root);
    Ok(Arc::new(root))
}

fn depth(value: &Value) -> usize {
    match value {
        Value::Object(map) => 1 + map.values().map(depth).max().unwrap_or(0),
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

/// A node that keeps whatever stands below it.
fn keep_all() -> Arc<Schema> {
    static KEEP: OnceLock<Arc<Schema>> = OnceLock::new();
    KEEP.get_or_init(|| {
        let mut schema = Schema::new(Shape::Any { deduced: true });
        (schema.preserve_unknown, schema.nullable) = (true, true);
        Arc::new(schema)
    })
    .clone()
}

fn add_meta(schema: &mut Schema) {
    let Shape::Object(object) = &mut schema.shape else { return };
    let mut meta = (*named(OBJECT_META)).clone();
    if let Some(own) = object.fields.get("metadata").map(|field| field.schema.get()) {
        meta.default = own.default.clone().map(|mut default| {
            // What is wrong with it is told of the definition.
            drop(metadata(&mut default, "", &mut Vec::new()));
            default
        });
        if let Shape::Object(target) = &mut meta.shape {
            let known = own.object().into_iter().flat_map(|own| own.fields.iter().cloned());
            let known = known.filter(|(name, _)| target.fields.contains_key(name));
            target.fields = target.fields.extended(known.collect::<Vec<_>>());
        }
    }
    let types = ["apiVersion", "kind"].into_iter().filter(|name| !object.fields.contains_key(name));
    let types = types.map(|name| (name.into(), Field::plain(Slot::node(Schema::new(Shape::String)))));
    let metadata = ("metadata".into(), Field::plain(Slot::node(meta)));
    object.fields = object.fields.extended(types.chain([metadata]));
}

fn flag(map: &Map, name: &str) -> bool {
    map.get(name).and_then(Value::as_bool).unwrap_or(false)
}

/// `keeps` is whether an object around it keeps what nobody declares.
fn node(map: &Map, keeps: bool) -> Schema {
    let preserve = flag(map, "x-kubernetes-preserve-unknown-fields");
    let keeps = keeps || preserve;
    let kind = map.get("type").and_then(Value::as_str).unwrap_or_default();
    let int_or_string = flag(map, "x-kubernetes-int-or-string");
    let has = |name: &str| map.contains_key(name);
    let shape = match kind {
        _ if int_or_string => Shape::IntOrString,
        "string" => Shape::String,
        "integer" => Shape::Integer(64),
        "number" => Shape::Number,
        "boolean" => Shape::Boolean,
        "array" => Shape::List(list(map, keeps)),
        "object" => Shape::Object(object(map, preserve, keeps)),
        _ if has("properties") || has("required") || has("additionalProperties") => {
            Shape::Object(object(map, preserve, keeps))
        }
        _ if has("items") => Shape::List(list(map, keeps)),
        _ => Shape::Any { deduced: true },
    };
    let mut schema = Schema::new(shape);
    schema.nullable = flag(map, "nullable");
    schema.preserve_unknown = preserve;
    schema.embedded = flag(map, "x-kubernetes-embedded-resource");
    schema.default = map.get("default").filter(|value| !value.is_null()).cloned();
    let mut rules = rules(map);
    rules.typed =
        int_or_string || matches!(kind, "string" | "integer" | "number" | "boolean" | "array" | "object");
    schema.rules = Some(Box::new(rules));
    if schema.embedded {
        add_meta(&mut schema);
    }
    if let Some(mut default) = schema.default.take() {
        // Of the metadata of objects, only what these know is ever filled in.
        drop(decode_embedded(&schema, &mut default, "", schema.embedded));
        schema.default = Some(default);
    }
    schema
}

fn object(map: &Map, preserve: bool, keeps: bool) -> Object {
    let mut fields = BTreeMap::new();
    for (name, value) in map.get("properties").and_then(Value::as_object).into_iter().flatten() {
        let Some(value) = value.as_object() else { continue };
        let child = node(value, keeps);
        let mut field = Field::plain(Slot::shared(Arc::new(child)));
        field.key_default = value.get("default").filter(|value| !value.is_null()).cloned();
        fields.insert(name.as_str().into(), field);
    }
    let additional = match map.get("additionalProperties") {
        Some(Value::Object(value)) => Some(Slot::node(node(value, keeps))),
        Some(Value::Bool(true)) => Some(Slot::shared(Schema::any())),
        _ if preserve => Some(Slot::shared(keep_all())),
        _ => None,
    };
    let atomic = map.get("x-kubernetes-map-type").and_then(Value::as_str) == Some("atomic");
    let is_free = fields.is_empty()
        && !map.contains_key("additionalProperties")
        && !flag(map, "x-kubernetes-embedded-resource");
    Object {
        fields: fields.into(),
        additional,
        lenient: keeps || is_free,
        atomic,
        required: strings(map.get("required")),
        ..Object::default()
    }
}

fn list(map: &Map, keeps: bool) -> List {
    let items = match map.get("items").and_then(Value::as_object) {
        Some(items) => Slot::node(node(items, keeps)),
        None => Slot::shared(Schema::any()),
    };
    let kind = match map.get("x-kubernetes-list-type").and_then(Value::as_str) {
        Some("set") => ListKind::Set,
        Some("map") => ListKind::Map(strings(map.get("x-kubernetes-list-map-keys"))),
        _ => ListKind::Atomic,
    };
    List { items, kind }
}

fn strings(value: Option<&Value>) -> Vec<Box<str>> {
    value.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).map(Into::into).collect()
}

fn rules(map: &Map) -> Rules {
    let text = |name: &str| map.get(name).and_then(Value::as_str).map(str::to_owned);
    let number = |name: &str| map.get(name).and_then(Value::as_f64);
    let count = |name: &str| map.get(name).and_then(Value::as_u64);
    let nested = |name: &str| -> Vec<Arc<Schema>> {
        let items = map.get(name).and_then(Value::as_array).into_iter().flatten();
        items.filter_map(Value::as_object).map(|item| Arc::new(node(item, false))).collect()
    };
    Rules {
        format: text("format"),
        enumeration: map.get("enum").and_then(Value::as_array).filter(|v| !v.is_empty()).map(<[_]>::to_vec),
        minimum: number("minimum"),
        maximum: number("maximum"),
        exclusive_minimum: flag(map, "exclusiveMinimum"),
        exclusive_maximum: flag(map, "exclusiveMaximum"),
        multiple_of: number("multipleOf"),
        min_length: count("minLength"),
        max_length: count("maxLength"),
        pattern: text("pattern").map(|pattern| {
            let compiled = apiserver_meta::re2::compile(&pattern, super::PATTERN_MAX).ok();
            (pattern, compiled)
        }),
        min_items: count("minItems"),
        max_items: count("maxItems"),
        unique_items: flag(map, "uniqueItems"),
        min_properties: count("minProperties"),
        max_properties: count("maxProperties"),
        all_of: nested("allOf"),
        any_of: nested("anyOf"),
        one_of: nested("oneOf"),
        not: map.get("not").and_then(Value::as_object).map(|item| Arc::new(node(item, false))),
        typed: false,
    }
}
