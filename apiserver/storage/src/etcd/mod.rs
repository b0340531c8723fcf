//! The store over etcd: several API servers share it, each with a copy of the state that etcd's watch keeps up to date.
//!
//! A commit is one transaction of etcd, and all its writes have that transaction's revision. It is answered once this
//! process's copy has come to it. A reader that must see what others wrote asks etcd for its revision and waits for the
//! copy to come there ([`Etcd::catch_up`]); the copy itself answers.

mod client;
mod commit;
mod compaction;
mod error;
mod feed;
mod layout;
mod limits;
mod messages;
mod replica;
mod revisions;
mod version;

pub use client::Connection;
pub use error::EtcdError;
pub use layout::Layout;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::{Claims, Document, Entry, Error, Event, Publish, Revision, Storage, Write};
use client::{Call, Client};
use commit::Outcome;
use feed::Feed;
use messages::{TXN, TxnResponse};
use replica::Replica;
use revisions::Reader;

/// What values in etcd are.
pub trait Values: Send + Sync + 'static {
    /// The object in the value of a key, whoever wrote it.
    ///
    /// # Errors
    /// Why it can't be read.
    fn read(&self, key: &str, value: Bytes) -> Result<Document, String>;
}

/// How a store over etcd is opened.
pub struct Options {
    pub connection: Connection,
    pub layout: Layout,
    pub values: Box<dyn Values>,
    /// How often old revisions are forgotten; zero for never.
    pub compaction_interval: Duration,
}

/// The store over etcd. Dropping it ends its tasks.
pub struct Etcd {
    client: Arc<Client>,
    replica: Arc<Replica>,
    readers: mpsc::Sender<Reader>,
    wanted: watch::Sender<Revision>,
    tasks: Mutex<Vec<JoinHandle<()>>>,
}

impl Etcd {
    /// Reads everything and starts to follow. Needs a runtime.
    ///
    /// # Errors
    /// When etcd can't be reached, or holds an object that can't be read.
    pub async fn open(options: Options, publish: impl Publish) -> Result<Self, EtcdError> {
        let Options { connection, layout, values, compaction_interval } = options;
        let client = Arc::new(Client::new(&connection)?);
        let key = [&layout.root()[..], b"health"].concat().into();
        let replica = Arc::new(Replica::new(Box::new(publish), layout, values));
        let (wanted, wanted_of_feed) = watch::channel(0);
        let feed = Feed { client: client.clone(), replica: replica.clone(), wanted: wanted_of_feed };
        feed.list(true).await?;
        let (readers, inbox) = mpsc::channel(limits::READERS_MAX);
        let mut tasks =
            vec![tokio::spawn(feed.run()), tokio::spawn(revisions::run(client.clone(), key, inbox))];
        if !compaction_interval.is_zero() {
            tasks.push(tokio::spawn(compaction::run(client.clone(), compaction_interval)));
        }
        Ok(Self { client, replica, readers, wanted, tasks: Mutex::new(tasks) })
    }

    /// Returns once this process's copy holds everything that was committed, by whomever, before the call.
    ///
    /// # Errors
    /// When etcd does not answer, or its watch does not follow.
    pub async fn catch_up(&self) -> Result<(), Error> {
        let known = self.replica.revision();
        let (answer, wait) = oneshot::channel();
        self.readers.send(answer).await.map_err(|_| Error::Closed)?;
        let revision = wait.await.map_err(|_| Error::Closed)?.map_err(Error::Etcd)?;
        if revision < known {
            return Err(Error::Etcd(Arc::new(EtcdError::WentBack { known, told: revision })));
        }
        self.reach(revision).await
    }

    /// Waits for the copy to come to a revision.
    async fn reach(&self, revision: Revision) -> Result<(), Error> {
        if self.replica.revision() >= revision {
            return Ok(());
        }
        let member = *self.client.chosen().borrow();
        self.wanted.send_if_modified(|wanted| {
            let higher = revision > *wanted;
            *wanted = revision.max(*wanted);
            higher
        });
        let mut revisions = self.replica.revisions();
        let reached = revisions.wait_for(|reached| *reached >= revision);
        match timeout(limits::CATCH_UP, reached).await {
            Ok(_) => Ok(()),
            Err(_) => {
                // The member answers but its watch is silent.
                self.client.leave(member);
                let reached = self.replica.revision();
                Err(Error::Etcd(Arc::new(EtcdError::Behind { reached, wanted: revision })))
            }
        }
    }

    /// Commits writes and claims as one transaction.
    ///
    /// # Errors
    /// [`Error::Taken`] where a claim is another's, and those of a commit.
    pub async fn commit_claiming(&self, writes: Vec<Write>, claims: &Claims) -> Result<Vec<Entry>, Error> {
        let request = commit::request(&self.replica, &writes, claims);
        let refused = |error: EtcdError| Error::Etcd(Arc::new(error));
        let answer: TxnResponse = self.client.call(TXN, request, Call::Write).await.map_err(refused)?;
        match commit::outcome(&self.replica, writes, claims, answer).map_err(refused)? {
            Outcome::Done { revision, entries } => {
                // It is done, whether or not the copy knows of it yet: a consistent read waits for that.
                if let Err(error) = self.reach(revision).await {
                    tracing::warn!(error = %error, "a write is answered before it was seen");
                }
                Ok(entries)
            }
            Outcome::Refused { seen, error } => {
                // Who tries again must not find the state that was refused.
                self.reach(seen).await?;
                Err(error)
            }
        }
    }

    /// Ends the tasks. What was committed is etcd's.
    pub fn close(&self) {
        for task in self.tasks.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            task.abort();
        }
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        self.close();
    }
}

impl Storage for Etcd {
    async fn commit(&self, writes: Vec<Write>) -> Result<Vec<Entry>, Error> {
        self.commit_claiming(writes, &Claims::default()).await
    }

    async fn range(&self, prefix: &str) -> Result<(Revision, Vec<Entry>), Error> {
        self.catch_up().await?;
        Ok(self.replica.range(prefix))
    }

    fn events(&self, prefix: &str, after: Revision) -> Result<Vec<Arc<Event>>, Error> {
        self.replica.events(prefix, after)
    }

    async fn compact(&self, upto: Revision) -> Result<(), Error> {
        compaction::compact(&self.client, upto).await.map_err(|error| Error::Etcd(Arc::new(error)))?;
        self.replica.forget(upto);
        Ok(())
    }

    fn revision(&self) -> Revision {
        self.replica.revision()
    }
}
