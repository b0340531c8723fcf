//! What a patch made, as upstream's errors show it: what the patch went into has its members in the order of their names,
//! everything else stands as Go wrote it.

use std::fmt::Write as _;

use apiserver_json::{Map, Value, json};
use apiserver_meta::field::go_json;

use crate::node::{Object, Schema, Shape};

/// JSON of what a patch made. `touched` has an object wherever the patch went into one.
pub fn shown_patched(schema: &Schema, made: &Value, touched: &Value) -> String {
    let mut out = String::new();
    write(&mut out, Some(schema), made, Some(touched));
    out
}

/// What the operations of a JSON patch go into.
pub fn touched_by(operations: &Value) -> Value {
    let mut out = json!({});
    for operation in operations.as_array().into_iter().flatten() {
        for path in ["path", "from"].iter().filter_map(|member| operation.get(*member)?.as_str()) {
            let mut steps: Vec<String> =
                path.split('/').skip(1).map(|step| step.replace("~1", "/").replace("~0", "~")).collect();
            steps.pop();
            let mut place = &mut out;
            for step in steps {
                let Some(members) = place.as_object_mut() else { break };
                place = members.entry(step.as_str()).or_insert_with(|| json!({}));
            }
        }
    }
    out
}

fn write(out: &mut String, schema: Option<&Schema>, value: &Value, touched: Option<&Value>) {
    let is_touched = touched.is_some_and(Value::is_object);
    // What came with the patch is not of the kind's type yet.
    let schema = schema.filter(|_| touched.is_none() || is_touched);
    let below = |key: &str| touched.filter(|_| is_touched).and_then(|touched| touched.get(key));
    match value {
        Value::Object(members) => {
            let object = schema.and_then(Schema::object);
            let ordered = match object.filter(|object| object.go_struct && !is_touched) {
                Some(object) => in_order(object, members),
                None => members.iter().map(|(key, value)| (key.as_str(), value)).collect(),
            };
            out.push('{');
            for (i, (key, value)) in ordered.into_iter().enumerate() {
                out.push_str(if i > 0 { "," } else { "" });
                let _ = write!(out, "{}:", go_json(&key.into()));
                write(out, schema.and_then(|schema| schema.child(key)), value, below(key));
            }
            out.push('}');
        }
        Value::Array(items) => {
            let item_schema = schema.and_then(|schema| match &schema.shape {
                Shape::List(list) => Some(&**list.items.get()),
                _ => None,
            });
            out.push('[');
            for (i, item) in items.iter().enumerate() {
                out.push_str(if i > 0 { "," } else { "" });
                write(out, item_schema, item, below(&i.to_string()));
            }
            out.push(']');
        }
        other => out.push_str(&go_json(other)),
    }
}

/// The members of a struct as Go writes them.
fn in_order<'a>(object: &Object, members: &'a Map) -> Vec<(&'a str, &'a Value)> {
    let mut out: Vec<_> = members.iter().map(|(key, value)| (key.as_str(), value)).collect();
    out.sort_by_key(|(key, _)| object.fields.get(key).map_or(usize::MAX, |field| field.place));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_left_alone_is_in_gos_order() {
        let schema = crate::builtin("apps", "v1", "Deployment").unwrap();
        let made = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "w", "labels": {"b": "<", "a": "c"}},
            "spec": {"replicas": "x", "selector": {"matchLabels": {"a": "b"}, "matchExpressions": []}}});
        let merge = json!({"spec": {"replicas": "x"}});
        let operations = json!([{"op": "replace", "path": "/metadata/name", "value": "w"}]);
        for (touched, want) in [
            (
                merge,
                r#"{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"w","labels":{"a":"c","b":"\u003c"}},"spec":{"replicas":"x","selector":{"matchLabels":{"a":"b"},"matchExpressions":[]}}}"#,
            ),
            (
                touched_by(&operations),
                r#"{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"labels":{"a":"c","b":"\u003c"},"name":"w"},"spec":{"replicas":"x","selector":{"matchLabels":{"a":"b"},"matchExpressions":[]}}}"#,
            ),
        ] {
            assert_eq!(shown_patched(&schema, &made, &touched), want);
        }
    }
}
