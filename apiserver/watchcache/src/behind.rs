//! Watchers that fall behind hold writers back a little, before they would fall out of the window.
//!
//! Where writes cost less than telling everybody of them, writers would starve the watchers of a machine, and these
//! would begin anew with a list, which costs more still. A watcher that reads what there is, but has much left to read,
//! says so; who is about to write to its resource waits in proportion. One that reads nothing says nothing, one that began in
//! the past or is behind for long is not heard: nobody waits for these.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The longest a write is held back.
const WAIT_MAX: Duration = Duration::from_millis(100);
/// Share of the window that may be unread without anybody waiting.
const SHARE_FREE: f64 = 0.25;
/// Share at which a write waits longest.
const SHARE_FULL: f64 = 0.75;
/// For how long a watcher's word counts: slow ones read a batch within this.
const FRESH: Duration = Duration::from_millis(250);

/// What the watchers of a resource said last.
#[derive(Debug, Default)]
pub(crate) struct Behind(Mutex<Option<(Instant, f64)>>);

impl Behind {
    /// A watcher has `share` of what the window can hold left to read.
    pub(crate) fn say(&self, share: f64, now: Instant) {
        let mut said = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // The slowest counts.
        if said.is_none_or(|(at, most)| share >= most || now.duration_since(at) > FRESH) {
            *said = Some((now, share));
        }
    }

    /// How long a write should wait.
    pub(crate) fn wait(&self, now: Instant) -> Duration {
        let said = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match said {
            Some((at, share)) if now.duration_since(at) <= FRESH => {
                WAIT_MAX.mul_f64(((share - SHARE_FREE) / (SHARE_FULL - SHARE_FREE)).clamp(0.0, 1.0))
            }
            _ => Duration::ZERO,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writers_wait_for_the_slowest_that_reads() {
        let (behind, start) = (Behind::default(), Instant::now());
        let at = |milliseconds| start + Duration::from_millis(milliseconds);
        assert_eq!(behind.wait(start), Duration::ZERO);
        behind.say(0.2, at(0));
        assert_eq!(behind.wait(at(1)), Duration::ZERO);
        behind.say(0.5, at(1));
        behind.say(0.1, at(2));
        assert_eq!(behind.wait(at(3)), WAIT_MAX / 2);
        behind.say(7.0, at(4));
        assert_eq!(behind.wait(at(5)), WAIT_MAX);
        // It has caught up, or reads nothing any more.
        assert_eq!(behind.wait(at(300)), Duration::ZERO);
        behind.say(0.5, at(301));
        assert_eq!(behind.wait(at(302)), WAIT_MAX / 2);
    }
}
