//! Nodes with what runs on them, kept by changes: what a Pod takes is added where it comes and subtracted where it goes.
//!
//! Who fits where is not decided here. However it came about, a world is what it would be if it were made anew; the tests
//! say so.

use super::fit::{host_ports, milli, name, order, requests, zone};
use super::together::{Namespaces, keeps_away};
use controllers_kit::meta::controller_of;
use controllers_kit::{Key, pods};
use k8s_openapi::api::core::v1::{Node, Pod};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

/// A node, with sums over its Pods.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Place {
    pub(super) node: Arc<Node>,
    pub(super) pods: BTreeMap<Key, Arc<Pod>>,
    /// In thousandths, as all amounts.
    pub(super) allocatable: BTreeMap<String, i128>,
    pub(super) used: BTreeMap<String, i128>,
    /// The most Pods it takes, in thousandths as well.
    pub(super) room: i128,
    /// Ports of the node that its Pods have, and how many have each.
    pub(super) ports: HashMap<(String, i32), usize>,
}

/// What runs where.
#[derive(Debug, Default)]
pub(super) struct World {
    /// By name; those that only Pods speak of are no nodes.
    places: HashMap<String, Place>,
    /// The nodes in the order they are looked at: zones in turn. Empty where it has to be made anew.
    order: Vec<String>,
    /// Where each Pod is.
    homes: HashMap<Key, String>,
    /// By the controller's uid: how many of its Pods that stay are on each node.
    controlled: HashMap<String, HashMap<String, usize>>,
    /// Pods that keep others away.
    wary: BTreeMap<Key, String>,
    pub(super) namespaces: Namespaces,
}

fn add<K: std::hash::Hash + Eq>(counts: &mut HashMap<K, usize>, key: K) {
    *counts.entry(key).or_default() += 1;
}

fn subtract<K: std::hash::Hash + Eq>(counts: &mut HashMap<K, usize>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(key);
        }
    }
}

impl Place {
    fn take_in(&mut self, key: &Key, pod: &Arc<Pod>) {
        for (resource, amount) in requests(pod).into_iter().filter(|(_, amount)| *amount != 0) {
            *self.used.entry(resource).or_default() += amount;
        }
        host_ports(pod).into_iter().for_each(|port| add(&mut self.ports, port));
        self.pods.insert(key.clone(), pod.clone());
    }

    fn let_go(&mut self, key: &Key) -> Option<Arc<Pod>> {
        let pod = self.pods.remove(key)?;
        for (resource, amount) in requests(&pod) {
            if let Some(used) = self.used.get_mut(&resource) {
                *used -= amount;
            }
        }
        self.used.retain(|_, amount| *amount != 0);
        host_ports(&pod).iter().for_each(|port| subtract(&mut self.ports, port));
        Some(pod)
    }

    fn is_node(&self) -> bool {
        self.node.metadata.name.is_some()
    }
}

/// The controller of a Pod that stays.
fn controller(pod: &Pod) -> Option<String> {
    let owner = controller_of(&pod.metadata).filter(|_| !pods::is_terminating(pod))?;
    Some(owner.uid.clone())
}

impl World {
    /// A node is new, different or gone.
    pub(super) fn put_node(&mut self, name: &str, node: Option<&Arc<Node>>) {
        let place = self.places.entry(name.to_owned()).or_default();
        let moved = match node {
            Some(node) => !place.is_node() || zone(&place.node) != zone(node),
            None => true,
        };
        place.node = node.cloned().unwrap_or_default();
        let allocatable = place.node.status.as_ref().and_then(|status| status.allocatable.as_ref());
        place.allocatable =
            allocatable.into_iter().flatten().map(|(what, amount)| (what.clone(), milli(amount))).collect();
        place.room = place.allocatable.get("pods").copied().unwrap_or(0);
        if moved {
            self.order.clear();
        }
        self.forget_if_empty(name);
    }

    fn forget_if_empty(&mut self, name: &str) {
        if self.places.get(name).is_some_and(|place| !place.is_node() && place.pods.is_empty()) {
            self.places.remove(name);
        }
    }

    /// A Pod runs on this node now, or nowhere.
    pub(super) fn put_pod(&mut self, key: &Key, at: Option<(&Arc<Pod>, &str)>) {
        if let Some(home) = self.homes.remove(key) {
            self.wary.remove(key);
            if let Some(pod) = self.places.get_mut(&home).and_then(|place| place.let_go(key))
                && let Some(uid) = controller(&pod)
                && let Some(counts) = self.controlled.get_mut(&uid)
            {
                subtract(counts, &home);
                if counts.is_empty() {
                    self.controlled.remove(&uid);
                }
            }
            if at.is_none_or(|(_, node)| node != home) {
                self.forget_if_empty(&home);
            }
        }
        let Some((pod, node)) = at else { return };
        self.places.entry(node.to_owned()).or_default().take_in(key, pod);
        self.homes.insert(key.clone(), node.to_owned());
        if let Some(uid) = controller(pod) {
            add(self.controlled.entry(uid).or_default(), node.to_owned());
        }
        if keeps_away(pod).next().is_some() {
            self.wary.insert(key.clone(), node.to_owned());
        }
    }

    /// Makes the order of nodes where it is missing; before anybody looks.
    pub(super) fn settle(&mut self) {
        if !self.order.is_empty() {
            return;
        }
        let mut zones: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for place in self.places.values().filter(|place| place.is_node()) {
            zones.entry(zone(&place.node)).or_default().push(name(&place.node));
        }
        let mut zones: VecDeque<VecDeque<&str>> = zones
            .into_values()
            .map(|mut names| {
                names.sort_by_key(|name| order(name));
                names.into()
            })
            .collect();
        let mut turns = Vec::with_capacity(self.places.len());
        while let Some(mut zone) = zones.pop_front() {
            turns.extend(zone.pop_front().map(str::to_owned));
            if !zone.is_empty() {
                zones.push_back(zone);
            }
        }
        self.order = turns;
    }

    /// How many nodes there are.
    pub(super) fn len(&self) -> usize {
        self.order.len()
    }

    /// All nodes, zones in turn, from the `start`th on and round.
    pub(super) fn places(&self, start: usize) -> impl Iterator<Item = &Place> {
        let at = start % self.order.len().max(1);
        let (before, after) = self.order.split_at(at.min(self.order.len()));
        after.iter().chain(before).filter_map(|name| self.places.get(name))
    }

    /// Nodes and the Pods on them that keep others away.
    pub(super) fn wary(&self) -> impl Iterator<Item = (&Node, &Pod)> {
        self.wary.iter().filter_map(|(key, node)| {
            let place = self.places.get(node).filter(|place| place.is_node())?;
            Some((&*place.node, &**place.pods.get(key)?))
        })
    }

    /// By node: Pods that stay and are of the same controller, or, of a Pod without one, look the same.
    pub(super) fn siblings(&self, pod: &Pod) -> HashMap<&str, usize> {
        let mut counts = HashMap::new();
        if let Some(owner) = controller_of(&pod.metadata) {
            let known = self.controlled.get(&owner.uid).into_iter().flatten();
            return known.map(|(node, count)| (node.as_str(), *count)).collect();
        }
        let alike = |other: &Pod| {
            other.metadata.namespace == pod.metadata.namespace
                && other.metadata.labels == pod.metadata.labels
                && !pods::is_terminating(other)
        };
        for (node, place) in &self.places {
            let count = place.pods.values().filter(|other| alike(other)).count();
            if count > 0 {
                counts.insert(node.as_str(), count);
            }
        }
        counts
    }

    #[cfg(test)]
    pub(super) fn of(nodes: &[Arc<Node>], all: &[Arc<Pod>]) -> Self {
        let mut world = World::default();
        nodes.iter().for_each(|node| world.put_node(name(node), Some(node)));
        for pod in all {
            let at = pods::node_name(pod).filter(|_| !pods::is_finished(pod)).map(|node| (pod, node));
            world.put_pod(&Key::of(&pod.metadata), at);
        }
        world.settle();
        world
    }
}

#[cfg(test)]
mod tests {
    use super::super::fit::choose;
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn node(number: u8, zone: u8, cpu: u8) -> Arc<Node> {
        Arc::new(
            serde_json::from_value(json!({
                "metadata": {"name": format!("node-{number}"), "labels": {"topology.kubernetes.io/zone": zone.to_string()}},
                "status": {"allocatable": {"cpu": cpu.to_string(), "pods": "4"}},
            }))
            .expect("a node"),
        )
    }

    /// What differs between Pods: node, owner, cpu, port, phase, whether it goes, whether it keeps others away.
    type Traits = (Option<u8>, Option<u8>, u8, u8, bool, bool, bool);

    fn pod(number: u8, (on, owner, cpu, port, finished, goes, wary): Traits) -> Arc<Pod> {
        let owners: Vec<_> = owner
            .map(|o| json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "x", "uid": o.to_string(), "controller": true}))
            .into_iter()
            .collect();
        let term = json!({"topologyKey": "topology.kubernetes.io/zone", "labelSelector": {"matchLabels": {"app": "web"}}});
        let away = json!({"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}});
        Arc::new(
            serde_json::from_value(json!({
                "metadata": {
                    "name": format!("p{number}"), "namespace": "default", "labels": {"app": "web"}, "ownerReferences": owners,
                    "deletionTimestamp": goes.then_some("2026-01-01T00:00:00Z"),
                },
                "spec": {
                    "nodeName": on.map(|n| format!("node-{n}")), "affinity": wary.then_some(away),
                    "containers": [{"name": "c", "resources": {"requests": {"cpu": format!("{cpu}00m")}},
                        "ports": [{"containerPort": 80, "hostPort": port}]}],
                },
                "status": {"phase": if finished { "Succeeded" } else { "Running" }},
            }))
            .expect("a Pod"),
        )
    }

    #[derive(Debug, Clone)]
    enum Step {
        Node(u8, Option<(u8, u8)>),
        Pod(u8, Option<Traits>),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let node = (0..4u8, proptest::option::weighted(0.8, (0..3u8, 1..4u8)));
        let traits = (
            proptest::option::weighted(0.8, 0..5u8),
            proptest::option::of(0..2u8),
            0..9u8,
            0..2u8,
            any::<bool>(),
            any::<bool>(),
            proptest::bool::weighted(0.2),
        );
        let pod = (0..8u8, proptest::option::weighted(0.8, traits));
        let step = prop_oneof![
            1 => node.prop_map(|(number, node)| Step::Node(number, node)),
            3 => pod.prop_map(|(number, pod)| Step::Pod(number, pod)),
        ];
        proptest::collection::vec(step, 0..60)
    }

    proptest! {
        #[test]
        fn a_world_kept_by_changes_is_the_one_made_anew(steps in steps(), asks in 0..9u8, start in 0..9usize) {
            let (mut world, mut nodes, mut all) = (World::default(), BTreeMap::new(), BTreeMap::new());
            for step in steps {
                match step {
                    Step::Node(number, traits) => {
                        let made = traits.map(|(zone, cpu)| node(number, zone, cpu));
                        world.put_node(&format!("node-{number}"), made.as_ref());
                        nodes.insert(number, made);
                    }
                    Step::Pod(number, traits) => {
                        let made = traits.map(|traits| pod(number, traits));
                        let at = made.as_ref().filter(|pod| !pods::is_finished(pod));
                        let at = at.and_then(|pod| Some((pod, pods::node_name(pod)?)));
                        world.put_pod(&Key::new("default", format!("p{number}")), at);
                        all.insert(number, made);
                    }
                }
                // Whoever asks in between must find nothing that is made only once.
                world.settle();
            }
            let nodes: Vec<_> = nodes.into_values().flatten().collect();
            let all: Vec<_> = all.into_values().flatten().collect();
            let anew = World::of(&nodes, &all);
            prop_assert_eq!(&world.places, &anew.places);
            prop_assert_eq!((&world.order, &world.homes, &world.controlled, &world.wary),
                (&anew.order, &anew.homes, &anew.controlled, &anew.wary));
            let asking = pod(9, (None, Some(asks % 3), asks, asks % 2, false, false, false));
            prop_assert_eq!(choose(&asking, &world, start), choose(&asking, &anew, start));
            for place in world.places.values() {
                let sum: i128 = place.pods.values().filter_map(|pod| requests(pod).get("cpu").copied()).sum();
                prop_assert_eq!(place.used.get("cpu").copied().unwrap_or(0), sum);
            }
        }
    }
}
