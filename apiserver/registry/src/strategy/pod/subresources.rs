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
        return errors;
    }
    if let Some(why) = is_never_resized(old) {
        return vec![FieldError::forbidden("[]", why)];
    }
    let class = text(at(old, &["status"]), "qosClass");
    if qos_class(at(new, &["spec"])) != if class.is_empty() { qos_class(at(old, &["spec"])) } else { class } {
        let class = at(new, &["status", "qosClass"]);
        let why = "Pod QOS Class may not change as a result of resizing";
        errors.push(FieldError::invalid("spec", class, why));
    }
    check_resized(new, old, &mut errors);
    errors
}

fn is_never_resized(pod: &Value) -> Option<&'static str> {
    if !at(pod, &["metadata", "annotations", "kubernetes.io/config.mirror"]).is_null() {
        return Some("static pods cannot be resized");
    }
    (at(pod, &["spec", "os", "name"]) == "windows").then_some("windows pods cannot be resized")
}

/// What a container asks for may change; it does not go, and is of processors and memory.
fn check_resized(new: &Value, old: &Value, errors: &mut Vec<FieldError>) {
    let told = items(at(old, &["status"]), "containerStatuses");
    let mut running = told.iter().filter(|status| !at(status, &["state", "running"]).is_null());
    if running.next().is_some_and(|status| at(status, &["resources"]).is_null()) {
        errors.push(FieldError::forbidden("spec", "Pod running on node without support for resize"));
    }
    check_own(at(new, &["spec"]), at(old, &["spec"]), errors);
    if !items(at(old, &["status"]), "nodeAllocatableResourceClaimStatuses").is_empty() {
        let why = "pods with node allocatable resource claims cannot be resized";
        errors.push(FieldError::forbidden("spec", why));
    }
    let before = errors.len();
    LISTS.iter().for_each(|list| check_order(list, new, old, errors));
    if errors.len() > before {
        return;
    }
    for list in ["initContainers", "containers"] {
        for (i, (after, before)) in pairs(list, new, old).enumerate() {
            let path = format!("spec.{list}[{i}].resources");
            check_removed(at(after, &["resources"]), at(before, &["resources"]), &path, "resource", errors);
        }
    }
    for (after, before) in pairs("containers", new, old) {
        if !is_resized_alone(after, before) {
            errors.push(FieldError::forbidden("spec", "only cpu and memory resources are mutable"));
        }
    }
    for (i, (after, before)) in pairs("initContainers", new, old).enumerate() {
        let path = format!("spec.initContainers[{i}]");
        if !is_resized_alone(after, before) {
            let why = "only cpu and memory resources for init or sidecar containers are mutable";
            errors.push(FieldError::forbidden(path.clone(), why));
        }
        if after == before || text(after, "restartPolicy") == "Always" {
            continue;
        }
        for _ in items(after, "resizePolicy")
            .iter()
            .filter(|policy| text(policy, "restartPolicy") == "RestartContainer")
        {
            let why =
                "non-sidecar init containers with a resize policy of RestartContainer cannot be resized";
            errors.push(FieldError::forbidden(path.clone(), why));
        }
    }
}

/// What the Pod asks for as a whole.
fn check_own(new: &Value, old: &Value, errors: &mut Vec<FieldError>) {
    let (after, before) = (at(new, &["resources"]), at(old, &["resources"]));
    let is_set = |resources| {
        ["requests", "limits"]
            .iter()
            .any(|member| !crate::strategy::shared::is_empty(at(resources, &[member])))
    };
    if !is_set(after) && !is_set(before) {
        return;
    }
    if after.is_null() {
        return errors.push(FieldError::forbidden("spec.resources", "pod-level resources cannot be removed"));
    }
    check_removed(after, before, "spec.resources", "pod-level resource", errors);
    if rest_of(after) != rest_of(before) {
        let why = "only cpu and memory resources are mutable at pod-level";
        errors.push(FieldError::forbidden("spec", why));
    }
}

fn check_removed(after: &Value, before: &Value, path: &str, what: &str, errors: &mut Vec<FieldError>) {
    for member in ["requests", "limits"] {
        let there = at(after, &[member]);
        let known = at(before, &[member]).as_object();
        if known.into_iter().flatten().any(|(name, _)| there.get(name.as_str()).is_none()) {
            let why = format!("{what} {member} cannot be removed");
            errors.push(FieldError::forbidden(format!("{path}.{member}"), why));
        }
    }
}

/// What is asked for besides processors and memory; nothing where that is all.
fn rest_of(resources: &Value) -> Value {
    let mut left = resources.clone();
    if let Some(members) = left.as_object_mut() {
        for member in ["limits", "requests"] {
            if let Some(amounts) = members.get_mut(member).and_then(Value::as_object_mut) {
                ["cpu", "memory"].iter().for_each(|name| drop(amounts.remove(name)));
            }
        }
        members.retain(|_, value| !crate::strategy::shared::is_empty(value));
        if members.is_empty() {
            return Value::Null;
        }
    }
    left
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

/// Is a container as it was but for what it asks of processors and memory? The claims of the new one do not count: where the
/// old one has some, nothing is as it was.
fn is_resized_alone(after: &Value, before: &Value) -> bool {
    let without = |container: &Value, member: &str| {
        let mut container = container.clone();
        if let Some(members) = container.as_object_mut() {
            members.remove(member);
        }
        container
    };
    let claimless = without(at(after, &["resources"]), "claims");
    without(after, "resources") == without(before, "resources")
        && rest_of(&claimless) == rest_of(at(before, &["resources"]))
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
            ("initContainers", "", json!({"requests": {"cpu": "1"}, "limits": {"cpu": "2"}}), vec![requests]),
        ] {
            let mut errors = Vec::new();
            check_resized(&pod(list, policy, left), &pod(list, policy, both.clone()), &mut errors);
            let told: Vec<String> = errors.iter().map(ToString::to_string).collect();
            assert_eq!(told, want, "{list}");
        }
    }

    #[test]
    fn some_are_never_resized_and_some_in_part() {
        let pod = |more: Value| {
            let mut pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c"}]}});
            pod = apiserver_schema::merge_patch(&pod, &more);
            pod
        };
        let own = |own: Value| pod(json!({"spec": {"resources": own}}));
        let running = |status: Value| pod(json!({"status": {"containerStatuses": [status]}}));
        for (old, new, want) in [
            (
                running(json!({"state": {"running": {}}})),
                pod(json!({})),
                vec!["spec: Forbidden: Pod running on node without support for resize"],
            ),
            (running(json!({"state": {"running": {}}, "resources": {}})), pod(json!({})), vec![]),
            (own(json!({"requests": {"cpu": "1"}})), own(json!({"requests": {"cpu": "2"}})), vec![]),
            (
                own(json!({"requests": {"cpu": "1"}})),
                pod(json!({})),
                vec!["spec.resources: Forbidden: pod-level resources cannot be removed"],
            ),
            (
                own(json!({"requests": {"cpu": "1"}})),
                own(json!({"limits": {"hugepages-2Mi": "1"}})),
                vec![
                    "spec.resources.requests: Forbidden: pod-level resource requests cannot be removed",
                    "spec: Forbidden: only cpu and memory resources are mutable at pod-level",
                ],
            ),
        ] {
            let mut errors = Vec::new();
            check_resized(&new, &old, &mut errors);
            assert_eq!(errors.iter().map(ToString::to_string).collect::<Vec<_>>(), want);
        }
        for (old, want) in [
            (json!({"metadata": {"annotations": {"kubernetes.io/config.mirror": ""}}}), "static"),
            (json!({"spec": {"os": {"name": "windows"}}}), "windows"),
        ] {
            let errors = check("resize", &old, &old);
            assert_eq!(errors.len(), 1);
            assert_eq!(errors[0].to_string(), format!("[]: Forbidden: {want} pods cannot be resized"));
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
