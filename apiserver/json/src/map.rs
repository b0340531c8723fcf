//! The members of an object, sorted by their keys.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};

use smol_str::SmolStr;
use thin_vec::ThinVec;

use crate::name::{self, Names};
use crate::{Members, Value};

/// Up to so many members it is quicker to look at one after the other.
const SEARCHED_ONE_BY_ONE: usize = 16;

/// Members in the order of their keys' bytes, each key once.
#[derive(Clone, Default)]
pub struct Map {
    members: Members,
    /// Of these members, and perhaps of some that are gone.
    names: Names,
}

/// The place of a key in a map.
pub enum Entry<'a> {
    Vacant { map: &'a mut Map, at: usize, key: SmolStr },
    Occupied { map: &'a mut Map, at: usize },
}

impl Map {
    /// An object without members.
    pub const fn new() -> Self {
        Self { members: ThinVec::new(), names: Names::NONE }
    }

    /// Room for so many members.
    pub fn with_capacity(capacity: usize) -> Self {
        Self { members: ThinVec::with_capacity(capacity), names: Names::NONE }
    }

    #[inline]
    pub fn len(&self) -> usize {
        self.members.len()
    }

    #[inline]
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// The object of these members, in any order; of those with one key the last counts. Says whether there were such.
    /// To read an object a member at a time would cost its square, were they in the wrong order.
    pub fn of_members(members: Members) -> (Self, bool) {
        let mut map = Self { members, names: Names::NONE };
        let duplicates = map.put_in_order();
        (map, duplicates)
    }

    fn put_in_order(&mut self) -> bool {
        self.names = self.members.iter().map(|(name, _)| name).collect();
        if self.members.is_sorted_by(|(one, _), (next, _)| name::order(one, next).is_lt()) {
            return false;
        }
        self.members.sort_by(|(one, _), (other, _)| name::order(one, other));
        let before = self.members.len();
        self.members.dedup_by(|later, earlier| {
            let same = later.0 == earlier.0;
            if same {
                std::mem::swap(later, earlier);
            }
            same
        });
        self.members.len() < before
    }

    /// Inlined where the key is known, so that the filter is a look at one bit.
    #[inline]
    fn find(&self, key: &str) -> Option<usize> {
        if self.names.may_have(key) { self.search(key) } else { None }
    }

    fn search(&self, key: &str) -> Option<usize> {
        if self.members.len() <= SEARCHED_ONE_BY_ONE {
            return self.members.iter().position(|(name, _)| name::is_same(name, key));
        }
        self.members.binary_search_by(|(name, _)| name::order(name, key)).ok()
    }

    /// Where a key is, or where it would be.
    fn place(&self, key: &str) -> Result<usize, usize> {
        // Keys mostly come in order.
        match self.members.last().map(|(last, _)| name::order(last, key)) {
            None | Some(Ordering::Less) => Err(self.members.len()),
            Some(Ordering::Equal) => Ok(self.members.len() - 1),
            Some(Ordering::Greater) => self.members.binary_search_by(|(name, _)| name::order(name, key)),
        }
    }

    #[inline]
    pub fn contains_key(&self, key: &str) -> bool {
        self.find(key).is_some()
    }

    #[inline]
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.find(key).map(|at| &self.members[at].1)
    }

    #[inline]
    pub fn get_mut(&mut self, key: &str) -> Option<&mut Value> {
        self.find(key).map(|at| &mut self.members[at].1)
    }

    #[inline]
    pub fn get_key_value(&self, key: &str) -> Option<(&SmolStr, &Value)> {
        self.find(key).map(|at| (&self.members[at].0, &self.members[at].1))
    }

    /// Sets a member; gives what it was before.
    pub fn insert(&mut self, key: SmolStr, value: Value) -> Option<Value> {
        match self.place(&key) {
            Ok(at) => Some(std::mem::replace(&mut self.members[at].1, value)),
            Err(at) => {
                self.names.add(&key);
                self.members.insert(at, (key, value));
                None
            }
        }
    }

    pub fn remove(&mut self, key: &str) -> Option<Value> {
        self.remove_entry(key).map(|(_, value)| value)
    }

    pub fn remove_entry(&mut self, key: &str) -> Option<(SmolStr, Value)> {
        self.find(key).map(|at| self.members.remove(at))
    }

    pub fn entry(&mut self, key: impl Into<SmolStr>) -> Entry<'_> {
        let key = key.into();
        match self.place(&key) {
            Ok(at) => Entry::Occupied { map: self, at },
            Err(at) => Entry::Vacant { map: self, at, key },
        }
    }

    /// Keeps the members of which `keep` is true.
    pub fn retain(&mut self, mut keep: impl FnMut(&SmolStr, &mut Value) -> bool) {
        self.members.retain_mut(|(key, value)| keep(key, value));
    }

    /// Moves all members of `other` here; they take the place of those of the same keys.
    pub fn append(&mut self, other: &mut Self) {
        self.extend(std::mem::take(other));
    }

    pub fn clear(&mut self) {
        self.members.clear();
        self.names = Names::NONE;
    }

    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&SmolStr, &Value)> + ExactSizeIterator + Clone {
        self.members.iter().map(|(key, value)| (key, value))
    }

    pub fn iter_mut(
        &mut self,
    ) -> impl DoubleEndedIterator<Item = (&SmolStr, &mut Value)> + ExactSizeIterator {
        self.members.iter_mut().map(|(key, value)| (&*key, value))
    }

    pub fn keys(&self) -> impl DoubleEndedIterator<Item = &SmolStr> + ExactSizeIterator + Clone {
        self.members.iter().map(|(key, _)| key)
    }

    pub fn values(&self) -> impl DoubleEndedIterator<Item = &Value> + ExactSizeIterator + Clone {
        self.members.iter().map(|(_, value)| value)
    }

    pub fn values_mut(&mut self) -> impl DoubleEndedIterator<Item = &mut Value> + ExactSizeIterator {
        self.members.iter_mut().map(|(_, value)| value)
    }
}

impl PartialEq for Map {
    fn eq(&self, other: &Self) -> bool {
        self.members == other.members
    }
}

impl Eq for Map {}

impl Hash for Map {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.members.hash(state);
    }
}

impl fmt::Debug for Map {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self).finish()
    }
}

impl<'a> Entry<'a> {
    /// The member, set to a value where it is missing.
    pub fn or_insert(self, value: Value) -> &'a mut Value {
        self.or_insert_with(|| value)
    }

    /// The member, made where it is missing.
    pub fn or_insert_with(self, make: impl FnOnce() -> Value) -> &'a mut Value {
        match self {
            Self::Occupied { map, at } => &mut map.members[at].1,
            Self::Vacant { map, at, key } => {
                map.names.add(&key);
                map.members.insert(at, (key, make()));
                &mut map.members[at].1
            }
        }
    }
}

type Owned = thin_vec::IntoIter<(SmolStr, Value)>;
type Shared<'a> = std::iter::Map<
    std::slice::Iter<'a, (SmolStr, Value)>,
    fn(&'a (SmolStr, Value)) -> (&'a SmolStr, &'a Value),
>;
type Exclusive<'a> = std::iter::Map<
    std::slice::IterMut<'a, (SmolStr, Value)>,
    fn(&'a mut (SmolStr, Value)) -> (&'a SmolStr, &'a mut Value),
>;

impl IntoIterator for Map {
    type Item = (SmolStr, Value);
    type IntoIter = Owned;

    fn into_iter(self) -> Owned {
        self.members.into_iter()
    }
}

impl<'a> IntoIterator for &'a Map {
    type Item = (&'a SmolStr, &'a Value);
    type IntoIter = Shared<'a>;

    fn into_iter(self) -> Shared<'a> {
        self.members.iter().map(|(key, value)| (key, value))
    }
}

impl<'a> IntoIterator for &'a mut Map {
    type Item = (&'a SmolStr, &'a mut Value);
    type IntoIter = Exclusive<'a>;

    fn into_iter(self) -> Exclusive<'a> {
        self.members.iter_mut().map(|(key, value)| (&*key, value))
    }
}

impl<K: Into<SmolStr>, V: Into<Value>> Extend<(K, V)> for Map {
    fn extend<I: IntoIterator<Item = (K, V)>>(&mut self, members: I) {
        self.members.extend(members.into_iter().map(|(key, value)| (key.into(), value.into())));
        self.put_in_order();
    }
}

impl<K: Into<SmolStr>, V: Into<Value>> FromIterator<(K, V)> for Map {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(members: I) -> Self {
        let mut map = Self::new();
        map.extend(members);
        map
    }
}

impl std::ops::Index<&str> for Map {
    type Output = Value;

    fn index(&self, key: &str) -> &Value {
        static NULL: Value = Value::Null;
        self.get(key).unwrap_or(&NULL)
    }
}
