//! Which nodes should get a Pod of a DaemonSet and which Pods should go: a pure function, upstream's rules.

use super::{HASH, generation, pod};
use crate::control::scaled;
use crate::scheduler::fit::{selected, tolerated};
use controllers_kit::meta::label;
use controllers_kit::{EventKind, pods};
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// A failed Pod stays at least this long: whoever refused it may refuse the next one too.
const FAILED: i64 = 10;

/// A DaemonSet, the nodes, and its Pods by the node they are on or meant for.
pub(super) struct World<'a> {
    pub(super) set: &'a DaemonSet,
    pub(super) hash: &'a str,
    pub(super) nodes: Vec<Arc<Node>>,
    pub(super) pods: BTreeMap<String, Vec<Arc<Pod>>>,
    pub(super) at: Timestamp,
    anywhere: Pod,
}

/// What is to be done next.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// Nodes that get a Pod.
    pub(super) create: Vec<String>,
    pub(super) delete: Vec<Arc<Pod>>,
    /// Events about the DaemonSet.
    pub(super) told: Vec<(EventKind, &'static str, String)>,
    pub(super) again: Option<Duration>,
}

impl<'a> World<'a> {
    pub(super) fn new(
        (set, hash): (&'a DaemonSet, &'a str),
        nodes: Vec<Arc<Node>>,
        all: Vec<Arc<Pod>>,
        at: Timestamp,
    ) -> Self {
        let mut by_node: BTreeMap<String, Vec<Arc<Pod>>> = BTreeMap::new();
        for pod in all.into_iter().filter(|pod| !(pods::is_finished(pod) && pods::is_terminating(pod))) {
            if let Some(node) = pod::target(&pod) {
                by_node.entry(node.to_string()).or_default().push(pod);
            }
        }
        // The oldest that has a node counts first.
        for pods in by_node.values_mut() {
            pods.sort_by_key(|pod| {
                let meta = &pod.metadata;
                let since = meta.creation_timestamp.as_ref().map(|t| t.0);
                (pods::node_name(pod).is_none(), since, meta.name.clone())
            });
        }
        World { set, hash, nodes, pods: by_node, at, anywhere: pod::anywhere(set) }
    }

    /// Whether a Pod should start on a node, and whether one that is there may stay.
    pub(super) fn should_run(&self, node: &Node) -> (bool, bool) {
        let named = pods::node_name(&self.anywhere);
        if named.is_some_and(|name| node.metadata.name.as_deref() != Some(name))
            || !selected(&self.anywhere, node)
        {
            return (false, false);
        }
        let tolerations =
            self.anywhere.spec.as_ref().and_then(|s| s.tolerations.as_deref()).unwrap_or_default();
        let taints = node.spec.iter().flat_map(|s| s.taints.iter().flatten());
        let repels = |effect: &str| taints.clone().any(|t| t.effect == effect && !tolerated(t, tolerations));
        let evicted = repels("NoExecute");
        (!evicted && !repels("NoSchedule"), !evicted)
    }

    /// True if the Pod is of the template as it is now.
    pub(super) fn is_updated(&self, pod: &Pod) -> bool {
        let generation = generation(self.set);
        label(&pod.metadata, HASH).is_some_and(|hash| hash == self.hash)
            || (generation.is_some() && label(&pod.metadata, "pod-template-generation") == generation)
    }

    pub(super) fn is_available(&self, pod: &Pod) -> bool {
        let min_ready = self.set.spec.as_ref().and_then(|s| s.min_ready_seconds).unwrap_or(0);
        pods::is_available(pod, min_ready, self.at)
    }

    fn pods_on(&self, node: &Node) -> &[Arc<Pod>] {
        self.pods.get(node.metadata.name.as_deref().unwrap_or_default()).map_or(&[], Vec::as_slice)
    }

    /// How many Pods there may be beside an available one, and how many may be missing.
    fn limits(&self) -> (usize, usize) {
        let strategy = self.set.spec.as_ref().and_then(|s| s.update_strategy.clone()).unwrap_or_default();
        let rolling = strategy.rolling_update.filter(|_| strategy.type_.as_deref() != Some("OnDelete"));
        let desired = self.nodes.iter().filter(|node| self.should_run(node).0).count();
        let of = i32::try_from(desired).unwrap_or(i32::MAX);
        let resolve = |value| usize::try_from(scaled(value, of, true)).unwrap_or(0);
        let surge = rolling.as_ref().and_then(|r| r.max_surge.as_ref()).map_or(0, resolve);
        let missing = rolling.as_ref().and_then(|r| r.max_unavailable.as_ref()).map_or(1, resolve);
        (surge, if surge == 0 { missing.max(1) } else { missing })
    }
}

/// The next step: first one Pod on each node that should have one, then the update.
pub(super) fn build(world: &World) -> Plan {
    let (surge, missing) = world.limits();
    let mut plan = manage(world, surge > 0);
    if !plan.create.is_empty() || !plan.delete.is_empty() {
        return plan;
    }
    let strategy = world.set.spec.as_ref().and_then(|s| s.update_strategy.as_ref());
    if strategy.and_then(|s| s.type_.as_deref()) != Some("OnDelete") {
        if surge == 0 {
            replace(world, missing, &mut plan);
        } else {
            exceed(world, surge, &mut plan);
        }
    }
    plan
}

fn manage(world: &World, surges: bool) -> Plan {
    let mut plan = Plan::default();
    let mut known = BTreeSet::new();
    for node in &world.nodes {
        let name = node.metadata.name.clone().unwrap_or_default();
        let (start, stay) = world.should_run(node);
        let here = world.pods_on(node);
        let living = here.iter().filter(|pod| !pods::is_terminating(pod));
        if start && here.is_empty() {
            plan.create.push(name.clone());
        } else if stay {
            let running: Vec<&Arc<Pod>> =
                living.filter(|pod| !end_finished(world, pod, &name, &mut plan)).collect();
            if surges {
                if running.is_empty() && start {
                    plan.create.push(name.clone());
                }
                thin_out(world, &running, &mut plan);
            } else {
                plan.delete.extend(running.into_iter().skip(1).cloned());
            }
        } else {
            plan.delete.extend(living.cloned());
        }
        known.insert(name);
    }
    // Pods that wait for a node that is gone.
    let waiting = world.pods.iter().filter(|(node, _)| !known.contains(*node)).flat_map(|(_, pods)| pods);
    plan.delete.extend(waiting.filter(|p| pods::node_name(p).is_none() && !pods::is_terminating(p)).cloned());
    plan
}

/// True if the Pod has ended; it is replaced.
fn end_finished(world: &World, pod: &Arc<Pod>, node: &str, plan: &mut Plan) -> bool {
    let (kind, reason, word, verb) = match pods::phase(pod) {
        "Failed" => (EventKind::Warning, "FailedDaemonPod", "failed", "kill"),
        "Succeeded" => (EventKind::Normal, "SucceededDaemonPod", "succeeded", "delete"),
        _ => return false,
    };
    let since = pod.metadata.creation_timestamp.as_ref().map_or(0, |t| t.0.as_second());
    let left = since + FAILED - world.at.as_second();
    if word == "failed" && left > 0 {
        let left = Duration::from_secs(u64::try_from(left).unwrap_or(1));
        plan.again = Some(plan.again.map_or(left, |before| before.min(left)));
        return true;
    }
    let meta = &pod.metadata;
    let (namespace, name) =
        (meta.namespace.as_deref().unwrap_or_default(), meta.name.as_deref().unwrap_or_default());
    let text = format!("Found {word} daemon pod {namespace}/{name} on node {node}, will try to {verb} it");
    plan.told.push((kind, reason, text));
    plan.delete.push(pod.clone());
    true
}

/// Where one more is allowed for a while: an old one that still serves and a new one that does not yet.
fn thin_out(world: &World, running: &[&Arc<Pod>], plan: &mut Plan) {
    if running.len() < 2 {
        return;
    }
    let (new, old): (Vec<&Arc<Pod>>, Vec<&Arc<Pod>>) = running.iter().partition(|pod| world.is_updated(pod));
    plan.delete.extend(new.iter().chain(&old).filter(|p| !is_first(p, &new, &old)).map(|p| Arc::clone(p)));
    if let (Some(new), Some(old)) = (new.first(), old.first())
        && (!pods::is_ready(old) || world.is_available(new))
    {
        plan.delete.push(Arc::clone(old));
    }
}

fn is_first(pod: &Arc<Pod>, new: &[&Arc<Pod>], old: &[&Arc<Pod>]) -> bool {
    [new.first(), old.first()].into_iter().flatten().any(|first| Arc::ptr_eq(first, pod))
}

type Living<'a> = Option<&'a Arc<Pod>>;

/// The new and the old Pod of a node; None where there are more of a kind than one.
fn pair<'a>(world: &World, here: &'a [Arc<Pod>]) -> Option<(Living<'a>, Living<'a>)> {
    let living = here.iter().filter(|pod| !pods::is_terminating(pod));
    let (new, old): (Vec<&Arc<Pod>>, Vec<&Arc<Pod>>) = living.partition(|pod| world.is_updated(pod));
    (new.len() < 2 && old.len() < 2).then(|| (new.first().copied(), old.first().copied()))
}

/// An update that deletes old Pods as far as others are available.
fn replace(world: &World, max_unavailable: usize, plan: &mut Plan) {
    let (mut unavailable, mut candidates) = (0, Vec::new());
    for here in world.pods.values() {
        match pair(world, here) {
            None | Some((None, None) | (Some(_), Some(_))) => unavailable += 1,
            Some((Some(new), None)) => unavailable += usize::from(!world.is_available(new)),
            Some((None, Some(old))) if !world.is_available(old) => {
                unavailable += 1;
                plan.delete.push(old.clone());
            }
            Some((None, Some(old))) => candidates.push(old.clone()),
        }
    }
    candidates.truncate(max_unavailable.saturating_sub(unavailable));
    plan.delete.extend(candidates);
}

/// An update that first starts new Pods beside old ones.
fn exceed(world: &World, max_surge: usize, plan: &mut Plan) {
    let (mut surging, mut available, mut desired) = (0, 0, 0);
    let (mut candidates, mut misplaced) = (Vec::new(), Vec::new());
    for node in &world.nodes {
        let runs = world.should_run(node).0;
        desired += usize::from(runs);
        let name = node.metadata.name.clone().unwrap_or_default();
        let Some((new, old)) = pair(world, world.pods_on(node)) else {
            surging += 1;
            continue;
        };
        available += usize::from(old.or(new).is_some_and(|pod| world.is_available(pod)));
        match (new, old) {
            (_, None) => {}
            (None, Some(old)) => match (world.is_available(old), runs) {
                (false, false) => plan.delete.push(old.clone()),
                (false, true) => plan.create.push(name),
                (true, false) => misplaced.push(old.clone()),
                (true, true) => candidates.push(name),
            },
            (Some(new), Some(_)) if !world.is_available(new) => surging += 1,
            (Some(_), Some(old)) => plan.delete.push(old.clone()),
        }
    }
    misplaced.truncate(available.saturating_sub(desired));
    plan.delete.extend(misplaced);
    candidates.truncate(max_surge.saturating_sub(surging));
    plan.create.extend(candidates);
}

#[cfg(test)]
mod tests;
