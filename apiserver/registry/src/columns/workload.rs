//! Cells of workloads.

use apiserver_json::{Value, json};

use super::{Subject, human_duration, selector_text};

/// Container names, images and selector of anything with a Pod template.
pub(super) fn common(workload: &Subject, column: &str) -> Value {
    let template = match workload.kind {
        "CronJob" => "/spec/jobTemplate/spec/template",
        "PodTemplate" => "/template",
        _ => "/spec/template",
    };
    let containers = workload.items(&format!("{template}/spec/containers"));
    let list = |member: &str| -> Value {
        let names: Vec<&str> = containers.iter().filter_map(|container| container[member].as_str()).collect();
        json!(names.join(","))
    };
    match column {
        "Containers" => list("name"),
        "Images" => list("image"),
        _ if workload.kind == "CronJob" => {
            json!(selector_text(workload.at("/spec/jobTemplate/spec/selector")))
        }
        _ => json!(selector_text(workload.at("/spec/selector"))),
    }
}

pub(super) fn cell(workload: &Subject, column: &str) -> Value {
    match (workload.kind, column) {
        ("Deployment", "Ready") => json!(format!(
            "{}/{}",
            workload.number("/status/readyReplicas"),
            workload.number("/spec/replicas")
        )),
        ("StatefulSet", "Ready") => json!(format!(
            "{}/{}",
            workload.number("/status/readyReplicas"),
            workload.number("/spec/replicas")
        )),
        ("Deployment", "Up-to-date") => json!(workload.number("/status/updatedReplicas")),
        ("Deployment", "Available") => json!(workload.number("/status/availableReplicas")),
        ("ReplicaSet" | "ReplicationController", "Desired") => json!(workload.number("/spec/replicas")),
        ("ReplicaSet" | "ReplicationController", "Current") => json!(workload.number("/status/replicas")),
        ("ReplicaSet" | "ReplicationController", "Ready") => json!(workload.number("/status/readyReplicas")),
        ("DaemonSet", "Desired") => json!(workload.number("/status/desiredNumberScheduled")),
        ("DaemonSet", "Current") => json!(workload.number("/status/currentNumberScheduled")),
        ("DaemonSet", "Ready") => json!(workload.number("/status/numberReady")),
        ("DaemonSet", "Up-to-date") => json!(workload.number("/status/updatedNumberScheduled")),
        ("DaemonSet", "Available") => json!(workload.number("/status/numberAvailable")),
        ("DaemonSet", "Node Selector") => {
            json!(selector_text(workload.at("/spec/template/spec/nodeSelector")))
        }
        ("Job", _) => job(workload, column),
        ("CronJob", "Schedule") => json!(workload.text("/spec/schedule")),
        ("CronJob", "Timezone") => match workload.text("/spec/timeZone") {
            "" => json!("<none>"),
            zone => json!(zone),
        },
        ("CronJob", "Suspend") => {
            json!(if workload.at("/spec/suspend") == &json!(true) { "True" } else { "False" })
        }
        ("CronJob", "Active") => json!(workload.items("/status/active").len()),
        ("CronJob", "Last Schedule") => match workload.text("/status/lastScheduleTime") {
            "" => json!("<none>"),
            _ => workload.age("/status/lastScheduleTime"),
        },
        ("HorizontalPodAutoscaler", _) => autoscaler(workload, column),
        ("PodDisruptionBudget", "Min Available") => int_or_string(workload.at("/spec/minAvailable")),
        ("PodDisruptionBudget", "Max Unavailable") => int_or_string(workload.at("/spec/maxUnavailable")),
        ("PodDisruptionBudget", "Allowed Disruptions") => {
            json!(workload.number("/status/disruptionsAllowed"))
        }
        ("ControllerRevision", "Controller") => {
            let owner = workload
                .items("/metadata/ownerReferences")
                .iter()
                .find(|owner| owner["controller"] == json!(true));
            owner.map_or(json!("<none>"), |owner| {
                let group = owner["apiVersion"]
                    .as_str()
                    .and_then(|version| version.split_once('/'))
                    .map_or("", |(group, _)| group);
                let kind = owner["kind"].as_str().unwrap_or("").to_lowercase();
                json!(format!("{kind}.{group}/{}", owner["name"].as_str().unwrap_or("")))
            })
        }
        ("ControllerRevision", "Revision") => json!(workload.number("/revision")),
        _ => Value::Null,
    }
}

fn int_or_string(value: &Value) -> Value {
    match value {
        Value::Null => json!("N/A"),
        Value::String(text) => json!(text),
        other => json!(other.to_string()),
    }
}

fn job(job: &Subject, column: &str) -> Value {
    let condition = |kind: &str| {
        job.items("/status/conditions")
            .iter()
            .any(|condition| condition["type"] == kind && condition["status"] == "True")
    };
    match column {
        "Status" => {
            let status = if condition("Complete") {
                "Complete"
            } else if condition("Failed") {
                "Failed"
            } else if !job.at("/metadata/deletionTimestamp").is_null() {
                "Terminating"
            } else if condition("Suspended") {
                "Suspended"
            } else if condition("FailureTarget") {
                "FailureTarget"
            } else if condition("SuccessCriteriaMet") {
                "SuccessCriteriaMet"
            } else {
                "Running"
            };
            json!(status)
        }
        "Completions" => {
            let done = job.number("/status/succeeded");
            match job.at("/spec/completions").as_i64() {
                Some(wanted) => json!(format!("{done}/{wanted}")),
                None => match job.number("/spec/parallelism") {
                    parallel if parallel > 1 => json!(format!("{done}/1 of {parallel}")),
                    _ => json!(format!("{done}/1")),
                },
            }
        }
        "Duration" => {
            let second = |pointer: &str| {
                job.text(pointer).parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_second)
            };
            match (second("/status/startTime"), second("/status/completionTime")) {
                (Some(start), end) => json!(human_duration(end.unwrap_or(job.now) - start)),
                (None, _) => json!(""),
            }
        }
        _ => Value::Null,
    }
}

fn autoscaler(scaler: &Subject, column: &str) -> Value {
    match column {
        "Reference" => json!(format!(
            "{}/{}",
            scaler.text("/spec/scaleTargetRef/kind"),
            scaler.text("/spec/scaleTargetRef/name")
        )),
        "Targets" => {
            json!(super::autoscaler::targets(
                scaler.items("/spec/metrics"),
                scaler.items("/status/currentMetrics")
            ))
        }
        "MinPods" => scaler
            .at("/spec/minReplicas")
            .as_i64()
            .map_or(json!("<unset>"), |number| json!(number.to_string())),
        "MaxPods" => json!(scaler.number("/spec/maxReplicas")),
        "Replicas" => json!(scaler.number("/status/currentReplicas")),
        _ => Value::Null,
    }
}
