//! Services as cluster DNS sees them.
//!
//! Pods without a Service have their dashed names only, which need no data.

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use std::net::Ipv4Addr;

/// What cluster DNS knows of a Service.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ClusterService {
    /// None for a headless one.
    pub cluster_ip: Option<Ipv4Addr>,
    /// `spec.externalName`.
    pub external_name: Option<String>,
    /// Port name, protocol in lower case, number.
    pub ports: Vec<(String, String, u16)>,
    /// Ready endpoints of a headless Service: host name (or dashed address) and address.
    pub endpoints: Vec<(String, Ipv4Addr)>,
}

/// Read a Service and its slices.
pub fn cluster_service<'a>(
    service: &Service,
    slices: impl IntoIterator<Item = &'a EndpointSlice>,
) -> ClusterService {
    let Some(spec) = &service.spec else { return ClusterService::default() };
    let external = spec.type_.as_deref() == Some("ExternalName");
    let ports = spec.ports.iter().flatten().filter_map(|p| {
        let number = u16::try_from(p.port).ok()?;
        Some((
            p.name.clone().unwrap_or_default(),
            p.protocol.clone().unwrap_or("TCP".into()).to_ascii_lowercase(),
            number,
        ))
    });
    let unready = spec.publish_not_ready_addresses == Some(true);
    let mut endpoints = Vec::new();
    for endpoint in slices.into_iter().flat_map(|s| s.endpoints.iter().flatten()) {
        let ready = endpoint.conditions.as_ref().and_then(|c| c.ready).unwrap_or(true);
        let Some(ip) = endpoint.addresses.first().and_then(|a| a.parse::<Ipv4Addr>().ok()) else { continue };
        if ready || unready {
            let host = endpoint.hostname.clone().unwrap_or_else(|| ip.to_string().replace('.', "-"));
            endpoints.push((host, ip));
        }
    }
    endpoints.sort_by_key(|(_, ip)| *ip);
    ClusterService {
        cluster_ip: if external { None } else { spec.cluster_ip.as_deref().and_then(|ip| ip.parse().ok()) },
        external_name: if external { spec.external_name.clone() } else { None },
        ports: ports.collect(),
        endpoints,
    }
}
