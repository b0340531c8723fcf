//! A watcher: a position in a resource's window. It buffers nothing.

use std::sync::Arc;

use apiserver_storage::Revision;
use tokio::sync::watch;

use crate::{Cache, Change, Error};

/// Changes handed out at once: bounds what one slow watcher holds.
const BATCH_MAX: usize = 64;

/// Follows one scope of one resource.
#[derive(Debug)]
pub struct Watcher {
    cache: Arc<Cache>,
    resource: String,
    scope: String,
    after: Revision,
    tick: watch::Receiver<Revision>,
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
        Self { cache, resource, scope, after, tick }
    }

    /// What has happened since the last call, possibly nothing. Never waits.
    ///
    /// # Errors
    /// [`Error::Expired`] when this watcher was so slow that it missed changes.
    pub fn now(&mut self) -> Result<Batch, Error> {
        self.tick.mark_unchanged();
        let state = self.cache.read();
        let mut changes = Vec::new();
        let mut revision = state.revision.max(self.after);
        if let Some(resource) = state.resources.get(&self.resource) {
            let mut unread = resource.since(self.after)?;
            while let Some(change) = unread.next() {
                // Changes of one revision belong together: who resumes from it would miss the rest.
                if changes.len() >= BATCH_MAX && change.revision > self.after {
                    // More is waiting: come back at once.
                    self.tick.mark_changed();
                    revision = self.after;
                    resource.is_behind(unread.len() + 1);
                    break;
                }
                self.after = change.revision;
                if change.object.key().starts_with(&self.scope) {
                    changes.push(change.clone());
                }
            }
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
