//! PUT.

use std::sync::Arc;

use apiserver_json::Value;
use apiserver_meta::Status;
use apiserver_registry::{Changed, Resource, decode, object};
use bytes::Bytes;
use http::StatusCode;

use super::{create, object_answer, options, parse_body};
use crate::access;
use crate::answer::Answer;
use crate::context::Context;
use crate::escalation;
use crate::negotiate;

/// Replaces an object, or its status.
pub(super) async fn update(
    context: &Context<'_>,
    resource: &Arc<Resource>,
    raw: Bytes,
) -> Result<Answer, Status> {
    let options = options::write_options(context, "UpdateOptions")?;
    let media = negotiate::body_media(context.headers)?;
    let body = parse_body(media, &raw, (&resource.group, &resource.version, &resource.kind))?;
    let (mut value, mut warnings) = decode(resource, body, options.validation)?;
    let checked = check_place(context, resource, &mut value);
    context.told(&warnings, checked)?;
    warnings.extend(object::dedup_owners(&mut value, false));
    let call = options::call(context, resource, &options);
    let may_create = resource.strategy.create_on_update && matches!(call.subresource, "" | "status");
    // Who insists on a resourceVersion is not tried again: the one try may have the tree.
    let once = !matches!(object::text(&value, "resourceVersion"), "" | "0");
    let change = |live: Option<&Value>| {
        if live.is_none() {
            access::may_create(context)?;
        }
        escalation::check(context, resource, &value, live)?;
        crate::signers::check(context, resource, &value, live)?;
        crate::claims::check(context, resource, &value, live)?;
        Ok(Changed::Object(if once { std::mem::take(&mut value) } else { value.clone() }))
    };
    let outcome = context.server.registry().update(&call, &context.info.name, may_create, change).await;
    let (written, created) = context.told(&warnings, outcome)?;
    warnings.extend(written.warnings);
    context.server.after_update(&call, &context.info.name).await;
    let status = if created { StatusCode::CREATED } else { StatusCode::OK };
    let answer = object_answer(context, resource, status, written.bytes);
    Ok(context.told(&warnings, answer)?.warn(warnings))
}

/// What is sent is what the path leads to.
fn check_place(context: &Context, resource: &Resource, value: &mut Value) -> Result<(), Status> {
    create::check_namespace(context, resource, value)?;
    if object::name(value).is_empty() {
        return Err(no_name(&context.info.name));
    }
    check_name(context, resource, value)
}

/// The name in the body must be the one in the path; a missing one is filled in.
pub(super) fn check_name(context: &Context, resource: &Resource, value: &mut Value) -> Result<(), Status> {
    same_name(context, value)?;
    fill_names(context, resource, value);
    Ok(())
}

/// The refusal of a body that does not say its name where it must.
pub(super) fn no_name(name: &str) -> Status {
    Status::bad_request(format!(
        "the name of the object ({name} based on URL) was undeterminable: name must be provided"
    ))
}

/// The name in the body must be the one in the path, or none.
pub(super) fn same_name(context: &Context, value: &Value) -> Result<(), Status> {
    let (name, given) = (&context.info.name, object::name(value));
    if given.is_empty() || given == name {
        return Ok(());
    }
    Err(Status::bad_request(format!(
        "the name of the object ({given}) does not match the name on the URL ({name})"
    )))
}

/// Name and namespace of the path, where the body has none.
pub(super) fn fill_names(context: &Context, resource: &Resource, value: &mut Value) {
    if object::name(value).is_empty() {
        object::metadata_mut(value).insert("name".into(), context.info.name.clone().into());
    }
    if let (Some(namespace), true) = (context.info.scope(), resource.namespaced) {
        object::metadata_mut(value).entry("namespace").or_insert_with(|| namespace.into());
    }
}
