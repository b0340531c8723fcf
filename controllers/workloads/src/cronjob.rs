//! CronJob: a Job at each time of a schedule, and what is kept of those that have ended.
//!
//! It makes no Pods.

mod plan;
mod schedule;
mod zone;

use crate::control::wake_controllers;
use controllers_kit::meta::{controller_reference, is_controlled_by};
use controllers_kit::{Cache, Caches, Change, Done, Error, EventKind, Key, Queue, Recorder};
use k8s_openapi::api::batch::v1::{CronJob, CronJobStatus, Job};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::jiff::{Timestamp, tz::TimeZone};
use kube::api::{DeleteParams, Preconditions};
use std::sync::Arc;

/// The time a Job was meant for, on the Job.
const SCHEDULED: &str = "batch.kubernetes.io/cronjob-scheduled-timestamp";

struct Loop {
    crons: Cache<CronJob>,
    jobs: Cache<Job>,
    events: Recorder,
}

pub(crate) async fn run(caches: Caches) {
    let (crons, jobs) = (caches.of::<CronJob>(), caches.of::<Job>());
    let queue: Queue<Key> = Queue::new();
    crons.wake(&queue);
    wake_controllers(&jobs, "CronJob", queue.clone(), Change::story);
    crons.synced().await;
    jobs.synced().await;
    let events = Recorder::new(caches.client().clone(), "cronjob-controller");
    let this = Arc::new(Loop { crons, jobs, events });
    controllers_kit::run("cronjob", queue, 2, move |key| {
        let this = this.clone();
        async move { this.reconcile(key).await }
    })
    .await;
}

impl Loop {
    async fn reconcile(&self, key: Key) -> Result<Done, Error> {
        let mut done = Done::nothing();
        let Some(cron) = self.crons.get(&key) else { return Ok(done) };
        let jobs = self.jobs.controlled_by(cron.metadata.uid.as_deref().unwrap_or_default());
        let zone = zone::load(cron.spec.time_zone.as_deref());
        let mut plan = plan::build(&cron, &jobs, &zone, Timestamp::now());
        for (kind, reason, message) in std::mem::take(&mut plan.told) {
            match kind {
                EventKind::Normal => self.events.normal(&*cron, reason, message),
                EventKind::Warning => self.events.warning(&*cron, reason, message),
            }
        }
        if let Some(after) = plan.again {
            done.again_after(after);
        }
        for job in &plan.delete {
            self.delete(&cron, job, &mut done).await?;
        }
        if let (Some(due), Ok(zone)) = (plan.create, &zone) {
            self.start(&cron, due, zone, &mut plan.status, &mut done).await?;
        }
        if cron.status.clone().unwrap_or_default() != plan.status {
            let active = plan.status.active.as_ref().map_or(0, Vec::len);
            self.crons.replace_status(&CronJob { status: Some(plan.status), ..(*cron).clone() }).await?;
            done.note(format!("status: {active} active"));
        }
        Ok(done)
    }

    async fn delete(&self, cron: &CronJob, job: &Job, done: &mut Done) -> Result<(), Error> {
        let name = job.metadata.name.as_deref().unwrap_or_default();
        let only = Preconditions { uid: job.metadata.uid.clone(), resource_version: None };
        let params = DeleteParams::background().preconditions(only);
        if let Err(error) = self.jobs.delete(&Key::of(&job.metadata), &params).await {
            self.events.warning(cron, "FailedDelete", format!("Deleted job: {}", error.sentence()));
            return Err(error);
        }
        self.events.normal(cron, "SuccessfulDelete", format!("Deleted job {name}"));
        done.note(format!("deleted Job {name}"));
        Ok(())
    }

    /// Make the Job of a time, and note it.
    async fn start(
        &self,
        cron: &CronJob,
        due: Timestamp,
        zone: &TimeZone,
        status: &mut CronJobStatus,
        done: &mut Done,
    ) -> Result<(), Error> {
        let job = build(cron, due, zone);
        let name = job.metadata.name.clone().unwrap_or_default();
        let made = match self.jobs.create(&job).await {
            Ok(made) => {
                self.events.normal(cron, "SuccessfulCreate", format!("Created job {name}"));
                done.note(format!("created Job {name}"));
                made
            }
            Err(error) if error.is_already_exists() => {
                // Made before the status could say so, or by somebody else.
                let known = self.jobs.get(&Key::of(&job.metadata));
                match known.filter(|known| is_controlled_by(&known.metadata, &cron.metadata)) {
                    Some(known) => known,
                    None => return Ok(()),
                }
            }
            Err(error) => {
                self.events.warning(
                    cron,
                    "FailedCreate",
                    format!("Error creating job: {}", error.sentence()),
                );
                return Err(error);
            }
        };
        plan::note_started(status, &made, due);
        Ok(())
    }
}

/// The Job of a time.
fn build(cron: &CronJob, due: Timestamp, zone: &TimeZone) -> Job {
    let template = cron.spec.job_template.clone();
    let meta = template.metadata.unwrap_or_default();
    let mut annotations = meta.annotations.unwrap_or_default();
    annotations.insert(SCHEDULED.into(), zone::rfc3339(due, zone));
    Job {
        metadata: ObjectMeta {
            name: Some(plan::job_name(cron, due)),
            namespace: cron.metadata.namespace.clone(),
            labels: meta.labels,
            annotations: Some(annotations),
            owner_references: Some(vec![controller_reference(cron)]),
            ..Default::default()
        },
        spec: template.spec,
        status: None,
    }
}
