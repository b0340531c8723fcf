//! What changes a write before it is validated: built-in plugins, then mutating policies and webhooks, and all of them
//! again where one wants to see what others made of it.

use std::sync::Arc;

use apiserver_json::Value;
use apiserver_meta::{Status, packed};
use apiserver_schema::Decode;

use super::matching::{Asked, Surroundings};
use super::request::{is_own_kind, kind_of};
use super::webhooks::{Hook, Refusal, Reinvocation};
use super::{Attempt, Operation, PolicyHook, is_asked_by_handler, plugins};
use crate::catalogue::Resource;
use crate::create::Ownership;
use crate::decode;
use crate::object;
use crate::registry::{Call, Registry, now};
use crate::scale;
use crate::update::record_owner;

/// Who changes a write, beside the plugins that are built in.
struct Mutators {
    policies: Option<Arc<Vec<PolicyHook>>>,
    webhooks: Option<Arc<Vec<Hook>>>,
}

/// A write that is being changed, without the object.
#[derive(Clone, Copy)]
pub(super) struct Change<'a> {
    pub operation: Operation,
    pub name: &'a str,
    pub old: Option<&'a Value>,
}

impl<'a> Change<'a> {
    pub(super) fn of(self, object: Option<&'a Value>) -> Attempt<'a> {
        Attempt { operation: self.operation, name: self.name, object, old: self.old }
    }
}

impl Registry {
    /// A new object as plugins and webhooks leave it. Who owns its fields is settled before: nobody comes to own what
    /// these set, or what the server sets later.
    ///
    /// # Errors
    /// The first refusal.
    pub(crate) async fn mutate_new(
        &self,
        call: &Call<'_>,
        mut value: Value,
        ownership: Ownership,
    ) -> Result<Value, Status> {
        object::wipe_for_create(&mut value);
        if !call.resource.namespaced {
            object::metadata_mut(&mut value).remove("namespace");
        } else if object::namespace(&value).is_empty() {
            object::metadata_mut(&mut value).insert("namespace".into(), call.namespace.unwrap_or("").into());
        }
        (call.resource.strategy.default)(&mut value);
        if ownership == Ownership::Update {
            record_owner(call, &now(), None, &mut value);
        }
        plugins::service_account::wait_for_default(self, call, &value).await;
        self.change_on_create(call, &mut value)?;
        let name = object::name(&value).to_owned();
        let change = Change { operation: Operation::Create, name: &name, old: None };
        if let Some(mutators) = self.mutators_for(call, change, &value) {
            Box::pin(self.run_mutators(&mutators, call, change, &mut value)).await?;
        }
        Ok(value)
    }

    /// As [`Registry::mutate_new`], of an object that is being updated.
    ///
    /// # Errors
    /// The first refusal.
    pub(crate) async fn mutate_changed(
        &self,
        call: &Call<'_>,
        name: &str,
        old: &Value,
        new: &mut Value,
        ownership: Ownership,
    ) -> Result<(), Status> {
        // Such a change has no owner either.
        if is_asked_by_handler(call) {
            return Ok(());
        }
        (call.resource.strategy.default)(new);
        if ownership == Ownership::Update {
            record_owner(call, &now(), Some(old), new);
        }
        let change = Change { operation: Operation::Update, name, old: Some(old) };
        let Some(mutators) = self.mutators_for(call, change, new) else { return Ok(()) };
        if call.subresource != "scale" {
            return Box::pin(self.run_mutators(&mutators, call, change, new)).await;
        }
        let Some(mut wanted) = scale::view(call.resource, new) else { return Ok(()) };
        let before = scale::view(call.resource, old);
        let change = Change { old: before.as_ref(), ..change };
        Box::pin(self.run_mutators(&mutators, call, change, &mut wanted)).await?;
        scale::write_back(call.resource, new, &wanted);
        Ok(())
    }

    /// As [`Registry::mutate_new`], of an object that a subresource is sent.
    pub(super) async fn mutate_sent(
        &self,
        call: &Call<'_>,
        change: Change<'_>,
        value: &mut Value,
    ) -> Result<(), Status> {
        match self.mutators_for(call, change, value) {
            Some(mutators) => Box::pin(self.run_mutators(&mutators, call, change, value)).await,
            None => Ok(()),
        }
    }

    /// Asks the mutating webhooks about a deletion, of which they can change nothing.
    pub(super) async fn mutate_without_object(
        &self,
        call: &Call<'_>,
        change: Change<'_>,
    ) -> Result<(), Status> {
        let Some(hooks) = self.mutating_hooks(call) else { return Ok(()) };
        let around = Surroundings::of(self, call);
        let asked = Asked { registry: self, call, attempt: change.of(None), around: &around };
        for hook in hooks.iter() {
            let Some(seen) = hook.is_met(&asked).await? else { continue };
            let outcome = match call.requester.waiting(self.ask(hook, &asked, &seen, true)).await {
                Ok(Some(patch)) => match operations(&patch) {
                    Ok(None) => Ok(()),
                    Ok(Some(_)) => Err(Refusal::Final(Status::internal(format!(
                        "admission webhook {:?} attempted to modify the object, which is not supported for this operation",
                        hook.name
                    )))),
                    Err(refusal) => Err(refusal),
                },
                Ok(None) => Ok(()),
                Err(refusal) => Err(refusal),
            };
            outcome.or_else(|refusal| refusal.settle(hook))?;
        }
        Ok(())
    }

    /// Policies, and webhooks where the rules of at least one name the write; `None` where there are neither.
    fn mutators_for(&self, call: &Call<'_>, change: Change<'_>, value: &Value) -> Option<Mutators> {
        let (policies, webhooks) = (self.mutating_policies(call), self.mutating_hooks(call));
        if policies.is_none() && webhooks.is_none() {
            return None;
        }
        let around = Surroundings::default();
        let asked = Asked { registry: self, call, attempt: change.of(Some(value)), around: &around };
        let webhooks = webhooks.filter(|hooks| hooks.iter().any(|hook| hook.named(&asked).is_some()));
        let names = |hook: &PolicyHook| asked.is_named_by(&hook.spec["matchConstraints"]);
        let policies = policies.filter(|hooks| hooks.iter().any(names));
        (policies.is_some() || webhooks.is_some()).then_some(Mutators { policies, webhooks })
    }

    async fn run_mutators(
        &self,
        mutators: &Mutators,
        call: &Call<'_>,
        change: Change<'_>,
        value: &mut Value,
    ) -> Result<(), Status> {
        decode::settle(call.resource, value);
        let owners = object::metadata(value).get("managedFields").cloned();
        let around = Surroundings::of(self, call);
        let write = (call, change, &around);
        let (policies, webhooks) = (mutators.policies.as_deref(), mutators.webhooks.as_deref());
        let mut rounds = Reinvocation::default();
        let mut first = None;
        if let Some(policies) = policies {
            let round = self.mutate_by_policies(policies, write, None, value).await?;
            if round.is_mutated {
                rounds.changed();
            }
            first = Some(round);
        }
        if let Some(webhooks) = webhooks {
            self.run_round(webhooks, call, change, &around, &mut rounds, value).await?;
        }
        if rounds.begins_again() {
            let before = value.clone();
            if change.operation == Operation::Create && call.subresource.is_empty() {
                self.change_on_create(call, value)?;
            }
            if let Some(policies) = policies {
                self.mutate_by_policies(policies, write, first.as_ref(), value).await?;
            }
            if *value != before {
                rounds.changed();
            }
            if let Some(webhooks) = webhooks {
                self.run_round(webhooks, call, change, &around, &mut rounds, value).await?;
            }
        }
        if let (Some(text), Some(warnings)) = (object::dedup_owners(value, true), call.requester.warnings) {
            warnings.add(text);
        }
        keep_owners_valid(call, owners, value);
        Ok(())
    }

    async fn run_round(
        &self,
        hooks: &[Hook],
        call: &Call<'_>,
        change: Change<'_>,
        around: &Surroundings,
        rounds: &mut Reinvocation,
        value: &mut Value,
    ) -> Result<(), Status> {
        for (i, hook) in hooks.iter().enumerate() {
            let asked = Asked { registry: self, call, attempt: change.of(Some(value)), around };
            let Some(seen) = hook.is_met(&asked).await? else { continue };
            if !rounds.includes(i) {
                continue;
            }
            let outcome = match call.requester.waiting(self.ask(hook, &asked, &seen, true)).await {
                Ok(Some(patch)) => self.patched(call, &seen, value, &patch).await,
                Ok(None) => Ok(None),
                Err(refusal) => Err(refusal),
            };
            if let Ok(Some(next)) = &outcome
                && next != value
            {
                next.clone_into(value);
                rounds.changed();
            }
            if hook.is_reinvoked {
                rounds.answered(i);
            }
            if let Err(refusal) = outcome {
                refusal.settle(hook)?;
            }
        }
        Ok(())
    }

    /// The object as a webhook's patch leaves it; `None` where the patch is empty.
    async fn patched(
        &self,
        call: &Call<'_>,
        seen: &Arc<Resource>,
        value: &Value,
        patch: &[u8],
    ) -> Result<Option<Value>, Refusal> {
        let Some(operations) = operations(patch)? else { return Ok(None) };
        let mut wrong = None;
        let made = self.rewritten(call, seen, value, false, |plain| {
            apiserver_schema::json_patch(plain, &operations).map_err(|error| wrong = Some(error)).ok()
        });
        let made = made.await.map_err(Refusal::Final)?;
        match wrong {
            Some(error) => Err(Refusal::Final(Status::internal(error.message()))),
            None => Ok(made),
        }
    }

    /// The object as `write` leaves it in the version that is `seen`, decoded and defaulted again.
    ///
    /// # Errors
    /// 500 where what is left is none of its kind; a strict reader takes no unknown fields either.
    pub(super) async fn rewritten(
        &self,
        call: &Call<'_>,
        seen: &Arc<Resource>,
        value: &Value,
        strict: bool,
        write: impl FnOnce(&Value) -> Option<Value>,
    ) -> Result<Option<Value>, Status> {
        let converts = is_own_kind(call) && !Arc::ptr_eq(call.resource, seen);
        let mut plain = value.clone();
        packed::unpack(&mut plain);
        let owners = object::metadata(&plain).get("managedFields").cloned();
        if converts {
            plain = self.in_version(call.resource, seen, plain).await?;
        }
        let Some(mut next) = write(&plain) else { return Ok(None) };
        for member in ["apiVersion", "kind"] {
            if next.get(member) != plain.get(member) {
                let kind = kind_of(seen, call.subresource);
                return Err(Status::internal(format!(
                    "a webhook may not make another kind of a {}",
                    kind.kind
                )));
            }
        }
        let unknown = decoded(seen, call.subresource, &mut next).map_err(Status::internal)?;
        // What a definition does not know is only left out.
        if strict && !seen.is_custom() && !unknown.is_empty() {
            return Err(Status::internal(format!("strict decoding error: {}", unknown.join(", "))));
        }
        if converts {
            next = self.in_version(seen, call.resource, next).await?;
        }
        if is_own_kind(call) {
            (call.resource.strategy.default)(&mut next);
        }
        // Ownership that was left alone stays the text it was.
        if object::metadata(&next).get("managedFields") == owners.as_ref()
            && let Some(packed) = object::metadata(value).get("managedFields")
        {
            object::metadata_mut(&mut next).insert("managedFields".into(), packed.clone());
        }
        Ok(Some(next))
    }
}

/// The operations of a patch; `None` where there are none.
pub(super) fn operations(patch: &[u8]) -> Result<Option<Value>, Refusal> {
    let read: Result<Value, _> = apiserver_json::from_slice(patch);
    let wrong =
        |why: String| Refusal::Unanswered(format!("received undecodable patch in webhook response: {why}"));
    match read {
        Ok(Value::Null) => Ok(None),
        Ok(Value::Array(list)) if list.is_empty() => Ok(None),
        Ok(list @ Value::Array(_)) => Ok(Some(list)),
        Ok(other) => {
            let what = if other.is_object() { "object" } else { "value" };
            Err(wrong(format!("json: cannot unmarshal {what} into Go value of type jsonpatch.Patch")))
        }
        Err(error) => Err(wrong(apiserver_meta::json::go_error(patch, &error))),
    }
}

/// Brings what is sent to a resource or a subresource into the form of its kind; gives what is unknown of it.
fn decoded(resource: &Resource, subresource: &str, value: &mut Value) -> Result<Vec<String>, String> {
    let kind = kind_of(resource, subresource);
    if kind.kind == resource.kind {
        return decode::read(resource, resource.schema().as_deref(), value, Decode::Json);
    }
    let Some(schema) = apiserver_schema::builtin(&kind.group, &kind.version, &kind.kind) else {
        return Ok(Vec::new());
    };
    apiserver_schema::decode(&schema, value, Decode::Json)
        .map(|unknown| unknown.iter().map(ToString::to_string).collect())
        .map_err(|error| error.message)
}

/// What a webhook broke of the ownership of fields is put back, with a warning.
fn keep_owners_valid(call: &Call<'_>, owners: Option<Value>, value: &mut Value) {
    let found = object::metadata(value).get("managedFields");
    if found == owners.as_ref() {
        return;
    }
    let entries = found.and_then(Value::as_array).into_iter().flatten();
    let Some(why) = entries.filter_map(owner_error).next() else { return };
    call.requester.warn(format!(
        ".metadata.managedFields was in an invalid state after admission; this could be caused by an outdated mutating admission controller; please fix your requests: {why}"
    ));
    let metadata = object::metadata_mut(value);
    match owners {
        Some(owners) => metadata.insert("managedFields".into(), owners),
        None => metadata.remove("managedFields"),
    };
}

fn owner_error(entry: &Value) -> Option<String> {
    let text = |member: &str| entry.get(member).and_then(Value::as_str).unwrap_or("");
    if !matches!(text("operation"), "Apply" | "Update") {
        return Some(format!("invalid operation: {}", text("operation")));
    }
    if text("fieldsType") != "FieldsV1" {
        return Some(format!("unsupported fieldsType: {}", text("fieldsType")));
    }
    let fields = entry.get("fieldsV1");
    fields
        .is_none_or(|fields| !fields.is_object() && fields.as_raw().is_none())
        .then(|| "missing fieldsV1".to_owned())
}
