//! The task that feeds the copy: everything is read once, at one revision, and the watch goes on from there. A watch that
//! breaks is taken up where it was; where etcd has forgotten what came since, everything is read again and watchers are
//! told so.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use bytes::Bytes;
use futures::channel::mpsc;
use futures::{FutureExt, SinkExt, StreamExt};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

use super::client::{Call, Client};
use super::error::EtcdError;
use super::messages::{
    RANGE, RangeRequest, RangeResponse, WatchAsk, WatchCreateRequest, WatchEventType, WatchProgressRequest,
    WatchRequest, WatchResponse, revision_of, signed, unsigned,
};
use super::replica::{Change, Replica};
use super::{limits, version};
use crate::Revision;

pub(super) struct Feed {
    pub client: Arc<Client>,
    pub replica: Arc<Replica>,
    /// The highest revision that somebody waits for.
    pub wanted: watch::Receiver<Revision>,
}

/// Why a watch ended.
enum Lost {
    /// etcd has forgotten what comes next.
    History,
    /// Another member is in use now.
    Moved,
    Stream(EtcdError),
    /// Everything could not be read.
    Listing(EtcdError),
    /// What the copy holds is not sure any more.
    Bearings,
}

impl From<EtcdError> for Lost {
    fn from(error: EtcdError) -> Self {
        if error.is_compacted() { Self::History } else { Self::Stream(error) }
    }
}

/// One watch.
struct Following {
    member: usize,
    stream: tonic::Streaming<WatchResponse>,
    requests: mpsc::Sender<WatchRequest>,
    /// Whether this member can be asked how far the watch is. Else every key is watched, so that every revision is seen.
    tells_progress: bool,
}

impl Feed {
    /// Reads everything. A value that can't be read keeps a server from starting, since it would seem deleted; one that
    /// runs keeps the object as it knows it.
    pub(super) async fn list(&self, starts: bool) -> Result<(), EtcdError> {
        let root = self.replica.layout.root();
        let range_end = end_of(&root);
        let (mut key, mut revision, mut objects, mut unread) = (root, 0, Vec::new(), Vec::new());
        loop {
            let request = RangeRequest {
                key,
                range_end: range_end.clone(),
                limit: limits::PAGE_KEYS,
                revision,
                keys_only: false,
            };
            let page: RangeResponse =
                self.client.call(RANGE, request, Call::Read { attempt: limits::PAGE }).await?;
            if revision == 0 {
                // Every page is of the first one's state.
                revision = page.header.as_ref().map_or(0, |header| header.revision);
            }
            let last = page.kvs.last().map(|pair| pair.key.clone()).filter(|_| page.more);
            for pair in page.kvs {
                let key = pair.key.clone();
                match self.replica.read(pair) {
                    Ok(object) => objects.extend(object),
                    Err(error) if starts => return Err(error),
                    Err(error) => {
                        tracing::error!(error = %error.chain(), "an object in etcd is left as it was known before");
                        unread.extend(self.replica.layout.of_etcd(&key));
                    }
                }
            }
            let Some(last) = last else { break };
            key = [&last[..], &[0]].concat().into();
        }
        self.replica.reset(objects, &unread, unsigned(revision));
        Ok(())
    }

    /// Follows etcd for ever.
    pub(super) async fn run(mut self) {
        let mut again = false;
        loop {
            let member = *self.client.chosen().borrow();
            // Whatever goes wrong on the way, nobody else would feed the copy.
            let round = AssertUnwindSafe(self.round(member, again)).catch_unwind().await;
            match round.unwrap_or(Lost::Bearings) {
                Lost::Moved => again = false,
                Lost::Stream(error) => {
                    tracing::warn!(error = %error.chain(), revision = self.replica.revision(), "the watch of etcd broke; it is taken up again");
                    again = false;
                    self.client.leave(member);
                    sleep(limits::RETRY).await;
                }
                Lost::History => {
                    tracing::warn!(
                        revision = self.replica.revision(),
                        "etcd has compacted what comes next; everything is read again"
                    );
                    again = true;
                }
                Lost::Listing(error) => {
                    tracing::warn!(error = %error.chain(), "etcd could not be read");
                    sleep(limits::RELIST).await;
                }
                Lost::Bearings => {
                    tracing::error!("whoever follows etcd ended with a panic; everything is read again");
                    again = true;
                    self.client.leave(member);
                    sleep(limits::RELIST).await;
                }
            }
        }
    }

    /// Follows a member until that ends, after everything was read where it must be read again.
    async fn round(&mut self, member: usize, again: bool) -> Lost {
        if again && let Err(error) = self.list(false).await {
            return Lost::Listing(error);
        }
        match self.open(member).await {
            Ok(following) => self.follow(following).await,
            Err(error) => error.into(),
        }
    }

    async fn open(&self, member: usize) -> Result<Following, EtcdError> {
        let tells_progress = match self.client.status(member).await {
            Ok(status) => version::tells_progress(&status.version),
            // A member that may not tell its version is taken for an old one.
            Err(EtcdError::Refused(status)) if status.code() == tonic::Code::PermissionDenied => false,
            Err(error) => return Err(error),
        };
        let (key, range_end) = if tells_progress {
            let root = self.replica.layout.root();
            let end = end_of(&root);
            (root, end)
        } else {
            // From the first key there can be to the last.
            (Bytes::from_static(&[0]), Bytes::from_static(&[0]))
        };
        let create = WatchCreateRequest {
            key,
            range_end,
            start_revision: signed(self.replica.revision() + 1),
            progress_notify: tells_progress,
        };
        let (requests, outbox) = mpsc::channel(limits::WATCH_REQUESTS_MAX);
        let first = futures::stream::once(async { WatchRequest { ask: Some(WatchAsk::Create(create)) } });
        let stream = self.client.watch(member, first.chain(outbox).boxed()).await?;
        Ok(Following { member, stream, requests, tells_progress })
    }

    async fn follow(&mut self, mut following: Following) -> Lost {
        let mut chosen = self.client.chosen();
        let mut ask_at: Option<Instant> = None;
        loop {
            if *chosen.borrow_and_update() != following.member {
                return Lost::Moved;
            }
            let behind =
                following.tells_progress && *self.wanted.borrow_and_update() > self.replica.revision();
            let due = behind.then(|| *ask_at.get_or_insert_with(|| Instant::now() + limits::PROGRESS));
            if !behind {
                ask_at = None;
            }
            tokio::select! {
                message = following.stream.message() => match message {
                    Ok(Some(message)) => if let Err(lost) = self.take(message) { return lost },
                    Ok(None) => return Lost::Stream(EtcdError::Nonsense),
                    Err(status) => return EtcdError::from(status).into(),
                },
                () = sleep_until(due.unwrap_or_else(Instant::now)), if behind => {
                    let ask = WatchRequest { ask: Some(WatchAsk::Progress(WatchProgressRequest {})) };
                    if following.requests.send(ask).await.is_err() {
                        return Lost::Stream(EtcdError::Nonsense);
                    }
                    ask_at = Some(Instant::now() + limits::PROGRESS * 5);
                }
                // That somebody waits is looked at above; that nobody ever will is the end of the store.
                changed = self.wanted.changed() => if changed.is_err() { std::future::pending::<()>().await },
                _ = chosen.changed() => {}
            }
        }
    }

    fn take(&self, message: WatchResponse) -> Result<(), Lost> {
        if message.compact_revision > 0 {
            return Err(Lost::History);
        }
        if message.canceled {
            let status = tonic::Status::unavailable(message.cancel_reason);
            return Err(Lost::Stream(EtcdError::Refused(status)));
        }
        if message.created {
            return Ok(());
        }
        let last = message.events.last().and_then(|event| event.kv.as_ref());
        // Without events it is an answer about progress: nothing else happened up to there.
        let upto =
            last.map_or_else(|| revision_of(message.header.as_ref()), |pair| unsigned(pair.mod_revision));
        let before = self.replica.revision();
        if upto <= before {
            return Ok(());
        }
        let changes = message.events.into_iter().filter_map(|event| {
            let pair = event.kv.filter(|pair| unsigned(pair.mod_revision) > before)?;
            if event.kind == i32::from(WatchEventType::Delete) {
                let key = self.replica.layout.of_etcd(&pair.key)?;
                return Some(Change { key, revision: unsigned(pair.mod_revision), document: None });
            }
            self.replica.read(pair).unwrap_or_else(|error| {
                tracing::error!(error = %error.chain(), "an object in etcd is left as it was known before");
                None
            })
        });
        self.replica.apply(changes.collect(), upto);
        Ok(())
    }
}

/// The end of the range of keys that begin with `prefix`, which ends with a slash.
fn end_of(prefix: &Bytes) -> Bytes {
    let mut end = prefix.to_vec();
    if let Some(last) = end.last_mut() {
        *last += 1;
    }
    end.into()
}
