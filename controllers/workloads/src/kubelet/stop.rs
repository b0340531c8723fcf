//! The end of a Pod: connections are still taken for a moment, requests finish, then the object goes.
//!
//! Who sends no more traffic is decided elsewhere: endpoints and target groups react to the deletion mark.

use super::Loop;
use controllers_kit::Key;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, Preconditions};
use std::sync::Arc;
use std::time::Duration;

/// Long enough for everybody to have heard that no more is to be sent.
const DRAIN: Duration = Duration::from_millis(1000);

impl Loop {
    pub(super) async fn terminate(self: Arc<Self>, key: Key, pod: Arc<Pod>) {
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        let seconds = pod.metadata.deletion_grace_period_seconds.unwrap_or(30);
        let grace = Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
        let runs = self.runs.get(&uid).is_some_and(|run| !run.containers.is_empty());
        if runs {
            for container in pod.spec.iter().flat_map(|s| &s.containers) {
                self.tell(&pod, "Killing", format!("Stopping container {}", container.name));
            }
            let drain = pre_stop(&pod).max(DRAIN).min(grace);
            tokio::time::sleep(drain).await;
            self.runtime.stop(&uid, grace.saturating_sub(drain)).await;
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

/// The longest `preStop.sleep` of the containers.
fn pre_stop(pod: &Pod) -> Duration {
    let hooks =
        pod.spec.iter().flat_map(|s| &s.containers).filter_map(|c| c.lifecycle.as_ref()?.pre_stop.as_ref());
    let seconds = hooks.filter_map(|hook| hook.sleep.as_ref()).map(|s| s.seconds).max().unwrap_or(0);
    Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
}
