//! Delete: preconditions, finalizers, grace, and the collection.

mod step;

use apiserver_json::{Map, Value, json};
use apiserver_meta::{Status, outline, packed};
use apiserver_storage::{Document, Op, Write};
use apiserver_watchcache::Object;
use bytes::Bytes;

use crate::admission::{self, Attempt};
use crate::encode;
use crate::list::Selectors;
use crate::object;
use crate::registry::{Call, Registry};
use crate::update::TRIES;
use step::Step;

/// What becomes of the objects a deleted one owns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Propagation {
    Background,
    Foreground,
    Orphan,
}

/// `metav1.DeleteOptions`, read.
#[derive(Clone, Debug, Default)]
pub struct DeleteOptions {
    pub grace_period_seconds: Option<i64>,
    pub propagation: Option<Propagation>,
    pub uid: Option<String>,
    pub resource_version: Option<String>,
}

/// What a deletion answers with.
#[derive(Clone, Debug)]
pub enum Deleted {
    /// The object: it waits for finalizers or a grace period, or its kind answers so.
    Object(Bytes),
    /// It is gone: a Status.
    Status(Value),
}

impl Registry {
    /// Deletes one object, or marks it for deletion.
    ///
    /// # Errors
    /// 404, 409 of a precondition, 403 of a namespace that must stay, 500 of a webhook that should convert.
    pub async fn delete(
        &self,
        call: &Call<'_>,
        name: &str,
        options: &DeleteOptions,
    ) -> Result<Deleted, Status> {
        match self.delete_stored(call, name, options).await? {
            Deleted::Object(bytes) => self.served_bytes(call.resource, bytes).await.map(Deleted::Object),
            status => Ok(status),
        }
    }

    async fn delete_stored(
        &self,
        call: &Call<'_>,
        name: &str,
        options: &DeleteOptions,
    ) -> Result<Deleted, Status> {
        let gr = call.resource.group_resource();
        let key = call.resource.key(call.namespace, name);
        let write = |op: Op| vec![Write { key: key.clone(), op }];
        // The uid of what was marked.
        let mut marked: Option<String> = None;
        for _ in 0..TRIES {
            let current = self.cache().get(&key).ok_or_else(|| Status::not_found(&gr, name))?;
            let mut expect = current.revision();
            let mut old = outline_of(&current);
            if let Some(uid) = &marked {
                // Somebody else removed it, and its name is another's now.
                if uid != object::uid(&old) {
                    return Err(Status::not_found(&gr, name));
                }
            } else {
                step::check_preconditions(call, name, &old, options)?;
                self.admit_deletion(call, name, &current).await?;
            }
            match step::next_step(call, &old, options) {
                Step::AsItIs => return Ok(Deleted::Object(current.bytes().clone())),
                Step::Wait(next) => {
                    let document = with_outline(call, &current, &next);
                    if call.dry_run {
                        return Ok(Deleted::Object(document.at(expect)));
                    }
                    let done = self.commit(call, name, write(Op::Update { expect, document })).await?;
                    let Some(entry) = done else { continue };
                    self.after_write(call);
                    return Ok(Deleted::Object(entry.value.bytes));
                }
                Step::MarkThenRemove(next) => {
                    if !call.dry_run {
                        let document = with_outline(call, &current, &next);
                        let done = self.commit(call, name, write(Op::Update { expect, document })).await?;
                        let Some(entry) = done else { continue };
                        (marked, expect) = (Some(object::uid(&old).to_owned()), entry.revision);
                    }
                    old = next;
                }
                Step::Remove => {}
            }
            if call.dry_run {
                return Ok(gone(call, &current, old, expect));
            }
            let mut writes = write(Op::Delete { expect });
            writes.extend(self.address_writes(call, name, &[], &self.held_by_service(call, &old)));
            let done = self.commit(call, name, writes).await?;
            let Some(entry) = done else { continue };
            self.after_write(call);
            self.release_service(call, &current);
            return Ok(gone(call, &current, old, entry.revision));
        }
        Err(Status::modified(&gr, name))
    }

    async fn admit_deletion(&self, call: &Call<'_>, name: &str, current: &Object) -> Result<(), Status> {
        // Upstream reads what it deletes in the version of the call: a webhook that does not convert it refuses.
        if !self.is_anybody_asked(call) && !call.resource.asks_to_convert() {
            return Ok(());
        }
        let old = self.to_served(call.resource, self.trees().of(current)).await?;
        let operation = admission::Operation::Delete;
        self.admit(call, Attempt { operation, name, object: None, old: Some(&old) }).await
    }

    /// Deletes every object of a scope that the selectors choose; answers them as they were left.
    ///
    /// # Errors
    /// The first refusal; what was deleted before it stays deleted.
    pub async fn delete_collection(
        &self,
        call: &Call<'_>,
        selectors: &Selectors,
        options: &DeleteOptions,
    ) -> Result<(u64, Vec<Bytes>), Status> {
        let snapshot = self.cache().snapshot(&call.resource.prefix);
        let scope = call.resource.scope(call.namespace);
        let mut left = Vec::new();
        let mut chosen: Vec<_> = snapshot.scope(&scope).cloned().collect();
        chosen = self.served_objects(call.resource, chosen).await?;
        chosen.retain(|object| selectors.select(call.resource, object));
        // Many at once: they share the store's syncs.
        for batch in chosen.chunks(256) {
            let deletions = batch.iter().map(|found| async {
                let (namespace, name) = crate::list::identity(call.resource, found.key());
                let one = Call { namespace: namespace.or(call.namespace), ..*call };
                match self.delete(&one, name, options).await {
                    Err(status) if status.code == 404 => Ok(None),
                    outcome => outcome.map(|_| Some(found.bytes().clone())),
                }
            });
            for outcome in futures::future::join_all(deletions).await {
                left.extend(outcome?);
            }
        }
        Ok((self.cache().revision(), left))
    }
}

/// What the rules look at of an object.
fn outline_of(current: &Object) -> Value {
    // A shape that has no outline is looked at whole.
    outline::outline(current.bytes(), step::MEMBERS).unwrap_or_else(|_| encode::tree(current))
}

/// An object with what a rule changed in its outline: its metadata, and the phase of a Namespace.
fn with_outline(call: &Call, current: &Object, outline: &Value) -> Document {
    let mut metadata = Value::Object(object::metadata(outline).clone());
    if let Some(map) = metadata.as_object_mut() {
        map.remove("resourceVersion");
    }
    if call.resource.kind != "Namespace" {
        let mut text = Vec::with_capacity(current.metadata().len() + 128);
        packed::write_metadata(&mut text, &metadata);
        if let Some(document) = current.with_metadata(&text) {
            return document;
        }
    }
    let mut whole = encode::tree(current);
    whole["metadata"] = metadata;
    if let Some(phase) = outline.pointer("/status/phase") {
        whole["status"]["phase"] = phase.clone();
    }
    encode::document(&whole)
}

/// What the deletion of an object answers that is gone since `revision`: as its kind says.
fn gone(call: &Call, current: &Object, mut last: Value, revision: u64) -> Deleted {
    if !call.resource.strategy.delete_returns_object {
        return Deleted::Status(success_status(call, &last));
    }
    if object::is_deleting(&last) {
        object::metadata_mut(&mut last).insert("deletionGracePeriodSeconds".into(), 0.into());
    }
    Deleted::Object(with_outline(call, current, &last).at(revision))
}

/// The Status a deletion answers with where it does not answer with the object.
fn success_status(call: &Call, object: &Value) -> Value {
    let mut details = Map::new();
    details.insert("name".into(), object::name(object).into());
    if !call.resource.group.is_empty() {
        details.insert("group".into(), call.resource.group.clone().into());
    }
    details.insert("kind".into(), call.resource.name.clone().into());
    details.insert("uid".into(), object::uid(object).into());
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details})
}
