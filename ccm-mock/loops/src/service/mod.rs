//! The service loop: a Service of type LoadBalancer becomes a network load balancer in front of node ports.
//!
//! A Service with a loadBalancerClass is somebody else's.

mod apply;
mod build;
#[cfg(test)]
mod tests;

use crate::cloud;
use crate::nodes::serving_instance;
use apply::Session;
use build::build;
use ccm_mock_aws_api::Aws;
use ccm_mock_aws_api::operation::DescribeSubnets;
use controllers_kit::error::gone_is_fine;
use controllers_kit::meta::has_finalizer;
use controllers_kit::{Cache, Caches, Done, Error, Key, Queue, Recorder, run as work};
use k8s_openapi::api::core::v1::{Node, Service};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::Arc;

const FINALIZER: &str = "service.kubernetes.io/load-balancer-cleanup";
const WORKERS: usize = 4;

struct Services {
    services: Cache<Service>,
    nodes: Cache<Node>,
    aws: Arc<dyn Aws>,
    events: Recorder,
}

fn wants(service: &Service) -> bool {
    let spec = service.spec.as_ref();
    service.metadata.deletion_timestamp.is_none()
        && spec.is_some_and(|s| s.type_.as_deref() == Some("LoadBalancer") && s.load_balancer_class.is_none())
}

pub(crate) async fn run(caches: Caches, aws: Arc<dyn Aws>) {
    let events = Recorder::new(caches.client().clone(), "service-controller");
    let loops = Arc::new(Services { services: caches.of(), nodes: caches.of(), aws, events });
    loops.services.synced().await;
    loops.nodes.synced().await;
    let queue = Queue::new();
    let waiting = queue.clone();
    loops.services.on_change(move |change| {
        let same = match (&change.old, &change.new) {
            (Some(old), Some(new)) => {
                old.spec == new.spec
                    && old.metadata.annotations == new.metadata.annotations
                    && old.metadata.deletion_timestamp == new.metadata.deletion_timestamp
            }
            _ => false,
        };
        let concerns = |s: &Arc<Service>| wants(s) || has_finalizer(&s.metadata, FINALIZER);
        if !same && change.new.as_ref().is_some_and(concerns) {
            waiting.add(change.key.clone(), change.story());
        }
    });
    let (waiting, of) = (queue.clone(), loops.clone());
    loops.nodes.on_change(move |change| {
        let instance =
            |n: &Option<Arc<Node>>| n.as_ref().and_then(|n| serving_instance(n).map(str::to_string));
        if instance(&change.old) == instance(&change.new) {
            return;
        }
        for service in of.services.all().iter().filter(|s| wants(s)) {
            waiting.add(Key::of(&service.metadata), change.story());
        }
    });
    work("service", queue, WORKERS, move |key: Key| {
        let loops = loops.clone();
        async move { loops.reconcile(&key).await }
    })
    .await;
}

impl Services {
    async fn reconcile(&self, key: &Key) -> Result<Done, Error> {
        let Some(service) = self.services.get(key) else { return Ok(Done::nothing()) };
        let result = if wants(&service) {
            self.ensure(key, service.clone()).await
        } else if has_finalizer(&service.metadata, FINALIZER) {
            self.remove(key, &service).await
        } else {
            return Ok(Done::nothing());
        };
        if let Err(error) = &result
            && !error.is_code(409)
        {
            let why = format!("Error syncing load balancer: {}", error.sentence());
            self.events.warning(service.as_ref(), "SyncLoadBalancerFailed", why);
        }
        result
    }

    async fn ensure(&self, key: &Key, service: Arc<Service>) -> Result<Done, Error> {
        let mut service = service;
        if !has_finalizer(&service.metadata, FINALIZER) {
            let mut all = service.metadata.finalizers.clone().unwrap_or_default();
            all.push(FINALIZER.to_string());
            service = self.services.patch(key, &finalizers(&service, all)).await?;
        }
        let subnets = self.aws.send(DescribeSubnets::default()).await.map_err(cloud)?;
        let nodes = self.nodes.all();
        let instances: BTreeSet<String> =
            nodes.iter().filter_map(|n| serving_instance(n)).map(str::to_string).collect();
        let plan = build(&service, &subnets, &instances).map_err(Error::Terminal)?;
        let mut session = Session::new(self.aws.clone(), &plan, Some((&self.events, &service)));
        let hostname = session.apply().await.map_err(cloud)?;
        let (shape, hosts) = (session.changes, session.target_changes);
        let mut done = Done::nothing();
        shape.iter().chain(&hosts).for_each(|change| done.note(change));
        let told = service.status.as_ref().and_then(|s| s.load_balancer.as_ref());
        let told = told
            .and_then(|b| b.ingress.as_ref())
            .and_then(|all| all.first())
            .and_then(|i| i.hostname.clone());
        let first = told.as_ref() != Some(&hostname);
        if first {
            let status = json!({"status": {"loadBalancer": {"ingress": [{"hostname": hostname}]}}});
            gone_is_fine(self.services.patch_status(key, &status).await)?;
            done.note(format!("status is {hostname}"));
        }
        if first || !shape.is_empty() {
            self.events.normal(service.as_ref(), "EnsuredLoadBalancer", "Ensured load balancer");
        } else if !hosts.is_empty() {
            let text = "Updated load balancer with new hosts";
            self.events.normal(service.as_ref(), "UpdatedLoadBalancer", text);
        }
        Ok(done)
    }

    async fn remove(&self, key: &Key, service: &Arc<Service>) -> Result<Done, Error> {
        self.events.normal(service.as_ref(), "DeletingLoadBalancer", "Deleting load balancer");
        let plan = build::nothing(service);
        let mut session = Session::new(self.aws.clone(), &plan, None);
        session.remove().await.map_err(cloud)?;
        let mut done = Done::change("deleted load balancer");
        session.changes.iter().for_each(|change| done.note(change));
        let mut service = service.clone();
        let status = service.status.as_ref().and_then(|s| s.load_balancer.as_ref());
        let told = status.is_some_and(|b| b.ingress.as_ref().is_some_and(|all| !all.is_empty()));
        if told && service.metadata.deletion_timestamp.is_none() {
            let status = json!({"status": {"loadBalancer": {"ingress": null}}});
            if let Some(written) = gone_is_fine(self.services.patch_status(key, &status).await)? {
                service = written;
            }
        }
        // Told before the finalizer goes: afterwards the Service may be gone.
        self.events.normal(service.as_ref(), "DeletedLoadBalancer", "Deleted load balancer");
        let mut all = service.metadata.finalizers.clone().unwrap_or_default();
        all.retain(|finalizer| finalizer != FINALIZER);
        gone_is_fine(self.services.patch(key, &finalizers(&service, all)).await)?;
        Ok(done)
    }
}

fn finalizers(service: &Service, all: Vec<String>) -> Value {
    json!({"metadata": {"resourceVersion": service.metadata.resource_version, "finalizers": all}})
}
