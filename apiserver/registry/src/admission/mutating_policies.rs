//! Mutating admission policies: which of them a write meets, and what they make of it.

use std::collections::BTreeSet;
use std::sync::Arc;

use apiserver_cel::{Input, Mutated, Policy};
use apiserver_json::{Value, json};
use apiserver_meta::Status;

use super::MUTATING_POLICY_PLUGIN;
use super::matching::{Asked, Surroundings};
use super::mutate::Change;
use super::policies::{Hook, is_policy};
use super::request::request;
use super::webhooks::versioned;
use crate::catalogue::Resource;
use crate::registry::{Call, Registry};
use crate::strategy::shared;

const POLICIES: &str = "/registry/admissionregistration.k8s.io/mutatingadmissionpolicies/";
const BINDINGS: &str = "/registry/admissionregistration.k8s.io/mutatingadmissionpolicybindings/";

/// Places of a policy, of one of its bindings, and of one of the parameters that leads to.
type Key = (usize, usize, usize);

/// A policy with a binding and a parameter that a write meets.
struct Invocation<'h> {
    key: Key,
    hook: &'h Hook,
    binding: &'h str,
    seen: Arc<Resource>,
    params: Option<Value>,
}

/// What a round of policies came to.
#[derive(Default)]
pub(super) struct Round {
    /// Those that want to be asked again, should anybody change the object.
    again: BTreeSet<Key>,
    /// A policy had something to say, whether or not that changed anything.
    pub is_mutated: bool,
}

/// Why a write is refused.
struct Refusals<'r> {
    asked: &'r Asked<'r>,
    status: Option<Status>,
}

impl Refusals<'_> {
    /// Adds what is wrong with a policy, unless its failures are ignored. The first is told, all are listed.
    fn add(&mut self, hook: &Hook, binding: Option<&str>, why: &str, reason: Option<&'static str>) {
        if shared::text(&hook.spec, "failurePolicy") == "Ignore" {
            return;
        }
        let with = binding.map(|binding| format!(" with binding '{binding}'")).unwrap_or_default();
        let message = format!("policy '{}'{with} denied request: {why}", hook.name);
        let status = self.status.get_or_insert_with(|| {
            let (gr, name) = (self.asked.call.resource.group_resource(), self.asked.attempt.told_name());
            let mut status = Status::forbidden(&gr, name, "");
            status.message = message.clone();
            if let Some(reason) = reason {
                status.reason = reason.into();
            }
            status
        });
        if let Some(details) = status.details.as_mut().and_then(Value::as_object_mut) {
            let causes = details.entry("causes").or_insert_with(|| json!([]));
            if let Some(causes) = causes.as_array_mut() {
                causes.push(json!({"message": message}));
            }
        }
    }
}

impl Registry {
    /// The mutating policies that have bindings; `None` where nobody is to be asked.
    pub(super) fn mutating_policies(&self, call: &Call<'_>) -> Option<Arc<Vec<Hook>>> {
        let known = &self.compiled().mutating_policies;
        self.bound_policies(
            call,
            (POLICIES, BINDINGS),
            MUTATING_POLICY_PLUGIN,
            known,
            Policy::compile_mutating,
        )
    }

    /// Has the policies change a write. In a second round those are asked that wanted to be in the `first`.
    ///
    /// # Errors
    /// 403 of policies that fail, 500 of what they make of an object that is none of its kind.
    pub(super) async fn mutate_by_policies(
        &self,
        hooks: &[Hook],
        (call, change, around): (&Call<'_>, Change<'_>, &Surroundings),
        first: Option<&Round>,
        value: &mut Value,
    ) -> Result<Round, Status> {
        let mut round = Round::default();
        if is_policy(call.resource) {
            return Ok(round);
        }
        let sent = value.clone();
        let asked = Asked { registry: self, call, attempt: change.of(Some(&sent)), around };
        let mut refusals = Refusals { asked: &asked, status: None };
        for invocation in self.invocations(hooks, &asked, &mut refusals).await {
            let Invocation { key, hook, binding, seen, params } = invocation;
            let mut failed = |why: &str| refusals.add(hook, Some(binding), why, Some("Invalid"));
            let asked = Asked { registry: self, call, attempt: change.of(Some(value)), around };
            let (object, old) = versioned(&asked, &seen).await?;
            let request = request(call, asked.attempt, &seen);
            let input = Input {
                object: object.as_ref().or(asked.attempt.object),
                old_object: old.as_ref().or(asked.attempt.old),
                request: &request,
                params: params.as_ref(),
                namespace: asked.namespace_object(),
                authority: call.requester.authority,
            };
            match hook.policy.is_met(input) {
                Ok(true) if first.is_none_or(|first| first.again.contains(&key)) => {}
                Ok(_) => continue,
                Err(why) => {
                    failed(&why);
                    continue;
                }
            }
            let mut next: Option<Value> = None;
            for mutation in 0..hook.policy.mutations() {
                let current = next.as_ref().unwrap_or(value);
                let asked = Asked { attempt: change.of(Some(current)), ..asked };
                let (object, _) = versioned(&asked, &seen).await?;
                let input = Input { object: object.as_ref().or(asked.attempt.object), ..input };
                let made = match hook.policy.mutate(mutation, input) {
                    Ok(Some(mutated)) => self.mutated(call, &seen, current, &mutated).await?,
                    Ok(None) => continue,
                    Err(why) => Err(why),
                };
                match made {
                    Ok(made) => {
                        round.is_mutated = true;
                        next = made.or(next);
                    }
                    Err(why) => failed(&why),
                }
            }
            if let Some(next) = next {
                *value = next;
            }
            if shared::text(&hook.spec, "reinvocationPolicy") == "IfNeeded" {
                round.again.insert(key);
            }
        }
        refusals.status.map_or(Ok(round), Err)
    }

    /// The policies that a write meets, each with a binding and a parameter.
    async fn invocations<'h>(
        &self,
        hooks: &'h [Hook],
        asked: &Asked<'_>,
        refusals: &mut Refusals<'_>,
    ) -> Vec<Invocation<'h>> {
        let mut found = Vec::new();
        for (i, hook) in hooks.iter().enumerate() {
            let Some(seen) = asked.constrained(&hook.spec["matchConstraints"], true) else { continue };
            if let Some(kind) = self.unknown_param_kind(&hook.spec["paramKind"]) {
                let why = format!("failed to find resource referenced by paramKind: '{kind}'");
                refusals.add(hook, None, &format!("failed to configure policy: {why}"), None);
                continue;
            }
            for (j, (binding, spec)) in hook.bindings.iter().enumerate() {
                if asked.constrained(&spec["matchResources"], false).is_none() {
                    continue;
                }
                match self.params(&hook.spec["paramKind"], &spec["paramRef"], asked.call).await {
                    Ok(params) => found.extend(params.into_iter().enumerate().map(|(k, params)| {
                        Invocation { key: (i, j, k), hook, binding, seen: seen.clone(), params }
                    })),
                    Err(why) => {
                        refusals.add(
                            hook,
                            Some(binding),
                            &format!("failed to configure binding: {why}"),
                            None,
                        );
                    }
                }
            }
        }
        found
    }

    /// The object with a mutation in it; nothing where a test of a patch failed, and within that why there is none.
    async fn mutated(
        &self,
        call: &Call<'_>,
        seen: &Arc<Resource>,
        value: &Value,
        mutated: &Mutated,
    ) -> Result<Result<Option<Value>, String>, Status> {
        let mut why = None;
        let made = self
            .rewritten(call, seen, value, true, |plain| {
                let made = match mutated {
                    Mutated::Configuration(configuration) => configured(call, seen, plain, configuration),
                    Mutated::Operations(operations) => patched(plain, operations),
                };
                made.map_err(|error| why = Some(error)).ok().flatten()
            })
            .await?;
        Ok(why.map_or(Ok(made), Err))
    }
}

fn patched(plain: &Value, operations: &Value) -> Result<Option<Value>, String> {
    match apiserver_schema::json_patch(plain, operations) {
        Ok(made) => Ok(Some(made)),
        Err(apiserver_schema::PatchError::TestFailed(_)) => Ok(None),
        Err(error) => Err(format!("JSON Patch: {}", error.message())),
    }
}

fn configured(
    call: &Call<'_>,
    seen: &Resource,
    plain: &Value,
    configuration: &Value,
) -> Result<Option<Value>, String> {
    let kind = super::request::kind_of(seen, call.subresource);
    let schema = if kind.kind == seen.kind {
        seen.schema()
    } else {
        apiserver_schema::builtin(&kind.group, &kind.version, &kind.kind)
    };
    let Some(schema) = schema else { return Ok(None) };
    let mut configuration = configuration.clone();
    for member in ["apiVersion", "kind"] {
        if let Some(own) = plain.get(member) {
            configuration[member] = own.clone();
        }
    }
    apiserver_schema::configure(&schema, plain, &configuration)
        .map(Some)
        .map_err(|why| format!("error applying patch: {why}"))
}
