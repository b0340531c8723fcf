//! What every reconcile loop shares: caches of one watch per kind, a work queue with backoff, Events, the log line.
//!
//! It knows no kind: what a loop watches and writes is said by the loop.

pub mod cache;
pub mod error;
pub mod events;
pub mod key;
pub mod meta;
pub mod pods;
pub mod queue;
pub mod run;
pub mod selector;

pub use cache::{Cache, Caches, Change, Object};
pub use error::{Class, Error};
pub use events::{Kind as EventKind, Recorder};
pub use key::Key;
pub use queue::Queue;
pub use run::{Done, run, spawn};
