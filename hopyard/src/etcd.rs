//! `--etcd-servers` and what belongs to it, named as kube-apiserver's flags: the store is etcd, which other API servers may
//! share.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use apiserver_storage::Publish;
use apiserver_storage::etcd::{Connection, Etcd, Options};

use crate::error::Error;

/// How long etcd may take to be there when the server starts; upstream's gives up about as late.
const PATIENCE: Duration = Duration::from_secs(60);
const RETRY: Duration = Duration::from_secs(1);

/// Flags of a server whose store is etcd.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct EtcdFlags {
    /// Keep objects in etcd, at these URLs of its members
    #[arg(long, value_name = "URLS", value_delimiter = ',', conflicts_with = "store")]
    pub etcd_servers: Vec<String>,
    /// Certificate authority of etcd's members (default: the machine's)
    #[arg(long, value_name = "FILE", requires = "etcd_servers")]
    pub etcd_cafile: Option<PathBuf>,
    /// Certificate this server shows to etcd; where etcd has users, its common name is one
    #[arg(long, value_name = "FILE", requires_all = ["etcd_servers", "etcd_keyfile"])]
    pub etcd_certfile: Option<PathBuf>,
    /// Key of the certificate for etcd
    #[arg(long, value_name = "FILE", requires_all = ["etcd_servers", "etcd_certfile"])]
    pub etcd_keyfile: Option<PathBuf>,
    /// User of etcd, where it is not the certificate's
    #[arg(long, value_name = "NAME", requires_all = ["etcd_servers", "etcd_password_file"])]
    pub etcd_username: Option<String>,
    /// File of the user's password
    #[arg(long, value_name = "FILE", requires_all = ["etcd_servers", "etcd_username"])]
    pub etcd_password_file: Option<PathBuf>,
    /// What all keys in etcd begin with
    #[arg(long, value_name = "PREFIX", default_value = "/registry")]
    pub etcd_prefix: String,
    /// How often old revisions are compacted, such as 5m0s; 0 for never
    #[arg(long, value_name = "DURATION", default_value = "5m0s", value_parser = crate::duration::parse)]
    pub etcd_compaction_interval: Duration,
}

impl Default for EtcdFlags {
    fn default() -> Self {
        Self {
            etcd_servers: Vec::new(),
            etcd_cafile: None,
            etcd_certfile: None,
            etcd_keyfile: None,
            etcd_username: None,
            etcd_password_file: None,
            etcd_prefix: "/registry".to_owned(),
            etcd_compaction_interval: Duration::from_secs(300),
        }
    }
}

impl EtcdFlags {
    /// Whether the store is etcd.
    pub(crate) fn are_given(&self) -> bool {
        !self.etcd_servers.is_empty()
    }

    /// Opens the store; waits for etcd to be there.
    pub(crate) async fn open(&self, publish: impl Publish + Clone) -> Result<Arc<Etcd>, Error> {
        let began = Instant::now();
        loop {
            match Etcd::open(self.options(), publish.clone()).await {
                Ok(store) => return Ok(Arc::new(store)),
                Err(error) if began.elapsed() < PATIENCE && error.is_of_the_member() => {
                    tracing::warn!(error = %error.chain(), "waiting for etcd");
                    tokio::time::sleep(RETRY).await;
                }
                Err(error) => return Err(Error::Etcd { why: error.chain() }),
            }
        }
    }

    fn options(&self) -> Options {
        let identity = self.etcd_certfile.clone().zip(self.etcd_keyfile.clone());
        Options {
            connection: Connection {
                servers: self.etcd_servers.clone(),
                cafile: self.etcd_cafile.clone(),
                identity,
                user: self.etcd_username.clone().zip(self.etcd_password_file.clone()),
            },
            layout: apiserver_registry::etcd_layout(&self.etcd_prefix),
            values: Box::new(apiserver_registry::StoredValues),
            compaction_interval: self.etcd_compaction_interval,
        }
    }
}
