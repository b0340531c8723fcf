//! Objects of a cache by something that is in them, so that who looks for a few needs not look at all.
//!
//! An index is kept by the changes of its cache. Who is woken by a change finds it in an index that it asked for before it
//! asked to be woken.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use crate::cache::{Cache, Object};
use crate::key::Key;

/// Keys of objects by what was found in them.
#[derive(Default)]
pub(crate) struct Places {
    keys: Mutex<HashMap<String, BTreeSet<Key>>>,
}

/// See [`Cache::index`]; clones share it.
pub struct Index<K> {
    cache: Cache<K>,
    places: Arc<Places>,
}

impl<K> Clone for Index<K> {
    fn clone(&self) -> Self {
        Index { cache: self.cache.clone(), places: self.places.clone() }
    }
}

impl Places {
    /// An object that was at some places is at others.
    pub(crate) fn moved(&self, key: &Key, old: &[String], new: &[String]) {
        if old == new {
            return;
        }
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        for place in old {
            if let Some(there) = keys.get_mut(place) {
                there.remove(key);
                if there.is_empty() {
                    keys.remove(place);
                }
            }
        }
        for place in new {
            if let Some(there) = keys.get_mut(place) {
                there.insert(key.clone());
            } else {
                keys.insert(place.clone(), BTreeSet::from([key.clone()]));
            }
        }
    }

    fn at(&self, place: &str) -> Vec<Key> {
        let keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        keys.get(place).into_iter().flatten().cloned().collect()
    }

    fn all(&self) -> Vec<String> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect()
    }

    fn count(&self, place: &str) -> usize {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner).get(place).map_or(0, BTreeSet::len)
    }
}

impl<K: Object> Index<K> {
    pub(crate) fn new(cache: Cache<K>, places: Arc<Places>) -> Self {
        Index { cache, places }
    }

    /// The objects at a place, in order of namespace and name.
    pub fn at(&self, place: &str) -> Vec<Arc<K>> {
        self.places.at(place).iter().filter_map(|key| self.cache.get(key)).collect()
    }

    /// Every place that has objects.
    pub fn places(&self) -> Vec<String> {
        self.places.all()
    }

    /// The objects at the emptiest of these places: those that are at all of them are among them.
    pub fn at_rarest(&self, places: impl IntoIterator<Item = String>) -> Vec<Arc<K>> {
        let rarest = places.into_iter().min_by_key(|place| self.places.count(place));
        rarest.map_or_else(Vec::new, |place| self.at(&place))
    }
}

/// The place of a label in a namespace.
pub fn label_place(namespace: &str, (key, value): (&String, &String)) -> String {
    format!("{namespace}/{key}={value}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_moved_is_found_where_it_is() {
        let places = Places::default();
        let (a, b) = (Key::new("default", "a"), Key::new("default", "b"));
        let texts = |all: &[&str]| all.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        // object, where it was, where it is, then who is at x and how many are at y
        let table = [
            (&b, vec![], vec!["x"], vec![&b], 0),
            (&a, vec![], vec!["x", "y"], vec![&a, &b], 1),
            (&b, vec!["x"], vec!["y"], vec![&a], 2),
            (&a, vec!["x", "y"], vec!["y"], vec![], 2),
            (&b, vec!["y"], vec![], vec![], 1),
        ];
        for (key, old, new, at_x, count_y) in table {
            places.moved(key, &texts(&old), &texts(&new));
            let at_x: Vec<Key> = at_x.into_iter().cloned().collect();
            assert_eq!((places.at("x"), places.count("y")), (at_x, count_y), "{key} {old:?} {new:?}");
        }
        places.moved(&a, &texts(&["y"]), &[]);
        assert!(places.keys.lock().unwrap_or_else(PoisonError::into_inner).is_empty());
    }
}
