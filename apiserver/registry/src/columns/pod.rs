//! Cells of Pods (`printPod`).

use apiserver_json::{Value, json};

use super::{Subject, age, or_none};

pub(super) fn cell(pod: &Subject, column: &str) -> Value {
    match column {
        "Ready" => json!(format!("{}/{}", Seen::of(pod).ready, total(pod))),
        "Status" => json!(Seen::of(pod).reason),
        "Restarts" => json!(Seen::of(pod).restarts.text(pod)),
        "IP" => or_none(pod.text("/status/podIPs/0/ip")),
        "Node" => or_none(pod.text("/spec/nodeName")),
        "Nominated Node" => or_none(pod.text("/status/nominatedNodeName")),
        "Readiness Gates" => {
            let gates = pod.items("/spec/readinessGates");
            if gates.is_empty() {
                return json!("<none>");
            }
            let met = gates.iter().filter(|gate| {
                pod.items("/status/conditions").iter().any(|condition| {
                    condition["type"] == gate["conditionType"] && condition["status"] == "True"
                })
            });
            json!(format!("{}/{}", met.count(), gates.len()))
        }
        _ => Value::Null,
    }
}

fn total(pod: &Subject) -> usize {
    let sidecars = pod
        .items("/spec/initContainers")
        .iter()
        .filter(|container| container["restartPolicy"] == "Always")
        .count();
    pod.items("/spec/containers").len() + sidecars
}

/// Starts over of containers, and when the last one ended before.
#[derive(Clone, Copy, Default)]
struct Restarts<'a> {
    count: i64,
    last: Option<&'a str>,
}

impl<'a> Restarts<'a> {
    fn add(&mut self, status: &'a Value) {
        self.count += status["restartCount"].as_i64().unwrap_or(0);
        self.last = self.last.max(status.pointer("/lastState/terminated/finishedAt").and_then(Value::as_str));
    }

    fn text(self, pod: &Subject) -> String {
        match self.last {
            Some(last) if self.count != 0 => format!("{} ({} ago)", self.count, age(last, pod.now)),
            _ => self.count.to_string(),
        }
    }
}

/// What is told of a Pod as a whole.
struct Seen<'a> {
    reason: String,
    ready: usize,
    restarts: Restarts<'a>,
}

impl<'a> Seen<'a> {
    fn of(pod: &'a Subject<'a>) -> Self {
        let mut reason = pod.text("/status/phase").to_owned();
        if !pod.text("/status/reason").is_empty() {
            reason = pod.text("/status/reason").to_owned();
        }
        let has_condition = |kind: &str, member: &str, value: &str| {
            pod.items("/status/conditions")
                .iter()
                .any(|condition| condition["type"] == kind && condition[member] == value)
        };
        if has_condition("PodScheduled", "reason", "SchedulingGated") {
            reason = "SchedulingGated".to_owned();
        }
        let mut seen = Self { reason, ready: 0, restarts: Restarts::default() };
        let (is_initialized, of_sidecars) = seen.init_containers(pod);
        if is_initialized || has_condition("Initialized", "status", "True") {
            seen.restarts = of_sidecars;
            seen.containers(pod, has_condition("Ready", "status", "True"));
        }
        if !pod.at("/metadata/deletionTimestamp").is_null() {
            if pod.text("/status/reason") == "NodeLost" {
                seen.reason = "Unknown".to_owned();
            } else if !matches!(pod.text("/status/phase"), "Failed" | "Succeeded") {
                seen.reason = "Terminating".to_owned();
            }
        }
        seen
    }

    /// Whether nothing is left to be initialized, and the restarts of those that go on running.
    fn init_containers(&mut self, pod: &'a Subject<'a>) -> (bool, Restarts<'a>) {
        let mut of_sidecars = Restarts::default();
        for (i, status) in pod.items("/status/initContainerStatuses").iter().enumerate() {
            self.restarts.add(status);
            let container =
                pod.items("/spec/initContainers").iter().find(|one| one["name"] == status["name"]);
            let is_sidecar = container.is_some_and(|container| container["restartPolicy"] == "Always");
            if is_sidecar {
                of_sidecars.add(status);
            }
            let terminated = status.pointer("/state/terminated");
            if terminated.is_some_and(|terminated| terminated["exitCode"].as_i64().unwrap_or(0) == 0) {
                continue;
            }
            if is_sidecar && status["started"] == json!(true) {
                self.ready += usize::from(status["ready"] == json!(true));
                continue;
            }
            let waiting = status.pointer("/state/waiting/reason").and_then(Value::as_str);
            self.reason = match (terminated, waiting.filter(|why| !matches!(*why, "" | "PodInitializing"))) {
                (Some(terminated), _) => format!("Init:{}", terminated_text(terminated)),
                (None, Some(why)) => format!("Init:{why}"),
                (None, None) => format!("Init:{i}/{}", pod.items("/spec/initContainers").len()),
            };
            return (false, of_sidecars);
        }
        (true, of_sidecars)
    }

    fn containers(&mut self, pod: &'a Subject<'a>, is_ready: bool) {
        let (mut has_running, mut failure) = (false, None);
        for status in pod.items("/status/containerStatuses").iter().rev() {
            self.restarts.add(status);
            let waiting = status.pointer("/state/waiting/reason").and_then(Value::as_str);
            if let Some(waiting) = waiting.filter(|text| !text.is_empty()) {
                self.reason = waiting.to_owned();
            } else if let Some(terminated) = status.pointer("/state/terminated") {
                self.reason = terminated_text(terminated);
                if terminated["exitCode"].as_i64().unwrap_or(0) != 0 {
                    failure = Some(self.reason.clone());
                }
            } else if status["ready"] == json!(true) && status.pointer("/state/running").is_some() {
                has_running = true;
                self.ready += 1;
            }
        }
        if self.reason == "Completed" {
            match failure {
                _ if has_running && is_ready => self.reason = "Running".to_owned(),
                Some(failure) => self.reason = failure,
                None if has_running => self.reason = "NotReady".to_owned(),
                None => {}
            }
        }
    }
}

fn terminated_text(terminated: &Value) -> String {
    let reason = terminated["reason"].as_str().unwrap_or("");
    if !reason.is_empty() {
        return reason.to_owned();
    }
    match terminated["signal"].as_i64().unwrap_or(0) {
        0 => format!("ExitCode:{}", terminated["exitCode"].as_i64().unwrap_or(0)),
        signal => format!("Signal:{signal}"),
    }
}
