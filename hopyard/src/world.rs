//! The tracer's world, read from the API server's objects alone: the same for a process that runs everything and for
//! `hopyard trace` beside it.

use std::net::Ipv4Addr;

use ccm_mock_aws_api as aws;
use controllers_kit::{Object, list, list_raw};
use dataplane_dns::Zones;
use hopyard_trace::{Cloud, World};
use k8s_openapi::api::core::v1::{Node, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::Ingress;
use kube::Client;
use proxy_agent_agent::{Config, Input, Programs};

use crate::error::Error;

fn failed(error: impl std::fmt::Display) -> Error {
    Error::Failed(format!("the API server did not answer: {error}"))
}

async fn all<K: Object>(client: &Client) -> Result<Vec<K>, Error> {
    list(client).await.map_err(failed)
}

/// The AWS resources of a kind, from their objects.
async fn cloud<T: aws::Resource>(client: &Client) -> Result<Vec<T>, Error> {
    let resource = kube::core::ApiResource {
        group: aws::GROUP.to_owned(),
        version: aws::VERSION.to_owned(),
        api_version: format!("{}/{}", aws::GROUP, aws::VERSION),
        kind: T::KIND.to_owned(),
        plural: T::PLURAL.to_owned(),
    };
    let objects = match list_raw(client.clone(), resource).await {
        Ok(objects) => objects,
        // An API server without the cloud's definitions has no cloud.
        Err(error) if error.is_not_found() => return Ok(Vec::new()),
        Err(error) => return Err(failed(error)),
    };
    // A user's half-written HostedZone or Certificate is not in the cloud yet.
    Ok(objects.iter().filter_map(|object| aws::object::from_object::<T>(&object.tree).ok()).collect())
}

/// The config every node's program is built with.
pub(crate) fn program_config() -> Config {
    Config {
        cluster_cidr: proxy_agent_ruleset::Cidr { address: Ipv4Addr::new(10, 0, 0, 0), prefix: 8 },
        service_cidr: proxy_agent_ruleset::Cidr { address: Ipv4Addr::new(10, 96, 0, 0), prefix: 16 },
    }
}

/// The rule programs of all nodes.
pub(crate) async fn programs(client: &Client) -> Result<Programs, Error> {
    let mut programs = Programs::new(program_config());
    let mut inputs: Vec<Input> = all::<Node>(client).await?.into_iter().map(Input::Node).collect();
    inputs.extend(all::<Service>(client).await?.into_iter().map(Input::Service));
    inputs.extend(all::<EndpointSlice>(client).await?.into_iter().map(Input::Slice));
    programs.apply(inputs);
    Ok(programs)
}

/// Everything a trace looks at.
pub(crate) async fn read(client: &Client) -> Result<World, Error> {
    let programs = programs(client).await?;
    let (pods, services, endpoint_slices, nodes) = (
        all::<Pod>(client).await?,
        all::<Service>(client).await?,
        all::<EndpointSlice>(client).await?,
        all::<Node>(client).await?,
    );
    let ingresses = all::<Ingress>(client).await?;
    let cloud = Cloud {
        load_balancers: cloud(client).await?,
        listeners: cloud(client).await?,
        rules: cloud(client).await?,
        target_groups: cloud(client).await?,
        instances: cloud(client).await?,
        network_interfaces: cloud(client).await?,
        internet_gateways: cloud(client).await?,
        nat_gateways: cloud(client).await?,
        certificates: cloud(client).await?,
    };
    let mut zones = Zones { hosted: self::cloud(client).await?, ..Zones::default() };
    zones.set_balancers(&cloud.load_balancers);
    for service in &services {
        let (Some(namespace), Some(name)) = (&service.metadata.namespace, &service.metadata.name) else {
            continue;
        };
        let of_service = |slice: &&EndpointSlice| {
            slice.metadata.namespace.as_ref() == Some(namespace)
                && slice.metadata.labels.as_ref().and_then(|labels| labels.get("kubernetes.io/service-name"))
                    == Some(name)
        };
        let slices: Vec<&EndpointSlice> = endpoint_slices.iter().filter(of_service).collect();
        zones
            .services
            .insert((namespace.clone(), name.clone()), dataplane_dns::cluster_service(service, slices));
    }
    let programs = programs
        .nodes()
        .filter_map(|node| Some((node.name.clone(), (*programs.get(&node.name)?).clone())))
        .collect();
    Ok(World { cloud, zones, programs, pods, services, endpoint_slices, nodes, ingresses })
}
