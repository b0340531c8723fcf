//! Bodies of requests and answers.

use apiserver_meta::Status;
use bytes::Bytes;
use futures::Stream;
use http_body::{Body, Frame};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};

use crate::limits;

/// Any error of a body.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A request's body, whatever brought it.
pub type RequestBody = UnsyncBoxBody<Bytes, BoxError>;

/// An answer's body: whole, or a stream of chunks.
pub type ResponseBody = UnsyncBoxBody<Bytes, BoxError>;

/// A whole body.
pub(crate) fn full(bytes: impl Into<Bytes>) -> ResponseBody {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

/// A body that arrives in chunks.
pub(crate) fn stream(chunks: impl Stream<Item = Result<Bytes, BoxError>> + Send + 'static) -> ResponseBody {
    use futures::StreamExt;
    StreamBody::new(chunks.map(|chunk| chunk.map(Frame::data))).boxed_unsync()
}

/// The whole of a body.
///
/// # Errors
/// 413 past the limit, 400 where it breaks off.
pub(crate) async fn collect(mut body: RequestBody) -> Result<Bytes, Status> {
    let mut whole = bytes::BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame =
            frame.map_err(|error| Status::bad_request(format!("the body could not be read: {error}")))?;
        let Ok(chunk) = frame.into_data() else { continue };
        if whole.len() + chunk.len() > limits::BODY_BYTES_MAX {
            drop_rest(body).await;
            return Err(Status::too_large(format!(
                "Request entity too large: limit is {}",
                limits::BODY_BYTES_MAX
            )));
        }
        if whole.is_empty() && body.is_end_stream() {
            return Ok(chunk);
        }
        whole.extend_from_slice(&chunk);
    }
    Ok(whole.freeze())
}

/// Reads what a client still sends, within bounds.
async fn drop_rest(mut body: RequestBody) {
    let mut dropped = 0;
    while let Some(Ok(frame)) = body.frame().await
        && dropped < limits::BODY_BYTES_DROPPED_MAX
    {
        dropped += frame.data_ref().map_or(0, Bytes::len);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test]
    async fn a_body_that_is_too_large_is_read_before_it_is_refused() {
        for (megabytes, read) in [(3, 3), (5, 5), (40, 21)] {
            let count = Arc::new(AtomicUsize::new(0));
            let seen = count.clone();
            let frames = futures::stream::iter((0..megabytes).map(move |_| {
                seen.fetch_add(1, Ordering::Relaxed);
                Ok(http_body::Frame::data(Bytes::from(vec![0; 1 << 20])))
            }));
            let outcome = collect(StreamBody::new(frames).boxed_unsync()).await;
            assert_eq!(outcome.err().map(|status| status.code), (megabytes > 3).then_some(413));
            assert_eq!(count.load(Ordering::Relaxed), read, "of {megabytes}");
        }
    }
}
