//! The declared fields of an object, found by name: for every member of every object that is read or walked.

use std::collections::BTreeMap;

use apiserver_json::is_same_name;

use crate::node::Field;

/// How far from where its hash says a name may be.
const TRIES_MAX: usize = 16;

/// Fields in the order of their names.
#[derive(Clone, Debug, Default)]
pub struct Fields {
    members: Vec<(Box<str>, Field)>,
    /// A hash table of a power of two, at most half full: one more than a place in `members`, or 0. Empty where it would not
    /// be quicker than a search.
    table: Box<[u32]>,
}

impl Fields {
    pub fn get(&self, name: &str) -> Option<&Field> {
        self.get_key_value(name).map(|(_, field)| field)
    }

    /// The field and its name as the schema holds it.
    pub fn get_key_value(&self, name: &str) -> Option<(&str, &Field)> {
        let Some(mask) = self.table.len().checked_sub(1) else {
            let at = self.members.binary_search_by(|(known, _)| (**known).cmp(name)).ok()?;
            return self.members.get(at).map(|(known, field)| (&**known, field));
        };
        let mut slot = hash(name) & mask;
        loop {
            let at = self.table[slot].checked_sub(1)?;
            let (known, field) = self.members.get(at as usize)?;
            if is_same_name(known, name) {
                return Some((known, field));
            }
            slot = (slot + 1) & mask;
        }
    }

    pub fn contains_key(&self, name: &str) -> bool {
        self.get_key_value(name).is_some()
    }

    pub fn values(&self) -> impl Iterator<Item = &Field> {
        self.members.iter().map(|(_, field)| field)
    }

    pub fn iter(&self) -> std::slice::Iter<'_, (Box<str>, Field)> {
        self.members.iter()
    }

    /// These and others, which take the place of those of the same names.
    pub fn extended(&self, others: impl IntoIterator<Item = (Box<str>, Field)>) -> Self {
        let own: BTreeMap<Box<str>, Field> = self.members.iter().cloned().chain(others).collect();
        own.into()
    }
}

impl From<BTreeMap<Box<str>, Field>> for Fields {
    fn from(fields: BTreeMap<Box<str>, Field>) -> Self {
        let members: Vec<(Box<str>, Field)> = fields.into_iter().collect();
        let table = table(&members);
        Self { members, table }
    }
}

impl<'a> IntoIterator for &'a Fields {
    type Item = &'a (Box<str>, Field);
    type IntoIter = std::slice::Iter<'a, (Box<str>, Field)>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// Of a name's length and a few of its bytes: field names of one object seldom share all of them.
fn hash(name: &str) -> usize {
    let bytes = name.as_bytes();
    let byte = |at: usize| bytes.get(at).copied().map_or(0, usize::from);
    let last = bytes.len().saturating_sub(1);
    let mixed = bytes.len() + byte(0) * 31 + byte(bytes.len() / 2) * 1_009 + byte(last) * 7_919;
    mixed ^ mixed >> 7
}

/// A table of places, unless some name is too far from its own: names may be chosen to have the same hash.
fn table(members: &[(Box<str>, Field)]) -> Box<[u32]> {
    let size = if members.is_empty() { 0 } else { (2 * members.len()).next_power_of_two() };
    let mut table = vec![0; size].into_boxed_slice();
    for ((name, _), place) in members.iter().zip(1..) {
        let start = hash(name);
        let free = (start..start + TRIES_MAX).map(|slot| slot & (size - 1)).find(|slot| table[*slot] == 0);
        match free {
            Some(slot) => table[slot] = place,
            None => return Box::default(),
        }
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::{Schema, Shape, Slot};

    #[test]
    fn every_field_is_found_and_no_other() {
        let field = || Field::plain(Slot::node(Schema::new(Shape::String)));
        for count in [0, 1, 2, 3, 7, 40, 300] {
            let names =
                |prefix: &str| -> Vec<String> { (0..count).map(|i| format!("{prefix}{i}")).collect() };
            let fields: BTreeMap<Box<str>, Field> =
                names("field").iter().map(|name| (name.as_str().into(), field())).collect();
            let fields = Fields::from(fields);
            assert!(names("field").iter().all(|name| fields.contains_key(name)), "{count}");
            assert!(!names("other").iter().any(|name| fields.contains_key(name)), "{count}");
            assert!(!fields.contains_key(""), "{count}");
            assert_eq!(fields.iter().count(), count);
        }
        // What has one hash is searched for.
        let alike = |i: usize| format!("a{i:05}x{i:05}z");
        let fields: BTreeMap<Box<str>, Field> = (0..5000).map(|i| (alike(i).into(), field())).collect();
        let fields = Fields::from(fields);
        assert!(fields.table.is_empty());
        assert!((0..5000).all(|i| fields.contains_key(&alike(i))) && !fields.contains_key("a"));
    }
}
