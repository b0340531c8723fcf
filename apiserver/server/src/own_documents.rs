//! The documents that are the server's own, written as Go writes them: members in the order of the type, not of their
//! names. Scripts search discovery for `"name":…,"shortNames":…`, and people read a Status from its kind on.
//!
//! Objects are sent as they are stored, their members sorted; JSON gives their order no meaning.

use apiserver_json::{Value, write_text};

const KINDS: [&str; 6] =
    ["Status", "APIResourceList", "APIGroupList", "APIGroup", "APIVersions", "APIGroupDiscoveryList"];

/// The members of each type, in order (`apimachinery/pkg/apis/meta/v1/types.go`, `api/apidiscovery/v2/types.go`). A
/// value is of the first type that has all its members.
const TYPES: [&[&str]; 14] = [
    &["kind", "apiVersion", "metadata", "status", "message", "reason", "details", "code"],
    &["name", "group", "kind", "uid", "causes", "retryAfterSeconds"],
    &["reason", "message", "field"],
    &["kind", "versions", "serverAddressByClientCIDRs"],
    &["clientCIDR", "serverAddress"],
    &["kind", "apiVersion", "groups"],
    &["kind", "apiVersion", "name", "versions", "preferredVersion"],
    &["groupVersion", "version"],
    &["kind", "apiVersion", "groupVersion", "resources"],
    &[
        "name",
        "singularName",
        "namespaced",
        "group",
        "version",
        "kind",
        "verbs",
        "shortNames",
        "categories",
        "storageVersionHash",
    ],
    &["kind", "apiVersion", "metadata", "items"],
    &["metadata", "versions"],
    &["version", "resources", "freshness"],
    &[
        "resource",
        "responseKind",
        "scope",
        "singularResource",
        "verbs",
        "shortNames",
        "categories",
        "subresources",
    ],
];
/// Types whose members are those of another one, too, by a member that tells.
const TOLD: [(&str, &[&str]); 2] = [
    ("subresource", &["subresource", "responseKind", "acceptedTypes", "verbs"]),
    ("group", &["group", "version", "kind"]),
];

/// The document, where it is one of the server's own.
pub(crate) fn write(value: &Value, pretty: bool) -> Option<Vec<u8>> {
    let kind = value.get("kind").and_then(Value::as_str)?;
    KINDS.contains(&kind).then(|| {
        let mut out = Vec::with_capacity(256);
        put(&mut out, value, pretty.then_some(0));
        out
    })
}

/// The members of an object in the order of its type; as they are where it is of no type here.
fn ordered(map: &apiserver_json::Map) -> Vec<(&str, &Value)> {
    let is_of = |members: &&&[&str]| map.keys().all(|key| members.contains(&key.as_str()));
    let told = TOLD.iter().filter(|(member, _)| map.contains_key(member)).map(|(_, members)| members);
    let mut members: Vec<(&str, &Value)> = map.iter().map(|(key, value)| (key.as_str(), value)).collect();
    if let Some(order) = told.chain(&TYPES).find(is_of) {
        members.sort_by_key(|(key, _)| order.iter().position(|member| member == key));
    }
    members
}

/// A value, indented as Go indents where a depth is given.
fn put(out: &mut Vec<u8>, value: &Value, depth: Option<usize>) {
    let inner = depth.map(|depth| depth + 1);
    let line = |out: &mut Vec<u8>, depth: Option<usize>| {
        if let Some(depth) = depth {
            out.push(b'\n');
            out.resize(out.len() + 2 * depth, b' ');
        }
    };
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (i, (key, value)) in ordered(map).into_iter().enumerate() {
                out.push(if i == 0 { b'{' } else { b',' });
                line(out, inner);
                write_text(out, key);
                out.extend_from_slice(if depth.is_some() { b": " } else { b":" });
                put(out, value, inner);
            }
            line(out, depth);
            out.push(b'}');
        }
        Value::Array(items) if !items.is_empty() => {
            for (i, item) in items.iter().enumerate() {
                out.push(if i == 0 { b'[' } else { b',' });
                line(out, inner);
                put(out, item, inner);
            }
            line(out, depth);
            out.push(b']');
        }
        Value::String(text) => put_text(out, text),
        other => apiserver_json::write(out, other),
    }
}

/// A text with what HTML gives a meaning escaped.
fn put_text(out: &mut Vec<u8>, text: &str) {
    let mut written = Vec::with_capacity(text.len() + 2);
    write_text(&mut written, text);
    for byte in written {
        match byte {
            b'<' | b'>' | b'&' => out.extend_from_slice(format!("\\u{byte:04x}").as_bytes()),
            byte => out.push(byte),
        }
    }
}

#[cfg(test)]
mod tests {
    use apiserver_json::json;

    use super::*;

    #[test]
    fn members_come_in_the_order_of_their_types() {
        let text = |value: &Value, pretty| String::from_utf8(write(value, pretty).unwrap()).unwrap();
        let status = json!({
            "apiVersion": "v1", "code": 404, "kind": "Status", "message": "pods \"<x>\" not found", "metadata": {},
            "reason": "NotFound", "details": {"kind": "pods", "name": "<x>", "causes": []}, "status": "Failure",
        });
        assert_eq!(
            text(&status, false),
            r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"pods \"\u003cx\u003e\" not found","reason":"NotFound","details":{"name":"\u003cx\u003e","kind":"pods","causes":[]},"code":404}"#
        );
        let group = json!({
            "apiVersion": "v1", "kind": "APIGroup", "name": "apps",
            "preferredVersion": {"version": "v1", "groupVersion": "apps/v1"},
            "versions": [{"version": "v1", "groupVersion": "apps/v1"}],
        });
        assert_eq!(
            text(&group, true),
            r#"{
  "kind": "APIGroup",
  "apiVersion": "v1",
  "name": "apps",
  "versions": [
    {
      "groupVersion": "apps/v1",
      "version": "v1"
    }
  ],
  "preferredVersion": {
    "groupVersion": "apps/v1",
    "version": "v1"
  }
}"#
        );
        let resources = json!({"kind": "APIResourceList", "resources": [
            {"kind": "Scale", "name": "x/scale", "verbs": ["get"], "group": "autoscaling", "version": "v1", "namespaced": true, "singularName": ""},
        ]});
        assert_eq!(
            text(&resources, false),
            r#"{"kind":"APIResourceList","resources":[{"name":"x/scale","singularName":"","namespaced":true,"group":"autoscaling","version":"v1","kind":"Scale","verbs":["get"]}]}"#
        );
        assert!(write(&json!({"kind": "Pod"}), false).is_none());
    }
}
