//! DELETE, of one and of many.

use std::sync::Arc;

use apiserver_json::{Value, json};
use apiserver_meta::Status;
use apiserver_registry::{Call, DeleteOptions, Deleted, Resource, identity};
use bytes::Bytes;
use http::StatusCode;

use super::{item, list_options, lists, object_answer, options, protobuf, served};
use crate::answer::Answer;
use crate::context::Context;
use crate::negotiate::{Form, Media};
use crate::table;

/// Deletes one object.
pub(super) async fn delete(
    context: &Context<'_>,
    resource: &Arc<Resource>,
    raw: Bytes,
) -> Result<Answer, Status> {
    let (options, dry_run) = options::delete_options(context, &raw)?;
    let call = Call { dry_run, ..context.plain_call(resource) };
    let warnings = warnings(resource, &options);
    let deleted = context.server.registry().delete(&call, &context.info.name, &options).await;
    let deleted = context.told(&warnings, deleted)?;
    context.server.after_update(&call, &context.info.name).await;
    let answer = match deleted {
        Deleted::Status(status) => Ok(Answer::value(StatusCode::OK, context.accepted, &status)),
        Deleted::Object(bytes) => {
            // Who says it the old way is told whether the object is gone.
            let asks = options.orphan_dependents == Some(false) && !dry_run;
            let is_gone = !asks || context.server.registry().get(&call, &context.info.name).is_err();
            let status = if is_gone { StatusCode::OK } else { StatusCode::ACCEPTED };
            object_answer(context, resource, status, bytes)
        }
    };
    Ok(context.told(&warnings, answer)?.warn(warnings))
}

/// Jobs keep their Pods unless somebody says otherwise, which surprises.
fn warnings(resource: &Resource, options: &DeleteOptions) -> Vec<String> {
    const KEPT: &str = "child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to remove them or set propagationPolicy=Orphan to suppress this warning";
    let jobs = resource.kind == "Job" && resource.group == "batch";
    if jobs && options.propagation.is_none() { vec![KEPT.to_owned()] } else { Vec::new() }
}

/// Deletes every object of a scope that the selectors choose.
pub(super) async fn delete_collection(
    context: &Context<'_>,
    resource: &Arc<Resource>,
    raw: Bytes,
) -> Result<Answer, Status> {
    let (delete_options, dry_run) = options::delete_options(context, &raw)?;
    let chosen = list_options::read(context, resource)?;
    let call = Call { dry_run, ..context.plain_call(resource) };
    let page = chosen.page(&resource.scope(call.namespace))?;
    let registry = context.server.registry();
    let listing = registry.delete_collection(&call, &chosen.selectors, &page, &delete_options).await?;
    let names = listing.objects.iter().map(|object| identity(resource, object.key()).1.to_owned());
    context.server.after_collection(&call, names).await;
    let revision = page.revision().unwrap_or(listing.revision);
    let warnings = warnings(resource, &delete_options);
    let include = context.told(&warnings, lists::check_form(context, resource))?;
    let metadata = lists::metadata(context, resource, &listing, revision);
    let left: Vec<Bytes> = listing.objects.iter().map(|object| object.bytes().clone()).collect();
    let parse = |bytes: &Bytes| served(resource, apiserver_json::from_slice(bytes).unwrap_or_default());
    let list = match (context.accepted.form, context.accepted.media) {
        (Form::Table, _) => {
            let rows = left
                .iter()
                .map(|bytes| {
                    table::row(resource, apiserver_json::from_slice(bytes).unwrap_or_default(), include)
                })
                .collect();
            table::table(resource, rows, &revision.to_string(), true)
        }
        (_, Media::Protobuf) => {
            return Ok(protobuf::list(context, resource, left, &metadata).await.warn(warnings));
        }
        (Form::PartialList, _) => {
            let items: Vec<Value> = left.iter().map(|bytes| table::partial(&parse(bytes))).collect();
            table::partial_list(items, &metadata)
        }
        _ if context.accepted.is_plain() => {
            let size = left.iter().map(|bytes| bytes.len() + 1).sum();
            return Ok(lists::stream(context, resource, size, left.into_iter(), &metadata).warn(warnings));
        }
        _ => {
            let items: Vec<Value> = left.iter().map(|bytes| item(resource, parse(bytes))).collect();
            json!({"kind": resource.list_kind, "apiVersion": resource.api_version(), "metadata": metadata, "items": items})
        }
    };
    Ok(Answer::value(StatusCode::OK, context.accepted, &list).warn(warnings))
}
