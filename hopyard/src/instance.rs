//! A data directory in use: its lock, and the file that tells other commands where everything listens.

use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::Error;

/// Where a running instance listens.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Instance {
    pub pid: u32,
    pub api: SocketAddr,
    pub uplink: SocketAddr,
    pub dns: SocketAddr,
    pub kubeconfig: PathBuf,
}

/// Held while an instance runs.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the directory.
    ///
    /// # Errors
    /// When another instance holds it, or it can't be used.
    pub(crate) fn take(dir: &Path) -> Result<Self, Error> {
        if dir.exists() && !dir.is_dir() {
            return Err(Error::path(dir, std::io::ErrorKind::NotADirectory.into()));
        }
        make_private(dir).map_err(|error| Error::path(dir, error))?;
        let path = dir.join("lock");
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(|error| Error::path(&path, error))?;
        match file.try_lock() {
            Ok(()) => Ok(Self { _file: file }),
            Err(std::fs::TryLockError::WouldBlock) => Err(Error::DirInUse { dir: dir.to_owned() }),
            Err(std::fs::TryLockError::Error(error)) => Err(Error::path(&path, error)),
        }
    }
}

/// Makes a directory that only its owner looks into: Secrets are in it.
pub(crate) fn make_private(dir: &Path) -> std::io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(dir)
}

fn file(dir: &Path) -> PathBuf {
    dir.join("instance.json")
}

impl Instance {
    pub(crate) fn write(&self, dir: &Path) -> Result<(), Error> {
        let text = serde_json::to_string_pretty(self).map_err(|error| Error::Failed(error.to_string()))?;
        crate::pki::write_private(&file(dir), text.as_bytes())
    }

    pub(crate) fn remove(dir: &Path) {
        // Gone already is as good.
        drop(std::fs::remove_file(file(dir)));
    }

    /// The instance that runs in `dir`.
    ///
    /// # Errors
    /// When none does.
    pub(crate) fn read(dir: &Path) -> Result<Self, Error> {
        let none = || {
            Error::Failed(format!(
                "nothing runs in {} (start it with `hopyard up --data-dir {}`)",
                dir.display(),
                dir.display()
            ))
        };
        let path = file(dir);
        let text = std::fs::read_to_string(&path).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => none(),
            _ => Error::path(&path, error),
        })?;
        let instance: Self = serde_json::from_str(&text).map_err(|_| none())?;
        // A crash leaves the file behind; the lock tells. It is shared, so that two who ask don't see each other.
        let lock = File::open(dir.join("lock")).map_err(|_| none())?;
        match lock.try_lock_shared() {
            Ok(()) => Err(none()),
            Err(_) => Ok(instance),
        }
    }
}
