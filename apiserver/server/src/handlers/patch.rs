//! PATCH: JSON, merge, strategic merge and apply.

use std::sync::Arc;

use apiserver_json::{Value, json};
use apiserver_meta::field::FieldError;
use apiserver_meta::{GroupVersionKind, Status, packed};
use apiserver_registry::{
    Changed, FieldValidation, Resource, check_types, mistaken_document, object, read as decode_tree,
    said_kind,
};
use apiserver_schema::json_kind;
use apiserver_schema::{Decode, FieldSet, PatchError, Schema};
use bytes::Bytes;
use http::StatusCode;

use super::options::{self, WriteOptions};
use super::{apply, object_answer, update};
use crate::access;
use crate::answer::Answer;
use crate::context::Context;
use crate::escalation;
use crate::negotiate::{self, PatchMedia};

/// A patch as it came.
pub(super) struct Patch {
    pub media: PatchMedia,
    pub value: Value,
    pub raw: Bytes,
    pub force: bool,
    /// Keys that stand twice in the YAML of an apply.
    pub twice: Vec<String>,
    names_managed_fields: bool,
}

/// Patches an object, or its status.
pub(super) async fn patch(
    context: &Context<'_>,
    resource: &Arc<Resource>,
    raw: Bytes,
) -> Result<Answer, Status> {
    let media = negotiate::patch_media(context.headers, resource.is_custom())?;
    let options = patch_options(context, media)?;
    // That there is no such object is told before what is wrong with a patch of it.
    let parsed = parse(media, raw, context.query.flag("force"));
    let call = options::call(context, resource, &options);
    let schema = resource.schema().unwrap_or_else(Schema::any);
    let may_create = media == PatchMedia::Apply
        && (call.subresource.is_empty()
            || (call.subresource == "status" && resource.strategy.create_on_update));
    let mut warnings = Vec::new();
    let reset = apiserver_registry::reset_fields(resource, call.subresource);
    let target = Target { context, resource, schema: &schema, options: &options, reset };
    let outcome = context
        .server
        .registry()
        .update(&call, &context.info.name, may_create, |live| {
            warnings.clear();
            let patch = parsed.as_ref().map_err(Clone::clone)?;
            let mut changed = change(&target, patch, live, &mut warnings)?;
            let (Changed::Object(next)
            | Changed::Owned(next)
            | Changed::Patched(next)
            | Changed::Applied(next)) = &mut changed;
            warnings.extend(object::dedup_owners(next, true));
            if live.is_none() {
                access::may_create(context)?;
            }
            escalation::check(context, resource, next, live)?;
            crate::signers::check(context, resource, next, live)?;
            crate::claims::check(context, resource, next, live)?;
            Ok(changed)
        })
        .await;
    let (written, created) = context.told(&warnings, outcome)?;
    context.server.after_update(&call, &context.info.name).await;
    if created {
        context.server.after_create(&call, &written.bytes).await;
    }
    warnings.extend(written.warnings);
    let status = if created { StatusCode::CREATED } else { StatusCode::OK };
    let answer = object_answer(context, resource, status, written.bytes);
    Ok(context.told(&warnings, answer)?.warn(warnings))
}

/// The options of a patch; some belong to apply only, some apply must have.
pub(super) fn patch_options(context: &Context, media: PatchMedia) -> Result<WriteOptions, Status> {
    let mut errors = Vec::new();
    if media == PatchMedia::Apply {
        if context.query.text("fieldManager").is_empty() {
            errors.push(FieldError::required("fieldManager", "is required for apply patch"));
        }
    } else if context.query.get("force").is_some() {
        errors.push(FieldError::forbidden("force", "may not be specified for non-apply patch"));
    }
    options::write_options_after(context, "PatchOptions", errors)
}

/// Parses the body of a patch.
pub(super) fn parse(media: PatchMedia, raw: Bytes, force: bool) -> Result<Patch, Status> {
    let mut twice = Vec::new();
    let mut value = match media {
        PatchMedia::Apply => {
            let (value, strict) = crate::yaml::parse(&raw).map_err(|why| {
                Status::bad_request(format!("error decoding YAML: error converting YAML to JSON: {why}"))
            })?;
            twice = strict;
            value
        }
        _ => apiserver_json::from_slice(&raw).map_err(|error| {
            let why = super::json_error(&raw, &error);
            match media {
                PatchMedia::Strategic => Status::bad_request(why),
                _ => Status::bad_request(format!("error decoding patch: {why}")),
            }
        })?,
    };
    if media == PatchMedia::Strategic && value.is_null() {
        value = json!({});
    }
    if media == PatchMedia::Merge && value.is_null() {
        return Err(Status::bad_request("Invalid JSON Patch"));
    }
    let object_needed = matches!(media, PatchMedia::Merge | PatchMedia::Strategic);
    if object_needed && !value.is_object() {
        let found = json_kind(&value);
        let why = format!("json: cannot unmarshal {found} into Go value of type map[string]interface {{}}");
        return Err(Status::bad_request(if media == PatchMedia::Merge {
            format!("error decoding patch: {why}")
        } else {
            why
        }));
    }
    if media == PatchMedia::Apply && !(value.is_object() || value.is_null()) {
        return Err(Status::bad_request(format!(
            "error decoding YAML: error unmarshaling JSON: while decoding JSON: json: cannot unmarshal {} into Go value of type map[string]interface {{}}",
            json_kind(&value)
        )));
    }
    let names_managed_fields = value.to_string().contains("managedFields");
    Ok(Patch { media, value, raw, force, twice, names_managed_fields })
}

pub(super) fn patch_error(error: PatchError) -> Status {
    match error {
        PatchError::BadRequest(text) => Status::bad_request(text),
        // The client's library knows this status only as such.
        PatchError::Unprocessable(_) | PatchError::TestFailed(_) => {
            let why = "the server rejected our request due to an error in our request";
            Status::new(422, "Invalid", why).with_details(json!({}))
        }
        PatchError::TooLarge(text) => {
            Status::too_large(format!("Request entity too large: {text}").replace(
                "Request entity too large: Request entity too large: ",
                "Request entity too large: ",
            ))
        }
        PatchError::Failed(text) => Status::new(500, "", text),
    }
}

/// A patched object that is no object of the kind any more.
pub(super) fn invalid_patch(patch: &Patch, why: &str) -> Status {
    let shown = match patch.media {
        PatchMedia::Strategic => apiserver_schema::go_display(&patch.value),
        _ => String::from_utf8_lossy(&patch.raw).into_owned(),
    };
    invalid_patch_of(&shown, why)
}

/// As [`invalid_patch`], where `shown` is what the patch made.
pub(super) fn invalid_patch_of(shown: &str, why: &str) -> Status {
    let error = FieldError {
        problem: apiserver_meta::field::Problem::Invalid,
        field: "patch".into(),
        value: apiserver_meta::field::go_quote(shown),
        detail: why.to_owned(),
    };
    Status::invalid(&GroupVersionKind::new("", "", ""), "", &[error])
}

/// What a patch is made with, whatever version of the object it meets.
pub(super) struct Target<'a> {
    pub context: &'a Context<'a>,
    pub resource: &'a Arc<Resource>,
    pub schema: &'a Schema,
    pub options: &'a WriteOptions,
    /// Fields that the endpoint resets: an apply does not own them.
    pub reset: &'a FieldSet,
}

fn change(
    target: &Target<'_>,
    patch: &Patch,
    live: Option<&Value>,
    warnings: &mut Vec<String>,
) -> Result<Changed, Status> {
    let Target { context, resource, schema, options, .. } = *target;
    if patch.media == PatchMedia::Apply {
        return apply::apply(target, patch, live, warnings);
    }
    let Some(live) = live else {
        return Err(Status::not_found(&resource.group_resource(), &context.info.name));
    };
    let mut plain = std::borrow::Cow::Borrowed(live);
    // A JSON patch may move anything anywhere; the others say what they touch.
    if patch.media == PatchMedia::Json || patch.names_managed_fields {
        packed::unpack(plain.to_mut());
    }
    let live = &*plain;
    let (mut next, mode, mut strict) = match patch.media {
        PatchMedia::Json => {
            if options.validation != FieldValidation::Ignore {
                apiserver_schema::strict_operations(&patch.value)
                    .map_err(|why| Status::bad_request(format!("error decoding patch: {why}")))?;
            }
            let next = apiserver_schema::json_patch(live, &patch.value).map_err(patch_error)?;
            let duplicates = quoted_duplicates(apiserver_schema::duplicate_fields(&patch.raw));
            let mut strict: Vec<String> =
                duplicates.iter().map(|duplicate| format!("json patch {duplicate}")).collect();
            strict.extend(apiserver_schema::unknown_patch_fields(&patch.value));
            // In the order of the operations.
            strict.sort_by_cached_key(|why| operation_of(why));
            (next, Decode::Json, strict)
        }
        PatchMedia::Merge => {
            let duplicates = apiserver_schema::duplicate_fields(&patch.raw);
            (apiserver_schema::merge_patch(live, &patch.value), Decode::Json, quoted_duplicates(duplicates))
        }
        _ => {
            let duplicates = apiserver_schema::duplicate_fields(&patch.raw);
            let next = apiserver_schema::strategic_merge(schema, live, &patch.value).map_err(patch_error)?;
            (next, Decode::Unstructured, quoted_duplicates(duplicates))
        }
    };
    // Of custom resources no struct says an order.
    let any = resource.is_custom().then(Schema::any);
    let written = any.as_deref().unwrap_or(schema);
    // What a wrong patch made is shown; it is made again then.
    let shown = || match patch.media {
        PatchMedia::Json => {
            let made = apiserver_schema::json_patch(live, &patch.value).ok()?;
            let touched = apiserver_schema::touched_by(&patch.value);
            Some(apiserver_schema::shown_patched(written, &made, &touched))
        }
        PatchMedia::Merge => {
            let mut made = live.clone();
            packed::unpack(&mut made);
            let made = apiserver_schema::merge_patch(&made, &patch.value);
            Some(apiserver_schema::shown_patched(written, &made, &patch.value))
        }
        _ => None,
    };
    let refuse = |why: &str| match shown() {
        Some(made) => invalid_patch_of(&made, why),
        None => invalid_patch(patch, why),
    };
    if patch.media == PatchMedia::Strategic {
        // The merge is of a value of the kind's type, whatever it calls itself.
        next["apiVersion"] = resource.api_version().into();
        next["kind"] = resource.kind.as_str().into();
        // It is converted outside of what tells of a patch.
        apiserver_registry::convert_annotations(resource, &mut next)
            .map_err(|why| Status::new(500, "", why))?;
    } else {
        check_types(&next).map_err(|why| refuse(&why))?;
        if resource.is_custom() {
            check_custom_kind(target, &mut next, &refuse)?;
        } else if is_missing(&next, "apiVersion") {
            let unknown = unknown_without_version(&next);
            report_strict(options, unknown, warnings).map_err(|why| refuse(&why))?;
            return Err(update::no_name(&context.info.name));
        }
        if is_missing(&next, "kind") {
            next["kind"] = resource.kind.as_str().into();
        }
        let sent = || shown().unwrap_or_default();
        check_patched_kind(resource, &next, sent).map_err(|why| refuse(&why))?;
    }
    let unknown = decode_tree(resource, Some(schema), &mut next, mode).map_err(|why| refuse(&why))?;
    strict.extend(unknown);
    report_strict(options, strict, warnings).map_err(|why| refuse(&why))?;
    super::create::check_namespace(context, resource, &next)?;
    if object::name(&next).is_empty() {
        return Err(update::no_name(&context.info.name));
    }
    update::check_name(context, resource, &mut next)?;
    Ok(Changed::Patched(next))
}

/// The number of the operation that a remark such as `json patch unknown field "[0].extra"` is about.
fn operation_of(why: &str) -> usize {
    let number = why.split_once('[').and_then(|(_, rest)| rest.split_once(']'));
    number.and_then(|(number, _)| number.parse().ok()).unwrap_or(0)
}

fn quoted_duplicates(fields: Vec<String>) -> Vec<String> {
    fields
        .into_iter()
        .map(
            |field| if field.starts_with("duplicate") { field } else { format!("duplicate field {field:?}") },
        )
        .collect()
}

fn report_strict(
    options: &WriteOptions,
    strict: Vec<String>,
    warnings: &mut Vec<String>,
) -> Result<(), String> {
    match options.validation {
        FieldValidation::Strict if !strict.is_empty() => {
            Err(format!("strict decoding error: {}", strict.join(", ")))
        }
        FieldValidation::Warn => {
            warnings.extend(strict);
            Ok(())
        }
        FieldValidation::Strict | FieldValidation::Ignore => Ok(()),
    }
}

fn is_missing(next: &Value, member: &str) -> bool {
    next.get(member).and_then(Value::as_str).is_none_or(str::is_empty)
}

/// What upstream does not know of an object that says no version: it is read as the type it has in memory, whose
/// members are named in Go's way.
fn unknown_without_version(next: &Value) -> Vec<String> {
    let members = next.as_object().into_iter().flat_map(|members| members.keys());
    let unknown = members.filter(|name| !matches!(name.as_str(), "apiVersion" | "kind"));
    unknown.map(|name| format!("unknown field {:?}", name.as_str())).collect()
}

/// As [`check_patched_kind`], of a custom resource: upstream reads it as whatever it says it is.
fn check_custom_kind(
    target: &Target<'_>,
    next: &mut Value,
    refuse: &dyn Fn(&str) -> Status,
) -> Result<(), Status> {
    let resource = target.resource;
    let text = |member: &str| next.get(member).and_then(Value::as_str).unwrap_or("");
    let (api_version, kind, wanted) = (text("apiVersion"), text("kind"), resource.api_version());
    if kind.is_empty() {
        let mut shown = next.clone();
        packed::unpack(&mut shown);
        return Err(refuse(&format!("Object 'Kind' is missing in '{shown}'")));
    }
    if api_version.is_empty() {
        let why = "Object 'apiVersion' is missing in 'object has no apiVersion field'";
        return Err(Status::internal(why));
    }
    if target.context.info.subresource == "status" {
        // Of a status nothing else is taken.
        next["kind"] = resource.kind.as_str().into();
        next["apiVersion"] = wanted.into();
        return Ok(());
    }
    let gv = apiserver_meta::GroupVersion::parse(api_version);
    let invalid = |member: &str, found: &str, must_be: &str| {
        let error = FieldError::invalid(member, &found.into(), format!("must be {must_be}"));
        Status::invalid(&GroupVersionKind::new(&*gv.group, &*gv.version, kind), object::name(next), &[error])
    };
    if kind != resource.kind {
        return Err(invalid("kind", kind, &resource.kind));
    }
    if api_version != wanted {
        return Err(invalid("apiVersion", api_version, &wanted));
    }
    Ok(())
}

/// A patch may not turn an object into one of another kind; `shown` is what it made.
fn check_patched_kind(resource: &Resource, next: &Value, shown: impl Fn() -> String) -> Result<(), String> {
    let gvk = resource.gvk();
    let said = said_kind(next, &gvk)?;
    mistaken_document(&said, &gvk, next, shown).map_or(Ok(()), Err)
}
