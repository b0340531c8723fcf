//! A store over etcd whose values are JSON with the metadata first.

use std::time::Duration;

use apiserver_storage::etcd::{Connection, Etcd, Layout, Options, Values};
use apiserver_storage::{Document, Publish};
use bytes::Bytes;

struct MetadataFirst;

impl Values for MetadataFirst {
    fn read(&self, _: &str, value: Bytes) -> Result<Document, String> {
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
        values: Box::new(MetadataFirst),
        compaction_interval: Duration::ZERO,
    }
}

pub(crate) async fn open(servers: &[String], publish: impl Publish) -> Etcd {
    Etcd::open(options(servers), publish).await.expect("etcd is there")
}
