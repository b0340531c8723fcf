//! The OpenAPI v2 document as protobuf (`openapi.v2.Document`), which is the only form kubectl asks for it in.
//!
//! Field numbers are facts of the published message definitions. What no Kubernetes document has (headers, examples,
//! security) is not written.

use apiserver_json::{Map, Value};

/// The media type, as upstream names it.
pub(crate) const MEDIA: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";

/// How a member is written.
#[derive(Clone, Copy)]
enum Kind {
    Text,
    Texts,
    Flag,
    Integer,
    Double,
    /// Any value, as YAML text.
    Free,
    Frees,
    One(&'static [Field]),
    Many(&'static [Field]),
    /// A message reached through wrappers that have only this field each.
    Wrapped(&'static [u32], &'static [Field]),
    /// A map, as named entries under a field of a wrapper.
    Named(&'static [Field]),
    /// `true`, `false` or a schema.
    FlagOrSchema,
    /// A text or a list of texts, in a wrapper.
    Types,
    Parameters,
    NamedParameters,
    Responses,
}

type Field = (&'static str, u32, Kind);

/// The field of extensions (`x-…`), under a name that no member has.
const EXTENSIONS: &str = "";

static DOCUMENT: &[Field] = &[
    ("swagger", 1, Kind::Text),
    ("info", 2, Kind::One(&[("title", 1, Kind::Text), ("version", 2, Kind::Text)])),
    ("definitions", 9, Kind::Named(&SCHEMA)),
    ("parameters", 10, Kind::NamedParameters),
];

static PATH: &[Field] = &[
    ("get", 2, Kind::One(OPERATION)),
    ("put", 3, Kind::One(OPERATION)),
    ("post", 4, Kind::One(OPERATION)),
    ("delete", 5, Kind::One(OPERATION)),
    ("options", 6, Kind::One(OPERATION)),
    ("head", 7, Kind::One(OPERATION)),
    ("patch", 8, Kind::One(OPERATION)),
    ("parameters", 9, Kind::Parameters),
    (EXTENSIONS, 10, Kind::Free),
];

static OPERATION: &[Field] = &[
    ("tags", 1, Kind::Texts),
    ("description", 3, Kind::Text),
    ("operationId", 5, Kind::Text),
    ("produces", 6, Kind::Texts),
    ("consumes", 7, Kind::Texts),
    ("parameters", 8, Kind::Parameters),
    ("responses", 9, Kind::Responses),
    ("schemes", 10, Kind::Texts),
    (EXTENSIONS, 13, Kind::Free),
];

static RESPONSE: &[Field] = &[
    ("description", 1, Kind::Text),
    ("schema", 2, Kind::Wrapped(&[1], &SCHEMA)),
    (EXTENSIONS, 5, Kind::Free),
];

static BODY_PARAMETER: &[Field] = &[
    ("description", 1, Kind::Text),
    ("name", 2, Kind::Text),
    ("in", 3, Kind::Text),
    ("required", 4, Kind::Flag),
    ("schema", 5, Kind::One(&SCHEMA)),
];

static QUERY_PARAMETER: &[Field] = &[
    ("required", 1, Kind::Flag),
    ("in", 2, Kind::Text),
    ("description", 3, Kind::Text),
    ("name", 4, Kind::Text),
    ("type", 6, Kind::Text),
    ("uniqueItems", 20, Kind::Flag),
];

static PATH_PARAMETER: &[Field] = &[
    ("required", 1, Kind::Flag),
    ("in", 2, Kind::Text),
    ("description", 3, Kind::Text),
    ("name", 4, Kind::Text),
    ("type", 5, Kind::Text),
    ("uniqueItems", 19, Kind::Flag),
];

// A static, because a schema holds schemas.
static SCHEMA: [Field; 27] = [
    ("$ref", 1, Kind::Text),
    ("format", 2, Kind::Text),
    ("title", 3, Kind::Text),
    ("description", 4, Kind::Text),
    ("default", 5, Kind::Free),
    ("multipleOf", 6, Kind::Double),
    ("maximum", 7, Kind::Double),
    ("exclusiveMaximum", 8, Kind::Flag),
    ("minimum", 9, Kind::Double),
    ("exclusiveMinimum", 10, Kind::Flag),
    ("maxLength", 11, Kind::Integer),
    ("minLength", 12, Kind::Integer),
    ("pattern", 13, Kind::Text),
    ("maxItems", 14, Kind::Integer),
    ("minItems", 15, Kind::Integer),
    ("uniqueItems", 16, Kind::Flag),
    ("maxProperties", 17, Kind::Integer),
    ("minProperties", 18, Kind::Integer),
    ("required", 19, Kind::Texts),
    ("enum", 20, Kind::Frees),
    ("additionalProperties", 21, Kind::FlagOrSchema),
    ("type", 22, Kind::Types),
    ("items", 23, Kind::Wrapped(&[1], &SCHEMA)),
    ("allOf", 24, Kind::Many(&SCHEMA)),
    ("properties", 25, Kind::Named(&SCHEMA)),
    ("example", 30, Kind::Free),
    (EXTENSIONS, 31, Kind::Free),
];

fn varint(out: &mut Vec<u8>, mut number: u64) {
    while number > 127 {
        out.push((number as u8 & 127) | 128);
        number >>= 7;
    }
    out.push(number as u8);
}

fn bytes(out: &mut Vec<u8>, field: u32, value: &[u8]) {
    varint(out, u64::from(field) << 3 | 2);
    varint(out, value.len() as u64);
    out.extend_from_slice(value);
}

fn flag(out: &mut Vec<u8>, field: u32, value: bool) {
    varint(out, u64::from(field) << 3);
    out.push(u8::from(value));
}

/// `Any{yaml}`; JSON is YAML.
fn free(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    bytes(&mut out, 2, format!("{value}\n").as_bytes());
    out
}

/// `{name = 1, value = 2}`.
fn named(name: &str, value: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(name.len() + value.len() + 8);
    bytes(&mut out, 1, name.as_bytes());
    bytes(&mut out, 2, value);
    out
}

fn wrapped(wrappers: &[u32], value: Vec<u8>) -> Vec<u8> {
    wrappers.iter().rev().fold(value, |inner, field| {
        let mut out = Vec::with_capacity(inner.len() + 6);
        bytes(&mut out, *field, &inner);
        out
    })
}

fn message(object: &Value, fields: &[Field]) -> Vec<u8> {
    let mut out = Vec::new();
    let empty = Map::new();
    let members = object.as_object().unwrap_or(&empty);
    for (name, field, kind) in fields {
        if *name == EXTENSIONS {
            for (name, value) in members.iter().filter(|(name, _)| name.starts_with("x-")) {
                bytes(&mut out, *field, &named(name, &free(value)));
            }
        } else if let Some(value) = members.get(name) {
            member(&mut out, *field, *kind, value);
        }
    }
    out
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn member(out: &mut Vec<u8>, field: u32, kind: Kind, value: &Value) {
    match kind {
        Kind::Text => bytes(out, field, value.as_str().unwrap_or("").as_bytes()),
        Kind::Texts => {
            items(value).filter_map(Value::as_str).for_each(|text| bytes(out, field, text.as_bytes()))
        }
        Kind::Flag if value == &Value::Bool(true) => flag(out, field, true),
        Kind::Flag => {}
        Kind::Integer => {
            varint(out, u64::from(field) << 3);
            varint(out, value.as_i64().unwrap_or(0) as u64);
        }
        Kind::Double => {
            varint(out, u64::from(field) << 3 | 1);
            out.extend(value.as_f64().unwrap_or(0.0).to_le_bytes());
        }
        Kind::Free => bytes(out, field, &free(value)),
        Kind::Frees => items(value).for_each(|value| bytes(out, field, &free(value))),
        Kind::One(fields) => bytes(out, field, &message(value, fields)),
        Kind::Many(fields) => items(value).for_each(|value| bytes(out, field, &message(value, fields))),
        Kind::Wrapped(wrappers, fields) => bytes(out, field, &wrapped(wrappers, message(value, fields))),
        Kind::Named(fields) => {
            let mut all = Vec::new();
            for (name, value) in value.as_object().into_iter().flatten() {
                bytes(&mut all, 1, &named(name, &message(value, fields)));
            }
            bytes(out, field, &all);
        }
        Kind::FlagOrSchema => {
            let mut inner = Vec::new();
            match value.as_bool() {
                Some(value) => flag(&mut inner, 2, value),
                None => bytes(&mut inner, 1, &message(value, &SCHEMA)),
            }
            bytes(out, field, &inner);
        }
        Kind::Types => {
            let mut inner = Vec::new();
            let texts = value.as_str().into_iter().chain(items(value).filter_map(Value::as_str));
            texts.for_each(|text| bytes(&mut inner, 1, text.as_bytes()));
            bytes(out, field, &inner);
        }
        Kind::Parameters => items(value).for_each(|value| bytes(out, field, &parameter_or_reference(value))),
        Kind::NamedParameters => {
            let mut all = Vec::new();
            for (name, value) in value.as_object().into_iter().flatten() {
                bytes(&mut all, 1, &named(name, &parameter(value)));
            }
            bytes(out, field, &all);
        }
        Kind::Responses => {
            let mut all = Vec::new();
            for (code, value) in value.as_object().into_iter().flatten() {
                bytes(&mut all, 1, &named(code, &wrapped(&[1], message(value, RESPONSE))));
            }
            bytes(out, field, &all);
        }
    }
}

/// ParametersItem: a Parameter, or a JsonReference to one of the document.
fn parameter_or_reference(value: &Value) -> Vec<u8> {
    match value.get("$ref") {
        Some(_) => wrapped(&[2], message(value, &[("$ref", 1, Kind::Text)])),
        None => wrapped(&[1], parameter(value)),
    }
}

/// A Parameter by its place; for all but bodies NonBodyParameter is around it.
fn parameter(value: &Value) -> Vec<u8> {
    match value.get("in").and_then(Value::as_str) {
        Some("body") => wrapped(&[1], message(value, BODY_PARAMETER)),
        Some("path") => wrapped(&[2, 4], message(value, PATH_PARAMETER)),
        _ => wrapped(&[2, 3], message(value, QUERY_PARAMETER)),
    }
}

/// The document in protobuf.
pub(crate) fn encode(document: &Value) -> Vec<u8> {
    let mut out = message(document, DOCUMENT);
    let mut paths = Vec::new();
    for (path, value) in document.get("paths").and_then(Value::as_object).into_iter().flatten() {
        bytes(&mut paths, 2, &named(path, &message(value, PATH)));
    }
    bytes(&mut out, 8, &paths);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use apiserver_json::json;

    #[test]
    fn members_are_written_under_their_numbers() {
        let schema = json!({"type": "object", "additionalProperties": false, "x-a": [1], "required": ["b"]});
        assert_eq!(
            message(&schema, &SCHEMA),
            // required = 19, additionalProperties = 21 {boolean = 2}, type = 22 {value = 1}, x-a = 31 {name, {yaml = 2}}
            b"\x9a\x01\x01b\xaa\x01\x02\x10\x00\xb2\x01\x08\x0a\x06object\xfa\x01\x0d\x0a\x03x-a\x12\x06\x12\x04[1]\n"
        );
        assert_eq!(
            parameter_or_reference(&json!({"in": "query", "name": "q"})),
            b"\x0a\x0e\x12\x0c\x1a\x0a\x12\x05query\x22\x01q"
        );
        assert_eq!(parameter_or_reference(&json!({"$ref": "#/q"})), b"\x12\x05\x0a\x03#/q");
        assert_eq!(encode(&json!({"swagger": "2.0"})), b"\x0a\x032.0\x42\x00");
    }
}
