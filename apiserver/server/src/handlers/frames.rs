//! Frames of a watch that are still to be sent.

use std::collections::VecDeque;

use bytes::{BufMut, Bytes, BytesMut};

/// What small frames are put together to; a larger one is sent as it is, the same bytes to every watcher.
const CHUNK_BYTES: usize = 4 << 10;

/// Frames in the order of their events.
#[derive(Debug, Default)]
pub(super) struct Frames(VecDeque<Bytes>);

impl Frames {
    pub(super) fn extend(&mut self, frames: impl IntoIterator<Item = Bytes>) {
        self.0.extend(frames);
    }

    /// The next bytes to send, a whole number of frames; `None` where there are none.
    pub(super) fn chunk(&mut self) -> Option<Bytes> {
        let first = self.0.pop_front()?;
        let mut length = first.len();
        let fits = |frame: &&Bytes| {
            length += frame.len();
            length <= CHUNK_BYTES
        };
        let more = self.0.iter().take_while(fits).count();
        if more == 0 {
            return Some(first);
        }
        let mut chunk = BytesMut::with_capacity(CHUNK_BYTES);
        chunk.put_slice(&first);
        self.0.drain(..more).for_each(|frame| chunk.put_slice(&frame));
        Some(chunk.freeze())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_frames_go_together_and_large_ones_as_they_are() {
        let frame = |byte: u8, length: usize| Bytes::from(vec![byte; length]);
        let (large, last) = (frame(b'l', CHUNK_BYTES), frame(b'z', CHUNK_BYTES / 2));
        let mut frames = Frames::default();
        frames.extend([
            frame(b'a', 10),
            frame(b'b', 20),
            large.clone(),
            last.clone(),
            last.clone(),
            last.clone(),
        ]);
        let together = [frame(b'a', 10), frame(b'b', 20)].concat();
        assert_eq!(frames.chunk().unwrap(), together);
        let sent = frames.chunk().unwrap();
        assert_eq!((sent.as_ptr(), sent.len()), (large.as_ptr(), large.len()));
        assert_eq!(frames.chunk().unwrap().len(), CHUNK_BYTES);
        assert_eq!(frames.chunk().unwrap(), last);
        assert_eq!(frames.chunk(), None);
    }
}
