//! One contract suite for every engine: what a store promises, whatever is below it.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use apiserver_storage::{
    Document, Durability, Engine, EngineError, Error, Event, EventKind, Loaded, Local, LogEngine,
    MemoryEngine, Op, Publish, Record, SledEngine, Storage, Write, limits,
};

type Open = fn(&Path) -> Result<Box<dyn Engine>, EngineError>;

/// Every engine that keeps something.
const DURABLE: [Open; 2] = [
    |dir| LogEngine::open(dir).map(|engine| Box::new(engine) as Box<dyn Engine>),
    |dir| SledEngine::open(dir).map(|engine| Box::new(engine) as Box<dyn Engine>),
];

fn fresh_dir() -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let dir = std::env::temp_dir().join(format!("hopyard-storage-{}-{count}", std::process::id()));
    drop(std::fs::remove_dir_all(&dir));
    dir
}

#[derive(Default)]
struct Sink(Mutex<Vec<Arc<Event>>>);

impl Publish for Sink {
    fn publish(&self, events: &[Arc<Event>]) {
        self.0.lock().expect("not poisoned").extend_from_slice(events);
    }
}

type Seen = Arc<Sink>;

fn open(engine: impl Engine) -> (Local, Seen) {
    let seen: Seen = Arc::default();
    let store = Local::open(engine, Durability::Commit, seen.clone()).expect("opens");
    (store, seen)
}

fn document(name: &str) -> Document {
    Document { bytes: format!("{{\"metadata\":{{\"name\":\"{name}\"}}}}").into(), splice: Some(13) }
}

fn create(key: &str) -> Write {
    Write { key: key.into(), op: Op::Create(document(key)) }
}

fn update(key: &str, expect: u64) -> Write {
    Write { key: key.into(), op: Op::Update { expect, document: document(key) } }
}

fn delete(key: &str, expect: u64) -> Write {
    Write { key: key.into(), op: Op::Delete { expect } }
}

async fn preconditions_hold(store: &Local) {
    assert_eq!(store.commit(vec![create("/a")]).await.expect("commits")[0].revision, 1);
    assert!(matches!(store.commit(vec![create("/a")]).await, Err(Error::Exists { .. })));
    assert!(matches!(store.commit(vec![update("/a", 9)]).await, Err(Error::Conflict { found: Some(1), .. })));
    assert!(matches!(store.commit(vec![delete("/b", 1)]).await, Err(Error::Conflict { found: None, .. })));
    assert_eq!(store.commit(vec![update("/a", 1)]).await.expect("commits")[0].revision, 2);
}

async fn a_transaction_is_all_or_nothing(store: &Local) {
    let before = store.revision();
    assert!(store.commit(vec![create("/t"), create("/a")]).await.is_err());
    assert!(store.range("/t").await.expect("lists").1.is_empty());
    assert_eq!(store.revision(), before);
    store.commit(vec![create("/t"), create("/u")]).await.expect("commits");
    assert_eq!(store.range("/t").await.expect("lists").1.len(), 1);
}

async fn every_write_is_seen_once(store: &Local, seen: &Seen) {
    let before = seen.0.lock().expect("not poisoned").len();
    let start = store.revision();
    let writes = (0..50).map(|i| store.commit(vec![create(&format!("/many/{i:02}"))]));
    for outcome in futures_like_join(writes).await {
        outcome.expect("commits");
    }
    let seen: Vec<Arc<Event>> = seen.0.lock().expect("not poisoned").clone();
    let revisions: Vec<u64> = seen[before..].iter().map(|event| event.revision).collect();
    assert_eq!(revisions, (start + 1..=start + 50).collect::<Vec<_>>());
    let keys: Vec<String> =
        store.range("/many/").await.expect("lists").1.iter().map(|entry| entry.key.to_string()).collect();
    assert_eq!(keys.len(), 50);
    assert!(keys.is_sorted());
}

async fn futures_like_join<F: Future>(futures: impl Iterator<Item = F>) -> Vec<F::Output> {
    let mut pending: Vec<_> = futures.map(Box::pin).collect();
    let mut done = Vec::new();
    std::future::poll_fn(|context| {
        pending.retain_mut(|future| match future.as_mut().poll(context) {
            std::task::Poll::Ready(output) => {
                done.push(output);
                false
            }
            std::task::Poll::Pending => true,
        });
        if pending.is_empty() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
    done
}

async fn a_deletion_carries_the_last_value(store: &Local) {
    let created = store.commit(vec![create("/gone")]).await.expect("commits");
    let deleted = store.commit(vec![delete("/gone", created[0].revision)]).await.expect("commits");
    let events = store.events("/gone", created[0].revision).expect("events");
    assert_eq!(events.len(), 1);
    assert_eq!(events[0].kind, EventKind::Deleted);
    let text = String::from_utf8(events[0].value.bytes.to_vec()).expect("is text");
    assert!(text.contains(&format!("\"resourceVersion\":\"{}\"", deleted[0].revision)), "{text}");
    assert!(store.range("/gone").await.expect("lists").1.is_empty());
}

async fn compaction_forgets_events_not_state(store: &Local) {
    let revision = store.revision();
    let before = store.range("/").await.expect("lists").1.len();
    store.compact(revision).await.expect("compacts");
    assert!(matches!(store.events("/", revision - 1), Err(Error::Compacted { .. })));
    assert!(store.events("/", revision).expect("events").is_empty());
    assert_eq!(store.range("/").await.expect("lists").1.len(), before);
}

async fn run_all(store: &Local, seen: &Seen) {
    preconditions_hold(store).await;
    a_transaction_is_all_or_nothing(store).await;
    every_write_is_seen_once(store, seen).await;
    a_deletion_carries_the_last_value(store).await;
    compaction_forgets_events_not_state(store).await;
}

#[tokio::test]
async fn memory_keeps_the_contract() {
    let (store, seen) = open(MemoryEngine);
    run_all(&store, &seen).await;
}

#[tokio::test]
async fn durable_engines_keep_the_contract_and_survive_a_restart() {
    for engine in DURABLE {
        let dir = fresh_dir();
        let (store, seen) = open(engine(&dir).expect("opens"));
        run_all(&store, &seen).await;
        let last = store.commit(vec![create("/last")]).await.expect("commits")[0].revision;
        store.commit(vec![create("/goes")]).await.expect("commits");
        store.commit(vec![delete("/goes", last + 1)]).await.expect("commits");
        let (revision, entries) = store.range("/").await.expect("lists");
        let events = store.events("/", last - 1).expect("events");
        drop(store);

        let (store, seen) = open(engine(&dir).expect("opens"));
        let (again, same) = store.range("/").await.expect("lists");
        assert_eq!(again, revision);
        assert_eq!(same.len(), entries.len());
        for (a, b) in same.iter().zip(&entries) {
            assert_eq!((&a.key, a.revision, &a.value.bytes), (&b.key, b.revision, &b.value.bytes));
        }
        // The event window is persisted with the data: a watch resumes where it was.
        let resumed = store.events("/", last - 1).expect("events");
        assert_eq!((resumed.len(), events.len()), (3, 3));
        for (a, b) in resumed.iter().zip(&events) {
            assert_eq!((&a.key, a.kind, &a.value.bytes), (&b.key, b.kind, &b.value.bytes));
        }
        assert!(matches!(store.events("/", 1), Err(Error::Compacted { .. })));
        assert!(!seen.0.lock().expect("not poisoned").is_empty());
        assert_eq!(store.commit(vec![create("/next")]).await.expect("commits")[0].revision, revision + 1);
        drop(store);
        std::fs::remove_dir_all(&dir).expect("is removed");
    }
}

/// What a double engine does besides what its engine does.
#[derive(Default)]
struct Plan {
    /// Has no room.
    full: AtomicBool,
    /// Has room again once something was forgotten.
    room_by_forgetting: AtomicBool,
    /// How often it forgets before it refuses to.
    forgets: AtomicU32,
    syncs: AtomicU32,
    failing_syncs: AtomicU32,
}

struct Double {
    engine: Box<dyn Engine>,
    plan: Arc<Plan>,
}

fn full() -> EngineError {
    std::io::Error::from(std::io::ErrorKind::StorageFull).into()
}

impl Engine for Double {
    fn load(&mut self) -> Result<Loaded, EngineError> {
        self.engine.load()
    }

    fn append(&mut self, records: &[Record], durability: Durability) -> Result<(), EngineError> {
        if self.plan.full.load(Ordering::Relaxed) {
            return Err(full());
        }
        self.engine.append(records, durability)
    }

    fn forget(&mut self, revisions: &[u64], upto: u64) -> Result<(), EngineError> {
        if self.plan.forgets.fetch_sub(1, Ordering::Relaxed) == 0 {
            self.plan.forgets.store(0, Ordering::Relaxed);
            return Err(full());
        }
        if self.plan.room_by_forgetting.load(Ordering::Relaxed) {
            self.plan.full.store(false, Ordering::Relaxed);
        }
        self.engine.forget(revisions, upto)
    }

    fn sync(&mut self) -> Result<(), EngineError> {
        self.plan.syncs.fetch_add(1, Ordering::Relaxed);
        if self
            .plan
            .failing_syncs
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1))
            .is_ok()
        {
            return Err(std::io::Error::other("the disk failed to sync").into());
        }
        self.engine.sync()
    }
}

fn double(engine: Box<dyn Engine>) -> (Double, Arc<Plan>) {
    let plan = Arc::new(Plan { forgets: u32::MAX.into(), ..Plan::default() });
    (Double { engine, plan: plan.clone() }, plan)
}

async fn keys(store: &Local) -> Vec<String> {
    store.range("/").await.expect("lists").1.iter().map(|entry| entry.key.to_string()).collect()
}

#[tokio::test]
async fn a_full_disk_refuses_writes_and_heals() {
    for engine in DURABLE {
        let dir = fresh_dir();
        let (engine_on_it, plan) = double(engine(&dir).expect("opens"));
        let (store, seen) = open(engine_on_it);
        store.commit(vec![create("/a")]).await.expect("commits");
        plan.full.store(true, Ordering::Relaxed);
        let refused = store.commit(vec![create("/b"), update("/a", 1)]).await.unwrap_err();
        assert!(refused.to_string().ends_with("could not be used: no storage space"), "{refused}");
        assert_eq!((store.revision(), keys(&store).await.len()), (1, 1), "reads go on as before");
        assert_eq!(seen.0.lock().expect("not poisoned").len(), 1, "nobody heard of what was refused");
        plan.full.store(false, Ordering::Relaxed);
        assert_eq!(store.commit(vec![create("/c")]).await.expect("commits")[0].revision, 2);
        drop(store);
        let (store, _) = open(engine(&dir).expect("opens"));
        assert_eq!(keys(&store).await, ["/a", "/c"]);
        drop(store);
        std::fs::remove_dir_all(&dir).expect("is removed");
    }
}

#[tokio::test]
async fn where_there_is_no_room_history_is_forgotten_before_a_write_is_refused() {
    for engine in DURABLE {
        let dir = fresh_dir();
        let (engine_on_it, plan) = double(engine(&dir).expect("opens"));
        let (store, _) = open(engine_on_it);
        store.commit(vec![create("/a"), create("/b")]).await.expect("commits");
        store.commit(vec![delete("/a", 1)]).await.expect("commits");
        plan.full.store(true, Ordering::Relaxed);
        plan.room_by_forgetting.store(true, Ordering::Relaxed);
        assert_eq!(store.commit(vec![create("/c")]).await.expect("commits")[0].revision, 4);
        drop(store);
        let (store, _) = open(engine(&dir).expect("opens"));
        assert_eq!((keys(&store).await, store.floor()), (vec!["/b".to_owned(), "/c".to_owned()], 3));
        drop(store);
        std::fs::remove_dir_all(&dir).expect("is removed");
    }
}

#[tokio::test]
async fn what_was_deleted_does_not_come_back_where_forgetting_was_cut_short() {
    for engine in DURABLE {
        let dir = fresh_dir();
        let (engine_on_it, plan) = double(engine(&dir).expect("opens"));
        let (store, _) = open(engine_on_it);
        let mut revision = store.commit(vec![create("/a"), create("/b")]).await.expect("commits")[0].revision;
        // One step and a half of history, with the deletion at its end.
        for _ in 0..limits::COMPACT_STEP * 3 / 2 {
            revision = store.commit(vec![update("/a", revision)]).await.expect("commits")[0].revision;
        }
        store.commit(vec![delete("/a", revision)]).await.expect("commits");
        plan.forgets.store(1, Ordering::Relaxed);
        assert!(store.compact(store.revision()).await.is_err());
        drop(store);
        let (store, _) = open(engine(&dir).expect("opens"));
        assert_eq!(keys(&store).await, ["/b"]);
        drop(store);
        std::fs::remove_dir_all(&dir).expect("is removed");
    }
}

#[test]
fn with_interval_durability_a_write_is_synced_soon_and_a_failed_sync_tried_again() {
    for engine in DURABLE {
        let dir = fresh_dir();
        let (engine_on_it, plan) = double(engine(&dir).expect("opens"));
        plan.failing_syncs.store(1, Ordering::Relaxed);
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let store =
            Local::open(engine_on_it, Durability::Interval, Arc::new(Sink::default())).expect("opens");
        runtime.block_on(store.commit(vec![create("/a")])).expect("commits");
        // Nobody writes any more.
        while plan.syncs.load(Ordering::Relaxed) < 2 {
            std::thread::yield_now();
        }
        drop(store);
        std::fs::remove_dir_all(&dir).expect("is removed");
    }
}
