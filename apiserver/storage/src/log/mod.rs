//! The default engine: a log of revisions in files of a few megabytes, appended to and nothing else.
//!
//! Everything there is to read is in memory already, so an engine needs no index, no cache and no thread: a batch is
//! one frame and one sync. What is forgotten is noted; when the files are half waste, what still counts in the oldest
//! one is appended again and the file goes. What the disk refuses is cut off at once, so that the next write finds a
//! whole log, and a full disk heals when there is room again.

mod frame;
mod index;
mod load;
mod reserve;
mod segment;

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::path::Path;

use self::frame::Mark;
use self::index::Index;
use self::load::{Extent, Found};
use self::reserve::Reserve;
use self::segment::{Medium, Segment};
use crate::directory::Directory;
use crate::engine::{Engine, EngineError, Loaded, Record};
use crate::{Durability, EventKind, Revision};

/// Bytes after which a segment is closed: small enough to be cleaned in the time of a few syncs.
const SEGMENT_BYTES: u64 = 4 << 20;

/// Bytes of zeros that go before frames: enough that filling is rare, and few enough to be synced with one.
const FILL_BYTES: u64 = 256 << 10;

/// Segments cleaned at once when there is no room: writers wait for it.
const RECLAIM_SEGMENTS: usize = 8;

/// A log in files of its own.
pub struct LogEngine {
    directory: Directory,
    options: Options,
    /// Segments before the active one, oldest first.
    sealed: VecDeque<Extent>,
    active: Segment,
    index: Index,
    reserve: Reserve,
    /// What was found when it was opened, until it is asked for.
    loaded: Loaded,
}

struct Options {
    segment_bytes: u64,
    fill_bytes: u64,
    medium: Box<dyn Fn(File) -> Box<dyn Medium> + Send>,
}

impl LogEngine {
    /// Opens or creates the log in `dir`.
    ///
    /// # Errors
    /// When the directory can't be used, another process or engine has it, or something acknowledged is damaged.
    pub fn open(dir: &Path) -> Result<Self, EngineError> {
        let medium = |file: File| -> Box<dyn Medium> { Box::new(file) };
        Self::open_with(
            dir,
            Options { segment_bytes: SEGMENT_BYTES, fill_bytes: FILL_BYTES, medium: Box::new(medium) },
        )
    }

    fn open_with(dir: &Path, options: Options) -> Result<Self, EngineError> {
        let mut directory = Directory::open(dir, "log")?;
        let Found { segments: mut sealed, index, records } = load::scan(dir)?;
        directory.check_found(index.revision == 0)?;
        // A crash came between the creation of a segment and its first frame.
        if let Some(empty) = sealed.pop_back_if(|last| last.len == 0) {
            std::fs::remove_file(load::path(dir, empty.id))?;
        }
        let active = match sealed.pop_back() {
            Some(last) => options.reopen(dir, last)?,
            None => options.create(dir, 1, &index)?,
        };
        if index.revision > 0 {
            directory.note_written();
        }
        let loaded = Loaded {
            records: records.into_values().collect(),
            revision: index.revision,
            compacted: index.compacted,
        };
        let reserve = Reserve::take(dir, options.segment_bytes);
        Ok(Self { directory, options, sealed, active, index, reserve, loaded })
    }

    /// As [`Self::write`], for what makes room.
    fn write_urgent(
        &mut self,
        durability: Durability,
        build: impl Fn(frame::End) -> Option<Vec<u8>>,
    ) -> Result<(), EngineError> {
        match self.write(durability, &build) {
            Err(error) if error.is_full() && self.reserve.release() => self.write(durability, build),
            done => done,
        }
    }

    /// Appends what `build` makes for the place where it will be.
    fn write(
        &mut self,
        durability: Durability,
        build: impl Fn(frame::End) -> Option<Vec<u8>>,
    ) -> Result<(), EngineError> {
        if self.active.len >= self.options.segment_bytes {
            self.begin_segment()?;
        }
        let frame = build(self.active.end()).ok_or(io::ErrorKind::FileTooLarge).map_err(io::Error::from)?;
        match durability {
            Durability::Commit => self.active.commit(&frame)?,
            Durability::Interval | Durability::None => self.active.append(&frame)?,
        }
        Ok(())
    }

    fn begin_segment(&mut self) -> Result<(), EngineError> {
        self.active.trim()?;
        let next = self.options.create(self.directory.path(), self.active.id + 1, &self.index)?;
        let full = std::mem::replace(&mut self.active, next);
        self.sealed.push_back(Extent { id: full.id, len: full.len });
        self.reserve.refill();
        Ok(())
    }

    fn bytes(&self) -> u64 {
        self.sealed.iter().map(|extent| extent.len).sum::<u64>() + self.active.len
    }

    fn waste(&self) -> u64 {
        self.bytes().saturating_sub(self.index.live_bytes)
    }

    /// Moves what counts in the oldest segment to the end, and removes it.
    ///
    /// Only ever the oldest: the marks in it speak of nothing but what was before them.
    fn clean_oldest(&mut self) -> Result<(), EngineError> {
        let Some(oldest) = self.sealed.front().copied() else { return Ok(()) };
        let mut records = load::records_of(self.directory.path(), oldest)?;
        records.retain(|record| self.index.holds_in(record.revision, oldest.id));
        if !records.is_empty() {
            self.write_urgent(Durability::Commit, |end| frame::of_records(end, records.iter()))?;
            for record in &records {
                self.index.put(record, self.active.id);
            }
        }
        // Marks are not synced by themselves, and one of them may say that this segment's records are gone.
        self.active.sync()?;
        std::fs::remove_file(load::path(self.directory.path(), oldest.id))?;
        self.sealed.pop_front();
        sync_directory(self.directory.path())?;
        Ok(())
    }
}

impl Options {
    fn reopen(&self, dir: &Path, last: Extent) -> Result<Segment, EngineError> {
        let file = File::options().read(true).write(true).open(load::path(dir, last.id))?;
        let mut segment = Segment::new((self.medium)(file), last.id, last.len, self.fill_bytes);
        segment.trim()?;
        Ok(segment)
    }

    fn create(&self, dir: &Path, id: u64, index: &Index) -> Result<Segment, EngineError> {
        let path = load::path(dir, id);
        let begin = || -> Result<Segment, EngineError> {
            let file = File::options().create(true).truncate(true).read(true).write(true).open(&path)?;
            let mut segment = Segment::new((self.medium)(file), id, 0, self.fill_bytes);
            let mark = frame::of_mark(segment.end(), &index.mark()).ok_or(io::ErrorKind::FileTooLarge);
            segment.commit(&mark.map_err(io::Error::from)?)?;
            sync_directory(dir)?;
            Ok(segment)
        };
        begin().inspect_err(|_| drop(std::fs::remove_file(&path)))
    }
}

/// A file is there after a power loss once its directory was synced.
fn sync_directory(dir: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(dir)?.sync_all() } else { Ok(()) }
}

impl Engine for LogEngine {
    fn load(&mut self) -> Result<Loaded, EngineError> {
        Ok(std::mem::take(&mut self.loaded))
    }

    fn append(&mut self, records: &[Record], durability: Durability) -> Result<(), EngineError> {
        let build = |end| frame::of_records(end, records.iter());
        // A deletion is small, and what it deletes can be forgotten.
        if records.iter().all(|record| record.kind == EventKind::Deleted) {
            self.write_urgent(durability, build)?;
        } else {
            self.write(durability, build)?;
        }
        for record in records {
            self.index.put(record, self.active.id);
        }
        if durability == Durability::Commit {
            self.directory.note_written();
        }
        Ok(())
    }

    fn forget(&mut self, revisions: &[Revision], upto: Revision) -> Result<(), EngineError> {
        let forgotten = revisions.iter().copied().filter(|revision| self.index.holds(*revision)).collect();
        let mark = Mark { revision: self.index.revision, compacted: upto, forgotten };
        self.write_urgent(Durability::None, |end| frame::of_mark(end, &mark))?;
        self.index.apply(&mark);
        for _ in 0..self.sealed.len() {
            if self.waste() > self.index.live_bytes + self.options.segment_bytes {
                self.clean_oldest()?;
            }
        }
        Ok(())
    }

    fn reclaim(&mut self) -> Result<bool, EngineError> {
        if self.sealed.is_empty() {
            self.begin_segment()?;
        }
        for _ in 0..self.sealed.len().min(RECLAIM_SEGMENTS) {
            let before = self.bytes();
            self.clean_oldest()?;
            // What is left of a segment is a little longer behind others than it was.
            if self.bytes() + self.options.segment_bytes / 64 < before {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn sync(&mut self) -> Result<(), EngineError> {
        self.active.sync()?;
        if self.index.revision > 0 {
            self.directory.note_written();
        }
        Ok(())
    }
}
