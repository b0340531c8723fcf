//! The objects of one kind in a process, and who is told of their changes. It knows metadata only.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use futures::TryStreamExt;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::ApiResource;
use kube::runtime::watcher;
use serde_json::Value;
use tokio::sync::watch;

use crate::index::Places;
use crate::key::Key;
use crate::meta::{controller_of, version};
use crate::raw::{Raw, watch_raw};

/// An object of some kind.
pub(crate) trait Stored: Any + Send + Sync {
    fn metadata(&self) -> &ObjectMeta;
}

/// Reads an object as what the store holds.
pub(crate) type Decode = fn(Value) -> serde_json::Result<Arc<dyn Stored>>;

/// An object before and after.
pub(crate) struct Changed<'a> {
    pub key: &'a Key,
    pub old: Option<&'a Arc<dyn Stored>>,
    pub new: Option<&'a Arc<dyn Stored>>,
}

type Handler = Box<dyn Fn(Changed<'_>) + Send + Sync>;

pub(crate) struct Store {
    decode: Decode,
    state: RwLock<State>,
    /// Held while a change is applied and told, so that every handler sees changes in order.
    handlers: Mutex<Vec<Handler>>,
    /// By name.
    indexes: Mutex<HashMap<&'static str, Arc<Places>>>,
    synced: watch::Sender<bool>,
}

#[derive(Default)]
pub(crate) struct State {
    pub objects: BTreeMap<Key, Arc<dyn Stored>>,
    /// Keys by uid of the controlling owner.
    pub owned: HashMap<String, BTreeSet<Key>>,
    /// Newest version that the watch has told.
    watched: u64,
}

impl Store {
    /// A store that follows a resource until the process ends.
    pub(crate) fn start(client: kube::Client, resource: &ApiResource, decode: Decode) -> Arc<Self> {
        let store = Arc::new(Store {
            decode,
            state: RwLock::default(),
            handlers: Mutex::default(),
            indexes: Mutex::default(),
            synced: watch::channel(false).0,
        });
        let events = watch_raw(client, resource);
        crate::spawn("watch", store.clone().follow(resource.kind.clone(), events));
        store
    }

    async fn follow(self: Arc<Self>, kind: String, mut events: crate::raw::Events<Raw>) {
        let mut listed: Option<BTreeMap<Key, Value>> = None;
        loop {
            match events.try_next().await {
                Ok(Some(watcher::Event::Init)) => listed = Some(BTreeMap::new()),
                Ok(Some(watcher::Event::InitApply(raw))) => {
                    if let Some(listed) = &mut listed {
                        listed.insert(Key::of(&raw.metadata), raw.tree);
                    }
                }
                Ok(Some(watcher::Event::InitDone)) => {
                    self.replace(listed.take().unwrap_or_default());
                    self.synced.send_replace(true);
                }
                Ok(Some(watcher::Event::Apply(raw))) => self.told(raw.tree),
                Ok(Some(watcher::Event::Delete(raw))) => self.saw_deleted(&raw.metadata),
                Ok(None) => return,
                Err(error) => tracing::debug!(kind, error = %error, "watch interrupted"),
            }
        }
    }

    fn replace(&self, listed: BTreeMap<Key, Value>) {
        let gone: Vec<Key> =
            self.read(|s| s.objects.keys().filter(|k| !listed.contains_key(*k)).cloned().collect());
        let handlers = self.lock_handlers();
        for key in gone {
            self.put(&handlers, key, None);
        }
        drop(handlers);
        listed.into_values().for_each(|tree| self.told(tree));
    }

    /// The watch told of an object.
    fn told(&self, tree: Value) {
        match (self.decode)(tree) {
            Ok(object) => self.saw(object, true),
            Err(error) => tracing::debug!(error = %error, "object not understood"),
        }
    }

    /// Reads the answer of a write, which is in the store when this returns.
    pub(crate) fn wrote(&self, answer: Raw) -> serde_json::Result<Arc<dyn Stored>> {
        let object = (self.decode)(answer.tree)?;
        self.saw(object.clone(), false);
        Ok(object)
    }

    fn saw(&self, object: Arc<dyn Stored>, by_watch: bool) {
        let handlers = self.lock_handlers();
        let key = Key::of(object.metadata());
        let seen = version(object.metadata());
        {
            let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
            let covered = !by_watch && seen != 0 && seen <= state.watched;
            if by_watch {
                state.watched = state.watched.max(seen);
            }
            let newer = state.objects.get(&key).is_some_and(|o| seen != 0 && version(o.metadata()) >= seen);
            if covered || newer {
                return;
            }
        }
        self.put(&handlers, key, Some(object));
    }

    fn saw_deleted(&self, metadata: &ObjectMeta) {
        let handlers = self.lock_handlers();
        let key = Key::of(metadata);
        let seen = version(metadata);
        let other = {
            let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
            state.watched = state.watched.max(seen);
            state.objects.get(&key).is_none_or(|o| o.metadata().uid != metadata.uid)
        };
        if !other {
            self.put(&handlers, key, None);
        }
    }

    /// An object of this uid was deleted by a write.
    pub(crate) fn forget(&self, key: &Key, uid: Option<&str>) {
        let handlers = self.lock_handlers();
        let same = |o: &Arc<dyn Stored>| o.metadata().uid.as_deref() == uid;
        if uid.is_some() && self.read(|s| s.objects.get(key).is_some_and(same)) {
            self.put(&handlers, key.clone(), None);
        }
    }

    fn put(&self, handlers: &[Handler], key: Key, new: Option<Arc<dyn Stored>>) {
        let owner = |object: &Arc<dyn Stored>| controller_of(object.metadata()).map(|o| o.uid.clone());
        let old = {
            let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
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
        for handler in handlers {
            handler(Changed { key: &key, old: old.as_ref(), new: new.as_ref() });
        }
    }

    pub(crate) fn read<T>(&self, f: impl FnOnce(&State) -> T) -> T {
        f(&self.state.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn lock_handlers(&self) -> MutexGuard<'_, Vec<Handler>> {
        self.handlers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn on_change(&self, handler: Handler) {
        let mut handlers = self.lock_handlers();
        let all: Vec<_> = self.read(|s| s.objects.iter().map(|(k, o)| (k.clone(), o.clone())).collect());
        for (key, object) in &all {
            handler(Changed { key, old: None, new: Some(object) });
        }
        handlers.push(handler);
    }

    /// The index of this name; `made` begins to keep it if there is none.
    pub(crate) fn index(&self, name: &'static str, made: impl FnOnce(Arc<Places>)) -> Arc<Places> {
        let mut indexes = self.indexes.lock().unwrap_or_else(PoisonError::into_inner);
        let make = || {
            let places = Arc::<Places>::default();
            made(places.clone());
            places
        };
        indexes.entry(name).or_insert_with(make).clone()
    }

    pub(crate) async fn synced(&self) {
        let mut receiver = self.synced.subscribe();
        if receiver.wait_for(|done| *done).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
