//! Load balancers: one interface in each subnet, one loopback address in each zone, active at once.
//!
//! Listening is the proxy's business.

use crate::addresses::public_address;
use crate::attributes::set_attributes;
use crate::instances::timestamp;
use crate::state::{State, fresh_id, get_mut, not_found, values};
use ccm_mock_aws_api::elbv2::*;
use ccm_mock_aws_api::operation::*;
use ccm_mock_aws_api::{Code, Error, Parameter, limits, names};
use std::collections::BTreeSet;
use std::sync::Arc;

pub(crate) fn no_load_balancer(id: &str) -> Error {
    not_found(Code::LoadBalancerNotFound, format!("One or more load balancers not found: {id}"))
}

/// The rules for names of load balancers and target groups.
pub(crate) fn check_name(what: &str, name: &str) -> Result<(), Error> {
    let error = |message: String| Err(Error::new(Code::ValidationError, message).of(Parameter::Name));
    if name.is_empty() || name.len() > limits::NAME_LENGTH {
        return error(format!("{what} name '{name}' cannot be longer than '32' characters"));
    }
    if !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
        return error(format!(
            "{what} name '{name}' can only contain characters that are alphanumeric characters and hyphens(-)"
        ));
    }
    if name.starts_with('-') || name.ends_with('-') {
        return error(format!("{what} name '{name}' cannot begin or end with a hyphen(-)"));
    }
    Ok(())
}

impl State {
    fn zone_index(&self, zone_name: &str) -> u8 {
        (1..=self.zones).find(|i| ccm_mock_aws_api::layout::zone_name(*i) == zone_name).unwrap_or(1)
    }

    fn check_subnets(&self, subnets: &[String], kind: LoadBalancerType) -> Result<String, Error> {
        let refused = |code, message: &str| Error::new(code, message).of(Parameter::Subnets);
        let mut zones = BTreeSet::new();
        let mut vpc = String::new();
        for id in subnets {
            let subnet = self.subnets.get(id).ok_or_else(|| {
                let message = format!("The subnet ID '{id}' does not exist");
                Error::new(Code::SubnetNotFound, message).of(Parameter::Subnets).element(id)
            })?;
            if !zones.insert(subnet.availability_zone.clone()) {
                let message =
                    "A load balancer cannot be attached to multiple subnets in the same Availability Zone";
                return Err(refused(Code::InvalidConfigurationRequest, message));
            }
            if self.available_addresses(id) < 8 {
                let message = format!(
                    "Not enough IP space available in {id}. ELB requires at least 8 free IP addresses in each subnet."
                );
                return Err(refused(Code::InvalidSubnet, &message));
            }
            vpc = subnet.vpc_id.clone();
        }
        if kind == LoadBalancerType::Application && zones.len() < 2 {
            let message = "At least two subnets in two different Availability Zones must be specified";
            return Err(refused(Code::ValidationError, message));
        }
        if zones.is_empty() {
            return Err(refused(Code::ValidationError, "At least one subnet must be specified"));
        }
        Ok(vpc)
    }

    fn place(
        &mut self,
        arn: &str,
        block: u8,
        subnets: &[String],
        groups: &[String],
        internal: bool,
    ) -> Result<Vec<AvailabilityZone>, Error> {
        let path = arn.split(":loadbalancer/").nth(1).unwrap_or_default().to_string();
        let mut zones = Vec::new();
        for subnet_id in subnets {
            let zone_name =
                self.subnets.get(subnet_id).map(|s| s.availability_zone.clone()).unwrap_or_default();
            let ip_address = public_address(block, self.zone_index(&zone_name));
            let public = (!internal).then(|| ip_address.clone());
            let interface =
                self.service_interface(subnet_id, &format!("ELB {path}"), "load_balancer", public, groups)?;
            let address = LoadBalancerAddress {
                ip_address,
                private_ipv4_address: interface.private_ip_address,
                network_interface_id: interface.network_interface_id,
            };
            zones.push(AvailabilityZone {
                zone_name,
                subnet_id: subnet_id.clone(),
                load_balancer_addresses: vec![address],
            });
        }
        zones.sort_by(|a, b| a.zone_name.cmp(&b.zone_name));
        Ok(zones)
    }

    pub(crate) fn create_load_balancer(
        &mut self,
        input: CreateLoadBalancer,
        now_ms: u64,
    ) -> Result<LoadBalancer, Error> {
        check_name("Load balancer", &input.name)?;
        if let Some(known) = self.load_balancers.values().find(|l| l.load_balancer_name == input.name) {
            let placed: BTreeSet<&String> = known.availability_zones.iter().map(|z| &z.subnet_id).collect();
            let same = known.scheme == input.scheme
                && known.r#type == input.r#type
                && placed == input.subnets.iter().collect()
                && known.security_groups == input.security_groups
                && known.tags == input.tags;
            let message = format!(
                "A load balancer with the same name '{}' exists, but with different settings",
                input.name
            );
            return if same {
                Ok(known.as_ref().clone())
            } else {
                Err(Error::new(Code::DuplicateLoadBalancerName, message).of(Parameter::Name))
            };
        }
        if self.load_balancers.values().filter(|l| l.r#type == input.r#type).count() >= limits::LOAD_BALANCERS
        {
            return Err(Error::new(
                Code::TooManyLoadBalancers,
                "The maximum number of load balancers has been reached",
            ));
        }
        let vpc_id = self.check_subnets(&input.subnets, input.r#type)?;
        self.check_lb_groups(&input.security_groups)?;
        let id = fresh_id(&format!("lb/{}/{}", input.name, input.scheme), 16, |id| {
            self.load_balancers.keys().any(|k| k.ends_with(id))
        });
        let arn = names::load_balancer_arn(input.r#type, &input.name, &id);
        let block = self.free_public_block()?;
        let internal = input.scheme == Scheme::Internal;
        let availability_zones = self.place(&arn, block, &input.subnets, &input.security_groups, internal)?;
        let balancer = LoadBalancer {
            dns_name: names::dns_name(input.r#type, input.scheme, &input.name, &id),
            canonical_hosted_zone_id: names::canonical_hosted_zone_id(input.r#type).into(),
            load_balancer_arn: arn.clone(),
            load_balancer_name: input.name,
            scheme: input.scheme,
            r#type: input.r#type,
            ip_address_type: if input.ip_address_type.is_empty() {
                "ipv4".into()
            } else {
                input.ip_address_type
            },
            vpc_id,
            availability_zones,
            security_groups: input.security_groups,
            state: LoadBalancerState::Active,
            created_time: timestamp(now_ms),
            attributes: limits::load_balancer_attributes(input.r#type),
            endpoints: Vec::new(),
            tags: input.tags,
        };
        self.load_balancers.insert(arn, Arc::new(balancer.clone()));
        Ok(balancer)
    }

    fn check_lb_groups(&self, groups: &[String]) -> Result<(), Error> {
        if groups.len() > limits::SECURITY_GROUPS {
            let message = "A maximum of 5 security groups can be specified";
            let error = Error::new(Code::InvalidConfigurationRequest, message);
            return Err(error.of(Parameter::SecurityGroups));
        }
        self.check_groups(groups)
            .map_err(|e| Error::new(Code::InvalidSecurityGroup, e.message).of(Parameter::SecurityGroups))
    }

    pub(crate) fn describe_load_balancers(
        &self,
        input: DescribeLoadBalancers,
    ) -> Result<Vec<LoadBalancer>, Error> {
        let all = values(&self.load_balancers);
        if let Some(arn) = input.load_balancer_arns.iter().find(|a| !self.load_balancers.contains_key(*a)) {
            return Err(no_load_balancer(arn));
        }
        if let Some(name) = input.names.iter().find(|n| !all.iter().any(|l| l.load_balancer_name == **n)) {
            return Err(not_found(
                Code::LoadBalancerNotFound,
                format!("Load balancers '[{name}]' not found"),
            ));
        }
        let keep = |l: &LoadBalancer| {
            (input.load_balancer_arns.is_empty() || input.load_balancer_arns.contains(&l.load_balancer_arn))
                && (input.names.is_empty() || input.names.contains(&l.load_balancer_name))
        };
        Ok(all.into_iter().filter(keep).collect())
    }

    pub(crate) fn delete_load_balancer(&mut self, input: DeleteLoadBalancer) -> Result<(), Error> {
        let arn = &input.load_balancer_arn;
        // AWS answers success for one that is not there.
        let Some(balancer) = self.load_balancers.get(arn).cloned() else { return Ok(()) };
        if balancer.attributes.get("deletion_protection.enabled").is_some_and(|v| v == "true") {
            let message =
                format!("Load balancer '{arn}' cannot be deleted because deletion protection is enabled");
            return Err(Error::new(Code::OperationNotPermitted, message));
        }
        self.load_balancers.remove(arn);
        let listeners: Vec<String> = self
            .listeners
            .values()
            .filter(|l| l.load_balancer_arn == *arn)
            .map(|l| l.listener_arn.clone())
            .collect();
        listeners.iter().for_each(|l| self.remove_listener(l));
        self.remove_service_interfaces(&interfaces_of(&balancer));
        Ok(())
    }

    pub(crate) fn modify_load_balancer_attributes(
        &mut self,
        input: ModifyLoadBalancerAttributes,
    ) -> Result<Attributes, Error> {
        let arn = &input.load_balancer_arn;
        let balancer = get_mut(&mut self.load_balancers, arn, || no_load_balancer(arn))?;
        set_attributes(&mut balancer.attributes, input.attributes, "Load balancer")?;
        Ok(balancer.attributes.clone())
    }

    pub(crate) fn set_subnets(&mut self, input: SetSubnets) -> Result<LoadBalancer, Error> {
        let arn = &input.load_balancer_arn;
        let old = self.load_balancers.get(arn).cloned().ok_or_else(|| no_load_balancer(arn))?;
        self.check_subnets(&input.subnets, old.r#type)?;
        let block = old.availability_zones.first().and_then(|z| z.load_balancer_addresses.first());
        let block = block
            .and_then(|a| a.ip_address.split('.').nth(2)?.parse().ok())
            .map_or_else(|| self.free_public_block(), Ok)?;
        let (kept, gone): (Vec<_>, Vec<_>) =
            old.availability_zones.iter().cloned().partition(|z| input.subnets.contains(&z.subnet_id));
        let gone: Vec<String> = gone
            .iter()
            .flat_map(|z| &z.load_balancer_addresses)
            .map(|a| a.network_interface_id.clone())
            .collect();
        self.remove_service_interfaces(&gone);
        let new: Vec<String> =
            input.subnets.iter().filter(|s| !kept.iter().any(|z| z.subnet_id == **s)).cloned().collect();
        let internal = old.scheme == Scheme::Internal;
        let mut zones = self.place(arn, block, &new, &old.security_groups, internal)?;
        zones.extend(kept);
        zones.sort_by(|a, b| a.zone_name.cmp(&b.zone_name));
        let balancer = get_mut(&mut self.load_balancers, arn, || no_load_balancer(arn))?;
        balancer.availability_zones = zones;
        Ok(balancer.clone())
    }

    pub(crate) fn set_security_groups(&mut self, input: SetSecurityGroups) -> Result<LoadBalancer, Error> {
        self.check_lb_groups(&input.security_groups)?;
        let arn = &input.load_balancer_arn;
        let balancer = get_mut(&mut self.load_balancers, arn, || no_load_balancer(arn))?;
        balancer.security_groups = input.security_groups.clone();
        let balancer = balancer.clone();
        for id in interfaces_of(&balancer) {
            let interface =
                get_mut(&mut self.network_interfaces, &id, || crate::interfaces::no_interface(&id))?;
            interface.groups = input.security_groups.clone();
        }
        Ok(balancer)
    }

    pub(crate) fn set_ip_address_type(&mut self, input: SetIpAddressType) -> Result<LoadBalancer, Error> {
        let arn = &input.load_balancer_arn;
        let balancer = get_mut(&mut self.load_balancers, arn, || no_load_balancer(arn))?;
        balancer.ip_address_type = input.ip_address_type;
        Ok(balancer.clone())
    }
}

fn interfaces_of(balancer: &LoadBalancer) -> Vec<String> {
    let addresses = balancer.availability_zones.iter().flat_map(|z| &z.load_balancer_addresses);
    addresses.map(|a| a.network_interface_id.clone()).collect()
}
