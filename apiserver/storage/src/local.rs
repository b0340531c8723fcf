//! The store over a local engine: one writer thread takes whatever waits, checks it against memory, appends it
//! as one batch, syncs once, publishes, and only then answers.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::Instant;

use tokio::sync::{mpsc, oneshot};

use crate::engine::{Engine, EngineError, Record};
use crate::inbox::{Next, next};
use crate::staged::Staged;
use crate::window::Window;
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
    writer: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    current: RwLock<BTreeMap<Key, Entry>>,
    window: RwLock<Window>,
    revision: AtomicU64,
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
        });
        let (requests, inbox) = mpsc::channel(limits::QUEUE_MAX);
        let mut writer = Writer {
            engine,
            durability,
            publish,
            shared: shared.clone(),
            next: loaded.revision + 1,
            sync_due: None,
            last_batch: 0,
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

fn read<T>(lock: &RwLock<T>) -> std::sync::RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

struct Writer {
    engine: Box<dyn Engine>,
    durability: Durability,
    publish: Box<dyn Publish>,
    shared: Arc<Shared>,
    next: Revision,
    /// When what was appended must be synced.
    sync_due: Option<Instant>,
    /// How many requests were served together last.
    last_batch: usize,
}

/// Writes, and who waits for them.
type Transaction = (Vec<Write>, oneshot::Sender<Result<Vec<Entry>, Error>>);
type Answer = (oneshot::Sender<Result<Vec<Entry>, Error>>, Result<Vec<Entry>, Error>);

impl Writer {
    fn run(&mut self, mut inbox: mpsc::Receiver<Request>) {
        loop {
            match next(&mut inbox, self.sync_due) {
                Next::Request(first) => self.serve(first, &mut inbox),
                Next::Due => self.sync(),
                Next::Closed => break,
            }
        }
        if self.durability != Durability::None {
            self.sync();
        }
    }

    /// What was not refused must not be lost for a sync that failed: it is tried again.
    fn sync(&mut self) {
        self.sync_due = None;
        if let Err(error) = self.engine.sync() {
            tracing::error!(error = %error.chain(), "a sync failed");
            self.sync_due = Some(Instant::now() + limits::SYNC_INTERVAL);
        }
    }

    /// Takes whatever waits besides the first request as one batch. Where many write, more are about to: a sync costs
    /// so much CPU that one for all of them lets everybody write more in the same time.
    fn serve(&mut self, first: Request, inbox: &mut mpsc::Receiver<Request>) {
        let mut requests = vec![first];
        if self.last_batch >= limits::CROWD {
            std::thread::sleep(limits::GATHER);
        }
        while requests.len() < limits::BATCH_WRITES_MAX {
            match inbox.try_recv() {
                Ok(request) => requests.push(request),
                Err(_) => break,
            }
        }
        self.last_batch = requests.len();
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
            let outcome = self.compact(upto).map_err(|error| Error::Engine(Arc::new(error)));
            // A caller that went away needs no answer.
            drop(answer.send(outcome));
        }
        if self.sync_due.is_some_and(|due| due <= Instant::now()) {
            self.sync();
        }
        self.shed_history();
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
            tracing::error!(error = %error.chain(), "a batch could not be written");
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
        let records: Vec<Record> = events.iter().map(|event| record_of(event)).collect();
        let mut done = self.engine.append(&records, self.durability);
        let full = |done: &Result<(), EngineError>| done.as_ref().is_err_and(EngineError::is_full);
        if full(&done) && self.forget_history() {
            done = self.engine.append(&records, self.durability);
        }
        while full(&done) && self.reclaim() {
            done = self.engine.append(&records, self.durability);
        }
        if done.is_ok() && self.durability == Durability::Interval {
            self.sync_due.get_or_insert_with(|| Instant::now() + limits::SYNC_INTERVAL);
        }
        done
    }

    /// Lets the log forget all history; whether there was any. A watch that wants some of it after a restart is told
    /// to list again, which is less than a write refused.
    fn forget_history(&mut self) -> bool {
        self.window().advance(self.next - 1);
        let some = !self.window().garbage.is_empty();
        let done = self.compact(self.next - 1);
        some && done.inspect_err(warn_of_history).is_ok()
    }

    fn reclaim(&mut self) -> bool {
        self.engine.reclaim().inspect_err(warn_of_history).unwrap_or(false)
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
            let mut window = self.window();
            for event in &staged.events {
                window.push(event.clone());
            }
        }
        self.publish.publish(&staged.events);
        self.shared.revision.store(staged.next - 1, Ordering::Release);
    }

    /// Forgets some of what the window let go of: bounded disk without a timer, and without a long pause.
    fn shed_history(&mut self) {
        if self.window().garbage.len() >= limits::COMPACT_STEP
            && let Err(error) = self.forget_step()
        {
            tracing::warn!(error = %error.chain(), "compaction failed; it will be tried again");
        }
    }

    fn compact(&mut self, upto: Revision) -> Result<(), EngineError> {
        self.window().advance(upto.min(self.next - 1));
        while !self.window().garbage.is_empty() {
            self.forget_step()?;
        }
        Ok(())
    }

    fn forget_step(&mut self) -> Result<(), EngineError> {
        let (step, floor) = {
            let window = self.window();
            let step: Vec<Revision> = window.garbage.iter().copied().take(limits::COMPACT_STEP).collect();
            (step, window.floor)
        };
        self.engine.forget(&step, floor)?;
        self.window().garbage.drain(..step.len());
        Ok(())
    }

    fn window(&self) -> std::sync::RwLockWriteGuard<'_, Window> {
        self.shared.window.write().unwrap_or_else(PoisonError::into_inner)
    }
}

fn warn_of_history(error: &EngineError) {
    tracing::warn!(error = %error.chain(), "the disk is full, and history could not be removed from it");
}

fn record_of(event: &Event) -> Record {
    // What a deletion deleted is in the log until both are forgotten.
    let known = event.kind == EventKind::Deleted && event.previous.is_some();
    Record {
        revision: event.revision,
        key: event.key.clone(),
        kind: event.kind,
        supersedes: event.previous.as_ref().map_or(0, |previous| previous.revision),
        value: if known { bytes::Bytes::new() } else { event.value.bytes.clone() },
        revision_at: event.value.revision_at.filter(|_| !known),
    }
}
