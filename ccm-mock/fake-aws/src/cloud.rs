//! The state machine at its place: operations one at a time, every change written as an object before the answer.
//!
//! It holds a `kube::Client` and works against any API server. What it does not do is retry for the caller: a write
//! that fails leaves the state as it was and answers InternalFailure.

mod edits;
mod objects;
mod turn;

use crate::certificates::Issuer;
use crate::report::Report;
use crate::state::State;
use ccm_mock_aws_api::acm::CertificateStatus;
use ccm_mock_aws_api::object::from_object;
use ccm_mock_aws_api::route53::HostedZone;
use ccm_mock_aws_api::{Answer, Aws, AwsFuture, Code, Operation};
use controllers_kit::Raw;
use futures::future::{self, BoxFuture};
use futures::{FutureExt, TryStreamExt};
use kube::Client;
use kube::runtime::watcher;
use objects::Objects;
use serde_json::Value;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::{Mutex, watch};

pub use objects::install_crds;

/// What can go wrong around the state machine.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The API server refused or could not be reached.
    #[error("api server: {0}")]
    Api(#[from] controllers_kit::Error),
    /// An object that should serialise does not.
    #[error("cannot write an object: {0}")]
    Unwritable(#[from] serde_json::Error),
    /// What was written together failed together.
    #[error("{0}")]
    Together(Arc<Error>),
}

fn now_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX))
}

/// The cloud of this cluster.
pub struct Cloud {
    objects: Objects,
    issuer: Issuer,
    turn: Mutex<()>,
    /// What waits for its turn; whoever has it works off everything.
    waiting: std::sync::Mutex<turn::Waiting>,
    state: watch::Sender<Arc<State>>,
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
        let objects = Objects::new(client);
        for (kind, tree) in objects.all().await? {
            if adopted_later(kind, &tree) {
                continue;
            }
            // Somebody made it by hand, or changed what the cloud wrote: it is left as it is.
            if let Err(error) = state.load(kind, &tree) {
                let name = tree["metadata"]["name"].as_str().unwrap_or_default();
                tracing::warn!(%error, "{kind} {name} is no resource of the cloud and is left out");
            }
        }
        let fresh = state.vpcs.is_empty();
        if !fresh {
            state.loaded();
        }
        let cloud = Arc::new(Cloud {
            objects,
            issuer,
            turn: Mutex::new(()),
            waiting: Default::default(),
            state: watch::channel(Arc::new(state)).0,
        });
        cloud.objects.ensure_namespace().await?;
        if fresh {
            let (old, new) = (cloud.state(), State::bootstrap_with(zones, private_prefix));
            cloud.objects.write(&old.changes_to(&new)).await?;
            cloud.state.send_replace(Arc::new(new));
        }
        Ok(cloud)
    }

    /// Follow users' HostedZones and Certificates and edits of load balancers, and let drained targets go. Runs until
    /// dropped.
    pub fn run(self: Arc<Self>) -> BoxFuture<'static, ()> {
        let adopted = [("HostedZone", "hostedzones"), ("Certificate", "certificates")];
        let kinds = adopted.iter().chain(edits::EDITED);
        let follow: Vec<_> = kinds.map(|(kind, plural)| self.clone().follow(kind, plural)).collect();
        future::join(future::join_all(follow), self.tick()).map(drop).boxed()
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
        self.objects.write(&changes).await
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
                self.objects
                    .write_key(certificate.id(), &key.unwrap_or_default(), &certificate.certificate_chain)
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
        self.objects.write(&changes).await.map_err(failure)?;
        self.state.send_replace(Arc::new(next));
        tracing::debug!(operation = name, changed = changes.len(), "answered");
        Ok(answer)
    }

    /// Sign a pending certificate and keep its key.
    async fn sign(&self, state: State, arn: &str) -> Result<State, Error> {
        let Some(certificate) = state.certificates.get(arn).cloned() else { return Ok(state) };
        match self.issuer.issue(&certificate.subject_alternative_names, now_ms()) {
            Ok((issued, key_pem)) => {
                self.objects.write_key(certificate.id(), &key_pem, &issued.chain_pem).await?;
                let report = Report::Issued { certificate_arn: arn.to_string(), issued };
                Ok(state.report(report, now_ms()))
            }
            Err(error) => {
                tracing::warn!(arn, %error, "certificate could not be signed");
                Ok(state)
            }
        }
    }

    /// The private key of a certificate, PEM.
    pub async fn private_key(&self, certificate_id: &str) -> Result<Option<String>, Error> {
        self.objects.key(certificate_id).await
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

    /// Adopt objects of a kind that users write or edit.
    async fn follow(self: Arc<Self>, kind: &'static str, plural: &'static str) {
        let mut events = self.objects.follow(kind, plural);
        loop {
            let event = match events.try_next().await {
                Ok(Some(event)) => event,
                Ok(None) => return,
                Err(error) => {
                    tracing::debug!(kind, %error, "watch failed, going on");
                    continue;
                }
            };
            let edited = edits::EDITED.iter().any(|(known, _)| *known == kind);
            let result = match event {
                watcher::Event::Apply(object) | watcher::Event::InitApply(object) if edited => {
                    self.take_edit(kind, object).await
                }
                watcher::Event::Delete(_) if edited => Ok(()),
                watcher::Event::Apply(object) | watcher::Event::InitApply(object) => {
                    self.adopt(kind, object).await
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

    async fn adopt(&self, kind: &'static str, object: Raw) -> Result<(), Error> {
        let _turn = self.turn.lock().await;
        if self.objects.is_echo(kind, &object) {
            return Ok(());
        }
        let value = object.tree;
        let object_name = object.metadata.name.unwrap_or_default();
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
        self.objects.write(&changes).await?;
        self.state.send_replace(Arc::new(next));
        Ok(())
    }
}

/// True for an object that a user wrote and the cloud has not completed yet.
fn adopted_later(kind: &str, object: &Value) -> bool {
    match kind {
        "Certificate" => object.pointer("/status/certificateArn").is_none(),
        "HostedZone" => object.pointer("/status/id").is_none(),
        _ => false,
    }
}

impl Aws for Cloud {
    fn call(&self, operation: Operation) -> AwsFuture<'_, Answer> {
        Box::pin(self.operate(operation))
    }
}
