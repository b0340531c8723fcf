//! The registry: store, cache, catalogue and allocator together, and what every verb needs of them.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};

use apiserver_json::Value;
use apiserver_meta::{GroupResource, Status};
use apiserver_storage::etcd::EtcdError;
use apiserver_storage::{Entry, Error as StoreError, Op, Storage, Store, UnderWay, Write};
use apiserver_watchcache::{Cache, Object};
use bytes::Bytes;
use futures::channel::mpsc;
use rand::RngExt;
use tokio::sync::watch;

use crate::admission::{Compiled, PolicyHook, Requester, WebhookHook};
use crate::allocate::{Allocator, Exhausted, ServiceRanges};
use crate::catalogue::{Catalogue, Resource};
use crate::ip_addresses::ADDRESSES;
use crate::trees::Trees;
use crate::turns::Turns;
use crate::webhook::WebhookCaller;

/// Everything a verb works with.
#[derive(Clone)]
pub struct Registry {
    inner: Arc<Inner>,
}

struct Inner {
    store: Store,
    cache: Arc<Cache>,
    catalogue: RwLock<Arc<Catalogue>>,
    /// One at a time reads the definitions and replaces the catalogue: an older one must not come last.
    reloading: Mutex<()>,
    /// Told whenever the catalogue was replaced.
    reloaded: watch::Sender<()>,
    allocator: Mutex<Allocator>,
    exhausted: mpsc::Sender<Exhausted>,
    exhausted_notes: Mutex<Option<mpsc::Receiver<Exhausted>>>,
    compiled: CompiledHooks,
    /// Given once, by the server: the registry itself calls nobody.
    webhook_caller: OnceLock<Arc<dyn WebhookCaller>>,
    /// Of namespaces whose quotas are charged.
    turns: Turns,
    /// Of objects that several change at once.
    contended: Turns,
    trees: Trees,
    /// Names of admission plugins that are off.
    disabled_plugins: BTreeSet<String>,
}

/// What is asked about writes, compiled from what the cluster says.
#[derive(Default)]
pub(crate) struct CompiledHooks {
    pub policies: Compiled<PolicyHook>,
    pub mutating_policies: Compiled<PolicyHook>,
    pub mutating: Compiled<WebhookHook>,
    pub validating: Compiled<WebhookHook>,
}

/// Notes about exhausted ranges that wait to be read.
const EXHAUSTED_MAX: usize = 64;

/// One call of a verb.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    pub resource: &'a Arc<Resource>,
    pub namespace: Option<&'a str>,
    /// Empty for the resource itself.
    pub subresource: &'a str,
    /// Field manager of the change.
    pub manager: &'a str,
    pub dry_run: bool,
    pub requester: Requester<'a>,
}

impl Call<'_> {
    /// What a kind's rules warn of is due even where the request fails after them.
    pub(crate) fn warned<T>(&self, warnings: &[String], outcome: Result<T, Status>) -> Result<T, Status> {
        if let (Err(_), Some(due)) = (&outcome, self.requester.warnings) {
            due.add_first(warnings);
        }
        outcome
    }
}

/// What a write left behind.
#[derive(Clone, Debug)]
pub struct Written {
    /// The object as it was stored, with its resourceVersion; in the version of the call where a webhook converts.
    pub bytes: Bytes,
    pub warnings: Vec<String>,
}

/// The time as the API prints it: RFC 3339, whole seconds.
pub fn now() -> String {
    let now = jiff::Timestamp::now();
    jiff::Timestamp::from_second(now.as_second()).unwrap_or(now).to_string()
}

/// Characters of a generated name's suffix: no vowels, so no words.
const SUFFIX_ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

/// Five random characters.
pub fn random_suffix() -> String {
    let mut rng = rand::rng();
    (0..5).map(|_| char::from(SUFFIX_ALPHABET[rng.random_range(0..SUFFIX_ALPHABET.len())])).collect()
}

impl Registry {
    /// A registry over a store whose events feed `cache`, without the named admission plugins.
    pub fn new(
        store: impl Into<Store>,
        cache: Arc<Cache>,
        ranges: ServiceRanges,
        disabled_plugins: BTreeSet<String>,
    ) -> Self {
        let mut allocator = Allocator::new(ranges);
        let catalogue = Catalogue::builtin();
        if let Some(services) = catalogue.get("", "v1", "services") {
            for object in cache.snapshot(&services.prefix).objects.values() {
                allocator.adopt(object.key(), &object.parse());
            }
        }
        let (exhausted, notes) = mpsc::channel(EXHAUSTED_MAX);
        let registry = Self {
            inner: Arc::new(Inner {
                store: store.into(),
                cache,
                catalogue: RwLock::new(Arc::new(catalogue)),
                reloading: Mutex::default(),
                reloaded: watch::Sender::new(()),
                allocator: Mutex::new(allocator),
                exhausted,
                exhausted_notes: Mutex::new(Some(notes)),
                compiled: CompiledHooks::default(),
                webhook_caller: OnceLock::new(),
                turns: Turns::default(),
                contended: Turns::default(),
                trees: Trees::default(),
                disabled_plugins,
            }),
        };
        registry.reload_custom();
        registry
    }

    pub fn cache(&self) -> &Arc<Cache> {
        &self.inner.cache
    }

    pub fn store(&self) -> &Store {
        &self.inner.store
    }

    /// The kinds served now.
    pub fn catalogue(&self) -> Arc<Catalogue> {
        self.inner.catalogue.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Names of admission plugins that are off.
    pub fn disabled_plugins(&self) -> &BTreeSet<String> {
        &self.inner.disabled_plugins
    }

    pub(crate) fn compiled(&self) -> &CompiledHooks {
        &self.inner.compiled
    }

    /// Gives the registry somebody who calls webhooks; only the first counts.
    pub fn call_webhooks_through(&self, caller: Arc<dyn WebhookCaller>) {
        drop(self.inner.webhook_caller.set(caller));
    }

    pub(crate) fn webhook_caller(&self) -> Option<&dyn WebhookCaller> {
        self.inner.webhook_caller.get().map(AsRef::as_ref)
    }

    pub(crate) fn trees(&self) -> &Trees {
        &self.inner.trees
    }

    pub(crate) fn contended(&self) -> &Turns {
        &self.inner.contended
    }

    pub(crate) fn turns(&self) -> &Turns {
        &self.inner.turns
    }

    pub(crate) fn allocator(&self) -> std::sync::MutexGuard<'_, Allocator> {
        self.inner.allocator.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn exhausted_notes(&self) -> mpsc::Sender<Exhausted> {
        self.inner.exhausted.clone()
    }

    /// The Services that could not be given an address or port, as it happens; the first caller gets them.
    pub fn exhausted(&self) -> Option<mpsc::Receiver<Exhausted>> {
        self.inner.exhausted_notes.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Tells of every time that the kinds served may have changed.
    pub fn reloads(&self) -> watch::Receiver<()> {
        self.inner.reloaded.subscribe()
    }

    /// Is a custom resource still served as its definition said when this row was made?
    pub fn is_current(&self, resource: &Resource) -> bool {
        let Some(was) = &resource.custom else { return true };
        let catalogue = self.catalogue();
        let row = catalogue.get(&resource.group, &resource.version, &resource.name);
        row.and_then(|row| row.custom.as_ref()).is_some_and(|now| now.edition == was.edition)
    }

    /// Serves what the established custom resource definitions say, and nothing else.
    pub fn reload_custom(&self) {
        let _alone = self.inner.reloading.lock().unwrap_or_else(PoisonError::into_inner);
        let catalogue = self.catalogue();
        let Some(definitions) = catalogue.get("apiextensions.k8s.io", "v1", "customresourcedefinitions")
        else {
            return;
        };
        let mut rows = Vec::new();
        for object in self.inner.cache.snapshot(&definitions.prefix).objects.values() {
            rows.extend(crate::custom::rows(&object.parse()));
        }
        let next = Arc::new(catalogue.with_custom(rows));
        *self.inner.catalogue.write().unwrap_or_else(PoisonError::into_inner) = next;
        self.inner.reloaded.send_replace(());
    }

    /// One object.
    ///
    /// # Errors
    /// 404.
    pub fn get(&self, call: &Call, name: &str) -> Result<Arc<Object>, Status> {
        let key = call.resource.key(call.namespace, name);
        self.inner.cache.get(&key).ok_or_else(|| Status::not_found(&call.resource.group_resource(), name))
    }

    /// As [`Registry::get`], its bytes; in the version of the call where a webhook converts.
    ///
    /// # Errors
    /// 404, and 500 of a webhook.
    pub async fn read(&self, call: &Call<'_>, name: &str) -> Result<Bytes, Status> {
        let found = self.get(call, name)?;
        let found = self.served_objects(call.resource, vec![found]).await?;
        Ok(found.first().map(|object| object.bytes().clone()).unwrap_or_default())
    }

    /// Commits and turns a store error into what the client gets; `None` means a lost race, to be tried again.
    pub(crate) async fn commit(
        &self,
        call: &Call<'_>,
        name: &str,
        writes: Vec<Write>,
    ) -> Result<Option<Entry>, Status> {
        let creates = matches!(writes.first().map(|write| &write.op), Some(Op::Create(_)));
        let own = writes.first().map(|write| write.key.clone());
        let outcome = if self.inner.store.is_shared() {
            let claims = crate::shared::claims::of(&self.inner.cache, &writes);
            self.inner.store.commit_claiming(writes, &claims).await
        } else {
            self.inner.store.commit(writes).await
        };
        match outcome {
            Ok(entries) => Ok(entries.into_iter().next()),
            // Somebody made an IPAddress of the one that was chosen for a Service.
            Err(StoreError::Exists { key }) if key.starts_with(ADDRESSES) && Some(&key) != own.as_ref() => {
                Err(store_failed(&StoreError::Taken { key }))
            }
            Err(StoreError::Exists { .. }) if creates => {
                Err(Status::already_exists(&call.resource.group_resource(), name))
            }
            Err(StoreError::Exists { .. } | StoreError::Conflict { .. }) => Ok(None),
            Err(error) => {
                // Closed is what it is at the end.
                if !matches!(error, StoreError::Closed) {
                    tracing::error!(error = %error, "a write failed");
                }
                Err(store_failed(&error))
            }
        }
    }

    /// Says to the store that a request came that is likely to write, until what is given is dropped.
    pub fn under_way(&self) -> Option<UnderWay> {
        self.inner.store.under_way()
    }

    /// Returns once what is read here holds everything that was written before the call, by whichever server.
    ///
    /// # Errors
    /// 500 and 504 where a store that others share can't tell.
    pub async fn catch_up(&self) -> Result<(), Status> {
        self.inner.store.catch_up().await.map_err(|error| store_failed(&error))
    }

    /// The state of the namespace of a call: upstream's NamespaceLifecycle admission.
    ///
    /// # Errors
    /// 404 where it does not exist, 403 where it is being deleted.
    pub(crate) fn check_namespace(&self, call: &Call, object: &Value) -> Result<(), Status> {
        self.check_content(call, &call.resource.group_resource(), crate::object::name(object))
    }

    /// Nothing is made where there is no namespace for it, and some namespaces stay: whether that is so here.
    pub(crate) fn keeps_namespaces(&self) -> bool {
        !self.disabled_plugins().contains(NAMESPACE_LIFECYCLE)
    }

    /// A namespace that goes takes nothing new, be it an object or what is made of one. `of` is what is made.
    ///
    /// # Errors
    /// 404 of a namespace that is not there, 403 of one that is being deleted.
    pub fn check_content(&self, call: &Call, of: &GroupResource, name: &str) -> Result<(), Status> {
        let (true, Some(namespace)) = (call.resource.namespaced, call.namespace) else { return Ok(()) };
        if !self.keeps_namespaces() {
            return Ok(());
        }
        let gr = GroupResource::new("", "namespaces");
        let found = self
            .inner
            .cache
            .get(&format!("/registry/core/namespaces/{namespace}"))
            .ok_or_else(|| Status::not_found(&gr, namespace))?;
        // A cheap look before a parse: almost no namespace is being deleted.
        if !contains(found.metadata(), b"\"deletionTimestamp\"") {
            return Ok(());
        }
        if !crate::object::is_deleting(&found.parse()) {
            return Ok(());
        }
        let why =
            format!("unable to create new content in namespace {namespace} because it is being terminated");
        let mut status = Status::forbidden(of, name, &why);
        if let Some(Value::Object(details)) = &mut status.details {
            details.insert(
                "causes".into(),
                apiserver_json::json!([{
                    "reason": "NamespaceTerminating",
                    "message": format!("namespace {namespace} is being terminated"),
                    "field": "metadata.namespace",
                }]),
            );
        }
        Err(status)
    }
}

/// The admission plugin that asks for namespaces.
pub(crate) const NAMESPACE_LIFECYCLE: &str = "NamespaceLifecycle";

/// What a client gets where the store failed.
fn store_failed(error: &StoreError) -> Status {
    match error {
        StoreError::Etcd(error) => match &**error {
            // etcd's own words, as upstream passes them on.
            EtcdError::Refused(_) => Status::new(500, "", error.to_string()),
            EtcdError::TimedOut
            | EtcdError::Broken(_)
            | EtcdError::Unreachable(_)
            | EtcdError::Behind { .. } => Status::timeout(error.to_string(), 1),
            error => Status::internal(error),
        },
        // Who asks again is given another.
        StoreError::Taken { .. } => Status::timeout(
            "a cluster IP or node port of this Service was taken by another object meanwhile",
            1,
        ),
        error => Status::internal(error),
    }
}

pub(crate) fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window.first() == needle.first() && window == needle)
}
