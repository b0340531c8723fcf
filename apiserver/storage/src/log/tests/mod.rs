//! The log on a disk that refuses, tears, loses and damages; by example and by property.

mod faulty;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use bytes::Bytes;
use proptest::prelude::*;

use self::faulty::Disk;
use super::*;
use crate::EventKind;

/// Small, so that a few writes fill one.
const SEGMENT: u64 = 4096;
const FILL: u64 = 1024;

fn fresh_dir() -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let dir = std::env::temp_dir().join(format!("hopyard-log-{}-{count}", std::process::id()));
    drop(std::fs::remove_dir_all(&dir));
    dir
}

fn open(dir: &Path, disk: &Disk) -> Result<LogEngine, EngineError> {
    let disk = disk.clone();
    let medium = Box::new(move |file| disk.medium(file));
    LogEngine::open_with(dir, Options { segment_bytes: SEGMENT, fill_bytes: FILL, medium })
}

fn record(revision: Revision, len: usize, fill: u8) -> Record {
    Record {
        revision,
        key: format!("/registry/pods/{revision}").into(),
        kind: EventKind::Created,
        supersedes: 0,
        value: Bytes::from(vec![fill; len]),
        revision_at: None,
    }
}

fn segments(dir: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|end| end == "log"));
    files.sort();
    files
}

fn revisions(loaded: &Loaded) -> Vec<Revision> {
    loaded.records.iter().map(|record| record.revision).collect()
}

/// A log of single records 1..=12, in several segments.
fn filled() -> (PathBuf, Disk) {
    let (dir, disk) = (fresh_dir(), Disk::default());
    let mut engine = open(&dir, &disk).unwrap();
    for revision in 1..=12 {
        engine.append(&[record(revision, 900, 7)], Durability::Commit).unwrap();
    }
    assert!(segments(&dir).len() > 2);
    (dir, disk)
}

#[test]
fn a_torn_tail_takes_the_last_write_at_most() {
    let (dir, disk) = filled();
    let last = segments(&dir).pop().unwrap();
    let mut whole = std::fs::read(&last).unwrap();
    // What is behind the frames was filled, and is no part of them.
    whole.truncate(whole.iter().rposition(|byte| *byte != 0).unwrap() + 1);
    for cut in [1, 100, 900] {
        std::fs::write(&last, &whole[..whole.len() - cut]).unwrap();
        let loaded = open(&dir, &disk).unwrap().load().unwrap();
        assert_eq!((revisions(&loaded), loaded.revision), ((1..=11).collect(), 11));
    }
    let mut engine = open(&dir, &disk).unwrap();
    engine.append(&[record(12, 5, 1)], Durability::Commit).unwrap();
    drop(engine);
    assert_eq!(revisions(&open(&dir, &disk).unwrap().load().unwrap()), (1..=12).collect::<Vec<_>>());
    std::fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn damage_is_told_and_nothing_is_dropped_for_it() {
    let (dir, disk) = filled();
    let files = segments(&dir);
    for file in [&files[0], files.last().unwrap()] {
        let whole = std::fs::read(file).unwrap();
        let mut damaged = whole.clone();
        damaged[100] ^= 1;
        std::fs::write(file, &damaged).unwrap();
        let told = open(&dir, &disk).err();
        assert!(matches!(&told, Some(EngineError::DamagedFile { file: at, .. }) if at == file), "{told:?}");
        assert_eq!(std::fs::read(file).unwrap(), damaged, "it is left as it was found");
        std::fs::write(file, &whole).unwrap();
    }
    std::fs::rename(&files[1], dir.join("aside")).unwrap();
    let told = open(&dir, &disk).err();
    assert!(matches!(&told, Some(EngineError::Missing { file }) if *file == files[1]), "{told:?}");
    for file in files.iter().filter(|file| **file != files[1]) {
        std::fs::remove_file(file).unwrap();
    }
    assert!(matches!(open(&dir, &disk).err(), Some(EngineError::Lost)));
    std::fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn a_segment_whose_creation_was_cut_short_is_begun_again() {
    let (dir, disk) = filled();
    let next = load::path(&dir, segments(&dir).len() as u64 + 1);
    for begun in [&b""[..], b"\xF5hop\x01"] {
        std::fs::write(&next, begun).unwrap();
        let mut engine = open(&dir, &disk).unwrap();
        assert_eq!(revisions(&engine.load().unwrap()), (1..=12).collect::<Vec<_>>());
        assert!(!next.exists());
    }
    std::fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn disk_space_is_bounded_by_what_counts() {
    let (dir, disk) = (fresh_dir(), Disk::default());
    let mut engine = open(&dir, &disk).unwrap();
    let size = |dir: &Path| segments(dir).iter().map(|file| file.metadata().unwrap().len()).sum::<u64>();
    // One record in ten stays, the others are forgotten soon.
    for revision in 1..=2000 {
        engine.append(&[record(revision, 300, 1)], Durability::Commit).unwrap();
        if revision > 5 && revision % 10 != 0 {
            engine.forget(&[revision - 5], revision - 5).unwrap();
        }
        let live = engine.index.live_bytes;
        assert!(size(&dir) <= 2 * live + 4 * SEGMENT, "{revision}: {} for {live}", size(&dir));
    }
    let kept = engine.index.live_bytes;
    drop(engine);
    let mut engine = open(&dir, &disk).unwrap();
    let loaded = engine.load().unwrap();
    assert_eq!((engine.index.live_bytes, loaded.revision, loaded.compacted), (kept, 2000, 1994));
    assert!(loaded.records.is_sorted_by_key(|record| record.revision));
    std::fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn the_highest_revision_is_remembered_where_its_record_is_gone() {
    let (dir, disk) = filled();
    let mut engine = open(&dir, &disk).unwrap();
    engine.forget(&(1..=12).collect::<Vec<_>>(), 12).unwrap();
    engine.forget(&(1..=12).collect::<Vec<_>>(), 12).unwrap();
    drop(engine);
    let loaded = open(&dir, &disk).unwrap().load().unwrap();
    assert_eq!((loaded.records.len(), loaded.revision, loaded.compacted), (0, 12, 12));
    std::fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn reclaiming_gives_the_room_of_what_was_forgotten_back() {
    let (dir, disk) = filled();
    assert_eq!(std::fs::metadata(dir.join("reserve")).unwrap().len(), SEGMENT);
    let mut engine = open(&dir, &disk).unwrap();
    engine.forget(&[2, 4, 6, 8, 10], 10).unwrap();
    let before = engine.bytes();
    assert!(engine.reclaim().unwrap());
    assert!(engine.bytes() + 900 < before, "{} after {before}", engine.bytes());
    while engine.reclaim().unwrap() {}
    drop(engine);
    let loaded = open(&dir, &disk).unwrap().load().unwrap();
    assert_eq!(revisions(&loaded), [1, 3, 5, 7, 9, 11, 12]);
    std::fs::remove_dir_all(&dir).unwrap();
}

#[derive(Clone, Debug)]
enum Step {
    /// Lengths of the values of one batch.
    Append(Vec<usize>, Durability),
    /// So many of the oldest that are there, every other one or each.
    Forget(usize, bool),
    Room(Option<u64>),
    FailSyncs(u32),
    Sync,
    Reclaim,
    Restart,
    PowerLoss(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let durability = prop_oneof![4 => Just(Durability::Commit), 1 => Just(Durability::Interval)];
    let step = prop_oneof![
        8 => (prop::collection::vec(0..1500_usize, 1..6), durability).prop_map(|(a, b)| Step::Append(a, b)),
        3 => (1..12_usize, any::<bool>()).prop_map(|(count, all)| Step::Forget(count, all)),
        1 => prop::option::of(0..9000_u64).prop_map(Step::Room),
        1 => (1..4_u32).prop_map(Step::FailSyncs),
        1 => Just(Step::Sync),
        1 => Just(Step::Reclaim),
        1 => Just(Step::Restart),
        2 => any::<u64>().prop_map(Step::PowerLoss),
    ];
    prop::collection::vec(step, 1..60)
}

/// What must be there, and what may be.
#[derive(Default)]
struct Model {
    /// Acknowledged, and durable where `true`.
    acknowledged: BTreeMap<Revision, (Record, bool)>,
    /// Forgotten, but a power loss may bring it back.
    forgotten: BTreeMap<Revision, (Record, bool)>,
    /// Refused while the disk refused to take it away, too.
    limbo: Vec<Record>,
    compacted: Revision,
    revision: Revision,
}

impl Model {
    fn check(&mut self, loaded: &Loaded, power_lost: bool) {
        let found: BTreeMap<Revision, &Record> =
            loaded.records.iter().map(|record| (record.revision, record)).collect();
        for (revision, (record, durable)) in &self.acknowledged {
            match found.get(revision) {
                Some(found) => assert_eq!(*found, record),
                None => assert!(power_lost && !durable, "{revision} was acknowledged and is lost"),
            }
        }
        for (revision, record) in &found {
            let known = self.acknowledged.get(revision).map(|(record, _)| record);
            let known =
                known.or(self.forgotten.get(revision).filter(|_| power_lost).map(|(record, _)| record));
            let limbo = self.limbo.iter().any(|refused| refused == *record);
            assert!(known == Some(*record) || limbo, "{revision} is there and should not be");
        }
        assert!(loaded.compacted <= self.compacted);
        for (revision, (_, durable)) in &self.forgotten {
            let told = found.contains_key(revision) || *revision <= loaded.compacted;
            assert!(told || power_lost && !durable, "{revision} is gone without being said so");
        }
        let durable =
            self.acknowledged.iter().filter(|(_, (_, durable))| *durable).map(|(revision, _)| *revision);
        assert!(loaded.revision >= durable.max().unwrap_or(0));
        self.acknowledged = loaded.records.iter().map(|r| (r.revision, (r.clone(), true))).collect();
        (self.compacted, self.revision) = (loaded.compacted, loaded.revision);
        self.forgotten.clear();
        self.limbo.clear();
    }

    fn all_durable(&mut self) {
        let all = self.acknowledged.values_mut().chain(self.forgotten.values_mut());
        all.for_each(|(_, durable)| *durable = true);
        self.limbo.clear();
    }
}

fn run(steps: Vec<Step>) {
    let (dir, disk) = (fresh_dir(), Disk::default());
    let mut engine = open(&dir, &disk).unwrap();
    let mut model = Model::default();
    for (i, step) in steps.into_iter().enumerate() {
        match step {
            Step::Append(lens, durability) => {
                let batch: Vec<Record> = lens
                    .iter()
                    .zip(model.revision + 1..)
                    .map(|(len, revision)| record(revision, *len, i as u8))
                    .collect();
                match engine.append(&batch, durability) {
                    Ok(()) => {
                        model.revision += batch.len() as u64;
                        model.acknowledged.extend(batch.into_iter().map(|r| (r.revision, (r, false))));
                        if durability == Durability::Commit {
                            model.all_durable();
                        }
                    }
                    Err(_) => model.limbo.extend(batch),
                }
            }
            Step::Forget(count, all) => {
                let old = model.acknowledged.keys().copied().take(count);
                let old: Vec<Revision> = old.filter(|revision| all || revision % 2 == 0).collect();
                let upto = old.last().copied().unwrap_or(0).max(model.compacted);
                // It may be refused half way: what was asked to go may be there or not.
                let done = engine.forget(&old, upto);
                model.compacted = upto;
                for revision in old {
                    if done.is_ok() || !engine.index.holds(revision) {
                        let record = model.acknowledged.remove(&revision).unwrap();
                        model.forgotten.insert(revision, record);
                    }
                }
            }
            Step::Room(bytes) => disk.room(bytes),
            Step::FailSyncs(times) => disk.fail_syncs(times),
            Step::Sync => {
                if engine.sync().is_ok() {
                    model.all_durable();
                }
            }
            Step::Reclaim => drop(engine.reclaim()),
            Step::Restart | Step::PowerLoss(_) => {
                drop(engine);
                if let Step::PowerLoss(mut seed) = step {
                    disk.lose_power(|| {
                        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                        seed >> 63 == 1
                    });
                }
                disk.restart();
                engine = open(&dir, &disk).unwrap();
                model.check(&engine.load().unwrap(), matches!(step, Step::PowerLoss(_)));
            }
        }
    }
    drop(engine);
    disk.restart();
    model.check(&open(&dir, &disk).unwrap().load().unwrap(), false);
    std::fs::remove_dir_all(&dir).unwrap();
}

proptest! {
    /// Whatever the disk refuses, and whenever the power goes: what was acknowledged is there, what was refused is
    /// not, and what is gone is said to be.
    #[test]
    fn nothing_acknowledged_is_lost_whatever_the_disk_does(steps in steps()) {
        run(steps);
    }
}
