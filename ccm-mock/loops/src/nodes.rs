//! What load balancers ask about Nodes: which instance, and whether it may take traffic.
//!
//! Nothing is written.

use ccm_mock_aws_api::names;
use controllers_kit::meta::label;
use k8s_openapi::api::core::v1::Node;

const EXCLUDED: &str = "node.kubernetes.io/exclude-from-external-load-balancers";

/// The instance a Node runs on.
pub(crate) fn instance_id(node: &Node) -> Option<&str> {
    names::instance_id_of(node.spec.as_ref()?.provider_id.as_deref()?)
}

fn is_ready(node: &Node) -> bool {
    let conditions = node.status.iter().flat_map(|s| s.conditions.iter().flatten());
    conditions.filter(|c| c.type_ == "Ready").any(|c| c.status == "True")
}

/// The instance of a Node that may take traffic from outside.
pub(crate) fn serving_instance(node: &Node) -> Option<&str> {
    let fit = is_ready(node)
        && node.metadata.deletion_timestamp.is_none()
        && label(&node.metadata, EXCLUDED).is_none();
    instance_id(node).filter(|_| fit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_ready_nodes_of_the_cloud_serve() {
        let node = |ready: &str, provider: &str, labels: serde_json::Value| -> Node {
            let object = json!({
                "metadata": {"name": "n", "labels": labels},
                "spec": {"providerID": provider},
                "status": {"conditions": [{"type": "Ready", "status": ready}]},
            });
            serde_json::from_value(object).expect("a Node")
        };
        let table = [
            (node("True", "aws:///us-east-1a/i-1", json!({})), Some("i-1")),
            (node("False", "aws:///us-east-1a/i-1", json!({})), None),
            (node("True", "kind://x", json!({})), None),
            (node("True", "aws:///us-east-1a/i-1", json!({EXCLUDED: ""})), None),
        ];
        for (node, expected) in table {
            assert_eq!(serving_instance(&node), expected);
        }
    }
}
