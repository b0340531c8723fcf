//! Admission webhooks: which of them a write meets, asking them, and what becomes of it when they do not answer.
//!
//! The registry does no network I/O: a [`WebhookCaller`] that it is given carries the reviews.

mod hook;
mod reinvocation;
mod review;

use std::sync::Arc;

use apiserver_json::{Value, json};
use apiserver_meta::Status;

pub(crate) use hook::Hook;
pub(super) use reinvocation::Reinvocation;

use super::matching::Asked;
use super::mutate::operations;
use super::request::{is_own_kind, request};
use super::{MUTATING_PLUGIN, VALIDATING_PLUGIN};
use crate::catalogue::Resource;
use crate::registry::{Call, Registry};
use crate::webhook::WebhookError;

const MUTATING: &str = "/registry/admissionregistration.k8s.io/mutatingwebhookconfigurations/";
const VALIDATING: &str = "/registry/admissionregistration.k8s.io/validatingwebhookconfigurations/";

const NO_CALLER: &str = "this server calls no webhooks";

/// Kinds that webhooks are never asked about, so that a broken one can be repaired.
const EXEMPT: &[&str] = &[
    "ValidatingWebhookConfiguration",
    "MutatingWebhookConfiguration",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionPolicyBinding",
    "MutatingAdmissionPolicy",
    "MutatingAdmissionPolicyBinding",
];

/// Why a webhook lets a write not through.
pub(super) enum Refusal {
    /// It could not be asked, or answered nonsense: its failure policy decides.
    Unanswered(String),
    /// It denied, or may not be asked.
    Final(Status),
}

impl Refusal {
    /// What the client gets; nothing where the webhook's failures are ignored.
    pub(super) fn settle(self, hook: &Hook) -> Result<(), Status> {
        match self {
            Self::Final(status) => Err(status),
            Self::Unanswered(why) => {
                let text = format!("failed calling webhook {:?}: {why}", hook.name);
                tracing::warn!(configuration = %hook.configuration, ignored = hook.ignores_failures, "{text}");
                if hook.ignores_failures { Ok(()) } else { Err(Status::internal(text)) }
            }
        }
    }
}

fn is_exempt(resource: &Resource) -> bool {
    resource.group == "admissionregistration.k8s.io" && EXEMPT.contains(&resource.kind.as_str())
}

impl Registry {
    /// The mutating webhooks that there are; `None` where nobody is to be asked.
    pub(super) fn mutating_hooks(&self, call: &Call<'_>) -> Option<Arc<Vec<Hook>>> {
        self.hooks(call, MUTATING, MUTATING_PLUGIN)
    }

    pub(super) fn validating_hooks(&self, call: &Call<'_>) -> Option<Arc<Vec<Hook>>> {
        self.hooks(call, VALIDATING, VALIDATING_PLUGIN)
    }

    fn hooks(&self, call: &Call<'_>, prefix: &str, plugin: &str) -> Option<Arc<Vec<Hook>>> {
        if self.cache().snapshot(prefix).objects.is_empty()
            || call.requester.is_server()
            || is_exempt(call.resource)
            || self.disabled_plugins().contains(plugin)
        {
            return None;
        }
        let compiled = self.compiled();
        let known = if prefix == MUTATING { &compiled.mutating } else { &compiled.validating };
        let hooks = known.at((self.cache().last_change(prefix), 0), || {
            // Keys are in the order of names, which is the order webhooks are asked in.
            let configurations = self.cache().snapshot(prefix);
            configurations.objects.values().flat_map(|stored| Hook::of(&stored.parse())).collect()
        });
        Some(hooks).filter(|hooks| !hooks.is_empty())
    }

    /// Asks the validating webhooks that a write meets, all at once.
    ///
    /// # Errors
    /// The refusal of the first webhook that refuses.
    pub(super) async fn ask_validators(&self, hooks: &[Hook], asked: &Asked<'_>) -> Result<(), Status> {
        let mut called = Vec::new();
        for hook in hooks {
            if let Some(seen) = hook.is_met(asked).await? {
                called.push((hook, seen));
            }
        }
        let answers = called.iter().map(|(hook, seen)| async {
            match self.ask(hook, asked, seen, false).await {
                Ok(_) => Ok(()),
                Err(refusal) => refusal.settle(hook),
            }
        });
        let answers = asked.call.requester.waiting(futures::future::join_all(answers)).await;
        answers.into_iter().collect()
    }

    /// Sends one review; gives the patch that came back, if any. `seen` is the version the webhook is shown.
    pub(super) async fn ask(
        &self,
        hook: &Hook,
        asked: &Asked<'_>,
        seen: &Arc<Resource>,
        mutating: bool,
    ) -> Result<Option<Vec<u8>>, Refusal> {
        if asked.call.dry_run && !hook.takes_dry_runs {
            let why = format!("admission webhook {:?} does not support dry run", hook.name);
            return Err(Refusal::Final(Status::bad_request(why)));
        }
        let Some(version) = hook.version else {
            let why = "could not create admission objects: webhook does not accept known AdmissionReview versions (v1, v1beta1)";
            return Err(Refusal::Unanswered(why.to_owned()));
        };
        let failed = |error: WebhookError| Refusal::Unanswered(error.to_string());
        let (object, old) = versioned(asked, seen).await.map_err(Refusal::Final)?;
        let mut request = request(asked.call, asked.attempt, seen);
        let uid = uuid::Uuid::new_v4().to_string();
        request["uid"] = json!(uid);
        let body = review::body(
            version,
            &request,
            object.as_ref().or(asked.attempt.object),
            old.as_ref().or(asked.attempt.old),
        );
        let caller = self.webhook_caller().ok_or_else(|| failed(WebhookError::Call(NO_CALLER.to_owned())))?;
        let answer = caller.call(&hook.target, body, hook.timeout).await.map_err(failed)?;
        let answer = review::read(version, &answer).map_err(|why| failed(WebhookError::Call(why)))?;
        let verdict = review::verify(version, &uid, mutating, &answer)
            .map_err(|why| Refusal::Unanswered(format!("received invalid webhook response: {why}")))?;
        for warning in verdict.warnings {
            asked.call.requester.warn(warning);
        }
        if !verdict.allowed {
            return Err(Refusal::Final(review::denial(&hook.name, verdict.status.as_ref())));
        }
        // A patch is read before its type is looked at.
        if let (Some(patch), Some(name)) = (&verdict.patch, &verdict.unknown_type)
            && operations(patch)?.is_some()
        {
            return Err(Refusal::Unanswered(format!("unsupported patch type {name:?}")));
        }
        Ok(verdict.patch)
    }
}

/// The objects of a write in another version than its own, where that is what a webhook asked for.
///
/// # Errors
/// 500 where they can't be converted.
pub(super) async fn versioned(
    asked: &Asked<'_>,
    seen: &Arc<Resource>,
) -> Result<(Option<Value>, Option<Value>), Status> {
    let own = asked.call.resource;
    if Arc::ptr_eq(own, seen) || !is_own_kind(asked.call) {
        return Ok((None, None));
    }
    let mut found = [asked.attempt.object.cloned(), asked.attempt.old.cloned()];
    for object in found.iter_mut().filter_map(Option::as_mut) {
        *object = asked.registry.in_version(own, seen, object.take()).await?;
    }
    Ok(found.into())
}
