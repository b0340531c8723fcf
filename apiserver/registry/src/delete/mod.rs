//! Delete: preconditions, finalizers, grace, and the collection.

mod step;

use std::sync::Arc;

use apiserver_json::{Map, Value, json};
use apiserver_meta::{Status, outline};
use apiserver_storage::{Document, Op, Write};
use apiserver_watchcache::Object;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::FuturesOrdered;

use crate::admission::{self, Attempt};
use crate::definition::conditions::{Terminating, terminates};
use crate::encode;
use crate::list::{Listing, Page, Selectors};
use crate::object;
use crate::registry::{Call, Registry, now};
use crate::update::TRIES;
use step::Step;

/// How many objects of a collection are deleted at a time.
const AT_ONCE: usize = 1024;

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
    /// The old way to say what becomes of the dependents.
    pub orphan_dependents: Option<bool>,
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
        step::check_system_class(call, name)?;
        let object = match self.delete_stored(call, name, name, options).await? {
            Left::Object(bytes) => bytes,
            Left::Gone { last, .. } if !call.resource.strategy.delete_returns_object => {
                return Ok(Deleted::Status(success_status(call, &last)));
            }
            Left::Gone { current, last, revision } => as_it_went(call, &current, last, revision),
        };
        self.served_bytes(call.resource, object).await.map(Deleted::Object)
    }

    /// Deletes what is stored under a name; `asked` is the name in the request.
    async fn delete_stored(
        &self,
        call: &Call<'_>,
        name: &str,
        asked: &str,
        options: &DeleteOptions,
    ) -> Result<Left, Status> {
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
                if self.keeps_namespaces() {
                    step::check_immortal(call, name)?;
                }
                self.admit_deletion(call, asked, &current).await?;
            }
            match step::next_step(call, &old, options) {
                Step::AsItIs => return Ok(Left::Object(current.bytes().clone())),
                Step::Wait(next) => {
                    let document = with_outline(call, &current, &next);
                    if call.dry_run {
                        return Ok(Left::Object(document.at(expect)));
                    }
                    let done = self.commit(call, name, write(Op::Update { expect, document })).await?;
                    let Some(entry) = done else { continue };
                    self.after_write(call);
                    return Ok(Left::Object(entry.value.bytes));
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
                return Ok(Left::Gone { current, last: old, revision: expect });
            }
            let mut writes = write(Op::Delete { expect });
            let held = self.held_by_service(call, &old);
            writes.extend(self.address_write(call, name, &[], &held));
            let done = self.commit(call, name, writes).await?;
            let Some(entry) = done else { continue };
            self.let_go_second(call, name, &held).await;
            self.after_write(call);
            self.release_service(call, &current);
            return Ok(Left::Gone { current, last: old, revision: entry.revision });
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

    /// Deletes every object of a page that the selectors choose; answers them as they were.
    ///
    /// # Errors
    /// Those of the list, and the first refusal; what was deleted before it stays deleted.
    pub async fn delete_collection(
        &self,
        call: &Call<'_>,
        selectors: &Selectors,
        page: &Page,
        options: &DeleteOptions,
    ) -> Result<Listing, Status> {
        let mut listing = self.list(call, selectors, page).await?;
        let chosen = std::mem::take(&mut listing.objects);
        let mut waiting = chosen.iter();
        let mut running = FuturesOrdered::new();
        let mut refused = None;
        loop {
            // Many at once: they share the store's syncs.
            while running.len() < AT_ONCE
                && refused.is_none()
                && let Some(found) = waiting.next()
            {
                running.push_back(self.delete_found(call, found, options));
            }
            // What was begun is seen to its end.
            match running.next().await {
                Some(Ok(object)) => listing.objects.extend(object),
                Some(Err(status)) => drop(refused.get_or_insert(status)),
                None => break,
            }
        }
        match refused {
            Some(status) => Err(status),
            None => Ok(listing),
        }
    }

    /// One of a collection, as it was before; `None` where somebody else was first.
    async fn delete_found(
        &self,
        call: &Call<'_>,
        found: &Arc<Object>,
        options: &DeleteOptions,
    ) -> Result<Option<Arc<Object>>, Status> {
        let (namespace, name) = crate::list::identity(call.resource, found.key());
        let one = Call { namespace: namespace.or(call.namespace), ..*call };
        match self.delete_stored(&one, name, "", options).await {
            Err(status) if status.code == 404 => Ok(None),
            outcome => outcome.map(|_| Some(found.clone())),
        }
    }
}

/// What a deletion leaves.
enum Left {
    /// The object as it is: it waits for finalizers or a grace period.
    Object(Bytes),
    /// Nothing, since `revision`; `last` is the outline of the object as it was last.
    Gone { current: Arc<Object>, last: Value, revision: u64 },
}

/// What the rules look at of an object.
fn outline_of(current: &Object) -> Value {
    match outline::outline(current.bytes(), step::MEMBERS) {
        Some(found) => {
            current.metadata_is(found.metadata);
            found.tree
        }
        // A shape that has no outline is looked at whole.
        None => encode::tree(current),
    }
}

/// An object with what a rule changed in its outline: its metadata, and the phase of a Namespace.
fn with_outline(call: &Call, current: &Object, outline: &Value) -> Document {
    let mut metadata = Value::Object(object::metadata(outline).clone());
    if let Some(map) = metadata.as_object_mut() {
        map.remove("resourceVersion");
    }
    if call.resource.kind != "Namespace" && !step::is_definition(call) {
        let mut text = Vec::with_capacity(current.metadata().len() + 128);
        apiserver_json::write(&mut text, &metadata);
        if let Some(document) = current.with_metadata(&text) {
            return document;
        }
    }
    let mut whole = encode::tree(current);
    if step::is_definition(call) && !object::is_deleting(&whole) && object::is_deleting(outline) {
        terminates(&mut whole, &Terminating::Pending, &now());
    }
    if let Some(map) = metadata.as_object_mut() {
        // The owners of fields are no text there.
        map.remove("managedFields");
        if let Some(owners) = object::metadata_mut(&mut whole).remove("managedFields") {
            map.insert("managedFields".into(), owners);
        }
    }
    whole["metadata"] = metadata;
    if let Some(phase) = outline.pointer("/status/phase") {
        whole["status"]["phase"] = phase.clone();
    }
    encode::document(&whole)
}

/// An object that is gone since `revision`.
fn as_it_went(call: &Call, current: &Object, mut last: Value, revision: u64) -> Bytes {
    if object::is_deleting(&last) {
        object::metadata_mut(&mut last).insert("deletionGracePeriodSeconds".into(), 0.into());
    }
    with_outline(call, current, &last).at(revision)
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
