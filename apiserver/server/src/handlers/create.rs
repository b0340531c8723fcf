//! POST.

use std::sync::Arc;

use apiserver_meta::Status;
use apiserver_registry::{Resource, decode, object};
use bytes::Bytes;
use http::StatusCode;

use super::{object_answer, options, parse_body};
use crate::answer::Answer;
use crate::context::Context;
use crate::escalation;
use crate::negotiate;

/// Creates an object.
pub(super) async fn create(
    context: &Context<'_>,
    resource: &Arc<Resource>,
    raw: Bytes,
) -> Result<Answer, Status> {
    let options = options::write_options(context, "CreateOptions")?;
    let media = negotiate::body_media(context.headers)?;
    let body = parse_body(media, &raw, (&resource.group, &resource.version, &resource.kind))?;
    let (mut value, mut warnings) = decode(resource, body, options.validation)?;
    context.told(&warnings, check_namespace(context, resource, &value))?;
    warnings.extend(object::dedup_owners(&mut value, false));
    escalation::check(context, resource, &value, None)?;
    let call = options::call(context, resource, &options);
    let written = context.server.registry().create(&call, value).await;
    let written = context.told(&warnings, written)?;
    warnings.extend(written.warnings);
    context.server.after_create(&call, &written.bytes).await;
    let answer = object_answer(context, resource, StatusCode::CREATED, written.bytes);
    Ok(context.told(&warnings, answer)?.warn(warnings))
}

/// The namespace in the body must be the one in the path.
pub(super) fn check_namespace(
    context: &Context,
    resource: &Resource,
    value: &apiserver_json::Value,
) -> Result<(), Status> {
    let (Some(namespace), true) = (context.info.scope(), resource.namespaced) else { return Ok(()) };
    let given = object::namespace(value);
    if !given.is_empty() && given != namespace {
        return Err(Status::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        ));
    }
    Ok(())
}
