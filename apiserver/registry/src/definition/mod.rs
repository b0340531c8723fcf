//! What a custom resource definition must be: `apiextensions-apiserver/pkg/apis/apiextensions/validation`.

pub(crate) mod conversion;

use apiserver_meta::field::FieldError;
use apiserver_meta::names;
use serde_json::{Value, json};

use crate::object;

fn text<'a>(value: &'a Value, path: &str) -> &'a str {
    value.pointer(path).and_then(Value::as_str).unwrap_or("")
}

/// A label as upstream's older copy of the rule has it: its length is one of characters.
fn label(value: &str) -> Vec<String> {
    names::dns1035_label(value).into_iter().map(|why| why.replace(" bytes", " characters")).collect()
}

/// Errors of a definition.
pub(crate) fn validate(definition: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let (group, plural) = (text(definition, "/spec/group"), text(definition, "/spec/names/plural"));
    let wanted = format!("{plural}.{group}");
    let name = object::name(definition);
    if name != wanted {
        errors.push(FieldError::invalid(
            "metadata.name",
            &name.into(),
            "must be spec.names.plural+\".\"+spec.group",
        ));
    }
    if group.is_empty() {
        errors.push(FieldError::required("spec.group", ""));
    } else {
        errors.extend(
            names::dns1123_subdomain(group)
                .into_iter()
                .map(|problem| FieldError::invalid("spec.group", &group.into(), problem)),
        );
        if !group.contains('.') {
            errors.push(FieldError::invalid(
                "spec.group",
                &group.into(),
                "should be a domain with at least one dot",
            ));
        }
    }
    let scope = text(definition, "/spec/scope");
    if scope.is_empty() {
        errors.push(FieldError::required("spec.scope", ""));
    }
    if !["Cluster", "Namespaced"].contains(&scope) {
        errors.push(FieldError::not_supported("spec.scope", &scope.into(), &["Cluster", "Namespaced"]));
    }
    validate_versions(definition, old, &mut errors);
    for (member, rule) in
        [("plural", names::dns1035_label as fn(&str) -> Vec<String>), ("singular", names::dns1035_label)]
    {
        let value = text(definition, &format!("/spec/names/{member}"));
        if value.is_empty() && member == "plural" {
            errors.push(FieldError::required(format!("spec.names.{member}"), ""));
        } else if !value.is_empty() {
            errors.extend(
                rule(value).into_iter().map(|problem| {
                    FieldError::invalid(format!("spec.names.{member}"), &value.into(), problem)
                }),
            );
        }
    }
    for member in ["kind", "listKind"] {
        let value = text(definition, &format!("/spec/names/{member}"));
        if value.is_empty() {
            errors.push(FieldError::required(format!("spec.names.{member}"), ""));
        } else {
            errors.extend(names::dns1035_label(&value.to_lowercase()).into_iter().map(|problem| {
                FieldError::invalid(
                    format!("spec.names.{member}"),
                    &value.into(),
                    format!("may have mixed case, but should otherwise match: {problem}"),
                )
            }));
        }
    }
    let (kind, list_kind) = (text(definition, "/spec/names/kind"), text(definition, "/spec/names/listKind"));
    if !kind.is_empty() && kind == list_kind {
        errors.push(FieldError::invalid(
            "spec.names.listKind",
            &list_kind.into(),
            "kind and listKind may not be the same",
        ));
    }
    conversion::validate(definition, old, &mut errors);
    if let Some(old) = old {
        validate_change(definition, old, &mut errors);
    }
    errors
}

fn validate_versions(definition: &Value, old: Option<&Value>, errors: &mut Vec<FieldError>) {
    let empty = Vec::new();
    let versions = definition.pointer("/spec/versions").and_then(Value::as_array).unwrap_or(&empty);
    let mut seen: Vec<&str> = Vec::new();
    for (i, version) in versions.iter().enumerate() {
        let path = format!("spec.versions[{i}]");
        let name = text(version, "/name");
        if seen.contains(&name) {
            errors.push(FieldError::invalid(format!("{path}.name"), &name.into(), "must be unique"));
        }
        seen.push(name);
        errors.extend(
            names::dns1035_label(name)
                .into_iter()
                .map(|problem| FieldError::invalid(format!("{path}.name"), &name.into(), problem)),
        );
        match version.pointer("/schema/openAPIV3Schema") {
            None => errors
                .push(FieldError::required(format!("{path}.schema.openAPIV3Schema"), "schemas are required")),
            // The schema of an only version stands in `spec.validation` where upstream validates.
            Some(schema) => {
                let place = if versions.len() == 1 { "spec.validation" } else { &format!("{path}.schema") };
                let before = old.and_then(|old| schema_of(old, name));
                validate_schema(schema, before, &format!("{place}.openAPIV3Schema"), errors);
            }
        }
    }
    for (i, version) in versions.iter().enumerate() {
        let path = if versions.len() == 1 { "spec".to_owned() } else { format!("spec.versions[{i}]") };
        validate_columns(version, &path, errors);
        validate_subresources(version, &path, errors);
        validate_selectable_fields(version, &path, errors);
    }
    let storing = versions.iter().filter(|version| version["storage"] == json!(true)).count();
    if storing != 1 {
        errors.push(FieldError::invalid(
            "spec.versions",
            &json!(versions),
            "must have exactly one version marked as storage version",
        ));
    }
}

/// The schema a definition has for a version.
fn schema_of<'a>(definition: &'a Value, name: &str) -> Option<&'a Value> {
    let versions = definition.pointer("/spec/versions").and_then(Value::as_array)?;
    versions.iter().find(|version| text(version, "/name") == name)?.pointer("/schema/openAPIV3Schema")
}

/// The structure of a schema, and its validation rules. Rules of a schema that is wrong are not compiled.
fn validate_schema(schema: &Value, before: Option<&Value>, path: &str, errors: &mut Vec<FieldError>) {
    let structure = apiserver_schema::structural_errors(schema, path);
    let found = apiserver_cel::schema_errors(schema, path, structure.is_empty(), before == Some(schema));
    errors.extend(structure);
    errors.extend(found.shape.into_iter().chain(found.expressions).chain(found.cost));
}

fn validate_columns(version: &Value, path: &str, errors: &mut Vec<FieldError>) {
    for (i, column) in version
        .pointer("/additionalPrinterColumns")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .enumerate()
    {
        let path = format!("{path}.additionalPrinterColumns[{i}]");
        for member in ["name", "type"] {
            if text(column, &format!("/{member}")).is_empty() {
                errors.push(FieldError::required(format!("{path}.{member}"), ""));
            }
        }
        let kind = text(column, "/type");
        if !kind.is_empty() && !["boolean", "date", "integer", "number", "string"].contains(&kind) {
            errors.push(FieldError::invalid(
                format!("{path}.type"),
                &kind.into(),
                "must be one of boolean,date,integer,number,string",
            ));
        }
        let format = text(column, "/format");
        let known = ["byte", "date", "date-time", "double", "float", "int32", "int64", "password"];
        if !format.is_empty() && !known.contains(&format) {
            errors.push(FieldError::invalid(
                format!("{path}.format"),
                &format.into(),
                format!("must be one of {}", known.join(",")),
            ));
        }
        let json_path = text(column, "/jsonPath");
        if json_path.is_empty() {
            errors.push(FieldError::required(format!("{path}.JSONPath"), ""));
        } else if !json_path.starts_with('.') {
            errors.push(FieldError::invalid(
                format!("{path}.JSONPath"),
                &json_path.into(),
                "must be a simple json path starting with .",
            ));
        }
    }
}

fn validate_subresources(version: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let Some(scale) = version.pointer("/subresources/scale") else { return };
    let path = format!("{path}.subresources.scale");
    let members: [(&str, &[&str], bool); 3] = [
        ("specReplicasPath", &[".spec"], true),
        ("statusReplicasPath", &[".status"], true),
        ("labelSelectorPath", &[".spec", ".status"], false),
    ];
    for (member, roots, required) in members {
        let value = text(scale, &format!("/{member}"));
        let place = format!("{path}.{member}");
        if value.is_empty() {
            if required {
                errors.push(FieldError::required(place, ""));
            }
        } else if !value.starts_with('.') {
            errors.push(FieldError::invalid(
                place,
                &value.into(),
                "must be a simple json path starting with .",
            ));
        } else if !roots.iter().any(|root| value.strip_prefix(root).is_some_and(|rest| rest.starts_with('.')))
        {
            let under = match roots {
                [one] => (*one).to_owned(),
                several => format!("either {}", several.join(" or ")),
            };
            errors.push(FieldError::invalid(
                place,
                &value.into(),
                format!("should be a json path under {under}"),
            ));
        }
    }
}

/// Fields of custom resources that field selectors may name: scalars of the schema, each once, at most eight.
fn validate_selectable_fields(version: &Value, path: &str, errors: &mut Vec<FieldError>) {
    const SELECTABLE_FIELDS_MAX: usize = 8;
    let fields = version.pointer("/selectableFields").and_then(Value::as_array);
    let Some(fields) = fields.filter(|fields| !fields.is_empty()) else { return };
    let path = format!("{path}.selectableFields");
    let Some(schema) = version.pointer("/schema/openAPIV3Schema") else {
        let why = "may only be set when `version.schema.openAPIV3Schema` is not included";
        errors.push(FieldError::invalid(path, &"".into(), why));
        return;
    };
    let mut seen: Vec<&str> = Vec::new();
    for (i, field) in fields.iter().enumerate() {
        let json_path = text(field, "/jsonPath");
        let place = format!("{path}[{i}].jsonPath");
        if json_path.is_empty() {
            errors.push(FieldError::required(place, ""));
            continue;
        }
        let found = match field_schema(schema, json_path) {
            Ok(found) => found,
            Err(why) => {
                errors.push(FieldError::invalid(
                    place,
                    &json_path.into(),
                    format!("is an invalid path: {why}"),
                ));
                continue;
            }
        };
        if json_path.starts_with(".metadata.") || json_path == ".metadata" {
            errors.push(FieldError::invalid(
                &*place,
                &json_path.into(),
                "must not point to fields in metadata",
            ));
        }
        if !["string", "boolean", "integer"].contains(&text(found, "/type")) {
            let why = "must point to a field of type string, boolean or integer. Enum string fields and strings with formats are allowed.";
            errors.push(FieldError::invalid(&*place, &json_path.into(), why));
        }
        if seen.contains(&json_path) {
            errors.push(FieldError::duplicate(place, &json_path.into()));
        } else {
            seen.push(json_path);
        }
    }
    if seen.len() > SELECTABLE_FIELDS_MAX {
        errors.push(FieldError::too_many(path, seen.len(), SELECTABLE_FIELDS_MAX));
    }
}

/// The schema that a path such as `.spec.color` refers to; the error is upstream's `cel.ValidFieldPath`.
fn field_schema<'a>(schema: &'a Value, json_path: &str) -> Result<&'a Value, String> {
    if json_path.contains('[') {
        return Err("array notation is not allowed".to_owned());
    }
    let Some(names) = json_path.strip_prefix('.') else {
        let first = json_path.split('.').next().unwrap_or(json_path);
        return Err(format!("expected [ or . but got: {first}"));
    };
    if names.is_empty() {
        return Err("unexpected end of JSON path".to_owned());
    }
    names.split('.').try_fold(schema, |node, name| {
        let missing = || "does not refer to a valid field".to_owned();
        match node.get("properties") {
            Some(properties) => properties.get(name).ok_or_else(missing),
            None => node.get("additionalProperties").ok_or_else(missing),
        }
    })
}

fn validate_change(definition: &Value, old: &Value, errors: &mut Vec<FieldError>) {
    if !crate::custom::has_condition(old, "Established") {
        return;
    }
    for (path, field) in [
        ("/spec/group", "spec.group"),
        ("/spec/names/plural", "spec.names.plural"),
        ("/spec/scope", "spec.scope"),
        ("/spec/names/kind", "spec.names.kind"),
    ] {
        if text(definition, path) != text(old, path) {
            errors.push(FieldError::invalid(field, &text(definition, path).into(), "field is immutable"));
        }
    }
    let empty = Vec::new();
    let stored = definition.pointer("/status/storedVersions").and_then(Value::as_array).unwrap_or(&empty);
    for (i, version) in stored.iter().enumerate() {
        let versions = definition.pointer("/spec/versions").and_then(Value::as_array).unwrap_or(&empty);
        if !versions.iter().any(|known| known["name"] == *version) {
            errors.push(FieldError::invalid(
                format!("status.storedVersions[{i}]"),
                version,
                "missing from spec.versions; v1 was previously a storage version, and must remain in spec.versions until a storage migration ensures no data remains persisted in v1 and removes v1 from status.storedVersions"
                    .replace("v1", version.as_str().unwrap_or("")),
            ));
        }
    }
}
