//! Every bound of the store, and why.

use std::time::Duration;

/// Writes taken into one batch: large enough to share a sync among all clients, small enough to answer soon.
pub const BATCH_WRITES_MAX: usize = 512;

/// How long a batch waits at a time for those that are worked on.
pub const GATHER: Duration = Duration::from_micros(100);

/// How long it does at most. What is answered a millisecond later was not read sooner by cores that are busy.
pub const GATHER_MAX: Duration = Duration::from_millis(1);

/// So many batches in a row of one write each say that nobody else writes.
pub const ALONE: usize = 32;

/// An append that takes no longer than this is quicker done where it is asked for than by another thread.
pub const QUICK: Duration = Duration::from_micros(500);

/// Requests that may wait for the writer before callers are held back.
pub const QUEUE_MAX: usize = 4096;

/// Events kept for watchers that resume. Upstream's watch cache holds up to 102,400 a resource.
pub const WINDOW_EVENTS_MAX: usize = 100_000;

/// Bytes of superseded values the window may keep alive.
pub const WINDOW_BYTES_MAX: usize = 24 << 20;

/// Events always kept, whatever their size: a client that just listed can always start its watch.
pub const WINDOW_EVENTS_MIN: usize = 1_000;

/// Log records removed in one step of a compaction, so that writers wait only milliseconds.
pub const COMPACT_STEP: usize = 256;

/// How long a write may wait for its sync with `--durability interval`.
pub const SYNC_INTERVAL: Duration = Duration::from_millis(500);
