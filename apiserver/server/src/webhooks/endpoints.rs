//! From a Service to somebody who serves it: `util/proxy` upstream.

use apiserver_watchcache::Cache;
use rand::RngExt;
use serde_json::Value;

/// Where a connection for a Service goes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Reached {
    /// An address of the cluster's network.
    Endpoint(String, u16),
    /// A name outside the cluster.
    External(String, u16),
}

/// Chooses a ready endpoint of a Service's port.
///
/// # Errors
/// Upstream's sentence.
pub(super) fn resolve(cache: &Cache, namespace: &str, name: &str, port: u16) -> Result<Reached, String> {
    let service = cache.get(&format!("/registry/core/services/{namespace}/{name}"));
    let service = service.ok_or_else(|| format!("service {name:?} not found"))?.parse();
    let kind = service.pointer("/spec/type").and_then(Value::as_str).unwrap_or("ClusterIP");
    if kind == "ExternalName" {
        let target = service.pointer("/spec/externalName").and_then(Value::as_str).unwrap_or("");
        return Ok(Reached::External(target.to_owned(), port));
    }
    let ports = service.pointer("/spec/ports").and_then(Value::as_array);
    let known = ports.into_iter().flatten().find(|known| known["port"] == port);
    let known = known.ok_or_else(|| format!("no service port {port} found for service {name:?}"))?;
    let port_name = known["name"].as_str().unwrap_or("");
    let mut found = from_slices(cache, namespace, name, port_name);
    if found.is_empty() {
        // Where nobody mirrors Endpoints into slices.
        let endpoints = cache.get(&format!("/registry/core/endpoints/{namespace}/{name}"));
        found = endpoints.map(|endpoints| from_endpoints(&endpoints.parse(), port_name)).unwrap_or_default();
    }
    if found.is_empty() {
        return Err(format!("no endpoints available for service {name:?}"));
    }
    let (address, port) = found.swap_remove(rand::rng().random_range(0..found.len()));
    Ok(Reached::Endpoint(address, port))
}

fn number(port: &Value) -> Option<u16> {
    port["port"].as_u64().and_then(|port| u16::try_from(port).ok())
}

fn items<'a>(value: &'a Value, member: &str) -> impl Iterator<Item = &'a Value> {
    value[member].as_array().into_iter().flatten()
}

fn from_slices(cache: &Cache, namespace: &str, service: &str, port_name: &str) -> Vec<(String, u16)> {
    let snapshot = cache.snapshot("/registry/discovery.k8s.io/endpointslices/");
    let scope = format!("/registry/discovery.k8s.io/endpointslices/{namespace}/");
    let mut found = Vec::new();
    for slice in snapshot.scope(&scope) {
        if slice.label("kubernetes.io/service-name") != Some(service) {
            continue;
        }
        let slice = slice.parse();
        let port = items(&slice, "ports").find(|port| port["name"].as_str().unwrap_or("") == port_name);
        let Some(port) = port.and_then(number) else { continue };
        for endpoint in items(&slice, "endpoints") {
            let is_ready = endpoint.pointer("/conditions/ready") != Some(&Value::Bool(false));
            if let Some(address) = endpoint["addresses"][0].as_str().filter(|_| is_ready) {
                found.push((address.to_owned(), port));
            }
        }
    }
    found
}

fn from_endpoints(endpoints: &Value, port_name: &str) -> Vec<(String, u16)> {
    let mut found = Vec::new();
    for subset in items(endpoints, "subsets") {
        let port = items(subset, "ports").find(|port| port["name"].as_str().unwrap_or("") == port_name);
        let Some(port) = port.and_then(number) else { continue };
        let addresses = items(subset, "addresses").filter_map(|address| address["ip"].as_str());
        found.extend(addresses.map(|address| (address.to_owned(), port)));
    }
    found
}
