//! The scale subresource: a Scale is read from an object, and written back to it.

use std::sync::Arc;

use apiserver_json::{Value, json};
use apiserver_meta::field::FieldError;
use apiserver_meta::{GroupResource, GroupVersionKind, Status};
use apiserver_registry::{
    Body, Call, Changed, FieldValidation, Resource, cannot_handle, check_sent_kind, columns, object, scale,
};
use apiserver_schema::{Decode, FieldSet, Manager, Operation, Schema};
use bytes::Bytes;
use http::StatusCode;

use super::options::{self, WriteOptions};
use super::{apply, create, parse_body, patch, served, update};
use crate::answer::{Answer, not_found_here};
use crate::context::Context;
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
        let current = served(resource, apiserver_json::from_slice(&bytes).unwrap_or_default());
        scale::check_shown(resource, &current)?;
        return scale_answer(context, resource, &current);
    }
    let (options, patching) = if context.info.verb == "patch" {
        let media = negotiate::patch_media(context.headers, resource.is_custom())?;
        let options = patch::patch_options(context, media)?;
        (options, Some(patch::parse(media, raw.clone(), context.query.flag("force"))?))
    } else {
        (options::write_options(context, "UpdateOptions")?, None)
    };
    let mut warnings = Vec::new();
    let sent = match &patching {
        Some(_) => None,
        None => Some(sent_scale(context, resource, &raw, options.validation, &mut warnings)?),
    };
    let told = warnings.len();
    let schema = scale_schema();
    let call = options::call(context, resource, &options);
    let target = Target { context, resource, schema: &schema, options: &options };
    let change = |live: Option<&Value>| {
        let live = live.ok_or_else(|| Status::not_found(&resource.group_resource(), name))?;
        let path: Vec<&str> = spec.trim_start_matches('/').split('/').collect();
        let api_version = resource.api_version();
        let owners = apiserver_schema::ScaleOwners { api_version: &api_version, path: &path };
        let mut before = scale_of(resource, live);
        owners.to_scale(live, &mut before);
        warnings.truncate(told);
        let scale = match (&sent, &patching) {
            (Some(sent), _) => owned(&target, &before, sent.clone()),
            (None, Some(patch)) if patch.media == PatchMedia::Apply => applied(&target, &before, patch)?,
            (None, Some(patch)) => patched(&target, &before, patch, &mut warnings)?,
            (None, None) => before,
        };
        if sent.is_none() {
            check_uid(resource, live, &scale)?;
        }
        let mut next = scaled(resource, &spec, live, &scale, sent.is_some())?;
        owners.to_object(&scale, &mut next);
        Ok(if sent.is_some() { Changed::Owned(next) } else { Changed::Applied(next) })
    };
    let outcome = registry.update(&call, name, false, change).await;
    let (written, _) = context.told(&warnings, outcome)?;
    let value = served(resource, apiserver_json::from_slice(&written.bytes).unwrap_or_default());
    let answer = scale_answer(context, resource, &value);
    Ok(context.told(&warnings, answer)?.warn(warnings))
}

/// The Scale of an object, in the form that is asked for.
fn scale_answer(context: &Context, resource: &Resource, value: &Value) -> Result<Answer, Status> {
    let package = if resource.is_custom() { "v1" } else { "autoscaling" };
    super::read::check_form(context, || format!("{package}.Scale"))?;
    let scale = scale_of(resource, value);
    let answer = match context.accepted.form {
        Form::Table => table(context, resource, &scale),
        Form::Partial => table::partial(&scale),
        _ => scale,
    };
    Ok(Answer::value(StatusCode::OK, context.accepted, &answer))
}

/// The columns of a Scale: (name, type, format, description; the metadata's own where empty).
type Columns = [(&'static str, &'static str, &'static str, &'static str); 4];

const COLUMNS: Columns = [
    ("Name", "string", "", ""),
    ("Desired", "integer", "", "replicas is the desired number of instances for the scaled object."),
    ("Available", "integer", "", "replicas is the actual number of observed instances of the scaled object."),
    ("Age", "string", "", ""),
];

const COLUMNS_OF_CUSTOM: Columns = [
    ("Name", "string", "name", ""),
    ("Desired", "integer", "", "Number of desired replicas"),
    ("Available", "integer", "", "Number of actual replicas"),
    ("Age", "date", "", ""),
];

fn table(context: &Context, resource: &Resource, scale: &Value) -> Value {
    let columns = if resource.is_custom() { COLUMNS_OF_CUSTOM } else { COLUMNS };
    let columns: Vec<Value> = columns
        .iter()
        .map(|(name, kind, format, text)| {
            let text = if text.is_empty() { table::describe_metadata(name) } else { text };
            json!({"name": name, "type": kind, "format": format, "description": text, "priority": 0})
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

/// A Scale that was sent, as one: upstream's decoder of custom resources has no words for one that is none.
fn sent_scale(
    context: &Context,
    resource: &Resource,
    raw: &Bytes,
    validation: FieldValidation,
    warnings: &mut Vec<String>,
) -> Result<Value, Status> {
    let gvk = scale_gvk();
    let of_custom = |status: Status| {
        let why = "no kind is registered for the type v1.Scale in scheme \"pkg/runtime/scheme.go:111\"";
        if resource.is_custom() { Status::bad_request(why) } else { status }
    };
    let media = negotiate::body_media(context.headers)?;
    let Body { mut value, .. } = parse_body(media, raw, (&gvk.group, &gvk.version, &gvk.kind))?;
    check_sent_kind(&gvk, &value, raw).map_err(of_custom)?;
    let version = value["apiVersion"].as_str().unwrap_or("");
    if resource.is_custom() && !matches!(version, "" | "autoscaling/v1") {
        return Err(of_custom(Status::bad_request("")));
    }
    let schema = scale_schema();
    let unknown = apiserver_schema::decode(&schema, &mut value, Decode::Json)
        .map_err(|error| of_custom(cannot_handle(&gvk, &error.message)))?;
    strict(validation, unknown, warnings).map_err(|why| of_custom(cannot_handle(&gvk, &why)))?;
    context.told(warnings, create::check_namespace(context, resource, &value))?;
    let name = object::name(&value);
    if name.is_empty() {
        return Err(update::no_name(&context.info.name));
    }
    update::same_name(context, &value)?;
    Ok(value)
}

fn scale_gvk() -> GroupVersionKind {
    GroupVersionKind::new("autoscaling", "v1", "Scale")
}

fn scale_schema() -> std::sync::Arc<Schema> {
    apiserver_schema::builtin("autoscaling", "v1", "Scale").unwrap_or_else(Schema::any)
}

/// What to say of unknown fields: warnings, or the reason of a refusal.
pub(super) fn strict(
    validation: FieldValidation,
    unknown: Vec<apiserver_schema::Unknown>,
    warnings: &mut Vec<String>,
) -> Result<(), String> {
    let texts = unknown.iter().map(ToString::to_string);
    match validation {
        FieldValidation::Ignore => {}
        FieldValidation::Warn => warnings.extend(texts),
        FieldValidation::Strict if unknown.is_empty() => {}
        FieldValidation::Strict => {
            return Err(format!("strict decoding error: {}", texts.collect::<Vec<_>>().join(", ")));
        }
    }
    Ok(())
}

/// Reads what a patch made of a Scale as one; gives what is unknown.
fn decoded(
    resource: &Resource,
    schema: &Schema,
    next: &mut Value,
    mode: Decode,
) -> Result<Vec<apiserver_schema::Unknown>, String> {
    let gvk = scale_gvk();
    if mode == Decode::Unstructured {
        // The merge is of a Scale, whatever it calls itself.
        next["apiVersion"] = gvk.api_version().into();
        next["kind"] = gvk.kind.into();
    }
    let text = |member: &str| next.get(member).and_then(Value::as_str).unwrap_or("").to_owned();
    let (version, kind) = (text("apiVersion"), text("kind"));
    if (version.as_str(), kind.as_str()) != ("autoscaling/v1", "Scale") {
        let scheme = if resource.is_custom() {
            "pkg/runtime/scheme.go:111"
        } else {
            "pkg/api/legacyscheme/scheme.go:30"
        };
        return Err(format!("no kind {kind:?} is registered for version {version:?} in scheme {scheme:?}"));
    }
    apiserver_schema::decode(schema, next, mode).map_err(|error| error.message)
}

/// What a Scale is changed with.
struct Target<'a> {
    context: &'a Context<'a>,
    resource: &'a Resource,
    schema: &'a Schema,
    options: &'a WriteOptions,
}

impl Target<'_> {
    fn manager<'a>(&'a self, operation: Operation, time: &'a str) -> Manager<'a> {
        Manager {
            name: &self.options.manager,
            operation,
            api_version: "autoscaling/v1",
            subresource: &self.context.info.subresource,
            time,
            versions: None,
        }
    }
}

/// A Scale as it is written, with who owns it then.
fn owned(target: &Target<'_>, before: &Value, mut next: Value) -> Value {
    let time = apiserver_registry::now();
    object::metadata_mut(&mut next).remove("managedFields");
    let manager = target.manager(Operation::Update, &time);
    apiserver_schema::update(target.schema, Some(before), &mut next, &manager, &FieldSet::new());
    next
}

fn patched(
    target: &Target<'_>,
    before: &Value,
    patch: &patch::Patch,
    warnings: &mut Vec<String>,
) -> Result<Value, Status> {
    let Target { context, resource, schema, options } = *target;
    let mut plain = before.clone();
    object::metadata_mut(&mut plain).remove("managedFields");
    let (mut next, mode) = match patch.media {
        PatchMedia::Json => {
            (apiserver_schema::json_patch(&plain, &patch.value).map_err(patch::patch_error)?, Decode::Json)
        }
        PatchMedia::Strategic => {
            let merged = apiserver_schema::strategic_merge(schema, &plain, &patch.value);
            (merged.map_err(patch::patch_error)?, Decode::Unstructured)
        }
        PatchMedia::Merge | PatchMedia::Apply => {
            (apiserver_schema::merge_patch(&plain, &patch.value), Decode::Json)
        }
    };
    let refuse = |why: String| refused(schema, before, patch, &why);
    let unknown = decoded(resource, schema, &mut next, mode).map_err(refuse)?;
    strict(options.validation, unknown, warnings).map_err(refuse)?;
    update::same_name(context, &next)?;
    Ok(owned(target, before, next))
}

/// What a patch made is no Scale; it is shown as upstream shows that of other kinds.
fn refused(schema: &Schema, before: &Value, patch: &patch::Patch, why: &str) -> Status {
    let mut whole = before.clone();
    apiserver_meta::packed::unpack(&mut whole);
    let (made, touched) = match patch.media {
        PatchMedia::Json => {
            let made = apiserver_schema::json_patch(&whole, &patch.value);
            (made.unwrap_or(whole), apiserver_schema::touched_by(&patch.value))
        }
        PatchMedia::Merge => (apiserver_schema::merge_patch(&whole, &patch.value), patch.value.clone()),
        PatchMedia::Strategic | PatchMedia::Apply => return patch::invalid_patch(patch, why),
    };
    patch::invalid_patch_of(&apiserver_schema::shown_patched(schema, &made, &touched), why)
}

fn applied(target: &Target<'_>, before: &Value, patch: &patch::Patch) -> Result<Value, Status> {
    let gvk = scale_gvk();
    apply::check_applied_kind(&gvk, &patch.value)?;
    update::same_name(target.context, &patch.value)?;
    // Upstream has no way to make a Scale of a custom resource of another one.
    const NO_WAY: &str =
        "to proper version: request to convert CR to an invalid group/version: autoscaling/v1";
    if target.resource.is_custom() && object::metadata(before).get("managedFields").is_none() {
        let why = "failed to create manager for existing fields: failed to convert live object";
        return Err(Status::new(500, "", format!("{why} (/; autoscaling/v1, Kind=Scale) {NO_WAY}")));
    }
    let time = apiserver_registry::now();
    let manager = target.manager(Operation::Apply, &time);
    let reset = FieldSet::new();
    let mut merged =
        apiserver_schema::apply(target.schema, before, &patch.value, &manager, patch.force, &reset)
            .map_err(|error| apply::apply_error(&error))?;
    if target.resource.is_custom() && merged.get("spec") != before.get("spec") {
        let what = apiserver_schema::describe(&patch.value);
        return Err(Status::new(500, "", format!("failed to convert new object ({what}) {NO_WAY}")));
    }
    let owners = object::metadata_mut(&mut merged).remove("managedFields");
    apiserver_schema::decode(target.schema, &mut merged, Decode::Unstructured)
        .map_err(|error| apply::unconvertible(&gvk, &patch.value, &error.message))?;
    if let Some(owners) = owners {
        object::metadata_mut(&mut merged).insert("managedFields".into(), owners);
    }
    Ok(merged)
}

/// The object with the replicas a Scale asks for.
fn scaled(
    resource: &Resource,
    spec: &str,
    live: &Value,
    wanted: &Value,
    whole: bool,
) -> Result<Value, Status> {
    let replicas = scale::wanted(wanted);
    check_not_negative(resource, live, replicas)?;
    let mut next = live.clone();
    scale::set(&mut next, spec, replicas.into());
    let metadata = object::metadata_mut(&mut next);
    metadata.insert("resourceVersion".into(), object::text(wanted, "resourceVersion").into());
    if whole {
        metadata.insert("uid".into(), object::text(wanted, "uid").into());
    }
    Ok(next)
}

/// A patched Scale that insists on an object is of that; Scales of custom resources do not insist.
fn check_uid(resource: &Resource, live: &Value, scale: &Value) -> Result<(), Status> {
    let (wanted, found) = (object::uid(scale), object::uid(live));
    if wanted.is_empty() || wanted == found || resource.is_custom() {
        return Ok(());
    }
    let why = format!("Precondition failed: UID in precondition: {wanted}, UID in object meta: {found}");
    let scales = GroupResource::new(&*resource.group, format!("{}/scale", resource.name));
    Err(Status::conflict(&scales, object::name(live), &why))
}

/// Custom resources are checked as such.
fn check_not_negative(resource: &Resource, live: &Value, replicas: i64) -> Result<(), Status> {
    if replicas >= 0 || resource.is_custom() {
        return Ok(());
    }
    let error = FieldError::invalid("spec.replicas", &replicas.into(), "must be greater than or equal to 0");
    Err(Status::invalid(&scale_gvk(), object::name(live), &[error]))
}
