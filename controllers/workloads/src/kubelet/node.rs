//! The Node objects of the simulated kubelets and their heartbeats.
//!
//! Zone, addresses and providerID are the cloud controller manager's business.

use super::runtime::NodeSpec;
use controllers_kit::meta::{now, now_micro};
use controllers_kit::{Cache, Caches, Error, Key, Recorder, raw};
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::api::core::v1::{Node, NodeCondition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

const VERSION: &str = "v1.36.0";
const LEASES: &str = "kube-node-lease";
pub(super) const HEARTBEAT: Duration = Duration::from_secs(10);

/// Register the node, then renew its lease until dropped. The second time it waits `offset`, and then always as long: the
/// heartbeats of many nodes are spread over the time between two of one.
pub(super) async fn keep(caches: Caches, spec: NodeSpec, events: Recorder, offset: Duration) {
    let nodes = caches.of::<Node>();
    let key = Key::new("", &spec.name);
    let mut announced = false;
    let mut pause = offset;
    loop {
        let began = Instant::now();
        match register(&nodes, &key, &spec).await {
            Ok(made) => {
                let client = caches.client().clone();
                if let Err(error) = renew(client, &nodes, &key).await {
                    tracing::debug!(node = %key, error = %error, "lease not renewed");
                }
                if made && !announced {
                    announced = true;
                    announce(&nodes, &key, &events, began);
                }
                tokio::time::sleep(std::mem::replace(&mut pause, HEARTBEAT)).await;
            }
            Err(error) => {
                tracing::debug!(node = %key, error = %error, "node not registered");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

fn announce(nodes: &Cache<Node>, key: &Key, events: &Recorder, began: Instant) {
    if let Some(node) = nodes.get(key) {
        // The kubelet names itself by its Node's name, not its uid.
        let mut about = controllers_kit::events::reference(&*node);
        about.uid = Some(key.name.clone());
        let text = format!("Node {key} status is now: NodeReady");
        events.about(about, controllers_kit::EventKind::Normal, "NodeReady", text);
        let elapsed_ms = began.elapsed().as_micros() as f64 / 1000.0;
        tracing::info!(controller = "kubelet", object = %key, cause = "start", change = "registered node", elapsed_ms, "reconciled");
    }
}

/// True if something was written.
async fn register(nodes: &Cache<Node>, key: &Key, spec: &NodeSpec) -> Result<bool, Error> {
    let mut made = false;
    let current = match nodes.get(key) {
        Some(node) => node,
        None => match nodes.create(&serde_json::from_value(object(spec))?).await {
            Ok(node) => {
                made = true;
                node
            }
            Err(error) if error.is_already_exists() => nodes.patch(key, &json!({})).await?,
            Err(error) => return Err(error),
        },
    };
    let status = current.status.clone().unwrap_or_default();
    let ready = status.conditions.iter().flatten().any(|c| c.type_ == "Ready" && c.status == "True");
    if ready && status.allocatable.is_some() {
        return Ok(made);
    }
    nodes.patch_status(key, &json!({"status": node_status(spec)})).await?;
    Ok(true)
}

fn object(spec: &NodeSpec) -> Value {
    let arch = arch();
    json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {
            "name": spec.name,
            "labels": {
                "kubernetes.io/hostname": spec.name, "kubernetes.io/os": "linux", "kubernetes.io/arch": arch,
                "beta.kubernetes.io/os": "linux", "beta.kubernetes.io/arch": arch,
            },
            "annotations": {"volumes.kubernetes.io/controller-managed-attach-detach": "true"},
        },
        "spec": {"taints": [{"key": "node.cloudprovider.kubernetes.io/uninitialized", "value": "true", "effect": "NoSchedule"}]},
        "status": node_status(spec),
    })
}

fn arch() -> &'static str {
    if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" }
}

fn node_status(spec: &NodeSpec) -> Value {
    let capacity = |reserved_mib: u32| {
        json!({
            "cpu": spec.cpu.to_string(), "memory": format!("{}Ki", u64::from(spec.memory_mib - reserved_mib.min(spec.memory_mib)) * 1024),
            "ephemeral-storage": "20959212Ki", "pods": spec.max_pods.to_string(),
        })
    };
    let at = now();
    let condition = |kind: &str, status: &str, reason: &str, message: &str| NodeCondition {
        type_: kind.into(),
        status: status.into(),
        reason: Some(reason.into()),
        message: Some(message.into()),
        last_heartbeat_time: Some(at.clone()),
        last_transition_time: Some(at.clone()),
    };
    json!({
        "capacity": capacity(0),
        "allocatable": capacity(100),
        "conditions": [
            condition("MemoryPressure", "False", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
            condition("DiskPressure", "False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
            condition("PIDPressure", "False", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
            condition("Ready", "True", "KubeletReady", "kubelet is posting ready status"),
        ],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": 10250}},
        "nodeInfo": {
            "machineID": format!("hopyard-{}", spec.name), "systemUUID": format!("hopyard-{}", spec.name),
            "bootID": format!("hopyard-{}", spec.name), "kernelVersion": "simulated", "osImage": "Hopyard simulated node",
            "containerRuntimeVersion": "hopyard://0.1.0", "kubeletVersion": VERSION, "kubeProxyVersion": "",
            "operatingSystem": "linux", "architecture": arch(),
        },
    })
}

async fn renew(client: kube::Client, nodes: &Cache<Node>, key: &Key) -> Result<(), Error> {
    let lease = Key::new(LEASES, key.name.as_str());
    let patch = json!({"spec": {"renewTime": now_micro()}});
    match raw::merge::<Lease>(&client, "", &lease, &patch).await {
        Err(error) if error.is_not_found() => {}
        other => return other.map(|_| ()),
    }
    let owner = nodes.get(key).map(|node| OwnerReference {
        api_version: "v1".into(),
        kind: "Node".into(),
        name: key.name.clone(),
        uid: node.metadata.uid.clone().unwrap_or_default(),
        ..Default::default()
    });
    let lease = Lease {
        metadata: ObjectMeta {
            name: Some(key.name.clone()),
            namespace: Some(LEASES.into()),
            owner_references: owner.map(|o| vec![o]),
            ..Default::default()
        },
        spec: Some(LeaseSpec {
            holder_identity: Some(key.name.clone()),
            lease_duration_seconds: Some(40),
            renew_time: Some(now_micro()),
            ..Default::default()
        }),
    };
    raw::create(&client, &lease).await?;
    Ok(())
}
