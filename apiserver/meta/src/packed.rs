//! Objects as trees in which field ownership stays text.
//!
//! Half of a typical object is `metadata.managedFields[*].fieldsV1`: deeply nested, read by nobody but the
//! ownership of fields, which has its own reader. In a packed tree each `fieldsV1` is [`Value::Raw`].

use apiserver_json::{Parsed, Value};

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

/// Parses JSON into a packed tree, and says whether a key may stand twice in an object.
///
/// # Errors
/// What is wrong with the JSON.
pub fn parse_document(bytes: &[u8]) -> Result<Parsed, apiserver_json::Error> {
    // Looked at as a whole, text is quicker found to be text.
    let parsed = std::str::from_utf8(bytes)
        .ok()
        .and_then(|text| apiserver_json::parse(text, &[METADATA, MANAGED_FIELDS, FIELDS_V1]));
    match parsed {
        Some(parsed) => Ok(parsed),
        None => Ok(Parsed { value: apiserver_json::from_slice(bytes)?, duplicates: true }),
    }
}

/// Turns a packed tree into an ordinary one.
pub fn unpack(object: &mut Value) {
    let entries = object.get_mut(METADATA).and_then(|metadata| metadata.get_mut(MANAGED_FIELDS));
    for fields in entries.and_then(Value::as_array_mut).into_iter().flatten() {
        if let Some(fields) = fields.get_mut(FIELDS_V1) {
            *fields = fields.unpacked();
        }
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
        assert!(packed["metadata"]["managedFields"][0]["fieldsV1"].as_raw().is_some());
        assert_eq!(packed.to_string(), text);
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
        }
        for broken in ["{", r#"{"metadata":{"managedFields":[{"fieldsV1":{]}]}}"#, "{} x"] {
            assert!(parse(broken.as_bytes()).is_err());
        }
    }
}
