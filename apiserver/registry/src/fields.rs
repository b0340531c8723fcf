//! Selectable fields: which paths a field selector of a kind may name, and their values.

use apiserver_json::Value;
use apiserver_meta::selector::FieldSelector;

use crate::catalogue::Resource;

const EVENT_FIELDS: &[&str] = &[
    "involvedObject.kind",
    "involvedObject.namespace",
    "involvedObject.name",
    "involvedObject.uid",
    "involvedObject.apiVersion",
    "involvedObject.resourceVersion",
    "involvedObject.fieldPath",
    "reason",
    "reportingComponent",
    "source",
    "type",
];

/// The same in `events.k8s.io`, under that group's names.
const NEW_EVENT_FIELDS: &[&str] = &[
    "regarding.kind",
    "regarding.namespace",
    "regarding.name",
    "regarding.uid",
    "regarding.apiVersion",
    "regarding.resourceVersion",
    "regarding.fieldPath",
    "reason",
    "reportingController",
    "type",
];

/// Kinds with selectable fields of their own, beside `metadata.name` and `metadata.namespace`.
const FIELDS: &[(&str, &str, &[&str])] = &[
    (
        "",
        "Pod",
        &[
            "spec.nodeName",
            // What it was called before v1.
            "spec.host",
            "spec.restartPolicy",
            "spec.schedulerName",
            "spec.serviceAccountName",
            "spec.hostNetwork",
            "status.phase",
            "status.podIP",
            "status.podIPs",
            "status.nominatedNodeName",
        ],
    ),
    ("", "Event", EVENT_FIELDS),
    ("events.k8s.io", "Event", NEW_EVENT_FIELDS),
    ("", "Namespace", &["status.phase"]),
    ("", "Node", &["spec.unschedulable"]),
    ("", "Secret", &["type"]),
    ("", "Service", &["spec.clusterIP", "spec.type"]),
    ("", "ReplicationController", &["status.replicas"]),
    ("batch", "Job", &["status.successful"]),
    ("certificates.k8s.io", "CertificateSigningRequest", &["spec.signerName"]),
    ("resource.k8s.io", "ResourceSlice", &["spec.nodeName", "spec.driver"]),
];

/// Kinds of the cluster that do not even take an empty namespace.
const WITHOUT_NAMESPACE: &[&str] = &["Namespace", "Node", "CertificateSigningRequest", "ResourceSlice"];

/// The selectable fields of a kind.
pub fn of(resource: &Resource) -> Vec<&str> {
    let mut fields = vec!["metadata.name", "metadata.namespace"];
    if let Some((_, _, own)) =
        FIELDS.iter().find(|(group, kind, _)| *group == resource.group && *kind == resource.kind)
    {
        fields.extend(own.iter());
    }
    if let Some(custom) = &resource.custom {
        fields.extend(custom.selectable_fields.iter().map(String::as_str));
    }
    fields
}

/// Refuses fields that a kind does not select by.
///
/// # Errors
/// The text upstream answers with a 400.
pub fn check(resource: &Resource, selector: &FieldSelector) -> Result<(), String> {
    let known = of(resource);
    for term in &selector.terms {
        let path = term.path.as_str();
        let no_namespace = resource.is_custom() || WITHOUT_NAMESPACE.contains(&resource.kind.as_str());
        let has_none = path == "metadata.namespace" && !resource.namespaced && no_namespace;
        if known.contains(&path) && !has_none {
            continue;
        }
        let own = FIELDS.iter().any(|(group, kind, _)| *group == resource.group && *kind == resource.kind);
        return Err(match resource.kind.as_str() {
            "Job" if own => format!("field label {path:?} not supported for Job"),
            "ResourceSlice" if own => format!("field label not supported for {}: {path}", resource.gvk()),
            _ if own || resource.is_custom() => format!("field label not supported: {path}"),
            _ => format!(
                "{path:?} is not a known field selector: only \"metadata.name\", \"metadata.namespace\""
            ),
        });
    }
    Ok(())
}

/// The values of a kind's own fields. An Event is kept once for both of its groups, and with it these.
pub(crate) fn extract(resource: &Resource, object: &Value) -> Vec<(String, String)> {
    let value = |path: &str| (path.to_owned(), value_of(resource, object, path));
    if resource.kind == "Event" && !resource.is_custom() {
        return EVENT_FIELDS.iter().chain(NEW_EVENT_FIELDS).map(|path| value(path)).collect();
    }
    of(resource).into_iter().skip(2).map(value).collect()
}

fn value_of(resource: &Resource, object: &Value, path: &str) -> String {
    match (resource.kind.as_str(), path) {
        ("Event", "source") => {
            let component = lookup(object, "source.component");
            return if component.is_empty() { lookup(object, "reportingComponent") } else { component };
        }
        ("Event", "reportingController") => return lookup(object, "reportingComponent"),
        ("Event", path) if path.starts_with("regarding.") => {
            return lookup(object, &path.replacen("regarding", "involvedObject", 1));
        }
        ("Pod", "spec.host") => return lookup(object, "spec.nodeName"),
        ("Pod", "status.podIPs") => return lookup(object, "status.podIP"),
        ("Pod", "spec.hostNetwork") | ("Node", "spec.unschedulable") => {
            let value = lookup(object, path);
            return if value.is_empty() { "false".to_owned() } else { value };
        }
        ("Job", "status.successful") => {
            let value = lookup(object, "status.succeeded");
            return if value.is_empty() { "0".to_owned() } else { value };
        }
        ("ReplicationController", "status.replicas") => {
            let value = lookup(object, path);
            return if value.is_empty() { "0".to_owned() } else { value };
        }
        _ => {}
    }
    lookup(object, path)
}

fn lookup(object: &Value, path: &str) -> String {
    let mut place = object;
    for member in path.split('.') {
        match place.get(member) {
            Some(next) => place = next,
            None => return String::new(),
        }
    }
    match place {
        Value::String(text) => text.to_string(),
        Value::Bool(_) | Value::Number(_) => place.to_string(),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::Catalogue;

    #[test]
    fn an_event_has_the_fields_of_both_groups_whoever_asks_first() {
        let catalogue = Catalogue::builtin();
        let event = apiserver_json::json!({
            "involvedObject": {"name": "a"}, "reportingComponent": "c", "reason": "r", "type": "Normal",
        });
        let of = |group: &str| extract(catalogue.get(group, "v1", "events").unwrap(), &event);
        assert_eq!(of(""), of("events.k8s.io"));
        for (path, want) in [
            ("involvedObject.name", "a"),
            ("regarding.name", "a"),
            ("reportingComponent", "c"),
            ("reportingController", "c"),
            ("source", "c"),
        ] {
            let all = of("");
            let found = all.iter().find(|(known, _)| known == path).map(|(_, value)| value.as_str());
            assert_eq!(found, Some(want), "{path}");
        }
    }

    #[test]
    fn unknown_fields_are_refused_in_the_kinds_words() {
        let catalogue = Catalogue::builtin();
        let plain = r#""x.y" is not a known field selector: only "metadata.name", "metadata.namespace""#;
        for (group, version, resource, selector, want) in [
            ("", "v1", "configmaps", "x.y=a", Err(plain)),
            ("", "v1", "endpoints", "x.y=a", Err(plain)),
            ("apps", "v1", "replicasets", "x.y=a", Err(plain)),
            ("", "v1", "pods", "spec.host=a", Ok(())),
            ("", "v1", "pods", "metadata.x=a", Err("field label not supported: metadata.x")),
            ("", "v1", "nodes", "metadata.namespace=a", Err("field label not supported: metadata.namespace")),
            ("storage.k8s.io", "v1", "storageclasses", "metadata.namespace=a", Ok(())),
            ("batch", "v1", "jobs", "x.y=a", Err(r#"field label "x.y" not supported for Job"#)),
            ("events.k8s.io", "v1", "events", "regarding.name=a", Ok(())),
            ("events.k8s.io", "v1", "events", "source=a", Err("field label not supported: source")),
            ("resource.k8s.io", "v1", "resourceslices", "spec.driver=a", Ok(())),
            (
                "resource.k8s.io",
                "v1",
                "resourceslices",
                "x.y=a",
                Err("field label not supported for resource.k8s.io/v1, Kind=ResourceSlice: x.y"),
            ),
        ] {
            let resource = catalogue.get(group, version, resource).unwrap();
            let selector = FieldSelector::parse(selector).unwrap();
            assert_eq!(check(resource, &selector), want.map_err(str::to_owned), "{}", resource.kind);
        }
    }
}
