//! Table rows: what `kubectl get` prints of each kind. Columns are the catalogue's; cells follow upstream's
//! `pkg/printers/internalversion`.

mod autoscaler;
mod core;
mod devices;
mod jsonpath;
mod pod;
mod storage;
mod workload;

use apiserver_json::{Value, json};

use crate::catalogue::Resource;
use crate::object;

pub use jsonpath::JsonPath;

/// The cells of an object, one a column. `now` is the time in seconds since the epoch.
pub fn cells(resource: &Resource, object: &Value, now: i64) -> Vec<Value> {
    if let Some(custom) = &resource.custom {
        let mut cells = vec![json!(object::name(object))];
        for (path, column) in custom.column_paths.iter().zip(resource.columns.iter().skip(1)) {
            cells.push(custom_cell(object, path, &column.kind, now));
        }
        return cells;
    }
    let subject = Subject { object, now, kind: &resource.kind };
    let mut cells: Vec<Value> = resource.columns.iter().map(|column| subject.cell(&column.name)).collect();
    if resource.kind == "IPAddress" {
        // Upstream has no column for it, but a cell.
        cells.push(subject.cell("Age"));
    }
    cells
}

/// Puts objects into the order in which a table shows them: that of their names, but for what has an order of its own.
pub fn sort(resource: &Resource, objects: &mut [Value]) {
    objects.sort_by_key(resource.strategy.table_order);
}

/// The age cell of any object.
pub fn age_of(object: &Value, now: i64) -> String {
    age(object::text(object, "creationTimestamp"), now)
}

/// The object whose cells are printed.
#[derive(Clone, Copy)]
pub(crate) struct Subject<'a> {
    object: &'a Value,
    now: i64,
    kind: &'a str,
}

impl<'a> Subject<'a> {
    fn at(&self, pointer: &str) -> &'a Value {
        self.object.pointer(pointer).unwrap_or(&Value::Null)
    }

    fn text(&self, pointer: &str) -> &'a str {
        self.at(pointer).as_str().unwrap_or("")
    }

    fn number(&self, pointer: &str) -> i64 {
        self.at(pointer).as_i64().unwrap_or(0)
    }

    fn items(&self, pointer: &str) -> &'a [Value] {
        self.at(pointer).as_array().unwrap_or_default()
    }

    fn age(&self, pointer: &str) -> Value {
        json!(age(self.text(pointer), self.now))
    }

    /// What is said behind the name of the class that is taken where none is named.
    fn default_mark(&self) -> &'static str {
        let marks: &[&str] = match self.kind {
            "StorageClass" => &[
                "storageclass.kubernetes.io/is-default-class",
                "storageclass.beta.kubernetes.io/is-default-class",
            ],
            "IngressClass" => &["ingressclass.kubernetes.io/is-default-class"],
            _ => return "",
        };
        let annotations = self.at("/metadata/annotations");
        if marks.iter().any(|mark| annotations[*mark] == "true") { " (default)" } else { "" }
    }

    fn cell(&self, column: &str) -> Value {
        match column {
            "Name" => return json!(format!("{}{}", object::name(self.object), self.default_mark())),
            "Age" => return self.age("/metadata/creationTimestamp"),
            "Created At" => return self.at("/metadata/creationTimestamp").clone(),
            "Containers" | "Images" | "Selector" if self.kind != "Service" => {
                return workload::common(self, column);
            }
            _ => {}
        }
        match self.kind {
            "Pod" => pod::cell(self, column),
            "Deployment"
            | "ReplicaSet"
            | "StatefulSet"
            | "DaemonSet"
            | "ReplicationController"
            | "Job"
            | "CronJob"
            | "HorizontalPodAutoscaler"
            | "PodDisruptionBudget"
            | "ControllerRevision" => workload::cell(self, column),
            _ => core::cell(self, column),
        }
    }
}

fn custom_cell(object: &Value, path: &JsonPath, kind: &str, now: i64) -> Value {
    let found = path.first(object);
    match (kind, found) {
        ("string", Some(Value::Null)) => json!("<no value>"),
        (_, None | Some(Value::Null)) => Value::Null,
        ("date", Some(Value::String(time))) => {
            let age = age(&time, now);
            json!(if age == "<unknown>" { "<invalid>" } else { &age })
        }
        ("string", Some(Value::String(text))) => json!(text),
        ("string", Some(nested @ (Value::Object(_) | Value::Array(_)))) => {
            json!(in_html(&nested.to_string()))
        }
        ("string", Some(other)) => json!(apiserver_schema::go_display(&other)),
        ("integer", Some(Value::Number(number))) => {
            json!(number.as_i64().or_else(|| number.as_f64().map(whole)))
        }
        ("number", Some(value @ Value::Number(_))) | ("boolean", Some(value @ Value::Bool(_))) => value,
        _ => Value::Null,
    }
}

/// Go writes JSON such that it can stand in HTML.
fn in_html(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '<' => out.push_str("\\u003c"),
            '>' => out.push_str("\\u003e"),
            '&' => out.push_str("\\u0026"),
            letter => out.push(letter),
        }
    }
    out
}

/// A number without its fraction; what is too large for Go's integers is the least of them.
fn whole(number: f64) -> i64 {
    const BOUND: f64 = 9_223_372_036_854_775_808.0;
    if (-BOUND..BOUND).contains(&number) { number as i64 } else { i64::MIN }
}

/// The time since `timestamp`, as `duration.HumanDuration` prints it.
pub(crate) fn age(timestamp: &str, now: i64) -> String {
    match timestamp.parse::<jiff::Timestamp>() {
        Ok(then) => human_duration(now - then.as_second()),
        Err(_) => "<unknown>".to_owned(),
    }
}

/// `duration.HumanDuration` of whole seconds.
pub fn human_duration(seconds: i64) -> String {
    if seconds < -1 {
        return "<invalid>".to_owned();
    }
    let seconds = seconds.max(0);
    let (minutes, hours) = (seconds / 60, seconds / 3600);
    let part = |number: i64, unit: &str| if number == 0 { String::new() } else { format!("{number}{unit}") };
    match seconds {
        0..120 => format!("{seconds}s"),
        120..600 => format!("{minutes}m{}", part(seconds % 60, "s")),
        600..10_800 => format!("{minutes}m"),
        10_800..28_800 => format!("{hours}h{}", part(minutes % 60, "m")),
        28_800..172_800 => format!("{hours}h"),
        172_800..691_200 => format!("{}d{}", hours / 24, part(hours % 24, "h")),
        691_200..63_072_000 => format!("{}d", hours / 24),
        63_072_000..252_288_000 => format!("{}y{}", hours / 24 / 365, part(hours / 24 % 365, "d")),
        _ => format!("{}y", hours / 24 / 365),
    }
}

/// A label selector as text; empty for none. Plain maps (ReplicationControllers) are taken too.
pub fn selector(selector: &Value) -> String {
    match selector_text(selector) {
        text if text == "<none>" => String::new(),
        text => text,
    }
}

/// `metav1.FormatLabelSelector`, and `<none>` of nothing.
pub(crate) fn selector_text(selector: &Value) -> String {
    let mut terms: Vec<(&str, String)> = Vec::new();
    let labels = selector.get("matchLabels").or_else(|| {
        let plain = selector.as_object().is_some_and(|map| !map.contains_key("matchExpressions"));
        plain.then_some(selector)
    });
    for (key, value) in labels.and_then(Value::as_object).into_iter().flatten() {
        terms.push((key, format!("{key}={}", value.as_str().unwrap_or(""))));
    }
    for expression in selector.get("matchExpressions").and_then(Value::as_array).into_iter().flatten() {
        let key = expression["key"].as_str().unwrap_or("");
        let mut values: Vec<&str> =
            expression["values"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        values.sort_unstable();
        let term = match expression["operator"].as_str().unwrap_or("") {
            "In" => format!("{key} in ({})", values.join(",")),
            "NotIn" => format!("{key} notin ({})", values.join(",")),
            "DoesNotExist" => format!("!{key}"),
            _ => key.to_owned(),
        };
        terms.push((key, term));
    }
    terms.sort_by_key(|(key, _)| *key);
    let terms: Vec<String> = terms.into_iter().map(|(_, term)| term).collect();
    if terms.is_empty() { "<none>".to_owned() } else { terms.join(",") }
}

/// A label selector as Go's generated code prints the message.
fn message_text(selector: &Value) -> String {
    let labels = selector["matchLabels"].as_object().into_iter().flatten();
    let labels: String =
        labels.map(|(key, value)| format!("{key}: {},", value.as_str().unwrap_or(""))).collect();
    let expressions = selector["matchExpressions"].as_array().into_iter().flatten();
    let expressions: String = expressions
        .map(|expression| {
            let text = |member: &str| expression[member].as_str().unwrap_or("");
            let values: Vec<&str> =
                expression["values"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
            let (key, operator, values) = (text("key"), text("operator"), values.join(" "));
            format!("LabelSelectorRequirement{{Key:{key},Operator:{operator},Values:[{values}],}},")
        })
        .collect();
    format!(
        "&LabelSelector{{MatchLabels:map[string]string{{{labels}}},MatchExpressions:[]LabelSelectorRequirement{{{expressions}}},}}"
    )
}

pub(crate) fn or_none(text: impl Into<String>) -> Value {
    let text = text.into();
    if text.is_empty() { json!("<none>") } else { json!(text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_has_the_order_of_its_kind() {
        let catalogue = crate::Catalogue::builtin();
        let schema = |name: &str, precedence: i64| apiserver_json::json!({"metadata": {"name": name}, "spec": {"matchingPrecedence": precedence}});
        for (group, name, want) in [
            ("flowcontrol.apiserver.k8s.io", "flowschemas", ["b", "c", "a"]),
            ("", "configmaps", ["a", "b", "c"]),
        ] {
            let resource = catalogue.get(group, "v1", name).unwrap();
            let mut objects = [schema("a", 900), schema("b", 1), schema("c", 1)];
            sort(resource, &mut objects);
            assert_eq!(objects.each_ref().map(crate::object::name), want, "{name}");
        }
    }

    #[test]
    fn a_component_is_as_healthy_as_its_condition() {
        let catalogue = crate::Catalogue::builtin();
        let resource = catalogue.get("", "v1", "componentstatuses").unwrap();
        for (conditions, want) in [
            (json!([{"type": "Healthy", "status": "True", "message": "ok"}]), ["Healthy", "ok", ""]),
            (
                json!([{"type": "Other"}, {"type": "Healthy", "status": "Unknown", "error": "e"}]),
                ["Unhealthy", "", "e"],
            ),
            (json!([]), ["Unknown", "", ""]),
        ] {
            let object = json!({"metadata": {"name": "c"}, "conditions": conditions});
            assert_eq!(cells(resource, &object, 0)[1..], want.map(Value::from), "{object}");
        }
    }

    #[test]
    fn durations_read_as_upstream() {
        for (seconds, text) in [
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (125, "2m5s"),
            (600, "10m"),
            (10_800, "3h"),
            (12_000, "3h20m"),
            (172_800, "2d"),
            (180_000, "2d2h"),
            (-5, "<invalid>"),
        ] {
            assert_eq!(human_duration(seconds), text);
        }
    }

    #[test]
    fn cells_of_custom_columns_are_of_their_kind() {
        let object = json!({"s": "x", "n": null, "l": [1], "i": 3, "f": 1e21, "d": "zz", "h": ["<a&b>"]});
        for (path, kind, want) in [
            (".s", "string", json!("x")),
            (".n", "string", json!("<no value>")),
            (".l", "string", json!("[1]")),
            (".h", "string", json!(r#"["\u003ca\u0026b\u003e"]"#)),
            (".i", "string", json!("3")),
            (".s", "integer", json!(null)),
            (".n", "integer", json!(null)),
            (".f", "integer", json!(i64::MIN)),
            (".d", "date", json!("<invalid>")),
            (".none", "string", json!(null)),
        ] {
            let path_read = JsonPath::parse(path).unwrap();
            assert_eq!(custom_cell(&object, &path_read, kind, 0), want, "{path} {kind}");
        }
    }

    #[test]
    fn cells_of_other_places_and_versions() {
        let template = json!({"template": {"spec": {"containers": [{"name": "c", "image": "i:1"}]}}});
        let default = json!({"metadata": {"name": "sc", "annotations": {
            "storageclass.kubernetes.io/is-default-class": "true", "ingressclass.kubernetes.io/is-default-class": "true"}}});
        let expressions = json!({"matchLabels": {"a": "2"}, "matchExpressions": [
            {"key": "c", "operator": "DoesNotExist"}, {"key": "b", "operator": "In", "values": ["y", "x"]}]});
        let policy = json!({"spec": {"podSelector": expressions}});
        let endpoints = json!({"subsets": [{"addresses": [{"ip": "fd00::1"}, {"ip": "10.0.0.1"}], "ports": [{"port": 80}, {"port": 81}]}]});
        let claim = json!({"spec": {"volumeName": "v"}});
        let unbound = json!({"metadata": {"annotations": {"volume.beta.kubernetes.io/storage-class": "old"}},
            "spec": {"storageClassName": "new"}, "status": {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"]}});
        let volume = json!({"spec": {"accessModes": ["ReadWriteMany", "ReadWriteOnce", "ReadWriteOnce"]}});
        let with_param = |param: Value| json!({"spec": {"paramRef": param}});
        let service = json!({"status": {"conditions": [{"type": "Available", "status": "False", "reason": "ServiceNotFound"}]}});
        let node = json!({"status": {"nodeInfo": {"kernelVersion": "6.1", "architecture": "arm64"},
            "addresses": [{"type": "InternalIP", "address": "10.0.0.1"}]}});
        let balanced = json!({"spec": {"type": "LoadBalancer"}, "status": {"loadBalancer": {"ingress": [
            {"hostname": "b.example"}, {"ip": "2.2.2.2"}, {"ip": "1.1.1.1"}, {"ip": "1.1.1.1"}]}}});
        let hosts = json!({"spec": {"rules": [{"host": "a"}, {}, {"host": "b"}, {"host": "c"}, {}]}});
        let first = json!({"firstTimestamp": "1970-01-01T00:00:00Z", "eventTime": "1970-01-01T00:00:05Z"});
        let binding = json!({"subjects": [{"kind": "ServiceAccount", "name": "u"}, {"kind": "ServiceAccount", "name": "v", "namespace": "n"}]});
        for (kind, object, column, want) in [
            ("PodTemplate", &template, "Containers", "c"),
            ("PodTemplate", &template, "Images", "i:1"),
            ("RoleBinding", &binding, "ServiceAccounts", "/u, n/v"),
            ("StorageClass", &default, "Name", "sc (default)"),
            ("StorageClass", &template, "Name", ""),
            ("IngressClass", &default, "Name", "sc (default)"),
            ("ConfigMap", &default, "Name", "sc"),
            ("NetworkPolicy", &policy, "Pod-Selector", "a=2,b in (x,y),!c"),
            ("Endpoints", &endpoints, "Endpoints", "[fd00::1]:80,10.0.0.1:80,[fd00::1]:81 + 1 more..."),
            ("Endpoints", &json!({"subsets": [{"ports": [{"port": 1}]}]}), "Endpoints", ""),
            ("PersistentVolumeClaim", &claim, "Capacity", "0"),
            ("PersistentVolumeClaim", &claim, "VolumeMode", "<unset>"),
            ("PersistentVolumeClaim", &unbound, "Capacity", ""),
            ("PersistentVolumeClaim", &unbound, "Access Modes", ""),
            ("PersistentVolumeClaim", &unbound, "StorageClass", "old"),
            ("PersistentVolume", &volume, "Access Modes", "RWO,RWX"),
            ("PersistentVolume", &volume, "Capacity", "0"),
            ("ValidatingAdmissionPolicyBinding", &with_param(json!({"name": "x"})), "ParamRef", "*/x"),
            (
                "MutatingAdmissionPolicyBinding",
                &with_param(json!({"name": "x", "namespace": "n"})),
                "ParamRef",
                "n/x",
            ),
            (
                "ValidatingAdmissionPolicyBinding",
                &with_param(json!({"selector": expressions})),
                "ParamRef",
                "&LabelSelector{MatchLabels:map[string]string{a: 2,},MatchExpressions:[]LabelSelectorRequirement{LabelSelectorRequirement{Key:c,Operator:DoesNotExist,Values:[],},LabelSelectorRequirement{Key:b,Operator:In,Values:[y x],},},}",
            ),
            ("APIService", &service, "Available", "False (ServiceNotFound)"),
            ("Node", &node, "Kernel-Version", "6.1 (arm64)"),
            ("Node", &node, "Internal-IP", "10.0.0.1"),
            ("Service", &balanced, "External-IP", "1.1.1.1,2.2.2.2,b.example"),
            ("Ingress", &hosts, "Hosts", "a,b,c + 2 more..."),
            ("Event", &first, "Last Seen", "10s"),
        ] {
            let subject = Subject { object, now: 10, kind };
            assert_eq!(subject.cell(column), json!(want), "{kind} {column}");
        }
    }
}
