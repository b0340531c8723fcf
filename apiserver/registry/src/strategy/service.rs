//! Services: `pkg/apis/core/v1/defaults.go`, `pkg/apis/core/validation/validation.go` (ValidateService).

use apiserver_json::{Value, json};
use apiserver_meta::field::FieldError;
use apiserver_meta::names;

use super::shared::{
    at, at_mut, check_one_of, check_port, check_port_or_name, check_rule, check_set_enum, default,
    default_text, has, items, items_mut, keep_status, text,
};
use super::{PLAIN, Strategy, service_ips, service_warnings};

pub(super) static SERVICE: Strategy = Strategy {
    warns_again: true,
    default: default_service,
    prepare_create: |service| {
        service["status"] = json!({"loadBalancer": {}});
        if let Some(spec) = at_mut(service, &["spec"]) {
            service_ips::pair(spec);
        }
        service_ips::fill_families(service);
    },
    prepare_update,
    validate_create: |service| validate(service, None),
    validate_update: |service, old| validate(service, Some(old)),
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
    service_ips::normalise(spec, &old_spec);
    let has_ip = |kind: &str| matches!(kind, "ClusterIP" | "NodePort" | "LoadBalancer");
    if has_ip(&old_kind) && has_ip(&kind) {
        if spec.get("clusterIP").and_then(Value::as_str).is_none_or(str::is_empty)
            && spec.get("clusterIPs").and_then(Value::as_array).is_none_or(Vec::is_empty)
        {
            for member in ["clusterIP", "clusterIPs"] {
                if let Some(value) = old_spec.get(member) {
                    spec.insert(member.into(), value.clone());
                }
            }
        }
        for member in ["ipFamilies", "ipFamilyPolicy"] {
            if !spec.contains_key(member)
                && let Some(value) = old_spec.get(member)
            {
                spec.insert(member.into(), value.clone());
            }
        }
    }
    if needs_node_ports(&old_kind) && needs_node_ports(&kind) {
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
    if kind != old_kind {
        drop_type_dependent(spec, &old_spec, &old_kind, &kind);
    }
    if kind == "ExternalName" {
        spec.remove("internalTrafficPolicy");
    }
    service_ips::fill_families(new);
}

pub(crate) fn needs_node_ports(kind: &str) -> bool {
    matches!(kind, "NodePort" | "LoadBalancer")
}

fn carry_node_ports(spec: &mut apiserver_json::Map, old_spec: &Value) {
    let taken: Vec<Value> = spec
        .get("ports")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(|port| port.get("nodePort").cloned())
        .collect();
    for port in spec.get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten() {
        if port.get("nodePort").is_some() {
            continue;
        }
        let before = items(old_spec, "ports").iter().find(|before| {
            before.get("port") == port.get("port") && text(before, "protocol") == text(port, "protocol")
        });
        if let Some(number) = before.and_then(|before| before.get("nodePort"))
            && !taken.contains(number)
        {
            port["nodePort"] = number.clone();
        }
    }
}

fn drop_type_dependent(spec: &mut apiserver_json::Map, old_spec: &Value, old_kind: &str, kind: &str) {
    let same = |spec: &apiserver_json::Map, member: &str| spec.get(member) == old_spec.get(member);
    if kind == "ExternalName" {
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
    if old_kind == "LoadBalancer" && kind != "LoadBalancer" {
        for member in ["healthCheckNodePort", "loadBalancerClass", "allocateLoadBalancerNodePorts"] {
            if same(spec, member) {
                spec.remove(member);
            }
        }
    }
    let is_external = needs_node_ports(kind) || kind == "ClusterIP" && spec.contains_key("externalIPs");
    if !is_external && same(spec, "externalTrafficPolicy") {
        spec.remove("externalTrafficPolicy");
    }
}

fn validate(service: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let spec = at(service, &["spec"]);
    let mut errors = service_ips::errors(spec);
    if !errors.is_empty() {
        return errors;
    }
    let kind = text(spec, "type");
    let headless = text(spec, "clusterIP") == "None";
    if items(spec, "ports").is_empty() && !headless && kind != "ExternalName" {
        errors.push(FieldError::required("spec.ports", ""));
    }
    match kind {
        "LoadBalancer" if headless => {
            errors.push(FieldError::invalid(
                "spec.clusterIPs[0]",
                &"None".into(),
                "may not be set to 'None' for LoadBalancer services",
            ));
        }
        "NodePort" if headless => {
            errors.push(FieldError::invalid(
                "spec.clusterIPs[0]",
                &"None".into(),
                "may not be set to 'None' for NodePort services",
            ));
        }
        "ExternalName" => validate_external_name(spec, &mut errors),
        _ => {}
    }
    validate_ports(spec, kind, headless, &mut errors);
    for (key, value) in spec.get("selector").and_then(Value::as_object).into_iter().flatten() {
        errors.extend(
            names::qualified_name(key)
                .into_iter()
                .map(|problem| FieldError::invalid("spec.selector", &key.clone().into(), problem)),
        );
        errors.extend(
            names::label_value(value.as_str().unwrap_or(""))
                .into_iter()
                .map(|problem| FieldError::invalid("spec.selector", value, problem)),
        );
    }
    validate_affinity(spec, &mut errors);
    for (i, ip) in items(spec, "externalIPs").iter().enumerate() {
        super::shared::check_ip(ip.as_str().unwrap_or(""), format!("spec.externalIPs[{i}]"), &mut errors);
    }
    if !["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"].contains(&kind) {
        errors.push(FieldError::not_supported(
            "spec.type",
            &kind.into(),
            &["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"],
        ));
    }
    validate_load_balancer(spec, kind, &mut errors);
    validate_traffic_policies(spec, kind, &mut errors);
    if let Some(old) = old {
        validate_change(spec, at(old, &["spec"]), &mut errors);
    }
    errors
}

fn validate_external_name(spec: &Value, errors: &mut Vec<FieldError>) {
    service_ips::check_external_name(spec, errors);
    let name = text(spec, "externalName").trim_end_matches('.');
    if name.is_empty() {
        errors.push(FieldError::required("spec.externalName", ""));
    } else {
        errors.extend(
            names::dns1123_subdomain(name)
                .into_iter()
                .map(|problem| FieldError::invalid("spec.externalName", &name.into(), problem)),
        );
    }
}

fn validate_ports(spec: &Value, kind: &str, headless: bool, errors: &mut Vec<FieldError>) {
    let ports = items(spec, "ports");
    let mut seen: Vec<&str> = Vec::new();
    for (i, port) in ports.iter().enumerate() {
        let path = format!("spec.ports[{i}]");
        let name = text(port, "name");
        if name.is_empty() && ports.len() > 1 {
            errors.push(FieldError::required(format!("{path}.name"), ""));
        } else if !name.is_empty() {
            errors.extend(
                names::dns1123_label(name)
                    .into_iter()
                    .map(|problem| FieldError::invalid(format!("{path}.name"), &name.into(), problem)),
            );
            if seen.contains(&name) {
                errors.push(FieldError::duplicate(format!("{path}.name"), &name.into()));
            }
            seen.push(name);
        }
        if let Some(protocol) = port.get("appProtocol").and_then(Value::as_str) {
            check_rule(protocol, names::qualified_name, &format!("{path}.appProtocol"), errors);
        }
        check_port(port.get("port").unwrap_or(&json!(0)), format!("{path}.port"), errors);
        let protocol = text(port, "protocol");
        if protocol.is_empty() {
            errors.push(FieldError::required(format!("{path}.protocol"), ""));
        } else {
            check_one_of(port, "protocol", &format!("{path}.protocol"), &["SCTP", "TCP", "UDP"], errors);
        }
        check_port_or_name(
            port.get("targetPort").unwrap_or(&json!(0)),
            &format!("{path}.targetPort"),
            errors,
        );
        if kind == "ClusterIP" && port.get("nodePort").and_then(Value::as_i64).unwrap_or(0) != 0 {
            errors.push(FieldError::forbidden(
                format!("{path}.nodePort"),
                "may not be used when `type` is 'ClusterIP'",
            ));
        }
        let _ = headless;
    }
    for (i, port) in ports.iter().enumerate() {
        let same = |other: &&Value| {
            other.get("port") == port.get("port") && text(other, "protocol") == text(port, "protocol")
        };
        if ports[..i].iter().any(|other| same(&other)) {
            // Upstream prints the internal struct of protocol and port alone.
            errors.push(FieldError {
                problem: apiserver_meta::field::Problem::Duplicate,
                field: format!("spec.ports[{i}]"),
                value: format!(
                    "{{\"Name\":\"\",\"Protocol\":{},\"AppProtocol\":null,\"Port\":{},\"TargetPort\":0,\"NodePort\":0}}",
                    json!(text(port, "protocol")),
                    port.get("port").unwrap_or(&json!(0))
                ),
                detail: String::new(),
            });
        }
    }
}

fn validate_affinity(spec: &Value, errors: &mut Vec<FieldError>) {
    check_one_of(spec, "sessionAffinity", "spec.sessionAffinity", &["ClientIP", "None"], errors);
    let config = at(spec, &["sessionAffinityConfig", "clientIP", "timeoutSeconds"]);
    if text(spec, "sessionAffinity") == "ClientIP" {
        let seconds = config.as_i64().unwrap_or(0);
        if seconds <= 0 || seconds > 86400 {
            errors.push(FieldError::invalid(
                "spec.sessionAffinityConfig.clientIP.timeoutSeconds",
                &seconds.into(),
                "must be greater than 0 and less than 86400",
            ));
        }
    }
}

fn validate_load_balancer(spec: &Value, kind: &str, errors: &mut Vec<FieldError>) {
    let ranges = items(spec, "loadBalancerSourceRanges");
    if !ranges.is_empty() && kind != "LoadBalancer" {
        errors.push(FieldError::forbidden(
            "spec.LoadBalancerSourceRanges",
            "may only be used when `type` is 'LoadBalancer'",
        ));
    }
    for (i, range) in ranges.iter().enumerate() {
        let range = range.as_str().unwrap_or("").trim();
        super::addresses::check_range(range, &format!("spec.LoadBalancerSourceRanges[{i}]"), errors);
    }
    if spec.get("allocateLoadBalancerNodePorts").is_some() && kind != "LoadBalancer" {
        errors.push(FieldError::forbidden(
            "spec.allocateLoadBalancerNodePorts",
            "may only be used when `type` is 'LoadBalancer'",
        ));
    }
    let class = text(spec, "loadBalancerClass");
    if has(spec, "loadBalancerClass") {
        if kind != "LoadBalancer" {
            errors.push(FieldError::forbidden(
                "spec.loadBalancerClass",
                "may only be used when `type` is 'LoadBalancer'",
            ));
        }
        if kind == "LoadBalancer" {
            check_rule(class, names::qualified_name, "spec.loadBalancerClass", errors);
        }
    }
}

fn validate_traffic_policies(spec: &Value, kind: &str, errors: &mut Vec<FieldError>) {
    let external = text(spec, "externalTrafficPolicy");
    let reachable = needs_node_ports(kind) || (kind == "ClusterIP" && !items(spec, "externalIPs").is_empty());
    if !external.is_empty() {
        if !reachable {
            errors.push(FieldError::invalid(
                "spec.externalTrafficPolicy",
                &external.into(),
                "may only be set for externally-accessible services",
            ));
        } else {
            check_one_of(
                spec,
                "externalTrafficPolicy",
                "spec.externalTrafficPolicy",
                &["Cluster", "Local"],
                errors,
            );
        }
    }
    check_set_enum(spec, "internalTrafficPolicy", "spec", &["Cluster", "Local"], errors);
    let known = ["PreferClose", "PreferSameZone", "PreferSameNode"];
    check_set_enum(spec, "trafficDistribution", "spec", &known, errors);
    let health_port = spec.get("healthCheckNodePort").and_then(Value::as_i64).unwrap_or(0);
    if health_port != 0 && !(kind == "LoadBalancer" && external == "Local") {
        errors.push(FieldError::invalid(
            "spec.healthCheckNodePort",
            &health_port.into(),
            "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'",
        ));
    }
}

fn validate_change(spec: &Value, old: &Value, errors: &mut Vec<FieldError>) {
    let has_ip = |spec: &Value| text(spec, "type") != "ExternalName";
    let (before, after) = (text(old, "clusterIP"), text(spec, "clusterIP"));
    if has_ip(spec) && has_ip(old) && !before.is_empty() && before != after {
        errors.push(FieldError::invalid(
            "spec.clusterIPs[0]",
            &json!(items(spec, "clusterIPs")),
            "may not change once set",
        ));
    }
    if text(spec, "type") == "LoadBalancer"
        && text(old, "type") == "LoadBalancer"
        && text(spec, "loadBalancerClass") != text(old, "loadBalancerClass")
    {
        let class = text(spec, "loadBalancerClass");
        errors.push(FieldError::invalid("spec.loadBalancerClass", &class.into(), "may not change once set"));
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
