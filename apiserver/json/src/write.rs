//! Writing trees.

use std::fmt;

use serde::ser::{Serialize, SerializeMap, SerializeSeq, Serializer};

use crate::{Map, Value};

/// The JSON of a value, without a space.
pub fn write(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Bool(true) => out.extend_from_slice(b"true"),
        Value::Bool(false) => out.extend_from_slice(b"false"),
        Value::Number(number) if number.is_f64() => write_float(out, number.as_f64().unwrap_or_default()),
        Value::Number(number) => {
            // Writing to memory does not fail.
            let _ = serde_json::to_writer(out, number);
        }
        Value::String(text) => write_text(out, text),
        Value::Array(items) => write_items(out, items, write),
        Value::Object(map) => write_members(out, map, |out, _, value| write(out, value)),
    }
}

/// A floating point number as Go writes it: a whole one without a point, a very large or small one with an exponent.
fn write_float(out: &mut Vec<u8>, number: f64) {
    let size = number.abs();
    let text = if size != 0.0 && !(1e-6..1e21).contains(&size) {
        let text = format!("{number:e}");
        if text.contains("e-") { text } else { text.replace('e', "e+") }
    } else {
        number.to_string()
    };
    out.extend_from_slice(text.as_bytes());
}

/// A JSON array whose items `each` writes.
pub fn write_items(out: &mut Vec<u8>, items: &[Value], each: impl Fn(&mut Vec<u8>, &Value)) {
    out.push(b'[');
    for (i, item) in items.iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        each(out, item);
    }
    out.push(b']');
}

/// A JSON object whose members' values `each` writes, by their names.
pub fn write_members(out: &mut Vec<u8>, map: &Map, each: impl Fn(&mut Vec<u8>, &str, &Value)) {
    out.push(b'{');
    for (i, (key, value)) in map.iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        write_text(out, key);
        out.push(b':');
        each(out, key, value);
    }
    out.push(b'}');
}

/// The JSON of a text.
pub fn write_text(out: &mut Vec<u8>, text: &str) {
    out.reserve(text.len() + 2);
    out.push(b'"');
    escape_to(text, |piece| out.extend_from_slice(piece.as_bytes()));
    out.push(b'"');
}

/// Text as it stands between the quotes of a JSON string.
pub fn escape(out: &mut String, text: &str) {
    escape_to(text, |piece| out.push_str(piece));
}

/// Control characters as JSON has them.
const CONTROLS: [&str; 32] = [
    "\\u0000", "\\u0001", "\\u0002", "\\u0003", "\\u0004", "\\u0005", "\\u0006", "\\u0007", "\\b", "\\t",
    "\\n", "\\u000b", "\\f", "\\r", "\\u000e", "\\u000f", "\\u0010", "\\u0011", "\\u0012", "\\u0013",
    "\\u0014", "\\u0015", "\\u0016", "\\u0017", "\\u0018", "\\u0019", "\\u001a", "\\u001b", "\\u001c",
    "\\u001d", "\\u001e", "\\u001f",
];

fn escape_to(text: &str, mut push: impl FnMut(&str)) {
    if is_plain(text.as_bytes()) {
        return push(text);
    }
    let mut written = 0;
    for (at, byte) in text.bytes().enumerate() {
        let escaped = match byte {
            b'"' => "\\\"",
            b'\\' => "\\\\",
            control if control < b' ' => CONTROLS[usize::from(control)],
            _ => continue,
        };
        push(&text[written..at]);
        push(escaped);
        written = at + 1;
    }
    push(&text[written..]);
}

/// Bytes that do not stand in a JSON string as they are.
const ESCAPED: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < table.len() {
        table[byte] = byte < 0x20 || byte == b'"' as usize || byte == b'\\' as usize;
        byte += 1;
    }
    table
};

fn is_plain(bytes: &[u8]) -> bool {
    !bytes.iter().any(|byte| ESCAPED[usize::from(*byte)])
}

impl fmt::Display for Value {
    /// The JSON of the value; with `{:#}` indented.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = Vec::with_capacity(128);
        if f.alternate() {
            serde_json::to_writer_pretty(&mut out, self).map_err(|_| fmt::Error)?;
        } else {
            write(&mut out, self);
        }
        f.write_str(&String::from_utf8_lossy(&out))
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_unit(),
            Self::Bool(value) => serializer.serialize_bool(*value),
            Self::Number(number) => number.serialize(serializer),
            Self::String(text) => serializer.serialize_str(text),
            Self::Array(items) => {
                let mut sequence = serializer.serialize_seq(Some(items.len()))?;
                items.iter().try_for_each(|item| sequence.serialize_element(item))?;
                sequence.end()
            }
            Self::Object(map) => map.serialize(serializer),
        }
    }
}

impl Serialize for Map {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut members = serializer.serialize_map(Some(self.len()))?;
        self.iter().try_for_each(|(key, value)| members.serialize_entry(key.as_str(), value))?;
        members.end()
    }
}
