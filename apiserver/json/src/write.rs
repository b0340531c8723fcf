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
        Value::Raw(text) => out.extend_from_slice(text.as_bytes()),
        Value::Array(items) => {
            out.push(b'[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push(b',');
                }
                write(out, item);
            }
            out.push(b']');
        }
        Value::Object(map) => {
            out.push(b'{');
            for (i, (key, value)) in map.iter().enumerate() {
                if i > 0 {
                    out.push(b',');
                }
                write_text(out, key);
                out.push(b':');
                write(out, value);
            }
            out.push(b'}');
        }
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

/// The JSON of a text.
#[inline]
pub fn write_text(out: &mut Vec<u8>, text: &str) {
    out.reserve(text.len() + 2);
    out.push(b'"');
    write_escaped(out, text);
    out.push(b'"');
}

/// Text as it stands between the quotes of a JSON string.
#[inline]
pub fn write_escaped(out: &mut Vec<u8>, text: &str) {
    if is_plain(text.as_bytes()) {
        out.extend_from_slice(text.as_bytes());
    } else {
        escape_to(out, text);
    }
}

/// As [`write_escaped`], into a text.
#[inline]
pub fn escape(out: &mut String, text: &str) {
    if is_plain(text.as_bytes()) {
        out.push_str(text);
    } else {
        let mut escaped = Vec::with_capacity(text.len() + 16);
        escape_to(&mut escaped, text);
        out.push_str(&String::from_utf8_lossy(&escaped));
    }
}

/// Control characters as JSON has them.
const CONTROLS: [&str; 32] = [
    "\\u0000", "\\u0001", "\\u0002", "\\u0003", "\\u0004", "\\u0005", "\\u0006", "\\u0007", "\\b", "\\t",
    "\\n", "\\u000b", "\\f", "\\r", "\\u000e", "\\u000f", "\\u0010", "\\u0011", "\\u0012", "\\u0013",
    "\\u0014", "\\u0015", "\\u0016", "\\u0017", "\\u0018", "\\u0019", "\\u001a", "\\u001b", "\\u001c",
    "\\u001d", "\\u001e", "\\u001f",
];

/// A byte at a time: in texts that have some to escape, as JSON in JSON has, they are many.
#[cold]
fn escape_to(out: &mut Vec<u8>, text: &str) {
    out.reserve(text.len() + 16);
    for byte in text.bytes() {
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            0x20.. => out.push(byte),
            control => out.extend_from_slice(CONTROLS[usize::from(control) & 0x1f].as_bytes()),
        }
    }
}

/// Whether nothing of a text is to be escaped. Words that overlap hold the ends of one that is no multiple of their size.
fn is_plain(bytes: &[u8]) -> bool {
    let half = |bytes: &[u8; 4]| u64::from(u32::from_le_bytes(*bytes));
    match (bytes.last_chunk::<8>(), bytes.first_chunk::<4>(), bytes.last_chunk::<4>()) {
        (Some(last), ..) => {
            let (words, _) = bytes.as_chunks::<8>();
            let special = |special, word: &[u8; 8]| special | special_bytes(u64::from_le_bytes(*word));
            words.iter().fold(special_bytes(u64::from_le_bytes(*last)), special) == 0
        }
        (None, Some(first), Some(last)) => special_bytes(half(first) | half(last) << 32) == 0,
        _ => !bytes.iter().any(is_special),
    }
}

fn is_special(byte: &u8) -> bool {
    *byte < b' ' || *byte == b'"' || *byte == b'\\'
}

/// How many bytes come before the first that does not stand in a JSON string as it is: a control character, a quote,
/// a backslash.
pub fn plain_length(bytes: &[u8]) -> usize {
    let (words, rest) = bytes.as_chunks::<8>();
    for (at, word) in words.iter().enumerate() {
        let special = special_bytes(u64::from_le_bytes(*word));
        if special != 0 {
            return at * 8 + special.trailing_zeros() as usize / 8;
        }
    }
    words.len() * 8 + rest.iter().position(is_special).unwrap_or(rest.len())
}

/// The high bits of the special ones of eight bytes; above the lowest that is set, others may be as well.
fn special_bytes(word: u64) -> u64 {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    const HIGH: u64 = u64::from_ne_bytes([0x80; 8]);
    let below = |word: u64, than: u64| word.wrapping_sub(ONES * than) & !word & HIGH;
    let is = |byte: u8| below(word ^ (ONES * u64::from(byte)), 1);
    below(word, 0x20) | is(b'"') | is(b'\\')
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
        f.write_str(std::str::from_utf8(&out).map_err(|_| fmt::Error)?)
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
            Self::Raw(_) => self.unpacked().serialize(serializer),
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
