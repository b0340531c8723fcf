//! Target groups: created before anything forwards to them, deleted after nothing does.
//!
//! Their targets are the business of the targets loop.

use super::{Refusal, Session, differing, send, tag_list};
use crate::targets::Binding;
use ccm_mock_aws_api::elbv2::TargetGroup;
use ccm_mock_aws_api::layout::VPC_ID;
use ccm_mock_aws_api::operation::*;
use ccm_mock_aws_api::{Error, tag};
use controllers_ingress_model::{RESOURCE_TAG, TargetGroupPlan};
use controllers_kit::Key;

impl Session<'_> {
    async fn owned_target_groups(&self) -> Result<Vec<TargetGroup>, Error> {
        let all = self.aws.send(DescribeTargetGroups::default()).await?;
        Ok(all.into_iter().filter(|group| self.owns(&group.tags)).collect())
    }

    pub(super) async fn ensure_target_groups(&mut self) -> Result<(), Refusal> {
        let owned = self.owned_target_groups().await?;
        let plan = self.plan;
        for wanted in &plan.target_groups {
            let fits = |g: &&TargetGroup| {
                g.target_group_name == wanted.name && tag(&g.tags, RESOURCE_TAG) == Some(&wanted.resource)
            };
            let group = match owned.iter().find(fits) {
                Some(group) => {
                    self.change_target_group(wanted, group).await?;
                    group.clone()
                }
                None => self.create_target_group(wanted).await?,
            };
            let attributes = differing(&group.attributes, &wanted.attributes);
            let target_group_arn = group.target_group_arn.clone();
            if !attributes.is_empty() {
                self.note(format!("set attributes of target group {}", wanted.name));
                let modify =
                    ModifyTargetGroupAttributes { target_group_arn: target_group_arn.clone(), attributes };
                send(&self.aws, modify, &wanted.origins).await?;
            }
            let binding = Binding {
                service: Key::new(&wanted.namespace, &wanted.service),
                port: wanted.service_port.clone(),
                target_type: wanted.target_type,
            };
            self.bindings.bind(&target_group_arn, binding);
            self.arns.insert(wanted.resource.clone(), target_group_arn);
        }
        Ok(())
    }

    async fn create_target_group(&mut self, wanted: &TargetGroupPlan) -> Result<TargetGroup, Refusal> {
        let create = CreateTargetGroup {
            name: wanted.name.clone(),
            protocol: wanted.protocol,
            protocol_version: Some(wanted.protocol_version),
            port: wanted.port,
            vpc_id: VPC_ID.into(),
            target_type: wanted.target_type,
            health_check: wanted.health_check.clone(),
            tags: tag_list(&wanted.tags),
        };
        let group = send(&self.aws, create, &wanted.origins).await?;
        self.note(format!("created target group {}", wanted.name));
        Ok(group)
    }

    async fn change_target_group(
        &mut self,
        wanted: &TargetGroupPlan,
        group: &TargetGroup,
    ) -> Result<(), Refusal> {
        if group.health_check != wanted.health_check {
            self.note(format!("changed health check of target group {}", wanted.name));
            let modify = ModifyTargetGroup::health_check(&group.target_group_arn, &wanted.health_check);
            send(&self.aws, modify, &wanted.origins).await?;
        }
        Ok(self.ensure_tags(&group.target_group_arn, &group.tags, &wanted.tags).await?)
    }

    pub(super) async fn remove_other_target_groups(&mut self) -> Result<(), Error> {
        for group in self.owned_target_groups().await? {
            if self.arns.values().any(|arn| *arn == group.target_group_arn) {
                continue;
            }
            self.bindings.unbind(&group.target_group_arn);
            self.note(format!("deleted target group {}", group.target_group_name));
            self.aws.send(DeleteTargetGroup { target_group_arn: group.target_group_arn }).await?;
        }
        Ok(())
    }
}
