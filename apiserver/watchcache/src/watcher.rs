//! A watcher: a position in a resource's window. It buffers nothing.

use std::sync::Arc;
use std::time::{Duration, Instant};

use apiserver_storage::Revision;
use tokio::sync::watch;

use crate::{Cache, Change, Error};

/// Changes handed out at once: bounds what one slow watcher holds.
const BATCH_MAX: usize = 64;
/// For so long a watcher that fell behind may hold writers back; then it is on its own.
const HELD_FOR: Duration = Duration::from_secs(10);

/// Follows one scope of one resource.
#[derive(Debug)]
pub struct Watcher {
    cache: Arc<Cache>,
    resource: String,
    scope: String,
    after: Revision,
    tick: watch::Receiver<Revision>,
    /// When it last had read everything; never where it began in the past.
    caught_up: Option<Instant>,
}

/// Some changes, and the revision up to which nothing else happened in the scope.
#[derive(Debug)]
pub struct Batch {
    pub changes: Vec<Arc<Change>>,
    pub revision: Revision,
}

impl Watcher {
    pub(crate) fn new(
        cache: Arc<Cache>,
        resource: String,
        scope: String,
        after: Revision,
        tick: watch::Receiver<Revision>,
    ) -> Self {
        Self { cache, resource, scope, after, tick, caught_up: None }
    }

    /// What has happened since the last call, possibly nothing. Never waits.
    ///
    /// # Errors
    /// [`Error::Expired`] when this watcher was so slow that it missed changes.
    pub fn now(&mut self) -> Result<Batch, Error> {
        self.tick.mark_unchanged();
        let state = self.cache.read();
        let (mut changes, mut cut) = (Vec::new(), false);
        let mut revision = state.revision.max(self.after);
        if let Some(resource) = state.resources.get(&self.resource) {
            let mut unread = resource.since(self.after)?;
            let waiting = unread.len();
            while let Some(change) = unread.next() {
                // Changes of one revision belong together: who resumes from it would miss the rest.
                if changes.len() >= BATCH_MAX && change.revision > self.after {
                    // More is waiting: come back at once.
                    self.tick.mark_changed();
                    revision = self.after;
                    let left = unread.len() + 1;
                    if self.caught_up.is_some_and(|at| at.elapsed() < HELD_FOR) {
                        // Of what is left, as large a share is of the scope as of what was read.
                        resource.is_behind(left * changes.len() / (waiting - left).max(1));
                    }
                    cut = true;
                    break;
                }
                self.after = change.revision;
                if change.object.key().starts_with(&self.scope) {
                    changes.push(change.clone());
                }
            }
        }
        if !cut {
            self.caught_up = Some(Instant::now());
        }
        self.after = revision.max(self.after);
        Ok(Batch { changes, revision: self.after })
    }

    /// Waits until something may have happened in the resource. Cancel-safe.
    pub async fn changed(&mut self) {
        if self.tick.changed().await.is_err() {
            // The cache lives as long as its watchers; without it nothing will ever happen again.
            std::future::pending::<()>().await;
        }
    }
}
