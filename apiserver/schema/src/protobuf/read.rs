//! Reading: a body as the JSON tree that it means.

use std::collections::BTreeMap;
use std::fmt;

use apiserver_json::{Items, Map, Members, Value};
use apiserver_meta::base64;

use super::table::{Field, Index, Kind, Shape, table};
use super::{DEPTH_MAX, MAGIC, special};

/// One field on the wire.
pub(super) enum Wire<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

/// What is wrong with a message, in the words of Go's generated code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Damage {
    End,
    Overflow,
    /// A field of no number.
    Tag(u8),
    WireType(u8),
    /// A field that is written as another type than it has.
    Field(u8, &'static str),
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::End => f.write_str("unexpected EOF"),
            Self::Overflow => f.write_str("proto: integer overflow"),
            Self::Tag(wire) => write!(f, "illegal tag 0 (wire type {wire})"),
            Self::WireType(wire) => write!(f, "proto: illegal wireType {wire}"),
            Self::Field(wire, member) => {
                // The names of Go's fields.
                let name = match *member {
                    "metadata" => "ObjectMeta".to_owned(),
                    member => member[..1].to_ascii_uppercase() + &member[1..],
                };
                write!(f, "proto: wrong wireType = {wire} for field {name}")
            }
        }
    }
}

impl Damage {
    /// As the reader of this message says it.
    fn of(self, message: &str) -> String {
        match self {
            Self::Tag(_) => format!("proto: {message}: {self}"),
            _ => self.to_string(),
        }
    }
}

pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn new(rest: &'a [u8]) -> Self {
        Self { rest }
    }

    fn varint(&mut self) -> Result<u64, Damage> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.rest.split_first().ok_or(Damage::End)?;
            self.rest = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Damage::Overflow)
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], Damage> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(Damage::End)?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Damage> {
        self.take(N)?.try_into().map_err(|_| Damage::End)
    }

    /// The next field; an error where the message is damaged.
    pub(super) fn next(&mut self) -> Option<Result<(u64, Wire<'a>), Damage>> {
        if self.rest.is_empty() {
            return None;
        }
        Some(self.field())
    }

    fn field(&mut self) -> Result<(u64, Wire<'a>), Damage> {
        let key = self.varint()?;
        let kind = (key & 7) as u8;
        if key >> 3 == 0 {
            return Err(Damage::Tag(kind));
        }
        let wire = match kind {
            0 => Wire::Number(self.varint()?),
            1 => Wire::Number(u64::from_le_bytes(self.array()?)),
            2 => {
                let length = usize::try_from(self.varint()?).map_err(|_| Damage::Overflow)?;
                Wire::Bytes(self.take(length)?)
            }
            5 => Wire::Number(u64::from(u32::from_le_bytes(self.array()?))),
            // A group without an end.
            3 => return Err(Damage::End),
            other => return Err(Damage::WireType(other)),
        };
        Ok((key >> 3, wire))
    }
}

/// Why a body can't be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProtobufError {
    pub why: String,
    /// The `apiVersion` and the kind of what is in the envelope, where that was read.
    pub said: Option<(String, String)>,
}

impl From<String> for ProtobufError {
    fn from(why: String) -> Self {
        Self { why, said: None }
    }
}

/// Reads a body that says what it is.
///
/// # Errors
/// A sentence of what is wrong with it.
pub fn from_protobuf(raw: &[u8]) -> Result<Value, String> {
    from_protobuf_as(raw, ("", "")).map_err(|error| error.why)
}

/// Reads a body; what it does not say of its `apiVersion` and kind is as given.
///
/// # Errors
/// What is wrong with it, and with what of it.
pub fn from_protobuf_as(raw: &[u8], otherwise: (&str, &str)) -> Result<Value, ProtobufError> {
    if raw.is_empty() || raw == MAGIC {
        let why = if raw.is_empty() { "empty data" } else { "empty body" };
        return Err(why.to_owned().into());
    }
    let envelope = raw.strip_prefix(MAGIC).ok_or_else(|| {
        "provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]".to_owned()
    })?;
    let (mut api_version, mut kind, mut content) = (String::new(), String::new(), &[][..]);
    let mut reader = Reader { rest: envelope };
    while let Some(field) = reader.next() {
        match field.map_err(|damage| damage.of("Unknown"))? {
            (1, Wire::Bytes(meta)) => {
                let mut meta = Reader { rest: meta };
                while let Some(field) = meta.next() {
                    match field.map_err(|damage| damage.of("TypeMeta"))? {
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
    if kind.is_empty() {
        otherwise.1.clone_into(&mut kind);
    }
    // What is no version is none.
    if api_version.is_empty() || api_version.matches('/').count() > 1 {
        otherwise.0.clone_into(&mut api_version);
    }
    let Some(root) = table().root(&api_version, &kind) else {
        let scheme = "pkg/api/legacyscheme/scheme.go:30";
        let why = format!("no kind {kind:?} is registered for version {api_version:?} in scheme {scheme:?}");
        return Err(ProtobufError { why, said: Some((api_version, kind)) });
    };
    match message(root, content, 0) {
        Ok(mut object) => {
            object.insert("apiVersion".into(), api_version.into());
            object.insert("kind".into(), kind.into());
            Ok(Value::Object(object))
        }
        Err(damage) => Err(ProtobufError { why: damage.of(&kind), said: Some((api_version, kind)) }),
    }
}

pub(super) fn message(index: Index, bytes: &[u8], depth: usize) -> Result<Map, Damage> {
    if depth > DEPTH_MAX {
        return Err(Damage::End);
    }
    let mut object = Map::new();
    let mut entries = Entries::new();
    let mut reader = Reader { rest: bytes };
    while let Some(field) = reader.next() {
        let (number, wire) = field?;
        // A field of a newer API is skipped, as protobuf wants it.
        let Some(field) = table().field(index, number) else { continue };
        if let Shape::Map = field.shape {
            let Wire::Bytes(entry) = wire else { return Err(Damage::Field(0, field.member)) };
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
    Ok(object)
}

/// Entries of a message's maps, by member: they come one by one, in any order.
type Entries<'a> = BTreeMap<&'a str, Members>;

fn read_field(object: &mut Map, field: &Field, wire: Wire<'_>, depth: usize) -> Result<(), Damage> {
    match field.shape {
        Shape::List => {
            let list = object.entry(field.member).or_insert_with(|| Value::Array(Items::new()));
            if let Value::Array(list) = list {
                list.push(of_field(field, wire, depth)?);
            }
        }
        // Of these the message takes care.
        Shape::Map => {}
        Shape::Inline => {
            if let Value::Object(inner) = of_field(field, wire, depth)? {
                object.extend(inner);
            }
        }
        Shape::Always | Shape::Pointer => {
            object.insert(field.member.to_owned().into(), of_field(field, wire, depth)?);
        }
    }
    Ok(())
}

/// The value of a field, which is written as its type wants it.
fn of_field(field: &Field, wire: Wire<'_>, depth: usize) -> Result<Value, Damage> {
    let is_number = matches!(field.kind, Kind::Bool | Kind::Int | Kind::Double);
    match &wire {
        Wire::Number(_) if !is_number => Err(Damage::Field(0, field.member)),
        Wire::Bytes(_) if is_number => Err(Damage::Field(2, field.member)),
        _ => value(field.kind, wire, depth),
    }
}

fn map_entry(kind: Kind, bytes: &[u8], depth: usize) -> Result<(String, Value), Damage> {
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
    Ok((key, found))
}

pub(super) fn value(kind: Kind, wire: Wire<'_>, depth: usize) -> Result<Value, Damage> {
    Ok(match (kind, wire) {
        (Kind::Bool, Wire::Number(number)) => Value::Bool(number != 0),
        (Kind::Int, Wire::Number(number)) => Value::from(number.cast_signed()),
        (Kind::Double, Wire::Number(bits)) => double(f64::from_bits(bits)),
        (Kind::Bool | Kind::Int | Kind::Double, _) | (_, Wire::Number(_)) => return Err(Damage::End),
        (Kind::Text, Wire::Bytes(text)) => Value::String(text_of(text).into()),
        (Kind::Bytes, Wire::Bytes(bytes)) => Value::String(base64::encode(bytes).into()),
        (Kind::Texts, Wire::Bytes(bytes)) => texts(bytes)?,
        (Kind::Message(index), Wire::Bytes(bytes)) => Value::Object(message(index, bytes, depth + 1)?),
        (kind, Wire::Bytes(bytes)) => special::read(kind, bytes, depth)?,
    })
}

/// A number as its JSON is read: what is written without a fraction is an integer.
fn double(number: f64) -> Value {
    let integer = number as i64;
    if integer as f64 == number && integer.unsigned_abs() < 1 << f64::MANTISSA_DIGITS {
        return integer.into();
    }
    apiserver_json::Number::from_f64(number).map_or(Value::Null, Value::Number)
}

fn texts(bytes: &[u8]) -> Result<Value, Damage> {
    let mut items = Items::new();
    let mut list = Reader { rest: bytes };
    while let Some(field) = list.next() {
        if let (1, Wire::Bytes(text)) = field? {
            items.push(Value::String(text_of(text).into()));
        }
    }
    Ok(Value::Array(items))
}

fn text_of(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
