//! The simulated kubelets of all nodes in one loop: Pods bound to them get an address, run, are probed and end.
//!
//! It runs nothing itself: processes and connections are behind [`Runtime`], addresses behind [`PodAddresses`].

mod ephemeral;
mod exits;
mod node;
mod probes;
pub(crate) mod runtime;
mod state;
mod status;
mod stop;

use controllers_kit::meta::now;
use controllers_kit::{Cache, Caches, Done, Error, Key, PodAddresses, Queue, Recorder, Sandbox, pods, spawn};
use futures::future::join_all;
use k8s_openapi::api::core::v1::{Node, Pod};
use runtime::{NodeSpec, Runtime, StartError};
use state::{Runs, State};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// Pods that are worked on at the same time: many, because each waits for its address and for its status to be written.
const WORKERS: usize = 64;
/// How long a Pod without an address waits before the CNI is asked again.
const SANDBOX_RETRY: Duration = Duration::from_secs(2);

pub(crate) struct Loop {
    pods: Cache<Pod>,
    queue: Queue<Key>,
    /// A recorder for each node: Events name the host.
    events: BTreeMap<String, Recorder>,
    runtime: Arc<dyn Runtime>,
    addresses: Arc<dyn PodAddresses>,
    runs: Runs,
}

pub(crate) async fn run(
    caches: Caches,
    nodes: Vec<NodeSpec>,
    runtime: Arc<dyn Runtime>,
    addresses: Arc<dyn PodAddresses>,
) {
    let pods = caches.of::<Pod>();
    let recorder =
        |spec: &NodeSpec| Recorder::with_host(caches.client().clone(), "kubelet", Some(spec.name.clone()));
    let events: BTreeMap<String, Recorder> =
        nodes.iter().map(|spec| (spec.name.clone(), recorder(spec))).collect();
    caches.of::<Node>().synced().await;
    let mut keepers = tokio::task::JoinSet::new();
    let count = u32::try_from(nodes.len()).unwrap_or(u32::MAX).max(1);
    for (i, spec) in (0u32..).zip(nodes) {
        if let Some(events) = events.get(&spec.name).cloned() {
            keepers.spawn(node::keep(caches.clone(), spec, events, node::HEARTBEAT * i / count));
        }
    }
    let queue: Queue<Key> = Queue::new();
    let (q, ours) = (queue.clone(), events.keys().cloned().collect::<BTreeSet<_>>());
    pods.on_change(move |change| {
        let node = change.latest().and_then(|pod| pods::node_name(pod));
        if node.is_some_and(|node| ours.contains(node)) {
            q.add(change.key.clone(), pods::story(&change.key, change.old.as_deref(), change.new.as_deref()));
        }
    });
    pods.synced().await;
    let this =
        Arc::new(Loop { pods, queue: queue.clone(), events, runtime, addresses, runs: Runs::default() });
    let (hosts, q, there) = (this.clone(), queue.clone(), pods::by_node(&this.pods));
    caches.of::<Node>().on_change(move |change| {
        let addresses =
            change.new.iter().flat_map(|n| n.status.iter().flat_map(|s| s.addresses.iter().flatten()));
        let ip = addresses.filter(|a| a.type_ == "InternalIP").map(|a| a.address.clone()).next();
        if let Some(ip) = ip.filter(|ip| hosts.runs.host_ip(&change.key.name).as_ref() != Some(ip)) {
            hosts.runs.set_host(&change.key.name, &ip);
            for pod in there.at(&change.key.name) {
                q.add(Key::of(&pod.metadata), format!("Node {} has an address", change.key));
            }
        }
    });
    controllers_kit::run("kubelet", queue, WORKERS, move |key| {
        let this = this.clone();
        async move { this.reconcile(key).await }
    })
    .await;
    keepers.abort_all();
}

fn was_running(pod: &Pod, container: &str) -> bool {
    let statuses = pod.status.iter().flat_map(|s| s.container_statuses.iter().flatten());
    statuses.filter(|s| s.name == container).any(|s| s.state.as_ref().is_some_and(|s| s.running.is_some()))
}

fn with_ip(pod: &Pod, ip: &str) -> Pod {
    let mut pod = pod.clone();
    pod.status.get_or_insert_default().pod_ip = Some(ip.to_string());
    pod
}

impl Loop {
    pub(crate) fn events_of(&self, pod: &Pod) -> Option<&Recorder> {
        self.events.get(pods::node_name(pod)?)
    }

    fn warn(&self, pod: &Pod, reason: &str, message: String) {
        if let Some(events) = self.events_of(pod) {
            events.warning(pod, reason, message);
        }
    }

    fn tell(&self, pod: &Pod, reason: &str, message: String) {
        if let Some(events) = self.events_of(pod) {
            events.normal(pod, reason, message);
        }
    }

    async fn reconcile(self: Arc<Self>, key: Key) -> Result<Done, Error> {
        let pod = self.pods.get(&key);
        let uid = pod.as_ref().and_then(|pod| pod.metadata.uid.clone());
        let mut done = Done::nothing();
        let gone = self.runs.others_of(&key, uid.as_deref());
        join_all(gone.iter().map(|uid| self.end(uid))).await;
        if !gone.is_empty() {
            done.note("removed the Pod's sandbox");
        }
        let (Some(pod), Some(uid)) = (pod, uid) else { return Ok(done) };
        if self.events_of(&pod).is_none() {
            return Ok(done);
        }
        if pods::is_terminating(&pod) {
            if self.runs.begin_stopping(&key, &uid) {
                spawn("terminate pod", self.clone().terminate(key, pod));
            }
            return Ok(done);
        }
        if pods::is_finished(&pod) {
            if self.runs.finish(&uid) {
                // Its log stays until its object goes.
                self.runtime.stop(&uid, Duration::ZERO).await;
                self.addresses.release(&uid).await;
            }
            return Ok(done);
        }
        if !self.runs.contains(&uid) {
            self.start(&key, &pod, &uid, &mut done).await?;
            self.first_answers(&pod, &uid).await;
        }
        self.start_ephemeral(&key, &pod, &uid, &mut done);
        self.write_status(&key, &uid, &mut done).await?;
        Ok(done)
    }

    async fn end(&self, uid: &str) {
        self.runs.remove(uid);
        self.runtime.stop(uid, Duration::ZERO).await;
        self.runtime.forget(uid);
        self.addresses.release(uid).await;
    }

    async fn start(self: &Arc<Self>, key: &Key, pod: &Pod, uid: &str, done: &mut Done) -> Result<(), Error> {
        let sandbox = Sandbox {
            uid: uid.to_string(),
            pod: key.clone(),
            node: pods::node_name(pod).unwrap_or_default().to_string(),
            previous: pods::pod_ip(pod).and_then(|ip| ip.parse().ok()),
        };
        let ip = match self.addresses.allocate(&sandbox).await {
            Ok(ip) => ip.to_string(),
            Err(reason) => {
                let text = format!(
                    "Failed to create pod sandbox: rpc error: code = Unknown desc = failed to setup network for sandbox \"{uid}\": plugin type=\"aws-cni\" name=\"aws-cni\" failed (add): {reason}"
                );
                self.warn(pod, "FailedCreatePodSandBox", text.clone());
                self.wait(key, pod, None, "ContainerCreating", None).await?;
                return Err(Error::After { reason: text, duration: SANDBOX_RETRY });
            }
        };
        let sandboxed = Arc::new(with_ip(pod, &ip));
        if let Some((image, message)) = self.missing_image(&sandboxed) {
            return self.image_missing(key, pod, &ip, (&image, message), done).await;
        }
        match self.runtime.start(&sandboxed).await {
            Ok(()) => {}
            Err(StartError::UnknownImage { message, .. }) => {
                return self.image_missing(key, pod, &ip, ("", message), done).await;
            }
            Err(StartError::Failed(text)) => {
                self.warn(pod, "Failed", format!("Error: {text}"));
                self.wait(key, pod, Some(&ip), "CreateContainerError", Some(text.clone())).await?;
                return Err(Error::Transient(text));
            }
        }
        self.runs.forget_pulls(uid);
        self.runs.insert(key, pod, &ip);
        for container in pod.spec.iter().flat_map(|s| &s.containers) {
            if self.runs.has_ended(uid, &container.name) {
                continue;
            }
            // After a restart of this process the Pod goes on; nothing new happened to it.
            if !was_running(pod, &container.name) {
                let image = container.image.as_deref().unwrap_or_default();
                self.tell(pod, "Pulled", format!("Container image \"{image}\" already present on machine"));
                self.tell(pod, "Created", format!("Created container: {}", container.name));
                if !self.never_starts(pod, container) {
                    self.tell(pod, "Started", format!("Started container {}", container.name));
                }
            }
            let task = self.clone().watch_container(sandboxed.clone(), container.clone());
            self.runs.add_task(uid, spawn("container", task).abort_handle());
        }
        done.note(format!("started with address {ip}"));
        Ok(())
    }

    fn missing_image(&self, pod: &Pod) -> Option<(String, String)> {
        let spec = pod.spec.as_ref()?;
        let images =
            spec.init_containers.iter().flatten().chain(&spec.containers).filter_map(|c| c.image.as_deref());
        images.filter_map(|image| Some((image.to_string(), self.runtime.missing_image(pod, image)?))).next()
    }

    async fn image_missing(
        &self,
        key: &Key,
        pod: &Pod,
        ip: &str,
        (image, message): (&str, String),
        done: &mut Done,
    ) -> Result<(), Error> {
        let uid = pod.metadata.uid.as_deref().unwrap_or_default();
        let tries = match self.runs.pull(uid) {
            Ok(tries) => tries,
            Err(left) => {
                done.again_after(left);
                return Ok(());
            }
        };
        if tries == 0 {
            self.tell(pod, "Pulling", format!("Pulling image \"{image}\""));
            self.warn(pod, "Failed", format!("Failed to pull image \"{image}\": {message}"));
            self.warn(pod, "Failed", "Error: ErrImagePull".into());
            self.wait(key, pod, Some(ip), "ErrImagePull", Some(message)).await?;
            done.note(format!("image {image} cannot be pulled"));
        } else {
            let text = format!("Back-off pulling image \"{image}\": ErrImagePull: {message}");
            self.tell(pod, "BackOff", format!("Back-off pulling image \"{image}\""));
            self.warn(pod, "Failed", "Error: ImagePullBackOff".into());
            self.wait(key, pod, Some(ip), "ImagePullBackOff", Some(text)).await?;
        }
        done.again_after(Duration::from_secs(10));
        Ok(())
    }

    /// Status of a Pod whose containers do not run yet.
    async fn wait(
        &self,
        key: &Key,
        pod: &Pod,
        ip: Option<&str>,
        reason: &str,
        message: Option<String>,
    ) -> Result<(), Error> {
        let waiting = State::Waiting { reason: reason.to_string(), message };
        let run = state::Run::waiting(key, pod, ip, waiting);
        self.put_status(pod, &run).await.map(|_| ())
    }

    async fn write_status(&self, key: &Key, uid: &str, done: &mut Done) -> Result<(), Error> {
        let Some(run) = self.runs.get(uid) else { return Ok(()) };
        let Some(pod) = self.pods.get(key).filter(|pod| pod.metadata.uid.as_deref() == Some(uid)) else {
            return Ok(());
        };
        let was_ready = pods::is_ready(&pod);
        if let Some(written) = self.put_status(&pod, &run).await? {
            match (was_ready, pods::is_ready(&written)) {
                (false, true) => done.note("Ready"),
                (true, false) => done.note("not Ready"),
                _ => done.note("status written"),
            }
        }
        Ok(())
    }

    async fn put_status(&self, pod: &Pod, run: &state::Run) -> Result<Option<Arc<Pod>>, Error> {
        let host = self.host_ip(pod);
        let status = status::build(pod, run, host.as_deref(), &now());
        if pod.status.as_ref() == Some(&status) {
            return Ok(None);
        }
        let written = self.pods.replace_status(&Pod { status: Some(status), ..pod.clone() }).await;
        controllers_kit::error::gone_is_fine(written)
    }

    fn host_ip(&self, pod: &Pod) -> Option<String> {
        self.runs.host_ip(pods::node_name(pod)?)
    }
}
