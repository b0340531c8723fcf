//! Scheduler: chooses the node of each Pod that has none, and binds it.
//!
//! It does not preempt, and knows no volumes; of wishes between Pods it weighs none. What runs where is kept by the changes it
//! sees, so that a choice costs the same however many Pods there are.

pub(crate) mod fit;
mod together;
mod world;

use controllers_kit::meta::now;
use controllers_kit::{Cache, Caches, Done, Error, Key, Queue, Recorder, pods};
use fit::Verdict;
use k8s_openapi::api::core::v1::{Namespace, Node, Pod, PodCondition};
use k8s_openapi::jiff::Timestamp;
use kube::core::Request;
use serde_json::json;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use world::World;

const SCHEDULER: &str = "default-scheduler";
/// Bindings that are written at the same time; choices are made one at a time.
const BINDINGS: usize = 16;

struct Loop {
    client: kube::Client,
    pods: Cache<Pod>,
    events: Recorder,
    queue: Queue<Key>,
    state: Arc<Mutex<State>>,
    /// Held while a node is chosen: who waits for it blocks no thread.
    choosing: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct State {
    world: World,
    /// Where the search for a node goes on.
    next: usize,
    /// Pods bound by us that the cache does not show as bound yet: uid to node.
    assumed: HashMap<String, String>,
    /// Pods that fit nowhere when last tried.
    waiting: HashSet<Key>,
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) async fn run(caches: Caches) {
    let (pods, nodes) = (caches.of::<Pod>(), caches.of::<Node>());
    let namespaces = caches.of::<Namespace>();
    let queue: Queue<Key> = Queue::new();
    let state = Arc::new(Mutex::new(State::default()));
    let (q, s) = (queue.clone(), state.clone());
    pods.on_change(move |change| pod_changed(change, &q, &s));
    let s = state.clone();
    let all = namespaces.clone();
    namespaces.on_change(move |_| lock(&s).world.namespaces = all.all());
    let (q, s) = (queue.clone(), state.clone());
    nodes.on_change(move |change| {
        lock(&s).world.put_node(&change.key.name, change.new.as_ref());
        if change.new.as_ref().is_some_and(|new| change.old.as_ref().is_none_or(|old| fit::matters(old, new)))
        {
            wake_waiting(&q, &s, &format!("Node {} changed", change.key));
        }
    });
    pods.synced().await;
    nodes.synced().await;
    namespaces.synced().await;
    let client = caches.client().clone();
    let events = Recorder::new(client.clone(), SCHEDULER);
    let this =
        Arc::new(Loop { client, pods, events, queue: queue.clone(), state, choosing: Default::default() });
    controllers_kit::run("scheduler", queue, BINDINGS, move |key| {
        let this = this.clone();
        async move { this.reconcile(key).await }
    })
    .await;
}

fn wants_node(pod: &Pod) -> bool {
    let ours =
        pod.spec.as_ref().is_some_and(|s| s.scheduler_name.as_deref().unwrap_or(SCHEDULER) == SCHEDULER);
    let gated = pod.spec.as_ref().is_some_and(|s| s.scheduling_gates.as_ref().is_some_and(|g| !g.is_empty()));
    ours && !gated && pods::node_name(pod).is_none() && pods::is_active(pod)
}

impl State {
    /// Takes in where a Pod is; one that was bound here is there before the cache shows it.
    fn place(&mut self, key: &Key, pod: Option<&Arc<Pod>>) {
        let at = pod.filter(|pod| !pods::is_finished(pod)).and_then(|pod| {
            let assumed = || self.assumed.get(pod.metadata.uid.as_deref()?).map(String::as_str);
            Some((pod, pods::node_name(pod).or_else(assumed)?))
        });
        self.world.put_pod(key, at);
    }
}

fn pod_changed(change: &controllers_kit::Change<Pod>, queue: &Queue<Key>, state: &Mutex<State>) {
    lock(state).place(&change.key, change.new.as_ref());
    match &change.new {
        Some(pod) if wants_node(pod) => {
            // Our own condition on a waiting Pod is no reason to look again.
            let news = change
                .old
                .as_ref()
                .is_none_or(|old| old.spec != pod.spec || old.metadata.labels != pod.metadata.labels);
            if news {
                queue.add(change.key.clone(), format!("Pod {} added", change.key));
            }
        }
        Some(pod) => {
            if let Some(uid) = pod.metadata.uid.as_ref().filter(|_| pods::node_name(pod).is_some()) {
                lock(state).assumed.remove(uid);
            }
            // What waits may fit beside what came, or where something is about to go.
            let place = |pod: &Pod| {
                (pods::node_name(pod).map(str::to_owned), pods::is_active(pod), pod.metadata.labels.clone())
            };
            if change.old.as_ref().is_none_or(|old| place(old) != place(pod)) {
                let story = pods::story(&change.key, change.old.as_deref(), Some(pod));
                wake_waiting(queue, state, &story);
            }
        }
        None => {
            if let Some(uid) = change.old.as_ref().and_then(|old| old.metadata.uid.as_ref()) {
                lock(state).assumed.remove(uid);
            }
            lock(state).waiting.remove(&change.key);
            wake_waiting(queue, state, &format!("Pod {} deleted", change.key));
        }
    }
}

fn wake_waiting(queue: &Queue<Key>, state: &Mutex<State>, cause: &str) {
    let waiting: Vec<Key> = lock(state).waiting.iter().cloned().collect();
    waiting.into_iter().for_each(|key| queue.add(key, cause));
}

impl Loop {
    async fn reconcile(&self, key: Key) -> Result<Done, Error> {
        lock(&self.state).waiting.remove(&key);
        let Some(pod) = self.pods.get(&key).filter(|pod| wants_node(pod)) else { return Ok(Done::nothing()) };
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        if lock(&self.state).assumed.contains_key(&uid) {
            return Ok(Done::nothing());
        }
        let turn = self.choosing.lock().await;
        // It may have gone, or found its node, while others chose.
        let Some(pod) = self.pods.get(&key).filter(|pod| wants_node(pod)) else { return Ok(Done::nothing()) };
        let verdict = self.choose(&key, &pod, &uid);
        drop(turn);
        match verdict {
            Verdict::Node(node) => self.bind(&key, &pod, &node).await,
            Verdict::Nowhere(message) => self.refuse(&pod, message).await,
        }
    }

    /// Chooses a node and takes its room at once: the next choice counts with it.
    fn choose(&self, key: &Key, pod: &Arc<Pod>, uid: &str) -> Verdict {
        let mut state = lock(&self.state);
        state.world.settle();
        let (verdict, looked_at) = fit::choose(pod, &state.world, state.next);
        state.next = (state.next + looked_at) % state.world.len().max(1);
        match &verdict {
            Verdict::Node(node) => {
                state.assumed.insert(uid.to_owned(), node.clone());
                state.place(key, Some(pod));
            }
            // At once: what makes room from now on wakes it.
            Verdict::Nowhere(_) => drop(state.waiting.insert(key.clone())),
        }
        verdict
    }

    async fn bind(&self, key: &Key, pod: &Pod, node: &str) -> Result<Done, Error> {
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        let binding = json!({
            "apiVersion": "v1", "kind": "Binding",
            "metadata": {"name": key.name, "namespace": key.namespace, "uid": uid},
            "target": {"apiVersion": "v1", "kind": "Node", "name": node},
        });
        let url = format!("/api/v1/namespaces/{}/pods", key.namespace);
        let request = Request::new(url)
            .create_subresource("binding", &key.name, &Default::default(), serde_json::to_vec(&binding)?)
            .map_err(kube::Error::BuildRequest)?;
        let began = Timestamp::now();
        if let Err(error) = self.client.request::<serde_json::Value>(request).await.map_err(Error::from) {
            let mut state = lock(&self.state);
            state.assumed.remove(&uid);
            state.place(key, self.pods.get(key).as_ref());
            drop(state);
            // Who was told meanwhile that nothing is free may have this room.
            wake_waiting(&self.queue, &self.state, &format!("Pod {key} was not bound"));
            return if error.is_not_found() { Ok(Done::nothing()) } else { Err(error) };
        }
        // The kubelet may have told more by now.
        self.events.normal_since(pod, "Scheduled", format!("Successfully assigned {key} to {node}"), began);
        Ok(Done::change(format!("bound to {node}")))
    }

    async fn refuse(&self, pod: &Pod, message: String) -> Result<Done, Error> {
        let known = pods::condition(pod, "PodScheduled");
        if known.is_some_and(|c| c.status == "False" && c.message.as_deref() == Some(&message)) {
            return Ok(Done::nothing());
        }
        let since = known.filter(|c| c.status == "False").and_then(|c| c.last_transition_time.clone());
        let condition = PodCondition {
            type_: "PodScheduled".into(),
            status: "False".into(),
            reason: Some("Unschedulable".into()),
            message: Some(message.clone()),
            last_transition_time: since.or_else(|| Some(now())),
            ..Default::default()
        };
        let mut status = pod.status.clone().unwrap_or_default();
        let conditions = status.conditions.get_or_insert_default();
        conditions.retain(|c| c.type_ != "PodScheduled");
        conditions.push(condition);
        self.events.warning(pod, "FailedScheduling", message);
        self.pods.replace_status(&Pod { status: Some(status), ..pod.clone() }).await?;
        Ok(Done::change("fits on no node"))
    }
}
