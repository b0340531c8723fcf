//! What a custom resource definition must be: `apiextensions-apiserver/pkg/apis/apiextensions/validation`.

use apiserver_meta::field::FieldError;
use apiserver_meta::names;
use serde_json::{Value, json};

use crate::object;

fn text<'a>(value: &'a Value, path: &str) -> &'a str {
    value.pointer(path).and_then(Value::as_str).unwrap_or("")
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
    validate_versions(definition, &mut errors);
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
    if let Some(old) = old {
        validate_change(definition, old, &mut errors);
    }
    errors
}

fn validate_versions(definition: &Value, errors: &mut Vec<FieldError>) {
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
            Some(schema) if versions.len() == 1 => {
                errors.extend(apiserver_schema::structural_errors(schema, "spec.validation.openAPIV3Schema"))
            }
            Some(schema) => errors.extend(apiserver_schema::structural_errors(
                schema,
                &format!("{path}.schema.openAPIV3Schema"),
            )),
        }
    }
    for (i, version) in versions.iter().enumerate() {
        let path = if versions.len() == 1 { "spec".to_owned() } else { format!("spec.versions[{i}]") };
        validate_columns(version, &path, errors);
        validate_subresources(version, &path, errors);
    }
    let storing = versions.iter().filter(|version| version["storage"] == json!(true)).count();
    if storing != 1 {
        errors.push(FieldError::invalid(
            "spec.versions",
            &json!(versions),
            "must have exactly one version marked as storage version",
        ));
    }
    let conversion = text(definition, "/spec/conversion/strategy");
    if !conversion.is_empty() && !["None", "Webhook"].contains(&conversion) {
        errors.push(FieldError::not_supported(
            "spec.conversion.strategy",
            &conversion.into(),
            &["None", "Webhook"],
        ));
    }
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
    for (member, root, required) in [
        ("specReplicasPath", ".spec", true),
        ("statusReplicasPath", ".status", true),
        ("labelSelectorPath", "", false),
    ] {
        let value = text(scale, &format!("/{member}"));
        let place = format!("{path}.{member}");
        if value.is_empty() {
            if required {
                errors.push(FieldError::required(place, ""));
            }
        } else if !root.is_empty() && !value.starts_with(&format!("{root}.")) {
            errors.push(FieldError::invalid(
                place,
                &value.into(),
                format!("should be a json path under {root}"),
            ));
        }
    }
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
