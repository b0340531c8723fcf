//! Fetching what a group refers to: Services of the cluster; certificates, subnets and target groups of the cloud.
//!
//! Nothing is judged here.

use crate::model::Model;
use ccm_mock_aws_api::layout::VPC_ID;
use ccm_mock_aws_api::operation::{DescribeSubnets, DescribeTargetGroups, ListCertificates};
use controllers_ingress_model::{Group, GroupId, services_of};
use controllers_kit::Key;
use k8s_openapi::api::networking::v1::Ingress;
use std::collections::BTreeMap;
use std::sync::Arc;

impl Model {
    /// The group with everything its members name.
    pub(crate) async fn load(
        &self,
        id: &GroupId,
        members: Vec<Arc<Ingress>>,
    ) -> Result<Group, ccm_mock_aws_api::Error> {
        let mut services = BTreeMap::new();
        for (namespace, name) in members.iter().flat_map(|i| services_of(i)) {
            if let Some(service) = self.services.get(&Key::new(&namespace, &name)) {
                services.insert((namespace, name), service);
            }
        }
        let subnets = DescribeSubnets { vpc_id: Some(VPC_ID.into()), ..Default::default() };
        let groups = self.aws.send(DescribeTargetGroups::default()).await?;
        Ok(Group {
            cluster: self.cluster.clone(),
            id: id.clone(),
            members,
            services,
            certificates: self.aws.send(ListCertificates::default()).await?,
            subnets: self.aws.send(subnets).await?,
            target_groups: groups.into_iter().map(|g| (g.target_group_name, g.target_group_arn)).collect(),
        })
    }
}
