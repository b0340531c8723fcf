//! The state machine at its place: operations one at a time, every change written as an object before the answer.
//!
//! It holds a `kube::Client` and works against any API server. What it does not do is retry for the caller: a write
//! that fails leaves the state as it was and answers InternalFailure.

mod turn;

use crate::certificates::Issuer;
use crate::report::Report;
use crate::state::{Change, State};
use ccm_mock_aws_api::acm::CertificateStatus;
use ccm_mock_aws_api::object::from_object;
use ccm_mock_aws_api::route53::HostedZone;
use ccm_mock_aws_api::{Answer, Aws, AwsFuture, Code, GROUP, Operation, VERSION, crd};
use futures::future::{self, BoxFuture};
use futures::{FutureExt, StreamExt, TryStreamExt};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{Namespace, Secret};
use kube::api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::core::{ApiResource, GroupVersionKind, Request};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::{Mutex, watch};

/// Namespace of the Secrets that hold certificate keys.
const NAMESPACE: &str = "hopyard-system";
const MANAGER: &str = "fake-aws";

/// What can go wrong around the state machine.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The API server refused or could not be reached.
    #[error("api server: {0}")]
    Api(#[from] Box<kube::Error>),
    /// An object of ours cannot be read.
    #[error("object {kind} {name} cannot be read: {source}")]
    Unreadable { kind: String, name: String, source: serde_json::Error },
    /// An object that should serialise does not.
    #[error("cannot write an object: {0}")]
    Unwritable(#[from] serde_json::Error),
    /// What was written together failed together.
    #[error("{0}")]
    Together(Arc<Error>),
}

impl From<kube::Error> for Error {
    fn from(error: kube::Error) -> Self {
        Error::Api(Box::new(error))
    }
}

fn now_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX))
}

fn resource(kind: &str, plural: &str) -> ApiResource {
    ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(GROUP, VERSION, kind), plural)
}

fn is_code(error: &kube::Error, code: u16) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == code)
}

/// The cloud of this cluster.
pub struct Cloud {
    client: Client,
    issuer: Issuer,
    turn: Mutex<()>,
    /// What waits for its turn; whoever has it works off everything.
    waiting: std::sync::Mutex<turn::Waiting>,
    /// The last resourceVersion written here, by kind and name: older events are echoes.
    written: std::sync::Mutex<BTreeMap<String, u64>>,
    state: watch::Sender<Arc<State>>,
}

/// Create the CustomResourceDefinitions that are not there yet, and wait until they are served.
pub fn install_crds(client: &Client) -> BoxFuture<'_, Result<(), Error>> {
    install(client).boxed()
}

async fn install(client: &Client) -> Result<(), Error> {
    let gvk = GroupVersionKind::gvk("apiextensions.k8s.io", "v1", "CustomResourceDefinition");
    let api: Api<DynamicObject> =
        Api::all_with(client.clone(), &ApiResource::from_gvk_with_plural(&gvk, "customresourcedefinitions"));
    let manifests = crd::custom_resource_definitions();
    let creates = manifests.into_iter().map(|manifest| {
        let api = api.clone();
        async move {
            let object: DynamicObject = serde_json::from_value(manifest)?;
            match api.create(&PostParams::default(), &object).await {
                Err(e) if !is_code(&e, 409) => Err(Error::from(e)),
                _ => Ok(()),
            }
        }
    });
    future::try_join_all(creates).await?;
    let waits = crd::kinds().map(|(kind, plural)| {
        let api: Api<DynamicObject> = Api::all_with(client.clone(), &resource(kind, plural));
        async move {
            while let Err(e) = api.list(&ListParams::default().limit(1)).await {
                if !is_code(&e, 404) {
                    return Err(Error::from(e));
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            Ok(())
        }
    });
    future::try_join_all(waits).await.map(|_| ())
}

impl Cloud {
    /// Load the state from its objects, or begin with the bootstrap network of `zones` zones.
    pub fn start(
        client: Client,
        issuer: Issuer,
        zones: u8,
        private_prefix: u8,
    ) -> BoxFuture<'static, Result<Arc<Cloud>, Error>> {
        Self::load(client, issuer, zones, private_prefix).boxed()
    }

    async fn load(
        client: Client,
        issuer: Issuer,
        zones: u8,
        private_prefix: u8,
    ) -> Result<Arc<Cloud>, Error> {
        let mut state = State::default();
        let lists = crd::kinds().map(|(kind, plural)| {
            let api: Api<DynamicObject> = Api::all_with(client.clone(), &resource(kind, plural));
            async move { api.list(&ListParams::default()).await.map(|l| (kind, l.items)) }
        });
        for (kind, items) in future::try_join_all(lists).await? {
            for item in items {
                let object = serde_json::to_value(&item)?;
                if adopted_later(kind, &object) {
                    continue;
                }
                let name = item.metadata.name.unwrap_or_default();
                state.load(kind, &object).map_err(|source| Error::Unreadable {
                    kind: kind.into(),
                    name,
                    source,
                })?;
            }
        }
        let fresh = state.vpcs.is_empty();
        if !fresh {
            state.loaded();
        }
        let cloud = Arc::new(Cloud {
            client,
            issuer,
            turn: Mutex::new(()),
            waiting: Default::default(),
            written: Default::default(),
            state: watch::channel(Arc::new(state)).0,
        });
        cloud.ensure_namespace().await?;
        if fresh {
            let (old, new) = (cloud.state(), State::bootstrap_with(zones, private_prefix));
            cloud.write(&old.changes_to(&new)).await?;
            cloud.state.send_replace(Arc::new(new));
        }
        Ok(cloud)
    }

    /// Follow users' HostedZones and Certificates, and let drained targets go. Runs until dropped.
    pub fn run(self: Arc<Self>) -> BoxFuture<'static, ()> {
        async move {
            future::join3(
                self.clone().follow("HostedZone", "hostedzones"),
                self.clone().follow("Certificate", "certificates"),
                self.tick(),
            )
            .await;
        }
        .boxed()
    }

    /// The state now.
    pub fn state(&self) -> Arc<State> {
        self.state.borrow().clone()
    }

    /// The state now and every one after it.
    pub fn watch(&self) -> watch::Receiver<Arc<State>> {
        self.state.subscribe()
    }

    async fn report_in_turn(&self, report: Report) -> Result<(), Error> {
        let before = self.state();
        let next = before.report(report, now_ms());
        let changes = before.changes_to(&next);
        if changes.is_empty() {
            return Ok(());
        }
        self.state.send_replace(Arc::new(next));
        self.write(&changes).await
    }

    async fn operate(&self, operation: Operation) -> Result<Answer, ccm_mock_aws_api::Error> {
        let failure = |e: Error| ccm_mock_aws_api::Error::new(Code::InternalFailure, e.to_string());
        let read_only = operation.name().starts_with("Describe") || operation.name().starts_with("List");
        if read_only {
            return self.state().apply(operation, now_ms()).map(|(_, answer)| answer);
        }
        let key = match &operation {
            Operation::ImportCertificate(input) => Some(input.private_key.clone()),
            Operation::RequestCertificate(_) => None,
            _ => return self.operate_together(operation).await,
        };
        let name = operation.name();
        let _turn = self.turn.lock().await;
        let before = self.state();
        let (mut next, mut answer) = before.apply(operation, now_ms())?;
        match &mut answer {
            Answer::ImportCertificate(certificate) => {
                self.write_key(certificate.id(), &key.unwrap_or_default(), &certificate.certificate_chain)
                    .await
                    .map_err(failure)?;
            }
            Answer::RequestCertificate(certificate) => {
                next = self.sign(next, &certificate.certificate_arn).await.map_err(failure)?;
                if let Some(signed) = next.certificates.get(&certificate.certificate_arn) {
                    *certificate = signed.as_ref().clone();
                }
            }
            _ => {}
        }
        let changes = before.changes_to(&next);
        self.write(&changes).await.map_err(failure)?;
        self.state.send_replace(Arc::new(next));
        tracing::debug!(operation = name, changed = changes.len(), "answered");
        Ok(answer)
    }

    /// Sign a pending certificate and keep its key.
    async fn sign(&self, state: State, arn: &str) -> Result<State, Error> {
        let Some(certificate) = state.certificates.get(arn).cloned() else { return Ok(state) };
        match self.issuer.issue(&certificate.subject_alternative_names, now_ms()) {
            Ok((issued, key_pem)) => {
                self.write_key(certificate.id(), &key_pem, &issued.chain_pem).await?;
                let report = Report::Issued { certificate_arn: arn.to_string(), issued };
                Ok(state.report(report, now_ms()))
            }
            Err(error) => {
                tracing::warn!(arn, %error, "certificate could not be signed");
                Ok(state)
            }
        }
    }

    async fn ensure_namespace(&self) -> Result<(), Error> {
        let api: Api<Namespace> = Api::all(self.client.clone());
        let namespace: Namespace = serde_json::from_value(json!({"metadata": {"name": NAMESPACE}}))?;
        match api.create(&PostParams::default(), &namespace).await {
            Err(e) if !is_code(&e, 409) => Err(e.into()),
            _ => Ok(()),
        }
    }

    async fn write_key(&self, id: &str, key_pem: &str, chain_pem: &str) -> Result<(), Error> {
        let api: Api<Secret> = Api::namespaced(self.client.clone(), NAMESPACE);
        let name = format!("acm-{id}");
        let data = |pem: &str| ByteString(pem.as_bytes().to_vec());
        let secret = Secret {
            metadata: kube::core::ObjectMeta { name: Some(name.clone()), ..Default::default() },
            type_: Some("kubernetes.io/tls".into()),
            data: Some(BTreeMap::from([
                ("tls.crt".into(), data(chain_pem)),
                ("tls.key".into(), data(key_pem)),
            ])),
            ..Default::default()
        };
        match api.create(&PostParams::default(), &secret).await {
            Err(e) if is_code(&e, 409) => {
                api.patch(&name, &PatchParams::default(), &Patch::Merge(json!({"data": secret.data})))
                    .await?;
                Ok(())
            }
            Err(e) => Err(e.into()),
            Ok(_) => Ok(()),
        }
    }

    /// The private key of a certificate, PEM.
    pub async fn private_key(&self, certificate_id: &str) -> Result<Option<String>, Error> {
        let api: Api<Secret> = Api::namespaced(self.client.clone(), NAMESPACE);
        let secret = api.get_opt(&format!("acm-{certificate_id}")).await?;
        let bytes = secret.and_then(|s| s.data).and_then(|mut d| d.remove("tls.key"));
        Ok(bytes.and_then(|b| String::from_utf8(b.0).ok()))
    }

    async fn write(&self, changes: &[Change]) -> Result<(), Error> {
        future::try_join_all(changes.iter().map(|c| self.write_one(c))).await.map(|_| ())
    }

    async fn write_one(&self, change: &Change) -> Result<(), Error> {
        let api: Api<DynamicObject> =
            Api::all_with(self.client.clone(), &resource(change.kind, change.plural));
        let Some(new) = &change.new else {
            if change.kind == "Certificate" {
                let id = change
                    .old
                    .as_ref()
                    .and_then(|o| o.pointer("/status/certificateArn"))
                    .and_then(Value::as_str);
                let secrets: Api<Secret> = Api::namespaced(self.client.clone(), NAMESPACE);
                let name = format!("acm-{}", id.and_then(|arn| arn.rsplit('/').next()).unwrap_or_default());
                let _ = secrets.delete(&name, &DeleteParams::default()).await;
            }
            return match api.delete(&change.name, &DeleteParams::default()).await {
                Err(e) if !is_code(&e, 404) => Err(e.into()),
                _ => Ok(()),
            };
        };
        let requests = Request::new(api.resource_url());
        let params = PatchParams { field_manager: Some(MANAGER.into()), ..Default::default() };
        let patch = |patch: Value| requests.patch(&change.name, &params, &Patch::Merge(patch));
        if let Some(old) = &change.old {
            match self.send(patch(merge_patch(old, new))).await {
                Err(e) if !is_code(&e, 404) => return Err(e.into()),
                Ok(version) => return self.remember(change, version),
                Err(_) => {}
            }
        }
        let post = PostParams { field_manager: Some(MANAGER.into()), ..Default::default() };
        match self.send(requests.create(&post, serde_json::to_vec(new)?)).await {
            Err(e) if is_code(&e, 409) => {
                let version = self.send(patch(new.clone())).await?;
                self.remember(change, version)
            }
            Err(e) => Err(e.into()),
            Ok(version) => self.remember(change, version),
        }
    }

    /// Sends a write; the version of what was written is all that is read of the answer.
    async fn send(
        &self,
        request: Result<http::Request<Vec<u8>>, kube::core::request::Error>,
    ) -> Result<u64, kube::Error> {
        #[derive(serde::Deserialize)]
        struct Written {
            metadata: Metadata,
        }
        #[derive(Default, serde::Deserialize)]
        #[serde(rename_all = "camelCase", default)]
        struct Metadata {
            resource_version: String,
        }
        let request = request.map_err(kube::Error::BuildRequest)?;
        let written: Written = self.client.request(request).await?;
        Ok(written.metadata.resource_version.parse().unwrap_or(0))
    }

    fn remember(&self, change: &Change, version: u64) -> Result<(), Error> {
        if let Ok(mut written) = self.written.lock() {
            written.insert(format!("{}/{}", change.kind, change.name), version);
        }
        Ok(())
    }

    /// True for an event that is older than, or the same as, what was written here.
    fn is_echo(&self, kind: &str, object: &DynamicObject) -> bool {
        let name = object.metadata.name.as_deref().unwrap_or_default();
        let written = self.written.lock().ok().and_then(|w| w.get(&format!("{kind}/{name}")).copied());
        written.is_some_and(|known| version(object) <= known)
    }

    async fn tick(self: Arc<Self>) {
        let mut changes = self.watch();
        loop {
            let deadline = changes.borrow_and_update().next_deadline_ms();
            let wait = deadline.map(|d| Duration::from_millis(d.saturating_sub(now_ms()).max(1)));
            let changed = async { changes.changed().await.is_ok() };
            let alive = match wait {
                None => changed.await,
                Some(wait) => match tokio::time::timeout(wait, changed).await {
                    Ok(alive) => alive,
                    Err(_) => {
                        if let Err(error) = self.report(Report::Tick).await {
                            tracing::warn!(%error, "drained targets could not be written");
                            tokio::time::sleep(Duration::from_secs(1)).await;
                        }
                        true
                    }
                },
            };
            if !alive {
                return;
            }
        }
    }

    /// Adopt objects of a kind that users write.
    async fn follow(self: Arc<Self>, kind: &'static str, plural: &'static str) {
        let api: Api<DynamicObject> = Api::all_with(self.client.clone(), &resource(kind, plural));
        let mut events = watcher(api, watcher::Config::default()).default_backoff().boxed();
        loop {
            let event = match events.try_next().await {
                Ok(Some(event)) => event,
                Ok(None) => return,
                Err(error) => {
                    tracing::debug!(kind, %error, "watch failed, going on");
                    continue;
                }
            };
            let result = match event {
                watcher::Event::Apply(object) | watcher::Event::InitApply(object) => {
                    self.adopt(kind, &object).await
                }
                watcher::Event::Delete(object) => {
                    let object_name = object.metadata.name.unwrap_or_default();
                    self.report(Report::Forget { kind, object_name }).await
                }
                watcher::Event::Init | watcher::Event::InitDone => Ok(()),
            };
            if let Err(error) = result {
                tracing::warn!(kind, %error, "object could not be adopted");
            }
        }
    }

    async fn adopt(&self, kind: &'static str, object: &DynamicObject) -> Result<(), Error> {
        let value = serde_json::to_value(object)?;
        let object_name = object.metadata.name.clone().unwrap_or_default();
        let _turn = self.turn.lock().await;
        if self.is_echo(kind, object) {
            return Ok(());
        }
        if kind == "HostedZone" {
            let zone: HostedZone = from_object(&value)?;
            if self.state().hosted_zones.values().any(|z| **z == zone) {
                return Ok(());
            }
            return self.report_in_turn(Report::AdoptHostedZone { object_name, zone }).await;
        }
        if !adopted_later(kind, &value) {
            return Ok(());
        }
        let names = |path: &str| value.pointer(path).and_then(Value::as_array).cloned().unwrap_or_default();
        let report = Report::AdoptCertificate {
            object_name: object_name.clone(),
            domain_name: value
                .pointer("/spec/domainName")
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_string(),
            subject_alternative_names: names("/spec/subjectAlternativeNames")
                .iter()
                .filter_map(|n| n.as_str().map(str::to_string))
                .collect(),
        };
        let before = self.state();
        if before.certificates.values().any(|c| c.object_name == object_name) {
            return Ok(());
        }
        let next = before.report(report, now_ms());
        let pending = next
            .certificates
            .values()
            .find(|c| c.object_name == object_name && c.status == CertificateStatus::PendingValidation);
        let next = match pending.map(|c| c.certificate_arn.clone()) {
            Some(arn) => self.sign(next.clone(), &arn).await?,
            None => next,
        };
        let changes = before.changes_to(&next);
        self.write(&changes).await?;
        self.state.send_replace(Arc::new(next));
        Ok(())
    }
}

fn version(object: &DynamicObject) -> u64 {
    object.metadata.resource_version.as_deref().and_then(|v| v.parse().ok()).unwrap_or(0)
}

/// True for an object that a user wrote and the cloud has not completed yet.
fn adopted_later(kind: &str, object: &Value) -> bool {
    match kind {
        "Certificate" => object.pointer("/status/certificateArn").is_none(),
        "HostedZone" => object.pointer("/status/id").is_none(),
        _ => false,
    }
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

impl Aws for Cloud {
    fn call(&self, operation: Operation) -> AwsFuture<'_, Answer> {
        Box::pin(self.operate(operation))
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
