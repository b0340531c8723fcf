//! Bodies in `application/vnd.kubernetes.protobuf`, read into the JSON tree they mean.
//!
//! Field numbers are facts of the API's Go types (`data/protobuf.tsv`: type, JSON member, number, type of the field;
//! `=` rows name the type of a kind, a member `.` is an embedded struct). Nothing is defaulted or checked here.

use std::collections::HashMap;
use std::sync::OnceLock;

use apiserver_meta::base64;
use serde_json::{Map, Value};

/// What every protobuf body begins with.
pub const MAGIC: &[u8] = b"k8s\0";
/// Nesting that a body may have; JSON bodies have the same bound.
const DEPTH_MAX: usize = 120;
/// Seconds of Go's zero time.
const ZERO_TIME: i64 = -62_135_596_800;

struct Field {
    member: &'static str,
    kind: &'static str,
}

#[derive(Default)]
struct Table {
    /// Go type of a kind, by `group/version` and kind.
    roots: HashMap<(&'static str, &'static str), &'static str>,
    fields: HashMap<(&'static str, u64), Field>,
}

fn table() -> &'static Table {
    static TABLE: OnceLock<Table> = OnceLock::new();
    TABLE.get_or_init(|| {
        let mut table = Table::default();
        for line in include_str!("../data/protobuf.tsv").lines() {
            let mut columns = line.split('\t');
            let (Some(owner), Some(second), Some(third), Some(fourth)) =
                (columns.next(), columns.next(), columns.next(), columns.next())
            else {
                continue;
            };
            if owner == "=" {
                table.roots.insert((second, third), fourth);
            } else if let Ok(number) = third.parse() {
                table.fields.insert((owner, number), Field { member: second, kind: fourth });
            }
        }
        table
    })
}

/// One field on the wire.
enum Wire<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
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
    fn next(&mut self) -> Option<Option<(u64, Wire<'a>)>> {
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
    let damaged = || "proto: the body is damaged".to_owned();
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
    let group_version =
        if api_version.contains('/') { api_version.clone() } else { format!("/{api_version}") };
    let root = table()
        .roots
        .iter()
        .find(|((gv, name), _)| *gv == group_version && *name == kind)
        .map(|(_, root)| *root)
        .ok_or_else(|| format!("no kind {kind:?} is registered for version {api_version:?}"))?;
    let mut object = message(root, content, 0).ok_or_else(damaged)?;
    object.insert("apiVersion".into(), api_version.into());
    object.insert("kind".into(), kind.into());
    Ok(Value::Object(object))
}

fn message(owner: &'static str, bytes: &[u8], depth: usize) -> Option<Map<String, Value>> {
    if depth > DEPTH_MAX {
        return None;
    }
    let mut object = Map::new();
    let mut reader = Reader { rest: bytes };
    while let Some(field) = reader.next() {
        let (number, wire) = field?;
        // A field of a newer API is skipped, as protobuf wants it.
        let Some(field) = table().fields.get(&(owner, number)) else { continue };
        if let Some(item) = field.kind.strip_prefix("[]") {
            let list = object.entry(field.member).or_insert_with(|| Value::Array(Vec::new()));
            if let Value::Array(list) = list {
                list.push(value(item, wire, depth)?);
            }
        } else if let Some(item) = field.kind.strip_prefix("{}") {
            let Wire::Bytes(entry) = wire else { return None };
            let (key, entry) = map_entry(item, entry, depth)?;
            let map = object.entry(field.member).or_insert_with(|| Value::Object(Map::new()));
            if let Value::Object(map) = map {
                map.insert(key, entry);
            }
        } else {
            let found = value(field.kind, wire, depth)?;
            match found {
                Value::Object(inner) if field.member == "." => object.extend(inner),
                found => {
                    object.insert(field.member.to_owned(), found);
                }
            }
        }
    }
    Some(object)
}

fn map_entry(item: &'static str, bytes: &[u8], depth: usize) -> Option<(String, Value)> {
    let (mut key, mut found) = (String::new(), None);
    let mut reader = Reader { rest: bytes };
    while let Some(field) = reader.next() {
        match field? {
            (1, Wire::Bytes(text)) => key = String::from_utf8_lossy(text).into_owned(),
            // A list in a map is a message of its own with one repeated field.
            (2, Wire::Bytes(list)) if item == "[]string" => {
                let mut items = Vec::new();
                let mut list = Reader { rest: list };
                while let Some(field) = list.next() {
                    if let (1, Wire::Bytes(text)) = field? {
                        items.push(Value::String(String::from_utf8_lossy(text).into_owned()));
                    }
                }
                found = Some(Value::Array(items));
            }
            (2, wire) => found = Some(value(item, wire, depth)?),
            _ => {}
        }
    }
    Some((key, found.unwrap_or_else(|| Value::String(String::new()))))
}

fn value(kind: &'static str, wire: Wire<'_>, depth: usize) -> Option<Value> {
    Some(match (kind, wire) {
        ("bool", Wire::Number(number)) => Value::Bool(number != 0),
        ("int", Wire::Number(number)) => Value::from(number.cast_signed()),
        ("double", Wire::Number(bits)) => {
            serde_json::Number::from_f64(f64::from_bits(bits)).map_or(Value::Null, Value::Number)
        }
        ("string", Wire::Bytes(text)) => Value::String(String::from_utf8_lossy(text).into_owned()),
        ("bytes", Wire::Bytes(bytes)) => Value::String(base64::encode(bytes)),
        (kind, Wire::Bytes(bytes)) => {
            special(kind, bytes).or_else(|| message(kind, bytes, depth + 1).map(Value::Object))?
        }
        _ => return None,
    })
}

/// Types that JSON writes in a form of their own.
fn special(kind: &str, bytes: &[u8]) -> Option<Value> {
    let numbers = || -> Option<HashMap<u64, i64>> {
        let mut found = HashMap::new();
        let mut reader = Reader { rest: bytes };
        while let Some(field) = reader.next() {
            if let (number, Wire::Number(value)) = field? {
                found.insert(number, value.cast_signed());
            }
        }
        Some(found)
    };
    let text = |wanted: u64| -> Option<&[u8]> {
        let mut reader = Reader { rest: bytes };
        while let Some(field) = reader.next() {
            if let (number, Wire::Bytes(value)) = field?
                && number == wanted
            {
                return Some(value);
            }
        }
        None
    };
    match kind {
        "apis/meta/v1.Time" | "apis/meta/v1.MicroTime" => {
            let numbers = numbers()?;
            let seconds = numbers.get(&1).copied().unwrap_or(0);
            let nanos = numbers.get(&2).copied().unwrap_or(0);
            if (seconds == 0 && nanos == 0) || seconds == ZERO_TIME {
                return Some(Value::Null);
            }
            Some(Value::String(crate::time::write(
                seconds,
                kind.ends_with("MicroTime").then_some(nanos / 1000),
            )))
        }
        "api/resource.Quantity" => {
            Some(Value::String(String::from_utf8_lossy(text(1).unwrap_or(b"0")).into_owned()))
        }
        "util/intstr.IntOrString" => {
            let numbers = numbers()?;
            if numbers.get(&1).copied().unwrap_or(0) == 0 {
                return Some(Value::from(numbers.get(&2).copied().unwrap_or(0)));
            }
            Some(Value::String(String::from_utf8_lossy(text(3).unwrap_or_default()).into_owned()))
        }
        "runtime.RawExtension" | "apis/meta/v1.FieldsV1" | "apiextensions/v1.JSON" => {
            Some(text(1).and_then(|raw| serde_json::from_slice(raw).ok()).unwrap_or(Value::Null))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
        let mut out = vec![number << 3 | 2, u8::try_from(bytes.len()).unwrap()];
        out.extend(bytes);
        out
    }

    #[test]
    fn a_config_map_is_read() {
        let entry = [field(1, b"k"), field(2, b"v")].concat();
        let metadata = [field(1, b"a"), field(8, &[])].concat();
        let content = [field(1, &metadata), field(2, &entry)].concat();
        let meta = [field(1, b"v1"), field(2, b"ConfigMap")].concat();
        let raw = [MAGIC.to_vec(), field(1, &meta), field(2, &content)].concat();
        let value = from_protobuf(&raw).unwrap();
        assert_eq!(
            value,
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "creationTimestamp": null}, "data": {"k": "v"}})
        );
    }

    #[test]
    fn damage_is_an_error_not_a_panic() {
        for raw in [&b""[..], b"k8s\0", b"k8s\0\xff\xff\xff", b"k8s\0\x12\x7f"] {
            assert!(from_protobuf(raw).is_err());
        }
    }
}
