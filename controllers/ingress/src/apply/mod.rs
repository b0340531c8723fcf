//! Making a plan true: what is owned is found by tags, differences are written, leftovers go.
//!
//! Nothing is decided here and nothing is remembered: a second run finds no difference and calls nothing that writes.

mod balancer;
mod listeners;
mod refusal;
mod rules;
mod security;
mod target_groups;
#[cfg(test)]
mod tests;

use crate::targets::Bindings;
use ccm_mock_aws_api::elbv2::Action;
use ccm_mock_aws_api::operation::{AddTags, RemoveTags};
use ccm_mock_aws_api::{Aws, Error, Tag, tag};
use controllers_ingress_model::{CLUSTER_TAG, Plan, RESOURCE_TAG, STACK_TAG, Tags};
use std::collections::BTreeMap;
use std::sync::Arc;

pub(crate) use refusal::Refusal;
use refusal::send;

/// One run of a plan.
pub(crate) struct Session<'a> {
    aws: Arc<dyn Aws>,
    bindings: Bindings,
    plan: &'a Plan,
    /// ARNs of the plan's target groups by resource id.
    arns: BTreeMap<String, String>,
    /// What was changed, for the log.
    pub changes: Vec<String>,
}

impl<'a> Session<'a> {
    pub(crate) fn new(aws: Arc<dyn Aws>, bindings: Bindings, plan: &'a Plan) -> Self {
        Session { aws, bindings, plan, arns: BTreeMap::new(), changes: Vec::new() }
    }

    /// Apply the plan; answers the host name of the load balancer if there is to be one.
    pub(crate) async fn apply(&mut self) -> Result<Option<String>, Refusal> {
        let security_groups = self.ensure_security_group().await?;
        let present = self.remove_other_balancers().await?;
        self.ensure_target_groups().await?;
        let mut hostname = None;
        if let Some(wanted) = &self.plan.load_balancer {
            let balancer = self.ensure_balancer(wanted, present, &security_groups).await?;
            self.ensure_listeners(&balancer.load_balancer_arn).await?;
            hostname = Some(balancer.dns_name.to_ascii_lowercase());
        }
        self.remove_other_target_groups().await?;
        self.remove_other_security_groups().await?;
        Ok(hostname)
    }

    fn note(&mut self, change: impl Into<String>) {
        self.changes.push(change.into());
    }

    /// True if the tags say that the resource is of this group.
    fn owns(&self, tags: &[Tag]) -> bool {
        tag(tags, CLUSTER_TAG) == Some(&self.plan.cluster) && tag(tags, STACK_TAG) == Some(&self.plan.stack)
    }

    fn ownership(&self) -> Vec<(String, Option<String>)> {
        vec![
            (CLUSTER_TAG.to_string(), Some(self.plan.cluster.clone())),
            (STACK_TAG.to_string(), Some(self.plan.stack.clone())),
        ]
    }

    /// Resource ids in actions become ARNs.
    fn actions(&self, actions: &[Action]) -> Vec<Action> {
        let arn = |resource: &String| self.arns.get(resource).unwrap_or(resource).clone();
        let resolve = |action: &Action| {
            let mut action = action.clone();
            action.target_group_arn = action.target_group_arn.as_ref().map(arn);
            for tuple in action.forward_config.iter_mut().flat_map(|c| &mut c.target_groups) {
                tuple.target_group_arn = arn(&tuple.target_group_arn);
            }
            action
        };
        actions.iter().map(resolve).collect()
    }

    async fn ensure_tags(&mut self, arn: &str, present: &[Tag], wanted: &Tags) -> Result<(), Error> {
        let new: Vec<Tag> = wanted
            .iter()
            .filter(|(key, value)| tag(present, key) != Some(value))
            .map(|(key, value)| Tag::new(key, value))
            .collect();
        let gone: Vec<String> =
            present.iter().filter(|t| !wanted.contains_key(&t.key)).map(|t| t.key.clone()).collect();
        if !new.is_empty() {
            self.note(format!("tagged {}", wanted.get(RESOURCE_TAG).map_or(arn, String::as_str)));
            self.aws.send(AddTags { resource_arns: vec![arn.to_string()], tags: new }).await?;
        }
        if !gone.is_empty() {
            self.note(format!("untagged {}", wanted.get(RESOURCE_TAG).map_or(arn, String::as_str)));
            self.aws.send(RemoveTags { resource_arns: vec![arn.to_string()], tag_keys: gone }).await?;
        }
        Ok(())
    }
}

fn tag_list(tags: &Tags) -> Vec<Tag> {
    tags.iter().map(|(key, value)| Tag::new(key, value)).collect()
}

/// Attributes that were asked for and are not so.
fn differing(
    present: &BTreeMap<String, String>,
    wanted: &BTreeMap<String, String>,
) -> BTreeMap<String, String> {
    wanted.iter().filter(|(k, v)| present.get(*k) != Some(v)).map(|(k, v)| (k.clone(), v.clone())).collect()
}
