//! From a Service to somebody who serves it: `util/proxy` upstream.

use apiserver_json::Value;
use apiserver_watchcache::Cache;
use rand::RngExt;

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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use apiserver_json::json;
    use apiserver_storage::{Durability, Local, MemoryEngine, Op, Storage, Write};

    use super::*;

    #[tokio::test]
    async fn a_service_leads_to_a_ready_endpoint_of_its_port() {
        let cache = Arc::new(Cache::default());
        let store = Local::open(MemoryEngine, Durability::None, cache.clone()).expect("memory opens");
        let service = |spec: Value| json!({"metadata": {}, "spec": spec});
        let slice = |name: &str, port: &str, ready: bool, ip: &str| {
            json!({
                "metadata": {"labels": {"kubernetes.io/service-name": name}},
                "ports": [{"name": port, "port": 8443}],
                "endpoints": [{"addresses": [ip], "conditions": {"ready": ready}}],
            })
        };
        let ports = json!({"ports": [{"name": "metrics", "port": 80}, {"name": "https", "port": 443}]});
        for (key, object) in [
            ("core/services/ns/sliced", service(ports.clone())),
            ("discovery.k8s.io/endpointslices/ns/sliced-1", slice("sliced", "metrics", true, "10.0.0.1")),
            ("discovery.k8s.io/endpointslices/ns/sliced-2", slice("sliced", "https", false, "10.0.0.2")),
            ("discovery.k8s.io/endpointslices/ns/sliced-3", slice("sliced", "https", true, "10.0.0.3")),
            ("discovery.k8s.io/endpointslices/other/sliced-4", slice("sliced", "https", true, "10.0.0.4")),
            ("core/services/ns/plain", service(json!({"ports": [{"port": 443}]}))),
            (
                "core/endpoints/ns/plain",
                json!({"metadata": {}, "subsets": [{"addresses": [{"ip": "10.0.0.5"}], "ports": [{"port": 9443}]}]}),
            ),
            ("core/services/ns/alone", service(ports)),
            (
                "core/services/ns/outside",
                service(json!({"type": "ExternalName", "externalName": "example.com"})),
            ),
        ] {
            let op = Op::Create(apiserver_registry::document(&object));
            let key = format!("/registry/{key}").into();
            store.commit(vec![Write { key, op }]).await.expect("it is stored");
        }
        for (name, port, want) in [
            ("sliced", 443, Ok(Reached::Endpoint("10.0.0.3".into(), 8443))),
            ("plain", 443, Ok(Reached::Endpoint("10.0.0.5".into(), 9443))),
            ("outside", 443, Ok(Reached::External("example.com".into(), 443))),
            ("alone", 443, Err("no endpoints available for service \"alone\"")),
            ("alone", 444, Err("no service port 444 found for service \"alone\"")),
            ("nobody", 443, Err("service \"nobody\" not found")),
        ] {
            assert_eq!(resolve(&cache, "ns", name, port), want.map_err(str::to_owned), "{name}");
        }
    }
}
