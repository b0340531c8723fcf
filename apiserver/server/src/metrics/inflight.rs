//! How many requests are answered at a time: what is told is the most of the last whole second, as upstream tells it.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

/// Requests of one sort.
#[derive(Debug)]
pub(super) struct InFlight {
    since: Instant,
    now: AtomicU64,
    /// A second in the upper half, the most at a time of that second in the lower one.
    second: AtomicU64,
    /// The same of the second before in which anything happened.
    before: AtomicU64,
}

/// A request that is being answered, until this is dropped.
pub(crate) struct Entered<'a>(&'a InFlight);

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        self.0.now.fetch_sub(1, Relaxed);
    }
}

impl InFlight {
    pub(super) fn new(since: Instant) -> Self {
        Self { since, now: AtomicU64::new(0), second: AtomicU64::new(0), before: AtomicU64::new(0) }
    }

    pub(super) fn enter(&self, at: Instant) -> Entered<'_> {
        let count = self.now.fetch_add(1, Relaxed) + 1;
        self.note(at.saturating_duration_since(self.since).as_secs(), count);
        Entered(self)
    }

    fn note(&self, second: u64, count: u64) {
        let count = count.min(u64::from(u32::MAX));
        let mut known = self.second.load(Relaxed);
        loop {
            let (of, most) = (known >> 32, known & u64::from(u32::MAX));
            if of > second || of == second && most >= count {
                return;
            }
            let next = second << 32 | count;
            match self.second.compare_exchange_weak(known, next, Relaxed, Relaxed) {
                Ok(_) if of < second => return self.before.store(known, Relaxed),
                Ok(_) => return,
                Err(found) => known = found,
            }
        }
    }

    /// The most at a time of the second before `at`; those that are still there count in every second.
    pub(super) fn most(&self, at: Instant) -> u64 {
        let second = at.saturating_duration_since(self.since).as_secs();
        let last = second.saturating_sub(1);
        let noted = [self.second.load(Relaxed), self.before.load(Relaxed)];
        let of_last =
            noted.iter().find(|noted| *noted >> 32 == last).map(|noted| noted & u64::from(u32::MAX));
        of_last.unwrap_or(0).max(self.now.load(Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn the_most_of_the_last_second_is_told() {
        let since = Instant::now();
        let at = |ms| since + Duration::from_millis(ms);
        let inflight = InFlight::new(since);
        assert_eq!(inflight.most(at(0)), 0);
        {
            let _three = [1000, 1100, 1200].map(|ms| inflight.enter(at(ms)));
        }
        drop(inflight.enter(at(1900)));
        assert_eq!(inflight.most(at(2500)), 3);
        drop(inflight.enter(at(2600)));
        // Also after the second in which it was asked has begun, and no longer.
        assert_eq!((inflight.most(at(2700)), inflight.most(at(3100)), inflight.most(at(5000))), (3, 1, 0));
        let _long = inflight.enter(at(6000));
        assert_eq!(inflight.most(at(9000)), 1);
    }
}
