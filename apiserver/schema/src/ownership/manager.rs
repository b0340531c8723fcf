//! Who owns what after a write: `update` for creates, updates and patches, `apply` for server-side apply.
//!
//! All versions of a kind are compared along the schema at hand; there is no conversion between versions here.

use std::sync::OnceLock;

use serde_json::{Map, Value};

use super::conflict::{ApplyError, Conflict};
use super::entries::{self, Entries, Fields, Identity, Operation, Owned};
use super::set::{FieldSet, print_path};
use super::walk::{self, Comparison, compare, field_set};
use super::{fresh, merge};
use crate::decode::zero;
use crate::golang::equal;
use crate::node::Schema;

/// More than this many Update managers are merged into one.
const MAX_UPDATE_MANAGERS: usize = 10;
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// Who writes, and when.
#[derive(Clone, Copy, Debug)]
pub struct Manager<'a> {
    pub name: &'a str,
    pub operation: Operation,
    pub api_version: &'a str,
    /// Empty for the resource itself.
    pub subresource: &'a str,
    /// RFC 3339 in UTC with whole seconds.
    pub time: &'a str,
}

impl Manager<'_> {
    fn identity(&self, operation: Operation) -> Identity {
        Identity {
            manager: if self.name.is_empty() { "unknown" } else { self.name }.to_owned(),
            operation,
            api_version: match operation {
                Operation::Apply => String::new(),
                Operation::Update => self.api_version.to_owned(),
            },
            subresource: self.subresource.to_owned(),
        }
    }
}

/// Writes the owners into `new` after a create (`live` is `None`), update or patch. Fields in `reset` are the other
/// endpoint's (`status` of the main resource) and never owned through this one. An update that changes nothing
/// leaves the entries as they are.
pub fn update(
    schema: &Schema,
    live: Option<&Value>,
    new: &mut Value,
    manager: &Manager<'_>,
    reset: &FieldSet,
) {
    if live.is_none() && entries::raw(new).is_none() {
        let owners = owners_of_new(schema, new, manager, reset);
        return entries::write(new, owners);
    }
    update_by_comparison(schema, live, new, manager, reset);
}

/// As `update`, for any object.
pub(super) fn update_by_comparison(
    schema: &Schema,
    live: Option<&Value>,
    new: &mut Value,
    manager: &Manager<'_>,
    reset: &FieldSet,
) {
    let of_live = live.and_then(entries::raw);
    let theirs = entries::raw(new);
    let unchanged = theirs.is_none() || theirs == of_live || !manager.subresource.is_empty();
    let empty;
    let before = match live {
        Some(live) => live,
        None => {
            empty = empty_object(schema);
            &empty
        }
    };
    let changes = compare(schema, before, new);
    if unchanged && live.is_some() && changes.is_same() && !entries::is_reset(new) {
        if theirs != of_live {
            let kept = of_live.cloned();
            entries::set_raw(new, kept);
        }
        return;
    }
    let mut owners = current_owners(live, new, manager);
    let is_create = live.and_then(|l| l.get("metadata")?.get("uid")?.as_str()).is_none_or(str::is_empty);
    if !owners.is_empty() || is_create {
        record(&mut owners, changes, manager, reset);
        cap(&mut owners);
    }
    entries::write(new, owners);
}

/// The entries of a new object that came without any.
fn owners_of_new(schema: &Schema, new: &Value, manager: &Manager<'_>, reset: &FieldSet) -> Entries {
    let fields = Fields::raw(fresh::owned(schema, &empty_object(schema), new, reset, never_owned()));
    if fields.is_empty() {
        return Entries::new();
    }
    let (api_version, time) = (manager.api_version.to_owned(), Some(manager.time.to_owned()));
    Entries::from([(manager.identity(Operation::Update), Owned { fields, api_version, time })])
}

/// The entries a write starts from: what the request says if it is readable, else what the live object has.
fn current_owners(live: Option<&Value>, new: &Value, manager: &Manager<'_>) -> Entries {
    let of_live = || {
        let list = live.and_then(entries::raw).cloned().unwrap_or_default();
        entries::parse(list).unwrap_or_default()
    };
    let same = live.is_some_and(|live| entries::raw(live) == entries::raw(new));
    if !manager.subresource.is_empty() {
        return of_live();
    }
    if entries::is_reset(new) {
        return Entries::new();
    }
    if same {
        return of_live();
    }
    match entries::read(new) {
        Ok(owners) if !owners.is_empty() => owners,
        _ => of_live(),
    }
}

/// The empty object of a kind, which a create is compared with.
fn empty_object(schema: &Schema) -> Value {
    match zero(schema) {
        Value::Null => Value::Object(Map::new()),
        object => object,
    }
}

/// Takes what changed from its owners and gives what is new to the manager.
fn record(owners: &mut Entries, changes: Comparison, manager: &Manager<'_>, reset: &FieldSet) {
    let removed = without(changes.removed, reset);
    let taken = without(changes.added.union(&changes.modified), reset);
    let identity = manager.identity(Operation::Update);
    release(owners, &taken, &removed, Some(&identity));
    let not_own = taken.intersection(never_owned());
    let own = taken.difference(never_owned());
    let mut fields = owners.remove(&identity).map(|owned| (owned.fields, owned.time));
    if let Some((fields, _)) = &mut fields
        && !fields.hold(&own, [&not_own, &removed])
    {
        fields.remove(&not_own);
        fields.remove(&removed);
        if !own.is_empty() {
            *fields = Fields::of(std::mem::take(fields.set()).union(&own));
        }
    }
    let (fields, time) = match fields {
        // Who changes nothing of its own keeps its time.
        Some((fields, time)) if own.is_empty() => (fields, time),
        Some((fields, _)) => (fields, Some(manager.time.to_owned())),
        None => (Fields::of(own), Some(manager.time.to_owned())),
    };
    if !fields.is_empty() {
        owners.insert(identity, Owned { fields, api_version: manager.api_version.to_owned(), time });
    }
}

fn without(set: FieldSet, reset: &FieldSet) -> FieldSet {
    if reset.is_empty() { set } else { set.recursive_difference(reset) }
}

/// Takes fields from all owners but one; who owns nothing any more is dropped.
fn release(owners: &mut Entries, taken: &FieldSet, removed: &FieldSet, except: Option<&Identity>) {
    for (identity, owned) in owners.iter_mut() {
        if Some(identity) == except {
            continue;
        }
        owned.fields.remove(taken);
        owned.fields.remove(removed);
    }
    owners.retain(|_, owned| !owned.fields.is_empty());
}

/// What no manager ever owns.
fn never_owned() -> &'static FieldSet {
    static SET: OnceLock<FieldSet> = OnceLock::new();
    SET.get_or_init(|| {
        FieldSet::of(&[
            &["apiVersion"],
            &["kind"],
            &["metadata"],
            &["metadata", "name"],
            &["metadata", "namespace"],
            &["metadata", "creationTimestamp"],
            &["metadata", "selfLink"],
            &["metadata", "uid"],
            &["metadata", "clusterName"],
            &["metadata", "generation"],
            &["metadata", "managedFields"],
            &["metadata", "resourceVersion"],
        ])
    })
}

/// Merges the oldest Update entries of a version into one bucket until few enough are left.
fn cap(owners: &mut Entries) {
    let mut updaters: Vec<(i64, Identity)> = owners
        .iter()
        .filter(|(identity, _)| identity.operation == Operation::Update)
        .map(|(identity, owned)| {
            (owned.time.as_deref().and_then(crate::time::unix_seconds).unwrap_or(0), identity.clone())
        })
        .collect();
    let mut length = updaters.len();
    updaters.sort();
    let mut first_of_version: Vec<(String, Identity)> = Vec::new();
    for (_, identity) in updaters {
        if length <= MAX_UPDATE_MANAGERS {
            return;
        }
        let version = identity.api_version.clone();
        let Some((_, first)) = first_of_version.iter().find(|(v, _)| *v == version).cloned() else {
            first_of_version.push((version, identity));
            continue;
        };
        let bucket = Identity {
            manager: "ancient-changes".to_owned(),
            operation: Operation::Update,
            api_version: version,
            subresource: String::new(),
        };
        if !owners.contains_key(&bucket)
            && let Some(owned) = owners.remove(&first)
        {
            owners.insert(bucket.clone(), owned);
        }
        if let (Some(mut old), Some(owned)) = (owners.remove(&identity), owners.get_mut(&bucket)) {
            let set = owned.fields.set();
            *set = std::mem::take(set).union(old.fields.set());
            owned.time = old.time;
        }
        length -= 1;
    }
}

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
    match attempt(
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
                return attempt(schema, live, applied, owners, (manager, true, reset));
            }
            Err(ApplyError::Conflicts(left))
        }
        done => done,
    }
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
        let before = Manager { name: "before-first-apply", ..*manager };
        record(&mut owners, compare(schema, &empty_object(schema), live), &before, reset);
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
    let errors = merge::check(schema, applied);
    if !errors.is_empty() {
        return Err(ApplyError::Failed(format!(
            "failed to create typed patch object ({}): {}",
            describe(applied),
            merge::join(&errors)
        )));
    }
    let merged = merge::merge(schema, live, applied)
        .map_err(|message| ApplyError::Failed(format!("failed to merge config: {message}")))?;
    let identity = manager.identity(Operation::Apply);
    let mut last = owners.remove(&identity);
    let owned = Owned {
        fields: Fields::of(without(field_set(schema, applied), reset)),
        api_version: manager.api_version.to_owned(),
        time: last.as_ref().and_then(|last| last.time.clone()),
    };
    owners.insert(identity.clone(), owned);
    let mut result = prune(schema, merged, &mut owners, last.as_mut().map(|last| &*last.fields.set()));

    let changes = compare(schema, live, &result);
    let removed = without(changes.removed, reset);
    let taken = without(changes.added.union(&changes.modified), reset);
    if !force {
        let conflicts = conflicts(&mut owners, &taken, &identity);
        if !conflicts.is_empty() {
            return Err(ApplyError::Conflicts(conflicts));
        }
    }
    release(&mut owners, &taken, &removed, Some(&identity));
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

fn same_members(
    a: &Map<String, Value>,
    b: &Map<String, Value>,
    same: impl Fn(&str, &Value, &Value) -> bool,
) -> bool {
    a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| same(key, a, b)))
}

fn conflicts(owners: &mut Entries, taken: &FieldSet, except: &Identity) -> Vec<Conflict> {
    let mut out = Vec::new();
    for (identity, owned) in owners.iter_mut().filter(|(identity, _)| *identity != except) {
        owned
            .fields
            .set()
            .intersection(taken)
            .each(&mut |path| out.push(Conflict::new(identity, print_path(path))));
    }
    out
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
    let applied: Value = serde_json::from_str(text).ok()?;
    if applied.get("apiVersion")?.as_str()? != manager.api_version {
        return None;
    }
    let changes = walk::compare(schema, &applied, live);
    let set = field_set(schema, &applied);
    Some(set.difference(&changes.modified).difference(&changes.added).difference(&changes.removed))
}

/// `namespace/name; group/version, Kind=Kind` of an object, as upstream prints it.
fn describe(object: &Value) -> String {
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
