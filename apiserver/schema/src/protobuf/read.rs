//! Reading: a body as the JSON tree that it means.

use std::collections::BTreeMap;

use apiserver_json::{Items, Map, Members, Value};
use apiserver_meta::base64;

use super::table::{Field, Index, Kind, Shape, table};
use super::{DEPTH_MAX, MAGIC, special};

/// One field on the wire.
pub(super) enum Wire<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn new(rest: &'a [u8]) -> Self {
        Self { rest }
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.rest.split_first()?;
            self.rest = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        Some(taken)
    }

    /// The next field; `None` inside where the message is damaged.
    pub(super) fn next(&mut self) -> Option<Option<(u64, Wire<'a>)>> {
        if self.rest.is_empty() {
            return None;
        }
        Some(self.field())
    }

    fn field(&mut self) -> Option<(u64, Wire<'a>)> {
        let key = self.varint()?;
        let wire = match key & 7 {
            0 => Wire::Number(self.varint()?),
            1 => Wire::Number(u64::from_le_bytes(self.take(8)?.try_into().ok()?)),
            2 => {
                let length = usize::try_from(self.varint()?).ok()?;
                Wire::Bytes(self.take(length)?)
            }
            5 => Wire::Number(u64::from(u32::from_le_bytes(self.take(4)?.try_into().ok()?))),
            _ => return None,
        };
        Some((key >> 3, wire))
    }
}

/// Reads a body.
///
/// # Errors
/// A sentence of what is wrong with it.
pub fn from_protobuf(raw: &[u8]) -> Result<Value, String> {
    let damaged = || "unexpected EOF".to_owned();
    if raw.is_empty() || raw == MAGIC {
        return Err(if raw.is_empty() { "empty data" } else { "empty body" }.to_owned());
    }
    let envelope = raw
        .strip_prefix(MAGIC)
        .ok_or("provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]")?;
    let (mut api_version, mut kind, mut content) = (String::new(), String::new(), &[][..]);
    let mut reader = Reader { rest: envelope };
    while let Some(field) = reader.next() {
        match field.ok_or_else(damaged)? {
            (1, Wire::Bytes(meta)) => {
                let mut meta = Reader { rest: meta };
                while let Some(field) = meta.next() {
                    match field.ok_or_else(damaged)? {
                        (1, Wire::Bytes(text)) => api_version = String::from_utf8_lossy(text).into_owned(),
                        (2, Wire::Bytes(text)) => kind = String::from_utf8_lossy(text).into_owned(),
                        _ => {}
                    }
                }
            }
            (2, Wire::Bytes(bytes)) => content = bytes,
            _ => {}
        }
    }
    let root = table()
        .root(&api_version, &kind)
        .ok_or_else(|| format!("no kind {kind:?} is registered for version {api_version:?}"))?;
    let mut object = message(root, content, 0).ok_or_else(damaged)?;
    object.insert("apiVersion".into(), api_version.into());
    object.insert("kind".into(), kind.into());
    Ok(Value::Object(object))
}

pub(super) fn message(index: Index, bytes: &[u8], depth: usize) -> Option<Map> {
    if depth > DEPTH_MAX {
        return None;
    }
    let mut object = Map::new();
    let mut entries = Entries::new();
    let mut reader = Reader { rest: bytes };
    while let Some(field) = reader.next() {
        let (number, wire) = field?;
        // A field of a newer API is skipped, as protobuf wants it.
        let Some(field) = table().field(index, number) else { continue };
        if let Shape::Map = field.shape {
            let Wire::Bytes(entry) = wire else { return None };
            let (key, entry) = map_entry(field.kind, entry, depth)?;
            entries.entry(field.member).or_default().push((key.into(), entry));
        } else {
            read_field(&mut object, field, wire, depth)?;
        }
    }
    // The last of a key counts.
    for (member, entries) in entries {
        object.insert(member.into(), Value::Object(Map::of_members(entries).0));
    }
    Some(object)
}

/// Entries of a message's maps, by member: they come one by one, in any order.
type Entries<'a> = BTreeMap<&'a str, Members>;

fn read_field(object: &mut Map, field: &Field, wire: Wire<'_>, depth: usize) -> Option<()> {
    match field.shape {
        Shape::List => {
            let list = object.entry(field.member).or_insert_with(|| Value::Array(Items::new()));
            if let Value::Array(list) = list {
                list.push(value(field.kind, wire, depth)?);
            }
        }
        // Of these the message takes care.
        Shape::Map => {}
        Shape::Inline => {
            if let Value::Object(inner) = value(field.kind, wire, depth)? {
                object.extend(inner);
            }
        }
        Shape::Always | Shape::Pointer => {
            object.insert(field.member.to_owned().into(), value(field.kind, wire, depth)?);
        }
    }
    Some(())
}

fn map_entry(kind: Kind, bytes: &[u8], depth: usize) -> Option<(String, Value)> {
    let (mut key, mut found) = (String::new(), None);
    let mut reader = Reader { rest: bytes };
    while let Some(field) = reader.next() {
        match field? {
            (1, Wire::Bytes(text)) => key = text_of(text),
            (2, wire) => found = Some(value(kind, wire, depth)?),
            _ => {}
        }
    }
    let found = match (found, kind) {
        (Some(found), _) => found,
        (None, Kind::Bool | Kind::Int | Kind::Double) => value(kind, Wire::Number(0), depth)?,
        (None, _) => value(kind, Wire::Bytes(&[]), depth)?,
    };
    Some((key, found))
}

pub(super) fn value(kind: Kind, wire: Wire<'_>, depth: usize) -> Option<Value> {
    Some(match (kind, wire) {
        (Kind::Bool, Wire::Number(number)) => Value::Bool(number != 0),
        (Kind::Int, Wire::Number(number)) => Value::from(number.cast_signed()),
        (Kind::Double, Wire::Number(bits)) => {
            apiserver_json::Number::from_f64(f64::from_bits(bits)).map_or(Value::Null, Value::Number)
        }
        (Kind::Bool | Kind::Int | Kind::Double, _) | (_, Wire::Number(_)) => return None,
        (Kind::Text, Wire::Bytes(text)) => Value::String(text_of(text).into()),
        (Kind::Bytes, Wire::Bytes(bytes)) => Value::String(base64::encode(bytes).into()),
        (Kind::Texts, Wire::Bytes(bytes)) => texts(bytes)?,
        (Kind::Message(index), Wire::Bytes(bytes)) => Value::Object(message(index, bytes, depth + 1)?),
        (kind, Wire::Bytes(bytes)) => special::read(kind, bytes, depth)?,
    })
}

fn texts(bytes: &[u8]) -> Option<Value> {
    let mut items = Items::new();
    let mut list = Reader { rest: bytes };
    while let Some(field) = list.next() {
        if let (1, Wire::Bytes(text)) = field? {
            items.push(Value::String(text_of(text).into()));
        }
    }
    Some(Value::Array(items))
}

fn text_of(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
