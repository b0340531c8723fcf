//! What can go wrong before and around the servers, in one line for the terminal, and the exit code it has.

use std::path::PathBuf;

/// Exit code of bad usage, as `sysexits.h` has it.
pub(crate) const USAGE: u8 = 64;

/// An error of the command line.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("{0}")]
    Usage(String),
    #[error(
        "{place} is taken: another process listens there (choose another port with --listen, or --secure-port of `hopyard apiserver`)"
    )]
    PortTaken { place: String },
    #[error("cannot listen on {place}: {source}")]
    Listen { place: String, source: std::io::Error },
    #[error("another hopyard uses {} (`hopyard down --data-dir {}` stops one that `up` started; others with their process)", dir.display(), dir.display())]
    DirInUse { dir: PathBuf },
    #[error("cannot use {}: {source}", path.display())]
    Path { path: PathBuf, source: std::io::Error },
    #[error("the store in {} cannot be opened: {why}", dir.display())]
    Store { dir: PathBuf, why: String },
    #[error("the store in {} was made with --store {maker}: pass that, or another --data-dir", dir.display())]
    OtherStore { dir: PathBuf, maker: &'static str },
    #[error("etcd cannot be used: {why}")]
    Etcd { why: String },
    #[error("certificates: {0}")]
    Certificates(String),
    #[error("{0}")]
    Failed(String),
    /// The trace has said it.
    #[error("")]
    DeadEnd,
    /// Another program has said it.
    #[error("")]
    Exit(u8),
}

impl Error {
    pub(crate) fn code(&self) -> u8 {
        match self {
            Self::Usage(_) => USAGE,
            Self::Exit(code) => *code,
            _ => 1,
        }
    }

    pub(crate) fn path(path: &std::path::Path, source: std::io::Error) -> Self {
        Self::Path { path: path.to_owned(), source }
    }
}
