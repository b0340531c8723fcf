//! Who tells that something a quota counts went: one watch for each resource that some quota is about, none for others.
//!
//! Pods, Services and claims have caches that other loops share.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use controllers_kit::{Cache, Caches, Change, Done, Error, Key, Object, Queue, watch_raw};
use controllers_quota_model::usage;
use futures::TryStreamExt;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, ResourceQuota, Service};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::core::{ApiResource, PartialObjectMeta};
use kube::runtime::watcher::Event;
use tokio::task::AbortHandle;

use super::changes::{frees_claim, frees_pod, frees_service};
use super::lock;
use super::resources::Resources;

/// While a resource may come.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// Group and resource.
type Place = (String, String);

#[derive(Clone)]
pub(super) struct Watches(Arc<Inner>);

struct Inner {
    caches: Caches,
    resources: Resources,
    wake: Wake,
    /// Woken when other resources may be needed.
    queue: Queue<Key>,
    /// `None` where a cache tells; that goes on.
    running: Mutex<BTreeMap<Place, Option<AbortHandle>>>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        lock(&self.running).values().flatten().for_each(AbortHandle::abort);
    }
}

/// Wakes quotas.
#[derive(Clone)]
struct Wake {
    quotas: Cache<ResourceQuota>,
    queue: Queue<Key>,
}

/// The resources a quota is about.
fn places(quota: &ResourceQuota) -> impl Iterator<Item = (&str, &str)> {
    let hard = quota.spec.as_ref().and_then(|spec| spec.hard.as_ref());
    hard.into_iter().flatten().filter_map(|(name, _)| usage::measured(name))
}

impl Wake {
    /// The quotas of a namespace that are about the resource.
    fn of(&self, namespace: &str, place: (&str, &str), cause: &str) {
        self.all(self.quotas.in_namespace(namespace), place, cause);
    }

    /// Those of these quotas that are about the resource; false if none is.
    fn all(&self, quotas: Vec<Arc<ResourceQuota>>, place: (&str, &str), cause: &str) -> bool {
        let mut found = false;
        for quota in quotas.iter().filter(|quota| places(quota).any(|about| about == place)) {
            self.queue.add(Key::of(&quota.metadata), cause);
            found = true;
        }
        found
    }
}

impl Watches {
    pub(super) fn new(
        caches: &Caches,
        quotas: &Cache<ResourceQuota>,
        resources: &Resources,
        wake: &Queue<Key>,
    ) -> Self {
        let queue: Queue<Key> = Queue::new();
        let wake = Wake { quotas: quotas.clone(), queue: wake.clone() };
        let (q, waking) = (queue.clone(), wake.clone());
        caches.of::<PartialObjectMeta<CustomResourceDefinition>>().on_change(move |change| {
            // A definition is named after what it defines.
            let Some((resource, group)) = change.key.name.split_once('.') else { return };
            if waking.all(waking.quotas.all(), (group, resource), &change.story()) {
                q.add(Key::new("", "quotas"), change.story());
            }
        });
        Self(Arc::new(Inner {
            caches: caches.clone(),
            resources: resources.clone(),
            wake,
            queue,
            running: Mutex::default(),
        }))
    }

    pub(super) fn queue(&self) -> Queue<Key> {
        self.0.queue.clone()
    }

    pub(super) async fn run(&self) {
        let inner = self.0.clone();
        controllers_kit::run("resourcequota", self.queue(), 1, move |_| {
            let inner = inner.clone();
            async move { inner.follow_all().await }
        })
        .await;
    }
}

impl Inner {
    /// A watch for each resource that quotas are about and that there is.
    async fn follow_all(&self) -> Result<Done, Error> {
        let quotas = self.wake.quotas.all();
        let about: BTreeSet<(&str, &str)> = quotas.iter().flat_map(|quota| places(quota)).collect();
        let mut wanted = BTreeMap::new();
        let mut done = Done::nothing();
        for (group, name) in about {
            if let Some(resource) = self.resources.find(group, name).await? {
                wanted.insert((group.to_owned(), name.to_owned()), resource);
            } else if self.resources.may_come(group) {
                done.again_after(LOOK_AGAIN);
            }
        }
        let mut running = lock(&self.running);
        running.retain(|place, watch| match watch {
            Some(watch) if !wanted.contains_key(place) => {
                watch.abort();
                false
            }
            _ => true,
        });
        for (place, resource) in wanted {
            if let Entry::Vacant(free) = running.entry(place) {
                let watch = self.start(free.key(), resource);
                free.insert(watch);
            }
        }
        Ok(done)
    }

    fn start(&self, place: &Place, resource: ApiResource) -> Option<AbortHandle> {
        match (place.0.as_str(), place.1.as_str()) {
            ("", "pods") => self.listen::<Pod>("pods", frees_pod),
            ("", "services") => self.listen::<Service>("services", frees_service),
            ("", "persistentvolumeclaims") => {
                self.listen::<PersistentVolumeClaim>("persistentvolumeclaims", frees_claim);
            }
            _ => {
                let events = watch_raw(self.caches.client().clone(), &resource);
                let watch = follow(self.wake.clone(), place.clone(), resource.kind, events);
                return Some(controllers_kit::spawn("quota watch", watch).abort_handle());
            }
        }
        None
    }

    fn listen<K: Object>(&self, name: &'static str, frees: fn(&Change<K>) -> bool) {
        let wake = self.wake.clone();
        self.caches.of::<K>().on_change(move |change| {
            if frees(change) {
                wake.of(&change.key.namespace, ("", name), &change.story());
            }
        });
        // What went before anybody listened.
        self.wake.all(self.wake.quotas.all(), ("", name), "listening");
    }
}

async fn follow(
    wake: Wake,
    place: Place,
    kind: String,
    mut events: controllers_kit::Events<controllers_kit::Raw>,
) {
    let place = (place.0.as_str(), place.1.as_str());
    loop {
        match events.try_next().await {
            Ok(Some(Event::InitDone)) => {
                wake.all(wake.quotas.all(), place, "watching");
            }
            Ok(Some(Event::Delete(gone))) => {
                let key = Key::of(&gone.metadata);
                wake.of(&key.namespace, place, &format!("{kind} {key} deleted"));
            }
            Ok(Some(_)) => {}
            Ok(None) => return,
            Err(error) => tracing::debug!(kind, error = %error, "watch interrupted"),
        }
    }
}
