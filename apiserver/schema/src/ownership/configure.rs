//! A configuration merged into an object without anybody coming to own it: what admission policies do.

use apiserver_json::Value;

use super::walk::{Form, form};
use super::{check, merge};
use crate::node::{Schema, Shape};

/// The object with the configuration merged in.
///
/// # Errors
/// What of the configuration is of no type, or would replace a list or map as a whole: whoever says some of it may not
/// know the rest.
pub fn configure(schema: &Schema, object: &Value, configuration: &Value) -> Result<Value, String> {
    let errors = check::check(schema, configuration);
    if !errors.is_empty() {
        let told = check::join(&errors);
        return Err(format!("failed to convert patch object to typed object: {told}"));
    }
    let mut wholes = Vec::new();
    find_wholes(schema, configuration, "", &mut wholes);
    if !wholes.is_empty() {
        let told = wholes.join(", ");
        return Err(format!(
            "invalid ApplyConfiguration: may not mutate atomic arrays, maps or structs: {told}"
        ));
    }
    merge::merge(schema, object, configuration).map_err(|why| format!("failed to merge patch: {why}"))
}

/// Paths of what is replaced as one.
fn find_wholes(schema: &Schema, value: &Value, path: &str, out: &mut Vec<String>) {
    if matches!(
        (form(schema, Some(value)), value),
        (Form::AtomicMap, Value::Object(_)) | (Form::AtomicList, Value::Array(_))
    ) {
        out.push(path.to_owned());
    }
    match (&schema.shape, value) {
        (Shape::Object(object), Value::Object(members)) => {
            for (name, member) in members {
                if let Some(field) = object.fields.get(name) {
                    find_wholes(field.schema.get(), member, &format!("{path}.{name}"), out);
                }
            }
        }
        (Shape::List(list), Value::Array(items)) => {
            for (i, item) in items.iter().enumerate() {
                find_wholes(list.items.get(), item, &format!("{path}[{i}]"), out);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use apiserver_json::json;

    #[test]
    fn a_configuration_is_merged_unless_it_replaces_what_it_may_not_know() {
        let object =
            json!({"spec": {"containers": [{"name": "a", "image": "i"}], "nodeSelector": {"x": "y"}}});
        for (configuration, want) in [
            (
                json!({"spec": {"containers": [{"name": "a", "env": [{"name": "E", "value": "1"}]}, {"name": "b"}]}}),
                Ok(json!([{"name": "a", "image": "i", "env": [{"name": "E", "value": "1"}]}, {"name": "b"}])),
            ),
            (
                json!({"spec": {"nodeSelector": {"z": "w"}, "containers": [{"name": "a", "args": ["x"]}]}}),
                Err(
                    "invalid ApplyConfiguration: may not mutate atomic arrays, maps or structs: .spec.containers[0].args, .spec.nodeSelector",
                ),
            ),
            (
                json!({"spec": {"nope": 1}}),
                Err(
                    "failed to convert patch object to typed object: .spec.nope: field not declared in schema",
                ),
            ),
        ] {
            let schema = crate::builtin("", "v1", "Pod").expect("Pods are known");
            let made = configure(&schema, &object, &configuration);
            assert_eq!(made.map(|made| made["spec"]["containers"].clone()), want.map_err(str::to_owned));
        }
    }
}
