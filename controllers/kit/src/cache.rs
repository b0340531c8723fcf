//! Caches: one watch per kind, shared by all loops of a process, that also see the loops' own writes at once.
//!
//! A write through a cache is in the cache when it returns, so a loop never decides on a world without its own last
//! write and creates nothing twice. The watch then confirms it; an older state never replaces a newer one.

use crate::error::Error;
use crate::key::Key;
use crate::meta::{controller_of, version};
use futures::{StreamExt, TryStreamExt};
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use kube::core::Request;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Client, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::any::{Any, TypeId};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Debug;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use tokio::sync::watch;

/// What a cache can hold.
pub trait Object:
    Resource<DynamicType = ()> + Clone + Debug + Serialize + DeserializeOwned + Send + Sync + 'static
{
}
impl<K> Object for K where
    K: Resource<DynamicType = ()> + Clone + Debug + Serialize + DeserializeOwned + Send + Sync + 'static
{
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

type Handler<K> = Box<dyn Fn(&Change<K>) + Send + Sync>;

/// All objects of one kind; clones share them.
pub struct Cache<K> {
    inner: Arc<Inner<K>>,
}

impl<K> Clone for Cache<K> {
    fn clone(&self) -> Self {
        Cache { inner: self.inner.clone() }
    }
}

struct Inner<K> {
    client: Client,
    state: RwLock<State<K>>,
    /// Held while a change is applied and told, so that every handler sees changes in order.
    handlers: Mutex<Vec<Handler<K>>>,
    synced: watch::Sender<bool>,
}

struct State<K> {
    objects: BTreeMap<Key, Arc<K>>,
    /// Keys by uid of the controlling owner.
    owned: HashMap<String, BTreeSet<Key>>,
    /// Newest version that the watch has told.
    watched: u64,
}

/// The caches of a process, made when first asked for.
#[derive(Clone)]
pub struct Caches {
    client: Client,
    caches: Arc<Mutex<HashMap<TypeId, Box<dyn Any + Send>>>>,
}

impl Caches {
    /// No cache yet.
    pub fn new(client: Client) -> Self {
        Caches { client, caches: Arc::default() }
    }

    /// The client the caches use.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// The cache of a kind; the first call starts its watch.
    pub fn of<K: Object>(&self) -> Cache<K> {
        let mut caches = self.caches.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(cache) = caches.get(&TypeId::of::<K>()).and_then(|c| c.downcast_ref::<Cache<K>>()) {
            return cache.clone();
        }
        let cache = Cache::<K>::start(self.client.clone());
        caches.insert(TypeId::of::<K>(), Box::new(cache.clone()));
        cache
    }
}

impl<K: Object> Cache<K> {
    fn start(client: Client) -> Self {
        let state = State { objects: BTreeMap::new(), owned: HashMap::new(), watched: 0 };
        let inner = Inner {
            client: client.clone(),
            state: RwLock::new(state),
            handlers: Mutex::new(Vec::new()),
            synced: watch::channel(false).0,
        };
        let cache = Cache { inner: Arc::new(inner) };
        crate::spawn("watch", cache.clone().follow(Api::all(client)));
        cache
    }

    async fn follow(self, api: Api<K>) {
        let mut events = watcher(api, watcher::Config::default()).default_backoff().boxed();
        let mut listed: Option<BTreeMap<Key, K>> = None;
        loop {
            match events.try_next().await {
                Ok(Some(watcher::Event::Init)) => listed = Some(BTreeMap::new()),
                Ok(Some(watcher::Event::InitApply(object))) => {
                    if let Some(listed) = &mut listed {
                        listed.insert(Key::of(object.meta()), object);
                    }
                }
                Ok(Some(watcher::Event::InitDone)) => {
                    self.replace(listed.take().unwrap_or_default());
                    self.inner.synced.send_replace(true);
                }
                Ok(Some(watcher::Event::Apply(object))) => self.saw(object, true),
                Ok(Some(watcher::Event::Delete(object))) => self.saw_deleted(&object),
                Ok(None) => return,
                Err(error) => {
                    tracing::debug!(kind = %K::kind(&()), error = %error, "watch interrupted");
                }
            }
        }
    }

    fn replace(&self, listed: BTreeMap<Key, K>) {
        let gone: Vec<Key> =
            self.read(|s| s.objects.keys().filter(|k| !listed.contains_key(*k)).cloned().collect());
        let handlers = self.inner.handlers.lock().unwrap_or_else(PoisonError::into_inner);
        for key in gone {
            self.put(&handlers, key, None);
        }
        drop(handlers);
        for object in listed.into_values() {
            self.saw(object, true);
        }
    }

    fn saw(&self, mut object: K, by_watch: bool) {
        let handlers = self.inner.handlers.lock().unwrap_or_else(PoisonError::into_inner);
        let key = Key::of(object.meta());
        let seen = version(object.meta());
        {
            let mut state = self.inner.state.write().unwrap_or_else(PoisonError::into_inner);
            let covered = !by_watch && seen != 0 && seen <= state.watched;
            if by_watch {
                state.watched = state.watched.max(seen);
            }
            let newer = state.objects.get(&key).is_some_and(|o| seen != 0 && version(o.meta()) >= seen);
            if covered || newer {
                return;
            }
        }
        object.meta_mut().managed_fields = None;
        self.put(&handlers, key, Some(Arc::new(object)));
    }

    fn saw_deleted(&self, object: &K) {
        let handlers = self.inner.handlers.lock().unwrap_or_else(PoisonError::into_inner);
        let key = Key::of(object.meta());
        let seen = version(object.meta());
        let other = {
            let mut state = self.inner.state.write().unwrap_or_else(PoisonError::into_inner);
            state.watched = state.watched.max(seen);
            state.objects.get(&key).is_none_or(|o| o.meta().uid != object.meta().uid)
        };
        if !other {
            self.put(&handlers, key, None);
        }
    }

    fn put(&self, handlers: &[Handler<K>], key: Key, new: Option<Arc<K>>) {
        let owner = |object: &Arc<K>| controller_of(object.meta()).map(|o| o.uid.clone());
        let old = {
            let mut state = self.inner.state.write().unwrap_or_else(PoisonError::into_inner);
            let old = match &new {
                Some(object) => state.objects.insert(key.clone(), object.clone()),
                None => state.objects.remove(&key),
            };
            if let Some(uid) = old.as_ref().and_then(owner)
                && let Some(keys) = state.owned.get_mut(&uid)
            {
                keys.remove(&key);
                if keys.is_empty() {
                    state.owned.remove(&uid);
                }
            }
            if let Some(uid) = new.as_ref().and_then(owner) {
                state.owned.entry(uid).or_default().insert(key.clone());
            }
            old
        };
        if old.is_none() && new.is_none() {
            return;
        }
        let change = Change { key, old, new };
        handlers.iter().for_each(|handler| handler(&change));
    }

    fn read<T>(&self, f: impl FnOnce(&State<K>) -> T) -> T {
        f(&self.inner.state.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Call `handler` for every object there is and for every change from now on, in order.
    /// It must be quick; it may read caches but not write.
    pub fn on_change(&self, handler: impl Fn(&Change<K>) + Send + Sync + 'static) {
        let mut handlers = self.inner.handlers.lock().unwrap_or_else(PoisonError::into_inner);
        for object in self.all() {
            handler(&Change { key: Key::of(object.meta()), old: None, new: Some(object) });
        }
        handlers.push(Box::new(handler));
    }

    /// Wait until everything that existed has been seen.
    pub async fn synced(&self) {
        let mut receiver = self.inner.synced.subscribe();
        if receiver.wait_for(|done| *done).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// One object.
    pub fn get(&self, key: &Key) -> Option<Arc<K>> {
        self.read(|s| s.objects.get(key).cloned())
    }

    /// All objects in order of namespace and name.
    pub fn all(&self) -> Vec<Arc<K>> {
        self.read(|s| s.objects.values().cloned().collect())
    }

    /// All objects of a namespace in order of name.
    pub fn in_namespace(&self, namespace: &str) -> Vec<Arc<K>> {
        let first = Key::new(namespace, "");
        self.read(|s| {
            let rest = s.objects.range(first..);
            rest.take_while(|(k, _)| k.namespace == namespace).map(|(_, o)| o.clone()).collect()
        })
    }

    /// All objects controlled by the owner of this uid.
    pub fn controlled_by(&self, uid: &str) -> Vec<Arc<K>> {
        self.read(|s| {
            s.owned.get(uid).into_iter().flatten().filter_map(|k| s.objects.get(k).cloned()).collect()
        })
    }

    fn request(namespace: &str) -> Request {
        let namespace = Some(namespace).filter(|n| !n.is_empty());
        Request::new(K::url_path(&(), namespace))
    }

    async fn send(
        &self,
        request: Result<http::Request<Vec<u8>>, kube::core::request::Error>,
    ) -> Result<Arc<K>, Error> {
        let request = request.map_err(kube::Error::BuildRequest)?;
        let object: K = self.inner.client.request(request).await?;
        self.saw(object.clone(), false);
        Ok(Arc::new(object))
    }

    /// Create an object.
    pub async fn create(&self, object: &K) -> Result<Arc<K>, Error> {
        let namespace = object.meta().namespace.clone().unwrap_or_default();
        let body = serde_json::to_vec(object)?;
        self.send(Self::request(&namespace).create(&PostParams::default(), body)).await
    }

    /// Replace an object whose version is still the given one.
    pub async fn replace_object(&self, object: &K) -> Result<Arc<K>, Error> {
        let key = Key::of(object.meta());
        let body = serde_json::to_vec(object)?;
        self.send(Self::request(&key.namespace).replace(&key.name, &PostParams::default(), body)).await
    }

    /// Replace the status of an object whose version is still the given one.
    pub async fn replace_status(&self, object: &K) -> Result<Arc<K>, Error> {
        let key = Key::of(object.meta());
        let body = serde_json::to_vec(object)?;
        let request = Self::request(&key.namespace);
        self.send(request.replace_subresource("status", &key.name, &PostParams::default(), body)).await
    }

    /// Merge into an object.
    pub async fn patch(&self, key: &Key, patch: &serde_json::Value) -> Result<Arc<K>, Error> {
        let request = Self::request(&key.namespace);
        self.send(request.patch(&key.name, &PatchParams::default(), &Patch::Merge(patch))).await
    }

    /// Merge into the status of an object.
    pub async fn patch_status(&self, key: &Key, patch: &serde_json::Value) -> Result<Arc<K>, Error> {
        let request = Self::request(&key.namespace);
        self.send(request.patch_subresource(
            "status",
            &key.name,
            &PatchParams::default(),
            &Patch::Merge(patch),
        ))
        .await
    }

    /// Delete an object; true if it was there. The cache keeps it until the watch says that it is gone, with
    /// the deletion mark if it lives on.
    pub async fn delete(&self, key: &Key, params: &DeleteParams) -> Result<bool, Error> {
        let request =
            Self::request(&key.namespace).delete(&key.name, params).map_err(kube::Error::BuildRequest)?;
        let answer = match self.inner.client.request_status::<K>(request).await.map_err(Error::from) {
            Ok(answer) => answer,
            Err(error) if error.is_not_found() => return Ok(false),
            Err(error) => return Err(error),
        };
        answer.either(
            |object| {
                let lives_on = object.meta().deletion_timestamp.is_some()
                    && (params.grace_period_seconds != Some(0) || object.meta().finalizers.is_some());
                if lives_on {
                    self.saw(object, false)
                } else {
                    self.forget(key, object.meta().uid.as_deref())
                }
            },
            |status| self.forget(key, status.details.as_ref().map(|d| d.uid.as_str())),
        );
        Ok(true)
    }

    fn forget(&self, key: &Key, uid: Option<&str>) {
        let handlers = self.inner.handlers.lock().unwrap_or_else(PoisonError::into_inner);
        if uid.is_some() && self.get(key).is_some_and(|o| o.meta().uid.as_deref() == uid) {
            self.put(&handlers, key.clone(), None);
        }
    }
}
