//! The store over a local engine: one writer thread takes whatever waits, checks it against memory, appends it
//! as one batch, syncs once, publishes, and only then answers.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};

use crate::engine::{Engine, EngineError, Record};
use crate::{Document, Entry, Error, Event, EventKind, Key, Op, Revision, Storage, Stored, Write, limits};

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
}

impl<P: Publish> Publish for Arc<P> {
    fn publish(&self, events: &[Arc<Event>]) {
        (**self).publish(events);
    }
}

/// The store over one engine. Cheap to share behind an `Arc`; dropping it stops the writer after what waits.
pub struct Local {
    requests: Mutex<Option<mpsc::Sender<Request>>>,
    shared: Arc<Shared>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    current: RwLock<BTreeMap<Key, Entry>>,
    window: RwLock<Window>,
    revision: AtomicU64,
}

#[derive(Default)]
struct Window {
    events: VecDeque<Arc<Event>>,
    superseded_bytes: usize,
    /// Events up to here are gone.
    floor: Revision,
    /// Records that nothing needs any more: superseded, or deletions, with their event out of the window.
    garbage: Vec<Revision>,
}

enum Request {
    Commit(Vec<Write>, oneshot::Sender<Result<Vec<Entry>, Error>>),
    Compact(Revision, oneshot::Sender<Result<(), Error>>),
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
        let mut window = Window { floor: loaded.compacted, ..Window::default() };
        let mut events = Vec::with_capacity(loaded.records.len());
        for record in loaded.records {
            let value = Stored::loaded(record.value, record.revision_at);
            let entry = Entry { key: record.key.clone(), revision: record.revision, value: value.clone() };
            let previous = match record.kind {
                EventKind::Deleted => current.remove(&record.key),
                EventKind::Created | EventKind::Updated => current.insert(record.key.clone(), entry),
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
            events.push(event);
        }
        publish.publish(&events);
        let shared = Arc::new(Shared {
            current: RwLock::new(current),
            window: RwLock::new(window),
            revision: AtomicU64::new(loaded.revision),
        });
        let (requests, inbox) = mpsc::channel(limits::QUEUE_MAX);
        let mut writer = Writer {
            engine,
            durability,
            publish,
            shared: shared.clone(),
            next: loaded.revision + 1,
            unsynced_since: None,
        };
        let thread =
            std::thread::Builder::new().name("store-writer".into()).spawn(move || writer.run(inbox))?;
        Ok(Self { requests: Mutex::new(Some(requests)), shared, writer: Mutex::new(Some(thread)) })
    }

    /// Events up to this revision are gone.
    pub fn floor(&self) -> Revision {
        read(&self.shared.window).floor
    }

    /// Finishes what waits, syncs and stops the writer. Later writes get [`Error::Closed`].
    pub fn close(&self) {
        drop(self.requests.lock().unwrap_or_else(PoisonError::into_inner).take());
        if let Some(thread) = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take()
            && thread.join().is_err()
        {
            tracing::error!("the store's writer ended with a panic");
        }
    }

    fn sender(&self) -> Result<mpsc::Sender<Request>, Error> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).clone().ok_or(Error::Closed)
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
        self.ask(|answer| Request::Commit(writes, answer)).await
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

impl Window {
    fn push(&mut self, event: Arc<Event>) {
        self.superseded_bytes += cost(&event);
        self.events.push_back(event);
        while self.events.len() > limits::WINDOW_EVENTS_MIN
            && (self.events.len() > limits::WINDOW_EVENTS_MAX
                || self.superseded_bytes > limits::WINDOW_BYTES_MAX)
        {
            self.pop();
        }
    }

    fn pop(&mut self) {
        if let Some(oldest) = self.events.pop_front() {
            self.superseded_bytes -= cost(&oldest);
            self.floor = oldest.revision;
            self.discard(&oldest);
        }
    }

    fn discard(&mut self, event: &Event) {
        self.garbage.extend(event.previous.as_ref().map(|previous| previous.revision));
        if event.kind == EventKind::Deleted {
            self.garbage.push(event.revision);
        }
    }
}

/// Bytes that only the window keeps alive once the event is history.
fn cost(event: &Event) -> usize {
    event.previous.as_ref().map_or(0, |previous| previous.value.bytes.len()) + 128
}

fn read<T>(lock: &RwLock<T>) -> std::sync::RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

struct Writer {
    engine: Box<dyn Engine>,
    durability: Durability,
    publish: Box<dyn Publish>,
    shared: Arc<Shared>,
    next: Revision,
    unsynced_since: Option<Instant>,
}

/// Writes, and who waits for them.
type Transaction = (Vec<Write>, oneshot::Sender<Result<Vec<Entry>, Error>>);
type Answer = (oneshot::Sender<Result<Vec<Entry>, Error>>, Result<Vec<Entry>, Error>);

impl Writer {
    fn run(&mut self, mut inbox: mpsc::Receiver<Request>) {
        while let Some(first) = inbox.blocking_recv() {
            let mut requests = vec![first];
            while requests.len() < limits::BATCH_WRITES_MAX {
                match inbox.try_recv() {
                    Ok(request) => requests.push(request),
                    Err(_) => break,
                }
            }
            let mut commits = Vec::with_capacity(requests.len());
            let mut compactions = Vec::new();
            for request in requests {
                match request {
                    Request::Commit(writes, answer) => commits.push((writes, answer)),
                    Request::Compact(upto, answer) => compactions.push((upto, answer)),
                }
            }
            self.commit(commits);
            for (upto, answer) in compactions {
                // A caller that went away needs no answer.
                drop(answer.send(self.compact(upto)));
            }
            self.shed_history();
        }
        if self.durability != Durability::None
            && let Err(error) = self.engine.sync()
        {
            tracing::error!(error = %error, "the last sync failed");
        }
    }

    fn commit(&mut self, commits: Vec<Transaction>) {
        let mut staged = Staged { changed: BTreeMap::new(), events: Vec::new(), next: self.next };
        let mut answers: Vec<Answer> = Vec::with_capacity(commits.len());
        {
            let current = read(&self.shared.current);
            for (writes, answer) in commits {
                let outcome = staged.transaction(&current, writes);
                answers.push((answer, outcome));
            }
        }
        if !staged.events.is_empty()
            && let Err(error) = self.persist(&staged.events)
        {
            tracing::error!(error = %error, "a batch could not be written");
            let error = Arc::new(error);
            for (_, outcome) in &mut answers {
                if outcome.is_ok() {
                    *outcome = Err(Error::Engine(error.clone()));
                }
            }
            staged.events.clear();
        }
        if !staged.events.is_empty() {
            self.next = staged.next;
            self.install(staged);
        }
        for (answer, outcome) in answers {
            drop(answer.send(outcome));
        }
    }

    fn persist(&mut self, events: &[Arc<Event>]) -> Result<(), EngineError> {
        let records: Vec<Record> = events
            .iter()
            .map(|event| Record {
                revision: event.revision,
                key: event.key.clone(),
                kind: event.kind,
                supersedes: event.previous.as_ref().map_or(0, |previous| previous.revision),
                value: event.value.bytes.clone(),
                revision_at: event.value.revision_at,
            })
            .collect();
        self.engine.append(&records, self.durability)?;
        if self.durability == Durability::Interval {
            let since = *self.unsynced_since.get_or_insert_with(Instant::now);
            if since.elapsed() > Duration::from_millis(500) {
                self.engine.sync()?;
                self.unsynced_since = None;
            }
        }
        Ok(())
    }

    fn install(&self, staged: Staged) {
        {
            let mut current = self.shared.current.write().unwrap_or_else(PoisonError::into_inner);
            for (key, entry) in staged.changed {
                match entry {
                    Some(entry) => current.insert(key, entry),
                    None => current.remove(&key),
                };
            }
        }
        {
            let mut window = self.shared.window.write().unwrap_or_else(PoisonError::into_inner);
            for event in &staged.events {
                window.push(event.clone());
            }
        }
        self.publish.publish(&staged.events);
        self.shared.revision.store(staged.next - 1, Ordering::Release);
    }

    /// Forgets some of what the window let go of: bounded disk without a timer, and without a long pause.
    fn shed_history(&mut self) {
        let (step, floor) = {
            let mut window = self.shared.window.write().unwrap_or_else(PoisonError::into_inner);
            if window.garbage.len() < limits::COMPACT_STEP {
                return;
            }
            let keep = window.garbage.len() - limits::COMPACT_STEP;
            (window.garbage.split_off(keep), window.floor)
        };
        if let Err(error) = self.engine.forget(&step, floor) {
            tracing::warn!(error = %error, "compaction failed; it will be tried again");
            let mut window = self.shared.window.write().unwrap_or_else(PoisonError::into_inner);
            window.garbage.extend(step);
        }
    }

    fn compact(&mut self, upto: Revision) -> Result<(), Error> {
        let upto = upto.min(self.next - 1);
        let (garbage, floor) = {
            let mut window = self.shared.window.write().unwrap_or_else(PoisonError::into_inner);
            while window.events.front().is_some_and(|event| event.revision <= upto) {
                window.pop();
            }
            window.floor = window.floor.max(upto);
            (std::mem::take(&mut window.garbage), window.floor)
        };
        for step in garbage.chunks(limits::COMPACT_STEP) {
            self.engine.forget(step, floor).map_err(|error| Error::Engine(Arc::new(error)))?;
        }
        Ok(())
    }
}

/// A batch being built: what it changes on top of the current state.
struct Staged {
    changed: BTreeMap<Key, Option<Entry>>,
    events: Vec<Arc<Event>>,
    next: Revision,
}

impl Staged {
    fn get(&self, current: &BTreeMap<Key, Entry>, key: &Key) -> Option<Entry> {
        match self.changed.get(key) {
            Some(entry) => entry.clone(),
            None => current.get(key).cloned(),
        }
    }

    fn transaction(
        &mut self,
        current: &BTreeMap<Key, Entry>,
        writes: Vec<Write>,
    ) -> Result<Vec<Entry>, Error> {
        for (i, write) in writes.iter().enumerate() {
            // Within one transaction a key is written once; a second write sees the state before it.
            debug_assert!(!writes[..i].iter().any(|other| other.key == write.key), "one write a key");
            self.check(current, write)?;
        }
        Ok(writes.into_iter().map(|write| self.apply(current, write)).collect())
    }

    fn check(&self, current: &BTreeMap<Key, Entry>, write: &Write) -> Result<(), Error> {
        let found = self.get(current, &write.key).map(|entry| entry.revision);
        match (&write.op, found) {
            (Op::Create(_), Some(_)) => Err(Error::Exists { key: write.key.clone() }),
            (Op::Create(_), None) => Ok(()),
            (Op::Update { expect, .. } | Op::Delete { expect }, found) if found == Some(*expect) => Ok(()),
            (Op::Update { expect, .. } | Op::Delete { expect }, found) => {
                Err(Error::Conflict { key: write.key.clone(), expect: *expect, found })
            }
        }
    }

    fn apply(&mut self, current: &BTreeMap<Key, Entry>, write: Write) -> Entry {
        let revision = self.next;
        self.next += 1;
        let previous = self.get(current, &write.key);
        let finish = |document: &Document, kind| document.finish(revision, kind);
        let (kind, value) = match &write.op {
            Op::Create(document) => (EventKind::Created, finish(document, EventKind::Created)),
            Op::Update { document, .. } => (EventKind::Updated, finish(document, EventKind::Updated)),
            Op::Delete { .. } => {
                let last = previous.as_ref().map_or_else(
                    || Stored::loaded(bytes::Bytes::new(), None),
                    |entry| entry.value.at_revision(revision, EventKind::Deleted),
                );
                (EventKind::Deleted, last)
            }
        };
        let entry = Entry { key: write.key.clone(), revision, value: value.clone() };
        self.changed.insert(write.key.clone(), (kind != EventKind::Deleted).then(|| entry.clone()));
        self.events.push(Arc::new(Event { key: write.key, revision, kind, value, previous }));
        entry
    }
}
