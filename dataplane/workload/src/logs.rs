//! Lines that containers wrote, kept in memory and bounded.
//!
//! There is no rotation to files; the oldest lines go.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::watch;

/// Lines kept per container.
const MAX_LINES: usize = 1000;

/// One line with its time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Position since the container started; grows by one.
    pub index: u64,
    /// RFC 3339.
    pub time: String,
    /// Text without line end.
    pub text: String,
}

/// The lines of one container; clones share them.
#[derive(Debug, Clone)]
pub struct Logs {
    lines: Arc<Mutex<VecDeque<Line>>>,
    written: watch::Sender<Written>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Written {
    next: u64,
    closed: bool,
}

impl Default for Logs {
    fn default() -> Self {
        Logs { lines: Arc::default(), written: watch::channel(Written::default()).0 }
    }
}

impl Logs {
    /// Add a line.
    pub fn write(&self, text: impl Into<String>) {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let index = self.written.borrow().next;
        if lines.len() >= MAX_LINES {
            lines.pop_front();
        }
        lines.push_back(Line { index, time: jiff::Timestamp::now().to_string(), text: text.into() });
        self.written.send_modify(|written| written.next = index + 1);
    }

    /// Nothing more will be written.
    pub fn close(&self) {
        self.written.send_modify(|written| written.closed = true);
    }

    /// Lines from an index on.
    pub fn since(&self, index: u64) -> Vec<Line> {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.iter().filter(|l| l.index >= index).cloned().collect()
    }

    /// Wait until there is a line at `index` or later; false once there will be none.
    pub async fn wait(&self, index: u64) -> bool {
        let mut written = self.written.subscribe();
        written.wait_for(|w| w.next > index || w.closed).await.is_ok_and(|w| w.next > index)
    }
}
