//! Job: Pods until enough of them have succeeded, or too many have failed.
//!
//! A Pod is counted once: it keeps a finalizer until its end is in the status. Limits per index are not followed, which
//! an Event says.

mod backoff;
mod indexes;
mod plan;
mod pod;
mod policy;
mod status;

use crate::control::{adopt_with, create_all, delete_all, wake_adopters, wake_owner};
use controllers_kit::meta::{controller_of, has_finalizer, label};
use controllers_kit::selector::matches;
use controllers_kit::{Cache, Caches, Done, Error, Key, Queue, Recorder};
use k8s_openapi::api::batch::v1::{Job, JobStatus};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;
use kube::api::{DeleteParams, Preconditions};
use plan::{Plan, Verdict};
use serde_json::json;
use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

/// Finalizer of Pods that are not counted yet.
const TRACKING: &str = "batch.kubernetes.io/job-tracking";
const NAME: &str = "batch.kubernetes.io/job-name";

struct Loop {
    jobs: Cache<Job>,
    pods: Cache<Pod>,
    events: Recorder,
    memory: Arc<backoff::Memory>,
}

pub(crate) async fn run(caches: Caches) {
    let (jobs, pods) = (caches.of::<Job>(), caches.of::<Pod>());
    let queue: Queue<Key> = Queue::new();
    let memory = Arc::new(backoff::Memory::default());
    let (q, ends) = (queue.clone(), memory.clone());
    jobs.on_change(move |change| {
        if let (Some(gone), None) = (&change.old, &change.new) {
            ends.forget(gone);
        }
        q.add(change.key.clone(), change.story());
    });
    wake_owner(&pods, "Job", queue.clone());
    wake_adopters(&pods, &jobs, |job| job.spec.as_ref()?.selector.as_ref().map(Cow::Borrowed), queue.clone());
    let q = queue.clone();
    pods.on_change(move |change| {
        let Some(pod) = change.new.as_ref().filter(|pod| has_finalizer(&pod.metadata, TRACKING)) else {
            return;
        };
        if let Some(job) = label(&pod.metadata, NAME).filter(|_| controller_of(&pod.metadata).is_none()) {
            q.add(Key::new(&change.key.namespace, job), format!("Pod {} has no controller", change.key));
        }
    });
    jobs.synced().await;
    pods.synced().await;
    let events = Recorder::new(caches.client().clone(), "job-controller");
    let this = Arc::new(Loop { jobs, pods, events, memory });
    controllers_kit::run("job", queue, 4, move |key| {
        let this = this.clone();
        async move { this.reconcile(key).await }
    })
    .await;
}

/// Whether a Job that goes on has a use for a Pod without a controller.
fn selects(job: &Job, pod: &Pod) -> bool {
    let selector = job.spec.as_ref().and_then(|spec| spec.selector.as_ref());
    job.metadata.deletion_timestamp.is_none()
        && status::finished(job).is_none()
        && selector.is_some_and(|selector| matches(selector, pod.metadata.labels.as_ref()))
}

impl Loop {
    async fn reconcile(&self, key: Key) -> Result<Done, Error> {
        let mut done = Done::nothing();
        let job = self.jobs.get(&key);
        self.release_strangers(&key, job.as_deref(), &mut done).await?;
        let Some(job) = job else { return Ok(done) };
        if job
            .spec
            .as_ref()
            .is_none_or(|s| s.managed_by.as_deref().is_some_and(|by| by != "kubernetes.io/job-controller"))
        {
            return Ok(done);
        }
        if status::finished(&job).is_some() {
            self.memory.forget(&job);
            self.release(&self.tracked(&job), &mut done).await?;
            self.expire(&job, &mut done).await?;
            return Ok(done);
        }
        self.warn_of_unfollowed(&job);
        self.claim(&job, &mut done).await?;
        let pods = self.pods_of(&job);
        let plan = plan::build(&job, &pods, &self.memory.ends(&job, &pods), Timestamp::now());
        if let Some(after) = plan.again {
            done.again_after(after);
        }
        let failed = self.act(&job, &plan, &mut done).await.err();
        self.count(&key, plan.verdict.as_ref(), &mut done).await?;
        failed.map_or(Ok(done), Err)
    }

    /// Takes the Pods without a controller that the Job selects, and lets go of those that it no longer selects: neither
    /// are they its own any more, nor are they counted.
    async fn claim(&self, job: &Job, done: &mut Done) -> Result<(), Error> {
        let Some(selector) = job.spec.as_ref().and_then(|spec| spec.selector.as_ref()) else { return Ok(()) };
        let uid = job.metadata.uid.as_deref().unwrap_or_default();
        for pod in self.pods_of(job) {
            let meta = &pod.metadata;
            if matches(selector, meta.labels.as_ref()) || job.metadata.deletion_timestamp.is_some() {
                continue;
            }
            let owners: Vec<_> =
                meta.owner_references.iter().flatten().filter(|owner| owner.uid != uid).collect();
            let finalizers: Vec<_> = meta.finalizers.iter().flatten().filter(|f| *f != TRACKING).collect();
            let patch =
                json!({"metadata": {"uid": meta.uid, "ownerReferences": owners, "finalizers": finalizers}});
            controllers_kit::error::gone_is_fine(self.pods.patch(&Key::of(meta), &patch).await)?;
            done.note(format!("let go of Pod {}, which it no longer selects", Key::of(meta)));
        }
        for pod in adopt_with(&self.pods, job, selector, Some(TRACKING), |_| true).await? {
            done.note(format!("adopted Pod {}", Key::of(&pod.metadata)));
        }
        Ok(())
    }

    fn pods_of(&self, job: &Job) -> Vec<Arc<Pod>> {
        self.pods.controlled_by(job.metadata.uid.as_deref().unwrap_or_default())
    }

    fn tracked(&self, job: &Job) -> Vec<Arc<Pod>> {
        self.pods_of(job).into_iter().filter(|pod| has_finalizer(&pod.metadata, TRACKING)).collect()
    }

    /// Make and end Pods.
    async fn act(&self, job: &Job, plan: &Plan, done: &mut Done) -> Result<(), Error> {
        if !plan.delete.is_empty() {
            // What ends because there is too much of it counts neither as success nor as failure.
            if plan.verdict.as_ref().is_none_or(Verdict::is_success) {
                self.release(&plan.delete, done).await?;
            }
            delete_all(&self.pods, &self.events, job, &plan.delete).await?;
            done.note(format!("deleted {} pods", plan.delete.len()));
        }
        if !plan.create.is_empty() {
            let wanted: Vec<Pod> = plan.create.iter().map(|index| pod::build(job, *index)).collect();
            let made = create_all(&self.pods, &self.events, job, &wanted).await?;
            done.note(format!("created {made} pods"));
        }
        Ok(())
    }

    /// Note which Pods have ended, let go of them, count them: each step is in the status before the next one.
    async fn count(&self, key: &Key, verdict: Option<&Verdict>, done: &mut Done) -> Result<(), Error> {
        let Some(job) = self.jobs.get(key) else { return Ok(()) };
        let before = job.status.clone().unwrap_or_default();
        let pods = self.pods_of(&job);
        let noted = status::build(&job, &pods, verdict, Timestamp::now());
        let job = self.write_status(&job, noted, done).await?;
        self.tell_suspension(&job, &before);
        self.release(&status::releasable(&job, &pods, verdict), done).await?;
        let counted = status::count(&job, &self.pods_of(&job), verdict, Timestamp::now());
        let job = self.write_status(&job, counted, done).await?;
        let finished = status::finished(&job).is_some();
        if let Some(verdict) = verdict.filter(|_| finished) {
            if verdict.is_success() {
                self.events.normal(&*job, "Completed", "Job completed");
            } else {
                self.events.warning(&*job, verdict.reason(), verdict.message());
            }
            done.note(verdict.reason());
        }
        Ok(())
    }

    async fn write_status(
        &self,
        job: &Arc<Job>,
        status: JobStatus,
        done: &mut Done,
    ) -> Result<Arc<Job>, Error> {
        if job.status.as_ref() == Some(&status) {
            return Ok(job.clone());
        }
        let n = |value: Option<i32>| value.unwrap_or(0);
        let note = format!(
            "status: {} active, {} succeeded, {} failed",
            n(status.active),
            n(status.succeeded),
            n(status.failed)
        );
        let job = self.jobs.replace_status(&Job { status: Some(status), ..(**job).clone() }).await?;
        done.note(note);
        Ok(job)
    }

    fn tell_suspension(&self, job: &Job, before: &JobStatus) {
        let was = status::is_true(before, "Suspended");
        match (was, job.status.as_ref().is_some_and(|now| status::is_true(now, "Suspended"))) {
            (false, true) => self.events.normal(job, "Suspended", "Job suspended"),
            (true, false) => self.events.normal(job, "Resumed", "Job resumed"),
            _ => {}
        }
    }

    /// Take the finalizer off Pods.
    async fn release(&self, pods: &[Arc<Pod>], done: &mut Done) -> Result<(), Error> {
        let tracked: Vec<_> = pods.iter().filter(|pod| has_finalizer(&pod.metadata, TRACKING)).collect();
        let patches = tracked.iter().map(|pod| async move {
            let others: Vec<_> =
                pod.metadata.finalizers.iter().flatten().filter(|f| *f != TRACKING).collect();
            let patch = json!({"metadata": {"uid": pod.metadata.uid, "finalizers": others}});
            controllers_kit::error::gone_is_fine(self.pods.patch(&Key::of(&pod.metadata), &patch).await)
        });
        for released in futures::future::join_all(patches).await {
            released?;
        }
        if !tracked.is_empty() {
            done.note(format!("released {} pods", tracked.len()));
        }
        Ok(())
    }

    /// Pods of an earlier Job of this name, or of none: nobody will count them.
    async fn release_strangers(&self, key: &Key, job: Option<&Job>, done: &mut Done) -> Result<(), Error> {
        let uid = job.and_then(|job| job.metadata.uid.as_ref());
        let strange = |pod: &Arc<Pod>| match controller_of(&pod.metadata) {
            Some(owner) => owner.kind == "Job" && owner.name == key.name && Some(&owner.uid) != uid,
            // What the Job selects it takes back.
            None => {
                label(&pod.metadata, NAME) == Some(&key.name) && !job.is_some_and(|job| selects(job, pod))
            }
        };
        let all = self.pods.in_namespace(&key.namespace);
        let strangers: Vec<_> =
            all.into_iter().filter(|pod| has_finalizer(&pod.metadata, TRACKING) && strange(pod)).collect();
        self.release(&strangers, done).await
    }

    /// Delete a finished Job whose time has passed: upstream's TTL controller.
    async fn expire(&self, job: &Job, done: &mut Done) -> Result<(), Error> {
        let Some(ttl) = job.spec.as_ref().and_then(|s| s.ttl_seconds_after_finished) else { return Ok(()) };
        let since =
            status::finished(job).and_then(|c| c.last_transition_time.as_ref()).map(|t| t.0.as_second());
        let Some(since) = since.filter(|_| job.metadata.deletion_timestamp.is_none()) else { return Ok(()) };
        let left = since + i64::from(ttl) - Timestamp::now().as_second();
        if let Some(left) = u64::try_from(left).ok().filter(|left| *left > 0) {
            done.again_after(Duration::from_secs(left));
            return Ok(());
        }
        let only = Preconditions { uid: job.metadata.uid.clone(), resource_version: None };
        self.jobs.delete(&Key::of(&job.metadata), &DeleteParams::foreground().preconditions(only)).await?;
        done.note("deleted, its time to live has passed");
        Ok(())
    }

    fn warn_of_unfollowed(&self, job: &Job) {
        let Some(spec) =
            job.spec.as_ref().filter(|_| job.status.as_ref().is_none_or(|s| s.start_time.is_none()))
        else {
            return;
        };
        if spec.backoff_limit_per_index.is_some() {
            self.events.warning(job, "NotSimulated", "spec.backoffLimitPerIndex is not followed");
        }
    }
}
