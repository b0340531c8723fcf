//! The log of revisions in a sled tree: key = revision, big endian; value = a small header, the key, the object.

use std::path::{Path, PathBuf};

use bytes::Bytes;

use crate::engine::{Engine, EngineError, Loaded, Record};
use crate::{Durability, EventKind, Revision};

const REVISION_KEY: &[u8] = b"revision";
const COMPACTED_KEY: &[u8] = b"compacted";
const HEADER_LEN: usize = 1 + 8 + 4 + 1 + 4;

/// The default engine.
#[derive(Debug)]
pub struct SledEngine {
    dir: PathBuf,
    /// `None` after the medium refused something: sled refuses everything from then on, until it is opened anew.
    open: Option<Open>,
    /// First revision of the batch that was refused: nobody was told of it, so it must not be there later.
    refused: Option<Revision>,
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
        Ok(Self { dir: dir.to_owned(), open: Some(Open::at(dir)?), refused: None })
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
}

impl Open {
    fn at(dir: &Path) -> Result<Self, EngineError> {
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
        self.with(|open| {
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
        })
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
