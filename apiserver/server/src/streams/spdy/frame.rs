//! Frames of SPDY/3.1 as values, to and from bytes: no I/O, no stream state.
//!
//! The payload of a data frame is handed on as it arrives, so that a frame's length says nothing about memory.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::headers::{Headers, Reader, Writer};
use crate::limits;

const VERSION: u16 = 3;
const CONTROL: u32 = 0x8000_0000;
const FIN: u8 = 0x01;

/// Why a session cannot go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Error {
    /// Not a frame of this version of SPDY.
    Frame,
    /// A control frame longer than any that is needed.
    FrameTooLarge,
    /// A header block that is not what it says.
    Compression,
    /// More headers than anybody needs.
    HeadersTooLarge,
    /// A header without name, with capital letters, or twice.
    HeaderName,
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Frame => "invalid frame",
            Self::FrameTooLarge => "control frame too large",
            Self::Compression => "invalid header block",
            Self::HeadersTooLarge => "too many headers",
            Self::HeaderName => "invalid header name",
        })
    }
}

/// Why a stream ends early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reset {
    /// The peer broke the rules.
    Protocol = 1,
    /// Too many streams.
    Refused = 3,
    /// Nobody needs it any more.
    Cancel = 5,
}

/// One frame, or a piece of a data frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Frame {
    /// The peer opens a stream.
    Open { stream: u32, fin: bool, headers: Headers },
    /// A stream was accepted.
    Reply { stream: u32, fin: bool, headers: Headers },
    /// More headers of a stream.
    Headers { stream: u32, fin: bool, headers: Headers },
    /// A stream ends in both directions. The number is a [`Reset`].
    Reset { stream: u32, status: u32 },
    /// Is somebody there?
    Ping(u32),
    /// No more streams; the session ends.
    GoAway { last: u32, status: u32 },
    /// Settings and windows: the clients of Kubernetes neither send nor obey them.
    Ignored,
    /// Bytes of a stream. `fin` comes with the last piece.
    Data { stream: u32, fin: bool, bytes: Bytes },
}

/// Bytes to frames.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    headers: Reader,
    /// The data frame that is under way.
    data: Option<Pending>,
}

#[derive(Clone, Copy, Debug)]
struct Pending {
    stream: u32,
    fin: bool,
    left: usize,
}

impl Decoder {
    /// The next frame, where `buffer` holds enough of it.
    ///
    /// # Errors
    /// What the session cannot survive: header blocks depend on all before them.
    pub(crate) fn decode(&mut self, buffer: &mut BytesMut) -> Result<Option<Frame>, Error> {
        if let Some(pending) = self.data {
            return Ok(self.piece(pending, buffer));
        }
        let Some(head) = buffer.first_chunk::<8>() else { return Ok(None) };
        let first = u32::from_be_bytes([head[0], head[1], head[2], head[3]]);
        let flags = head[4];
        let length = u32::from_be_bytes([0, head[5], head[6], head[7]]) as usize;
        if first & CONTROL == 0 {
            if first == 0 {
                return Err(Error::Frame);
            }
            buffer.advance(8);
            let pending = Pending { stream: first, fin: flags & FIN != 0, left: length };
            return Ok(self.piece(pending, buffer));
        }
        if length > limits::STREAM_CONTROL_FRAME_BYTES_MAX {
            return Err(Error::FrameTooLarge);
        }
        if buffer.len() < 8 + length {
            return Ok(None);
        }
        buffer.advance(8);
        let body = buffer.split_to(length).freeze();
        let (version, kind) = ((first >> 16 & 0x7fff) as u16, (first & 0xffff) as u16);
        if version != VERSION {
            return Err(Error::Frame);
        }
        self.control(kind, flags & FIN != 0, body).map(Some)
    }

    /// What there is of a data frame; an empty one counts once.
    fn piece(&mut self, pending: Pending, buffer: &mut BytesMut) -> Option<Frame> {
        let Pending { stream, fin, left } = pending;
        self.data = Some(pending);
        if left > 0 && buffer.is_empty() {
            return None;
        }
        let bytes = buffer.split_to(left.min(buffer.len())).freeze();
        let left = left - bytes.len();
        self.data = (left > 0).then_some(Pending { left, ..pending });
        Some(Frame::Data { stream, fin: fin && left == 0, bytes })
    }

    fn control(&mut self, kind: u16, fin: bool, mut body: Bytes) -> Result<Frame, Error> {
        let number = |body: &mut Bytes| body.try_get_u32().map_err(|_| Error::Frame);
        let id = |body: &mut Bytes| match number(body)? & !CONTROL {
            0 => Err(Error::Frame),
            stream => Ok(stream),
        };
        let frame = match kind {
            1 => {
                let stream = id(&mut body)?;
                if body.len() < 6 {
                    return Err(Error::Frame);
                }
                // The stream it belongs to, its priority and slot: nobody here asks for them.
                body.advance(6);
                Frame::Open { stream, fin, headers: self.headers.read(&body)? }
            }
            2 => {
                let stream = id(&mut body)?;
                Frame::Reply { stream, fin, headers: self.headers.read(&body)? }
            }
            3 => Frame::Reset { stream: id(&mut body)?, status: number(&mut body)? },
            4 | 9 => Frame::Ignored,
            6 => Frame::Ping(number(&mut body)?),
            7 => Frame::GoAway { last: number(&mut body)? & !CONTROL, status: number(&mut body)? },
            8 => {
                let stream = id(&mut body)?;
                Frame::Headers { stream, fin, headers: self.headers.read(&body)? }
            }
            _ => return Err(Error::Frame),
        };
        Ok(frame)
    }
}

/// Frames to bytes.
#[derive(Debug, Default)]
pub(crate) struct Encoder {
    headers: Writer,
}

impl Encoder {
    /// Appends a frame.
    ///
    /// # Errors
    /// When headers cannot be compressed, which ends the session.
    pub(crate) fn encode(&mut self, frame: &Frame, out: &mut BytesMut) -> Result<(), Error> {
        match frame {
            Frame::Data { stream, fin, bytes } => {
                out.put_u32(*stream & !CONTROL);
                put_length(out, *fin, bytes.len());
                out.put_slice(bytes);
            }
            Frame::Open { stream, fin, headers } => {
                let mut body = BytesMut::new();
                body.put_u32(*stream);
                body.put_bytes(0, 6);
                self.headers.write(headers, &mut body)?;
                put_control(out, 1, *fin, &body);
            }
            Frame::Reply { stream, fin, headers } => self.put_headers(out, 2, *stream, (*fin, headers))?,
            Frame::Headers { stream, fin, headers } => self.put_headers(out, 8, *stream, (*fin, headers))?,
            Frame::Reset { stream, status } => put_control(out, 3, false, &pair(*stream, *status)),
            Frame::Ping(number) => put_control(out, 6, false, &number.to_be_bytes()),
            Frame::GoAway { last, status } => put_control(out, 7, false, &pair(*last, *status)),
            Frame::Ignored => {}
        }
        Ok(())
    }

    fn put_headers(
        &mut self,
        out: &mut BytesMut,
        kind: u16,
        stream: u32,
        (fin, headers): (bool, &Headers),
    ) -> Result<(), Error> {
        let mut body = BytesMut::new();
        body.put_u32(stream);
        self.headers.write(headers, &mut body)?;
        put_control(out, kind, fin, &body);
        Ok(())
    }
}

fn pair(first: u32, second: u32) -> [u8; 8] {
    ((u64::from(first) << 32) | u64::from(second)).to_be_bytes()
}

fn put_control(out: &mut BytesMut, kind: u16, fin: bool, body: &[u8]) {
    out.put_u16(0x8000 | VERSION);
    out.put_u16(kind);
    put_length(out, fin, body.len());
    out.put_slice(body);
}

/// Flags and the length in 24 bits; callers stay far below.
fn put_length(out: &mut BytesMut, fin: bool, length: usize) {
    out.put_u32((u32::from(fin) << 24) | (length as u32 & 0x00ff_ffff));
}

#[cfg(test)]
mod tests;
