//! Custom objects as their definition has them today: what was written before it changed is pruned and defaulted when
//! it is read, by the schema of the version it was written in, and what another version lacks is not shown in that.

use std::sync::Arc;

use apiserver_json::Value;
use apiserver_watchcache::Object;
use bytes::Bytes;

use super::is_in;
use crate::catalogue::Resource;
use crate::registry::Registry;
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

impl Registry {
    /// Makes a stored tree what it is today; its `apiVersion` stays.
    fn settle(&self, resource: &Resource, stale: bool, object: &mut Value) {
        let (written, served) = (text(object, "apiVersion").to_owned(), resource.api_version());
        if stale {
            self.settle_own(resource, object);
        }
        if let Some(schema) = resource.schema().filter(|_| written != served) {
            apiserver_schema::prune(&schema, object);
        }
    }

    fn settle_own(&self, resource: &Resource, object: &mut Value) {
        let version = text(object, "apiVersion").rsplit('/').next().unwrap_or_default().to_owned();
        let catalogue = self.catalogue();
        let own = catalogue.get(&resource.group, &version, &resource.name);
        if let Some(schema) = own.and_then(|own| own.schema()) {
            apiserver_schema::prune(&schema, object);
            apiserver_schema::drop_nulls(&schema, object);
            apiserver_schema::apply_defaults(&schema, object);
        }
    }

    /// A stored tree as it is today.
    pub(super) fn settled_tree(&self, resource: &Resource, stored: Arc<Value>) -> Arc<Value> {
        if !resource.is_custom() {
            return stored;
        }
        let revision = object::text(&stored, "resourceVersion").parse().unwrap_or(u64::MAX);
        let stale = is_stale(resource, revision);
        if !stale && text(&stored, "apiVersion") == resource.api_version() {
            return stored;
        }
        let mut object = Arc::unwrap_or_clone(stored);
        self.settle(resource, stale, &mut object);
        Arc::new(object)
    }

    /// An object as it is today.
    pub(super) fn settled(&self, resource: &Resource, found: Arc<Object>) -> Arc<Object> {
        if !needs_settling(resource, &found) {
            return found;
        }
        let mut tree = encode::tree(&found);
        self.settle(resource, is_stale(resource, found.revision()), &mut tree);
        Arc::new(found.with_bytes(encode::document(&tree).bytes))
    }

    /// An object as it is stored, where that is in another version than the call's: what that lacks is not kept.
    pub(super) fn settled_for_store(&self, resource: &Resource, mut object: Value) -> Value {
        if resource.is_custom() && resource.stored_api_version != resource.api_version() {
            self.settle_own(resource, &mut object);
        }
        object
    }

    /// Bytes that were just written, without what the version of the call lacks.
    pub(super) fn settled_bytes(&self, resource: &Resource, stored: Bytes) -> Bytes {
        if !resource.is_custom() || is_in(&stored, &resource.api_version()) {
            return stored;
        }
        let mut tree = apiserver_meta::packed::parse(&stored).unwrap_or_default();
        self.settle(resource, false, &mut tree);
        encode::document(&tree).bytes
    }
}
