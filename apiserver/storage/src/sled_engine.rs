//! The log of revisions in a sled tree: key = revision, big endian; value = the record.

use std::fs::File;
use std::path::Path;

use crate::directory::Directory;
use crate::engine::{Engine, EngineError, Loaded, Record};
use crate::{Durability, Revision, record};

const REVISION_KEY: &[u8] = b"revision";
const COMPACTED_KEY: &[u8] = b"compacted";
/// sled's own file in the directory, which it holds locked.
const SLED_FILE: &str = "db";

/// The log in a sled database.
#[derive(Debug)]
pub struct SledEngine {
    directory: Directory,
    /// `None` after the medium refused something: sled refuses everything from then on.
    open: Option<Open>,
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
    /// When the directory can't be used, or another process or engine has it.
    pub fn open(dir: &Path) -> Result<Self, EngineError> {
        let directory = Directory::open(dir, "sled")?;
        let open = Some(Open::at(dir)?);
        Ok(Self { directory, open })
    }

    /// Runs `work` on the database, if nothing failed on it yet.
    fn with<T>(&mut self, work: impl FnOnce(&Open) -> Result<T, EngineError>) -> Result<T, EngineError> {
        let open = self.open.take().ok_or(EngineError::Restart)?;
        let done = work(&open);
        match done {
            // sled waits in its drop, for ever, until what failed was written.
            Err(EngineError::Sled(_)) => std::mem::forget(open),
            _ => self.open = Some(open),
        }
        done
    }

    fn note_written(&mut self) {
        if let Some(open) = self.open.as_ref().filter(|_| !self.directory.is_noted())
            && open.db.flush().is_ok()
        {
            self.directory.note_written();
        }
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
            // The writer syncs by itself.
            .flush_every_ms(None)
            .mode(sled::Mode::HighThroughput)
            .open()?;
        let log = db.open_tree("log")?;
        let meta = db.open_tree("meta")?;
        Ok(Self { db, log, meta })
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
                loaded
                    .records
                    .push(record::decode(revision, &value).ok_or(EngineError::Damaged { revision })?);
                loaded.revision = loaded.revision.max(revision);
            }
            Ok(loaded)
        })?;
        self.directory.check_found(loaded.revision == 0)?;
        if loaded.revision > 0 {
            self.note_written();
        }
        Ok(loaded)
    }

    fn append(&mut self, records: &[Record], durability: Durability) -> Result<(), EngineError> {
        let mut batch = sled::Batch::default();
        for record in records {
            let mut bytes = Vec::new();
            record::encode(record, &mut bytes);
            batch.insert(&record.revision.to_be_bytes(), bytes);
        }
        self.with(|open| {
            open.log.apply_batch(batch)?;
            if durability == Durability::Commit {
                open.db.flush()?;
            }
            Ok(())
        })?;
        self.note_written();
        Ok(())
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

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::EventKind;

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
        std::fs::write(dir.join("written"), "").unwrap();
        let lost = load();
        assert!(matches!(lost, Err(EngineError::Lost)), "{lost:?}");
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
