//! ReplicaSet, and ReplicationController, which is the same in older types: as many Pods of a template as asked for.
//!
//! It does not look at nodes beyond preferring to delete from crowded ones.

mod older;

use crate::control::{claim, create_all, delete_all, pod_from, wake_adopters, wake_owner};
use controllers_kit::meta::now;
use controllers_kit::selector::contains;
use controllers_kit::{Cache, Caches, Done, Error, Key, Object, Queue, Recorder, pods};
use k8s_openapi::api::apps::v1::{ReplicaSet, ReplicaSetCondition, ReplicaSetStatus};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::jiff::Timestamp;
use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// More Pods than this are never created or deleted in one step.
const BURST: usize = 500;

/// A kind that replicates a Pod.
pub(crate) trait Replicates: Object + k8s_openapi::Resource {
    /// Name of its loop, and of who tells of it in Events.
    const NAMES: (&'static str, &'static str);

    fn selector(&self) -> Option<Cow<'_, LabelSelector>>;

    /// What it says, as a ReplicaSet.
    fn as_set(self: Arc<Self>) -> Arc<ReplicaSet>;

    fn with_status(&self, status: ReplicaSetStatus) -> Self;
}

impl Replicates for ReplicaSet {
    const NAMES: (&'static str, &'static str) = ("replicaset", "replicaset-controller");

    fn selector(&self) -> Option<Cow<'_, LabelSelector>> {
        self.spec.as_ref().map(|spec| Cow::Borrowed(&spec.selector))
    }

    fn as_set(self: Arc<Self>) -> Arc<ReplicaSet> {
        self
    }

    fn with_status(&self, status: ReplicaSetStatus) -> Self {
        Self { status: Some(status), ..self.clone() }
    }
}

struct Loop<K> {
    owners: Cache<K>,
    pods: Cache<Pod>,
    events: Recorder,
}

pub(crate) async fn run<K: Replicates>(caches: Caches) {
    let (owners, pods) = (caches.of::<K>(), caches.of::<Pod>());
    let queue: Queue<Key> = Queue::new();
    owners.wake(&queue);
    wake_owner(&pods, <K as k8s_openapi::Resource>::KIND, queue.clone());
    wake_adopters(&pods, &owners, K::selector, queue.clone());
    owners.synced().await;
    pods.synced().await;
    let events = Recorder::new(caches.client().clone(), K::NAMES.1);
    let this = Arc::new(Loop { owners, pods, events });
    controllers_kit::run(K::NAMES.0, queue, 8, move |key| {
        let this = this.clone();
        async move { this.reconcile(key).await }
    })
    .await;
}

impl<K: Replicates> Loop<K> {
    async fn reconcile(&self, key: Key) -> Result<Done, Error> {
        let mut done = Done::nothing();
        let Some(owner) = self.owners.get(&key) else { return Ok(done) };
        let set = owner.clone().as_set();
        let Some(spec) = &set.spec else { return Ok(done) };
        let mine = claim(&self.pods, &*owner, &spec.selector).await?;
        let active: Vec<Arc<Pod>> = mine.into_iter().filter(|pod| pods::is_active(pod)).collect();
        let mut failed = None;
        if set.metadata.deletion_timestamp.is_none()
            && let Err(error) = self.manage(&owner, &set, &active, &mut done).await
        {
            failed = Some(error);
        }
        if done.changed() && failed.is_none() {
            done.settle();
        } else {
            self.status(&key, failed.as_ref(), &mut done).await?;
        }
        failed.map_or(Ok(done), Err)
    }

    async fn manage(
        &self,
        owner: &K,
        set: &ReplicaSet,
        active: &[Arc<Pod>],
        done: &mut Done,
    ) -> Result<(), Error> {
        let spec = set.spec.clone().unwrap_or_default();
        let wanted = usize::try_from(spec.replicas.unwrap_or(1)).unwrap_or(0);
        if active.len() < wanted {
            let missing = (wanted - active.len()).min(BURST);
            let pod = pod_from(owner, &spec.template.unwrap_or_default());
            let made = create_all(&self.pods, &self.events, owner, &vec![pod; missing]).await?;
            done.note(format!("created {made} pods"));
        } else if active.len() > wanted {
            let excess = (active.len() - wanted).min(BURST);
            let unwanted = choose(active.to_vec(), excess);
            delete_all(&self.pods, &self.events, owner, &unwanted).await?;
            done.note(format!("deleted {excess} pods"));
        }
        Ok(())
    }

    async fn status(&self, key: &Key, failed: Option<&Error>, done: &mut Done) -> Result<(), Error> {
        let Some(owner) = self.owners.get(key) else { return Ok(()) };
        let set = owner.clone().as_set();
        let uid = set.metadata.uid.clone().unwrap_or_default();
        let active: Vec<_> =
            self.pods.controlled_by(&uid).into_iter().filter(|pod| pods::is_active(pod)).collect();
        let now_at = Timestamp::now();
        let status = build_status(&set, &active, failed, now_at);
        let min_ready = set.spec.as_ref().and_then(|s| s.min_ready_seconds).unwrap_or(0);
        if min_ready > 0 && status.ready_replicas != status.available_replicas {
            done.again_after(Duration::from_secs(1));
        }
        if set.status.as_ref() == Some(&status) {
            return Ok(());
        }
        let ready = status.ready_replicas.unwrap_or(0);
        let note = format!("status: {} replicas, {ready} ready", status.replicas);
        self.owners.replace_status(&owner.with_status(status)).await?;
        done.note(note);
        Ok(())
    }
}

fn build_status(
    set: &ReplicaSet,
    active: &[Arc<Pod>],
    failed: Option<&Error>,
    at: Timestamp,
) -> ReplicaSetStatus {
    let spec = set.spec.clone().unwrap_or_default();
    let labels = spec.template.and_then(|t| t.metadata).and_then(|m| m.labels).unwrap_or_default();
    let min_ready = spec.min_ready_seconds.unwrap_or(0);
    let count = |f: &dyn Fn(&Pod) -> bool| {
        let n = active.iter().filter(|pod| f(pod)).count();
        i32::try_from(n).ok().filter(|n| *n > 0)
    };
    let old = set.status.clone().unwrap_or_default();
    ReplicaSetStatus {
        replicas: i32::try_from(active.len()).unwrap_or(i32::MAX),
        fully_labeled_replicas: count(&|p| p.metadata.labels.as_ref().is_some_and(|l| contains(l, &labels))),
        ready_replicas: count(&pods::is_ready),
        available_replicas: count(&|p| pods::is_available(p, min_ready, at)),
        observed_generation: set.metadata.generation,
        conditions: failed.map(|error| {
            let before = old.conditions.as_ref().and_then(|c| c.iter().find(|c| c.type_ == "ReplicaFailure"));
            vec![ReplicaSetCondition {
                type_: "ReplicaFailure".into(),
                status: "True".into(),
                reason: Some("FailedCreate".into()),
                message: Some(error.sentence()),
                last_transition_time: before
                    .and_then(|c| c.last_transition_time.clone())
                    .or_else(|| Some(now())),
            }]
        }),
        terminating_replicas: old.terminating_replicas,
    }
}

/// The `excess` Pods whose loss hurts least: upstream's order.
pub(crate) fn choose(mut candidates: Vec<Arc<Pod>>, excess: usize) -> Vec<Arc<Pod>> {
    let mut crowd: HashMap<String, usize> = HashMap::new();
    for pod in &candidates {
        *crowd.entry(pods::node_name(pod).unwrap_or_default().to_string()).or_default() += 1;
    }
    candidates.sort_by_cached_key(|pod| {
        let phase = match pods::phase(pod) {
            "Running" => 2,
            "Unknown" => 1,
            _ => 0,
        };
        let cost: i64 =
            controllers_kit::meta::annotation(&pod.metadata, "controller.kubernetes.io/pod-deletion-cost")
                .and_then(|text| text.parse().ok())
                .unwrap_or(0);
        let node = pods::node_name(pod).unwrap_or_default();
        let restarts: i32 = pod
            .status
            .iter()
            .flat_map(|s| s.container_statuses.iter().flatten())
            .map(|c| c.restart_count)
            .max()
            .unwrap_or(0);
        (
            !node.is_empty(),
            phase,
            pods::is_ready(pod),
            cost,
            Reverse(crowd.get(node).copied().unwrap_or(0)),
            Reverse(pods::ready_since(pod)),
            Reverse(restarts),
            Reverse(pod.metadata.creation_timestamp.as_ref().map(|t| t.0)),
            pod.metadata.name.clone(),
        )
    });
    candidates.truncate(excess);
    candidates
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(name: &str, node: &str, ready: bool) -> Arc<Pod> {
        let status = if ready { "True" } else { "False" };
        let value = json!({"metadata": {"name": name}, "spec": {"nodeName": node, "containers": []},
            "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": status}]}});
        Arc::new(serde_json::from_value(value).unwrap())
    }

    #[test]
    fn unplaced_then_unready_then_crowded_pods_go_first() {
        let all = vec![
            pod("a", "n1", true),
            pod("b", "n2", true),
            pod("c", "n2", true),
            pod("d", "n3", false),
            pod("e", "", false),
        ];
        let names: Vec<_> = choose(all, 3).iter().filter_map(|p| p.metadata.name.clone()).collect();
        assert_eq!(names, ["e", "d", "b"]);
    }
}
