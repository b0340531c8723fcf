//! What readers and watchers are promised, over a real store.

use std::sync::Arc;

use apiserver_storage::{
    Document, Durability, Event, EventKind, Local, MemoryEngine, Op, Publish, Storage, Stored, Write,
};
use proptest::prelude::*;

use crate::{Cache, Error, limits};

const PODS: &str = "/registry/core/pods/";

fn start() -> (Local, Arc<Cache>) {
    let cache = Arc::new(Cache::default());
    let store = Local::open(MemoryEngine, Durability::Commit, cache.clone()).unwrap();
    (store, cache)
}

fn document(label: &str) -> Document {
    Document {
        bytes: format!("{{\"metadata\":{{\"labels\":{{\"v\":\"{label}\"}}}}}}").into(),
        splice: Some(13),
    }
}

async fn create(store: &Local, name: &str) -> u64 {
    let write = Write { key: format!("{PODS}default/{name}").into(), op: Op::Create(document(name)) };
    store.commit(vec![write]).await.unwrap()[0].revision
}

#[tokio::test]
async fn a_read_after_a_write_sees_it() {
    let (store, cache) = start();
    let revision = create(&store, "a").await;
    assert_eq!(cache.revision(), revision);
    assert_eq!(cache.snapshot(PODS).objects.len(), 1);
    let object = cache.get("/registry/core/pods/default/a").unwrap();
    assert_eq!(object.label("v"), Some("a"));
    assert_eq!(object.label("w"), None);
}

#[tokio::test]
async fn a_snapshot_at_an_old_revision_undoes_later_changes() {
    let (store, cache) = start();
    let first = create(&store, "a").await;
    let second = create(&store, "b").await;
    store
        .commit(vec![Write { key: format!("{PODS}default/a").into(), op: Op::Delete { expect: first } }])
        .await
        .unwrap();
    let names = |at| -> Vec<String> {
        cache
            .snapshot_at(PODS, at)
            .unwrap()
            .objects
            .keys()
            .map(|key| key.rsplit('/').next().unwrap().into())
            .collect()
    };
    assert_eq!(names(first), ["a"]);
    assert_eq!(names(second), ["a", "b"]);
    assert_eq!(names(second + 1), ["b"]);
    assert!(matches!(cache.snapshot_at(PODS, 99), Err(Error::Future { .. })));
    cache.keep_for_pages(PODS, &cache.snapshot_at(PODS, first).unwrap());
    cache.forget_states_before(second);
    assert!(matches!(cache.snapshot_at(PODS, first), Err(Error::Expired { .. })));
    assert_eq!(names(second), ["a", "b"]);
    assert_eq!(
        cache.watch(PODS, first).unwrap().now().unwrap().changes.len(),
        2,
        "what happened is told still"
    );
}

#[tokio::test]
async fn a_watcher_sees_only_its_scope_and_learns_the_revision() {
    let (store, cache) = start();
    let mut watcher = cache.watch("/registry/core/pods/other/", 0).unwrap();
    let revision = create(&store, "a").await;
    watcher.changed().await;
    let batch = watcher.now().unwrap();
    assert!(batch.changes.is_empty());
    assert_eq!(batch.revision, revision);
}

#[tokio::test]
async fn a_watcher_that_fell_behind_is_told() {
    let (store, cache) = start();
    for i in 0..3 {
        create(&store, &i.to_string()).await;
    }
    let mut slow = cache.watch(PODS, 1).unwrap();
    cache.raise_floor(2);
    assert!(matches!(slow.now(), Err(Error::Expired { asked: 1, oldest: 2 })));
    assert!(matches!(cache.watch(PODS, 0), Err(Error::Expired { .. })));
    assert_eq!(cache.watch(PODS, 2).unwrap().now().unwrap().changes.len(), 1);
}

fn event(name: &str, revision: u64) -> Arc<Event> {
    event_of(name, revision, b"{}"[..].into())
}

fn event_of(name: &str, revision: u64, bytes: bytes::Bytes) -> Arc<Event> {
    Arc::new(Event {
        key: format!("{PODS}default/{name}").into(),
        revision,
        kind: EventKind::Created,
        value: Stored::loaded(bytes, None),
        previous: None,
    })
}

#[test]
fn writers_wait_for_a_watcher_that_reads_before_it_falls_out_of_the_window() {
    let cache = Arc::new(Cache::default());
    let mut watcher = cache.watch(PODS, 0).unwrap();
    let large: bytes::Bytes = vec![b' '; limits::WINDOW_BYTES_MAX / 2_000].into();
    watcher.now().unwrap();
    let events: Vec<_> = (1..1_800).map(|revision| event_of("a", revision, large.clone())).collect();
    cache.publish(&events);
    assert!(cache.wait_for_watchers(PODS).is_zero(), "nobody waits for who reads nothing");
    watcher.now().unwrap();
    assert!(!cache.wait_for_watchers(PODS).is_zero());
    assert!(cache.wait_for_watchers("/registry/core/services/").is_zero());
    // Nor for who begins in the past, or is behind in what it does not watch.
    let cache = Arc::new(Cache::default());
    cache.watch(PODS, 0).unwrap();
    cache.publish(&events);
    let mut late = cache.watch(PODS, 0).unwrap();
    late.now().unwrap();
    let mut elsewhere = cache.watch("/registry/core/pods/other/", 1_799).unwrap();
    elsewhere.now().unwrap();
    assert!(cache.wait_for_watchers(PODS).is_zero());
}

#[test]
fn changes_of_one_revision_are_told_together() {
    let cache = Arc::new(Cache::default());
    let mut watcher = cache.watch(PODS, 0).unwrap();
    let events: Vec<_> = (0..300).map(|i| event(&i.to_string(), 2)).chain([event("last", 3)]).collect();
    cache.publish(&events);
    // Who resumes from a version it was told has seen all of it.
    let first = watcher.now().unwrap();
    assert_eq!((first.changes.len(), first.revision), (300, 2));
    assert_eq!(watcher.now().unwrap().changes.len(), 1);
}

#[test]
fn where_history_is_lost_every_watcher_is_told() {
    let cache = Arc::new(Cache::default());
    cache.publish(&[event("a", 2), event("b", 3)]);
    let mut watchers = [cache.watch(PODS, 3).unwrap(), cache.watch("/registry/core/nodes/", 3).unwrap()];
    // Everything was read again at 9; of what happened meanwhile only some is known.
    cache.restart(&[event("c", 7)], 9);
    for watcher in &mut watchers {
        assert!(matches!(watcher.now(), Err(Error::Expired { asked: 3, oldest: 9 })));
    }
    for resource in [PODS, "/registry/core/nodes/", "/registry/core/secrets/"] {
        assert!(matches!(cache.watch(resource, 8), Err(Error::Expired { .. })), "{resource}");
        assert!(matches!(cache.snapshot_at(resource, 8), Err(Error::Expired { .. })), "{resource}");
        assert!(cache.watch(resource, 9).unwrap().now().unwrap().changes.is_empty());
    }
    assert_eq!((cache.revision(), cache.snapshot(PODS).objects.len(), cache.last_change(PODS)), (9, 3, 7));
    cache.reached(12);
    assert_eq!(cache.revision(), 12);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever is written, a watcher from any revision sees each later event once, in order, and replaying them
    /// over the snapshot of that revision gives the current state.
    #[test]
    fn replay_gives_the_current_state(ops in prop::collection::vec((0u8..6, any::<bool>()), 1..60), from in 0usize..60) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let (store, cache) = start();
            for (name, remove) in &ops {
                let key: Arc<str> = format!("{PODS}default/{name}").into();
                let op = match (cache.get(&key), remove) {
                    (None, _) => Op::Create(document("x")),
                    (Some(found), true) => Op::Delete { expect: found.revision() },
                    (Some(found), false) => Op::Update { expect: found.revision(), document: document("y") },
                };
                store.commit(vec![Write { key, op }]).await.unwrap();
            }
            let from = (from as u64).min(cache.revision());
            let mut state = cache.snapshot_at(PODS, from).unwrap().objects;
            let mut last = from;
            for change in cache.watch(PODS, from).unwrap().now().unwrap().changes {
                assert_eq!(change.revision, last + 1);
                last = change.revision;
                match change.kind {
                    EventKind::Deleted => state.remove(change.object.key()),
                    _ => state.insert(change.object.key().clone(), change.object.clone()),
                };
            }
            let now = cache.snapshot(PODS).objects;
            assert_eq!(state.len(), now.len());
            for (a, b) in state.values().zip(now.values()) {
                assert_eq!((a.key(), a.revision(), a.bytes()), (b.key(), b.revision(), b.bytes()));
            }
        });
    }

    /// Whenever an index is made and whatever is written then, it finds what looking at every object finds.
    #[test]
    fn an_index_finds_what_a_search_finds(
        ops in prop::collection::vec((0u8..12, 0u8..4), 1..60), made in 0usize..60, asked in prop::collection::vec(0u8..4, 1..3)
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let (store, cache) = start();
            let values: Vec<String> = asked.iter().map(u8::to_string).collect();
            let scope = format!("{PODS}even/");
            let found = || cache.labelled_of(PODS, &scope, "v", &values, 0);
            for (i, (name, value)) in ops.iter().enumerate() {
                let namespace = if name % 2 == 0 { "even" } else { "odd" };
                let key: Arc<str> = format!("{PODS}{namespace}/{name}").into();
                let op = match (cache.get(&key), value) {
                    (None, _) => Op::Create(document(&value.to_string())),
                    (Some(found), 3) => Op::Delete { expect: found.revision() },
                    (Some(found), _) => Op::Update { expect: found.revision(), document: document(&value.to_string()) },
                };
                store.commit(vec![Write { key, op }]).await.unwrap();
                if i >= made {
                    let (snapshot, got) = found().unwrap();
                    let want: Vec<_> = snapshot
                        .scope(&scope)
                        .filter(|object| object.label("v").is_some_and(|value| values.iter().any(|asked| asked == value)))
                        .collect();
                    assert_eq!(snapshot.revision, cache.revision());
                    assert_eq!(got.iter().map(|o| (o.key(), o.revision())).collect::<Vec<_>>(),
                        want.iter().map(|o| (o.key(), o.revision())).collect::<Vec<_>>());
                }
            }
        });
    }
}

#[tokio::test]
async fn the_label_that_nobody_asks_for_loses_its_index() {
    let (store, cache) = start();
    create(&store, "a").await;
    let ask = |label: usize| cache.labelled_of(PODS, PODS, &format!("l{label}"), &[], 0).is_some();
    for label in 0..crate::limits::LABEL_INDEXES_MAX + 3 {
        assert!(ask(0) && ask(label));
    }
    let indexed = {
        let state = cache.state.read().unwrap();
        state.resources[PODS].labels.names()
    };
    assert_eq!(indexed.len(), crate::limits::LABEL_INDEXES_MAX);
    assert!(indexed.contains(&"l0".to_owned()) && !indexed.contains(&"l1".to_owned()), "{indexed:?}");
    assert!(cache.labelled(PODS, PODS, "l0", &[]).is_none(), "so few are looked at one by one");
}
