//! The Targets column of autoscalers: `formatHPAMetrics` upstream.

use apiserver_json::Value;

use crate::strategy::shared::{at, has, text};

/// Metrics that are shown; the rest are counted.
const SHOWN_MAX: usize = 2;

/// What each metric is and should be.
pub(super) fn targets(metrics: &[Value], states: &[Value]) -> String {
    if metrics.is_empty() {
        return "<none>".to_owned();
    }
    let of = |(i, metric): (usize, &Value)| target(metric, states.get(i).unwrap_or(&Value::Null));
    let shown: Vec<String> = metrics.iter().enumerate().take(SHOWN_MAX).map(of).collect();
    let shown = shown.join(", ");
    match metrics.len().saturating_sub(SHOWN_MAX) {
        0 => shown,
        more => format!("{shown} + {more} more..."),
    }
}

fn target(metric: &Value, state: &Value) -> String {
    let source = match text(metric, "type") {
        "External" => "external",
        "Pods" => "pods",
        "Object" => "object",
        "Resource" => "resource",
        "ContainerResource" => "containerResource",
        _ => return "<unknown type>".to_owned(),
    };
    let (metric, state) = (at(metric, &[source]), at(state, &[source]));
    let (wanted, now) = (at(metric, &["target"]), at(state, &["current"]));
    let average = has(wanted, "averageValue");
    let amount = |of: &Value, member: &str| at(of, &[member]).as_str().unwrap_or("<nil>").to_owned();
    let is_told = !state.is_null();
    if matches!(source, "resource" | "containerResource") {
        let share = |of: &Value, none: &str| {
            at(of, &["averageUtilization"]).as_i64().map_or(none.to_owned(), |share| format!("{share}%"))
        };
        let (is, should) = match (average, is_told) {
            (true, true) => (amount(now, "averageValue"), amount(wanted, "averageValue")),
            (true, false) => ("<unknown>".to_owned(), amount(wanted, "averageValue")),
            (false, _) => (share(now, "<unknown>"), share(wanted, "<auto>")),
        };
        return format!("{}: {is}/{should}", text(metric, "name"));
    }
    let member = if average { "averageValue" } else { "value" };
    // An average that nobody told is not known; a sum is nothing.
    let is = match is_told && (source == "pods" || !average || has(now, member)) {
        true => amount(now, member),
        false => "<unknown>".to_owned(),
    };
    let kind = if average && source != "pods" { " (avg)" } else { "" };
    format!("{is}/{}{kind}", amount(wanted, member))
}

#[cfg(test)]
mod tests {
    use super::*;
    use apiserver_json::json;

    #[test]
    fn metrics_are_shown_by_their_kind() {
        let cpu =
            json!({"type": "Resource", "resource": {"name": "cpu", "target": {"averageUtilization": 50}}});
        let memory =
            json!({"type": "Resource", "resource": {"name": "memory", "target": {"averageValue": "1Gi"}}});
        let pods = json!({"type": "Pods", "pods": {"target": {"averageValue": "5"}}});
        let object = json!({"type": "Object", "object": {"target": {"value": "5"}}});
        let external = json!({"type": "External", "external": {"target": {"averageValue": "5"}}});
        let state = |source: &str, current: Value| json!({source: {"current": current}});
        for (metrics, states, want) in [
            (vec![], vec![], "<none>"),
            (vec![&cpu], vec![], "cpu: <unknown>/50%"),
            (vec![&cpu], vec![state("resource", json!({"averageUtilization": 7}))], "cpu: 7%/50%"),
            (vec![&memory], vec![state("resource", json!({"averageValue": "2Gi"}))], "memory: 2Gi/1Gi"),
            (vec![&pods, &object], vec![state("pods", json!({"averageValue": "3"}))], "3/5, <unknown>/5"),
            (
                vec![&external, &cpu, &pods],
                vec![state("external", json!({"averageValue": "4"}))],
                "4/5 (avg), cpu: <unknown>/50% + 1 more...",
            ),
            (vec![&external], vec![state("external", json!({"value": "4"}))], "<unknown>/5 (avg)"),
            (vec![&json!({"type": "X"})], vec![], "<unknown type>"),
        ] {
            let metrics: Vec<Value> = metrics.into_iter().cloned().collect();
            assert_eq!(targets(&metrics, &states), want);
        }
    }
}
