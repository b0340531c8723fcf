//! Which records count, where they are, and what must be known of those that are gone.

use std::collections::BTreeMap;

use super::frame::{self, Mark};
use crate::Revision;
use crate::engine::Record;

#[derive(Default)]
pub(super) struct Index {
    /// Segment and bytes of every record that was not forgotten.
    live: BTreeMap<Revision, (u64, u32)>,
    /// Bytes of all of them.
    pub live_bytes: u64,
    /// Highest revision ever.
    pub revision: Revision,
    pub compacted: Revision,
}

impl Index {
    /// The record is in this segment; a copy further up does not count any more.
    pub(super) fn put(&mut self, record: &Record, segment: u64) {
        let bytes = u32::try_from(frame::cost(record)).unwrap_or(u32::MAX);
        self.remove(record.revision);
        self.live.insert(record.revision, (segment, bytes));
        self.live_bytes += u64::from(bytes);
        self.revision = self.revision.max(record.revision);
    }

    pub(super) fn apply(&mut self, mark: &Mark) {
        self.revision = self.revision.max(mark.revision);
        self.compacted = self.compacted.max(mark.compacted);
        for revision in &mark.forgotten {
            self.remove(*revision);
        }
    }

    fn remove(&mut self, revision: Revision) {
        if let Some((_, bytes)) = self.live.remove(&revision) {
            self.live_bytes -= u64::from(bytes);
        }
    }

    pub(super) fn holds(&self, revision: Revision) -> bool {
        self.live.contains_key(&revision)
    }

    /// Whether the record counts, and its copy in this segment is the one that does.
    pub(super) fn holds_in(&self, revision: Revision, segment: u64) -> bool {
        self.live.get(&revision).is_some_and(|(at, _)| *at == segment)
    }

    /// What a new segment begins with, so that the segments before it may go.
    pub(super) fn mark(&self) -> Mark {
        Mark { revision: self.revision, compacted: self.compacted, forgotten: Vec::new() }
    }
}
