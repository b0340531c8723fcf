//! LimitRanger: containers without resources get the namespace's defaults; what is outside its bounds is refused.

use std::collections::BTreeMap;

use apiserver_json::{Map, Value};
use apiserver_meta::quantity;

use super::Refusal;
use crate::object;
use crate::registry::{Call, Registry};
use crate::strategy::shared::{at, items, items_mut, text};

const ANNOTATION: &str = "kubernetes.io/limit-ranger";

/// Amounts by resource: thousandths, and the text they were written as.
type Amounts = BTreeMap<String, (i128, String)>;

fn limit_ranges(registry: &Registry, call: &Call<'_>) -> Vec<Value> {
    super::objects(registry, "", "limitranges", call.namespace)
}

fn limits<'a>(range: &'a Value, of: &'a str) -> impl Iterator<Item = &'a Value> {
    items(at(range, &["spec"]), "limits").iter().filter(move |limit| text(limit, "type") == of)
}

pub(super) fn set_defaults(
    registry: &Registry,
    call: &Call<'_>,
    pod: &mut Value,
) -> Result<(), super::Refusal> {
    for range in limit_ranges(registry, call) {
        let mut told = Vec::new();
        let merged = |member: &str| {
            let lists = limits(&range, "Container").filter_map(|limit| limit.get(member)?.as_object());
            lists.flatten().map(|(name, amount)| (name.clone(), amount.clone())).collect::<Map>()
        };
        let defaults =
            [("requests", "request", merged("defaultRequest")), ("limits", "limit", merged("default"))];
        for (list, what) in [("containers", "container"), ("initContainers", "init container")] {
            for container in items_mut(&mut pod["spec"], list) {
                let name = text(container, "name").to_owned();
                for (member, word, defaults) in &defaults {
                    let set = fill(container, member, defaults);
                    if !set.is_empty() {
                        told.push(format!("{} {word} for {what} {name}", set.join(", ")));
                    }
                }
            }
        }
        if !told.is_empty() {
            let story = format!("LimitRanger plugin set: {}", told.join("; "));
            let annotations =
                object::metadata_mut(pod).entry("annotations").or_insert_with(|| Map::new().into());
            if let Some(annotations) = annotations.as_object_mut() {
                annotations.insert(ANNOTATION.into(), story.into());
            }
        }
    }
    Ok(())
}

/// Sets the amounts a container lacks; gives their names.
fn fill(container: &mut Value, member: &str, defaults: &Map) -> Vec<String> {
    if defaults.is_empty() {
        return Vec::new();
    }
    if !container["resources"].is_object() {
        container["resources"] = Map::new().into();
    }
    let amounts = object::member_mut(&mut container["resources"], member);
    let mut set = Vec::new();
    for (name, amount) in defaults {
        if !amounts.contains_key(name) {
            amounts.insert(name.clone(), amount.clone());
            set.push(name.to_string());
        }
    }
    set
}

pub(super) fn check_pod(
    registry: &Registry,
    call: &Call<'_>,
    pod: &Value,
    old: Option<&Value>,
) -> Result<(), Refusal> {
    if old.is_some() {
        return Ok(());
    }
    let spec = at(pod, &["spec"]);
    for range in limit_ranges(registry, call) {
        let mut wrong = Vec::new();
        for limit in limits(&range, "Container") {
            for container in items(spec, "containers").iter().chain(items(spec, "initContainers")) {
                let resources = &container["resources"];
                check(limit, &amounts(&resources["requests"]), &amounts(&resources["limits"]), &mut wrong);
            }
        }
        for limit in limits(&range, "Pod") {
            check(limit, &of_pod(spec, "requests"), &of_pod(spec, "limits"), &mut wrong);
        }
        refuse(wrong)?;
    }
    Ok(())
}

pub(super) fn check_claim(
    registry: &Registry,
    call: &Call<'_>,
    claim: &Value,
    _: Option<&Value>,
) -> Result<(), Refusal> {
    const TYPE: &str = "PersistentVolumeClaim";
    let requests = amounts(at(claim, &["spec", "resources", "requests"]));
    for range in limit_ranges(registry, call) {
        let mut wrong = Vec::new();
        for limit in limits(&range, TYPE) {
            let none = Amounts::new();
            amounts(&limit["min"])
                .iter()
                .for_each(|bound| wrong.extend(minimum(TYPE, bound, &requests, &none)));
            for (name, (most, shown)) in &amounts(&limit["max"]) {
                let rule = format!("maximum {name} usage per {TYPE} is {shown}");
                match requests.get(name) {
                    None => wrong.push(format!("{rule}.  No request is specified")),
                    Some((amount, text)) if amount > most => {
                        wrong.push(format!("{rule}, but request is {text}"));
                    }
                    Some(_) => {}
                }
            }
        }
        refuse(wrong)?;
    }
    Ok(())
}

fn refuse(mut wrong: Vec<String>) -> Result<(), String> {
    let mut seen = std::collections::HashSet::new();
    wrong.retain(|sentence| seen.insert(sentence.clone()));
    match wrong.as_slice() {
        [] => Ok(()),
        [one] => Err(one.clone()),
        all => Err(format!("[{}]", all.join(", "))),
    }
}

fn amounts(list: &Value) -> Amounts {
    let list = list.as_object().into_iter().flatten();
    list.filter_map(|(name, value)| {
        let shown = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        Some((name.to_string(), (quantity::parse(value)?, shown)))
    })
    .collect()
}

fn check(limit: &Value, requests: &Amounts, limits: &Amounts, wrong: &mut Vec<String>) {
    let of = text(limit, "type");
    for bound in &amounts(&limit["min"]) {
        wrong.extend(minimum(of, bound, requests, limits));
    }
    for bound in &amounts(&limit["max"]) {
        wrong.extend(maximum(of, bound, requests, limits));
    }
    for bound in &amounts(&limit["maxLimitRequestRatio"]) {
        wrong.extend(ratio(of, bound, requests, limits));
    }
}

type Bound<'a> = (&'a String, &'a (i128, String));

fn minimum(
    of: &str,
    (name, (least, shown)): Bound<'_>,
    requests: &Amounts,
    limits: &Amounts,
) -> Option<String> {
    let rule = format!("minimum {name} usage per {of} is {shown}");
    let Some((request, request_text)) = requests.get(name) else {
        return Some(format!("{rule}.  No request is specified"));
    };
    if request < least {
        return Some(format!("{rule}, but request is {request_text}"));
    }
    let (_, limit_text) = limits.get(name).filter(|(limit, _)| limit < least)?;
    Some(format!("{rule}, but limit is {limit_text}"))
}

fn maximum(
    of: &str,
    (name, (most, shown)): Bound<'_>,
    requests: &Amounts,
    limits: &Amounts,
) -> Option<String> {
    let rule = format!("maximum {name} usage per {of} is {shown}");
    let Some((limit, limit_text)) = limits.get(name) else {
        return Some(format!("{rule}.  No limit is specified"));
    };
    if limit > most {
        return Some(format!("{rule}, but limit is {limit_text}"));
    }
    let (_, request_text) = requests.get(name).filter(|(request, _)| request > most)?;
    Some(format!("{rule}, but request is {request_text}"))
}

fn ratio(of: &str, (name, (most, shown)): Bound<'_>, requests: &Amounts, limits: &Amounts) -> Option<String> {
    let rule = format!("{name} max limit to request ratio per {of} is {shown}");
    let positive =
        |amounts: &Amounts| amounts.get(name).map(|(amount, _)| *amount).filter(|amount| *amount != 0);
    let Some(request) = positive(requests) else {
        return Some(format!("{rule}, but no request is specified or request is 0"));
    };
    let Some(limit) = positive(limits) else {
        return Some(format!("{rule}, but no limit is specified or limit is 0"));
    };
    let provided = limit as f64 / request as f64;
    (provided * 1000.0 > *most as f64).then(|| format!("{rule}, but provided ratio is {provided:.6}"))
}

/// What a Pod needs in all: its containers, or the most that its init containers need beside the sidecars.
fn of_pod(spec: &Value, member: &str) -> Amounts {
    let mut all = Amounts::new();
    let mut sidecars = Amounts::new();
    let mut at_start = Amounts::new();
    for container in items(spec, "containers") {
        add(&mut all, &amounts(&container["resources"][member]));
    }
    for container in items(spec, "initContainers") {
        let mut own = amounts(&container["resources"][member]);
        if text(container, "restartPolicy") == "Always" {
            add(&mut all, &own);
            add(&mut sidecars, &own);
            own = sidecars.clone();
        } else {
            add(&mut own, &sidecars);
        }
        raise(&mut at_start, &own);
    }
    raise(&mut all, &at_start);
    for (name, amount) in amounts(at(spec, &["resources", member])) {
        if matches!(name.as_str(), "cpu" | "memory") || name.starts_with("hugepages-") {
            all.insert(name, amount);
        }
    }
    all
}

fn add(sum: &mut Amounts, more: &Amounts) {
    for (name, (amount, shown)) in more {
        match sum.get_mut(name) {
            Some((total, text)) => {
                *total += amount;
                *text = written_like(text, *total);
            }
            None => drop(sum.insert(name.clone(), (*amount, shown.clone()))),
        }
    }
}

fn raise(most: &mut Amounts, other: &Amounts) {
    for (name, amount) in other {
        if most.get(name).is_none_or(|known| known.0 < amount.0) {
            most.insert(name.clone(), amount.clone());
        }
    }
}

/// A sum in the form of its first term: `1Gi` and 512 MiB more are `1536Mi`.
fn written_like(first: &str, thousandths: i128) -> String {
    const BINARY: [&str; 7] = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
    if first.ends_with('i') && thousandths % 1000 == 0 {
        let (mut amount, mut step) = (thousandths / 1000, 0);
        while amount != 0 && amount % 1024 == 0 && step + 1 < BINARY.len() {
            (amount, step) = (amount / 1024, step + 1);
        }
        return format!("{amount}{}", BINARY[step]);
    }
    let text = format!("{thousandths}m");
    apiserver_schema::normalise_quantity(&text).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use apiserver_json::json;

    #[test]
    fn bounds_are_upstreams_sentences() {
        let limit = json!({
            "type": "Container", "min": {"cpu": "100m"}, "max": {"cpu": "1", "memory": "1Gi"},
            "maxLimitRequestRatio": {"cpu": "2"},
        });
        let cases = [
            (
                json!({}),
                "[minimum cpu usage per Container is 100m.  No request is specified, maximum cpu usage per Container is 1.  No limit is specified, maximum memory usage per Container is 1Gi.  No limit is specified, cpu max limit to request ratio per Container is 2, but no request is specified or request is 0]",
            ),
            (
                json!({"requests": {"cpu": "50m", "memory": "1"}, "limits": {"cpu": "100m", "memory": "1"}}),
                "minimum cpu usage per Container is 100m, but request is 50m",
            ),
            (
                json!({"requests": {"cpu": "200m", "memory": "1"}, "limits": {"cpu": "500m", "memory": "2Gi"}}),
                "[maximum memory usage per Container is 1Gi, but limit is 2Gi, cpu max limit to request ratio per Container is 2, but provided ratio is 2.500000]",
            ),
            (
                json!({"requests": {"cpu": "500m", "memory": "1"}, "limits": {"cpu": "1", "memory": "1Gi"}}),
                "",
            ),
        ];
        for (resources, expected) in cases {
            let mut wrong = Vec::new();
            check(&limit, &amounts(&resources["requests"]), &amounts(&resources["limits"]), &mut wrong);
            assert_eq!(refuse(wrong).err().unwrap_or_default(), expected, "{resources}");
        }
    }

    #[test]
    fn a_pod_needs_its_containers_or_its_start() {
        let with = |cpu: &str| json!({"resources": {"requests": {"cpu": cpu, "memory": "512Mi"}}});
        let mut sidecar = with("100m");
        sidecar["restartPolicy"] = "Always".into();
        let spec =
            json!({"containers": [with("200m"), with("300m")], "initContainers": [sidecar, with("2")]});
        let needs = of_pod(&spec, "requests");
        assert_eq!(needs["cpu"], (2100, "2100m".to_owned()));
        assert_eq!(needs["memory"].1, "1536Mi");
    }
}
