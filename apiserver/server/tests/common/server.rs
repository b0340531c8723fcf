//! A server in the test's own process.

use std::sync::Arc;

use apiserver_registry::{Registry, ServiceRanges};
use apiserver_server::{ApiServer, Authentication, Config};
use apiserver_storage::{Durability, Local, MemoryEngine};
use apiserver_watchcache::Cache;

/// A fresh server in memory.
pub(crate) async fn server() -> ApiServer {
    let cache = Arc::new(Cache::default());
    let store = Local::open(MemoryEngine, Durability::None, cache.clone()).expect("memory opens");
    let registry = Registry::new(Arc::new(store), cache, ServiceRanges::default(), Default::default());
    let authentication =
        Authentication { tokens: Default::default(), service_accounts: None, anonymous: true };
    let server = ApiServer::new(
        registry,
        Config {
            authentication: Arc::new(authentication),
            always_allows: false,
            nodes: None,
            ca_pem: String::new(),
            version: "v1.36.0".to_owned(),
            advertise: "127.0.0.1:6443".parse().expect("an address"),
            endpoint: "127.0.0.1:6443".parse().expect("an address"),
        },
    );
    apiserver_server::bootstrap(&server).await.expect("a fresh server");
    server
}
