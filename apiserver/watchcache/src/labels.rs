//! Objects by label: what a selector fixes is looked up, not searched for.
//!
//! An index is made of a label of a large resource when it is first asked for, and every change keeps it true.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};

use apiserver_storage::Key;

use crate::{Cache, Object, Snapshot, limits};

/// The indexes of one resource.
#[derive(Debug, Default)]
pub(crate) struct Labels {
    by_label: HashMap<Box<str>, Values>,
    /// Counts what was asked, so that the index that nobody asks for is known.
    clock: AtomicU64,
}

/// The objects that have one label, by its value.
#[derive(Debug, Default)]
struct Values {
    objects: HashMap<Box<str>, BTreeMap<Key, Arc<Object>>>,
    asked: AtomicU64,
}

impl Values {
    fn add(&mut self, label: &str, object: &Arc<Object>) {
        let Some(value) = object.label(label) else { return };
        if !self.objects.contains_key(value) {
            self.objects.insert(value.into(), BTreeMap::new());
        }
        if let Some(objects) = self.objects.get_mut(value) {
            objects.insert(object.key().clone(), object.clone());
        }
    }

    fn remove(&mut self, label: &str, object: &Object) {
        let Some(value) = object.label(label) else { return };
        let Some(objects) = self.objects.get_mut(value) else { return };
        objects.remove(object.key());
        if objects.is_empty() {
            self.objects.remove(value);
        }
    }
}

impl Labels {
    /// An object became another one, came or went.
    pub(crate) fn change(&mut self, before: Option<&Arc<Object>>, after: Option<&Arc<Object>>) {
        for (label, values) in &mut self.by_label {
            if let Some(before) = before {
                values.remove(label, before);
            }
            if let Some(after) = after {
                values.add(label, after);
            }
        }
    }

    /// The objects below `scope` whose label has one of the values, in key order; `None` without an index.
    fn get(&self, scope: &str, label: &str, values: &[String]) -> Option<Vec<Arc<Object>>> {
        let index = self.by_label.get(label)?;
        index.asked.store(self.clock.fetch_add(1, Ordering::Relaxed), Ordering::Relaxed);
        let mut found: Vec<Arc<Object>> = Vec::new();
        for objects in values.iter().filter_map(|value| index.objects.get(value.as_str())) {
            let below =
                objects.range::<str, _>((std::ops::Bound::Included(scope), std::ops::Bound::Unbounded));
            found.extend(
                below.take_while(|(key, _)| key.starts_with(scope)).map(|(_, object)| object.clone()),
            );
        }
        if values.len() > 1 {
            found.sort_by(|a, b| a.key().cmp(b.key()));
            found.dedup_by(|a, b| a.key() == b.key());
        }
        Some(found)
    }

    #[cfg(test)]
    pub(crate) fn names(&self) -> Vec<String> {
        self.by_label.keys().map(ToString::to_string).collect()
    }

    fn keep(&mut self, label: &str, values: Values) {
        if self.by_label.len() >= limits::LABEL_INDEXES_MAX {
            let longest_ago =
                self.by_label.iter().min_by_key(|(_, values)| values.asked.load(Ordering::Relaxed));
            if let Some(label) = longest_ago.map(|(label, _)| label.clone()) {
                self.by_label.remove(&label);
            }
        }
        self.by_label.insert(label.into(), values);
    }
}

impl Cache {
    /// The objects of a resource below `scope` whose label has one of the values, in key order, and the state they are
    /// of. `None` where looking at every object is as quick.
    pub fn labelled(
        &self,
        resource: &str,
        scope: &str,
        label: &str,
        values: &[String],
    ) -> Option<(Snapshot, Vec<Arc<Object>>)> {
        self.labelled_of(resource, scope, label, values, limits::LABEL_INDEX_OBJECTS_MIN)
    }

    pub(crate) fn labelled_of(
        &self,
        resource: &str,
        scope: &str,
        label: &str,
        values: &[String],
        objects_min: usize,
    ) -> Option<(Snapshot, Vec<Arc<Object>>)> {
        let snapshot = {
            let state = self.read();
            let found = state.resources.get(resource)?;
            if found.objects.len() < objects_min {
                return None;
            }
            let snapshot = Snapshot { revision: state.revision, objects: found.objects.clone() };
            if let Some(objects) = found.labels.get(scope, label, values) {
                return Some((snapshot, objects));
            }
            snapshot
        };
        // Made of a snapshot, so that nobody waits for it, then brought up to what happened meanwhile.
        let mut index = Values::default();
        for object in snapshot.objects.values() {
            index.add(label, object);
        }
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let revision = state.revision;
        let found = state.resources.get_mut(resource)?;
        for change in found.since(snapshot.revision).ok()? {
            if let Some(previous) = &change.previous {
                index.remove(label, previous);
            }
            if change.is_state() {
                index.add(label, &change.object);
            }
        }
        found.labels.keep(label, index);
        let objects = found.labels.get(scope, label, values)?;
        Some((Snapshot { revision, objects: found.objects.clone() }, objects))
    }
}
