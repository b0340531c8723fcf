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
use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

use crate::cache::Object;
use crate::error::Error;
use crate::key::Key;

/// An object of any kind.
#[derive(Clone, Debug)]
pub struct Raw {
    /// Name, namespace, uid and resourceVersion, nothing else.
    pub metadata: ObjectMeta,
    /// All of it, without `managedFields`.
    pub tree: Value,
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let tree = deserializer.deserialize_any(Members { owner: "" })?;
        let text = |member: &str| tree["metadata"][member].as_str().map(str::to_owned);
        let metadata = ObjectMeta {
            name: text("name"),
            namespace: text("namespace"),
            uid: text("uid"),
            resource_version: text("resourceVersion"),
            ..ObjectMeta::default()
        };
        Ok(Raw { metadata, tree })
    }
}

/// Reads an object or its metadata as a tree. `managedFields` are half of an object's bytes and most of its nodes, and
/// no loop reads them: they are skipped.
#[derive(Clone, Copy)]
struct Members {
    owner: &'static str,
}

impl<'de> DeserializeSeed<'de> for Members {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Members {
    type Value = Value;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an object")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut members = Map::new();
        while let Some(name) = map.next_key::<String>()? {
            let value = match (self.owner, name.as_str()) {
                ("", "metadata") => map.next_value_seed(Members { owner: "metadata" })?,
                ("metadata", "managedFields") => {
                    map.next_value::<IgnoredAny>()?;
                    continue;
                }
                _ => map.next_value()?,
            };
            members.insert(name, value);
        }
        Ok(members.into())
    }
}

impl Resource for Raw {
    type DynamicType = ApiResource;
    type Scope = kube::core::DynamicResourceScope;

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

/// Sends a request; answers the object, or the Status, that came back.
pub fn send(
    client: Client,
    request: Result<http::Request<Vec<u8>>, kube::core::request::Error>,
) -> BoxFuture<'static, Result<Raw, Error>> {
    async move {
        let request = request.map_err(kube::Error::BuildRequest)?;
        let answer = client.request_text(request).await?;
        Ok(serde_json::from_str(&answer)?)
    }
    .boxed()
}

/// Sends a write; answers the resourceVersion of what was written, which is all that is read of the answer.
pub fn written(
    client: Client,
    request: Result<http::Request<Vec<u8>>, kube::core::request::Error>,
) -> BoxFuture<'static, Result<u64, Error>> {
    #[derive(Deserialize)]
    struct Written {
        #[serde(default)]
        metadata: Metadata,
    }
    #[derive(Default, Deserialize)]
    #[serde(rename_all = "camelCase", default)]
    struct Metadata {
        resource_version: String,
    }
    async move {
        let request = request.map_err(kube::Error::BuildRequest)?;
        let answer = client.request_text(request).await?;
        let written: Written = serde_json::from_str(&answer)?;
        Ok(written.metadata.resource_version.parse().unwrap_or(0))
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
pub async fn create<K: Object>(client: &Client, object: &K) -> Result<Raw, Error> {
    let namespace = object.meta().namespace.as_deref().unwrap_or_default();
    let request = request::<K>(namespace).create(&PostParams::default(), object.to_json()?);
    send(client.clone(), request).await
}

/// Creates an object; of the answer only the version is read.
///
/// # Errors
/// What the API server answers.
pub async fn create_unread<K: Object>(client: &Client, object: &K) -> Result<u64, Error> {
    let namespace = object.meta().namespace.as_deref().unwrap_or_default();
    let request = request::<K>(namespace).create(&PostParams::default(), object.to_json()?);
    written(client.clone(), request).await
}

/// Replaces an object, or its subresource where one is named, whose version is still the given one.
///
/// # Errors
/// What the API server answers.
pub async fn replace<K: Object>(client: &Client, subresource: &str, object: &K) -> Result<Raw, Error> {
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
) -> Result<Raw, Error> {
    let (request, params) = (request::<K>(&key.namespace), PatchParams::default());
    let request = match subresource {
        "" => request.patch(&key.name, &params, &Patch::Merge(patch)),
        name => request.patch_subresource(name, &key.name, &params, &Patch::Merge(patch)),
    };
    send(client.clone(), request).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn objects_are_read_without_their_owners() {
        let text = json!({
            "kind": "Pod", "spec": {"metadata": {"managedFields": 1}, "list": [1.5, null, "x"]},
            "metadata": {"name": "a", "uid": "u", "resourceVersion": "7", "labels": {"b": "c"}, "managedFields": [{}]},
        })
        .to_string();
        let raw: Raw = serde_json::from_str(&text).unwrap();
        assert_eq!(raw.tree["spec"], json!({"metadata": {"managedFields": 1}, "list": [1.5, null, "x"]}));
        let kept = json!({"name": "a", "uid": "u", "resourceVersion": "7", "labels": {"b": "c"}});
        assert_eq!(raw.tree["metadata"], kept);
        assert_eq!(raw.metadata.name.as_deref(), Some("a"));
        assert_eq!(raw.metadata.resource_version.as_deref(), Some("7"));
        assert!(serde_json::from_str::<Raw>("[]").is_err());
    }
}
