//! What the store asks of a disk: append a batch of revisions durably, load them, forget some.

use bytes::Bytes;

use crate::{Durability, EventKind, Key, Revision};

/// One revision of one key, as it is logged.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    pub revision: Revision,
    pub key: Key,
    pub kind: EventKind,
    /// Revision this one supersedes; 0 for a creation.
    pub supersedes: Revision,
    pub value: Bytes,
    pub revision_at: Option<(u32, u8)>,
}

/// Everything a log holds, in the order of revisions.
#[derive(Debug, Default)]
pub struct Loaded {
    pub records: Vec<Record>,
    /// Highest revision ever acknowledged, even where its record was compacted away.
    pub revision: Revision,
    /// Events up to this revision are gone.
    pub compacted: Revision,
}

#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    #[error("the data directory could not be used")]
    Io(#[from] std::io::Error),
    #[error("the database refused")]
    Sled(#[from] sled::Error),
    #[error("another process uses it")]
    InUse,
    #[error("record {revision} is damaged")]
    Damaged { revision: Revision },
    #[error("it held objects once and is empty now: its files were damaged or replaced")]
    Lost,
}

/// A durable log of records. Called by one thread only.
pub trait Engine: Send + 'static {
    /// Reads the whole log.
    ///
    /// # Errors
    /// When the medium can't be read, or holds a record that can't be understood.
    fn load(&mut self) -> Result<Loaded, EngineError>;

    /// Appends all records or none; with [`Durability::Commit`] they are on stable storage when this returns.
    ///
    /// # Errors
    /// When the medium refused; then none of the records may be there after a restart.
    fn append(&mut self, records: &[Record], durability: Durability) -> Result<(), EngineError>;

    /// Removes records by revision and remembers `upto` as compacted.
    ///
    /// # Errors
    /// When the medium refused. Removing a record twice is no error.
    fn forget(&mut self, revisions: &[Revision], upto: Revision) -> Result<(), EngineError>;

    /// Makes everything appended so far durable.
    ///
    /// # Errors
    /// When the medium refused.
    fn sync(&mut self) -> Result<(), EngineError>;
}
