//! etcd keeps the contract that the engines keep. By itself, for it starts processes: between its beginning and its program a
//! process holds every lock of the one that starts it.

#[path = "support/etcd_server.rs"]
#[expect(dead_code, reason = "other tests use the rest of it")]
mod etcd_server;
#[path = "support/etcd_store.rs"]
mod etcd_store;
#[path = "support/suite.rs"]
mod suite;

use etcd_server::{EtcdCluster, binaries_for};
use suite::{Seen, run_all};

#[tokio::test]
async fn etcd_keeps_the_contract() {
    for binary in binaries_for("etcd_keeps_the_contract") {
        let cluster = EtcdCluster::start(&binary, 1);
        let seen = Seen::default();
        let store = etcd_store::open(&cluster.servers(), seen.clone()).await;
        run_all(&store, &seen).await;
    }
}
