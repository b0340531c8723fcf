//! Tags of any resource that has them, by id or ARN.
//!
//! Resource groups and tag policies are not modelled.

use crate::state::State;
use ccm_mock_aws_api::operation::*;
use ccm_mock_aws_api::{Code, Error, Tag, limits};
use std::sync::Arc;

fn merge(tags: &mut Vec<Tag>, add: &[Tag], remove: &[String]) -> Result<(), Error> {
    tags.retain(|t| !remove.contains(&t.key) && !add.iter().any(|a| a.key == t.key));
    tags.extend(add.iter().cloned());
    if tags.len() > limits::TAGS {
        return Err(Error::new(
            Code::TooManyTags,
            "The maximum number of tags on a resource has been reached",
        ));
    }
    Ok(())
}

impl State {
    fn tags_of(&mut self, id: &str) -> Option<&mut Vec<Tag>> {
        macro_rules! find {
            ($($field:ident),+) => { $(if let Some(r) = self.$field.get_mut(id) { return Some(&mut Arc::make_mut(r).tags); })+ };
        }
        find!(
            vpcs,
            subnets,
            route_tables,
            internet_gateways,
            nat_gateways,
            network_interfaces,
            instances,
            security_groups
        );
        find!(load_balancers, listeners, rules, target_groups, hosted_zones, certificates);
        None
    }

    fn change_tags(
        &mut self,
        ids: &[String],
        add: &[Tag],
        remove: &[String],
        code: Code,
    ) -> Result<(), Error> {
        for id in ids {
            let tags =
                self.tags_of(id).ok_or_else(|| Error::new(code, format!("The ID '{id}' does not exist")))?;
            merge(tags, add, remove)?;
        }
        Ok(())
    }

    pub(crate) fn create_tags(&mut self, input: CreateTags) -> Result<(), Error> {
        self.change_tags(&input.resources, &input.tags, &[], Code::InvalidParameterValue)
    }
    pub(crate) fn delete_tags(&mut self, input: DeleteTags) -> Result<(), Error> {
        self.change_tags(&input.resources, &[], &input.tag_keys, Code::InvalidParameterValue)
    }
    pub(crate) fn add_tags(&mut self, input: AddTags) -> Result<(), Error> {
        self.change_tags(&input.resource_arns, &input.tags, &[], Code::ResourceNotFound)
    }
    pub(crate) fn remove_tags(&mut self, input: RemoveTags) -> Result<(), Error> {
        self.change_tags(&input.resource_arns, &[], &input.tag_keys, Code::ResourceNotFound)
    }
}
