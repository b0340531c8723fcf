//! Objects as trees, and what goes between the client and a kind's own type: one watch, one request, for all kinds.
//!
//! Everything here is compiled once. What is generic over kinds is compiled once a kind and crate, and the client's
//! machinery is large.

use std::borrow::Cow;

use futures::future::BoxFuture;
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, ListParams, Patch, PatchParams, PostParams};
use kube::core::{ApiResource, Request};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Client, Resource};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::cache::Object;
use crate::error::Error;
use crate::key::Key;

/// An object of any kind: its metadata, and all of it as a tree.
#[derive(Clone, Debug)]
pub struct Raw {
    /// Its metadata, without `managedFields`.
    pub metadata: ObjectMeta,
    /// All of it, without `managedFields`.
    pub tree: Value,
}

impl Raw {
    /// Reads an object.
    ///
    /// # Errors
    /// When its metadata is not an object's.
    pub fn new(mut tree: Value) -> serde_json::Result<Self> {
        let metadata = match tree.get_mut("metadata") {
            Some(metadata) => {
                // Half of an object's bytes, and no loop reads them.
                metadata.as_object_mut().map(|members| members.remove("managedFields"));
                ObjectMeta::deserialize(&*metadata)?
            }
            None => ObjectMeta::default(),
        };
        Ok(Raw { metadata, tree })
    }
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Raw::new(Value::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

impl Resource for Raw {
    type DynamicType = ApiResource;
    type Scope = k8s_openapi::ClusterResourceScope;

    fn kind(of: &ApiResource) -> Cow<'_, str> {
        of.kind.as_str().into()
    }

    fn group(of: &ApiResource) -> Cow<'_, str> {
        of.group.as_str().into()
    }

    fn version(of: &ApiResource) -> Cow<'_, str> {
        of.version.as_str().into()
    }

    fn plural(of: &ApiResource) -> Cow<'_, str> {
        of.plural.as_str().into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

/// What is asked for a kind, and where.
pub fn resource<K: Object>() -> ApiResource {
    ApiResource::erase::<K>(&())
}

/// The events of a resource, from a list of what there is on; after an error it goes on by itself, with a delay.
pub fn watch_raw(client: Client, resource: &ApiResource) -> Events<Raw> {
    let api: Api<Raw> = Api::all_with(client, resource);
    watcher(api, watcher::Config::default()).default_backoff().boxed()
}

/// The events of a kind, as [`watch_raw`].
pub fn watch<K: Object>(client: Client) -> Events<K> {
    watch_raw(client, &resource::<K>()).map(typed_event).boxed()
}

/// Events of a watch.
pub type Events<K> = BoxStream<'static, watcher::Result<watcher::Event<K>>>;

fn typed_event<K: Object>(event: watcher::Result<watcher::Event<Raw>>) -> watcher::Result<watcher::Event<K>> {
    let typed = |raw: Raw| K::from_tree(raw.tree).map_err(not_understood);
    Ok(match event? {
        watcher::Event::Init => watcher::Event::Init,
        watcher::Event::InitDone => watcher::Event::InitDone,
        watcher::Event::InitApply(raw) => watcher::Event::InitApply(typed(raw)?),
        watcher::Event::Apply(raw) => watcher::Event::Apply(typed(raw)?),
        watcher::Event::Delete(raw) => watcher::Event::Delete(typed(raw)?),
    })
}

fn not_understood(error: serde_json::Error) -> watcher::Error {
    watcher::Error::WatchFailed(kube::Error::SerdeError(error))
}

/// All objects of a kind.
///
/// # Errors
/// When the API server refused, could not be reached, or holds an object that is not of the kind.
pub async fn list<K: Object>(client: &Client) -> Result<Vec<K>, Error> {
    let items = list_raw(client.clone(), resource::<K>()).await?;
    items.into_iter().map(|raw| Ok(K::from_tree(raw.tree)?)).collect()
}

/// All objects of a resource.
pub fn list_raw(client: Client, resource: ApiResource) -> BoxFuture<'static, Result<Vec<Raw>, Error>> {
    async move {
        let api: Api<Raw> = Api::all_with(client, &resource);
        Ok(api.list(&ListParams::default()).await?.items)
    }
    .boxed()
}

/// Sends a request; the answer's body as a tree.
pub fn send(
    client: Client,
    request: Result<http::Request<Vec<u8>>, kube::core::request::Error>,
) -> BoxFuture<'static, Result<Value, Error>> {
    async move {
        let request = request.map_err(kube::Error::BuildRequest)?;
        let answer = client.request_text(request).await?;
        Ok(serde_json::from_str(&answer)?)
    }
    .boxed()
}

fn request<K: Object>(namespace: &str) -> Request {
    let namespace = Some(namespace).filter(|n| !n.is_empty());
    Request::new(K::url_path(&(), namespace))
}

/// Creates an object; answers it as it was stored.
///
/// # Errors
/// What the API server answers.
pub async fn create<K: Object>(client: &Client, object: &K) -> Result<Value, Error> {
    let namespace = object.meta().namespace.as_deref().unwrap_or_default();
    let request = request::<K>(namespace).create(&PostParams::default(), object.to_json()?);
    send(client.clone(), request).await
}

/// Replaces an object, or its subresource where one is named, whose version is still the given one.
///
/// # Errors
/// What the API server answers.
pub async fn replace<K: Object>(client: &Client, subresource: &str, object: &K) -> Result<Value, Error> {
    let key = Key::of(object.meta());
    let (request, params) = (request::<K>(&key.namespace), PostParams::default());
    let body = object.to_json()?;
    let request = match subresource {
        "" => request.replace(&key.name, &params, body),
        name => request.replace_subresource(name, &key.name, &params, body),
    };
    send(client.clone(), request).await
}

/// Merges into an object, or into its subresource where one is named.
///
/// # Errors
/// What the API server answers.
pub async fn merge<K: Object>(
    client: &Client,
    subresource: &str,
    key: &Key,
    patch: &Value,
) -> Result<Value, Error> {
    let (request, params) = (request::<K>(&key.namespace), PatchParams::default());
    let request = match subresource {
        "" => request.patch(&key.name, &params, &Patch::Merge(patch)),
        name => request.patch_subresource(name, &key.name, &params, &Patch::Merge(patch)),
    };
    send(client.clone(), request).await
}
