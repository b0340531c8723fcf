//! The data plane of this process, put together: fabric, rule programs, Pods, zones. Adapters between rooms that do
//! not know each other; no rule of its own.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;
use std::time::Duration;

use ccm_mock_fake_aws::Cloud;
use controllers_workloads::{ProbeOutcome, ProbeTarget, Runtime, RuntimeFuture, StartError};
use dataplane_dns::{Type, View, Zones};
use dataplane_network::proxy::{Origin, World};
use dataplane_network::{CLIENT, Entry, Fabric, Forwarding, Translation};
use dataplane_workload::Workloads;
use k8s_openapi::api::core::v1::Pod;
use proxy_agent_agent::Agent;
use proxy_agent_ruleset as ruleset;

/// Everything that carries requests in this process.
#[derive(Clone)]
pub(crate) struct Plane {
    pub fabric: Fabric,
    pub workloads: Workloads,
    pub agent: Arc<Agent>,
    pub cloud: Arc<std::sync::OnceLock<Arc<Cloud>>>,
    /// Addresses of Pods and nodes, by `pod/namespace/name` and `node/name`.
    places: Arc<std::sync::RwLock<std::collections::HashMap<String, Ipv4Addr>>>,
}

impl Plane {
    pub(crate) fn new() -> Self {
        let config = proxy_agent_agent::Config {
            cluster_cidr: ruleset::Cidr { address: Ipv4Addr::new(10, 0, 0, 0), prefix: 8 },
            service_cidr: ruleset::Cidr { address: Ipv4Addr::new(10, 96, 0, 0), prefix: 16 },
        };
        let agent = Agent::new(config);
        let fabric = Fabric::new();
        fabric.set_forwarding(Arc::new(Rules(agent.clone())));
        Self {
            workloads: Workloads::new(fabric.clone()),
            fabric,
            agent,
            cloud: Arc::default(),
            places: Arc::default(),
        }
    }

    /// A node stands at an address.
    pub(crate) fn node_at(&self, name: &str, ip: Ipv4Addr) {
        self.fabric.add_node(ip, name);
        self.places
            .write()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .insert(format!("node/{name}"), ip);
    }

    fn pod_at(&self, pod: &Pod, ip: Ipv4Addr) {
        let node = pod.spec.as_ref().and_then(|spec| spec.node_name.clone()).unwrap_or_default();
        self.fabric.add_pod(ip, &node);
        let name = format!(
            "pod/{}/{}",
            pod.metadata.namespace.as_deref().unwrap_or(""),
            pod.metadata.name.as_deref().unwrap_or("")
        );
        self.places.write().unwrap_or_else(std::sync::PoisonError::into_inner).insert(name, ip);
    }

    /// The zones of this moment.
    pub(crate) fn zones(&self) -> Arc<Zones> {
        let mut zones = Zones::default();
        if let Some(cloud) = self.cloud.get() {
            let state = cloud.state();
            zones.hosted = state.hosted_zones.values().map(|zone| zone.as_ref().clone()).collect();
            zones.set_balancers(state.load_balancers.values().map(AsRef::as_ref));
        }
        let programs = self.agent.programs();
        for service in programs.services() {
            let (Some(namespace), Some(name)) = (&service.metadata.namespace, &service.metadata.name) else {
                continue;
            };
            let slices = programs.slices_of(namespace, name);
            zones
                .services
                .insert((namespace.clone(), name.clone()), dataplane_dns::cluster_service(service, slices));
        }
        Arc::new(zones)
    }
}

/// The rule programs as the fabric asks them.
struct Rules(Arc<Agent>);

impl Forwarding for Rules {
    fn forward(
        &self,
        node: &str,
        entry: Entry,
        source: SocketAddrV4,
        destination: SocketAddrV4,
    ) -> Translation {
        let packet = ruleset::Packet {
            source: *source.ip(),
            source_port: source.port(),
            destination: *destination.ip(),
            destination_port: destination.port(),
            protocol: ruleset::Protocol::Tcp,
        };
        let entry = match entry {
            Entry::Arriving => ruleset::Entry::Arriving,
            Entry::Local => ruleset::Entry::Local,
        };
        match self.0.evaluate(node, packet, entry, ruleset::Choice::Random(rand::random())) {
            Some(ruleset::Verdict::Accept { destination: (ip, port), source }) => {
                Translation::To { source, destination: SocketAddrV4::new(ip, port) }
            }
            Some(ruleset::Verdict::Reject) => Translation::Reject,
            Some(ruleset::Verdict::Drop) => Translation::Drop,
            // A node without a program yet forwards as it is.
            None => Translation::To { source: *source.ip(), destination },
        }
    }
}

impl World for Plane {
    fn address(&self, origin: &Origin) -> Option<Ipv4Addr> {
        let name = match origin {
            Origin::Internet => return Some(CLIENT),
            Origin::Pod { namespace, name } => format!("pod/{namespace}/{name}"),
            Origin::Node(name) => format!("node/{name}"),
        };
        self.places.read().unwrap_or_else(std::sync::PoisonError::into_inner).get(&name).copied()
    }

    fn resolve(&self, origin: &Origin, name: &str) -> Vec<Ipv4Addr> {
        let view = match origin {
            Origin::Internet => View::Internet,
            Origin::Pod { namespace, .. } => View::Cluster { namespace: namespace.clone() },
            Origin::Node(_) => View::Vpc,
        };
        let zones = self.zones();
        dataplane_dns::lookup(&zones, name, Type::A, &view).addresses()
    }
}

impl Runtime for Plane {
    fn missing_image(&self, pod: &Pod, image: &str) -> Option<String> {
        let upstream =
            pod.metadata.annotations.as_ref().is_some_and(|all| all.contains_key("hopyard.dev/upstream"));
        if upstream || dataplane_workload::behaviour_of(image).is_some() {
            return None;
        }
        Some(format!(
            "failed to pull and unpack image {image:?}: {image}: not found (hopyard knows nginx, httpd, whoami, agnhost, http-echo, echoserver, busybox, alpine, perl and pause; annotate the Pod with hopyard.dev/upstream: 127.0.0.1:PORT to run your own server)"
        ))
    }

    fn start<'a>(&'a self, pod: &'a Arc<Pod>) -> RuntimeFuture<'a, Result<(), StartError>> {
        Box::pin(async move {
            let ip = pod
                .status
                .as_ref()
                .and_then(|status| status.pod_ip.as_deref())
                .and_then(|ip| ip.parse().ok());
            let ip: Ipv4Addr = ip.ok_or_else(|| StartError::Failed("the Pod has no address".to_owned()))?;
            self.pod_at(pod, ip);
            self.workloads.start(pod).await.map_err(|error| StartError::Failed(error.to_string()))
        })
    }

    fn add(&self, pod: &Arc<Pod>, container: &str) {
        self.workloads.add(pod, container);
    }

    fn unsupported(&self, pod: &Pod, container: &str) -> Option<String> {
        match dataplane_workload::entry(pod, container) {
            dataplane_workload::Entry::Unsupported(why) => Some(why),
            _ => None,
        }
    }

    fn run<'a>(&'a self, pod: &'a Pod, container: &'a str) -> RuntimeFuture<'a, i32> {
        Box::pin(async move {
            let uid = pod.metadata.uid.as_deref().unwrap_or_default();
            match self.workloads.run_entry((uid, container), self).await {
                Ok(code) => code,
                // It is being stopped, and whoever stops it stops this.
                Err(_) => std::future::pending().await,
            }
        })
    }

    fn stop<'a>(&'a self, uid: &'a str, grace: Duration) -> RuntimeFuture<'a, ()> {
        Box::pin(self.workloads.stop(uid, grace))
    }

    fn forget(&self, uid: &str) {
        self.workloads.forget(uid);
    }

    fn probe<'a>(
        &'a self,
        pod: &'a Pod,
        target: &'a ProbeTarget,
        timeout: Duration,
    ) -> RuntimeFuture<'a, ProbeOutcome> {
        Box::pin(async move {
            match tokio::time::timeout(timeout, self.ask(pod, target, timeout)).await {
                Ok(Ok(())) => ProbeOutcome::Success,
                Ok(Err(why)) => ProbeOutcome::Failure(why),
                Err(_) => ProbeOutcome::Failure("context deadline exceeded".to_owned()),
            }
        })
    }
}
