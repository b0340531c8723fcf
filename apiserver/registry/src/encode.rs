//! An object as the store takes it: JSON without a resourceVersion, and the place where that goes.

use apiserver_json::Value;
use apiserver_meta::packed;
use apiserver_storage::Document;
use apiserver_watchcache::Object;

/// Serialises once, a packed tree as any other. The store splices the revision in at commit.
pub fn document(object: &Value) -> Document {
    let mut bytes = Vec::with_capacity(4096);
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
        bytes.push(b'"');
        // The members of a kind need no escapes; those of a custom resource may.
        if key.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            bytes.extend_from_slice(key.as_bytes());
            bytes.push(b'"');
        } else {
            bytes.pop();
            apiserver_json::write(&mut bytes, &Value::String(key.clone()));
        }
        bytes.push(b':');
        if key == "metadata" {
            splice = Some(bytes.len() + 1);
        }
        apiserver_json::write(&mut bytes, value);
    }
    bytes.push(b'}');
    Document { bytes: bytes.into(), splice }
}

/// A stored object as a packed tree: for writing, where field ownership need not be looked at.
pub(crate) fn tree(object: &Object) -> Value {
    // What is stored was serialised by this server; a damaged record is refused when the log is loaded.
    packed::parse(object.bytes()).unwrap_or_default()
}

/// Takes the revision out: the store puts the one of the commit in.
pub(crate) fn without_revision(mut object: Value) -> Value {
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("resourceVersion");
    }
    object
}

#[cfg(test)]
mod tests {
    use super::*;
    use apiserver_json::json;

    #[test]
    fn the_splice_points_into_metadata() {
        let document = document(&json!({"apiVersion": "v1", "metadata": {"name": "a"}}));
        let at = document.splice.unwrap();
        assert_eq!(&document.bytes[at - 1..at + 6], b"{\"name\"");
    }
}
