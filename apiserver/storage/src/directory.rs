//! The directory of a durable engine: one process at a time, one engine, and a note that there is something to lose.

use std::fs::File;
use std::path::{Path, PathBuf};

use crate::engine::EngineError;

/// File that whoever uses the directory holds locked.
const LOCK: &str = "lock";
/// File that is there once something has been written: an empty database beside it has lost everything.
const WRITTEN: &str = "written";

/// Held for as long as the engine lives.
#[derive(Debug)]
pub(crate) struct Directory {
    path: PathBuf,
    _lock: File,
    /// The file `WRITTEN` is there.
    written: bool,
}

impl Directory {
    /// Creates and locks `path` for the engine of this name.
    pub(crate) fn open(path: &Path, engine: &'static str) -> Result<Self, EngineError> {
        make_private(path)?;
        let lock = File::options().create(true).truncate(false).write(true).open(path.join(LOCK))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(std::fs::TryLockError::WouldBlock) => return Err(EngineError::InUse),
            Err(std::fs::TryLockError::Error(error)) => return Err(error.into()),
        }
        let makers = makers(path)?;
        if let Some(maker) = makers.first().filter(|_| !makers.contains(&engine)) {
            return Err(EngineError::OtherEngine { maker });
        }
        Ok(Self { path: path.to_owned(), _lock: lock, written: path.join(WRITTEN).exists() })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Notes, once, that there is something to lose; only for who has it on the disk. Without the note a damaged
    /// database is taken for a new one, which is no reason to refuse a write.
    pub(crate) fn note_written(&mut self) {
        self.written = self.written || std::fs::write(self.path.join(WRITTEN), "").is_ok();
    }

    pub(crate) fn is_noted(&self) -> bool {
        self.written
    }

    /// # Errors
    /// When what was loaded is empty, and was not so once.
    pub(crate) fn check_found(&self, empty: bool) -> Result<(), EngineError> {
        if empty && self.written { Err(EngineError::Lost) } else { Ok(()) }
    }
}

/// Secrets are in it: nobody but its owner looks into it, wherever it is.
fn make_private(path: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(path)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o700))?;
    }
    Ok(())
}

/// The engines whose files these are.
fn makers(path: &Path) -> Result<Vec<&'static str>, EngineError> {
    let mut makers = Vec::new();
    for entry in std::fs::read_dir(path)? {
        match entry?.file_name().to_str() {
            Some("db") => makers.push("sled"),
            Some(name) if name.ends_with(".log") => makers.push("log"),
            _ => {}
        }
    }
    Ok(makers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_belongs_to_the_engine_that_made_it() {
        let dir = std::env::temp_dir().join(format!("hopyard-directory-{}", std::process::id()));
        for (files, engine, refused) in [
            (&[][..], "log", None),
            (&["written", "lock"], "sled", None),
            (&["0000000001.log"], "log", None),
            (&["0000000001.log"], "sled", Some("log")),
            (&["db", "conf", "snap.1"], "sled", None),
            (&["db", "conf", "snap.1"], "log", Some("sled")),
            (&["0000000001.log", "db"], "log", None),
            (&["0000000001.log", "db"], "sled", None),
        ] {
            drop(std::fs::remove_dir_all(&dir));
            std::fs::create_dir_all(&dir).unwrap();
            for file in files {
                std::fs::write(dir.join(file), "").unwrap();
            }
            let found = match Directory::open(&dir, engine) {
                Err(EngineError::OtherEngine { maker }) => Some(maker),
                other => other.map(|_| None).unwrap(),
            };
            assert_eq!(found, refused, "{files:?} {engine}");
        }
        std::fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn a_directory_is_one_engines_and_free_when_that_is_gone() {
        let dir = std::env::temp_dir().join(format!("hopyard-directory-lock-{}", std::process::id()));
        drop(std::fs::remove_dir_all(&dir));
        for _ in 0..50 {
            let first = Directory::open(&dir, "log").unwrap();
            let second = Directory::open(&dir, "log");
            assert!(matches!(second, Err(EngineError::InUse)), "{second:?}");
            drop(first);
        }
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
