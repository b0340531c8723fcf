//! HorizontalPodAutoscalers as autoscaling/v1 tells them: `pkg/apis/autoscaling/v1/conversion.go` upstream.
//!
//! v1 knows one metric, the share of a processor. The others, and whatever else only v2 has, are told in annotations,
//! which are read back and are never stored.

use apiserver_json::{Map, Value, json};
use apiserver_schema::internal_json;

use crate::strategy::shared::{at, at_mut, default, text};

const METRICS: &str = "autoscaling.alpha.kubernetes.io/metrics";
const CURRENT_METRICS: &str = "autoscaling.alpha.kubernetes.io/current-metrics";
const BEHAVIOR: &str = "autoscaling.alpha.kubernetes.io/behavior";
const CONDITIONS: &str = "autoscaling.alpha.kubernetes.io/conditions";
const ANNOTATIONS: [&str; 6] = [
    METRICS,
    CURRENT_METRICS,
    BEHAVIOR,
    CONDITIONS,
    "autoscaling.alpha.kubernetes.io/scale-down-tolerance",
    "autoscaling.alpha.kubernetes.io/scale-up-tolerance",
];

/// A member in v1, and where v2 has it.
type Place = (&'static str, &'static [&'static str]);

/// (source of a metric, its members in v1, where v2 has them). `~` stands for `target` of a wish, `current` of a state.
const MEMBERS: &[(&str, &[Place])] = &[
    (
        "object",
        &[
            ("target", &["describedObject"]),
            ("metricName", &["metric", "name"]),
            ("selector", &["metric", "selector"]),
            ("targetValue", &["~", "value"]),
            ("currentValue", &["~", "value"]),
            ("averageValue", &["~", "averageValue"]),
        ],
    ),
    (
        "pods",
        &[
            ("metricName", &["metric", "name"]),
            ("selector", &["metric", "selector"]),
            ("targetAverageValue", &["~", "averageValue"]),
            ("currentAverageValue", &["~", "averageValue"]),
        ],
    ),
    ("resource", OF_RESOURCE),
    ("containerResource", OF_RESOURCE),
    (
        "external",
        &[
            ("metricName", &["metric", "name"]),
            ("metricSelector", &["metric", "selector"]),
            ("targetValue", &["~", "value"]),
            ("currentValue", &["~", "value"]),
            ("targetAverageValue", &["~", "averageValue"]),
            ("currentAverageValue", &["~", "averageValue"]),
        ],
    ),
];

const OF_RESOURCE: &[Place] = &[
    ("name", &["name"]),
    ("container", &["container"]),
    ("targetAverageUtilization", &["~", "averageUtilization"]),
    ("currentAverageUtilization", &["~", "averageUtilization"]),
    ("targetAverageValue", &["~", "averageValue"]),
    ("currentAverageValue", &["~", "averageValue"]),
];

/// Drops the annotations that stand for what v1 lacks: v2 has it all.
pub(crate) fn drop_annotations(object: &mut Value) {
    let Some(metadata) = at_mut(object, &["metadata"]) else { return };
    let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) else { return };
    let before = annotations.len();
    annotations.retain(|key, _| !ANNOTATIONS.contains(&key.as_str()));
    if annotations.is_empty() && before > 0 {
        metadata.remove("annotations");
    }
}

fn annotation(object: &Value, name: &str) -> Option<Value> {
    let text = at(object, &["metadata", "annotations", name]).as_str()?;
    apiserver_json::from_str(text).ok()
}

/// As v2 has it.
pub(crate) fn to_v2(object: &mut Value) {
    let list = |name: &str| annotation(object, name).and_then(|value| Some(value.as_array()?.to_vec()));
    let (metrics, states) = (list(METRICS), list(CURRENT_METRICS));
    let conditions = list(CONDITIONS);
    let behavior = annotation(object, BEHAVIOR).map(|value| lower_camel(&value));
    drop_annotations(object);
    if let Some(spec) = at_mut(object, &["spec"]) {
        let mut all: Vec<Value> =
            metrics.into_iter().flatten().map(|metric| metric_to_v2(&metric, "target")).collect();
        if let Some(share) = spec.remove("targetCPUUtilizationPercentage") {
            all.push(processor_metric(&share));
        }
        if all.is_empty() {
            all.push(processor_metric(&80.into()));
        }
        spec.insert("metrics".into(), all.into());
        if let Some(behavior) =
            behavior.filter(|behavior| behavior.as_object().is_some_and(|b| !b.is_empty()))
        {
            spec.insert("behavior".into(), behavior);
        }
    }
    let Some(status) = at_mut(object, &["status"]) else { return };
    let share = status.remove("currentCPUUtilizationPercentage");
    let all = match (states, share) {
        (Some(states), _) => states.iter().map(|state| metric_to_v2(state, "current")).collect(),
        (None, Some(share)) => {
            let current = json!({"averageUtilization": share});
            json!([{"type": "Resource", "resource": {"name": "cpu", "current": current}}])
        }
        (None, None) => Value::Null,
    };
    status.insert("currentMetrics".into(), all);
    if let Some(conditions) = conditions {
        status.insert("conditions".into(), conditions.into());
    }
    if status.get("currentReplicas") == Some(&json!(0)) {
        status.remove("currentReplicas");
    }
}

fn processor_metric(share: &Value) -> Value {
    let target = json!({"type": "Utilization", "averageUtilization": share});
    json!({"type": "Resource", "resource": {"name": "cpu", "target": target}})
}

/// As v1 has it.
pub(crate) fn from_v2(object: &mut Value) {
    drop_annotations(object);
    let mut annotations = Map::new();
    let mut note = |name: &str, go_type: &str, value: Value| {
        if value.as_array().is_none_or(|list| !list.is_empty()) && !value.is_null() {
            annotations.insert(name.to_owned().into(), internal_json(go_type, &value).into());
        }
    };
    if let Some(spec) = at_mut(object, &["spec"]) {
        let metrics = spec.remove("metrics").unwrap_or_default();
        let share = |metric: &Value| at(metric, &["resource", "target", "averageUtilization"]).clone();
        let (processor, others): (Vec<Value>, Vec<Value>) = metrics
            .as_array()
            .into_iter()
            .flatten()
            .cloned()
            .partition(|metric| is_of_processor(metric) && !share(metric).is_null());
        if let Some(metric) = processor.first() {
            spec.insert("targetCPUUtilizationPercentage".into(), share(metric));
        }
        note(METRICS, "[autoscaling/v1.MetricSpec", others.into());
        let behavior = spec.remove("behavior").unwrap_or_default();
        note(BEHAVIOR, "autoscaling.HorizontalPodAutoscalerBehavior", behavior);
    }
    if let Some(status) = at_mut(object, &["status"]) {
        let states = status.remove("currentMetrics").unwrap_or_default();
        let share = |state: &Value| at(state, &["resource", "current", "averageUtilization"]).clone();
        let of_processor = states.as_array().into_iter().flatten().filter(|state| is_of_processor(state));
        if let Some(share) = of_processor.map(share).rfind(|share| !share.is_null()) {
            status.insert("currentCPUUtilizationPercentage".into(), share);
        }
        note(CURRENT_METRICS, "[autoscaling/v1.MetricStatus", states);
        note(CONDITIONS, "[autoscaling/v1.Condition", status.remove("conditions").unwrap_or_default());
        default(status, "currentReplicas", 0);
        default(status, "desiredReplicas", 0);
    }
    if !annotations.is_empty() {
        let metadata = crate::object::metadata_mut(object);
        let all = metadata.entry("annotations").or_insert_with(|| json!({}));
        all.as_object_mut().into_iter().for_each(|all| all.extend(std::mem::take(&mut annotations)));
    }
}

fn is_of_processor(metric: &Value) -> bool {
    text(metric, "type") == "Resource" && text(at(metric, &["resource"]), "name") == "cpu"
}

/// A metric of an annotation as v2 has it; `amount` is where that has its amounts.
fn metric_to_v2(metric: &Value, amount: &str) -> Value {
    let mut out = json!({"type": at(metric, &["type"])});
    for (source, members) in MEMBERS {
        let Some(told) = metric.get(*source).filter(|told| told.is_object()) else { continue };
        let mut made = json!({amount: {}});
        if !["resource", "containerResource"].contains(source) {
            made["metric"] = json!({});
        }
        for (member, path) in *members {
            let Some(value) = told.get(*member).filter(|value| !value.is_null()) else { continue };
            let keep = match *path {
                ["~", inner] => Some((amount, inner)),
                [outer, inner] => Some((*outer, inner)),
                _ => None,
            };
            match keep {
                Some((outer, inner)) => made[outer][inner] = value.clone(),
                None => made[path[0]] = value.clone(),
            }
        }
        if amount == "target" {
            settle_target(source, &mut made["target"]);
        }
        out[*source] = made;
    }
    out
}

/// What sort of target it is follows from the amounts that are there.
fn settle_target(source: &str, target: &mut Value) {
    let has = |member: &str| target.get(member).is_some();
    let kind = match source {
        "resource" | "containerResource" if has("averageUtilization") => "Utilization",
        "object" if !has("averageValue") => "Value",
        "external" if has("value") => "Value",
        _ => "AverageValue",
    };
    if source == "object" && has("averageValue") && at(target, &["value"]) == "0" {
        target.as_object_mut().map(|target| target.remove("value"));
    }
    target["type"] = kind.into();
}

/// Members under the names the API has: upstream's annotation has those of its Go type. Nothing is left out.
fn lower_camel(value: &Value) -> Value {
    match value {
        Value::Object(members) => {
            let lower = |name: &str| {
                let mut letters = name.chars();
                let first: String = letters.next().into_iter().flat_map(char::to_lowercase).collect();
                first + letters.as_str()
            };
            let there = members.iter().filter(|(_, value)| !value.is_null());
            there.map(|(name, value)| (lower(name), lower_camel(value))).collect()
        }
        Value::Array(list) => list.iter().map(lower_camel).collect(),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_lost_between_the_versions() {
        let target = json!({"kind": "Deployment", "name": "d", "apiVersion": "apps/v1"});
        let selector = json!({"matchLabels": {"a": "b"}});
        let v2 = json!({
            "metadata": {"name": "h", "annotations": {"mine": "1"}},
            "spec": {
                "maxReplicas": 3,
                "metrics": [
                    {"type": "Resource", "resource": {"name": "memory", "target": {"type": "AverageValue", "averageValue": "1Gi"}}},
                    {"type": "Pods", "pods": {"metric": {"name": "m", "selector": selector}, "target": {"type": "AverageValue", "averageValue": "5"}}},
                    {"type": "Object", "object": {"describedObject": target, "metric": {"name": "m"}, "target": {"type": "Value", "value": "5"}}},
                    {"type": "External", "external": {"metric": {"name": "m"}, "target": {"type": "AverageValue", "averageValue": "5"}}},
                    {"type": "ContainerResource", "containerResource": {"name": "cpu", "container": "c", "target": {"type": "Utilization", "averageUtilization": 50}}},
                    {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 60}}},
                ],
                "behavior": {"scaleUp": {"stabilizationWindowSeconds": 0, "selectPolicy": "Max", "policies": [{"type": "Pods", "value": 1, "periodSeconds": 15}]}},
            },
            "status": {
                "desiredReplicas": 0,
                "currentMetrics": [{"type": "Resource", "resource": {"name": "cpu", "current": {"averageUtilization": 7, "averageValue": "1"}}}],
                "conditions": [{"type": "AbleToScale", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z", "reason": "r", "message": "m"}],
            },
        });
        let mut v1 = v2.clone();
        from_v2(&mut v1);
        assert_eq!(v1["spec"], json!({"maxReplicas": 3, "targetCPUUtilizationPercentage": 60}));
        assert_eq!(
            v1["status"],
            json!({"currentReplicas": 0, "desiredReplicas": 0, "currentCPUUtilizationPercentage": 7})
        );
        assert_eq!(
            v1["metadata"]["annotations"],
            json!({
                "mine": "1",
                METRICS: r#"[{"type":"Resource","resource":{"name":"memory","targetAverageValue":"1Gi"}},{"type":"Pods","pods":{"metricName":"m","targetAverageValue":"5","selector":{"matchLabels":{"a":"b"}}}},{"type":"Object","object":{"target":{"kind":"Deployment","name":"d","apiVersion":"apps/v1"},"metricName":"m","targetValue":"5"}},{"type":"External","external":{"metricName":"m","targetAverageValue":"5"}},{"type":"ContainerResource","containerResource":{"name":"cpu","targetAverageUtilization":50,"container":"c"}}]"#,
                CURRENT_METRICS: r#"[{"type":"Resource","resource":{"name":"cpu","currentAverageUtilization":7,"currentAverageValue":"1"}}]"#,
                BEHAVIOR: r#"{"ScaleUp":{"StabilizationWindowSeconds":0,"SelectPolicy":"Max","Policies":[{"Type":"Pods","Value":1,"PeriodSeconds":15}],"Tolerance":null},"ScaleDown":null}"#,
                CONDITIONS: r#"[{"type":"AbleToScale","status":"True","lastTransitionTime":"2026-01-01T00:00:00Z","reason":"r","message":"m"}]"#,
            })
        );
        to_v2(&mut v1);
        assert_eq!(v1, v2);
    }

    #[test]
    fn annotations_that_say_nothing_are_ignored() {
        let annotations = json!({METRICS: "{", BEHAVIOR: "7", CONDITIONS: "null"});
        let mut object = json!({"metadata": {"annotations": annotations}, "spec": {"maxReplicas": 1}});
        to_v2(&mut object);
        let metrics = json!([processor_metric(&80.into())]);
        assert_eq!(object, json!({"metadata": {}, "spec": {"maxReplicas": 1, "metrics": metrics}}));
    }
}
