//! The load balancer itself: created, changed, or replaced when its scheme changes.
//!
//! Its listeners are the business of `listeners`.

use super::{Refusal, Session, differing, send, tag_list};
use ccm_mock_aws_api::elbv2::{LoadBalancer, LoadBalancerType};
use ccm_mock_aws_api::operation::*;
use ccm_mock_aws_api::{Code, Error};
use controllers_ingress_model::{DELETION_PROTECTION, LoadBalancerPlan};
use std::collections::BTreeSet;

impl Session<'_> {
    /// Delete owned load balancers that cannot become the wanted one; answers the one that can.
    pub(super) async fn remove_other_balancers(&mut self) -> Result<Option<LoadBalancer>, Error> {
        let mut kept = None;
        for balancer in self.aws.send(DescribeLoadBalancers::default()).await? {
            if !self.owns(&balancer.tags) {
                continue;
            }
            let fits =
                self.plan.load_balancer.as_ref().is_some_and(|wanted| wanted.scheme == balancer.scheme);
            if fits && kept.is_none() {
                kept = Some(balancer);
                continue;
            }
            self.note(format!("deleted load balancer {}", balancer.load_balancer_name));
            self.delete_balancer(&balancer).await?;
        }
        Ok(kept)
    }

    /// Deletion protection that nobody asks for any more does not keep it.
    async fn delete_balancer(&self, balancer: &LoadBalancer) -> Result<(), Error> {
        let load_balancer_arn = balancer.load_balancer_arn.clone();
        let delete = DeleteLoadBalancer { load_balancer_arn: load_balancer_arn.clone() };
        let refused = match self.aws.send(delete.clone()).await {
            Err(error) if error.code == Code::OperationNotPermitted => error,
            answer => return answer,
        };
        if balancer.attributes.get(DELETION_PROTECTION).is_none_or(|value| value != "true") {
            return Err(refused);
        }
        let attributes = [(DELETION_PROTECTION.to_string(), "false".to_string())].into();
        self.aws.send(ModifyLoadBalancerAttributes { load_balancer_arn, attributes }).await?;
        self.aws.send(delete).await
    }

    pub(super) async fn ensure_balancer(
        &mut self,
        wanted: &LoadBalancerPlan,
        present: Option<LoadBalancer>,
        security_groups: &[String],
    ) -> Result<LoadBalancer, Refusal> {
        let balancer = match present {
            Some(balancer) => {
                self.change_balancer(wanted, &balancer, security_groups).await?;
                balancer
            }
            None => {
                let create = CreateLoadBalancer {
                    name: wanted.name.clone(),
                    r#type: LoadBalancerType::Application,
                    scheme: wanted.scheme,
                    subnets: wanted.subnets.clone(),
                    security_groups: security_groups.to_vec(),
                    ip_address_type: wanted.ip_address_type.clone(),
                    tags: tag_list(&wanted.tags),
                };
                let balancer = send(&self.aws, create, &wanted.origins).await?;
                self.note(format!("created load balancer {}", wanted.name));
                balancer
            }
        };
        let attributes = differing(&balancer.attributes, &wanted.attributes);
        if !attributes.is_empty() {
            self.note(format!("set attributes of load balancer {}", wanted.name));
            let load_balancer_arn = balancer.load_balancer_arn.clone();
            let modify = ModifyLoadBalancerAttributes { load_balancer_arn, attributes };
            send(&self.aws, modify, &wanted.origins).await?;
        }
        Ok(balancer)
    }

    async fn change_balancer(
        &mut self,
        wanted: &LoadBalancerPlan,
        balancer: &LoadBalancer,
        security_groups: &[String],
    ) -> Result<(), Refusal> {
        let arn = &balancer.load_balancer_arn;
        let placed: BTreeSet<&String> = balancer.availability_zones.iter().map(|z| &z.subnet_id).collect();
        if placed != wanted.subnets.iter().collect() {
            self.note(format!("moved load balancer {} to other subnets", wanted.name));
            let subnets = wanted.subnets.clone();
            let set = SetSubnets { load_balancer_arn: arn.clone(), subnets };
            send(&self.aws, set, &wanted.origins).await?;
        }
        let groups: BTreeSet<&String> = balancer.security_groups.iter().collect();
        if groups != security_groups.iter().collect() {
            self.note(format!("set security groups of load balancer {}", wanted.name));
            let security_groups = security_groups.to_vec();
            let set = SetSecurityGroups { load_balancer_arn: arn.clone(), security_groups };
            send(&self.aws, set, &wanted.origins).await?;
        }
        if balancer.ip_address_type != wanted.ip_address_type {
            self.note(format!("set address type of load balancer {}", wanted.name));
            let ip_address_type = wanted.ip_address_type.clone();
            self.aws.send(SetIpAddressType { load_balancer_arn: arn.clone(), ip_address_type }).await?;
        }
        Ok(self.ensure_tags(arn, &balancer.tags, &wanted.tags).await?)
    }
}
