//! The versions of a definition, and what all of them say alike.

use apiserver_json::{Value, json};
use apiserver_meta::field::{FieldError, Problem};

use super::{internal, label, members};
use crate::strategy::shared::{has, items, text};

/// Members of versions that upstream moves up where all versions have the same.
pub(super) struct Hoisted {
    pub schema: bool,
    pub subresources: bool,
    pub columns: bool,
    pub fields: bool,
}

impl Hoisted {
    pub(super) fn of(versions: &[Value]) -> Self {
        let same = |member: &str| {
            let mut values = versions.iter().map(|version| said(version, member));
            let first = values.next();
            first.is_some() && values.all(|value| Some(value) == first)
        };
        Self {
            schema: same("schema"),
            subresources: same("subresources"),
            columns: same("additionalPrinterColumns"),
            fields: same("selectableFields"),
        }
    }
}

/// An error that shows a value as Go prints it.
fn wrong(field: &str, value: String, why: &str) -> FieldError {
    FieldError { problem: Problem::Invalid, field: field.to_owned(), value, detail: why.to_owned() }
}

/// A member of a version; nothing where it is empty.
fn said<'a>(version: &'a Value, member: &str) -> &'a Value {
    let value = &version[member];
    if value.as_array().is_some_and(<[_]>::is_empty) { &Value::Null } else { value }
}

fn schema(version: &Value) -> Option<&Value> {
    version.pointer("/schema/openAPIV3Schema").filter(|schema| schema.is_object())
}

/// The schema a definition has for a version.
fn schema_before<'a>(old: Option<&'a Value>, version: &Value) -> Option<&'a Value> {
    let versions = items(&old?["spec"], "versions");
    schema(versions.iter().find(|before| before["name"] == version["name"])?)
}

/// Errors of the versions, each by itself and together.
pub(super) fn validate(spec: &Value, old: Option<&Value>, hoisted: &Hoisted, errors: &mut Vec<FieldError>) {
    let versions = items(spec, "versions");
    for (i, _) in versions.iter().enumerate().filter(|(_, version)| schema(version).is_none()) {
        errors.push(FieldError::required(format!("spec.versions[{i}].schema.openAPIV3Schema"), ""));
    }
    for (i, version) in versions.iter().enumerate() {
        let path = format!("spec.versions[{i}]");
        let name = text(version, "name");
        let problems = label(name).into_iter();
        errors.extend(problems.map(|why| FieldError::invalid(format!("{path}.name"), &name.into(), why)));
        validate_deprecation(version, &path, errors);
        if let Some(schema) = schema(version).filter(|_| !hoisted.schema) {
            let before = schema_before(old, version);
            validate_schema(schema, before, has_status(version), &format!("{path}.schema"), errors);
        }
        if !hoisted.subresources {
            members::validate_subresources(version, &path, errors);
        }
        if !hoisted.columns {
            members::validate_columns(version, &path, errors);
        }
        if !hoisted.fields && said(version, "selectableFields").is_array() {
            let own = schema(version).filter(|_| !hoisted.schema);
            let why = "may only be set when `version.schema.openAPIV3Schema` is not included";
            members::validate_selectable_fields(version, own, why, &path, errors);
        }
    }
    let shown = || internal::versions(spec.get("versions").unwrap_or(&Value::Null), hoisted);
    let names: Vec<&str> = versions.iter().map(|version| text(version, "name")).collect();
    if names.iter().enumerate().any(|(i, name)| names[..i].contains(name)) {
        errors.push(wrong("spec.versions", shown(), "must contain unique version names"));
    }
    if versions.iter().filter(|version| version["storage"] == json!(true)).count() != 1 {
        let why = "must have exactly one version marked as storage version";
        errors.push(wrong("spec.versions", shown(), why));
    }
    // The first version is upstream's `spec.version` of old.
    if let Some(name) = names.first().filter(|name| !name.is_empty()) {
        let problems = label(name).into_iter();
        errors.extend(problems.map(|why| FieldError::invalid("spec.version", &(*name).into(), why)));
    }
}

/// Errors of what all versions say alike.
pub(super) fn validate_hoisted(
    spec: &Value,
    old: Option<&Value>,
    hoisted: &Hoisted,
    errors: &mut Vec<FieldError>,
) {
    let Some(version) = items(spec, "versions").first() else { return };
    if let Some(schema) = schema(version).filter(|_| hoisted.schema) {
        let status = hoisted.subresources && has_status(version);
        validate_schema(schema, schema_before(old, version), status, "spec.validation", errors);
    }
    if hoisted.subresources {
        members::validate_subresources(version, "spec", errors);
    }
    if hoisted.columns {
        members::validate_columns(version, "spec", errors);
    }
    if hoisted.fields && said(version, "selectableFields").is_array() {
        let own = schema(version).filter(|_| hoisted.schema);
        let why = "may only be set when validations.schema is included";
        members::validate_selectable_fields(version, own, why, "spec", errors);
    }
}

fn has_status(version: &Value) -> bool {
    has(&version["subresources"], "status")
}

/// Errors of a warning that clients are told.
fn validate_deprecation(version: &Value, path: &str, errors: &mut Vec<FieldError>) {
    const BYTES_MAX: usize = 256;
    let Some(warning) = version.get("deprecationWarning").and_then(Value::as_str) else { return };
    let mut wrong = |why: String| {
        errors.push(self::wrong(&format!("{path}.deprecationWarning"), json!(warning).to_string(), &why));
    };
    if version["deprecated"] != json!(true) {
        return wrong("can only be set for deprecated versions".to_owned());
    }
    if warning.len() > BYTES_MAX {
        wrong(format!("must be <= {BYTES_MAX} characters long"));
    }
    if warning.is_empty() {
        wrong("must not be an empty string".to_owned());
    }
    if let Some((at, _)) = warning.char_indices().find(|(_, c)| !is_printable(*c)) {
        wrong(format!(
            "must only contain printable UTF-8 characters; non-printable character found at index {at}"
        ));
    }
}

/// As Go has it: of white space only the space.
fn is_printable(c: char) -> bool {
    match c {
        ' ' | '"' | '\'' | '\\' => true,
        _ if c.is_whitespace() => false,
        // What follows a letter may be a mark, which is printed on it.
        _ => format!("a{c}").escape_debug().count() == 2,
    }
}

/// What may stand at the root of a schema whose status is written by itself, as the internal type names it.
const ALLOWED_WITH_STATUS: &[&str] = &[
    "Description",
    "Type",
    "Format",
    "Title",
    "Maximum",
    "ExclusiveMaximum",
    "Minimum",
    "ExclusiveMinimum",
    "MaxLength",
    "MinLength",
    "Pattern",
    "MaxItems",
    "MinItems",
    "UniqueItems",
    "MultipleOf",
    "Required",
    "Items",
    "Properties",
    "ExternalDocs",
    "Example",
    "XPreserveUnknownFields",
    "XValidations",
];

/// The structure of a schema, and its validation rules. Rules of a schema that is wrong are not compiled.
fn validate_schema(
    schema: &Value,
    before: Option<&Value>,
    status: bool,
    path: &str,
    errors: &mut Vec<FieldError>,
) {
    let path = format!("{path}.openAPIV3Schema");
    if status {
        for name in internal::set_members(schema) {
            if name == "Type" && text(schema, "type") != "object" {
                let why = "only \"object\" is allowed as the type at the root of the schema if the status subresource is enabled";
                errors.push(FieldError::invalid(format!("{path}.type"), &schema["type"], why));
                break;
            }
            if !ALLOWED_WITH_STATUS.contains(&name) {
                let allowed = ALLOWED_WITH_STATUS.join(" ");
                let why = format!(
                    "only [{allowed}] fields are allowed at the root of the schema if the status subresource is enabled"
                );
                errors.push(wrong(&path, internal::schema(schema), &why));
                break;
            }
        }
    }
    if schema["nullable"] == json!(true) {
        errors.push(FieldError::forbidden(format!("{path}.nullable"), "nullable cannot be true at the root"));
    }
    let found = apiserver_schema::structure(schema, &path);
    let mut is_structural = found.is_structural();
    errors.extend(found.structural);
    if is_structural && before != Some(schema) {
        let of_defaults = super::defaults::validate(schema, &path);
        is_structural = of_defaults.is_empty();
        // That of the metadata as a whole is among the faults, too.
        let is_new = |error: &FieldError| {
            !found.faults.iter().any(|told| (&told.field, &told.detail) == (&error.field, &error.detail))
        };
        let of_defaults: Vec<FieldError> = of_defaults.into_iter().filter(is_new).collect();
        errors.extend(of_defaults);
    }
    let faults = found.faults;
    let places: Vec<&str> = faults.iter().map(|fault| fault.field.as_str()).collect();
    let told = apiserver_cel::schema_errors(
        schema,
        &path,
        is_structural.then_some(&*places),
        before == Some(schema),
    );
    errors.extend(faults);
    errors.extend(told.shape.into_iter().chain(told.expressions).chain(told.cost));
    if errors.is_empty() {
        errors.extend(found.unsupported);
    }
}

/// Formats that are known of values of any type and of those of one type.
const FORMATS: &[&str] = &[
    "bsonobjectid",
    "uri",
    "email",
    "hostname",
    "ipv4",
    "ipv6",
    "cidr",
    "mac",
    "uuid",
    "uuid3",
    "uuid4",
    "uuid5",
    "isbn",
    "isbn10",
    "isbn13",
    "creditcard",
    "ssn",
    "hexcolor",
    "rgbcolor",
    "byte",
    "password",
    "date",
    "duration",
    "datetime",
    "date-time",
    "k8s-short-name",
    "k8s-long-name",
];

/// Warnings of formats that nobody checks.
pub(super) fn warnings(definition: &Value) -> Vec<String> {
    let mut found = Vec::new();
    for version in items(&definition["spec"], "versions") {
        unknown_formats(&version["schema"]["openAPIV3Schema"], &mut found);
    }
    found
}

fn unknown_formats(schema: &Value, found: &mut Vec<String>) {
    if !schema.is_object() {
        return;
    }
    let format = text(schema, "format");
    let is_known = match text(schema, "type") {
        "integer" => ["int32", "int64"].contains(&format),
        "number" => ["float", "double"].contains(&format),
        "string" => FORMATS.contains(&format),
        _ => false,
    };
    let warning = format!("unrecognized format {format:?}");
    if !format.is_empty() && !is_known && !found.contains(&warning) {
        found.push(warning);
    }
    for property in schema["properties"].as_object().into_iter().flat_map(|map| map.values()) {
        unknown_formats(property, found);
    }
    for member in ["items", "additionalProperties", "not"] {
        unknown_formats(&schema[member], found);
    }
    for member in ["allOf", "anyOf", "oneOf"] {
        items(schema, member).iter().for_each(|schema| unknown_formats(schema, found));
    }
}
