//! Status of a Pod from what the kubelet knows: phase, conditions, container statuses, addresses.
//!
//! Conditions of other types (readiness gates) are kept as they are.

use super::exits;
use super::state::{Run, State};
use k8s_openapi::api::core::v1::{
    Container, ContainerState, ContainerStateRunning, ContainerStateTerminated, ContainerStateWaiting,
    ContainerStatus, HostIP, Pod, PodCondition, PodIP, PodStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

const OURS: [&str; 4] = ["PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady"];

/// The status as it should be.
pub(super) fn build(pod: &Pod, run: &Run, host: Option<&str>, at: &Time) -> PodStatus {
    let spec = pod.spec.clone().unwrap_or_default();
    let before = pod.status.clone().unwrap_or_default();
    let containers: Vec<ContainerStatus> =
        spec.containers.iter().map(|c| container_status(pod, c, run)).collect();
    let init = spec.init_containers.iter().flatten();
    let any_started =
        run.containers.values().any(|c| !matches!(c.state, State::Waiting { .. }) || c.restarts > 0);
    let ended = exits::ended(pod, run);
    let init: Vec<ContainerStatus> = init.map(|c| init_status(pod, c, any_started, at)).collect();
    let host = host.map(str::to_string).or(before.host_ip.clone());
    let ip = run.ip.clone();
    PodStatus {
        phase: Some(ended.map_or(if any_started { "Running" } else { "Pending" }, |e| e.phase).to_string()),
        conditions: Some(conditions(pod, run, &containers, (any_started, ended), at)),
        container_statuses: Some(containers),
        ephemeral_container_statuses: ephemeral_statuses(pod, run),
        init_container_statuses: (!init.is_empty()).then_some(init),
        host_ips: host.clone().map(|ip| vec![HostIP { ip }]),
        host_ip: host,
        pod_ips: ip.clone().map(|ip| vec![PodIP { ip }]),
        pod_ip: ip,
        start_time: Some(run.since.clone()),
        observed_generation: pod.metadata.generation,
        ..before
    }
}

fn conditions(
    pod: &Pod,
    run: &Run,
    containers: &[ContainerStatus],
    (started, ended): (bool, Option<exits::End>),
    at: &Time,
) -> Vec<PodCondition> {
    let before: Vec<PodCondition> =
        pod.status.as_ref().and_then(|s| s.conditions.clone()).unwrap_or_default();
    let unready: Vec<&str> = containers.iter().filter(|c| !c.ready).map(|c| c.name.as_str()).collect();
    let not_ready = (!unready.is_empty())
        .then(|| ("ContainersNotReady", format!("containers with unready status: [{}]", unready.join(" "))));
    let not_ready = ended.map(|end| (end.reason, String::new())).or(not_ready);
    let gates = pod.spec.iter().flat_map(|s| s.readiness_gates.iter().flatten());
    let closed = gates.filter_map(|gate| {
        let known = before.iter().find(|c| c.type_ == gate.condition_type);
        match known {
            Some(c) if c.status == "True" => None,
            Some(_) => Some(format!(
                "the status of pod readiness gate \"{}\" is not \"True\", but False",
                gate.condition_type
            )),
            None => Some(format!(
                "corresponding condition of pod readiness gate \"{}\" does not exist.",
                gate.condition_type
            )),
        }
    });
    let closed: Vec<String> = closed.collect();
    let gated = (!closed.is_empty()).then(|| ("ReadinessGatesNotReady", closed.join(", ")));
    let uninitialized = (!started
        && pod.spec.as_ref().is_some_and(|s| s.init_containers.iter().flatten().next().is_some()))
    .then(|| ("ContainersNotInitialized", "containers with incomplete status".to_string()));
    let sandbox = (run.ip.is_none() || ended.is_some()).then(|| ("", String::new()));
    let ready = not_ready.clone().or(gated);
    let wanted = OURS.into_iter().zip([sandbox, uninitialized, ready, not_ready]);
    let mut all: Vec<PodCondition> =
        wanted.map(|(kind, problem)| condition(&before, kind, problem, at)).collect();
    if !before.iter().any(|c| c.type_ == "PodScheduled" && c.status == "True") {
        all.push(condition(&before, "PodScheduled", None, at));
    }
    all.extend(
        before.into_iter().filter(|c| {
            !OURS.contains(&c.type_.as_str()) && (c.type_ != "PodScheduled" || c.status == "True")
        }),
    );
    all
}

fn condition(
    before: &[PodCondition],
    kind: &str,
    problem: Option<(&str, String)>,
    at: &Time,
) -> PodCondition {
    let status = if problem.is_some() { "False" } else { "True" };
    let same = before.iter().find(|c| c.type_ == kind && c.status == status);
    let (reason, message) = problem.unwrap_or_default();
    PodCondition {
        type_: kind.into(),
        status: status.into(),
        reason: Some(reason.to_string()).filter(|r| !r.is_empty()),
        message: Some(message).filter(|m| !m.is_empty()),
        last_transition_time: same.and_then(|c| c.last_transition_time.clone()).or_else(|| Some(at.clone())),
        last_probe_time: same.and_then(|c| c.last_probe_time.clone()),
        observed_generation: same.and_then(|c| c.observed_generation),
    }
}

fn id(pod: &Pod, container: &str, restarts: i32) -> String {
    format!("hopyard://{}/{container}/{restarts}", pod.metadata.uid.as_deref().unwrap_or_default())
}

fn container_status(pod: &Pod, container: &Container, run: &Run) -> ContainerStatus {
    let image = container.image.clone().unwrap_or_default();
    let mut status = ContainerStatus { name: container.name.clone(), image, ..Default::default() };
    let Some(known) = run.containers.get(&container.name) else { return status };
    status.restart_count = known.restarts;
    if !matches!(known.state, State::Waiting { .. }) {
        status.container_id = Some(id(pod, &container.name, known.restarts));
        status.image_id = status.image.clone();
    }
    if let State::Running(_) = &known.state {
        status.ready = known.ready;
        // A node gives at once what is asked for, also where that changes. Who sees none takes it that nodes can't.
        let resources = container.resources.clone().unwrap_or_default();
        status.allocated_resources = resources.requests.clone();
        status.resources = Some(resources);
    }
    status.state = Some(told(&known.state));
    status.started = Some(known.started && matches!(known.state, State::Running(_)));
    let last = |terminated: &ContainerStateTerminated| ContainerState {
        terminated: Some(terminated.clone()),
        ..Default::default()
    };
    status.last_state = Some(known.last.as_ref().map(last).unwrap_or_default());
    status
}

fn told(state: &State) -> ContainerState {
    match state.clone() {
        State::Waiting { reason, message } => ContainerState {
            waiting: Some(ContainerStateWaiting { reason: Some(reason), message }),
            ..Default::default()
        },
        State::Running(since) => ContainerState {
            running: Some(ContainerStateRunning { started_at: Some(since) }),
            ..Default::default()
        },
        State::Terminated(ended) => ContainerState { terminated: Some(ended), ..Default::default() },
    }
}

/// Those that are known, in the order of the Pod.
fn ephemeral_statuses(pod: &Pod, run: &Run) -> Option<Vec<ContainerStatus>> {
    let added = pod.spec.iter().flat_map(|spec| spec.ephemeral_containers.iter().flatten());
    let statuses = added.filter_map(|container| {
        let state = run.ephemeral.get(&container.name)?;
        let image = container.image.clone().unwrap_or_default();
        let was_started = !matches!(state, State::Waiting { .. });
        Some(ContainerStatus {
            name: container.name.clone(),
            image_id: if was_started { image.clone() } else { String::new() },
            image,
            container_id: was_started.then(|| id(pod, &container.name, 0)),
            state: Some(told(state)),
            last_state: Some(ContainerState::default()),
            ..Default::default()
        })
    });
    Some(statuses.collect::<Vec<_>>()).filter(|statuses| !statuses.is_empty())
}

/// Init containers complete at once.
fn init_status(pod: &Pod, container: &Container, done: bool, at: &Time) -> ContainerStatus {
    let image = container.image.clone().unwrap_or_default();
    let before = pod.status.as_ref().and_then(|s| s.init_container_statuses.as_ref());
    let before = before.and_then(|all| all.iter().find(|s| s.name == container.name)).filter(|s| s.ready);
    if let Some(before) = before {
        return before.clone();
    }
    let state = if done {
        let terminated = ContainerStateTerminated {
            exit_code: 0,
            reason: Some("Completed".into()),
            started_at: Some(at.clone()),
            finished_at: Some(at.clone()),
            ..Default::default()
        };
        ContainerState { terminated: Some(terminated), ..Default::default() }
    } else {
        let waiting = ContainerStateWaiting { reason: Some("PodInitializing".into()), message: None };
        ContainerState { waiting: Some(waiting), ..Default::default() }
    };
    ContainerStatus {
        name: container.name.clone(),
        image_id: if done { image.clone() } else { String::new() },
        image,
        ready: done,
        started: Some(false),
        state: Some(state),
        last_state: Some(ContainerState::default()),
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use controllers_kit::Key;
    use serde_json::json;

    #[test]
    fn a_pod_ends_with_its_containers() {
        let ended =
            |code: i32| State::Terminated(ContainerStateTerminated { exit_code: code, ..Default::default() });
        let runs = || State::Running(controllers_kit::meta::now());
        let table = [
            ("Never", vec![ended(0), ended(0)], "Succeeded", "PodCompleted"),
            ("Never", vec![ended(0), ended(3)], "Failed", "PodFailed"),
            ("Never", vec![ended(0), runs()], "Running", "ContainersNotReady"),
            ("OnFailure", vec![ended(0)], "Succeeded", "PodCompleted"),
            ("OnFailure", vec![ended(1)], "Running", "ContainersNotReady"),
            ("Always", vec![ended(0)], "Running", "ContainersNotReady"),
        ];
        for (policy, states, phase, reason) in table {
            let names: Vec<_> =
                (0..states.len()).map(|i| json!({"name": i.to_string(), "image": "busybox"})).collect();
            let pod: Pod = serde_json::from_value(json!({
                "metadata": {"name": "job", "namespace": "default", "uid": "u"},
                "spec": {"restartPolicy": policy, "containers": names},
            }))
            .unwrap();
            let runs = super::super::state::Runs::default();
            runs.insert(&Key::new("default", "job"), &pod, "10.0.16.9");
            for (i, state) in states.into_iter().enumerate() {
                runs.update("u", &i.to_string(), |c| (c.state, c.ready) = (state, false));
            }
            let status = build(&pod, &runs.get("u").unwrap(), None, &controllers_kit::meta::now());
            let ready = status
                .conditions
                .iter()
                .flatten()
                .find(|c| c.type_ == "Ready")
                .and_then(|c| c.reason.clone());
            assert_eq!((status.phase.as_deref(), ready.as_deref()), (Some(phase), Some(reason)), "{policy}");
        }
    }

    #[test]
    fn a_pod_is_ready_when_its_containers_are_and_status_is_stable() {
        let mut pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": "web", "namespace": "default", "uid": "u"},
            "spec": {"containers": [{"name": "c", "image": "nginx"}]},
        }))
        .unwrap();
        let at = controllers_kit::meta::now();
        let runs = super::super::state::Runs::default();
        runs.insert(&Key::new("default", "web"), &pod, "10.0.16.9");
        let run = runs.get("u").unwrap();
        let status = build(&pod, &run, Some("10.0.16.4"), &at);
        pod.status = Some(status.clone());
        assert!(controllers_kit::pods::is_ready(&pod));
        assert_eq!(status.phase.as_deref(), Some("Running"));
        assert_eq!(build(&pod, &run, Some("10.0.16.4"), &controllers_kit::meta::now()), status);
    }
}
