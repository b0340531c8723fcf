//! From a checked group to its plan: names, priorities, tags. It cannot fail.
//!
//! What differs from the cloud's present state is not asked here.

use crate::backend::Target;
use crate::check::Checked;
use crate::listeners::CheckedListener;
use crate::names;
use crate::plan::*;
use crate::rules::{CheckedRule, Step};
use ccm_mock_aws_api::elbv2::{Action, ActionType, Protocol, RedirectConfig, TargetGroupTuple};
use std::collections::BTreeMap;

/// The plan of a group.
pub fn build(checked: &Checked) -> Plan {
    let mut groups = TargetGroups { checked, known: BTreeMap::new(), order: Vec::new() };
    let default = groups.action(&checked.default);
    let listeners = checked.listeners.iter().map(|(port, listener)| {
        let redirect = checked.ssl_redirect.filter(|_| listener.protocol == Protocol::Http);
        let (default_actions, written, rules) = match redirect {
            Some(to) => (vec![to_https(to)], &checked.redirect_origins, Vec::new()),
            None => {
                let rules = rules(checked, &mut groups, *port, listener);
                (vec![default.clone()], &checked.default_origins, rules)
            }
        };
        ListenerPlan {
            port: *port,
            protocol: listener.protocol,
            ssl_policy: listener.ssl_policy.clone(),
            certificates: listener.certificates.clone(),
            default_actions,
            rules,
            attributes: listener.attributes.clone(),
            tags: tags(checked, &port.to_string(), &checked.tags),
            origins: listener.origins.iter().chain(written).cloned().collect(),
        }
    });
    let listeners = listeners.collect();
    let name = checked.name.clone();
    let load_balancer = LoadBalancerPlan {
        name: name
            .unwrap_or_else(|| names::load_balancer(&checked.cluster, &checked.id, checked.scheme.as_str())),
        scheme: checked.scheme,
        ip_address_type: checked.ip_address_type.clone(),
        subnets: checked.subnets.clone(),
        security_groups: checked.security_groups.clone(),
        attributes: checked.attributes.clone(),
        tags: tags(checked, "LoadBalancer", &checked.tags),
        origins: checked.origins.clone(),
    };
    let security_group = checked.security_groups.is_empty().then(|| SecurityGroupPlan {
        name: names::security_group(&checked.cluster, &checked.id),
        ports: checked.listeners.keys().copied().collect(),
        cidrs: checked.cidrs.clone(),
        tags: tags(checked, "ManagedLBSecurityGroup", &checked.tags),
    });
    Plan {
        cluster: checked.cluster.clone(),
        stack: checked.id.to_string(),
        security_group,
        target_groups: groups.in_order(),
        load_balancer: Some(load_balancer),
        listeners,
    }
}

fn tags(checked: &Checked, resource: &str, extra: &Tags) -> Tags {
    let mut tags = extra.clone();
    tags.insert(CLUSTER_TAG.into(), checked.cluster.clone());
    tags.insert(STACK_TAG.into(), checked.id.to_string());
    tags.insert(RESOURCE_TAG.into(), resource.to_string());
    tags
}

fn ordered(action: Action) -> Action {
    Action { order: Some(1), ..action }
}

fn to_https(port: u16) -> Action {
    ordered(Action::redirect(RedirectConfig {
        protocol: "HTTPS".into(),
        port: port.to_string(),
        ..Default::default()
    }))
}

/// True if the redirect of a rule leads back to the listener it stands on.
fn leads_back(action: &Action, port: u16, protocol: Protocol) -> bool {
    let Some(config) = action.redirect_config.as_ref().filter(|_| action.r#type == ActionType::Redirect)
    else {
        return false;
    };
    let usual = RedirectConfig::default();
    config.host == usual.host
        && config.path == usual.path
        && config.query == usual.query
        && (config.protocol == usual.protocol || config.protocol == protocol.as_str())
        && (config.port == usual.port || config.port == port.to_string())
}

fn rules(
    checked: &Checked,
    groups: &mut TargetGroups<'_>,
    port: u16,
    listener: &CheckedListener,
) -> Vec<RulePlan> {
    let mut out: Vec<RulePlan> = Vec::new();
    for CheckedRule { ports, conditions, step, tags: own, origins } in &checked.rules {
        let action = groups.action(step);
        if !ports.contains(&port) || leads_back(&action, port, listener.protocol) {
            continue;
        }
        let overshadowed = out.iter().any(|earlier| {
            earlier.conditions == *conditions
                && earlier.actions.iter().any(|a| a.r#type == ActionType::Redirect)
        });
        if overshadowed {
            continue;
        }
        let priority = u32::try_from(out.len()).unwrap_or(u32::MAX).saturating_add(1);
        out.push(RulePlan {
            priority,
            conditions: conditions.clone(),
            actions: vec![action],
            tags: tags(checked, &format!("{port}:{priority}"), own),
            origins: origins.clone(),
        });
    }
    out
}

/// Target groups as they are met, each once.
struct TargetGroups<'a> {
    checked: &'a Checked,
    known: BTreeMap<String, TargetGroupPlan>,
    order: Vec<String>,
}

impl TargetGroups<'_> {
    fn action(&mut self, step: &Step) -> Action {
        let (targets, stickiness) = match step {
            Step::Direct(action) => return ordered(action.as_ref().clone()),
            Step::Forward { targets, stickiness } => (targets, stickiness),
        };
        let tuples = targets.iter().map(|(target, weight)| {
            let target_group_arn = match target {
                Target::Arn(arn) => arn.clone(),
                Target::Planned(plan) => self.add(plan),
            };
            TargetGroupTuple { target_group_arn, weight: *weight }
        });
        let mut action = Action::forward_weighted(tuples.collect());
        if let Some(config) = &mut action.forward_config {
            config.target_group_stickiness_config = stickiness.clone();
        }
        ordered(action)
    }

    fn add(&mut self, plan: &TargetGroupPlan) -> String {
        let resource = plan.resource.clone();
        if !self.known.contains_key(&resource) {
            let tags = tags(self.checked, &resource, &plan.tags);
            self.known.insert(resource.clone(), TargetGroupPlan { tags, ..plan.clone() });
            self.order.push(resource.clone());
        }
        resource
    }

    fn in_order(mut self) -> Vec<TargetGroupPlan> {
        self.order.iter().filter_map(|resource| self.known.remove(resource)).collect()
    }
}
