//! PodResizeValidator: what a node cannot give is not asked of it.

use apiserver_json::Value;
use apiserver_meta::quantity;

use super::Refusal;
use crate::registry::{Call, Registry};
use crate::strategy::shared::{at, items, text};

pub(super) const NAME: &str = "PodResizeValidator";

pub(super) fn check(
    registry: &Registry,
    call: &Call<'_>,
    pod: &Value,
    old: Option<&Value>,
) -> Result<(), Refusal> {
    let node = text(at(pod, &["spec"]), "nodeName");
    let is_changed = old.is_some_and(|old| at(old, &["spec"]) != at(pod, &["spec"]));
    if call.subresource != "resize" || node.is_empty() || !is_changed {
        return Ok(());
    }
    let Some(found) = super::object_named(registry, "", "nodes", node) else {
        return Err(format!("node {node:?} not found").into());
    };
    refused(pod, &found).map_or(Ok(()), |(why, cause)| Err(Refusal::Caused(why, cause)))
}

/// Why the node does not take the Pod as it would be, and what kind of cause that is.
fn refused(pod: &Value, node: &Value) -> Option<(String, &'static str)> {
    let system = at(node, &["metadata", "labels", "kubernetes.io/os"]).as_str();
    if let Some(system) = system.filter(|system| *system != "linux") {
        let name = at(node, &["metadata", "name"]).as_str().unwrap_or("");
        let why = format!("pod resize is only supported on linux nodes, node {name:?} is {system:?}");
        return Some((why, "UnsupportedPlatform"));
    }
    let has = |resource: &str| amount(at(node, &["status", "allocatable"]), resource);
    let lacking: Vec<String> = [("cpu", 1), ("memory", 1000)]
        .into_iter()
        .map(|(resource, unit)| (resource, unit, requested(pod, resource), has(resource)))
        .filter(|(_, _, wanted, there)| wanted > there)
        .map(|(resource, unit, wanted, there)| {
            // Bytes are told whole, rounded up.
            let [wanted, there] = [wanted, there].map(|amount| (amount + unit - 1) / unit);
            format!("{resource}, requested: {wanted}, allocatable: {there}")
        })
        .collect();
    let why = || format!("node didn't have enough allocatable resources: {}", lacking.join("; "));
    (!lacking.is_empty()).then(|| (why(), "NodeCapacity"))
}

/// What a Pod asks for at once, in thousandths: those that run side by side, or the one that runs before them.
fn requested(pod: &Value, resource: &str) -> i128 {
    let spec = at(pod, &["spec"]);
    let of = |container: &Value| amount(at(container, &["resources", "requests"]), resource);
    let (mut beside, mut before) = (0, 0);
    for container in items(spec, "initContainers") {
        if text(container, "restartPolicy") == "Always" {
            beside += of(container);
            before = before.max(beside);
        } else {
            before = before.max(beside + of(container));
        }
    }
    let running: i128 = items(spec, "containers").iter().map(of).sum();
    let told = at(spec, &["resources", "requests", resource]);
    let all = if told.is_null() { before.max(beside + running) } else { quantity::parse(told).unwrap_or(0) };
    all + amount(at(spec, &["overhead"]), resource)
}

fn amount(amounts: &Value, resource: &str) -> i128 {
    quantity::parse(at(amounts, &[resource])).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use apiserver_json::json;

    #[test]
    fn a_node_takes_what_it_has() {
        let pod = |cpu: &str, memory: &str| {
            json!({"spec": {
                "initContainers": [
                    {"resources": {"requests": {"cpu": "2"}}},
                    {"restartPolicy": "Always", "resources": {"requests": {"cpu": "500m"}}},
                ],
                "containers": [{"resources": {"requests": {"cpu": cpu, "memory": memory}}}],
            }})
        };
        let node = |system: &str| {
            json!({
                "metadata": {"name": "n", "labels": {"kubernetes.io/os": system}},
                "status": {"allocatable": {"cpu": "2", "memory": "1Ki"}},
            })
        };
        for (pod, node, want) in [
            (pod("1500m", "1Ki"), node("linux"), None),
            (
                pod("1600m", "1025"),
                node("linux"),
                Some((
                    "node didn't have enough allocatable resources: cpu, requested: 2100, allocatable: 2000; memory, requested: 1025, allocatable: 1024",
                    "NodeCapacity",
                )),
            ),
            (
                pod("1", "1"),
                node("windows"),
                Some((
                    "pod resize is only supported on linux nodes, node \"n\" is \"windows\"",
                    "UnsupportedPlatform",
                )),
            ),
        ] {
            let refused = refused(&pod, &node);
            assert_eq!(refused.as_ref().map(|(why, cause)| (why.as_str(), *cause)), want);
        }
    }
}
