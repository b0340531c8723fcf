//! Lists: selectors, pages, and the revision they are true at. Served from a snapshot, never from disk.

use std::sync::Arc;

use apiserver_meta::Status;
use apiserver_meta::selector::{FieldSelector, LabelSelector};
use apiserver_watchcache::{Error as CacheError, Object, Snapshot};

use crate::catalogue::Resource;
use crate::fields;
use crate::registry::{Call, Registry};

/// Which objects a list or watch is about.
#[derive(Clone, Debug, Default)]
pub struct Selectors {
    pub labels: LabelSelector,
    pub fields: FieldSelector,
}

impl Selectors {
    pub fn is_everything(&self) -> bool {
        self.labels.is_everything() && self.fields.is_everything()
    }

    /// Does the object match?
    pub fn select(&self, resource: &Resource, object: &Object) -> bool {
        (self.labels.is_everything() || self.labels.matches(|key| object.label(key)))
            && (self.fields.is_everything()
                || self.fields.matches(|path| match path {
                    "metadata.name" => Some(identity(resource, object.key()).1),
                    "metadata.namespace" => identity(resource, object.key()).0,
                    path => object.field(path, |value| fields::extract(resource, value)),
                }))
    }
}

/// Namespace and name in a key.
pub fn identity<'a>(resource: &Resource, key: &'a str) -> (Option<&'a str>, &'a str) {
    let rest = key.get(resource.prefix.len()..).unwrap_or("");
    match rest.split_once('/') {
        Some((namespace, name)) if resource.namespaced => (Some(namespace), name),
        _ => (None, rest),
    }
}

/// Which page of which state.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// 0 for everything.
    pub limit: usize,
    /// Key to start at, and the revision of the first page; 0 is the state now.
    pub from: Option<(String, u64)>,
    /// The state at exactly this revision.
    pub exact: Option<u64>,
    /// A state not older than this.
    pub at_least: Option<u64>,
}

impl Page {
    /// The revision that a list goes on at.
    pub fn revision(&self) -> Option<u64> {
        self.from.as_ref().map(|(_, revision)| *revision).filter(|revision| *revision > 0)
    }
}

/// A page of objects.
#[derive(Clone, Debug)]
pub struct Listing {
    pub revision: u64,
    pub objects: Vec<Arc<Object>>,
    /// Key of the next page's first object.
    pub next: Option<String>,
    /// How many follow, where nothing was selected.
    pub remaining: Option<usize>,
}

impl Registry {
    /// Lists a scope.
    ///
    /// # Errors
    /// 410 where the revision has left the window, 504 where it is ahead of every known one, 500 of a webhook that
    /// should convert.
    pub async fn list(&self, call: &Call<'_>, selectors: &Selectors, page: &Page) -> Result<Listing, Status> {
        let resource = call.resource;
        let wanted = page.revision().or(page.exact);
        if let Some(at_least) = page.at_least.or(wanted) {
            self.cache().wait_for(at_least).await.map_err(|error| cache_error(&error))?;
        }
        let snapshot = match wanted {
            Some(revision) => self.cache().snapshot_at(&resource.prefix, revision).map_err(|error| {
                if let CacheError::Future { .. } = error {
                    return cache_error(&error);
                }
                if page.from.is_none() {
                    return Status::expired("The resourceVersion for the provided list is too old.");
                }
                Status::expired(
                    "The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter, or use the continue token in this response to retrieve the remainder of the results. Continuing with the provided token results in an inconsistent list - objects that were created, modified, or deleted between the time the first chunk was returned and now may show up in the list.",
                )
            })?,
            None => self.cache().snapshot(&resource.prefix),
        };
        let scope = resource.scope(call.namespace);
        let start = page.from.as_ref().map_or(scope.as_str(), |(key, _)| key.as_str());
        if let (Some(name), true) = (selectors.fields.exact("metadata.name"), page.from.is_none())
            && (call.namespace.is_some() || !resource.namespaced)
        {
            let found = snapshot.objects.get(&resource.key(call.namespace, name));
            let mut objects = self.served_objects(resource, found.cloned().into_iter().collect()).await?;
            objects.retain(|object| selectors.select(resource, object));
            return Ok(Listing { revision: snapshot.revision, objects, next: None, remaining: None });
        }
        let (snapshot, (objects, next, remaining)) = match self.labelled(call, selectors, page) {
            // By an index: the state now, which may be later than that of the snapshot.
            Some((now, found)) => (now, (found, None, None)),
            None => {
                let rest = snapshot.from(&scope, start);
                let page = if resource.asks_to_convert() && !selectors.is_everything() {
                    // What is selected can only be told of objects in the version of the call.
                    let all = self.served_objects(resource, rest.cloned().collect()).await?;
                    paged(all.iter(), resource, selectors, page.limit)
                } else {
                    paged(rest, resource, selectors, page.limit)
                };
                (snapshot, page)
            }
        };
        let objects = self.served_objects(resource, objects).await?;
        if next.is_some() {
            self.cache().keep_for_pages(&resource.prefix, &snapshot);
        }
        Ok(Listing { revision: snapshot.revision, objects, next, remaining })
    }

    /// All objects, of the state now, where an index finds those with a label that the selectors fix. It does not know
    /// what else there is, as a page has to.
    fn labelled(&self, call: &Call<'_>, selectors: &Selectors, page: &Page) -> Option<Labelled> {
        let resource = call.resource;
        let (label, values) = selectors.labels.fixed()?;
        if page.limit > 0 || page.from.is_some() || page.exact.is_some() || resource.asks_to_convert() {
            return None;
        }
        let scope = resource.scope(call.namespace);
        let (now, mut found) = self.cache().labelled(&resource.prefix, &scope, label, values)?;
        found.retain(|object| selectors.select(resource, object));
        Some((now, found))
    }
}

type Labelled = (Snapshot, Vec<Arc<Object>>);

/// The objects of a page, the key of what follows it, selected or not, and how much that is where all is selected.
fn paged<'a>(
    mut rest: impl Iterator<Item = &'a Arc<Object>>,
    resource: &Resource,
    selectors: &Selectors,
    limit: usize,
) -> (Vec<Arc<Object>>, Option<String>, Option<usize>) {
    let mut objects = Vec::new();
    while limit == 0 || objects.len() < limit {
        let Some(object) = rest.next() else { return (objects, None, None) };
        if selectors.select(resource, object) {
            objects.push(object.clone());
        }
    }
    let next = rest.next().map(|object| object.key().to_string());
    let remaining = (next.is_some() && selectors.is_everything()).then(|| 1 + rest.count());
    (objects, next, remaining)
}

/// What a client gets for a revision the cache can't serve.
pub fn cache_error(error: &CacheError) -> Status {
    match error {
        CacheError::Expired { asked, oldest } => Status::too_old(*asked, *oldest),
        CacheError::Future { asked, current } => {
            let mut status = Status::timeout(
                format!("Timeout: Too large resource version: {asked}, current: {current}"),
                1,
            );
            status.details = Some(apiserver_json::json!({
                "retryAfterSeconds": 1,
                "causes": [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}],
            }));
            status
        }
    }
}
