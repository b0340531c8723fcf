//! The end of a Pod: connections are still taken for a moment, requests finish, then the object goes.
//!
//! Who sends no more traffic is decided elsewhere: endpoints and target groups react to the deletion mark.

use super::Loop;
use super::exits::Exit;
use super::state::State;
use controllers_kit::{Done, Error, Key, pods};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, Preconditions};
use std::sync::Arc;
use std::time::Duration;

/// Long enough for everybody to have heard that no more is to be sent.
const DRAIN: Duration = Duration::from_millis(1000);

/// What a process ends with that SIGTERM ended.
const KILLED: i32 = 143;

impl Loop {
    pub(super) async fn terminate(self: Arc<Self>, key: Key, pod: Arc<Pod>) {
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        let seconds = pod.metadata.deletion_grace_period_seconds.unwrap_or(30);
        let grace = Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
        let runs = self.runs.get(&uid).is_some_and(|run| !run.containers.is_empty());
        if runs && !pods::is_finished(&pod) {
            for container in pod.spec.iter().flat_map(|s| &s.containers) {
                self.tell(&pod, "Killing", format!("Stopping container {}", container.name));
            }
            let drain = pre_stop(&pod).max(DRAIN).min(grace);
            tokio::time::sleep(drain).await;
            self.runtime.stop(&uid, grace.saturating_sub(drain)).await;
            // Whoever keeps the Pod wants to know how it ended.
            if pod.metadata.finalizers.as_ref().is_some_and(|all| !all.is_empty())
                && let Err(error) = self.tell_killed(&key, &pod, &uid).await
            {
                tracing::debug!(object = %key, error = %error, "end of the Pod not told");
            }
        }
        let params = DeleteParams::default()
            .grace_period(0)
            .preconditions(Preconditions { uid: Some(uid.clone()), resource_version: None });
        if let Err(error) = self.pods.delete(&key, &params).await {
            if !error.is_code(409) {
                tracing::warn!(controller = "kubelet", object = %key, error = %error, "pod not removed");
                self.runs.not_stopped(&uid);
            }
            self.queue.retry(key, "removing the Pod failed");
        }
    }
}

impl Loop {
    async fn tell_killed(&self, key: &Key, pod: &Pod, uid: &str) -> Result<(), Error> {
        for container in pod.spec.iter().flat_map(|s| &s.containers) {
            self.runs.update(uid, &container.name, |c| {
                if !matches!(c.state, State::Terminated(_)) {
                    let exit = Exit { code: KILLED, reason: "Error", message: None };
                    c.state = State::Terminated(exit.told(&c.state));
                    (c.ready, c.started) = (false, false);
                }
            });
        }
        self.write_status(key, uid, &mut Done::nothing()).await
    }
}

/// The longest `preStop.sleep` of the containers.
fn pre_stop(pod: &Pod) -> Duration {
    let hooks =
        pod.spec.iter().flat_map(|s| &s.containers).filter_map(|c| c.lifecycle.as_ref()?.pre_stop.as_ref());
    let seconds = hooks.filter_map(|hook| hook.sleep.as_ref()).map(|s| s.seconds).max().unwrap_or(0);
    Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
}
