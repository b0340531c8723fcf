//! Dead ends: where, why, and what to change.
//!
//! Each function names one way a path can end.

mod names;

pub(crate) use names::{address_from_internet, internal_balancer, name};

use crate::balancer::health_line;
use crate::hop::{BALANCER, Outcome, Packet};
use crate::request::Request;
use crate::walk::dead;
use crate::world::{World, full_name};
use ccm_mock_aws_api::elbv2::{Listener, Rule, TargetGroup, TargetHealthDescription};
use ccm_mock_aws_api::tag;
use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::api::networking::v1::IngressServiceBackend;
use proxy_agent_ruleset::{ElementKey, Program, Protocol, Verdict};
use std::collections::BTreeSet;
use std::net::SocketAddrV4;

/// How many sets of labels a diagnosis shows.
const LABELS_SHOWN: usize = 3;

/// Nothing listens on the port.
pub(crate) fn no_listener(
    world: &World,
    balancer: &str,
    request: &Request,
    listeners: &[Listener],
) -> Outcome {
    let port = request.port;
    let all: Vec<String> = listeners.iter().map(|l| format!("{} {}", l.protocol, l.port)).collect();
    let has = if all.is_empty() {
        "it has no listener at all".to_string()
    } else {
        format!("it listens on {}", all.join(", "))
    };
    let service = world
        .cloud
        .load_balancers
        .iter()
        .find(|l| l.load_balancer_name == balancer)
        .and_then(|l| tag(&l.tags, "service.k8s.aws/stack"));
    let fix = match service {
        Some(service) => format!("add the port to Service {service} spec.ports"),
        None => {
            // The annotation replaces what is there, so it names the listeners that stay, too.
            let wanted = format!("{{\"{}\":{port}}}", request.scheme.to_uppercase());
            let ports: Vec<String> = listeners
                .iter()
                .map(|l| format!("{{\"{}\":{}}}", l.protocol, l.port))
                .chain([wanted])
                .collect();
            format!("annotate the Ingress: alb.ingress.kubernetes.io/listen-ports: '[{}]'", ports.join(","))
        }
    };
    dead(format!("{balancer}:{port}"), format!("connection refused: {has}"), fix)
}

/// A fixed answer: as wanted, or a sign of something missing.
pub(crate) fn fixed_response(
    world: &World,
    request: &Request,
    rules: &[Rule],
    place: &str,
    default: bool,
    status: u16,
    body: &str,
) -> Outcome {
    if body.contains("Backend service does not exist") {
        return match missing_backend(world, request) {
            Some(missing) => dead(
                place,
                format!("{status}: the Ingress names a Service that does not exist: {missing}"),
                "create the Service, or correct spec.rules[].http.paths[].backend.service.name",
            ),
            None => dead(
                place,
                format!(
                    "{status}: a Service of the Ingress did not exist when the load balancer was last set up"
                ),
                "kubectl describe ingress: its last Warning Event says what keeps it from being set up again",
            ),
        };
    }
    if body.contains("Backend action does not exist") {
        return dead(
            place,
            format!(
                "{status}: a path of the Ingress names an action (port use-annotation) that no annotation defines"
            ),
            "add the annotation alb.ingress.kubernetes.io/actions.NAME, NAME being the path's backend.service.name",
        );
    }
    if default && status == 404 {
        let known: Vec<String> = rules
            .iter()
            .filter(|r| !r.is_default)
            .map(|r| r.conditions.iter().map(|c| c.summary()).collect::<Vec<_>>().join(" and "))
            .collect();
        let cause = format!("404: no rule matches host {} and path {}", request.host, request.path);
        let fix = if known.is_empty() {
            "the listener has no rules: give the Ingress spec.rules, or a spec.defaultBackend".to_string()
        } else {
            format!("add a rule for it to the Ingress, or ask for one of: {}", known.join("; "))
        };
        return dead(place, cause, fix);
    }
    Outcome::Answered {
        by: BALANCER.to_owned(),
        status,
        text: if body.is_empty() { "fixed response".into() } else { body.to_string() },
    }
}

/// Which Ingress for the host names which Service that is not there.
fn missing_backend(world: &World, request: &Request) -> Option<String> {
    for ingress in &world.ingresses {
        let namespace = ingress.metadata.namespace.as_deref().unwrap_or_default();
        let rules = ingress.spec.iter().flat_map(|s| s.rules.iter().flatten());
        let paths = rules
            .filter(|rule| rule.host.as_ref().is_none_or(|host| *host == request.host))
            .flat_map(|rule| rule.http.iter().flat_map(|http| &http.paths));
        // Under the port `use-annotation` stands the name of an action, not of a Service.
        let is_action = |service: &IngressServiceBackend| {
            service.port.as_ref().is_some_and(|port| port.name.as_deref() == Some("use-annotation"))
        };
        let missing = paths
            .filter_map(|path| path.backend.service.as_ref())
            .filter(|service| !is_action(service))
            .find(|service| world.service(namespace, &service.name).is_none());
        if let Some(service) = missing {
            return Some(format!("Ingress {} names Service {}", full_name(&ingress.metadata), service.name));
        }
    }
    None
}

/// The Service behind a target group, from its tag `namespace/ingress-service:port`.
pub(crate) fn service_of<'a>(world: &'a World, group: &TargetGroup) -> Option<&'a Service> {
    let stack = tag(&group.tags, "ingress.k8s.aws/resource")
        .or_else(|| tag(&group.tags, "service.k8s.aws/resource"))?;
    let (namespace, rest) = stack.split_once('/')?;
    let rest = rest.split(':').next()?;
    let in_namespace = world.services.iter().filter(|s| s.metadata.namespace.as_deref() == Some(namespace));
    let fits = |s: &&Service| {
        let name = s.metadata.name.as_deref().unwrap_or_default();
        rest == name || rest.ends_with(&format!("-{name}"))
    };
    in_namespace.filter(fits).max_by_key(|s| s.metadata.name.as_ref().map_or(0, String::len))
}

fn selected<'a>(world: &'a World, service: &Service) -> Vec<&'a Pod> {
    let Some(selector) = service.spec.as_ref().and_then(|s| s.selector.as_ref()) else { return Vec::new() };
    let fits = |p: &&Pod| {
        p.metadata.namespace == service.metadata.namespace
            && selector.iter().all(|(k, v)| p.metadata.labels.as_ref().and_then(|l| l.get(k)) == Some(v))
    };
    world.pods.iter().filter(fits).collect()
}

fn ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|s| s.conditions.as_ref());
    conditions.into_iter().flatten().any(|c| c.type_ == "Ready" && c.status == "True")
}

/// Why a Service has no endpoints, and what to change.
fn no_endpoints(world: &World, service: &Service) -> (String, String) {
    let name = full_name(&service.metadata);
    let selector = service.spec.as_ref().and_then(|s| s.selector.as_ref()).filter(|s| !s.is_empty());
    if selector.is_none() {
        return (
            format!("Service {name} has no selector, and no EndpointSlice names a ready endpoint for it"),
            format!(
                "give it spec.selector, or an EndpointSlice with the label kubernetes.io/service-name={}",
                service.metadata.name.as_deref().unwrap_or_default()
            ),
        );
    }
    let text = selector.map_or("none".to_string(), |s| {
        s.iter().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>().join(",")
    });
    let pods = selected(world, service);
    if pods.is_empty() {
        let near: BTreeSet<String> = world
            .pods
            .iter()
            .filter(|p| p.metadata.namespace == service.metadata.namespace)
            .filter_map(|p| p.metadata.labels.as_ref())
            .map(|l| {
                l.iter()
                    .filter(|(k, _)| *k != "pod-template-hash")
                    .map(|(k, v)| format!("{k}={v}"))
                    .collect::<Vec<_>>()
                    .join(",")
            })
            .collect();
        let cause = format!("the selector of Service {name} ({text}) matches no Pod");
        let shown: Vec<&str> = near.iter().take(LABELS_SHOWN).map(String::as_str).collect();
        let fix = if shown.is_empty() {
            "there are no Pods in the namespace: kubectl get deployments shows whether one has 0 replicas"
                .to_string()
        } else {
            format!(
                "change spec.selector of Service {name} or the Pods' labels; Pods in the namespace have {}",
                shown.join(" or ")
            )
        };
        return (cause, fix);
    }
    let waiting: Vec<String> = pods.iter().filter(|p| !ready(p)).map(|p| not_ready(p)).collect();
    if waiting.len() == pods.len() {
        return (
            format!("no Pod of Service {name} is ready: {}", waiting.join("; ")),
            "look at the Pod: kubectl describe pod shows probes and events".into(),
        );
    }
    let ports = service.spec.iter().flat_map(|s| s.ports.iter().flatten());
    let named: Vec<String> = ports
        .filter_map(|p| match &p.target_port {
            Some(k8s_openapi::apimachinery::pkg::util::intstr::IntOrString::String(name)) => {
                Some(name.clone())
            }
            _ => None,
        })
        .collect();
    if !named.is_empty() {
        let cause = format!(
            "Service {name} names targetPort {}, which no container of its Pods has",
            named.join(", ")
        );
        return (cause, "name a containerPort of the Pods so, or use its number".into());
    }
    (
        format!("Service {name} has no endpoints yet"),
        "kubectl get endpointslices shows what the controller has found".into(),
    )
}

fn not_ready(pod: &Pod) -> String {
    let status = pod.status.as_ref();
    let phase = status.and_then(|s| s.phase.clone()).unwrap_or("Pending".into());
    let waiting = status
        .and_then(|s| s.container_statuses.as_ref())
        .into_iter()
        .flatten()
        .find_map(|c| c.state.as_ref()?.waiting.as_ref()?.reason.clone());
    let why = waiting.map_or(String::new(), |w| format!(", {w}"));
    format!("{} is {phase}{why}", full_name(&pod.metadata))
}

/// The target group has nothing to send to.
pub(crate) fn no_targets(world: &World, group: &TargetGroup) -> Outcome {
    let place = &group.target_group_name;
    if !group.targets.is_empty() {
        let all: Vec<String> = group.targets.iter().map(health_line).collect();
        return dead(
            place,
            format!("503: no target can be used: {}", all.join("; ")),
            "wait for new targets to become healthy, or look at why they were taken out",
        );
    }
    match service_of(world, group) {
        Some(service) => {
            let (cause, fix) = no_endpoints(world, service);
            dead(place, format!("503: the target group has no targets: {cause}"), fix)
        }
        None => dead(
            place,
            "503: the target group has no targets",
            "check that the Service behind it selects Pods that are ready",
        ),
    }
}

/// Everything is unhealthy, but the request goes out all the same.
pub(crate) fn unhealthy(group: &TargetGroup, target: &TargetHealthDescription) -> String {
    let check = &group.health_check;
    let fix = match tag(&group.tags, "service.k8s.aws/stack") {
        Some(service) => format!("make Pods of Service {service} answer there"),
        None => "make the Pods answer that, or change alb.ingress.kubernetes.io/healthcheck-path, healthcheck-port or success-codes".to_string(),
    };
    format!(
        "no target of {} is healthy ({}), so all get requests; the health check asks {} {} on {} and wants {}: {fix}",
        group.target_group_name,
        health_line(target),
        check.protocol,
        check.path,
        check.port,
        if check.matcher.is_empty() { "a connection" } else { &check.matcher }
    )
}

/// A node's rules end the packet.
pub(crate) fn blocked(world: &World, program: &Program, packet: Packet, verdict: Verdict) -> Outcome {
    let node = &program.node().name;
    let to = packet.destination;
    let word = if verdict == Verdict::Reject { "rejected" } else { "dropped" };
    let keys = [
        ("no-endpoint-services", ElementKey::Service(*to.ip(), Protocol::Tcp, to.port())),
        ("no-endpoint-nodeports", ElementKey::NodePort(Protocol::Tcp, to.port())),
        ("firewall-ips", ElementKey::Service(*to.ip(), Protocol::Tcp, to.port())),
    ];
    for (set, key) in keys {
        let Some(element) = program.element(set, key) else { continue };
        let name = format!("{}/{}", element.source.namespace, element.source.name);
        if set == "firewall-ips" {
            return dead(
                node,
                format!(
                    "{word}: {} is outside spec.loadBalancerSourceRanges of Service {name}",
                    packet.source.ip()
                ),
                "add the source's block to spec.loadBalancerSourceRanges",
            );
        }
        if verdict == Verdict::Drop {
            let cause = format!(
                "{word}: {} of Service {name} is Local and no endpoint is on {node}",
                element.source.field
            );
            return dead(node, cause, "use a node that runs one of its Pods, or policy Cluster");
        }
        if let Some(service) = world.service(&element.source.namespace, &element.source.name) {
            let (cause, fix) = no_endpoints(world, service);
            return dead(node, format!("{word}: {cause}"), fix);
        }
    }
    let service = world
        .services
        .iter()
        .find(|s| s.spec.as_ref().and_then(|s| s.cluster_ip.as_deref()) == Some(&to.ip().to_string()));
    match service {
        Some(service) => {
            let ports: Vec<String> = service
                .spec
                .iter()
                .flat_map(|s| s.ports.iter().flatten())
                .map(|p| p.port.to_string())
                .collect();
            let name = full_name(&service.metadata);
            dead(
                node,
                format!("{word}: Service {name} has no port {}", to.port()),
                format!("use one of its ports: {}", ports.join(", ")),
            )
        }
        None => dead(
            node,
            format!("{word}: {} is no Service's cluster IP", to.ip()),
            "kubectl get services -A shows those there are",
        ),
    }
}

/// The packet reached a node and no rule took it.
pub(crate) fn nobody_on_node(world: &World, node: &str, to: SocketAddrV4) -> Outcome {
    let has = |s: &&Service| {
        s.spec
            .iter()
            .flat_map(|s| s.ports.iter().flatten())
            .any(|p| p.node_port == Some(i32::from(to.port())))
    };
    let fix = match world.services.iter().find(has) {
        Some(service) => format!(
            "Service {} has this node port; wait until the agent has its rules",
            full_name(&service.metadata)
        ),
        None => "kubectl get services -A shows the node ports there are".to_string(),
    };
    dead(node, format!("connection refused: nothing on {node} listens on port {}", to.port()), fix)
}

/// No Pod has the address that something at a place asked for.
pub(crate) fn no_pod(world: &World, place: &str, to: SocketAddrV4) -> Outcome {
    let slice = world
        .endpoint_slices
        .iter()
        .find(|s| s.endpoints.iter().flatten().any(|e| e.addresses.contains(&to.ip().to_string())));
    let ip = to.ip();
    let cause = match slice {
        Some(slice) => {
            format!("EndpointSlice {} still names {ip}, but no Pod has it", full_name(&slice.metadata))
        }
        None if ip.is_loopback() => {
            let fix = "ask for the address or name of a Pod, a Service or a load balancer";
            return dead(place, format!("{ip} is {place} itself: the request never leaves it"), fix);
        }
        None if !ip.is_private() => {
            let fix = "kubectl get loadbalancers shows what the internet here has";
            return dead("internet gateway", format!("nobody on the internet has the address {ip}"), fix);
        }
        None => format!("no Pod has the address {ip}"),
    };
    dead("VPC 10.0.0.0/16", cause, "kubectl get pods -A -o wide shows who has which address")
}

/// The Pod is not running.
pub(crate) fn pod_cannot_answer(pod: &Pod, name: &str) -> Option<Outcome> {
    let phase = pod.status.as_ref().and_then(|s| s.phase.as_deref()).unwrap_or("Pending");
    if phase == "Running" {
        return None;
    }
    Some(dead(
        format!("Pod {name}"),
        format!("the Pod is not running: {}", not_ready(pod)),
        "kubectl describe pod says what it waits for",
    ))
}

/// The Pod listens on other ports; `translated` says that a Service or a target group chose this one.
pub(crate) fn wrong_port(
    world: &World,
    pod: &Pod,
    name: &str,
    (to, translated): (SocketAddrV4, bool),
    declared: &[(String, String, u16)],
) -> Outcome {
    let ports: Vec<String> = declared.iter().map(|(c, _, p)| format!("{p} ({c})")).collect();
    let points = world.services.iter().find(|s| {
        let selects = selected(world, s)
            .iter()
            .any(|p| p.metadata.uid == pod.metadata.uid && p.metadata.name == pod.metadata.name);
        selects
            && s.spec.iter().flat_map(|s| s.ports.iter().flatten()).any(|p| {
                let target = match &p.target_port {
                    Some(k8s_openapi::apimachinery::pkg::util::intstr::IntOrString::Int(n)) => *n,
                    _ => p.port,
                };
                target == i32::from(to.port())
            })
    });
    let fix = match points.filter(|_| translated) {
        Some(service) => format!(
            "set targetPort of Service {} to {}",
            full_name(&service.metadata),
            declared.first().map_or(0, |(_, _, p)| *p)
        ),
        None => format!("use port {}", declared.first().map_or(0, |(_, _, p)| *p)),
    };
    dead(
        format!("Pod {name}"),
        format!(
            "connection refused: nothing listens on {}; its containers listen on {}",
            to.port(),
            ports.join(", ")
        ),
        fix,
    )
}
