//! What Services hold that no other Service may have, where several servers give it out: each cluster IP and node port is a key
//! beside the objects, claimed and let go in the transaction that writes the Service. The allocator's memory only makes a
//! good choice; this makes it certain.

use apiserver_json::Value;
use apiserver_storage::{Claims, Key, Op, Write};
use apiserver_watchcache::Cache;

use crate::allocate::{cluster_ips, node_ports};

/// Where the Services of all namespaces are.
pub(crate) const SERVICES: &str = "/registry/core/services/";

/// What a write into an empty store takes.
pub fn claims_of_new(write: &Write) -> Claims {
    of(&Cache::default(), std::slice::from_ref(write))
}

/// What the writes take and let go of.
pub(crate) fn of(cache: &Cache, writes: &[Write]) -> Claims {
    let mut claims = Claims::default();
    for write in writes.iter().filter(|write| write.key.starts_with(SERVICES)) {
        let (before, after) = match &write.op {
            Op::Create(document) => (None, Some(document)),
            Op::Update { expect, document } => (Some(*expect), Some(document)),
            Op::Delete { expect } => (Some(*expect), None),
        };
        let after = after.and_then(|document| apiserver_json::from_slice(&document.bytes).ok());
        // Where it is another version by now, nothing will be written.
        let before = before.and_then(|_| cache.get(&write.key)).map(|object| object.parse());
        let (before, after) = (held(before.as_ref()), held(after.as_ref()));
        claims.take.extend(after.iter().filter(|key| !before.contains(key)).cloned());
        claims.free.extend(before.iter().filter(|key| !after.contains(key)).cloned());
    }
    claims
}

fn held(service: Option<&Value>) -> Vec<Key> {
    let Some(service) = service else { return Vec::new() };
    let ips = cluster_ips(service).into_iter().map(|ip| format!("/registry/hopyard/clusterips/{ip}").into());
    let ports =
        node_ports(service).into_iter().map(|port| format!("/registry/hopyard/nodeports/{port}").into());
    ips.chain(ports).collect()
}
