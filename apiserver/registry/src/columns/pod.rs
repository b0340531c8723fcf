//! Cells of Pods (`printPod`).

use apiserver_json::{Value, json};

use super::{Subject, age, or_none};

pub(super) fn cell(pod: &Subject, column: &str) -> Value {
    let ready = || {
        pod.items("/status/containerStatuses").iter().filter(|status| status["ready"] == json!(true)).count()
    };
    match column {
        "Ready" => json!(format!("{}/{}", ready(), total(pod))),
        "Status" => json!(status(pod)),
        "Restarts" => json!(restarts(pod)),
        "IP" => or_none(pod.text("/status/podIP")),
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

fn status(pod: &Subject) -> String {
    let mut reason = pod.text("/status/phase").to_owned();
    if !pod.text("/status/reason").is_empty() {
        reason = pod.text("/status/reason").to_owned();
    }
    let scheduled_out = pod
        .items("/status/conditions")
        .iter()
        .any(|condition| condition["type"] == "PodScheduled" && condition["reason"] == "SchedulingGated");
    if scheduled_out {
        reason = "SchedulingGated".to_owned();
    }
    let mut initializing = false;
    let inits = pod.items("/status/initContainerStatuses");
    for (i, container) in inits.iter().enumerate() {
        let code = container.pointer("/state/terminated/exitCode").and_then(Value::as_i64);
        if code == Some(0) || container["started"] == json!(true) {
            continue;
        }
        initializing = true;
        reason = if let Some(terminated) = container.pointer("/state/terminated") {
            format!("Init:{}", terminated_text(terminated))
        } else {
            match container.pointer("/state/waiting/reason").and_then(Value::as_str) {
                Some(waiting) if !waiting.is_empty() && waiting != "PodInitializing" => {
                    format!("Init:{waiting}")
                }
                _ => format!("Init:{i}/{}", pod.items("/spec/initContainers").len()),
            }
        };
        break;
    }
    if !initializing {
        let mut has_running = false;
        for container in pod.items("/status/containerStatuses").iter().rev() {
            if let Some(waiting) = container
                .pointer("/state/waiting/reason")
                .and_then(Value::as_str)
                .filter(|text| !text.is_empty())
            {
                reason = waiting.to_owned();
            } else if let Some(terminated) = container.pointer("/state/terminated") {
                reason = terminated_text(terminated);
            } else if container["ready"] == json!(true) && container.pointer("/state/running").is_some() {
                has_running = true;
            }
        }
        if reason == "Completed" && has_running {
            let ready = pod
                .items("/status/conditions")
                .iter()
                .any(|condition| condition["type"] == "Ready" && condition["status"] == "True");
            reason = if ready { "Running" } else { "NotReady" }.to_owned();
        }
    }
    if !pod.at("/metadata/deletionTimestamp").is_null() {
        if pod.text("/status/reason") == "NodeLost" {
            return "Unknown".to_owned();
        }
        if !matches!(pod.text("/status/phase"), "Failed" | "Succeeded") {
            return "Terminating".to_owned();
        }
    }
    reason
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

fn restarts(pod: &Subject) -> String {
    let statuses = pod.items("/status/containerStatuses");
    let count: i64 = statuses.iter().filter_map(|status| status["restartCount"].as_i64()).sum();
    let last = statuses
        .iter()
        .filter_map(|status| status.pointer("/lastState/terminated/finishedAt")?.as_str())
        .max();
    match last {
        Some(last) if count > 0 => format!("{count} ({} ago)", age(last, pod.now)),
        _ => count.to_string(),
    }
}
