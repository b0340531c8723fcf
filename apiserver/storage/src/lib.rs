//! The revisioned key-value store behind the API server, shaped like etcd.
//!
//! One global revision counts every change; it is the `resourceVersion` of the API. A store holds the current
//! state and a window of events in memory, and a log of revisions in an [`Engine`]. It knows keys and bytes,
//! not kinds: what an object means is the registry's business.

mod directory;
mod document;
mod engine;
pub mod etcd;
mod inbox;
pub mod limits;
mod local;
mod log;
mod memory;
mod record;
mod sled_engine;
mod staged;
mod store;
mod window;
mod writer;

pub use document::{Document, Stored};
pub use engine::{Engine, EngineError, Loaded, Record};
pub use local::{Durability, Local, Publish, UnderWay};
pub use log::LogEngine;
pub use memory::MemoryEngine;
pub use sled_engine::SledEngine;
pub use store::Store;

use std::sync::Arc;

/// A global revision. 0 means "before everything".
pub type Revision = u64;

/// A key such as `/registry/pods/default/web`.
pub type Key = Arc<str>;

/// What a write does, and what must hold for it to happen.
#[derive(Clone, Debug)]
pub enum Op {
    /// The key must not exist.
    Create(Document),
    /// The key's modification revision must be `expect`.
    Update { expect: Revision, document: Document },
    /// The key's modification revision must be `expect`.
    Delete { expect: Revision },
}

/// One write of a transaction.
#[derive(Clone, Debug)]
pub struct Write {
    pub key: Key,
    pub op: Op,
}

/// Names that are given once among all that share a store, such as addresses: `take` must be free.
#[derive(Clone, Debug, Default)]
pub struct Claims {
    pub take: Vec<Key>,
    pub free: Vec<Key>,
}

/// A key's state after a write or in a range.
#[derive(Clone, Debug)]
pub struct Entry {
    pub key: Key,
    /// Revision of the last change.
    pub revision: Revision,
    pub value: Stored,
}

/// One change, in the order of its revision.
#[derive(Clone, Debug)]
pub struct Event {
    pub key: Key,
    pub revision: Revision,
    pub kind: EventKind,
    /// The value after the change; for a deletion the last value with the deletion's revision in it.
    pub value: Stored,
    /// The value before the change, where there was one.
    pub previous: Option<Entry>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    Created,
    Updated,
    Deleted,
}

/// Why a write or read was refused.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("key {key} exists already")]
    Exists { key: Key },
    #[error("key {key} is at revision {found:?}, not {expect}")]
    Conflict { key: Key, expect: Revision, found: Option<Revision> },
    #[error("{key} is claimed already")]
    Taken { key: Key },
    #[error("revision {asked} has been compacted; the oldest is {oldest}")]
    Compacted { asked: Revision, oldest: Revision },
    #[error("revision {asked} is in the future; the current one is {current}")]
    Future { asked: Revision, current: Revision },
    #[error("the store could not write: {}", .0.chain())]
    Engine(Arc<EngineError>),
    #[error("{}", .0.chain())]
    Etcd(Arc<etcd::EtcdError>),
    #[error("the store is closed")]
    Closed,
}

/// The store contract. Every method that writes answers only after the write is durable and published.
pub trait Storage: Send + Sync + 'static {
    /// Applies all writes or none, as one unit; each gets a revision of its own, in order.
    fn commit(
        &self,
        writes: Vec<Write>,
    ) -> impl std::future::Future<Output = Result<Vec<Entry>, Error>> + Send;

    /// Every live key that starts with `prefix`, in key order, at the current revision.
    fn range(
        &self,
        prefix: &str,
    ) -> impl std::future::Future<Output = Result<(Revision, Vec<Entry>), Error>> + Send;

    /// Events of keys that start with `prefix` after revision `after`, without a gap.
    ///
    /// # Errors
    /// [`Error::Compacted`] when some of them have left the window.
    fn events(&self, prefix: &str, after: Revision) -> Result<Vec<Arc<Event>>, Error>;

    /// Forgets superseded values and events up to `upto`.
    fn compact(&self, upto: Revision) -> impl std::future::Future<Output = Result<(), Error>> + Send;

    /// The revision of the last published write.
    fn revision(&self) -> Revision;
}
