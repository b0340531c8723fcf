//! What a Pod asks for as a whole: its containers together, its init containers one after the other with the
//! sidecars before them, its own resources, its overhead. `k8s.io/component-helpers/resource` upstream.

use serde_json::Value;

use crate::amounts::{self, Amounts};
use crate::{items, text};

/// Requests or limits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum List {
    Requests,
    Limits,
}

impl List {
    fn member(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::Limits => "limits",
        }
    }
}

pub(crate) fn of_pod(pod: &Value, list: List) -> Amounts {
    let spec = &pod["spec"];
    let mut all = of_containers(pod, list);
    for (name, amount) in amounts::read(&spec["resources"], list.member()) {
        if is_of_pods(&name) {
            all.insert(name, amount);
        }
    }
    let overhead = amounts::read(spec, "overhead");
    match list {
        List::Requests => amounts::add(&mut all, &overhead),
        // No overhead on what is unlimited.
        List::Limits => {
            let limited = |name: &String| all.get(name).is_some_and(|limit| !limit.is_zero());
            let overhead = overhead.into_iter().filter(|(name, _)| limited(name)).collect();
            amounts::add(&mut all, &overhead);
        }
    }
    all
}

/// May a Pod as a whole have this resource?
fn is_of_pods(name: &str) -> bool {
    matches!(name, "cpu" | "memory") || name.starts_with("hugepages-")
}

/// Does the Pod say anything about itself as a whole?
pub(crate) fn says_of_itself(pod: &Value) -> bool {
    let resources = &pod["spec"]["resources"];
    let lists = ["requests", "limits"].into_iter().filter_map(|list| resources.get(list)?.as_object());
    lists.flatten().any(|(name, _)| is_of_pods(name))
}

fn of_containers(pod: &Value, list: List) -> Amounts {
    let spec = &pod["spec"];
    let mut all = Amounts::new();
    for container in items(spec, "containers") {
        amounts::add(&mut all, &of_container(pod, container, "containerStatuses", list));
    }
    let (mut sidecars, mut most) = (Amounts::new(), Amounts::new());
    for container in items(spec, "initContainers") {
        if text(container, "restartPolicy") == "Always" {
            let own = of_container(pod, container, "initContainerStatuses", list);
            amounts::add(&mut all, &own);
            amounts::add(&mut sidecars, &own);
            amounts::raise(&mut most, &sidecars);
        } else {
            let mut with = amounts::read(&container["resources"], list.member());
            amounts::add(&mut with, &sidecars);
            amounts::raise(&mut most, &with);
        }
    }
    amounts::raise(&mut all, &most);
    all
}

/// What a container asks for, or still has while it is resized.
fn of_container(pod: &Value, container: &Value, statuses: &str, list: List) -> Amounts {
    let asked = amounts::read(&container["resources"], list.member());
    let name = text(container, "name");
    let status = items(&pod["status"], statuses).iter().find(|status| text(status, "name") == name);
    let Some(status) = status.filter(|status| status["resources"].is_object()) else { return asked };
    let mut effective = amounts::read(&status["resources"], list.member());
    if list == List::Requests {
        amounts::raise(&mut effective, &amounts::read(status, "allocatedResources"));
    }
    if is_infeasible(pod) {
        return effective;
    }
    let mut all = asked;
    amounts::raise(&mut all, &effective);
    all
}

fn is_infeasible(pod: &Value) -> bool {
    let conditions = items(&pod["status"], "conditions");
    let pending = conditions.iter().find(|condition| text(condition, "type") == "PodResizePending");
    pending.is_some_and(|condition| text(condition, "reason") == "Infeasible")
}
