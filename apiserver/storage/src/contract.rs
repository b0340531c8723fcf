//! One contract suite for every engine: what a store promises, whatever is below it.

use std::sync::{Arc, Mutex};

use crate::{
    Document, Durability, Engine, Error, Event, EventKind, Local, MemoryEngine, Op, Publish, SledEngine,
    Storage, Write,
};

#[derive(Default)]
struct Sink(Mutex<Vec<Arc<Event>>>);

impl Publish for Sink {
    fn publish(&self, events: &[Arc<Event>]) {
        self.0.lock().unwrap().extend_from_slice(events);
    }
}

type Seen = Arc<Sink>;

fn open(engine: impl Engine) -> (Local, Seen) {
    let seen: Seen = Arc::default();
    let store = Local::open(engine, Durability::Commit, seen.clone()).unwrap();
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
    assert_eq!(store.commit(vec![create("/a")]).await.unwrap()[0].revision, 1);
    assert!(matches!(store.commit(vec![create("/a")]).await, Err(Error::Exists { .. })));
    assert!(matches!(store.commit(vec![update("/a", 9)]).await, Err(Error::Conflict { found: Some(1), .. })));
    assert!(matches!(store.commit(vec![delete("/b", 1)]).await, Err(Error::Conflict { found: None, .. })));
    assert_eq!(store.commit(vec![update("/a", 1)]).await.unwrap()[0].revision, 2);
}

async fn a_transaction_is_all_or_nothing(store: &Local) {
    let before = store.revision();
    assert!(store.commit(vec![create("/t"), create("/a")]).await.is_err());
    assert!(store.range("/t").await.unwrap().1.is_empty());
    assert_eq!(store.revision(), before);
    store.commit(vec![create("/t"), create("/u")]).await.unwrap();
    assert_eq!(store.range("/t").await.unwrap().1.len(), 1);
}

async fn every_write_is_seen_once(store: &Local, seen: &Seen) {
    let before = seen.0.lock().unwrap().len();
    let start = store.revision();
    let writes = (0..50).map(|i| store.commit(vec![create(&format!("/many/{i:02}"))]));
    for outcome in futures_like_join(writes).await {
        outcome.unwrap();
    }
    let seen: Vec<Arc<Event>> = seen.0.lock().unwrap().clone();
    let revisions: Vec<u64> = seen[before..].iter().map(|event| event.revision).collect();
    assert_eq!(revisions, (start + 1..=start + 50).collect::<Vec<_>>());
    let keys: Vec<String> =
        store.range("/many/").await.unwrap().1.iter().map(|entry| entry.key.to_string()).collect();
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
    let created = store.commit(vec![create("/gone")]).await.unwrap();
    let deleted = store.commit(vec![delete("/gone", created[0].revision)]).await.unwrap();
    let events = store.events("/gone", created[0].revision).unwrap();
    assert_eq!(events.len(), 1);
    assert_eq!(events[0].kind, EventKind::Deleted);
    let text = String::from_utf8(events[0].value.bytes.to_vec()).unwrap();
    assert!(text.contains(&format!("\"resourceVersion\":\"{}\"", deleted[0].revision)), "{text}");
    assert!(store.range("/gone").await.unwrap().1.is_empty());
}

async fn compaction_forgets_events_not_state(store: &Local) {
    let revision = store.revision();
    let before = store.range("/").await.unwrap().1.len();
    store.compact(revision).await.unwrap();
    assert!(matches!(store.events("/", revision - 1), Err(Error::Compacted { .. })));
    assert!(store.events("/", revision).unwrap().is_empty());
    assert_eq!(store.range("/").await.unwrap().1.len(), before);
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
async fn sled_keeps_the_contract_and_survives_a_restart() {
    let dir = std::env::temp_dir().join(format!("hopyard-storage-{}", std::process::id()));
    drop(std::fs::remove_dir_all(&dir));
    let (store, seen) = open(SledEngine::open(&dir).unwrap());
    run_all(&store, &seen).await;
    store.commit(vec![create("/last")]).await.unwrap();
    let (revision, entries) = store.range("/").await.unwrap();
    drop(store);

    let (store, seen) = open(SledEngine::open(&dir).unwrap());
    let (again, same) = store.range("/").await.unwrap();
    assert_eq!(again, revision);
    assert_eq!(same.len(), entries.len());
    for (a, b) in same.iter().zip(&entries) {
        assert_eq!((&a.key, a.revision, &a.value.bytes), (&b.key, b.revision, &b.value.bytes));
    }
    // The event window is persisted with the data: a watch resumes where it was.
    assert_eq!(store.events("/last", revision - 1).unwrap().len(), 1);
    assert!(matches!(store.events("/", 1), Err(Error::Compacted { .. })));
    assert!(!seen.0.lock().unwrap().is_empty());
    assert_eq!(store.commit(vec![create("/next")]).await.unwrap()[0].revision, revision + 1);
    drop(store);
    std::fs::remove_dir_all(&dir).unwrap();
}

/// Refuses to append while told so.
struct Refusing {
    engine: SledEngine,
    refuse: Arc<std::sync::atomic::AtomicBool>,
}

impl Engine for Refusing {
    fn load(&mut self) -> Result<crate::Loaded, crate::EngineError> {
        self.engine.load()
    }

    fn append(
        &mut self,
        records: &[crate::Record],
        durability: Durability,
    ) -> Result<(), crate::EngineError> {
        if self.refuse.load(std::sync::atomic::Ordering::Relaxed) {
            return Err(std::io::Error::from(std::io::ErrorKind::StorageFull).into());
        }
        self.engine.append(records, durability)
    }

    fn forget(&mut self, revisions: &[u64], upto: u64) -> Result<(), crate::EngineError> {
        self.engine.forget(revisions, upto)
    }

    fn sync(&mut self) -> Result<(), crate::EngineError> {
        self.engine.sync()
    }
}

#[tokio::test]
async fn a_full_disk_refuses_writes_and_heals() {
    let dir = std::env::temp_dir().join(format!("hopyard-storage-full-{}", std::process::id()));
    drop(std::fs::remove_dir_all(&dir));
    let refuse = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let (store, seen) = open(Refusing { engine: SledEngine::open(&dir).unwrap(), refuse: refuse.clone() });
    store.commit(vec![create("/a")]).await.unwrap();
    refuse.store(true, std::sync::atomic::Ordering::Relaxed);
    let refused = store.commit(vec![create("/b"), update("/a", 1)]).await;
    assert!(matches!(refused, Err(Error::Engine(_))), "{refused:?}");
    assert_eq!((store.revision(), store.range("/").await.unwrap().1.len()), (1, 1), "reads go on as before");
    assert_eq!(seen.0.lock().unwrap().len(), 1, "nobody heard of what was refused");
    refuse.store(false, std::sync::atomic::Ordering::Relaxed);
    assert_eq!(store.commit(vec![create("/c")]).await.unwrap()[0].revision, 2);
    drop(store);
    let (store, _) = open(SledEngine::open(&dir).unwrap());
    let keys: Vec<_> = store.range("/").await.unwrap().1.iter().map(|entry| entry.key.to_string()).collect();
    assert_eq!(keys, ["/a", "/c"]);
    drop(store);
    std::fs::remove_dir_all(&dir).unwrap();
}
