//! LIST: a page of a snapshot, written as one concatenation of shared bytes.

use std::sync::Arc;

use apiserver_json::{Value, json};
use apiserver_meta::Status;
use apiserver_registry::{Listing, Page, Resource, columns};
use apiserver_watchcache::Object;
use bytes::{BufMut, Bytes, BytesMut};
use http::StatusCode;

use super::items::Items;
use super::{continue_token, item, list_options, pieces, protobuf, read, served};
use crate::answer::Answer;
use crate::components;
use crate::compress;
use crate::context::Context;
use crate::limits;
use crate::negotiate::{Form, Media};
use crate::table;

/// Answers a list.
pub(super) async fn list(context: &Context<'_>, resource: &Arc<Resource>) -> Result<Answer, Status> {
    let options = list_options::read(context, resource)?;
    let scope = resource.scope(context.info.scope());
    let (listing, revision, metadata) = if components::are(resource) {
        let listing = components::list(context.server, resource, &options.selectors).await;
        (listing, String::new(), json!({}))
    } else {
        let page = options.page(&scope)?;
        let call = context.plain_call(resource);
        let listing = context.server.registry().list(&call, &options.selectors, &page).await;
        let listing = listing.map_err(|status| read::unconverted(resource, status));
        let listing = listing.map_err(|status| goes_on(&scope, &page, read::from_store(resource, status)))?;
        let revision = page.revision().unwrap_or(listing.revision);
        let metadata = metadata(context, resource, &listing, revision);
        (listing, revision.to_string(), metadata)
    };
    let include = check_form(context, resource)?;
    match (context.accepted.form, context.accepted.media) {
        (Form::Table, _) => {
            let mut objects: Vec<Value> = listing.objects.iter().map(|object| object.parse()).collect();
            columns::sort(resource, &mut objects);
            let rows = objects.into_iter().map(|object| table::row(resource, object, include)).collect();
            let mut table = table::table(resource, rows, &revision, true);
            table["metadata"] = metadata;
            Ok(Answer::value(StatusCode::OK, context.accepted, &table))
        }
        (_, Media::Protobuf) => {
            let objects = listing.objects.into_iter().map(|object| object.bytes().clone()).collect();
            Ok(protobuf::list(context, resource, objects, &metadata).await)
        }
        (Form::PartialList, _) => {
            let items: Vec<Value> = listing
                .objects
                .iter()
                .map(|object| {
                    table::partial_of(apiserver_json::from_slice(object.metadata()).unwrap_or_default())
                })
                .collect();
            let list = table::partial_list(items, &metadata);
            Ok(Answer::value(StatusCode::OK, context.accepted, &list))
        }
        _ if context.accepted.is_plain() => {
            let size = listing.objects.iter().map(|object| object.bytes().len() + 1).sum();
            // Of custom resources, what is served is not always what is stored at a revision.
            if size >= limits::LIST_CHUNK_BYTES && !resource.is_custom() && compress::is_wanted(context) {
                return Ok(gzip(context, resource, listing.objects, &metadata));
            }
            let objects = listing.objects.into_iter().map(|object| object.bytes().clone());
            Ok(stream(context, resource, size, objects, &metadata))
        }
        _ => {
            let items: Vec<Value> = listing
                .objects
                .iter()
                .map(|object| item(resource, served(resource, object.parse())))
                .collect();
            let list = json!({"kind": resource.list_kind, "apiVersion": resource.api_version(), "metadata": metadata, "items": items});
            Ok(Answer::value(StatusCode::OK, context.accepted, &list))
        }
    }
}

/// Refuses forms that a list can't take, once there is a list; what the rows of a table carry.
pub(super) fn check_form(context: &Context, resource: &Resource) -> Result<table::Include, Status> {
    match context.accepted.form {
        Form::Partial => Err(Status::new(
            406,
            "NotAcceptable",
            format!(
                "you requested PartialObjectMetadata, but the requested object is a list (*{})",
                read::go_type(resource, true)
            ),
        )),
        Form::Table => table::Include::parse(context.query.text("includeObject")),
        _ => Ok(table::Include::default()),
    }
}

/// A list that is too old to be read to its end can be read on as it is now, by the token that is told.
fn goes_on(scope: &str, page: &Page, mut status: Status) -> Status {
    if let (410, Some((next, _))) = (status.code, &page.from) {
        status.next = Some(continue_token::write(scope, next, -1));
    }
    status
}

/// The metadata of a list.
pub(super) fn metadata(context: &Context, resource: &Resource, listing: &Listing, revision: u64) -> Value {
    let mut metadata = json!({"resourceVersion": revision.to_string()});
    if resource.is_custom() && context.accepted.form == Form::Object {
        // Unstructured lists print an empty token.
        metadata["continue"] = "".into();
    }
    if let Some(next) = &listing.next {
        let revision = i64::try_from(revision).unwrap_or(-1);
        metadata["continue"] =
            continue_token::write(&resource.scope(context.info.scope()), next, revision).into();
    }
    if let Some(remaining) = listing.remaining {
        metadata["remainingItemCount"] = remaining.into();
    }
    metadata
}

/// What comes before the items of a list, and after them.
fn frame(resource: &Resource, metadata: &Value) -> (String, &'static [u8]) {
    let head = format!(
        "{{\"kind\":{},\"apiVersion\":{},\"metadata\":{metadata},\"items\":[",
        json!(resource.list_kind),
        json!(resource.api_version())
    );
    (head, b"]}\n")
}

/// A large list in gzip.
fn gzip(context: &Context, resource: &Arc<Resource>, objects: Vec<Arc<Object>>, metadata: &Value) -> Answer {
    let (head, tail) = frame(resource, metadata);
    let kept = context.server.inner.pieces.clone();
    let chunks = pieces::gzip(kept, resource.clone(), head, objects, tail);
    let mut answer = Answer::of(StatusCode::OK, Media::Json.content_type(), Bytes::new());
    answer.body = crate::body::stream(futures::stream::iter(chunks));
    compress::mark(&mut answer);
    answer
}

/// The list of these objects, given as stored, as chunks that are made as fast as the client takes them.
pub(super) fn stream(
    context: &Context,
    resource: &Arc<Resource>,
    size: usize,
    mut objects: impl Iterator<Item = Bytes> + Send + 'static,
    metadata: &Value,
) -> Answer {
    let (head, tail) = frame(resource, metadata);
    let in_one = size < limits::LIST_CHUNK_BYTES;
    let capacity = if in_one { head.len() + size + tail.len() } else { limits::LIST_CHUNK_BYTES + 16_384 };
    let items = Items::of(resource);
    let mut state = Some((head, true));
    let mut chunks = std::iter::from_fn(move || {
        let (head, mut first) = state.take()?;
        let mut buffer = BytesMut::with_capacity(capacity);
        buffer.put_slice(head.as_bytes());
        for object in objects.by_ref() {
            if !first {
                buffer.put_u8(b',');
            }
            first = false;
            items.write(&mut buffer, &object);
            if !in_one && buffer.len() >= limits::LIST_CHUNK_BYTES {
                state = Some((String::new(), false));
                return Some(buffer.freeze());
            }
        }
        buffer.put_slice(tail);
        Some(buffer.freeze())
    });
    if in_one {
        let whole = chunks.next().unwrap_or_default();
        return compress::whole(context, StatusCode::OK, Media::Json, whole);
    }
    compress::streamed(context, Media::Json, chunks)
}
