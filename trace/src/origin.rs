//! Which manifest a resource of the load balancer was made from: the Ingress or Service, and the field in it.
//!
//! Read back from the tags that the controllers write; nothing is decided here.

use crate::world::{World, full_name};
use ccm_mock_aws_api::elbv2::{Listener, Rule};
use ccm_mock_aws_api::names::target_group_name;
use ccm_mock_aws_api::{Tag, tag};
use k8s_openapi::api::networking::v1::{HTTPIngressPath, Ingress};
use std::collections::BTreeMap;

const INGRESS_STACK: &str = "ingress.k8s.aws/stack";
const SERVICE_STACK: &str = "service.k8s.aws/stack";
const ALB: &str = "alb.ingress.kubernetes.io/";

fn annotation<'a>(ingress: &'a Ingress, name: &str) -> Option<&'a String> {
    ingress.metadata.annotations.as_ref()?.get(&format!("{ALB}{name}"))
}

/// The members of the group that a resource carries the tag of.
fn members<'a>(world: &'a World, tags: &[Tag]) -> Vec<&'a Ingress> {
    let Some(stack) = tag(tags, INGRESS_STACK) else { return Vec::new() };
    let is_member = |ingress: &&Ingress| match annotation(ingress, "group.name") {
        Some(group) => group == stack,
        None => full_name(&ingress.metadata) == stack,
    };
    world.ingresses.iter().filter(is_member).collect()
}

/// The manifest behind a load balancer.
pub(crate) fn of_balancer(world: &World, tags: &[Tag]) -> Option<String> {
    if let Some(service) = tag(tags, SERVICE_STACK) {
        return Some(format!("Service {service} spec.type"));
    }
    let names: Vec<String> = members(world, tags)
        .iter()
        .map(|ingress| format!("Ingress {} spec.ingressClassName", full_name(&ingress.metadata)))
        .collect();
    (!names.is_empty()).then(|| names.join(", "))
}

/// The ports an Ingress listens on: those of listen-ports, else 80, or 443 where it names a certificate.
fn ports_of(ingress: &Ingress) -> Vec<u16> {
    let Some(said) = annotation(ingress, "listen-ports") else {
        let secure = annotation(ingress, "certificate-arn").is_some_and(|arns| !arns.trim().is_empty());
        return vec![if secure { 443 } else { 80 }];
    };
    // What cannot be read has made no listener.
    let entries: Vec<BTreeMap<String, u16>> = serde_json::from_str(said).unwrap_or_default();
    entries.into_iter().flat_map(BTreeMap::into_values).collect()
}

/// The members that want a listener on a port, in the order of their names.
fn on_port<'a>(world: &'a World, listener: &Listener) -> Vec<&'a Ingress> {
    let mut members = members(world, &listener.tags);
    members.retain(|ingress| ports_of(ingress).contains(&listener.port));
    members.sort_by_key(|ingress| full_name(&ingress.metadata));
    members
}

/// The manifests behind a listener: every member of the group that wants its port.
pub(crate) fn of_listener(world: &World, listener: &Listener) -> Option<String> {
    if let Some(service) = tag(&listener.tags, SERVICE_STACK) {
        return Some(format!("Service {service} spec.ports"));
    }
    let said = |ingress: &&Ingress| {
        let name = full_name(&ingress.metadata);
        let why = ["listen-ports", "certificate-arn"];
        match why.into_iter().find(|which| annotation(ingress, which).is_some()) {
            Some(which) => format!("Ingress {name} annotation {ALB}{which}"),
            None => format!("Ingress {name}"),
        }
    };
    let all: Vec<String> = on_port(world, listener).iter().map(said).collect();
    (!all.is_empty()).then(|| all.join(", "))
}

/// The manifest behind a rule: the path of an Ingress, its default backend, or the redirect to HTTPS.
pub(crate) fn of_rule(world: &World, listener: &Listener, rule: Option<&Rule>) -> Option<String> {
    let members = members(world, &listener.tags);
    let Some(rule) = rule.filter(|rule| !rule.is_default) else {
        let redirects = listener.default_actions.iter().any(|action| action.redirect_config.is_some());
        let ssl = members.iter().find(|ingress| redirects && annotation(ingress, "ssl-redirect").is_some());
        let backend = |i: &&&Ingress| i.spec.as_ref().is_some_and(|spec| spec.default_backend.is_some());
        return ssl
            .map(|i| format!("Ingress {} annotation {ALB}ssl-redirect", full_name(&i.metadata)))
            .or_else(|| {
                let ingress = members.iter().find(backend)?;
                Some(format!("Ingress {} spec.defaultBackend", full_name(&ingress.metadata)))
            });
    };
    let mut found: Vec<(bool, String)> = Vec::new();
    for ingress in on_port(world, listener) {
        let rules = ingress.spec.iter().flat_map(|spec| spec.rules.iter().flatten()).enumerate();
        for (i, of) in rules {
            for (j, path) in of.http.iter().flat_map(|http| &http.paths).enumerate() {
                if made_from(rule, of.host.as_deref(), path) {
                    let field = format!("spec.rules[{i}].http.paths[{j}]");
                    found.push((
                        forwards_to(world, rule, path),
                        format!("Ingress {} {field}", full_name(&ingress.metadata)),
                    ));
                }
            }
        }
    }
    // Two paths may make the same conditions; the one with the same backend it is.
    let best = found.iter().position(|(same_backend, _)| *same_backend).unwrap_or(0);
    (best < found.len()).then(|| found.swap_remove(best).1)
}

fn made_from(rule: &Rule, host: Option<&str>, path: &HTTPIngressPath) -> bool {
    let of = |values: Option<&Vec<String>>, wanted: Option<&str>| match (values, wanted) {
        (Some(values), Some(wanted)) => values.iter().any(|value| value == wanted),
        (None, None) => true,
        // A value of an annotation's condition may stand where the Ingress says nothing.
        (Some(_), None) => true,
        (None, Some(_)) => false,
    };
    let hosts = rule.conditions.iter().find_map(|c| c.host_header_config.as_ref()).map(|v| &v.values);
    let paths = rule.conditions.iter().find_map(|c| c.path_pattern_config.as_ref()).map(|v| &v.values);
    let text = path.path.as_deref().unwrap_or("");
    let pattern = match (path.path_type.as_str(), text) {
        (_, "") => None,
        ("Prefix", "/") => Some("/*"),
        ("Prefix", text) => Some(text.trim_end_matches('/')),
        (_, text) => Some(text),
    };
    of(hosts, host.filter(|host| !host.is_empty())) && of(paths, pattern)
}

fn forwards_to(world: &World, rule: &Rule, path: &HTTPIngressPath) -> bool {
    let Some(service) = &path.backend.service else { return false };
    let groups = rule.actions.iter().flat_map(|action| action.target_groups());
    let names: Vec<&str> = groups.map(|(arn, _)| target_group_name(arn)).collect();
    let of_service =
        world.cloud.target_groups.iter().filter(|group| names.contains(&group.target_group_name.as_str()));
    of_service.filter_map(|group| tag(&group.tags, "ingress.k8s.aws/resource")).any(|resource| {
        resource.split(':').next().is_some_and(|text| text.ends_with(&format!("-{}", service.name)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use ccm_mock_aws_api::elbv2::{Action, Protocol};
    use serde_json::json;

    fn ingress(name: &str, annotations: &[(&str, &str)]) -> Ingress {
        let mut all = json!({"alb.ingress.kubernetes.io/group.name": "shop"});
        annotations.iter().for_each(|(key, value)| all[format!("{ALB}{key}")] = json!(value));
        let object = json!({"metadata": {"namespace": "shop", "name": name, "annotations": all}});
        serde_json::from_value(object).expect("an Ingress")
    }

    #[test]
    fn a_listener_is_made_from_the_members_that_want_its_port() {
        let world = World {
            ingresses: vec![
                ingress("api", &[("group.order", "5"), ("listen-ports", r#"[{"HTTPS": 443}]"#)]),
                ingress("shop", &[("listen-ports", r#"[{"HTTP": 80}, {"HTTPS": 443}, {"HTTPS": 8443}]"#)]),
                ingress("plain", &[]),
                ingress("cert", &[("certificate-arn", "arn:x")]),
                ingress("broken", &[("listen-ports", "[")]),
            ],
            ..Default::default()
        };
        let listen = |name: &str| format!("Ingress shop/{name} annotation {ALB}listen-ports");
        let table = [
            (8443, Some(listen("shop"))),
            (80, Some(format!("Ingress shop/plain, {}", listen("shop")))),
            (
                443,
                Some(format!(
                    "{}, Ingress shop/cert annotation {ALB}certificate-arn, {}",
                    listen("api"),
                    listen("shop")
                )),
            ),
            (81, None),
        ];
        for (port, expected) in table {
            let listener = Listener {
                listener_arn: "l".into(),
                load_balancer_arn: "lb".into(),
                port,
                protocol: Protocol::Http,
                ssl_policy: None,
                certificates: Vec::new(),
                default_actions: vec![Action::fixed_response("404", None, None)],
                attributes: Default::default(),
                tags: vec![Tag::new(INGRESS_STACK, "shop")],
            };
            assert_eq!(of_listener(&world, &listener), expected, "port {port}");
        }
    }
}
