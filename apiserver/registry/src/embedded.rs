//! Objects inside custom resources (`x-kubernetes-embedded-resource`): what every API object must have.

use apiserver_json::{Map, Value};
use apiserver_meta::field::FieldError;
use apiserver_meta::names;
use apiserver_schema::Schema;

use crate::object;

/// Errors of the objects inside a value that stands at `path`; `is_object` says that it is one itself.
pub(crate) fn validate(
    schema: &Schema,
    value: &Value,
    path: &str,
    is_object: bool,
    errors: &mut Vec<FieldError>,
) {
    match value {
        Value::Object(map) => {
            if is_object {
                validate_object(map, value, path, errors);
            }
            for (key, value) in map {
                let Some(child) = schema.child(key) else { continue };
                let is_property =
                    schema.object().is_some_and(|object| object.fields.contains_key(key.as_str()));
                let path = match (is_property, path) {
                    (true, "") => key.to_string(),
                    (true, path) => format!("{path}.{key}"),
                    (false, path) => format!("{path}[{key}]"),
                };
                validate(child, value, &path, child.embedded, errors);
            }
        }
        Value::Array(list) => {
            let Some(items) = schema.list().map(|list| list.items.get()) else { return };
            for (i, value) in list.iter().enumerate() {
                validate(items, value, &format!("{path}[{i}]"), items.embedded, errors);
            }
        }
        _ => {}
    }
}

fn validate_object(map: &Map, value: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let below = |member: &str| if path.is_empty() { member.to_owned() } else { format!("{path}.{member}") };
    for member in ["apiVersion", "kind"] {
        if !map.contains_key(member) {
            errors.push(FieldError::required(below(member), ""));
        }
    }
    for (member, rule) in
        [("apiVersion", version_problem as fn(&str) -> Option<String>), ("kind", kind_problem)]
    {
        let Some(found) = map.get(member) else { continue };
        let why = match found.as_str() {
            None => Some("must be a string".to_owned()),
            Some("") => Some("must not be empty".to_owned()),
            Some(text) => rule(text),
        };
        errors.extend(why.map(|why| FieldError::invalid(below(member), found, why)));
    }
    if !map.contains_key("metadata") {
        return;
    }
    let mut found = Vec::new();
    for (member, rule) in
        [("name", names::path_segment as fn(&str) -> Vec<String>), ("namespace", names::dns1123_label)]
    {
        let text = object::text(value, member);
        let problems = if text.is_empty() { Vec::new() } else { rule(text) };
        let field = format!("metadata.{member}");
        found.extend(problems.into_iter().map(|why| FieldError::invalid(&*field, &text.into(), why)));
    }
    object::validate_members(value, &mut found);
    errors.extend(found.into_iter().map(|error| FieldError { field: below(&error.field), ..error }));
}

fn version_problem(version: &str) -> Option<String> {
    (version.matches('/').count() > 1).then(|| format!("unexpected GroupVersion string: {version}"))
}

fn kind_problem(kind: &str) -> Option<String> {
    let problems = names::dns1035_label(&kind.to_lowercase());
    let why = || format!("may have mixed case, but should otherwise match: {}", problems.join(","));
    (!problems.is_empty()).then(why)
}

#[cfg(test)]
mod tests {
    use apiserver_json::json;

    use super::*;

    #[test]
    fn objects_inside_say_what_they_are() {
        let embedded = json!({
            "type": "object", "x-kubernetes-embedded-resource": true, "x-kubernetes-preserve-unknown-fields": true,
        });
        let schema = json!({"type": "object", "properties": {
            "t": embedded, "m": {"type": "object", "additionalProperties": embedded},
            "l": {"type": "array", "items": embedded},
        }});
        let schema = apiserver_schema::from_crd_schema(&schema).expect("a schema");
        for (value, want) in [
            (json!({"t": {"apiVersion": "v1", "kind": "A", "metadata": {"name": "a"}}}), vec![]),
            (json!({"t": {}}), vec!["t.apiVersion: Required value", "t.kind: Required value"]),
            (json!({"m": {"k": {"kind": "A"}}}), vec!["m[k].apiVersion: Required value"]),
            (
                json!({"l": [{"apiVersion": "v1", "kind": ""}]}),
                vec!["l[0].kind: Invalid value: \"\": must not be empty"],
            ),
            (
                json!({"t": {"apiVersion": "a/b/c", "kind": "A", "metadata": {"name": "a/b"}}}),
                vec![
                    "t.apiVersion: Invalid value: \"a/b/c\": unexpected GroupVersion string: a/b/c",
                    "t.metadata.name: Invalid value: \"a/b\": may not contain '/'",
                ],
            ),
        ] {
            let mut errors = Vec::new();
            validate(&schema, &value, "", false, &mut errors);
            let found: Vec<String> = errors.iter().map(ToString::to_string).collect();
            assert_eq!(found, want, "{value}");
        }
        for (mut value, want) in [
            (json!({"t": {"metadata": {"x": 1}}}), Ok(vec!["t.metadata.x".to_owned()])),
            (json!({"t": {"kind": 1}}), Err("t.kind: Invalid value: 1: must be a string".to_owned())),
            (
                json!({"t": {"metadata": {"labels": 1}}}),
                Err("t.metadata: Invalid value: {\"labels\":1}: json: cannot unmarshal number into Go struct field ObjectMeta.labels of type map[string]string".to_owned()),
            ),
        ] {
            let found = apiserver_schema::decode_embedded(&schema, &mut value, "", false);
            assert_eq!(found.map_err(|error| error.to_string()), want, "{value}");
        }
    }
}
