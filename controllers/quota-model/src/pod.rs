//! Pods: themselves while they live, and what they ask for.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde_json::Value;

use crate::amount::Amount;
use crate::amounts::{self, Amounts};
use crate::requirements::{self, List};
use crate::scope::Requirement;
use crate::{items, text};

const COUNT: &str = "count/pods";
const NAMES: &[&str] = &[
    COUNT,
    "cpu",
    "memory",
    "ephemeral-storage",
    "requests.cpu",
    "requests.memory",
    "requests.ephemeral-storage",
    "limits.cpu",
    "limits.memory",
    "limits.ephemeral-storage",
    "pods",
];
/// What each container must say where a quota counts it. There will be no more of these: upstream regrets them.
const MUST_BE_SAID: &[&str] =
    &["cpu", "memory", "requests.cpu", "requests.memory", "limits.cpu", "limits.memory"];
const DEVICE_CLASS: &str = "deviceclass.resource.kubernetes.io/";

pub(crate) fn counts(name: &str) -> bool {
    let pages = name.starts_with("hugepages-") || name.starts_with("requests.hugepages-");
    let extended = name.strip_prefix("requests.").is_some_and(|rest| {
        rest.starts_with(DEVICE_CLASS) || (name.contains('/') && !name.contains("kubernetes.io/"))
    });
    NAMES.contains(&name) || pages || extended
}

/// What a Pod uses. One that ended, or should be gone, is only an object.
pub(crate) fn usage(pod: &Value, now: Timestamp) -> Amounts {
    let mut usage = Amounts::from([(COUNT.to_owned(), Amount::count(1))]);
    if is_alive(pod, now) {
        let of = |list| requirements::of_pod(pod, list);
        amounts::add(&mut usage, &named(&of(List::Requests), &of(List::Limits)));
    }
    usage
}

fn is_alive(pod: &Value, now: Timestamp) -> bool {
    if matches!(text(&pod["status"], "phase"), "Succeeded" | "Failed") {
        return false;
    }
    let metadata = &pod["metadata"];
    let since = text(metadata, "deletionTimestamp").parse::<Timestamp>().ok();
    match (since, metadata["deletionGracePeriodSeconds"].as_i64()) {
        (Some(since), Some(grace)) => {
            now.as_millisecond() <= since.as_millisecond().saturating_add(grace.saturating_mul(1000))
        }
        _ => true,
    }
}

/// Requests and limits under the names quotas know them by.
fn named(requests: &Amounts, limits: &Amounts) -> Amounts {
    let mut usage = Amounts::from([("pods".to_owned(), Amount::count(1))]);
    for (name, amount) in requests {
        let plain = matches!(name.as_str(), "cpu" | "memory" | "ephemeral-storage");
        let pages = name.starts_with("hugepages-");
        if plain || pages {
            usage.insert(name.clone(), amount.clone());
        }
        if plain || pages || is_extended(name) {
            usage.insert(format!("requests.{name}"), amount.clone());
        }
    }
    for (name, amount) in limits {
        if matches!(name.as_str(), "cpu" | "memory" | "ephemeral-storage") {
            usage.insert(format!("limits.{name}"), amount.clone());
        }
    }
    usage
}

fn is_extended(name: &str) -> bool {
    let foreign = name.contains('/') && !name.contains("kubernetes.io/") && !name.starts_with("requests.");
    foreign || name.starts_with(DEVICE_CLASS)
}

/// What the containers do not say and the quota wants said.
pub(crate) fn unsaid(pod: &Value, counted: &[&str]) -> Option<String> {
    if requirements::says_of_itself(pod) {
        return None;
    }
    let mut unsaid: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let containers = ["containers", "initContainers"].into_iter().flat_map(|list| items(&pod["spec"], list));
    for container in containers {
        let of = |list| amounts::read(&container["resources"], list);
        let said = named(&of("requests"), &of("limits"));
        for name in counted.iter().filter(|name| MUST_BE_SAID.contains(name) && !said.contains_key(**name)) {
            unsaid.entry(name).or_default().insert(text(container, "name"));
        }
    }
    let shown = |(name, containers): (&str, BTreeSet<&str>)| {
        format!("{name} for: {}", containers.into_iter().collect::<Vec<_>>().join(","))
    };
    let all: Vec<String> = unsaid.into_iter().map(shown).collect();
    (!all.is_empty()).then(|| format!("must specify {}", all.join("; ")))
}

pub(crate) fn is_terminating(pod: &Value) -> bool {
    pod["spec"]["activeDeadlineSeconds"].as_i64().is_some_and(|seconds| seconds >= 0)
}

fn is_best_effort(pod: &Value) -> bool {
    match text(&pod["status"], "qosClass") {
        "" => {}
        class => return class == "BestEffort",
    }
    let spec = &pod["spec"];
    let asks = |owner: &Value| {
        let lists = ["requests", "limits"].map(|list| amounts::read(&owner["resources"], list));
        lists
            .iter()
            .any(|list| ["cpu", "memory"].iter().any(|name| list.get(*name).is_some_and(Amount::is_positive)))
    };
    if spec["resources"].is_object() {
        return !asks(spec);
    }
    !["containers", "initContainers"].into_iter().flat_map(|list| items(spec, list)).any(asks)
}

fn looks_into_other_namespaces(pod: &Value) -> bool {
    const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
    const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";
    let affinity = &pod["spec"]["affinity"];
    let crosses =
        |term: &Value| !items(term, "namespaces").is_empty() || term["namespaceSelector"].is_object();
    ["podAffinity", "podAntiAffinity"].iter().any(|kind| {
        items(&affinity[*kind], REQUIRED).iter().any(crosses)
            || items(&affinity[*kind], PREFERRED).iter().any(|term| crosses(&term["podAffinityTerm"]))
    })
}

pub(crate) fn matches(requirement: &Requirement<'_>, pod: &Value) -> bool {
    match requirement.scope {
        "Terminating" => is_terminating(pod),
        "NotTerminating" => !is_terminating(pod),
        "BestEffort" => is_best_effort(pod),
        "NotBestEffort" => !is_best_effort(pod),
        "PriorityClass" => {
            let name = text(&pod["spec"], "priorityClassName");
            requirement.meets(if name.is_empty() { &[] } else { std::slice::from_ref(&name) })
        }
        "CrossNamespacePodAffinity" => looks_into_other_namespaces(pod),
        _ => false,
    }
}
