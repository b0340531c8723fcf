//! Who owns whom, by uid. Pure bookkeeping.
//!
//! Owners that were never seen are not in it: whether they exist is for the caller to find out.

use controllers_kit::Key;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use std::collections::{BTreeSet, HashMap};

/// An object, as far as ownership goes.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Item {
    pub(super) uid: String,
    /// `apiVersion/kind`.
    pub(super) kind: String,
    pub(super) key: Key,
    pub(super) version: String,
    pub(super) owners: Vec<OwnerReference>,
    pub(super) finalizers: Vec<String>,
    deleting: bool,
}

impl Item {
    pub(super) fn of(kind: &str, meta: ObjectMeta) -> Self {
        Item {
            uid: meta.uid.clone().unwrap_or_default(),
            kind: kind.to_string(),
            key: Key::of(&meta),
            version: meta.resource_version.unwrap_or_default(),
            owners: meta.owner_references.unwrap_or_default(),
            finalizers: meta.finalizers.unwrap_or_default(),
            deleting: meta.deletion_timestamp.is_some(),
        }
    }

    pub(super) fn label(&self) -> String {
        format!("{} {}", self.kind.rsplit('/').next().unwrap_or_default(), self.key)
    }

    pub(super) fn is_deleting(&self) -> bool {
        self.deleting
    }

    pub(super) fn has_finalizer(&self, name: &str) -> bool {
        self.finalizers.iter().any(|f| f == name)
    }

    fn blocked(&self) -> impl Iterator<Item = &String> {
        self.owners.iter().filter(|owner| owner.block_owner_deletion == Some(true)).map(|owner| &owner.uid)
    }

    /// The owners that need not wait for the item any more.
    pub(super) fn no_longer_blocks(&self, newer: &Item) -> Vec<String> {
        self.blocked().filter(|uid| !newer.blocked().any(|still| still == *uid)).cloned().collect()
    }

    /// True if the newer state of the item calls for another look.
    pub(super) fn matters(&self, newer: &Item) -> bool {
        self.owners != newer.owners || self.finalizers != newer.finalizers || self.deleting != newer.deleting
    }
}

/// An item's owners by what becomes of them.
#[derive(Debug, Default, PartialEq)]
pub(super) struct References {
    pub(super) solid: Vec<OwnerReference>,
    pub(super) dangling: Vec<OwnerReference>,
    /// Owners that wait for their dependents to be deleted.
    pub(super) waiting: Vec<OwnerReference>,
}

/// All items.
#[derive(Debug, Default)]
pub(super) struct Graph {
    items: HashMap<String, Item>,
    dependents: HashMap<String, BTreeSet<String>>,
}

impl Graph {
    pub(super) fn get(&self, uid: &str) -> Option<&Item> {
        self.items.get(uid)
    }

    pub(super) fn put(&mut self, item: Item) {
        self.unlink(&item.uid);
        for owner in &item.owners {
            self.dependents.entry(owner.uid.clone()).or_default().insert(item.uid.clone());
        }
        self.items.insert(item.uid.clone(), item);
    }

    pub(super) fn remove(&mut self, uid: &str) -> Option<Item> {
        self.unlink(uid);
        self.items.remove(uid)
    }

    fn unlink(&mut self, uid: &str) {
        let Some(item) = self.items.get(uid) else { return };
        for owner in &item.owners {
            if let Some(set) = self.dependents.get_mut(&owner.uid) {
                set.remove(uid);
                if set.is_empty() {
                    self.dependents.remove(&owner.uid);
                }
            }
        }
    }

    pub(super) fn dependents(&self, uid: &str) -> Vec<String> {
        self.dependents.get(uid).into_iter().flatten().cloned().collect()
    }

    /// Whether an item has dependents, and whether one of them waits for its own dependents: that may be the item itself.
    pub(super) fn below(&self, uid: &str) -> (bool, bool) {
        let dependents = self.dependents(uid);
        let waits = |item: &Item| item.is_deleting() && item.has_finalizer(super::FOREGROUND);
        let is_circle = dependents.iter().filter_map(|uid| self.get(uid)).any(waits);
        (!dependents.is_empty(), is_circle)
    }

    /// Dependents that keep their owner from going.
    pub(super) fn blocking(&self, uid: &str) -> Vec<String> {
        let blocks = |dependent: &String| {
            let owners = self.items.get(dependent).map(|item| item.owners.as_slice()).unwrap_or_default();
            owners.iter().any(|o| o.uid == uid && o.block_owner_deletion == Some(true))
        };
        self.dependents(uid).into_iter().filter(blocks).collect()
    }

    /// Items of a kind that a fresh list no longer has.
    pub(super) fn missing(&self, kind: &str, listed: &[String]) -> Vec<String> {
        let listed: BTreeSet<&String> = listed.iter().collect();
        let gone = self.items.values().filter(|item| item.kind == kind && !listed.contains(&item.uid));
        gone.map(|item| item.uid.clone()).collect()
    }

    pub(super) fn classify(&self, item: &Item, absent: &[String]) -> References {
        let mut references = References::default();
        for owner in &item.owners {
            let waits = |o: &Item| o.is_deleting() && o.has_finalizer(super::FOREGROUND);
            if absent.contains(&owner.uid) {
                references.dangling.push(owner.clone());
            } else if self.get(&owner.uid).is_some_and(waits) {
                references.waiting.push(owner.clone());
            } else {
                references.solid.push(owner.clone());
            }
        }
        references
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(uid: &str, owners: &[&str]) -> Item {
        let owner = |uid: &&str| OwnerReference {
            uid: uid.to_string(),
            block_owner_deletion: Some(true),
            ..Default::default()
        };
        Item {
            uid: uid.into(),
            kind: "v1/Pod".into(),
            owners: owners.iter().map(owner).collect(),
            ..Default::default()
        }
    }

    #[test]
    fn owners_are_solid_dangling_or_waiting() {
        let mut graph = Graph::default();
        let waiting =
            Item { deleting: true, finalizers: vec![super::super::FOREGROUND.into()], ..item("w", &[]) };
        graph.put(waiting);
        graph.put(item("s", &[]));
        let dependent = item("d", &["w", "s", "gone"]);
        graph.put(dependent.clone());
        let references = graph.classify(&dependent, &["gone".into()]);
        let uids = |list: &[OwnerReference]| list.iter().map(|o| o.uid.clone()).collect::<Vec<_>>();
        assert_eq!(uids(&references.solid), ["s"]);
        assert_eq!(uids(&references.dangling), ["gone"]);
        assert_eq!(uids(&references.waiting), ["w"]);
        assert_eq!(graph.blocking("w"), ["d"]);
        // An item below which another one waits may be in a circle with it; what blocks nobody any more is told.
        assert_eq!(graph.below("s"), (true, false));
        graph.put(Item {
            deleting: true,
            finalizers: vec![super::super::FOREGROUND.into()],
            ..dependent.clone()
        });
        assert_eq!(graph.below("s"), (true, true));
        assert_eq!(dependent.no_longer_blocks(&item("d", &["s", "gone"])), ["w"]);
        graph.remove("d");
        assert!(graph.dependents("w").is_empty());
    }
}
