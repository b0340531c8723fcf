//! What etcd's revision is now, for all who want to know at once. One request is on its way at a time, and its answer is for
//! those who came before it was sent: an older answer would let a reader miss what was written before it asked.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use bytes::Bytes;
use futures::FutureExt;
use tokio::sync::{mpsc, oneshot};

use super::client::{Call, Client};
use super::error::EtcdError;
use super::limits;
use super::messages::{RANGE, RangeRequest, RangeResponse, revision_of};
use crate::Revision;

pub(super) type Reader = oneshot::Sender<Result<Revision, Arc<EtcdError>>>;

/// Answers readers until nobody can ask any more. `key` need not exist.
pub(super) async fn run(client: Arc<Client>, key: Bytes, mut inbox: mpsc::Receiver<Reader>) {
    while let Some(first) = inbox.recv().await {
        let mut readers = vec![first];
        while let Ok(more) = inbox.try_recv() {
            readers.push(more);
        }
        let request = RangeRequest { key: key.clone(), keys_only: true, ..RangeRequest::default() };
        let asked = client.call(RANGE, request, Call::Read { attempt: limits::READ });
        // Whatever went wrong, others are to be answered.
        let answer: Result<RangeResponse, EtcdError> =
            AssertUnwindSafe(asked).catch_unwind().await.unwrap_or(Err(EtcdError::Panic));
        let revision = answer.map(|answer| revision_of(answer.header.as_ref())).map_err(Arc::new);
        for reader in readers {
            // A reader that went away needs no answer.
            drop(reader.send(revision.clone()));
        }
    }
}
