//! Server-side apply: the merge, its conflicts, and who owns what afterwards.

use apiserver_json::{Map, Value};

use super::conflict::{ApplyError, Conflict};
use super::entries::{self, Entries, Fields, Identity, Operation, Owned};
use super::last_applied::{self, LAST_APPLIED};
use super::manager::{
    Changed, Manager, empty_object, forget_unknown, kind_of, misfit, misfit_in, never_owned, outdated,
    record, release, without,
};
use super::set::{FieldSet, print_path};
use super::walk::{self, compare, field_set};
use super::{check, merge};
use crate::golang::equal;
use crate::node::Schema;

/// Merges `applied` into `live` and returns the result with its owners. For a create, `live` is an object with
/// nothing but its names. The caller decodes and defaults the result as any other object.
pub fn apply(
    schema: &Schema,
    live: &Value,
    applied: &Value,
    manager: &Manager<'_>,
    force: bool,
    reset: &FieldSet,
) -> Result<Value, ApplyError> {
    if entries::raw(applied).is_some() {
        return Err(ApplyError::BadRequest("metadata.managedFields must be nil".to_owned()));
    }
    let outcome = match attempt(
        schema,
        live,
        applied,
        owners_before(schema, live, manager, reset)?,
        (manager, force, reset),
    ) {
        Err(ApplyError::Conflicts(conflicts)) if manager.name == "kubectl" && !force => {
            let Some(allowed) = client_side_fields(schema, live, manager) else {
                return Err(ApplyError::Conflicts(conflicts));
            };
            let mut allowed_paths = std::collections::HashSet::new();
            allowed.each(&mut |path| {
                allowed_paths.insert(print_path(path));
            });
            let left: Vec<_> = conflicts.into_iter().filter(|c| !allowed_paths.contains(&c.field)).collect();
            if left.is_empty() {
                let owners = owners_before(schema, live, manager, reset)?;
                attempt(schema, live, applied, owners, (manager, true, reset))
            } else {
                Err(ApplyError::Conflicts(left))
            }
        }
        done => done,
    };
    outcome.map(|mut result| {
        if manager.name == "kubectl" {
            last_applied::renew(&mut result, applied);
        }
        result
    })
}

/// The owners an apply starts from; an object that has none gets those of a write before the first apply.
fn owners_before(
    schema: &Schema,
    live: &Value,
    manager: &Manager<'_>,
    reset: &FieldSet,
) -> Result<Entries, ApplyError> {
    let mut owners = entries::read(live)
        .map_err(|message| ApplyError::Failed(format!("failed to decode managed fields: {message}")))?;
    if owners.is_empty() {
        if let Some(why) = outdated(schema, live) {
            return Err(ApplyError::Failed(format!(
                "failed to create manager for existing fields: failed to convert new object ({}) to smd typed: {why}",
                describe(live)
            )));
        }
        let before = Manager { name: "before-first-apply", ..*manager };
        record(&mut owners, compare(schema, &empty_object(schema), live), &before, kind_of(live), reset);
    }
    Ok(owners)
}

type Terms<'a> = (&'a Manager<'a>, bool, &'a FieldSet);

fn attempt(
    schema: &Schema,
    live: &Value,
    applied: &Value,
    mut owners: Entries,
    (manager, force, reset): Terms<'_>,
) -> Result<Value, ApplyError> {
    let errors = check::check(schema, applied);
    if !errors.is_empty() {
        return Err(ApplyError::Failed(format!(
            "failed to create typed patch object ({}): {}",
            describe(applied),
            check::join(&errors)
        )));
    }
    if let Some(why) = outdated(schema, live) {
        let what = describe(live);
        return Err(ApplyError::Failed(format!("failed to create typed live object ({what}): {why}")));
    }
    if let Some((_, why)) = misfit(&owners, manager, live) {
        return Err(ApplyError::Failed(why));
    }
    let merged = merge::merge(schema, live, applied)
        .map_err(|message| ApplyError::Failed(format!("failed to merge config: {message}")))?;
    forget_unknown(&mut owners, manager, kind_of(applied));
    let identity = manager.identity(Operation::Apply);
    let mut last = owners.remove(&identity);
    let owned = Owned {
        fields: Fields::of(without(field_set(schema, applied), reset)),
        api_version: manager.api_version.to_owned(),
        time: last.as_ref().and_then(|last| last.time.clone()),
    };
    owners.insert(identity.clone(), owned);
    check_pruning(&owners, manager, &merged, last.as_ref())?;
    let mut result = prune(schema, merged, &mut owners, last.as_mut().map(|last| &*last.fields.set()));

    if let Some((_, why)) = misfit(&owners, manager, &result) {
        return Err(ApplyError::Failed(format!("failed to convert new object: {why}")));
    }
    let changes = compare(schema, live, &result);
    let changed = Changed::of(changes, reset);
    if !force {
        let conflicts = conflicts(&mut owners, &changed, manager, &identity);
        if !conflicts.is_empty() {
            return Err(ApplyError::Conflicts(conflicts));
        }
    }
    release(&mut owners, &changed, manager, &identity);
    entries::set_raw(&mut result, None);
    let noop = same_object(live, &result);
    if let Some(owned) = owners.get_mut(&identity) {
        owned.fields.remove(never_owned());
        if !noop {
            owned.time = Some(manager.time.to_owned());
        }
    }
    owners.retain(|_, owned| !owned.fields.is_empty());
    entries::write(&mut result, owners);
    Ok(result)
}

/// Whether a live object is equal to a result that has no managed fields, apart from those.
fn same_object(live: &Value, result: &Value) -> bool {
    let (Value::Object(a), Value::Object(b)) = (live, result) else { return equal(live, result) };
    same_members(a, b, |key, a, b| match (key, a, b) {
        ("metadata", Value::Object(a), Value::Object(b)) => {
            let kept = a.iter().filter(|(key, _)| *key != "managedFields");
            a.len() - usize::from(a.contains_key("managedFields")) == b.len()
                && kept.into_iter().all(|(key, a)| b.get(key).is_some_and(|b| equal(a, b)))
        }
        (_, a, b) => equal(a, b),
    })
}

fn same_members(a: &Map, b: &Map, same: impl Fn(&str, &Value, &Value) -> bool) -> bool {
    a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| same(key, a, b)))
}

/// What others own of what was taken.
fn conflicts(
    owners: &mut Entries,
    changed: &Changed,
    manager: &Manager<'_>,
    except: &Identity,
) -> Vec<Conflict> {
    let mut out = Vec::new();
    for (identity, owned) in owners.iter_mut().filter(|(identity, _)| *identity != except) {
        let (taken, _) = changed.for_owner(manager, owned);
        owned
            .fields
            .set()
            .intersection(taken)
            .each(&mut |path| out.push(Conflict::new(identity, print_path(path))));
    }
    out
}

/// What was applied before is pruned in the version it was applied in, and what others own is added back in theirs.
fn check_pruning(
    owners: &Entries,
    manager: &Manager<'_>,
    merged: &Value,
    last: Option<&Owned>,
) -> Result<(), ApplyError> {
    let (Some(versions), Some(last)) = (manager.versions, last) else { return Ok(()) };
    let failed = |what: String| Err(ApplyError::Failed(format!("failed to prune fields: {what}")));
    if last.api_version != manager.api_version
        && let Some(why) = misfit_in(versions, &last.api_version, merged)
    {
        return failed(format!("failed to convert merged object to last applied version: {why}"));
    }
    match misfit(owners, manager, merged) {
        None => Ok(()),
        Some((version, why)) => failed(format!(
            "failed add back owned items: failed to convert merged object at version {version}: {why}"
        )),
    }
}

/// Removes what the applier set last time, does not set now, and nobody else owns.
fn prune(schema: &Schema, merged: Value, owners: &mut Entries, last: Option<&FieldSet>) -> Value {
    let Some(last) = last.filter(|last| !last.is_empty()) else { return merged };
    // Most applies leave nothing out.
    if owners.values_mut().any(|owned| last.clone().difference(owned.fields.set()).is_empty()) {
        return merged;
    }
    let named = |set: &FieldSet| set.with_named_parents(Some(schema));
    let last = named(last);
    let pruned = merge::remove(schema, &merged, &last);
    let merged_set = named(&field_set(schema, &merged));
    let managed = owners.values_mut().fold(FieldSet::new(), |all, owned| all.union(owned.fields.set()));
    let kept = named(&field_set(schema, &pruned)).union(&named(&managed));
    let pruned = merge::remove(schema, &merged, &merged_set.clone().difference(&kept));
    let pruned_set = named(&field_set(schema, &pruned));
    merge::remove(schema, &merged, &merged_set.difference(&pruned_set).intersection(&last))
}

/// The fields that client-side apply set and that still have the values it set: kubectl may take them over.
fn client_side_fields(schema: &Schema, live: &Value, manager: &Manager<'_>) -> Option<FieldSet> {
    let text = live.get("metadata")?.get("annotations")?.get(LAST_APPLIED)?.as_str()?;
    let applied: Value = apiserver_json::from_str(text).ok()?;
    if applied.get("apiVersion")?.as_str()? != manager.api_version {
        return None;
    }
    let changes = walk::compare(schema, &applied, live);
    let set = field_set(schema, &applied);
    Some(set.difference(&changes.modified).difference(&changes.added).difference(&changes.removed))
}

/// `namespace/name; group/version, Kind=Kind` of an object, as upstream prints it.
pub fn describe(object: &Value) -> String {
    let metadata = object.get("metadata");
    let text = |value: Option<&Value>, name: &str| {
        value.and_then(|v| v.get(name)).and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    let api_version = text(Some(object), "apiVersion");
    let group_version = if api_version.contains('/') { api_version } else { format!("/{api_version}") };
    format!(
        "{}/{}; {group_version}, Kind={}",
        text(metadata, "namespace"),
        text(metadata, "name"),
        text(Some(object), "kind")
    )
}
