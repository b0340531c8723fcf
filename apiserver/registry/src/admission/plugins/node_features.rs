//! NodeDeclaredFeatureValidator: a bound Pod is not changed in a way that its node does not declare to know
//! (`status.declaredFeatures`). What a change needs is k8s.io/component-helpers' `nodedeclaredfeatures`.

use apiserver_json::Value;

use super::Refusal;
use crate::registry::{Call, Registry};
use crate::strategy::shared::{at, items, text};

pub(super) const NAME: &str = "NodeDeclaredFeatureValidator";

pub(super) fn check(
    registry: &Registry,
    _call: &Call<'_>,
    pod: &Value,
    old: Option<&Value>,
) -> Result<(), Refusal> {
    let node = text(at(pod, &["spec"]), "nodeName");
    let Some(old) = old.filter(|_| !node.is_empty()) else { return Ok(()) };
    let needed = needed(at(old, &["spec"]), at(pod, &["spec"]));
    if needed.is_empty() {
        return Ok(());
    }
    let Some(found) = super::object_named(registry, "", "nodes", node) else {
        return Err(format!("node {node:?} not found").into());
    };
    let declared = items(at(&found, &["status"]), "declaredFeatures");
    let lacking: Vec<&str> =
        needed.into_iter().filter(|feature| !declared.iter().any(|known| known == *feature)).collect();
    if lacking.is_empty() {
        return Ok(());
    }
    let lacking = lacking.join(", ");
    Err(format!("pod update requires features {lacking} which are not available on node {node:?}").into())
}

/// The features of nodes that a change of a Pod's spec needs.
fn needed(old: &Value, new: &Value) -> Vec<&'static str> {
    let mut features = Vec::new();
    if at(old, &["resources"]) != at(new, &["resources"]) {
        features.push("InPlacePodLevelResourcesVerticalScaling");
    }
    let mut before = items(old, "initContainers").iter().zip(items(new, "initContainers"));
    let is_changed = |(old, new): (&Value, &Value)| {
        text(old, "restartPolicy") != "Always" && at(old, &["resources"]) != at(new, &["resources"])
    };
    if before.any(is_changed) {
        features.push("InPlacePodVerticalScalingInitContainers");
    }
    features
}

#[cfg(test)]
mod tests {
    use apiserver_json::json;

    use super::*;

    #[test]
    fn resources_of_a_pod_and_of_what_runs_first_need_features() {
        let spec = |pod: Value, first: &str, beside: &str| {
            let container = |cpu: &str, policy: Value| json!({"restartPolicy": policy, "resources": {"requests": {"cpu": cpu}}});
            json!({"resources": pod, "initContainers": [
                container(first, Value::Null), container(beside, "Always".into()),
            ]})
        };
        let old = spec(Value::Null, "1", "1");
        for (new, want) in [
            (spec(Value::Null, "1", "1"), &[][..]),
            (spec(Value::Null, "1", "2"), &[]),
            (spec(Value::Null, "2", "1"), &["InPlacePodVerticalScalingInitContainers"]),
            (
                spec(json!({"requests": {"cpu": "1"}}), "2", "2"),
                &["InPlacePodLevelResourcesVerticalScaling", "InPlacePodVerticalScalingInitContainers"],
            ),
        ] {
            assert_eq!(needed(&old, &new), want, "{new}");
        }
    }
}
