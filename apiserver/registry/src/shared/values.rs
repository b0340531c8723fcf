//! Values in etcd: this server writes JSON without a resourceVersion, which kube-apiserver reads; kube-apiserver writes its own
//! kinds as protobuf and custom resources as JSON, which are read here.

use apiserver_json::Value;
use apiserver_json::value::RawValue;
use apiserver_meta::GroupVersion;
use apiserver_schema::Decode;
use apiserver_storage::Document;
use apiserver_storage::etcd::Values;
use bytes::Bytes;
use serde::Deserialize;

use crate::{encode, object};

/// Reads values whoever wrote them.
#[derive(Clone, Copy, Debug, Default)]
pub struct StoredValues;

impl Values for StoredValues {
    fn read(&self, _: &str, value: Bytes) -> Result<Document, String> {
        if value.starts_with(apiserver_schema::PROTOBUF_MAGIC) {
            return Ok(encode::document(&of_protobuf(&value)?));
        }
        if let Some(splice) = splice_of_ours(&value) {
            return Ok(Document { bytes: value, splice: Some(splice) });
        }
        let tree: Value = apiserver_json::from_slice(&value).map_err(|error| error.to_string())?;
        if !tree.get("metadata").is_some_and(Value::is_object) {
            return Err("it has no metadata".to_owned());
        }
        Ok(encode::document(&encode::without_revision(tree)))
    }
}

/// Protobuf has zeros where JSON has nothing: they go, as from the body of a request.
fn of_protobuf(value: &[u8]) -> Result<Value, String> {
    let mut tree = apiserver_schema::from_protobuf(value)?;
    let text = |member: &str| tree.get(member).and_then(Value::as_str).unwrap_or_default().to_owned();
    let (api_version, kind) = (text("apiVersion"), text("kind"));
    let gv = GroupVersion::parse(&api_version);
    if let Some(schema) = apiserver_schema::builtin(&gv.group, &gv.version, &kind) {
        apiserver_schema::decode(&schema, &mut tree, Decode::Json).map_err(|error| error.to_string())?;
    }
    object::tidy(&mut tree);
    Ok(encode::without_revision(tree))
}

/// Where the revision goes in JSON as this server writes it: types first, nothing between the members, no version.
fn splice_of_ours(value: &[u8]) -> Option<usize> {
    #[derive(Deserialize)]
    struct Whole<'a> {
        #[serde(borrow)]
        metadata: &'a RawValue,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Metadata {
        #[serde(default)]
        resource_version: Option<serde::de::IgnoredAny>,
    }
    let rest = value.strip_prefix(b"{\"apiVersion\":\"")?;
    let end = rest.iter().position(|byte| *byte == b'"')?;
    if !rest[end..].starts_with(b"\",\"kind\":\"") || value.contains(&b'\n') {
        return None;
    }
    let metadata = apiserver_json::from_slice::<Whole>(value).ok()?.metadata.get();
    let known: Metadata = apiserver_json::from_str(metadata).ok()?;
    if known.resource_version.is_some() || !metadata.starts_with('{') {
        return None;
    }
    let at = (metadata.as_ptr() as usize).checked_sub(value.as_ptr() as usize)?;
    Some(at + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use apiserver_json::json;

    fn read(value: &[u8]) -> Result<Value, String> {
        let document = StoredValues.read("", Bytes::copy_from_slice(value))?;
        apiserver_json::from_slice(&document.at(7)).map_err(|error| error.to_string())
    }

    #[test]
    fn what_anybody_wrote_is_read() {
        let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "namespace": "b"}, "data": {"metadata": "x"}});
        let mut stored = object.clone();
        stored["metadata"]["resourceVersion"] = "7".into();
        let ours = encode::document(&object);
        assert_eq!(splice_of_ours(&ours.bytes), ours.splice);
        assert_eq!(read(&ours.bytes), Ok(stored.clone()));
        let protobuf = apiserver_schema::to_protobuf(&object).unwrap();
        assert_eq!(read(&protobuf), Ok(stored.clone()));
        // Other members first, a version that was left in, and space between.
        for text in [
            r#"{"data":{"metadata":"x"},"metadata":{"name":"a","namespace":"b"},"kind":"ConfigMap","apiVersion":"v1"}"#,
            r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"resourceVersion":"3","name":"a","namespace":"b"},"data":{"metadata":"x"}}"#,
            "{\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\",\"data\":{\"metadata\":\"x\"},\"metadata\":{\"name\":\"a\",\"namespace\":\"b\"}}\n",
        ] {
            assert_eq!(read(text.as_bytes()), Ok(stored.clone()), "{text}");
        }
        for damaged in
            [&b""[..], b"{", b"[]", b"{}", b"{\"metadata\":1}", b"k8s\0", b"k8s:enc:aescbc:v1:key1:x"]
        {
            assert!(read(damaged).is_err(), "{damaged:?}");
        }
    }
}
