//! What a fresh server holds before anybody writes: system namespaces, bootstrap roles, the `kubernetes` Service.
//!
//! Objects that exist are left alone, but for what the bootstrap policy lacks; so a restart writes nothing, usually.

use apiserver_json::{Value, json};
use apiserver_meta::{GroupVersion, GroupVersionKind, Status};
use apiserver_registry::{Call, Changed, OWN_RANGE, Registry, object};
use futures::FutureExt;
use futures::future::BoxFuture;

use crate::service::ApiServer;

const OBJECTS: &str = include_str!("../data/bootstrap.jsonl");

const NAMESPACES: &[&str] = &["kube-system", "kube-public", "kube-node-lease", "default"];

/// Writes what is missing.
///
/// # Errors
/// When the store refuses.
pub fn bootstrap(server: &ApiServer) -> BoxFuture<'_, Result<(), Status>> {
    lay_out(server).boxed()
}

async fn lay_out(server: &ApiServer) -> Result<(), Status> {
    let registry = server.registry();
    // Namespaces first: others live in them.
    create_missing(
        registry,
        NAMESPACES
            .iter()
            .map(|name| json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}))
            .collect(),
    )
    .await?;
    let mut objects: Vec<Value> = OBJECTS
        .lines()
        .filter(|line| !line.is_empty())
        .map(|line| {
            apiserver_json::from_str(line).expect("the table is part of the binary and parsed by a test")
        })
        .collect();
    crate::rbac_policy::carry_over(registry, &mut objects);
    crate::rbac_policy::reconcile(registry, &objects).await;
    objects.push(json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "extension-apiserver-authentication", "namespace": "kube-system"},
        "data": {
            "client-ca-file": server.inner.config.ca_pem,
            "requestheader-allowed-names": "[]",
            "requestheader-extra-headers-prefix": "[\"X-Remote-Extra-\"]",
            "requestheader-group-headers": "[\"X-Remote-Group\"]",
            "requestheader-username-headers": "[\"X-Remote-User\"]",
        },
    }));
    objects.extend(own_service(server));
    create_missing(registry, objects).await?;
    extend_own_range(registry).await?;
    crate::endpoints::publish(server).await
}

/// Puts back the `kubernetes` Service and its range where somebody deleted them.
///
/// # Errors
/// When the store refuses.
pub(crate) async fn keep_own(server: &ApiServer) -> Result<(), Status> {
    create_missing(server.registry(), own_service(server)).await
}

/// A server that is given a second family adds it to its range: upstream's `default-service-cidr-controller`. A range that is
/// another one stays as it is, and is the one that addresses are from.
async fn extend_own_range(registry: &Registry) -> Result<(), Status> {
    let catalogue = registry.catalogue();
    let Some(resource) = catalogue.get("networking.k8s.io", "v1", "servicecidrs") else { return Ok(()) };
    let wanted: Vec<String> = registry.service_ranges().cidrs().map(|cidr| cidr.to_string()).collect();
    let Some(found) = registry.cache().get(&resource.key(None, OWN_RANGE)) else { return Ok(()) };
    let found = found.parse();
    let has = &found["spec"]["cidrs"];
    if *has == json!(wanted) {
        return Ok(());
    }
    if wanted.len() != 2 || *has != json!([wanted[0]]) {
        tracing::warn!(has = %has, wanted = %json!(wanted), "the ServiceCIDR kubernetes is not --service-cluster-ip-range: addresses are from what it has");
        return Ok(());
    }
    let change = |live: Option<&Value>| {
        let mut next = live.cloned().unwrap_or_default();
        next["spec"]["cidrs"] = json!(wanted);
        Ok(Changed::Patched(next))
    };
    registry.update(&crate::housekeeping::call(resource, None, ""), OWN_RANGE, false, change).await.map(drop)
}

/// The `kubernetes` Service of this server, and the range it is from. Its endpoints are [`crate::endpoints`]'.
fn own_service(server: &ApiServer) -> Vec<Value> {
    let labels = json!({"component": "apiserver", "provider": "kubernetes"});
    let ranges = server.registry().service_ranges();
    let cluster_ip = ranges.primary.first().to_string();
    let cidrs: Vec<String> = ranges.cidrs().map(|cidr| cidr.to_string()).collect();
    let port = server.inner.config.endpoint.port();
    vec![
        json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {"name": "kubernetes", "namespace": "default", "labels": labels},
            "spec": {
                "type": "ClusterIP", "clusterIP": cluster_ip, "clusterIPs": [cluster_ip], "sessionAffinity": "None",
                "ports": [{"name": "https", "port": 443, "protocol": "TCP", "targetPort": port}],
            },
        }),
        json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "ServiceCIDR", "metadata": {"name": OWN_RANGE},
            "spec": {"cidrs": cidrs},
        }),
    ]
}

/// Creates what does not exist, many at once so that they share the store's syncs.
async fn create_missing(registry: &Registry, objects: Vec<Value>) -> Result<(), Status> {
    let creations = objects.into_iter().map(|object| create(registry, object));
    for outcome in futures::future::join_all(creations).await {
        match outcome {
            Err(status) if status.reason == "AlreadyExists" => {}
            outcome => outcome?,
        }
    }
    Ok(())
}

async fn create(registry: &Registry, mut value: Value) -> Result<(), Status> {
    let gv = GroupVersion::parse(value["apiVersion"].as_str().unwrap_or(""));
    let gvk = GroupVersionKind::new(gv.group, gv.version, value["kind"].as_str().unwrap_or(""));
    let catalogue = registry.catalogue();
    let Some(resource) = catalogue.by_kind(&gvk) else {
        return Err(Status::internal(format!("no resource for {gvk}")));
    };
    let namespace = object::namespace(&value).to_owned();
    let namespace = Some(namespace.as_str()).filter(|namespace| !namespace.is_empty());
    if registry.cache().get(&resource.key(namespace, object::name(&value))).is_some() {
        return Ok(());
    }
    if let Some(schema) = resource.schema() {
        apiserver_schema::decode(&schema, &mut value, apiserver_schema::Decode::Json)
            .map_err(|error| Status::internal(format!("bootstrap object: {error}")))?;
    }
    let call = Call {
        resource,
        namespace,
        subresource: "",
        manager: match resource.group.as_str() {
            "flowcontrol.apiserver.k8s.io" => "api-priority-and-fairness-config-producer-v1",
            _ => "kube-apiserver",
        },
        dry_run: false,
        requester: apiserver_registry::Requester::default(),
    };
    registry.create(&call, value).await.map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bootstrap_objects_parse() {
        assert!(OBJECTS.lines().all(|line| apiserver_json::from_str::<Value>(line).is_ok()));
    }
}
