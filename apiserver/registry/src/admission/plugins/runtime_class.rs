//! RuntimeClass: a Pod's class exists, and what it costs and where it runs is the Pod's, too.

use apiserver_json::{Value, json};
use apiserver_meta::Status;

use crate::object;
use crate::registry::{Call, Registry};
use crate::strategy::shared::{at, is_empty, items};

pub(super) fn resolve(registry: &Registry, _: &Call<'_>, pod: &mut Value) -> Result<(), super::Refusal> {
    let class = match at(pod, &["spec", "runtimeClassName"]).as_str() {
        // Upstream asks itself for it, and its client refuses to.
        Some("") => {
            let refused = Status::new(500, "", "resource name may not be empty");
            return Err(super::Refusal::Whole(refused));
        }
        Some(name) => {
            let class = super::object_named(registry, "node.k8s.io", "runtimeclasses", name);
            class.ok_or_else(|| format!("pod rejected: RuntimeClass {name:?} not found"))?
        }
        None => Value::Null,
    };
    set_overhead(at(&class, &["overhead"]), pod)?;
    schedule(at(&class, &["scheduling"]), pod)?;
    Ok(())
}

/// Only a class says what a Pod costs besides.
pub(super) fn check(
    registry: &Registry,
    _: &Call<'_>,
    pod: &Value,
    old: Option<&Value>,
) -> Result<(), super::Refusal> {
    let spec = at(pod, &["spec"]);
    if old.is_some() || at(spec, &["overhead"]).is_null() {
        return Ok(());
    }
    let class = at(spec, &["runtimeClassName"]).as_str();
    let class = class.and_then(|name| super::object_named(registry, "node.k8s.io", "runtimeclasses", name));
    let overhead = class.as_ref().map_or(&Value::Null, |class| at(class, &["overhead", "podFixed"]));
    if is_empty(overhead) {
        let why = "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead";
        return Err(why.to_owned().into());
    }
    Ok(())
}

fn set_overhead(overhead: &Value, pod: &mut Value) -> Result<(), String> {
    let given = at(pod, &["spec", "overhead"]);
    let overhead = at(overhead, &["podFixed"]);
    if is_empty(overhead) {
        return Ok(());
    }
    if !is_empty(given) && given != overhead {
        return Err("pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead".to_owned());
    }
    object::member_mut(pod, "spec").insert("overhead".into(), overhead.clone());
    Ok(())
}

fn schedule(scheduling: &Value, pod: &mut Value) -> Result<(), String> {
    let spec = object::member_mut(pod, "spec");
    let wanted = at(scheduling, &["nodeSelector"]).as_object();
    for (key, value) in wanted.into_iter().flatten() {
        let selector = spec.entry("nodeSelector").or_insert_with(|| json!({}));
        if let Some(given) = selector.get(key).filter(|given| *given != value) {
            let (of_class, of_pod) = (value.as_str().unwrap_or(""), given.as_str().unwrap_or(""));
            return Err(format!(
                "conflict: runtimeClass.scheduling.nodeSelector[{key}] = {of_class}; pod.spec.nodeSelector[{key}] = {of_pod}"
            ));
        }
        selector[key] = value.clone();
    }
    for toleration in items(scheduling, "tolerations") {
        let tolerations = spec.entry("tolerations").or_insert_with(|| json!([]));
        if let Some(list) = tolerations.as_array_mut().filter(|list| !list.contains(toleration)) {
            list.push(toleration.clone());
        }
    }
    Ok(())
}
