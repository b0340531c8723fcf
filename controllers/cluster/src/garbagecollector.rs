//! Garbage collector: what no owner needs any more is deleted, in the way the owner's deletion asked for.
//!
//! It watches metadata only, of every resource that discovery names; Events own nothing and are left out.

mod graph;

use crate::discovery;
use controllers_kit::{Cache, Caches, Done, Error, Key, Queue};
use futures::{StreamExt, TryStreamExt};
use graph::{Graph, Item, References};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::api::{Api, DeleteParams, Patch, PatchParams, Preconditions, PropagationPolicy};
use kube::core::{ApiResource, DynamicObject, PartialObjectMeta};
use kube::runtime::{WatchStreamExt, watcher};
use serde_json::json;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::task::AbortHandle;

const ORPHAN: &str = "orphan";
const FOREGROUND: &str = "foregroundDeletion";

/// A uid, and what to call it in the log.
#[derive(Debug, Clone)]
struct Uid(String, String);

impl PartialEq for Uid {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}
impl Eq for Uid {}
impl std::hash::Hash for Uid {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}
impl std::fmt::Display for Uid {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.1)
    }
}

struct Loop {
    client: kube::Client,
    graph: Mutex<Graph>,
    queue: Queue<Uid>,
    /// Resources by `apiVersion/kind`, and whether they are namespaced.
    kinds: Mutex<HashMap<String, (ApiResource, bool)>>,
    watches: Mutex<HashMap<String, AbortHandle>>,
}

pub(crate) async fn run(caches: Caches) {
    let definitions: Cache<PartialObjectMeta<CustomResourceDefinition>> = caches.of();
    let queue = Queue::new();
    let this = Arc::new(Loop {
        client: caches.client().clone(),
        graph: Mutex::default(),
        queue: queue.clone(),
        kinds: Mutex::default(),
        watches: Mutex::default(),
    });
    let resync: Queue<Key> = Queue::new();
    let q = resync.clone();
    definitions.on_change(move |change| q.add(Key::new("", "resources"), change.story()));
    definitions.synced().await;
    resync.add(Key::new("", "resources"), "start");
    let (a, b) = (this.clone(), this.clone());
    let discover = controllers_kit::run("resources", resync, 1, move |_| {
        let this = a.clone();
        async move { this.watch_all().await }
    });
    let collect = controllers_kit::run("garbagecollector", queue, 8, move |uid: Uid| {
        let this = b.clone();
        async move { this.reconcile(&uid.0).await }
    });
    let _stop = StopWatches(this);
    futures::join!(discover, collect);
}

struct StopWatches(Arc<Loop>);

impl Drop for StopWatches {
    fn drop(&mut self) {
        lock(&self.0.watches).drain().for_each(|(_, watch)| watch.abort());
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn id(api_version: &str, kind: &str) -> String {
    format!("{api_version}/{kind}")
}

impl Loop {
    /// One metadata watch for each resource there is, none for those that are gone.
    async fn watch_all(self: &Arc<Self>) -> Result<Done, Error> {
        let resources = discovery::all(&self.client).await?;
        let mut found = HashMap::new();
        for resource in resources {
            let event = resource.api.kind == "Event";
            if !event && ["delete", "list", "watch"].iter().all(|verb| resource.can(verb)) {
                let id = id(&resource.api.api_version, &resource.api.kind);
                found.insert(id, (resource.api, resource.namespaced));
            }
        }
        let mut watches = lock(&self.watches);
        watches.retain(|id, watch| {
            let stays = found.contains_key(id);
            if !stays {
                watch.abort();
            }
            stays
        });
        for (id, (resource, _)) in &found {
            if !watches.contains_key(id) {
                let watch = controllers_kit::spawn("garbage watch", self.clone().follow(resource.clone()));
                watches.insert(id.clone(), watch.abort_handle());
            }
        }
        *lock(&self.kinds) = found;
        Ok(Done::nothing())
    }

    async fn follow(self: Arc<Self>, resource: ApiResource) {
        let api: Api<PartialObjectMeta> = Api::all_with(self.client.clone(), &resource);
        let mut events = watcher(api, watcher::Config::default()).default_backoff().boxed();
        let kind = id(&resource.api_version, &resource.kind);
        let mut listed = Vec::new();
        loop {
            match events.try_next().await {
                Ok(Some(watcher::Event::Init)) => listed.clear(),
                Ok(Some(watcher::Event::InitApply(object))) => {
                    listed.extend(object.metadata.uid.clone());
                    self.saw(&kind, object.metadata);
                }
                Ok(Some(watcher::Event::InitDone)) => {
                    let gone = lock(&self.graph).missing(&kind, &std::mem::take(&mut listed));
                    gone.iter().for_each(|uid| self.saw_deleted(uid));
                }
                Ok(Some(watcher::Event::Apply(object))) => self.saw(&kind, object.metadata),
                Ok(Some(watcher::Event::Delete(object))) => {
                    self.saw_deleted(object.metadata.uid.as_deref().unwrap_or_default());
                }
                Ok(None) => return,
                Err(error) => tracing::debug!(kind, error = %error, "watch interrupted"),
            }
        }
    }

    fn wake(&self, uid: &str, cause: String) {
        let label = lock(&self.graph).get(uid).map_or_else(|| uid.to_string(), Item::label);
        self.queue.add(Uid(uid.to_string(), label), cause);
    }

    fn saw(&self, kind: &str, meta: ObjectMeta) {
        let item = Item::of(kind, meta);
        let (uid, label) = (item.uid.clone(), item.label());
        let waiting = item.is_deleting() && (item.has_finalizer(FOREGROUND) || item.has_finalizer(ORPHAN));
        let has_owners = !item.owners.is_empty();
        let (dependents, unblocked) = {
            let mut graph = lock(&self.graph);
            let old = graph.get(&uid);
            let news = old.is_none_or(|old| old.matters(&item));
            let unblocked = old.map(|old| old.no_longer_blocks(&item)).unwrap_or_default();
            graph.put(item);
            if !news {
                return;
            }
            (if waiting { graph.dependents(&uid) } else { Vec::new() }, unblocked)
        };
        unblocked.iter().for_each(|owner| self.wake(owner, format!("{label} waits no more")));
        if has_owners || waiting {
            self.wake(&uid, format!("{label} changed"));
        }
        dependents.iter().for_each(|dependent| self.wake(dependent, format!("{label} is being deleted")));
    }

    fn saw_deleted(&self, uid: &str) {
        let (label, dependents, owners) = {
            let mut graph = lock(&self.graph);
            let dependents = graph.dependents(uid);
            let Some(item) = graph.remove(uid) else { return };
            (item.label(), dependents, item.owners)
        };
        dependents.iter().for_each(|dependent| self.wake(dependent, format!("{label} deleted")));
        for owner in owners {
            let waits = lock(&self.graph).get(&owner.uid).is_some_and(Item::is_deleting);
            if waits {
                self.wake(&owner.uid, format!("{label} deleted"));
            }
        }
    }

    fn api(&self, kind: &str, namespace: &str) -> Option<(Api<DynamicObject>, bool)> {
        let (resource, namespaced) = lock(&self.kinds).get(kind).cloned()?;
        let api = if namespaced && !namespace.is_empty() {
            Api::namespaced_with(self.client.clone(), namespace, &resource)
        } else {
            Api::all_with(self.client.clone(), &resource)
        };
        Some((api, namespaced))
    }

    async fn reconcile(&self, uid: &str) -> Result<Done, Error> {
        let Some(item) = lock(&self.graph).get(uid).cloned() else { return Ok(Done::nothing()) };
        if item.is_deleting() {
            if item.has_finalizer(ORPHAN) {
                return self.orphan_dependents(&item).await;
            }
            return if item.has_finalizer(FOREGROUND) {
                self.wait_for_dependents(&item).await
            } else {
                Ok(Done::nothing())
            };
        }
        if item.owners.is_empty() {
            return Ok(Done::nothing());
        }
        let mut absent = Vec::new();
        let unknown: Vec<OwnerReference> = {
            let graph = lock(&self.graph);
            item.owners.iter().filter(|o| graph.get(&o.uid).is_none()).cloned().collect()
        };
        for owner in &unknown {
            if self.is_absent(&item, owner).await? {
                absent.push(owner.uid.clone());
            }
        }
        let references = lock(&self.graph).classify(&item, &absent);
        self.collect(&item, references).await
    }

    /// Asks the API server: the watch may not have told yet.
    async fn is_absent(&self, item: &Item, owner: &OwnerReference) -> Result<bool, Error> {
        let Some((api, namespaced)) = self.api(&id(&owner.api_version, &owner.kind), &item.key.namespace)
        else {
            // An owner of a kind that is gone, or not known yet: wait, do not delete.
            return Err(Error::After {
                reason: format!("no resource {} in {}", owner.kind, owner.api_version),
                duration: Duration::from_secs(30),
            });
        };
        if namespaced && item.key.namespace.is_empty() {
            return Ok(false);
        }
        match api.get_metadata_opt(&owner.name).await? {
            Some(found) => Ok(found.metadata.uid.as_ref() != Some(&owner.uid)),
            None => Ok(true),
        }
    }

    async fn collect(&self, item: &Item, references: References) -> Result<Done, Error> {
        let Some((api, _)) = self.api(&item.kind, &item.key.namespace) else { return Ok(Done::nothing()) };
        if !references.solid.is_empty() {
            if references.dangling.is_empty() && references.waiting.is_empty() {
                return Ok(Done::nothing());
            }
            let patch = json!({"metadata": {"uid": item.uid, "resourceVersion": item.version, "ownerReferences": references.solid}});
            let patched =
                api.patch_metadata(&item.key.name, &PatchParams::default(), &Patch::Merge(&patch)).await;
            controllers_kit::error::gone_is_fine(patched.map_err(Error::from))?;
            return Ok(Done::change("removed references to owners that are gone"));
        }
        let (has_dependents, is_circle) = lock(&self.graph).below(&item.uid);
        let mut version = item.version.clone();
        if !references.waiting.is_empty() && is_circle {
            // Who waits for this item is what this item waits for: somebody has to go first.
            let owners = item.owners.iter().map(|owner| {
                json!({"apiVersion": owner.api_version, "kind": owner.kind, "name": owner.name, "uid": owner.uid,
                       "controller": owner.controller, "blockOwnerDeletion": false})
            });
            let patch = json!({"metadata": {"uid": item.uid, "ownerReferences": owners.collect::<Vec<_>>()}});
            let patched =
                api.patch_metadata(&item.key.name, &PatchParams::default(), &Patch::Merge(&patch)).await;
            let Some(patched) = controllers_kit::error::gone_is_fine(patched.map_err(Error::from))? else {
                return Ok(Done::nothing());
            };
            version = patched.metadata.resource_version.unwrap_or_default();
        }
        let policy = if !references.waiting.is_empty() && has_dependents {
            PropagationPolicy::Foreground
        } else if item.has_finalizer(ORPHAN) {
            PropagationPolicy::Orphan
        } else if item.has_finalizer(FOREGROUND) {
            PropagationPolicy::Foreground
        } else {
            PropagationPolicy::Background
        };
        let params = DeleteParams {
            propagation_policy: Some(policy),
            preconditions: Some(Preconditions {
                uid: Some(item.uid.clone()),
                resource_version: Some(version),
            }),
            ..Default::default()
        };
        match api.delete(&item.key.name, &params).await.map_err(Error::from) {
            Ok(_) => Ok(Done::change("deleted: its owner is gone")),
            Err(error) if error.is_not_found() => Ok(Done::nothing()),
            Err(error) => Err(error),
        }
    }

    /// Foreground: the owner goes when no dependent blocks it any more.
    async fn wait_for_dependents(&self, item: &Item) -> Result<Done, Error> {
        let blocking = lock(&self.graph).blocking(&item.uid);
        if blocking.is_empty() {
            return self.remove_finalizer(item, FOREGROUND).await;
        }
        blocking.iter().for_each(|uid| self.wake(uid, format!("{} is being deleted", item.label())));
        Ok(Done::nothing())
    }

    async fn orphan_dependents(&self, item: &Item) -> Result<Done, Error> {
        let dependents: Vec<Item> = {
            let graph = lock(&self.graph);
            graph.dependents(&item.uid).iter().filter_map(|uid| graph.get(uid).cloned()).collect()
        };
        for dependent in dependents {
            let Some((api, _)) = self.api(&dependent.kind, &dependent.key.namespace) else { continue };
            let rest: Vec<_> = dependent.owners.iter().filter(|o| o.uid != item.uid).collect();
            let patch = json!({"metadata": {"uid": dependent.uid, "ownerReferences": rest}});
            let patched =
                api.patch_metadata(&dependent.key.name, &PatchParams::default(), &Patch::Merge(&patch)).await;
            controllers_kit::error::gone_is_fine(patched.map_err(Error::from))?;
        }
        self.remove_finalizer(item, ORPHAN).await
    }

    async fn remove_finalizer(&self, item: &Item, finalizer: &str) -> Result<Done, Error> {
        let Some((api, _)) = self.api(&item.kind, &item.key.namespace) else { return Ok(Done::nothing()) };
        let rest: Vec<_> = item.finalizers.iter().filter(|f| *f != finalizer).collect();
        let patch =
            json!({"metadata": {"uid": item.uid, "resourceVersion": item.version, "finalizers": rest}});
        let patched =
            api.patch_metadata(&item.key.name, &PatchParams::default(), &Patch::Merge(&patch)).await;
        controllers_kit::error::gone_is_fine(patched.map_err(Error::from))?;
        Ok(Done::change(format!("removed finalizer {finalizer}")))
    }
}
