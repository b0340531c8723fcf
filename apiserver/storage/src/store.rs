//! Whichever store an API server runs over.

use std::sync::Arc;

use crate::etcd::Etcd;
use crate::{Claims, Entry, Error, Event, Local, Revision, Storage, UnderWay, Write};

/// A store of this process alone, or one that several share. Cloning is cheap.
///
/// What waits for etcd is boxed: it is large, and would make every future that writes as large.
#[derive(Clone)]
pub enum Store {
    Local(Arc<Local>),
    Etcd(Arc<Etcd>),
}

impl From<Arc<Local>> for Store {
    fn from(store: Arc<Local>) -> Self {
        Self::Local(store)
    }
}

impl From<Arc<Etcd>> for Store {
    fn from(store: Arc<Etcd>) -> Self {
        Self::Etcd(store)
    }
}

impl Store {
    /// Whether others write to it, too.
    pub fn is_shared(&self) -> bool {
        matches!(self, Self::Etcd(_))
    }

    /// Says that a request came that is likely to write, until what is given is dropped: who writes at the same time shares
    /// a sync with it. etcd makes batches of its own.
    pub fn under_way(&self) -> Option<UnderWay> {
        match self {
            Self::Local(store) => Some(store.under_way()),
            Self::Etcd(_) => None,
        }
    }

    /// Returns once what is published holds everything that was committed before the call, by whomever. A local store
    /// publishes before it answers.
    ///
    /// # Errors
    /// When a shared store can't be asked.
    pub async fn catch_up(&self) -> Result<(), Error> {
        match self {
            Self::Local(_) => Ok(()),
            Self::Etcd(store) => Box::pin(store.catch_up()).await,
        }
    }

    /// As [`Storage::commit`], with claims that others see. A local store has nobody to tell.
    ///
    /// # Errors
    /// [`Error::Taken`] where another has claimed one first, and those of a commit.
    pub async fn commit_claiming(&self, writes: Vec<Write>, claims: &Claims) -> Result<Vec<Entry>, Error> {
        match self {
            Self::Local(store) => store.commit(writes).await,
            Self::Etcd(store) => Box::pin(store.commit_claiming(writes, claims)).await,
        }
    }

    /// Finishes what waits and lets go of the store.
    pub fn close(&self) {
        match self {
            Self::Local(store) => store.close(),
            Self::Etcd(store) => store.close(),
        }
    }
}

impl Storage for Store {
    async fn commit(&self, writes: Vec<Write>) -> Result<Vec<Entry>, Error> {
        match self {
            Self::Local(store) => store.commit(writes).await,
            Self::Etcd(store) => Box::pin(store.commit(writes)).await,
        }
    }

    async fn range(&self, prefix: &str) -> Result<(Revision, Vec<Entry>), Error> {
        match self {
            Self::Local(store) => store.range(prefix).await,
            Self::Etcd(store) => Box::pin(store.range(prefix)).await,
        }
    }

    fn events(&self, prefix: &str, after: Revision) -> Result<Vec<Arc<Event>>, Error> {
        match self {
            Self::Local(store) => store.events(prefix, after),
            Self::Etcd(store) => store.events(prefix, after),
        }
    }

    async fn compact(&self, upto: Revision) -> Result<(), Error> {
        match self {
            Self::Local(store) => store.compact(upto).await,
            Self::Etcd(store) => Box::pin(store.compact(upto)).await,
        }
    }

    fn revision(&self) -> Revision {
        match self {
            Self::Local(store) => store.revision(),
            Self::Etcd(store) => store.revision(),
        }
    }
}
