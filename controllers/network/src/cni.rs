//! The VPC CNI's address management (ipamd): Pod addresses are secondary addresses of the node's interfaces.
//!
//! It routes nothing; interfaces beside the first are made when needed and removed when idle.

use crate::pool::{BATCH, Growth, Interface, Pool};
use ccm_mock_aws_api::ec2::{Instance, InstanceState};
use ccm_mock_aws_api::instance_types::instance_type;
use ccm_mock_aws_api::operation::*;
use ccm_mock_aws_api::{Aws, Code, Error as AwsError, Tag, tag};
use controllers_kit::{AddressFuture, Caches, Done, Index, Key, PodAddresses, Queue, Sandbox, pods};
use k8s_openapi::api::core::v1::Pod;
use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// Upstream's sentence when the node has no address left.
const NO_ADDRESS: &str = "add cmd: failed to assign an IP address to container";

/// Nodes whose first addresses are fetched at the same time: calls at the same time share the cloud's writes.
const WARMED_AT_ONCE: usize = 32;

/// Address management of all nodes.
pub struct Cni {
    caches: Caches,
    by_node: Index<Pod>,
    aws: Arc<dyn Aws>,
    nodes: Mutex<HashMap<String, Arc<tokio::sync::Mutex<Node>>>>,
    node_by_uid: Mutex<HashMap<String, String>>,
}

#[derive(Default)]
struct Node {
    instance: Option<Instance>,
    pool: Pool,
}

/// Addresses are ready on every node before its first Pod comes; a deleted Node is forgotten.
pub(crate) async fn run(caches: Caches, cni: Arc<Cni>) {
    let nodes = caches.of::<k8s_openapi::api::core::v1::Node>();
    let queue: Queue<Key> = Queue::new();
    let q = queue.clone();
    nodes.on_change(move |change| {
        if change.old.is_none() || change.new.is_none() {
            q.add(change.key.clone(), change.story());
        }
    });
    nodes.synced().await;
    controllers_kit::run("vpc-cni", queue, WARMED_AT_ONCE, move |key: Key| {
        let (cni, nodes) = (cni.clone(), nodes.clone());
        async move {
            if nodes.get(&key).is_some() {
                return Ok(cni.warm(&key.name).await.map_or_else(Done::nothing, Done::change));
            }
            cni.nodes.lock().unwrap_or_else(PoisonError::into_inner).remove(&key.name);
            Ok(Done::nothing())
        }
    })
    .await;
}

impl Cni {
    /// The VPC CNI over this cloud; hand it to the kubelets.
    pub fn new(caches: Caches, aws: Arc<dyn Aws>) -> Arc<Self> {
        // The Pods that run already keep their addresses.
        let by_node = pods::by_node(&caches.of::<Pod>());
        Arc::new(Cni { caches, by_node, aws, nodes: Mutex::default(), node_by_uid: Mutex::default() })
    }

    /// Fetch a node's first addresses before a Pod asks; what was done, for the log.
    async fn warm(&self, node: &str) -> Option<String> {
        let entry = self.node(node);
        let mut state = entry.lock().await;
        self.load(node, &mut state).await.ok()?;
        if state.pool.interfaces.iter().any(|i| !i.addresses.is_empty()) {
            return None;
        }
        match self.grow(node, &mut state, BATCH).await {
            Ok(change) => Some(change),
            Err(error) => {
                tracing::debug!(node, error, "no addresses in advance");
                None
            }
        }
    }

    fn node(&self, name: &str) -> Arc<tokio::sync::Mutex<Node>> {
        let mut nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        nodes.entry(name.to_string()).or_default().clone()
    }

    /// The instance and its interfaces, asked for once.
    async fn load(&self, name: &str, state: &mut Node) -> Result<(), String> {
        if state.instance.is_some() {
            return Ok(());
        }
        let says = |error: AwsError| format!("{NO_ADDRESS}: {error}");
        let named =
            DescribeInstances { tags: vec![("Name".into(), Some(name.to_owned()))], ..Default::default() };
        let instances = self.aws.send(named).await.map_err(says)?;
        let is_it = |i: &Instance| i.state == InstanceState::Running && tag(&i.tags, "Name") == Some(name);
        let instance = instances
            .into_iter()
            .find(is_it)
            .ok_or_else(|| format!("{NO_ADDRESS}: no instance is node {name}"))?;
        let limits = instance_type(&instance.instance_type)
            .ok_or_else(|| format!("{NO_ADDRESS}: unknown instance type {}", instance.instance_type))?;
        let query = DescribeNetworkInterfaces {
            instance_id: Some(instance.instance_id.clone()),
            ..Default::default()
        };
        let interfaces = self.aws.send(query).await.map_err(says)?;
        let interfaces = interfaces.iter().map(Interface::of).collect();
        let mut pool = Pool::new(interfaces, limits.max_enis, limits.ipv4_per_eni.saturating_sub(1));
        let pods = self.caches.of::<Pod>();
        pods.synced().await;
        for pod in self.by_node.at(name).iter().filter(|pod| !pods::is_finished(pod)) {
            if let (Some(uid), Some(ip)) =
                (&pod.metadata.uid, pods::pod_ip(pod).and_then(|ip| ip.parse().ok()))
                && pool.keep(uid, ip)
            {
                self.remember(uid, name);
            }
        }
        *state = Node { instance: Some(instance), pool };
        Ok(())
    }

    fn remember(&self, uid: &str, node: &str) {
        let mut nodes = self.node_by_uid.lock().unwrap_or_else(PoisonError::into_inner);
        nodes.insert(uid.to_string(), node.to_string());
    }

    async fn allocate_on(&self, sandbox: &Sandbox) -> Result<Ipv4Addr, String> {
        let started = Instant::now();
        let entry = self.node(&sandbox.node);
        let mut state = entry.lock().await;
        self.load(&sandbox.node, &mut state).await?;
        if let Some(ip) = state.pool.get(&sandbox.uid) {
            return Ok(ip);
        }
        self.remember(&sandbox.uid, &sandbox.node);
        if let Some(ip) = sandbox.previous.filter(|ip| state.pool.keep(&sandbox.uid, *ip)) {
            return Ok(ip);
        }
        if let Some(ip) = state.pool.take(&sandbox.uid, Instant::now(), false) {
            return Ok(ip);
        }
        let grown = self.grow(&sandbox.node, &mut state, BATCH).await;
        match (state.pool.take(&sandbox.uid, Instant::now(), true), grown) {
            (Some(ip), grown) => {
                if let Ok(change) = grown {
                    report(&sandbox.node, &sandbox.pod, change, started);
                }
                Ok(ip)
            }
            (None, Err(reason)) => Err(reason),
            (None, Ok(_)) => Err(NO_ADDRESS.to_string()),
        }
    }

    /// More addresses; what was done, for the log.
    async fn grow(&self, node: &str, state: &mut Node, at_most: u32) -> Result<String, String> {
        let Some(instance) = state.instance.clone() else { return Err(NO_ADDRESS.into()) };
        match state.pool.growth() {
            Growth::Full => Err(NO_ADDRESS.to_string()),
            Growth::Addresses { interface, count } => {
                let added = self
                    .assign(&interface, count.min(at_most))
                    .await
                    .map_err(|e| format!("{NO_ADDRESS}: {e}"))?;
                state.pool.grown(&interface, &added);
                Ok(format!("{} more addresses on {interface}", added.len()))
            }
            Growth::Interface { device_index, count } => {
                let interface = self.create(node, &instance, (device_index, count)).await;
                let interface = interface.map_err(|e| format!("{NO_ADDRESS}: {e}"))?;
                let change =
                    format!("attached {} with {} addresses", interface.id, interface.addresses.len());
                state.pool.interfaces.push(interface);
                Ok(change)
            }
        }
    }

    /// A batch, or one address if the subnet has no more.
    async fn assign(&self, interface: &str, count: u32) -> Result<Vec<Ipv4Addr>, AwsError> {
        let request = |count| AssignPrivateIpAddresses {
            network_interface_id: interface.to_string(),
            private_ip_addresses: Vec::new(),
            secondary_private_ip_address_count: count,
        };
        let answer = match self.aws.send(request(count)).await {
            Err(error) if error.code == Code::InsufficientFreeAddressesInSubnet && count > 1 => {
                self.aws.send(request(1)).await?
            }
            other => other?,
        };
        Ok(answer.iter().filter_map(|ip| ip.parse().ok()).collect())
    }

    async fn create(
        &self,
        node: &str,
        instance: &Instance,
        (device_index, count): (u32, u32),
    ) -> Result<Interface, AwsError> {
        let request = |count| CreateNetworkInterface {
            subnet_id: instance.subnet_id.clone(),
            description: format!("aws-K8S-{}", instance.instance_id),
            groups: instance.security_groups.clone(),
            secondary_private_ip_address_count: count,
            tags: vec![
                Tag::new("node.k8s.amazonaws.com/instance_id", &instance.instance_id),
                Tag::new("Name", format!("{node}-{device_index}")),
            ],
        };
        let made = match self.aws.send(request(count)).await {
            Err(error) if error.code == Code::InsufficientFreeAddressesInSubnet && count > 1 => {
                self.aws.send(request(1)).await?
            }
            other => other?,
        };
        let id = made.network_interface_id.clone();
        let attach = AttachNetworkInterface {
            network_interface_id: id.clone(),
            instance_id: instance.instance_id.clone(),
            device_index,
        };
        match self.aws.send(attach).await {
            Ok(attached) => Ok(Interface { device_index, ..Interface::of(&attached) }),
            Err(error) => {
                // An interface that cannot be used must not stay.
                let delete = DeleteNetworkInterface { network_interface_id: id };
                if let Err(second) = self.aws.send(delete).await {
                    tracing::warn!(error = %second, "network interface left behind");
                }
                Err(error)
            }
        }
    }

    async fn release_one(&self, uid: &str) {
        let node = self.node_by_uid.lock().unwrap_or_else(PoisonError::into_inner).remove(uid);
        let Some(node) = node else { return };
        let entry = self.node(&node);
        let mut state = entry.lock().await;
        state.pool.release(uid, Instant::now());
        while let Some(id) = state.pool.spare() {
            let started = Instant::now();
            state.pool.forget(&id);
            let detach = DetachNetworkInterface { network_interface_id: id.clone() };
            let delete = DeleteNetworkInterface { network_interface_id: id.clone() };
            let mut result = self.aws.send(detach).await;
            if result.is_ok() {
                result = self.aws.send(delete).await;
            }
            match result {
                Ok(()) => report(&node, &Key::new("", uid), format!("removed idle {id}"), started),
                Err(error) => {
                    tracing::warn!(node, interface = id, error = %error, "idle interface not removed")
                }
            }
        }
    }
}

fn report(node: &str, pod: &Key, change: String, started: Instant) {
    let elapsed_ms = started.elapsed().as_micros() as f64 / 1000.0;
    let cause = format!("Pod {pod}");
    tracing::info!(controller = "vpc-cni", object = %node, cause, change, elapsed_ms, "reconciled");
}

impl PodAddresses for Cni {
    fn allocate<'a>(&'a self, sandbox: &'a Sandbox) -> AddressFuture<'a, Result<Ipv4Addr, String>> {
        Box::pin(self.allocate_on(sandbox))
    }

    fn release<'a>(&'a self, uid: &'a str) -> AddressFuture<'a, ()> {
        Box::pin(self.release_one(uid))
    }
}
