//! What the store asks of a disk: append a batch of revisions durably, load them, forget some.

use std::io::ErrorKind;
use std::path::PathBuf;

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
    #[error("{} is damaged at byte {at}", file.display())]
    DamagedFile { file: PathBuf, at: u64 },
    #[error("{} is missing", file.display())]
    Missing { file: PathBuf },
    #[error("it was made by the engine {maker}")]
    OtherEngine { maker: &'static str },
    #[error(
        "sled does not go on after a failed write until it is restarted; the default engine does: --store log"
    )]
    Restart,
    #[error("it held objects once and is empty now: its files were damaged or replaced")]
    Lost,
}

impl EngineError {
    /// The error and its causes, in one line.
    pub fn chain(&self) -> String {
        let causes = std::iter::successors(std::error::Error::source(self), |error| error.source());
        causes.fold(self.to_string(), |text, cause| format!("{text}: {cause}"))
    }

    /// Whether the medium has no room, rather than a fault.
    pub(crate) fn is_full(&self) -> bool {
        matches!(self, Self::Io(error)
            if matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded))
    }
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

    /// Gives room back that forgotten records still take, for a disk that is full. Whether some was found: then it is
    /// worth another try.
    ///
    /// # Errors
    /// When the medium refused.
    fn reclaim(&mut self) -> Result<bool, EngineError> {
        Ok(false)
    }

    /// Makes everything appended so far durable.
    ///
    /// # Errors
    /// When the medium refused.
    fn sync(&mut self) -> Result<(), EngineError>;
}

impl Engine for Box<dyn Engine> {
    fn load(&mut self) -> Result<Loaded, EngineError> {
        (**self).load()
    }

    fn append(&mut self, records: &[Record], durability: Durability) -> Result<(), EngineError> {
        (**self).append(records, durability)
    }

    fn forget(&mut self, revisions: &[Revision], upto: Revision) -> Result<(), EngineError> {
        (**self).forget(revisions, upto)
    }

    fn reclaim(&mut self) -> Result<bool, EngineError> {
        (**self).reclaim()
    }

    fn sync(&mut self) -> Result<(), EngineError> {
        (**self).sync()
    }
}
