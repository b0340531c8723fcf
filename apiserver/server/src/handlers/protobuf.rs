//! Protobuf of stored objects: each is parsed and written by itself, so that a list is never there as a whole.
//!
//! A list's envelope says how long the list is before its first item. What is written while the length is found out
//! is kept up to a bound, and written again beyond it: a large list costs time, not memory.

use std::sync::Arc;

use apiserver_json::Value;
use apiserver_meta::packed;
use apiserver_registry::Resource;
use apiserver_schema::protobuf::{
    Message, write_event, write_list_head, write_list_item, write_message, write_prefix, write_suffix,
};
use bytes::Bytes;
use http::StatusCode;

use super::served;
use crate::answer::Answer;
use crate::compress;
use crate::context::Context;
use crate::limits;
use crate::negotiate::{Form, Media};
use crate::table;

/// Objects parsed between two looks at what else the server has to do.
const BATCH: usize = 64;

/// What a list's items are written as.
struct Items {
    resource: Arc<Resource>,
    form: Form,
    message: Option<Message>,
}

impl Items {
    fn message(&self, stored: &[u8]) -> Vec<u8> {
        let Some(message) = self.message else { return Vec::new() };
        write_message(message, &tree(&self.resource, stored, self.form))
    }
}

/// A stored object as a packed tree, in the version and the form of the request.
pub(super) fn tree(resource: &Resource, stored: &[u8], form: Form) -> Value {
    // What is stored was serialised by this server; a damaged record is refused when the log is loaded.
    let value = served(resource, packed::parse(stored).unwrap_or_default());
    if form == Form::Object { value } else { table::partial(&value) }
}

/// The list of these objects, given as stored, as chunks that are made as fast as the client takes them.
pub(super) async fn list(
    context: &Context<'_>,
    resource: &Arc<Resource>,
    objects: Vec<Bytes>,
    metadata: &Value,
) -> Answer {
    let form = context.accepted.form;
    let api_version = resource.api_version();
    let (api_version, item_kind, list_kind) = match form {
        Form::Object => (api_version.as_str(), resource.kind.as_str(), resource.list_kind.as_str()),
        _ => ("meta.k8s.io/v1", "PartialObjectMetadata", "PartialObjectMetadataList"),
    };
    let items = Items { resource: resource.clone(), form, message: Message::of(api_version, item_kind) };
    let mut body = Vec::new();
    write_list_head(&mut body, metadata);
    let (mut length, mut kept) = (body.len(), 0);
    for (i, object) in objects.iter().enumerate() {
        let message = items.message(object);
        length += item_length(message.len());
        if body.len() < limits::LIST_KEPT_BYTES {
            write_list_item(&mut body, &message);
            kept = i + 1;
        }
        if i % BATCH == BATCH - 1 {
            tokio::task::yield_now().await;
        }
    }
    let mut head = Vec::with_capacity(body.len() + 128);
    write_prefix(&mut head, api_version, list_kind, length);
    head.extend_from_slice(&body);
    drop(body);
    if kept == objects.len() {
        write_suffix(&mut head);
        return compress::whole(context, StatusCode::OK, Media::Protobuf, head.into());
    }
    let chunks = chunks(items, head, objects.into_iter().skip(kept));
    compress::streamed(context, Media::Protobuf, chunks)
}

/// The rest of a list after what was kept.
fn chunks(
    items: Items,
    head: Vec<u8>,
    mut objects: impl Iterator<Item = Bytes> + Send + 'static,
) -> impl Iterator<Item = Bytes> + Send + 'static {
    let mut head = Some(head);
    let mut ended = false;
    std::iter::from_fn(move || {
        if let Some(head) = head.take() {
            return Some(head.into());
        }
        if ended {
            return None;
        }
        let mut chunk = Vec::with_capacity(limits::LIST_CHUNK_BYTES + 16_384);
        while chunk.len() < limits::LIST_CHUNK_BYTES {
            let Some(object) = objects.next() else {
                write_suffix(&mut chunk);
                ended = true;
                break;
            };
            write_list_item(&mut chunk, &items.message(&object));
        }
        Some(chunk.into())
    })
}

/// Bytes of an item in a list: a key, its length, itself.
fn item_length(message: usize) -> usize {
    let bits = usize::BITS - (message | 1).leading_zeros();
    1 + bits.div_ceil(7) as usize + message
}

/// The frame of a watch event.
pub(super) fn event(kind: &str, object: &Value) -> Bytes {
    let body = apiserver_schema::to_protobuf(object).unwrap_or_default();
    let mut frame = Vec::with_capacity(body.len() + 32);
    write_event(&mut frame, kind, &body);
    frame.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_length_of_an_item_is_what_is_written() {
        for length in [0, 1, 127, 128, 16_383, 16_384, 2_097_151, 2_097_152] {
            let mut out = Vec::new();
            write_list_item(&mut out, &vec![0; length]);
            assert_eq!(item_length(length), out.len());
        }
    }
}
