//! A record as bytes: a small header, the key, the object. Its revision is kept beside it by each engine.

use bytes::Bytes;

use crate::engine::Record;
use crate::{EventKind, Revision};

const HEADER_LEN: usize = 1 + 8 + 4 + 1 + 4;

pub(crate) fn encoded_len(record: &Record) -> usize {
    HEADER_LEN + record.key.len() + record.value.len()
}

pub(crate) fn encode(record: &Record, out: &mut Vec<u8>) {
    out.reserve(encoded_len(record));
    out.push(match record.kind {
        EventKind::Created => 0,
        EventKind::Updated => 1,
        EventKind::Deleted => 2,
    });
    out.extend(record.supersedes.to_be_bytes());
    let (at, len) = record.revision_at.unwrap_or((0, 0));
    out.extend(at.to_be_bytes());
    out.push(len);
    out.extend((record.key.len() as u32).to_be_bytes());
    out.extend(record.key.as_bytes());
    out.extend(&record.value);
}

pub(crate) fn decode(revision: Revision, bytes: &[u8]) -> Option<Record> {
    let (header, rest) = bytes.split_at_checked(HEADER_LEN)?;
    let kind = match header[0] {
        0 => EventKind::Created,
        1 => EventKind::Updated,
        2 => EventKind::Deleted,
        _ => return None,
    };
    let supersedes = Revision::from_be_bytes(header[1..9].try_into().ok()?);
    let at = u32::from_be_bytes(header[9..13].try_into().ok()?);
    let len = header[13];
    let key_len = u32::from_be_bytes(header[14..18].try_into().ok()?) as usize;
    let (key, value) = rest.split_at_checked(key_len)?;
    Some(Record {
        revision,
        key: std::str::from_utf8(key).ok()?.into(),
        kind,
        supersedes,
        value: Bytes::copy_from_slice(value),
        revision_at: (len > 0).then_some((at, len)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_survive_encoding() {
        let record = Record {
            revision: 9,
            key: "/registry/pods/a/b".into(),
            kind: EventKind::Updated,
            supersedes: 4,
            value: Bytes::from_static(b"{}"),
            revision_at: Some((3, 2)),
        };
        let mut bytes = Vec::new();
        encode(&record, &mut bytes);
        assert_eq!(bytes.len(), encoded_len(&record));
        assert_eq!(decode(9, &bytes), Some(record));
        assert_eq!(decode(9, &[7; 3]), None);
    }
}
