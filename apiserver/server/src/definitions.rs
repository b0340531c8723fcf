//! What custom resource definitions come to: they get their names and become established; where they are deleted, their
//! objects go first. Upstream's controllers of `apiextensions-apiserver`, run within the request that gives them work.

use std::collections::BTreeSet;
use std::sync::Arc;

use apiserver_json::{Value, json};
use apiserver_meta::Status;
use apiserver_registry::definition_conditions::{Terminating, approved, terminates};
use apiserver_registry::naming::{self, Claimed};
use apiserver_registry::{
    Call, Changed, DeleteOptions, Page, Registry, Resource, Selectors, custom, now, object,
};
use bytes::Bytes;

use crate::housekeeping::call;
use crate::service::ApiServer;

const CLEANUP_FINALIZER: &str = "customresourcecleanup.apiextensions.k8s.io";

impl ApiServer {
    /// What follows the creation of an object of some kinds, before it is answered.
    pub(crate) async fn after_create(&self, done: &Call<'_>, bytes: &Bytes) {
        let is_new = is_definition(done.resource);
        let value: Value =
            if is_new { apiserver_json::from_slice(bytes).unwrap_or_default() } else { Value::Null };
        self.after_update(done, object::name(&value)).await;
    }

    /// What follows a change of an object of some kinds, before it is answered.
    pub(crate) async fn after_update(&self, done: &Call<'_>, name: &str) {
        if done.dry_run {
            return;
        }
        let registry = self.registry();
        let outcome = match &done.resource.custom {
            _ if is_definition(done.resource) => Box::pin(settle(registry, done.resource, name, false)).await,
            // The last object of a definition that is going takes it along.
            Some(custom) if custom.terminating => {
                if !registry.cache().snapshot(&done.resource.prefix).objects.is_empty() {
                    return;
                }
                let Some(definitions) = kind(registry) else { return };
                Box::pin(finish(registry, &definitions, &custom.definition, &Terminating::Completed)).await
            }
            Some(_) => return,
            None => {
                crate::conditions::settle_after(registry, done.resource).await;
                return;
            }
        };
        tell(name, outcome);
    }

    /// What follows the deletion of many objects.
    pub(crate) async fn after_collection(&self, done: &Call<'_>, names: impl Iterator<Item = String>) {
        if is_definition(done.resource) {
            for name in names {
                self.after_update(done, &name).await;
            }
        } else if done.resource.is_custom() {
            self.after_update(done, "").await;
        }
    }

    /// Sees again to the definitions that wait for their objects to go.
    pub(crate) async fn sweep_definitions(&self) {
        let registry = self.registry();
        let Some(definitions) = kind(registry) else { return };
        for found in registry.cache().snapshot(&definitions.prefix).objects.values() {
            let definition = found.parse();
            if object::is_deleting(&definition) {
                let name = object::name(&definition);
                tell(name, settle(registry, &definitions, name, true).await);
            }
        }
    }
}

fn tell(name: &str, outcome: Result<(), Status>) {
    if let Err(status) = outcome
        && status.code != 404
    {
        tracing::warn!(name, error = %status, "a custom resource definition could not be settled");
    }
}

fn is_definition(resource: &Resource) -> bool {
    resource.kind == "CustomResourceDefinition" && resource.group == "apiextensions.k8s.io"
}

fn kind(registry: &Registry) -> Option<Arc<Resource>> {
    registry.catalogue().get("apiextensions.k8s.io", "v1", "customresourcedefinitions").cloned()
}

/// Establishes a definition, or removes its objects where it is being deleted. `again` is where that was tried before.
async fn settle(
    registry: &Registry,
    definitions: &Arc<Resource>,
    name: &str,
    again: bool,
) -> Result<(), Status> {
    let Some(found) = registry.cache().get(&definitions.key(None, name)) else {
        registry.reload_custom();
        // Its names are free: others of its group may have waited for them.
        let group = name.split_once('.').map_or("", |(_, group)| group);
        return name_others(registry, definitions, group).await;
    };
    let definition = found.parse();
    let deleting = object::is_deleting(&definition);
    if deleting && object::finalizers(&definition).contains(&CLEANUP_FINALIZER) {
        return remove(registry, definitions, &definition, again).await;
    }
    if !deleting {
        let renamed = establish(registry, definitions, &definition).await?;
        if renamed {
            name_others(registry, definitions, group(&definition)).await?;
        }
    }
    registry.reload_custom();
    Ok(())
}

/// Gives the other definitions of a group the names that became free, and those that become free by that.
async fn name_others(registry: &Registry, definitions: &Arc<Resource>, of: &str) -> Result<(), Status> {
    let mut renamed = true;
    while std::mem::take(&mut renamed) {
        for found in registry.cache().snapshot(&definitions.prefix).objects.values() {
            let definition = found.parse();
            if group(&definition) == of && !object::is_deleting(&definition) {
                renamed |= establish(registry, definitions, &definition).await?;
            }
        }
    }
    registry.reload_custom();
    Ok(())
}

/// Writes the conditions of a definition, one after the other as upstream's controllers do; says whether its names moved.
async fn establish(
    registry: &Registry,
    definitions: &Arc<Resource>,
    definition: &Value,
) -> Result<bool, Status> {
    let name = object::name(definition);
    let claimed = claimed(registry, definitions, definition);
    let named = naming::named(definition, &claimed, &now()).is_some();
    if named {
        write(registry, definitions, name, |live| naming::named(live, &claimed, &now())).await?;
    }
    if named || naming::established(definition, &now()).is_some() {
        write(registry, definitions, name, |live| naming::established(live, &now())).await?;
    }
    if approved(definition, &now()).is_some() {
        write(registry, definitions, name, |live| approved(live, &now())).await?;
    }
    Ok(named)
}

/// Writes the status of a definition as `next` has it, if it has another.
async fn write(
    registry: &Registry,
    definitions: &Arc<Resource>,
    name: &str,
    next: impl Fn(&Value) -> Option<Value>,
) -> Result<(), Status> {
    let change = |live: Option<&Value>| {
        let live = live.ok_or_else(|| Status::not_found(&definitions.group_resource(), name))?;
        Ok(Changed::Patched(next(live).unwrap_or_else(|| live.clone())))
    };
    registry.update(&call(definitions, None, "status"), name, false, change).await.map(drop)
}

fn group(definition: &Value) -> &str {
    definition.pointer("/spec/group").and_then(Value::as_str).unwrap_or("")
}

/// The names that definitions of the same group have been given.
fn claimed(registry: &Registry, definitions: &Resource, definition: &Value) -> Claimed {
    let mut claimed = Claimed::default();
    for other in registry.cache().snapshot(&definitions.prefix).objects.values() {
        let other = other.parse();
        if group(&other) == group(definition) {
            claimed.add(&other);
        }
    }
    claimed
}

/// Removes the objects of a definition that is being deleted, and what holds it up where none is left.
async fn remove(
    registry: &Registry,
    definitions: &Arc<Resource>,
    definition: &Value,
    again: bool,
) -> Result<(), Status> {
    let name = object::name(definition);
    let stored = custom::stored_row(definition).map(Arc::new);
    let left = |row: &Resource| !registry.cache().snapshot(&row.prefix).objects.is_empty();
    if again && Terminating::InProgress.is_said_by(definition) && stored.as_deref().is_some_and(left) {
        tell_progress(registry, definitions, name, &Terminating::Unconfirmed).await?;
    }
    tell_progress(registry, definitions, name, &Terminating::InProgress).await?;
    // From here on nobody makes another.
    registry.reload_custom();
    let Some(row) = stored else {
        return finish(registry, definitions, name, &Terminating::NeverEstablished).await;
    };
    if registry.catalogue().is_built_in(&row.prefix) {
        return finish(registry, definitions, name, &Terminating::Overlapping).await;
    }
    if let Err(failed) = delete_objects(registry, &row).await {
        return tell_progress(registry, definitions, name, &failed).await;
    }
    // Objects with finalizers stay until their owners let go; the last one takes the definition along.
    if left(&row) {
        return Ok(());
    }
    finish(registry, definitions, name, &Terminating::Completed).await
}

async fn tell_progress(
    registry: &Registry,
    definitions: &Arc<Resource>,
    name: &str,
    how_far: &Terminating,
) -> Result<(), Status> {
    let told = |live: &Value| {
        let mut next = live.clone();
        terminates(&mut next, how_far, &now());
        Some(next)
    };
    write(registry, definitions, name, told).await
}

/// Deletes what is stored of a kind, in one namespace after the other.
async fn delete_objects(registry: &Registry, row: &Arc<Resource>) -> Result<(), Terminating> {
    let everything = Selectors::default();
    let listed = registry.list(&call(row, None, ""), &everything, &Page::default()).await;
    let listed = listed.map_err(|status| Terminating::Unlisted(status.message))?;
    let namespace = |key: &str| apiserver_registry::identity(row, key).0.map(str::to_owned);
    let namespaces: BTreeSet<Option<String>> =
        listed.objects.iter().map(|object| namespace(object.key())).collect();
    let mut errors = Vec::new();
    for namespace in namespaces {
        let of = call(row, namespace.as_deref(), "");
        let options = DeleteOptions::default();
        if let Err(status) = registry.delete_collection(&of, &everything, &Page::default(), &options).await {
            errors.push(status.message);
        }
    }
    if errors.is_empty() { Ok(()) } else { Err(Terminating::Undeleted(errors)) }
}

/// Lets go of a definition whose objects are gone.
async fn finish(
    registry: &Registry,
    definitions: &Arc<Resource>,
    name: &str,
    how_far: &Terminating,
) -> Result<(), Status> {
    let let_go = |live: &Value| {
        if !object::is_deleting(live) {
            return None;
        }
        let mut next = live.clone();
        terminates(&mut next, how_far, &now());
        let mut kept = object::finalizers(live);
        kept.retain(|finalizer| *finalizer != CLEANUP_FINALIZER);
        object::metadata_mut(&mut next).insert("finalizers".into(), json!(kept));
        Some(next)
    };
    write(registry, definitions, name, let_go).await?;
    registry.reload_custom();
    if registry.cache().get(&definitions.key(None, name)).is_none() {
        let group = name.split_once('.').map_or("", |(_, group)| group);
        return name_others(registry, definitions, group).await;
    }
    Ok(())
}
