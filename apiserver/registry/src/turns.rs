//! Whose turn it is: those of one name one after another.

use std::hash::{DefaultHasher, Hash, Hasher};

use tokio::sync::Mutex;

/// Names that share a turn wait for each other, nothing else.
const TURNS: usize = 64;

/// Turns by name.
pub(crate) struct Turns([Mutex<()>; TURNS]);

impl Default for Turns {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Mutex::default()))
    }
}

impl Turns {
    pub(crate) fn of(&self, name: &str) -> &Mutex<()> {
        let mut hasher = DefaultHasher::new();
        name.hash(&mut hasher);
        &self.0[(hasher.finish() % TURNS as u64) as usize]
    }
}
