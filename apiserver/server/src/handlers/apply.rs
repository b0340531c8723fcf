//! Apply: a patch that says what its manager wants, and owns it.

use apiserver_json::{Value, json};
use apiserver_meta::field::FieldError;
use apiserver_meta::{GroupVersionKind, Status};
use apiserver_registry::{Changed, FieldValidation, now, object, read as decode_tree};
use apiserver_schema::{ApplyError, Decode, Manager, Operation};

use super::options::WriteOptions;
use super::patch::{Patch, Target, invalid_patch};
use super::update;

/// Applies a patch to an object, or makes a new one of it.
pub(super) fn apply(
    target: &Target<'_>,
    patch: &Patch,
    live: Option<&Value>,
    warnings: &mut Vec<String>,
) -> Result<Changed, Status> {
    let Target { context, resource, schema, options, reset } = *target;
    let applied = &patch.value;
    check_applied_kind(&resource.gvk(), applied)?;
    let time = now();
    let api_version = resource.api_version();
    let manager = Manager {
        name: &options.manager,
        operation: Operation::Apply,
        api_version: &api_version,
        subresource: &context.info.subresource,
        time: &time,
        versions: resource.unconverted_versions(),
    };
    let mut empty = json!({"apiVersion": api_version, "kind": resource.kind});
    update::fill_names(context, resource, &mut empty);
    let merged =
        apiserver_schema::apply(schema, live.unwrap_or(&empty), applied, &manager, patch.force, reset);
    let mut merged = merged.map_err(|error| apply_error(&error))?;
    report_twice(patch, options, warnings)?;
    check_version_is_number(&merged)?;
    let managed = object::metadata_mut(&mut merged).remove("managedFields");
    let refuse = |why: String| match resource.is_custom() {
        true => invalid_patch(patch, &why),
        false => unconvertible(&resource.gvk(), applied, &why),
    };
    decode_tree(resource, Some(schema), &mut merged, Decode::Unstructured).map_err(refuse)?;
    if let Some(managed) = managed {
        object::metadata_mut(&mut merged).insert("managedFields".into(), managed);
    }
    let uid = object::uid(&merged);
    if live.is_none() && !uid.is_empty() {
        let why = format!(
            "uid mismatch: the provided object specified uid {uid}, and no existing object was found"
        );
        return Err(Status::conflict(&resource.group_resource(), &context.info.name, &why));
    }
    super::create::check_namespace(context, resource, &merged)?;
    if object::name(&merged).is_empty() || live.is_none() && object::name(applied).is_empty() {
        return Err(update::no_name(&context.info.name));
    }
    update::same_name(context, &merged)?;
    // With the status of a custom resource no metadata is written.
    let keeps_metadata = resource.is_custom() && context.info.subresource == "status";
    if let Some(live) = live
        && !keeps_metadata
        && !object::uid(&merged).is_empty()
        && object::uid(&merged) != object::uid(live)
    {
        let error = FieldError::invalid("metadata.uid", &object::uid(&merged).into(), "field is immutable");
        let mut status =
            Status::invalid(&resource.gvk(), object::name(live), &[error.clone(), error.clone()]);
        status.message = Status::invalid(&resource.gvk(), object::name(live), &[error]).message;
        return Err(status);
    }
    Ok(Changed::Applied(merged))
}

/// What the merge made where the kind's type has no room for it.
pub(super) fn unconvertible(gvk: &GroupVersionKind, applied: &Value, why: &str) -> Status {
    let what = apiserver_schema::describe(applied);
    Status::new(
        500,
        "",
        format!(
            "failed to convert new object ({what}) to proper version: unable to convert unstructured object to {gvk}: {why}"
        ),
    )
}

/// The version a client insists on is read before anything else is compared.
fn check_version_is_number(merged: &Value) -> Result<(), Status> {
    let version = object::text(merged, "resourceVersion");
    if version.is_empty() {
        return Ok(());
    }
    apiserver_meta::field::go_parse_uint(version).map(drop).map_err(|why| Status::new(500, "", why))
}

/// Tells of keys that stand twice in an applied body.
fn report_twice(patch: &Patch, options: &WriteOptions, warnings: &mut Vec<String>) -> Result<(), Status> {
    let Some(text) = patch.twice.first() else { return Ok(()) };
    match options.validation {
        FieldValidation::Ignore => {}
        FieldValidation::Warn => warnings.extend(apiserver_registry::told_apart(text)),
        FieldValidation::Strict => {
            let why = format!("error strict decoding YAML: error converting YAML to JSON: {text}");
            return Err(Status::bad_request(why));
        }
    }
    Ok(())
}

/// An applied object says what it is, and that must be what the endpoint takes.
pub(super) fn check_applied_kind(wanted: &GroupVersionKind, applied: &Value) -> Result<(), Status> {
    let text = |member: &str| applied.get(member).and_then(Value::as_str).unwrap_or("");
    let (version, kind) = (text("apiVersion"), text("kind"));
    if version == wanted.api_version() && kind == wanted.kind {
        return Ok(());
    }
    let gv = apiserver_meta::GroupVersion::parse(version);
    let found = GroupVersionKind::new(gv.group, gv.version, kind);
    Err(Status::bad_request(format!("invalid object type: {found}")))
}

pub(super) fn apply_error(error: &ApplyError) -> Status {
    match error {
        ApplyError::BadRequest(text) => Status::bad_request(text.clone()),
        ApplyError::Failed(text) => Status::new(500, "", text.clone()),
        ApplyError::Conflicts(conflicts) => {
            let causes: Vec<Value> = conflicts
                .iter()
                .map(|conflict| json!({"reason": "FieldManagerConflict", "message": conflict.message(), "field": conflict.field}))
                .collect();
            Status::new(409, "Conflict", error.to_string()).with_details(json!({"causes": causes}))
        }
    }
}
