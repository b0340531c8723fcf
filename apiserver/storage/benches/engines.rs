//! What an engine costs: CPU time of the whole process and wall time, each a record, with one sync a batch.
//!
//! `cargo bench -p apiserver-storage --bench engines`; the directory is under `TMPDIR`, so that names the disk.

#[path = "common/cpu.rs"]
mod cpu;

use std::path::Path;
use std::time::Instant;

use apiserver_storage::{
    Durability, Engine, EngineError, EventKind, LogEngine, MemoryEngine, Record, SledEngine,
};

/// A Pod with its `managedFields`.
const VALUE_BYTES: usize = 6_000;
const RECORDS: u64 = 8_192;
const BATCHES: [usize; 3] = [1, 8, 64];

type Open = fn(&Path) -> Result<Box<dyn Engine>, EngineError>;

const ENGINES: [(&str, Open); 3] = [
    ("memory", |_| Ok(Box::new(MemoryEngine))),
    ("log", |dir| Ok(Box::new(LogEngine::open(dir)?))),
    ("sled", |dir| Ok(Box::new(SledEngine::open(dir)?))),
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let per_second = cpu::ticks_per_second()?;
    println!("{RECORDS} records of {VALUE_BYTES} bytes; microseconds a record");
    println!(
        "{:<8}{:>8}{:>10}{:>10}{:>14}{:>12}",
        "engine", "batch", "CPU", "wall", "bytes on disk", "load ms"
    );
    for (name, open) in ENGINES {
        for batch in BATCHES {
            let dir =
                std::env::temp_dir().join(format!("hopyard-bench-{name}-{batch}-{}", std::process::id()));
            let mut engine = open(&dir)?;
            engine.load()?;
            let records: Vec<Record> = (1..=RECORDS).map(record).collect();
            let (ticks, began) = (cpu::ticks()?, Instant::now());
            for batch in records.chunks(batch) {
                engine.append(batch, Durability::Commit)?;
            }
            let each = |seconds: f64| seconds * 1e6 / RECORDS as f64;
            let cpu = each((cpu::ticks()? - ticks) as f64 / per_second);
            let wall = each(began.elapsed().as_secs_f64());
            drop(records);
            drop(engine);
            let began = Instant::now();
            let mut engine = open(&dir)?;
            engine.load()?;
            let load = began.elapsed().as_millis();
            drop(engine);
            let size = size(&dir);
            println!("{name:<8}{batch:>8}{cpu:>10.1}{wall:>10.1}{size:>14}{load:>12}");
            if dir.exists() {
                std::fs::remove_dir_all(&dir)?;
            }
        }
    }
    Ok(())
}

fn record(revision: u64) -> Record {
    // Not compressible by repetition: engines that compress should not look better than they are.
    let mut state = revision | 1 << 63;
    let value: Vec<u8> = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    })
    .take(VALUE_BYTES)
    .collect();
    Record {
        revision,
        key: format!("/registry/core/pods/default/web-{revision}").into(),
        kind: EventKind::Created,
        supersedes: 0,
        value: value.into(),
        revision_at: Some((120, 5)),
    }
}

fn size(dir: &Path) -> u64 {
    let files = std::fs::read_dir(dir).into_iter().flatten().flatten();
    files
        .map(|file| match file.metadata() {
            Ok(data) if data.is_dir() => size(&file.path()),
            Ok(data) => data.len(),
            Err(_) => 0,
        })
        .sum()
}
