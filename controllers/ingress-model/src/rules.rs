//! Rules of the members in upstream's order, and what each does: a backend, or the action an annotation spells out.
//!
//! Nothing is sorted across hosts, rules or Ingresses; priorities are given in `build`.

use crate::annotations::{Annotations, scalar};
use crate::backend::{Target, service_target};
use crate::condition;
use crate::group::{Group, key};
use ccm_mock_aws_api::elbv2::{Action, RedirectConfig, RuleCondition, TargetGroupStickinessConfig};
use k8s_openapi::api::networking::v1::{HTTPIngressPath, Ingress, IngressBackend};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

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
    for rule in ingress.spec.iter().flat_map(|s| s.rules.iter().flatten()) {
        let host = rule.host.as_deref().filter(|h| !h.is_empty());
        let Some(http) = &rule.http else { continue };
        for path in sorted(&http.paths) {
            let patterns = condition::path_patterns(path.path.as_deref().unwrap_or(""), &path.path_type)?;
            let service = path.backend.service.as_ref().map(|s| s.name.as_str()).unwrap_or_default();
            let conditions = condition::combine(host, patterns, condition::annotated(annotations, service)?)?;
            let step = backend_step(group, ingress, &path.backend)?;
            let tags = annotations.map("tags")?;
            out.push(CheckedRule { ports: ports.clone(), conditions, step, tags });
        }
    }
    Ok(out)
}

/// Exact as listed, Prefix longest first, then the rest as listed.
fn sorted(paths: &[HTTPIngressPath]) -> Vec<&HTTPIngressPath> {
    let length = |p: &&HTTPIngressPath| p.path.as_ref().map_or(0, String::len);
    let of = |kind: &'static str| paths.iter().filter(move |p| p.path_type == kind);
    let mut prefixes: Vec<&HTTPIngressPath> = of("Prefix").collect();
    prefixes.sort_by_key(|p| std::cmp::Reverse(length(p)));
    let rest = paths.iter().filter(|p| p.path_type != "Exact" && p.path_type != "Prefix");
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
    if port.name.as_deref() == Some("use-annotation") {
        return action_step(group, ingress, &service.name);
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

fn action_step(group: &Group, ingress: &Ingress, name: &str) -> Result<Step, String> {
    let annotations = Annotations::of(ingress.metadata.annotations.as_ref());
    let name = format!("actions.{name}");
    let Some(value) = annotations.json(&name)? else {
        return Ok(fixed("503", Some("Backend action does not exist")));
    };
    let wrong = |why: &str| annotations.not_json(&name, why);
    let kind = scalar(&value, "type").unwrap_or_default();
    match kind.as_str() {
        "fixed-response" => {
            let config =
                value.get("fixedresponseconfig").ok_or_else(|| wrong("missing FixedResponseConfig"))?;
            let code = scalar(config, "statuscode").ok_or_else(|| wrong("missing StatusCode"))?;
            let text = |name| scalar(config, name).filter(|t| !t.is_empty());
            let action = Action::fixed_response(code, text("contenttype"), text("messagebody"));
            Ok(Step::Direct(Box::new(action)))
        }
        "redirect" => {
            let config = value.get("redirectconfig").ok_or_else(|| wrong("missing RedirectConfig"))?;
            let code = scalar(config, "statuscode").ok_or_else(|| wrong("missing StatusCode"))?;
            let usual = RedirectConfig::default();
            let or = |name: &str, usual: String| scalar(config, name).unwrap_or(usual);
            Ok(Step::Direct(Box::new(Action::redirect(RedirectConfig {
                protocol: or("protocol", usual.protocol),
                host: or("host", usual.host),
                port: or("port", usual.port),
                path: or("path", usual.path),
                query: or("query", usual.query),
                status_code: code,
            }))))
        }
        "forward" => forward(group, ingress, &value).map_err(|why| wrong(&why)),
        other => Err(wrong(&format!("unknown action type: {other}"))),
    }
}

fn forward(group: &Group, ingress: &Ingress, value: &Value) -> Result<Step, String> {
    let entries: Vec<&Value> = match value.get("forwardconfig") {
        Some(config) => config.get("targetgroups").and_then(Value::as_array).into_iter().flatten().collect(),
        None => vec![value],
    };
    if entries.is_empty() {
        return Err("missing ForwardConfig.TargetGroups".into());
    }
    let many = entries.len() > 1;
    let mut targets = Vec::new();
    for entry in entries {
        let weight = match entry.get("weight") {
            Some(weight) => weight.as_u64().and_then(|w| u32::try_from(w).ok()),
            None if many => return Err("missing TargetGroups[].Weight".into()),
            None => Some(1),
        };
        let weight = weight.filter(|w| *w <= 999).ok_or("weight must be within [0, 999]")?;
        let target = if let Some(arn) = scalar(entry, "targetgrouparn") {
            Target::Arn(arn)
        } else if let Some(name) = scalar(entry, "targetgroupname") {
            let arn = group.target_groups.get(&name);
            Target::Arn(arn.cloned().ok_or_else(|| format!("no target group found with name: {name}"))?)
        } else {
            let service = scalar(entry, "servicename").ok_or("missing serviceName or targetGroupARN")?;
            let port = scalar(entry, "serviceport").ok_or("missing servicePort")?;
            match service_target(group, ingress, &service, &port)? {
                Some(target) => target,
                None => return Ok(fixed("503", Some("Backend service does not exist"))),
            }
        };
        targets.push((target, Some(weight)));
    }
    let stickiness = value.pointer("/forwardconfig/targetgroupstickinessconfig").map(|config| {
        TargetGroupStickinessConfig {
            enabled: config.get("enabled").and_then(Value::as_bool).unwrap_or(false),
            duration_seconds: scalar(config, "durationseconds").and_then(|d| d.parse().ok()),
        }
    });
    Ok(Step::Forward { targets, stickiness })
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
