//! How a session lives and ends, whatever its protocol: reading, writing and its handler side by side.

use std::sync::{Mutex, PoisonError};

use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use crate::limits;

/// What the parts of a session share about its end.
#[derive(Debug)]
pub(crate) struct Life {
    /// When something last came or went.
    seen: Mutex<Instant>,
    /// Cancelled when the session is over: its streams lead nowhere any more.
    pub over: CancellationToken,
    /// Cancelled when the writer shall send what waits, say goodbye and close.
    pub goodbye: CancellationToken,
}

impl Default for Life {
    fn default() -> Self {
        Self {
            seen: Mutex::new(Instant::now()),
            over: CancellationToken::new(),
            goodbye: CancellationToken::new(),
        }
    }
}

impl Life {
    /// Something came or went.
    pub(crate) fn touch(&self) {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    fn deadline(&self) -> Instant {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) + limits::STREAM_IDLE_MAX
    }

    async fn idle(&self) {
        loop {
            let deadline = self.deadline();
            sleep_until(deadline).await;
            if self.deadline() <= Instant::now() {
                return;
            }
        }
    }
}

/// Runs a session until its handler is done, its client leaves, `stop` is cancelled, or nothing happens for too long.
///
/// `reading` ends when the client has left, `writing` when it is gone or after the goodbye.
pub(crate) async fn conduct(
    life: &Life,
    stop: CancellationToken,
    reading: impl Future<Output = ()>,
    writing: impl Future<Output = ()>,
    handling: impl Future<Output = ()>,
) {
    let mut reading = std::pin::pin!(reading);
    let mut writing = std::pin::pin!(writing);
    let (mut may_read, mut may_write) = (true, true);
    {
        let mut handling = std::pin::pin!(handling);
        tokio::select! {
            () = &mut handling => {}
            () = stop.cancelled() => {}
            () = life.idle() => tracing::debug!("a stream session was idle for too long"),
            () = &mut writing => may_write = false,
            () = &mut reading => may_read = false,
        }
    }
    life.over.cancel();
    life.goodbye.cancel();
    // What was said is still sent, and read until the client closes: else its machine may drop what it has not read.
    let farewell = async {
        tokio::join!(
            async {
                if may_write {
                    writing.await;
                }
            },
            async {
                if may_read && may_write {
                    reading.await;
                }
            }
        );
    };
    if timeout(limits::STREAM_FAREWELL_MAX, farewell).await.is_err() {
        tracing::debug!("the client of a stream session did not take its end");
    }
}
