//! Who owns what after a create, update or patch.
//!
//! All versions of a kind are compared along the schema at hand; there is no conversion between versions here.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use apiserver_json::{Map, Value};

use super::check;
use super::entries::{self, Entries, Fields, Identity, Operation, Owned};
use super::fresh;
use super::set::FieldSet;
use super::walk::{Comparison, compare};
use crate::decode::zero;
use crate::node::Schema;

/// More than this many Update managers are merged into one.
const MAX_UPDATE_MANAGERS: usize = 10;

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
    /// The schemas of a kind's versions between which nothing is converted, by `apiVersion`.
    pub versions: Option<&'a Versions>,
}

/// Schemas by `apiVersion`.
pub type Versions = BTreeMap<String, Arc<Schema>>;

impl Manager<'_> {
    pub(super) fn identity(&self, operation: Operation) -> Identity {
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
    if changes.is_broken {
        // Nobody can be said to own parts of such an object.
        return entries::set_raw(new, None);
    }
    // Where nothing changed, the one is what the other is.
    let moved = live.is_none() || !changes.is_same();
    if live.is_some_and(|live| is_outdated(schema, live)) || moved && is_outdated(schema, new) {
        return entries::set_raw(new, None);
    }
    if unchanged && live.is_some() && changes.is_same() && !entries::is_reset(new) {
        if theirs != of_live {
            let kept = of_live.cloned();
            entries::set_raw(new, kept);
        }
        return;
    }
    let mut owners = current_owners(live, new, manager);
    let fits = |object: &Value| misfit(&owners, manager, object).is_none();
    if !fits(before) || !fits(new) {
        return entries::set_raw(new, None);
    }
    let is_create = live.and_then(|l| l.get("metadata")?.get("uid")?.as_str()).is_none_or(str::is_empty);
    if !owners.is_empty() || is_create {
        record(&mut owners, changes, manager, kind_of(new), reset);
        cap(&mut owners);
    }
    entries::write(new, owners);
}

/// The entries of a new object that came without any.
fn owners_of_new(schema: &Schema, new: &Value, manager: &Manager<'_>, reset: &FieldSet) -> Entries {
    let owned = fresh::owned(schema, &empty_object(schema), new, reset, never_owned());
    let Some(fields) = owned.map(Fields::raw).filter(|fields| !fields.is_empty()) else {
        return Entries::new();
    };
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
pub(super) fn empty_object(schema: &Schema) -> Value {
    match zero(schema) {
        Value::Null => Value::Object(Map::new()),
        object => object,
    }
}

/// Takes what changed from its owners and gives what is new to the manager.
pub(super) fn record(
    owners: &mut Entries,
    changes: Comparison,
    manager: &Manager<'_>,
    kind: &str,
    reset: &FieldSet,
) {
    let changed = Changed::of(changes, reset);
    let identity = manager.identity(Operation::Update);
    forget_unknown(owners, manager, kind);
    release(owners, &changed, manager, &identity);
    let Changed { taken, removed, .. } = changed;
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

/// What is wrong with an object in another version that somebody owns fields in: which one, and why. What is owned is
/// compared in the version it was written in.
pub(super) fn misfit(owners: &Entries, manager: &Manager<'_>, object: &Value) -> Option<(String, String)> {
    let versions = manager.versions?;
    if owners.values().all(|owned| owned.api_version == manager.api_version) {
        return None;
    }
    let mut asked: Vec<&str> = owners.values().map(|owned| owned.api_version.as_str()).collect();
    asked.sort_unstable();
    asked.dedup();
    let others = asked.into_iter().filter(|version| *version != manager.api_version);
    others
        .filter_map(|version| Some((version, misfit_in(versions, version, object)?)))
        .map(|(version, why)| (version.to_owned(), why))
        .next()
}

/// What is wrong with a custom object that was written before its definition changed: such a one has no owners.
pub(super) fn outdated(schema: &Schema, object: &Value) -> Option<String> {
    let errors = if is_custom(schema) { check::check_live(schema, object) } else { Vec::new() };
    (!errors.is_empty()).then(|| check::join(&errors))
}

/// As [`outdated`], where nobody asks why.
fn is_outdated(schema: &Schema, object: &Value) -> bool {
    is_custom(schema) && !check::is_readable(schema, object)
}

/// Objects of built-in kinds are of their types whatever happens.
fn is_custom(schema: &Schema) -> bool {
    schema.object().is_some_and(|object| !object.go_struct)
}

/// What is wrong with an object in a version, of which there may be none any more.
pub(super) fn misfit_in(versions: &Versions, version: &str, object: &Value) -> Option<String> {
    let Some(schema) = versions.get(version) else {
        return Some(format!("request to convert CR to an invalid group/version: {version}"));
    };
    let errors = check::check(schema, object);
    (!errors.is_empty()).then(|| check::join(&errors))
}

/// Drops who wrote in a version that the kind does not have: nothing can be compared with that.
pub(super) fn forget_unknown(owners: &mut Entries, manager: &Manager<'_>, kind: &str) {
    if owners.values().all(|owned| owned.api_version == manager.api_version) {
        return;
    }
    if manager.versions.is_some() {
        // Of those of a custom resource `misfit` has told.
        return;
    }
    let known = |api_version: &str| {
        let (group, version) = api_version.rsplit_once('/').unwrap_or(("", api_version));
        crate::types::builtin(group, version, kind).is_some()
    };
    if known(manager.api_version) {
        owners.retain(|_, owned| owned.api_version == manager.api_version || known(&owned.api_version));
    }
}

pub(super) fn kind_of(object: &Value) -> &str {
    object.get("kind").and_then(Value::as_str).unwrap_or_default()
}

pub(super) fn without(set: FieldSet, reset: &FieldSet) -> FieldSet {
    if reset.is_empty() { set } else { set.recursive_difference(reset) }
}

/// What a write changed, without what its endpoint sets back and with it.
pub(super) struct Changed {
    pub(super) taken: FieldSet,
    pub(super) removed: FieldSet,
    with_reset: Option<(FieldSet, FieldSet)>,
}

impl Changed {
    pub(super) fn of(changes: Comparison, reset: &FieldSet) -> Self {
        let (taken, removed) = (changes.added.union(&changes.modified), changes.removed);
        let with_reset = (!reset.is_empty()).then(|| (taken.clone(), removed.clone()));
        Self { taken: without(taken, reset), removed: without(removed, reset), with_reset }
    }

    /// What was taken and removed, as it counts for one owner: of what was written in another version of a custom
    /// resource nothing is set back, unless through a subresource.
    pub(super) fn for_owner(&self, manager: &Manager<'_>, owned: &Owned) -> (&FieldSet, &FieldSet) {
        match &self.with_reset {
            Some((taken, removed))
                if manager.subresource.is_empty()
                    && manager.versions.is_some()
                    && owned.api_version != manager.api_version =>
            {
                (taken, removed)
            }
            _ => (&self.taken, &self.removed),
        }
    }
}

/// Takes fields from all owners but one; who owns nothing any more is dropped.
pub(super) fn release(owners: &mut Entries, changed: &Changed, manager: &Manager<'_>, except: &Identity) {
    for (identity, owned) in owners.iter_mut() {
        if identity == except {
            continue;
        }
        let (taken, removed) = changed.for_owner(manager, owned);
        owned.fields.remove(taken);
        owned.fields.remove(removed);
    }
    owners.retain(|_, owned| !owned.fields.is_empty());
}

/// What no manager ever owns.
pub(super) fn never_owned() -> &'static FieldSet {
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
