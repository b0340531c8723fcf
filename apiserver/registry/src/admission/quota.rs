//! ResourceQuota, the last plugin: what a namespace's quotas count is charged to them in the write that makes it.
//!
//! The object and the new `status.used` are one transaction of the store, so what is used and what is said to be used
//! never differ, and two creations never exceed a quota together. In a namespace with quotas creations take turns:
//! each would only overtake the others.

use std::sync::Arc;
use std::time::{Duration, Instant};

use apiserver_json::Value;
use apiserver_meta::Status;
use apiserver_storage::{Entry, Op, Write};
use apiserver_watchcache::Object;
use controllers_quota_model::fit::{Refusal, fit};
use controllers_quota_model::measure::{Change, Measure};
use controllers_quota_model::{Amounts, amounts};
use tokio::sync::MutexGuard;

use crate::registry::{Call, Registry, now};
use crate::update::record_owner;
use crate::{encode, object};

pub(crate) const NAME: &str = "ResourceQuota";
const QUOTAS: &str = "/registry/core/resourcequotas/";
/// Who writes a quota's status here, as `managedFields` have it.
const MANAGER: &str = "kube-apiserver";
/// Tries before a quota that others keep writing is given up.
const TRIES: usize = 64;
/// How long a quota may take to learn of a resource, such as one whose definition is a moment old.
const PATIENCE: Duration = Duration::from_secs(1);
const LOOK: Duration = Duration::from_millis(10);
/// What a write costs the quotas of its namespace. While this lives, nobody else there is charged.
#[derive(Default)]
pub(crate) struct Charge<'a>(Option<Due<'a>>);

struct Due<'a> {
    _turn: MutexGuard<'a, ()>,
    measure: Measure,
    sizes: Sizes,
    /// The quotas as they were looked at, all of the namespace's.
    quotas: Vec<Arc<Object>>,
    writes: Vec<Write>,
}

/// An object and what it was before, as the functions that measure take them: they are the loop's, too.
struct Sizes {
    new: serde_json::Value,
    old: Option<serde_json::Value>,
}

impl Sizes {
    fn change<'a>(&'a self, call: &'a Call<'_>) -> Change<'a> {
        Change { new: &self.new, old: self.old.as_ref(), subresource: call.subresource }
    }
}

impl Registry {
    /// Checks what a write uses against the quotas of its namespace.
    ///
    /// # Errors
    /// 403 where it does not fit.
    pub(crate) async fn charge(
        &self,
        call: &Call<'_>,
        new: &Value,
        old: Option<&Value>,
    ) -> Result<Charge<'_>, Status> {
        let Some((namespace, measure)) = self.measured(call) else { return Ok(Charge::default()) };
        let sizes = Sizes { new: new.into(), old: old.map(Into::into) };
        if !measure.looks_at(sizes.change(call)) {
            return Ok(Charge::default());
        }
        let since = Instant::now();
        loop {
            let turn = self.turns().of(namespace).lock().await;
            let quotas = self.quotas_of(namespace);
            match self.writes(call, &quotas, &measure, sizes.change(call)) {
                Ok(writes) if writes.is_empty() => return Ok(Charge::default()),
                Ok(writes) => {
                    return Ok(Charge(Some(Due { _turn: turn, measure, sizes, quotas, writes })));
                }
                Err(Refusal::Unknown(_)) if since.elapsed() < PATIENCE => {
                    drop(turn);
                    tokio::time::sleep(LOOK).await;
                }
                Err(refusal) => return Err(forbidden(call, object::name(new), refusal)),
            }
        }
    }

    /// Commits a write together with what is written beside it and what it is charged; `None` means a lost race.
    pub(crate) async fn commit_charged(
        &self,
        call: &Call<'_>,
        name: &str,
        write: Write,
        beside: Option<Write>,
        charge: Charge<'_>,
    ) -> Result<Option<Entry>, Status> {
        let Some(mut due) = charge.0 else {
            let writes = std::iter::once(write).chain(beside).collect();
            return self.commit(call, name, writes).await;
        };
        for _ in 0..TRIES {
            let own = std::iter::once(&write).chain(&beside).cloned();
            let entry = if self.store().is_shared() {
                Box::pin(self.commit_in_turn(call, name, own.collect(), &due)).await?
            } else {
                self.commit(call, name, own.chain(due.writes.iter().cloned()).collect()).await?
            };
            if entry.is_some() {
                return Ok(entry);
            }
            if let Op::Update { expect, .. } | Op::Delete { expect } = write.op
                && self.cache().get(&write.key).is_none_or(|found| found.revision() != expect)
            {
                return Ok(None);
            }
            let quotas = self.quotas_of(call.namespace.unwrap_or(""));
            if quotas.iter().map(|quota| quota.revision()).eq(due.quotas.iter().map(|quota| quota.revision()))
            {
                return Ok(None);
            }
            let writes = self.writes(call, &quotas, &due.measure, due.sizes.change(call));
            due.writes = writes.map_err(|refusal| forbidden(call, name, refusal))?;
            due.quotas = quotas;
        }
        Err(Status::modified(&apiserver_meta::GroupResource::new("", "resourcequotas"), name))
    }

    /// The writes of one transaction of a shared store have one revision: were two quotas among them, a client that has seen
    /// the first would resume behind the second. So all but one are charged before, each by itself, as upstream charges
    /// all, and are given back where the object is not written after all.
    async fn commit_in_turn(
        &self,
        call: &Call<'_>,
        name: &str,
        mut last: Vec<Write>,
        due: &Due<'_>,
    ) -> Result<Option<Entry>, Status> {
        let mut ahead = due.writes.clone();
        // Of a quota that is created itself, none is in its transaction.
        if !last.iter().any(|write| write.key.starts_with(QUOTAS)) {
            last.extend(ahead.pop());
        }
        let mut charged = Vec::with_capacity(ahead.len());
        for charge in ahead {
            match self.commit(call, name, vec![charge]).await {
                Ok(Some(entry)) => charged.push(entry),
                refused => {
                    self.give_back(call, charged, &due.quotas).await;
                    return refused;
                }
            }
        }
        let outcome = self.commit(call, name, last).await;
        if !matches!(outcome, Ok(Some(_))) {
            self.give_back(call, charged, &due.quotas).await;
        }
        outcome
    }

    /// Writes quotas as they were before, where nobody else has written them since. What can't be given back the loop that
    /// counts puts right.
    async fn give_back(&self, call: &Call<'_>, charged: Vec<Entry>, before: &[Arc<Object>]) {
        for entry in charged {
            let Some(quota) = before.iter().find(|quota| *quota.key() == entry.key) else { continue };
            let document = encode::document(&encode::without_revision(Value::clone(&self.trees().of(quota))));
            let op = Op::Update { expect: entry.revision, document };
            if let Err(status) = self.commit(call, "", vec![Write { key: entry.key, op }]).await {
                tracing::warn!(error = %status, "a quota could not be given back what was not used");
            }
        }
    }

    /// How a write is measured, where its namespace has quotas. Without any this is one look at the cache.
    fn measured<'a>(&self, call: &Call<'a>) -> Option<(&'a str, Measure)> {
        let resource = call.resource;
        let namespace = call.namespace.filter(|_| resource.namespaced)?;
        let quotas = self.cache().snapshot(QUOTAS);
        if quotas.objects.is_empty() {
            return None;
        }
        quotas.scope(&format!("{QUOTAS}{namespace}/")).next()?;
        if self.disabled_plugins().contains(NAME) {
            return None;
        }
        Some((namespace, Measure::of(&resource.group, &resource.name)?))
    }

    fn quotas_of(&self, namespace: &str) -> Vec<Arc<Object>> {
        self.cache().snapshot(QUOTAS).scope(&format!("{QUOTAS}{namespace}/")).cloned().collect()
    }

    /// The quotas' statuses after the change.
    fn writes(
        &self,
        call: &Call<'_>,
        quotas: &[Arc<Object>],
        measure: &Measure,
        change: Change<'_>,
    ) -> Result<Vec<Write>, Refusal> {
        let trees: Vec<Value> = quotas.iter().map(|quota| Value::clone(&self.trees().of(quota))).collect();
        let plain: Vec<serde_json::Value> = trees.iter().map(Into::into).collect();
        let changed = fit(&plain, measure, change, jiff::Timestamp::now())?;
        Ok(changed
            .into_iter()
            .filter_map(|(place, used)| self.status_write(call, &quotas[place], &trees[place], &used))
            .collect())
    }

    fn status_write(&self, call: &Call<'_>, quota: &Object, old: &Value, used: &Amounts) -> Option<Write> {
        let catalogue = self.catalogue();
        let resource = catalogue.get("", "v1", "resourcequotas")?;
        let own = Call { resource, subresource: "status", manager: MANAGER, ..*call };
        let mut new = old.clone();
        object::member_mut(&mut new, "status").insert("used".into(), amounts::write(used).into());
        record_owner(&own, &now(), Some(old), &mut new);
        let document = encode::document(&encode::without_revision(new));
        Some(Write { key: quota.key().clone(), op: Op::Update { expect: quota.revision(), document } })
    }
}

fn forbidden(call: &Call<'_>, name: &str, refusal: Refusal) -> Status {
    Status::forbidden(&call.resource.group_resource(), name, &refusal.sentence())
}
