//! Which Pods may be near each other: topology spread constraints, and affinity between Pods.
//!
//! Only what a node must have; wishes are weighed in `fit`. The rules are those of upstream's plugins PodTopologySpread and
//! InterPodAffinity.

use super::fit::{self, Misfit};
use super::world::{Place, World};
use controllers_kit::meta::label;
use controllers_kit::pods;
use controllers_kit::selector::matches;
use k8s_openapi::api::core::v1::{Namespace, Node, Pod, PodAffinityTerm, TopologySpreadConstraint};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use std::collections::HashMap;
use std::sync::Arc;

/// All namespaces, whose labels some terms select by.
pub(super) type Namespaces = Vec<Arc<Namespace>>;

const UNEVEN: &str = "node(s) didn't match pod topology spread constraints";
const NO_DOMAIN: &str = "node(s) didn't match pod topology spread constraints (missing required label)";
const NOT_BESIDE: &str = "node(s) didn't match pod affinity rules";
const BESIDE: &str = "node(s) didn't match pod anti-affinity rules";
const UNWELCOME: &str = "node(s) didn't satisfy existing pods anti-affinity rules";

/// What a Pod demands of its neighbourhood, counted over all nodes once.
pub(super) struct Demands<'a> {
    spreads: Vec<Spread<'a>>,
    /// Domains with a Pod that is wanted near, by topology key; `None` where any will do.
    near: Vec<(&'a str, Option<Vec<&'a str>>)>,
    /// Domains that hold a Pod this one must not be near.
    far: Vec<(&'a str, &'a str)>,
    /// Domains that hold a Pod which does not want this one near.
    unwelcome: Vec<(&'a str, &'a str)>,
}

/// One constraint that must hold.
struct Spread<'a> {
    key: &'a str,
    /// Pods of the constraint by domain.
    counts: HashMap<&'a str, i64>,
    /// The fewest that a domain has.
    least: i64,
    /// 1 if the Pod counts itself.
    own: i64,
    max_skew: i64,
}

impl<'a> Demands<'a> {
    pub(super) fn of(pod: &'a Pod, world: &'a World) -> Self {
        let namespaces = &world.namespaces;
        let spec = pod.spec.as_ref();
        let hard: Vec<&TopologySpreadConstraint> = spec
            .iter()
            .flat_map(|spec| spec.topology_spread_constraints.iter().flatten())
            .filter(|constraint| constraint.when_unsatisfiable == "DoNotSchedule")
            .collect();
        let affinity = spec.and_then(|spec| spec.affinity.as_ref());
        let near = affinity.and_then(|a| a.pod_affinity.as_ref());
        let near =
            near.iter().flat_map(|a| a.required_during_scheduling_ignored_during_execution.iter().flatten());
        let near: Vec<_> = near.collect();
        let asks = !hard.is_empty() || !near.is_empty() || keeps_away(pod).next().is_some();
        let places: Vec<&Place> = world.places(0).filter(|_| asks).collect();
        let places = places.as_slice();
        Demands {
            spreads: hard.iter().map(|constraint| Spread::of(pod, constraint, &hard, places)).collect(),
            near: wanted(pod, &near, places, namespaces),
            far: keeps_away(pod).flat_map(|term| domains(pod, term, places, namespaces)).collect(),
            unwelcome: unwelcome(pod, world),
        }
    }

    /// Why a node will not do, and whether removing Pods could help.
    pub(super) fn misfit(&self, node: &Node) -> Option<Misfit> {
        for spread in &self.spreads {
            let Some(domain) = label(&node.metadata, spread.key) else {
                return Some((vec![NO_DOMAIN.into()], false));
            };
            let there = spread.counts.get(domain).copied().unwrap_or(0);
            if there + spread.own - spread.least > spread.max_skew {
                return Some((vec![UNEVEN.into()], true));
            }
        }
        let is_in =
            |domains: &[(&str, &str)]| domains.iter().any(|(key, at)| label(&node.metadata, key) == Some(at));
        let lacks = self.near.iter().any(|(key, domains)| match (label(&node.metadata, key), domains) {
            (None, _) => true,
            (Some(domain), Some(domains)) => !domains.contains(&domain),
            (Some(_), None) => false,
        });
        if lacks {
            return Some((vec![NOT_BESIDE.into()], false));
        }
        if is_in(&self.far) {
            return Some((vec![BESIDE.into()], true));
        }
        is_in(&self.unwelcome).then(|| (vec![UNWELCOME.into()], true))
    }
}

impl<'a> Spread<'a> {
    fn of(
        pod: &Pod,
        constraint: &'a TopologySpreadConstraint,
        all: &[&TopologySpreadConstraint],
        places: &[&'a Place],
    ) -> Self {
        let key = constraint.topology_key.as_str();
        let counts_pod = |other: &Pod| {
            other.metadata.namespace == pod.metadata.namespace
                && constraint
                    .label_selector
                    .as_ref()
                    .is_some_and(|s| matches(s, other.metadata.labels.as_ref()))
                && constraint.match_label_keys.iter().flatten().all(|key| {
                    label(&pod.metadata, key).is_none_or(|value| label(&other.metadata, key) == Some(value))
                })
        };
        let mut counts: HashMap<&str, i64> = HashMap::new();
        for place in places.iter().filter(|place| is_domain(pod, constraint, all, &place.node)) {
            let Some(domain) = label(&place.node.metadata, key) else { continue };
            let here =
                place.pods.values().filter(|other| !pods::is_terminating(other) && counts_pod(other)).count();
            *counts.entry(domain).or_default() += i64::try_from(here).unwrap_or(i64::MAX);
        }
        let enough =
            i64::try_from(counts.len()).unwrap_or(i64::MAX) >= i64::from(constraint.min_domains.unwrap_or(1));
        let least = if enough { counts.values().min().copied().unwrap_or(0) } else { 0 };
        Spread {
            key,
            counts,
            least,
            own: i64::from(counts_pod(pod)),
            max_skew: i64::from(constraint.max_skew),
        }
    }
}

/// Whether a node's domain is one to spread over.
fn is_domain(
    pod: &Pod,
    constraint: &TopologySpreadConstraint,
    all: &[&TopologySpreadConstraint],
    node: &Node,
) -> bool {
    let labelled = all.iter().all(|constraint| label(&node.metadata, &constraint.topology_key).is_some());
    let honours = |policy: &Option<String>, default: &str| policy.as_deref().unwrap_or(default) == "Honor";
    labelled
        && (!honours(&constraint.node_affinity_policy, "Honor") || fit::selected(pod, node))
        && (!honours(&constraint.node_taints_policy, "Ignore") || fit::taints_tolerated(pod, node))
}

/// Where Pods are that affinity wants near. Where there is none yet, a Pod that wants its own kind may be the first.
fn wanted<'a>(
    pod: &'a Pod,
    terms: &[&'a PodAffinityTerm],
    places: &[&'a Place],
    namespaces: &'a Namespaces,
) -> Vec<(&'a str, Option<Vec<&'a str>>)> {
    let found: Vec<(&str, Vec<&str>)> = terms
        .iter()
        .map(|term| {
            let domains = domains(pod, term, places, namespaces).map(|(_, domain)| domain).collect();
            (term.topology_key.as_str(), domains)
        })
        .collect();
    let is_first = found.iter().all(|(_, domains)| domains.is_empty())
        && terms.iter().all(|term| is_meant(pod, term, pod, namespaces));
    found.into_iter().map(|(key, domains)| (key, Some(domains).filter(|_| !is_first))).collect()
}

/// Domains of a term that hold a Pod it means.
fn domains<'a>(
    pod: &'a Pod,
    term: &'a PodAffinityTerm,
    places: &[&'a Place],
    namespaces: &'a Namespaces,
) -> impl Iterator<Item = (&'a str, &'a str)> {
    places.iter().filter_map(move |place| {
        let domain = label(&place.node.metadata, &term.topology_key)?;
        let holds = place.pods.values().any(|other| is_meant(pod, term, other, namespaces));
        holds.then_some((term.topology_key.as_str(), domain))
    })
}

/// The anti-affinity that a Pod must have.
pub(super) fn keeps_away(pod: &Pod) -> impl Iterator<Item = &PodAffinityTerm> {
    let affinity = pod.spec.as_ref().and_then(|spec| spec.affinity.as_ref());
    let far = affinity.and_then(|affinity| affinity.pod_anti_affinity.as_ref());
    far.into_iter().flat_map(|a| a.required_during_scheduling_ignored_during_execution.iter().flatten())
}

/// Domains of Pods whose own anti-affinity means this Pod.
fn unwelcome<'a>(pod: &Pod, world: &'a World) -> Vec<(&'a str, &'a str)> {
    let mut out = Vec::new();
    for (node, other) in world.wary() {
        for term in keeps_away(other) {
            if let Some(domain) = label(&node.metadata, &term.topology_key)
                && is_meant(other, term, pod, &world.namespaces)
            {
                out.push((term.topology_key.as_str(), domain));
            }
        }
    }
    out
}

/// Whether a term of `owner` means the Pod `other`.
fn is_meant(owner: &Pod, term: &PodAffinityTerm, other: &Pod, namespaces: &Namespaces) -> bool {
    let namespace = other.metadata.namespace.as_deref().unwrap_or_default();
    let named = term.namespaces.iter().flatten().any(|name| name == namespace);
    let selected = |selector: &LabelSelector| {
        let found = namespaces.iter().find(|known| known.metadata.name.as_deref() == Some(namespace));
        found.is_some_and(|known| matches(selector, known.metadata.labels.as_ref()))
    };
    let own = term.namespaces.as_ref().is_none_or(Vec::is_empty)
        && term.namespace_selector.is_none()
        && other.metadata.namespace == owner.metadata.namespace;
    (own || named || term.namespace_selector.as_ref().is_some_and(selected))
        && term.label_selector.as_ref().is_some_and(|s| matches(s, other.metadata.labels.as_ref()))
}

#[cfg(test)]
mod tests {
    use super::super::fit::{Verdict, choose};
    use super::*;
    use serde_json::{Value, json};

    fn nodes() -> Vec<Arc<Node>> {
        let node = |name: &str, zone: &str, cordoned: bool| {
            let node = json!({
                "metadata": {"name": name, "labels": {"zone": zone, "host": name}},
                "spec": {"unschedulable": cordoned},
                "status": {"allocatable": {"cpu": "9", "pods": "17"}},
            });
            Arc::new(serde_json::from_value(node).expect("a node"))
        };
        vec![node("node-1", "a", false), node("node-2", "b", true), node("node-3", "c", false)]
    }

    fn pod(name: &str, on: Option<&str>, namespace: &str, spec: &Value) -> Arc<Pod> {
        let mut pod = json!({
            "metadata": {"name": name, "namespace": namespace, "labels": {"app": "web"}, "uid": name},
            "spec": {"nodeName": on, "containers": []},
        });
        for (member, value) in spec.as_object().into_iter().flatten() {
            pod["spec"][member] = value.clone();
        }
        Arc::new(serde_json::from_value(pod).expect("a Pod"))
    }

    /// Where Pods like this go, one after the other, until one fits nowhere.
    fn placed(spec: &Value, mut all: Vec<Arc<Pod>>, namespaces: &Namespaces) -> (Vec<String>, String) {
        let mut chosen = Vec::new();
        for i in 0..6 {
            let mut world = World::of(&nodes(), &all);
            world.namespaces = namespaces.clone();
            match choose(&pod("new", None, "default", spec), &world, 0).0 {
                Verdict::Node(on) => {
                    all.push(pod(&format!("p{i}"), Some(&on), "default", spec));
                    chosen.push(on);
                }
                Verdict::Nowhere(why) => return (chosen, why),
            }
        }
        (chosen, String::new())
    }

    fn spread(more: Value) -> Value {
        let mut constraint = json!({"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule",
            "labelSelector": {"matchLabels": {"app": "web"}}});
        for (member, value) in more.as_object().into_iter().flatten() {
            constraint[member] = value.clone();
        }
        json!({"topologySpreadConstraints": [constraint]})
    }

    #[test]
    fn hard_constraints_hold() {
        let one_each = ["node-1", "node-3"];
        for (constraint, want, why) in [
            // The cordoned node's zone counts, and stays empty.
            (json!({}), &one_each[..], UNEVEN),
            (json!({"maxSkew": 2}), &["node-1", "node-3", "node-1", "node-3"], UNEVEN),
            (json!({"topologyKey": "pool"}), &[], NO_DOMAIN),
            (
                json!({"labelSelector": {"matchLabels": {"app": "other"}}}),
                &["node-1", "node-3", "node-1", "node-3", "node-1", "node-3"],
                "",
            ),
            (
                json!({"whenUnsatisfiable": "ScheduleAnyway", "topologyKey": "pool"}),
                &["node-1", "node-3", "node-1", "node-3", "node-1", "node-3"],
                "",
            ),
            (json!({"minDomains": 5, "maxSkew": 1}), &one_each[..], UNEVEN),
        ] {
            let (chosen, told) = placed(&spread(constraint.clone()), Vec::new(), &Vec::new());
            assert_eq!(chosen, want, "{constraint}");
            assert!(told.contains(why), "{constraint}: {told}");
        }
    }

    fn affinity(kind: &str, term: Value) -> Value {
        let mut full = json!({"topologyKey": "host", "labelSelector": {"matchLabels": {"app": "web"}}});
        for (member, value) in term.as_object().into_iter().flatten() {
            full[member] = value.clone();
        }
        json!({"affinity": {kind: {"requiredDuringSchedulingIgnoredDuringExecution": [full]}}})
    }

    #[test]
    fn pods_keep_together_and_apart() {
        let namespace: Namespace =
            serde_json::from_value(json!({"metadata": {"name": "other", "labels": {"team": "x"}}}))
                .expect("one");
        let namespaces = vec![Arc::new(namespace)];
        let there = |namespace: &str| vec![pod("there", Some("node-3"), namespace, &json!({}))];
        let none = Vec::new;
        for (spec, all, want, why) in [
            (affinity("podAntiAffinity", json!({})), none(), &["node-1", "node-3"][..], BESIDE),
            (affinity("podAntiAffinity", json!({})), there("default"), &["node-1"], BESIDE),
            (affinity("podAntiAffinity", json!({})), there("other"), &["node-1", "node-3"], BESIDE),
            (
                affinity("podAntiAffinity", json!({"namespaces": ["other"]})),
                there("other"),
                &["node-1"; 6],
                "",
            ),
            (
                affinity("podAntiAffinity", json!({"namespaceSelector": {"matchLabels": {"team": "x"}}})),
                there("other"),
                &["node-1"; 6],
                "",
            ),
            // The first of its kind may go anywhere, the others follow.
            (affinity("podAffinity", json!({})), none(), &["node-1"; 6], ""),
            (affinity("podAffinity", json!({})), there("default"), &["node-3"; 6], ""),
            (
                affinity("podAffinity", json!({"labelSelector": {"matchLabels": {"app": "db"}}})),
                none(),
                &[],
                NOT_BESIDE,
            ),
            (affinity("podAffinity", json!({"topologyKey": "pool"})), none(), &[], NOT_BESIDE),
        ] {
            let (chosen, told) = placed(&spec, all, &namespaces);
            assert_eq!(chosen, want, "{spec}");
            assert!(told.contains(why), "{spec}: {told}");
        }
        let lonely = affinity("podAntiAffinity", json!({}));
        let all = vec![pod("lonely", Some("node-1"), "default", &lonely)];
        let (chosen, _) = placed(&json!({}), all, &namespaces);
        assert!(!chosen.contains(&"node-1".to_owned()), "{chosen:?}");
    }
}
