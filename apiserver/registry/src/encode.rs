//! An object as the store takes it: JSON without a resourceVersion, and the place where that goes.

use apiserver_storage::Document;
use serde_json::Value;

/// Serialises once. The store splices the revision in at commit.
pub fn document(object: &Value) -> Document {
    let mut bytes = Vec::with_capacity(1024);
    let mut splice = None;
    bytes.push(b'{');
    let members = object.as_object().into_iter().flatten();
    let is_type = |key: &str| key == "apiVersion" || key == "kind";
    // apiVersion and kind come first: the items of a list are the same bytes without them.
    let first = members.clone().filter(|(key, _)| is_type(key));
    let rest = members.filter(|(key, _)| !is_type(key));
    for (i, (key, value)) in first.chain(rest).enumerate() {
        if i > 0 {
            bytes.push(b',');
        }
        write_json(&mut bytes, &Value::String(key.clone()));
        bytes.push(b':');
        if key == "metadata" {
            splice = Some(bytes.len() + 1);
        }
        write_json(&mut bytes, value);
    }
    bytes.push(b'}');
    Document { bytes: bytes.into(), splice }
}

fn write_json(bytes: &mut Vec<u8>, value: &Value) {
    // Writing a Value to memory cannot fail: its keys are strings.
    serde_json::to_writer(bytes, value).expect("a JSON value serialises");
}

/// Parses stored bytes and drops the revision: what an update compares with.
pub(crate) fn without_revision(mut object: Value) -> Value {
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("resourceVersion");
    }
    object
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_splice_points_into_metadata() {
        let document = document(&json!({"apiVersion": "v1", "metadata": {"name": "a"}}));
        let at = document.splice.unwrap();
        assert_eq!(&document.bytes[at - 1..at + 6], b"{\"name\"");
    }
}
