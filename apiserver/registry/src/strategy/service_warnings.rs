//! What the author of a Service is told beside the answer: `pkg/api/service/warnings.go` upstream.

use std::net::IpAddr;

use apiserver_json::Value;

use super::shared::{at, items, text};

const HINTS: &str = "service.kubernetes.io/topology-aware-hints";

pub(super) fn warnings(service: &Value) -> Vec<String> {
    let spec = at(service, &["spec"]);
    let mut out = Vec::new();
    if !at(service, &["metadata", "annotations", HINTS]).is_null() {
        out.push(format!(
            "annotation {HINTS} is deprecated, please use service.kubernetes.io/topology-mode instead"
        ));
    }
    let (kind, external) = (text(spec, "type"), items(spec, "externalIPs"));
    let balancer = text(spec, "loadBalancerIP");
    if text(spec, "clusterIP") == "None" {
        for (member, ignored) in [
            ("loadBalancerIP", !balancer.is_empty()),
            ("externalIPs", !external.is_empty()),
            ("SessionAffinity", text(spec, "sessionAffinity") != "None"),
        ] {
            if ignored {
                out.push(format!("spec.{member} is ignored for headless services"));
            }
        }
    }
    for (i, ip) in external.iter().enumerate() {
        out.extend(of_ip(&format!("spec.externalIPs[{i}]"), ip.as_str().unwrap_or("")));
    }
    let is_name = kind == "ExternalName";
    if !external.is_empty() && !is_name && text(spec, "clusterIP") != "None" {
        out.push(
            "spec.externalIPs is deprecated and may no longer be implemented in some clusters".to_owned(),
        );
    }
    out.extend(of_ip("spec.loadBalancerIP", balancer));
    if is_name && !external.is_empty() {
        out.push("spec.externalIPs is ignored when spec.type is \"ExternalName\"".to_owned());
    }
    if !is_name && !text(spec, "externalName").is_empty() {
        out.push("spec.externalName is ignored when spec.type is not \"ExternalName\"".to_owned());
    }
    if text(spec, "trafficDistribution") == "PreferClose" {
        out.push(
            "spec.trafficDistribution: \"PreferClose\" is deprecated; use \"PreferSameZone\"".to_owned(),
        );
    }
    out
}

/// `GetWarningsForIP`: addresses that are understood and should be written otherwise.
pub(super) fn of_ip(path: &str, given: &str) -> Option<String> {
    if given.is_empty() {
        return None;
    }
    match given.parse::<IpAddr>() {
        Ok(IpAddr::V6(ip)) if ip.to_string() != given => {
            Some(format!("{path}: IPv6 address {given:?} should be in RFC 5952 canonical format (\"{ip}\")"))
        }
        Ok(_) => None,
        Err(_) => {
            // Leading zeros, which some read as octal.
            let plain: Vec<&str> = given
                .split('.')
                .map(|part| Some(part.trim_start_matches('0')).filter(|rest| !rest.is_empty()).unwrap_or("0"))
                .collect();
            let ip: IpAddr = plain.join(".").parse().ok()?;
            Some(format!("{path}: non-standard IP address {given:?} is invalid: use \"{ip}\""))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use apiserver_json::json;

    #[test]
    #[rustfmt::skip]
    fn what_is_ignored_or_odd_is_told() {
        for (spec, want) in [
            (json!({"clusterIP": "10.0.0.1", "sessionAffinity": "None"}), &[][..]),
            (json!({"clusterIP": "None", "externalIPs": ["1.2.3.4"], "loadBalancerIP": "1.1.1.1", "sessionAffinity": "ClientIP"}), &["spec.loadBalancerIP is ignored for headless services", "spec.externalIPs is ignored for headless services", "spec.SessionAffinity is ignored for headless services"]),
            (json!({"type": "ExternalName", "externalName": "a.b", "externalIPs": ["1.2.3.4"]}), &[r#"spec.externalIPs is ignored when spec.type is "ExternalName""#]),
            (json!({"type": "ClusterIP", "externalName": "a.b"}), &[r#"spec.externalName is ignored when spec.type is not "ExternalName""#]),
            (json!({"type": "LoadBalancer", "externalIPs": ["2001:DB8::1"], "loadBalancerIP": "1.1.1.01"}), &[r#"spec.externalIPs[0]: IPv6 address "2001:DB8::1" should be in RFC 5952 canonical format ("2001:db8::1")"#, "spec.externalIPs is deprecated and may no longer be implemented in some clusters", r#"spec.loadBalancerIP: non-standard IP address "1.1.1.01" is invalid: use "1.1.1.1""#]),
        ] {
            assert_eq!(warnings(&json!({"spec": spec})), want, "{spec}");
        }
    }
}
