//! Keeps the rule program of every node in step with Services, EndpointSlices and Nodes.
//!
//! One process serves many nodes: what changed is built once for all that see the same and published as one snapshot. It
//! applies nothing to a kernel; whoever carries packets asks [`Agent::evaluate`].

mod affinity;
mod programs;

pub use affinity::AffinityTable;
pub use programs::{Changed, Config, Input, Programs};

use controllers_kit::{Events, Object, Running, watch};
use futures::{FutureExt, StreamExt, stream};
use k8s_openapi::api::core::v1::{Node, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::Client;
use kube::runtime::watcher;
use proxy_agent_ruleset::{Choice, Entry, Packet, Verdict, evaluate};
use std::sync::Arc;
use tokio::sync::watch::{Receiver, Sender, channel};

/// Events taken into one snapshot when they come together.
const BATCH: usize = 256;

/// The programs of all nodes and the memory of their clients.
pub struct Agent {
    programs: Sender<Arc<Programs>>,
    affinity: AffinityTable,
}

impl Agent {
    /// An agent that knows nothing yet.
    pub fn new(config: Config) -> Arc<Self> {
        let programs = channel(Arc::new(Programs::new(config))).0;
        Arc::new(Agent { programs, affinity: AffinityTable::default() })
    }

    /// The programs now.
    pub fn programs(&self) -> Arc<Programs> {
        self.programs.borrow().clone()
    }

    /// The programs now and every change after.
    pub fn watch(&self) -> Receiver<Arc<Programs>> {
        self.programs.subscribe()
    }

    /// The memory of session affinity.
    pub fn affinity(&self) -> &AffinityTable {
        &self.affinity
    }

    /// What a node's rules do to a new connection; remembers the client where the rules say so. None: no such node.
    pub fn evaluate(&self, node: &str, packet: Packet, entry: Entry, choice: Choice) -> Option<Verdict> {
        let programs = self.programs();
        let program = programs.get(node)?;
        let run = evaluate(&program, packet, entry, choice, &self.affinity);
        if let Some(set) = run.remember {
            let seconds = program.affinity_seconds(set).unwrap_or(10_800);
            self.affinity.remember(set, packet.source, seconds);
        }
        Some(run.verdict)
    }

    /// Take in changes; answers what became different.
    pub fn apply(&self, inputs: Vec<Input>) -> Vec<Changed> {
        let mut next = self.programs().as_ref().clone();
        let changed = next.apply(inputs);
        // What changes no program (a slice before its Service) is kept all the same, but wakes nobody.
        self.programs.send_if_modified(|programs| {
            *programs = Arc::new(next);
            !changed.is_empty()
        });
        changed
    }

    /// Follow the API server until the process ends.
    pub fn run(self: Arc<Self>, client: Client) -> Running {
        self.follow_all(client).boxed()
    }

    async fn follow_all(self: Arc<Self>, client: Client) {
        let events = stream::select_all([
            follow(watch::<Service>(client.clone()), Input::Service, Input::ServiceGone, Input::ServicesAre),
            follow(watch::<EndpointSlice>(client.clone()), Input::Slice, Input::SliceGone, Input::SlicesAre),
            follow(watch::<Node>(client), Input::Node, Input::NodeGone, Input::NodesAre),
        ]);
        let mut batches = events.ready_chunks(BATCH);
        while let Some(batch) = batches.next().await {
            let started = std::time::Instant::now();
            let changed = self.apply(batch);
            let elapsed_ms = started.elapsed().as_micros() as f64 / 1000.0;
            for Changed { object, cause, change, .. } in changed {
                tracing::info!(controller = "kube-proxy", object = %object, cause, change, elapsed_ms, "reconciled");
            }
        }
    }
}

type Inputs = stream::BoxStream<'static, Input>;

/// The events of one kind; a restarted watch ends with the list of what there is, so that missed deletions count.
fn follow<K: Object>(
    events: Events<K>,
    put: fn(K) -> Input,
    gone: fn((String, String)) -> Input,
    are: fn(Vec<(String, String)>) -> Input,
) -> Inputs {
    let key = |object: &K| {
        let meta = object.meta();
        (meta.namespace.clone().unwrap_or_default(), meta.name.clone().unwrap_or_default())
    };
    let mut seen: Vec<(String, String)> = Vec::new();
    events
        .filter_map(move |event| {
            let input = match event {
                Ok(watcher::Event::Apply(object)) => Some(put(object)),
                Ok(watcher::Event::InitApply(object)) => {
                    seen.push(key(&object));
                    Some(put(object))
                }
                Ok(watcher::Event::Delete(object)) => Some(gone(key(&object))),
                Ok(watcher::Event::Init) => {
                    seen.clear();
                    None
                }
                Ok(watcher::Event::InitDone) => Some(are(std::mem::take(&mut seen))),
                Err(error) => {
                    tracing::debug!(%error, "watch failed, going on");
                    None
                }
            };
            futures::future::ready(input)
        })
        .boxed()
}
