//! What a segment is made of: frames. One frame is one unit: it is there whole, or it is not there.
//!
//! `magic, length, checksum, synced, payload`. The checksum covers the place of the frame, too, so that bytes which
//! look like a frame but were never written as one in this place (an object that holds a log, a longer frame that was
//! here before) are not taken for one. `synced` is how much of the segment was on stable storage before: it tells
//! damage from what a crash tore off.

use crate::Revision;
use crate::engine::Record;
use crate::record;

const MAGIC: [u8; 4] = *b"\xF5hop";
const HEADER_LEN: usize = 4 + 4 + 4 + 8;
/// What the checksum is of: everything behind it.
const CHECKED: usize = 12;

const RECORDS: u8 = 1;
const MARK: u8 = 2;

/// What one frame says.
#[derive(Debug, PartialEq)]
pub(super) enum Payload {
    /// These revisions were written, or moved here from a segment that is about to go.
    Records(Vec<Record>),
    Mark(Mark),
}

/// What must be known of records that are gone.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Mark {
    /// Highest revision so far.
    pub revision: Revision,
    pub compacted: Revision,
    /// Records further up that do not count any more.
    pub forgotten: Vec<Revision>,
}

/// Where a frame begins: segment and offset.
pub(super) type Place = (u64, u64);

/// The end of a segment: where the next frame begins, and how much before it is on stable storage.
#[derive(Clone, Copy, Debug)]
pub(super) struct End {
    pub place: Place,
    pub synced: u64,
}

/// Bytes that are no frame.
#[derive(Debug, PartialEq)]
pub(super) struct Torn;

/// Bytes that a record takes in a frame.
pub(super) fn cost(record: &Record) -> u64 {
    (8 + 4 + record::encoded_len(record)) as u64
}

/// The frame of these records; `None` where they are too many for one.
pub(super) fn of_records<'a>(end: End, records: impl Iterator<Item = &'a Record>) -> Option<Vec<u8>> {
    let mut out = begin(RECORDS);
    for record in records {
        out.extend(record.revision.to_le_bytes());
        out.extend(u32::try_from(record::encoded_len(record)).ok()?.to_le_bytes());
        record::encode(record, &mut out);
    }
    seal(end, out)
}

pub(super) fn of_mark(end: End, mark: &Mark) -> Option<Vec<u8>> {
    let mut out = begin(MARK);
    for number in [mark.revision, mark.compacted].iter().chain(&mark.forgotten) {
        out.extend(number.to_le_bytes());
    }
    seal(end, out)
}

fn begin(kind: u8) -> Vec<u8> {
    let mut out = vec![0; HEADER_LEN];
    out.push(kind);
    out
}

fn seal(end: End, mut frame: Vec<u8>) -> Option<Vec<u8>> {
    let len = u32::try_from(frame.len() - HEADER_LEN).ok()?;
    frame[..4].copy_from_slice(&MAGIC);
    frame[4..8].copy_from_slice(&len.to_le_bytes());
    frame[12..20].copy_from_slice(&end.synced.to_le_bytes());
    let checksum = checksum(end.place, &frame[CHECKED..]);
    frame[8..12].copy_from_slice(&checksum.to_le_bytes());
    Some(frame)
}

fn checksum((segment, offset): Place, bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&segment.to_le_bytes());
    hasher.update(&offset.to_le_bytes());
    hasher.update(bytes);
    hasher.finalize()
}

/// The frame at the start of `bytes`, which are what follows `place`: what it says and its length. `None` at the end.
pub(super) fn read(place: Place, bytes: &[u8]) -> Result<Option<(Payload, u64)>, Torn> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let (_, payload) = check(place, bytes).ok_or(Torn)?;
    let len = (HEADER_LEN + payload.len()) as u64;
    decode(payload).map(|payload| Some((payload, len))).ok_or(Torn)
}

/// Whether what is at `place` was on stable storage once: a frame further on, in `rest`, says so.
pub(super) fn was_synced((segment, offset): Place, rest: &[u8]) -> bool {
    (0..rest.len())
        .filter(|at| rest[*at..].starts_with(&MAGIC))
        .filter_map(|at| check((segment, offset + at as u64), &rest[at..]))
        .any(|(synced, _)| synced > offset)
}

/// `synced` and payload of the whole frame at the start of `bytes`.
fn check(place: Place, bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (header, rest) = bytes.split_at_checked(HEADER_LEN)?;
    let number = |at: usize| header[at..at + 4].try_into().map(u32::from_le_bytes).ok();
    let payload = rest.get(..number(4)? as usize)?;
    let synced = u64::from_le_bytes(header[12..20].try_into().ok()?);
    let whole = header[..4] == MAGIC
        && number(8)? == checksum(place, bytes.get(CHECKED..HEADER_LEN + payload.len())?);
    whole.then_some((synced, payload))
}

fn decode(payload: &[u8]) -> Option<Payload> {
    let (kind, mut rest) = payload.split_first()?;
    match *kind {
        RECORDS => {
            let mut records = Vec::new();
            while !rest.is_empty() {
                let revision = take_u64(&mut rest)?;
                let (len, more) = rest.split_at_checked(4)?;
                let len = u32::from_le_bytes(len.try_into().ok()?) as usize;
                let (bytes, more) = more.split_at_checked(len)?;
                records.push(record::decode(revision, bytes)?);
                rest = more;
            }
            Some(Payload::Records(records))
        }
        MARK => {
            let mut mark = Mark {
                revision: take_u64(&mut rest)?,
                compacted: take_u64(&mut rest)?,
                forgotten: Vec::with_capacity(rest.len() / 8),
            };
            while !rest.is_empty() {
                mark.forgotten.push(take_u64(&mut rest)?);
            }
            Some(Payload::Mark(mark))
        }
        _ => None,
    }
}

fn take_u64(bytes: &mut &[u8]) -> Option<u64> {
    let (number, rest) = bytes.split_at_checked(8)?;
    *bytes = rest;
    number.try_into().map(u64::from_le_bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::EventKind;

    fn record(revision: Revision, value: &'static [u8]) -> Record {
        Record {
            revision,
            key: "/registry/pods/a/b".into(),
            kind: EventKind::Updated,
            supersedes: 4,
            value: bytes::Bytes::from_static(value),
            revision_at: Some((3, 2)),
        }
    }

    #[test]
    fn frames_are_read_as_they_were_written_and_in_their_place_only() {
        let place = (7, 4096);
        let end = End { place, synced: 4000 };
        let records = [record(9, b"{}"), record(10, b"")];
        let mark = Mark { revision: 10, compacted: 3, forgotten: vec![1, 2] };
        for (frame, said) in [
            (of_records(end, records.iter()).unwrap(), Payload::Records(records.to_vec())),
            (of_mark(end, &mark).unwrap(), Payload::Mark(mark)),
        ] {
            let len = frame.len() as u64;
            assert_eq!(read(place, &frame), Ok(Some((said, len))));
            assert_eq!(read((7, 4097), &frame), Err(Torn));
            assert_eq!(read((8, 4096), &frame), Err(Torn));
            for at in 0..frame.len() {
                assert_eq!(read(place, &frame[..at]), if at == 0 { Ok(None) } else { Err(Torn) });
                let mut damaged = frame.clone();
                damaged[at] ^= 0x10;
                assert_eq!(read(place, &damaged), Err(Torn), "{at}");
            }
        }
    }

    #[test]
    fn only_a_frame_that_was_written_there_and_later_tells_damage() {
        let frame = |synced| of_records(End { place: (7, 50), synced }, [record(1, b"{}")].iter()).unwrap();
        for (synced, at, told) in [
            (50, (7, 0), true),
            (1, (7, 0), true),
            (0, (7, 0), false),
            // The same bytes, but in another place than they were written in: an object that looks like a frame.
            (50, (7, 1), false),
            (50, (8, 0), false),
        ] {
            let mut bytes = vec![0xF5; 50];
            bytes.extend(frame(synced));
            assert_eq!(was_synced(at, &bytes), told, "{synced} {at:?}");
            assert!(!was_synced(at, &bytes[..bytes.len() - 1]));
        }
    }
}
