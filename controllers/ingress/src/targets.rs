//! Targets: endpoints or Nodes of a Service as targets of its target group, on every event and at once.
//!
//! Which target groups there are is said by the model loop. Health is the load balancer's own judgement.

use ccm_mock_aws_api::elbv2::{HealthState, TargetDescription, TargetType};
use ccm_mock_aws_api::operation::{DeregisterTargets, DescribeTargetHealth, RegisterTargets};
use ccm_mock_aws_api::{Aws, names};
use controllers_ingress_model::find_port;
use controllers_kit::meta::label;
use controllers_kit::{Cache, Caches, Done, Error, Key, Queue, run as work};
use futures::future::join_all;
use k8s_openapi::api::core::v1::{Node, Service, ServicePort};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

const SERVICE_NAME: &str = "kubernetes.io/service-name";
const EXCLUDED: &str = "node.kubernetes.io/exclude-from-external-load-balancers";
const WORKERS: usize = 8;

/// Where the targets of a target group come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Binding {
    pub service: Key,
    /// Name or number of the Service's port.
    pub port: String,
    pub target_type: TargetType,
}

/// Target groups of the model by ARN; clones share them.
#[derive(Clone)]
pub(crate) struct Bindings {
    all: Arc<Mutex<BTreeMap<String, Binding>>>,
    /// Services: the target groups of one are changed together, which is one write of the cloud.
    queue: Queue<Key>,
}

impl Default for Bindings {
    fn default() -> Self {
        Bindings { all: Arc::default(), queue: Queue::new() }
    }
}

impl Bindings {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Binding>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// This target group has these targets from now on.
    pub(crate) fn bind(&self, arn: &str, binding: Binding) {
        let before = self.lock().insert(arn.to_string(), binding.clone());
        if before.as_ref() != Some(&binding) {
            self.queue.add(binding.service, format!("{} was bound", names::target_group_name(arn)));
        }
    }

    /// The target group is about to go.
    pub(crate) fn unbind(&self, arn: &str) {
        self.lock().remove(arn);
    }

    /// The target groups of a Service.
    fn of(&self, service: &Key) -> Vec<(String, Binding)> {
        let all = self.lock();
        let own = all.iter().filter(|(_, binding)| binding.service == *service);
        own.map(|(arn, binding)| (arn.clone(), binding.clone())).collect()
    }

    fn wake(&self, concerns: impl Fn(&Binding) -> bool, cause: &str) {
        for binding in self.lock().values().filter(|binding| concerns(binding)) {
            self.queue.add(binding.service.clone(), cause);
        }
    }
}

/// The loop that registers and deregisters.
pub(crate) struct Registrar {
    slices: Cache<EndpointSlice>,
    nodes: Cache<Node>,
    services: Cache<Service>,
    aws: Arc<dyn Aws>,
    bindings: Bindings,
}

impl Registrar {
    pub(crate) fn new(caches: &Caches, aws: Arc<dyn Aws>, bindings: Bindings) -> Self {
        Registrar { slices: caches.of(), nodes: caches.of(), services: caches.of(), aws, bindings }
    }

    pub(crate) async fn run(self) {
        // Unseen endpoints are not gone endpoints.
        self.services.synced().await;
        self.nodes.synced().await;
        self.slices.synced().await;
        let bindings = self.bindings.clone();
        self.slices.on_change(move |change| {
            let latest = change.latest().and_then(|s| label(&s.metadata, SERVICE_NAME).map(str::to_string));
            let Some(service) = latest.map(|name| Key::new(&change.key.namespace, name)) else { return };
            let concerns = |b: &Binding| b.target_type == TargetType::Ip && b.service == service;
            bindings.wake(concerns, &change.story());
        });
        let bindings = self.bindings.clone();
        self.services.on_change(move |change| {
            let spec = |s: &Option<Arc<Service>>| s.as_ref().and_then(|s| s.spec.clone());
            if spec(&change.old) != spec(&change.new) {
                bindings.wake(|b| b.service == change.key, &change.story());
            }
        });
        let bindings = self.bindings.clone();
        self.nodes.on_change(move |change| {
            let instance =
                |n: &Option<Arc<Node>>| n.as_ref().and_then(|n| serving_instance(n).map(str::to_string));
            if instance(&change.old) != instance(&change.new) {
                bindings.wake(|b| b.target_type == TargetType::Instance, &change.story());
            }
        });
        let queue = self.bindings.queue.clone();
        let registrar = Arc::new(self);
        work("targets", queue, WORKERS, move |service: Key| {
            let registrar = registrar.clone();
            async move { registrar.reconcile(&service).await }
        })
        .await;
    }

    fn wanted(&self, binding: &Binding) -> BTreeSet<TargetDescription> {
        let service = self.services.get(&binding.service);
        let Some(port) = service.as_deref().and_then(|s| find_port(s, &binding.port)) else {
            return BTreeSet::new();
        };
        match binding.target_type {
            TargetType::Instance => instances(&self.nodes.all(), port),
            TargetType::Ip => {
                let slices = self.slices.in_namespace(&binding.service.namespace);
                let own =
                    slices.iter().filter(|s| label(&s.metadata, SERVICE_NAME) == Some(&binding.service.name));
                own.flat_map(|slice| endpoints(slice, port)).collect()
            }
        }
    }

    async fn reconcile(&self, service: &Key) -> Result<Done, Error> {
        let groups = self.bindings.of(service);
        let changes = groups.iter().map(|(arn, binding)| self.reconcile_group(arn, binding));
        let mut done = Done::nothing();
        // Each as far as it gets: a group that fails does not keep the others from their targets.
        for outcome in join_all(changes).await {
            outcome?.into_iter().for_each(|change| done.note(change));
        }
        Ok(done)
    }

    /// Registers and deregisters what differs; answers what was done.
    async fn reconcile_group(&self, arn: &str, binding: &Binding) -> Result<Vec<String>, Error> {
        let target_group_arn = arn.to_string();
        let describe =
            DescribeTargetHealth { target_group_arn: target_group_arn.clone(), targets: Vec::new() };
        let present = match self.aws.send(describe).await {
            Ok(present) => present,
            Err(error) if error.is_not_found() => return Ok(Vec::new()),
            Err(error) => return Err(Error::Transient(error.to_string())),
        };
        let wanted = self.wanted(binding);
        let live = present.iter().filter(|t| t.state != HealthState::Draining);
        let live: BTreeSet<(&str, u16)> = live.map(|t| (t.id.as_str(), t.port)).collect();
        let identity = |t: &TargetDescription| (t.id.clone(), t.port.unwrap_or_default());
        let names: BTreeSet<(String, u16)> = wanted.iter().map(identity).collect();
        let new = wanted.into_iter().filter(|t| !live.contains(&(t.id.as_str(), t.port.unwrap_or_default())));
        let new: Vec<TargetDescription> = new.collect();
        let gone = live.iter().filter(|(id, port)| !names.contains(&(id.to_string(), *port)));
        let gone: Vec<TargetDescription> =
            gone.map(|(id, port)| TargetDescription::new(*id, *port)).collect();
        let name = names::target_group_name(arn);
        let mut done = Vec::new();
        if !new.is_empty() {
            done.push(format!("{name}: registered {}", story(&new)));
            let request = RegisterTargets { target_group_arn: target_group_arn.clone(), targets: new };
            self.aws.send(request).await.map_err(|e| Error::Transient(e.to_string()))?;
        }
        if !gone.is_empty() {
            done.push(format!("{name}: deregistered {}", story(&gone)));
            let request = DeregisterTargets { target_group_arn, targets: gone };
            self.aws.send(request).await.map_err(|e| Error::Transient(e.to_string()))?;
        }
        Ok(done)
    }
}

fn story(targets: &[TargetDescription]) -> String {
    let texts: Vec<String> =
        targets.iter().map(|t| format!("{}:{}", t.id, t.port.unwrap_or_default())).collect();
    texts.join(", ")
}

/// Ready endpoints of a slice at the real number of the Service's port.
fn endpoints(slice: &EndpointSlice, port: &ServicePort) -> Vec<TargetDescription> {
    let name = port.name.as_deref().unwrap_or_default();
    let ports = slice.ports.iter().flatten().filter(|p| p.name.as_deref().unwrap_or_default() == name);
    let number = ports.filter_map(|p| u16::try_from(p.port?).ok()).next();
    let Some(number) = number else { return Vec::new() };
    let mut out = Vec::new();
    for endpoint in slice.endpoints.iter().flatten() {
        let conditions = endpoint.conditions.as_ref();
        let ready = conditions.and_then(|c| c.ready).unwrap_or(true);
        let terminating = conditions.and_then(|c| c.terminating).unwrap_or(false);
        if ready && !terminating {
            out.extend(endpoint.addresses.iter().map(|address| TargetDescription {
                availability_zone: endpoint.zone.clone(),
                ..TargetDescription::new(address, number)
            }));
        }
    }
    out
}

fn serving_instance(node: &Node) -> Option<&str> {
    let conditions = node.status.iter().flat_map(|s| s.conditions.iter().flatten());
    let ready = conditions.filter(|c| c.type_ == "Ready").any(|c| c.status == "True");
    let fit =
        ready && node.metadata.deletion_timestamp.is_none() && label(&node.metadata, EXCLUDED).is_none();
    names::instance_id_of(node.spec.as_ref()?.provider_id.as_deref()?).filter(|_| fit)
}

fn instances(nodes: &[Arc<Node>], port: &ServicePort) -> BTreeSet<TargetDescription> {
    let number = port.node_port.and_then(|p| u16::try_from(p).ok()).filter(|p| *p > 0);
    let Some(number) = number else { return BTreeSet::new() };
    nodes.iter().filter_map(|n| serving_instance(n)).map(|id| TargetDescription::new(id, number)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_ready_endpoints_are_targets_at_their_real_port() {
        let slice = json!({
            "metadata": {"name": "web-1"}, "addressType": "IPv4",
            "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}, {"name": "metrics", "port": 9090}],
            "endpoints": [
                {"addresses": ["10.0.16.5"], "conditions": {"ready": true}, "zone": "us-east-1a"},
                {"addresses": ["10.0.16.6"], "conditions": {"ready": false}},
                {"addresses": ["10.0.16.7"], "conditions": {"ready": true, "terminating": true}},
                {"addresses": ["10.0.16.8"]},
            ],
        });
        let slice: EndpointSlice = serde_json::from_value(slice).expect("a slice");
        let port = ServicePort { name: Some("http".into()), port: 80, ..Default::default() };
        let found: Vec<(String, Option<u16>)> =
            endpoints(&slice, &port).into_iter().map(|t| (t.id, t.port)).collect();
        assert_eq!(found, [("10.0.16.5".into(), Some(8080)), ("10.0.16.8".into(), Some(8080))]);
        let other = ServicePort { name: Some("admin".into()), ..port };
        assert!(endpoints(&slice, &other).is_empty());
    }
}
