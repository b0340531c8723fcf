//! A level-triggered work queue: an item is in it at most once and is worked on by one worker at a time.
//!
//! It does not know what an item means, nor what went wrong with it: only how often.

use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// How long what only tells of others (a status that counts Pods, Events, the older form of endpoints) waits for what
/// routes requests. What changes within it is written once.
pub const SETTLING: Duration = Duration::from_millis(20);

const BACKOFF_MIN: Duration = Duration::from_millis(5);
/// Long enough not to be felt, short enough that a repaired world is noticed.
const BACKOFF_MAX: Duration = Duration::from_secs(30);

/// A queue; clones share it.
pub struct Queue<T> {
    inner: Arc<Inner<T>>,
}

impl<T> Clone for Queue<T> {
    fn clone(&self) -> Self {
        Queue { inner: self.inner.clone() }
    }
}

struct Inner<T> {
    state: Mutex<State<T>>,
    notify: Notify,
}

struct State<T> {
    ready: VecDeque<T>,
    /// Waiting items with what woke them last.
    dirty: HashMap<T, String>,
    processing: HashSet<T>,
    failures: HashMap<T, u32>,
    /// When waiting items come, and what for: the last thing that was said.
    timers: HashMap<T, (Instant, String)>,
}

impl<T: Hash + Eq + Clone + Send + 'static> Default for Queue<T> {
    fn default() -> Self {
        let state = State {
            ready: VecDeque::new(),
            dirty: HashMap::new(),
            processing: HashSet::new(),
            failures: HashMap::new(),
            timers: HashMap::new(),
        };
        Queue { inner: Arc::new(Inner { state: Mutex::new(state), notify: Notify::new() }) }
    }
}

impl<T: Hash + Eq + Clone + Send + 'static> Queue<T> {
    /// An empty queue.
    pub fn new() -> Self {
        Self::default()
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.inner.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Work on `item` soon; `cause` is what woke it.
    pub fn add(&self, item: T, cause: impl Into<String>) {
        let mut state = self.lock();
        if state.dirty.insert(item.clone(), cause.into()).is_some() {
            return;
        }
        if !state.processing.contains(&item) {
            state.ready.push_back(item);
            drop(state);
            self.inner.notify.notify_one();
        }
    }

    /// Work on `item` when what routes requests is done, see [`SETTLING`], or earlier if something else wakes it.
    pub fn add_settled(&self, item: T, cause: impl Into<String>) {
        self.add_after(item, SETTLING, cause);
    }

    /// Work on `item` after a while, or earlier if something else wakes it.
    pub fn add_after(&self, item: T, after: Duration, cause: impl Into<String>) {
        let due = Instant::now() + after;
        {
            let mut state = self.lock();
            if let Some((earlier, why)) = state.timers.get_mut(&item)
                && *earlier <= due
            {
                *why = cause.into();
                return;
            }
            state.timers.insert(item.clone(), (due, cause.into()));
        }
        let queue = self.clone();
        tokio::spawn(async move {
            tokio::time::sleep_until(due).await;
            let cause = {
                let mut state = queue.lock();
                if state.timers.get(&item).is_none_or(|(at, _)| *at != due) {
                    return;
                }
                state.timers.remove(&item).map(|(_, cause)| cause)
            };
            queue.add(item, cause.unwrap_or_default());
        });
    }

    /// Again with a delay that grows with each failure in a row.
    pub fn retry(&self, item: T, cause: impl Into<String>) {
        let failures = {
            let mut state = self.lock();
            let count = state.failures.entry(item.clone()).or_insert(0);
            *count += 1;
            *count
        };
        let delay = BACKOFF_MIN.saturating_mul(1 << failures.saturating_sub(1).min(20)).min(BACKOFF_MAX);
        self.add_after(item, delay, cause);
    }

    /// The item went well: its next failure starts from the shortest delay.
    pub fn forget(&self, item: &T) {
        self.lock().failures.remove(item);
    }

    /// The next item and what woke it. Call [`Queue::done`] afterwards.
    pub async fn next(&self) -> (T, String) {
        loop {
            let notified = self.inner.notify.notified();
            if let Some(found) = self.take() {
                return found;
            }
            notified.await;
        }
    }

    fn take(&self) -> Option<(T, String)> {
        let mut state = self.lock();
        let item = state.ready.pop_front()?;
        let cause = state.dirty.remove(&item).unwrap_or_default();
        state.processing.insert(item.clone());
        if !state.ready.is_empty() {
            self.inner.notify.notify_one();
        }
        Some((item, cause))
    }

    /// The worker is finished with the item; if it was added meanwhile it comes again.
    pub fn done(&self, item: &T) {
        let mut state = self.lock();
        state.processing.remove(item);
        if state.dirty.contains_key(item) {
            state.ready.push_back(item.clone());
            drop(state);
            self.inner.notify.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_item_is_queued_once_and_comes_again_when_added_during_work() {
        let queue = Queue::new();
        queue.add("a", "first");
        queue.add("a", "second");
        queue.add("b", "third");
        assert_eq!(queue.next().await, ("a", "second".to_string()));
        queue.add("a", "while at it");
        assert_eq!(queue.next().await, ("b", "third".to_string()));
        queue.done(&"a");
        assert_eq!(queue.next().await, ("a", "while at it".to_string()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_waiting_item_comes_once_for_the_last_reason() {
        let queue = Queue::new();
        let start = Instant::now();
        queue.add_settled("a", "first");
        queue.add_settled("a", "second");
        assert_eq!(queue.next().await, ("a", "second".to_string()));
        assert_eq!(start.elapsed(), SETTLING);
        queue.done(&"a");
        let more = tokio::time::timeout(SETTLING * 2, queue.next()).await;
        assert!(more.is_err(), "{more:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn failures_in_a_row_wait_longer() {
        let queue = Queue::new();
        let start = Instant::now();
        queue.retry(1, "x");
        queue.next().await;
        queue.done(&1);
        let first = start.elapsed();
        queue.retry(1, "x");
        queue.next().await;
        queue.done(&1);
        assert!(start.elapsed() - first > first);
    }
}
