//! Tables and partial metadata.

use apiserver_json::{Value, json};
use apiserver_meta::Status;
use apiserver_registry::{Resource, columns, from_stored, unfolded};
use bytes::{BufMut, BytesMut};

/// What a row carries beside its cells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Include {
    #[default]
    Metadata,
    Object,
    None,
}

impl Include {
    /// Reads `includeObject`.
    ///
    /// # Errors
    /// 400.
    pub(crate) fn parse(text: &str) -> Result<Self, Status> {
        match text {
            "" | "Metadata" => Ok(Self::Metadata),
            "Object" => Ok(Self::Object),
            "None" => Ok(Self::None),
            other => Err(Status::bad_request(format!(
                "Unable to convert to Table as requested: includeObject: Invalid value: {other:?}: must be 'Metadata', 'Object', 'None', or empty"
            ))),
        }
    }
}

/// An object's metadata alone.
pub(crate) fn partial(object: &Value) -> Value {
    let mut metadata = unfolded(object).get("metadata").cloned().unwrap_or_else(|| json!({}));
    if object.get("kind").and_then(Value::as_str) == Some("DaemonSet") {
        forget_template_generation(&mut metadata);
    }
    partial_of(metadata)
}

/// Upstream keeps this one annotation in the spec of its internal type, which metadata alone does not show.
fn forget_template_generation(metadata: &mut Value) {
    let Some(map) = metadata.as_object_mut() else { return };
    let Some(annotations) = map.get_mut("annotations").and_then(Value::as_object_mut) else { return };
    annotations.remove("deprecated.daemonset.template.generation");
    if annotations.is_empty() {
        map.remove("annotations");
    }
}

/// The same from the metadata.
pub(crate) fn partial_of(metadata: Value) -> Value {
    json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": metadata})
}

/// The same as JSON, from that of the metadata.
pub(crate) fn put_partial(out: &mut BytesMut, metadata: &[u8]) {
    out.put_slice(b"{\"kind\":\"PartialObjectMetadata\",\"apiVersion\":\"meta.k8s.io/v1\",\"metadata\":");
    out.put_slice(metadata);
    out.put_u8(b'}');
}

/// Of tables and metadata, what is told in `meta.k8s.io/v1beta1`, which differs by its name alone.
pub(crate) fn beta(value: &Value) -> Value {
    let mut value = value.clone();
    let is_list = value.get("kind").is_some_and(|kind| kind == "PartialObjectMetadataList");
    if let Some(rows) = value.get_mut("rows").and_then(Value::as_array_mut) {
        rows.iter_mut().filter_map(|row| row.get_mut("object")).for_each(set_beta);
    }
    if let Some(items) = value.get_mut("items").and_then(Value::as_array_mut).filter(|_| is_list) {
        items.iter_mut().for_each(set_beta);
    }
    set_beta(&mut value);
    value
}

fn set_beta(value: &mut Value) {
    if value.get("apiVersion").is_some_and(|version| version == "meta.k8s.io/v1") {
        value["apiVersion"] = "meta.k8s.io/v1beta1".into();
    }
}

/// One row, of an object as it is stored: columns of built-in kinds show what all their versions have in common.
pub(crate) fn row(resource: &Resource, stored: Value, include: Include) -> Value {
    let printed = if resource.is_custom() { from_stored(resource, stored) } else { stored };
    let cells = columns::cells(resource, &printed, jiff::Timestamp::now().as_second());
    let conditions = finished(resource, &printed);
    let mut row = with_object(json!({"cells": cells}), &from_stored(resource, printed), include);
    if let Some(conditions) = conditions {
        row["conditions"] = conditions;
    }
    row
}

/// A row with what it carries of its object.
pub(crate) fn with_object(mut row: Value, object: &Value, include: Include) -> Value {
    row["object"] = match include {
        Include::Metadata => partial(object),
        Include::Object => object.clone(),
        Include::None => Value::Null,
    };
    row
}

/// Rows of Pods and Jobs that ended say so, and kubectl's `--watch` hides them.
fn finished(resource: &Resource, object: &Value) -> Option<Value> {
    let completed = |reason: &str, message: &str| json!([{"type": "Completed", "status": "True", "reason": reason, "message": message}]);
    if resource.kind != "Pod" {
        return None;
    }
    match object.pointer("/status/phase").and_then(Value::as_str) {
        Some("Succeeded") => Some(completed("Succeeded", "The pod has completed successfully.")),
        Some("Failed") => Some(completed("Failed", "The pod failed.")),
        _ => None,
    }
}

/// A list of metadata; one that nothing was put into has no items in Go.
pub(crate) fn partial_list(items: Vec<Value>, metadata: &Value) -> Value {
    let items = if items.is_empty() { Value::Null } else { items.into() };
    json!({"kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1", "metadata": metadata, "items": items})
}

/// A Table; later ones of a watch leave the columns out.
pub(crate) fn table(resource: &Resource, rows: Vec<Value>, revision: &str, with_columns: bool) -> Value {
    let describe = |column: &apiserver_registry::Column| -> String {
        if column.description.is_empty() {
            describe_column(resource, &column.name)
        } else {
            column.description.clone()
        }
    };
    let columns: Vec<Value> = resource
        .columns
        .iter()
        .map(|column| json!({"name": column.name, "type": column.kind, "format": column.format, "description": describe(column), "priority": column.priority}))
        .collect();
    // Of kinds without a printer of their own Go prints no rows as none at all.
    let is_nil = rows.is_empty()
        && !resource.is_custom()
        && resource.columns.get(1).is_some_and(|column| column.name == "Created At");
    // What is in no store has no version.
    let metadata = if revision.is_empty() { json!({}) } else { json!({"resourceVersion": revision}) };
    json!({
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": metadata,
        "columnDefinitions": if with_columns { columns.into() } else { Value::Null },
        "rows": if is_nil { Value::Null } else { rows.into() },
    })
}

/// What a column says of itself: the API's own words of the field behind it.
fn describe_column(resource: &Resource, column: &str) -> String {
    match describe_metadata(column) {
        "" => crate::column_texts::of(&resource.kind, column).to_owned(),
        text => text.to_owned(),
    }
}

/// The same of the columns that show metadata; empty of others.
pub(crate) fn describe_metadata(column: &str) -> &'static str {
    static TEXTS: std::sync::OnceLock<[String; 2]> = std::sync::OnceLock::new();
    let texts = TEXTS.get_or_init(|| {
        const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";
        let found = apiserver_schema::field_descriptions(&[(META, "name"), (META, "creationTimestamp")]);
        let mut found = found.into_iter().map(Option::unwrap_or_default);
        [found.next().unwrap_or_default(), found.next().unwrap_or_default()]
    });
    match column {
        "Name" => &texts[0],
        "Age" | "Created At" => &texts[1],
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_in_beta_is_renamed_and_nothing_else() {
        let partial =
            |version: &str| json!({"kind": "PartialObjectMetadata", "apiVersion": version, "metadata": {}});
        let (v1, beta1) = ("meta.k8s.io/v1", "meta.k8s.io/v1beta1");
        let table = |version: &str| json!({"kind": "Table", "apiVersion": version, "rows": [{"object": partial(version)}]});
        let list = |version: &str| json!({"kind": "PartialObjectMetadataList", "apiVersion": version, "items": [partial(version)]});
        let status = json!({"kind": "Status", "apiVersion": "v1"});
        for (given, want) in [
            (partial(v1), partial(beta1)),
            (table(v1), table(beta1)),
            (list(v1), list(beta1)),
            (status.clone(), status),
        ] {
            assert_eq!(beta(&given), want);
        }
    }
}
