//! Ephemeral containers: added to a Pod that runs, started once, and never again.

use super::exits::Exit;
use super::state::State;
use super::{Loop, with_ip};
use controllers_kit::meta::now;
use controllers_kit::{Done, Key, spawn};
use k8s_openapi::api::core::v1::Pod;
use std::sync::Arc;

impl Loop {
    /// Starts those that are new.
    pub(super) fn start_ephemeral(self: &Arc<Self>, key: &Key, pod: &Pod, uid: &str, done: &mut Done) {
        let Some(ip) = self.runs.get(uid).and_then(|run| run.ip) else { return };
        for container in pod.spec.iter().flat_map(|spec| spec.ephemeral_containers.iter().flatten()) {
            let name = &container.name;
            if !self.runs.is_new_ephemeral(uid, name) {
                continue;
            }
            // It ended before this process began.
            if let Some(ended) = ended_before(pod, name) {
                self.runs.set_ephemeral(uid, name, ended);
                continue;
            }
            let image = container.image.as_deref().unwrap_or_default();
            if let Some(message) = self.runtime.missing_image(pod, image) {
                self.warn(pod, "Failed", format!("Failed to pull image \"{image}\": {message}"));
                let state = State::Waiting { reason: "ErrImagePull".into(), message: Some(message) };
                self.runs.set_ephemeral(uid, name, state);
                continue;
            }
            let pod = Arc::new(with_ip(pod, &ip));
            self.runtime.add(&pod, name);
            let began = State::Running(now());
            self.runs.set_ephemeral(uid, name, began.clone());
            self.tell(&pod, "Pulled", format!("Container image \"{image}\" already present on machine"));
            self.tell(&pod, "Created", format!("Created container: {name}"));
            self.tell(&pod, "Started", format!("Started container {name}"));
            let task = self.clone().run_ephemeral(key.clone(), pod, name.clone(), began);
            self.runs.add_task(uid, spawn("ephemeral container", task).abort_handle());
            done.note(format!("started ephemeral container {name}"));
        }
    }

    async fn run_ephemeral(self: Arc<Self>, key: Key, pod: Arc<Pod>, container: String, began: State) {
        let exit = match self.runtime.unsupported(&pod, &container) {
            Some(why) => Exit::not_started(format!("failed to start container {container:?}: {why}")),
            None => Exit::of(self.runtime.run(&pod, &container).await),
        };
        let uid = pod.metadata.uid.as_deref().unwrap_or_default();
        self.runs.set_ephemeral(uid, &container, State::Terminated(exit.told(&began)));
        self.queue.add(key, format!("ephemeral container {container} ended"));
    }
}

fn ended_before(pod: &Pod, container: &str) -> Option<State> {
    let statuses = pod.status.iter().flat_map(|status| status.ephemeral_container_statuses.iter().flatten());
    let known = statuses.filter(|status| status.name == container).find_map(|status| status.state.as_ref());
    known?.terminated.clone().map(State::Terminated)
}
