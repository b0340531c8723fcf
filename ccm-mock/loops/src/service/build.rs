//! From a Service to the load balancer it wants. Pure.
//!
//! What is there already is not asked.

use ccm_mock_aws_api::ec2::{self, Subnet};
use ccm_mock_aws_api::elbv2::{HealthCheck, Protocol, Scheme, TargetDescription};
use ccm_mock_aws_api::{Tag, names};
use controllers_kit::Key;
use controllers_kit::meta::annotation;
use k8s_openapi::api::core::v1::{Service, ServicePort};
use std::collections::BTreeSet;

const PREFIX: &str = "service.beta.kubernetes.io/aws-load-balancer-";

/// The load balancer of a Service.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Plan {
    pub name: String,
    pub scheme: Scheme,
    pub subnets: Vec<String>,
    pub ports: Vec<PortPlan>,
    pub tags: Vec<Tag>,
}

/// A listener and its target group.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct PortPlan {
    pub port: u16,
    pub protocol: Protocol,
    pub target_group: String,
    pub target_port: u16,
    pub health_check: HealthCheck,
    pub targets: BTreeSet<TargetDescription>,
}

/// `a` and the uid without dashes, at most 32 characters.
fn name(service: &Service) -> String {
    let uid = service.metadata.uid.as_deref().unwrap_or_default();
    let name: String = std::iter::once('a').chain(uid.chars().filter(|c| *c != '-')).collect();
    name.chars().take(32).collect()
}

fn tags(service: &Service) -> Vec<Tag> {
    vec![
        Tag::new("kubernetes.io/service-name", Key::of(&service.metadata).to_string()),
        Tag::new("kubernetes.io/cluster/hopyard", "owned"),
    ]
}

/// The plan of a Service that is to have no load balancer: only what finds the old one.
pub(super) fn nothing(service: &Service) -> Plan {
    Plan {
        name: name(service),
        scheme: Scheme::Internal,
        subnets: Vec::new(),
        ports: Vec::new(),
        tags: tags(service),
    }
}

fn scheme(service: &Service) -> Result<Scheme, String> {
    let read = |what: &str| annotation(&service.metadata, &format!("{PREFIX}{what}"));
    if let Some(text) = read("scheme") {
        return text.parse().map_err(|text| format!("unknown scheme: {text} ({PREFIX}scheme)"));
    }
    // Upstream takes every value but "false" and the empty one as true.
    let internal = read("internal").is_some_and(|value| !matches!(value, "" | "false"));
    Ok(if internal { Scheme::Internal } else { Scheme::InternetFacing })
}

fn health_check(service: &Service) -> HealthCheck {
    let spec = service.spec.as_ref();
    let local = spec.is_some_and(|s| s.external_traffic_policy.as_deref() == Some("Local"));
    match spec.and_then(|s| s.health_check_node_port).filter(|port| local && *port > 0) {
        Some(port) => HealthCheck {
            port: port.to_string(),
            path: "/healthz".into(),
            interval_seconds: 10,
            timeout_seconds: 6,
            healthy_threshold_count: 2,
            unhealthy_threshold_count: 2,
            matcher: "200-399".into(),
            ..HealthCheck::default_for(Protocol::Http)
        },
        None => HealthCheck {
            interval_seconds: 10,
            timeout_seconds: 10,
            healthy_threshold_count: 3,
            unhealthy_threshold_count: 3,
            ..HealthCheck::default_for(Protocol::Tcp)
        },
    }
}

fn target_group(service: &Service, port: &ServicePort, protocol: Protocol) -> String {
    let plain = |text: Option<&str>| -> String {
        let text = text.unwrap_or_default();
        text.chars().filter(char::is_ascii_alphanumeric).take(8).collect()
    };
    let meta = &service.metadata;
    let uid = meta.uid.as_deref().unwrap_or_default();
    let text = format!("{uid}/{}/{}/{protocol}/instance", port.port, port.node_port.unwrap_or_default());
    let hash = format!("{:016x}", names::fnv1a(text.as_bytes()));
    let hash = hash.get(..10).unwrap_or(&hash);
    format!("k8s-{}-{}-{hash}", plain(meta.namespace.as_deref()), plain(meta.name.as_deref()))
}

fn choose_subnets(all: &[Subnet], scheme: Scheme) -> Result<Vec<String>, String> {
    let chosen = ec2::subnets_for(all, scheme);
    if chosen.is_empty() {
        return Err("could not find any suitable subnets for creating the ELB".into());
    }
    Ok(chosen)
}

/// The load balancer that a Service wants.
pub(super) fn build(
    service: &Service,
    subnets: &[Subnet],
    instances: &BTreeSet<String>,
) -> Result<Plan, String> {
    let scheme = scheme(service)?;
    let mut ports = Vec::new();
    for port in service.spec.iter().flat_map(|s| s.ports.iter().flatten()) {
        let protocol = match port.protocol.as_deref() {
            None | Some("TCP") => Protocol::Tcp,
            Some("UDP") => Protocol::Udp,
            Some(other) => return Err(format!("Protocol {other} not supported by LoadBalancer")),
        };
        let number = |n: Option<i32>| n.and_then(|n| u16::try_from(n).ok()).filter(|n| *n > 0);
        let listen = number(Some(port.port)).ok_or("invalid port")?;
        let node_port = number(port.node_port)
            .ok_or_else(|| format!("Ignoring port without NodePort defined: {}", port.port))?;
        ports.push(PortPlan {
            port: listen,
            protocol,
            target_group: target_group(service, port, protocol),
            target_port: node_port,
            health_check: health_check(service),
            targets: instances.iter().map(|id| TargetDescription::new(id, node_port)).collect(),
        });
    }
    if ports.is_empty() {
        return Err("requested load balancer with no ports".into());
    }
    Ok(Plan {
        name: name(service),
        scheme,
        subnets: choose_subnets(subnets, scheme)?,
        ports,
        tags: tags(service),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn service(annotations: Value, spec: Value) -> Service {
        let meta = json!({
            "namespace": "default", "name": "web", "uid": "0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9",
            "annotations": annotations,
        });
        serde_json::from_value(json!({"metadata": meta, "spec": spec})).expect("a Service")
    }

    fn subnets() -> Vec<Subnet> {
        let subnet = |id: &str, role: &str| Subnet {
            subnet_id: id.into(),
            availability_zone: "a".into(),
            tags: vec![Tag::new(role, "1")],
            ..Default::default()
        };
        vec![subnet("public", "kubernetes.io/role/elb"), subnet("private", "kubernetes.io/role/internal-elb")]
    }

    #[test]
    fn a_port_becomes_a_listener_in_front_of_node_ports() {
        let spec = json!({"ports": [{"port": 8080, "targetPort": 80, "nodePort": 30080}]});
        let plan = build(&service(json!({}), spec), &subnets(), &["i-1".to_string()].into()).expect("a plan");
        assert_eq!(plan.name, "a0a1b2c3d4e5f60718293a4b5c6d7e8f");
        assert_eq!((plan.scheme, plan.subnets), (Scheme::InternetFacing, vec!["public".to_string()]));
        let port = &plan.ports[0];
        assert_eq!((port.port, port.target_port, port.protocol), (8080, 30080, Protocol::Tcp));
        assert_eq!(port.targets, [TargetDescription::new("i-1", 30080)].into());
        assert_eq!(port.health_check.port, "traffic-port");
        assert!(port.target_group.starts_with("k8s-default-web-") && port.target_group.len() <= 32);
    }

    #[test]
    fn annotations_and_local_policy_are_heeded() {
        let spec = json!({
            "externalTrafficPolicy": "Local", "healthCheckNodePort": 31000,
            "ports": [{"port": 80, "nodePort": 30080}],
        });
        let table = [("internal", "true"), ("scheme", "internal")];
        for (name, value) in table {
            let annotations = json!({format!("{PREFIX}{name}"): value});
            let plan =
                build(&service(annotations, spec.clone()), &subnets(), &BTreeSet::new()).expect("a plan");
            assert_eq!((plan.scheme, plan.subnets), (Scheme::Internal, vec!["private".to_string()]));
            let check = &plan.ports[0].health_check;
            assert_eq!((check.port.as_str(), check.path.as_str()), ("31000", "/healthz"));
        }
        let wrong = service(json!({format!("{PREFIX}scheme"): "public"}), spec);
        assert!(build(&wrong, &subnets(), &BTreeSet::new()).is_err());
    }
}
