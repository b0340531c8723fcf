//! Requests for certificates: what was approved is signed, for the signers of Kubernetes itself, and what nobody will ask
//! about any more is deleted. `pkg/controller/certificates/{signer,cleaner}` upstream.

mod age;
mod der;
mod rules;
mod sign;

use std::sync::Arc;
use std::time::Duration;

use controllers_kit::{Cache, Caches, Class, Done, Error, Key, Queue, Recorder};
use k8s_openapi::ByteString;
use k8s_openapi::api::certificates::v1::{
    CertificateSigningRequest, CertificateSigningRequestCondition, CertificateSigningRequestStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::api::{DeleteParams, Preconditions};

pub use sign::{AuthorityError, SigningAuthority};

const CONTROLLER: &str = "certificatesigningrequest";

struct Loop {
    requests: Cache<CertificateSigningRequest>,
    authority: Option<SigningAuthority>,
    events: Recorder,
}

pub(crate) async fn run(caches: Caches, authority: Option<SigningAuthority>) {
    let requests = caches.of::<CertificateSigningRequest>();
    let queue: Queue<Key> = Queue::new();
    requests.wake(&queue);
    requests.synced().await;
    let events = Recorder::new(caches.client().clone(), "csrsigning-controller");
    let this = Arc::new(Loop { requests, authority, events });
    controllers_kit::run(CONTROLLER, queue, 1, move |key| {
        let this = this.clone();
        async move { this.reconcile(key).await }
    })
    .await;
}

impl Loop {
    async fn reconcile(&self, key: Key) -> Result<Done, Error> {
        let Some(request) = self.requests.get(&key) else { return Ok(Done::nothing()) };
        let now = Timestamp::now();
        let left = age::seconds_left(&request, now.as_second());
        if left.is_some_and(|left| left <= 0) {
            let params = DeleteParams {
                preconditions: Some(Preconditions {
                    uid: request.metadata.uid.clone(),
                    resource_version: request.metadata.resource_version.clone(),
                }),
                ..DeleteParams::default()
            };
            self.requests.delete(&key, &params).await?;
            return Ok(Done::change("deleted what nobody asks about any more"));
        }
        let mut done = match (&self.authority, rules::of(&request.spec.signer_name)) {
            (Some(authority), Some(rules)) if is_due(&request) => {
                match self.answer(&request, authority, rules, now).await {
                    Ok(done) => done,
                    // Nothing comes of it, and it goes in its time like every other.
                    Err(error) if error.class() == Class::Terminal => {
                        let why = error.sentence();
                        tracing::warn!(controller = CONTROLLER, object = %key, error = why, "not signed");
                        self.events.warning(&*request, "FailedSigning", why);
                        Done::nothing()
                    }
                    Err(error) => return Err(error),
                }
            }
            _ => Done::nothing(),
        };
        if let Some(left) = left {
            done.again_after(Duration::from_secs(left.unsigned_abs()));
        }
        Ok(done)
    }

    /// Signs a request, or says why that is not done.
    async fn answer(
        &self,
        request: &CertificateSigningRequest,
        authority: &SigningAuthority,
        rules: rules::Rules,
        now: Timestamp,
    ) -> Result<Done, Error> {
        let wanted = sign::Wanted::parse(&request.spec.request.0).map_err(Error::Terminal)?;
        let usages = request.spec.usages.as_deref().unwrap_or_default();
        let mut answered = request.clone();
        let status = answered.status.get_or_insert_with(CertificateSigningRequestStatus::default);
        let told = match rules(&wanted, usages) {
            Some(why) => {
                status.conditions.get_or_insert_default().push(CertificateSigningRequestCondition {
                    type_: "Failed".to_owned(),
                    status: "True".to_owned(),
                    reason: Some("SignerValidationFailure".to_owned()),
                    message: Some(why.clone()),
                    last_update_time: Some(Time(now)),
                    last_transition_time: None,
                });
                format!("refused: {why}")
            }
            None => {
                let terms = sign::Terms {
                    usages,
                    seconds: request.spec.expiration_seconds.map(i64::from),
                    now: now.as_second(),
                    serial: rand::random(),
                };
                let certificate = authority.sign(&wanted, &terms).map_err(Error::Terminal)?;
                status.certificate = Some(ByteString(certificate.into_bytes()));
                "signed".to_owned()
            }
        };
        self.requests.replace_status(&answered).await?;
        Ok(Done::change(told))
    }
}

/// Is a request to be answered? It was approved, and nothing came of that yet.
fn is_due(request: &CertificateSigningRequest) -> bool {
    let status = request.status.as_ref();
    let has = |kind: &str| {
        let mut conditions = status.and_then(|status| status.conditions.as_ref()).into_iter().flatten();
        conditions.any(|condition| condition.type_ == kind && condition.status == "True")
    };
    let is_signed =
        status.and_then(|status| status.certificate.as_ref()).is_some_and(|cert| !cert.0.is_empty());
    has("Approved") && !has("Denied") && !has("Failed") && !is_signed
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_was_approved_is_due_once() {
        let condition = |kind: &str| json!({"type": kind, "status": "True"});
        for (status, want) in [
            (json!({}), false),
            (json!({"conditions": [condition("Approved")]}), true),
            (json!({"conditions": [condition("Approved"), condition("Failed")]}), false),
            (json!({"conditions": [condition("Approved"), condition("Denied")]}), false),
            (json!({"conditions": [condition("Approved")], "certificate": "eA=="}), false),
            (json!({"conditions": [{"type": "Approved", "status": "False"}]}), false),
        ] {
            let spec = json!({"request": "", "signerName": "a/b"});
            let request = serde_json::from_value(json!({"metadata": {}, "spec": spec, "status": status}));
            assert_eq!(is_due(&request.unwrap()), want, "{status}");
        }
    }
}
