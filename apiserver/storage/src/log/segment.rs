//! One file of the log that is being written to: whole frames, one behind the other, and what to do where the disk
//! refuses.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};

use super::frame::End;

/// What a segment asks of its file.
pub(super) trait Medium: Send {
    fn read_at(&mut self, at: u64, into: &mut [u8]) -> io::Result<()>;
    fn write_at(&mut self, at: u64, bytes: &[u8]) -> io::Result<()>;
    fn set_len(&mut self, len: u64) -> io::Result<()>;
    fn sync(&mut self) -> io::Result<()>;
}

impl Medium for File {
    fn read_at(&mut self, at: u64, into: &mut [u8]) -> io::Result<()> {
        self.seek(SeekFrom::Start(at))?;
        self.read_exact(into)
    }

    fn write_at(&mut self, at: u64, bytes: &[u8]) -> io::Result<()> {
        self.seek(SeekFrom::Start(at))?;
        self.write_all(bytes)
    }

    fn set_len(&mut self, len: u64) -> io::Result<()> {
        File::set_len(self, len)
    }

    /// `fdatasync` writes the length of the file, too, where that is needed to read what was written.
    fn sync(&mut self) -> io::Result<()> {
        self.sync_data()
    }
}

pub(super) struct Segment {
    medium: Box<dyn Medium>,
    pub id: u64,
    /// Bytes of whole frames.
    pub len: u64,
    /// Up to where the file was filled with zeros. A frame written over them changes nothing but data; what makes
    /// a file longer is in its metadata, too, which its sync would have to write.
    filled: u64,
    /// How much is filled at a time.
    fill_bytes: u64,
    /// Bytes known to be on stable storage.
    synced: u64,
    /// What was refused may still be behind the last frame.
    torn: bool,
    /// A sync failed: the kernel may hold what is not yet on the disk for written, and will not write it again.
    unsure: bool,
}

impl Segment {
    /// A file of which the first `len` bytes are whole frames on stable storage.
    pub(super) fn new(medium: Box<dyn Medium>, id: u64, len: u64, fill_bytes: u64) -> Self {
        Self { medium, id, len, filled: len, fill_bytes, synced: len, torn: false, unsure: false }
    }

    /// Takes what is behind the last frame away (zeros, a torn frame that a crash left), and makes the frames durable.
    pub(super) fn trim(&mut self) -> io::Result<()> {
        self.cut(self.len)
    }

    /// Where the next frame goes.
    pub(super) fn end(&self) -> End {
        End { place: (self.id, self.len), synced: self.synced }
    }

    /// Appends a frame; where that is refused, nothing of it stays.
    pub(super) fn append(&mut self, frame: &[u8]) -> io::Result<()> {
        if self.torn {
            self.cut(self.len)?;
        }
        self.fill(frame.len() as u64)?;
        let done = self.medium.write_at(self.len, frame);
        match done {
            Ok(()) => self.len += frame.len() as u64,
            // Where the cut is refused, too, it is tried again before the next frame.
            Err(_) => drop(self.cut(self.len)),
        }
        done
    }

    /// Appends a frame that is on stable storage afterwards; where that is refused, nothing of it stays.
    pub(super) fn commit(&mut self, frame: &[u8]) -> io::Result<()> {
        let before = self.len;
        self.append(frame)?;
        let done = self.sync();
        if done.is_err() {
            drop(self.cut(before));
        }
        done
    }

    /// Makes room for a frame. Where the disk has none for the zeros, the frame may still fit.
    fn fill(&mut self, frame_bytes: u64) -> io::Result<()> {
        let needed = self.len + frame_bytes;
        if needed <= self.filled {
            return Ok(());
        }
        let from = self.filled.max(self.len);
        let to = needed.next_multiple_of(self.fill_bytes);
        match self.medium.write_at(from, &vec![0; (to - from) as usize]) {
            Ok(()) => {
                self.filled = to;
                Ok(())
            }
            Err(_) => self.cut(self.len),
        }
    }

    /// Takes everything behind `len` away, for good: what was refused must not be there after a restart.
    fn cut(&mut self, len: u64) -> io::Result<()> {
        self.len = len;
        self.synced = self.synced.min(len);
        self.filled = len;
        self.torn = true;
        self.medium.set_len(len)?;
        self.sync()?;
        self.torn = false;
        Ok(())
    }

    /// Makes every frame durable.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        if self.unsure {
            let mut lost = vec![0; (self.len - self.synced) as usize];
            self.medium.read_at(self.synced, &mut lost)?;
            self.medium.write_at(self.synced, &lost)?;
        }
        self.unsure = true;
        self.medium.sync()?;
        self.unsure = false;
        self.synced = self.len;
        Ok(())
    }
}
