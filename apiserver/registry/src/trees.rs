//! Trees of the objects that were written last: an object is seldom written once, and the next who writes it would
//! parse what this one has just serialised.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use apiserver_json::Value;
use apiserver_storage::Revision;
use apiserver_watchcache::Object;

use crate::encode;

/// How many trees are kept at most.
const SLOTS: usize = 256;
/// Objects of more bytes than this are not kept.
const BYTES_MAX: usize = 32 * 1024;

struct Slot {
    key: String,
    revision: Revision,
    tree: Arc<Value>,
}

/// Each tree has one place, by its revision: the next one there takes it.
pub(crate) struct Trees {
    slots: Box<[Mutex<Option<Slot>>]>,
}

impl Default for Trees {
    fn default() -> Self {
        Self { slots: (0..SLOTS).map(|_| Mutex::default()).collect() }
    }
}

impl Trees {
    fn slot(&self, revision: Revision) -> MutexGuard<'_, Option<Slot>> {
        let at = usize::try_from(revision % SLOTS as u64).unwrap_or(0);
        self.slots[at].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The packed tree of an object.
    pub(crate) fn of(&self, object: &Object) -> Arc<Value> {
        if let Some(slot) = &*self.slot(object.revision())
            && slot.revision == object.revision()
            && slot.key == **object.key()
        {
            debug_assert_eq!(*slot.tree, encode::tree(object), "{} at {}", slot.key, slot.revision);
            return slot.tree.clone();
        }
        Arc::new(encode::tree(object))
    }

    /// Keeps the tree of what was written at this revision, `bytes` long; it comes without one.
    pub(crate) fn keep(&self, key: &str, revision: Revision, mut tree: Value, bytes: usize) {
        if bytes > BYTES_MAX || !is_packed(&tree) {
            return;
        }
        let Some(metadata) = tree.get_mut("metadata").and_then(Value::as_object_mut) else { return };
        metadata.insert("resourceVersion".into(), revision.to_string().into());
        let slot = Slot { key: key.to_owned(), revision, tree: Arc::new(tree) };
        // What was there is dropped when nobody waits for it.
        let before = self.slot(revision).replace(slot);
        drop(before);
    }
}

/// Whether the owners are text, as they are in what is parsed.
fn is_packed(tree: &Value) -> bool {
    let entries = tree["metadata"]["managedFields"].as_array();
    entries
        .into_iter()
        .flatten()
        .all(|entry| entry.get("fieldsV1").is_none_or(|fields| fields.as_raw().is_some()))
}
