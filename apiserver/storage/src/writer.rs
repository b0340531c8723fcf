//! The writer of the local store: a batch is checked against memory, appended, synced once and published; then its outcomes
//! are told.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};

use crate::engine::{Engine, EngineError, Record};
use crate::inbox::{Next, next};
use crate::local::{Durability, Publish, Shared, read};
use crate::staged::Staged;
use crate::window::Window;
use crate::{Entry, Error, Event, EventKind, Revision, Write, limits};

pub(crate) enum Request {
    Commit(Vec<Write>, oneshot::Sender<Result<Vec<Entry>, Error>>),
    Compact(Revision, oneshot::Sender<Result<(), Error>>),
}

pub(crate) struct Writer {
    engine: Box<dyn Engine>,
    durability: Durability,
    publish: Box<dyn Publish>,
    shared: Arc<Shared>,
    next: Revision,
    /// When what was appended must be synced.
    sync_due: Option<Instant>,
    /// How many in a row were served alone.
    alone: usize,
    /// How long the last append took, with its sync.
    last_append: Duration,
}

/// Where the writer is: with whoever writes, and nowhere once the store is closed.
pub(crate) type Place = Mutex<Option<Writer>>;

/// There is no writer any more: the store is closed, or the writer panicked and nobody knows how far it got.
pub(crate) struct Gone;

/// Does something with the writer.
fn with<T>(writer: &Place, work: impl FnOnce(&mut Writer) -> T) -> Result<T, Gone> {
    let mut writer = writer.lock().map_err(|_| Gone)?;
    writer.as_mut().map(work).ok_or(Gone)
}

/// The writer's thread.
///
/// Batches wait for those that keep `cores` busy.
pub(crate) fn run(writer: &Place, mut inbox: mpsc::Receiver<Request>, shared: &Shared, cores: usize) {
    let (mut due, mut refused) = (None, false);
    loop {
        let done = match next(&mut inbox, due) {
            Next::Request(first) => {
                // Of those who want the same thing, one gets it a batch: they are better off with many batches.
                let cores = if refused { usize::MAX } else { cores };
                let served = serve(writer, gather(first, &mut inbox, shared, cores));
                served.map(|served| {
                    refused = served.refused;
                    served.due
                })
            }
            Next::Due => with(writer, Writer::sync),
            Next::Closed => break,
        };
        match done {
            Ok(next_due) => due = next_due,
            Err(Gone) => return tracing::error!("the store's writer ended with a panic"),
        }
    }
    // The engine goes with it: others may open its files then.
    let writer = writer.lock().ok().and_then(|mut writer| writer.take());
    if let Some(mut writer) = writer
        && writer.durability != Durability::None
    {
        writer.sync();
    }
}

/// Takes whatever waits besides the first request as one batch. A sync costs so much CPU that one for many writes lets
/// everybody write more in the same time: while others are under way that keep so many cores busy, it waits for some of them.
/// Where those wait for somebody else themselves, it has waited once in vain.
fn gather(
    first: Request,
    inbox: &mut mpsc::Receiver<Request>,
    shared: &Shared,
    cores: usize,
) -> Vec<Request> {
    let mut requests = vec![first];
    let mut until = None;
    loop {
        let before = requests.len();
        while requests.len() < limits::BATCH_WRITES_MAX {
            match inbox.try_recv() {
                Ok(request) => requests.push(request),
                Err(_) => break,
            }
        }
        let on_their_way = shared.under_way.load(Ordering::Relaxed).saturating_sub(requests.len());
        let is_full = requests.len() >= limits::BATCH_WRITES_MAX;
        let nobody_came = until.is_some() && requests.len() == before;
        let until = until.get_or_insert_with(|| Instant::now() + limits::GATHER_MAX);
        if on_their_way < cores || is_full || nobody_came || *until <= Instant::now() {
            return requests;
        }
        // Who comes now is waited for here, and makes no batch of its own.
        shared.is_quick.store(false, Ordering::Relaxed);
        std::thread::sleep(limits::GATHER);
    }
}

struct Served {
    /// When what was written must be synced.
    due: Option<Instant>,
    /// Something was refused, most likely because somebody else was first.
    refused: bool,
}

/// Serves a batch. Answers when others may have the writer: who is answered may be the
/// next who wants it.
fn serve(writer: &Place, requests: Vec<Request>) -> Result<Served, Gone> {
    let (mut commits, mut waiting) = (Vec::with_capacity(requests.len()), Vec::with_capacity(requests.len()));
    let mut compactions = Vec::new();
    for request in requests {
        match request {
            Request::Commit(writes, answer) => {
                commits.push(writes);
                waiting.push(answer);
            }
            Request::Compact(upto, answer) => compactions.push((upto, answer)),
        }
    }
    let (outcomes, due, sheds) = with(writer, |writer| {
        writer.alone = if commits.len() > 1 { 0 } else { writer.alone.saturating_add(1) };
        (writer.commit(commits), writer.sync_due, writer.has_history_to_shed())
    })?;
    let refused = outcomes.iter().any(Result::is_err);
    for (answer, outcome) in waiting.into_iter().zip(outcomes) {
        // A caller that went away needs no answer.
        drop(answer.send(outcome));
    }
    if compactions.is_empty() && due.is_none() && !sheds {
        return Ok(Served { due: None, refused });
    }
    let due = with(writer, |writer| {
        for (upto, answer) in compactions {
            let outcome = writer.compact(upto).map_err(|error| Error::Engine(Arc::new(error)));
            drop(answer.send(outcome));
        }
        if writer.sync_due.is_some_and(|due| due <= Instant::now()) {
            writer.sync();
        }
        writer.shed_history();
        writer.sync_due
    })?;
    Ok(Served { due, refused })
}

impl Writer {
    pub(crate) fn new(
        engine: Box<dyn Engine>,
        durability: Durability,
        publish: Box<dyn Publish>,
        shared: Arc<Shared>,
    ) -> Self {
        let next = shared.revision.load(Ordering::Acquire) + 1;
        let (alone, last_append) = (limits::ALONE, Duration::MAX);
        Self { engine, durability, publish, shared, next, sync_due: None, alone, last_append }
    }

    /// Whether one that writes alone is served sooner where it is.
    fn is_quick(&self) -> bool {
        self.durability == Durability::Commit
            && self.sync_due.is_none()
            && self.alone >= limits::ALONE
            && self.last_append <= limits::QUICK
            && !self.has_history_to_shed()
    }

    pub(crate) fn commit_one(&mut self, writes: Vec<Write>) -> Result<Vec<Entry>, Error> {
        let mut outcomes = self.commit(vec![writes]);
        outcomes.pop().unwrap_or(Err(Error::Closed))
    }

    /// What was not refused must not be lost for a sync that failed: it is tried again, at the time that is given.
    fn sync(&mut self) -> Option<Instant> {
        self.sync_due = None;
        if let Err(error) = self.engine.sync() {
            tracing::error!(error = %error.chain(), "a sync failed");
            self.sync_due = Some(Instant::now() + limits::SYNC_INTERVAL);
        }
        self.sync_due
    }

    /// Does what can be done as one batch; the outcome of each.
    fn commit(&mut self, commits: Vec<Vec<Write>>) -> Vec<Result<Vec<Entry>, Error>> {
        let mut staged = Staged { changed: BTreeMap::new(), events: Vec::new(), next: self.next };
        let mut outcomes: Vec<Result<Vec<Entry>, Error>> = {
            let current = read(&self.shared.current);
            commits.into_iter().map(|writes| staged.transaction(&current, writes)).collect()
        };
        if !staged.events.is_empty()
            && let Err(error) = self.persist(&staged.events)
        {
            tracing::error!(error = %error.chain(), "a batch could not be written");
            // What a disk in trouble needs takes time, for which the writer has a thread.
            self.alone = 0;
            let error = Arc::new(error);
            for outcome in outcomes.iter_mut().filter(|outcome| outcome.is_ok()) {
                *outcome = Err(Error::Engine(error.clone()));
            }
            staged.events.clear();
        }
        if !staged.events.is_empty() {
            self.next = staged.next;
            self.install(staged);
        }
        self.shared.is_quick.store(self.is_quick(), Ordering::Relaxed);
        outcomes
    }

    fn persist(&mut self, events: &[Arc<Event>]) -> Result<(), EngineError> {
        let records: Vec<Record> = events.iter().map(|event| record_of(event)).collect();
        let began = Instant::now();
        let mut done = self.engine.append(&records, self.durability);
        self.last_append = began.elapsed();
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

    fn has_history_to_shed(&self) -> bool {
        read(&self.shared.window).garbage.len() >= limits::COMPACT_STEP
    }

    /// Forgets some of what the window let go of: bounded disk without a timer, and without a long pause.
    fn shed_history(&mut self) {
        if self.has_history_to_shed()
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::RwLock;
    use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};

    fn request() -> Request {
        Request::Compact(0, oneshot::channel().0)
    }

    fn shared(under_way: usize) -> Shared {
        Shared {
            current: RwLock::default(),
            window: RwLock::new(Window::at(0)),
            revision: AtomicU64::new(0),
            is_quick: AtomicBool::new(true),
            under_way: AtomicUsize::new(under_way),
        }
    }

    #[test]
    fn a_batch_is_what_waits() {
        // Waiting, under way with the first and those that wait, taken: the last case ends because nobody comes.
        for (waiting, under_way, taken) in [(0, 0, 1), (3, 0, 4), (3, 4, 4), (600, 601, 512), (2, 50, 3)] {
            let (sender, mut inbox) = mpsc::channel(1024);
            for _ in 0..waiting {
                assert!(sender.try_send(request()).is_ok());
            }
            let batch = gather(request(), &mut inbox, &shared(under_way), 2);
            assert_eq!(batch.len(), taken, "{waiting} {under_way}");
        }
    }

    #[test]
    fn who_is_on_the_way_is_waited_for_but_not_for_ever() {
        // Who sends goes on until the batch is closed, and may come too late for some of them.
        let batch = || {
            let (sender, mut inbox) = mpsc::channel(limits::QUEUE_MAX);
            let (shared, closed) = (shared(1000), AtomicBool::new(false));
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    while shared.is_quick.load(Ordering::Relaxed) && !closed.load(Ordering::Relaxed) {
                        std::hint::spin_loop();
                    }
                    while !closed.load(Ordering::Relaxed) && sender.try_send(request()).is_ok() {
                        std::thread::yield_now();
                    }
                });
                let batch = gather(request(), &mut inbox, &shared, 2);
                closed.store(true, Ordering::Relaxed);
                batch.len()
            })
        };
        assert!((0..200).any(|_| batch() > 1));
    }
}
