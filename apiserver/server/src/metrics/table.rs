//! Counters of requests: a row for each resource and subresource, in it what was asked of it, in that the counters. A request
//! looks its row up by a hash, then everything is an addition to an atomic: nothing is locked, and no text is made.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// Verbs as upstream reports them.
pub(super) const VERBS: [&str; 9] =
    ["APPLY", "CONNECT", "DELETE", "GET", "LIST", "PATCH", "POST", "PUT", "WATCH"];
/// Whether one object was asked for, those of a namespace, or all; nothing of what is no object.
pub(super) const SCOPES: [&str; 4] = ["", "cluster", "namespace", "resource"];
pub(super) const DRY_RUNS: [&str; 3] = ["", "All", "invalid"];
/// The codes that are answered; others, which only what is proxied has, are counted as the last.
pub(super) const CODES: [u16; 33] = [
    101, 200, 201, 202, 204, 206, 301, 302, 304, 307, 308, 400, 401, 403, 404, 405, 406, 408, 409, 410, 411,
    412, 413, 415, 416, 422, 429, 431, 500, 501, 502, 503, 504,
];
/// Upper ends of the buckets of durations, in milliseconds; beyond the last is one more.
pub(super) const BOUNDS_MS: [u64; 23] = [
    5, 25, 50, 100, 200, 400, 600, 800, 1000, 1250, 1500, 2000, 3000, 4000, 5000, 6000, 8000, 10000, 15000,
    20000, 30000, 45000, 60000,
];

const HEADS: usize = 256;
const OPERATIONS: usize = VERBS.len() * SCOPES.len() * DRY_RUNS.len();

/// Durations, counted by how long they were.
#[derive(Debug)]
pub(crate) struct Histogram {
    buckets: [AtomicU64; BOUNDS_MS.len() + 1],
    sum_ns: AtomicU64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { buckets: std::array::from_fn(|_| AtomicU64::new(0)), sum_ns: AtomicU64::new(0) }
    }
}

/// A duration as it is counted: its bucket, and its nanoseconds.
fn counted(duration: Duration) -> (usize, u64) {
    let ns = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
    (BOUNDS_MS.partition_point(|bound| bound * 1_000_000 < ns), ns)
}

impl Histogram {
    fn observe(&self, duration: Duration) {
        let (place, ns) = counted(duration);
        self.buckets[place].fetch_add(1, Relaxed);
        self.sum_ns.fetch_add(ns, Relaxed);
    }

    /// Counts a shorter duration in the place of another.
    fn shorten(&self, from: Duration, to: Duration) {
        let ((before, long), (after, short)) = (counted(from), counted(to));
        self.buckets[before].fetch_sub(1, Relaxed);
        self.buckets[after].fetch_add(1, Relaxed);
        self.sum_ns.fetch_sub(long - short, Relaxed);
    }
}

/// What was asked of a resource in one way.
#[derive(Debug)]
pub(crate) struct Operation {
    /// As in [`CODES`], and the others.
    pub(super) codes: [AtomicU64; CODES.len() + 1],
    durations: Histogram,
    /// What the durations without the time of webhooks differ by: to be added, and beyond zero around the end of the numbers.
    waits: Histogram,
    /// Those that run long and have not ended.
    pub(super) running: AtomicU64,
}

impl Default for Operation {
    fn default() -> Self {
        Self {
            codes: std::array::from_fn(|_| AtomicU64::new(0)),
            durations: Histogram::default(),
            waits: Histogram::default(),
            running: AtomicU64::new(0),
        }
    }
}

impl Operation {
    /// A request ended: answered with `code`, `waited` of its time for others.
    pub(super) fn count(&self, code: u16, took: Duration, waited: Duration) {
        let place = CODES.binary_search(&code).unwrap_or(CODES.len());
        self.codes[place].fetch_add(1, Relaxed);
        self.durations.observe(took);
        if !waited.is_zero() {
            self.waits.shorten(took, took.saturating_sub(waited));
        }
    }

    /// How many took so long, bucket by bucket, and how many nanoseconds all took; without the time of webhooks, if so asked.
    pub(super) fn took(&self, without_waits: bool) -> ([u64; BOUNDS_MS.len() + 1], u64) {
        let of = |all: &AtomicU64, waits: &AtomicU64| {
            let waits = if without_waits { waits.load(Relaxed) } else { 0 };
            // A request that is being counted may be here and not yet there.
            all.load(Relaxed).wrapping_add(waits).cast_signed().max(0).cast_unsigned()
        };
        let buckets = std::array::from_fn(|i| of(&self.durations.buckets[i], &self.waits.buckets[i]));
        (buckets, of(&self.durations.sum_ns, &self.waits.sum_ns))
    }
}

/// In which way something is asked: places in [`VERBS`], [`SCOPES`] and [`DRY_RUNS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Way {
    pub verb: usize,
    pub scope: usize,
    pub dry_run: usize,
}

/// What something is asked of: group, version, resource and subresource.
pub(super) type Labels<'a> = [&'a str; 4];

struct Row {
    labels: [Box<str>; 4],
    operations: [OnceLock<Arc<Operation>>; OPERATIONS],
    next: OnceLock<Box<Self>>,
}

/// All rows. One that was made stays.
pub(super) struct Table([OnceLock<Box<Row>>; HEADS]);

impl Default for Table {
    fn default() -> Self {
        Self(std::array::from_fn(|_| OnceLock::new()))
    }
}

impl Table {
    /// Where this is counted.
    pub(super) fn operation(&self, labels: Labels<'_>, way: Way) -> &Arc<Operation> {
        let mut place = &self.0[(hash(labels) % HEADS as u64) as usize];
        loop {
            let row = place.get_or_init(|| {
                Box::new(Row {
                    labels: labels.map(Box::from),
                    operations: std::array::from_fn(|_| OnceLock::new()),
                    next: OnceLock::new(),
                })
            });
            // Somebody else may have put another row here.
            if row.labels.iter().map(AsRef::as_ref).eq(labels) {
                let Way { verb, scope, dry_run } = way;
                let at = (verb * SCOPES.len() + scope) * DRY_RUNS.len() + dry_run;
                return row.operations[at].get_or_init(Arc::default);
            }
            place = &row.next;
        }
    }

    /// Every way in which something was asked, in the order of the labels.
    pub(super) fn all(&self) -> Vec<(Labels<'_>, Way, &Arc<Operation>)> {
        let mut found = Vec::new();
        for head in &self.0 {
            let mut place = head;
            while let Some(row) = place.get() {
                let labels = [0, 1, 2, 3].map(|i| row.labels[i].as_ref());
                for (at, operation) in row.operations.iter().enumerate() {
                    let Some(operation) = operation.get() else { continue };
                    let (rest, dry_run) = (at / DRY_RUNS.len(), at % DRY_RUNS.len());
                    let (verb, scope) = (rest / SCOPES.len(), rest % SCOPES.len());
                    found.push((labels, Way { verb, scope, dry_run }, operation));
                }
                place = &row.next;
            }
        }
        found.sort_by_key(|(labels, way, _)| (*labels, way.verb, way.scope, way.dry_run));
        found
    }
}

/// FNV-1a: the texts are short.
fn hash(labels: Labels<'_>) -> u64 {
    let bytes = labels.iter().flat_map(|label| label.bytes().chain([0]));
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn everything_is_counted_once_in_its_place() {
        let table = Table::default();
        let way = |verb| Way { verb, scope: 3, dry_run: 0 };
        // More rows than heads: some share one.
        let names: Vec<String> = (0..600).map(|i| format!("things{i}")).collect();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for name in &names {
                        let operation = table.operation(["g", "v1", name, ""], way(3));
                        operation.count(200, Duration::from_millis(1), Duration::ZERO);
                    }
                });
            }
        });
        table.operation(["g", "v1", "things7", "status"], way(7)).count(
            599,
            Duration::from_secs(61),
            Duration::from_secs(60),
        );
        let all = table.all();
        assert_eq!(all.len(), 601);
        assert!(all.is_sorted_by_key(|(labels, ..)| *labels));
        for (labels, way, operation) in all {
            let total: u64 = operation.codes.iter().map(|code| code.load(Relaxed)).sum();
            if labels[3] == "status" {
                assert_eq!((way.verb, total), (7, 1));
                assert_eq!(operation.codes[CODES.len()].load(Relaxed), 1);
                let (all, own) = (operation.took(false), operation.took(true));
                assert_eq!((all.0[23], all.1, own.0[23], own.0[8], own.1), (1, 61 * SECOND, 0, 1, SECOND));
            } else {
                assert_eq!((total, operation.took(true).0[0]), (4, 4), "{labels:?}");
            }
        }
    }

    #[test]
    fn a_duration_on_the_bound_is_below_it() {
        let histogram = Histogram::default();
        for ms in [5, 25, 26, 60_000, 60_001] {
            histogram.observe(Duration::from_millis(ms));
        }
        let filled: Vec<usize> =
            (0..24).filter(|place| histogram.buckets[*place].load(Relaxed) > 0).collect();
        assert_eq!(filled, [0, 1, 2, 22, 23]);
        assert!(CODES.is_sorted() && BOUNDS_MS.is_sorted());
    }
}
