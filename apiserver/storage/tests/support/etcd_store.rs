//! A store over etcd whose values are JSON with the metadata first.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use apiserver_storage::etcd::{Connection, Etcd, Layout, Options, Values};
use apiserver_storage::{Document, Publish};
use bytes::Bytes;

/// Text in a value that cannot even be tried to be read, once.
pub(crate) const BROKEN: &str = "broken";

#[derive(Default)]
struct MetadataFirst {
    has_panicked: AtomicBool,
}

impl Values for MetadataFirst {
    fn read(&self, _: &str, value: Bytes) -> Result<Document, String> {
        let is_broken = value.windows(BROKEN.len()).any(|part| part == BROKEN.as_bytes());
        assert!(!is_broken || self.has_panicked.swap(true, Ordering::Relaxed), "as it was asked to");
        if !value.starts_with(b"{\"metadata\":{") {
            return Err("it is no such JSON".into());
        }
        Ok(Document { bytes: value, splice: Some(13) })
    }
}

pub(crate) fn options(servers: &[String]) -> Options {
    Options {
        connection: Connection { servers: servers.to_vec(), ..Connection::default() },
        layout: Layout::new("/registry", []),
        values: Box::<MetadataFirst>::default(),
        compaction_interval: Duration::ZERO,
    }
}

pub(crate) async fn open(servers: &[String], publish: impl Publish) -> Etcd {
    Etcd::open(options(servers), publish).await.expect("etcd is there")
}
