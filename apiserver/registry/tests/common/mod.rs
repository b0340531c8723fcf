//! A registry over memory, and calls on it.

use std::collections::BTreeSet;
use std::sync::Arc;

use apiserver_registry::{Call, Registry, Requester, Resource, ServiceRanges};
use apiserver_storage::{Durability, Local, MemoryEngine};
use apiserver_watchcache::Cache;

/// An empty registry without the admission plugins named.
pub(crate) fn registry(ranges: ServiceRanges, disabled: &[&str]) -> Registry {
    let cache = Arc::new(Cache::default());
    let store = Local::open(MemoryEngine, Durability::None, cache.clone()).expect("memory opens");
    let disabled: BTreeSet<String> = disabled.iter().map(|name| (*name).to_owned()).collect();
    Registry::new(Arc::new(store), cache, ranges, disabled)
}

/// A call on a resource; what has a namespace is in this one.
pub(crate) fn call<'a>(resource: &'a Arc<Resource>, namespace: &'a str) -> Call<'a> {
    Call {
        resource,
        namespace: resource.namespaced.then_some(namespace),
        subresource: "",
        manager: "test",
        dry_run: false,
        requester: Requester::default(),
    }
}
