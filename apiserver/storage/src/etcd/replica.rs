//! This process's copy of the state: what etcd's watch has told so far, and the window of its events. One task feeds it.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use bytes::Bytes;
use tokio::sync::watch;

use super::layout::Layout;
use super::messages::{KeyValue, unsigned};
use super::{EtcdError, Values};
use crate::window::Window;
use crate::{Document, Entry, Error, Event, EventKind, Key, Publish, Revision};

pub(super) struct Replica {
    state: RwLock<State>,
    revision: watch::Sender<Revision>,
    publish: Box<dyn Publish>,
    pub(super) layout: Layout,
    values: Box<dyn Values>,
}

#[derive(Default)]
struct State {
    current: BTreeMap<Key, Entry>,
    window: Window,
}

/// What became of an object.
pub(super) struct Change {
    pub key: Key,
    pub revision: Revision,
    /// `None` where it was deleted.
    pub document: Option<Document>,
}

impl Replica {
    pub(super) fn new(publish: Box<dyn Publish>, layout: Layout, values: Box<dyn Values>) -> Self {
        Self { state: RwLock::default(), revision: watch::Sender::new(0), publish, layout, values }
    }

    pub(super) fn revision(&self) -> Revision {
        *self.revision.borrow()
    }

    /// Tells when the revision moves on: everything up to it has been published.
    pub(super) fn revisions(&self) -> watch::Receiver<Revision> {
        self.revision.subscribe()
    }

    /// The object in a pair of etcd; `None` where the key is no object's.
    pub(super) fn read(&self, pair: KeyValue) -> Result<Option<Change>, EtcdError> {
        let Some(key) = self.layout.of_etcd(&pair.key) else { return Ok(None) };
        let document = self.document(&key, pair.value)?;
        Ok(Some(Change { key, revision: unsigned(pair.mod_revision), document: Some(document) }))
    }

    pub(super) fn document(&self, key: &Key, value: Bytes) -> Result<Document, EtcdError> {
        self.values.read(key, value).map_err(|why| EtcdError::Value { key: key.to_string(), why })
    }

    /// Takes what the watch told: all changes up to `upto`, in order.
    pub(super) fn apply(&self, changes: Vec<Change>, upto: Revision) {
        let mut events = Vec::with_capacity(changes.len());
        {
            let mut state = self.write();
            for change in changes {
                let previous = state.current.get(&change.key).cloned();
                let Some(event) = event_of(change, previous) else { continue };
                match event.kind {
                    EventKind::Deleted => state.current.remove(&event.key),
                    EventKind::Created | EventKind::Updated => {
                        state.current.insert(event.key.clone(), entry_of(&event))
                    }
                };
                let event = Arc::new(event);
                state.window.push(event.clone());
                events.push(event);
            }
            // There is no log here to clean.
            state.window.garbage.clear();
        }
        if !events.is_empty() {
            self.publish.publish(&events);
        }
        self.publish.reached(upto);
        self.revision.send_replace(upto);
    }

    /// Takes the whole state as it is at `revision`, with `unread` objects as they are known. What happened before can't be
    /// told any more.
    pub(super) fn reset(&self, objects: Vec<Change>, unread: &[Key], revision: Revision) {
        let mut events = Vec::new();
        {
            let mut state = self.write();
            let mut before = std::mem::take(&mut state.current);
            for change in objects {
                let known = before.remove(&change.key);
                if let Some(same) = known.clone().filter(|known| known.revision == change.revision) {
                    state.current.insert(change.key, same);
                    continue;
                }
                let Some(event) = event_of(change, known) else { continue };
                state.current.insert(event.key.clone(), entry_of(&event));
                events.push(Arc::new(event));
            }
            for key in unread {
                if let Some(known) = before.remove(key) {
                    state.current.insert(key.clone(), known);
                }
            }
            for (key, gone) in before {
                let change = Change { key, revision, document: None };
                events.extend(event_of(change, Some(gone)).map(Arc::new));
            }
            state.window = Window::at(revision);
        }
        self.publish.restart(&events, revision);
        self.revision.send_replace(revision);
    }

    pub(super) fn range(&self, prefix: &str) -> (Revision, Vec<Entry>) {
        let state = self.state();
        let from = (Bound::Included(prefix), Bound::Unbounded);
        let found = state.current.range::<str, _>(from).take_while(|(key, _)| key.starts_with(prefix));
        (self.revision(), found.map(|(_, entry)| entry.clone()).collect())
    }

    pub(super) fn events(&self, prefix: &str, after: Revision) -> Result<Vec<Arc<Event>>, Error> {
        let state = self.state();
        let window = &state.window;
        if after < window.floor {
            return Err(Error::Compacted { asked: after, oldest: window.floor });
        }
        let start = window.events.partition_point(|event| event.revision <= after);
        Ok(window.events.range(start..).filter(|event| event.key.starts_with(prefix)).cloned().collect())
    }

    pub(super) fn forget(&self, upto: Revision) {
        let mut state = self.write();
        state.window.advance(upto.min(self.revision()));
        state.window.garbage.clear();
    }

    fn state(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

fn entry_of(event: &Event) -> Entry {
    Entry { key: event.key.clone(), revision: event.revision, value: event.value.clone() }
}

/// The event of a change; `None` where something was deleted that was not known.
fn event_of(change: Change, previous: Option<Entry>) -> Option<Event> {
    let Change { key, revision, document } = change;
    let (kind, value) = match (&document, &previous) {
        (Some(document), None) => (EventKind::Created, document.finish(revision, EventKind::Created)),
        (Some(document), Some(_)) => (EventKind::Updated, document.finish(revision, EventKind::Updated)),
        (None, Some(last)) => (EventKind::Deleted, last.value.at_revision(revision, EventKind::Deleted)),
        (None, None) => return None,
    };
    Some(Event { key, revision, kind, value, previous })
}
