//! Making the load balancer of a Service true: found by name and tags, differences written, leftovers removed.
//!
//! A second run finds no difference and writes nothing.

use super::build::{Plan, PortPlan};
use ccm_mock_aws_api::elbv2::*;
use ccm_mock_aws_api::operation::*;
use ccm_mock_aws_api::{Aws, Error, tag};
use controllers_kit::Recorder;
use k8s_openapi::api::core::v1::Service;
use std::collections::BTreeSet;
use std::sync::Arc;

/// One run for one Service.
pub(super) struct Session<'a> {
    aws: Arc<dyn Aws>,
    plan: &'a Plan,
    /// Who is told as soon as there is something to do.
    told: Option<(&'a Recorder, &'a Arc<Service>)>,
    pub changes: Vec<String>,
    pub target_changes: Vec<String>,
}

impl<'a> Session<'a> {
    pub(super) fn new(
        aws: Arc<dyn Aws>,
        plan: &'a Plan,
        told: Option<(&'a Recorder, &'a Arc<Service>)>,
    ) -> Self {
        Session { aws, plan, told, changes: Vec::new(), target_changes: Vec::new() }
    }

    fn note(&mut self, change: impl Into<String>) {
        if let Some((events, service)) = self.told.take() {
            events.normal(service.as_ref(), "EnsuringLoadBalancer", "Ensuring load balancer");
        }
        self.changes.push(change.into());
    }

    /// Answers the host name.
    pub(super) async fn apply(&mut self) -> Result<String, Error> {
        let balancer = self.ensure_balancer().await?;
        let arn = &balancer.load_balancer_arn;
        let describe = DescribeListeners { load_balancer_arn: Some(arn.clone()), listener_arns: Vec::new() };
        let mut listeners = self.aws.send(describe).await?;
        let plan = self.plan;
        for listener in &listeners {
            let kept = |p: &&PortPlan| p.port == listener.port && p.protocol == listener.protocol;
            if !plan.ports.iter().any(|p| kept(&p)) {
                self.note(format!("deleted listener {}", listener.port));
                self.aws.send(DeleteListener { listener_arn: listener.listener_arn.clone() }).await?;
            }
        }
        listeners.retain(|l| plan.ports.iter().any(|p| p.port == l.port && p.protocol == l.protocol));
        let groups = self.owned_target_groups().await?;
        for port in &plan.ports {
            let group = self.ensure_target_group(port, &groups, &balancer.vpc_id).await?;
            self.ensure_targets(port, &group).await?;
            self.ensure_listener(port, &group.target_group_arn, arn, &listeners).await?;
        }
        self.remove_target_groups(groups).await?;
        Ok(balancer.dns_name.to_ascii_lowercase())
    }

    /// Remove everything.
    pub(super) async fn remove(&mut self) -> Result<(), Error> {
        if let Some(balancer) = self.find_balancer().await? {
            self.note(format!("deleted load balancer {}", balancer.load_balancer_name));
            self.aws.send(DeleteLoadBalancer { load_balancer_arn: balancer.load_balancer_arn }).await?;
        }
        let groups = self.owned_target_groups().await?;
        self.remove_target_groups(groups).await
    }

    async fn find_balancer(&self) -> Result<Option<LoadBalancer>, Error> {
        let names = vec![self.plan.name.clone()];
        match self.aws.send(DescribeLoadBalancers { names, ..Default::default() }).await {
            Ok(found) => Ok(found.into_iter().next()),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn ensure_balancer(&mut self) -> Result<LoadBalancer, Error> {
        let plan = self.plan;
        if let Some(balancer) = self.find_balancer().await? {
            if balancer.scheme == plan.scheme {
                return Ok(balancer);
            }
            self.note(format!("deleted load balancer {}: its scheme changes", plan.name));
            self.aws.send(DeleteLoadBalancer { load_balancer_arn: balancer.load_balancer_arn }).await?;
        }
        self.note(format!("created load balancer {}", plan.name));
        let create = CreateLoadBalancer {
            name: plan.name.clone(),
            r#type: LoadBalancerType::Network,
            scheme: plan.scheme,
            subnets: plan.subnets.clone(),
            security_groups: Vec::new(),
            ip_address_type: "ipv4".into(),
            tags: plan.tags.clone(),
        };
        self.aws.send(create).await
    }

    async fn owned_target_groups(&self) -> Result<Vec<TargetGroup>, Error> {
        let all = self.aws.send(DescribeTargetGroups::default()).await?;
        let owned = |g: &TargetGroup| self.plan.tags.iter().all(|t| tag(&g.tags, &t.key) == Some(&t.value));
        Ok(all.into_iter().filter(owned).collect())
    }

    async fn ensure_target_group(
        &mut self,
        port: &PortPlan,
        groups: &[TargetGroup],
        vpc_id: &str,
    ) -> Result<TargetGroup, Error> {
        let Some(group) = groups.iter().find(|g| g.target_group_name == port.target_group) else {
            self.note(format!("created target group {}", port.target_group));
            let create = CreateTargetGroup {
                name: port.target_group.clone(),
                protocol: port.protocol,
                protocol_version: None,
                port: port.target_port,
                vpc_id: vpc_id.to_string(),
                target_type: TargetType::Instance,
                health_check: port.health_check.clone(),
                tags: self.plan.tags.clone(),
            };
            return self.aws.send(create).await;
        };
        if group.health_check != port.health_check {
            self.note(format!("changed health check of target group {}", port.target_group));
            let modify = ModifyTargetGroup::health_check(&group.target_group_arn, &port.health_check);
            self.aws.send(modify).await?;
        }
        Ok(group.clone())
    }

    async fn ensure_targets(&mut self, port: &PortPlan, group: &TargetGroup) -> Result<(), Error> {
        let live = group.targets.iter().filter(|t| t.state != HealthState::Draining);
        let live: BTreeSet<TargetDescription> = live.map(|t| TargetDescription::new(&t.id, t.port)).collect();
        let new: Vec<TargetDescription> = port.targets.difference(&live).cloned().collect();
        let gone: Vec<TargetDescription> = live.difference(&port.targets).cloned().collect();
        let target_group_arn = group.target_group_arn.clone();
        if !new.is_empty() {
            self.target_changes.push(format!("registered {}", story(&new)));
            let register = RegisterTargets { target_group_arn: target_group_arn.clone(), targets: new };
            self.aws.send(register).await?;
        }
        if !gone.is_empty() {
            self.target_changes.push(format!("deregistered {}", story(&gone)));
            self.aws.send(DeregisterTargets { target_group_arn, targets: gone }).await?;
        }
        Ok(())
    }

    async fn ensure_listener(
        &mut self,
        port: &PortPlan,
        target_group_arn: &str,
        load_balancer_arn: &str,
        listeners: &[Listener],
    ) -> Result<(), Error> {
        let action = Action { order: Some(1), ..Action::forward(target_group_arn) };
        let Some(listener) = listeners.iter().find(|l| l.port == port.port) else {
            self.note(format!("created listener {} {}", port.protocol, port.port));
            let create = CreateListener {
                load_balancer_arn: load_balancer_arn.to_string(),
                port: port.port,
                protocol: port.protocol,
                ssl_policy: None,
                certificates: Vec::new(),
                default_actions: vec![action],
                tags: self.plan.tags.clone(),
            };
            self.aws.send(create).await?;
            return Ok(());
        };
        if listener.default_actions != [action.clone()] {
            self.note(format!("changed listener {} {}", port.protocol, port.port));
            let modify = ModifyListener {
                listener_arn: listener.listener_arn.clone(),
                default_actions: Some(vec![action]),
                ..Default::default()
            };
            self.aws.send(modify).await?;
        }
        Ok(())
    }

    /// Delete the target groups that the plan does not name.
    async fn remove_target_groups(&mut self, groups: Vec<TargetGroup>) -> Result<(), Error> {
        let plan = self.plan;
        for group in groups {
            if !plan.ports.iter().any(|p| p.target_group == group.target_group_name) {
                self.note(format!("deleted target group {}", group.target_group_name));
                self.aws.send(DeleteTargetGroup { target_group_arn: group.target_group_arn }).await?;
            }
        }
        Ok(())
    }
}

fn story(targets: &[TargetDescription]) -> String {
    let texts: Vec<String> =
        targets.iter().map(|t| format!("{}:{}", t.id, t.port.unwrap_or_default())).collect();
    texts.join(", ")
}
