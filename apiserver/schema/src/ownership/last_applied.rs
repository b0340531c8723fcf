//! What client-side apply remembers in an annotation, kept true where kubectl goes over to server-side apply.

use apiserver_json::Value;
use apiserver_meta::field::go_json;

pub(super) const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// More than this an object's annotations may not take, all together.
const ANNOTATION_BYTES_MAX: usize = 256 << 10;

/// Writes what was applied into an object that has the annotation; takes it away where there is no room for it.
pub(super) fn renew(object: &mut Value, applied: &Value) {
    let Some(metadata) = object.get_mut("metadata") else { return };
    let Some(Value::Object(annotations)) = metadata.get_mut("annotations") else { return };
    if annotations.get(LAST_APPLIED).and_then(Value::as_str).is_none_or(str::is_empty) {
        return;
    }
    let mut applied = applied.clone();
    if let Some(Value::Object(own)) =
        applied.get_mut("metadata").and_then(|metadata| metadata.get_mut("annotations"))
    {
        own.remove(LAST_APPLIED);
    }
    let text = go_json(&applied) + "\n";
    annotations.remove(LAST_APPLIED);
    let others: usize =
        annotations.iter().map(|(key, value)| key.len() + value.as_str().map_or(0, str::len)).sum();
    if others + LAST_APPLIED.len() + text.len() <= ANNOTATION_BYTES_MAX {
        annotations.insert(LAST_APPLIED.into(), text.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use apiserver_json::json;

    #[test]
    fn the_annotation_says_what_was_applied_last() {
        let applied = json!({"kind": "ConfigMap", "data": {"a": "<b>"}, "metadata": {"annotations": {LAST_APPLIED: "old"}}});
        let plain = r#"{"data":{"a":"\u003cb\u003e"},"kind":"ConfigMap","metadata":{"annotations":{}}}"#;
        for (before, after) in [
            (json!({LAST_APPLIED: "old", "x": "y"}), json!({LAST_APPLIED: format!("{plain}\n"), "x": "y"})),
            (json!({LAST_APPLIED: ""}), json!({LAST_APPLIED: ""})),
            (json!({"x": "y"}), json!({"x": "y"})),
            (
                json!({LAST_APPLIED: "old", "x": "y".repeat(ANNOTATION_BYTES_MAX)}),
                json!({"x": "y".repeat(ANNOTATION_BYTES_MAX)}),
            ),
        ] {
            let mut object = json!({"metadata": {"annotations": before}});
            renew(&mut object, &applied);
            assert_eq!(object["metadata"]["annotations"], after);
        }
    }
}
