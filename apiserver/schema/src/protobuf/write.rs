//! Writing: a JSON tree as the bytes that Go's generated code writes for the object.
//!
//! Fields are written in order of number. What is no pointer is written even where it is zero; lists and maps that are
//! empty are not; maps are sorted by key, as the trees are. Of what a tree does not hold, Go's zero value is written.

use apiserver_json::{Map, Value};

use super::MAGIC;
use super::special;
use super::table::{Field, Index, Kind, Shape, table};

/// The message of a kind.
#[derive(Clone, Copy, Debug)]
pub struct Message(Index);

impl Message {
    /// The message of a built-in kind or of its list; `None` where there is none.
    pub fn of(api_version: &str, kind: &str) -> Option<Self> {
        table().root(api_version, kind).map(Self)
    }
}

/// A whole body: the tree, in the envelope of its kind. `None` where the kind has no message.
pub fn to_protobuf(object: &Value) -> Option<Vec<u8>> {
    let text = |member: &str| object.get(member).and_then(Value::as_str).unwrap_or("");
    let (api_version, kind) = (text("apiVersion"), text("kind"));
    let message = Message::of(api_version, kind)?;
    let raw = write_message(message, object);
    let mut out = Vec::with_capacity(raw.len() + 64);
    write_prefix(&mut out, api_version, kind, raw.len());
    out.extend_from_slice(&raw);
    write_suffix(&mut out);
    Some(out)
}

/// The bytes of a message alone.
pub fn write_message(message: Message, object: &Value) -> Vec<u8> {
    let mut out = Vec::with_capacity(1024);
    fields(&mut out, message.0, object.as_object());
    out
}

/// The envelope up to the object, which has `length` bytes.
pub fn write_prefix(out: &mut Vec<u8>, api_version: &str, kind: &str, length: usize) {
    out.extend_from_slice(MAGIC);
    nested(out, 1, |out| {
        bytes(out, 1, api_version.as_bytes());
        bytes(out, 2, kind.as_bytes());
    });
    key(out, 2, 2);
    varint(out, length as u64);
}

/// The envelope after the object: no encoding, no other content type.
pub fn write_suffix(out: &mut Vec<u8>) {
    bytes(out, 3, b"");
    bytes(out, 4, b"");
}

/// The first field of a list.
pub fn write_list_head(out: &mut Vec<u8>, metadata: &Value) {
    nested(out, 1, |out| fields(out, table().list_meta, metadata.as_object()));
}

/// An item of a list.
pub fn write_list_item(out: &mut Vec<u8>, message: &[u8]) {
    bytes(out, 2, message);
}

/// The frame of a watch event; `object` is a whole body.
pub fn write_event(out: &mut Vec<u8>, kind: &str, object: &[u8]) {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    bytes(out, 1, kind.as_bytes());
    nested(out, 2, |out| bytes(out, 1, object));
    // An object is bounded far below what four bytes can say.
    let length = u32::try_from(out.len() - start - 4).unwrap_or(u32::MAX);
    if let Some(place) = out.get_mut(start..start + 4) {
        place.copy_from_slice(&length.to_be_bytes());
    }
}

pub(super) fn fields(out: &mut Vec<u8>, message: Index, object: Option<&Map>) {
    for field in table().fields(message) {
        write_field(out, field, object);
    }
}

fn write_field(out: &mut Vec<u8>, field: &Field, object: Option<&Map>) {
    let found = object.and_then(|object| object.get(field.member));
    let number = field.number;
    match field.shape {
        Shape::Always => value(out, number, field.kind, found),
        Shape::Pointer => {
            if let Some(found) = found.filter(|found| !found.is_null()) {
                value(out, number, field.kind, Some(found));
            }
        }
        Shape::List => {
            for item in found.and_then(Value::as_array).into_iter().flatten() {
                value(out, number, field.kind, Some(item));
            }
        }
        Shape::Map => {
            for (name, item) in found.and_then(Value::as_object).into_iter().flatten() {
                nested(out, number, |out| {
                    bytes(out, 1, name.as_bytes());
                    match (field.kind, item) {
                        // Unlike a field, an empty list of a map is a message.
                        (Kind::Texts, Value::Null) => bytes(out, 2, b""),
                        _ => value(out, 2, field.kind, Some(item)),
                    }
                });
            }
        }
        Shape::Inline => {
            let Kind::Message(inner) = field.kind else { return };
            nested(out, number, |out| fields(out, inner, object));
        }
    }
}

pub(super) fn value(out: &mut Vec<u8>, number: u32, kind: Kind, found: Option<&Value>) {
    let found = found.filter(|found| !found.is_null());
    match kind {
        Kind::Bool => integer(out, number, u64::from(found.and_then(Value::as_bool).unwrap_or(false))),
        Kind::Int => integer(out, number, found.map_or(0, special::int).cast_unsigned()),
        Kind::Double => {
            key(out, number, 1);
            let value = found.and_then(Value::as_f64).unwrap_or(0.0);
            out.extend_from_slice(&value.to_le_bytes());
        }
        Kind::Text => bytes(out, number, found.and_then(Value::as_str).unwrap_or("").as_bytes()),
        Kind::Bytes => {
            if let Some(text) = found.and_then(Value::as_str) {
                bytes(out, number, &apiserver_meta::base64::decode(text).unwrap_or_default());
            }
        }
        Kind::Texts => {
            if let Some(list) = found.and_then(Value::as_array) {
                nested(out, number, |out| {
                    for item in list {
                        bytes(out, 1, item.as_str().unwrap_or("").as_bytes());
                    }
                });
            }
        }
        Kind::Message(inner) => {
            nested(out, number, |out| fields(out, inner, found.and_then(Value::as_object)))
        }
        _ => nested(out, number, |out| special::write(out, kind, found)),
    }
}

pub(super) fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn key(out: &mut Vec<u8>, number: u32, wire: u32) {
    varint(out, u64::from(number << 3 | wire));
}

pub(super) fn integer(out: &mut Vec<u8>, number: u32, value: u64) {
    key(out, number, 0);
    varint(out, value);
}

pub(super) fn bytes(out: &mut Vec<u8>, number: u32, value: &[u8]) {
    key(out, number, 2);
    varint(out, value.len() as u64);
    out.extend_from_slice(value);
}

/// A message within another. Most are short, so one byte is left for the length; a long one is moved.
pub(super) fn nested(out: &mut Vec<u8>, number: u32, write: impl FnOnce(&mut Vec<u8>)) {
    key(out, number, 2);
    let at = out.len();
    out.push(0);
    write(out);
    let length = out.len() - at - 1;
    match (u8::try_from(length), out.get_mut(at)) {
        (Ok(length @ ..0x80), Some(place)) => *place = length,
        _ => {
            let mut bytes = Vec::with_capacity(5);
            varint(&mut bytes, length as u64);
            out.splice(at..=at, bytes);
        }
    }
}
