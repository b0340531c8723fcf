//! The end of a container's command, and what follows from it: it is run again, or the Pod ends with it.
//!
//! What a command does, and its exit code, are the runtime's.

use super::Loop;
use super::state::{self, Run, State};
use controllers_kit::meta::now;
use k8s_openapi::api::core::v1::{Container, ContainerStateTerminated, Pod};
use std::time::Duration;

pub(super) const CRASH_BACKOFF: Duration = Duration::from_secs(10);
const CRASH_BACKOFF_MAX: Duration = Duration::from_secs(300);
/// What containerd says of a command that was never started.
const NOT_STARTED: i32 = 128;

/// How a container ended.
#[derive(Debug, Clone)]
pub(super) struct Exit {
    pub(super) code: i32,
    pub(super) reason: &'static str,
    pub(super) message: Option<String>,
}

impl Exit {
    pub(super) fn of(code: i32) -> Self {
        Exit { code, reason: if code == 0 { "Completed" } else { "Error" }, message: None }
    }

    /// Of a container whose command is not simulated.
    pub(super) fn not_started(why: String) -> Self {
        Exit { code: NOT_STARTED, reason: "StartError", message: Some(why) }
    }

    /// As it is told of a container that was in this state.
    pub(super) fn told(&self, before: &State) -> ContainerStateTerminated {
        let started_at = match before {
            State::Running(since) => Some(since.clone()),
            State::Terminated(ended) => ended.started_at.clone(),
            State::Waiting { .. } => None,
        };
        ContainerStateTerminated {
            exit_code: self.code,
            reason: Some(self.reason.into()),
            message: self.message.clone(),
            started_at,
            finished_at: Some(now()),
            ..Default::default()
        }
    }
}

/// How a Pod ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct End {
    pub(super) phase: &'static str,
    /// Why it is not ready any more.
    pub(super) reason: &'static str,
}

fn policy(pod: &Pod) -> &str {
    pod.spec.as_ref().and_then(|s| s.restart_policy.as_deref()).unwrap_or("Always")
}

/// True if a container that ends so is run again.
pub(super) fn restarts(pod: &Pod, code: i32) -> bool {
    match policy(pod) {
        "Never" => false,
        "OnFailure" => code != 0,
        _ => true,
    }
}

/// The end of the Pod, once no container runs or will run.
pub(super) fn ended(pod: &Pod, run: &Run) -> Option<End> {
    let mut worked = !run.containers.is_empty();
    for container in run.containers.values() {
        let State::Terminated(end) = &container.state else { return None };
        if restarts(pod, end.exit_code) && !run.stopping {
            return None;
        }
        worked &= end.exit_code == 0;
    }
    let (phase, reason) = if worked { ("Succeeded", "PodCompleted") } else { ("Failed", "PodFailed") };
    (!run.containers.is_empty()).then_some(End { phase, reason })
}

/// The container runs, from now on.
pub(super) fn begin(known: &mut state::Container, container: &Container) {
    known.state = State::Running(now());
    known.started = container.startup_probe.is_none();
    known.ready = known.started && container.readiness_probe.is_none();
}

impl Loop {
    /// True if the container is to end, and its command is not simulated.
    pub(super) fn never_starts(&self, pod: &Pod, container: &Container) -> bool {
        policy(pod) != "Always" && self.runtime.unsupported(pod, &container.name).is_some()
    }

    /// How a container ends at once whose command is not simulated. One that should go on for ever idles instead, and
    /// both are told.
    pub(super) fn refused(&self, pod: &Pod, container: &Container) -> Option<Exit> {
        let why = self.runtime.unsupported(pod, &container.name)?;
        let name = &container.name;
        if policy(pod) == "Always" {
            let text = format!("Command of container {name} is not run, the container idles: {why}");
            self.warn(pod, "NotSimulated", text);
            return None;
        }
        let why = format!("failed to start container {name:?}: {why}");
        self.warn(pod, "Failed", format!("Error: {why}"));
        Some(Exit::not_started(why))
    }

    /// A container ended; true once it runs again.
    pub(super) async fn ended(&self, pod: &Pod, container: &Container, exit: Exit) -> bool {
        let mut before = 0;
        self.set(pod, container, |c| {
            before = c.restarts;
            c.state = State::Terminated(exit.told(&c.state));
            (c.ready, c.started) = (false, false);
        });
        if !restarts(pod, exit.code) {
            return false;
        }
        let last = self.runs.get(pod.metadata.uid.as_deref().unwrap_or_default());
        let last = last.and_then(|run| match &run.containers.get(&container.name)?.state {
            State::Terminated(ended) => Some(ended.clone()),
            _ => None,
        });
        if before > 0 {
            self.back_off(pod, container, before).await;
        }
        self.tell(pod, "Started", format!("Started container {}", container.name));
        self.set(pod, container, |c| {
            (c.last, c.restarts) = (last, c.restarts + 1);
            begin(c, container);
        });
        true
    }

    /// Wait before a container that has been restarted this often is started again.
    pub(super) async fn back_off(&self, pod: &Pod, container: &Container, times: i32) {
        let delay = CRASH_BACKOFF.saturating_mul(1 << (times - 1).clamp(0, 6)).min(CRASH_BACKOFF_MAX);
        let pod_name = pod.metadata.name.as_deref().unwrap_or_default();
        let text = format!(
            "back-off {}s restarting failed container={} pod={pod_name}",
            delay.as_secs(),
            container.name
        );
        self.set(pod, container, |c| {
            c.state = State::Waiting { reason: "CrashLoopBackOff".into(), message: Some(text) };
        });
        let text = format!("Back-off restarting failed container {} in pod {pod_name}", container.name);
        self.warn(pod, "BackOff", text);
        tokio::time::sleep(delay).await;
    }
}
