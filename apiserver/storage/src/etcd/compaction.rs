//! Forgetting old revisions, as kube-apiservers agree on it: all write the key `compact_rev_key`, and who writes it first in
//! an interval compacts what was there at the end of the one before. So what is compacted is an interval old at least.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::client::{Call, Client};
use super::error::EtcdError;
use super::messages::{
    COMPACT, CompactionRequest, CompactionResponse, Compare, RequestOp, Response, TXN, TxnRequest,
    TxnResponse, revision_of, signed,
};
use crate::Revision;

const KEY: &[u8] = b"compact_rev_key";

/// What was seen at the last turn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Seen {
    /// How often the key was written.
    version: i64,
    revision: Revision,
}

/// Compacts every `interval`, for ever.
pub(super) async fn run(client: Arc<Client>, interval: Duration) {
    let mut seen = Seen::default();
    loop {
        tokio::time::sleep(interval).await;
        match turn(&client, seen).await {
            Ok(next) => seen = next,
            Err(error) => tracing::warn!(error = %error.chain(), "etcd could not be compacted"),
        }
    }
}

async fn turn(client: &Client, seen: Seen) -> Result<Seen, EtcdError> {
    let key = Bytes::from_static(KEY);
    let request = TxnRequest {
        compare: vec![Compare::version_is(key.clone(), seen.version)],
        success: vec![RequestOp::put(key.clone(), seen.revision.to_string().into())],
        failure: vec![RequestOp::get(key)],
    };
    let answer: TxnResponse = client.call(TXN, request, Call::Write).await?;
    let revision = revision_of(answer.header.as_ref());
    if !answer.succeeded {
        // Another server did it in this interval.
        let Some(Response::Range(found)) = answer.responses.into_iter().next().and_then(|op| op.response)
        else {
            return Err(EtcdError::Nonsense);
        };
        let version = found.kvs.first().map_or(0, |pair| pair.version);
        return Ok(Seen { version, revision });
    }
    if seen.revision > 0 {
        compact(client, seen.revision).await?;
        tracing::debug!(revision = seen.revision, "etcd was compacted");
    }
    Ok(Seen { version: seen.version + 1, revision })
}

/// Forgets what was before `revision`. That it is forgotten already is no error.
pub(super) async fn compact(client: &Client, revision: Revision) -> Result<(), EtcdError> {
    let request = CompactionRequest { revision: signed(revision) };
    match client.call::<_, CompactionResponse>(COMPACT, request, Call::Write).await {
        Err(error) if error.is_compacted() => Ok(()),
        outcome => outcome.map(|_| ()),
    }
}
