//! Which nodes a Pod fits on, and which of them is best: pure functions over the nodes and the Pods on them.
//!
//! Nothing is bound here, and nothing is counted: what runs where is in [`World`].

use super::together::Demands;
use super::world::{Place, World};
use controllers_kit::selector::one_of;
use k8s_openapi::api::core::v1::{Node, NodeSelectorTerm, Pod, Taint, Toleration};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap, HashSet};

/// The answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Best node.
    Node(String),
    /// Upstream's sentence.
    Nowhere(String),
}

/// Upstream's words for it, and whether removing Pods could help.
pub(super) type Misfit = (Vec<Cow<'static, str>>, bool);

pub(super) fn name(node: &Node) -> &str {
    node.metadata.name.as_deref().unwrap_or_default()
}

pub(super) fn zone(node: &Node) -> &str {
    controllers_kit::meta::label(&node.metadata, "topology.kubernetes.io/zone").unwrap_or_default()
}

/// True if a change of a node can make a Pod fit.
pub(super) fn matters(old: &Node, new: &Node) -> bool {
    old.spec != new.spec
        || old.metadata.labels != new.metadata.labels
        || old.status.as_ref().map(|s| &s.allocatable) != new.status.as_ref().map(|s| &s.allocatable)
}

/// How many nodes that fit are weighed, of so many: upstream's `numFeasibleNodesToFind`.
fn enough(nodes: usize) -> usize {
    const ALWAYS: usize = 100;
    let percent = 50usize.saturating_sub(nodes / 125).max(5);
    if nodes < ALWAYS { nodes } else { (nodes * percent / 100).max(ALWAYS) }
}

/// The best node for a Pod, and how many nodes were looked at. Of many nodes not all are: the search begins at `start`, where
/// the one before ended.
pub(super) fn choose(pod: &Pod, world: &World, start: usize) -> (Verdict, usize) {
    let total = world.len();
    if total == 0 {
        return (Verdict::Nowhere("no nodes available to schedule pods".into()), 0);
    }
    let mut reasons: BTreeMap<Cow<'static, str>, usize> = BTreeMap::new();
    let mut hopeless = 0;
    let mut fitting = Vec::new();
    let demands = Demands::of(pod, world);
    let (wanted, enough, mut looked_at) = (Wanted::of(pod), enough(total), 0);
    for place in world.places(start) {
        looked_at += 1;
        match misfit(pod, &wanted, place).or_else(|| demands.misfit(&place.node)) {
            None => fitting.push(place),
            Some((texts, resolvable)) => {
                hopeless += usize::from(!resolvable);
                texts.into_iter().for_each(|text| *reasons.entry(text).or_default() += 1);
            }
        }
        if fitting.len() >= enough {
            break;
        }
    }
    let siblings = world.siblings(pod);
    let siblings_on = |place: &Place| siblings.get(name(&place.node)).copied().unwrap_or(0);
    let siblings_by_zone = fitting.iter().fold(HashMap::<&str, usize>::new(), |mut sum, place| {
        *sum.entry(zone(&place.node)).or_default() += siblings_on(place);
        sum
    });
    let best = fitting.iter().max_by_key(|place| {
        (
            preference(pod, &place.node),
            Reverse(siblings_by_zone.get(zone(&place.node)).copied().unwrap_or(0)),
            Reverse(siblings_on(place)),
            Reverse(place.pods.len()),
            Reverse(order(name(&place.node))),
        )
    });
    let verdict = match best {
        Some(place) => Verdict::Node(name(&place.node).to_string()),
        None => Verdict::Nowhere(sentence(total, &reasons, hopeless)),
    };
    (verdict, looked_at)
}

/// node-2 before node-10.
pub(super) fn order(name: &str) -> (usize, &str) {
    (name.len(), name)
}

fn sentence(total: usize, reasons: &BTreeMap<Cow<'static, str>, usize>, hopeless: usize) -> String {
    let mut parts: Vec<String> = reasons.iter().map(|(text, count)| format!("{count} {text}")).collect();
    parts.sort();
    let mut preemption = Vec::new();
    if hopeless < total {
        preemption.push(format!("{} No preemption victims found for incoming pod", total - hopeless));
    }
    if hopeless > 0 {
        preemption.push(format!("{hopeless} Preemption is not helpful for scheduling"));
    }
    format!(
        "0/{total} nodes are available: {}. preemption: 0/{total} nodes are available: {}.",
        parts.join(", "),
        preemption.join(", ")
    )
}

/// What a Pod takes of a node, worked out once for all nodes.
struct Wanted {
    requests: BTreeMap<String, i128>,
    ports: HashSet<(String, i32)>,
    cordon_tolerated: bool,
}

impl Wanted {
    fn of(pod: &Pod) -> Self {
        let cordon = Taint {
            key: "node.kubernetes.io/unschedulable".into(),
            effect: "NoSchedule".into(),
            ..Default::default()
        };
        let tolerations = pod.spec.as_ref().and_then(|spec| spec.tolerations.as_deref()).unwrap_or_default();
        Wanted {
            requests: requests(pod),
            ports: host_ports(pod),
            cordon_tolerated: tolerated(&cordon, tolerations),
        }
    }
}

/// Why the Pod does not fit, and whether removing Pods could help.
fn misfit(pod: &Pod, wanted: &Wanted, place: &Place) -> Option<Misfit> {
    let node = &place.node;
    let no = |text: &'static str| Some((vec![text.into()], false));
    let unschedulable = node.spec.as_ref().is_some_and(|spec| spec.unschedulable == Some(true));
    if unschedulable && !wanted.cordon_tolerated {
        return no("node(s) were unschedulable");
    }
    if !taints_tolerated(pod, node) {
        return no("node(s) had untolerated taint(s)");
    }
    if !selected(pod, node) {
        return no("node(s) didn't match Pod's node affinity/selector");
    }
    if wanted.ports.iter().any(|port| place.ports.contains_key(port)) {
        return Some((vec!["node(s) didn't have free ports for the requested pod ports".into()], true));
    }
    let short = shortages(wanted, place);
    (!short.is_empty()).then_some((short, true))
}

/// True if no taint of the node keeps the Pod away.
pub(super) fn taints_tolerated(pod: &Pod, node: &Node) -> bool {
    let tolerations = pod.spec.as_ref().and_then(|spec| spec.tolerations.as_deref()).unwrap_or_default();
    node.spec.iter().flat_map(|spec| spec.taints.iter().flatten()).all(|taint| {
        !matches!(taint.effect.as_str(), "NoSchedule" | "NoExecute") || tolerated(taint, tolerations)
    })
}

fn shortages(wanted: &Wanted, place: &Place) -> Vec<Cow<'static, str>> {
    let of = |sums: &BTreeMap<String, i128>, what: &str| sums.get(what).copied().unwrap_or(0);
    let mut short = Vec::new();
    if (place.pods.len() as i128 + 1) * 1000 > place.room {
        short.push("Too many pods".into());
    }
    for (resource, wanted) in &wanted.requests {
        let used = of(&place.used, resource);
        if *wanted > 0 && used + wanted > of(&place.allocatable, resource) {
            short.push(format!("Insufficient {resource}").into());
        }
    }
    short
}

/// What a Pod asks for: the sum of its containers, or its greediest init container.
pub(super) fn requests(pod: &Pod) -> BTreeMap<String, i128> {
    let mut sum: BTreeMap<String, i128> = BTreeMap::new();
    let Some(spec) = &pod.spec else { return sum };
    let of = |c: &k8s_openapi::api::core::v1::Container| {
        c.resources.clone().unwrap_or_default().requests.unwrap_or_default()
    };
    for container in &spec.containers {
        for (resource, quantity) in of(container) {
            *sum.entry(resource).or_default() += milli(&quantity);
        }
    }
    for container in spec.init_containers.iter().flatten() {
        for (resource, quantity) in of(container) {
            let entry = sum.entry(resource).or_default();
            *entry = (*entry).max(milli(&quantity));
        }
    }
    for (resource, quantity) in spec.overhead.iter().flatten() {
        *sum.entry(resource.clone()).or_default() += milli(quantity);
    }
    sum
}

pub(super) fn host_ports(pod: &Pod) -> HashSet<(String, i32)> {
    let containers = pod.spec.iter().flat_map(|s| &s.containers);
    containers
        .flat_map(|c| c.ports.iter().flatten())
        .filter_map(|p| {
            Some((p.protocol.clone().unwrap_or("TCP".into()), p.host_port.filter(|port| *port > 0)?))
        })
        .collect()
}

/// A quantity in thousandths; text that is none counts as 0.
pub(super) fn milli(quantity: &Quantity) -> i128 {
    let text = quantity.0.trim();
    let split =
        text.find(|c: char| !(c.is_ascii_digit() || c == '.' || c == '-' || c == '+')).unwrap_or(text.len());
    let (number, suffix) = text.split_at(split);
    let factor: f64 = match suffix {
        "n" => 1e-6,
        "u" => 1e-3,
        "m" => 1.0,
        "" => 1e3,
        "k" => 1e6,
        "M" => 1e9,
        "G" => 1e12,
        "T" => 1e15,
        "P" => 1e18,
        "E" => 1e21,
        "Ki" => 1e3 * 1024.0,
        "Mi" => 1e3 * 1024f64.powi(2),
        "Gi" => 1e3 * 1024f64.powi(3),
        "Ti" => 1e3 * 1024f64.powi(4),
        "Pi" => 1e3 * 1024f64.powi(5),
        "Ei" => 1e3 * 1024f64.powi(6),
        exponent => match exponent.strip_prefix(['e', 'E']).and_then(|power| power.parse::<i32>().ok()) {
            Some(power) => 1e3 * 10f64.powi(power),
            None => return 0,
        },
    };
    (number.parse::<f64>().unwrap_or(0.0) * factor).ceil() as i128
}

/// True if one of the tolerations covers the taint.
pub(crate) fn tolerated(taint: &Taint, tolerations: &[Toleration]) -> bool {
    tolerations.iter().any(|t| {
        let effect = t.effect.as_deref().filter(|e| !e.is_empty()).is_none_or(|e| e == taint.effect);
        let key = t.key.as_deref().unwrap_or_default();
        let operator = t.operator.as_deref().filter(|o| !o.is_empty()).unwrap_or("Equal");
        let value = match operator {
            "Exists" => true,
            _ => t.value.as_deref().unwrap_or_default() == taint.value.as_deref().unwrap_or_default(),
        };
        effect && value && (key == taint.key || (key.is_empty() && operator == "Exists"))
    })
}

/// True if the node is one that the Pod selects.
pub(crate) fn selected(pod: &Pod, node: &Node) -> bool {
    let Some(spec) = &pod.spec else { return true };
    let labels = node.metadata.labels.as_ref();
    let has = |key: &String, value: &String| labels.is_some_and(|labels| labels.get(key) == Some(value));
    let by_selector = spec.node_selector.iter().flatten().all(|(key, value)| has(key, value));
    let required = spec
        .affinity
        .as_ref()
        .and_then(|a| a.node_affinity.as_ref())
        .and_then(|a| a.required_during_scheduling_ignored_during_execution.as_ref());
    by_selector && required.is_none_or(|r| r.node_selector_terms.iter().any(|term| term_matches(term, node)))
}

fn term_matches(term: &NodeSelectorTerm, node: &Node) -> bool {
    let label = |key: &String| node.metadata.labels.as_ref().and_then(|labels| labels.get(key));
    let expressions = term.match_expressions.as_deref().unwrap_or_default();
    let fields = term.match_fields.as_deref().unwrap_or_default();
    let check = |operator: &str, value: Option<&String>, values: &Option<Vec<String>>| {
        one_of(operator, value, values.as_deref().unwrap_or_default())
    };
    (!expressions.is_empty() || !fields.is_empty())
        && expressions.iter().all(|r| check(&r.operator, label(&r.key), &r.values))
        && fields
            .iter()
            .all(|r| r.key == "metadata.name" && check(&r.operator, node.metadata.name.as_ref(), &r.values))
}

fn preference(pod: &Pod, node: &Node) -> i64 {
    let Some(spec) = &pod.spec else { return 0 };
    let preferred = spec
        .affinity
        .iter()
        .filter_map(|a| a.node_affinity.as_ref())
        .flat_map(|a| a.preferred_during_scheduling_ignored_during_execution.iter().flatten());
    let wishes: i64 =
        preferred.filter(|p| term_matches(&p.preference, node)).map(|p| i64::from(p.weight)).sum();
    let tolerations = spec.tolerations.as_deref().unwrap_or_default();
    let taints = node.spec.iter().flat_map(|s| s.taints.iter().flatten());
    let disliked = taints.filter(|t| t.effect == "PreferNoSchedule" && !tolerated(t, tolerations)).count();
    wishes - 100 * i64::try_from(disliked).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::sync::Arc;

    fn node(name: &str, zone: &str, cpu: &str, taint: Option<&str>) -> Arc<Node> {
        let taints = taint.map(|key| json!([{"key": key, "effect": "NoSchedule"}]));
        Arc::new(
            serde_json::from_value(json!({
                "metadata": {"name": name, "labels": {"topology.kubernetes.io/zone": zone}},
                "spec": {"taints": taints},
                "status": {"allocatable": {"cpu": cpu, "memory": "4Gi", "pods": "17"}},
            }))
            .unwrap(),
        )
    }

    fn pod(name: &str, on: Option<&str>, cpu: &str) -> Arc<Pod> {
        Arc::new(
            serde_json::from_value(json!({
                "metadata": {"name": name, "namespace": "default", "labels": {"app": "web"}, "uid": name},
                "spec": {"nodeName": on, "containers": [{"name": "c", "resources": {"requests": {"cpu": cpu}}}]},
            }))
            .unwrap(),
        )
    }

    #[test]
    fn pods_spread_over_zones_then_nodes() {
        let nodes =
            [node("node-1", "a", "2", None), node("node-2", "b", "2", None), node("node-3", "a", "2", None)];
        let mut all = Vec::new();
        let mut chosen = Vec::new();
        for i in 0..4 {
            let world = World::of(&nodes, &all);
            let (Verdict::Node(on), _) = choose(&pod("new", None, "100m"), &world, 0) else {
                panic!("must fit")
            };
            all.push(pod(&format!("p{i}"), Some(&on), "100m"));
            chosen.push(on);
        }
        assert_eq!(chosen, ["node-1", "node-2", "node-3", "node-2"]);
    }

    #[test]
    fn the_sentence_is_upstreams() {
        let nodes = [
            node("node-1", "a", "1", None),
            node("node-2", "b", "2", Some("x")),
            node("node-3", "c", "1", None),
        ];
        let world = World::of(&nodes, &[]);
        let text = "0/3 nodes are available: 1 node(s) had untolerated taint(s), 2 Insufficient cpu. preemption: 0/3 nodes are available: 2 No preemption victims found for incoming pod, 1 Preemption is not helpful for scheduling.";
        assert_eq!(choose(&pod("p", None, "1500m"), &world, 0).0, Verdict::Nowhere(text.into()));
    }

    #[test]
    fn of_many_nodes_some_are_looked_at_and_the_next_search_goes_on_there() {
        for (nodes, looked_at) in [(99, 99), (100, 100), (250, 120), (1000, 420), (5000, 500)] {
            let all: Vec<_> = (0..nodes).map(|i| node(&format!("node-{i}"), "a", "2", None)).collect();
            let world = World::of(&all, &[]);
            assert_eq!(choose(&pod("p", None, "1"), &world, 0).1, looked_at, "{nodes}");
            let (Verdict::Node(on), _) = choose(&pod("p", None, "1"), &world, nodes + looked_at) else {
                panic!("must fit")
            };
            assert_eq!(on, format!("node-{}", looked_at % nodes), "{nodes}");
        }
    }

    #[test]
    fn quantities() {
        for (text, expected) in
            [("100m", 100), ("2", 2000), ("1Ki", 1_024_000), ("1e3", 1_000_000), ("x", 0), ("", 0)]
        {
            assert_eq!(milli(&Quantity(text.into())), expected, "{text}");
        }
    }
}
