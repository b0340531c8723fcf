//! GET of one object.

use apiserver_meta::field::{go_parse_uint, go_quote};
use apiserver_meta::{GroupResource, Status};
use apiserver_registry::Resource;
use http::StatusCode;
use std::sync::Arc;

use super::object_answer;
use crate::answer::Answer;
use crate::components;
use crate::context::Context;
use crate::negotiate::Form;
use crate::table::Include;

/// Answers one object.
pub(super) async fn get(context: &Context<'_>, resource: &Arc<Resource>) -> Result<Answer, Status> {
    if context.query.flag("export") {
        let why = "the export parameter, deprecated since v1.14, is no longer supported";
        return Err(Status::bad_request(why));
    }
    if components::are(resource) {
        let name = &context.info.name;
        // Upstream names what is missing in the singular.
        let missing = || Status::not_found(&GroupResource::new("", "componentstatus"), name);
        let bytes = components::get(context.server, name).await.ok_or_else(missing)?;
        return object_answer(context, resource, StatusCode::OK, bytes);
    }
    let version = context.query.text("resourceVersion");
    let is_cached = !resource.strategy.read_from_store;
    if !version.is_empty() {
        parse_version(version).map_err(|why| {
            let why = format!("resourceVersion: Invalid value: {}: {why}", go_quote(version));
            match is_cached {
                true => Status::new(500, "", why),
                false => Status::bad_request(format!("invalid resource version: {why}")),
            }
        })?;
    }
    if let Ok(revision) = version.parse::<u64>() {
        let waited = context.server.registry().cache().wait_for(revision).await;
        waited.map_err(|error| from_store(resource, apiserver_registry::cache_error(&error)))?;
    }
    let call = context.plain_call(resource);
    let bytes = context.server.registry().read(&call, &context.info.name).await?;
    object_answer(context, resource, StatusCode::OK, bytes)
}

/// Upstream lists and watches from a cache, which is not there as long as a webhook does not convert what belongs in it.
pub(super) fn unconverted(resource: &Resource, status: Status) -> Status {
    if status.code != 500 || !resource.asks_to_convert() {
        return status;
    }
    let (of, kind, why) = (resource.api_version(), &resource.kind, &status.message);
    let text = format!("storage is (re)initializing: failed to list {of}, Kind={kind}: {why}");
    let details = apiserver_json::json!({"retryAfterSeconds": 1});
    let mut status = Status::new(429, "TooManyRequests", text).with_details(details);
    status.retry_after_s = Some(1);
    status
}

/// An error as upstream has it of what it does not cache: nobody is told to come again.
pub(super) fn from_store(resource: &Resource, mut status: Status) -> Status {
    if resource.strategy.read_from_store && status.code == 504 {
        status.retry_after_s = None;
        if let Some(details) = status.details.as_mut().and_then(|details| details.as_object_mut()) {
            details.remove("retryAfterSeconds");
        }
    }
    status
}

/// A resourceVersion as Go's ParseUint reads it.
pub(super) fn parse_version(text: &str) -> Result<u64, String> {
    go_parse_uint(text)
}

/// Refuses forms that the answer of one object can't take; what else is wrong is told before.
pub(super) fn check_form(context: &Context, go_type: impl FnOnce() -> String) -> Result<(), Status> {
    match context.accepted.form {
        Form::PartialList => Err(match go_type().as_str() {
            // Such a one could be a list as far as Go can tell.
            "unstructured.Unstructured" => Status::new(500, "", "content is not a list"),
            go_type => Status::new(
                406,
                "NotAcceptable",
                format!(
                    "you requested PartialObjectMetadataList, but the requested object is not a list (*{go_type})"
                ),
            ),
        }),
        Form::Table => Include::parse(context.query.text("includeObject")).map(|_| ()),
        Form::Object | Form::Partial | Form::Aggregated => Ok(()),
    }
}

/// The internal Go type of a kind or of its list, as 406 texts name it.
pub(super) fn go_type(resource: &Resource, is_list: bool) -> String {
    if resource.is_custom() {
        return format!("unstructured.Unstructured{}", if is_list { "List" } else { "" });
    }
    let package = match resource.group.as_str() {
        // Events are those of the core group in both of theirs.
        "" | "events.k8s.io" => "core",
        group => group.split('.').next().unwrap_or(group),
    };
    format!("{package}.{}", if is_list { &resource.list_kind } else { &resource.kind })
}
