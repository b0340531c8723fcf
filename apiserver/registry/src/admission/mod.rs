//! Admission: what a write has to pass before it is stored, in upstream's order.
//!
//! Built-in plugins, mutating policies and webhooks change it ([`mutate`]); once it is valid, validating policies and then
//! validating webhooks are asked ([`Registry::admit`]). Where nothing is configured a write pays one look at the
//! cache for each of the four.

mod matching;
mod mutate;
mod mutating_policies;
pub(crate) mod plugins;
mod policies;
pub(crate) mod quota;
mod request;
mod requester;
mod webhooks;

use std::sync::{Arc, Mutex, PoisonError};

use apiserver_json::Value;
use apiserver_meta::Status;
use apiserver_storage::Revision;

use self::matching::{Asked, Surroundings};
use crate::registry::{Call, Registry};
use crate::scale;

pub(crate) use policies::Hook as PolicyHook;
pub use requester::{Requester, Warnings};
pub(crate) use webhooks::Hook as WebhookHook;

/// Names of the plugins that ask what is configured in the cluster.
pub(crate) const POLICY_PLUGIN: &str = "ValidatingAdmissionPolicy";
pub(crate) const MUTATING_POLICY_PLUGIN: &str = "MutatingAdmissionPolicy";
pub(crate) const MUTATING_PLUGIN: &str = "MutatingAdmissionWebhook";
pub(crate) const VALIDATING_PLUGIN: &str = "ValidatingAdmissionWebhook";

/// What a request does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    Create,
    Update,
    Delete,
    Connect,
}

impl Operation {
    fn name(self) -> &'static str {
        match self {
            Self::Create => "CREATE",
            Self::Update => "UPDATE",
            Self::Delete => "DELETE",
            Self::Connect => "CONNECT",
        }
    }
}

/// A write as admission sees it.
#[derive(Clone, Copy)]
pub(crate) struct Attempt<'a> {
    pub operation: Operation,
    /// Empty where one of a collection is deleted: nobody named it.
    pub name: &'a str,
    pub object: Option<&'a Value>,
    pub old: Option<&'a Value>,
}

impl Attempt<'_> {
    /// The name that a refusal tells.
    pub(crate) fn told_name(&self) -> &str {
        if self.name.is_empty() && self.object.is_none() { "Unknown" } else { self.name }
    }
}

/// What was compiled from configurations, and the revisions it was compiled at.
pub(crate) struct Compiled<T>(Mutex<Option<Known<T>>>);

type Known<T> = ((Revision, Revision), Arc<Vec<T>>);

impl<T> Default for Compiled<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T> Compiled<T> {
    /// What holds at these revisions; made where they are new. `make` is to look after the revisions were read: what
    /// it sees that is newer is compiled again, what it missed would stay.
    fn at(&self, at: (Revision, Revision), make: impl FnOnce() -> Vec<T>) -> Arc<Vec<T>> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &*known {
            Some((of, compiled)) if *of == at => compiled.clone(),
            _ => known.insert((at, Arc::new(make()))).1.clone(),
        }
    }
}

/// Subresources whose handler has admission asked about the object that was sent, not about the one it changes.
fn is_asked_by_handler(call: &Call<'_>) -> bool {
    matches!(call.subresource, "binding" | "eviction")
}

impl Registry {
    /// Whether anybody is asked about writes of this call: nobody else need be shown the object.
    pub(crate) fn is_anybody_asked(&self, call: &Call<'_>) -> bool {
        self.policies(call).is_some()
            || self.mutating_policies(call).is_some()
            || self.mutating_hooks(call).is_some()
            || self.validating_hooks(call).is_some()
    }

    /// Asks policies and validating webhooks about a valid write, and mutating webhooks about a deletion.
    ///
    /// # Errors
    /// The first denial.
    pub(crate) async fn admit(&self, call: &Call<'_>, attempt: Attempt<'_>) -> Result<(), Status> {
        if is_asked_by_handler(call) {
            return Ok(());
        }
        if attempt.operation == Operation::Delete {
            self.mutate_deletion(call, attempt).await?;
        }
        let (policies, hooks) = (self.policies(call), self.validating_hooks(call));
        if policies.is_none() && hooks.is_none() {
            return Ok(());
        }
        let seen = |object: Option<&Value>| match call.subresource {
            "scale" => object.and_then(|object| scale::view(call.resource, object)),
            _ => None,
        };
        let (object, old) = (seen(attempt.object), seen(attempt.old));
        let attempt = Attempt {
            object: object.as_ref().or(attempt.object),
            old: old.as_ref().or(attempt.old),
            ..attempt
        };
        let around = Surroundings::of(self, call);
        let asked = Asked { registry: self, call, attempt, around: &around };
        if let Some(policies) = policies {
            Box::pin(self.ask_policies(&policies, &asked)).await?;
        }
        match hooks {
            Some(hooks) => Box::pin(self.ask_validators(&hooks, &asked)).await,
            None => Ok(()),
        }
    }

    /// Has admission asked about an object that is sent to a subresource and not stored as it is: a Binding, an
    /// Eviction, a TokenRequest, the options of a connection. Gives it as mutating webhooks leave it.
    ///
    /// # Errors
    /// The first denial.
    pub async fn admit_request(
        &self,
        call: &Call<'_>,
        name: &str,
        operation: Operation,
        mut object: Value,
    ) -> Result<Value, Status> {
        // What is asked of a namespace is no content of it.
        if operation == Operation::Create && !policies::is_review(call.resource) {
            self.check_content(call, &call.resource.group_resource(), name)?;
        }
        if operation == Operation::Create {
            self.change_on_create(call, &mut object)?;
        }
        let change = mutate::Change { operation, name, old: None };
        self.mutate_sent(call, change, &mut object).await?;
        let (policies, hooks) = (self.policies(call), self.validating_hooks(call));
        if policies.is_some() || hooks.is_some() {
            let around = Surroundings::of(self, call);
            let attempt = Attempt { operation, name, object: Some(&object), old: None };
            let asked = Asked { registry: self, call, attempt, around: &around };
            if let Some(policies) = policies {
                Box::pin(self.ask_policies(&policies, &asked)).await?;
            }
            if let Some(hooks) = hooks {
                Box::pin(self.ask_validators(&hooks, &asked)).await?;
            }
        }
        Ok(object)
    }

    async fn mutate_deletion(&self, call: &Call<'_>, attempt: Attempt<'_>) -> Result<(), Status> {
        let change = mutate::Change { operation: attempt.operation, name: attempt.name, old: attempt.old };
        Box::pin(self.mutate_without_object(call, change)).await
    }
}
