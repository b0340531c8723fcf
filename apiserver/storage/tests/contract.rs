//! Every engine keeps the contract, and what engines promise besides.

#[path = "support/suite.rs"]
mod suite;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::ThreadId;

use apiserver_storage::{
    Durability, Engine, EngineError, Error, Event, Loaded, Local, LogEngine, MemoryEngine, Publish, Record,
    SledEngine, Storage, limits,
};

use suite::{Seen, Sink, create, delete, run_all, update};

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

fn open(engine: impl Engine) -> (Local, Seen) {
    let seen: Seen = Arc::default();
    let store = Local::open(engine, Durability::Commit, seen.clone()).expect("opens");
    (store, seen)
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
    /// On which threads something was appended.
    appends: Mutex<Vec<ThreadId>>,
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
        self.plan.appends.lock().expect("not poisoned").push(std::thread::current().id());
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
async fn who_writes_alone_does_so_where_it_is_and_many_are_handed_over() {
    let (engine, plan) = double(Box::new(MemoryEngine));
    let (store, _) = open(engine);
    const WRITES: usize = 256;
    for i in 0..WRITES {
        store.commit(vec![create(&format!("/alone-{i}"))]).await.expect("commits");
    }
    let on_this_thread = || {
        let threads = std::mem::take(&mut *plan.appends.lock().expect("not poisoned"));
        threads.into_iter().filter(|thread| *thread == std::thread::current().id()).count()
    };
    let alone = on_this_thread();
    assert!(alone > WRITES / 2, "{alone} of {WRITES}");

    let writes = (0..WRITES).map(|i| store.commit(vec![create(&format!("/together-{i}"))]));
    for outcome in futures::future::join_all(writes).await {
        outcome.expect("commits");
    }
    // The last may find itself alone.
    let together = on_this_thread();
    assert!(together <= 1, "{together} of {WRITES}");
}

#[tokio::test]
async fn a_closed_store_takes_nothing_and_lets_go_of_its_files() {
    for engine in DURABLE {
        let dir = fresh_dir();
        let (store, _) = open(engine(&dir).expect("opens"));
        store.commit(vec![create("/a")]).await.expect("commits");
        store.close();
        assert!(matches!(store.commit(vec![create("/b")]).await, Err(Error::Closed)));
        let (again, _) = open(engine(&dir).expect("nobody else uses it"));
        assert_eq!(keys(&again).await, ["/a"]);
        drop((store, again));
        std::fs::remove_dir_all(&dir).expect("is removed");
    }
}

/// Panics when it hears of `/bad`.
struct Panics;

impl Publish for Panics {
    fn publish(&self, events: &[Arc<Event>]) {
        assert!(events.iter().all(|event| &*event.key != "/bad"), "as it was asked to");
    }
}

#[tokio::test]
async fn after_a_panic_nothing_is_written_any_more() {
    // Served where it is asked for, and by the writer's thread.
    for before in [0, 3] {
        let store = Local::open(MemoryEngine, Durability::Commit, Panics).expect("opens");
        let store = Arc::new(store);
        for i in 0..before {
            store.commit(vec![create(&format!("/{i}"))]).await.expect("commits");
        }
        let bad = store.clone();
        let outcome = tokio::spawn(async move { bad.commit(vec![create("/bad")]).await }).await;
        assert!(!matches!(outcome, Ok(Ok(_))), "{outcome:?}");
        assert!(matches!(store.commit(vec![create("/next")]).await, Err(Error::Closed)));
    }
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
