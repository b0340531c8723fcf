//! Nodes that stopped telling that they live: marked, tainted, and emptied of Pods that do not tolerate it.
//!
//! It never deletes a Node: the cloud controller manager does when the machine is gone.

use controllers_kit::meta::now;
use controllers_kit::{Cache, Caches, Done, Error, Index, Key, Queue, Recorder, pods};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, NodeCondition, Pod, Taint};
use k8s_openapi::jiff::Timestamp;
use kube::api::{DeleteParams, Preconditions};
use serde_json::json;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

const PERIOD: Duration = Duration::from_secs(5);
/// Upstream's `--node-monitor-grace-period`.
const GRACE: Duration = Duration::from_secs(50);
/// A Pod on a Node that does not exist is removed after this long.
const ORPHAN: Duration = Duration::from_secs(40);
const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
const NOT_READY: &str = "node.kubernetes.io/not-ready";

struct Loop {
    nodes: Cache<Node>,
    pods: Cache<Pod>,
    by_node: Index<Pod>,
    leases: Cache<Lease>,
    events: Recorder,
    /// Last renewal of each lease and when we saw it first: our own clock decides.
    seen: Mutex<HashMap<String, (Option<Timestamp>, Instant)>>,
    orphans: Mutex<HashMap<Key, Instant>>,
}

pub(crate) async fn run(caches: Caches) {
    let (nodes, pods, leases) = (caches.of::<Node>(), caches.of::<Pod>(), caches.of::<Lease>());
    let queue: Queue<Key> = Queue::new();
    let q = queue.clone();
    nodes.on_change(move |change| {
        let new = change.new.as_ref();
        let news = |old: &std::sync::Arc<Node>| {
            new.is_some_and(|new| ready_status(old) != ready_status(new) || old.spec != new.spec)
        };
        if new.is_some() && change.old.as_ref().is_none_or(news) {
            q.add(change.key.clone(), change.story());
        }
    });
    nodes.synced().await;
    pods.synced().await;
    leases.synced().await;
    let events = Recorder::new(caches.client().clone(), "node-controller");
    let (by_node, seen, orphans) = (pods::by_node(&pods), Mutex::default(), Mutex::default());
    let this = Arc::new(Loop { nodes, pods, by_node, leases, events, seen, orphans });
    let (watch, work) = (this.clone(), queue.clone());
    let tick = async move {
        loop {
            tokio::time::sleep(PERIOD).await;
            let nodes = watch.nodes.all();
            nodes.iter().for_each(|node| work.add(Key::of(&node.metadata), "its lease was looked at"));
            if let Err(error) = watch.collect_orphans().await {
                tracing::debug!(error = %error, "orphaned Pods not removed");
            }
        }
    };
    let check = controllers_kit::run("nodelifecycle", queue, 2, move |key| {
        let this = this.clone();
        async move { this.reconcile(key).await }
    });
    tokio::select! {
        () = tick => {}
        () = check => {}
    }
}

fn ready_status(node: &Node) -> &str {
    let conditions = node.status.iter().flat_map(|s| s.conditions.iter().flatten());
    conditions.filter(|c| c.type_ == "Ready").map(|c| c.status.as_str()).next().unwrap_or("Unknown")
}

/// The taints a node's readiness calls for, beside those of others.
fn taints(current: &[Taint], ready: &str) -> Vec<Taint> {
    let wanted = match ready {
        "True" => None,
        "False" => Some(NOT_READY),
        _ => Some(UNREACHABLE),
    };
    let kept =
        |t: &&Taint| !matches!(t.key.as_str(), UNREACHABLE | NOT_READY) || Some(t.key.as_str()) == wanted;
    let mut taints: Vec<Taint> = current.iter().filter(kept).cloned().collect();
    for effect in ["NoSchedule", "NoExecute"] {
        let Some(key) = wanted else { break };
        if !taints.iter().any(|t| t.key == key && t.effect == effect) {
            taints.push(Taint {
                key: key.into(),
                effect: effect.into(),
                time_added: (effect == "NoExecute").then(now),
                value: None,
            });
        }
    }
    taints
}

impl Loop {
    async fn reconcile(&self, key: Key) -> Result<Done, Error> {
        let mut done = Done::nothing();
        let Some(node) = self.nodes.get(&key) else { return Ok(done) };
        let mut ready = ready_status(&node).to_string();
        if self.is_silent(&key) && ready != "Unknown" {
            self.mark_unknown(&key, &node).await?;
            done.note("marked unknown");
            ready = "Unknown".into();
        }
        let current = node.spec.as_ref().and_then(|s| s.taints.clone()).unwrap_or_default();
        let wanted = taints(&current, &ready);
        if wanted != current {
            let version = self.nodes.get(&key).and_then(|n| n.metadata.resource_version.clone());
            let patch = json!({"metadata": {"resourceVersion": version}, "spec": {"taints": wanted}});
            self.nodes.patch(&key, &patch).await?;
            done.note(if ready == "True" { "taints removed" } else { "tainted" });
        }
        self.evict(&key, &wanted, &mut done).await?;
        Ok(done)
    }

    fn is_silent(&self, key: &Key) -> bool {
        let lease = self.leases.get(&Key::new("kube-node-lease", &key.name));
        let renewed = lease.and_then(|l| l.spec.as_ref().and_then(|s| s.renew_time.as_ref().map(|t| t.0)));
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = seen.entry(key.name.clone()).or_insert((renewed, Instant::now()));
        if entry.0 != renewed {
            *entry = (renewed, Instant::now());
        }
        entry.1.elapsed() > GRACE
    }

    async fn mark_unknown(&self, key: &Key, node: &Node) -> Result<(), Error> {
        let mut status = node.status.clone().unwrap_or_default();
        for condition in status.conditions.iter_mut().flatten() {
            *condition = NodeCondition {
                type_: condition.type_.clone(),
                status: "Unknown".into(),
                reason: Some("NodeStatusUnknown".into()),
                message: Some("Kubelet stopped posting node status.".into()),
                last_heartbeat_time: condition.last_heartbeat_time.clone(),
                last_transition_time: Some(now()),
            };
        }
        self.events.normal(node, "NodeNotReady", format!("Node {key} status is now: NodeNotReady"));
        self.nodes.replace_status(&Node { status: Some(status), ..node.clone() }).await?;
        for pod in self.by_node.at(&key.name).into_iter().filter(|pod| pods::is_ready(pod)) {
            let mut pod = (*pod).clone();
            let conditions = pod.status.iter_mut().flat_map(|s| s.conditions.iter_mut().flatten());
            for condition in conditions.filter(|c| c.type_ == "Ready") {
                condition.status = "False".into();
                condition.last_transition_time = Some(now());
            }
            self.events.warning(&pod, "NodeNotReady", "Node is not ready");
            controllers_kit::error::gone_is_fine(self.pods.replace_status(&pod).await)?;
        }
        Ok(())
    }

    /// Pods that do not tolerate a NoExecute taint, or no longer.
    async fn evict(&self, node: &Key, taints: &[Taint], done: &mut Done) -> Result<(), Error> {
        let taints: Vec<&Taint> = taints.iter().filter(|t| t.effect == "NoExecute").collect();
        if taints.is_empty() {
            return Ok(());
        }
        for pod in &self.by_node.at(&node.name) {
            if pods::is_terminating(pod) || taints.iter().all(|taint| still_tolerated(pod, taint)) {
                continue;
            }
            let key = Key::of(&pod.metadata);
            self.events.normal(&**pod, "TaintManagerEviction", format!("Marking for deletion Pod {key}"));
            self.delete(pod, DeleteParams::default()).await?;
            done.note(format!("evicted Pod {key}"));
        }
        Ok(())
    }

    async fn delete(&self, pod: &Pod, params: DeleteParams) -> Result<(), Error> {
        let precondition = Preconditions { uid: pod.metadata.uid.clone(), resource_version: None };
        self.pods.delete(&Key::of(&pod.metadata), &params.preconditions(precondition)).await.map(|_| ())
    }

    async fn collect_orphans(&self) -> Result<(), Error> {
        let known = std::mem::take(&mut *self.orphans.lock().unwrap_or_else(PoisonError::into_inner));
        let mut orphans = HashMap::new();
        let missing = |node: &String| self.nodes.get(&Key::new("", node)).is_none();
        for pod in self.by_node.places().iter().filter(|node| missing(node)).flat_map(|n| self.by_node.at(n))
        {
            let key = Key::of(&pod.metadata);
            let since = known.get(&key).copied().unwrap_or_else(Instant::now);
            if since.elapsed() > ORPHAN {
                self.delete(&pod, DeleteParams::default().grace_period(0)).await?;
                tracing::info!(controller = "podgc", object = %key, cause = "its Node is gone", change = "deleted", elapsed_ms = 0.0, "reconciled");
            } else {
                orphans.insert(key, since);
            }
        }
        *self.orphans.lock().unwrap_or_else(PoisonError::into_inner) = orphans;
        Ok(())
    }
}

fn still_tolerated(pod: &Pod, taint: &Taint) -> bool {
    let since = taint.time_added.as_ref().map_or(0, |t| t.0.as_second());
    let age = Timestamp::now().as_second() - since;
    let tolerations = pod.spec.iter().flat_map(|s| s.tolerations.iter().flatten());
    tolerations.into_iter().any(|t| {
        let key = t.key.as_deref().unwrap_or_default();
        let exists = t.operator.as_deref() == Some("Exists");
        let effect = t.effect.as_deref().filter(|e| !e.is_empty()).is_none_or(|e| e == taint.effect);
        let value =
            exists || t.value.as_deref().unwrap_or_default() == taint.value.as_deref().unwrap_or_default();
        let covers = effect && value && (key == taint.key || (key.is_empty() && exists));
        covers && t.toleration_seconds.is_none_or(|seconds| age <= seconds)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn taints_follow_readiness_and_spare_others() {
        let own = Taint { key: "dedicated".into(), effect: "NoSchedule".into(), ..Default::default() };
        let unknown = taints(std::slice::from_ref(&own), "Unknown");
        let keys: Vec<_> = unknown.iter().map(|t| (t.key.as_str(), t.effect.as_str())).collect();
        assert_eq!(
            keys,
            [("dedicated", "NoSchedule"), (UNREACHABLE, "NoSchedule"), (UNREACHABLE, "NoExecute")]
        );
        assert_eq!(taints(&unknown, "Unknown"), unknown);
        assert_eq!(taints(&unknown, "True"), [own]);
    }
}
