//! Since when somebody owns what they own: a write that changes nothing but these times leaves them as they were, and so
//! is none. `IgnoreManagedFieldsTimestampsTransformer` of k8s.io/apiserver.

use apiserver_json::{Map, Value};

/// Takes the old times where nothing else is new.
pub(crate) fn keep(old: &Value, new: &mut Value) {
    let (Some(before), Some(after)) = (entries(old), entries(new)) else { return };
    let alike = before.len() == after.len()
        && before.iter().zip(after).all(|(a, b)| same_but(a, b, &["time"]))
        && before != after;
    if !alike || !same_besides(old, new) {
        return;
    }
    let kept = before.to_vec();
    if let Some(metadata) = new.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.insert("managedFields".into(), kept.into());
    }
}

fn entries(object: &Value) -> Option<&[Value]> {
    object.get("metadata")?.get("managedFields")?.as_array()
}

fn same_besides(old: &Value, new: &Value) -> bool {
    let (Some(a), Some(b)) = (old.get("metadata"), new.get("metadata")) else { return false };
    same_but(old, new, &["metadata"]) && same_but(a, b, &["managedFields", "resourceVersion"])
}

fn same_but(a: &Value, b: &Value, except: &[&str]) -> bool {
    let kept = |map: &Map| map.iter().filter(|(key, _)| !except.contains(&key.as_str())).count();
    match (a, b) {
        (Value::Object(a), Value::Object(b)) => {
            kept(a) == kept(b)
                && a.iter().all(|(key, a)| except.contains(&key.as_str()) || b.get(key) == Some(a))
        }
        _ => a == b,
    }
}

#[cfg(test)]
mod tests {
    use apiserver_json::json;

    use super::*;

    #[test]
    fn times_move_with_something_else_only() {
        let object = |time: &str, version: &str, fields: Value, data: &str| {
            let entry = json!({"manager": "m", "operation": "Apply", "time": time, "fieldsV1": fields});
            json!({"metadata": {"name": "a", "resourceVersion": version, "managedFields": [entry]}, "data": {"k": data}})
        };
        let own = || json!({"f:data": {"f:k": {}}});
        let old = object("t1", "1", own(), "v");
        for (mut new, want) in [
            (object("t2", "1", own(), "v"), "t1"),
            (object("t2", "", own(), "v"), "t1"),
            (object("t2", "1", own(), "w"), "t2"),
            (object("t2", "1", json!({"f:data": {}}), "v"), "t2"),
        ] {
            keep(&old, &mut new);
            assert_eq!(new["metadata"]["managedFields"][0]["time"], *want, "{new}");
        }
        let mut named = object("t2", "1", own(), "v");
        named["metadata"]["labels"] = json!({"a": "b"});
        keep(&old, &mut named);
        assert_eq!(named["metadata"]["managedFields"][0]["time"], "t2");
    }
}
