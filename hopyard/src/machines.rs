//! The machines that nodes are: instances of the cloud, and where the fabric finds them.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::Arc;

use ccm_mock_aws_api as aws;
use ccm_mock_fake_aws::Cloud;
use controllers_workloads::NodeSpec;
use futures::StreamExt;

use crate::error::Error;
use crate::plane::Plane;
use crate::up::Options;

/// Runs the instances that are missing, and tells the fabric where all of them stand.
pub(crate) async fn start(
    options: &Options,
    cloud: &Arc<Cloud>,
    plane: &Plane,
) -> Result<Vec<NodeSpec>, Error> {
    let failed = |error: &dyn std::fmt::Display| Error::Failed(format!("the nodes did not start: {error}"));
    let kind = aws::instance_types::instance_type(&options.instance_type).ok_or_else(|| {
        Error::Usage(format!(
            "--instance-type {}: not known; try m5.large or t3.medium",
            options.instance_type
        ))
    })?;
    let state = cloud.state();
    let name_of = |instance: &aws::ec2::Instance| aws::tag(&instance.tags, "Name").map(str::to_owned);
    let known: HashMap<String, String> = state
        .instances
        .values()
        .filter_map(|instance| Some((name_of(instance)?, instance.private_ip_address.clone())))
        .collect();
    let addresses = (1..=options.nodes).map(|i| {
        let name = format!("node-{i}");
        let ip = known.get(&name).cloned();
        async move {
            match ip {
                Some(ip) => Ok((name, ip)),
                None => run_instance(options, cloud, i, name).await,
            }
        }
    });
    let mut addresses = futures::stream::iter(addresses).buffered(INSTANCES_AT_ONCE);
    let mut specs = Vec::new();
    while let Some(started) = addresses.next().await {
        let (name, ip) = started.map_err(|error| failed(&error))?;
        let ip: Ipv4Addr = ip.parse().map_err(|_| failed(&format!("{name} has no address")))?;
        plane.node_at(&name, ip);
        if let Some(public) = nat_address(&state, ip) {
            plane.fabric.set_nat(&name, public);
        }
        specs.push(NodeSpec {
            name,
            cpu: kind.vcpus,
            memory_mib: kind.memory_mib,
            max_pods: kind.max_pods(),
        });
    }
    Ok(specs)
}

/// Instances that are started at the same time: they share the writes.
const INSTANCES_AT_ONCE: usize = 64;

/// Runs the instance of a node; answers its name and address.
async fn run_instance(
    options: &Options,
    cloud: &Arc<Cloud>,
    number: u16,
    name: String,
) -> Result<(String, String), aws::Error> {
    let zone = u8::try_from((number - 1) % u16::from(options.zones)).unwrap_or(0) + 1;
    let request = aws::operation::RunInstances {
        instance_type: options.instance_type.clone(),
        image_id: String::new(),
        security_group_ids: Vec::new(),
        count: 1,
        subnet_id: aws::layout::private_subnet_id(zone),
        tags: vec![
            aws::Tag::new("Name", name.clone()),
            aws::Tag::new("kubernetes.io/cluster/hopyard", "owned"),
        ],
    };
    let api: Arc<dyn aws::Aws> = cloud.clone();
    let instances = api.send(request).await?;
    let ip = instances.first().map(|instance| instance.private_ip_address.clone()).unwrap_or_default();
    Ok((name, ip))
}

/// The address that a private address has outside the VPC: its zone's NAT gateway.
fn nat_address(state: &ccm_mock_fake_aws::State, ip: Ipv4Addr) -> Option<Ipv4Addr> {
    let subnet = aws::layout::public_subnet_id(aws::layout::zone_of(ip));
    let gateway = state.nat_gateways.values().find(|gateway| gateway.subnet_id == subnet)?;
    gateway.nat_gateway_addresses.first()?.public_ip.parse().ok()
}
