//! The Pod of a DaemonSet for one node: upstream's `daemon/util`.

use super::{HASH, generation};
use crate::control::pod_from;
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::{
    NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, Pod, PodSpec, Toleration,
};

/// Taints that never keep a daemon from its node.
const TOLERATED: [(&str, &str); 6] = [
    ("node.kubernetes.io/not-ready", "NoExecute"),
    ("node.kubernetes.io/unreachable", "NoExecute"),
    ("node.kubernetes.io/disk-pressure", "NoSchedule"),
    ("node.kubernetes.io/memory-pressure", "NoSchedule"),
    ("node.kubernetes.io/pid-pressure", "NoSchedule"),
    ("node.kubernetes.io/unschedulable", "NoSchedule"),
];
const OWN_NETWORK: (&str, &str) = ("node.kubernetes.io/network-unavailable", "NoSchedule");
const NAME: &str = "metadata.name";

/// A Pod for any node: what decides where there should be one.
pub(super) fn anywhere(set: &DaemonSet) -> Pod {
    let spec = set.spec.clone().unwrap_or_default();
    let mut pod = pod_from(set, &spec.template);
    tolerate(pod.spec.get_or_insert_default());
    pod
}

/// The Pod for one node.
pub(super) fn build(set: &DaemonSet, node: &str, hash: &str) -> Pod {
    let mut pod = anywhere(set);
    let labels = pod.metadata.labels.get_or_insert_default();
    labels.insert(HASH.into(), hash.into());
    if let Some(generation) = generation(set) {
        labels.insert("pod-template-generation".into(), generation.into());
    }
    let name =
        NodeSelectorRequirement { key: NAME.into(), operator: "In".into(), values: Some(vec![node.into()]) };
    let term = NodeSelectorTerm { match_fields: Some(vec![name]), match_expressions: None };
    let affinity = pod.spec.get_or_insert_default().affinity.get_or_insert_default();
    affinity.node_affinity.get_or_insert_default().required_during_scheduling_ignored_during_execution =
        Some(NodeSelector { node_selector_terms: vec![term] });
    pod
}

fn tolerate(spec: &mut PodSpec) {
    let own_network = Some(OWN_NETWORK).filter(|_| spec.host_network == Some(true));
    let tolerations = spec.tolerations.get_or_insert_default();
    for (key, effect) in TOLERATED.into_iter().chain(own_network) {
        let wanted = Toleration {
            key: Some(key.into()),
            operator: Some("Exists".into()),
            effect: Some(effect.into()),
            ..Default::default()
        };
        let same = |t: &Toleration| {
            (&t.key, &t.effect, &t.operator) == (&wanted.key, &wanted.effect, &wanted.operator)
        };
        tolerations.retain(|t| !same(t));
        tolerations.push(wanted);
    }
}

/// The node a Pod is on, or is meant for.
pub(super) fn target(pod: &Pod) -> Option<&str> {
    let spec = pod.spec.as_ref()?;
    if let Some(node) = controllers_kit::pods::node_name(pod) {
        return Some(node);
    }
    let affinity = spec.affinity.as_ref()?.node_affinity.as_ref()?;
    let required = affinity.required_during_scheduling_ignored_during_execution.as_ref()?;
    let fields = required.node_selector_terms.iter().flat_map(|term| term.match_fields.iter().flatten());
    let named = fields.filter(|field| field.key == NAME && field.operator == "In");
    named.filter_map(|field| field.values.as_deref()?.first()).map(String::as_str).next()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_pod_is_pinned_to_its_node_and_tolerates_its_troubles() {
        let set: DaemonSet = serde_json::from_value(json!({
            "metadata": {"name": "agent", "namespace": "default", "uid": "u",
                "annotations": {"deprecated.daemonset.template.generation": "3"}},
            "spec": {"selector": {"matchLabels": {"app": "agent"}},
                "template": {"metadata": {"labels": {"app": "agent"}}, "spec": {"containers": [], "tolerations": [
                    {"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 5}]}}},
        }))
        .unwrap();
        let pod = build(&set, "node-2", "abc");
        assert_eq!(target(&pod), Some("node-2"));
        assert_eq!(target(&anywhere(&set)), None);
        let labels = pod.metadata.labels.unwrap();
        assert_eq!((labels[HASH].as_str(), labels["pod-template-generation"].as_str()), ("abc", "3"));
        let tolerations = pod.spec.unwrap().tolerations.unwrap();
        assert_eq!(tolerations.len(), TOLERATED.len());
        assert!(tolerations.iter().all(|t| t.toleration_seconds.is_none()));
    }
}
