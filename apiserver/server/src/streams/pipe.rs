//! Both ends of a stream inside the server, whatever carries it: bounded, and told when the other side is gone.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

use crate::limits;

/// A small chunk is copied out of the buffer that it came in, which it would keep alive.
const COPIED_BELOW: usize = 4096;

/// What a chunk counts at least, for its place in the queue.
const CHUNK_COST: usize = 256;

/// The stream or its session is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Gone;

/// What the writer of a session is asked to send.
#[derive(Debug)]
pub(crate) enum Out {
    /// The stream was accepted.
    Accept(u32),
    /// Bytes of a stream.
    Data(u32, Bytes),
    /// Nothing more from this side.
    Fin(u32),
    /// Nothing more from either side.
    Reset(u32),
}

/// Room for what the streams of one session have received and not yet used.
#[derive(Clone, Debug)]
pub(crate) struct Room(Arc<Semaphore>);

impl Default for Room {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(limits::STREAM_SESSION_BYTES_MAX)))
    }
}

#[derive(Debug)]
struct Chunk {
    bytes: Bytes,
    _room: OwnedSemaphorePermit,
}

/// Where a session puts what it received for a stream.
#[derive(Clone, Debug)]
pub(crate) struct Feed {
    chunks: mpsc::Sender<Chunk>,
    room: Room,
}

impl Feed {
    /// A stream's feed and the end where its bytes come out.
    pub(crate) fn new(room: Room) -> (Self, Source) {
        let (chunks, source) = mpsc::channel(limits::STREAM_CHUNKS_MAX);
        (Self { chunks, room }, Source(source))
    }

    /// Waits until there is room. Bytes that nobody will read are dropped.
    pub(crate) async fn put(&self, bytes: Bytes) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let piece = rest.split_to(rest.len().min(limits::STREAM_CHUNK_BYTES));
            let cost = u32::try_from(piece.len().max(CHUNK_COST)).unwrap_or(u32::MAX);
            let permit = tokio::select! {
                permit = self.room.0.clone().acquire_many_owned(cost) => permit,
                () = self.chunks.closed() => return,
            };
            let Ok(permit) = permit else { return };
            let bytes = if piece.len() < COPIED_BELOW { Bytes::copy_from_slice(&piece) } else { piece };
            if self.chunks.send(Chunk { bytes, _room: permit }).await.is_err() {
                return;
            }
        }
    }
}

/// What the client sends on a stream.
#[derive(Debug)]
pub(crate) struct Source(mpsc::Receiver<Chunk>);

impl Source {
    /// The next bytes; nothing once the client has said all, or is gone.
    pub(crate) async fn next(&mut self) -> Option<Bytes> {
        self.0.recv().await.map(|chunk| chunk.bytes)
    }
}

/// Where a stream's bytes for the client go.
#[derive(Debug)]
pub(crate) struct Sink {
    stream: u32,
    queue: mpsc::Sender<Out>,
    gone: CancellationToken,
}

impl Sink {
    pub(crate) fn new(stream: u32, queue: mpsc::Sender<Out>, gone: CancellationToken) -> Self {
        Self { stream, queue, gone }
    }

    /// Resolves when the client has given the stream up, or the session ends.
    pub(crate) fn gone(&self) -> CancellationToken {
        self.gone.clone()
    }

    async fn put(&self, out: Out) -> Result<(), Gone> {
        tokio::select! {
            biased;
            () = self.gone.cancelled() => Err(Gone),
            sent = self.queue.send(out) => sent.map_err(|_| Gone),
        }
    }

    /// Tells the client that the stream is served.
    ///
    /// # Errors
    /// When nobody is there any more; so for all of these.
    pub(crate) async fn accept(&self) -> Result<(), Gone> {
        self.put(Out::Accept(self.stream)).await
    }

    /// Sends a message without bytes: a client of channels takes the first as the sign that all is well.
    ///
    /// # Errors
    /// When nobody is there any more.
    pub(crate) async fn announce(&self) -> Result<(), Gone> {
        self.put(Out::Data(self.stream, Bytes::new())).await
    }

    /// Sends bytes, and waits while the client is slow.
    ///
    /// # Errors
    /// When nobody is there any more.
    pub(crate) async fn write(&self, mut bytes: Bytes) -> Result<(), Gone> {
        while !bytes.is_empty() {
            let piece = bytes.split_to(bytes.len().min(limits::STREAM_CHUNK_BYTES));
            self.put(Out::Data(self.stream, piece)).await?;
        }
        Ok(())
    }

    /// Nothing more comes from this side. Whoever is gone does not need to hear it.
    pub(crate) async fn finish(self) {
        if self.put(Out::Fin(self.stream)).await.is_err() {
            tracing::trace!(stream = self.stream, "a stream ended after its client left");
        }
    }

    /// Ends the stream in both directions.
    pub(crate) async fn reset(self) {
        if self.put(Out::Reset(self.stream)).await.is_err() {
            tracing::trace!(stream = self.stream, "a stream was reset after its client left");
        }
    }
}
