//! `kill -9` at random moments under concurrent writers: no acknowledged write is lost, none is half applied, no
//! revision is used twice, and the event window has no gap.
//!
//! `HOPYARD_CRASH_CYCLES=1000 cargo test --release -p apiserver-storage --test crash` is the long run, of every engine;
//! `HOPYARD_CRASH_ENGINE=log` picks one.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use apiserver_storage::{
    Document, Durability, Engine, Event, EventKind, Local, LogEngine, Op, Publish, SledEngine, Storage, Write,
};

const DIR: &str = "HOPYARD_CRASH_DIR";
const CYCLES: &str = "HOPYARD_CRASH_CYCLES";
const ENGINE: &str = "HOPYARD_CRASH_ENGINE";
const ENGINES: [&str; 2] = ["log", "sled"];
const CYCLES_IN_CI: u32 = 12;
const WRITERS: usize = 8;
/// Bytes of padding: a batch spans several pages of any engine.
const PADDING: usize = 3000;

struct Nobody;

impl Publish for Nobody {
    fn publish(&self, _: &[Arc<Event>]) {}
}

fn open(engine: &str, dir: &Path) -> Local {
    let opened = match engine {
        "log" => LogEngine::open(dir).map(|engine| Box::new(engine) as Box<dyn Engine>),
        "sled" => SledEngine::open(dir).map(|engine| Box::new(engine) as Box<dyn Engine>),
        other => panic!("there is no engine {other}"),
    };
    let opened = opened.expect("the engine opens after a crash");
    Local::open(opened, Durability::Commit, Nobody).expect("the store opens after a crash")
}

fn document(count: u64) -> Document {
    let text = format!("{{\"metadata\":{{}},\"count\":{count},\"padding\":\"{}\"}}", "x".repeat(PADDING));
    Document { bytes: text.into(), splice: Some(13) }
}

fn count_of(bytes: &[u8]) -> u64 {
    let text = std::str::from_utf8(bytes).expect("values are whole");
    assert!(text.ends_with("x\"}") && text.len() > PADDING, "a torn value: {text:.60}");
    let (_, rest) = text.split_once("\"count\":").expect("values are whole");
    rest.split(',').next().and_then(|digits| digits.parse().ok()).expect("values are whole")
}

/// This program is both the test and, with `DIR` set, the process that the test kills.
fn main() {
    let engine = std::env::var(ENGINE).ok();
    match std::env::var_os(DIR) {
        Some(dir) => write_until_killed(&engine.expect("the engine is named"), Path::new(&dir)),
        None => ENGINES
            .iter()
            .filter(|name| engine.as_deref().is_none_or(|engine| engine == **name))
            .for_each(|name| nothing_acknowledged_is_lost_when_the_process_is_killed(name)),
    }
}

/// Says each acknowledged write in a line `ack <writer> <revision> <count>`.
fn write_until_killed(engine: &str, dir: &Path) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().expect("a runtime");
    let store = Arc::new(open(engine, dir));
    runtime.block_on(async {
        let mut writers = Vec::new();
        for writer in 0..WRITERS {
            writers.push(tokio::spawn(write_forever(store.clone(), writer)));
        }
        for writer in writers {
            writer.await.expect("a writer goes on until it is killed");
        }
    });
}

/// Every writer owns a pair of keys that change together, and one that comes and goes.
async fn write_forever(store: Arc<Local>, writer: usize) {
    let key = |part: &str| -> Arc<str> { format!("/crash/{writer}/{part}").into() };
    let (a, b, guest) = (key("a"), key("b"), key("guest"));
    let (_, found) = store.range(&format!("/crash/{writer}/")).await.expect("memory answers");
    let at = |key: &Arc<str>| found.iter().find(|entry| entry.key == *key);
    let mut count = at(&a).map_or(0, |entry| count_of(&entry.value.bytes));
    let mut pair = at(&a).zip(at(&b)).map(|(a, b)| (a.revision, b.revision));
    let mut guest_at = at(&guest).map(|entry| entry.revision);
    loop {
        count += 1;
        let op = |expect: Option<u64>| match expect {
            Some(expect) => Op::Update { expect, document: document(count) },
            None => Op::Create(document(count)),
        };
        let writes = vec![
            Write { key: a.clone(), op: op(pair.map(|(a, _)| a)) },
            Write { key: b.clone(), op: op(pair.map(|(_, b)| b)) },
        ];
        let done = store.commit(writes).await.expect("nobody else writes these keys");
        say(writer, done[1].revision, count);
        pair = Some((done[0].revision, done[1].revision));
        let op = match guest_at {
            Some(expect) => Op::Delete { expect },
            None => Op::Create(document(count)),
        };
        let leaves = guest_at.is_some();
        let done = store.commit(vec![Write { key: guest.clone(), op }]).await.expect("nobody else writes it");
        guest_at = (!leaves).then_some(done[0].revision);
    }
}

fn say(writer: usize, revision: u64, count: u64) {
    let line = format!("ack {writer} {revision} {count}\n");
    std::io::stdout().lock().write_all(line.as_bytes()).expect("the parent listens");
}

fn nothing_acknowledged_is_lost_when_the_process_is_killed(engine: &str) {
    let cycles = std::env::var(CYCLES).ok().and_then(|text| text.parse().ok()).unwrap_or(CYCLES_IN_CI);
    let dir = std::env::temp_dir().join(format!("hopyard-crash-{engine}-{}", std::process::id()));
    drop(std::fs::remove_dir_all(&dir));
    let mut random = 0x9E37_79B9_7F4A_7C15_u64 ^ u64::from(std::process::id());
    let mut last_revision = 0;
    for cycle in 0..cycles {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let acknowledged = run_and_kill(engine, &dir, random >> 32 & 0x1FF);
        last_revision = check(engine, &dir, &acknowledged, last_revision);
        if cycle % 50 == 49 {
            println!("{engine}: {} cycles, revision {last_revision}", cycle + 1);
        }
    }
    std::fs::remove_dir_all(&dir).expect("the directory was ours");
    println!("{engine}: {cycles} kills, revision {last_revision}: nothing acknowledged was lost");
}

/// Starts the writers, kills them after their first and `more` further acknowledgements; gives the last acknowledged
/// revision and count of each.
fn run_and_kill(engine: &str, dir: &Path, more: u64) -> HashMap<usize, (u64, u64)> {
    let mut child = Command::new(std::env::current_exe().expect("this test has a path"))
        .env(DIR, dir)
        .env(ENGINE, engine)
        .stdout(Stdio::piped())
        .spawn()
        .expect("the writers start");
    let mut lines = BufReader::new(child.stdout.take().expect("it is piped"));
    let mut line = String::new();
    let mut heard = 0;
    let mut last = HashMap::new();
    while lines.read_line(&mut line).is_ok_and(|length| length > 0) {
        let numbers: Vec<u64> = line.split(' ').skip(1).filter_map(|text| text.trim().parse().ok()).collect();
        // A line that the kill cut off was not heard: it does not count.
        if let [writer, revision, count] = numbers[..]
            && line.ends_with('\n')
        {
            last.insert(writer as usize, (revision, count));
            heard += 1;
            // What the writers do meanwhile depends on the moment; what the pipe still holds counts, too.
            if heard == more + 1 {
                child.kill().expect("it runs until it is killed");
            }
        }
        line.clear();
    }
    child.wait().expect("it was ours");
    assert!(heard > more, "the writers ended after {heard} acknowledgements");
    last
}

/// Opens what the crash left; gives its revision.
fn check(engine: &str, dir: &Path, acknowledged: &HashMap<usize, (u64, u64)>, last_revision: u64) -> u64 {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let store = open(engine, dir);
    runtime.block_on(async {
        let revision = store.revision();
        assert!(revision >= last_revision, "revisions {revision}..={last_revision} would be used twice");
        for writer in 0..WRITERS {
            let (_, found) = store.range(&format!("/crash/{writer}/")).await.expect("memory answers");
            let pair: Vec<_> = found.iter().filter(|entry| !entry.key.ends_with("guest")).collect();
            let counts: Vec<u64> = pair.iter().map(|entry| count_of(&entry.value.bytes)).collect();
            assert!(counts.is_empty() || counts.len() == 2, "half a transaction: {counts:?}");
            assert!(counts.windows(2).all(|two| two[0] == two[1]), "half a transaction: {counts:?}");
            let Some((at, count)) = acknowledged.get(&writer) else { continue };
            let kept = counts.first().copied().unwrap_or(0);
            // One more may have reached the disk without its answer reaching us.
            assert!((*count..=count + 1).contains(&kept), "{writer}: acknowledged {count}, kept {kept}");
            assert!(revision >= *at, "revision {at} was acknowledged, {revision} is kept");
            if kept == *count {
                assert_eq!(pair[1].revision, *at, "an acknowledged revision moved");
            }
        }
        gapless(&store, revision);
        // The deletion of a record and the next revision do not meet.
        let probe: Arc<str> = "/probe".into();
        let op = match store.range("/probe").await.expect("memory answers").1.first() {
            Some(entry) => Op::Update { expect: entry.revision, document: document(0) },
            None => Op::Create(document(0)),
        };
        let done = store.commit(vec![Write { key: probe, op }]).await.expect("the store writes again");
        assert_eq!(done[0].revision, revision + 1);
        revision + 1
    })
}

fn gapless(store: &Local, revision: u64) {
    let events = store.events("/", store.floor()).expect("the window begins at its floor");
    let mut expected = store.floor();
    let mut kinds = [0; 3];
    for event in &events {
        expected += 1;
        assert_eq!(event.revision, expected, "the window has a gap");
        kinds[match event.kind {
            EventKind::Created => 0,
            EventKind::Updated => 1,
            EventKind::Deleted => 2,
        }] += 1;
    }
    assert_eq!(expected, revision, "the window ends before the store does: {kinds:?}");
}
