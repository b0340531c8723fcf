//! The contract suite: what a store promises, whatever is below it.

use std::sync::{Arc, Mutex};

use apiserver_storage::{Document, Error, Event, EventKind, Op, Publish, Storage, Write};

#[derive(Default)]
pub(crate) struct Sink(pub(crate) Mutex<Vec<Arc<Event>>>);

impl Publish for Sink {
    fn publish(&self, events: &[Arc<Event>]) {
        self.0.lock().expect("not poisoned").extend_from_slice(events);
    }
}

pub(crate) type Seen = Arc<Sink>;

pub(crate) fn document(name: &str) -> Document {
    Document { bytes: format!("{{\"metadata\":{{\"name\":\"{name}\"}}}}").into(), splice: Some(13) }
}

pub(crate) fn create(key: &str) -> Write {
    Write { key: key.into(), op: Op::Create(document(key)) }
}

pub(crate) fn update(key: &str, expect: u64) -> Write {
    Write { key: key.into(), op: Op::Update { expect, document: document(key) } }
}

pub(crate) fn delete(key: &str, expect: u64) -> Write {
    Write { key: key.into(), op: Op::Delete { expect } }
}

async fn preconditions_hold(store: &impl Storage) {
    let first = store.commit(vec![create("/registry/example.com/t/a")]).await.expect("commits")[0].revision;
    assert!(matches!(
        store.commit(vec![create("/registry/example.com/t/a")]).await,
        Err(Error::Exists { .. })
    ));
    let refused = store.commit(vec![update("/registry/example.com/t/a", first + 8)]).await;
    assert!(matches!(refused, Err(Error::Conflict { found: Some(found), .. }) if found == first));
    let refused = store.commit(vec![delete("/registry/example.com/t/b", first)]).await;
    assert!(matches!(refused, Err(Error::Conflict { found: None, .. })));
    assert_eq!(
        store.commit(vec![update("/registry/example.com/t/a", first)]).await.expect("commits")[0].revision,
        first + 1
    );
}

async fn a_transaction_is_all_or_nothing(store: &impl Storage) {
    let before = store.revision();
    assert!(
        store
            .commit(vec![create("/registry/example.com/t/t"), create("/registry/example.com/t/a")])
            .await
            .is_err()
    );
    assert!(store.range("/registry/example.com/t/t").await.expect("lists").1.is_empty());
    assert_eq!(store.revision(), before);
    store
        .commit(vec![create("/registry/example.com/t/t"), create("/registry/example.com/t/u")])
        .await
        .expect("commits");
    assert_eq!(store.range("/registry/example.com/t/t").await.expect("lists").1.len(), 1);
}

async fn every_write_is_seen_once(store: &impl Storage, seen: &Seen) {
    let before = seen.0.lock().expect("not poisoned").len();
    let start = store.revision();
    let writes = (0..50).map(|i| store.commit(vec![create(&format!("/registry/example.com/t/many/{i:02}"))]));
    for outcome in futures_like_join(writes).await {
        outcome.expect("commits");
    }
    let seen: Vec<Arc<Event>> = seen.0.lock().expect("not poisoned").clone();
    let revisions: Vec<u64> = seen[before..].iter().map(|event| event.revision).collect();
    assert_eq!(revisions, (start + 1..=start + 50).collect::<Vec<_>>());
    let keys: Vec<String> = store
        .range("/registry/example.com/t/many/")
        .await
        .expect("lists")
        .1
        .iter()
        .map(|entry| entry.key.to_string())
        .collect();
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

async fn a_deletion_carries_the_last_value(store: &impl Storage) {
    let created = store.commit(vec![create("/registry/example.com/t/gone")]).await.expect("commits");
    let deleted = store
        .commit(vec![delete("/registry/example.com/t/gone", created[0].revision)])
        .await
        .expect("commits");
    assert_eq!(created[0].revision + 1, deleted[0].revision);
    let events = store.events("/registry/example.com/t/gone", created[0].revision).expect("events");
    assert_eq!(events.len(), 1);
    assert_eq!(events[0].kind, EventKind::Deleted);
    let text = String::from_utf8(events[0].value.bytes.to_vec()).expect("is text");
    assert!(text.contains(&format!("\"resourceVersion\":\"{}\"", deleted[0].revision)), "{text}");
    assert!(store.range("/registry/example.com/t/gone").await.expect("lists").1.is_empty());
}

async fn compaction_forgets_events_not_state(store: &impl Storage) {
    let revision = store.revision();
    let before = store.range("/registry/example.com/t/").await.expect("lists").1.len();
    store.compact(revision).await.expect("compacts");
    assert!(matches!(store.events("/registry/example.com/t/", revision - 1), Err(Error::Compacted { .. })));
    assert!(store.events("/registry/example.com/t/", revision).expect("events").is_empty());
    assert_eq!(store.range("/registry/example.com/t/").await.expect("lists").1.len(), before);
}

pub(crate) async fn run_all(store: &impl Storage, seen: &Seen) {
    preconditions_hold(store).await;
    a_transaction_is_all_or_nothing(store).await;
    every_write_is_seen_once(store, seen).await;
    a_deletion_carries_the_last_value(store).await;
    compaction_forgets_events_not_state(store).await;
}
