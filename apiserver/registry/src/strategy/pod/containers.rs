//! Containers of all three kinds: `validateContainers`, `validateInitContainers`, `validateEphemeralContainers`.

use std::collections::HashSet;
use std::fmt::Display;

use apiserver_json::Value;
use apiserver_meta::field::{FieldError, Problem};
use apiserver_meta::names;

use super::super::resources;
use super::super::shared::{
    PORT_RANGE, at, below, check_enum, check_required, check_set_enum, has, is_empty, items, number, require,
    text,
};
use super::{Spec, env, mounts, probes, security};

pub(super) const PULL_POLICIES: &[&str] = &["Always", "IfNotPresent", "Never"];
/// Exit codes a restart rule may name, and rules a container may have.
const EXIT_CODES_MAX: usize = 255;
const RESTART_RULES_MAX: usize = 20;

/// Errors of all containers.
pub(super) fn check(pod: &Spec, errors: &mut Vec<FieldError>) {
    check_regular(pod, errors);
    check_init(pod, errors);
    check_ephemeral(pod, errors);
}

fn check_regular(pod: &Spec, errors: &mut Vec<FieldError>) {
    let list = below(&pod.path, "containers");
    let containers = items(pod.spec, "containers");
    if containers.is_empty() {
        errors.push(FieldError::required(list, ""));
        return;
    }
    let mut seen: Vec<&str> = Vec::new();
    for (i, container) in containers.iter().enumerate() {
        let path = format!("{list}[{i}]");
        check_common(container, &path, pod, errors);
        let name = text(container, "name");
        if seen.contains(&name) {
            errors.push(FieldError::duplicate(format!("{path}.name"), &name.into()));
        }
        seen.push(name);
        probes::check(container, &path, pod, errors);
        check_restart_rules(container, &path, errors);
    }
    check_host_ports(containers.iter().enumerate(), &list, errors);
}

fn check_init(pod: &Spec, errors: &mut Vec<FieldError>) {
    let list = below(&pod.path, "initContainers");
    let mut seen: Vec<&str> =
        items(pod.spec, "containers").iter().map(|container| text(container, "name")).collect();
    for (i, container) in items(pod.spec, "initContainers").iter().enumerate() {
        let path = format!("{list}[{i}]");
        check_common(container, &path, pod, errors);
        check_restart_rules(container, &path, errors);
        let name = text(container, "name");
        if seen.contains(&name) {
            errors.push(FieldError::duplicate(format!("{path}.name"), &name.into()));
        } else if !name.is_empty() {
            seen.push(name);
        }
        // Each runs alone, so that ports clash within one only; upstream counts them from 0 here.
        check_host_ports([(0, container)].into_iter(), &list, errors);
        let is_sidecar = text(container, "restartPolicy") == "Always";
        if is_sidecar {
            probes::check(container, &path, pod, errors);
            continue;
        }
        probes::forbid(container, &path, errors);
        for (j, policy) in items(container, "resizePolicy").iter().enumerate() {
            if text(policy, "restartPolicy") == "RestartContainer" {
                let why = "must not be set to 'RestartContainer' for non-sidecar initContainers";
                let path = format!("{path}.resizePolicy[{j}].restartPolicy");
                errors.push(FieldError::invalid(path, &"RestartContainer".into(), why));
            }
        }
    }
}

/// Members of a container that one added to a running Pod may not have, in upstream's order.
const NOT_EPHEMERAL: &[&str] = &[
    "ports",
    "resources",
    "resizePolicy",
    "restartPolicy",
    "restartPolicyRules",
    "livenessProbe",
    "readinessProbe",
    "startupProbe",
    "lifecycle",
];

fn check_ephemeral(pod: &Spec, errors: &mut Vec<FieldError>) {
    let others: Vec<&str> = ["containers", "initContainers"]
        .iter()
        .flat_map(|list| items(pod.spec, list))
        .map(|container| text(container, "name"))
        .collect();
    let mut seen = others.clone();
    for (i, container) in items(pod.spec, "ephemeralContainers").iter().enumerate() {
        let path = format!("{}.ephemeralContainers[{i}]", pod.path);
        check_common(container, &path, pod, errors);
        check_image_space(container, &path, errors);
        let name = text(container, "name");
        if seen.contains(&name) {
            errors.push(FieldError::duplicate(format!("{path}.name"), &name.into()));
        }
        seen.push(name);
        let target = text(container, "targetContainerName");
        if !target.is_empty() && !others.contains(&target) {
            errors.push(FieldError::not_found(format!("{path}.targetContainerName"), &target.into()));
        }
        let why = "cannot be set for an Ephemeral Container";
        for member in NOT_EPHEMERAL {
            if container.get(*member).is_some_and(|value| !super::super::shared::is_empty(value)) {
                errors.push(FieldError::forbidden(format!("{path}.{member}"), why));
            }
        }
        for (j, mount) in items(container, "volumeMounts").iter().enumerate() {
            for member in ["subPath", "subPathExpr"] {
                if !text(mount, member).is_empty() {
                    errors.push(FieldError::forbidden(format!("{path}.volumeMounts[{j}].{member}"), why));
                }
            }
        }
    }
}

/// What every container must be: `validateContainerCommon`.
fn check_common(container: &Value, path: &str, pod: &Spec, errors: &mut Vec<FieldError>) {
    check_required(container, "name", names::dns1123_label, path, errors);
    require(container, "image", path, errors);
    let policies = ["File", "FallbackToLogsOnError"];
    check_enum(container, "terminationMessagePolicy", path, &policies, errors);
    check_ports(container, path, errors);
    env::check(container, path, errors);
    mounts::check_mounts(container, path, pod, errors);
    mounts::check_devices(container, path, pod, errors);
    check_enum(container, "imagePullPolicy", path, PULL_POLICIES, errors);
    let resources = at(container, &["resources"]);
    if !is_empty(resources) {
        let path = below(path, "resources");
        resources::validate(resources, &path, errors);
        check_claims(resources, &path, pod, errors);
    }
    if !items(container, "resizePolicy").is_empty() {
        check_resize_policy(container, &below(path, "resizePolicy"), pod, errors);
    }
    security::check_container(at(container, &["securityContext"]), path, pod, errors);
}

/// Images of Pods stand alone; templates may surround them with space. `validateContainersOnlyForPod`.
pub(super) fn check_images(pod: &Spec, errors: &mut Vec<FieldError>) {
    for list in ["containers", "initContainers"] {
        for (i, container) in items(pod.spec, list).iter().enumerate() {
            check_image_space(container, format_args!("{}.{list}[{i}]", pod.path), errors);
        }
    }
}

pub(super) fn check_image_space(container: &Value, path: impl Display, errors: &mut Vec<FieldError>) {
    let image = text(container, "image");
    if image.trim() != image {
        let why = "must not have leading or trailing whitespace";
        errors.push(FieldError::invalid(format!("{path}.image"), &image.into(), why));
    }
}

fn check_ports(container: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let mut seen: Vec<&str> = Vec::new();
    for (i, port) in items(container, "ports").iter().enumerate() {
        let path = format_args!("{path}.ports[{i}]");
        let name = text(port, "name");
        if !name.is_empty() {
            let problems = names::port_name(name);
            if problems.is_empty() && seen.contains(&name) {
                errors.push(FieldError::duplicate(format!("{path}.name"), &name.into()));
            }
            for why in problems {
                errors.push(FieldError::invalid(format!("{path}.name"), &name.into(), why));
            }
            seen.push(name);
        }
        for member in ["containerPort", "hostPort"] {
            let number = number(port, member).unwrap_or(0);
            if number == 0 && member == "containerPort" {
                errors.push(FieldError::required(format!("{path}.{member}"), ""));
            } else if number != 0 && !(1..=65535).contains(&number) {
                errors.push(FieldError::invalid(format!("{path}.{member}"), &number.into(), PORT_RANGE));
            }
        }
        check_enum(port, "protocol", path, &["SCTP", "TCP", "UDP"], errors);
    }
}

/// No two containers listen on one port of the host.
fn check_host_ports<'a>(
    containers: impl Iterator<Item = (usize, &'a Value)>,
    path: &str,
    errors: &mut Vec<FieldError>,
) {
    let mut taken = HashSet::new();
    for (i, container) in containers {
        for (j, port) in items(container, "ports").iter().enumerate() {
            let Some(number) = number(port, "hostPort").filter(|number| *number != 0) else { continue };
            if !taken.insert((text(port, "protocol"), text(port, "hostIP"), number)) {
                let shown = format!("{}/{}/{number}", text(port, "protocol"), text(port, "hostIP"));
                let path = format!("{path}[{i}].ports[{j}].hostPort");
                errors.push(FieldError::duplicate(path, &shown.into()));
            }
        }
    }
}

/// Claims of a container are claims of its Pod: `validateResourceClaimNames`.
pub(super) fn check_claims(resources: &Value, path: &str, pod: &Spec, errors: &mut Vec<FieldError>) {
    let mut seen: Vec<(&str, &str)> = Vec::new();
    for (i, claim) in items(resources, "claims").iter().enumerate() {
        let path = format!("{path}.claims[{i}]");
        let (name, request) = (text(claim, "name"), text(claim, "request"));
        if name.is_empty() {
            errors.push(FieldError::required(path, ""));
            continue;
        }
        if seen.contains(&(name, "")) {
            errors.push(FieldError::duplicate(&path, &name.into()));
        } else {
            super::super::shared::check_optional(claim, "request", names::dns1123_label, &path, errors);
            if seen.contains(&(name, request)) {
                let shown = format!("{name}/{request}");
                errors.push(FieldError::duplicate(&path, &shown.into()));
            } else if request.is_empty() {
                for _ in seen.iter().filter(|(known, _)| *known == name) {
                    errors.push(FieldError::duplicate(&path, &name.into()));
                }
            }
            seen.push((name, request));
        }
        let known = &pod.claims;
        if !known.contains(&name) {
            let which = if known.is_empty() {
                " which is empty".to_owned()
            } else {
                format!(": {}", known.join(", "))
            };
            errors.push(FieldError {
                detail: format!("must be one of the names in pod.spec.resourceClaims{which}"),
                ..FieldError::not_found(path, &name.into())
            });
        }
    }
}

fn check_resize_policy(container: &Value, path: &str, pod: &Spec, errors: &mut Vec<FieldError>) {
    let mut seen: Vec<&str> = Vec::new();
    for (i, policy) in items(container, "resizePolicy").iter().enumerate() {
        let (resource, restart) = (text(policy, "resourceName"), text(policy, "restartPolicy"));
        if seen.contains(&resource) {
            errors.push(FieldError::duplicate(format!("{path}[{i}]"), &resource.into()));
        }
        seen.push(resource);
        for (value, known) in
            [(resource, &["cpu", "memory"]), (restart, &["NotRequired", "RestartContainer"])]
        {
            if value.is_empty() {
                errors.push(FieldError::required(path, ""));
            } else if !known.contains(&value) {
                errors.push(FieldError::not_supported(path, &value.into(), known));
            }
        }
        if text(pod.spec, "restartPolicy") == "Never" && restart != "NotRequired" {
            let why = "must be 'NotRequired' when pod `restartPolicy` is 'Never'";
            errors.push(FieldError::invalid(path, &restart.into(), why));
        }
    }
}

/// When a container is started again: `validateContainerRestartPolicy`.
fn check_restart_rules(container: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let rules = items(container, "restartPolicyRules");
    if !has(container, "restartPolicy") {
        if !rules.is_empty() {
            let why = "must specify restartPolicy when restart rules are used";
            errors.push(FieldError::required(format!("{path}.restartPolicy"), why));
        }
        if path.contains(".initContainers[") || rules.is_empty() {
            return;
        }
    }
    check_set_enum(container, "restartPolicy", path, &["Always", "Never", "OnFailure"], errors);
    let list = format_args!("{path}.restartPolicyRules");
    if rules.len() > RESTART_RULES_MAX {
        errors.push(FieldError::too_many(list.to_string(), rules.len(), RESTART_RULES_MAX));
    }
    for (i, rule) in rules.iter().enumerate() {
        let path = format!("{list}[{i}]");
        let actions = ["Restart", "RestartAllContainers"];
        if !actions.contains(&text(rule, "action")) {
            let action = text(rule, "action").into();
            errors.push(FieldError::not_supported(format!("{path}.action"), &action, &actions));
        }
        let Some(codes) = rule.get("exitCodes") else {
            errors.push(FieldError::required(format!("{path}.exitCodes"), "must be specified"));
            continue;
        };
        let operator = text(codes, "operator");
        if !["In", "NotIn"].contains(&operator) {
            let path = below(&path, "exitCodes.operator");
            errors.push(FieldError::not_supported(path, &operator.into(), &["In", "NotIn"]));
        }
        let count = items(codes, "values").len();
        if count > EXIT_CODES_MAX {
            errors.push(FieldError::too_many(format!("{path}.exitCodes.values"), count, EXIT_CODES_MAX));
        }
    }
}

/// Members of a Pod's claim, as upstream prints it.
const CLAIM: &[(&str, &str)] = &[
    ("Name", "name"),
    ("ResourceClaimName", "resourceClaimName"),
    ("ResourceClaimTemplateName", "resourceClaimTemplateName"),
];

/// Errors of the Pod's claims: `validatePodResourceClaims`.
pub(super) fn check_pod_claims(pod: &Spec, errors: &mut Vec<FieldError>) {
    let mut seen: Vec<&str> = Vec::new();
    for (i, claim) in items(pod.spec, "resourceClaims").iter().enumerate() {
        let path = format!("{}.resourceClaims[{i}]", pod.path);
        let name = text(claim, "name");
        if seen.contains(&name) {
            errors.push(FieldError::duplicate(format!("{path}.name"), &name.into()));
        } else {
            check_required(claim, "name", names::dns1123_label, &path, errors);
            seen.extend((!name.is_empty()).then_some(name));
        }
        let why = match (has(claim, "resourceClaimName"), has(claim, "resourceClaimTemplateName")) {
            (true, true) => {
                "at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified"
            }
            (false, false) => "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`",
            _ => "",
        };
        if !why.is_empty() {
            errors.push(FieldError {
                problem: Problem::Invalid,
                field: path.clone(),
                value: super::super::shared::go_struct(claim, CLAIM),
                detail: why.to_owned(),
            });
        }
        for member in ["resourceClaimName", "resourceClaimTemplateName"] {
            if let Some(name) = claim.get(member).and_then(Value::as_str) {
                let path = format!("{path}.{member}");
                super::super::shared::check_rule(name, names::dns1123_subdomain, &path, errors);
            }
        }
    }
}
