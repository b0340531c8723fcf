//! What a connection writes, gathered while its task runs and sent when it has nothing more to do: HTTP/2 flushes each
//! frame, and a system call and a TLS record for each of many small ones cost more than the frames themselves.

use std::future::{Future, poll_fn};
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker, ready};

use futures::task::AtomicWaker;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes that wait at most; a writer of more waits for the socket.
const WAITING_MAX: usize = 64 * 1024;
/// Bytes there is room for at first.
const WAITING_AT_FIRST: usize = 16 * 1024;

/// A socket whose bytes wait to be sent, for whoever writes to it.
pub(crate) struct Gathered<S>(Arc<Mutex<State<S>>>);

/// The other end of it, for whoever knows when to send.
pub(crate) struct Sender<S>(Arc<Mutex<State<S>>>);

struct State<S> {
    socket: S,
    waiting: Vec<u8>,
    /// So many of these were sent.
    sent: usize,
    /// Nobody else sends any more: a flush does.
    sends_when_flushed: bool,
    /// Who waits for the socket, which remembers only the last one that asked.
    blocked: Vec<Waker>,
    failed: Option<io::ErrorKind>,
}

/// Both ends of a socket.
pub(crate) fn gathered<S>(socket: S) -> (Gathered<S>, Sender<S>) {
    let state = State {
        socket,
        waiting: Vec::new(),
        sent: 0,
        sends_when_flushed: false,
        blocked: Vec::new(),
        failed: None,
    };
    let state = Arc::new(Mutex::new(state));
    (Gathered(state.clone()), Sender(state))
}

fn lock<S>(state: &Mutex<State<S>>) -> MutexGuard<'_, State<S>> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<S: AsyncWrite + Unpin> State<S> {
    /// Sends what waits.
    fn send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some(kind) = self.failed {
            return Poll::Ready(Err(kind.into()));
        }
        let outcome = self.try_send(cx);
        let outcome = ready!(self.noted(cx, outcome));
        self.sent = 0;
        self.waiting = Vec::new();
        self.failed = outcome.as_ref().err().map(io::Error::kind);
        Poll::Ready(outcome)
    }

    fn has_unsent(&self) -> bool {
        self.sent < self.waiting.len()
    }

    /// Who could not go on is remembered, and goes on when somebody else could.
    fn noted<T>(&mut self, cx: &Context<'_>, outcome: Poll<T>) -> Poll<T> {
        let is_other = |waker: &Waker| !waker.will_wake(cx.waker());
        if outcome.is_pending() {
            if self.blocked.iter().all(is_other) {
                self.blocked.push(cx.waker().clone());
            }
        } else {
            self.blocked.drain(..).filter(is_other).for_each(Waker::wake);
        }
        outcome
    }

    fn flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.send(cx))?;
        let outcome = Pin::new(&mut self.socket).poll_flush(cx);
        self.noted(cx, outcome)
    }

    fn try_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.has_unsent() {
            match ready!(Pin::new(&mut self.socket).poll_write(cx, &self.waiting[self.sent..]))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                count => self.sent += count,
            }
        }
        Poll::Ready(Ok(()))
    }

    fn write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.failed.is_some() || self.waiting.len() >= WAITING_MAX {
            ready!(self.send(cx))?;
        }
        if self.waiting.is_empty() && bytes.len() >= WAITING_MAX {
            let outcome = Pin::new(&mut self.socket).poll_write(cx, bytes);
            return self.noted(cx, outcome);
        }
        if self.waiting.capacity() == 0 {
            self.waiting.reserve(WAITING_AT_FIRST.max(bytes.len().min(WAITING_MAX)));
        }
        let count = bytes.len().min(WAITING_MAX - self.waiting.len());
        self.waiting.extend_from_slice(&bytes[..count]);
        Poll::Ready(Ok(count))
    }
}

impl<S> Drop for Gathered<S> {
    fn drop(&mut self) {
        // It may be the one the socket remembers.
        lock(&self.0).blocked.drain(..).for_each(Waker::wake);
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Gathered<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut lock(&self.0).socket).poll_read(cx, into)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Gathered<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        lock(&self.0).write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut state = lock(&self.0);
        let mut written = 0;
        for part in parts.iter().filter(|part| !part.is_empty()) {
            match state.write(cx, part) {
                Poll::Ready(Ok(count)) => {
                    written += count;
                    if count < part.len() {
                        break;
                    }
                }
                // What is written is; what went wrong is told next time.
                _ if written > 0 => break,
                other => return other,
            }
        }
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut state = lock(&self.0);
        if state.sends_when_flushed { state.flush(cx) } else { Poll::Ready(Ok(())) }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut state = lock(&self.0);
        ready!(state.send(cx))?;
        let outcome = Pin::new(&mut state.socket).poll_shutdown(cx);
        state.noted(cx, outcome)
    }
}

impl<S: AsyncWrite + Unpin> Sender<S> {
    /// Runs what writes, and sends each time it pauses, after whoever is ready at that moment has run: the answers of a
    /// batch of writes, or an event to all who watch, leave together. Once it is done, whoever the socket was given to
    /// flushes it.
    pub(crate) async fn run<F: Future>(self, writer: F) -> F::Output {
        let mut writer = pin!(writer);
        let woken = Arc::new(Woken { is_woken: AtomicBool::new(true), task: AtomicWaker::new() });
        let waker = Waker::from(woken.clone());
        let mut has_yielded = false;
        let output = poll_fn(|cx| {
            woken.task.register(cx.waker());
            if woken.is_woken.swap(false, Ordering::AcqRel) {
                let output = writer.as_mut().poll(&mut Context::from_waker(&waker));
                if output.is_ready() {
                    return output;
                }
                if !has_yielded && lock(&self.0).has_unsent() {
                    // Who yields runs after all who are ready now, and they may have more to write.
                    has_yielded = true;
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
            }
            has_yielded = false;
            // What goes wrong is told to the writer the next time it writes; whoever waits for a peer that is gone reads.
            let _ = lock(&self.0).flush(cx);
            Poll::Pending
        })
        .await;
        lock(&self.0).sends_when_flushed = true;
        let _ = poll_fn(|cx| lock(&self.0).flush(cx)).await;
        output
    }
}

/// Tells whether a task runs because of what it polls, or for another reason.
struct Woken {
    is_woken: AtomicBool,
    task: AtomicWaker,
}

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.is_woken.store(true, Ordering::Release);
        self.task.wake();
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn what_is_written_is_sent_when_the_writer_pauses() {
        let (socket, mut peer) = tokio::io::duplex(1 << 20);
        let (mut out, sender) = gathered(socket);
        let (go_on, pause) = tokio::sync::oneshot::channel::<()>();
        let writer = tokio::spawn(sender.run(async move {
            for _ in 0..3 {
                out.write_all(b"frame ").await.unwrap();
                out.flush().await.unwrap();
            }
            assert_eq!(lock(&out.0).waiting.len(), 18);
            pause.await.unwrap();
            assert!(lock(&out.0).waiting.is_empty());
            out.write_all(b"last").await.unwrap();
            out
        }));
        let mut seen = [0; 18];
        peer.read_exact(&mut seen).await.unwrap();
        assert_eq!(&seen, b"frame frame frame ");
        go_on.send(()).unwrap();
        // Its own now: a flush sends.
        let mut out = writer.await.unwrap();
        out.write_all(b", after").await.unwrap();
        out.flush().await.unwrap();
        let mut seen = [0; 11];
        peer.read_exact(&mut seen).await.unwrap();
        assert_eq!(&seen, b"last, after");
        out.shutdown().await.unwrap();
        assert_eq!(peer.read(&mut seen).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn what_those_who_are_ready_have_to_say_goes_along() {
        let (socket, mut peer) = tokio::io::duplex(1 << 20);
        let (mut out, sender) = gathered(socket);
        let (event, seen) = tokio::sync::oneshot::channel();
        let writer = tokio::spawn(sender.run(async move {
            out.write_all(b"one ").await.unwrap();
            out.write_all(seen.await.unwrap()).await.unwrap();
            assert_eq!(lock(&out.0).waiting, b"one two ");
            // Whoever always has more to say does not keep back what it said.
            tokio::task::yield_now().await;
            tokio::task::yield_now().await;
            assert!(lock(&out.0).waiting.is_empty());
        }));
        tokio::spawn(async { event.send(b"two ") });
        writer.await.unwrap();
        let mut seen = [0; 8];
        peer.read_exact(&mut seen).await.unwrap();
        assert_eq!(&seen, b"one two ");
    }

    #[tokio::test]
    async fn no_more_waits_than_may_and_all_comes_in_order() {
        let (socket, mut peer) = tokio::io::duplex(1000);
        let (mut out, sender) = gathered(socket);
        let want: Vec<u8> = (0..40_u32).flat_map(|i| vec![i as u8; 10_007]).collect();
        let all = want.clone();
        let writer = tokio::spawn(sender.run(async move {
            let (large, small) = all.split_at(100_000);
            let mut at = 0;
            while at < large.len() {
                let parts = [IoSlice::new(&large[at..at + 1]), IoSlice::new(&large[at + 1..])];
                at += poll_fn(|cx| Pin::new(&mut out).poll_write_vectored(cx, &parts)).await.unwrap();
                assert!(lock(&out.0).waiting.len() <= WAITING_MAX);
            }
            for part in small.chunks(777) {
                out.write_all(part).await.unwrap();
                assert!(lock(&out.0).waiting.len() <= WAITING_MAX);
            }
        }));
        let mut seen = vec![0; want.len()];
        peer.read_exact(&mut seen).await.unwrap();
        assert!(seen == want);
        writer.await.unwrap();
    }

    #[tokio::test]
    async fn both_ends_may_wait_for_the_socket() {
        let (socket, mut peer) = tokio::io::duplex(100);
        let (mut out, sender) = gathered(socket);
        let (hand_over, taken) = tokio::sync::oneshot::channel();
        let writer = tokio::spawn(sender.run(async move {
            out.write_all(&[1; 1000]).await.unwrap();
            hand_over.send(out).ok().unwrap();
        }));
        let mut out = taken.await.unwrap();
        // The sender waits for the socket with the first bytes; now its new owner does, too, and the socket knows only one.
        let session = tokio::spawn(async move {
            for _ in 0..100 {
                out.write_all(&[2; 1000]).await.unwrap();
                out.flush().await.unwrap();
            }
            out.shutdown().await.unwrap();
        });
        tokio::task::yield_now().await;
        let mut seen = Vec::new();
        let all = peer.read_to_end(&mut seen);
        tokio::time::timeout(std::time::Duration::from_secs(60), all).await.unwrap().unwrap();
        assert!(seen[..1000].iter().all(|byte| *byte == 1) && seen[1000..].iter().all(|byte| *byte == 2));
        assert_eq!(seen.len(), 101_000);
        session.await.unwrap();
        writer.await.unwrap();
    }

    #[tokio::test]
    async fn a_peer_that_is_gone_is_told_of_when_more_is_written() {
        let (socket, peer) = tokio::io::duplex(1000);
        drop(peer);
        let (mut out, sender) = gathered(socket);
        let outcome = sender.run(async move {
            out.write_all(b"x").await.unwrap();
            // What is written goes out after those that were ready.
            tokio::task::yield_now().await;
            tokio::task::yield_now().await;
            out.write_all(b"y").await
        });
        assert_eq!(outcome.await.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }
}
