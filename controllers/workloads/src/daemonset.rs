//! DaemonSet: one Pod on every node that it is meant for, and a rolling update from one template to the next.
//!
//! It binds nothing: its Pods ask for their node by name, and the scheduler agrees or says why not.

mod plan;
mod pod;
mod status;

use crate::control::{claim, create_all, delete_all, wake_adopters, wake_owner};
use crate::history::{self, Traits};
use controllers_kit::meta::{annotation, label};
use controllers_kit::{Cache, Caches, Done, Error, EventKind, Key, Queue, Recorder};
use k8s_openapi::api::apps::v1::{ControllerRevision, DaemonSet};
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::jiff::Timestamp;
use std::borrow::Cow;
use std::sync::Arc;

/// Label of Pods and revisions: the hash of the template.
const HASH: &str = "controller-revision-hash";

struct Loop {
    sets: Cache<DaemonSet>,
    revisions: Cache<ControllerRevision>,
    pods: Cache<Pod>,
    nodes: Cache<Node>,
    events: Recorder,
}

pub(crate) async fn run(caches: Caches) {
    let (sets, revisions) = (caches.of::<DaemonSet>(), caches.of::<ControllerRevision>());
    let (pods, nodes) = (caches.of::<Pod>(), caches.of::<Node>());
    let queue: Queue<Key> = Queue::new();
    sets.wake(&queue);
    wake_owner(&pods, "DaemonSet", queue.clone());
    wake_adopters(&pods, &sets, |set| set.spec.as_ref().map(|s| Cow::Borrowed(&s.selector)), queue.clone());
    let (q, all) = (queue.clone(), sets.clone());
    nodes.on_change(move |change| {
        let places = |node: &Arc<Node>| (node.spec.clone(), node.metadata.labels.clone());
        if change.old.as_ref().map(places) != change.new.as_ref().map(places) {
            all.all().iter().for_each(|set| q.add(Key::of(&set.metadata), change.story()));
        }
    });
    sets.synced().await;
    revisions.synced().await;
    pods.synced().await;
    nodes.synced().await;
    let events = Recorder::new(caches.client().clone(), "daemonset-controller");
    let this = Arc::new(Loop { sets, revisions, pods, nodes, events });
    controllers_kit::run("daemonset", queue, 2, move |key| {
        let this = this.clone();
        async move { this.reconcile(key).await }
    })
    .await;
}

/// The version of the template that Pods are labelled with beside its hash.
fn generation(set: &DaemonSet) -> Option<&str> {
    annotation(&set.metadata, "deprecated.daemonset.template.generation")
}

impl Loop {
    async fn reconcile(&self, key: Key) -> Result<Done, Error> {
        let mut done = Done::nothing();
        let Some(set) = self.sets.get(&key) else { return Ok(done) };
        // What it caused is collected; it can no longer be counted.
        let Some(spec) = set.spec.as_ref().filter(|_| set.metadata.deletion_timestamp.is_none()) else {
            return Ok(done);
        };
        let traits = Traits {
            selector: &spec.selector,
            labels: spec.template.metadata.as_ref().and_then(|m| m.labels.clone()),
            hash_label: HASH,
            collisions: set.status.as_ref().and_then(|s| s.collision_count),
        };
        let history = history::observe(&self.revisions, &self.sets, &*set, traits, &mut done).await?;
        let hash = label(&history.current.metadata, HASH).unwrap_or_default().to_string();
        claim(&self.pods, &*set, &spec.selector).await?;
        let failed = self.manage(&set, &hash, &mut done).await.err();
        if failed.is_none() {
            let pods = self.pods.controlled_by(set.metadata.uid.as_deref().unwrap_or_default());
            let in_use = |r: &ControllerRevision| {
                let hash = label(&r.metadata, HASH);
                pods.iter().any(|pod| label(&pod.metadata, HASH) == hash)
            };
            let surplus = history::surplus(&history.old, spec.revision_history_limit, in_use);
            history::forget(&self.revisions, surplus, &mut done).await?;
        }
        self.write_status(&key, &hash, &mut done).await?;
        failed.map_or(Ok(done), Err)
    }

    fn observe<'a>(&self, set: &'a DaemonSet, hash: &'a str) -> plan::World<'a> {
        let pods = self.pods.controlled_by(set.metadata.uid.as_deref().unwrap_or_default());
        plan::World::new((set, hash), self.nodes.all(), pods, Timestamp::now())
    }

    async fn manage(&self, set: &DaemonSet, hash: &str, done: &mut Done) -> Result<(), Error> {
        let plan = plan::build(&self.observe(set, hash));
        for (kind, reason, message) in plan.told {
            match kind {
                EventKind::Normal => self.events.normal(set, reason, message),
                EventKind::Warning => self.events.warning(set, reason, message),
            }
        }
        if let Some(after) = plan.again {
            done.again_after(after);
        }
        if !plan.create.is_empty() {
            let pods: Vec<Pod> = plan.create.iter().map(|node| pod::build(set, node, hash)).collect();
            let made = create_all(&self.pods, &self.events, set, &pods).await?;
            done.note(format!("created {made} pods on {}", plan.create.join(", ")));
        }
        if !plan.delete.is_empty() {
            delete_all(&self.pods, &self.events, set, &plan.delete).await?;
            done.note(format!("deleted {} pods", plan.delete.len()));
        }
        Ok(())
    }

    async fn write_status(&self, key: &Key, hash: &str, done: &mut Done) -> Result<(), Error> {
        let Some(set) = self.sets.get(key) else { return Ok(()) };
        let status = status::build(&self.observe(&set, hash));
        let (ready, available) = (status.number_ready, status.number_available.unwrap_or(0));
        if ready != available {
            done.again_after(std::time::Duration::from_secs(1));
        }
        if set.status.as_ref() == Some(&status) {
            return Ok(());
        }
        let note = format!(
            "status: {} desired, {} updated, {available} available",
            status.desired_number_scheduled,
            status.updated_number_scheduled.unwrap_or(0),
        );
        self.sets.replace_status(&DaemonSet { status: Some(status), ..(*set).clone() }).await?;
        done.note(note);
        Ok(())
    }
}
