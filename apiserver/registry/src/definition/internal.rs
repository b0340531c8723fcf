//! How Go prints upstream's internal type of a definition, which is what is shown of a wrong one.

use apiserver_json::{Map, Value, json};

use super::versions::Hoisted;

/// Members of a version: Go's name, JSON's name, what stands for nothing.
const VERSION: &[Member] = &[
    ("Name", "name", Zero::Text),
    ("Served", "served", Zero::False),
    ("Storage", "storage", Zero::False),
    ("Deprecated", "deprecated", Zero::False),
    ("DeprecationWarning", "deprecationWarning", Zero::Null),
    ("Schema", "schema", Zero::Null),
    ("Subresources", "subresources", Zero::Null),
    ("AdditionalPrinterColumns", "additionalPrinterColumns", Zero::Null),
    ("SelectableFields", "selectableFields", Zero::Null),
];

const SCHEMA: &[Member] = &[
    ("ID", "id", Zero::Text),
    ("Schema", "$schema", Zero::Text),
    ("Ref", "$ref", Zero::Null),
    ("Description", "description", Zero::Text),
    ("Type", "type", Zero::Text),
    ("Nullable", "nullable", Zero::False),
    ("Format", "format", Zero::Text),
    ("Title", "title", Zero::Text),
    ("Default", "default", Zero::Null),
    ("Maximum", "maximum", Zero::Null),
    ("ExclusiveMaximum", "exclusiveMaximum", Zero::False),
    ("Minimum", "minimum", Zero::Null),
    ("ExclusiveMinimum", "exclusiveMinimum", Zero::False),
    ("MaxLength", "maxLength", Zero::Null),
    ("MinLength", "minLength", Zero::Null),
    ("Pattern", "pattern", Zero::Text),
    ("MaxItems", "maxItems", Zero::Null),
    ("MinItems", "minItems", Zero::Null),
    ("UniqueItems", "uniqueItems", Zero::False),
    ("MultipleOf", "multipleOf", Zero::Null),
    ("Enum", "enum", Zero::Null),
    ("MaxProperties", "maxProperties", Zero::Null),
    ("MinProperties", "minProperties", Zero::Null),
    ("Required", "required", Zero::Null),
    ("Items", "items", Zero::Null),
    ("AllOf", "allOf", Zero::Null),
    ("OneOf", "oneOf", Zero::Null),
    ("AnyOf", "anyOf", Zero::Null),
    ("Not", "not", Zero::Null),
    ("Properties", "properties", Zero::Null),
    ("AdditionalProperties", "additionalProperties", Zero::Null),
    ("PatternProperties", "patternProperties", Zero::Null),
    ("Dependencies", "dependencies", Zero::Null),
    ("AdditionalItems", "additionalItems", Zero::Null),
    ("Definitions", "definitions", Zero::Null),
    ("ExternalDocs", "externalDocs", Zero::Null),
    ("Example", "example", Zero::Null),
    ("XPreserveUnknownFields", "x-kubernetes-preserve-unknown-fields", Zero::Null),
    ("XEmbeddedResource", "x-kubernetes-embedded-resource", Zero::False),
    ("XIntOrString", "x-kubernetes-int-or-string", Zero::False),
    ("XListMapKeys", "x-kubernetes-list-map-keys", Zero::Null),
    ("XListType", "x-kubernetes-list-type", Zero::Null),
    ("XMapType", "x-kubernetes-map-type", Zero::Null),
    ("XValidations", "x-kubernetes-validations", Zero::Null),
];

const SCALE: &[Member] = &[
    ("SpecReplicasPath", "specReplicasPath", Zero::Text),
    ("StatusReplicasPath", "statusReplicasPath", Zero::Text),
    ("LabelSelectorPath", "labelSelectorPath", Zero::Null),
];

const COLUMN: &[Member] = &[
    ("Name", "name", Zero::Text),
    ("Type", "type", Zero::Text),
    ("Format", "format", Zero::Text),
    ("Description", "description", Zero::Text),
    ("Priority", "priority", Zero::Number),
    ("JSONPath", "jsonPath", Zero::Text),
];

const FIELD: &[Member] = &[("JSONPath", "jsonPath", Zero::Text)];

const RULE: &[Member] = &[
    ("Rule", "rule", Zero::Text),
    ("Message", "message", Zero::Text),
    ("MessageExpression", "messageExpression", Zero::Text),
    ("Reason", "reason", Zero::Null),
    ("FieldPath", "fieldPath", Zero::Text),
    ("OptionalOldSelf", "optionalOldSelf", Zero::Null),
];

const DOCS: &[Member] = &[("Description", "description", Zero::Text), ("URL", "url", Zero::Text)];

type Member = (&'static str, &'static str, Zero);

#[derive(Clone, Copy)]
enum Zero {
    Text,
    False,
    Number,
    Null,
}

impl Zero {
    fn value(self) -> Value {
        match self {
            Self::Text => "".into(),
            Self::False => false.into(),
            Self::Number => 0.into(),
            Self::Null => Value::Null,
        }
    }
}

/// The Go names of the members that a schema says something of, in Go's order.
pub(super) fn set_members(schema: &Value) -> impl Iterator<Item = &'static str> {
    let is_set = move |(_, member, zero): &&Member| {
        let value = &schema[*member];
        !value.is_null() && *value != zero.value()
    };
    SCHEMA.iter().filter(is_set).map(|(name, _, _)| *name)
}

/// A list of versions as text; what is hoisted is left out.
pub(super) fn versions(versions: &Value, hoisted: &Hoisted) -> String {
    let Some(versions) = versions.as_array() else { return "null".to_owned() };
    let one = |version: &Value| {
        print(version, VERSION, &|name, value| match name {
            "Schema" if hoisted.schema => null(),
            "Subresources" if hoisted.subresources => null(),
            "AdditionalPrinterColumns" if hoisted.columns => null(),
            "SelectableFields" if hoisted.fields => null(),
            "Schema" => format!("{{\"OpenAPIV3Schema\":{}}}", nested(&value["openAPIV3Schema"], schema)),
            "Subresources" => format!(
                "{{\"Status\":{},\"Scale\":{}}}",
                value.get("status").unwrap_or(&Value::Null),
                nested(&value["scale"], |scale| plain(scale, SCALE))
            ),
            "AdditionalPrinterColumns" => list(value, |column| plain(column, COLUMN)),
            "SelectableFields" => list(value, |field| plain(field, FIELD)),
            _ => value.to_string(),
        })
    };
    format!("[{}]", versions.iter().map(one).collect::<Vec<_>>().join(","))
}

/// A schema as text.
pub(super) fn schema(node: &Value) -> String {
    print(node, SCHEMA, &|name, value| match name {
        "Items" => format!("{{\"Schema\":{},\"JSONSchemas\":null}}", schema(value)),
        "AllOf" | "OneOf" | "AnyOf" => list(value, schema),
        "Not" => schema(value),
        "Properties" => {
            let empty = Map::new();
            let members = value.as_object().unwrap_or(&empty).iter();
            let members = members.map(|(key, value)| format!("{}:{}", json!(key), schema(value)));
            format!("{{{}}}", members.collect::<Vec<_>>().join(","))
        }
        "AdditionalProperties" => {
            let allows = *value != Value::Bool(false);
            let inner = if value.is_object() { schema(value) } else { null() };
            format!("{{\"Allows\":{allows},\"Schema\":{inner}}}")
        }
        "XValidations" => list(value, |rule| plain(rule, RULE)),
        "ExternalDocs" => plain(value, DOCS),
        _ => value.to_string(),
    })
}

fn null() -> String {
    "null".to_owned()
}

fn nested(value: &Value, print: impl Fn(&Value) -> String) -> String {
    if value.is_null() { null() } else { print(value) }
}

fn list(value: &Value, print: impl Fn(&Value) -> String) -> String {
    let parts: Vec<String> = value.as_array().into_iter().flatten().map(print).collect();
    format!("[{}]", parts.join(","))
}

fn plain(value: &Value, members: &[Member]) -> String {
    print(value, members, &|_, value| value.to_string())
}

fn print(value: &Value, members: &[Member], show: &dyn Fn(&str, &Value) -> String) -> String {
    let one = |(name, member, zero): &Member| {
        let value = value.get(*member).filter(|value| !value.is_null());
        format!("\"{name}\":{}", value.map_or_else(|| zero.value().to_string(), |value| show(name, value)))
    };
    format!("{{{}}}", members.iter().map(one).collect::<Vec<_>>().join(","))
}
