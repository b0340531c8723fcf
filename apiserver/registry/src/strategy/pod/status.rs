//! What a Pod's status may become: `ValidatePodStatusUpdate` upstream.

use apiserver_json::{Map, Value, json};
use apiserver_meta::field::{FieldError, Problem};
use apiserver_meta::names;

use super::super::shared::{at, check_ip, check_optional, check_range, check_rule, has, items, number, text};
use super::annotations;

/// (list of statuses, list of the containers they are about).
const LISTS: [(&str, &str); 3] = [
    ("containerStatuses", "containers"),
    ("initContainerStatuses", "initContainers"),
    ("ephemeralContainerStatuses", "ephemeralContainers"),
];
/// Conditions whose names are not qualified.
const CONDITIONS: [&str; 3] = ["PodScheduled", "Ready", "Initialized"];
/// How something that was allocated may be.
const HEALTH: [&str; 3] = ["Healthy", "Unhealthy", "Unknown"];
/// `ResourceHealthMessageMaxLength`.
const HEALTH_MESSAGE_BYTES_MAX: usize = 1024;
const NEGATIVE: &str = "must be a non-negative integer";

/// What kubelets leave out stays: the class, and which generation was seen. `preserveOldObservedGeneration`.
pub(super) fn prepare(new: &mut Value, old: &Value) {
    // When it goes is not said with its status.
    let metadata = crate::object::metadata_mut(new);
    match crate::object::metadata(old).get("deletionTimestamp") {
        Some(time) => drop(metadata.insert("deletionTimestamp".into(), time.clone())),
        None => drop(metadata.remove("deletionTimestamp")),
    }
    let before = at(old, &["status"]);
    let Some(status) = new.get_mut("status").and_then(Value::as_object_mut) else { return };
    settle_addresses(status);
    for member in ["qosClass", "observedGeneration"] {
        if let Some(value) = before.get(member)
            && status.get(member).is_none_or(|now| now == "" || now == 0)
        {
            status.insert(member.to_owned().into(), value.clone());
        }
    }
    let mut known: Vec<&Value> = items(before, "conditions").iter().collect();
    for condition in status.get_mut("conditions").and_then(Value::as_array_mut).into_iter().flatten() {
        let Some(i) = known.iter().position(|was| was.get("type") == condition.get("type")) else { continue };
        let was = known.remove(i);
        if let Some(generation) = was.get("observedGeneration")
            && number(condition, "observedGeneration").unwrap_or(0) == 0
            && let Some(condition) = condition.as_object_mut()
        {
            condition.insert("observedGeneration".into(), generation.clone());
        }
    }
}

/// The one address is the first of all: where they differ, the older member counts.
fn settle_addresses(status: &mut Map) {
    let of = |value: Option<&Value>| value.and_then(Value::as_str).unwrap_or("").to_owned();
    let one = of(status.get("podIP"));
    let first = of(status.get("podIPs").and_then(|all| all.get(0)?.get("ip")));
    if one.is_empty() && !first.is_empty() {
        status.insert("podIP".into(), first.into());
    } else if one != first {
        status.insert("podIPs".into(), json!([{"ip": one}]));
    }
}

/// Errors of an updated status.
pub(super) fn check(new: &Value, old: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let (spec, status, before) = (at(old, &["spec"]), at(new, &["status"]), at(old, &["status"]));
    annotations::check_update(at(new, &["metadata"]), at(old, &["metadata"]), &mut errors);
    for (i, condition) in items(status, "conditions").iter().enumerate() {
        let path = format!("status.conditions[{i}]");
        if let Some(generation) = number(condition, "observedGeneration").filter(|number| *number < 0) {
            let path = format!("{path}.observedGeneration");
            errors.push(FieldError::invalid(path, &generation.into(), NEGATIVE));
        }
        let kind = text(condition, "type");
        if !CONDITIONS.contains(&kind) {
            check_rule(kind, names::qualified_name, format_args!("{path}.Type"), &mut errors);
        }
    }
    let node = text(status, "nominatedNodeName");
    if !node.is_empty() && node != text(before, "nominatedNodeName") {
        check_optional(status, "nominatedNodeName", names::dns1123_subdomain, "status", &mut errors);
        if !text(spec, "nodeName").is_empty() {
            let why = "may not be set on pods that are already bound to a node";
            errors.push(FieldError::forbidden("status.nominatedNodeName", why));
        }
    }
    if let Some(generation) = number(status, "observedGeneration").filter(|number| *number < 0) {
        errors.push(FieldError::invalid("status.observedGeneration", &generation.into(), NEGATIVE));
    }
    let class = text(status, "qosClass");
    if class != text(before, "qosClass") {
        errors.push(FieldError::invalid("status.qosClass", &class.into(), "field is immutable"));
    }
    for (list, containers) in LISTS {
        check_transitions(list, containers, (spec, status, before), &mut errors);
    }
    check_claims(spec, status, &mut errors);
    check_extended_claim(spec, at(status, &["extendedResourceClaimStatus"]), &mut errors);
    check_addresses(status, before, &mut errors);
    for (list, _) in LISTS {
        check_users(spec, status, list, &mut errors);
    }
    for (list, containers) in LISTS {
        check_allocated(list, containers, (spec, status), &mut errors);
    }
    errors
}

/// How what a container got is: of what it asks for, each thing once.
fn check_allocated(
    list: &str,
    containers: &str,
    (spec, status): (&Value, &Value),
    errors: &mut Vec<FieldError>,
) {
    for (i, of) in items(status, list).iter().enumerate() {
        let path = format!("status.{list}[{i}].allocatedResourcesStatus");
        let allocated = items(of, "allocatedResourcesStatus");
        if containers == "ephemeralContainers" {
            if !allocated.is_empty() {
                errors.push(FieldError::forbidden(path, "must not be specified in container status"));
            }
            continue;
        }
        let container =
            items(spec, containers).iter().find(|container| text(container, "name") == text(of, "name"));
        for (j, resource) in allocated.iter().enumerate() {
            let name = text(resource, "name");
            if let Some(why) = container.and_then(|container| is_not_asked_for(container, name)) {
                errors.push(FieldError::invalid(format!("{path}[{j}].name"), &name.into(), why));
            }
            check_health(items(resource, "resources"), &format!("{path}[{j}].resources"), errors);
        }
    }
}

/// Why a container does not get a resource or a claim of this name; `None` where it asks for it.
fn is_not_asked_for(container: &Value, name: &str) -> Option<&'static str> {
    let resources = at(container, &["resources"]);
    let Some(wanted) = name.strip_prefix("claim:") else {
        let why = "must match one of the container's resource requests";
        return at(resources, &["requests", name]).is_null().then_some(why);
    };
    let is_wanted = |claim: &Value| match text(claim, "request") {
        "" => text(claim, "name") == wanted,
        request => wanted.split_once('/') == Some((text(claim, "name"), request)),
    };
    let why = "must match one of the container's resource claims in a format 'claim:<claimName>/<request>' or 'claim:<claimName>' if request is empty";
    (!items(resources, "claims").iter().any(is_wanted)).then_some(why)
}

fn check_health(resources: &[Value], path: &str, errors: &mut Vec<FieldError>) {
    for (k, resource) in resources.iter().enumerate() {
        let path = format!("{path}[{k}]");
        let health = text(resource, "health");
        if !HEALTH.contains(&health) {
            errors.push(FieldError::not_supported(format!("{path}.health"), &health.into(), &HEALTH));
        }
        match at(resource, &["message"]).as_str() {
            Some("") => {
                errors
                    .push(FieldError::required(format!("{path}.message"), "must be non-empty if specified"));
            }
            Some(message) if message.len() > HEALTH_MESSAGE_BYTES_MAX => {
                errors.push(FieldError::too_long(format!("{path}.message"), HEALTH_MESSAGE_BYTES_MAX));
            }
            _ => {}
        }
        let id = text(resource, "resourceID");
        if resources[..k].iter().any(|other| text(other, "resourceID") == id) {
            errors.push(FieldError::duplicate(format!("{path}.resourceID"), &id.into()));
        }
    }
}

/// What ended does not run again unless its restart policy says so.
fn check_transitions(
    list: &str,
    containers: &str,
    (spec, status, before): (&Value, &Value, &Value),
    errors: &mut Vec<FieldError>,
) {
    let is_ephemeral = containers == "ephemeralContainers";
    let all_may_restart = || {
        ["initContainers", "containers"]
            .iter()
            .flat_map(|list| items(spec, list))
            .flat_map(|container| items(container, "restartPolicyRules"))
            .any(|rule| text(rule, "action") == "RestartAllContainers")
    };
    for (i, was) in items(before, list).iter().enumerate() {
        let Some(end) = was.pointer("/state/terminated") else { continue };
        let name = text(was, "name");
        let runs = |now: &&Value| text(now, "name") == name && now.pointer("/state/terminated").is_none();
        if !items(status, list).iter().any(|now| runs(&now)) {
            continue;
        }
        let container = items(spec, containers).iter().find(|container| text(container, "name") == name);
        let code = number(end, "exitCode").unwrap_or(0);
        let may = !is_ephemeral
            && (all_may_restart() || container.is_some_and(|container| restarts(container, spec, code)));
        if !may {
            let why = "may not be transitioned to non-terminated state";
            errors.push(FieldError::forbidden(format!("status.{list}[{i}].state"), why));
        }
    }
}

/// Is a container that ended with this code started again? `ContainerShouldRestart`.
fn restarts(container: &Value, spec: &Value, code: i64) -> bool {
    let own = text(container, "restartPolicy");
    if !own.is_empty() {
        let matches = |rule: &&Value| {
            let codes = at(rule, &["exitCodes"]);
            let named = items(codes, "values").iter().any(|value| value.as_i64() == Some(code));
            match text(codes, "operator") {
                "In" => named,
                "NotIn" => !named,
                _ => false,
            }
        };
        if items(container, "restartPolicyRules").iter().any(|rule| matches(&rule)) {
            return true;
        }
    }
    match if own.is_empty() { text(spec, "restartPolicy") } else { own } {
        "OnFailure" => code != 0,
        "Never" => false,
        _ => true,
    }
}

fn check_claims(spec: &Value, status: &Value, errors: &mut Vec<FieldError>) {
    let mut seen: Vec<&str> = Vec::new();
    for (i, claim) in items(status, "resourceClaimStatuses").iter().enumerate() {
        let path = format!("status.resourceClaimStatuses[{i}]");
        let name = text(claim, "name");
        if !items(spec, "resourceClaims").iter().any(|known| text(known, "name") == name) {
            let why = "must match the name of an entry in `spec.resourceClaims`";
            errors.push(FieldError::invalid(format!("{path}.name"), &name.into(), why));
        }
        if seen.contains(&name) {
            errors.push(FieldError::duplicate(format!("{path}.name"), &name.into()));
        }
        seen.push(name);
        check_optional(claim, "resourceClaimName", names::dns1123_subdomain, &path, errors);
    }
}

/// What the scheduler claimed for extended resources: each for a container that asks for it.
fn check_extended_claim(spec: &Value, claim: &Value, errors: &mut Vec<FieldError>) {
    if !claim.is_object() {
        return;
    }
    let path = "status.extendedResourceClaimStatus";
    let mappings = items(claim, "requestMappings");
    if mappings.is_empty() {
        errors.push(FieldError::required(
            format!("{path}.requestMappings"),
            "at least one request mapping is required",
        ));
    }
    let members = ["containerName", "resourceName", "requestName"];
    for (i, mapping) in mappings.iter().enumerate() {
        let of_mapping = |member: &str| format!("{path}.requestMappings[{i}].{member}");
        let names = members.map(|member| text(mapping, member));
        let [container, resource, request] = names;
        let mut containers = ["containers", "initContainers"]
            .iter()
            .flat_map(|list| items(spec, list))
            .filter(|known| text(known, "name") == container);
        match containers.next() {
            Some(known) if at(known, &["resources", "requests", resource]).is_null() => {
                let why = "must match the extended resource name of an entry in spec.initContainers.resources.requests or spec.containers.resources.requests";
                errors.push(FieldError::invalid(of_mapping("resourceName"), &resource.into(), why));
            }
            Some(_) => {}
            None => {
                let why =
                    "must match the name of an entry in spec.initContainers.name or spec.containers.name";
                errors.push(FieldError::invalid(of_mapping("containerName"), &container.into(), why));
            }
        }
        for why in names::dns1123_label(request) {
            errors.push(FieldError::invalid(format!("{path}.requestName"), &request.into(), why));
        }
        if mappings[..i].iter().any(|other| members.map(|member| text(other, member)) == names) {
            for (member, name) in members.into_iter().zip(names) {
                errors.push(FieldError::duplicate(of_mapping(member), &name.into()));
            }
        }
    }
    let claim = text(claim, "resourceClaimName");
    let path = format!("{path}.resourceClaimName");
    if claim.is_empty() {
        errors.push(FieldError::required(path, ""));
        return;
    }
    for why in names::dns1123_subdomain(claim) {
        errors.push(FieldError::invalid(path.clone(), &claim.into(), why));
    }
}

/// One address of each family; those that were there may stay as they are.
fn check_addresses(status: &Value, before: &Value, errors: &mut Vec<FieldError>) {
    for list in ["podIPs", "hostIPs"] {
        let addresses = items(status, list);
        if list == "hostIPs"
            && let Some(first) = addresses.first()
            && text(first, "ip") != text(status, "hostIP")
        {
            let why = "must be equal to `hostIP`";
            errors.push(FieldError::invalid("status.hostIPs[0].ip", &text(first, "ip").into(), why));
        }
        for (i, address) in addresses.iter().enumerate() {
            if !items(before, list).contains(address) {
                check_ip(text(address, "ip"), format!("status.{list}[{i}]"), errors);
            }
        }
        let families: Vec<Option<bool>> = addresses
            .iter()
            .map(|address| text(address, "ip").parse().ok().map(|ip: std::net::IpAddr| ip.is_ipv4()))
            .collect();
        if families.len() < 2 {
            continue;
        }
        if let Some(i) = families.iter().position(Option::is_none) {
            let ip = text(&addresses[i], "ip");
            errors.push(FieldError::internal(
                format!("status.{list}"),
                format!("failed to check for dual stack with error:invalid IP[{i}]: {ip}"),
            ));
        }
        let dual = families.contains(&Some(true)) && families.contains(&Some(false));
        if families.len() > 2 || !dual || families.contains(&None) {
            let shown: Vec<String> = addresses
                .iter()
                .map(|address| super::super::shared::go_struct(address, &[("IP", "ip")]))
                .collect();
            errors.push(FieldError {
                problem: Problem::Invalid,
                field: format!("status.{list}"),
                value: format!("[{}]", shown.join(",")),
                detail: "may specify no more than one IP for each IP family".into(),
            });
        }
    }
}

fn check_users(spec: &Value, status: &Value, list: &str, errors: &mut Vec<FieldError>) {
    for (i, container) in items(status, list).iter().enumerate() {
        let Some(user) = container.pointer("/user/linux") else { continue };
        let path = format!("status.{list}[{i}].user.linux");
        if text(at(spec, &["os"]), "name") == "windows" {
            errors.push(FieldError::forbidden(path, "cannot be set for a windows pod"));
            continue;
        }
        for member in ["uid", "gid"] {
            if has(user, member) {
                check_range(user, member, (0, i64::from(i32::MAX)), &path, errors);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extended_resources_are_claimed_for_who_asks_for_them() {
        let spec = json!({"containers": [{"name": "c", "resources": {"requests": {"a/b": "1"}}}]});
        let mapping = |container: &str, resource: &str, request: &str| json!({"containerName": container, "resourceName": resource, "requestName": request});
        let (good, path) = (mapping("c", "a/b", "r"), "status.extendedResourceClaimStatus.");
        for (claim, want) in [
            (json!({"resourceClaimName": "x", "requestMappings": [good]}), vec![]),
            (json!({}), vec!["requestMappings", "resourceClaimName"]),
            (
                json!({"resourceClaimName": "x", "requestMappings": [good, good]}),
                vec![
                    "requestMappings[1].containerName",
                    "requestMappings[1].resourceName",
                    "requestMappings[1].requestName",
                ],
            ),
            (
                json!({"resourceClaimName": "X_", "requestMappings": [mapping("z", "a/b", "r"), mapping("c", "a/c", "R")]}),
                vec![
                    "requestMappings[0].containerName",
                    "requestMappings[1].resourceName",
                    "requestName",
                    "resourceClaimName",
                ],
            ),
        ] {
            let mut errors = Vec::new();
            check_extended_claim(&spec, &claim, &mut errors);
            let fields: Vec<_> = errors.iter().map(|error| error.field.replace(path, "")).collect();
            assert_eq!(fields, want, "{claim}");
        }
    }

    #[test]
    fn what_was_allocated_was_asked_for() {
        let spec = json!({
            "containers": [{"name": "c", "resources": {
                "requests": {"a/b": "1"}, "claims": [{"name": "x"}, {"name": "y", "request": "r"}],
            }}],
            "ephemeralContainers": [{"name": "e"}],
        });
        let (name, claim) = (
            "must match one of the container's resource requests",
            "must match one of the container's resource claims in a format 'claim:<claimName>/<request>' or 'claim:<claimName>' if request is empty",
        );
        let healthy = json!([{"resourceID": "1", "health": "Healthy"}]);
        for (list, container, allocated, want) in [
            ("containerStatuses", "c", json!([{"name": "a/b", "resources": healthy}]), vec![]),
            ("containerStatuses", "c", json!([{"name": "claim:x"}, {"name": "claim:y/r"}]), vec![]),
            ("containerStatuses", "z", json!([{"name": "other"}]), vec![]),
            ("containerStatuses", "c", json!([{"name": "cpu"}]), vec![format!("containerStatuses[0].allocatedResourcesStatus[0].name: Invalid value: \"cpu\": {name}")]),
            ("containerStatuses", "c", json!([{"name": "claim:y"}]), vec![format!("containerStatuses[0].allocatedResourcesStatus[0].name: Invalid value: \"claim:y\": {claim}")]),
            (
                "initContainerStatuses",
                "c",
                json!([{"name": "a/b", "resources": [{"resourceID": "1", "health": "Healthy"}, {"resourceID": "1", "message": ""}]}]),
                vec![
                    "initContainerStatuses[0].allocatedResourcesStatus[0].resources[1].health: Unsupported value: \"\": supported values: \"Healthy\", \"Unhealthy\", \"Unknown\"".to_owned(),
                    "initContainerStatuses[0].allocatedResourcesStatus[0].resources[1].message: Required value: must be non-empty if specified".to_owned(),
                    "initContainerStatuses[0].allocatedResourcesStatus[0].resources[1].resourceID: Duplicate value: \"1\"".to_owned(),
                ],
            ),
            (
                "ephemeralContainerStatuses",
                "e",
                json!([{"name": "a/b"}]),
                vec!["ephemeralContainerStatuses[0].allocatedResourcesStatus: Forbidden: must not be specified in container status".to_owned()],
            ),
        ] {
            let status = json!({list: [{"name": container, "allocatedResourcesStatus": allocated}]});
            let of = LISTS.into_iter().find(|(known, _)| *known == list).expect("a list").1;
            let mut errors = Vec::new();
            check_allocated(list, of, (&spec, &status), &mut errors);
            let told: Vec<String> = errors.iter().map(|error| error.to_string().replace("status.", "")).collect();
            assert_eq!(told, want, "{list}");
        }
    }

    #[test]
    fn the_one_address_is_the_first_of_all() {
        for (sent, want) in [
            (json!({"podIP": "10.0.0.1"}), json!({"podIP": "10.0.0.1", "podIPs": [{"ip": "10.0.0.1"}]})),
            (
                json!({"podIP": "10.0.0.1", "podIPs": [{"ip": "10.0.0.2"}, {"ip": "fd00::1"}]}),
                json!({"podIP": "10.0.0.1", "podIPs": [{"ip": "10.0.0.1"}]}),
            ),
            (
                json!({"podIPs": [{"ip": "10.0.0.2"}, {"ip": "fd00::1"}]}),
                json!({"podIP": "10.0.0.2", "podIPs": [{"ip": "10.0.0.2"}, {"ip": "fd00::1"}]}),
            ),
            (json!({}), json!({})),
        ] {
            let mut pod = json!({"status": sent});
            prepare(&mut pod, &json!({}));
            assert_eq!(pod["status"], want);
        }
    }
}
