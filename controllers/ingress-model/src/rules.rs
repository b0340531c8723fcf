//! Rules of the members in upstream's order, and what each does.
//!
//! Nothing is sorted across hosts, rules or Ingresses; priorities are given in `build`.

use crate::annotations::{Annotations, about, scalar};
use crate::backend::{Target, service_target};
use crate::group::{Group, key};
use crate::origin::{self, Origin};
use crate::{action, condition};
use ccm_mock_aws_api::Parameter;
use ccm_mock_aws_api::elbv2::{Action, RuleCondition, TargetGroupStickinessConfig};
use k8s_openapi::api::networking::v1::{HTTPIngressPath, Ingress, IngressBackend};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// The port of a backend whose action an annotation spells out.
const USE_ANNOTATION: &str = "use-annotation";

/// What is done with a request.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Step {
    /// Something the load balancer does alone.
    Direct(Box<Action>),
    /// To target groups by weight.
    Forward { targets: Vec<(Target, Option<u32>)>, stickiness: Option<TargetGroupStickinessConfig> },
}

/// A rule with the ports of the listeners it is for.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct CheckedRule {
    pub ports: BTreeSet<u16>,
    pub conditions: Vec<RuleCondition>,
    pub step: Step,
    /// Of the Ingress it is of, whatever other members of the group have.
    pub tags: BTreeMap<String, String>,
    /// Where its conditions and its action were written.
    pub origins: Vec<Origin>,
}

pub(crate) fn fixed(code: &str, body: Option<&str>) -> Step {
    let text = Some("text/plain".into());
    Step::Direct(Box::new(Action::fixed_response(code, text, body.map(str::to_string))))
}

/// The rules of a member.
pub(crate) fn rules_of(
    group: &Group,
    ingress: &Ingress,
    ports: &BTreeSet<u16>,
) -> Result<Vec<CheckedRule>, String> {
    let mut out = Vec::new();
    let annotations = Annotations::of(ingress.metadata.annotations.as_ref());
    for (i, rule) in ingress.spec.iter().flat_map(|s| s.rules.iter().flatten()).enumerate() {
        let host = rule.host.as_deref().filter(|h| !h.is_empty());
        let Some(http) = &rule.http else { continue };
        for (j, path) in sorted(&http.paths) {
            let patterns = condition::path_patterns(path.path.as_deref().unwrap_or(""), &path.path_type)?;
            let service = path.backend.service.as_ref().map(|s| s.name.as_str()).unwrap_or_default();
            let annotated = condition::annotated(annotations, service)?;
            let written = |field: String, elements: Vec<String>| {
                origin::field(&ingress.metadata, field, Parameter::Conditions, elements)
            };
            let mut origins = action_origins(ingress, &path.backend, Parameter::Actions);
            origins.extend(host.map(|host| written(format!("spec.rules[{i}].host"), vec![host.to_string()])));
            origins.push(written(format!("spec.rules[{i}].http.paths[{j}].path"), patterns.clone()));
            let (name, elements) = (format!("conditions.{service}"), condition::elements(&annotated));
            let meta = &ingress.metadata;
            origins.extend(origin::annotation("Ingress", meta, &name, Parameter::Conditions, elements));
            let conditions =
                condition::combine(host, patterns, annotated).map_err(|why| about(why, &name))?;
            let step = backend_step(group, ingress, &path.backend)?;
            let tags = annotations.map("tags")?;
            out.push(CheckedRule { ports: ports.clone(), conditions, step, tags, origins });
        }
    }
    Ok(out)
}

/// The annotation that spells out what a backend does, if it does.
pub(crate) fn action_origins(
    ingress: &Ingress,
    backend: &IngressBackend,
    parameter: Parameter,
) -> Vec<Origin> {
    let service = backend.service.as_ref().filter(|service| {
        service.port.as_ref().is_some_and(|port| port.name.as_deref() == Some(USE_ANNOTATION))
    });
    let name = service.map(|service| format!("actions.{}", service.name));
    name.and_then(|name| origin::annotation("Ingress", &ingress.metadata, &name, parameter, Vec::new()))
        .into_iter()
        .collect()
}

/// Exact as listed, Prefix longest first, then the rest as listed; each with its index.
fn sorted(paths: &[HTTPIngressPath]) -> Vec<(usize, &HTTPIngressPath)> {
    let length = |p: &(usize, &HTTPIngressPath)| p.1.path.as_ref().map_or(0, String::len);
    let of = |kind: &'static str| paths.iter().enumerate().filter(move |(_, p)| p.path_type == kind);
    let mut prefixes: Vec<(usize, &HTTPIngressPath)> = of("Prefix").collect();
    prefixes.sort_by_key(|p| std::cmp::Reverse(length(p)));
    let rest = paths.iter().enumerate().filter(|(_, p)| p.path_type != "Exact" && p.path_type != "Prefix");
    of("Exact").chain(prefixes).chain(rest).collect()
}

/// What a backend of an Ingress does.
pub(crate) fn backend_step(
    group: &Group,
    ingress: &Ingress,
    backend: &IngressBackend,
) -> Result<Step, String> {
    let Some(service) = &backend.service else {
        return Err("missing required \"service\" field".into());
    };
    let port = service.port.clone().unwrap_or_default();
    if port.name.as_deref() == Some(USE_ANNOTATION) {
        return action::annotated(group, ingress, &service.name);
    }
    let port = match (port.name, port.number) {
        (Some(name), _) if !name.is_empty() => name,
        (_, number) => number.unwrap_or_default().to_string(),
    };
    Ok(match service_target(group, ingress, &service.name, &port)? {
        Some(target) => Step::Forward { targets: vec![(target, Some(1))], stickiness: None },
        None => fixed("503", Some("Backend service does not exist")),
    })
}

/// Names of the Services that a member names, in backends or actions.
pub fn services_of(ingress: &Ingress) -> BTreeSet<(String, String)> {
    let (namespace, _) = key(ingress);
    let annotations = Annotations::of(ingress.metadata.annotations.as_ref());
    let spec = ingress.spec.iter();
    let paths = spec
        .clone()
        .flat_map(|s| s.rules.iter().flatten())
        .filter_map(|r| r.http.as_ref())
        .flat_map(|h| h.paths.iter().map(|p| &p.backend));
    let backends = spec.filter_map(|s| s.default_backend.as_ref()).chain(paths);
    let mut names = BTreeSet::new();
    for service in backends.filter_map(|b| b.service.as_ref()) {
        names.insert((namespace.clone(), service.name.clone()));
        let Ok(Some(action)) = annotations.json(&format!("actions.{}", service.name)) else { continue };
        let targets = action.pointer("/forwardconfig/targetgroups").and_then(Value::as_array);
        for target in targets.into_iter().flatten() {
            names.extend(scalar(target, "servicename").map(|name| (namespace.clone(), name)));
        }
    }
    names
}
