//! Custom objects as their definition has them today: what was written before it changed is pruned and defaulted when
//! it is read, by the schema of the version it was written in, and what another version lacks is not shown in that.

use std::sync::Arc;

use apiserver_json::Value;
use apiserver_watchcache::Object;
use bytes::Bytes;

use super::is_in;
use crate::catalogue::Resource;
use crate::strategy::shared::text;
use crate::{encode, object};

/// Was it written before the definition that is now?
fn is_stale(resource: &Resource, revision: u64) -> bool {
    resource.custom.as_ref().is_some_and(|custom| revision < custom.since)
}

/// Is an object shown otherwise than it is stored?
pub fn needs_settling(resource: &Resource, object: &Object) -> bool {
    resource.is_custom()
        && (is_stale(resource, object.revision()) || !is_in(object.bytes(), &resource.api_version()))
}

/// Leaves of an object what its version has, served or not, with that version's defaults.
fn settle_own(resource: &Resource, object: &mut Value) {
    let version = text(object, "apiVersion").to_owned();
    let versions = resource.custom.as_ref().map(|custom| &custom.versions);
    if let Some(schema) = versions.and_then(|versions| versions.get(&version)) {
        apiserver_schema::prune(schema, object);
        apiserver_schema::drop_nulls(schema, object);
        apiserver_schema::apply_defaults(schema, object);
    }
}

/// A stored tree as the version it was written in has it today.
pub(super) fn of_today(resource: &Resource, stored: Arc<Value>) -> Arc<Value> {
    let revision = object::text(&stored, "resourceVersion").parse().unwrap_or(u64::MAX);
    if !is_stale(resource, revision) {
        return stored;
    }
    let mut object = Arc::unwrap_or_clone(stored);
    settle_own(resource, &mut object);
    Arc::new(object)
}

/// As [`of_today`], of a stored object.
pub(super) fn tree_of_today(resource: &Resource, found: &Object) -> Value {
    let mut tree = encode::tree(found);
    if is_stale(resource, found.revision()) {
        settle_own(resource, &mut tree);
    }
    tree
}

/// Leaves what the version of the call has.
fn prune_to_served(resource: &Resource, object: &mut Value) {
    if let Some(schema) = resource.schema().filter(|_| text(object, "apiVersion") != resource.api_version()) {
        apiserver_schema::prune(&schema, object);
    }
}

/// A stored tree as the version of the call shows it today; its `apiVersion` stays.
pub(super) fn settled_tree(resource: &Resource, stored: Arc<Value>) -> Arc<Value> {
    if !resource.is_custom() {
        return stored;
    }
    let stored = of_today(resource, stored);
    if text(&stored, "apiVersion") == resource.api_version() {
        return stored;
    }
    let mut object = Arc::unwrap_or_clone(stored);
    prune_to_served(resource, &mut object);
    Arc::new(object)
}

/// An object as it is today.
pub(super) fn settled(resource: &Resource, found: Arc<Object>) -> Arc<Object> {
    if !needs_settling(resource, &found) {
        return found;
    }
    let mut tree = tree_of_today(resource, &found);
    prune_to_served(resource, &mut tree);
    Arc::new(found.with_bytes(encode::document(&tree).bytes))
}

/// An object as it is stored, where that is in another version than the call's: what that lacks is not kept.
pub(super) fn settled_for_store(resource: &Resource, mut object: Value) -> Value {
    if resource.is_custom() && resource.stored_api_version != resource.api_version() {
        settle_own(resource, &mut object);
    }
    object
}

/// Bytes that were just written, without what the version of the call lacks.
pub(super) fn settled_bytes(resource: &Resource, stored: Bytes) -> Bytes {
    if !resource.is_custom() || is_in(&stored, &resource.api_version()) {
        return stored;
    }
    let mut tree = apiserver_meta::packed::parse(&stored).unwrap_or_default();
    prune_to_served(resource, &mut tree);
    encode::document(&tree).bytes
}
