//! The definitions of custom resources: what their definition says, and what every object has. Version 2 cannot say all of
//! it: what kubectl would misread there is left out, as upstream does.

use std::sync::Arc;

use apiserver_json::{Map, Value, json};
use apiserver_registry::Resource;

use super::{definition, gvk, render};

/// The members that every object has, and whose words are those of the built-in kinds.
const MEMBERS: [&str; 3] = ["apiVersion", "kind", "metadata"];

/// What the words of upstream's documents refer to.
const CONVENTIONS: &str =
    "https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md";

/// What is written into every definition.
struct Common {
    v3: bool,
    /// What an object within an object is described by.
    embedded_type_meta: Map,
    type_meta: Map,
    metadata: Value,
    list_metadata: Value,
}

/// The definitions of the custom resources among these, and of their lists.
pub(super) fn definitions<'a>(
    v3: bool,
    rows: impl Iterator<Item = &'a Arc<Resource>>,
) -> Vec<(String, Value)> {
    let mut rows = rows.filter(|row| row.is_custom()).peekable();
    if rows.peek().is_none() {
        return Vec::new();
    }
    let common = Common::new(v3);
    rows.flat_map(|row| [common.object(row), common.list(row)]).collect()
}

impl Common {
    fn new(v3: bool) -> Self {
        let fields = MEMBERS.map(|member| ("io.k8s.api.core.v1.ConfigMap", member));
        let [api_version, kind, metadata] =
            match <[_; 3]>::try_from(apiserver_schema::field_descriptions(&fields)) {
                Ok(texts) => texts.map(Option::unwrap_or_default),
                Err(_) => Default::default(),
            };
        let text = |description: String| json!({"description": description, "type": "string"});
        Self {
            v3,
            type_meta: Map::from_iter([
                ("apiVersion".to_owned(), text(api_version)),
                ("kind".to_owned(), text(kind)),
            ]),
            metadata: described(v3, "ObjectMeta", &metadata),
            list_metadata: described(
                v3,
                "ListMeta",
                &format!("Standard list metadata. More info: {CONVENTIONS}#types-kinds"),
            ),
            embedded_type_meta: Map::from_iter([
                (
                    "apiVersion".to_owned(),
                    text(format!(
                        "apiVersion defines the versioned schema of this representation of an object. More info: {CONVENTIONS}#resources"
                    )),
                ),
                (
                    "kind".to_owned(),
                    text(format!(
                        "kind is a string value representing the type of this object. In CamelCase. More info: {CONVENTIONS}#types-kinds"
                    )),
                ),
            ]),
        }
    }

    fn object(&self, row: &Resource) -> (String, Value) {
        let name = definition(row, &row.kind);
        let mut schema = row.custom.as_ref().map(|custom| custom.published.clone()).unwrap_or_default();
        if !schema.is_object() {
            schema = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
        }
        if !self.v3 && preserves(&schema) {
            // kubectl would take members that are named here for all there are.
            schema = json!({"type": "object"});
        } else {
            self.shape(&mut schema);
            let mut members = self.type_meta.clone();
            members.insert("metadata".into(), self.metadata.clone());
            extend(&mut schema, members);
        }
        schema["x-kubernetes-group-version-kind"] = json!([gvk(row, &row.kind)]);
        select(row, &mut schema);
        (name, schema)
    }

    fn list(&self, row: &Resource) -> (String, Value) {
        let item = format!("{}{}", render::prefix(self.v3), definition(row, &row.kind));
        let mut schema = json!({
            "description": format!("{} is a list of {}", row.list_kind, row.kind),
            "type": "object",
            "required": ["items"],
            "properties": {
                "items": {
                    "description": format!("List of {}. More info: {CONVENTIONS}", row.name),
                    "type": "array",
                    "items": {"$ref": item},
                },
                "metadata": self.list_metadata.clone(),
            },
            "x-kubernetes-group-version-kind": [gvk(row, &row.list_kind)],
        });
        extend(&mut schema, self.type_meta.clone());
        select(row, &mut schema);
        (definition(row, &row.list_kind), schema)
    }

    /// Makes of a schema and all below it what the document can say.
    fn shape(&self, schema: &mut Value) {
        if !schema.is_object() {
            return;
        }
        if !self.v3 {
            reduce(schema);
        } else if is_set(schema, "x-kubernetes-int-or-string")
            && schema.get("anyOf").is_none()
            && schema.get("allOf").is_none()
        {
            schema["anyOf"] = json!([{"type": "integer"}, {"type": "string"}]);
        }
        let Value::Object(map) = schema else { return };
        if let Some(Value::Object(properties)) = map.get_mut("properties") {
            properties.values_mut().for_each(|property| self.shape(property));
        }
        for inside in ["items", "additionalProperties"] {
            map.get_mut(inside).into_iter().for_each(|below| self.shape(below));
        }
        if is_set(schema, "x-kubernetes-embedded-resource") && (self.v3 || !preserves(schema)) {
            let mut members = self.embedded_type_meta.clone();
            members.insert("metadata".into(), self.metadata.clone());
            extend(schema, members);
            let mut required = schema.get("required").and_then(Value::as_array).unwrap_or_default().to_vec();
            for name in ["kind", "apiVersion"] {
                if !required.iter().any(|known| known == name) {
                    required.push(name.into());
                }
            }
            schema["required"] = required.into();
        }
    }
}

fn is_set(schema: &Value, name: &str) -> bool {
    schema.get(name) == Some(&Value::Bool(true))
}

fn preserves(schema: &Value) -> bool {
    is_set(schema, "x-kubernetes-preserve-unknown-fields")
}

fn described(v3: bool, kind: &str, description: &str) -> Value {
    let reference =
        json!({"$ref": format!("{}io.k8s.apimachinery.pkg.apis.meta.v1.{kind}", render::prefix(v3))});
    let mut out = if v3 { json!({"allOf": [reference]}) } else { reference };
    out["description"] = description.into();
    out
}

fn extend(schema: &mut Value, members: Map) {
    let properties = &mut schema["properties"];
    if !properties.is_object() {
        *properties = json!({});
    }
    if let Value::Object(properties) = properties {
        properties.extend(members);
    }
}

/// The fields that selectors may name.
fn select(row: &Resource, schema: &mut Value) {
    let fields = row.custom.iter().flat_map(|custom| &custom.selectable_fields);
    let fields: Vec<Value> = fields.map(|field| json!({"fieldPath": field})).collect();
    if !fields.is_empty() {
        schema["x-kubernetes-selectable-fields"] = fields.into();
    }
}

/// Takes out of a schema what version 2 has no words for.
fn reduce(schema: &mut Value) {
    let (nullable, keeps) = (is_set(schema, "nullable"), preserves(schema));
    let Value::Object(map) = schema else { return };
    for name in ["allOf", "anyOf", "oneOf", "not", "nullable", "default"] {
        map.remove(name);
    }
    if nullable {
        map.remove("type");
    }
    if nullable || keeps {
        map.remove("items");
        map.remove("properties");
    }
    let kind = map.get("type").and_then(Value::as_str).unwrap_or("");
    if kind == "array" && !map.contains_key("items") || kind == "object" && keeps {
        map.remove("type");
    }
    let may_be_null = |below: Option<&Value>| below.is_some_and(|below| is_set(below, "nullable"));
    let properties = map.get("properties").cloned().unwrap_or_default();
    let drops_all = may_be_null(map.get("additionalProperties"));
    if let Some(Value::Array(required)) = map.get_mut("required") {
        required
            .retain(|name| !drops_all && !may_be_null(name.as_str().and_then(|name| properties.get(name))));
        if required.is_empty() {
            map.remove("required");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_version_says_what_it_can() {
        let reference =
            |v3: bool| format!("{}io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta", render::prefix(v3));
        for (schema, third, second) in [
            (
                json!({"type": "string", "default": "x"}),
                json!({"type": "string", "default": "x"}),
                json!({"type": "string"}),
            ),
            (
                json!({"x-kubernetes-int-or-string": true}),
                json!({"x-kubernetes-int-or-string": true, "anyOf": [{"type": "integer"}, {"type": "string"}]}),
                json!({"x-kubernetes-int-or-string": true}),
            ),
            (
                json!({"type": "object", "required": ["a", "b"], "properties": {"a": {"type": "integer", "nullable": true}, "b": {}}}),
                json!({"type": "object", "required": ["a", "b"], "properties": {"a": {"type": "integer", "nullable": true}, "b": {}}}),
                json!({"type": "object", "required": ["b"], "properties": {"a": {}, "b": {}}}),
            ),
            (
                json!({"type": "array", "nullable": true, "items": {"type": "string"}, "oneOf": []}),
                json!({"type": "array", "nullable": true, "items": {"type": "string"}, "oneOf": []}),
                json!({}),
            ),
            (
                json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true, "properties": {"a": {}}}),
                json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true, "properties": {"a": {}}}),
                json!({"x-kubernetes-preserve-unknown-fields": true}),
            ),
        ] {
            for (v3, want) in [(true, third), (false, second)] {
                let mut made = schema.clone();
                Common::new(v3).shape(&mut made);
                assert_eq!(made, want, "{schema}");
            }
        }
        for v3 in [true, false] {
            let mut embedded =
                json!({"type": "object", "x-kubernetes-embedded-resource": true, "required": ["kind"]});
            Common::new(v3).shape(&mut embedded);
            assert_eq!(embedded["required"], json!(["kind", "apiVersion"]));
            assert!(embedded["properties"]["metadata"].to_string().contains(&reference(v3)));
        }
    }
}
