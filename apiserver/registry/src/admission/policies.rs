//! Validating admission policies: which of them a write meets, and what they say of it.

use std::sync::Arc;

use apiserver_cel::{Decision, Input, Policy};
use apiserver_json::{Value, json};
use apiserver_meta::selector::LabelSelector;
use apiserver_meta::{GroupVersionKind, Status};
use apiserver_watchcache::Object;

use super::matching::Asked;
use super::request::request;
use super::webhooks::versioned;
use super::{Compiled, POLICY_PLUGIN};
use crate::catalogue::Resource;
use crate::registry::{Call, Registry};
use crate::{object, strategy::shared};

const GROUP: &str = "admissionregistration.k8s.io";
const POLICIES: &str = "/registry/admissionregistration.k8s.io/validatingadmissionpolicies/";
const BINDINGS: &str = "/registry/admissionregistration.k8s.io/validatingadmissionpolicybindings/";

/// A policy with what binds it.
pub(crate) struct Hook {
    pub(super) name: String,
    pub(super) spec: Value,
    pub(super) policy: Policy,
    pub(super) bindings: Vec<(String, Value)>,
}

/// Is it a question about who somebody is or what they may do? Policies could keep everybody out by these.
pub(super) fn is_review(resource: &Resource) -> bool {
    matches!(resource.group.as_str(), "authentication.k8s.io" | "authorization.k8s.io")
}

/// Is it a policy or a binding of one? None decides about them, so that a broken one can be taken back.
pub(super) fn is_policy(resource: &Resource) -> bool {
    resource.group == GROUP && resource.name.contains("admission")
}

impl Registry {
    /// The validating policies that have bindings.
    pub(super) fn policies(&self, call: &Call<'_>) -> Option<Arc<Vec<Hook>>> {
        let known = &self.compiled().policies;
        self.bound_policies(call, (POLICIES, BINDINGS), POLICY_PLUGIN, known, Policy::compile)
    }

    /// Policies that have bindings, compiled once for each change of either.
    pub(super) fn bound_policies(
        &self,
        call: &Call<'_>,
        (policies, bindings): (&str, &str),
        plugin: &str,
        known: &Compiled<Hook>,
        compile: fn(&Value) -> Policy,
    ) -> Option<Arc<Vec<Hook>>> {
        if self.cache().snapshot(bindings).objects.is_empty()
            || is_review(call.resource)
            || call.requester.is_server()
            || self.disabled_plugins().contains(plugin)
        {
            return None;
        }
        let at = (self.cache().last_change(policies), self.cache().last_change(bindings));
        let hooks = known.at(at, || {
            let bindings = self.cache().snapshot(bindings);
            let bindings: Vec<Value> = bindings.objects.values().map(|object| object.parse()).collect();
            let policies = self.cache().snapshot(policies);
            let policies = policies.objects.values().map(|stored| stored.parse());
            policies.filter_map(|policy| bound(&policy, &bindings, compile)).collect()
        });
        Some(hooks).filter(|hooks| !hooks.is_empty())
    }

    /// Asks the policies; warns of what those say that only warn.
    ///
    /// # Errors
    /// The first denial.
    pub(super) async fn ask_policies(&self, hooks: &[Hook], asked: &Asked<'_>) -> Result<(), Status> {
        let call = asked.call;
        if is_policy(call.resource) {
            return Ok(());
        }
        let mut denial = None;
        for hook in hooks {
            let Some(seen) = asked.constrained(&hook.spec["matchConstraints"], true) else { continue };
            let (object, old) = versioned(asked, &seen).await?;
            let request = request(call, asked.attempt, &seen);
            let ignores = shared::text(&hook.spec, "failurePolicy") == "Ignore";
            if let Some(kind) = self.unknown_param_kind(&hook.spec["paramKind"]) {
                let why = format!("failed to find resource referenced by paramKind: '{kind}'");
                if !ignores {
                    let message = format!("failed to configure policy: {why}");
                    denial.get_or_insert(denied(asked, &hook.name, None, &message, ""));
                }
                continue;
            }
            for (binding, spec) in &hook.bindings {
                if asked.constrained(&spec["matchResources"], false).is_none() {
                    continue;
                }
                let decisions = match self.params(&hook.spec["paramKind"], &spec["paramRef"], call).await {
                    Ok(params) => params
                        .iter()
                        .flat_map(|params| {
                            hook.policy.evaluate(Input {
                                object: object.as_ref().or(asked.attempt.object),
                                old_object: old.as_ref().or(asked.attempt.old),
                                request: &request,
                                params: params.as_ref(),
                                namespace: asked.namespace_object(),
                                authority: call.requester.authority,
                            })
                        })
                        .collect(),
                    Err(_) if ignores => Vec::new(),
                    Err(why) => {
                        let message = format!("failed to configure binding: {why}");
                        denial.get_or_insert(denied(asked, &hook.name, Some(binding), &message, ""));
                        continue;
                    }
                };
                let actions = shared::items(spec, "validationActions");
                for Decision { message, reason } in decisions {
                    if actions.contains(&json!("Deny")) && denial.is_none() {
                        denial = Some(denied(asked, &hook.name, Some(binding), &message, &reason));
                    }
                    if actions.contains(&json!("Warn")) {
                        call.requester.warn(format!(
                            "Validation failed for ValidatingAdmissionPolicy '{}' with binding '{binding}': {message}",
                            hook.name
                        ));
                    }
                    if actions.contains(&json!("Audit")) {
                        tracing::info!(policy = %hook.name, %binding, %message, "a policy's validation failed");
                    }
                }
            }
        }
        denial.map_or(Ok(()), Err)
    }

    /// The kind of a policy's parameters, where there is no such kind.
    pub(super) fn unknown_param_kind(&self, kind: &Value) -> Option<GroupVersionKind> {
        let (api_version, name) = (shared::text(kind, "apiVersion"), shared::text(kind, "kind"));
        let (group, version) = api_version.rsplit_once('/').unwrap_or(("", api_version));
        let gvk = GroupVersionKind::new(group, version, name);
        (kind.is_object() && self.catalogue().by_kind(&gvk).is_none()).then_some(gvk)
    }

    /// The parameters a binding names; one `None` where the policy takes none.
    pub(super) async fn params(
        &self,
        kind: &Value,
        reference: &Value,
        call: &Call<'_>,
    ) -> Result<Vec<Option<Value>>, String> {
        if !kind.is_object() || !reference.is_object() {
            return Ok(vec![None]);
        }
        let (api_version, name) = (shared::text(kind, "apiVersion"), shared::text(kind, "kind"));
        let (group, version) = api_version.rsplit_once('/').unwrap_or(("", api_version));
        let catalogue = self.catalogue();
        let Some(resource) = catalogue.by_kind(&GroupVersionKind::new(group, version, name)) else {
            return Ok(Vec::new());
        };
        let own = Some(shared::text(reference, "namespace")).filter(|namespace| !namespace.is_empty());
        if own.is_some() && !resource.namespaced {
            return Err("paramRef.namespace must not be provided for a cluster-scoped `paramKind`".to_owned());
        }
        let namespace = own.or(call.namespace.filter(|_| call.resource.namespaced));
        if resource.namespaced && namespace.is_none() {
            return Err(
                "cannot use namespaced paramRef in policy binding that matches cluster-scoped resources"
                    .to_owned(),
            );
        }
        let namespace = namespace.filter(|_| resource.namespaced);
        let found: Vec<Arc<Object>> = match shared::text(reference, "name") {
            "" => {
                let selector = LabelSelector::from_json(&reference["selector"]).unwrap_or_default();
                let snapshot = self.cache().snapshot(&resource.prefix);
                let scope = resource.scope(namespace);
                let chosen =
                    snapshot.scope(&scope).filter(|object| selector.matches(|key| object.label(key)));
                chosen.cloned().collect()
            }
            name => self.cache().get(&resource.key(namespace, name)).into_iter().collect(),
        };
        if found.is_empty() && shared::text(reference, "parameterNotFoundAction") != "Allow" {
            return Err("no params found for policy binding with `Deny` parameterNotFoundAction".to_owned());
        }
        let found =
            self.served_objects(resource, found).await.map_err(|status| status.message.to_string())?;
        Ok(found.iter().map(|object| Some(crate::convert::from_stored(resource, object.parse()))).collect())
    }
}

/// A policy, where something binds it.
fn bound(policy: &Value, bindings: &[Value], compile: fn(&Value) -> Policy) -> Option<Hook> {
    let name = object::name(policy).to_owned();
    let bindings: Vec<(String, Value)> = bindings
        .iter()
        .filter(|binding| shared::text(&binding["spec"], "policyName") == name)
        .map(|binding| (object::name(binding).to_owned(), binding["spec"].clone()))
        .collect();
    let spec = &policy["spec"];
    (!bindings.is_empty()).then(|| Hook { name, spec: spec.clone(), policy: compile(spec), bindings })
}

fn denied(asked: &Asked<'_>, policy: &str, binding: Option<&str>, message: &str, reason: &str) -> Status {
    let with = binding.map(|binding| format!(" with binding '{binding}'")).unwrap_or_default();
    let why = format!("ValidatingAdmissionPolicy '{policy}'{with} denied request: {message}");
    let mut status =
        Status::forbidden(&asked.call.resource.group_resource(), asked.attempt.told_name(), &why);
    let (code, reason) = match reason {
        "Forbidden" => (403, "Forbidden"),
        "Unauthorized" => (401, "Unauthorized"),
        "RequestEntityTooLarge" => (413, "RequestEntityTooLarge"),
        _ => (422, "Invalid"),
    };
    (status.code, status.reason) = (code, reason.into());
    if let Some(details) = status.details.as_mut().and_then(Value::as_object_mut) {
        details.insert("causes".into(), json!([{"message": why}]));
    }
    status
}
