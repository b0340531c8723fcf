//! What a rule looks at of an object, without the rest: most of an object is read over, not made a tree of.

use std::fmt;

use apiserver_json::value::RawValue;
use apiserver_json::{Map, Text, Value, write, write_members};
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::packed::{self, MANAGED_FIELDS, METADATA};

/// Members of an object, and which of their members.
pub type Members = [(&'static str, &'static [&'static str])];

/// A tree of a stored object's metadata, and of what is named of other members. `managedFields` is a string that holds
/// its JSON: [`write_metadata`] puts it back.
///
/// # Errors
/// What is wrong with the JSON.
pub fn outline(bytes: &[u8], members: &Members) -> Result<Value, apiserver_json::Error> {
    let mut reader = apiserver_json::Deserializer::from_slice(bytes);
    let outline = Whole(members).deserialize(&mut reader)?;
    reader.end()?;
    Ok(outline)
}

/// The JSON of the `metadata` of an outline, or of a packed tree.
pub fn write_metadata(out: &mut Vec<u8>, metadata: &Value) {
    match (metadata, metadata.get(MANAGED_FIELDS)) {
        (Value::Object(map), Some(Value::String(_))) => {
            write_members(out, map, |out, key, value| match value {
                Value::String(text) if key == MANAGED_FIELDS => out.extend_from_slice(text.as_bytes()),
                other => write(out, other),
            });
        }
        _ => packed::write_metadata(out, metadata),
    }
}

struct Whole<'a>(&'a Members);

impl<'de> DeserializeSeed<'de> for Whole<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Whole<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an API object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(key) = access.next_key_seed(Text)? {
            let value = if key == METADATA {
                access.next_value_seed(Metadata)?
            } else if let Some((_, chosen)) = self.0.iter().find(|(name, _)| *name == key) {
                access.next_value_seed(Chosen(chosen))?
            } else {
                access.next_value::<IgnoredAny>()?;
                continue;
            };
            map.insert(key, value);
        }
        Ok(Value::Object(map))
    }
}

struct Metadata;

impl<'de> DeserializeSeed<'de> for Metadata {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Metadata {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the metadata of an API object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut members = apiserver_json::Members::new();
        while let Some(key) = access.next_key_seed(Text)? {
            let value = if key == MANAGED_FIELDS {
                access.next_value::<&RawValue>()?.get().into()
            } else {
                access.next_value()?
            };
            members.push((key, value));
        }
        Ok(Value::Object(Map::of_members(members).0))
    }
}

/// Some members of an object; null of what is none.
struct Chosen<'a>(&'a [&'static str]);

impl<'de> DeserializeSeed<'de> for Chosen<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Chosen<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a member of an API object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(key) = access.next_key_seed(Text)? {
            if self.0.contains(&key.as_str()) {
                map.insert(key, access.next_value()?);
            } else {
                access.next_value::<IgnoredAny>()?;
            }
        }
        Ok(Value::Object(map))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        while access.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_str<E>(self, _: &str) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use apiserver_json::json;

    #[test]
    fn an_outline_has_the_metadata_and_what_is_named() {
        let of = |object: Value| outline(object.to_string().as_bytes(), &[("spec", &["a", "b"])]);
        let metadata = json!({"name": "n", "labels": {"x": "y"}});
        for (object, want) in [
            (json!({"metadata": metadata, "kind": "K"}), json!({"metadata": metadata})),
            (
                json!({"metadata": metadata, "spec": {"a": [1], "c": {"a": 2}}, "status": {"a": 3}}),
                json!({"metadata": metadata, "spec": {"a": [1]}}),
            ),
            (json!({"spec": [{"a": 1}]}), json!({"spec": null})),
            (json!({"spec": "text"}), json!({"spec": null})),
            (json!({"spec": -1.5}), json!({"spec": null})),
        ] {
            assert_eq!(of(object.clone()).unwrap(), want, "{object}");
        }
        assert!(of(json!([])).is_err());
    }

    #[test]
    fn the_owners_of_fields_are_put_back_as_they_were() {
        for metadata in [
            r#"{"labels":{"a":"b"},"managedFields":[{"fieldsV1":{"f:a":{}},"manager":"m\"n"}],"name":"n"}"#,
            r#"{"name":"n"}"#,
        ] {
            let outline = outline(format!(r#"{{"metadata":{metadata}}}"#).as_bytes(), &[]).unwrap();
            let mut out = Vec::new();
            write_metadata(&mut out, &outline["metadata"]);
            assert_eq!(String::from_utf8(out).unwrap(), metadata);
        }
    }
}
