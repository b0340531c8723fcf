//! Create: fill in metadata, apply the kind's rules, allocate, record ownership, store.

use std::sync::Arc;

use apiserver_json::{Map, Value};
use apiserver_meta::Status;
use apiserver_storage::{Op, Write};
use bytes::Bytes;

use crate::admission::{self, Attempt};
use crate::allocate::Claim;
use crate::catalogue::Resource;
use crate::object;
use crate::registry::{Call, Registry, Written, now, random_suffix};
use crate::{custom, decode, size};

/// Tries to find a free generated name; upstream tries as often.
const GENERATE_TRIES: usize = 8;

/// Who recorded the owners of fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ownership {
    /// The registry does, as an Update.
    Update,
    /// An apply did already.
    Applied,
}

/// Wherever a webhook moved it, an object is written to the namespace of the request.
pub(crate) fn check_not_moved(call: &Call<'_>, value: &Value) -> Result<(), Status> {
    let given = object::namespace(value);
    match call.namespace.filter(|_| call.resource.namespaced) {
        Some(namespace) if !given.is_empty() && given != namespace => Err(Status::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        )),
        _ => Ok(()),
    }
}

impl Registry {
    /// Creates a decoded object.
    ///
    /// # Errors
    /// What upstream answers: 404 or 403 of the namespace, 409, 422, 400, 500.
    pub async fn create(&self, call: &Call<'_>, value: Value) -> Result<Written, Status> {
        self.create_owned(call, value, Ownership::Update).await
    }

    pub(crate) async fn create_owned(
        &self,
        call: &Call<'_>,
        value: Value,
        ownership: Ownership,
    ) -> Result<Written, Status> {
        self.check_definition(call.resource, object::name(&value))?;
        // One that is no number is no version, and goes as one that is not there. What is only tried never gets as far as
        // the store, which refuses it.
        let version = object::text(&value, "resourceVersion").to_owned();
        if !call.dry_run && apiserver_meta::field::go_parse_uint(&version).is_ok_and(|set| set != 0) {
            return Err(Status::new(500, "", "resourceVersion should not be set on objects to be created"));
        }
        self.check_namespace(call, &value)?;
        let shares_labels = call.resource.strategy.shares_labels
            && object::metadata(&value).get("labels").and_then(Value::as_object).is_none_or(Map::is_empty);
        let value = self.mutate_new(call, value, ownership).await?;
        if !object::name(&value).is_empty() {
            return self.create_once(call, value, shares_labels, ownership).await;
        }
        let mut last = None;
        for _ in 0..GENERATE_TRIES {
            match self.create_once(call, value.clone(), shares_labels, ownership).await {
                Err(status) if status.reason == "AlreadyExists" => last = Some(status),
                outcome => return outcome,
            }
        }
        let name = last
            .as_ref()
            .and_then(|status| status.details.as_ref()?.get("name")?.as_str().map(str::to_owned));
        Err(Status::generate_name_conflict(&call.resource.group_resource(), &name.unwrap_or_default()))
    }

    /// Refuses an object of a definition that is going, or is gone: nobody would take it along.
    fn check_definition(&self, resource: &Resource, name: &str) -> Result<(), Status> {
        if resource.custom.is_none() {
            return Ok(());
        }
        let catalogue = self.catalogue();
        let now = catalogue.get(&resource.group, &resource.version, &resource.name);
        if now.and_then(|row| row.custom.as_ref()).is_some_and(|custom| !custom.terminating) {
            return Ok(());
        }
        let why = "create not allowed while custom resource definition is terminating";
        Err(Status::forbidden(&resource.group_resource(), name, why))
    }

    async fn create_once(
        &self,
        call: &Call<'_>,
        mut value: Value,
        shares_labels: bool,
        ownership: Ownership,
    ) -> Result<Written, Status> {
        let version = object::metadata(&value).get("resourceVersion").cloned();
        let resource = call.resource;
        check_not_moved(call, &value)?;
        let strategy = resource.strategy;
        let time = now();
        let uid = uuid::Uuid::new_v4().to_string();
        object::fill_for_create(resource, &mut value, &uid, &time, &random_suffix());
        if (strategy.status && !strategy.creation_reads_status
            || resource.custom.as_ref().is_some_and(|custom| custom.has_status))
            && let Some(map) = value.as_object_mut()
        {
            map.remove("status");
        }
        (strategy.prepare_create)(&mut value);
        if shares_labels && let Some(labels) = value.pointer("/spec/template/metadata/labels").cloned() {
            // A template that had none gives none: what the server adds to it is its own.
            if object::metadata(&value).contains_key("labels") {
                object::metadata_mut(&mut value).insert("labels".into(), labels);
            }
        }
        (strategy.requested)(&mut value, &call.requester);
        let unlabelled = strategy.shares_labels && !object::metadata(&value).contains_key("labels");
        object::tidy(&mut value);

        // Addresses and ports that are taken are told before anything that is wrong.
        let key = resource.key(call.namespace, object::name(&value));
        let claim = self.claim_for_service(call, &key, &mut value, None)?;
        let mut errors = Vec::from_iter(self.check_admin_access(call, &value, None));
        errors.extend(object::validate_create(resource, &value));
        errors.extend((strategy.validate_create)(&value));
        custom::validate(resource, &value, None, "", &mut errors);
        if errors.is_empty() {
            errors = object::validate_names(&value);
        }
        let name = object::name(&value).to_owned();
        if !errors.is_empty() {
            return Err(Status::invalid(&resource.internal_gvk(), &name, &errors));
        }
        if unlabelled {
            // Labels of its template that the server made are its own when it is stored: they are not looked at twice.
            (strategy.default)(&mut value);
        }
        // Whoever refuses it now, what it is warned of stands.
        let warnings = (strategy.warnings)(&value);
        let stored = self.store_new(call, value, key, claim, (version, ownership)).await;
        Ok(Written { bytes: call.warned(&warnings, stored)?, warnings })
    }

    /// Asks everybody who may refuse a valid object, and stores it.
    async fn store_new(
        &self,
        call: &Call<'_>,
        mut value: Value,
        key: Arc<str>,
        claim: Claim,
        (version, ownership): (Option<Value>, Ownership),
    ) -> Result<Bytes, Status> {
        let resource = call.resource;
        let name = object::name(&value).to_owned();
        self.check_by_plugins(call, &value, None)?;
        decode::settle(resource, &mut value);
        let attempt =
            Attempt { operation: admission::Operation::Create, name: &name, object: Some(&value), old: None };
        self.admit(call, attempt).await?;
        let mut stored = self.to_stored(resource, value).await?;
        if let (true, Some(version)) = (call.dry_run, version) {
            object::metadata_mut(&mut stored).insert("resourceVersion".into(), version);
        }
        // Last: nobody else of the namespace is charged until this is stored, and no webhook is waited for meanwhile.
        let charge = self.charge(call, &stored, None).await?;
        // Whoever may refuse it does so before anybody looks whether it is there.
        if let Some(taken) = self.taken(resource, &key, &name) {
            return Err(taken);
        }
        let document = size::fit(resource, &mut stored, ownership, self.store().is_shared())?;
        if call.dry_run {
            return self.served_bytes(resource, document.bytes).await;
        }
        // Webhooks may have taken their time.
        self.check_definition(resource, &name)?;
        let (bytes, stored_at) = (document.bytes.len(), key.clone());
        let write = Write { key, op: Op::Create(document) };
        let (taken, _) = claim.cluster_ips();
        self.hold_second(call, &name, taken).await?;
        let beside = self.address_write(call, &name, taken, &[]);
        let committed = self.commit_charged(call, &name, write, beside, charge).await;
        if !matches!(committed, Ok(Some(_))) {
            self.let_go_second(call, &name, taken).await;
        }
        let Some(entry) = committed? else {
            let taken = self.taken(resource, &stored_at, &name);
            return Err(taken.unwrap_or_else(|| Status::already_exists(&resource.group_resource(), &name)));
        };
        claim.keep();
        self.after_write(call);
        self.trees().keep(&stored_at, entry.revision, stored, bytes);
        self.served_bytes(resource, entry.value.bytes).await
    }

    /// The refusal of a name that somebody has, who may be going.
    fn taken(&self, resource: &Resource, key: &str, name: &str) -> Option<Status> {
        let found = self.cache().get(key)?;
        let mut status = Status::already_exists(&resource.group_resource(), name);
        if object::is_deleting(&found.parse()) {
            status.message = format!("object is being deleted: {}", status.message);
        }
        Some(status)
    }

    /// What else changes with an object of some kinds.
    pub(crate) fn after_write(&self, call: &Call) {
        if call.resource.kind == "CustomResourceDefinition" && call.resource.group == "apiextensions.k8s.io" {
            self.reload_custom();
        }
    }
}
