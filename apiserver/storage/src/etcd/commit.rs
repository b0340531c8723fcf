//! A commit as one transaction of etcd: what must hold, what is done, and what is looked at where it does not hold.

use bytes::Bytes;

use super::error::EtcdError;
use super::messages::{Compare, RequestOp, Response, TxnRequest, TxnResponse, revision_of, signed, unsigned};
use super::replica::Replica;
use crate::{Claims, Entry, Error, EventKind, Op, Revision, Stored, Write};

/// What a transaction came to.
pub(super) enum Outcome {
    Done {
        revision: Revision,
        entries: Vec<Entry>,
    },
    /// Nothing was done; `seen` is the revision at which etcd refused.
    Refused {
        seen: Revision,
        error: Error,
    },
}

/// The transaction of some writes, and of what they claim.
pub(super) fn request(replica: &Replica, writes: &[Write], claims: &Claims) -> TxnRequest {
    let mut request = TxnRequest::default();
    for write in writes {
        let key = replica.layout.to_etcd(&write.key);
        let (expect, done) = match &write.op {
            Op::Create(document) => (0, RequestOp::put(key.clone(), document.bytes.clone())),
            Op::Update { expect, document } => (*expect, RequestOp::put(key.clone(), document.bytes.clone())),
            Op::Delete { expect } => (*expect, RequestOp::delete(key.clone())),
        };
        request.compare.push(Compare::changed_at(key.clone(), signed(expect)));
        request.success.push(done);
        request.failure.push(RequestOp::get(key));
    }
    for claim in &claims.take {
        let key = replica.layout.to_etcd(claim);
        request.compare.push(Compare::changed_at(key.clone(), 0));
        // Who it was claimed for says it to people.
        let owner = writes.first().map_or_else(String::new, |write| write.key.to_string());
        request.success.push(RequestOp::put(key.clone(), owner.into()));
        request.failure.push(RequestOp::get(key));
    }
    request.success.extend(claims.free.iter().map(|claim| RequestOp::delete(replica.layout.to_etcd(claim))));
    request
}

/// What etcd's answer means.
pub(super) fn outcome(
    replica: &Replica,
    writes: Vec<Write>,
    claims: &Claims,
    answer: TxnResponse,
) -> Result<Outcome, EtcdError> {
    let revision = revision_of(answer.header.as_ref());
    let freed = if answer.succeeded { claims.free.len() } else { 0 };
    if revision == 0 || answer.responses.len() != writes.len() + claims.take.len() + freed {
        return Err(EtcdError::Nonsense);
    }
    let mut responses = answer.responses.into_iter().map(|response| response.response);
    if answer.succeeded {
        let entries = writes
            .into_iter()
            .zip(responses)
            .map(|(write, response)| entry(replica, write, revision, response))
            .collect::<Result<_, _>>()?;
        return Ok(Outcome::Done { revision, entries });
    }
    for (write, response) in writes.into_iter().zip(responses.by_ref()) {
        let found = changed_at(response)?;
        let expect = match write.op {
            Op::Create(_) => 0,
            Op::Update { expect, .. } | Op::Delete { expect } => expect,
        };
        if found.unwrap_or(0) != expect {
            let error = match write.op {
                Op::Create(_) => Error::Exists { key: write.key },
                Op::Update { .. } | Op::Delete { .. } => Error::Conflict { key: write.key, expect, found },
            };
            return Ok(Outcome::Refused { seen: revision, error });
        }
    }
    for (claim, response) in claims.take.iter().zip(responses) {
        if changed_at(response)?.is_some() {
            return Ok(Outcome::Refused { seen: revision, error: Error::Taken { key: claim.clone() } });
        }
    }
    Err(EtcdError::Nonsense)
}

/// When the key that was looked at was changed last, where there is one.
fn changed_at(response: Option<Response>) -> Result<Option<Revision>, EtcdError> {
    let Some(Response::Range(found)) = response else { return Err(EtcdError::Nonsense) };
    Ok(found.kvs.first().map(|pair| unsigned(pair.mod_revision)))
}

fn entry(
    replica: &Replica,
    write: Write,
    revision: Revision,
    response: Option<Response>,
) -> Result<Entry, EtcdError> {
    let value = match write.op {
        Op::Create(document) => document.finish(revision, EventKind::Created),
        Op::Update { document, .. } => document.finish(revision, EventKind::Updated),
        Op::Delete { .. } => {
            let Some(Response::DeleteRange(deleted)) = response else { return Err(EtcdError::Nonsense) };
            match deleted.prev_kvs.into_iter().next() {
                Some(last) => replica.document(&write.key, last.value)?.finish(revision, EventKind::Deleted),
                None => Stored::loaded(Bytes::new(), None),
            }
        }
    };
    Ok(Entry { key: write.key, revision, value })
}
