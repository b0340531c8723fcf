//! The managed security group: which ports of the load balancer are let in from where.
//!
//! Groups given by annotation are never touched.

use super::{Session, tag_list};
use ccm_mock_aws_api::Error;
use ccm_mock_aws_api::ec2::{IpPermission, IpRange, SecurityGroup};
use ccm_mock_aws_api::layout::VPC_ID;
use ccm_mock_aws_api::operation::*;
use controllers_ingress_model::SecurityGroupPlan;
use std::collections::BTreeSet;

const DESCRIPTION: &str = "[k8s] Managed SecurityGroup for LoadBalancer";

fn permissions(pairs: BTreeSet<(u16, String)>) -> Vec<IpPermission> {
    let one = |(port, cidr_ip): (u16, String)| IpPermission {
        ip_protocol: "tcp".into(),
        from_port: Some(port.into()),
        to_port: Some(port.into()),
        ip_ranges: vec![IpRange { cidr_ip, description: String::new() }],
        user_id_group_pairs: Vec::new(),
    };
    pairs.into_iter().map(one).collect()
}

fn present(group: &SecurityGroup) -> BTreeSet<(u16, String)> {
    let port = |p: &IpPermission| u16::try_from(p.from_port.unwrap_or_default()).unwrap_or_default();
    let pairs = group.ip_permissions.iter().flat_map(|p| p.ip_ranges.iter().map(move |r| (p, r)));
    pairs.map(|(permission, range)| (port(permission), range.cidr_ip.clone())).collect()
}

impl Session<'_> {
    async fn owned_security_groups(&self) -> Result<Vec<SecurityGroup>, Error> {
        self.aws.send(DescribeSecurityGroups { tags: self.ownership(), ..Default::default() }).await
    }

    /// The groups that the load balancer is to have.
    pub(super) async fn ensure_security_group(&mut self) -> Result<Vec<String>, Error> {
        let Some(plan) = &self.plan.security_group else {
            let given = self.plan.load_balancer.as_ref().map(|b| b.security_groups.clone());
            return Ok(given.unwrap_or_default());
        };
        let known = self.owned_security_groups().await?.into_iter().find(|g| g.group_name == plan.name);
        let group = match known {
            Some(group) => group,
            None => self.create_security_group(plan).await?,
        };
        let wanted: BTreeSet<(u16, String)> =
            plan.ports.iter().flat_map(|port| plan.cidrs.iter().map(|cidr| (*port, cidr.clone()))).collect();
        let present = present(&group);
        let group_id = group.group_id.clone();
        let new: BTreeSet<_> = wanted.difference(&present).cloned().collect();
        let gone: BTreeSet<_> = present.difference(&wanted).cloned().collect();
        if !gone.is_empty() {
            let ip_permissions = permissions(gone);
            self.note(format!("revoked ingress of {}", plan.name));
            self.aws.send(RevokeSecurityGroupIngress { group_id: group_id.clone(), ip_permissions }).await?;
        }
        if !new.is_empty() {
            let ip_permissions = permissions(new);
            self.note(format!("authorized ingress of {}", plan.name));
            self.aws
                .send(AuthorizeSecurityGroupIngress { group_id: group_id.clone(), ip_permissions })
                .await?;
        }
        Ok(vec![group_id])
    }

    async fn create_security_group(&mut self, plan: &SecurityGroupPlan) -> Result<SecurityGroup, Error> {
        let create = CreateSecurityGroup {
            group_name: plan.name.clone(),
            description: DESCRIPTION.into(),
            vpc_id: VPC_ID.into(),
            tags: tag_list(&plan.tags),
        };
        self.note(format!("created security group {}", plan.name));
        self.aws.send(create).await
    }

    pub(super) async fn remove_other_security_groups(&mut self) -> Result<(), Error> {
        let keep = self.plan.security_group.as_ref().map(|g| g.name.clone());
        for group in self.owned_security_groups().await? {
            if Some(&group.group_name) != keep.as_ref() {
                self.note(format!("deleted security group {}", group.group_name));
                self.aws.send(DeleteSecurityGroup { group_id: group.group_id }).await?;
            }
        }
        Ok(())
    }
}
