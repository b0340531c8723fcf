//! What a write through the store takes when so many write at a time, each waiting for its answer: with a sync a batch,
//! where batches are as large as the writers make them.
//!
//! `cargo bench -p apiserver-storage --bench writers`; the directory is under `TMPDIR`, so that names the disk.

#[path = "common/cpu.rs"]
mod cpu;

use std::sync::Arc;
use std::time::{Duration, Instant};

use apiserver_storage::{Document, Durability, Event, Local, LogEngine, Op, Publish, Storage, Write};

/// A Pod with its `managedFields`.
const VALUE_BYTES: usize = 6_000;
const WRITES: usize = 8_192;
const WRITERS: [usize; 4] = [1, 4, 16, 64];

struct Nobody;

impl Publish for Nobody {
    fn publish(&self, _: &[Arc<Event>]) {}
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let per_second = cpu::ticks_per_second()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build()?;
    println!("{WRITES} writes of {VALUE_BYTES} bytes");
    println!("{:<8}{:>12}{:>10}{:>10}{:>16}", "writers", "writes/s", "p50 us", "p99 us", "CPU us/write");
    for writers in WRITERS {
        let dir =
            std::env::temp_dir().join(format!("hopyard-bench-writers-{writers}-{}", std::process::id()));
        let store = Arc::new(Local::open(LogEngine::open(&dir)?, Durability::Commit, Nobody)?);
        let (ticks, began) = (cpu::ticks()?, Instant::now());
        let mut tasks = Vec::new();
        for writer in 0..writers {
            tasks.push(runtime.spawn(write(store.clone(), writer, WRITES / writers)));
        }
        let mut took = Vec::new();
        for task in tasks {
            took.extend(runtime.block_on(task)??);
        }
        let seconds = began.elapsed().as_secs_f64();
        let cpu = (cpu::ticks()? - ticks) as f64 / per_second / took.len() as f64 * 1e6;
        took.sort_unstable();
        let quantile = |part: usize| took[(took.len() - 1) * part / 100].as_micros();
        let rate = took.len() as f64 / seconds;
        println!("{writers:<8}{rate:>12.0}{:>10}{:>10}{cpu:>16.1}", quantile(50), quantile(99));
        store.close();
        std::fs::remove_dir_all(&dir)?;
    }
    Ok(())
}

/// How long each of so many creations took.
async fn write(
    store: Arc<Local>,
    writer: usize,
    count: usize,
) -> Result<Vec<Duration>, apiserver_storage::Error> {
    let mut took = Vec::with_capacity(count);
    for i in 0..count {
        let document = Document::opaque(vec![b'x'; VALUE_BYTES]);
        let key = format!("/registry/core/pods/default/web-{writer}-{i}").into();
        let began = Instant::now();
        // As the server says of each request.
        let _under_way = store.under_way();
        store.commit(vec![Write { key, op: Op::Create(document) }]).await?;
        took.push(began.elapsed());
    }
    Ok(took)
}
