//! Types that JSON writes in a form of their own.

use apiserver_json::{Items, Value};

use super::read::{self, Damage, Reader, Wire, message};
use super::table::{Kind, table};
use super::write::{bytes, integer, value};
use crate::time;

/// Seconds of Go's zero time.
const ZERO_TIME: i64 = -62_135_596_800;

/// A whole number as Go reads it from JSON.
pub(super) fn int(found: &Value) -> i64 {
    found.as_i64().or_else(|| found.as_f64().map(|value| value as i64)).unwrap_or(0)
}

/// The content of a message of one of these types.
pub(super) fn write(out: &mut Vec<u8>, kind: Kind, found: Option<&Value>) {
    let text = found.and_then(Value::as_str);
    match kind {
        Kind::Time | Kind::MicroTime => {
            let read = text.and_then(|text| time::read(text, kind == Kind::MicroTime));
            let Some((seconds, micros)) = read.filter(|read| *read != (ZERO_TIME, 0)) else { return };
            integer(out, 1, seconds.cast_unsigned());
            integer(out, 2, (micros * 1000).cast_unsigned());
        }
        Kind::Quantity => match found {
            Some(Value::String(text)) => bytes(out, 1, text.as_bytes()),
            Some(other) => bytes(out, 1, other.to_string().as_bytes()),
            None => bytes(out, 1, b"0"),
        },
        Kind::IntOrString => {
            integer(out, 1, u64::from(text.is_some()));
            integer(out, 2, if text.is_some() { 0 } else { found.map_or(0, int).cast_unsigned() });
            bytes(out, 3, text.unwrap_or("").as_bytes());
        }
        Kind::Fields | Kind::Json => {
            if let Some(found) = found {
                bytes(out, 1, found.to_string().as_bytes());
            }
        }
        Kind::SchemaOrBool => {
            // A schema allows, too.
            integer(out, 1, u64::from(!matches!(found, None | Some(Value::Bool(false)))));
            if let Some(schema @ Value::Object(_)) = found {
                value(out, 2, Kind::Message(table().schema), Some(schema));
            }
        }
        Kind::SchemaOrList | Kind::SchemaOrTexts => {
            if let Some(schema @ Value::Object(_)) = found {
                value(out, 1, Kind::Message(table().schema), Some(schema));
            }
            for item in found.and_then(Value::as_array).into_iter().flatten() {
                value(out, 2, item_of(kind), Some(item));
            }
        }
        _ => {}
    }
}

/// What a message of one of these types means.
pub(super) fn read(kind: Kind, raw: &[u8], depth: usize) -> Result<Value, Damage> {
    let (mut first, mut second, mut text) = (None, None, None);
    let mut reader = Reader::new(raw);
    while let Some(field) = reader.next() {
        match field? {
            (1, Wire::Number(number)) => first = Some(number.cast_signed()),
            (2, Wire::Number(number)) => second = Some(number.cast_signed()),
            (1 | 3, Wire::Bytes(bytes)) => text = Some(bytes),
            _ => {}
        }
    }
    let string = |bytes: &[u8]| Value::String(String::from_utf8_lossy(bytes).into_owned().into());
    Ok(match kind {
        Kind::Time | Kind::MicroTime => {
            let (seconds, nanos) = (first.unwrap_or(0), second.unwrap_or(0));
            if raw.is_empty() || (seconds == ZERO_TIME && nanos == 0) {
                return Ok(Value::Null);
            }
            Value::String(time::write(seconds, (kind == Kind::MicroTime).then_some(nanos / 1000)).into())
        }
        Kind::Quantity => string(text.unwrap_or(b"0")),
        Kind::IntOrString if first.unwrap_or(0) == 0 => Value::from(second.unwrap_or(0)),
        Kind::IntOrString => string(text.unwrap_or_default()),
        Kind::Json | Kind::Fields => {
            text.and_then(|raw| apiserver_json::from_slice(raw).ok()).unwrap_or(Value::Null)
        }
        _ => choice(kind, raw, depth)?,
    })
}

/// What the list of a choice holds.
fn item_of(choice: Kind) -> Kind {
    if choice == Kind::SchemaOrList { Kind::Message(table().schema) } else { Kind::Text }
}

/// A schema, or what may stand in its place.
fn choice(kind: Kind, raw: &[u8], depth: usize) -> Result<Value, Damage> {
    let (mut allows, mut schema, mut items) = (false, None, Items::new());
    let mut reader = Reader::new(raw);
    while let Some(field) = reader.next() {
        match (kind, field?) {
            (Kind::SchemaOrBool, (1, Wire::Number(number))) => allows = number != 0,
            (Kind::SchemaOrBool, (2, Wire::Bytes(bytes)))
            | (Kind::SchemaOrList | Kind::SchemaOrTexts, (1, Wire::Bytes(bytes))) => {
                schema = Some(Value::Object(message(table().schema, bytes, depth + 1)?));
            }
            (Kind::SchemaOrList | Kind::SchemaOrTexts, (2, wire)) => {
                items.push(read::value(item_of(kind), wire, depth)?);
            }
            _ => {}
        }
    }
    Ok(match (schema, kind) {
        (_, _) if !items.is_empty() => Value::Array(items),
        (Some(schema), _) => schema,
        (None, Kind::SchemaOrBool) => Value::Bool(allows),
        (None, _) => Value::Null,
    })
}
