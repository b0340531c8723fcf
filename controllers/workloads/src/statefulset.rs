//! StatefulSet: Pods with names that stay, made and ended in order, each with claims of its own.
//!
//! It provides no storage: nothing here binds a claim, and Pods run without it.

mod claims;
mod plan;
mod pod;
mod status;

use crate::control::{claim_members, wake_adopters, wake_owner};
use crate::history::{self, History, Traits};
use controllers_kit::meta::label;
use controllers_kit::{Cache, Caches, Done, Error, Key, Queue, Recorder};
use k8s_openapi::api::apps::v1::{ControllerRevision, StatefulSet, StatefulSetSpec};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use k8s_openapi::jiff::Timestamp;
use kube::api::{DeleteParams, Preconditions};
use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

/// Label of Pods: the name of the revision they are of.
const REVISION: &str = "controller-revision-hash";

struct Loop {
    sets: Cache<StatefulSet>,
    revisions: Cache<ControllerRevision>,
    pods: Cache<Pod>,
    claims: Cache<PersistentVolumeClaim>,
    events: Recorder,
}

pub(crate) async fn run(caches: Caches) {
    let (sets, revisions) = (caches.of::<StatefulSet>(), caches.of::<ControllerRevision>());
    let (pods, claims) = (caches.of::<Pod>(), caches.of::<PersistentVolumeClaim>());
    let queue: Queue<Key> = Queue::new();
    sets.wake(&queue);
    wake_owner(&pods, "StatefulSet", queue.clone());
    wake_adopters(&pods, &sets, |set| set.spec.as_ref().map(|s| Cow::Borrowed(&s.selector)), queue.clone());
    sets.synced().await;
    revisions.synced().await;
    pods.synced().await;
    claims.synced().await;
    let events = Recorder::new(caches.client().clone(), "statefulset-controller");
    let this = Arc::new(Loop { sets, revisions, pods, claims, events });
    controllers_kit::run("statefulset", queue, 4, move |key| {
        let this = this.clone();
        async move { this.reconcile(key).await }
    })
    .await;
}

/// The revisions that Pods are made of: the one before an update, and the one after it.
struct Versions {
    current: Arc<ControllerRevision>,
    update: Arc<ControllerRevision>,
}

impl Versions {
    fn of(set: &StatefulSet, history: &History) -> Self {
        let update = history.current.clone();
        let name = set.status.as_ref().and_then(|s| s.current_revision.as_ref());
        let before = history.old.iter().find(|r| r.metadata.name.as_ref() == name).cloned();
        Versions { current: before.unwrap_or_else(|| update.clone()), update }
    }

    fn names(&self) -> (&str, &str) {
        (name(&self.current), name(&self.update))
    }
}

fn name(revision: &ControllerRevision) -> &str {
    revision.metadata.name.as_deref().unwrap_or_default()
}

impl Loop {
    async fn reconcile(&self, key: Key) -> Result<Done, Error> {
        let mut done = Done::nothing();
        let Some(set) = self.sets.get(&key) else { return Ok(done) };
        let Some(spec) = &set.spec else { return Ok(done) };
        let set_name = key.name.clone();
        let is_member = move |pod: &Pod| plan::ordinal(pod).is_some_and(|(parent, _)| parent == set_name);
        claim_members(&self.pods, &*set, &spec.selector, is_member).await?;
        if set.metadata.deletion_timestamp.is_some() {
            return Ok(done);
        }
        let traits = Traits {
            selector: &spec.selector,
            labels: spec.template.metadata.as_ref().and_then(|m| m.labels.clone()),
            hash_label: "controller.kubernetes.io/hash",
            collisions: set.status.as_ref().and_then(|s| s.collision_count),
        };
        let history = history::observe(&self.revisions, &self.sets, &*set, traits, &mut done).await?;
        let versions = Versions::of(&set, &history);
        let failed = self.manage(&set, &versions, &mut done).await.err();
        self.write_status(&key, &versions, &mut done).await?;
        if let Some(error) = failed {
            return Err(error);
        }
        self.forget_old(&set, spec, &versions, &history, &mut done).await?;
        Ok(done)
    }

    fn pods_of(&self, set: &StatefulSet) -> Vec<Arc<Pod>> {
        self.pods.controlled_by(set.metadata.uid.as_deref().unwrap_or_default())
    }

    async fn manage(&self, set: &StatefulSet, versions: &Versions, done: &mut Done) -> Result<(), Error> {
        let pods = self.pods_of(set);
        let plan = plan::build(set, versions.names().1, &pods, Timestamp::now());
        for ordinal in &plan.claims {
            self.make_claims(set, *ordinal, done).await?;
        }
        for ordinal in plan.create {
            self.create(set, versions, ordinal, done).await?;
        }
        self.own_claims(set, &self.pods_of(set), done).await?;
        for pod in plan.delete {
            self.delete(set, &pod, done).await?;
        }
        Ok(())
    }

    async fn create(
        &self,
        set: &StatefulSet,
        versions: &Versions,
        ordinal: i32,
        done: &mut Done,
    ) -> Result<(), Error> {
        let before = pod::is_of_current(set, ordinal);
        let revision = if before { &versions.current } else { &versions.update };
        let wanted = pod::build(&history::restored(set, revision)?, ordinal, name(revision));
        let pod_name = wanted.metadata.name.clone().unwrap_or_default();
        if self.awaits_collection(set, ordinal, &pod_name) {
            return Err(Error::Transient(format!(
                "claims of an earlier Pod {pod_name} are not collected yet"
            )));
        }
        let made = match self.make_claims(set, ordinal, done).await {
            Ok(()) => self.pods.create(&wanted).await.map(|_| ()),
            Err(error) => Err(error),
        };
        match &made {
            Ok(()) => {
                self.tell(set, "SuccessfulCreate", "Create", &pod_name);
                done.note(format!("created Pod {pod_name}"));
            }
            Err(error) if error.is_already_exists() => {}
            Err(error) => self.complain(set, "FailedCreate", ("Create", &pod_name), error),
        }
        made
    }

    async fn delete(&self, set: &StatefulSet, pod: &Pod, done: &mut Done) -> Result<(), Error> {
        let pod_name = pod.metadata.name.as_deref().unwrap_or_default();
        let precondition = Preconditions { uid: pod.metadata.uid.clone(), resource_version: None };
        let params = DeleteParams::default().preconditions(precondition);
        if let Err(error) = self.pods.delete(&Key::of(&pod.metadata), &params).await {
            self.complain(set, "FailedDelete", ("Delete", pod_name), &error);
            return Err(error);
        }
        self.tell(set, "SuccessfulDelete", "Delete", pod_name);
        done.note(format!("deleted Pod {pod_name}"));
        Ok(())
    }

    fn tell(&self, set: &StatefulSet, reason: &str, verb: &str, pod: &str) {
        let name = set.metadata.name.as_deref().unwrap_or_default();
        self.events.normal(set, reason, format!("{verb} Pod {pod} in StatefulSet {name} successful"));
    }

    fn complain(&self, set: &StatefulSet, reason: &str, (verb, pod): (&str, &str), error: &Error) {
        let name = set.metadata.name.as_deref().unwrap_or_default();
        let text = format!("{verb} Pod {pod} in StatefulSet {name} failed error: {}", error.sentence());
        self.events.warning(set, reason, text);
    }

    async fn write_status(&self, key: &Key, versions: &Versions, done: &mut Done) -> Result<(), Error> {
        let Some(set) = self.sets.get(key) else { return Ok(()) };
        let status = status::build(&set, versions.names(), &self.pods_of(&set), Timestamp::now());
        if status.ready_replicas.unwrap_or(0) != status.available_replicas.unwrap_or(0) {
            done.again_after(Duration::from_secs(1));
        }
        if set.status.as_ref() == Some(&status) {
            return Ok(());
        }
        let note = format!(
            "status: {} replicas, {} ready, {} updated",
            status.replicas,
            status.ready_replicas.unwrap_or(0),
            status.updated_replicas.unwrap_or(0)
        );
        self.sets.replace_status(&StatefulSet { status: Some(status), ..(*set).clone() }).await?;
        done.note(note);
        Ok(())
    }

    /// Revisions that are neither before nor after the update, nor of a Pod, as far as there are too many.
    async fn forget_old(
        &self,
        set: &StatefulSet,
        spec: &StatefulSetSpec,
        versions: &Versions,
        history: &History,
        done: &mut Done,
    ) -> Result<(), Error> {
        let pods = self.pods_of(set);
        let in_use = |revision: &ControllerRevision| {
            let known = name(revision);
            known == versions.names().0
                || pods.iter().any(|pod| label(&pod.metadata, REVISION) == Some(known))
        };
        let unused: Vec<_> = history.old.iter().filter(|r| !in_use(r)).cloned().collect();
        let surplus = history::surplus(&unused, spec.revision_history_limit, |_| false);
        history::forget(&self.revisions, surplus, done).await
    }
}
