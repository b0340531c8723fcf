//! `hopyard snapshot save|restore`: all objects of a store in one file, and a new store made of them. The file is the same
//! whatever the store is, so it also carries a cluster from a directory into etcd and back.
//!
//! A line is an object with its key; the first says what the file is. Objects keep everything but their resourceVersions.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use apiserver_json::{Value, json};
use apiserver_storage::{Durability, Event, Op, Publish, Storage, Write};

use crate::apiserver::{self, Store};
use crate::error::Error;
use crate::etcd::EtcdFlags;

/// Objects written at once: they share the store's syncs.
const BATCH: usize = 256;
const DEFINITIONS: &str = "/registry/apiextensions.k8s.io/customresourcedefinitions/";
const FORMAT: &str = "hopyard.dev/snapshot/v1";

/// Which store is meant.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    /// File of the snapshot
    pub file: PathBuf,
    /// Directory of the store, of which no server may run (default: ~/.hopyard)
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// How the directory keeps objects
    #[arg(long, value_enum, default_value_t)]
    pub store: Store,
    #[command(flatten)]
    pub etcd: EtcdFlags,
}

/// Nobody hears of what is written.
#[derive(Clone, Copy)]
struct Nobody;

impl Publish for Nobody {
    fn publish(&self, _: &[Arc<Event>]) {}
}

impl Options {
    async fn open(&self) -> Result<apiserver_storage::Store, Error> {
        if self.etcd.are_given() {
            return Ok(self.etcd.open(Nobody).await?.into());
        }
        let dir = apiserver::place(self.data_dir.as_deref());
        Ok(Arc::new(apiserver::open_local(self.store, Durability::Commit, &dir, Nobody)?).into())
    }
}

/// Writes all objects to the file.
pub(crate) async fn save(options: &Options) -> Result<(), Error> {
    let dir = apiserver::place(options.data_dir.as_deref());
    // What is opened is made, and a mistyped directory would be an empty store.
    if !options.etcd.are_given() && !dir.exists() {
        return Err(Error::Failed(format!("{}: there is no store", dir.display())));
    }
    let store = options.open().await?;
    let range = store.range("/registry/").await;
    store.close();
    let (revision, entries) = range.map_err(|error| Error::Failed(error.to_string()))?;
    let mut text = format!("{}\n", json!({"format": FORMAT, "revision": revision}));
    for entry in &entries {
        let object = std::str::from_utf8(&entry.value.bytes)
            .map_err(|_| Error::Failed(format!("{} is no text", entry.key)))?;
        text.push_str(&format!("{{\"key\":{},\"object\":{object}}}\n", json!(&*entry.key)));
    }
    crate::pki::write_private(&options.file, text.as_bytes())?;
    println!("saved {} objects at revision {revision}", entries.len());
    Ok(())
}

/// Fills an empty store with the objects of the file.
pub(crate) async fn restore(options: &Options) -> Result<(), Error> {
    let writes = read(&options.file)?;
    let store = options.open().await?;
    let outcome = fill(&store, &writes).await;
    store.close();
    outcome?;
    println!("restored {} objects", writes.len());
    Ok(())
}

async fn fill(store: &apiserver_storage::Store, writes: &[Write]) -> Result<(), Error> {
    let failed = |error: apiserver_storage::Error| Error::Failed(error.to_string());
    if !store.range("/registry/").await.map_err(failed)?.1.is_empty() {
        return Err(Error::Failed(
            "the store has objects: a snapshot is restored into an empty one".to_owned(),
        ));
    }
    // Definitions last: objects that are older than theirs are looked at again when they are read.
    let is_definition = |write: &&Write| write.key.starts_with(DEFINITIONS);
    let (definitions, others): (Vec<&Write>, Vec<&Write>) = writes.iter().partition(is_definition);
    for batch in others.chunks(BATCH).chain(definitions.chunks(BATCH)) {
        let commits = batch.iter().map(|write| async {
            let claims = apiserver_registry::claims_of_new(write);
            (&write.key, store.commit_claiming(vec![Write::clone(write)], &claims).await)
        });
        for (key, outcome) in futures::future::join_all(commits).await {
            outcome.map_err(|error| {
                let why =
                    format!("{key}: {error}; the store has a part of the objects now and must be emptied");
                Error::Failed(why)
            })?;
        }
    }
    Ok(())
}

/// The objects of a file, as they are created.
fn read(path: &Path) -> Result<Vec<Write>, Error> {
    let failed = |error| Error::path(path, error);
    let mut lines = BufReader::new(std::fs::File::open(path).map_err(failed)?).lines();
    let damaged = |number: usize| Error::Failed(format!("{}:{number}: this is no snapshot", path.display()));
    let head = lines.next().transpose().map_err(failed)?.unwrap_or_default();
    let head: Value = apiserver_json::from_str(&head).map_err(|_| damaged(1))?;
    if head["format"] != FORMAT {
        return Err(damaged(1));
    }
    let mut writes = Vec::new();
    for (i, line) in lines.enumerate() {
        let mut line: Value = apiserver_json::from_str(&line.map_err(failed)?).map_err(|_| damaged(i + 2))?;
        let mut object = line["object"].take();
        let metadata = object.get_mut("metadata").and_then(Value::as_object_mut);
        let (Some(key), Some(metadata)) = (line["key"].as_str(), metadata) else {
            return Err(damaged(i + 2));
        };
        metadata.remove("resourceVersion");
        let op = Op::Create(apiserver_registry::document(&object));
        writes.push(Write { key: key.into(), op });
    }
    Ok(writes)
}
