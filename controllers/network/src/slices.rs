//! EndpointSlices as both of their loops write them: the labels, the writes and the words for the log.

use crate::ports::Port;
use controllers_kit::meta::label;
use controllers_kit::{Cache, Done, Error, Index, Key};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointPort, EndpointSlice};
use kube::api::DeleteParams;
use std::sync::Arc;

pub(crate) const SERVICE_NAME: &str = "kubernetes.io/service-name";
pub(crate) const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
pub(crate) const TRIGGER: &str = "endpoints.kubernetes.io/last-change-trigger-time";

/// One write.
#[derive(Debug, PartialEq)]
pub(crate) enum Step {
    Create(EndpointSlice),
    Update(EndpointSlice),
    Delete(Arc<EndpointSlice>),
}

impl Step {
    /// Writes it and notes what was written.
    pub(crate) async fn write(self, slices: &Cache<EndpointSlice>, done: &mut Done) -> Result<(), Error> {
        match self {
            Step::Create(slice) => {
                let made = slices.create(&slice).await?;
                let name = made.metadata.name.clone().unwrap_or_default();
                done.note(format!("created {name} with {} endpoints", endpoints(&slice).len()));
            }
            Step::Update(slice) => {
                let ready = endpoints(&slice).iter().filter(|e| is_ready(e)).count();
                let name = slice.metadata.name.clone().unwrap_or_default();
                slices.replace_object(&slice).await?;
                done.note(format!("{name}: {} endpoints, {ready} ready", endpoints(&slice).len()));
            }
            Step::Delete(slice) => {
                slices.delete(&Key::of(&slice.metadata), &DeleteParams::default()).await?;
                done.note(format!("deleted {}", slice.metadata.name.as_deref().unwrap_or_default()));
            }
        }
        Ok(())
    }
}

/// The slices by their Service.
pub(crate) fn by_service(slices: &Cache<EndpointSlice>) -> Index<EndpointSlice> {
    slices.index("service", |slice| {
        let namespace = slice.metadata.namespace.as_deref().unwrap_or_default();
        let service = label(&slice.metadata, SERVICE_NAME);
        service.map(|name| Key::new(namespace, name).to_string()).into_iter().collect()
    })
}

/// The slices of a Service that `manager` writes.
pub(crate) fn managed_by(
    manager: &str,
    slices: &Index<EndpointSlice>,
    service: &Key,
) -> Vec<Arc<EndpointSlice>> {
    let mut found = slices.at(&service.to_string());
    found.retain(|slice| {
        label(&slice.metadata, MANAGED_BY) == Some(manager) && slice.metadata.deletion_timestamp.is_none()
    });
    found
}

/// True if the endpoint may get traffic.
pub(crate) fn is_ready(endpoint: &Endpoint) -> bool {
    endpoint.conditions.as_ref().and_then(|c| c.ready).unwrap_or(true)
}

/// The endpoints of a slice.
pub(crate) fn endpoints(slice: &EndpointSlice) -> &[Endpoint] {
    slice.endpoints.as_deref().unwrap_or_default()
}

/// What a slice's ports are.
pub(crate) fn ports_of(slice: &EndpointSlice) -> Vec<Port> {
    let ports = slice.ports.iter().flatten();
    ports
        .map(|p| Port {
            name: p.name.clone().unwrap_or_default(),
            port: p.port.unwrap_or(0),
            protocol: p.protocol.clone().unwrap_or_else(|| "TCP".into()),
            app_protocol: p.app_protocol.clone(),
        })
        .collect()
}

/// Ports as a slice has them.
pub(crate) fn endpoint_ports(ports: &[Port]) -> Option<Vec<EndpointPort>> {
    let one = |p: &Port| EndpointPort {
        name: Some(p.name.clone()),
        port: Some(p.port),
        protocol: Some(p.protocol.clone()),
        app_protocol: p.app_protocol.clone(),
    };
    (!ports.is_empty()).then(|| ports.iter().map(one).collect())
}
