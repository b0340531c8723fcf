//! What a Pod's `ephemeralcontainers` and `resize` may change: `podEphemeralContainersStrategy` and
//! `podResizeStrategy` upstream. The rest of what they are sent is dropped.

use apiserver_json::Value;
use apiserver_meta::field::FieldError;
use apiserver_schema::internal_diff;

use super::super::shared::{at, items, items_mut, text};
use super::prepare::qos_class;
use crate::object;

/// The containers that may be resized.
const LISTS: [&str; 2] = ["containers", "initContainers"];

/// What of the metadata is not changed here: `ResetObjectMetaForStatus`.
const KEPT: &[&str] =
    &["annotations", "deletionTimestamp", "finalizers", "generation", "labels", "ownerReferences"];

/// Makes everything as it was but what the subresource is for.
pub(crate) fn prepare(subresource: &str, new: &mut Value, old: &Value) {
    // Other containers than there are stay, to be refused.
    if subresource == "resize" && LISTS.iter().any(|list| counts(new, list) != counts(old, list)) {
        return;
    }
    object::keep_metadata(new, old, KEPT);
    let sent = new.get("spec").cloned().unwrap_or_default();
    for member in ["spec", "status"] {
        if let (Some(map), Some(before)) = (new.as_object_mut(), old.get(member)) {
            map.insert(member.into(), before.clone());
        }
    }
    let Some(spec) = new.get_mut("spec") else { return };
    if subresource == "ephemeralcontainers" {
        return replace(spec, "ephemeralContainers", &sent);
    }
    replace(spec, "resources", &sent);
    for list in LISTS {
        let names = |spec: &Value| -> Vec<String> {
            items(spec, list).iter().map(|container| text(container, "name").to_owned()).collect()
        };
        if names(spec) != names(&sent) {
            replace(spec, list, &sent);
            continue;
        }
        for (container, wanted) in items_mut(spec, list).zip(items(&sent, list)) {
            ["resources", "resizePolicy"].into_iter().for_each(|member| replace(container, member, wanted));
        }
    }
}

fn counts(pod: &Value, list: &str) -> usize {
    items(at(pod, &["spec"]), list).len()
}

/// Makes a member what it is in another object.
fn replace(object: &mut Value, member: &str, other: &Value) {
    let Some(object) = object.as_object_mut() else { return };
    match other.get(member) {
        Some(value) => drop(object.insert(member.into(), value.clone())),
        None => drop(object.remove(member)),
    }
}

/// Errors of what the subresource made of the Pod.
pub(crate) fn check(subresource: &str, new: &Value, old: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    super::check_pod(new, &mut errors);
    if subresource == "ephemeralcontainers" {
        check_ephemeral(new, old, &mut errors);
    } else if qos_class(at(new, &["spec"])) != qos_class(at(old, &["spec"])) {
        let class = at(old, &["status", "qosClass"]);
        errors.push(FieldError::invalid(
            "spec",
            class,
            "Pod QOS Class may not change as a result of resizing",
        ));
    }
    if subresource == "resize" {
        check_resized(new, old, &mut errors);
    }
    errors
}

/// What a container asks for may change; it does not go, and is of processors and memory.
fn check_resized(new: &Value, old: &Value, errors: &mut Vec<FieldError>) {
    let before = errors.len();
    LISTS.iter().for_each(|list| check_order(list, new, old, errors));
    if errors.len() > before {
        return;
    }
    for list in LISTS {
        for (i, (after, before)) in pairs(list, new, old).enumerate() {
            // One that has ended, or will, is not resized.
            if list == "initContainers" && text(before, "restartPolicy") != "Always" {
                continue;
            }
            for member in ["requests", "limits"] {
                let there = at(after, &["resources", member]);
                let known = at(before, &["resources", member]).as_object();
                if known.into_iter().flatten().any(|(name, _)| there.get(name.as_str()).is_none()) {
                    let path = format!("spec.{list}[{i}].resources.{member}");
                    errors.push(FieldError::forbidden(path, format!("resource {member} cannot be removed")));
                }
            }
        }
    }
    for (after, before) in pairs("containers", new, old) {
        if !is_resized_alone(after, before) {
            errors.push(FieldError::forbidden("spec", "only cpu and memory resources are mutable"));
        }
    }
    for (i, (after, before)) in pairs("initContainers", new, old).enumerate() {
        if text(after, "restartPolicy") == "Always" {
            if !is_resized_alone(after, before) {
                let why = "only cpu and memory resources for init or sidecar containers are mutable";
                errors.push(FieldError::forbidden(format!("spec.initContainers[{i}]"), why));
            }
        } else if after != before {
            let why = "resources for non-sidecar init containers are immutable";
            errors.push(FieldError::forbidden("spec", why));
        }
    }
}

fn pairs<'a>(list: &str, new: &'a Value, old: &'a Value) -> impl Iterator<Item = (&'a Value, &'a Value)> {
    items(at(new, &["spec"]), list).iter().zip(items(at(old, &["spec"]), list))
}

/// Containers are neither added nor removed, nor in another order.
fn check_order(list: &str, new: &Value, old: &Value, errors: &mut Vec<FieldError>) {
    let path = format!("spec.{list}");
    if counts(new, list) != counts(old, list) {
        let why = format!("{list} may not be added or removed on resize");
        return errors.push(FieldError::forbidden(path, why));
    }
    for (i, (after, before)) in pairs(list, new, old).enumerate() {
        if text(after, "name") != text(before, "name") {
            let why = format!("{list} may not be renamed or reordered on resize");
            errors.push(FieldError::forbidden(format!("{path}[{i}].name"), why));
        }
    }
}

/// Is a container as it was but for what it asks of processors and memory?
fn is_resized_alone(after: &Value, before: &Value) -> bool {
    let rest = |container: &Value| {
        let mut container = container.clone();
        for member in ["limits", "requests"] {
            let resources = container.get_mut("resources").and_then(Value::as_object_mut);
            let Some(resources) = resources else { continue };
            if let Some(amounts) = resources.get_mut(member).and_then(Value::as_object_mut) {
                ["cpu", "memory"].iter().for_each(|name| drop(amounts.remove(name)));
                if amounts.is_empty() {
                    resources.remove(member);
                }
            }
        }
        container
    };
    rest(after) == rest(before)
}

/// Ephemeral containers are added; they never change and never go.
fn check_ephemeral(new: &Value, old: &Value, errors: &mut Vec<FieldError>) {
    let list = |pod| items(at(pod, &["spec"]), "ephemeralContainers");
    for before in list(old) {
        let name = text(before, "name");
        let (done, changes) = match list(new).iter().find(|container| text(container, "name") == name) {
            Some(after) if after == before => continue,
            Some(after) => ("changed", internal_diff("core.EphemeralContainer", before, after)),
            None => ("removed", String::new()),
        };
        let why = format!("existing ephemeral containers {name:?} may not be {done}\n{changes}");
        errors.push(FieldError::forbidden("spec.ephemeralContainers", why));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use apiserver_json::json;

    #[test]
    fn resources_are_not_taken_away() {
        let pod = |list: &str, policy: &str, resources: Value| json!({"spec": {list: [{"restartPolicy": policy, "resources": resources}]}});
        let both = json!({"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"cpu": "2"}});
        let limits = "spec.containers[0].resources.limits: Forbidden: resource limits cannot be removed";
        let requests =
            "spec.initContainers[0].resources.requests: Forbidden: resource requests cannot be removed";
        for (list, policy, left, want) in [
            (
                "containers",
                "",
                json!({"requests": {"cpu": "2", "memory": "1"}, "limits": {"cpu": "3"}}),
                vec![],
            ),
            ("containers", "", json!({"requests": both["requests"]}), vec![limits]),
            (
                "initContainers",
                "Always",
                json!({"requests": {"cpu": "1"}, "limits": {"cpu": "2"}}),
                vec![requests],
            ),
            (
                "initContainers",
                "",
                json!({}),
                vec!["spec: Forbidden: resources for non-sidecar init containers are immutable"],
            ),
        ] {
            let mut errors = Vec::new();
            check_resized(&pod(list, policy, left), &pod(list, policy, both.clone()), &mut errors);
            let told: Vec<String> = errors.iter().map(ToString::to_string).collect();
            assert_eq!(told, want, "{list}");
        }
    }

    #[test]
    fn containers_stay_what_and_where_they_are() {
        let container =
            |name: &str, requests: Value| json!({"name": name, "resources": {"requests": requests}});
        let pod = |containers: Value| json!({"spec": {"containers": containers}});
        let none = || container("a", json!({}));
        for (sent, want) in [
            (json!([container("a", json!({"cpu": "1", "memory": "1"}))]), vec![]),
            (
                json!([container("a", json!({"nvidia.com/gpu": "1"}))]),
                vec!["spec: Forbidden: only cpu and memory resources are mutable"],
            ),
            (
                json!([none(), container("b", json!({}))]),
                vec!["spec.containers: Forbidden: containers may not be added or removed on resize"],
            ),
            (
                json!([container("b", json!({}))]),
                vec![
                    "spec.containers[0].name: Forbidden: containers may not be renamed or reordered on resize",
                ],
            ),
        ] {
            let (mut new, old) = (pod(sent), pod(json!([none()])));
            prepare("resize", &mut new, &old);
            let mut errors = Vec::new();
            check_resized(&new, &old, &mut errors);
            assert_eq!(errors.iter().map(ToString::to_string).collect::<Vec<_>>(), want);
        }
    }

    #[test]
    fn each_changes_what_it_is_for() {
        let pod = |image: &str, cpu: &str, ephemeral: &[&str]| -> Value {
            let ephemeral: Vec<Value> = ephemeral.iter().map(|name| json!({"name": name, "image": "e", "imagePullPolicy": "Always", "terminationMessagePolicy": "File"})).collect();
            let mut pod = json!({"metadata": {"name": "p"}, "spec": {"restartPolicy": "Always", "dnsPolicy": "ClusterFirst", "terminationGracePeriodSeconds": 30,
                "containers": [{"name": "c", "image": image, "imagePullPolicy": "Always", "terminationMessagePolicy": "File", "resources": {}}], "ephemeralContainers": ephemeral}, "status": {"qosClass": "BestEffort"}});
            if !cpu.is_empty() {
                pod.pointer_mut("/spec/containers/0").unwrap()["resources"] =
                    json!({"requests": {"cpu": cpu}});
                pod["status"]["qosClass"] = "Burstable".into();
            }
            pod
        };
        let removed =
            "spec.ephemeralContainers: Forbidden: existing ephemeral containers \"e\" may not be removed\n";
        let class =
            r#"spec: Invalid value: "BestEffort": Pod QOS Class may not change as a result of resizing"#;
        let duplicate = r#"spec.ephemeralContainers[0].name: Duplicate value: "c""#;
        let plain = pod("i", "", &[]);
        for (subresource, old, sent, want) in [
            ("ephemeralcontainers", &plain, pod("z", "1", &["e"]), Ok(pod("i", "", &["e"]))),
            ("ephemeralcontainers", &plain, pod("i", "", &["c"]), Err(duplicate)),
            ("ephemeralcontainers", &pod("i", "", &["e"]), plain.clone(), Err(removed)),
            ("resize", &plain, pod("z", "", &["e"]), Ok(plain.clone())),
            ("resize", &plain, pod("i", "1", &[]), Err(class)),
            ("resize", &pod("i", "1", &[]), pod("i", "2", &[]), Ok(pod("i", "2", &[]))),
        ] {
            let mut new = sent;
            new["metadata"]["labels"] = json!({"a": "b"});
            prepare(subresource, &mut new, old);
            let errors: Vec<String> = check(subresource, &new, old).iter().map(ToString::to_string).collect();
            match want {
                Ok(want) => assert_eq!((new, errors), (want, vec![]), "{subresource}"),
                Err(want) => assert_eq!(errors, [want], "{subresource}"),
            }
        }
    }
}
