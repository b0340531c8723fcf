//! Every bound of the server, and why.

use std::time::Duration;

/// Bytes of a request body; upstream's limit.
pub const BODY_BYTES_MAX: usize = 3 << 20;
/// Bytes of a request body that is too large which are read all the same: a connection that is closed with more under way
/// is reset, and the answer is lost.
pub const BODY_BYTES_DROPPED_MAX: usize = 16 << 20;

/// Nesting of a JSON or YAML body: far more than any object has, far less than a stack holds.
pub const JSON_DEPTH_MAX: usize = 120;

/// How long a connection may wait for the head of its next request: what Go's clients keep idle ones for, and
/// upstream's server, too.
pub(crate) const CONNECTION_IDLE_MAX: Duration = Duration::from_secs(90);

/// After this long without a word on a connection its client is asked whether it is there, by TCP; upstream's number.
pub(crate) const CONNECTION_SILENT_MAX: Duration = Duration::from_secs(180);

/// How often it is asked before the connection is given up, nine times on Linux; what Go asks at.
pub(crate) const CONNECTION_PROBE_INTERVAL: Duration = Duration::from_secs(15);

/// A watch without a timeout of its own ends after this, plus up to as much again, as upstream's do.
pub const WATCH_TIMEOUT_MIN: Duration = Duration::from_secs(1800);

/// Bookmarks of an idle watch; upstream sends one about as often.
pub const BOOKMARK_INTERVAL: Duration = Duration::from_secs(60);

/// How long before its end a watch gets a bookmark; upstream's number.
pub(crate) const BOOKMARK_BEFORE_END: Duration = Duration::from_secs(2);

/// Bytes of one chunk of a streamed list: large enough for few frames, small enough to bound a slow client.
pub const LIST_CHUNK_BYTES: usize = 256 << 10;

/// Objects of one piece of a compressed list, on average.
pub const LIST_PIECE_OBJECTS: u64 = 64;

/// Bytes of one piece of a list before it is compressed: of large objects there are fewer in one.
pub const LIST_PIECE_BYTES_MAX: usize = 1 << 20;

/// Bytes of the compressed pieces that are kept, of all lists: those of some 100,000 Pods.
pub const LIST_PIECES_BYTES_MAX: usize = 32 << 20;

/// Bytes of a protobuf list that are kept while its length is found out; what lies beyond is written twice.
pub const LIST_KEPT_BYTES: usize = 4 << 20;

/// Bytes of watch events sent as one frame when several wait.
pub const WATCH_CHUNK_BYTES: usize = 64 << 10;

/// Streams one HTTP/2 connection may have open; upstream's default is 100.
pub const HTTP2_STREAMS_MAX: u32 = 1000;

/// Bodies smaller than this are not compressed; upstream's threshold.
pub const GZIP_BYTES_MIN: usize = 128 << 10;

/// Bytes of a compressed control frame of a stream session; real ones have a few dozen.
pub const STREAM_CONTROL_FRAME_BYTES_MAX: usize = 16 << 10;

/// Bytes of a stream's headers after decompression.
pub const STREAM_HEADER_BYTES_MAX: usize = 16 << 10;

/// Headers of a stream; port-forward sends three.
pub const STREAM_HEADERS_MAX: usize = 100;

/// Streams of one session that are open at a time: two for each forwarded connection.
pub const STREAMS_MAX: usize = 1000;

/// Chunks that wait for the reader of one stream; then the session waits for it, as upstream's does.
pub const STREAM_CHUNKS_MAX: usize = 32;

/// Bytes that wait for all readers of one session.
pub const STREAM_SESSION_BYTES_MAX: usize = 4 << 20;

/// Bytes of one read or write of a stream.
pub const STREAM_CHUNK_BYTES: usize = 32 << 10;

/// Chunks that wait to be written to a session's client.
pub const STREAM_WRITES_MAX: usize = 32;

/// Answers that the peer of a session may leave unread (pings, refusals) before it counts as hostile.
pub const STREAM_ANSWERS_MAX: usize = 1024;

/// Bytes of a WebSocket message; as much as any request body.
pub const WEBSOCKET_MESSAGE_BYTES_MAX: usize = 4 << 20;

/// Bytes of a log in one WebSocket message; upstream's number.
pub const LOG_MESSAGE_BYTES_MAX: usize = 2048;

/// A session in which nothing happens ends after this; upstream's default for streaming connections.
pub const STREAM_IDLE_MAX: Duration = Duration::from_secs(4 * 3600);

/// After this long without a word to the client it is asked whether it is there: a session that waits for a Pod would
/// not see it leave.
pub const STREAM_PING_INTERVAL: Duration = Duration::from_secs(30);

/// How long a client may take to open the streams that belong together; upstream's number.
pub const STREAM_CREATION_MAX: Duration = Duration::from_secs(30);

/// How long a session that is over waits for its client to take what was said.
pub const STREAM_FAREWELL_MAX: Duration = Duration::from_secs(5);

/// After one side of a forwarded connection ended, the other may be silent this long; upstream's number.
pub const FORWARD_LINGER: Duration = Duration::from_millis(500);

/// Ports of one session that names them all at its start.
pub const FORWARDED_PORTS_MAX: usize = 100;

/// Bytes of a terminal's size that is not complete yet.
pub const TERMINAL_SIZE_BYTES_MAX: usize = 4096;

/// Who asked as somebody else and is remembered for it; upstream's number.
pub const IMPERSONATORS_MAX: usize = 10_000;

/// No answer takes longer that somebody set a time for.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);
