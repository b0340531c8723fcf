//! Objects as trees in which field ownership stays text.
//!
//! Half of a typical object is `metadata.managedFields[*].fieldsV1`: deeply nested, read by nobody but the
//! ownership of fields, which has its own reader. In a packed tree each `fieldsV1` is a string that holds its
//! JSON. `write` puts the text back; what it writes is the same whether the tree was packed or not.

use std::cell::Cell;
use std::fmt;

use apiserver_json::value::RawValue;
use apiserver_json::{Items, Members, Text, Tree, Value, plain_length, write, write_items, write_members};
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

pub(crate) const METADATA: &str = "metadata";
pub(crate) const MANAGED_FIELDS: &str = "managedFields";
const FIELDS_V1: &str = "fieldsV1";

/// Parses JSON into a packed tree.
///
/// # Errors
/// What is wrong with the JSON.
pub fn parse(bytes: &[u8]) -> Result<Value, apiserver_json::Error> {
    parse_document(bytes).map(|parsed| parsed.value)
}

/// A tree, and what a tree does not show.
pub struct Parsed {
    pub value: Value,
    /// An object of the document may have a key twice; the last one counts.
    pub duplicates: bool,
}

/// Parses JSON into a packed tree.
///
/// # Errors
/// What is wrong with the JSON.
pub fn parse_document(bytes: &[u8]) -> Result<Parsed, apiserver_json::Error> {
    // Looked at as a whole, text is quicker found to be text.
    let Ok(text) = std::str::from_utf8(bytes) else { return plainly(bytes) };
    let mut reader = apiserver_json::Deserializer::from_str(text);
    let duplicates = Cell::new(false);
    let packed = Packed { level: Level::Object, duplicates: Some(&duplicates) };
    match packed.deserialize(&mut reader).and_then(|value| reader.end().map(|()| value)) {
        Ok(value) => Ok(Parsed { value, duplicates: duplicates.get() }),
        // Another shape than an object's, or broken: the plain parser knows what to say.
        Err(_) => plainly(bytes),
    }
}

fn plainly(bytes: &[u8]) -> Result<Parsed, apiserver_json::Error> {
    Ok(Parsed { value: apiserver_json::from_slice(bytes)?, duplicates: true })
}

/// The JSON of an object's `metadata`, packed or not.
pub fn write_metadata(out: &mut Vec<u8>, metadata: &Value) {
    match metadata {
        Value::Object(map) => write_members(out, map, |out, key, value| match value {
            Value::Array(entries) if key == MANAGED_FIELDS => write_items(out, entries, write_entry),
            other => write(out, other),
        }),
        other => write(out, other),
    }
}

/// Turns a packed tree into an ordinary one.
pub fn unpack(object: &mut Value) {
    let entries = object.get_mut(METADATA).and_then(|metadata| metadata.get_mut(MANAGED_FIELDS));
    for entry in entries.and_then(Value::as_array_mut).into_iter().flatten() {
        if let Some(Value::String(text)) = entry.get(FIELDS_V1)
            && let Ok(fields) = apiserver_json::from_str::<Value>(text)
        {
            entry[FIELDS_V1] = fields;
        }
    }
}

fn write_entry(out: &mut Vec<u8>, entry: &Value) {
    let Value::Object(map) = entry else { return write(out, entry) };
    write_members(out, map, |out, key, value| match value {
        // A string that is no JSON came from a client: it is data, not text of ours.
        Value::String(text) if key == FIELDS_V1 && is_json(text) => {
            out.extend_from_slice(text.as_bytes());
        }
        other => write(out, other),
    });
}

/// Whether text is JSON; what the ownership of fields writes is seen quickly.
fn is_json(text: &str) -> bool {
    nested_keys(text.as_bytes()) || apiserver_json::from_str::<IgnoredAny>(text).is_ok()
}

/// Whether text is an object of objects of objects, without a space and without escapes other than of a quote or a
/// backslash.
fn nested_keys(text: &[u8]) -> bool {
    let mut depth = 0_u32;
    let mut at = 0;
    // An object opens; then a key or its end follows.
    loop {
        if text.get(at) != Some(&b'{') {
            return false;
        }
        depth += 1;
        at += 1;
        while text.get(at) == Some(&b'}') {
            depth -= 1;
            at += 1;
            if depth == 0 {
                return at == text.len();
            }
            match text.get(at) {
                Some(b',') if text.get(at + 1) == Some(&b'"') => at += 1,
                Some(b'}') => {}
                _ => return false,
            }
        }
        if text.get(at) != Some(&b'"') {
            return false;
        }
        at += 1;
        loop {
            at += plain_length(&text[at..]);
            match text.get(at) {
                Some(b'"') => break,
                Some(b'\\') if matches!(text.get(at + 1), Some(b'"' | b'\\')) => at += 2,
                _ => return false,
            }
        }
        if text.get(at + 1) != Some(&b':') {
            return false;
        }
        at += 2;
    }
}

/// Where in an object the reader is.
#[derive(Clone, Copy)]
enum Level {
    Object,
    Metadata,
    Entries,
    Entry,
}

#[derive(Clone, Copy)]
struct Packed<'a> {
    level: Level,
    duplicates: Option<&'a Cell<bool>>,
}

impl Packed<'_> {
    fn at(self, level: Level) -> Self {
        Self { level, ..self }
    }

    /// Reads what lies where nothing is packed.
    fn plain(&self) -> Tree<'_> {
        Tree { duplicates: self.duplicates }
    }
}

impl<'de> DeserializeSeed<'de> for Packed<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        match self.level {
            Level::Entries => deserializer.deserialize_seq(self),
            Level::Object | Level::Metadata | Level::Entry => deserializer.deserialize_map(self),
        }
    }
}

impl<'de> Visitor<'de> for Packed<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an API object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut members = Members::new();
        while let Some(key) = access.next_key_seed(Text)? {
            let value = match (self.level, key.as_str()) {
                (Level::Object, METADATA) => access.next_value_seed(self.at(Level::Metadata))?,
                (Level::Metadata, MANAGED_FIELDS) => access.next_value_seed(self.at(Level::Entries))?,
                (Level::Entry, FIELDS_V1) => {
                    let text = access.next_value::<&RawValue>()?.get();
                    if !text.starts_with('{') {
                        return Err(A::Error::custom("fieldsV1 is no object"));
                    }
                    text.into()
                }
                _ => access.next_value_seed(self.plain())?,
            };
            members.push((key, value));
        }
        Ok(self.plain().object(members))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut list = Items::new();
        while let Some(entry) = access.next_element_seed(self.at(Level::Entry))? {
            list.push(entry);
        }
        Ok(Value::Array(list))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use apiserver_json::json;

    #[test]
    fn packed_and_plain_trees_are_written_alike() {
        let object = json!({"kind": "Pod", "metadata": {"name": "a\"b", "managedFields": [
            {"manager": "m", "fieldsV1": {"f:spec": {".": {}, "k:{\"name\":\"c\"}": {}}}}, {"manager": "n"}]}});
        let text = object.to_string();
        let packed = parse(text.as_bytes()).unwrap();
        assert!(packed["metadata"]["managedFields"][0]["fieldsV1"].is_string());
        for tree in [&packed, &object] {
            let mut out = Vec::new();
            write_metadata(&mut out, &tree["metadata"]);
            assert_eq!(String::from_utf8(out).unwrap(), object["metadata"].to_string());
        }
        let mut plain = packed;
        unpack(&mut plain);
        assert_eq!(plain, object);
    }

    #[test]
    fn duplicate_keys_are_told_of() {
        let parsed = |text: &str| parse_document(text.as_bytes()).unwrap();
        for text in [r#"{"a":1,"a":2}"#, r#"{"b":[{"c":{"a":1,"a":2}}]}"#, r#"{"metadata":{"a":1,"a":2}}"#] {
            assert!(parsed(text).duplicates, "{text}");
        }
        let text = r#"{"a":1,"b":{"a":1.5,"c":[true,null,-1,18446744073709551615,"x",{"a":{}}]}}"#;
        assert!(!parsed(text).duplicates);
        assert_eq!(parsed(text).value, apiserver_json::from_str::<Value>(text).unwrap());
    }

    #[test]
    fn text_of_nested_keys_is_json() {
        for text in ["{}", r#"{"f:a":{}}"#, r#"{"f:a":{".":{},"k:{\"n\":\"\\\\\"}":{"f:b":{}}},"f:c":{}}"#] {
            assert!(nested_keys(text.as_bytes()), "{text}");
        }
        let not = [
            "",
            "{",
            "}",
            "{}}",
            r#"{"a"}"#,
            r#"{"a":1}"#,
            r#"{"a":{},}"#,
            r#"{,"a":{}}"#,
            "{} ",
            r#"{"a":{}"#,
            r#"{"a":{}"b":{}}"#,
            r#"{"a\x":{}}"#,
            "{\"a\n\":{}}",
            r#"{"a":{}}{}"#,
            r#"{"a":{}},{}"#,
        ];
        for text in not {
            assert!(!nested_keys(text.as_bytes()), "{text}");
        }
    }

    #[test]
    fn other_shapes_are_parsed_plainly() {
        for text in [
            "null",
            "[]",
            r#"{"metadata":null}"#,
            r#"{"metadata":{"managedFields":"x"}}"#,
            r#"{"metadata":{"managedFields":[1]}}"#,
            r#"{"metadata":{"managedFields":[{"fieldsV1":"} evil"}]}}"#,
        ] {
            let want: Value = apiserver_json::from_str(text).unwrap();
            assert_eq!(parse(text.as_bytes()).unwrap(), want, "{text}");
            let mut out = Vec::new();
            write_metadata(&mut out, &want["metadata"]);
            assert_eq!(apiserver_json::from_slice::<Value>(&out).unwrap(), want["metadata"], "{text}");
        }
        for broken in ["{", r#"{"metadata":{"managedFields":[{"fieldsV1":{]}]}}"#, "{} x"] {
            assert!(parse(broken.as_bytes()).is_err());
        }
    }
}
