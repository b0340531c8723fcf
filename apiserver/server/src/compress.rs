//! Answers in gzip, for clients that take it.
//!
//! A stream may be put together from pieces that were compressed on their own and are kept: each ends on a byte and
//! refers to nothing before it, and checksums of pieces make that of the whole.

use bytes::Bytes;
use flate2::write::{DeflateEncoder, GzEncoder};
use flate2::{Compression, Crc};
use http::HeaderValue;
use std::io::Write;

use crate::answer::Answer;
use crate::context::Context;
use crate::negotiate::Media;

/// Does the client take gzip?
pub(crate) fn is_wanted(context: &Context) -> bool {
    let header = context
        .headers
        .get(http::header::ACCEPT_ENCODING)
        .and_then(|value| value.to_str().ok())
        .unwrap_or("");
    header.split(',').any(|coding| coding.trim().split(';').next() == Some("gzip"))
}

/// Says of an answer that its body is gzip.
pub(crate) fn mark(answer: &mut Answer) {
    answer.headers.push((http::header::CONTENT_ENCODING, HeaderValue::from_static("gzip")));
    answer.headers.push((http::header::VARY, HeaderValue::from_static("Accept-Encoding")));
}

/// A large whole answer compressed where the client takes it. Small ones are not worth it.
pub(crate) fn whole(context: &Context, status: http::StatusCode, media: Media, bytes: Bytes) -> Answer {
    whole_of(context, bytes, |bytes| Answer::of(status, media.content_type(), bytes))
}

/// As [`whole`], of an answer that is made of its bytes.
pub(crate) fn whole_of(context: &Context, bytes: Bytes, plain: impl Fn(Bytes) -> Answer) -> Answer {
    if bytes.len() < crate::limits::GZIP_BYTES_MIN || !is_wanted(context) {
        return plain(bytes);
    }
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    // Writing to memory cannot fail; if it did, the plain answer is as right.
    match encoder.write_all(&bytes).and_then(|()| encoder.finish()) {
        Ok(whole) => {
            let mut answer = plain(whole.into());
            mark(&mut answer);
            answer
        }
        Err(_) => plain(bytes),
    }
}

/// Chunks as they are made, compressed where the client takes it.
pub(crate) fn streamed(
    context: &Context,
    media: Media,
    chunks: impl Iterator<Item = Bytes> + Send + 'static,
) -> Answer {
    let mut answer = Answer::of(http::StatusCode::OK, media.content_type(), Bytes::new());
    if is_wanted(context) {
        answer.body = crate::body::stream(futures::stream::iter(gzip(chunks)));
        mark(&mut answer);
    } else {
        answer.body = crate::body::stream(futures::stream::iter(chunks.map(Ok)));
    }
    answer
}

fn gzip(
    mut chunks: impl Iterator<Item = Bytes> + Send + 'static,
) -> impl Iterator<Item = Result<Bytes, crate::body::BoxError>> + Send {
    let mut encoder = Some(GzEncoder::new(Vec::new(), Compression::fast()));
    std::iter::from_fn(move || {
        loop {
            let writer = encoder.as_mut()?;
            match chunks.next() {
                Some(chunk) => {
                    // Writing to memory cannot fail.
                    if writer.write_all(&chunk).is_err() {
                        return None;
                    }
                    let ready = std::mem::take(writer.get_mut());
                    if !ready.is_empty() {
                        return Some(Ok(Bytes::from(ready)));
                    }
                }
                None => return encoder.take()?.finish().ok().map(|rest| Ok(Bytes::from(rest))),
            }
        }
    })
}

/// Text that was compressed on its own.
#[derive(Debug)]
pub(crate) struct Piece {
    /// Deflate blocks that end on a byte; none of them is the last of a stream.
    pub deflated: Bytes,
    crc: Crc,
}

impl Piece {
    /// # Errors
    /// None in practice: it is written to memory.
    pub(crate) fn of(text: &[u8]) -> std::io::Result<Self> {
        let mut crc = Crc::new();
        crc.update(text);
        let mut encoder = DeflateEncoder::new(Vec::with_capacity(text.len() / 8), Compression::fast());
        encoder.write_all(text)?;
        // Completes the block and fills it up to a byte.
        encoder.flush()?;
        let deflated = std::mem::take(encoder.get_mut());
        Ok(Self { deflated: deflated.into(), crc })
    }
}

/// Magic number, deflate, no flags, no time, fastest, unknown system: RFC 1952.
pub(crate) const GZIP_HEAD: &[u8] = &[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 4, 0xff];

/// The checksum of a stream of pieces.
#[derive(Default)]
pub(crate) struct Checksum(Crc);

impl Checksum {
    pub(crate) fn add(&mut self, piece: &Piece) {
        self.0.combine(&piece.crc);
    }

    /// What comes after the last piece: an empty last block, the checksum and the length.
    pub(crate) fn end(&self) -> Bytes {
        let mut out = vec![3, 0];
        out.extend_from_slice(&self.0.sum().to_le_bytes());
        out.extend_from_slice(&self.0.amount().to_le_bytes());
        out.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Read;

    proptest! {
        #[test]
        fn pieces_in_a_row_are_one_stream(texts in prop::collection::vec(".{0,200}", 0..8)) {
            let mut stream = GZIP_HEAD.to_vec();
            let mut checksum = Checksum::default();
            for text in &texts {
                let piece = Piece::of(text.as_bytes()).unwrap();
                checksum.add(&piece);
                stream.extend_from_slice(&piece.deflated);
            }
            stream.extend_from_slice(&checksum.end());
            let mut got = String::new();
            flate2::read::GzDecoder::new(&stream[..]).read_to_string(&mut got).unwrap();
            prop_assert_eq!(got, texts.concat());
        }
    }
}
