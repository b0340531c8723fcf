//! Decoding built-in objects as Go does: type checks in its words, unknown fields dropped, zero fields written.
//!
//! The result is what a Go server would write after reading the object into its struct: nulls are gone, empty
//! `omitempty` members too, members without it are there, quantities and times are canonical. Kind-specific
//! defaults and validation are not here. Custom resources are pruned and validated instead.

use std::borrow::Cow;
use std::fmt;

use apiserver_json::{Map, SmolStr, Value, json};

use crate::empties::may_go;
use crate::golang;
use crate::node::{Field, Object, Schema, Shape};
use crate::{quantity, time};

/// Which of upstream's two readers is meant; they differ in their error texts only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decode {
    /// A JSON document: bodies, JSON patches and merge patches.
    Json,
    /// A tree that was merged in memory: strategic merge patches.
    Unstructured,
}

/// The path of a field that the schema does not know, as in `unknown field "spec.foo"`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unknown(pub String);

impl fmt::Display for Unknown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unknown field {}", apiserver_meta::field::go_quote(&self.0))
    }
}

/// Why a value cannot be read, in Go's words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecodeError {
    pub message: String,
    /// Whether Go reads no further: a type's own reader refused the value. Of wrong types it keeps the first and goes
    /// on, so this error is told even where a wrong type stands before it.
    pub ends_reading: bool,
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for DecodeError {}

/// Amounts by the name of a resource, which are rounded.
const RESOURCES: &str = "v1.ResourceList";

/// Reads `value` as `schema` says and leaves what Go would write back. Returns what was dropped as unknown,
/// in the order of field names; see `strict_errors` for the order of the document.
pub fn decode(schema: &Schema, value: &mut Value, mode: Decode) -> Result<Vec<Unknown>, DecodeError> {
    read(schema, value, mode, false)
}

/// As [`decode`], but lists and maps stay that were sent empty, outside of the object's own metadata; see `Empties`.
pub fn decode_sent(schema: &Schema, value: &mut Value, mode: Decode) -> Result<Vec<Unknown>, DecodeError> {
    read(schema, value, mode, true)
}

fn read(
    schema: &Schema,
    value: &mut Value,
    mode: Decode,
    keeps_empty: bool,
) -> Result<Vec<Unknown>, DecodeError> {
    let protobuf = !schema.definition.is_some_and(|name| {
        name.starts_with("io.k8s.apiextensions-apiserver") || name.starts_with("io.k8s.kube-aggregator")
    });
    let mut reader = Reader {
        mode,
        protobuf,
        keeps_empty,
        quiet: 0,
        unknown: Vec::new(),
        path: Vec::new(),
        owner: "",
        stack: Vec::new(),
        within_own_reader: false,
        finest: quantity::NANO,
        first_wrong_type: None,
    };
    if value.is_null() {
        *value = zero(schema);
    }
    reader.node(schema, value)?;
    match reader.first_wrong_type {
        Some(error) => Err(error),
        None => Ok(reader.unknown),
    }
}

/// The zero value of a type as Go writes it: `""`, `0`, `null` for lists and maps, `{}` with its always-written
/// members for structs. For a kind it is the empty object that field ownership of a create starts from.
pub fn zero(schema: &Schema) -> Value {
    match &schema.shape {
        Shape::Object(object) if object.go_struct => {
            let mut map = Map::new();
            for (name, value) in skeleton(object) {
                map.insert(name.to_string().into(), value.clone());
            }
            Value::Object(map)
        }
        Shape::String | Shape::Duration => json!(""),
        Shape::Integer(_) | Shape::Number | Shape::IntOrString => json!(0),
        Shape::Boolean => json!(false),
        Shape::Quantity => json!("0"),
        _ => Value::Null,
    }
}

/// The members of a struct that are written even when nothing was set.
fn skeleton(object: &Object) -> &[(Box<str>, Value)] {
    object.skeleton.get_or_init(|| {
        object.fields.iter().filter_map(|(name, field)| Some((name.clone(), always(field)?))).collect()
    })
}

fn always(field: &Field) -> Option<Value> {
    let schema = field.schema.get();
    if field.pointer {
        return (!field.omit_empty).then_some(Value::Null);
    }
    let struct_like = match &schema.shape {
        Shape::Object(object) => object.go_struct,
        Shape::Quantity | Shape::IntOrString | Shape::Time | Shape::MicroTime | Shape::Duration => true,
        Shape::Raw | Shape::SchemaOr => true,
        Shape::Any { deduced } => !deduced,
        _ => false,
    };
    let omitted = if struct_like { field.omit_zero } else { field.omit_empty };
    (!omitted).then(|| zero(schema))
}

enum Step<'a> {
    Field(&'a str),
    Key(SmolStr),
    Index(usize),
}

struct Reader<'a> {
    mode: Decode,
    /// Storage keeps no difference between empty and missing lists.
    protobuf: bool,
    /// Whether lists and maps stay that were sent empty.
    keeps_empty: bool,
    quiet: u32,
    unknown: Vec<Unknown>,
    path: Vec<Step<'a>>,
    owner: &'a str,
    stack: Vec<&'a str>,
    /// Below a type with a reader of its own, whose errors name the member that has it.
    within_own_reader: bool,
    /// As far as quantities are told apart here.
    finest: i32,
    first_wrong_type: Option<DecodeError>,
}

impl<'a> Reader<'a> {
    fn node(&mut self, schema: &'a Schema, value: &mut Value) -> Result<(), DecodeError> {
        match &schema.shape {
            Shape::Object(object) => self.object(schema, object, value),
            Shape::List(list) => {
                let Value::Array(items) = value else { return self.mismatch(schema, value) };
                for (i, item) in items.iter_mut().enumerate() {
                    self.path.push(Step::Index(i));
                    self.element(list.items.get(), item)?;
                    self.path.pop();
                }
                Ok(())
            }
            Shape::String if value.is_string() => Ok(()),
            Shape::Boolean if value.is_boolean() => Ok(()),
            Shape::Integer(bits) => self.integer(schema, *bits, value),
            Shape::Number if value.is_number() => Ok(()),
            Shape::Any { .. } | Shape::Raw => Ok(()),
            Shape::SchemaOr => self.schema_or(schema, value),
            Shape::String | Shape::Boolean | Shape::Number => self.mismatch(schema, value),
            _ => self.text(schema, value),
        }
    }

    /// A list item or map value: null counts as the zero value.
    fn element(&mut self, schema: &'a Schema, value: &mut Value) -> Result<(), DecodeError> {
        if value.is_null() {
            if !matches!(schema.shape, Shape::Any { .. }) {
                *value = if matches!(schema.shape, Shape::Bytes) { json!("") } else { zero(schema) };
            }
            return Ok(());
        }
        self.node(schema, value)
    }

    fn object(
        &mut self,
        schema: &'a Schema,
        object: &'a Object,
        value: &mut Value,
    ) -> Result<(), DecodeError> {
        let Value::Object(map) = value else { return self.mismatch(schema, value) };
        if !object.go_struct {
            let Some(slot) = &object.additional else { return Ok(()) };
            if matches!(slot.get().shape, Shape::String) && map.values().all(Value::is_string) {
                return Ok(());
            }
            // Those of a RuntimeClass, whose struct this is, have no defaults upstream.
            if &*schema.go_type == RESOURCES && self.owner != "Overhead" {
                self.finest = quantity::MILLI;
            }
            for (key, item) in map.iter_mut() {
                self.path.push(Step::Key(key.clone()));
                self.element(slot.get(), item)?;
                self.path.pop();
            }
            self.finest = quantity::NANO;
            return Ok(());
        }
        let outer = (self.owner, self.stack.len());
        let owner = schema.definition.and_then(|name| name.rsplit('.').next()).unwrap_or_default();
        let embeds = golang::embedded(owner);
        let mut failed: Option<(usize, DecodeError)> = None;
        // Most objects lose nothing: what goes is noted, and taken out in a second pass.
        let mut dropped = 0;
        for (key, item) in map.iter_mut() {
            let Some((name, field)) = object.fields.get_key_value(key.as_str()) else {
                self.report(key);
                dropped += 1;
                continue;
            };
            if item.is_null() {
                dropped += 1;
                continue;
            }
            // A tree is read in the order of the struct's fields.
            if failed.as_ref().is_some_and(|(place, _)| *place < field.place) {
                continue;
            }
            if !self.within_own_reader {
                self.owner = owner;
                if let Some(embeds) = embeds {
                    self.stack.extend(embeds(name));
                }
                self.stack.push(name);
            }
            self.path.push(Step::Field(name));
            let done = self.node(field.schema.get(), item);
            self.path.pop();
            self.stack.truncate(outer.1);
            if let Err(error) = done {
                failed = Some((field.place, error));
                if self.mode == Decode::Json {
                    break;
                }
                continue;
            }
            if !self.keep(field, item) {
                // A null is dropped whatever it was before.
                *item = Value::Null;
                dropped += 1;
            }
        }
        self.owner = outer.0;
        if let Some((_, error)) = failed {
            return Err(error);
        }
        if dropped > 0 {
            // Members that are null although they are written come back from the skeleton.
            map.retain(|key, item| !item.is_null() && object.fields.contains_key(key.as_str()));
        }
        for (name, value) in skeleton(object) {
            if !map.contains_key(name) {
                map.insert(name.to_string().into(), value.clone());
            }
        }
        Ok(())
    }

    /// Whether Go writes the member that was read.
    fn keep(&self, field: &Field, value: &mut Value) -> bool {
        if field.pointer {
            return true;
        }
        let shape = &field.schema.get().shape;
        let of_metadata = matches!(self.path.as_slice(), [Step::Field("metadata")]);
        match value {
            Value::Array(_) | Value::Object(_) if self.keeps_empty && !of_metadata && may_go(field) => true,
            Value::Array(items) if items.is_empty() && matches!(shape, Shape::List(_)) => {
                if !field.omit_empty && self.protobuf {
                    *value = Value::Null;
                }
                !field.omit_empty
            }
            Value::Object(map) if map.is_empty() => {
                let is_struct = !matches!(shape, Shape::Object(object) if !object.go_struct);
                if !is_struct && !field.omit_empty && self.protobuf {
                    *value = Value::Null;
                }
                if is_struct { !field.omit_zero } else { !field.omit_empty }
            }
            Value::String(text) if text.is_empty() => {
                !(field.omit_empty && matches!(shape, Shape::String | Shape::Bytes))
            }
            Value::Bool(false) => !field.omit_empty || !matches!(shape, Shape::Boolean),
            Value::Number(number) if number.as_f64() == Some(0.0) => {
                !(field.omit_empty && matches!(shape, Shape::Integer(_) | Shape::Number))
            }
            _ => true,
        }
    }

    fn integer(&mut self, schema: &Schema, bits: u8, value: &mut Value) -> Result<(), DecodeError> {
        let Value::Number(number) = &*value else { return self.mismatch(schema, value) };
        let whole = match (self.mode, number.as_i64(), number.as_f64()) {
            (_, Some(whole), _) => Some(whole),
            (Decode::Unstructured, None, Some(float)) if float.trunc() == float => Some(float as i64),
            _ => None,
        };
        let fits = |n: &i64| match bits {
            8 => u8::try_from(*n).is_ok(),
            32 => i32::try_from(*n).is_ok(),
            _ => true,
        };
        // Between types Go cuts off what does not fit; between texts it refuses it.
        let cut = |n: i64| match bits {
            8 => n.rem_euclid(1 << 8),
            32 => n.wrapping_add(1 << 31).rem_euclid(1 << 32) - (1 << 31),
            _ => n,
        };
        let whole = if self.mode == Decode::Unstructured { whole.map(cut) } else { whole.filter(fits) };
        match whole {
            Some(whole) => {
                *value = json!(whole);
                Ok(())
            }
            None if self.mode == Decode::Unstructured => {
                fail(format!("cannot convert {} to {}", golang::type_name(value), schema.go_type))
            }
            None => {
                let error = self.wrong(&format!("number {number}"), &schema.go_type);
                self.go_on_after(error);
                Ok(())
            }
        }
    }

    /// Types whose JSON form is text with rules of its own.
    fn text(&mut self, schema: &Schema, value: &mut Value) -> Result<(), DecodeError> {
        let finest = self.finest;
        let quantity =
            |text: &str| quantity::canonical(text, finest).map(Cow::into_owned).map_err(str::to_owned);
        let canonical = match (&schema.shape, &*value) {
            (Shape::IntOrString, Value::String(_)) => return Ok(()),
            (Shape::IntOrString, Value::Number(number)) => {
                return match number.as_i64().map(i32::try_from) {
                    Some(Ok(_)) => Ok(()),
                    _ => Err(self.wrong(&format!("number {number}"), "int32")),
                };
            }
            (Shape::IntOrString, other) => return Err(self.wrong(json_kind(other), "int32")),
            (Shape::Quantity, Value::Number(number)) => quantity(&number.to_string()),
            (Shape::Quantity, Value::String(text)) => match quantity::canonical(text, self.finest) {
                Ok(Cow::Borrowed(same)) if same.len() == text.len() => return Ok(()),
                other => other.map(Cow::into_owned).map_err(str::to_owned),
            },
            (Shape::Quantity, other) => quantity(&other.to_string()),
            (Shape::Bytes, Value::String(text)) => {
                let Err(at) = check_base64(text) else { return Ok(()) };
                let message = format!("illegal base64 data at input byte {at}");
                if self.mode == Decode::Unstructured {
                    return fail(format!("error decoding from json: {message}"));
                }
                self.go_on_after(DecodeError { message, ends_reading: false });
                return Ok(());
            }
            (Shape::Bytes, Value::Array(items)) => match self.bytes(items) {
                Some(bytes) => Ok(apiserver_meta::base64::encode(&bytes)),
                None => return Ok(()),
            },
            (Shape::Bytes, _) => return self.mismatch(schema, value),
            (Shape::Time, Value::String(text)) => time::normalise_time(text),
            (Shape::MicroTime, Value::String(text)) => time::normalise_micro_time(text),
            (_, Value::String(_)) => return Ok(()),
            (_, other) => return Err(self.wrong(json_kind(other), "string")),
        };
        match canonical {
            Ok(text) => {
                *value = Value::String(text.into());
                Ok(())
            }
            Err(message) => fail(message),
        }
    }

    /// Bytes as a list of numbers, which Go takes as well. `None` where there are others in it.
    fn bytes(&mut self, items: &[Value]) -> Option<Vec<u8>> {
        let mut bytes = Vec::with_capacity(items.len());
        for item in items {
            let wrong = match item {
                Value::Null => {
                    bytes.push(0);
                    continue;
                }
                Value::Number(number) => match number.as_u64().map(u8::try_from) {
                    Some(Ok(byte)) => {
                        bytes.push(byte);
                        continue;
                    }
                    _ => self.wrong(&format!("number {number}"), "uint8"),
                },
                other => self.wrong(json_kind(other), "uint8"),
            };
            self.go_on_after(wrong);
        }
        self.first_wrong_type.is_none().then_some(bytes)
    }

    /// Parts of a CRD schema that are a schema or something simpler; upstream drops unknown fields silently there.
    fn schema_or(&mut self, schema: &Schema, value: &mut Value) -> Result<(), DecodeError> {
        const PROPS: &str = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps";
        let of_boolean = schema.go_type.ends_with("OrBool");
        if of_boolean && !value.is_object() {
            let known = value.is_boolean();
            return if known { Ok(()) } else { fail("boolean or JSON schema expected".to_owned()) };
        }
        let props = crate::types::named(PROPS);
        let name = Schema { go_type: "string".into(), ..Schema::new(Shape::String) };
        let mut inner = Reader {
            mode: self.mode,
            protobuf: self.protobuf,
            keeps_empty: false,
            quiet: 1,
            unknown: Vec::new(),
            path: Vec::new(),
            owner: self.owner,
            stack: self.stack.clone(),
            within_own_reader: true,
            finest: quantity::NANO,
            first_wrong_type: None,
        };
        let done = match value {
            Value::Object(_) => inner.node(&props, value),
            Value::Array(items) => {
                let each = if schema.go_type.ends_with("OrStringArray") { &name } else { &props };
                items.iter_mut().try_for_each(|item| inner.element(each, item))
            }
            // Anything simpler is read as nothing.
            _ if !of_boolean => {
                *value = Value::Null;
                Ok(())
            }
            _ => Ok(()),
        };
        match done.err().or(inner.first_wrong_type) {
            Some(error) => Err(DecodeError { ends_reading: true, ..error }),
            None => Ok(()),
        }
    }

    fn report(&mut self, key: &str) {
        if self.quiet > 0 {
            return;
        }
        let mut path = String::new();
        for step in &self.path {
            let name: &str = match step {
                Step::Field(name) => name,
                Step::Key(name) => name,
                Step::Index(i) => {
                    path.push_str(&format!("[{i}]"));
                    continue;
                }
            };
            if !path.is_empty() {
                path.push('.');
            }
            path.push_str(name);
        }
        if !path.is_empty() {
            path.push('.');
        }
        path.push_str(key);
        self.unknown.push(Unknown(path));
    }

    fn mismatch(&mut self, schema: &Schema, value: &Value) -> Result<(), DecodeError> {
        if self.mode == Decode::Json {
            let error = self.wrong(json_kind(value), &schema.go_type);
            self.go_on_after(error);
            return Ok(());
        }
        let kind = golang::kind_name(value);
        fail(match &schema.shape {
            Shape::Object(object) if object.go_struct => format!("cannot restore struct from: {kind}"),
            Shape::Object(_) => format!("cannot restore map from {kind}"),
            Shape::List(_) | Shape::Bytes => format!("cannot restore slice from {kind}"),
            Shape::String if kind == "int64" => format!("cannot convert int64 to {}", schema.go_type),
            shape => format!("unrecognized type: {}", go_kind(shape)),
        })
    }

    /// Keeps the first error of those that do not end the reading.
    fn go_on_after(&mut self, error: DecodeError) {
        self.first_wrong_type.get_or_insert(DecodeError { ends_reading: false, ..error });
    }

    /// Go's `UnmarshalTypeError`.
    fn wrong(&self, what: &str, go_type: &str) -> DecodeError {
        let message = if self.owner.is_empty() || self.mode == Decode::Unstructured {
            format!("json: cannot unmarshal {what} into Go value of type {go_type}")
        } else {
            let (owner, field) = (self.owner, self.stack.join("."));
            format!("json: cannot unmarshal {what} into Go struct field {owner}.{field} of type {go_type}")
        };
        DecodeError { message, ends_reading: true }
    }
}

fn fail(message: String) -> Result<(), DecodeError> {
    Err(DecodeError { message, ends_reading: true })
}

fn go_kind(shape: &Shape) -> &'static str {
    match shape {
        Shape::Integer(8) => "uint8",
        Shape::Integer(32) => "int32",
        Shape::Integer(_) => "int64",
        Shape::Boolean => "bool",
        Shape::Number => "float64",
        _ => "string",
    }
}

/// The JSON kind of a value as Go's decode errors name it.
pub fn json_kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) | Value::Raw(_) => "object",
    }
}

/// Checks standard padded base64 as Go's decoder does; the error is the offset it would report.
fn check_base64(text: &str) -> Result<(), usize> {
    let bytes = text.as_bytes();
    let mut at = 0;
    let mut in_group = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'\n' | b'\r' => {}
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'+' | b'/' => in_group = (in_group + 1) % 4,
            b'=' => return check_padding(bytes, at, in_group),
            _ => return Err(at),
        }
        at += 1;
    }
    if in_group == 0 { Ok(()) } else { Err(at - in_group) }
}

fn check_padding(bytes: &[u8], at: usize, in_group: usize) -> Result<(), usize> {
    let mut next = at + 1;
    let skip = |mut i: usize| {
        while matches!(bytes.get(i), Some(b'\n' | b'\r')) {
            i += 1;
        }
        i
    };
    match in_group {
        2 => {
            next = skip(next);
            match bytes.get(next) {
                Some(b'=') => next += 1,
                Some(_) => return Err(next.saturating_sub(1)),
                None => return Err(bytes.len()),
            }
        }
        3 => {}
        _ => return Err(at),
    }
    next = skip(next);
    if next == bytes.len() { Ok(()) } else { Err(next) }
}

#[cfg(test)]
mod tests;
