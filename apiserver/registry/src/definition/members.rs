//! Columns, subresources and selectable fields of a version, or of all of them.

use apiserver_json::Value;
use apiserver_meta::field::FieldError;

fn text<'a>(value: &'a Value, path: &str) -> &'a str {
    value.pointer(path).and_then(Value::as_str).unwrap_or("")
}

pub(super) fn validate_columns(version: &Value, path: &str, errors: &mut Vec<FieldError>) {
    for (i, column) in version
        .pointer("/additionalPrinterColumns")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .enumerate()
    {
        let path = format!("{path}.additionalPrinterColumns[{i}]");
        const TYPES: &str = "must be one of boolean,date,integer,number,string";
        for member in ["name", "type"] {
            if text(column, &format!("/{member}")).is_empty() {
                let why = if member == "type" { TYPES } else { "" };
                errors.push(FieldError::required(format!("{path}.{member}"), why));
            }
        }
        let kind = text(column, "/type");
        if !kind.is_empty() && !["boolean", "date", "integer", "number", "string"].contains(&kind) {
            errors.push(FieldError::invalid(format!("{path}.type"), &kind.into(), TYPES));
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

pub(super) fn validate_subresources(version: &Value, path: &str, errors: &mut Vec<FieldError>) {
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
/// `why` is said where there is no schema.
pub(super) fn validate_selectable_fields(
    version: &Value,
    schema: Option<&Value>,
    why: &str,
    path: &str,
    errors: &mut Vec<FieldError>,
) {
    const SELECTABLE_FIELDS_MAX: usize = 8;
    let fields = version.pointer("/selectableFields").and_then(Value::as_array);
    let Some(fields) = fields.filter(|fields| !fields.is_empty()) else { return };
    let path = format!("{path}.selectableFields");
    let Some(schema) = schema else {
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
    let (mut rest, mut node) = (json_path, schema);
    while !rest.is_empty() {
        let end = |text: &str| text.find(['.', '[', ']']).unwrap_or(text.len());
        if rest.starts_with('[') {
            return Err("array notation is not allowed".to_owned());
        }
        let Some(names) = rest.strip_prefix('.') else {
            let token = &rest[..end(rest).max(1)];
            return Err(format!("expected [ or . but got: {token}"));
        };
        if names.is_empty() {
            return Err("unexpected end of JSON path".to_owned());
        }
        let (name, after) = names.split_at(end(names));
        let missing = || "does not refer to a valid field".to_owned();
        node = match node.get("properties") {
            Some(properties) => properties.get(name).ok_or_else(missing)?,
            None => node.get("additionalProperties").ok_or_else(missing)?,
        };
        rest = after;
    }
    Ok(node)
}
