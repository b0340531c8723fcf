//! An object's bytes, and the place in them where its revision goes.
//!
//! The revision is known only at commit, after the object was encoded. The writer splices it in, and lays the
//! bytes out inside the watch frame that announces the change, so that object and event share one buffer.

use bytes::{BufMut, Bytes, BytesMut};

use crate::{EventKind, Revision};

/// An encoded JSON object whose `metadata.resourceVersion` is still missing.
#[derive(Clone, Debug)]
pub struct Document {
    /// The object without a resourceVersion.
    pub bytes: Bytes,
    /// Offset in `bytes` where the text `"resourceVersion":"<n>"` and its comma are inserted; `None` stores
    /// the bytes as they are.
    pub splice: Option<usize>,
}

impl Document {
    /// Bytes that carry no revision.
    pub fn opaque(bytes: impl Into<Bytes>) -> Self {
        Self { bytes: bytes.into(), splice: None }
    }

    /// The object's bytes as they are at `revision`: what a dry run answers.
    pub fn at(&self, revision: Revision) -> Bytes {
        self.finish(revision, EventKind::Updated).bytes
    }

    /// The stored form at `revision`.
    pub(crate) fn finish(&self, revision: Revision, kind: EventKind) -> Stored {
        let frame_head = frame_head(kind);
        let Some(at) = self.splice.filter(|at| *at <= self.bytes.len()) else {
            return Stored { bytes: self.bytes.clone(), revision_at: None, frame: None };
        };
        let digits = Digits::of(revision);
        let needs_comma = self.bytes.get(at).is_some_and(|byte| *byte != b'}');
        let mut buffer =
            BytesMut::with_capacity(frame_head.len() + self.bytes.len() + KEY.len() + digits.len() + 2 + 2);
        buffer.put_slice(frame_head);
        buffer.put_slice(&self.bytes[..at]);
        buffer.put_slice(KEY);
        let revision_at = buffer.len() - frame_head.len();
        buffer.put_slice(digits.as_bytes());
        buffer.put_u8(b'"');
        if needs_comma {
            buffer.put_u8(b',');
        }
        buffer.put_slice(&self.bytes[at..]);
        let end = buffer.len();
        buffer.put_slice(FRAME_TAIL);
        let frame = buffer.freeze();
        let bytes = frame.slice(frame_head.len()..end);
        Stored {
            bytes,
            revision_at: Some((revision_at as u32, digits.len() as u8)),
            frame: Some((kind, frame)),
        }
    }
}

const KEY: &[u8] = b"\"resourceVersion\":\"";
const FRAME_TAIL: &[u8] = b"}\n";

fn frame_head(kind: EventKind) -> &'static [u8] {
    match kind {
        EventKind::Created => b"{\"type\":\"ADDED\",\"object\":",
        EventKind::Updated => b"{\"type\":\"MODIFIED\",\"object\":",
        EventKind::Deleted => b"{\"type\":\"DELETED\",\"object\":",
    }
}

/// A committed value: immutable, shared by the cache, lists and watchers.
#[derive(Clone, Debug)]
pub struct Stored {
    pub bytes: Bytes,
    /// Offset and length of the revision's digits in `bytes`.
    pub revision_at: Option<(u32, u8)>,
    frame: Option<(EventKind, Bytes)>,
}

impl Stored {
    /// Bytes that were finished before, and where the revision's digits are in them.
    pub fn loaded(bytes: Bytes, revision_at: Option<(u32, u8)>) -> Self {
        Self { bytes, revision_at, frame: None }
    }

    /// Whether this is the document at some revision: storing it again would change nothing.
    pub fn holds(&self, document: &Document) -> bool {
        let (Some((at, len)), Some(splice)) = (self.revision_at, document.splice) else {
            return document.splice.is_none() && self.bytes == document.bytes;
        };
        let Some((head, tail)) = document.bytes.split_at_checked(splice) else { return false };
        let comma = usize::from(tail.first().is_some_and(|byte| *byte != b'}'));
        let after = at as usize + usize::from(len) + 1 + comma;
        at as usize == splice + KEY.len()
            && self.bytes.starts_with(head)
            && self.bytes.get(after..).is_some_and(|rest| rest == tail)
    }

    /// The offset in `bytes` just behind the brace that opens `metadata`, where a revision was put there.
    pub fn inside_metadata(&self) -> Option<usize> {
        self.revision_at.and_then(|(at, _)| (at as usize).checked_sub(KEY.len()))
    }

    /// The watch frame `{"type":…,"object":…}\n` of this value, without copying where it was laid out so.
    pub fn frame(&self, kind: EventKind) -> Bytes {
        match &self.frame {
            Some((laid_out, frame)) if *laid_out == kind => frame.clone(),
            _ => {
                let head = frame_head(kind);
                let mut buffer = BytesMut::with_capacity(head.len() + self.bytes.len() + FRAME_TAIL.len());
                buffer.put_slice(head);
                buffer.put_slice(&self.bytes);
                buffer.put_slice(FRAME_TAIL);
                buffer.freeze()
            }
        }
    }

    /// The same value with another revision in it: what a deletion announces.
    pub(crate) fn at_revision(&self, revision: Revision, kind: EventKind) -> Self {
        let Some((at, len)) = self.revision_at else {
            return self.clone();
        };
        let (at, len) = (at as usize, usize::from(len));
        let digits = Digits::of(revision);
        let head = frame_head(kind);
        let mut buffer =
            BytesMut::with_capacity(head.len() + self.bytes.len() + digits.len() + FRAME_TAIL.len());
        buffer.put_slice(head);
        buffer.put_slice(&self.bytes[..at]);
        buffer.put_slice(digits.as_bytes());
        buffer.put_slice(&self.bytes[at + len..]);
        let end = buffer.len();
        buffer.put_slice(FRAME_TAIL);
        let frame = buffer.freeze();
        Self {
            bytes: frame.slice(head.len()..end),
            revision_at: Some((at as u32, digits.len() as u8)),
            frame: Some((kind, frame)),
        }
    }
}

/// Decimal digits of a revision, on the stack.
struct Digits {
    buffer: [u8; 20],
    start: usize,
}

impl Digits {
    fn of(mut number: u64) -> Self {
        let mut buffer = [b'0'; 20];
        let mut start = buffer.len();
        loop {
            start -= 1;
            buffer[start] = b'0' + (number % 10) as u8;
            number /= 10;
            if number == 0 {
                return Self { buffer, start };
            }
        }
    }

    fn as_bytes(&self) -> &[u8] {
        &self.buffer[self.start..]
    }

    fn len(&self) -> usize {
        self.buffer.len() - self.start
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_revision_is_spliced_and_the_frame_shares_the_bytes() {
        let document =
            Document { bytes: Bytes::from_static(b"{\"metadata\":{\"name\":\"a\"}}"), splice: Some(13) };
        let stored = document.finish(42, EventKind::Created);
        assert_eq!(&stored.bytes[..], br#"{"metadata":{"resourceVersion":"42","name":"a"}}"#);
        assert_eq!(
            &stored.frame(EventKind::Created)[..],
            b"{\"type\":\"ADDED\",\"object\":{\"metadata\":{\"resourceVersion\":\"42\",\"name\":\"a\"}}}\n"
        );
        let deleted = stored.at_revision(1000, EventKind::Deleted);
        assert_eq!(&deleted.bytes[..], br#"{"metadata":{"resourceVersion":"1000","name":"a"}}"#);
        assert!(deleted.frame(EventKind::Updated).starts_with(b"{\"type\":\"MODIFIED\""));
    }

    #[test]
    fn a_value_knows_its_document_again() {
        for text in [&b"{\"metadata\":{\"name\":\"a\"}}"[..], b"{\"metadata\":{},\"x\":1}"] {
            let document = Document { bytes: Bytes::from_static(text), splice: Some(13) };
            let stored = document.finish(42, EventKind::Created);
            assert!(stored.holds(&document));
            assert_eq!(document.at(42), stored.bytes);
            for at in 0..text.len() {
                let mut other = text.to_vec();
                other[at] ^= 1;
                assert!(!stored.holds(&Document { bytes: other.into(), splice: Some(13) }), "{at}");
            }
        }
    }

    #[test]
    fn an_empty_metadata_takes_no_comma() {
        let document = Document { bytes: Bytes::from_static(b"{\"metadata\":{}}"), splice: Some(13) };
        assert_eq!(
            &document.finish(7, EventKind::Updated).bytes[..],
            br#"{"metadata":{"resourceVersion":"7"}}"#
        );
    }
}
