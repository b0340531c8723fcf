//! Every bound of the etcd store, and why.

use std::time::Duration;

/// How long a connection may take: a member that is stopped accepts and says nothing.
pub(super) const CONNECT: Duration = Duration::from_secs(2);

/// How long one member may take for a read before another is asked. An election takes about a second.
pub(super) const READ: Duration = Duration::from_secs(2);

/// How long a page of the first listing may take: it may be many megabytes.
pub(super) const PAGE: Duration = Duration::from_secs(20);

/// How long a read is tried, on whichever member.
pub(super) const READ_ALL: Duration = Duration::from_secs(8);

/// How long a write may take. etcd itself gives up after seven seconds.
pub(super) const WRITE: Duration = Duration::from_secs(10);

/// Between tries when every member refused.
pub(super) const RETRY: Duration = Duration::from_millis(100);

/// Between tries to read everything again.
pub(super) const RELIST: Duration = Duration::from_secs(1);

/// etcd refuses clients that ask more often than every five seconds whether it is there.
pub(super) const KEEP_ALIVE: Duration = Duration::from_secs(10);
pub(super) const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(5);

/// Objects read at once when everything is read, as upstream's pages.
pub(super) const PAGE_KEYS: i64 = 500;

/// How long a reader waits for this process's copy to come to a revision etcd has told; upstream waits as long.
pub(super) const CATCH_UP: Duration = Duration::from_secs(3);

/// How soon etcd is asked where its watch is, where events have not said it themselves, and how often again.
pub(super) const PROGRESS: Duration = Duration::from_millis(10);

/// Readers that may wait to learn etcd's revision before others are held back.
pub(super) const READERS_MAX: usize = 4096;

/// Requests that wait to be sent over the watch.
pub(super) const WATCH_REQUESTS_MAX: usize = 8;
