//! Resources of a whole Pod, and what its containers sum up to: `validatePodResources` upstream.

use std::collections::BTreeMap;

use apiserver_json::{Map, Value};
use apiserver_meta::field::FieldError;
use apiserver_meta::quantity;

use super::super::resources;
use super::super::shared::{at, at_mut, below, has, items, text};
use super::Spec;

/// Amounts in thousandths, and whether they are written in powers of two.
type Amounts<'a> = BTreeMap<&'a str, (i128, bool)>;

/// What a Pod needs of `list` (`requests` or `limits`): containers together, or else an init container.
fn aggregate<'a>(spec: &'a Value, list: &str) -> Amounts<'a> {
    fn add<'a>(sum: &mut Amounts<'a>, container: &'a Value, list: &str) {
        let amounts = at(container, &["resources", list]).as_object();
        for (name, value) in amounts.into_iter().flatten() {
            let binary = value.as_str().is_some_and(|text| text.ends_with('i'));
            let entry = sum.entry(name).or_insert((0, binary));
            entry.0 += quantity::parse(value).unwrap_or(0);
        }
    }
    let mut sum = Amounts::new();
    for container in items(spec, "containers") {
        add(&mut sum, container, list);
    }
    let (mut sidecars, mut most) = (Amounts::new(), Amounts::new());
    for container in items(spec, "initContainers") {
        let mut now = sidecars.clone();
        add(&mut now, container, list);
        if text(container, "restartPolicy") == "Always" {
            add(&mut sum, container, list);
            sidecars = now.clone();
        }
        larger(&mut most, now);
    }
    larger(&mut sum, most);
    sum
}

fn larger<'a>(most: &mut Amounts<'a>, other: Amounts<'a>) {
    for (name, amount) in other {
        let entry = most.entry(name).or_insert(amount);
        if amount.0 > entry.0 {
            *entry = amount;
        }
    }
}

/// An amount as Go would print it.
fn shown((thousandths, binary): (i128, bool)) -> String {
    let bytes = thousandths / 1000;
    let text = match binary && thousandths % 1000 == 0 {
        true if bytes % 1024 == 0 => format!("{}Ki", bytes / 1024),
        true => return bytes.to_string(),
        false => format!("{thousandths}m"),
    };
    apiserver_schema::normalise_quantity(&text).unwrap_or(text)
}

fn is_huge(name: &str) -> bool {
    name.starts_with("hugepages-")
}

/// What the Pod as a whole is limited to and did not ask for: `defaultHugePagePodLimits`, `defaultPodRequests`.
pub(super) fn default_requests(spec: &mut Value) {
    let resources = at(spec, &["resources"]);
    let is_set = |list: &str| at(resources, &[list]).as_object().is_some_and(|map| !map.is_empty());
    if !is_set("limits") && !is_set("requests") {
        return;
    }
    let list = |list: &str| at(resources, &[list]).as_object().cloned().unwrap_or_default();
    let (mut limits, mut requests): (Map, Map) = (list("limits"), list("requests"));
    for (name, amount) in aggregate(spec, "limits") {
        if is_huge(name) && !requests.contains_key(name) && !limits.contains_key(name) {
            limits.insert(name.to_owned().into(), shown(amount).into());
        }
    }
    if !limits.is_empty() {
        for (name, amount) in aggregate(spec, "requests") {
            if matches!(name, "cpu" | "memory") && !requests.contains_key(name) {
                requests.insert(name.to_owned().into(), shown(amount).into());
            }
        }
        for (name, limit) in limits.iter().filter(|(name, _)| resources::is_of_pods(name)) {
            requests.entry(name.clone()).or_insert_with(|| limit.clone());
        }
    }
    let Some(resources) = at_mut(spec, &["resources"]) else { return };
    for (list, amounts) in [("limits", limits), ("requests", requests)] {
        if !amounts.is_empty() {
            resources.insert(list.to_owned().into(), amounts.into());
        }
    }
}

/// Errors of a Pod's own resources.
pub(super) fn check(pod: &Spec, errors: &mut Vec<FieldError>) {
    let Some(own) = pod.spec.get("resources").filter(|own| !own.is_null()) else { return };
    let path = below(&pod.path, "resources");
    if text(at(pod.spec, &["os"]), "name") == "windows" {
        errors.push(FieldError::forbidden(path, "may not be set for a windows pod"));
        return;
    }
    if has(own, "claims") {
        let why = "claims may not be set for Resources at pod-level";
        errors.push(FieldError::forbidden(format!("{path}.claims"), why));
        super::containers::check_claims(own, &path, pod, errors);
    }
    resources::validate_of_pod(own, &path, errors);
    for (list, what) in [("requests", "requests"), ("limits", "limits")] {
        for (name, amount) in aggregate(pod.spec, list) {
            let of_pod = at(own, &[list, name]);
            let counts = list == "requests" || is_huge(name);
            if counts && quantity::parse(of_pod).is_some_and(|of_pod| amount.0 > of_pod) {
                let why = format!(
                    "must be greater than or equal to aggregate container {what} of {}",
                    shown(amount)
                );
                errors.push(FieldError::invalid(format!("{path}.{list}[{name}]"), of_pod, why));
            }
        }
    }
    for (i, container) in items(pod.spec, "containers").iter().enumerate() {
        let limits = at(container, &["resources", "limits"]).as_object();
        for (name, limit) in limits.into_iter().flatten() {
            let of_pod = at(own, &["limits", name]);
            if let (Some(limit_amount), Some(most)) = (quantity::parse(limit), quantity::parse(of_pod))
                && limit_amount > most
            {
                let why =
                    format!("must be less than or equal to pod limits of {}", of_pod.as_str().unwrap_or(""));
                let place = format!("{path}.containers[{i}][{name}].limits");
                errors.push(FieldError::invalid(place, limit, why));
            }
        }
    }
}
