//! What a rule looks at of an object, without the rest: most of an object is read over, not made a tree of.

use apiserver_json::{Cursor, Map, Value, from_slice};

use crate::packed::{MANAGED_FIELDS, METADATA};

/// Members of an object, and which of their members.
pub type Members = [(&'static str, &'static [&'static str])];

/// What was found of an object.
#[derive(Debug, PartialEq)]
pub struct Outline<'a> {
    pub tree: Value,
    /// The JSON of the metadata.
    pub metadata: &'a [u8],
}

/// A tree of a stored object's metadata, and of what is named of other members. `managedFields` stays text.
/// Nothing of what is no JSON of an object with metadata, as far as that shows, and
/// of one with names that take more to read than to compare.
pub fn outline<'a>(bytes: &'a [u8], members: &Members) -> Option<Outline<'a>> {
    let (mut tree, mut metadata) = (Map::new(), None);
    let mut cursor = Cursor::open(bytes)?;
    while let Some(name) = cursor.name()? {
        let text = cursor.rest();
        let value = if name == METADATA.as_bytes() {
            let value = read_metadata(&mut cursor)?;
            metadata = text.get(..text.len() - cursor.rest().len());
            value
        } else if let Some((_, chosen)) = members.iter().find(|(member, _)| member.as_bytes() == name) {
            choose(&mut cursor, chosen)?
        } else if name.contains(&b'\\') {
            return None;
        } else {
            cursor.value()?;
            continue;
        };
        tree.insert(std::str::from_utf8(name).ok()?.into(), value);
    }
    Some(Outline { tree: Value::Object(tree), metadata: metadata? })
}

fn read_metadata(cursor: &mut Cursor<'_>) -> Option<Value> {
    let mut members = apiserver_json::Members::new();
    let mut inside = Cursor::open(cursor.rest())?;
    while let Some(name) = inside.name()? {
        let name = std::str::from_utf8(name).ok().filter(|name| !name.contains('\\'))?;
        let text = inside.value()?;
        let value = if name == MANAGED_FIELDS {
            Value::Raw(std::str::from_utf8(text).ok()?.into())
        } else {
            from_slice(text).ok()?
        };
        members.push((name.into(), value));
    }
    cursor.go_on_behind(inside);
    Some(Value::Object(Map::of_members(members).0))
}

/// Some members of an object; null of what is none.
fn choose(cursor: &mut Cursor<'_>, chosen: &[&'static str]) -> Option<Value> {
    let Some(mut inside) = Cursor::open(cursor.rest()) else {
        cursor.value()?;
        return Some(Value::Null);
    };
    let mut map = Map::new();
    while let Some(name) = inside.name()? {
        let text = inside.value()?;
        if let Some(member) = chosen.iter().find(|member| member.as_bytes() == name) {
            map.insert((*member).into(), from_slice(text).ok()?);
        } else if name.contains(&b'\\') {
            return None;
        }
    }
    cursor.go_on_behind(inside);
    Some(Value::Object(map))
}

#[cfg(test)]
mod tests {
    use super::*;
    use apiserver_json::json;

    #[test]
    fn an_outline_has_the_metadata_and_what_is_named() {
        let of = |object: Value| {
            outline(object.to_string().as_bytes(), &[("spec", &["a", "b"])]).map(|found| found.tree)
        };
        let metadata = json!({"name": "n", "labels": {"x": "y"}});
        for (object, want) in [
            (json!({"metadata": metadata, "kind": "K"}), json!({"metadata": metadata})),
            (
                json!({"metadata": metadata, "spec": {"a": [1], "c": {"a": 2}}, "status": {"a": 3}}),
                json!({"metadata": metadata, "spec": {"a": [1]}}),
            ),
            (json!({"metadata": {}, "spec": [{"a": 1}]}), json!({"metadata": {}, "spec": null})),
            (json!({"metadata": {}, "spec": "text"}), json!({"metadata": {}, "spec": null})),
            (json!({"metadata": {}, "spec": -1.5}), json!({"metadata": {}, "spec": null})),
        ] {
            assert_eq!(of(object.clone()), Some(want), "{object}");
        }
        assert_eq!(of(json!([])), None);
        assert_eq!(of(json!({"spec": {}})), None);
        // Such names are read, not compared as they stand.
        for text in [
            r#"{"metadata":{"n\u0061me":"n"}}"#,
            r#"{"metadata":{},"sp\u0065c":{"a":1}}"#,
            r#"{"metadata":{},"spec":{"\u0061":1}}"#,
        ] {
            assert_eq!(outline(text.as_bytes(), &[("spec", &["a"])]), None, "{text}");
        }
    }

    #[test]
    fn the_owners_of_fields_are_put_back_as_they_were() {
        for metadata in [
            r#"{"labels":{"a":"b"},"managedFields":[{"fieldsV1":{"f:a":{}},"manager":"m\"n"}],"name":"n"}"#,
            r#"{"name":"n"}"#,
        ] {
            let object = format!(r#"{{"metadata":{metadata},"spec":{{}}}}"#);
            let found = outline(object.as_bytes(), &[]).unwrap();
            assert_eq!(found.metadata, metadata.as_bytes());
            assert_eq!(found.tree["metadata"].to_string(), metadata);
        }
    }
}
