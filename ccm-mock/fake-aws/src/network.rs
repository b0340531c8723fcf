//! Describing VPCs, subnets, zones and route tables.
//!
//! They are made by the bootstrap; there is no operation that creates more.

use crate::state::{State, not_found, values};
use ccm_mock_aws_api::ec2::*;
use ccm_mock_aws_api::operation::*;
use ccm_mock_aws_api::{Code, Error, Tag, layout, tag};

/// True if `tags` has each key, with the value if one is asked for.
pub(crate) fn has_tags(tags: &[Tag], wanted: &[(String, Option<String>)]) -> bool {
    wanted.iter().all(|(key, value)| tag(tags, key).is_some_and(|v| value.as_ref().is_none_or(|w| v == w)))
}

impl State {
    pub(crate) fn describe_vpcs(&self, input: DescribeVpcs) -> Result<Vec<Vpc>, Error> {
        if let Some(id) = input.vpc_ids.iter().find(|id| !self.vpcs.contains_key(*id)) {
            return Err(not_found(Code::InvalidVpcIdNotFound, format!("The vpc ID '{id}' does not exist")));
        }
        let keep = |v: &Vpc| input.vpc_ids.is_empty() || input.vpc_ids.contains(&v.vpc_id);
        Ok(values(&self.vpcs).into_iter().filter(keep).collect())
    }

    pub(crate) fn describe_subnets(&self, input: DescribeSubnets) -> Result<Vec<Subnet>, Error> {
        if let Some(id) = input.subnet_ids.iter().find(|id| !self.subnets.contains_key(*id)) {
            return Err(not_found(
                Code::InvalidSubnetIdNotFound,
                format!("The subnet ID '{id}' does not exist"),
            ));
        }
        let keep = |s: &Subnet| {
            (input.subnet_ids.is_empty() || input.subnet_ids.contains(&s.subnet_id))
                && input.vpc_id.as_ref().is_none_or(|v| *v == s.vpc_id)
                && has_tags(&s.tags, &input.tags)
        };
        let count = |mut s: Subnet| {
            s.available_ip_address_count = self.available_addresses(&s.subnet_id);
            s
        };
        Ok(values(&self.subnets).into_iter().filter(keep).map(count).collect())
    }

    pub(crate) fn describe_availability_zones(
        &self,
        input: DescribeAvailabilityZones,
    ) -> Result<Vec<AvailabilityZone>, Error> {
        let zone = |i| AvailabilityZone {
            zone_name: layout::zone_name(i),
            zone_id: layout::zone_id(i),
            zone_type: "availability-zone".into(),
            region_name: layout::REGION.into(),
            state: "available".into(),
        };
        let keep = |z: &AvailabilityZone| {
            input.zone_names.is_empty()
                || input.zone_names.contains(&z.zone_name)
                || input.zone_names.contains(&z.zone_id)
        };
        Ok((1..=self.zones).map(zone).filter(keep).collect())
    }

    pub(crate) fn describe_route_tables(&self, input: DescribeRouteTables) -> Result<Vec<RouteTable>, Error> {
        let keep = |t: &RouteTable| input.vpc_id.as_ref().is_none_or(|v| *v == t.vpc_id);
        Ok(values(&self.route_tables).into_iter().filter(keep).collect())
    }
}
