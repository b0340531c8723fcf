//! Custom resource definitions: the rows they add to the catalogue, and the rules of their objects.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use apiserver_cel::Rules;
use apiserver_json::{Value, json};
use apiserver_meta::field::{FieldError, Problem};
use apiserver_schema::Schema;

use crate::catalogue::{Column, Resource, Subresource};
use crate::columns::JsonPath;
use crate::conversion::Conversion;
use crate::strategy;
use crate::{embedded, object, scale};

/// What one version of a definition says, beside its names.
#[derive(Debug)]
pub struct CustomVersion {
    pub definition: String,
    pub schema: Arc<Schema>,
    /// The schemas of all versions, by `apiVersion`.
    pub versions: Arc<BTreeMap<String, Arc<Schema>>>,
    /// Revision the definition is at: nothing of its objects is known from before.
    pub since: u64,
    /// The definition's uid and generation: who watches its objects does so as long as these stay.
    pub edition: (String, i64),
    /// The schema as the definition writes it, for OpenAPI.
    pub published: Value,
    pub has_status: bool,
    pub scale: Option<ScalePaths>,
    /// Paths a field selector may name, without the leading dot.
    pub selectable_fields: Vec<String>,
    /// JSON paths of the columns after the name.
    pub column_paths: Vec<JsonPath>,
    /// Text of the `Warning` header of a deprecated version.
    pub deprecation: Option<String>,
    /// Its objects are going, and no new one may come.
    pub terminating: bool,
    /// The webhook that converts between the versions.
    pub conversion: Option<Arc<Conversion>>,
    /// `x-kubernetes-validations`, compiled when the first object asks for them.
    rules: OnceLock<Option<Rules>>,
}

impl CustomVersion {
    fn rules(&self) -> Option<&Rules> {
        self.rules.get_or_init(|| Rules::compile(&self.published)).as_ref()
    }
}

/// Where a custom resource keeps what `scale` shows.
#[derive(Clone, Debug)]
pub struct ScalePaths {
    pub spec_replicas: String,
    pub status_replicas: String,
    pub label_selector: Option<String>,
}

const ALL_VERBS: &[&str] =
    &["delete", "deletecollection", "get", "list", "patch", "create", "update", "watch"];

/// Rows of the served versions of an established definition.
pub fn rows(definition: &Value) -> Vec<Arc<Resource>> {
    if !has_condition(definition, "Established")
        || object::is_deleting(definition) && !has_finalizer(definition)
    {
        return Vec::new();
    }
    let spec = &definition["spec"];
    let stored = versions(definition)
        .find(|version| version["storage"] == json!(true))
        .map_or("", |version| text(version, "name"));
    let schemas = Arc::new(schemas(definition));
    let conversion = Conversion::of(spec, &schemas).map(Arc::new);
    let served = versions(definition).filter(|version| version["served"] == json!(true));
    served
        .filter_map(|version| {
            // One whose schema cannot be read is not served.
            schemas.get(&format!("{}/{}", text(spec, "group"), text(version, "name")))?;
            Some(Arc::new(row(definition, version, stored, &schemas, conversion.as_ref())))
        })
        .collect()
}

/// The row of the version that a definition's objects are stored in, served or not; `None` where it never had objects.
pub fn stored_row(definition: &Value) -> Option<Resource> {
    if !has_condition(definition, "Established") {
        return None;
    }
    let version = versions(definition).find(|version| version["storage"] == json!(true))?;
    let schemas = Arc::new(schemas(definition));
    let conversion = Conversion::of(&definition["spec"], &schemas).map(Arc::new);
    Some(row(definition, version, text(version, "name"), &schemas, conversion.as_ref()))
}

/// The schemas of a definition's versions, served or not, by `apiVersion`.
fn schemas(definition: &Value) -> BTreeMap<String, Arc<Schema>> {
    let read = |version: &Value| {
        let schema = match version.pointer("/schema/openAPIV3Schema") {
            Some(schema) => apiserver_schema::from_crd_schema(schema).ok()?,
            None => Schema::any(),
        };
        Some((format!("{}/{}", text(&definition["spec"], "group"), text(version, "name")), schema))
    };
    versions(definition).filter_map(read).collect()
}

fn has_finalizer(definition: &Value) -> bool {
    !object::finalizers(definition).is_empty()
}

pub(crate) fn has_condition(definition: &Value, kind: &str) -> bool {
    let conditions = definition.pointer("/status/conditions").and_then(Value::as_array);
    conditions
        .into_iter()
        .flatten()
        .any(|condition| condition["type"] == kind && condition["status"] == "True")
}

fn versions(definition: &Value) -> impl Iterator<Item = &Value> {
    definition.pointer("/spec/versions").and_then(Value::as_array).into_iter().flatten()
}

fn text<'a>(value: &'a Value, member: &str) -> &'a str {
    value.get(member).and_then(Value::as_str).unwrap_or("")
}

fn texts(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

fn row(
    definition: &Value,
    version: &Value,
    stored: &str,
    schemas: &Arc<BTreeMap<String, Arc<Schema>>>,
    conversion: Option<&Arc<Conversion>>,
) -> Resource {
    let spec = &definition["spec"];
    let (group, name) = (text(spec, "group").to_owned(), text(version, "name").to_owned());
    let names = definition
        .pointer("/status/acceptedNames")
        .filter(|names| !text(names, "plural").is_empty())
        .unwrap_or(&spec["names"]);
    let plural = text(names, "plural").to_owned();
    let kind = text(names, "kind").to_owned();
    let status = version.pointer("/subresources/status").is_some();
    let scale = version.pointer("/subresources/scale").map(|scale| ScalePaths {
        spec_replicas: text(scale, "specReplicasPath").to_owned(),
        status_replicas: text(scale, "statusReplicasPath").to_owned(),
        label_selector: Some(text(scale, "labelSelectorPath").to_owned()).filter(|path| !path.is_empty()),
    });
    let mut subresources = Vec::new();
    let subresource = |name: &str, kind: &str, group: &str, version: &str| Subresource {
        name: name.to_owned(),
        kind: kind.to_owned(),
        group: group.to_owned(),
        version: version.to_owned(),
        verbs: ["get", "patch", "update"].map(str::to_owned).to_vec(),
    };
    if status {
        subresources.push(subresource("status", &kind, "", ""));
    }
    if scale.is_some() {
        subresources.push(subresource("scale", "Scale", "autoscaling", "v1"));
    }
    let (columns, column_paths) = columns(version);
    let deprecation = (version["deprecated"] == json!(true)).then(|| {
        match version.get("deprecationWarning").and_then(Value::as_str) {
            Some(warning) => warning.to_owned(),
            None => {
                // The hint names the newest served version that is not deprecated.
                let mut better: Vec<&str> = versions(definition)
                    .filter(|other| other["served"] == json!(true) && other["deprecated"] != json!(true))
                    .map(|other| text(other, "name"))
                    .filter(|other| crate::catalogue::compare_versions(other, &name).is_lt())
                    .collect();
                better.sort_by(|a, b| crate::catalogue::compare_versions(a, b));
                match better.first() {
                    Some(other) => format!("{group}/{name} {kind} is deprecated; use {group}/{other} {kind}"),
                    None => format!("{group}/{name} {kind} is deprecated"),
                }
            }
        }
    });
    let selectable = version.get("selectableFields").and_then(Value::as_array).into_iter().flatten();
    Resource {
        prefix: format!("/registry/{group}/{plural}/"),
        stored_api_version: format!("{group}/{stored}"),
        custom: Some(Arc::new(CustomVersion {
            definition: object::name(definition).to_owned(),
            schema: schemas.get(&format!("{group}/{name}")).cloned().unwrap_or_else(Schema::any),
            versions: schemas.clone(),
            edition: (
                object::uid(definition).to_owned(),
                object::metadata(definition).get("generation").and_then(Value::as_i64).unwrap_or(0),
            ),
            since: object::text(definition, "resourceVersion").parse().unwrap_or(0),
            published: version.pointer("/schema/openAPIV3Schema").cloned().unwrap_or(Value::Null),
            has_status: status,
            scale,
            selectable_fields: selectable
                .map(|field| text(field, "jsonPath").trim_start_matches('.').to_owned())
                .collect(),
            column_paths,
            deprecation,
            terminating: has_condition(definition, "Terminating"),
            conversion: conversion.cloned(),
            rules: OnceLock::new(),
        })),
        schema: OnceLock::new(),
        list_kind: match text(names, "listKind") {
            "" => format!("{kind}List"),
            list_kind => list_kind.to_owned(),
        },
        singular: match text(names, "singular") {
            "" => kind.to_lowercase(),
            singular => singular.to_owned(),
        },
        namespaced: text(spec, "scope") == "Namespaced",
        verbs: ALL_VERBS.iter().map(|verb| (*verb).to_owned()).collect(),
        short_names: texts(&names["shortNames"]),
        categories: texts(&names["categories"]),
        subresources,
        columns,
        strategy: &strategy::CUSTOM,
        group,
        version: name,
        name: plural,
        kind,
    }
}

fn columns(version: &Value) -> (Vec<Column>, Vec<JsonPath>) {
    let column = |name: &str, kind: &str, format: &str, priority: i32, description: &str| Column {
        name: name.to_owned(),
        kind: kind.to_owned(),
        format: format.to_owned(),
        priority,
        description: description.to_owned(),
    };
    let mut columns = vec![column("Name", "string", "name", 0, "")];
    let mut paths = Vec::new();
    match version.get("additionalPrinterColumns").and_then(Value::as_array).filter(|list| !list.is_empty()) {
        Some(list) => {
            for entry in list {
                // Upstream gives up at the first path that is none.
                let Some(path) = JsonPath::parse(text(entry, "jsonPath")) else { break };
                let priority = entry.get("priority").and_then(Value::as_i64).unwrap_or(0) as i32;
                columns.push(column(
                    text(entry, "name"),
                    text(entry, "type"),
                    text(entry, "format"),
                    priority,
                    &description(entry),
                ));
                paths.push(path);
            }
        }
        None => {
            columns.push(column("Age", "date", "", 0, ""));
            paths.extend(JsonPath::parse(".metadata.creationTimestamp"));
        }
    }
    (columns, paths)
}

fn description(column: &Value) -> String {
    match text(column, "description") {
        "" => format!("Custom resource definition column (in JSONPath format): {}", text(column, "jsonPath")),
        text => text.to_owned(),
    }
}

/// Errors of a custom resource by its schema and its rules, after those that were found in its metadata, and warnings of
/// what stays wrong.
pub(crate) fn validate(
    resource: &Resource,
    value: &Value,
    old: Option<&Value>,
    subresource: &str,
    errors: &mut Vec<FieldError>,
) -> Vec<String> {
    let Some(custom) = &resource.custom else { return Vec::new() };
    let check = |old: Option<&Value>| match (subresource, old) {
        ("status", _) => status_errors(&custom.schema, value, old),
        (_, Some(old)) => apiserver_schema::validate_change(&custom.schema, value, old, ""),
        (_, None) => apiserver_schema::validate(&custom.schema, value, ""),
    };
    let mut found = check(None);
    if let Some(old) = old.filter(|_| !found.is_empty()) {
        // Ratcheting: what was wrong before and did not change is not held against an update.
        found = check(Some(old));
    }
    errors.extend(found);
    if let Some(scale) = &custom.scale {
        scale::validate(scale, value, errors);
    }
    embedded::validate(&custom.schema, value, "", false, errors);
    let Some(rules) = custom.rules() else { return Vec::new() };
    if errors.iter().any(blocks_rules) {
        let why = "some validation rules were not checked because the object was invalid; correct the existing errors to complete validation";
        errors.push(FieldError::invalid("<nil>", &Value::Null, why));
        return Vec::new();
    }
    let found = rules.validate(value, old);
    errors.extend(found.errors);
    found.warnings
}

/// A status that is written by itself is checked by itself: sentences name its fields from where it begins.
fn status_errors(schema: &Schema, object: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let (Some(schema), Some(status)) = (schema.child("status"), object.get("status")) else {
        return Vec::new();
    };
    let old_status = old.and_then(|old| old.get("status"));
    if old.is_some() && old_status.is_none() && status.is_null() {
        // No status is what it was.
        return Vec::new();
    }
    let errors = match old_status {
        Some(old) => apiserver_schema::validate_change(schema, status, old, ""),
        None => apiserver_schema::validate(schema, status, ""),
    }
    .into_iter();
    let placed = |error: FieldError| match error.field.as_str() {
        "" => FieldError { field: "status".to_owned(), ..error },
        "<nil>" => error,
        field => FieldError { field: format!("status.{field}"), ..error },
    };
    errors.map(placed).collect()
}

/// Rules expect values of the right type and size.
fn blocks_rules(error: &FieldError) -> bool {
    matches!(
        error.problem,
        Problem::NotSupported
            | Problem::Required
            | Problem::TooLong
            | Problem::TooMany
            | Problem::TypeInvalid
    )
}
/// What is warned of in the finalizers of a custom resource.
pub(crate) fn finalizer_warnings(object: &Value) -> Vec<String> {
    const STANDARD: &[&str] = &["foregroundDeletion", "kubernetes", "orphan"];
    let mut finalizers = crate::object::finalizers(object);
    finalizers.sort_unstable();
    finalizers.dedup();
    let mut warnings = Vec::new();
    for finalizer in finalizers {
        let mut warn = |why: &str| warnings.push(format!("metadata.finalizers: {finalizer:?}: {why}"));
        for problem in apiserver_meta::names::qualified_name(finalizer) {
            warn(&problem);
        }
        if !finalizer.contains('/') && !STANDARD.contains(&finalizer) {
            let path = if finalizer.contains('.') { " including a path (/)" } else { "" };
            warn(&format!(
                "prefer a domain-qualified finalizer name{path} to avoid accidental conflicts with other finalizer writers"
            ));
        }
    }
    warnings
}
