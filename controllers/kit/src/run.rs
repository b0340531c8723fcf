//! Workers around a queue: call the reconcile, log what changed, decide what happens after an error.
//!
//! What a reconcile does is the loop's own business.

use crate::{Class, Error, Queue};
use futures::FutureExt;
use futures::future::BoxFuture;
use std::fmt::Display;
use std::future::Future;
use std::hash::Hash;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;
use tracing::Instrument;

/// What a reconcile did.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Done {
    changes: Vec<String>,
    again: Option<Duration>,
    settles: bool,
}

impl Done {
    /// Nothing was to be done.
    pub fn nothing() -> Self {
        Done::default()
    }

    /// One change.
    pub fn change(what: impl Into<String>) -> Self {
        Done { changes: vec![what.into()], ..Done::default() }
    }

    /// Note a further change.
    pub fn note(&mut self, what: impl Into<String>) {
        self.changes.push(what.into());
    }

    /// Come again after this time, or earlier if already asked for.
    pub fn again_after(&mut self, after: Duration) {
        self.again = Some(self.again.map_or(after, |before| before.min(after)));
    }

    /// Come again for what only tells of others, see [`crate::SETTLING`]: the end of what began here.
    pub fn settle(&mut self) {
        self.settles = true;
    }

    /// True if something was written.
    pub fn changed(&self) -> bool {
        !self.changes.is_empty()
    }
}

/// Run a future as a task with a span of its own; a panic is logged instead of lost.
pub fn spawn(
    name: &'static str,
    future: impl Future<Output = ()> + Send + 'static,
) -> tokio::task::JoinHandle<()> {
    spawn_boxed(name, future.boxed())
}

/// The runtime's part of a task is compiled once.
fn spawn_boxed(name: &'static str, future: BoxFuture<'static, ()>) -> tokio::task::JoinHandle<()> {
    let span = tracing::debug_span!("task", name);
    let guarded = async move {
        if AssertUnwindSafe(future).catch_unwind().await.is_err() {
            tracing::error!(task = name, "task panicked");
        }
    };
    tokio::spawn(guarded.instrument(span))
}

/// Wait for tasks that belong together; when dropped, all of them are stopped.
pub async fn all(tasks: Vec<tokio::task::JoinHandle<()>>) {
    struct Stop(Vec<tokio::task::AbortHandle>);
    impl Drop for Stop {
        fn drop(&mut self) {
            self.0.iter().for_each(|task| task.abort());
        }
    }
    let _stop = Stop(tasks.iter().map(|task| task.abort_handle()).collect());
    futures::future::join_all(tasks).await;
}

/// Work on the queue with `workers` at a time until the future is dropped.
pub async fn run<T, F, Fut>(controller: &'static str, queue: Queue<T>, workers: usize, reconcile: F)
where
    T: Hash + Eq + Clone + Display + Send + Sync + 'static,
    F: Fn(T) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Done, Error>> + Send,
{
    let reconcile = Arc::new(reconcile);
    let mut tasks = JoinSet::new();
    for _ in 0..workers.max(1) {
        let (queue, reconcile) = (queue.clone(), reconcile.clone());
        tasks.spawn(async move {
            loop {
                let (item, cause) = queue.next().await;
                let started = Instant::now();
                let result = AssertUnwindSafe(reconcile(item.clone())).catch_unwind().await;
                let result = result.unwrap_or_else(|_| Err(Error::Transient("reconcile panicked".into())));
                conclude(controller, &queue, &item, (cause, started), result);
                queue.done(&item);
            }
        });
    }
    while tasks.join_next().await.is_some() {}
}

fn conclude<T>(
    controller: &'static str,
    queue: &Queue<T>,
    item: &T,
    (cause, started): (String, Instant),
    result: Result<Done, Error>,
) where
    T: Hash + Eq + Clone + Display + Send + Sync + 'static,
{
    let elapsed_ms = started.elapsed().as_micros() as f64 / 1000.0;
    match result {
        Ok(done) => {
            queue.forget(item);
            if done.changed() {
                let change = done.changes.join("; ");
                tracing::info!(controller, object = %item, cause, change, elapsed_ms, "reconciled");
            }
            // What comes again that soon finds out by itself when to come next.
            if done.settles {
                queue.add_settled(item.clone(), cause);
            } else if let Some(after) = done.again {
                queue.add_after(item.clone(), after, "time passed");
            }
        }
        Err(failure) => {
            let error = failure.sentence();
            match failure.class() {
                Class::Terminal => {
                    queue.forget(item);
                    tracing::warn!(controller, object = %item, cause, error, elapsed_ms, "gave up until it changes");
                }
                Class::Conflict => {
                    tracing::debug!(controller, object = %item, cause, error, elapsed_ms, "conflict");
                    queue.retry(item.clone(), cause);
                }
                // The cache will say so in a moment.
                Class::Transient if failure.misses(&item.to_string()) => {
                    tracing::debug!(controller, object = %item, cause, error, elapsed_ms, "gone meanwhile");
                    queue.retry(item.clone(), cause);
                }
                Class::Transient => {
                    tracing::warn!(controller, object = %item, cause, error, elapsed_ms, "failed, will retry");
                    queue.retry(item.clone(), cause);
                }
                Class::After(duration) => {
                    tracing::debug!(controller, object = %item, cause, error, elapsed_ms, "waiting");
                    queue.add_after(item.clone(), duration, cause);
                }
            }
        }
    }
}
