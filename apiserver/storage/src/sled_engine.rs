//! The log of revisions in a sled tree: key = revision, big endian; value = a small header, the key, the object.

use std::fs::File;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use crate::engine::{Engine, EngineError, Loaded, Record};
use crate::{Durability, EventKind, Revision};

const REVISION_KEY: &[u8] = b"revision";
const COMPACTED_KEY: &[u8] = b"compacted";
/// File beside the database, there once something has been written: an empty database beside it has lost everything.
const WRITTEN: &str = "written";
/// File that whoever uses the directory holds locked.
const LOCK: &str = "lock";
/// sled's own file in the directory, which it holds locked.
const SLED_FILE: &str = "db";
const HEADER_LEN: usize = 1 + 8 + 4 + 1 + 4;

/// The default engine.
#[derive(Debug)]
pub struct SledEngine {
    dir: PathBuf,
    _lock: File,
    /// `None` after the medium refused something: sled refuses everything from then on, until it is opened anew.
    open: Option<Open>,
    /// First revision of the batch that was refused: nobody was told of it, so it must not be there later.
    refused: Option<Revision>,
    /// The file `WRITTEN` is there.
    marked: bool,
}

#[derive(Debug)]
struct Open {
    db: sled::Db,
    log: sled::Tree,
    meta: sled::Tree,
}

impl SledEngine {
    /// Opens or creates the database in `dir`.
    ///
    /// # Errors
    /// When the directory can't be used or another process holds it.
    pub fn open(dir: &Path) -> Result<Self, EngineError> {
        let lock = lock(dir)?;
        let open = Some(Open::at(dir)?);
        Ok(Self { dir: dir.to_owned(), _lock: lock, open, refused: None, marked: false })
    }

    /// Runs `work` on the database, opened anew if it had to be closed.
    fn with<T>(&mut self, work: impl FnOnce(&Open) -> Result<T, EngineError>) -> Result<T, EngineError> {
        let open = match self.open.take() {
            Some(open) => open,
            None => {
                let open = Open::at(&self.dir)?;
                if let Some(refused) = self.refused {
                    open.forget_from(refused)?;
                }
                self.refused = None;
                open
            }
        };
        let done = work(&open)?;
        self.open = Some(open);
        Ok(done)
    }

    /// Notes, once, that there is something to lose; only after it is on the disk. Without the note a damaged
    /// database is taken for a new one, which is no reason to refuse a write.
    fn mark_written(&mut self) {
        let Some(open) = self.open.as_ref().filter(|_| !self.marked) else { return };
        let path = self.dir.join(WRITTEN);
        self.marked = path.exists() || (open.db.flush().is_ok() && std::fs::write(path, "").is_ok());
    }
}

fn lock(dir: &Path) -> Result<File, EngineError> {
    std::fs::create_dir_all(dir)?;
    let file = File::options().create(true).truncate(false).write(true).open(dir.join(LOCK))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(EngineError::InUse),
        Err(std::fs::TryLockError::Error(error)) => Err(error.into()),
    }
}

impl Open {
    /// Only for who holds the directory's lock.
    fn at(dir: &Path) -> Result<Self, EngineError> {
        // sled unlocks on a thread of its own some time after it was dropped. Nobody else can hold its lock.
        if let Ok(file) = File::open(dir.join(SLED_FILE)) {
            file.lock()?;
        }
        let db = sled::Config::new()
            .path(dir)
            // Reads never come here: the state lives in memory. A small page cache keeps the process small.
            .cache_capacity(8 << 20)
            // The writer syncs by itself; the timer serves `--durability interval`.
            .flush_every_ms(Some(500))
            .mode(sled::Mode::HighThroughput)
            .open()?;
        let log = db.open_tree("log")?;
        let meta = db.open_tree("meta")?;
        Ok(Self { db, log, meta })
    }

    fn forget_from(&self, next: Revision) -> Result<(), EngineError> {
        let mut batch = sled::Batch::default();
        for item in self.log.range(next.to_be_bytes()..) {
            batch.remove(item?.0);
        }
        self.log.apply_batch(batch)?;
        self.db.flush()?;
        Ok(())
    }
}

impl Engine for SledEngine {
    fn load(&mut self) -> Result<Loaded, EngineError> {
        let loaded = self.with(|open| {
            let mut loaded = Loaded {
                revision: read_revision(&open.meta, REVISION_KEY)?,
                compacted: read_revision(&open.meta, COMPACTED_KEY)?,
                records: Vec::new(),
            };
            for item in &open.log {
                let (key, value) = item?;
                let revision = revision_of(&key);
                loaded.records.push(decode(revision, &value).ok_or(EngineError::Damaged { revision })?);
                loaded.revision = loaded.revision.max(revision);
            }
            Ok(loaded)
        })?;
        if loaded.revision > 0 {
            self.mark_written();
        } else if self.dir.join(WRITTEN).exists() {
            return Err(EngineError::Lost);
        }
        Ok(loaded)
    }

    fn append(&mut self, records: &[Record], durability: Durability) -> Result<(), EngineError> {
        let mut batch = sled::Batch::default();
        for record in records {
            batch.insert(&record.revision.to_be_bytes(), encode(record));
        }
        let done = self.with(|open| {
            open.log.apply_batch(batch)?;
            if durability == Durability::Commit {
                open.db.flush()?;
            }
            Ok(())
        });
        if done.is_err() && self.refused.is_none() {
            self.refused = records.first().map(|record| record.revision);
        }
        if done.is_ok() {
            self.mark_written();
        }
        done
    }

    fn forget(&mut self, revisions: &[Revision], upto: Revision) -> Result<(), EngineError> {
        self.with(|open| {
            // The highest revision may belong to a record that is about to go (a deletion): remember it first.
            if let Some((key, _)) = open.log.last()? {
                open.meta.insert(REVISION_KEY, &revision_of(&key).to_be_bytes())?;
            }
            open.meta.insert(COMPACTED_KEY, &upto.to_be_bytes())?;
            let mut batch = sled::Batch::default();
            for revision in revisions {
                batch.remove(&revision.to_be_bytes());
            }
            open.log.apply_batch(batch)?;
            Ok(())
        })
    }

    fn sync(&mut self) -> Result<(), EngineError> {
        self.with(|open| Ok(open.db.flush().map(drop)?))
    }
}

fn read_revision(tree: &sled::Tree, key: &[u8]) -> Result<Revision, EngineError> {
    Ok(tree.get(key)?.map_or(0, |value| revision_of(&value)))
}

fn revision_of(bytes: &[u8]) -> Revision {
    bytes.try_into().map_or(0, Revision::from_be_bytes)
}

fn encode(record: &Record) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEADER_LEN + record.key.len() + record.value.len());
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
    out
}

fn decode(revision: Revision, bytes: &[u8]) -> Option<Record> {
    let (header, rest) = bytes.split_at_checked(HEADER_LEN)?;
    let kind = match header[0] {
        0 => EventKind::Created,
        1 => EventKind::Updated,
        2 => EventKind::Deleted,
        _ => return None,
    };
    let supersedes = revision_of(&header[1..9]);
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
    fn a_database_that_lost_everything_is_not_taken_for_a_new_one() {
        let dir = std::env::temp_dir().join(format!("hopyard-sled-lost-{}", std::process::id()));
        drop(std::fs::remove_dir_all(&dir));
        let record = Record {
            revision: 1,
            key: "/registry/pods/a/b".into(),
            kind: EventKind::Created,
            supersedes: 0,
            value: Bytes::from_static(b"{}"),
            revision_at: None,
        };
        let mut engine = SledEngine::open(&dir).unwrap();
        assert_eq!(engine.load().unwrap().revision, 0);
        engine.append(&[record], Durability::Commit).unwrap();
        drop(engine);
        let mut engine = SledEngine::open(&dir).unwrap();
        assert_eq!(engine.load().unwrap().revision, 1);
        drop(engine);
        let load = || SledEngine::open(&dir).and_then(|mut engine| engine.load());
        std::fs::write(dir.join(SLED_FILE), "garbage").unwrap();
        assert!(load().is_err());
        std::fs::remove_dir_all(&dir).unwrap();
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::write(dir.join(WRITTEN), "").unwrap();
        let lost = load();
        assert!(matches!(lost, Err(EngineError::Lost)), "{lost:?}");
        std::fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn a_directory_is_one_engines_and_free_when_that_is_gone() {
        let dir = std::env::temp_dir().join(format!("hopyard-sled-lock-{}", std::process::id()));
        drop(std::fs::remove_dir_all(&dir));
        for _ in 0..50 {
            let engine = SledEngine::open(&dir).unwrap();
            let second = SledEngine::open(&dir);
            assert!(matches!(second, Err(EngineError::InUse)), "{second:?}");
            drop(engine);
        }
        std::fs::remove_dir_all(&dir).unwrap();
    }

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
        assert_eq!(decode(9, &encode(&record)), Some(record));
        assert_eq!(decode(9, &[7; 3]), None);
    }
}
