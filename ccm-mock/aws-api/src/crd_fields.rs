//! Members of the load balancer's kinds, for `kubectl explain`: path, type and meaning. `[]` is an element of a list.
//!
//! They describe and check; members that are not here are kept all the same.

use serde_json::{Map, Value, json};

/// Kind, path from the object, type (or words between bars, one of which it is), description.
const FIELDS: &[(&str, &str, &str, &str)] = &[
    ("LoadBalancer", "spec.loadBalancerName", "string", "Name, unique in the region."),
    ("LoadBalancer", "spec.type", "application|network", "Kind of load balancer."),
    ("LoadBalancer", "spec.scheme", "internet-facing|internal", "Who reaches it."),
    ("LoadBalancer", "spec.ipAddressType", "ipv4|dualstack|dualstack-without-public-ipv4", "Its addresses."),
    ("LoadBalancer", "spec.securityGroups", "strings", "Ids of its security groups."),
    ("LoadBalancer", "spec.attributes", "map", "Attributes such as idle_timeout.timeout_seconds."),
    ("LoadBalancer", "status.dnsName", "string", "The name clients use; it resolves to the addresses below."),
    ("LoadBalancer", "status.state", "string", "provisioning, active or failed."),
    ("LoadBalancer", "status.availabilityZones[].zoneName", "string", "Zone."),
    ("LoadBalancer", "status.availabilityZones[].subnetId", "string", "Subnet of the zone it stands in."),
    (
        "LoadBalancer",
        "status.availabilityZones[].loadBalancerAddresses[].ipAddress",
        "string",
        "Address for clients.",
    ),
    (
        "LoadBalancer",
        "status.availabilityZones[].loadBalancerAddresses[].privateIPv4Address",
        "string",
        "Address of its interface inside the VPC, which targets see.",
    ),
    ("LoadBalancer", "status.endpoints[].address", "string", "Address and port of a listener."),
    ("LoadBalancer", "status.endpoints[].bound", "string", "The socket of this machine that stands for it."),
    ("LoadBalancer", "status.loadBalancerArn", "string", "ARN."),
    ("Listener", "spec.loadBalancerArn", "string", "Load balancer it belongs to."),
    ("Listener", "spec.port", "integer", "Port it listens on."),
    ("Listener", "spec.protocol", "string", "HTTP, HTTPS, TCP or TLS."),
    ("Listener", "spec.sslPolicy", "string", "Policy of a TLS listener."),
    ("Listener", "spec.certificates[].certificateArn", "string", "Certificate."),
    ("Listener", "spec.certificates[].isDefault", "boolean", "Given to clients whose name no other covers."),
    ("Listener", "spec.defaultActions[].type", "string", "What is done when no rule matches."),
    ("Listener", "status.listenerArn", "string", "ARN."),
    ("ListenerRule", "spec.listenerArn", "string", "Listener it belongs to."),
    ("ListenerRule", "spec.listenerPort", "integer", "Port of that listener."),
    ("ListenerRule", "spec.priority", "string", "1 to 50000, lowest first; default comes last."),
    ("ListenerRule", "spec.isDefault", "boolean", "True for the rule that always matches."),
    (
        "ListenerRule",
        "spec.conditions[].field",
        "string",
        "host-header, path-pattern, http-header, http-request-method, query-string or source-ip. All must hold.",
    ),
    ("ListenerRule", "spec.conditions[].hostHeaderConfig.values", "strings", "Hosts; * and ? are wildcards."),
    (
        "ListenerRule",
        "spec.conditions[].pathPatternConfig.values",
        "strings",
        "Paths; * and ? are wildcards.",
    ),
    ("ListenerRule", "spec.conditions[].httpHeaderConfig.httpHeaderName", "string", "Header to look at."),
    ("ListenerRule", "spec.conditions[].httpHeaderConfig.values", "strings", "Values it may have."),
    ("ListenerRule", "spec.conditions[].httpRequestMethodConfig.values", "strings", "Methods."),
    ("ListenerRule", "spec.conditions[].sourceIpConfig.values", "strings", "Blocks of addresses."),
    ("ListenerRule", "spec.actions[].type", "string", "forward, redirect or fixed-response."),
    ("ListenerRule", "spec.actions[].forwardConfig.targetGroups[].targetGroupArn", "string", "Target group."),
    ("ListenerRule", "spec.actions[].forwardConfig.targetGroups[].weight", "integer", "Its share."),
    ("ListenerRule", "status.ruleArn", "string", "ARN."),
    ("TargetGroup", "spec.targetGroupName", "string", "Name, unique in the region."),
    ("TargetGroup", "spec.targetType", "ip|instance", "ip: Pods; instance: nodes and their node port."),
    ("TargetGroup", "spec.protocol", "string", "How targets are spoken to."),
    ("TargetGroup", "spec.port", "integer", "Port of targets that name none."),
    ("TargetGroup", "spec.healthCheck.protocol", "string", "How health is checked."),
    ("TargetGroup", "spec.healthCheck.port", "string", "traffic-port, or a number."),
    ("TargetGroup", "spec.healthCheck.path", "string", "What is asked for."),
    ("TargetGroup", "spec.healthCheck.matcher", "string", "Status codes that count as healthy."),
    ("TargetGroup", "spec.healthCheck.intervalSeconds", "integer", "Time between checks."),
    ("TargetGroup", "spec.healthCheck.timeoutSeconds", "integer", "Time an answer may take."),
    ("TargetGroup", "spec.healthCheck.healthyThresholdCount", "integer", "Successes until healthy."),
    ("TargetGroup", "spec.healthCheck.unhealthyThresholdCount", "integer", "Failures until unhealthy."),
    (
        "TargetGroup",
        "spec.attributes",
        "map",
        "Attributes such as load_balancing.algorithm.type and deregistration_delay.timeout_seconds.",
    ),
    ("TargetGroup", "status.targets[].id", "string", "Address or instance."),
    ("TargetGroup", "status.targets[].port", "integer", "Port."),
    ("TargetGroup", "status.targets[].state", "string", "initial, healthy, unhealthy, draining or unused."),
    ("TargetGroup", "status.targets[].reason", "string", "AWS's code for a state that is not healthy."),
    ("TargetGroup", "status.targets[].description", "string", "AWS's sentence for it."),
    ("TargetGroup", "status.targetGroupArn", "string", "ARN."),
];

fn open() -> Value {
    json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true, "properties": {}})
}

fn leaf(kind: &str, description: &str) -> Value {
    match kind {
        "strings" => json!({"type": "array", "items": {"type": "string"}, "description": description}),
        "map" => {
            json!({"type": "object", "additionalProperties": {"type": "string"}, "description": description})
        }
        words if words.contains('|') => {
            json!({"type": "string", "enum": words.split('|').collect::<Vec<_>>(), "description": description})
        }
        simple => json!({"type": simple, "description": description}),
    }
}

/// The schema of `spec` or `status` of a kind; none if nothing is said about it.
pub(crate) fn schema(kind: &str, part: &str) -> Option<Value> {
    let mut root = open();
    let mut any = false;
    for (of, path, leaf_kind, description) in FIELDS {
        let Some(rest) = path.strip_prefix(part).and_then(|rest| rest.strip_prefix('.')) else { continue };
        if *of != kind {
            continue;
        }
        any = true;
        put(&mut root, rest, leaf(leaf_kind, description));
    }
    any.then_some(root)
}

/// Puts a schema at a path, with objects and lists around it as the path says.
fn put(object: &mut Value, path: &str, schema: Value) {
    let (first, rest) = match path.split_once('.') {
        Some((first, rest)) => (first, Some(rest)),
        None => (path, None),
    };
    let properties = object["properties"].as_object_mut();
    let Some(properties): Option<&mut Map<String, Value>> = properties else { return };
    let name = first.trim_end_matches("[]").to_string();
    let Some(rest) = rest else {
        properties.insert(name, schema);
        return;
    };
    if first.ends_with("[]") {
        let list = properties.entry(name).or_insert_with(|| json!({"type": "array", "items": open()}));
        put(&mut list["items"], rest, schema);
    } else {
        put(properties.entry(name).or_insert_with(open), rest, schema);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_become_schemas() {
        let spec = schema("TargetGroup", "spec").expect("a schema");
        assert_eq!(spec["properties"]["healthCheck"]["properties"]["path"]["type"], "string");
        let status = schema("LoadBalancer", "status").expect("a schema");
        let zone = &status["properties"]["availabilityZones"]["items"]["properties"];
        assert_eq!(zone["loadBalancerAddresses"]["items"]["properties"]["ipAddress"]["type"], "string");
        assert!(schema("Vpc", "spec").is_none());
    }
}
