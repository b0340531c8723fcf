//! What the state is at the API server: custom resources, and Secrets with the keys of certificates.
//!
//! Everything is a tree here: the client's machinery is compiled once, with the loops' own.

use super::Error;
use crate::state::Change;
use ccm_mock_aws_api::{GROUP, VERSION, crd};
use controllers_kit::{Error as ApiError, Events, Raw, list_raw, raw, watch_raw};
use futures::FutureExt;
use futures::future::{self, BoxFuture};
use k8s_openapi::ByteString;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::core::{ApiResource, GroupVersionKind, Request};
use kube::{Client, Resource};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Namespace of the Secrets that hold certificate keys.
const NAMESPACE: &str = "hopyard-system";
const MANAGER: &str = "fake-aws";

fn resource(kind: &str, plural: &str) -> ApiResource {
    ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(GROUP, VERSION, kind), plural)
}

fn requests(kind: &str, plural: &str) -> Request {
    Request::new(Raw::url_path(&resource(kind, plural), None))
}

fn secrets() -> Request {
    Request::new(format!("/api/v1/namespaces/{NAMESPACE}/secrets"))
}

fn secret_name(certificate_id: &str) -> String {
    format!("acm-{certificate_id}")
}

/// Create the CustomResourceDefinitions that are not there yet, and wait until they are served.
pub fn install_crds(client: &Client) -> BoxFuture<'_, Result<(), Error>> {
    install(client).boxed()
}

async fn install(client: &Client) -> Result<(), Error> {
    let definitions = Request::new("/apis/apiextensions.k8s.io/v1/customresourcedefinitions");
    let creates = crd::custom_resource_definitions().into_iter().map(|manifest| {
        let request = definitions.create(&PostParams::default(), manifest.to_string().into_bytes());
        raw::written(client.clone(), request).map(|answer| unless(409, answer.map(drop)))
    });
    future::try_join_all(creates).await?;
    let waits = crd::kinds().map(|(kind, plural)| async move {
        let one = ListParams::default().limit(1);
        while let Err(error) = raw::send(client.clone(), requests(kind, plural).list(&one)).await {
            if !error.is_not_found() {
                return Err(error);
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        Ok(())
    });
    future::try_join_all(waits).await?;
    Ok(())
}

/// An error of this HTTP status is none.
fn unless(code: u16, result: Result<(), ApiError>) -> Result<(), ApiError> {
    match result {
        Err(error) if error.is_code(code) => Ok(()),
        other => other,
    }
}

/// The objects of the cloud.
pub(super) struct Objects {
    client: Client,
    /// The last resourceVersion written here, by kind and name: older events are echoes.
    written: Mutex<BTreeMap<String, u64>>,
}

impl Objects {
    pub(super) fn new(client: Client) -> Self {
        Objects { client, written: Mutex::default() }
    }

    /// Every object, with its kind.
    pub(super) async fn all(&self) -> Result<Vec<(&'static str, Value)>, Error> {
        let lists = crd::kinds().map(|(kind, plural)| {
            let list = list_raw(self.client.clone(), resource(kind, plural));
            list.map(move |items| items.map(|items| items.into_iter().map(move |item| (kind, item.tree))))
        });
        Ok(future::try_join_all(lists).await?.into_iter().flatten().collect())
    }

    /// The events of a kind.
    pub(super) fn follow(&self, kind: &str, plural: &str) -> Events<Raw> {
        watch_raw(self.client.clone(), &resource(kind, plural))
    }

    pub(super) async fn ensure_namespace(&self) -> Result<(), Error> {
        let body = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}});
        let request =
            Request::new("/api/v1/namespaces").create(&PostParams::default(), body.to_string().into_bytes());
        Ok(unless(409, self.send(request).await.map(drop))?)
    }

    /// Keep the private key of a certificate.
    pub(super) async fn write_key(&self, id: &str, key_pem: &str, chain_pem: &str) -> Result<(), Error> {
        let name = secret_name(id);
        let bytes = |pem: &str| ByteString(pem.as_bytes().to_vec());
        let data = json!({"tls.crt": bytes(chain_pem), "tls.key": bytes(key_pem)});
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "type": "kubernetes.io/tls", "data": data,
        });
        let request = secrets().create(&PostParams::default(), secret.to_string().into_bytes());
        match self.send(request).await {
            Err(error) if error.is_code(409) => {
                let patch = Patch::Merge(json!({"data": data}));
                self.send(secrets().patch(&name, &PatchParams::default(), &patch)).await?;
                Ok(())
            }
            answer => Ok(answer.map(drop)?),
        }
    }

    /// The private key of a certificate, PEM.
    pub(super) async fn key(&self, certificate_id: &str) -> Result<Option<String>, Error> {
        let request = secrets().get(&secret_name(certificate_id), &Default::default());
        let secret = match raw::send(self.client.clone(), request).await {
            Err(error) if error.is_not_found() => return Ok(None),
            answer => answer?.tree,
        };
        let key = serde_json::from_value::<Option<ByteString>>(secret["data"]["tls.key"].clone())?;
        Ok(key.and_then(|bytes| String::from_utf8(bytes.0).ok()))
    }

    /// Write what differs.
    pub(super) async fn write(&self, changes: &[Change]) -> Result<(), Error> {
        future::try_join_all(changes.iter().map(|change| self.write_one(change))).await.map(|_| ())
    }

    async fn write_one(&self, change: &Change) -> Result<(), Error> {
        let requests = requests(change.kind, change.plural);
        let Some(new) = &change.new else {
            self.delete_key_of(change).await;
            let request = requests.delete(&change.name, &DeleteParams::default());
            return Ok(unless(404, self.send(request).await.map(drop))?);
        };
        let params = PatchParams { field_manager: Some(MANAGER.into()), ..Default::default() };
        let patch = |patch: Value| requests.patch(&change.name, &params, &Patch::Merge(patch));
        if let Some(old) = &change.old {
            match self.send(patch(merge_patch(old, new))).await {
                Err(error) if error.is_not_found() => {}
                version => {
                    self.remember(change.kind, &change.name, version?);
                    return Ok(());
                }
            }
        }
        let post = PostParams { field_manager: Some(MANAGER.into()), ..Default::default() };
        let version = match self.send(requests.create(&post, serde_json::to_vec(new)?)).await {
            Err(error) if error.is_code(409) => self.send(patch(new.clone())).await?,
            version => version?,
        };
        self.remember(change.kind, &change.name, version);
        Ok(())
    }

    /// A certificate's key goes with it.
    async fn delete_key_of(&self, change: &Change) {
        if change.kind != "Certificate" {
            return;
        }
        let arn = change.old.as_ref().and_then(|old| old.pointer("/status/certificateArn")?.as_str());
        let id = arn.and_then(|arn| arn.rsplit('/').next()).unwrap_or_default();
        // A key that is left over harms nobody; one of this name that comes again is overwritten.
        drop(self.send(secrets().delete(&secret_name(id), &DeleteParams::default())).await);
    }

    async fn send(
        &self,
        request: Result<http::Request<Vec<u8>>, kube::core::request::Error>,
    ) -> Result<u64, ApiError> {
        raw::written(self.client.clone(), request).await
    }

    fn remember(&self, kind: &str, name: &str, version: u64) {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        written.insert(format!("{kind}/{name}"), version);
    }

    /// True for an event that is older than, or the same as, what was written here.
    pub(super) fn is_echo(&self, kind: &str, object: &Raw) -> bool {
        self.last_written(kind, object).is_some_and(|known| version_of(object) <= known)
    }

    /// True for an event that is older than what was written here. What was written may have somebody's edit under it.
    pub(super) fn is_outdated(&self, kind: &str, object: &Raw) -> bool {
        self.last_written(kind, object).is_some_and(|known| version_of(object) < known)
    }

    fn last_written(&self, kind: &str, object: &Raw) -> Option<u64> {
        let name = object.metadata.name.as_deref().unwrap_or_default();
        let written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        written.get(&format!("{kind}/{name}")).copied()
    }

    /// Write an object as it is to be over what somebody made of it.
    pub(super) async fn put_right(
        &self,
        kind: &'static str,
        name: &str,
        seen: &Value,
        wanted: &Value,
    ) -> Result<(), Error> {
        let content = |object: &Value| json!({"spec": object["spec"], "status": object["status"]});
        let patch = merge_patch(&content(seen), &content(wanted));
        if patch == json!({}) {
            return Ok(());
        }
        let Some((_, plural)) = crd::kinds().find(|(known, _)| *known == kind) else { return Ok(()) };
        let params = PatchParams { field_manager: Some(MANAGER.into()), ..Default::default() };
        let request = requests(kind, plural).patch(name, &params, &Patch::Merge(patch));
        match self.send(request).await {
            Err(error) if error.is_not_found() => Ok(()),
            version => {
                self.remember(kind, name, version?);
                Ok(())
            }
        }
    }
}

fn version_of(object: &Raw) -> u64 {
    object.metadata.resource_version.as_deref().and_then(|version| version.parse().ok()).unwrap_or(0)
}

/// The merge patch from one object to another.
fn merge_patch(old: &Value, new: &Value) -> Value {
    match (old, new) {
        (Value::Object(old), Value::Object(new)) => {
            let mut out = Map::new();
            for (key, value) in new {
                match old.get(key) {
                    Some(before) if before == value => {}
                    Some(before @ Value::Object(_)) => {
                        out.insert(key.clone(), merge_patch(before, value));
                    }
                    _ => {
                        out.insert(key.clone(), value.clone());
                    }
                }
            }
            out.extend(old.keys().filter(|k| !new.contains_key(*k)).map(|k| (k.clone(), Value::Null)));
            Value::Object(out)
        }
        _ => new.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::merge_patch;
    use serde_json::json;

    #[test]
    fn a_patch_says_only_what_differs() {
        let old = json!({"a": 1, "b": {"c": 1, "d": 2}, "e": [1]});
        let new = json!({"a": 1, "b": {"c": 3}, "e": [1, 2]});
        assert_eq!(merge_patch(&old, &new), json!({"b": {"c": 3, "d": null}, "e": [1, 2]}));
    }
}
