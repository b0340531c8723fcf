//! Target groups, registration, and the part of health that follows from configuration alone.
//!
//! Probing is the proxy's business: it reports, see `report`.

use crate::attributes::{check_target_group_attributes, set_attributes};
use crate::health_checks::check_health_check;
use crate::listeners::web;
use crate::load_balancers::check_name;
use crate::state::{State, fresh_id, get_mut, not_found, values};
use ccm_mock_aws_api::elbv2::*;
use ccm_mock_aws_api::health::Reason;
use ccm_mock_aws_api::operation::*;
use ccm_mock_aws_api::{Code, Error, limits, names};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

pub(crate) fn no_target_group(arn: &str) -> Error {
    not_found(Code::TargetGroupNotFound, format!("One or more target groups not found: {arn}"))
}

pub(crate) fn set_reason(target: &mut TargetHealthDescription, reason: Reason) {
    let (state, description) = reason.meaning();
    target.state = state;
    target.reason = Some(reason.as_str().into());
    target.description = Some(description.into());
}

impl State {
    pub(crate) fn create_target_group(&mut self, input: CreateTargetGroup) -> Result<TargetGroup, Error> {
        check_name("Target group", &input.name)?;
        if input.port == 0 {
            return Err(Error::new(Code::ValidationError, "A port must be specified"));
        }
        if !self.vpcs.contains_key(&input.vpc_id) {
            return Err(Error::new(
                Code::ValidationError,
                format!("The VPC ID '{}' is not found", input.vpc_id),
            ));
        }
        let version = if web(input.protocol) {
            Some(input.protocol_version.unwrap_or(ProtocolVersion::Http1))
        } else {
            None
        };
        check_health_check(input.protocol, version, &input.health_check)?;
        if let Some(known) = self.target_groups.values().find(|t| t.target_group_name == input.name) {
            let same = (known.protocol, known.port, known.target_type, known.protocol_version)
                == (input.protocol, input.port, input.target_type, version)
                && known.health_check == input.health_check
                && known.tags == input.tags;
            let message = format!(
                "A target group with the same name '{}' exists, but with different settings",
                input.name
            );
            return if same {
                Ok(known.as_ref().clone())
            } else {
                Err(Error::new(Code::DuplicateTargetGroupName, message))
            };
        }
        if self.target_groups.len() >= limits::TARGET_GROUPS {
            return Err(Error::new(
                Code::TooManyTargetGroups,
                "The maximum number of target groups has been reached",
            ));
        }
        let id = fresh_id(&format!("tg/{}", input.name), 16, |id| {
            self.target_groups.keys().any(|k| k.ends_with(id))
        });
        let group = TargetGroup {
            target_group_arn: names::target_group_arn(&input.name, &id),
            target_group_name: input.name,
            protocol: input.protocol,
            port: input.port,
            protocol_version: version,
            target_type: input.target_type,
            vpc_id: input.vpc_id,
            ip_address_type: "ipv4".into(),
            health_check: input.health_check,
            load_balancer_arns: Vec::new(),
            targets: Vec::new(),
            attributes: limits::target_group_attributes(input.protocol),
            tags: input.tags,
        };
        self.target_groups.insert(group.target_group_arn.clone(), Arc::new(group.clone()));
        Ok(group)
    }

    pub(crate) fn describe_target_groups(
        &self,
        input: DescribeTargetGroups,
    ) -> Result<Vec<TargetGroup>, Error> {
        if let Some(arn) = input.target_group_arns.iter().find(|a| !self.target_groups.contains_key(*a)) {
            return Err(no_target_group(arn));
        }
        let all = values(&self.target_groups);
        if let Some(name) = input.names.iter().find(|n| !all.iter().any(|t| t.target_group_name == **n)) {
            return Err(no_target_group(name));
        }
        let keep = |t: &TargetGroup| {
            (input.target_group_arns.is_empty() || input.target_group_arns.contains(&t.target_group_arn))
                && (input.names.is_empty() || input.names.contains(&t.target_group_name))
                && input.load_balancer_arn.as_ref().is_none_or(|l| t.load_balancer_arns.contains(l))
        };
        Ok(all.into_iter().filter(keep).collect())
    }

    pub(crate) fn modify_target_group(&mut self, input: ModifyTargetGroup) -> Result<TargetGroup, Error> {
        let arn = &input.target_group_arn;
        let group = get_mut(&mut self.target_groups, arn, || no_target_group(arn))?;
        let old = group.health_check.clone();
        group.health_check = HealthCheck {
            enabled: input.health_check_enabled.unwrap_or(old.enabled),
            protocol: input.health_check_protocol.unwrap_or(old.protocol),
            port: input.health_check_port.unwrap_or(old.port),
            path: input.health_check_path.unwrap_or(old.path),
            interval_seconds: input.health_check_interval_seconds.unwrap_or(old.interval_seconds),
            timeout_seconds: input.health_check_timeout_seconds.unwrap_or(old.timeout_seconds),
            healthy_threshold_count: input.healthy_threshold_count.unwrap_or(old.healthy_threshold_count),
            unhealthy_threshold_count: input
                .unhealthy_threshold_count
                .unwrap_or(old.unhealthy_threshold_count),
            matcher: input.matcher.unwrap_or(old.matcher),
        };
        check_health_check(group.protocol, group.protocol_version, &group.health_check)?;
        Ok(group.clone())
    }

    pub(crate) fn modify_target_group_attributes(
        &mut self,
        input: ModifyTargetGroupAttributes,
    ) -> Result<Attributes, Error> {
        let arn = &input.target_group_arn;
        let group = get_mut(&mut self.target_groups, arn, || no_target_group(arn))?;
        set_attributes(&mut group.attributes, input.attributes, "Target group")?;
        check_target_group_attributes(group.protocol, &group.attributes)?;
        Ok(group.attributes.clone())
    }

    pub(crate) fn delete_target_group(&mut self, input: DeleteTargetGroup) -> Result<(), Error> {
        let arn = &input.target_group_arn;
        // AWS answers success for one that is not there.
        let Some(group) = self.target_groups.get(arn) else { return Ok(()) };
        if !group.load_balancer_arns.is_empty() {
            let message = format!("Target group '{arn}' is currently in use by a listener or a rule");
            return Err(Error::new(Code::ResourceInUse, message));
        }
        self.target_groups.remove(arn);
        Ok(())
    }

    fn check_target(&self, group: &TargetGroup, target: &TargetDescription) -> Result<(), Error> {
        let invalid = |message: String| Err(Error::new(Code::InvalidTarget, message));
        if group.target_type == TargetType::Instance {
            if !self.instances.contains_key(&target.id) {
                return invalid(format!(
                    "The following targets are not in a running state and cannot be registered: '{}'",
                    target.id
                ));
            }
            return Ok(());
        }
        let Ok(ip) = target.id.parse::<std::net::Ipv4Addr>() else {
            return Err(Error::new(
                Code::ValidationError,
                format!("The IP address '{}' is not a valid IPv4 address", target.id),
            ));
        };
        let in_vpc = self.vpcs.values().any(|vpc| vpc.holds(ip));
        if !in_vpc && target.availability_zone.as_deref() != Some("all") {
            let message =
                format!("The IP address '{ip}' is not within the VPC; you must specify an Availability Zone");
            return Err(Error::new(Code::ValidationError, message));
        }
        Ok(())
    }

    pub(crate) fn register_targets(&mut self, input: RegisterTargets) -> Result<(), Error> {
        let arn = &input.target_group_arn;
        let known = self.target_groups.get(arn).cloned().ok_or_else(|| no_target_group(arn))?;
        input.targets.iter().try_for_each(|t| self.check_target(&known, t))?;
        let zones: BTreeMap<String, String> = match known.target_type {
            TargetType::Instance => self
                .instances
                .values()
                .map(|i| (i.instance_id.clone(), i.availability_zone.clone()))
                .collect(),
            TargetType::Ip => self
                .network_interfaces
                .values()
                .flat_map(|n| {
                    n.private_ip_addresses
                        .iter()
                        .filter(|a| input.targets.iter().any(|t| t.id == a.private_ip_address))
                        .map(|a| (a.private_ip_address.clone(), n.availability_zone.clone()))
                })
                .collect(),
        };
        let group = get_mut(&mut self.target_groups, arn, || no_target_group(arn))?;
        for target in input.targets {
            let port = target.port.unwrap_or(group.port);
            let zone = target.availability_zone.or_else(|| zones.get(&target.id).cloned());
            match group.targets.iter_mut().find(|t| t.is(&target.id, port)) {
                Some(known) if known.state != HealthState::Draining => {}
                Some(known) => {
                    known.draining_until_ms = None;
                    set_reason(known, Reason::RegistrationInProgress);
                }
                None => {
                    let mut new = TargetHealthDescription {
                        id: target.id,
                        port,
                        availability_zone: zone,
                        state: HealthState::Unused,
                        reason: None,
                        description: None,
                        draining_until_ms: None,
                    };
                    set_reason(&mut new, Reason::RegistrationInProgress);
                    group.targets.push(new);
                }
            }
        }
        if group.targets.len() > limits::TARGETS_PER_TARGET_GROUP {
            return Err(Error::new(Code::TooManyTargets, "The maximum number of targets has been reached"));
        }
        Ok(())
    }

    pub(crate) fn deregister_targets(&mut self, input: DeregisterTargets, now_ms: u64) -> Result<(), Error> {
        let arn = &input.target_group_arn;
        let group = get_mut(&mut self.target_groups, arn, || no_target_group(arn))?;
        let delay: u64 = group
            .attributes
            .get("deregistration_delay.timeout_seconds")
            .and_then(|v| v.parse().ok())
            .unwrap_or(300);
        for target in &input.targets {
            let port = target.port.unwrap_or(group.port);
            let Some(known) = group.targets.iter_mut().find(|t| t.is(&target.id, port)) else { continue };
            if known.state == HealthState::Unused || delay == 0 {
                group.targets.retain(|t| !t.is(&target.id, port));
            } else if known.state != HealthState::Draining {
                known.draining_until_ms = Some(now_ms + delay * 1000);
                set_reason(known, Reason::DeregistrationInProgress);
            }
        }
        Ok(())
    }

    pub(crate) fn describe_target_health(
        &self,
        input: DescribeTargetHealth,
    ) -> Result<Vec<TargetHealthDescription>, Error> {
        let arn = &input.target_group_arn;
        let group = self.target_groups.get(arn).ok_or_else(|| no_target_group(arn))?;
        if input.targets.is_empty() {
            return Ok(group.targets.clone());
        }
        let describe = |wanted: &TargetDescription| {
            let port = wanted.port.unwrap_or(group.port);
            group.targets.iter().find(|t| t.is(&wanted.id, port)).cloned().unwrap_or_else(|| {
                let mut unknown = TargetHealthDescription {
                    id: wanted.id.clone(),
                    port,
                    availability_zone: wanted.availability_zone.clone(),
                    state: HealthState::Unused,
                    reason: None,
                    description: None,
                    draining_until_ms: None,
                };
                set_reason(&mut unknown, Reason::NotRegistered);
                unknown
            })
        };
        Ok(input.targets.iter().map(describe).collect())
    }

    /// After every change: which load balancers use a target group, and whether its targets are in use at all.
    pub(crate) fn settle(&mut self) {
        let mut users: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for listener in self.listeners.values() {
            let rules = self
                .rules
                .values()
                .filter(|r| r.listener_arn == listener.listener_arn)
                .flat_map(|r| &r.actions);
            for (arn, _) in listener.default_actions.iter().chain(rules).flat_map(|a| a.target_groups()) {
                users.entry(arn.to_string()).or_default().insert(listener.load_balancer_arn.clone());
            }
        }
        let mut corrected = Vec::new();
        for (arn, group) in &self.target_groups {
            let balancers: Vec<String> = users.remove(arn).into_iter().flatten().collect();
            let instances = &self.instances;
            let used = !balancers.is_empty();
            let fitting = |t: &TargetHealthDescription| match t.state {
                HealthState::Draining => None,
                _ if group.target_type == TargetType::Instance && !instances.contains_key(&t.id) => {
                    Some(Reason::InvalidState)
                }
                _ if !used => Some(Reason::NotInUse),
                HealthState::Unused if !group.health_check.enabled => Some(Reason::HealthCheckDisabled),
                HealthState::Unused => Some(Reason::RegistrationInProgress),
                _ => None,
            };
            let wrong = |t: &TargetHealthDescription| {
                fitting(t).is_some_and(|r| t.reason.as_deref() != Some(r.as_str()))
            };
            if group.load_balancer_arns == balancers && !group.targets.iter().any(wrong) {
                continue;
            }
            let corrections: Vec<Option<Reason>> = group.targets.iter().map(fitting).collect();
            let mut group = (**group).clone();
            group.load_balancer_arns = balancers;
            for (target, reason) in group.targets.iter_mut().zip(corrections) {
                if let Some(reason) = reason {
                    set_reason(target, reason);
                }
            }
            corrected.push((arn.clone(), Arc::new(group)));
        }
        self.target_groups.extend(corrected);
    }
}
