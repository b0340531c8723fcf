//! What several stores over one etcd promise each other, and what a store does that can't reach it.

#[path = "support/etcd_server.rs"]
#[expect(dead_code, reason = "other tests use the rest of it")]
mod etcd_server;
#[path = "support/etcd_store.rs"]
mod etcd_store;
#[path = "support/gate.rs"]
mod gate;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use apiserver_storage::etcd::{Etcd, EtcdError};
use apiserver_storage::{Claims, Document, Error, Event, Op, Publish, Storage, Write};
use etcd_server::{EtcdCluster, binaries_for};
use gate::Gate;

const PREFIX: &str = "/registry/example.com/t/";

/// What was published.
#[derive(Default)]
struct Sink {
    events: Mutex<Vec<Arc<Event>>>,
    /// Where everything was read again.
    restarts: Mutex<Vec<u64>>,
}

impl Publish for Sink {
    fn publish(&self, events: &[Arc<Event>]) {
        self.events.lock().expect("not poisoned").extend_from_slice(events);
    }

    fn restart(&self, events: &[Arc<Event>], revision: u64) {
        self.publish(events);
        self.restarts.lock().expect("not poisoned").push(revision);
    }
}

impl Sink {
    fn revisions(&self) -> Vec<u64> {
        self.events.lock().expect("not poisoned").iter().map(|event| event.revision).collect()
    }
}

fn document(text: &str) -> Document {
    Document { bytes: format!("{{\"metadata\":{{\"name\":\"{text}\"}}}}").into(), splice: Some(13) }
}

fn create(name: &str) -> Write {
    Write { key: format!("{PREFIX}{name}").into(), op: Op::Create(document(name)) }
}

async fn names(store: &Etcd) -> Vec<String> {
    let entries = store.range(PREFIX).await.expect("etcd answers").1;
    entries.iter().map(|entry| entry.key.trim_start_matches(PREFIX).to_owned()).collect()
}

/// Waits until the store answers again.
async fn recovered(store: &Etcd) {
    let back = async { while store.catch_up().await.is_err() {} };
    tokio::time::timeout(Duration::from_secs(60), back).await.expect("it comes back by itself");
}

#[tokio::test]
async fn a_read_sees_what_others_wrote_and_no_update_is_lost() {
    for binary in binaries_for("a_read_sees_what_others_wrote_and_no_update_is_lost") {
        let cluster = EtcdCluster::start(&binary, 1);
        let stores = [
            etcd_store::open(&cluster.servers(), Arc::<Sink>::default()).await,
            etcd_store::open(&cluster.servers(), Arc::<Sink>::default()).await,
        ];
        for i in 0..200 {
            let name = format!("at-once-{i}");
            stores[i % 2].commit(vec![create(&name)]).await.expect("commits");
            let found = stores[(i + 1) % 2].range(&format!("{PREFIX}{name}")).await.expect("reads").1;
            assert_eq!(found.len(), 1, "{name}");
        }
        stores[0].commit(vec![create("counter")]).await.expect("commits");
        let key = format!("{PREFIX}counter");
        let count = async |store: &Etcd, number: usize| {
            let mut done = 0;
            while done < number {
                let entry = store.range(&key).await.expect("reads").1.remove(0);
                let text = String::from_utf8_lossy(&entry.value.bytes).into_owned();
                let name = text.split("\"name\":\"").nth(1).expect("a name").trim_end_matches("\"}}");
                let next: usize = name.parse().unwrap_or(0) + 1;
                let op = Op::Update { expect: entry.revision, document: document(&next.to_string()) };
                match store.commit(vec![Write { key: key.as_str().into(), op }]).await {
                    Ok(_) => done += 1,
                    Err(Error::Conflict { .. }) => {}
                    Err(error) => panic!("{error}"),
                }
            }
        };
        tokio::join!(count(&stores[0], 60), count(&stores[1], 60), count(&stores[0], 60));
        for store in &stores {
            let entry = store.range(&key).await.expect("reads").1.remove(0);
            assert!(String::from_utf8_lossy(&entry.value.bytes).contains("\"name\":\"180\""));
        }
    }
}

#[tokio::test]
async fn revisions_of_other_keys_hold_no_reader_up() {
    for binary in binaries_for("revisions_of_other_keys_hold_no_reader_up") {
        let cluster = EtcdCluster::start(&binary, 1);
        let store = etcd_store::open(&cluster.servers(), Arc::<Sink>::default()).await;
        let mut options = etcd_store::options(&cluster.servers());
        options.layout = apiserver_storage::etcd::Layout::new("/elsewhere", []);
        let other = Etcd::open(options, Arc::<Sink>::default()).await.expect("opens");
        for i in 0..20 {
            other.commit(vec![create(&i.to_string())]).await.expect("commits");
            store.catch_up().await.expect("the watch says how far it is");
            assert!(store.revision() >= other.revision());
        }
        assert!(names(&store).await.is_empty());
    }
}

#[tokio::test]
async fn a_watch_that_broke_goes_on_without_a_gap() {
    for binary in binaries_for("a_watch_that_broke_goes_on_without_a_gap") {
        let cluster = EtcdCluster::start(&binary, 1);
        let gate = Gate::before(&cluster.servers()[0]).await;
        let seen = Arc::<Sink>::default();
        let store = etcd_store::open(&[gate.url()], seen.clone()).await;
        let other = etcd_store::open(&cluster.servers(), Arc::<Sink>::default()).await;
        let mut told = Vec::new();
        for round in 0..3 {
            gate.shut();
            for i in 0..10 {
                let name = format!("{round}-{i}");
                told.push(other.commit(vec![create(&name)]).await.expect("commits")[0].revision);
            }
            let refused = store.commit(vec![create("lost")]).await.expect_err("there is no way to etcd");
            assert!(matches!(refused, Error::Etcd(_)), "{refused}");
            gate.open();
            recovered(&store).await;
            assert_eq!(names(&store).await, names(&other).await);
        }
        assert_eq!(seen.revisions(), told);
        assert_eq!(seen.restarts.lock().expect("not poisoned").len(), 1, "everything was read once");
    }
}

#[tokio::test]
async fn where_history_is_gone_everything_is_read_again_and_nobody_is_told_half() {
    for binary in binaries_for("where_history_is_gone_everything_is_read_again_and_nobody_is_told_half") {
        let cluster = EtcdCluster::start(&binary, 1);
        let gate = Gate::before(&cluster.servers()[0]).await;
        let seen = Arc::<Sink>::default();
        let store = etcd_store::open(&[gate.url()], seen.clone()).await;
        let other = etcd_store::open(&cluster.servers(), Arc::<Sink>::default()).await;
        let kept = other.commit(vec![create("kept")]).await.expect("commits")[0].revision;
        let goes = other.commit(vec![create("goes")]).await.expect("commits")[0].revision;
        recovered(&store).await;
        gate.shut();
        let op = Op::Delete { expect: goes };
        other.commit(vec![Write { key: format!("{PREFIX}goes").into(), op }]).await.expect("commits");
        let last = other.commit(vec![create("new")]).await.expect("commits")[0].revision;
        other.compact(last).await.expect("compacts");
        gate.open();
        recovered(&store).await;
        assert_eq!(names(&store).await, ["kept", "new"]);
        assert_eq!(seen.restarts.lock().expect("not poisoned").last(), Some(&last));
        assert!(matches!(store.events(PREFIX, kept), Err(Error::Compacted { .. })));
        assert!(store.events(PREFIX, last).expect("what comes now").is_empty());
        let next = store.commit(vec![create("next")]).await.expect("commits")[0].revision;
        assert_eq!(store.events(PREFIX, last).expect("events")[0].revision, next);
    }
}

#[tokio::test]
async fn what_cannot_be_read_again_is_kept_as_it_was_known() {
    for binary in binaries_for("what_cannot_be_read_again_is_kept_as_it_was_known") {
        let cluster = EtcdCluster::start(&binary, 1);
        let gate = Gate::before(&cluster.servers()[0]).await;
        let seen = Arc::<Sink>::default();
        let store = etcd_store::open(&[gate.url()], seen.clone()).await;
        let other = etcd_store::open(&cluster.servers(), Arc::<Sink>::default()).await;
        let known = other.commit(vec![create("known")]).await.expect("commits")[0].revision;
        recovered(&store).await;
        gate.shut();
        let op = Op::Update { expect: known, document: Document::opaque("of another kind") };
        other.commit(vec![Write { key: format!("{PREFIX}known").into(), op }]).await.expect("commits");
        let last = other.commit(vec![create("new")]).await.expect("commits")[0].revision;
        other.compact(last).await.expect("compacts");
        gate.open();
        recovered(&store).await;
        assert_eq!(seen.restarts.lock().expect("not poisoned").last(), Some(&last));
        let found = store.range(PREFIX).await.expect("lists").1;
        let found: Vec<_> = found.iter().map(|entry| (&*entry.key, entry.revision)).collect();
        assert_eq!(found, [(&*format!("{PREFIX}known"), known), (&*format!("{PREFIX}new"), last)]);
        // One that starts has nothing to keep.
        let options = etcd_store::options(&cluster.servers());
        assert!(Etcd::open(options, Arc::<Sink>::default()).await.is_err());
    }
}

#[tokio::test]
async fn no_read_fails_where_a_member_does() {
    for binary in binaries_for("no_read_fails_where_a_member_does") {
        let mut cluster = EtcdCluster::start(&binary, 3);
        let mut servers = cluster.servers();
        // The member in use is the one that goes, with reads on their way to it.
        servers.rotate_left(cluster.leader());
        let store = Arc::new(etcd_store::open(&servers, Arc::<Sink>::default()).await);
        let going = Arc::new(AtomicBool::new(true));
        let readers: Vec<_> = (0..4)
            .map(|_| {
                let (store, going) = (store.clone(), going.clone());
                tokio::spawn(async move {
                    while going.load(Ordering::Relaxed) {
                        store.catch_up().await.expect("another member answers");
                    }
                })
            })
            .collect();
        let leader = cluster.leader();
        let cluster = tokio::task::spawn_blocking(move || {
            cluster.kill(leader);
            cluster.leader();
            cluster
        });
        let _cluster = cluster.await.expect("another member leads");
        store.catch_up().await.expect("it answers");
        going.store(false, Ordering::Relaxed);
        for reader in readers {
            reader.await.expect("no read failed");
        }
    }
}

#[tokio::test]
async fn an_etcd_that_lost_what_was_seen_is_not_believed() {
    for binary in binaries_for("an_etcd_that_lost_what_was_seen_is_not_believed") {
        let mut cluster = EtcdCluster::start(&binary, 1);
        let store = etcd_store::open(&cluster.servers(), Arc::<Sink>::default()).await;
        for i in 0..5 {
            store.commit(vec![create(&i.to_string())]).await.expect("commits");
        }
        cluster.kill(0);
        cluster.lose(0);
        cluster.restart(0);
        let told = async {
            loop {
                match store.catch_up().await {
                    Err(Error::Etcd(error)) if matches!(*error, EtcdError::WentBack { .. }) => return,
                    Err(_) => {}
                    Ok(()) => panic!("it is another state"),
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(60), told).await.expect("it is told");
    }
}

#[tokio::test]
async fn servers_compact_what_is_old_together() {
    for binary in binaries_for("servers_compact_what_is_old_together") {
        let cluster = EtcdCluster::start(&binary, 1);
        let gate = Gate::before(&cluster.servers()[0]).await;
        let seen = Arc::<Sink>::default();
        let store = etcd_store::open(&[gate.url()], seen.clone()).await;
        let interval = Duration::from_millis(100);
        let compacting = async || {
            let mut options = etcd_store::options(&cluster.servers());
            options.compaction_interval = interval;
            Etcd::open(options, Arc::<Sink>::default()).await.expect("opens")
        };
        let others = [compacting().await, compacting().await];
        let mut written = 0;
        let restarted = async {
            // Once what happened while the gate was shut is compacted, everything is read again.
            while seen.restarts.lock().expect("not poisoned").len() < 2 {
                gate.shut();
                // What is compacted is two intervals old at most, and what is written meanwhile must be older.
                let shut = Instant::now();
                while shut.elapsed() < 5 * interval {
                    others[0].commit(vec![create(&format!("{written:05}"))]).await.expect("commits");
                    written += 1;
                }
                gate.open();
                recovered(&store).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), restarted).await.expect("it is compacted");
        assert_eq!(names(&store).await.len(), written);
        assert_eq!(names(&others[1]).await.len(), written);
    }
}

#[tokio::test]
async fn a_claim_is_given_once_and_goes_with_its_transaction() {
    for binary in binaries_for("a_claim_is_given_once_and_goes_with_its_transaction") {
        let cluster = EtcdCluster::start(&binary, 1);
        let one = etcd_store::open(&cluster.servers(), Arc::<Sink>::default()).await;
        let other = etcd_store::open(&cluster.servers(), Arc::<Sink>::default()).await;
        let claim = || -> Arc<str> { "/registry/hopyard/clusterips/10.96.0.9".into() };
        let take = Claims { take: vec![claim()], free: Vec::new() };
        let made = one.commit_claiming(vec![create("a")], &take).await.expect("commits")[0].revision;
        let refused = other.commit_claiming(vec![create("b")], &take).await.expect_err("it is taken");
        assert!(matches!(&refused, Error::Taken { key } if *key == claim()), "{refused}");
        assert_eq!(names(&other).await, ["a"], "nothing of the transaction was done");
        let remove = Write { key: format!("{PREFIX}a").into(), op: Op::Delete { expect: made } };
        let free = Claims { take: Vec::new(), free: vec![claim()] };
        one.commit_claiming(vec![remove], &free).await.expect("commits");
        other.commit_claiming(vec![create("b")], &take).await.expect("it is free again");
    }
}

#[tokio::test]
async fn who_follows_goes_on_after_a_panic() {
    for binary in binaries_for("who_follows_goes_on_after_a_panic") {
        let cluster = EtcdCluster::start(&binary, 1);
        let seen = Arc::<Sink>::default();
        let store = etcd_store::open(&cluster.servers(), seen.clone()).await;
        let before = store.commit(vec![create("a")]).await.expect("commits")[0].revision;
        // It is stored, though this store stumbles over it.
        drop(store.commit(vec![create(etcd_store::BROKEN)]).await);
        recovered(&store).await;
        store.commit(vec![create("c")]).await.expect("commits");
        assert_eq!(names(&store).await, ["a", etcd_store::BROKEN, "c"]);
        let restarts = seen.restarts.lock().expect("not poisoned").clone();
        assert!(restarts.len() == 2 && restarts[1] > before, "everything was read again: {restarts:?}");
        let revisions = seen.revisions();
        assert!(revisions.is_sorted_by(|a, b| a < b), "told once and in order: {revisions:?}");
    }
}
