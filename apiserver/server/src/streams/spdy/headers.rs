//! Header blocks: names and values, compressed over the whole life of a session in each direction.

use bytes::{BufMut, BytesMut};
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use super::dictionary::{CHECKSUM, DICTIONARY};
use super::frame::Error;
use crate::limits;

/// Names and values of a stream, names in lower case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Headers(Vec<(String, String)>);

impl Headers {
    /// The value of a name; empty where it is missing.
    pub(crate) fn get(&self, name: &str) -> &str {
        self.0.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value)
    }
}

impl<const N: usize> From<[(&str, &str); N]> for Headers {
    fn from(pairs: [(&str, &str); N]) -> Self {
        Self(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
    }
}

/// Reads header blocks, in the order in which they were written.
#[derive(Debug)]
pub(super) struct Reader {
    inflate: Decompress,
}

impl Default for Reader {
    fn default() -> Self {
        Self { inflate: Decompress::new(true) }
    }
}

impl Reader {
    /// The headers of one block.
    pub(super) fn read(&mut self, block: &[u8]) -> Result<Headers, Error> {
        parse(&self.inflate(block)?)
    }

    /// The plain bytes of a block, however much its few bytes would blow up to.
    fn inflate(&mut self, mut block: &[u8]) -> Result<Vec<u8>, Error> {
        let mut plain = Vec::with_capacity(1024);
        loop {
            if plain.len() >= limits::STREAM_HEADER_BYTES_MAX {
                return Err(Error::HeadersTooLarge);
            }
            if plain.len() == plain.capacity() {
                plain.reserve(4096);
            }
            let (before, written) = (self.inflate.total_in(), plain.len());
            let outcome = self.inflate.decompress_vec(block, &mut plain, FlushDecompress::Sync);
            let read = usize::try_from(self.inflate.total_in() - before).unwrap_or(block.len());
            block = &block[read.min(block.len())..];
            match outcome {
                Ok(Status::StreamEnd) => return Err(Error::Compression),
                Ok(_) if block.is_empty() && plain.len() < plain.capacity() => return Ok(plain),
                Ok(_) if read == 0 && plain.len() == written => return Err(Error::Compression),
                Ok(_) => {}
                Err(error) if error.needs_dictionary() == Some(CHECKSUM) => {
                    self.inflate.set_dictionary(&DICTIONARY).map_err(|_| Error::Compression)?;
                }
                Err(_) => return Err(Error::Compression),
            }
        }
    }
}

fn parse(plain: &[u8]) -> Result<Headers, Error> {
    let mut rest = plain;
    let count = number(&mut rest)?;
    if count > limits::STREAM_HEADERS_MAX {
        return Err(Error::HeadersTooLarge);
    }
    let mut headers = Headers::default();
    for _ in 0..count {
        let name = text(&mut rest)?;
        let value = text(&mut rest)?;
        if name.is_empty() || name.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return Err(Error::HeaderName);
        }
        if headers.0.iter().any(|(known, _)| *known == name) {
            return Err(Error::HeaderName);
        }
        headers.0.push((name, value));
    }
    if rest.is_empty() { Ok(headers) } else { Err(Error::Compression) }
}

fn number(rest: &mut &[u8]) -> Result<usize, Error> {
    let (head, tail) = rest.split_first_chunk::<4>().ok_or(Error::Compression)?;
    *rest = tail;
    usize::try_from(u32::from_be_bytes(*head)).map_err(|_| Error::HeadersTooLarge)
}

fn text(rest: &mut &[u8]) -> Result<String, Error> {
    let length = number(rest)?;
    let (head, tail) = rest.split_at_checked(length).ok_or(Error::Compression)?;
    *rest = tail;
    Ok(String::from_utf8_lossy(head).into_owned())
}

/// Writes header blocks.
#[derive(Debug)]
pub(super) struct Writer {
    deflate: Compress,
    begun: bool,
}

impl Default for Writer {
    fn default() -> Self {
        Self { deflate: Compress::new(Compression::default(), true), begun: false }
    }
}

impl Writer {
    /// Appends the block of these headers.
    pub(super) fn write(&mut self, headers: &Headers, out: &mut BytesMut) -> Result<(), Error> {
        if !std::mem::replace(&mut self.begun, true) {
            self.deflate.set_dictionary(&DICTIONARY).map_err(|_| Error::Compression)?;
        }
        let mut plain = Vec::new();
        let mut put = |text: &str| {
            plain.put_u32(text.len() as u32);
            plain.put_slice(text.as_bytes());
        };
        for (name, value) in &headers.0 {
            put(name);
            put(value);
        }
        let mut block = (headers.0.len() as u32).to_be_bytes().to_vec();
        block.append(&mut plain);
        let mut rest = block.as_slice();
        let mut packed = Vec::with_capacity(256);
        loop {
            if packed.len() == packed.capacity() {
                packed.reserve(256);
            }
            let before = self.deflate.total_in();
            self.deflate
                .compress_vec(rest, &mut packed, FlushCompress::Sync)
                .map_err(|_| Error::Compression)?;
            let read = usize::try_from(self.deflate.total_in() - before).unwrap_or(rest.len());
            rest = &rest[read.min(rest.len())..];
            if rest.is_empty() && packed.len() < packed.capacity() {
                out.extend_from_slice(&packed);
                return Ok(());
            }
        }
    }
}
