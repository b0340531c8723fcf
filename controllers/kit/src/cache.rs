//! Caches: one watch per kind, shared by all loops of a process, that also see the loops' own writes at once.
//!
//! A write through a cache is in the cache when it returns, so a loop never decides on a world without its own last
//! write and creates nothing twice. The watch then confirms it; an older state never replaces a newer one.

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::fmt::Debug;
use std::marker::PhantomData;
use std::sync::{Arc, Mutex, PoisonError};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::DeleteParams;
use kube::core::{ApiResource, Request};
use kube::{Client, Resource};
use serde_json::Value;

use crate::error::Error;
use crate::index::Index;
use crate::key::Key;
use crate::queue::Queue;
use crate::raw::{self, Raw};
use crate::store::{Changed, Store, Stored};

/// What a cache can hold. [`objects!`](crate::objects) makes a type with serde one.
pub trait Object: Resource<DynamicType = ()> + Clone + Debug + Send + Sync + 'static {
    /// Reads it.
    ///
    /// # Errors
    /// When the tree is no object of the kind.
    fn from_tree(tree: Value) -> serde_json::Result<Self>;

    /// Writes it.
    ///
    /// # Errors
    /// When a value has no JSON.
    fn to_json(&self) -> serde_json::Result<Vec<u8>>;
}

impl<K: Object> Stored for K {
    fn metadata(&self) -> &ObjectMeta {
        self.meta()
    }
}

/// An object before and after.
#[derive(Debug, Clone)]
pub struct Change<K> {
    /// Which object.
    pub key: Key,
    /// None if it is new.
    pub old: Option<Arc<K>>,
    /// None if it is gone.
    pub new: Option<Arc<K>>,
}

impl<K: Resource<DynamicType = ()>> Change<K> {
    /// The newest state there is.
    pub fn latest(&self) -> Option<&Arc<K>> {
        self.new.as_ref().or(self.old.as_ref())
    }

    /// `Service default/web changed`, for the log.
    pub fn story(&self) -> String {
        let verb = match (&self.old, &self.new) {
            (None, _) => "added",
            (_, None) => "deleted",
            (Some(old), Some(new)) => {
                if old.meta().deletion_timestamp.is_none() && new.meta().deletion_timestamp.is_some() {
                    "is being deleted"
                } else {
                    "changed"
                }
            }
        };
        format!("{} {} {verb}", K::kind(&()), self.key)
    }
}

/// All objects of one kind; clones share them.
pub struct Cache<K> {
    client: Client,
    store: Arc<Store>,
    kind: PhantomData<fn() -> K>,
}

impl<K> Clone for Cache<K> {
    fn clone(&self) -> Self {
        Cache { client: self.client.clone(), store: self.store.clone(), kind: PhantomData }
    }
}

/// The caches of a process, made when first asked for.
#[derive(Clone)]
pub struct Caches {
    client: Client,
    stores: Arc<Mutex<HashMap<TypeId, Arc<Store>>>>,
}

impl Caches {
    /// No cache yet.
    pub fn new(client: Client) -> Self {
        Caches { client, stores: Arc::default() }
    }

    /// The same objects for loops that write as somebody else.
    #[must_use]
    pub fn written_by(&self, client: Client) -> Self {
        Caches { client, stores: self.stores.clone() }
    }

    /// The client the caches use.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// The cache of a kind; the first call starts its watch.
    pub fn of<K: Object>(&self) -> Cache<K> {
        let mut stores = self.stores.lock().unwrap_or_else(PoisonError::into_inner);
        let start = || {
            Store::start(self.client.clone(), &ApiResource::erase::<K>(&()), |tree| {
                Ok(Arc::new(K::from_tree(tree)?))
            })
        };
        let store = stores.entry(TypeId::of::<K>()).or_insert_with(start).clone();
        Cache { client: self.client.clone(), store, kind: PhantomData }
    }
}

fn typed<K: Object>(object: &Arc<dyn Stored>) -> Option<Arc<K>> {
    let object: Arc<dyn Any + Send + Sync> = object.clone();
    object.downcast().ok()
}

impl<K: Object> Cache<K> {
    /// Call `handler` for every object there is and for every change from now on, in order.
    /// It must be quick; it may read caches but not write.
    pub fn on_change(&self, handler: impl Fn(&Change<K>) + Send + Sync + 'static) {
        self.store.on_change(Box::new(move |Changed { key, old, new }| {
            let (old, new) = (old.and_then(typed), new.and_then(typed));
            handler(&Change { key: key.clone(), old, new });
        }));
    }

    /// Put every object there is on the queue, and each that changes from now on.
    pub fn wake(&self, queue: &Queue<Key>) {
        let queue = queue.clone();
        self.on_change(move |change| queue.add(change.key.clone(), change.story()));
    }

    /// The objects by what `of` finds in each. Whoever names the same index shares it, so one name means one `of`.
    pub fn index(&self, name: &'static str, of: fn(&K) -> Vec<String>) -> Index<K> {
        let places = self.store.index(name, |places| {
            self.on_change(move |change| {
                let found = |object: &Option<Arc<K>>| object.as_deref().map(of).unwrap_or_default();
                places.moved(&change.key, &found(&change.old), &found(&change.new));
            });
        });
        Index::new(self.clone(), places)
    }

    /// Wait until everything that existed has been seen.
    pub async fn synced(&self) {
        self.store.synced().await;
    }

    /// One object.
    pub fn get(&self, key: &Key) -> Option<Arc<K>> {
        self.store.read(|s| s.objects.get(key).and_then(typed))
    }

    /// All objects in order of namespace and name.
    pub fn all(&self) -> Vec<Arc<K>> {
        self.store.read(|s| s.objects.values().filter_map(typed).collect())
    }

    /// All objects of a namespace in order of name.
    pub fn in_namespace(&self, namespace: &str) -> Vec<Arc<K>> {
        let first = Key::new(namespace, "");
        self.store.read(|s| {
            let rest = s.objects.range(first..);
            rest.take_while(|(k, _)| k.namespace == namespace).filter_map(|(_, o)| typed(o)).collect()
        })
    }

    /// The client that writes.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// All objects controlled by the owner of this uid.
    pub fn controlled_by(&self, uid: &str) -> Vec<Arc<K>> {
        self.store.read(|s| {
            let keys = s.owned.get(uid).into_iter().flatten();
            keys.filter_map(|k| s.objects.get(k).and_then(typed)).collect()
        })
    }

    fn wrote(&self, answer: Raw) -> Result<Arc<K>, Error> {
        let object = self.store.wrote(answer)?;
        typed(&object).ok_or_else(|| Error::Terminal(format!("the store holds no {}", K::kind(&()))))
    }

    /// Create an object.
    pub async fn create(&self, object: &K) -> Result<Arc<K>, Error> {
        self.wrote(raw::create(&self.client, object).await?)
    }

    /// Replace an object whose version is still the given one.
    pub async fn replace_object(&self, object: &K) -> Result<Arc<K>, Error> {
        self.wrote(raw::replace(&self.client, "", object).await?)
    }

    /// Replace the status of an object whose version is still the given one.
    pub async fn replace_status(&self, object: &K) -> Result<Arc<K>, Error> {
        self.wrote(raw::replace(&self.client, "status", object).await?)
    }

    /// Merge into an object.
    pub async fn patch(&self, key: &Key, patch: &Value) -> Result<Arc<K>, Error> {
        self.wrote(raw::merge::<K>(&self.client, "", key, patch).await?)
    }

    /// Merge into the status of an object.
    pub async fn patch_status(&self, key: &Key, patch: &Value) -> Result<Arc<K>, Error> {
        self.wrote(raw::merge::<K>(&self.client, "status", key, patch).await?)
    }

    /// Delete an object; true if it was there. The cache keeps it until the watch says that it is gone, with
    /// the deletion mark if it lives on.
    pub async fn delete(&self, key: &Key, params: &DeleteParams) -> Result<bool, Error> {
        let namespace = Some(key.namespace.as_str()).filter(|n| !n.is_empty());
        let request = Request::new(K::url_path(&(), namespace)).delete(&key.name, params);
        let answer = match raw::send(self.client.clone(), request).await {
            Ok(answer) => answer,
            Err(error) if error.is_not_found() => return Ok(false),
            Err(error) => return Err(error),
        };
        if answer.tree["kind"] == "Status" {
            self.store.forget(key, answer.tree.pointer("/details/uid").and_then(Value::as_str));
            return Ok(true);
        }
        let has = |member: &str| !answer.tree["metadata"][member].is_null();
        if has("deletionTimestamp") && (params.grace_period_seconds != Some(0) || has("finalizers")) {
            self.wrote(answer)?;
        } else {
            self.store.forget(key, answer.metadata.uid.as_deref());
        }
        Ok(true)
    }
}
