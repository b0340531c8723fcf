//! Update: what PUT, PATCH, apply and the subresources have in common.
//!
//! The change is a function of the current object; it is tried again when somebody else was faster and the
//! client did not insist on a resourceVersion.

use std::sync::OnceLock;

use apiserver_json::Value;
use apiserver_meta::Status;
use apiserver_meta::field::FieldError;
use apiserver_schema::{FieldSet, Manager, Operation};
use apiserver_storage::{Op, Write};

use crate::admission::quota::Charge;
use crate::admission::{self, Attempt};
use crate::catalogue::Resource;
use crate::create::Ownership;
use crate::object;
use crate::registry::{Call, Registry, Written};
use crate::shared::layout;
use crate::strategy::{ALL_KEPT, UpdateCheck, pod};
use crate::{custom, decode, encode, noted_times, size};

/// Tries before a busy object is given up; upstream gives up never, a client's timeout does.
pub(crate) const TRIES: usize = 64;

/// What must hold of the current object beside its resourceVersion.
#[derive(Clone, Debug, Default)]
pub struct Preconditions {
    pub uid: Option<String>,
    pub resource_version: Option<String>,
}

/// What a change function gives back.
#[derive(Clone, Debug)]
pub enum Changed {
    /// The object as a client sent it. A resourceVersion in it is the client's, who insists on it.
    Object(Value),
    /// As `Object`, with its owners recorded.
    Owned(Value),
    /// The object made from the one that was given, with that one's resourceVersion unless the client insists on
    /// another: a lost race is tried again. Its owners are recorded as an Update.
    Patched(Value),
    /// As `Patched`, with its owners recorded by an apply.
    Applied(Value),
}

impl Registry {
    /// Updates an object through `change`; `change` gets `None` where the kind may be created by an update.
    /// Answers whether the object was created.
    ///
    /// # Errors
    /// What upstream answers: 404, 409, 422, 400, 500, and whatever `change` refuses with.
    pub async fn update(
        &self,
        call: &Call<'_>,
        name: &str,
        may_create: bool,
        mut change: impl FnMut(Option<&Value>) -> Result<Changed, Status>,
    ) -> Result<(Written, bool), Status> {
        let gr = call.resource.group_resource();
        let key = call.resource.key(call.namespace, name);
        // Who lost a race waits for the others who did: all of them at once would have one winner a round.
        let mut turn = None;
        for _ in 0..TRIES {
            let Some(current) = self.cache().get(&key) else {
                if !may_create {
                    return Err(Status::not_found(&gr, name));
                }
                let (mut value, ownership) = match change(None)? {
                    Changed::Object(value) | Changed::Patched(value) => (value, Ownership::Update),
                    Changed::Applied(value) | Changed::Owned(value) => (value, Ownership::Applied),
                };
                check_uid(call, name, &Value::Null, &value)?;
                // There is no version yet that it could be of.
                object::metadata_mut(&mut value).remove("resourceVersion");
                return Ok((self.create_owned(call, value, ownership).await?, true));
            };
            let old = self.to_served(call.resource, self.trees().of(&current)).await?;
            let changed = change(Some(&old))?;
            let repeatable = !matches!(changed, Changed::Object(_) | Changed::Owned(_));
            if let Changed::Object(value) | Changed::Owned(value) = &changed {
                check_uid(call, name, &old, value)?;
            }
            let (mut new, ownership) = match changed {
                Changed::Object(value) | Changed::Patched(value) => (value, Ownership::Update),
                Changed::Applied(value) | Changed::Owned(value) => (value, Ownership::Applied),
            };
            self.mutate_changed(call, name, &old, &mut new, ownership).await?;
            crate::create::check_not_moved(call, &new)?;
            let insisted = self.check_version(call, name, &new, current.revision())?;
            let (warnings, claim) = self.prepare(call, name, &old, &mut new)?;
            let allowed = self.allow_changed(call, name, &old, new).await;
            let (mut stored, charge) = call.warned(&warnings, allowed)?;
            let document = size::fit(call.resource, &mut stored, ownership, self.store().is_shared())?;
            let unchanged = current.holds(&document);
            if unchanged || call.dry_run {
                let bytes = if unchanged { current.bytes().clone() } else { document.at(current.revision()) };
                let bytes = self.served_bytes(call.resource, bytes).await?;
                return Ok((Written { bytes, warnings }, false));
            }
            let finished = is_finished(&stored);
            let last = finished.then(|| document.at(current.revision()));
            let bytes = document.bytes.len();
            let op = if finished {
                Op::Delete { expect: current.revision() }
            } else {
                Op::Update { expect: current.revision(), document }
            };
            let write = Write { key: key.clone(), op };
            let held = if finished { self.held_by_service(call, &old) } else { Vec::new() };
            let (taken, freed) = if finished { (&[][..], &held[..]) } else { claim.cluster_ips() };
            self.hold_second(call, name, taken).await?;
            let beside = self.address_write(call, name, taken, freed);
            let committed = self.commit_charged(call, name, write, beside, charge).await;
            let is_done = matches!(committed, Ok(Some(_)));
            self.let_go_second(call, name, if is_done { freed } else { taken }).await;
            if let Some(entry) = committed? {
                claim.keep();
                self.after_write(call);
                let bytes = match last {
                    Some(last) => {
                        self.release_service(call, &current);
                        last
                    }
                    None => {
                        self.trees().keep(&key, entry.revision, stored, bytes);
                        entry.value.bytes
                    }
                };
                let bytes = self.served_bytes(call.resource, bytes).await?;
                return Ok((Written { bytes, warnings }, false));
            }
            let moved = self.cache().get(&key).is_none_or(|now| now.revision() != current.revision());
            if insisted && !repeatable && moved {
                // Who lost against a deletion is told of it: upstream looks again, too.
                let gone = !may_create && self.cache().get(&key).is_none();
                return Err(if gone { Status::not_found(&gr, name) } else { Status::modified(&gr, name) });
            }
            if turn.is_none() {
                turn = Some(self.contended().of(&key).lock().await);
            }
        }
        Err(Status::modified(&gr, name))
    }

    /// Asks everybody who may refuse a valid change, and makes of it what is stored.
    async fn allow_changed(
        &self,
        call: &Call<'_>,
        name: &str,
        old: &Value,
        mut new: Value,
    ) -> Result<(Value, Charge<'_>), Status> {
        self.check_by_plugins(call, &new, Some(old))?;
        // What goes with this is not stored: it is answered as it was sent.
        if !is_finished(&new) {
            decode::settle(call.resource, &mut new);
        }
        if self.is_anybody_asked(call) {
            // Whoever is asked sees of which version it is, whether the client insists on one or not.
            let version = object::text(old, "resourceVersion").to_owned();
            object::metadata_mut(&mut new).insert("resourceVersion".into(), version.into());
        }
        let operation = admission::Operation::Update;
        self.admit(call, Attempt { operation, name, object: Some(&new), old: Some(old) }).await?;
        noted_times::keep(old, &mut new);
        // Upstream's store drops it, which what is only tried never reaches.
        if !call.dry_run {
            object::metadata_mut(&mut new).remove("selfLink");
        }
        let stored = self.to_stored(call.resource, encode::without_revision(new)).await?;
        let charge = self.charge(call, &stored, Some(old)).await?;
        Ok((stored, charge))
    }

    /// Checks the resourceVersion the client sent; says whether it sent one.
    fn check_version(&self, call: &Call, name: &str, new: &Value, current: u64) -> Result<bool, Status> {
        let gr = call.resource.group_resource();
        match object::text(new, "resourceVersion") {
            "" | "0" => {
                if call.resource.strategy.unconditional_update || call.subresource == "scale" {
                    Ok(false)
                } else {
                    let error = FieldError::invalid(
                        "metadata.resourceVersion",
                        &0.into(),
                        "must be specified for an update",
                    );
                    // Named after the resource, not the kind: the store refuses, not the validation.
                    let what =
                        apiserver_meta::GroupVersionKind { kind: gr.resource.clone(), ..call.resource.gvk() };
                    Err(Status::invalid(&what, name, &[error]))
                }
            }
            version => match version.parse::<u64>() {
                Ok(version) if version == current => Ok(true),
                Ok(_) => Err(Status::modified(&gr, name)),
                Err(_) => {
                    let why = format!("strconv.ParseUint: parsing {version:?}: invalid syntax");
                    Err(Status::new(500, "", why))
                }
            },
        }
    }

    /// Applies the kind's rules to an updated object.
    fn prepare(
        &self,
        call: &Call,
        name: &str,
        before: &Value,
        new: &mut Value,
    ) -> Result<(Vec<String>, crate::allocate::Claim), Status> {
        let resource = call.resource;
        let strategy = resource.strategy;
        object::keep_for_update(resource.namespaced, new, before);
        let alike = like_sent(resource, before, new);
        let kept = alike.as_ref().unwrap_or(before);
        match call.subresource {
            "" => {
                if resource.custom.as_ref().is_some_and(|custom| custom.has_status) {
                    keep_member(new, before, "status");
                }
                (strategy.prepare_update)(new, kept);
                self.change_on_update(call, new, kept);
                (strategy.default)(new);
            }
            "status" => {
                keep_all_but_status(resource, new, before);
                (strategy.prepare_status)(new, kept);
                (strategy.default)(new);
            }
            "ephemeralcontainers" | "resize" => {
                pod::subresources::prepare(call.subresource, new, kept);
                (strategy.default)(new);
            }
            name => {
                if let Some(part) = (strategy.part)(name) {
                    (part.prepare)(new, kept);
                }
            }
        }
        object::tidy(new);
        // What is prepared may have lost some of what was sent empty.
        let alike = alike.and_then(|_| like_sent(resource, before, new));
        let old = alike.as_ref().unwrap_or(before);
        if generation_moves(call, new, old) {
            let generation = object::metadata(old).get("generation").and_then(Value::as_i64).unwrap_or(0) + 1;
            object::metadata_mut(new).insert("generation".into(), generation.into());
        }
        // What is taken is told before anything that is wrong.
        let key = resource.key(call.namespace, name);
        let claim = if call.subresource.is_empty() {
            self.claim_for_service(call, &key, new, Some(old))?
        } else {
            crate::allocate::Claim::nothing()
        };
        // Of a status only the change of the metadata is looked at, by kinds that look at it.
        let looks_at_metadata = strategy.update_checks != [UpdateCheck::Own];
        let checks = match call.subresource {
            "" => strategy.update_checks,
            _ if looks_at_metadata => &[UpdateCheck::MetadataChanges, UpdateCheck::Own],
            _ => &[UpdateCheck::Own],
        };
        let mut errors = Vec::from_iter(self.check_admin_access(call, new, Some(old)));
        errors.extend(object::validate_update(strategy, new, old, checks, |new, old| {
            match call.subresource {
                "" => (strategy.validate_update)(new, old),
                "status" => (strategy.validate_status)(new, old),
                below @ ("ephemeralcontainers" | "resize") => pod::subresources::check(below, new, old),
                name => (strategy.part)(name).map_or_else(Vec::new, |part| (part.validate)(new, old)),
            }
        }));
        let mut tolerated = Vec::new();
        if matches!(call.subresource, "" | "status" | "scale") {
            tolerated = custom::validate(resource, new, Some(old), call.subresource, &mut errors);
        }
        if !errors.is_empty() {
            // What is let pass is told, whatever is not.
            let refused = Err(Status::invalid(&resource.internal_gvk(), object::name(new), &errors));
            return call.warned(&tolerated, refused);
        }
        let at = |object, path: &[&str]| crate::strategy::shared::at(object, path);
        let is_warned = call.subresource.is_empty()
            && strategy.warns_of_updates
            && strategy.warned_member.is_none_or(|path| at(new, path) != at(old, path));
        let mut warnings = match strategy.warns_of_old {
            _ if !is_warned => Vec::new(),
            true => (strategy.warnings)(old),
            false => (strategy.warnings)(new),
        };
        if strategy.warns_of_old {
            let moved = at(new, &["spec"]) != at(old, &["spec"]);
            warnings.retain(|text| moved && !text.starts_with("metadata.name"));
        } else if !warnings.is_empty() && !strategy.warns_again {
            let before = (strategy.warnings)(old);
            let moved = object::metadata(new).get("generation") != object::metadata(old).get("generation");
            // A name is warned of when it is given.
            let again =
                |text: &str| strategy.warns_of_template && moved && !text.starts_with("metadata.name");
            warnings.retain(|text| again(text) || !before.contains(text));
        }
        warnings.extend(tolerated);
        Ok((warnings, claim))
    }
}

/// The old object with the lists and maps that were sent empty: nearly all comparisons take these for missing ones.
fn like_sent(resource: &Resource, old: &Value, new: &Value) -> Option<Value> {
    if resource.strategy.tells_empty {
        return None;
    }
    let empties = decode::empties(resource, new);
    (!empties.is_empty()).then(|| empties.shared_with(new, old))
}

/// A uid in a sent object is a precondition: of another object nothing is changed.
fn check_uid(call: &Call<'_>, name: &str, old: &Value, sent: &Value) -> Result<(), Status> {
    let uid = object::uid(sent);
    if uid.is_empty() || uid == object::uid(old) {
        return Ok(());
    }
    let key = upstream_key(call, name);
    // What is only tried is checked above the store, which would put its own prefix before the key.
    let key = if call.dry_run { key.strip_prefix("/registry").unwrap_or(&key) } else { &key };
    let why = format!(
        "StorageError: invalid object, Code: 4, Key: {key}, ResourceVersion: 0, AdditionalErrorMsg: Precondition failed: UID in precondition: {uid}, UID in object meta: {}",
        object::uid(old)
    );
    Err(Status::conflict(&call.resource.group_resource(), name, &why))
}

/// Notes in `managedFields` which fields a plain write makes its manager's.
pub fn record_owner(call: &Call<'_>, time: &str, old: Option<&Value>, new: &mut Value) {
    let Some(schema) = call.resource.schema() else { return };
    let api_version = call.resource.api_version();
    let manager = Manager {
        name: call.manager,
        operation: Operation::Update,
        api_version: &api_version,
        subresource: call.subresource,
        time,
        versions: call.resource.unconverted_versions(),
    };
    let reset = reset_fields(call.resource, call.subresource);
    let empties = decode::empties(call.resource, new);
    if empties.is_empty() {
        return apiserver_schema::update(&schema, old, new, &manager, reset);
    }
    // Nobody owns what is not written.
    let mut written = new.clone();
    empties.leave_out(&schema, &mut written);
    apiserver_schema::update(&schema, old, &mut written, &manager, reset);
    match object::metadata_mut(&mut written).remove("managedFields") {
        Some(owners) => object::metadata_mut(new).insert("managedFields".into(), owners),
        None => object::metadata_mut(new).remove("managedFields"),
    };
}

/// Notes who sent what is answered and never kept, where it is of another kind than the resource it was sent to.
pub fn record_sender(
    call: &Call<'_>,
    schema: &apiserver_schema::Schema,
    api_version: &str,
    sent: &mut Value,
) {
    let manager = Manager {
        name: call.manager,
        operation: Operation::Update,
        api_version,
        subresource: call.subresource,
        time: &crate::registry::now(),
        versions: None,
    };
    apiserver_schema::update(schema, None, sent, &manager, &FieldSet::default());
}

/// An object that is being deleted and whose last finalizer went.
fn is_finished(object: &Value) -> bool {
    let metadata = object::metadata(object);
    metadata.contains_key("deletionTimestamp")
        && object::finalizers(object).is_empty()
        && metadata.get("deletionGracePeriodSeconds").and_then(Value::as_i64).unwrap_or(0) == 0
        && object.pointer("/spec/finalizers").and_then(Value::as_array).is_none_or(<[_]>::is_empty)
}

fn keep_member(new: &mut Value, old: &Value, member: &str) {
    if let Some(map) = new.as_object_mut() {
        match old.get(member) {
            Some(value) => map.insert(member.into(), value.clone()),
            None => map.remove(member),
        };
    }
}

/// A status update changes the status, and of the metadata only what upstream's status strategies let through.
fn keep_all_but_status(resource: &Resource, new: &mut Value, old: &Value) {
    if resource.is_custom() {
        // All of it is as it was, but for the owners of what changes.
        let owners = object::metadata(new).get("managedFields").cloned();
        let mut metadata = object::metadata(old).clone();
        metadata.remove("managedFields");
        metadata.extend(owners.map(|owners| ("managedFields".to_owned(), owners)));
        new["metadata"] = Value::Object(metadata);
    } else {
        object::keep_metadata(new, old, resource.strategy.status_keeps);
    }
    let own = |key: &str| key == "metadata" || key == "status";
    let Value::Object(map) = new else { return };
    map.retain(|key, _| own(key));
    for (key, value) in old.as_object().into_iter().flatten().filter(|(key, _)| !own(key)) {
        map.insert(key.clone(), value.clone());
    }
}

/// Does this change count as a new generation?
fn generation_moves(call: &Call, new: &Value, old: &Value) -> bool {
    if !matches!(call.subresource, "" | "scale" | "resize" | "ephemeralcontainers") {
        return false;
    }
    let resource = call.resource;
    if !(resource.strategy.generation || resource.is_custom()) {
        return false;
    }
    let has_status =
        resource.strategy.status || resource.custom.as_ref().is_some_and(|custom| custom.has_status);
    let counts = |key: &str| {
        key != "metadata" && key != "apiVersion" && key != "kind" && !(has_status && key == "status")
    };
    let annotations = |object| object::metadata(object).get("annotations");
    if resource.strategy.annotations_count && annotations(new) != annotations(old) {
        return true;
    }
    let empty = apiserver_json::Map::new();
    let (new, old) = (new.as_object().unwrap_or(&empty), old.as_object().unwrap_or(&empty));
    new.iter().any(|(key, value)| counts(key) && old.get(key) != Some(value))
        || old.keys().any(|key| counts(key) && !new.contains_key(key))
}

/// Fields a verb sets back, so that nobody comes to own them through it.
pub fn reset_fields(resource: &Resource, subresource: &str) -> &'static FieldSet {
    if let Some(fields) = (resource.strategy.resets)(subresource) {
        return fields;
    }
    static NONE: OnceLock<FieldSet> = OnceLock::new();
    static STATUS: OnceLock<FieldSet> = OnceLock::new();
    static SPEC: OnceLock<FieldSet> = OnceLock::new();
    static SPEC_AND_METADATA: OnceLock<FieldSet> = OnceLock::new();
    static STATUS_OF_CUSTOM: OnceLock<FieldSet> = OnceLock::new();
    let has_status =
        resource.strategy.status || resource.custom.as_ref().is_some_and(|custom| custom.has_status);
    match (subresource, has_status) {
        ("", true) => STATUS.get_or_init(|| FieldSet::of(&[&["status"]])),
        ("status", _) if resource.is_custom() => STATUS_OF_CUSTOM.get_or_init(|| {
            FieldSet::of(&[
                &["spec"],
                &["metadata", "labels"],
                &["metadata", "annotations"],
                &["metadata", "finalizers"],
                &["metadata", "ownerReferences"],
            ])
        }),
        ("status", _) if resource.strategy.status_keeps == ALL_KEPT => {
            SPEC_AND_METADATA.get_or_init(|| FieldSet::of(&[&["metadata"], &["spec"]]))
        }
        ("status", _) => SPEC.get_or_init(|| FieldSet::of(&[&["spec"]])),
        _ => NONE.get_or_init(FieldSet::default),
    }
}

/// The key upstream's storage would print.
pub(crate) fn upstream_key(call: &Call, name: &str) -> String {
    let (group, resource) = (&call.resource.group, &call.resource.name);
    let directory = if call.resource.is_custom() {
        format!("/registry/{group}/{resource}")
    } else {
        format!("/registry/{}", layout::directory(group, resource))
    };
    match call.namespace {
        Some(namespace) if call.resource.namespaced => format!("{directory}/{namespace}/{name}"),
        _ => format!("{directory}/{name}"),
    }
}
