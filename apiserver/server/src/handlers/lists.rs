//! LIST: a page of a snapshot, written as one concatenation of shared bytes.

use std::sync::Arc;

use apiserver_json::{Value, json};
use apiserver_meta::field::FieldError;
use apiserver_meta::field::go_quote;
use apiserver_meta::{GroupVersionKind, Status};
use apiserver_registry::{Listing, Page, Resource};
use apiserver_watchcache::Object;
use bytes::{BufMut, Bytes, BytesMut};
use http::StatusCode;

use super::items::Items;
use super::{item, options, pieces, protobuf, read, served};
use crate::compress;
use crate::dispatch::{Answer, Context};
use crate::limits;
use crate::negotiate::{Form, Media};
use crate::table;

/// Answers a list.
pub(super) async fn list(context: &Context<'_>, resource: &Arc<Resource>) -> Result<Answer, Status> {
    if context.accepted.form == Form::Partial {
        let go_type = read::go_type(resource, &resource.list_kind);
        return Err(Status::new(
            406,
            "NotAcceptable",
            format!("you requested PartialObjectMetadata, but the requested object is a list (*{go_type})"),
        ));
    }
    let include = table::Include::parse(context.query.text("includeObject"));
    let include = if context.accepted.form == Form::Table { include? } else { table::Include::default() };
    let selectors = options::selectors(context, resource)?;
    let page = page(context, resource)?;
    let call = context.plain_call(resource);
    let listing = context.server.registry().list(&call, &selectors, &page).await?;
    let revision = page.from.as_ref().map_or(listing.revision, |(_, revision)| *revision);
    let mut metadata = metadata(resource, &listing, revision);
    if context.accepted.form != Form::Object
        && metadata["continue"] == ""
        && let Some(map) = metadata.as_object_mut()
    {
        // Only lists of the objects themselves print an empty token.
        map.remove("continue");
    }
    match (context.accepted.form, context.accepted.media) {
        (Form::Table, _) => {
            let rows = listing
                .objects
                .iter()
                .map(|object| table::row(resource, &served(resource, object.parse()), include))
                .collect();
            let mut table = table::table(resource, rows, &revision.to_string(), true);
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

fn metadata(resource: &Resource, listing: &Listing, revision: u64) -> Value {
    let mut metadata = json!({"resourceVersion": revision.to_string()});
    if resource.is_custom() {
        // Unstructured lists print an empty token.
        metadata["continue"] = "".into();
    }
    if let Some(next) = &listing.next {
        let start = next.get(resource.prefix.len()..).unwrap_or("");
        let token = json!({"v": "meta.k8s.io/v1", "rv": revision, "start": start}).to_string();
        metadata["continue"] = base64_url(token.as_bytes()).into();
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

/// Which page of which state is asked for.
fn page(context: &Context, resource: &Resource) -> Result<Page, Status> {
    let query = context.query;
    let (version, matching, token) =
        (query.text("resourceVersion"), query.text("resourceVersionMatch"), query.text("continue"));
    check_match(version, matching, token)?;
    let mut page =
        Page { limit: query.text("limit").parse::<i64>().unwrap_or(0).max(0) as usize, ..Page::default() };
    if !token.is_empty() {
        if !version.is_empty() && version != "0" {
            return Err(Status::bad_request(
                "specifying resource version is not allowed when using continue",
            ));
        }
        page.from = Some(read_token(token, resource)?);
        return Ok(page);
    }
    if !version.is_empty() {
        let revision = read::parse_version(version).map_err(|why| {
            Status::bad_request(format!(
                "invalid resource version: resourceVersion: Invalid value: {}: {why}",
                go_quote(version)
            ))
        })?;
        match matching {
            "Exact" => page.exact = Some(revision),
            _ if page.limit > 0 && matching.is_empty() && revision > 0 => page.exact = Some(revision),
            _ => page.at_least = Some(revision),
        }
    }
    Ok(page)
}

fn check_match(version: &str, matching: &str, token: &str) -> Result<(), Status> {
    let mut errors = Vec::new();
    if !matching.is_empty() {
        if version.is_empty() && token.is_empty() {
            errors.push(FieldError::forbidden(
                "resourceVersionMatch",
                "resourceVersionMatch is forbidden unless resourceVersion is provided",
            ));
        }
        if !token.is_empty() {
            errors.push(FieldError::forbidden(
                "resourceVersionMatch",
                "resourceVersionMatch is forbidden when continue is provided",
            ));
        }
        if !["Exact", "NotOlderThan"].contains(&matching) {
            errors.push(FieldError::not_supported_in_order(
                "resourceVersionMatch",
                &matching.into(),
                &["Exact", "NotOlderThan", ""],
            ));
        }
        if matching == "Exact" && version == "0" {
            errors.push(FieldError::forbidden(
                "resourceVersionMatch",
                "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"",
            ));
        }
    }
    if errors.is_empty() {
        return Ok(());
    }
    Err(Status::invalid(&GroupVersionKind::new("meta.k8s.io", "v1", "ListOptions"), "", &errors))
}

fn read_token(token: &str, resource: &Resource) -> Result<(String, u64), Status> {
    let refuse = |why: String| {
        Status::bad_request(format!("invalid continue token: continue key is not valid: {why}"))
    };
    let raw = unbase64_url(token).ok_or_else(|| refuse("illegal base64 data".to_owned()))?;
    let value: Value =
        apiserver_json::from_slice(&raw).map_err(|error| refuse(super::json_error(&raw, &error)))?;
    if value["v"] != "meta.k8s.io/v1" {
        return Err(refuse(format!("server does not recognize this encoded version {}", value["v"])));
    }
    let start = value["start"].as_str().unwrap_or("");
    if start.is_empty() || start.contains("..") {
        return Err(refuse("encoded start key empty (version meta.k8s.io/v1)".to_owned()));
    }
    let revision = value["rv"].as_u64().unwrap_or(0);
    Ok((format!("{}{start}", resource.prefix), revision))
}

const URL_ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

fn base64_url(bytes: &[u8]) -> String {
    let mut out = String::new();
    for chunk in bytes.chunks(3) {
        let block =
            chunk.iter().enumerate().fold(0u32, |block, (i, byte)| block | u32::from(*byte) << (16 - 8 * i));
        for i in 0..=chunk.len() {
            out.push(char::from(URL_ALPHABET[(block >> (18 - 6 * i) & 63) as usize]));
        }
    }
    out
}

fn unbase64_url(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let (mut block, mut bits) = (0u32, 0);
    for byte in text.trim_end_matches('=').bytes() {
        let value = URL_ALPHABET.iter().position(|known| *known == byte)? as u32;
        block = block << 6 | value;
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            out.push((block >> bits & 0xff) as u8);
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_survive() {
        for text in ["", "a", "ab", "abc", "{\"rv\":12}"] {
            assert_eq!(unbase64_url(&base64_url(text.as_bytes())).unwrap(), text.as_bytes());
        }
        assert_eq!(unbase64_url("gar*"), None);
    }
}
