//! PodTopologyLabels: a Pod says in which zone and region its node is (`plugin/pkg/admission/podtopologylabels`).

use apiserver_json::Value;

use crate::object;
use crate::registry::{Call, Registry};
use crate::strategy::shared::text;

pub(super) const NAME: &str = "PodTopologyLabels";
const LABELS: [&str; 2] = ["topology.kubernetes.io/zone", "topology.kubernetes.io/region"];

/// Labels a Pod that is created on a node, or what binds one to it: its labels become the Pod's.
pub(super) fn label(registry: &Registry, call: &Call<'_>, value: &mut Value) -> Result<(), super::Refusal> {
    let node = match call.subresource {
        "binding" if text(&value["target"], "kind") != "Node" => "",
        "binding" => text(&value["target"], "name"),
        _ => text(&value["spec"], "nodeName"),
    };
    if node.is_empty() {
        return Ok(());
    }
    let catalogue = registry.catalogue();
    let Some(nodes) = catalogue.get("", "v1", "nodes") else { return Ok(()) };
    let Some(node) = registry.cache().get(&nodes.key(None, node)) else { return Ok(()) };
    for label in LABELS {
        if let Some(place) = node.label(label) {
            let labels =
                object::metadata_mut(value).entry("labels").or_insert_with(|| apiserver_json::json!({}));
            if let Some(labels) = labels.as_object_mut() {
                labels.insert(label.into(), place.into());
            }
        }
    }
    Ok(())
}
