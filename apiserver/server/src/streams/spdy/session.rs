//! A session: frames of one connection to streams and back. It ends with its handler, its client, or its server.
//!
//! Nobody waits for the writer while reading, and nothing here grows with what a client sends: streams, chunks and
//! unread answers are counted. As upstream's, a stream whose reader is slow holds up the others of its session.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::mpsc;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::frame::{Decoder, Encoder, Error, Frame, Reset};
use super::headers::Headers;
use crate::limits;
use crate::streams::conduct::{Life, conduct};
use crate::streams::pipe::{Feed, Out, Room, Sink, Source};

/// Status of a goodbye to a client that broke the rules.
const PROTOCOL_ERROR: u32 = 1;

/// A stream that the client opened. It waits for [`Sink::accept`] or [`Sink::reset`].
#[derive(Debug)]
pub(crate) struct Opened {
    pub id: u32,
    pub headers: Headers,
    pub source: Source,
    pub sink: Sink,
}

/// One stream, as long as one of its directions is open.
struct Entry {
    /// Missing once the client has said all.
    feed: Option<Feed>,
    /// This side has said all.
    finished: bool,
    gone: CancellationToken,
}

/// What reading and writing share.
#[derive(Default)]
struct Shared {
    streams: Mutex<HashMap<u32, Entry>>,
    /// The status of the last frame: 1 where the client broke the rules.
    status: AtomicU32,
    life: Life,
}

impl Shared {
    fn streams(&self) -> MutexGuard<'_, HashMap<u32, Entry>> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn feed(&self, stream: u32) -> Option<Feed> {
        self.streams().get(&stream)?.feed.clone()
    }

    fn finished(&self, stream: u32) {
        let mut streams = self.streams();
        if let Some(entry) = streams.get_mut(&stream) {
            entry.finished = true;
            if entry.feed.is_none() {
                streams.remove(&stream);
            }
        }
    }

    fn said_all(&self, stream: u32) {
        let mut streams = self.streams();
        if let Some(entry) = streams.get_mut(&stream) {
            entry.feed = None;
            if entry.finished {
                streams.remove(&stream);
            }
        }
    }

    fn remove(&self, stream: u32) {
        if let Some(entry) = self.streams().remove(&stream) {
            entry.gone.cancel();
        }
    }
}

/// Serves a connection until `handler` is done with its streams, the client leaves, or `stop` is cancelled.
pub(crate) async fn serve<T, F>(
    io: T,
    stop: CancellationToken,
    handler: impl FnOnce(mpsc::Receiver<Opened>) -> F,
) where
    T: AsyncRead + AsyncWrite,
    F: Future<Output = ()>,
{
    let (read, write) = tokio::io::split(io);
    let shared = Arc::new(Shared::default());
    let (opened, streams) = mpsc::channel(limits::STREAMS_MAX);
    let (queue, writes) = mpsc::channel(limits::STREAM_WRITES_MAX);
    let (answers, answering) = mpsc::channel(limits::STREAM_ANSWERS_MAX);
    let room = Room::default();
    let reading = Reading { read, shared: shared.clone(), opened, queue, answers, last: 0, room };
    let encoder = Encoder::default();
    let writing = Writing { write, shared: shared.clone(), writes, answers: answering, encoder };
    conduct(&shared.life, stop, reading.run(), writing.run(), handler(streams)).await;
}

struct Reading<T> {
    read: ReadHalf<T>,
    shared: Arc<Shared>,
    opened: mpsc::Sender<Opened>,
    queue: mpsc::Sender<Out>,
    answers: mpsc::Sender<Frame>,
    /// The newest stream of the client.
    last: u32,
    room: Room,
}

impl<T: AsyncRead + AsyncWrite> Reading<T> {
    /// Until the client says goodbye, is gone without, or breaks the rules.
    async fn run(mut self) {
        if let Err(error) = self.frames().await {
            tracing::debug!(error = %error, "a stream session broke");
            self.shared.status.store(PROTOCOL_ERROR, Ordering::Relaxed);
        }
    }

    async fn frames(&mut self) -> Result<(), Error> {
        let mut decoder = Decoder::default();
        let mut buffer = BytesMut::new();
        loop {
            while let Some(frame) = decoder.decode(&mut buffer)? {
                // An answer to a ping of ours is no sign of use; a ping of the client is, as upstream's count it.
                if !matches!(frame, Frame::Ping(number) if number % 2 == 0) {
                    self.shared.life.touch();
                }
                if matches!(frame, Frame::GoAway { .. }) {
                    return Ok(());
                }
                self.frame(frame).await?;
            }
            buffer.reserve(limits::STREAM_CHUNK_BYTES);
            match self.read.read_buf(&mut buffer).await {
                Ok(0) => return Ok(()),
                Ok(_) => {}
                Err(error) => {
                    tracing::debug!(error = %error, "the client of a stream session is gone");
                    return Ok(());
                }
            }
        }
    }

    /// An answer that the client has to take: one that leaves all of them unread is hostile.
    fn answer(&self, frame: Frame) -> Result<(), Error> {
        self.answers.try_send(frame).map_err(|_| Error::Frame)
    }

    async fn frame(&mut self, frame: Frame) -> Result<(), Error> {
        match frame {
            Frame::Open { stream, fin, headers } => self.open(stream, fin, headers),
            Frame::Data { stream, fin, bytes } => {
                // Bytes for a stream that is gone are dropped: the client may not know yet.
                if let Some(feed) = self.shared.feed(stream) {
                    feed.put(bytes).await;
                }
                if fin {
                    self.shared.said_all(stream);
                }
                Ok(())
            }
            Frame::Reset { stream, .. } => {
                self.shared.remove(stream);
                Ok(())
            }
            // Pings of a client have odd numbers; the others answer pings that nobody here sends.
            Frame::Ping(number) if number % 2 == 1 => self.answer(frame),
            Frame::Headers { stream, fin: true, .. } => {
                self.shared.said_all(stream);
                Ok(())
            }
            Frame::Ping(_)
            | Frame::Headers { .. }
            | Frame::Reply { .. }
            | Frame::Ignored
            | Frame::GoAway { .. } => Ok(()),
        }
    }

    fn open(&mut self, stream: u32, fin: bool, headers: Headers) -> Result<(), Error> {
        let refuse = |status: Reset| Frame::Reset { stream, status: status as u32 };
        if stream.is_multiple_of(2) || stream <= self.last {
            return self.answer(refuse(Reset::Protocol));
        }
        self.last = stream;
        let mut streams = self.shared.streams();
        if streams.len() >= limits::STREAMS_MAX {
            drop(streams);
            return self.answer(refuse(Reset::Refused));
        }
        let (feed, source) = Feed::new(self.room.clone());
        let gone = self.shared.life.over.child_token();
        let entry = Entry { feed: (!fin).then_some(feed), finished: false, gone: gone.clone() };
        streams.insert(stream, entry);
        let sink = Sink::new(stream, self.queue.clone(), gone);
        let sent = self.opened.try_send(Opened { id: stream, headers, source, sink });
        if sent.is_err() {
            streams.remove(&stream);
            drop(streams);
            return self.answer(refuse(Reset::Refused));
        }
        Ok(())
    }
}

struct Writing<T> {
    write: WriteHalf<T>,
    shared: Arc<Shared>,
    writes: mpsc::Receiver<Out>,
    answers: mpsc::Receiver<Frame>,
    encoder: Encoder,
}

impl<T: AsyncRead + AsyncWrite> Writing<T> {
    /// Until the client is gone, or `goodbye` and then all that waits.
    async fn run(mut self) {
        let mut out = BytesMut::new();
        // Pings of a server have even numbers.
        let mut ping = 0_u32;
        loop {
            let step = tokio::select! {
                biased;
                Some(answer) = self.answers.recv() => self.encoder.encode(&answer, &mut out),
                Some(next) = self.writes.recv() => self.encode(next, &mut out),
                () = self.shared.life.goodbye.cancelled() => break,
                () = sleep(limits::STREAM_PING_INTERVAL) => {
                    ping = ping.wrapping_add(2).max(2);
                    self.encoder.encode(&Frame::Ping(ping), &mut out)
                }
            };
            // What waits goes out together.
            let mut fine = step.is_ok();
            while fine && out.len() < 2 * limits::STREAM_CHUNK_BYTES {
                let Ok(next) = self.writes.try_recv() else { break };
                fine = self.encode(next, &mut out).is_ok();
            }
            if !fine || !self.send(&mut out).await {
                return;
            }
        }
        let status = self.shared.status.load(Ordering::Relaxed);
        let end = self.encoder.encode(&Frame::GoAway { last: 0, status }, &mut out);
        if end.is_ok()
            && self.send(&mut out).await
            && let Err(error) = self.write.shutdown().await
        {
            tracing::trace!(error = %error, "a stream session was closed by its client first");
        }
    }

    fn encode(&mut self, next: Out, out: &mut BytesMut) -> Result<(), Error> {
        self.shared.life.touch();
        let frame = match next {
            Out::Accept(stream) => Frame::Reply { stream, fin: false, headers: Headers::default() },
            Out::Data(stream, bytes) => Frame::Data { stream, fin: false, bytes },
            Out::Fin(stream) => {
                self.shared.finished(stream);
                Frame::Data { stream, fin: true, bytes: Bytes::new() }
            }
            Out::Reset(stream) => {
                self.shared.remove(stream);
                Frame::Reset { stream, status: Reset::Cancel as u32 }
            }
        };
        self.encoder.encode(&frame, out)
    }

    async fn send(&mut self, out: &mut BytesMut) -> bool {
        let sent = match self.write.write_all_buf(out).await {
            Ok(()) => self.write.flush().await,
            Err(error) => Err(error),
        };
        if let Err(error) = &sent {
            tracing::debug!(error = %error, "the client of a stream session is gone");
        }
        sent.is_ok()
    }
}

#[cfg(test)]
mod tests;
