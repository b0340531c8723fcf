//! Network interfaces and their addresses, within the limits of the instance type.
//!
//! Prefix delegation and IPv6 are not modelled.

use crate::state::{State, fresh_id, get_mut, not_found};
use ccm_mock_aws_api::ec2::*;
use ccm_mock_aws_api::instance_types::{InstanceType, instance_type};
use ccm_mock_aws_api::operation::*;
use ccm_mock_aws_api::{Code, Error, Tag};
use std::sync::Arc;

pub(crate) fn no_interface(id: &str) -> Error {
    not_found(Code::InvalidNetworkInterfaceNotFound, format!("The networkInterface ID '{id}' does not exist"))
}

fn address(ip: String, primary: bool) -> PrivateIpAddress {
    PrivateIpAddress { private_ip_address: ip, primary }
}

impl State {
    /// A new interface with these addresses, the first one primary.
    pub(crate) fn new_interface(
        &mut self,
        subnet_id: &str,
        count: usize,
        description: &str,
        groups: Vec<String>,
    ) -> Result<NetworkInterface, Error> {
        let ips = self.allocate(subnet_id, count)?;
        let primary = ips.first().cloned().unwrap_or_default();
        let subnet = self.subnets.get(subnet_id).cloned().unwrap_or_default();
        let text = format!("eni/{subnet_id}/{primary}");
        let id = fresh_id(&text, 17, |id| self.network_interfaces.contains_key(&format!("eni-{id}")));
        let mac: Vec<String> = (0..5).map(|i| id.get(i * 2..i * 2 + 2).unwrap_or("00").to_string()).collect();
        Ok(NetworkInterface {
            network_interface_id: format!("eni-{id}"),
            subnet_id: subnet_id.into(),
            vpc_id: subnet.vpc_id.clone(),
            availability_zone: subnet.availability_zone.clone(),
            description: description.into(),
            interface_type: "interface".into(),
            mac_address: format!("0a:{}", mac.join(":")),
            private_ip_address: primary,
            private_ip_addresses: ips.into_iter().enumerate().map(|(i, ip)| address(ip, i == 0)).collect(),
            groups,
            attachment: None,
            public_ip: None,
            requester_managed: false,
            status: "available".into(),
            tags: Vec::new(),
        })
    }

    /// An interface that a service owns: a load balancer's or a NAT gateway's.
    pub(crate) fn service_interface(
        &mut self,
        subnet_id: &str,
        description: &str,
        kind: &str,
        public_ip: Option<String>,
        groups: &[String],
    ) -> Result<NetworkInterface, Error> {
        let mut interface = self.new_interface(subnet_id, 1, description, groups.to_vec())?;
        interface.interface_type = kind.into();
        interface.public_ip = public_ip;
        interface.requester_managed = true;
        interface.status = "in-use".into();
        self.network_interfaces.insert(interface.network_interface_id.clone(), Arc::new(interface.clone()));
        Ok(interface)
    }

    pub(crate) fn create_network_interface(
        &mut self,
        input: CreateNetworkInterface,
    ) -> Result<NetworkInterface, Error> {
        self.check_groups(&input.groups)?;
        let count = 1 + input.secondary_private_ip_address_count as usize;
        let mut interface = self.new_interface(&input.subnet_id, count, &input.description, input.groups)?;
        interface.tags = input.tags;
        self.network_interfaces.insert(interface.network_interface_id.clone(), Arc::new(interface.clone()));
        Ok(interface)
    }

    fn limits_of(&self, instance_id: &str) -> Result<&'static InstanceType, Error> {
        let instance =
            self.instances.get(instance_id).ok_or_else(|| crate::instances::no_instance(instance_id))?;
        instance_type(&instance.instance_type).ok_or_else(|| {
            Error::new(
                Code::InvalidInstanceType,
                format!("Invalid value '{}' for InstanceType", instance.instance_type),
            )
        })
    }

    pub(crate) fn attach_network_interface(
        &mut self,
        input: AttachNetworkInterface,
    ) -> Result<NetworkInterface, Error> {
        let limits = self.limits_of(&input.instance_id)?;
        let held: Vec<u32> = self
            .network_interfaces
            .values()
            .filter_map(|n| n.attachment.as_ref())
            .filter(|a| a.instance_id == input.instance_id)
            .map(|a| a.device_index)
            .collect();
        if held.len() >= limits.max_enis as usize {
            let message = format!("Interface count {} exceeds the limit for {}", held.len() + 1, limits.name);
            return Err(Error::new(Code::AttachmentLimitExceeded, message));
        }
        if held.contains(&input.device_index) {
            let message = format!(
                "Instance '{}' already has an interface attached at device index '{}'.",
                input.instance_id, input.device_index
            );
            return Err(Error::new(Code::InvalidParameterValue, message));
        }
        let id = &input.network_interface_id;
        let zone =
            self.instances.get(&input.instance_id).map(|i| i.availability_zone.clone()).unwrap_or_default();
        let interface = get_mut(&mut self.network_interfaces, id, || no_interface(id))?;
        if interface.attachment.is_some() {
            return Err(Error::new(Code::InvalidNetworkInterfaceInUse, format!("Interface: [{id}] in use.")));
        }
        if interface.availability_zone != zone {
            let message = "You may not attach a network interface to an instance if they are not in the same availability zone";
            return Err(Error::new(Code::InvalidParameterCombination, message));
        }
        if interface.private_ip_addresses.len() > limits.ipv4_per_eni as usize {
            return Err(too_many_addresses(interface.private_ip_addresses.len(), limits));
        }
        interface.attachment = Some(NetworkInterfaceAttachment {
            attachment_id: format!("eni-attach-{}", id.trim_start_matches("eni-")),
            instance_id: input.instance_id,
            device_index: input.device_index,
            delete_on_termination: true,
            status: "attached".into(),
        });
        interface.status = "in-use".into();
        Ok(interface.clone())
    }

    pub(crate) fn detach_network_interface(&mut self, input: DetachNetworkInterface) -> Result<(), Error> {
        let id = &input.network_interface_id;
        let interface = get_mut(&mut self.network_interfaces, id, || no_interface(id))?;
        match &interface.attachment {
            None => {
                Err(Error::new(Code::InvalidAttachmentNotFound, format!("Interface '{id}' is not attached.")))
            }
            Some(a) if a.device_index == 0 => Err(Error::new(
                Code::OperationNotPermitted,
                "The network interface at device index 0 cannot be detached.",
            )),
            Some(_) => {
                interface.attachment = None;
                interface.status = "available".into();
                Ok(())
            }
        }
    }

    pub(crate) fn delete_network_interface(&mut self, input: DeleteNetworkInterface) -> Result<(), Error> {
        let id = &input.network_interface_id;
        let interface = self.network_interfaces.get(id).ok_or_else(|| no_interface(id))?;
        if interface.status == "in-use" {
            let message = format!("Network interface '{id}' is currently in use.");
            return Err(Error::new(Code::InvalidNetworkInterfaceInUse, message));
        }
        self.remove_interface(id);
        Ok(())
    }

    pub(crate) fn assign_private_ip_addresses(
        &mut self,
        input: AssignPrivateIpAddresses,
    ) -> Result<Vec<String>, Error> {
        let id = &input.network_interface_id;
        let interface = self.network_interfaces.get(id).cloned().ok_or_else(|| no_interface(id))?;
        let named = input.private_ip_addresses.clone();
        let count =
            if named.is_empty() { input.secondary_private_ip_address_count as usize } else { named.len() };
        let total = interface.private_ip_addresses.len() + count;
        if let Some(attachment) = &interface.attachment {
            let limits = self.limits_of(&attachment.instance_id)?;
            if total > limits.ipv4_per_eni as usize {
                return Err(too_many_addresses(total, limits));
            }
        }
        let taken = |ip: &String| {
            ip.parse().is_ok_and(|ip: std::net::Ipv4Addr| self.addresses.contains(&u32::from(ip)))
        };
        if let Some(ip) = named.iter().find(|ip| taken(ip)) {
            return Err(Error::new(Code::IpInUse, format!("Address {ip} is in use.")));
        }
        let ips = if named.is_empty() { self.allocate(&interface.subnet_id, count)? } else { named };
        self.use_addresses(&ips);
        let interface = get_mut(&mut self.network_interfaces, id, || no_interface(id))?;
        interface.private_ip_addresses.extend(ips.iter().map(|ip| address(ip.clone(), false)));
        Ok(ips)
    }

    pub(crate) fn unassign_private_ip_addresses(
        &mut self,
        input: UnassignPrivateIpAddresses,
    ) -> Result<(), Error> {
        let id = &input.network_interface_id;
        let interface = get_mut(&mut self.network_interfaces, id, || no_interface(id))?;
        for ip in &input.private_ip_addresses {
            let known =
                interface.private_ip_addresses.iter().position(|a| a.private_ip_address == *ip && !a.primary);
            let Some(index) = known else {
                let message = format!("Some of the specified addresses are not assigned to interface {id}");
                return Err(Error::new(Code::InvalidParameterValue, message));
            };
            interface.private_ip_addresses.remove(index);
        }
        self.free_addresses(&input.private_ip_addresses);
        Ok(())
    }

    pub(crate) fn describe_network_interfaces(
        &self,
        input: DescribeNetworkInterfaces,
    ) -> Result<Vec<NetworkInterface>, Error> {
        if let Some(id) =
            input.network_interface_ids.iter().find(|id| !self.network_interfaces.contains_key(*id))
        {
            return Err(no_interface(id));
        }
        let keep = |n: &NetworkInterface| {
            let instance = n.attachment.as_ref().map(|a| &a.instance_id);
            (input.network_interface_ids.is_empty()
                || input.network_interface_ids.contains(&n.network_interface_id))
                && input.instance_id.as_ref().is_none_or(|i| instance == Some(i))
                && input
                    .private_ip_address
                    .as_ref()
                    .is_none_or(|ip| n.private_ip_addresses.iter().any(|a| a.private_ip_address == *ip))
        };
        let mut found: Vec<NetworkInterface> =
            self.network_interfaces.values().filter(|n| keep(n)).map(|n| (**n).clone()).collect();
        found.sort_by_key(|n| n.attachment.as_ref().map_or(u32::MAX, |a| a.device_index));
        Ok(found)
    }

    /// Remove interfaces a service owns whose description says `owner`.
    pub(crate) fn remove_service_interfaces(&mut self, ids: &[String]) {
        ids.iter().for_each(|id| self.remove_interface(id));
    }

    /// An interface goes, and its addresses are free.
    pub(crate) fn remove_interface(&mut self, id: &str) {
        if let Some(gone) = self.network_interfaces.remove(id) {
            self.free_addresses(gone.private_ip_addresses.iter().map(|a| &a.private_ip_address));
        }
    }

    /// Tags of a new interface for an instance.
    pub(crate) fn attach_primary(
        &mut self,
        mut interface: NetworkInterface,
        instance_id: &str,
        tags: &[Tag],
    ) {
        interface.attachment = Some(NetworkInterfaceAttachment {
            attachment_id: format!(
                "eni-attach-{}",
                interface.network_interface_id.trim_start_matches("eni-")
            ),
            instance_id: instance_id.into(),
            device_index: 0,
            delete_on_termination: true,
            status: "attached".into(),
        });
        interface.status = "in-use".into();
        interface.tags = tags.to_vec();
        self.network_interfaces.insert(interface.network_interface_id.clone(), Arc::new(interface));
    }
}

fn too_many_addresses(count: usize, limits: &InstanceType) -> Error {
    let message = format!(
        "Number of private addresses will exceed limit. ({count} > {} for {})",
        limits.ipv4_per_eni, limits.name
    );
    Error::new(Code::PrivateIpAddressLimitExceeded, message)
}
