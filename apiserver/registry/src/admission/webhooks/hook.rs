//! One webhook of a configuration, read once for each change of it.

use std::sync::Arc;
use std::time::Duration;

use apiserver_cel::{Input, Policy};
use apiserver_json::Value;
use apiserver_meta::Status;
use apiserver_meta::selector::LabelSelector;

use super::super::matching::Asked;
use super::super::request::request;
use super::versioned;
use crate::catalogue::Resource;
use crate::object;
use crate::strategy::shared::{items, number, text};
use crate::webhook::{Version, WebhookTarget};

pub(crate) struct Hook {
    pub configuration: String,
    pub name: String,
    pub target: WebhookTarget,
    pub timeout: Duration,
    pub ignores_failures: bool,
    /// Asked again when the object changed after it.
    pub is_reinvoked: bool,
    pub takes_dry_runs: bool,
    /// The review it is sent; `None` where it takes none that we know.
    pub version: Option<Version>,
    rules: Vec<Value>,
    takes_equivalents: bool,
    namespaces: Option<LabelSelector>,
    objects: Option<LabelSelector>,
    conditions: Option<Policy>,
}

impl Hook {
    /// The webhooks of a configuration, in order.
    pub(super) fn of(configuration: &Value) -> Vec<Self> {
        let name = object::name(configuration);
        items(configuration, "webhooks").iter().map(|webhook| Self::read(name, webhook)).collect()
    }

    fn read(configuration: &str, webhook: &Value) -> Self {
        let seconds = number(webhook, "timeoutSeconds").and_then(|seconds| u64::try_from(seconds).ok());
        let versions = items(webhook, "admissionReviewVersions");
        Self {
            configuration: configuration.to_owned(),
            name: text(webhook, "name").to_owned(),
            target: WebhookTarget::of(&webhook["clientConfig"]),
            timeout: Duration::from_secs(seconds.unwrap_or(10)),
            ignores_failures: text(webhook, "failurePolicy") == "Ignore",
            is_reinvoked: text(webhook, "reinvocationPolicy") == "IfNeeded",
            takes_dry_runs: matches!(text(webhook, "sideEffects"), "None" | "NoneOnDryRun"),
            version: versions.iter().filter_map(Value::as_str).find_map(Version::named),
            rules: items(webhook, "rules").to_vec(),
            takes_equivalents: text(webhook, "matchPolicy") != "Exact",
            namespaces: LabelSelector::from_json(&webhook["namespaceSelector"]),
            objects: LabelSelector::from_json(&webhook["objectSelector"]),
            conditions: (!items(webhook, "matchConditions").is_empty()).then(|| Policy::compile(webhook)),
        }
    }

    /// The version of the resource that one of its rules names.
    pub(in super::super) fn named(&self, asked: &Asked<'_>) -> Option<Arc<Resource>> {
        asked.named(&self.rules, self.takes_equivalents)
    }

    /// The version in which it is to be asked about a write; `None` where it is not.
    ///
    /// # Errors
    /// 403 where a match condition fails and failures are not ignored, 500 where the object can't be converted.
    pub(in super::super) async fn is_met(&self, asked: &Asked<'_>) -> Result<Option<Arc<Resource>>, Status> {
        let is_selected = self.namespaces.as_ref().is_some_and(|selector| asked.is_in(selector))
            && self.objects.as_ref().is_some_and(|selector| asked.is_chosen(selector));
        let Some(seen) = is_selected.then(|| self.named(asked)).flatten() else { return Ok(None) };
        let Some(conditions) = &self.conditions else { return Ok(Some(seen)) };
        let (object, old) = versioned(asked, &seen).await?;
        let request = request(asked.call, asked.attempt, &seen);
        let input = Input {
            object: object.as_ref().or(asked.attempt.object),
            old_object: old.as_ref().or(asked.attempt.old),
            request: &request,
            params: None,
            namespace: None,
            authority: asked.call.requester.authority,
        };
        match conditions.is_met(input) {
            Ok(met) => Ok(Some(seen).filter(|_| met)),
            Err(why) => {
                Err(Status::forbidden(&asked.call.resource.group_resource(), asked.attempt.told_name(), &why))
            }
        }
    }
}
