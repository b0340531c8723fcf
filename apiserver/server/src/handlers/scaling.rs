//! The scale subresource: a Scale is read from an object, and written back to it.

use std::sync::Arc;

use apiserver_meta::field::FieldError;
use apiserver_meta::{GroupVersionKind, Status};
use apiserver_registry::{Body, Call, Changed, Resource, columns, object, scale};
use apiserver_schema::ApplyError;
use bytes::Bytes;
use http::StatusCode;
use serde_json::{Value, json};

use super::options::{self, WriteOptions};
use super::{parse_body, patch, served, subresources, update};
use crate::dispatch::{Answer, Context, not_found_here};
use crate::negotiate::{self, Form, PatchMedia};
use crate::table;

pub(super) async fn answer(
    context: &Context<'_>,
    resource: &Arc<Resource>,
    raw: Bytes,
) -> Result<Answer, Status> {
    let spec = scale::spec_pointer(resource).ok_or_else(not_found_here)?;
    let registry = context.server.registry();
    let name = &context.info.name;
    let scale_gvk = GroupVersionKind::new("autoscaling", "v1", "Scale");
    if context.info.verb == "get" {
        let call = Call {
            resource,
            namespace: context.info.scope(),
            subresource: "scale",
            manager: "",
            dry_run: false,
            requester: context.requester(),
        };
        let bytes = registry.read(&call, name).await?;
        let current = served(resource, serde_json::from_slice(&bytes).unwrap_or_default());
        return Ok(scale_answer(context, resource, &current));
    }
    let (options, patching) = if context.info.verb == "patch" {
        let media = negotiate::patch_media(context.headers, resource.is_custom())?;
        let options = patch::patch_options(context, media)?;
        (options, Some(patch::parse(media, raw.clone(), context.query.flag("force"))?))
    } else {
        (options::write_options(context, "UpdateOptions")?, None)
    };
    let sent = match &patching {
        Some(_) => None,
        None => Some(sent_scale(context, &raw, &scale_gvk)?),
    };
    let schema =
        apiserver_schema::builtin("autoscaling", "v1", "Scale").unwrap_or_else(apiserver_schema::Schema::any);
    let call = options::call(context, resource, &options);
    let change = |live: Option<&Value>| {
        let live = live.ok_or_else(|| Status::not_found(&resource.group_resource(), name))?;
        let before = scale_of(resource, live);
        let wanted = match (&sent, &patching) {
            (Some(sent), _) => sent.clone(),
            (None, Some(patch)) => patched_scale(&schema, patch, &before)?,
            (None, None) => before.clone(),
        };
        scaled(resource, &spec, live, &wanted, &options, context, patching.as_ref())
    };
    let (written, _) = registry.update(&call, name, false, change).await?;
    let value = served(resource, serde_json::from_slice(&written.bytes).unwrap_or_default());
    Ok(scale_answer(context, resource, &value))
}

/// The Scale of an object, in the form that is asked for.
fn scale_answer(context: &Context, resource: &Resource, value: &Value) -> Answer {
    let scale = scale_of(resource, value);
    let answer = match context.accepted.form {
        Form::Table => table(context, &scale),
        Form::Partial => table::partial(&scale),
        _ => scale,
    };
    Answer::value(StatusCode::OK, context.accepted, &answer)
}

/// The columns of a Scale: (name, type, description; the metadata's own where empty).
const COLUMNS: [(&str, &str, &str); 4] = [
    ("Name", "string", ""),
    ("Desired", "integer", "replicas is the desired number of instances for the scaled object."),
    ("Available", "integer", "replicas is the actual number of observed instances of the scaled object."),
    ("Age", "string", ""),
];

fn table(context: &Context, scale: &Value) -> Value {
    let columns: Vec<Value> = COLUMNS
        .iter()
        .map(|(name, kind, text)| {
            let text = if text.is_empty() { table::describe_metadata(name) } else { text };
            json!({"name": name, "type": kind, "format": "", "description": text, "priority": 0})
        })
        .collect();
    let count = |pointer: &str| scale.pointer(pointer).and_then(Value::as_i64).unwrap_or(0);
    let age = columns::age_of(scale, jiff::Timestamp::now().as_second());
    let row =
        json!({"cells": [object::name(scale), count("/spec/replicas"), count("/status/replicas"), age]});
    let include = table::Include::parse(context.query.text("includeObject")).unwrap_or_default();
    let row = table::with_object(row, scale, include);
    let metadata = json!({"resourceVersion": object::text(scale, "resourceVersion")});
    json!({"kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": metadata, "columnDefinitions": columns, "rows": [row]})
}

/// The Scale of an object.
fn scale_of(resource: &Resource, value: &Value) -> Value {
    scale::view(resource, value).unwrap_or_default()
}

fn sent_scale(context: &Context, raw: &Bytes, gvk: &GroupVersionKind) -> Result<Value, Status> {
    let media = negotiate::body_media(context.headers)?;
    let Body { value, .. } = parse_body(media, raw, "Scale")?;
    subresources::check_sent_kind(&value, gvk, "autoscaling")?;
    let name = object::name(&value);
    if name.is_empty() {
        return Err(update::no_name(&context.info.name));
    }
    if name != context.info.name {
        return Err(Status::bad_request(format!(
            "the name of the object ({name}) does not match the name on the URL ({})",
            context.info.name
        )));
    }
    Ok(value)
}

fn patched_scale(
    schema: &apiserver_schema::Schema,
    patch: &patch::Patch,
    before: &Value,
) -> Result<Value, Status> {
    match patch.media {
        PatchMedia::Json => apiserver_schema::json_patch(before, &patch.value).map_err(patch::patch_error),
        PatchMedia::Merge => Ok(apiserver_schema::merge_patch(before, &patch.value)),
        PatchMedia::Strategic => {
            apiserver_schema::strategic_merge(schema, before, &patch.value).map_err(patch::patch_error)
        }
        PatchMedia::Apply => Ok(apiserver_schema::merge_patch(before, &patch.value)),
    }
}

/// The object with the replicas a Scale asks for.
fn scaled(
    resource: &Resource,
    spec: &str,
    live: &Value,
    wanted: &Value,
    options: &WriteOptions,
    context: &Context,
    patching: Option<&patch::Patch>,
) -> Result<Changed, Status> {
    let replicas = scale::wanted(wanted);
    let mut next = live.clone();
    scale::set(&mut next, spec, replicas.into());
    let metadata = object::metadata_mut(&mut next);
    for member in ["resourceVersion", "uid"] {
        metadata.insert(member.into(), object::text(wanted, member).into());
    }
    if let Some(patch) = patching.filter(|patch| patch.media == PatchMedia::Apply) {
        // Ownership of an applied scale is recorded on the object, through its own schema.
        let schema = resource.schema().unwrap_or_else(apiserver_schema::Schema::any);
        let mut applied = json!({"apiVersion": resource.api_version(), "kind": resource.kind, "metadata": {"name": object::name(live)}});
        scale::set(&mut applied, spec, replicas.into());
        let (time, api_version) = (apiserver_registry::now(), resource.api_version());
        let manager = apiserver_schema::Manager {
            name: &options.manager,
            operation: apiserver_schema::Operation::Apply,
            api_version: &api_version,
            subresource: &context.info.subresource,
            time: &time,
        };
        // A Scale leaves zero replicas out: applying zero counts as adding it.
        let mut seen = live.clone();
        if live.pointer(spec).and_then(Value::as_i64) == Some(0) {
            unset(&mut seen, spec);
        }
        let merged = apiserver_schema::apply(
            &schema,
            &seen,
            &applied,
            &manager,
            patch.force,
            &apiserver_schema::FieldSet::new(),
        );
        let merged = merged.map_err(|error| patch::apply_error(&seen_through_scale(error)))?;
        check_not_negative(live, replicas)?;
        return Ok(Changed::Applied(merged));
    }
    check_not_negative(live, replicas)?;
    Ok(if patching.is_some() { Changed::Patched(next) } else { Changed::Object(next) })
}

fn check_not_negative(live: &Value, replicas: i64) -> Result<(), Status> {
    if replicas >= 0 {
        return Ok(());
    }
    let error = FieldError::invalid("spec.replicas", &replicas.into(), "must be greater than or equal to 0");
    let gvk = GroupVersionKind::new("autoscaling", "v1", "Scale");
    Err(Status::invalid(&gvk, object::name(live), &[error]))
}

/// Whoever owns the replicas, through a Scale they are seen as fields of `autoscaling/v1`.
fn seen_through_scale(mut error: ApplyError) -> ApplyError {
    if let ApplyError::Conflicts(conflicts) = &mut error {
        for conflict in conflicts.iter_mut().filter(|conflict| !conflict.api_version.is_empty()) {
            conflict.api_version = "autoscaling/v1".into();
        }
    }
    error
}

fn unset(object: &mut Value, pointer: &str) {
    if let Some((parent, member)) = pointer.rsplit_once('/')
        && let Some(map) = object.pointer_mut(parent).and_then(Value::as_object_mut)
    {
        map.remove(member);
    }
}
