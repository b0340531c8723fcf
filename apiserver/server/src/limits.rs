//! Every bound of the server, and why.

use std::time::Duration;

/// Bytes of a request body; upstream's limit.
pub const BODY_BYTES_MAX: usize = 3 << 20;

/// Nesting of a JSON or YAML body: far more than any object has, far less than a stack holds.
pub const JSON_DEPTH_MAX: usize = 120;

/// A watch without a timeout of its own ends after this, plus up to as much again, as upstream's do.
pub const WATCH_TIMEOUT_MIN: Duration = Duration::from_secs(1800);

/// Bookmarks of an idle watch; upstream sends one about as often.
pub const BOOKMARK_INTERVAL: Duration = Duration::from_secs(60);

/// Bytes of one chunk of a streamed list: large enough for few frames, small enough to bound a slow client.
pub const LIST_CHUNK_BYTES: usize = 256 << 10;

/// Bytes of watch events sent as one frame when several wait.
pub const WATCH_CHUNK_BYTES: usize = 64 << 10;

/// Streams one HTTP/2 connection may have open; upstream's default is 100.
pub const HTTP2_STREAMS_MAX: u32 = 1000;

/// Bodies smaller than this are not compressed; upstream's threshold.
pub const GZIP_BYTES_MIN: usize = 128 << 10;
