//! The body of a target's answer on its way to the client.
//!
//! It is passed on as it comes; nothing of it is kept.

use crate::targets::InFlight;
use bytes::Bytes;
use dataplane_l7::BodyError;
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;
use std::pin::Pin;
use std::task::{Context, Poll};

/// Why a request that is still running ends with the deregistration delay of its target.
pub(crate) const DELAY_OVER: &str = "the deregistration delay ran out";

/// Ends when the target has left its target group.
pub(crate) type Left = Pin<Box<dyn Future<Output = ()> + Send + Sync>>;

/// A body that keeps its request counted until it has been sent, and ends when its target leaves.
pub(crate) struct Counted {
    body: Incoming,
    _in_flight: InFlight,
    left: Left,
}

impl Counted {
    pub(crate) fn new(body: Incoming, in_flight: InFlight, left: Left) -> Self {
        Counted { body, _in_flight: in_flight, left }
    }
}

impl http_body::Body for Counted {
    type Data = Bytes;
    type Error = BodyError;
    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match Pin::new(&mut self.body).poll_frame(cx) {
            Poll::Pending if self.left.as_mut().poll(cx).is_ready() => {
                Poll::Ready(Some(Err(DELAY_OVER.into())))
            }
            polled => polled.map_err(Into::into),
        }
    }
    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }
    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
