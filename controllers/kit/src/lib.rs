//! What every reconcile loop shares: caches of one watch per kind, a work queue with backoff, Events, the log line.
//!
//! It knows no kind's meaning: what a loop watches and writes is said by the loop.

pub mod addresses;
pub mod cache;
pub mod error;
pub mod events;
pub mod index;
pub mod key;
mod kinds;
pub mod leader;
pub mod meta;
pub mod pods;
pub mod queue;
pub mod raw;
pub mod run;
pub mod selector;
mod store;

pub use addresses::{AddressFuture, PodAddresses, Sandbox};
pub use cache::{Cache, Caches, Change, Object};
pub use error::{Class, Error};
pub use events::{Kind as EventKind, Recorder};
pub use index::{Index, label_place};
pub use key::Key;
pub use leader::{Election, Ended};
pub use queue::{Queue, SETTLING};
pub use raw::{Events, Raw, list, list_raw, watch, watch_raw};
pub use run::{Done, all, run, spawn};

/// A loop, or several, that run while this is polled. Boxed, so that a loop is compiled in its own crate.
pub type Running = futures::future::BoxFuture<'static, ()>;

/// What objects are read from.
pub type Tree = serde_json::Value;
