//! The store over a local engine: reads are of memory, and what is written goes through one writer.

use std::collections::BTreeMap;
use std::num::NonZero;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread::JoinHandle;

use tokio::sync::{mpsc, oneshot};

use crate::engine::{Engine, EngineError};
use crate::window::Window;
use crate::writer::{self, Request, Writer};
use crate::{Entry, Error, Event, EventKind, Key, Revision, Storage, Stored, Write, limits};

/// When a write counts as done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// After a sync: it survives power loss.
    #[default]
    Commit,
    /// After it was handed to the operating system; synced twice a second.
    Interval,
    /// As `Interval`, never synced by us.
    None,
}

/// Sees every event, in order, before the write is answered. Must not block.
pub trait Publish: Send + Sync + 'static {
    fn publish(&self, events: &[Arc<Event>]);

    /// Nothing else happened up to this revision.
    fn reached(&self, revision: Revision) {
        let _ = revision;
    }

    /// These events lead to the state at `revision`, but others may have come between: nobody can be told what happened
    /// before it.
    fn restart(&self, events: &[Arc<Event>], revision: Revision) {
        self.publish(events);
        self.reached(revision);
    }
}

impl<P: Publish> Publish for Arc<P> {
    fn publish(&self, events: &[Arc<Event>]) {
        (**self).publish(events);
    }

    fn reached(&self, revision: Revision) {
        (**self).reached(revision);
    }

    fn restart(&self, events: &[Arc<Event>], revision: Revision) {
        (**self).restart(events, revision);
    }
}

/// The store over one engine. Cheap to share behind an `Arc`; dropping it stops the writer after what waits.
pub struct Local {
    requests: Mutex<Option<mpsc::Sender<Request>>>,
    shared: Arc<Shared>,
    writer: Arc<writer::Place>,
    /// Commits that came and were not handed over yet.
    coming: AtomicUsize,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// What is in memory, for who reads.
pub(crate) struct Shared {
    pub(crate) current: RwLock<BTreeMap<Key, Entry>>,
    pub(crate) window: RwLock<Window>,
    pub(crate) revision: AtomicU64,
    /// Whether one that writes alone is served sooner where it is; the writer says so after each batch.
    pub(crate) is_quick: AtomicBool,
    /// Requests that are likely to write, from when they came until they are answered.
    pub(crate) under_way: AtomicUsize,
}

impl Local {
    /// Loads the engine and starts the writer. What the log holds is published first, as one batch.
    ///
    /// # Errors
    /// When the engine can't be read.
    pub fn open(
        engine: impl Engine,
        durability: Durability,
        publish: impl Publish,
    ) -> Result<Self, EngineError> {
        // Boxed, so that the writer is compiled here, once, and not wherever a store is opened.
        Self::start(Box::new(engine), durability, Box::new(publish))
    }

    fn start(
        mut engine: Box<dyn Engine>,
        durability: Durability,
        publish: Box<dyn Publish>,
    ) -> Result<Self, EngineError> {
        let loaded = engine.load()?;
        let mut current: BTreeMap<Key, Entry> = BTreeMap::new();
        let mut window = Window::at(loaded.compacted);
        let mut events = Vec::with_capacity(loaded.records.len());
        for record in loaded.records {
            let stored = Stored::loaded(record.value, record.revision_at);
            let (value, previous) = match record.kind {
                EventKind::Deleted => {
                    let last = current.remove(&record.key);
                    let value = last
                        .as_ref()
                        .filter(|_| stored.bytes.is_empty())
                        .map(|last| last.value.at_revision(record.revision, EventKind::Deleted));
                    (value.unwrap_or(stored), last)
                }
                EventKind::Created | EventKind::Updated => {
                    let entry =
                        Entry { key: record.key.clone(), revision: record.revision, value: stored.clone() };
                    (stored, current.insert(record.key.clone(), entry))
                }
            };
            let event = Arc::new(Event {
                key: record.key,
                revision: record.revision,
                kind: record.kind,
                value,
                previous,
            });
            if event.revision > loaded.compacted {
                window.push(event.clone());
            } else {
                // A crash may have come between the compaction's mark and its removals.
                window.discard(&event);
            }
            // Nobody knows what a deletion deleted that was half removed so.
            if !event.value.bytes.is_empty() {
                events.push(event);
            }
        }
        publish.publish(&events);
        let shared = Arc::new(Shared {
            current: RwLock::new(current),
            window: RwLock::new(window),
            revision: AtomicU64::new(loaded.revision),
            is_quick: AtomicBool::new(false),
            under_way: AtomicUsize::new(0),
        });
        let (requests, inbox) = mpsc::channel(limits::QUEUE_MAX);
        let writer = Writer::new(engine, durability, publish, shared.clone());
        let writer = Arc::new(Mutex::new(Some(writer)));
        let own = writer.clone();
        let seen = shared.clone();
        // Only a sync is worth a wait.
        let cores = match durability {
            Durability::Commit => std::thread::available_parallelism().map_or(1, NonZero::get),
            Durability::Interval | Durability::None => usize::MAX,
        };
        let thread = std::thread::Builder::new()
            .name("store-writer".into())
            .spawn(move || writer::run(&own, inbox, &seen, cores))?;
        Ok(Self {
            requests: Mutex::new(Some(requests)),
            shared,
            writer,
            coming: AtomicUsize::new(0),
            thread: Mutex::new(Some(thread)),
        })
    }

    /// Says that a request came that is likely to write, until what is given is dropped.
    pub fn under_way(&self) -> UnderWay {
        self.shared.under_way.fetch_add(1, Ordering::Relaxed);
        UnderWay(self.shared.clone())
    }

    /// Events up to this revision are gone.
    pub fn floor(&self) -> Revision {
        read(&self.shared.window).floor
    }

    /// Finishes what waits, syncs and stops the writer. Later writes get [`Error::Closed`].
    pub fn close(&self) {
        drop(self.requests.lock().unwrap_or_else(PoisonError::into_inner).take());
        if let Some(thread) = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take()
            && thread.join().is_err()
        {
            tracing::error!("the store's writer ended with a panic");
        }
    }

    fn sender(&self) -> Result<mpsc::Sender<Request>, Error> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).clone().ok_or(Error::Closed)
    }

    /// Commits on this thread where nobody else writes and the disk is quick: to wake the writer's thread and to be woken by
    /// it would cost more. Gives the writes back where the writer is to have them.
    fn commit_here(&self, writes: Vec<Write>) -> Result<Result<Vec<Entry>, Error>, Vec<Write>> {
        let is_idle = self.coming.load(Ordering::Relaxed) == 1
            && self.sender().is_ok_and(|inbox| inbox.capacity() == inbox.max_capacity());
        if let Ok(mut place) = self.writer.try_lock()
            && let Some(writer) = place.as_mut()
            && is_idle
        {
            return Ok(writer.commit_one(writes));
        }
        Err(writes)
    }

    async fn ask<T>(
        &self,
        request: impl FnOnce(oneshot::Sender<Result<T, Error>>) -> Request,
    ) -> Result<T, Error> {
        let (answer, wait) = oneshot::channel();
        self.sender()?.send(request(answer)).await.map_err(|_| Error::Closed)?;
        wait.await.map_err(|_| Error::Closed)?
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        self.close();
    }
}

impl Storage for Local {
    async fn commit(&self, writes: Vec<Write>) -> Result<Vec<Entry>, Error> {
        if !self.shared.is_quick.load(Ordering::Relaxed) {
            return self.ask(|answer| Request::Commit(writes, answer)).await;
        }
        let coming = Coming::count(&self.coming);
        // Others that are ready come first: one task may have many commits under way.
        tokio::task::yield_now().await;
        let done = self.commit_here(writes);
        drop(coming);
        match done {
            Ok(outcome) => outcome,
            Err(writes) => self.ask(|answer| Request::Commit(writes, answer)).await,
        }
    }

    async fn range(&self, prefix: &str) -> Result<(Revision, Vec<Entry>), Error> {
        let current = read(&self.shared.current);
        let entries = current
            .range::<str, _>((std::ops::Bound::Included(prefix), std::ops::Bound::Unbounded))
            .take_while(|(key, _)| key.starts_with(prefix))
            .map(|(_, entry)| entry.clone())
            .collect();
        Ok((self.revision(), entries))
    }

    fn events(&self, prefix: &str, after: Revision) -> Result<Vec<Arc<Event>>, Error> {
        let window = read(&self.shared.window);
        if after < window.floor {
            return Err(Error::Compacted { asked: after, oldest: window.floor });
        }
        let start = window.events.partition_point(|event| event.revision <= after);
        Ok(window.events.range(start..).filter(|event| event.key.starts_with(prefix)).cloned().collect())
    }

    async fn compact(&self, upto: Revision) -> Result<(), Error> {
        self.ask(|answer| Request::Compact(upto, answer)).await
    }

    fn revision(&self) -> Revision {
        self.shared.revision.load(Ordering::Acquire)
    }
}

/// A request that is likely to write: while there are several, a batch waits a moment for them.
pub struct UnderWay(Arc<Shared>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Counts while it lives: a commit may be dropped where it waits.
struct Coming<'a>(&'a AtomicUsize);

impl<'a> Coming<'a> {
    fn count(coming: &'a AtomicUsize) -> Self {
        coming.fetch_add(1, Ordering::Relaxed);
        Self(coming)
    }
}

impl Drop for Coming<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

pub(crate) fn read<T>(lock: &RwLock<T>) -> std::sync::RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}
