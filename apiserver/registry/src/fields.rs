//! Selectable fields: which paths a field selector of a kind may name, and their values.

use apiserver_meta::selector::FieldSelector;
use serde_json::Value;

use crate::catalogue::Resource;

/// Both groups serve the same objects.
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

/// Kinds with selectable fields of their own, beside `metadata.name` and `metadata.namespace`.
const FIELDS: &[(&str, &str, &[&str])] = &[
    (
        "",
        "Pod",
        &[
            "spec.nodeName",
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
    ("events.k8s.io", "Event", EVENT_FIELDS),
    ("", "Namespace", &["status.phase"]),
    ("", "Node", &["spec.unschedulable"]),
    ("", "Secret", &["type"]),
    ("", "Service", &["spec.clusterIP", "spec.type"]),
    ("", "ReplicationController", &["status.replicas"]),
    ("apps", "ReplicaSet", &["status.replicas"]),
    ("batch", "Job", &["status.successful"]),
    ("certificates.k8s.io", "CertificateSigningRequest", &["spec.signerName"]),
];

/// Kinds whose conversion function words the refusal of an unknown field as "field label not supported".
const LABEL_WORDING: &[(&str, &str)] = &[("", "ConfigMap"), ("", "Endpoints")];

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
        if known.contains(&path)
            && (resource.namespaced || path != "metadata.namespace" || !resource.is_custom())
        {
            continue;
        }
        let own = FIELDS.iter().any(|(group, kind, _)| *group == resource.group && *kind == resource.kind);
        let path_is_meta = path.starts_with("metadata.");
        let labelled = LABEL_WORDING.contains(&(resource.group.as_str(), resource.kind.as_str()));
        return Err(if (own || labelled) && !path_is_meta || resource.is_custom() {
            format!("field label not supported: {path}")
        } else {
            format!("{path:?} is not a known field selector: only \"metadata.name\", \"metadata.namespace\"")
        });
    }
    Ok(())
}

/// The values of a kind's own fields.
pub(crate) fn extract(resource: &Resource, object: &Value) -> Vec<(String, String)> {
    of(resource).into_iter().skip(2).map(|path| (path.to_owned(), value_of(resource, object, path))).collect()
}

fn value_of(resource: &Resource, object: &Value, path: &str) -> String {
    match (resource.kind.as_str(), path) {
        ("Event", "source") => {
            let component = lookup(object, "source.component");
            return if component.is_empty() { lookup(object, "reportingComponent") } else { component };
        }
        ("Event", "reportingComponent") => {
            let own = lookup(object, "reportingComponent");
            return if own.is_empty() { lookup(object, "source.component") } else { own };
        }
        ("Pod", "status.podIPs") => return lookup(object, "status.podIP"),
        ("Pod", "spec.hostNetwork") | ("Node", "spec.unschedulable") => {
            let value = lookup(object, path);
            return if value.is_empty() { "false".to_owned() } else { value };
        }
        ("Job", "status.successful") => {
            let value = lookup(object, "status.succeeded");
            return if value.is_empty() { "0".to_owned() } else { value };
        }
        ("ReplicationController" | "ReplicaSet", "status.replicas") => {
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
        Value::String(text) => text.clone(),
        Value::Bool(_) | Value::Number(_) => place.to_string(),
        _ => String::new(),
    }
}
