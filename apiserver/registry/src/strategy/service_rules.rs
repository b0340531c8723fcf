//! What is wrong with a Service: `validateService` and `ValidateServiceUpdate` upstream, in their order. An update is looked at as a
//! change first and as a Service then: what both find is told twice.

use apiserver_json::{Value, json};
use apiserver_meta::field::{FieldError, Problem};
use apiserver_meta::names;

use super::addresses::check_range;
use super::core::special_ip_error;
use super::service::needs_node_ports;
use super::service_ips;
use super::shared::{
    at, check_ip, check_one_of, check_port, check_port_or_name, check_rule, check_set_enum, has, items, text,
};

const TYPES: &[&str] = &["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];
const FIXED: &str = "may not change once set";
const FOR_BALANCERS: &str = "may only be used when `type` is 'LoadBalancer'";
const HINTS: &str = "service.kubernetes.io/topology-aware-hints";
const MODE: &str = "service.kubernetes.io/topology-mode";
const SOURCE_RANGES: &str = "service.beta.kubernetes.io/load-balancer-source-ranges";

/// Errors of a Service, or of what it becomes.
pub(super) fn errors(service: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let spec = at(service, &["spec"]);
    let mut errors = service_ips::related_errors(spec, old.map(|old| at(old, &["spec"])));
    if !errors.is_empty() {
        return errors;
    }
    if let Some(old) = old {
        check_change(spec, at(old, &["spec"]), &mut errors);
    }
    check_annotations(service, &mut errors);
    let (kind, headless) = (text(spec, "type"), text(spec, "clusterIP") == "None");
    if items(spec, "ports").is_empty() && !headless && kind != "ExternalName" {
        errors.push(FieldError::required("spec.ports", ""));
    }
    if headless && needs_node_ports(kind) {
        let why = format!("may not be set to 'None' for {kind} services");
        errors.push(FieldError::invalid("spec.clusterIPs[0]", &"None".into(), why));
    }
    if kind == "ExternalName" {
        check_external_name(spec, &mut errors);
    }
    let ports = items(spec, "ports");
    check_ports(ports, &mut errors);
    for (key, value) in spec.get("selector").and_then(Value::as_object).into_iter().flatten() {
        check_rule(key, names::qualified_name, "spec.selector", &mut errors);
        check_rule(value.as_str().unwrap_or(""), names::label_value, "spec.selector", &mut errors);
    }
    check_affinity(spec, &mut errors);
    let known = old.map_or(&[][..], |old| items(at(old, &["spec"]), "externalIPs"));
    check_external_ips(items(spec, "externalIPs"), known, &mut errors);
    if kind.is_empty() {
        errors.push(FieldError::required("spec.type", ""));
    } else if !TYPES.contains(&kind) {
        errors.push(FieldError::not_supported("spec.type", &kind.into(), TYPES));
    }
    check_node_ports(ports, kind, &mut errors);
    check_same_ports(ports, &mut errors);
    check_source_ranges(service, old, &mut errors);
    if spec.get("allocateLoadBalancerNodePorts").is_some() && kind != "LoadBalancer" {
        errors.push(FieldError::forbidden("spec.allocateLoadBalancerNodePorts", FOR_BALANCERS));
    }
    check_class(spec, &mut errors);
    check_traffic(spec, &mut errors);
    errors
}

fn check_change(spec: &Value, old: &Value, errors: &mut Vec<FieldError>) {
    let is_name = |spec: &Value| text(spec, "type") == "ExternalName";
    if !is_name(spec) && !is_name(old) {
        let is_headless = |spec: &Value| items(spec, "clusterIPs").first().is_some_and(|ip| ip == "None");
        let (before, after) = (is_headless(old), is_headless(spec));
        if !(before && after) {
            check_addresses_change(spec, old, errors);
        }
        if !before && !after {
            check_families_change(spec, old, errors);
        }
    }
    let is_balancer = |spec: &Value| text(spec, "type") == "LoadBalancer";
    let class = at(spec, &["loadBalancerClass"]);
    if is_balancer(spec) && is_balancer(old) && class != at(old, &["loadBalancerClass"]) {
        errors.push(FieldError::invalid("spec.loadBalancerClass", class, FIXED));
    }
    check_class(spec, errors);
    let port = |spec: &Value| spec.get("healthCheckNodePort").and_then(Value::as_i64).unwrap_or(0);
    if needs_health_check(spec) && needs_health_check(old) && port(spec) != port(old) {
        errors.push(FieldError::forbidden("spec.healthCheckNodePort", "field is immutable"));
    }
}

fn check_addresses_change(spec: &Value, old: &Value, errors: &mut Vec<FieldError>) {
    let (before, after) = (items(old, "clusterIPs"), items(spec, "clusterIPs"));
    let shown = json!(after);
    let mut wrong =
        |i: usize, why: &str| errors.push(FieldError::invalid(format!("spec.clusterIPs[{i}]"), &shown, why));
    if before.len() == after.len() {
        for i in (0..before.len()).filter(|i| before[*i] != after[*i]) {
            wrong(i, FIXED);
        }
        return;
    }
    match (before.first(), after.first()) {
        (Some(_), None) => wrong(0, "primary clusterIP can not be unset"),
        (Some(before), Some(after)) if before != after => wrong(0, FIXED),
        _ => {}
    }
    if before.len() > after.len() && after.len() == 1 {
        check_single(spec, "secondary clusterIP", errors);
    }
}

fn check_families_change(spec: &Value, old: &Value, errors: &mut Vec<FieldError>) {
    let (before, after) = (items(old, "ipFamilies"), items(spec, "ipFamilies"));
    let mut wrong = |shown: &[Value], why: &str| {
        errors.push(FieldError::invalid("spec.ipFamilies[0]", &json!(shown), why));
    };
    if before.len() == after.len() {
        for _ in (0..before.len()).filter(|i| before[*i] != after[*i]) {
            wrong(after, FIXED);
        }
        return;
    }
    let ips = items(spec, "clusterIPs");
    if before.len() > after.len() && ips.is_empty() {
        wrong(after, "primary ipFamily can not be unset");
    }
    if let (Some(first), Some(next)) = (before.first(), after.first())
        && first != next
    {
        // It is the addresses that are shown there.
        wrong(ips, FIXED);
    }
    if before.len() > after.len() && after.len() == 1 {
        check_single(spec, "secondary ipFamily", errors);
    }
}

fn check_single(spec: &Value, released: &str, errors: &mut Vec<FieldError>) {
    let policy = at(spec, &["ipFamilyPolicy"]);
    if policy != "SingleStack" {
        let why = format!("must be set to 'SingleStack' when releasing the {released}");
        errors.push(FieldError::invalid("spec.ipFamilyPolicy", policy, why));
    }
}

fn check_annotations(service: &Value, errors: &mut Vec<FieldError>) {
    let annotations = at(service, &["metadata", "annotations"]);
    if let (Some(hints), Some(mode)) = (annotations.get(HINTS), annotations.get(MODE))
        && hints != mode
    {
        let why = format!("must match annotations[{HINTS}] when both are specified");
        errors.push(FieldError::invalid(format!("metadata.annotations[{MODE}]"), mode, why));
    }
}

fn check_external_name(spec: &Value, errors: &mut Vec<FieldError>) {
    service_ips::check_external_name(spec, errors);
    let name = text(spec, "externalName");
    match name.strip_suffix('.').unwrap_or(name) {
        "" => errors.push(FieldError::required("spec.externalName", "")),
        name => check_rule(name, names::dns1123_subdomain, "spec.externalName", errors),
    }
}

fn check_ports(ports: &[Value], errors: &mut Vec<FieldError>) {
    for (i, port) in ports.iter().enumerate() {
        let path = format!("spec.ports[{i}]");
        let name = text(port, "name");
        if name.is_empty() && ports.len() > 1 {
            errors.push(FieldError::required(format!("{path}.name"), ""));
        } else if !name.is_empty() {
            check_rule(name, names::dns1123_label, format_args!("{path}.name"), errors);
            if ports[..i].iter().any(|other| text(other, "name") == name) {
                errors.push(FieldError::duplicate(format!("{path}.name"), &name.into()));
            }
        }
        check_port(port.get("port").unwrap_or(&json!(0)), format!("{path}.port"), errors);
        if text(port, "protocol").is_empty() {
            errors.push(FieldError::required(format!("{path}.protocol"), ""));
        }
        check_one_of(port, "protocol", format_args!("{path}.protocol"), &["SCTP", "TCP", "UDP"], errors);
        let target = port.get("targetPort").unwrap_or(&Value::Null);
        check_port_or_name(target, format_args!("{path}.targetPort"), errors);
        if let Some(protocol) = port.get("appProtocol").and_then(Value::as_str) {
            check_rule(protocol, names::qualified_name, format_args!("{path}.appProtocol"), errors);
        }
    }
}

fn check_affinity(spec: &Value, errors: &mut Vec<FieldError>) {
    check_one_of(spec, "sessionAffinity", "spec.sessionAffinity", &["ClientIP", "None"], errors);
    let timeout = at(spec, &["sessionAffinityConfig", "clientIP", "timeoutSeconds"]);
    if text(spec, "sessionAffinity") == "ClientIP" {
        let seconds = timeout.as_i64().unwrap_or(0);
        if !(1..=86400).contains(&seconds) {
            let path = "spec.sessionAffinityConfig.clientIP.timeoutSeconds";
            let why = "must be greater than 0 and less than 86400";
            errors.push(FieldError::invalid(path, &seconds.into(), why));
        }
    }
}

/// Those that were there before need not be written as they should be.
fn check_external_ips(ips: &[Value], known: &[Value], errors: &mut Vec<FieldError>) {
    for (i, ip) in ips.iter().enumerate() {
        let path = format!("spec.externalIPs[{i}]");
        let (text, before) = (ip.as_str().unwrap_or(""), errors.len());
        if !known.contains(ip) {
            check_ip(text, path.clone(), errors);
        }
        if errors.len() == before
            && let Some(why) = special_ip_error(text)
        {
            errors.push(FieldError::invalid(path, ip, why));
        }
    }
}

fn check_node_ports(ports: &[Value], kind: &str, errors: &mut Vec<FieldError>) {
    let number = |port: &Value| port.get("nodePort").and_then(Value::as_i64).filter(|number| *number != 0);
    let given = |(i, port)| Some((i, port, number(port)?));
    if kind == "ClusterIP" {
        for (i, ..) in ports.iter().enumerate().filter_map(given) {
            let why = "may not be used when `type` is 'ClusterIP'";
            errors.push(FieldError::forbidden(format!("spec.ports[{i}].nodePort"), why));
        }
    }
    for (i, port, own) in ports.iter().enumerate().filter_map(given) {
        let same =
            |other: &Value| number(other) == Some(own) && text(other, "protocol") == text(port, "protocol");
        if ports[..i].iter().any(same) {
            errors.push(FieldError::duplicate(format!("spec.ports[{i}].nodePort"), &own.into()));
        }
    }
}

fn check_same_ports(ports: &[Value], errors: &mut Vec<FieldError>) {
    for (i, port) in ports.iter().enumerate() {
        let (number, protocol) = (at(port, &["port"]), text(port, "protocol"));
        let same = |other: &Value| at(other, &["port"]) == number && text(other, "protocol") == protocol;
        if ports[..i].iter().any(same) {
            // Upstream prints the internal struct of protocol and port alone.
            errors.push(FieldError {
                problem: Problem::Duplicate,
                field: format!("spec.ports[{i}]"),
                value: format!(
                    "{{\"Name\":\"\",\"Protocol\":{},\"AppProtocol\":null,\"Port\":{number},\"TargetPort\":0,\"NodePort\":0}}",
                    json!(protocol),
                ),
                detail: String::new(),
            });
        }
    }
}

/// The ranges of the field, or else those of the annotation. What was there before need not be right.
fn check_source_ranges(service: &Value, old: Option<&Value>, errors: &mut Vec<FieldError>) {
    let spec = at(service, &["spec"]);
    let is_balancer = text(spec, "type") == "LoadBalancer";
    let ranges = items(spec, "loadBalancerSourceRanges");
    if !ranges.is_empty() {
        let path = "spec.LoadBalancerSourceRanges";
        if !is_balancer {
            errors.push(FieldError::forbidden(path, FOR_BALANCERS));
        }
        let trimmed = |range: &Value| range.as_str().unwrap_or("").trim().to_owned();
        let known = old.map_or(&[][..], |old| items(at(old, &["spec"]), "loadBalancerSourceRanges"));
        let known: Vec<String> = known.iter().map(trimmed).collect();
        let new = |(_, range): &(usize, String)| !known.contains(range);
        for (i, range) in ranges.iter().map(trimmed).enumerate().filter(new) {
            check_range(&range, &format!("{path}[{i}]"), errors);
        }
        return;
    }
    let annotation = |service| at(service, &["metadata", "annotations", SOURCE_RANGES]).as_str();
    let Some(ranges) = annotation(service) else { return };
    let path = format!("metadata.annotations[{SOURCE_RANGES}]");
    if !is_balancer {
        errors.push(FieldError::forbidden(&path, FOR_BALANCERS));
    }
    if old.and_then(annotation) != Some(ranges) && !ranges.trim().is_empty() {
        for range in ranges.trim().split(',') {
            check_range(range.trim(), &path, errors);
        }
    }
}

fn check_class(spec: &Value, errors: &mut Vec<FieldError>) {
    let path = "spec.loadBalancerClass";
    match (has(spec, "loadBalancerClass"), text(spec, "type")) {
        (false, _) => {}
        (true, "LoadBalancer") => {
            check_rule(text(spec, "loadBalancerClass"), names::qualified_name, path, errors);
        }
        (true, _) => errors.push(FieldError::forbidden(path, FOR_BALANCERS)),
    }
}

fn needs_health_check(spec: &Value) -> bool {
    text(spec, "type") == "LoadBalancer" && text(spec, "externalTrafficPolicy") == "Local"
}

fn check_traffic(spec: &Value, errors: &mut Vec<FieldError>) {
    let (kind, external) = (text(spec, "type"), text(spec, "externalTrafficPolicy"));
    let path = "spec.externalTrafficPolicy";
    if needs_node_ports(kind) || (kind == "ClusterIP" && !items(spec, "externalIPs").is_empty()) {
        check_one_of(spec, "externalTrafficPolicy", path, &["Cluster", "Local"], errors);
    } else if !external.is_empty() {
        let why = "may only be set for externally-accessible services";
        errors.push(FieldError::invalid(path, &external.into(), why));
    }
    // Where one is needed and there is none, one is given.
    let port = spec.get("healthCheckNodePort").and_then(Value::as_i64).unwrap_or(0);
    let path = "spec.healthCheckNodePort";
    if port != 0 && needs_health_check(spec) {
        check_port(&port.into(), path.to_owned(), errors);
    } else if port != 0 {
        let why = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'";
        errors.push(FieldError::invalid(path, &port.into(), why));
    }
    check_set_enum(spec, "internalTrafficPolicy", "spec", &["Cluster", "Local"], errors);
    let known = ["PreferClose", "PreferSameZone", "PreferSameNode"];
    check_set_enum(spec, "trafficDistribution", "spec", &known, errors);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn merged(patch: &Value) -> Value {
        let mut service = json!({"metadata": {"name": "s", "annotations": {}}, "spec": {
            "type": "LoadBalancer", "clusterIP": "10.96.0.9", "clusterIPs": ["10.96.0.9"], "ipFamilies": ["IPv4"],
            "ipFamilyPolicy": "SingleStack", "sessionAffinity": "None", "externalTrafficPolicy": "Local",
            "healthCheckNodePort": 30001, "allocateLoadBalancerNodePorts": true,
            "ports": [{"port": 80, "protocol": "TCP", "targetPort": 80, "nodePort": 30002}]}});
        for place in ["spec", "metadata"] {
            for (member, value) in patch.get(place).and_then(Value::as_object).into_iter().flatten() {
                match value {
                    Value::Null => drop(service[place].as_object_mut().map(|map| map.remove(member))),
                    value => service[place][member] = value.clone(),
                }
            }
        }
        service
    }

    #[test]
    #[rustfmt::skip]
    fn changes_are_looked_at_twice() {
        for (patch, want) in [
            (json!({}), &[][..]),
            (json!({"spec": {"clusterIP": "10.96.0.8", "clusterIPs": ["10.96.0.8"]}}), &[r#"spec.clusterIPs[0]: Invalid value: ["10.96.0.8"]: may not change once set"#]),
            (json!({"spec": {"loadBalancerClass": "a b"}}), &[
                r#"spec.loadBalancerClass: Invalid value: "a b": may not change once set"#,
                r#"spec.loadBalancerClass: Invalid value: "a b": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"#,
                r#"spec.loadBalancerClass: Invalid value: "a b": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"#]),
            (json!({"spec": {"type": "NodePort", "externalTrafficPolicy": "Cluster", "healthCheckNodePort": null, "allocateLoadBalancerNodePorts": null, "loadBalancerClass": "x.io/y"}}), &[
                "spec.loadBalancerClass: Forbidden: may only be used when `type` is 'LoadBalancer'",
                "spec.loadBalancerClass: Forbidden: may only be used when `type` is 'LoadBalancer'"]),
            (json!({"spec": {"healthCheckNodePort": 30003}}), &["spec.healthCheckNodePort: Forbidden: field is immutable"]),
            (json!({"spec": {"externalIPs": ["127.0.0.1", "1.2.3.04"]}}), &[r#"spec.externalIPs[0]: Invalid value: "127.0.0.1": may not be in the loopback range (127.0.0.0/8, ::1/128)"#, r#"spec.externalIPs[1]: Invalid value: "1.2.3.04": must not have leading 0s"#]),
            (json!({"spec": {"ports": [{"name": "a", "port": 80, "protocol": "TCP", "targetPort": 80, "nodePort": 30002}, {"name": "b", "port": 81, "protocol": "TCP", "targetPort": 80, "nodePort": 30002}]}}), &["spec.ports[1].nodePort: Duplicate value: 30002"]),
            (json!({"metadata": {"annotations": {HINTS: "Auto", MODE: "Disabled", SOURCE_RANGES: "10.0.0.0/8, x"}}}), &[
                r#"metadata.annotations[service.kubernetes.io/topology-mode]: Invalid value: "Disabled": must match annotations[service.kubernetes.io/topology-aware-hints] when both are specified"#,
                r#"metadata.annotations[service.beta.kubernetes.io/load-balancer-source-ranges]: Invalid value: "x": must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"#]),
        ] {
            let told: Vec<String> = errors(&merged(&patch), Some(&merged(&json!({})))).iter().map(ToString::to_string).collect();
            assert_eq!(told, want, "{patch}");
        }
    }
}
