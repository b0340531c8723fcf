//! The node loops: give a new Node what the cloud knows about it, remove a Node whose instance is gone.
//!
//! Health of Nodes is judged by the node lifecycle controller, not here.

use crate::objects;
use crate::{cloud, nodes};
use ccm_mock_aws_api::ec2::{Instance, InstanceState};
use ccm_mock_aws_api::operation::{DescribeAvailabilityZones, DescribeInstances};
use ccm_mock_aws_api::{Aws, layout, names, tag};
use controllers_kit::error::gone_is_fine;
use controllers_kit::{Cache, Caches, Done, Error, Key, Queue, Recorder, run as work};
use k8s_openapi::api::core::v1::Node;
use kube::api::DeleteParams;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

const UNINITIALIZED: &str = "node.cloudprovider.kubernetes.io/uninitialized";
/// Nodes that are worked on at the same time.
const WORKERS: usize = 16;
/// How often instances are looked at, as upstream's --node-monitor-period.
const MONITOR_PERIOD: Duration = Duration::from_secs(5);

struct Nodes {
    nodes: Cache<Node>,
    aws: Arc<dyn Aws>,
    node_events: Recorder,
    lifecycle_events: Recorder,
}

pub(crate) async fn run(caches: Caches, aws: Arc<dyn Aws>) {
    let client = caches.client().clone();
    let loops = Arc::new(Nodes {
        nodes: caches.of::<Node>(),
        aws,
        node_events: Recorder::new(client.clone(), "cloud-node-controller"),
        lifecycle_events: Recorder::new(client, "cloud-node-lifecycle-controller"),
    });
    let queue = Queue::new();
    let waiting = queue.clone();
    loops.nodes.on_change(move |change| {
        let fresh = change.old.is_none() || change.new.as_ref().is_some_and(|node| is_new(node));
        if change.new.is_some() && fresh {
            waiting.add(change.key.clone(), change.story());
        }
    });
    let (waiting, of) = (queue.clone(), loops.clone());
    caches.of::<objects::Instance>().on_change(move |change| {
        if change.old.is_some() && change.new.is_some() {
            return;
        }
        let id = change.latest().and_then(|i| i.text("instanceId").map(str::to_string));
        for node in of.nodes.all() {
            if is_new(&node) || (id.is_some() && nodes::instance_id(&node) == id.as_deref()) {
                waiting.add(Key::of(&node.metadata), change.story());
            }
        }
    });
    work("cloud-node", queue, WORKERS, move |key: Key| {
        let loops = loops.clone();
        async move { loops.reconcile(&key).await }
    })
    .await;
}

fn is_new(node: &Node) -> bool {
    node.spec.iter().flat_map(|s| s.taints.iter().flatten()).any(|taint| taint.key == UNINITIALIZED)
}

impl Nodes {
    async fn reconcile(&self, key: &Key) -> Result<Done, Error> {
        let Some(node) = self.nodes.get(key) else { return Ok(Done::nothing()) };
        let mut done = if is_new(&node) {
            self.initialise(key, &node).await?
        } else {
            match self.remove_if_gone(key, &node).await? {
                Some(done) => return Ok(done),
                None => Done::nothing(),
            }
        };
        if nodes::instance_id(&node).is_some() || done.changed() {
            done.again_after(MONITOR_PERIOD);
        }
        Ok(done)
    }

    async fn find(&self, key: &Key, node: &Node) -> Result<Instance, Error> {
        let known = nodes::instance_id(node);
        let mut query = DescribeInstances::default();
        match known {
            Some(id) => query.instance_ids.push(id.to_string()),
            None => query.tags.push(("Name".into(), Some(key.name.clone()))),
        }
        let mut all = match self.aws.send(query).await {
            Err(error) if error.is_not_found() => Vec::new(),
            answer => answer.map_err(cloud)?,
        };
        if all.is_empty() && known.is_none() {
            let by_dns =
                DescribeInstances { private_dns_names: vec![key.name.clone()], ..Default::default() };
            all = self.aws.send(by_dns).await.map_err(cloud)?;
        }
        let running = |i: &&Instance| matches!(i.state, InstanceState::Running | InstanceState::Pending);
        let matching = |i: &&Instance| match known {
            Some(id) => i.instance_id == id,
            None => tag(&i.tags, "Name") == Some(&key.name) || i.private_dns_name == key.name,
        };
        all.iter().filter(running).find(matching).cloned().ok_or_else(|| {
            Error::Transient(format!("failed to get instance metadata: instance not found for node {key}"))
        })
    }

    async fn initialise(&self, key: &Key, node: &Node) -> Result<Done, Error> {
        let instance = self.find(key, node).await?;
        let zones = DescribeAvailabilityZones { zone_names: vec![instance.availability_zone.clone()] };
        let zones = self.aws.send(zones).await.map_err(cloud)?;
        let zone_id = zones.first().map(|z| z.zone_id.clone()).unwrap_or_default();
        let status = json!({"status": {"addresses": addresses(&key.name, &instance)}});
        self.nodes.patch_status(key, &status).await?;
        // The list of taints is replaced, so the patch names the version it was read at.
        let node = self.nodes.get(key).unwrap_or_else(|| Arc::new(node.clone()));
        let patch = initialisation(&node, &instance, &zone_id);
        let node = self.nodes.patch(key, &patch).await?;
        self.node_events.normal(node.as_ref(), "Synced", "Node synced successfully");
        Ok(Done::change(format!(
            "initialised with {} in {}",
            instance.instance_id, instance.availability_zone
        )))
    }

    async fn remove_if_gone(&self, key: &Key, node: &Node) -> Result<Option<Done>, Error> {
        let Some(id) = nodes::instance_id(node) else { return Ok(None) };
        let one = DescribeInstances { instance_ids: vec![id.to_string()], ..Default::default() };
        match self.aws.send(one).await {
            Ok(found) if found.iter().any(|i| i.state != InstanceState::Terminated) => return Ok(None),
            Err(error) if !error.is_not_found() => return Err(cloud(error)),
            _ => {}
        }
        let why = format!("Deleting node {} because it does not exist in the cloud provider", key.name);
        self.lifecycle_events.normal(node, "DeletingNode", why);
        gone_is_fine(self.nodes.delete(key, &DeleteParams::default()).await)?;
        Ok(Some(Done::change(format!("deleted: instance {id} is gone"))))
    }
}

fn addresses(name: &str, instance: &Instance) -> Value {
    let mut all = vec![
        json!({"type": "InternalIP", "address": instance.private_ip_address}),
        json!({"type": "InternalDNS", "address": instance.private_dns_name}),
    ];
    all.push(json!({"type": "Hostname", "address": name}));
    Value::Array(all)
}

fn initialisation(node: &Node, instance: &Instance, zone_id: &str) -> Value {
    let taints = node.spec.iter().flat_map(|s| s.taints.iter().flatten());
    let taints: Vec<_> = taints.filter(|taint| taint.key != UNINITIALIZED).collect();
    json!({
        "metadata": {
            "resourceVersion": node.metadata.resource_version,
            "labels": {
                "topology.kubernetes.io/zone": instance.availability_zone,
                "topology.kubernetes.io/region": layout::REGION,
                "node.kubernetes.io/instance-type": instance.instance_type,
                "topology.k8s.aws/zone-id": zone_id,
            },
        },
        "spec": {
            "providerID": names::provider_id(&instance.availability_zone, &instance.instance_id),
            "taints": if taints.is_empty() { Value::Null } else { json!(taints) },
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn initialisation_removes_only_its_own_taint() {
        let object = json!({
            "metadata": {"name": "n", "resourceVersion": "7"},
            "spec": {"taints": [
                {"key": UNINITIALIZED, "value": "true", "effect": "NoSchedule"},
                {"key": "mine", "effect": "NoSchedule"},
            ]},
        });
        let node: Node = serde_json::from_value(object).expect("a Node");
        let instance = json!({
            "instanceId": "i-1", "instanceType": "m5.large", "privateIpAddress": "10.0.16.4",
            "privateDnsName": "ip-10-0-16-4.ec2.internal", "subnetId": "s", "vpcId": "v",
            "availabilityZone": "us-east-1a", "state": "running",
        });
        let instance: Instance = serde_json::from_value(instance).expect("an instance");
        let patch = initialisation(&node, &instance, "use1-az1");
        assert_eq!(patch["spec"]["providerID"], "aws:///us-east-1a/i-1");
        assert_eq!(patch["spec"]["taints"], json!([{"key": "mine", "effect": "NoSchedule"}]));
        assert_eq!(patch["metadata"]["labels"]["topology.k8s.aws/zone-id"], "use1-az1");
        assert_eq!(addresses("n", &instance)[1]["address"], "ip-10-0-16-4.ec2.internal");
    }
}
