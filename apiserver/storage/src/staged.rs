//! A batch being built: what it changes on top of the current state.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::{Document, Entry, Error, Event, EventKind, Key, Op, Revision, Stored, Write};

pub(crate) struct Staged {
    pub changed: BTreeMap<Key, Option<Entry>>,
    pub events: Vec<Arc<Event>>,
    pub next: Revision,
}

impl Staged {
    fn get(&self, current: &BTreeMap<Key, Entry>, key: &Key) -> Option<Entry> {
        match self.changed.get(key) {
            Some(entry) => entry.clone(),
            None => current.get(key).cloned(),
        }
    }

    pub(crate) fn transaction(
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
