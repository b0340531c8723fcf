//! Security groups and their ingress permissions.
//!
//! One permission is kept for each protocol and port range; sources are merged into it, as AWS shows them.

use crate::network::has_tags;
use crate::state::{State, fresh_id, get_mut, not_found, values};
use ccm_mock_aws_api::ec2::*;
use ccm_mock_aws_api::operation::*;
use ccm_mock_aws_api::{Code, Error, limits};
use std::sync::Arc;

fn no_group(id: &str) -> Error {
    not_found(Code::InvalidGroupNotFound, format!("The security group '{id}' does not exist"))
}

fn same_ports(a: &IpPermission, b: &IpPermission) -> bool {
    a.ip_protocol == b.ip_protocol && a.from_port == b.from_port && a.to_port == b.to_port
}

impl State {
    pub(crate) fn check_groups(&self, ids: &[String]) -> Result<(), Error> {
        ids.iter().find(|id| !self.security_groups.contains_key(*id)).map_or(Ok(()), |id| Err(no_group(id)))
    }

    pub(crate) fn create_security_group(
        &mut self,
        input: CreateSecurityGroup,
    ) -> Result<SecurityGroup, Error> {
        if !self.vpcs.contains_key(&input.vpc_id) {
            return Err(not_found(
                Code::InvalidVpcIdNotFound,
                format!("The vpc ID '{}' does not exist", input.vpc_id),
            ));
        }
        if self.security_groups.values().any(|g| g.group_name == input.group_name && g.vpc_id == input.vpc_id)
        {
            let message = format!(
                "The security group '{}' already exists for VPC '{}'",
                input.group_name, input.vpc_id
            );
            return Err(Error::new(Code::InvalidGroupDuplicate, message));
        }
        let text = format!("sg/{}", input.group_name);
        let id = format!(
            "sg-{}",
            fresh_id(&text, 17, |id| self.security_groups.contains_key(&format!("sg-{id}")))
        );
        let anywhere = IpRange { cidr_ip: "0.0.0.0/0".into(), description: String::new() };
        let group = SecurityGroup {
            group_id: id.clone(),
            group_name: input.group_name,
            description: input.description,
            vpc_id: input.vpc_id,
            ip_permissions: Vec::new(),
            ip_permissions_egress: vec![IpPermission {
                ip_protocol: "-1".into(),
                ip_ranges: vec![anywhere],
                ..Default::default()
            }],
            tags: input.tags,
        };
        self.security_groups.insert(id, Arc::new(group.clone()));
        Ok(group)
    }

    pub(crate) fn delete_security_group(&mut self, input: DeleteSecurityGroup) -> Result<(), Error> {
        let id = &input.group_id;
        if !self.security_groups.contains_key(id) {
            return Err(no_group(id));
        }
        let refers = |g: &SecurityGroup| {
            g.group_id != *id
                && g.ip_permissions.iter().any(|p| p.user_id_group_pairs.iter().any(|u| u.group_id == *id))
        };
        let in_use = self.network_interfaces.values().any(|n| n.groups.contains(id))
            || self.load_balancers.values().any(|l| l.security_groups.contains(id))
            || self.security_groups.values().any(|g| refers(g));
        if in_use {
            return Err(Error::new(
                Code::DependencyViolation,
                format!("resource {id} has a dependent object"),
            ));
        }
        self.security_groups.remove(id);
        Ok(())
    }

    pub(crate) fn authorize_ingress(&mut self, input: AuthorizeSecurityGroupIngress) -> Result<(), Error> {
        let id = &input.group_id;
        let pairs = input
            .ip_permissions
            .iter()
            .flat_map(|p| p.user_id_group_pairs.iter().map(|u| u.group_id.clone()));
        self.check_groups(&pairs.collect::<Vec<_>>())?;
        let group = get_mut(&mut self.security_groups, id, || no_group(id))?;
        for wanted in input.ip_permissions {
            let index = match group.ip_permissions.iter().position(|p| same_ports(p, &wanted)) {
                Some(index) => index,
                None => {
                    let empty =
                        IpPermission { ip_ranges: vec![], user_id_group_pairs: vec![], ..wanted.clone() };
                    group.ip_permissions.push(empty);
                    group.ip_permissions.len() - 1
                }
            };
            let known = &mut group.ip_permissions[index];
            let duplicate = |peer: &str| {
                let message = format!(
                    "the specified rule \"peer: {peer}, {}, ALLOW\" already exists",
                    wanted.ip_protocol
                );
                Error::new(Code::InvalidPermissionDuplicate, message)
            };
            for range in &wanted.ip_ranges {
                if known.ip_ranges.iter().any(|r| r.cidr_ip == range.cidr_ip) {
                    return Err(duplicate(&range.cidr_ip));
                }
                known.ip_ranges.push(range.clone());
            }
            for pair in &wanted.user_id_group_pairs {
                if known.user_id_group_pairs.iter().any(|u| u.group_id == pair.group_id) {
                    return Err(duplicate(&pair.group_id));
                }
                known.user_id_group_pairs.push(pair.clone());
            }
        }
        let count: usize =
            group.ip_permissions.iter().map(|p| p.ip_ranges.len() + p.user_id_group_pairs.len()).sum();
        if count > limits::RULES_PER_SECURITY_GROUP {
            let message = "The maximum number of rules per security group has been reached.";
            return Err(Error::new(Code::RulesPerSecurityGroupLimitExceeded, message));
        }
        Ok(())
    }

    pub(crate) fn revoke_ingress(&mut self, input: RevokeSecurityGroupIngress) -> Result<(), Error> {
        let id = &input.group_id;
        let missing = || {
            Error::new(
                Code::InvalidPermissionNotFound,
                "The specified rule does not exist in this security group.",
            )
        };
        let group = get_mut(&mut self.security_groups, id, || no_group(id))?;
        for gone in &input.ip_permissions {
            let known = group.ip_permissions.iter_mut().find(|p| same_ports(p, gone)).ok_or_else(missing)?;
            for range in &gone.ip_ranges {
                let index =
                    known.ip_ranges.iter().position(|r| r.cidr_ip == range.cidr_ip).ok_or_else(missing)?;
                known.ip_ranges.remove(index);
            }
            for pair in &gone.user_id_group_pairs {
                let index = known
                    .user_id_group_pairs
                    .iter()
                    .position(|u| u.group_id == pair.group_id)
                    .ok_or_else(missing)?;
                known.user_id_group_pairs.remove(index);
            }
        }
        group.ip_permissions.retain(|p| !p.ip_ranges.is_empty() || !p.user_id_group_pairs.is_empty());
        Ok(())
    }

    pub(crate) fn describe_security_groups(
        &self,
        input: DescribeSecurityGroups,
    ) -> Result<Vec<SecurityGroup>, Error> {
        self.check_groups(&input.group_ids)?;
        let keep = |g: &SecurityGroup| {
            (input.group_ids.is_empty() || input.group_ids.contains(&g.group_id))
                && input.group_name.as_ref().is_none_or(|n| *n == g.group_name)
                && has_tags(&g.tags, &input.tags)
        };
        Ok(values(&self.security_groups).into_iter().filter(keep).collect())
    }
}
