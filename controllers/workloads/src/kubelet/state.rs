//! What the kubelet remembers about the Pods it runs.
//!
//! Nothing survives a restart of the process except what the Pods' statuses tell.

use super::exits;
use controllers_kit::Key;
use controllers_kit::meta::now;
use k8s_openapi::api::core::v1::{ContainerStateTerminated, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Notify;
use tokio::task::AbortHandle;

const PULL_BACKOFF: Duration = Duration::from_secs(10);
const PULL_BACKOFF_MAX: Duration = Duration::from_secs(300);

/// State of a container.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum State {
    /// Not running, and why.
    Waiting { reason: String, message: Option<String> },
    /// Running since then.
    Running(Time),
    /// Its command has ended.
    Terminated(ContainerStateTerminated),
}

/// One container.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Container {
    pub(crate) state: State,
    pub(crate) last: Option<ContainerStateTerminated>,
    pub(crate) started: bool,
    pub(crate) ready: bool,
    pub(crate) restarts: i32,
}

/// One Pod.
#[derive(Debug, Clone)]
pub(crate) struct Run {
    pub(crate) key: Key,
    pub(crate) ip: Option<String>,
    pub(crate) since: Time,
    pub(crate) containers: BTreeMap<String, Container>,
    /// Those that were added while it ran; they are run once, and the Pod does not depend on them.
    pub(crate) ephemeral: BTreeMap<String, State>,
    /// Its Pod is being deleted.
    pub(crate) stopping: bool,
    /// Its containers have ended for good, and its sandbox is gone.
    finished: bool,
}

impl Run {
    /// A Pod whose containers all wait for the same thing.
    pub(crate) fn waiting(key: &Key, pod: &Pod, ip: Option<&str>, state: State) -> Self {
        Self::new(key, pod, ip, |_| Container {
            state: state.clone(),
            last: None,
            started: false,
            ready: false,
            restarts: 0,
        })
    }

    fn new(
        key: &Key,
        pod: &Pod,
        ip: Option<&str>,
        make: impl Fn(&k8s_openapi::api::core::v1::Container) -> Container,
    ) -> Self {
        let since = pod.status.as_ref().and_then(|s| s.start_time.clone()).unwrap_or_else(now);
        let containers =
            pod.spec.iter().flat_map(|s| &s.containers).map(|c| (c.name.clone(), make(c))).collect();
        Run {
            key: key.clone(),
            ip: ip.map(str::to_string),
            since,
            containers,
            ephemeral: BTreeMap::new(),
            stopping: false,
            finished: false,
        }
    }
}

#[derive(Default)]
struct Inner {
    runs: HashMap<String, Run>,
    /// Uids that run under a name.
    by_key: HashMap<Key, Vec<String>>,
    tasks: HashMap<String, Vec<AbortHandle>>,
    hosts: HashMap<String, String>,
    /// Pods whose image could not be pulled: when to try again, and how often it was tried.
    pulls: HashMap<String, (Instant, u32)>,
}

impl Inner {
    fn put(&mut self, uid: &str, run: Run) {
        self.take(uid);
        self.by_key.entry(run.key.clone()).or_default().push(uid.to_string());
        self.runs.insert(uid.to_string(), run);
    }

    fn take(&mut self, uid: &str) {
        let Some(run) = self.runs.remove(uid) else { return };
        if let Some(uids) = self.by_key.get_mut(&run.key) {
            uids.retain(|other| other != uid);
            if uids.is_empty() {
                self.by_key.remove(&run.key);
            }
        }
    }
}

/// All Pods by uid.
#[derive(Default)]
pub(crate) struct Runs {
    inner: Mutex<Inner>,
    /// Of any container.
    changed: Notify,
}

impl Runs {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn contains(&self, uid: &str) -> bool {
        self.lock().runs.contains_key(uid)
    }

    pub(crate) fn get(&self, uid: &str) -> Option<Run> {
        self.lock().runs.get(uid).cloned()
    }

    /// Uids that run under this name but are not this Pod.
    pub(crate) fn others_of(&self, key: &Key, uid: Option<&str>) -> Vec<String> {
        let inner = self.lock();
        let known = inner.by_key.get(key).into_iter().flatten();
        known.filter(|id| Some(id.as_str()) != uid).cloned().collect()
    }

    /// The Pod's containers have been started.
    pub(crate) fn insert(&self, key: &Key, pod: &Pod, ip: &str) {
        let at = now();
        let status = pod.status.as_ref();
        let run = Run::new(key, pod, Some(ip), |c| {
            let before =
                status.and_then(|s| s.container_statuses.iter().flatten().find(|s| s.name == c.name));
            let known = before.and_then(|s| s.state.as_ref());
            let since = known.and_then(|s| s.running.as_ref()).and_then(|r| r.started_at.clone());
            let ended =
                known.and_then(|s| s.terminated.as_ref()).filter(|t| !exits::restarts(pod, t.exit_code));
            if let Some(ended) = ended {
                let restarts = before.map_or(0, |s| s.restart_count);
                let state = State::Terminated(ended.clone());
                return Container { state, last: None, started: false, ready: false, restarts };
            }
            Container {
                state: State::Running(since.unwrap_or_else(|| at.clone())),
                last: before.and_then(|s| s.last_state.as_ref()).and_then(|s| s.terminated.clone()),
                started: c.startup_probe.is_none(),
                ready: c.startup_probe.is_none()
                    && (c.readiness_probe.is_none() || before.is_some_and(|s| s.ready)),
                restarts: before.map_or(0, |s| s.restart_count),
            }
        });
        if let Some(uid) = &pod.metadata.uid {
            self.lock().put(uid, run);
        }
    }

    pub(crate) fn add_task(&self, uid: &str, task: AbortHandle) {
        let mut inner = self.lock();
        if inner.runs.contains_key(uid) {
            inner.tasks.entry(uid.to_string()).or_default().push(task);
        } else {
            task.abort();
        }
    }

    /// True if the container's command has ended for good.
    pub(crate) fn has_ended(&self, uid: &str, container: &str) -> bool {
        let inner = self.lock();
        let known = inner.runs.get(uid).and_then(|run| run.containers.get(container));
        known.is_some_and(|c| matches!(c.state, State::Terminated(_)))
    }

    /// Change a container; answers the Pod's key if something differs now.
    pub(crate) fn update(
        &self,
        uid: &str,
        container: &str,
        change: impl FnOnce(&mut Container),
    ) -> Option<Key> {
        let mut inner = self.lock();
        let run = inner.runs.get_mut(uid)?;
        let entry = run.containers.get_mut(container)?;
        let before = entry.clone();
        change(entry);
        let changed = (*entry != before).then(|| run.key.clone());
        if changed.is_some() {
            self.changed.notify_waiters();
        }
        changed
    }

    /// Whether the Pod runs and this container of it is not known yet.
    pub(crate) fn is_new_ephemeral(&self, uid: &str, container: &str) -> bool {
        self.lock().runs.get(uid).is_some_and(|run| !run.ephemeral.contains_key(container))
    }

    /// An ephemeral container is in this state now.
    pub(crate) fn set_ephemeral(&self, uid: &str, container: &str, state: State) {
        if let Some(run) = self.lock().runs.get_mut(uid) {
            run.ephemeral.insert(container.to_owned(), state);
        }
    }

    /// Comes back when every container of the Pod that has not ended is ready.
    pub(crate) async fn all_ready(&self, uid: &str) {
        loop {
            let changed = self.changed.notified();
            let ready = |c: &Container| c.ready || matches!(c.state, State::Terminated(_));
            if self.lock().runs.get(uid).is_none_or(|run| run.containers.values().all(ready)) {
                return;
            }
            changed.await;
        }
    }

    /// True the first time.
    pub(crate) fn begin_stopping(&self, key: &Key, uid: &str) -> bool {
        let mut inner = self.lock();
        inner.tasks.remove(uid).into_iter().flatten().for_each(|task| task.abort());
        if !inner.runs.contains_key(uid) {
            let run = Run {
                key: key.clone(),
                ip: None,
                since: now(),
                containers: BTreeMap::new(),
                ephemeral: BTreeMap::new(),
                stopping: false,
                finished: false,
            };
            inner.put(uid, run);
        }
        inner.runs.get_mut(uid).is_some_and(|run| !std::mem::replace(&mut run.stopping, true))
    }

    /// The Pod's containers have ended for good; true the first time.
    pub(crate) fn finish(&self, uid: &str) -> bool {
        let mut inner = self.lock();
        inner.tasks.remove(uid).into_iter().flatten().for_each(|task| task.abort());
        inner.runs.get_mut(uid).is_some_and(|run| !std::mem::replace(&mut run.finished, true))
    }

    /// Stopping did not work out: try again.
    pub(crate) fn not_stopped(&self, uid: &str) {
        if let Some(run) = self.lock().runs.get_mut(uid) {
            run.stopping = false;
        }
    }

    /// Time until an image may be asked for again, or how often it was before.
    pub(crate) fn pull(&self, uid: &str) -> Result<u32, Duration> {
        let mut inner = self.lock();
        let (due, tries) = inner.pulls.get(uid).copied().unwrap_or((Instant::now(), 0));
        let left = due.saturating_duration_since(Instant::now());
        if !left.is_zero() {
            return Err(left);
        }
        let delay = PULL_BACKOFF.saturating_mul(1 << tries.min(5)).min(PULL_BACKOFF_MAX);
        inner.pulls.insert(uid.to_string(), (Instant::now() + delay, tries + 1));
        Ok(tries)
    }

    /// The Pod is gone.
    pub(crate) fn forget_pulls(&self, uid: &str) {
        self.lock().pulls.remove(uid);
    }

    pub(crate) fn remove(&self, uid: &str) {
        let mut inner = self.lock();
        inner.pulls.remove(uid);
        inner.take(uid);
        inner.tasks.remove(uid).into_iter().flatten().for_each(|task| task.abort());
    }

    pub(crate) fn set_host(&self, node: &str, ip: &str) {
        self.lock().hosts.insert(node.to_string(), ip.to_string());
    }

    pub(crate) fn host_ip(&self, node: &str) -> Option<String> {
        self.lock().hosts.get(node).cloned()
    }
}
