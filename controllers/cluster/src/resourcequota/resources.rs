//! What there is of a resource: asked of the API server, which has it in memory.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use controllers_kit::{Caches, Error, Raw};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Client;
use kube::api::{Api, ListParams};
use kube::core::{ApiResource, DynamicObject, PartialObjectMeta};

use super::lock;
use crate::discovery::{self, Resource};

/// How long a changed definition may take to be served.
const SERVED: Duration = Duration::from_secs(5);

/// What is known of groups, how often definitions have changed so far, and when they did last.
#[derive(Default)]
struct Known {
    changes: u64,
    changed: Option<Instant>,
    groups: HashMap<String, Arc<Vec<Resource>>>,
}

/// The resources that can be counted; clones share what was found.
#[derive(Clone)]
pub(super) struct Resources {
    client: Client,
    known: Arc<Mutex<Known>>,
}

impl Resources {
    pub(super) fn new(caches: &Caches) -> Self {
        let resources = Self { client: caches.client().clone(), known: Arc::default() };
        let known = resources.known.clone();
        caches.of::<PartialObjectMeta<CustomResourceDefinition>>().on_change(move |change| {
            let mut known = lock(&known);
            known.changes += 1;
            known.changed = Some(Instant::now());
            let group = change.key.name.split_once('.').map_or("", |(_, group)| group);
            known.groups.remove(group);
        });
        resources
    }

    /// A resource as it is served, where objects of it live in namespaces, come and go.
    pub(super) async fn find(&self, group: &str, name: &str) -> Result<Option<ApiResource>, Error> {
        let verbs = ["create", "list", "watch", "delete"];
        let known = self.of_group(group).await?;
        let found = known.iter().find(|resource| resource.api.plural == name);
        let found =
            found.filter(|resource| resource.namespaced && verbs.iter().all(|verb| resource.can(verb)));
        Ok(found.map(|resource| resource.api.clone()))
    }

    /// A resource was not found: true if that may be otherwise in a moment, when it is to be asked for again.
    pub(super) fn may_come(&self, group: &str) -> bool {
        let mut known = lock(&self.known);
        let soon = known.changed.is_some_and(|changed| changed.elapsed() < SERVED);
        if soon {
            known.groups.remove(group);
        }
        soon
    }

    async fn of_group(&self, group: &str) -> Result<Arc<Vec<Resource>>, Error> {
        let changes = {
            let known = lock(&self.known);
            if let Some(found) = known.groups.get(group) {
                return Ok(found.clone());
            }
            known.changes
        };
        let found = Arc::new(discovery::of_group(&self.client, group).await?);
        let mut known = lock(&self.known);
        // A definition that changed meanwhile may not be in what was found.
        if known.changes == changes {
            known.groups.insert(group.to_owned(), found.clone());
        }
        Ok(found)
    }

    /// How many objects there are in a namespace: asks for one, and how many more there are.
    pub(super) async fn count(&self, resource: &ApiResource, namespace: &str) -> Result<usize, Error> {
        let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), namespace, resource);
        let one = api.list_metadata(&ListParams::default().limit(1)).await?;
        let more = one.metadata.remaining_item_count;
        if more.is_none() && one.metadata.continue_.is_some_and(|token| !token.is_empty()) {
            return Ok(api.list_metadata(&ListParams::default()).await?.items.len());
        }
        Ok(one.items.len() + usize::try_from(more.unwrap_or(0)).unwrap_or(0))
    }

    /// All objects of a namespace.
    pub(super) async fn list(&self, resource: &ApiResource, namespace: &str) -> Result<Vec<Raw>, Error> {
        let api: Api<Raw> = Api::namespaced_with(self.client.clone(), namespace, resource);
        Ok(api.list(&ListParams::default()).await?.items)
    }
}
