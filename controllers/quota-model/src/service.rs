//! Services: themselves, their load balancers and node ports.

use serde_json::Value;

use crate::amount::Amount;
use crate::amounts::Amounts;
use crate::{items, text};

pub(crate) const NAMES: &[&str] =
    &["count/services", "services", "services.nodeports", "services.loadbalancers"];

/// What a Service uses. Node ports are counted by intent: they may not be allocated yet.
pub(crate) fn usage(service: &Value) -> Amounts {
    let spec = &service["spec"];
    let ports = items(spec, "ports");
    let balanced = text(spec, "type") == "LoadBalancer";
    let node_ports = match text(spec, "type") {
        "NodePort" => ports.len(),
        "LoadBalancer" if spec["allocateLoadBalancerNodePorts"] == false => {
            ports.iter().filter(|port| port["nodePort"].as_i64().is_some_and(|port| port != 0)).count()
        }
        "LoadBalancer" => ports.len(),
        _ => 0,
    };
    let counts = [1, 1, node_ports, usize::from(balanced)];
    NAMES.iter().zip(counts).map(|(name, count)| ((*name).to_owned(), Amount::count(count))).collect()
}
