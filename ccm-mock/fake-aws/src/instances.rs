//! Machines: run, describe, terminate.
//!
//! An instance is running as soon as it is started, and forgotten as soon as it is terminated.

use crate::state::{State, fresh_id, not_found};
use ccm_mock_aws_api::ec2::*;
use ccm_mock_aws_api::instance_types::{DEFAULT, instance_type};
use ccm_mock_aws_api::operation::*;
use ccm_mock_aws_api::{Code, Error, names, tag};
use std::sync::Arc;

pub(crate) fn no_instance(id: &str) -> Error {
    not_found(Code::InvalidInstanceIdNotFound, format!("The instance ID '{id}' does not exist"))
}

/// RFC 3339 of milliseconds since the epoch.
pub(crate) fn timestamp(ms: u64) -> String {
    let seconds = i64::try_from(ms / 1000).unwrap_or(0);
    jiff::Timestamp::from_second(seconds).map(|t| t.to_string()).unwrap_or_default()
}

impl State {
    pub(crate) fn run_instances(&mut self, input: RunInstances, now_ms: u64) -> Result<Vec<Instance>, Error> {
        let kind = if input.instance_type.is_empty() { DEFAULT } else { &input.instance_type };
        if instance_type(kind).is_none() {
            return Err(Error::new(
                Code::InvalidInstanceType,
                format!("Invalid value '{kind}' for InstanceType"),
            ));
        }
        self.check_groups(&input.security_group_ids)?;
        let mut out = Vec::new();
        for n in 0..input.count.max(1) {
            let interface = self.new_interface(&input.subnet_id, 1, "", input.security_group_ids.clone())?;
            let text = format!("i/{}/{}/{n}", input.subnet_id, tag(&input.tags, "Name").unwrap_or_default());
            let id =
                format!("i-{}", fresh_id(&text, 17, |id| self.instances.contains_key(&format!("i-{id}"))));
            let instance = Instance {
                instance_id: id.clone(),
                instance_type: kind.into(),
                image_id: input.image_id.clone(),
                private_dns_name: names::private_dns_name(&interface.private_ip_address),
                private_ip_address: interface.private_ip_address.clone(),
                subnet_id: interface.subnet_id.clone(),
                vpc_id: interface.vpc_id.clone(),
                availability_zone: interface.availability_zone.clone(),
                state: InstanceState::Running,
                security_groups: input.security_group_ids.clone(),
                launch_time: timestamp(now_ms),
                tags: input.tags.clone(),
            };
            self.attach_primary(interface, &id, &input.tags);
            self.instances.insert(id, Arc::new(instance.clone()));
            out.push(instance);
        }
        Ok(out)
    }

    pub(crate) fn terminate_instances(&mut self, input: TerminateInstances) -> Result<(), Error> {
        if let Some(id) = input.instance_ids.iter().find(|id| !self.instances.contains_key(*id)) {
            return Err(no_instance(id));
        }
        for id in &input.instance_ids {
            self.instances.remove(id);
            let its =
                |n: &&Arc<NetworkInterface>| n.attachment.as_ref().is_some_and(|a| a.instance_id == *id);
            let gone: Vec<String> = self
                .network_interfaces
                .values()
                .filter(its)
                .map(|n| n.network_interface_id.clone())
                .collect();
            gone.iter().for_each(|id| self.remove_interface(id));
        }
        Ok(())
    }

    pub(crate) fn describe_instances(&self, input: DescribeInstances) -> Result<Vec<Instance>, Error> {
        if let Some(id) = input.instance_ids.iter().find(|id| !self.instances.contains_key(*id)) {
            return Err(no_instance(id));
        }
        let keep = |i: &&Instance| {
            input.tags.iter().all(|(key, value)| match (tag(&i.tags, key), value) {
                (Some(_), None) => true,
                (known, value) => known == value.as_deref(),
            }) && (input.private_dns_names.is_empty()
                || input.private_dns_names.contains(&i.private_dns_name))
        };
        let named = input.instance_ids.iter().filter_map(|id| self.instances.get(id)).map(AsRef::as_ref);
        if !input.instance_ids.is_empty() {
            return Ok(named.filter(keep).cloned().collect());
        }
        Ok(self.instances.values().map(AsRef::as_ref).filter(keep).cloned().collect())
    }
}
