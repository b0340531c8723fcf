//! Services: `pkg/apis/core/v1/defaults.go`, `pkg/registry/core/service/strategy.go`.

use apiserver_json::{Value, json};
use apiserver_meta::field::FieldError;
use apiserver_meta::names;

use super::shared::{at, at_mut, default, default_text, is_empty, items, items_mut, keep_status, text};
use super::{PLAIN, Strategy, service_ips, service_rules, service_warnings};

pub(super) static SERVICE: Strategy = Strategy {
    warns_again: true,
    default: default_service,
    prepare_create: |service| {
        service["status"] = json!({"loadBalancer": {}});
        if let Some(spec) = at_mut(service, &["spec"]) {
            service_ips::pair(spec);
        }
        forget_policy_of_name(service);
    },
    prepare_update,
    validate_create: |service| service_rules::errors(service, None),
    validate_update: |service, old| service_rules::errors(service, Some(old)),
    validate_status,
    name_rule: names::dns1123_label,
    warnings: service_warnings::warnings,
    status: true,
    create_on_update: true,
    delete_returns_object: true,
    ..PLAIN
};

fn default_service(service: &mut Value) {
    let Some(spec) = service.get_mut("spec").filter(|spec| spec.is_object()) else {
        service["spec"] = json!({});
        return default_service(service);
    };
    for port in items_mut(spec, "ports") {
        let Some(map) = port.as_object_mut() else { continue };
        default_text(map, "protocol", "TCP");
        let unset = match map.get("targetPort") {
            None => true,
            Some(Value::String(name)) => name.is_empty(),
            Some(number) => number.as_i64() == Some(0) && !map.contains_key("name_is_zero"),
        };
        if unset && let Some(port) = map.get("port").cloned() {
            map.insert("targetPort".into(), port);
        }
        if map.get("nodePort").and_then(Value::as_i64) == Some(0) {
            map.remove("nodePort");
        }
    }
    let Some(map) = spec.as_object_mut() else { return };
    default_text(map, "sessionAffinity", "None");
    default_text(map, "type", "ClusterIP");
    match map.get("sessionAffinity").and_then(Value::as_str) {
        Some("None") => {
            map.remove("sessionAffinityConfig");
        }
        Some("ClientIP") => {
            let timeout = map
                .get("sessionAffinityConfig")
                .map_or(&Value::Null, |config| at(config, &["clientIP", "timeoutSeconds"]));
            if timeout.is_null() {
                map.insert("sessionAffinityConfig".into(), json!({"clientIP": {"timeoutSeconds": 10800}}));
            }
        }
        _ => {}
    }
    let kind = map.get("type").and_then(Value::as_str).unwrap_or("").to_owned();
    let external_ips = map.get("externalIPs").and_then(Value::as_array).is_some_and(|ips| !ips.is_empty());
    if matches!(kind.as_str(), "NodePort" | "LoadBalancer") || (kind == "ClusterIP" && external_ips) {
        default_text(map, "externalTrafficPolicy", "Cluster");
    }
    if matches!(kind.as_str(), "NodePort" | "LoadBalancer" | "ClusterIP") {
        default(map, "internalTrafficPolicy", "Cluster");
    }
    if kind == "LoadBalancer" {
        default(map, "allocateLoadBalancerNodePorts", true);
    }
    if let Some(ingress) = service.pointer_mut("/status/loadBalancer/ingress").and_then(Value::as_array_mut) {
        for entry in ingress {
            if !text(entry, "ip").is_empty() && entry.get("ipMode").is_none() {
                entry["ipMode"] = "VIP".into();
            }
        }
    }
}

/// Carries over what a client may leave out, and drops what its new type has no use for
/// (`patchAllocatedValues`, `dropTypeDependentFields`).
fn prepare_update(new: &mut Value, old: &Value) {
    keep_status(new, old);
    let old_spec = at(old, &["spec"]).clone();
    let (old_kind, kind) = (text(&old_spec, "type").to_owned(), text(at(new, &["spec"]), "type").to_owned());
    let Some(spec) = at_mut(new, &["spec"]) else { return };
    let has_ip = |kind: &str| matches!(kind, "ClusterIP" | "NodePort" | "LoadBalancer");
    if has_ip(&old_kind) && has_ip(&kind) {
        for member in ["clusterIP", "clusterIPs"] {
            if spec.get(member).is_none_or(is_empty)
                && let Some(value) = old_spec.get(member)
            {
                spec.insert(member.into(), value.clone());
            }
        }
    }
    service_ips::normalise(spec, &old_spec);
    if old_spec.as_object().is_some_and(gets_node_ports) && gets_node_ports(spec) {
        carry_node_ports(spec, &old_spec);
    }
    if kind == "LoadBalancer"
        && old_kind == "LoadBalancer"
        && !spec.contains_key("healthCheckNodePort")
        && spec.get("externalTrafficPolicy") == Some(&json!("Local"))
        && let Some(port) = old_spec.get("healthCheckNodePort")
    {
        spec.insert("healthCheckNodePort".into(), port.clone());
    }
    drop_type_dependent(spec, &old_spec, &old_kind, &kind);
    forget_policy_of_name(new);
}

/// A name has no traffic inside the cluster: upstream drops the policy when it reads the Service, and its owner stays. What is
/// no policy at all is still refused.
fn forget_policy_of_name(service: &mut Value) {
    let Some(spec) = at_mut(service, &["spec"]) else { return };
    if spec.get("type") == Some(&json!("ExternalName"))
        && spec.get("internalTrafficPolicy").is_some_and(|policy| *policy == "Cluster" || *policy == "Local")
    {
        spec.remove("internalTrafficPolicy");
    }
}

pub(crate) fn needs_node_ports(kind: &str) -> bool {
    matches!(kind, "NodePort" | "LoadBalancer")
}

/// A port has its node port by its name, whatever else of it changes, unless another one has taken that.
fn carry_node_ports(spec: &mut apiserver_json::Map, old_spec: &Value) {
    let number = |port: &Value| port.get("nodePort").and_then(Value::as_i64).filter(|number| *number != 0);
    let used: Vec<i64> =
        spec.get("ports").and_then(Value::as_array).into_iter().flatten().filter_map(number).collect();
    for port in spec.get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten() {
        if number(port).is_some() {
            continue;
        }
        let before =
            items(old_spec, "ports").iter().rfind(|before| text(before, "name") == text(port, "name"));
        if let Some(number) = before.and_then(number)
            && !used.contains(&number)
        {
            port["nodePort"] = number.into();
        }
    }
}

/// Whether the ports of a Service get node ports that nobody asked for.
fn gets_node_ports(spec: &apiserver_json::Map) -> bool {
    match spec.get("type").and_then(Value::as_str) {
        Some("NodePort") => true,
        Some("LoadBalancer") => spec.get("allocateLoadBalancerNodePorts") != Some(&Value::Bool(false)),
        _ => false,
    }
}

fn drop_type_dependent(spec: &mut apiserver_json::Map, old_spec: &Value, old_kind: &str, kind: &str) {
    let same = |spec: &apiserver_json::Map, member: &str| spec.get(member) == old_spec.get(member);
    if kind == "ExternalName" && old_kind != kind {
        if same(spec, "clusterIP") && same(spec, "clusterIPs") {
            spec.remove("clusterIP");
            spec.remove("clusterIPs");
        }
        for member in ["ipFamilies", "ipFamilyPolicy"] {
            if same(spec, member) {
                spec.remove(member);
            }
        }
    }
    if needs_node_ports(old_kind) && !needs_node_ports(kind) {
        let before: Vec<&Value> =
            items(old_spec, "ports").iter().filter_map(|port| port.get("nodePort")).collect();
        for port in spec.get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten() {
            if port.get("nodePort").is_some_and(|number| before.contains(&number))
                && let Some(port) = port.as_object_mut()
            {
                port.remove("nodePort");
            }
        }
    }
    let has_health_port = |kind: &str, spec: &apiserver_json::Map| {
        kind == "LoadBalancer" && spec.get("externalTrafficPolicy") == Some(&json!("Local"))
    };
    let had_health_port = old_spec.as_object().is_some_and(|spec| has_health_port(old_kind, spec));
    if had_health_port && !has_health_port(kind, spec) && same(spec, "healthCheckNodePort") {
        spec.remove("healthCheckNodePort");
    }
    if old_kind == "LoadBalancer" && kind != "LoadBalancer" {
        for member in ["loadBalancerClass", "allocateLoadBalancerNodePorts"] {
            if same(spec, member) {
                spec.remove(member);
            }
        }
    }
    let is_external = |kind: &str, ips: Option<&Value>| {
        needs_node_ports(kind) || kind == "ClusterIP" && !is_empty(ips.unwrap_or(&Value::Null))
    };
    if is_external(old_kind, old_spec.get("externalIPs"))
        && !is_external(kind, spec.get("externalIPs"))
        && same(spec, "externalTrafficPolicy")
    {
        spec.remove("externalTrafficPolicy");
    }
}

fn validate_status(service: &Value, _: &Value) -> Vec<FieldError> {
    let ingress = at(service, &["status", "loadBalancer", "ingress"]);
    if ingress.as_array().is_some_and(|list| !list.is_empty())
        && text(at(service, &["spec"]), "type") != "LoadBalancer"
    {
        let why = "may only be used when `spec.type` is 'LoadBalancer'";
        return vec![FieldError::forbidden("status.loadBalancer.ingress", why)];
    }
    super::networking::load_balancer_errors(
        at(service, &["status", "loadBalancer"]),
        "status.loadBalancer",
        true,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_keeps_its_node_port_by_its_name() {
        let old = json!({"type": "NodePort", "ports": [
            {"name": "a", "port": 80, "nodePort": 30001}, {"name": "b", "port": 81, "nodePort": 30002},
        ]});
        for (kind, ports, want) in [
            ("NodePort", json!([{"name": "a", "port": 8080, "protocol": "UDP"}]), json!([30001])),
            ("NodePort", json!([{"name": "c", "port": 80}]), json!([null])),
            (
                "LoadBalancer",
                json!([{"name": "a", "port": 80}, {"name": "b", "port": 81, "nodePort": 30001}]),
                json!([null, 30001]),
            ),
            ("ClusterIP", json!([{"name": "a", "port": 80}]), json!([null])),
        ] {
            let mut new = json!({"spec": {"type": kind, "ports": ports}});
            prepare_update(&mut new, &json!({"spec": old}));
            let found: Value = items(at(&new, &["spec"]), "ports")
                .iter()
                .map(|port| port.get("nodePort").cloned().unwrap_or_default())
                .collect();
            assert_eq!(found, want, "{kind} {ports}");
        }
    }
}
