//! TaintNodesByCondition: a new node takes no Pods until the node lifecycle controller has seen it ready.

use apiserver_json::{Value, json};

use super::Refusal;
use crate::object;
use crate::registry::{Call, Registry};

pub(super) fn taint(_registry: &Registry, _call: &Call<'_>, node: &mut Value) -> Result<(), Refusal> {
    let taint = json!({"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"});
    let taints = object::member_mut(node, "spec").entry("taints").or_insert_with(|| json!([]));
    if let Some(taints) = taints.as_array_mut()
        && !taints.iter().any(|known| known["key"] == taint["key"] && known["effect"] == taint["effect"])
    {
        taints.push(taint);
    }
    Ok(())
}
