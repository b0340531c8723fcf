//! A Kubernetes cluster for tests, in the test's own process: a whole API server with its state in memory, and no
//! socket, certificate, file or child process. It ends with its value, so every test can have its own.
//!
//! ```
//! # tokio::runtime::Runtime::new().unwrap().block_on(async {
//! use k8s_openapi::api::core::v1::ConfigMap;
//! use kube::api::{Api, PostParams};
//!
//! let cluster = hopyard_testing::Cluster::start().await?;
//! let config_maps: Api<ConfigMap> = Api::default_namespaced(cluster.client());
//! let mut settings = ConfigMap::default();
//! settings.metadata.name = Some("settings".into());
//! config_maps.create(&PostParams::default(), &settings).await?;
//! # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
//! ```
//!
//! Admission is kube-apiserver's, save for the ServiceAccount plugin: it waits for a namespace's `default` account,
//! which only controllers make. With the feature `controllers`, `Cluster::with_controllers` runs the loops of workloads,
//! namespaces, service accounts and garbage collection too, and the plugin is on.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use apiserver_registry::{Cidr, Registry, ServiceRanges};
use apiserver_server::{ApiServer, Authentication, Config, ServiceAccountKeys, User};
use apiserver_storage::{Durability, Local, MemoryEngine};
use apiserver_watchcache::Cache;
use kube::Client;
use tokio::task::JoinHandle;

/// What services get their addresses from: 10.0.0.0/16.
/// As kube-apiserver's of an envtest, but larger.
fn service_ranges() -> ServiceRanges {
    ServiceRanges { primary: Cidr::v4(Ipv4Addr::new(10, 0, 0, 0), 16), ..ServiceRanges::default() }
}

/// Why there is no cluster.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The system gave no randomness for the key that signs service account tokens.
    #[error("service account tokens cannot be signed: {0}")]
    Keys(String),
    /// The store in memory was refused.
    #[error("no store: {0}")]
    Store(String),
    /// The objects of a fresh cluster could not be written.
    #[error("a fresh cluster's objects: {0}")]
    Bootstrap(String),
}

/// A running cluster. Dropped, it is gone: its watches end, its loops stop.
pub struct Cluster {
    server: ApiServer,
    tasks: Vec<JoinHandle<()>>,
}

impl Cluster {
    /// An empty cluster: an API server, with what a fresh one holds. Needs a tokio runtime, in which it runs.
    ///
    /// # Errors
    /// [`Error`]; none of them is of the caller's making.
    pub async fn start() -> Result<Self, Error> {
        Self::with(BTreeSet::from(["ServiceAccount".to_owned()])).await
    }

    /// An empty cluster with the loops of workloads, namespaces, service accounts and garbage collection. There are no
    /// nodes: Pods stay pending.
    ///
    /// # Errors
    /// As [`Cluster::start`].
    #[cfg(feature = "controllers")]
    pub async fn with_controllers() -> Result<Self, Error> {
        let mut cluster = Self::with(BTreeSet::new()).await?;
        let client = cluster.client_of(User::master("system:kube-controller-manager"));
        let caches = controllers_kit::Caches::new(client);
        cluster.tasks.push(tokio::spawn(controllers_workloads::run(caches.clone())));
        cluster.tasks.push(tokio::spawn(controllers_workloads::run_scheduler(caches.clone())));
        // Nobody reaches this server over TLS: the bundle that Pods would trust is empty.
        cluster.tasks.push(tokio::spawn(controllers_cluster::run(caches, String::new(), None, None)));
        Ok(cluster)
    }

    async fn with(disabled_plugins: BTreeSet<String>) -> Result<Self, Error> {
        let cache = Arc::new(Cache::default());
        let store = Local::open(MemoryEngine, Durability::None, cache.clone());
        let store = store.map_err(|error| Error::Store(error.to_string()))?;
        let registry = Registry::new(Arc::new(store), cache, service_ranges(), disabled_plugins);
        let keys = ServiceAccountKeys::generated();
        let config = Config {
            authentication: Arc::new(Authentication {
                tokens: Default::default(),
                service_accounts: Some(Arc::new(keys.map_err(Error::Keys)?)),
                anonymous: false,
            }),
            always_allows: false,
            nodes: None,
            ca_pem: String::new(),
            version: apiserver_server::VERSION.to_owned(),
            advertise: SocketAddr::from((Ipv4Addr::LOCALHOST, 6443)),
            endpoint: SocketAddr::from((Ipv4Addr::LOCALHOST, 6443)),
        };
        let server = ApiServer::new(registry, config);
        apiserver_server::bootstrap(&server).await.map_err(|status| Error::Bootstrap(status.to_string()))?;
        let housekeeping = tokio::spawn(apiserver_server::run_housekeeping(server.clone()));
        Ok(Self { server, tasks: vec![housekeeping] })
    }

    /// A client that may do everything, of the namespace `default`.
    pub fn client(&self) -> Client {
        self.client_of(User::master("kubernetes-admin"))
    }

    /// A client of this user and these groups, who may do what RBAC lets them.
    pub fn client_as(&self, name: &str, groups: &[&str]) -> Client {
        let mut groups: Vec<String> = groups.iter().map(|group| (*group).to_owned()).collect();
        groups.push("system:authenticated".to_owned());
        self.client_of(User { name: name.to_owned(), groups, ..User::default() })
    }

    fn client_of(&self, user: User) -> Client {
        Client::new(self.server.in_process(user, "hopyard-testing"), "default")
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.server.begin_shutdown();
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}
