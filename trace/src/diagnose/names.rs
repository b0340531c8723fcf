//! Names without an address, and addresses the internet has no way to.

use crate::hop::Outcome;
use crate::origin;
use crate::request::{From, Request};
use crate::walk::dead;
use crate::world::{World, full_name};
use ccm_mock_aws_api::elbv2::LoadBalancer;
use dataplane_dns::{Answer, Code, View};
use k8s_openapi::api::networking::v1::Ingress;
use std::net::Ipv4Addr;

/// The class whose Ingresses get load balancers.
const CLASS: &str = "alb";

/// The name has no address.
pub(crate) fn name(world: &World, request: &Request, view: &View, answer: &Answer) -> Outcome {
    let host = &request.host;
    let place = answer.steps.last().map_or("dns".to_string(), |s| s.server.clone());
    let cause = answer.steps.last().map_or("nothing answers".to_string(), |s| s.answer.clone());
    let inside = host.ends_with(world.zones.domain()) || host.contains(".svc");
    match view {
        View::Internet if inside => {
            return dead(
                place,
                format!("{host} is a name inside the cluster; the internet does not know it"),
                "start inside: --from pod/NAMESPACE/NAME",
            );
        }
        View::Vpc if inside => {
            return dead(
                place,
                format!("{host} is a name of the cluster's DNS, which nodes do not ask"),
                "start in a Pod: --from pod/NAMESPACE/NAME, or use the Service's cluster IP",
            );
        }
        View::Cluster { .. } if inside || short_of_a_service(world, host) => {
            return dead(
                place,
                format!("{host}: {cause}"),
                "check namespace and name of the Service: kubectl get services -A",
            );
        }
        _ => {}
    }
    dead(place, format!("{host} has no address: {cause}"), fix(world, request, answer))
}

/// `service.namespace` of a namespace that is there.
fn short_of_a_service(world: &World, host: &str) -> bool {
    let Some((_, namespace)) = host.split_once('.') else { return true };
    let in_it = |name: &Option<String>| name.as_deref() == Some(namespace);
    world.services.iter().any(|s| in_it(&s.metadata.namespace))
        || world.pods.iter().any(|p| in_it(&p.metadata.namespace))
}

/// What gives the name an address.
fn fix(world: &World, request: &Request, answer: &Answer) -> String {
    let host = request.host.as_str();
    // Nobody is asked for a domain that is nobody's.
    let covered = answer.code != Code::Refused;
    let record = if covered {
        "add a record to its HostedZone"
    } else {
        "apply a HostedZone for the domain with a record"
    };
    let ingress = world.ingresses.iter().find(|i| {
        let rules = i.spec.iter().flat_map(|s| s.rules.iter().flatten());
        rules.filter_map(|r| r.host.as_ref()).any(|h| h == host)
    });
    if let Some(ingress) = ingress {
        let name = full_name(&ingress.metadata);
        return match (balancer_of(ingress), class_of(ingress)) {
            (Some(balancer), _) => {
                format!("{record}: {host} as an alias of {balancer} (the address of Ingress {name})")
            }
            (None, Some(CLASS)) => {
                format!("Ingress {name} for this host has no address yet: kubectl describe ingress says why")
            }
            (None, class) => format!(
                "Ingress {name} for this host is of class {}, which nothing here serves: set spec.ingressClassName to {CLASS}",
                class.unwrap_or("\"\"")
            ),
        };
    }
    if let (From::Pod(..), false, Some((service, namespace))) = (&request.from, covered, host.split_once('.'))
        && !namespace.contains('.')
    {
        return format!(
            "if Service {service} of namespace {namespace} is meant: there is no such namespace with Services or Pods; else {record} for {host}"
        );
    }
    let record = if covered {
        format!("add a record for {host} to its HostedZone")
    } else {
        format!("apply a HostedZone for the domain, with a record for {host}")
    };
    format!("{record}, and an Ingress with this host")
}

fn balancer_of(ingress: &Ingress) -> Option<&String> {
    ingress.status.as_ref()?.load_balancer.as_ref()?.ingress.as_ref()?.first()?.hostname.as_ref()
}

fn class_of(ingress: &Ingress) -> Option<&str> {
    let said = ingress.spec.as_ref().and_then(|spec| spec.ingress_class_name.as_deref());
    said.or_else(|| {
        ingress.metadata.annotations.as_ref()?.get("kubernetes.io/ingress.class").map(String::as_str)
    })
}

/// A client on the internet wants an address of a load balancer that is inside only.
pub(crate) fn internal_balancer(world: &World, balancer: &LoadBalancer, ip: Ipv4Addr) -> Outcome {
    let made = origin::of_balancer(world, &balancer.tags)
        .map_or(String::new(), |from| format!(" (made from {from})"));
    dead(
        "internet",
        format!(
            "{ip} is a private address of the internal load balancer {}{made}: no way leads there from the internet",
            balancer.load_balancer_name
        ),
        "set its scheme to internet-facing (alb.ingress.kubernetes.io/scheme, or service.beta.kubernetes.io/aws-load-balancer-scheme), or start inside with --from pod/NAMESPACE/NAME",
    )
}

/// A client on the internet wants a private address.
pub(crate) fn address_from_internet(ip: Ipv4Addr) -> Outcome {
    let private = ip.is_private();
    let cause = if private {
        format!("{ip} is private: no way leads there from the internet")
    } else {
        format!("nobody has the address {ip}")
    };
    dead(
        "internet",
        cause,
        "use the name of a load balancer (kubectl get loadbalancers), or start inside with --from pod/NAMESPACE/NAME",
    )
}
