//! Waiting for the next request, but not past a deadline.

use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::Instant;

use tokio::sync::mpsc::Receiver;

/// What came first.
pub(crate) enum Next<T> {
    Request(T),
    /// The deadline.
    Due,
    /// Nobody is left to ask.
    Closed,
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Blocks this thread, which must not be one of a runtime's.
pub(crate) fn next<T>(inbox: &mut Receiver<T>, due: Option<Instant>) -> Next<T> {
    let Some(due) = due else {
        return inbox.blocking_recv().map_or(Next::Closed, Next::Request);
    };
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    loop {
        match inbox.poll_recv(&mut Context::from_waker(&waker)) {
            Poll::Ready(request) => return request.map_or(Next::Closed, Next::Request),
            Poll::Pending => match due.checked_duration_since(Instant::now()) {
                Some(left) if !left.is_zero() => std::thread::park_timeout(left),
                _ => return Next::Due,
            },
        }
    }
}
