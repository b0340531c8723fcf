//! The latest events, and what the log holds that nothing needs any more.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::{Event, EventKind, Revision, limits};

#[derive(Default)]
pub(crate) struct Window {
    pub events: VecDeque<Arc<Event>>,
    superseded_bytes: usize,
    /// Events up to here are gone.
    pub floor: Revision,
    /// Records that nothing needs any more: superseded, or deletions, with their event out of the window. In the
    /// order in which they must go: a deletion that went before what it deleted would bring that back.
    pub garbage: VecDeque<Revision>,
}

impl Window {
    /// Without events; those up to `floor` are gone.
    pub(crate) fn at(floor: Revision) -> Self {
        Self { floor, ..Self::default() }
    }

    pub(crate) fn push(&mut self, event: Arc<Event>) {
        self.superseded_bytes += cost(&event);
        self.events.push_back(event);
        while self.events.len() > limits::WINDOW_EVENTS_MIN
            && (self.events.len() > limits::WINDOW_EVENTS_MAX
                || self.superseded_bytes > limits::WINDOW_BYTES_MAX)
        {
            self.pop();
        }
    }

    /// Lets go of the events up to `upto`.
    pub(crate) fn advance(&mut self, upto: Revision) {
        while self.events.front().is_some_and(|event| event.revision <= upto) {
            self.pop();
        }
        self.floor = self.floor.max(upto);
    }

    fn pop(&mut self) {
        if let Some(oldest) = self.events.pop_front() {
            self.superseded_bytes -= cost(&oldest);
            self.floor = oldest.revision;
            self.discard(&oldest);
        }
    }

    pub(crate) fn discard(&mut self, event: &Event) {
        self.garbage.extend(event.previous.as_ref().map(|previous| previous.revision));
        if event.kind == EventKind::Deleted {
            self.garbage.push_back(event.revision);
        }
    }
}

/// Bytes that only the window keeps alive once the event is history.
fn cost(event: &Event) -> usize {
    event.previous.as_ref().map_or(0, |previous| previous.value.bytes.len()) + 128
}
