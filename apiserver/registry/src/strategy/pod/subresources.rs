//! What a Pod's `ephemeralcontainers` and `resize` may change: `podEphemeralContainersStrategy` and
//! `podResizeStrategy` upstream. The rest of what they are sent is dropped.

use apiserver_json::Value;
use apiserver_meta::field::FieldError;
use apiserver_schema::internal_diff;

use super::super::shared::{at, items, items_mut, text};
use super::prepare::qos_class;

/// Makes everything as it was but what the subresource is for.
pub(crate) fn prepare(subresource: &str, new: &mut Value, old: &Value) {
    let sent = new.get("spec").cloned().unwrap_or_default();
    for member in ["spec", "status"] {
        if let (Some(map), Some(before)) = (new.as_object_mut(), old.get(member)) {
            map.insert(member.into(), before.clone());
        }
    }
    let Some(spec) = new.get_mut("spec") else { return };
    if subresource == "ephemeralcontainers" {
        let list = "ephemeralContainers";
        match (spec.as_object_mut(), sent.get(list)) {
            (Some(map), Some(containers)) => drop(map.insert(list.into(), containers.clone())),
            (Some(map), None) => drop(map.remove(list)),
            (None, _) => {}
        }
        return;
    }
    for list in ["containers", "initContainers"] {
        for container in items_mut(spec, list).filter_map(Value::as_object_mut) {
            let name = container.get("name").and_then(Value::as_str).unwrap_or("");
            let Some(wanted) = items(&sent, list).iter().find(|other| text(other, "name") == name) else {
                continue;
            };
            for member in ["resources", "resizePolicy"] {
                match wanted.get(member) {
                    Some(value) => drop(container.insert(member.into(), value.clone())),
                    None => drop(container.remove(member)),
                }
            }
        }
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

/// What a container asks for may change; it does not go.
fn check_resized(new: &Value, old: &Value, errors: &mut Vec<FieldError>) {
    for list in ["initContainers", "containers"] {
        let of = |pod| items(at(pod, &["spec"]), list);
        for (i, (after, before)) in of(new).iter().zip(of(old)).enumerate() {
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
            ("initContainers", "", json!({}), vec![]),
        ] {
            let mut errors = Vec::new();
            check_resized(&pod(list, policy, left), &pod(list, policy, both.clone()), &mut errors);
            let told: Vec<String> = errors.iter().map(ToString::to_string).collect();
            assert_eq!(told, want, "{list}");
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
            prepare(subresource, &mut new, old);
            let errors: Vec<String> = check(subresource, &new, old).iter().map(ToString::to_string).collect();
            match want {
                Ok(want) => assert_eq!((new, errors), (want, vec![]), "{subresource}"),
                Err(want) => assert_eq!(errors, [want], "{subresource}"),
            }
        }
    }
}
