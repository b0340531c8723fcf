//! What upstream warns of in a Pod or a template of Pods, though it takes it (`pkg/api/pod/warnings.go`).

use std::collections::HashMap;

use apiserver_json::Value;
use apiserver_meta::quantity;

use super::pod::apparmor;
use super::pod_volume_warnings;
use super::service_warnings::of_ip;
use super::shared::{at, below, items, text};
use super::volumes::claim_warnings;

/// Node labels that have newer names.
const DEPRECATED_LABELS: [(&str, &str); 8] = [
    ("beta.kubernetes.io/arch", "deprecated since v1.14; use \"kubernetes.io/arch\" instead"),
    ("beta.kubernetes.io/os", "deprecated since v1.14; use \"kubernetes.io/os\" instead"),
    (
        "failure-domain.beta.kubernetes.io/region",
        "deprecated since v1.17; use \"topology.kubernetes.io/region\" instead",
    ),
    (
        "failure-domain.beta.kubernetes.io/zone",
        "deprecated since v1.17; use \"topology.kubernetes.io/zone\" instead",
    ),
    (
        "beta.kubernetes.io/instance-type",
        "deprecated since v1.17; use \"node.kubernetes.io/instance-type\" instead",
    ),
    ("app.kubernetes.io/created-by", "deprecated since v1.9"),
    (
        "scheduler.alpha.kubernetes.io/preferAvoidPods",
        "deprecated since v1.22; use Taints and Tolerations instead",
    ),
    ("node-role.kubernetes.io/master", "use \"node-role.kubernetes.io/control-plane\" instead"),
];

/// Annotations that do nothing any more.
const DEPRECATED_ANNOTATIONS: [(&str, &str); 3] = [
    (
        "scheduler.alpha.kubernetes.io/critical-pod",
        "non-functional in v1.16+; use the \"priorityClassName\" field instead",
    ),
    ("security.alpha.kubernetes.io/sysctls", "non-functional in v1.11+; use the \"sysctls\" field instead"),
    (
        "security.alpha.kubernetes.io/unsafe-sysctls",
        "non-functional in v1.11+; use the \"sysctls\" field instead",
    ),
];

/// Volume plugins that are gone or going.
const DEPRECATED_VOLUMES: [(&str, &str); 9] = [
    ("photonPersistentDisk", "deprecated in v1.11, non-functional in v1.16+"),
    ("gitRepo", "deprecated in v1.11, and disabled by default in v1.33+"),
    ("scaleIO", "deprecated in v1.16, non-functional in v1.22+"),
    ("flocker", "deprecated in v1.22, non-functional in v1.25+"),
    ("storageos", "deprecated in v1.22, non-functional in v1.25+"),
    ("quobyte", "deprecated in v1.22, non-functional in v1.25+"),
    ("glusterfs", "deprecated in v1.25, non-functional in v1.26+"),
    ("cephfs", "deprecated in v1.28, non-functional in v1.31+"),
    ("rbd", "deprecated in v1.28, non-functional in v1.31+"),
];

/// More lines than this are not made of ports: of so many no client sees more.
const LINES_MAX: usize = 100;

const SECCOMP_POD: &str = "seccomp.security.alpha.kubernetes.io/pod";
const SECCOMP_CONTAINER: &str = "container.seccomp.security.alpha.kubernetes.io/";

/// Warnings of an object with `metadata` and `spec` of a Pod; `path` is where it stands: empty, or `spec.template`.
pub(super) fn warnings(pod: &Value, path: &str) -> Vec<String> {
    let member = |name: &str| if path.is_empty() { name.to_owned() } else { below(path, name) };
    let mut out = Out { metadata: member("metadata"), spec: member("spec"), lines: Vec::new() };
    let (spec, annotations) = (at(pod, &["spec"]), at(pod, &["metadata", "annotations"]));
    out.labels(spec);
    for (key, message) in DEPRECATED_ANNOTATIONS {
        if annotations.get(key).is_some() {
            out.lines.push(format!("{}.annotations[{key}]: {message}", out.metadata));
        }
    }
    out.volumes(spec);
    out.duplicates(spec, "hostAliases", "ip");
    out.duplicates(spec, "imagePullSecrets", "name");
    for (i, secret) in items(spec, "imagePullSecrets").iter().enumerate() {
        if text(secret, "name").is_empty() {
            out.lines.push(format!("{}.imagePullSecrets[{i}].name: invalid empty name \"\"", out.spec));
        }
    }
    for resource in ["memory", "ephemeral-storage"] {
        out.fractional(at(spec, &["overhead"]), |out| format!("{}.overhead", out.spec), resource);
    }
    let seccomp = |holder: &Value| !at(holder, &["securityContext", "seccompProfile"]).is_null();
    const SECCOMP: &str = "non-functional in v1.27+; use the \"seccompProfile\" field instead";
    if !seccomp(spec) && annotations.get(SECCOMP_POD).is_some() {
        out.lines.push(format!("{}.annotations[{SECCOMP_POD}]: {SECCOMP}", out.metadata));
    }
    for (container, list, i) in containers(spec) {
        let place = |out: &Out| format!("{}.{list}[{i}]", out.spec);
        if !annotations.is_null() && !seccomp(container) {
            let key = format!("{SECCOMP_CONTAINER}{}", text(container, "name"));
            if annotations.get(&key).is_some() {
                out.lines.push(format!("{}.annotations[{key}]: {SECCOMP}", out.metadata));
            }
        }
        // Those of a Pod itself become fields.
        if !path.is_empty() && at(container, &["securityContext", "appArmorProfile"]).is_null() {
            let key = format!("{}{}", apparmor::ANNOTATION, text(container, "name"));
            let of_pod = at(spec, &["securityContext", "appArmorProfile"]);
            let annotated = annotations.get(&key).and_then(Value::as_str);
            if annotated.is_some_and(|annotated| of_pod.is_null() || apparmor::profile(annotated) != *of_pod)
            {
                out.lines.push(format!(
                    "{}.annotations[{key}]: deprecated since v1.30; use the \"appArmorProfile\" field instead",
                    out.metadata
                ));
            }
        }
        for resource in ["memory", "ephemeral-storage"] {
            for list in ["limits", "requests"] {
                out.fractional(
                    at(container, &["resources", list]),
                    |out| format!("{}.resources.{list}", place(out)),
                    resource,
                );
            }
        }
        out.environment(container, place);
    }
    out.ports(spec);
    if at(spec, &["terminationGracePeriodSeconds"]).as_i64().is_some_and(|seconds| seconds < 0) {
        out.lines.push(format!(
            "{}.terminationGracePeriodSeconds: must be >= 0; negative values are invalid and will be treated as 1",
            out.spec
        ));
    }
    out.affinity(spec);
    for (i, server) in items(at(spec, &["dnsConfig"]), "nameservers").iter().enumerate() {
        let place = format!("{}.dnsConfig.nameservers[{i}]", out.spec);
        out.lines.extend(of_ip(&place, server.as_str().unwrap_or("")));
    }
    for (i, alias) in items(spec, "hostAliases").iter().enumerate() {
        out.lines.extend(of_ip(&format!("{}.hostAliases[{i}].ip", out.spec), text(alias, "ip")));
    }
    out.lines
}

/// All containers with their lists and places in these, in the order upstream visits them.
fn containers(spec: &Value) -> impl Iterator<Item = (&Value, &'static str, usize)> {
    ["initContainers", "containers", "ephemeralContainers"].into_iter().flat_map(move |list| {
        items(spec, list).iter().enumerate().map(move |(i, container)| (container, list, i))
    })
}

struct Out {
    metadata: String,
    spec: String,
    lines: Vec<String>,
}

impl Out {
    fn labels(&mut self, spec: &Value) {
        let deprecated =
            |key: &str| DEPRECATED_LABELS.iter().find(|(label, _)| *label == key).map(|(_, why)| *why);
        for key in at(spec, &["nodeSelector"]).as_object().into_iter().flat_map(|map| map.keys()) {
            if let Some(why) = deprecated(key) {
                self.lines.push(format!("{}.nodeSelector[{key}]: {why}", self.spec));
            }
        }
        let node = at(spec, &["affinity", "nodeAffinity"]);
        let base = if node.is_null() { String::new() } else { below(&self.spec, "affinity.nodeAffinity") };
        let required = at(node, &["requiredDuringSchedulingIgnoredDuringExecution"]);
        let mut terms = Vec::new();
        for (i, term) in items(required, "nodeSelectorTerms").iter().enumerate() {
            let place =
                format!("{base}.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[{i}]");
            terms.push((term, place, false));
        }
        for (i, term) in items(node, "preferredDuringSchedulingIgnoredDuringExecution").iter().enumerate() {
            let place = format!("{base}.preferredDuringSchedulingIgnoredDuringExecution[{i}].preference");
            terms.push((at(term, &["preference"]), place, true));
        }
        for (term, place, preferred) in terms {
            for (i, expression) in items(term, "matchExpressions").iter().enumerate() {
                let key = text(expression, "key");
                if let Some(why) = deprecated(key) {
                    self.lines.push(format!("{place}.matchExpressions[{i}].key: {key} is {why}"));
                }
                // Of those that are required this is an error.
                for (j, value) in items(expression, "values").iter().enumerate().filter(|_| preferred) {
                    let value = value.as_str().unwrap_or("");
                    let told =
                        |why| format!("{place}.matchExpressions[{i}].values[{j}]: {value} is invalid, {why}");
                    self.lines.extend(apiserver_meta::names::label_value(value).into_iter().map(told));
                }
            }
        }
        for (i, constraint) in items(spec, "topologySpreadConstraints").iter().enumerate() {
            let place = format!("{}.topologySpreadConstraints[{i}]", self.spec);
            let key = text(constraint, "topologyKey");
            if let Some(why) = deprecated(key) {
                self.lines.push(format!("{place}.topologyKey: {key} is {why}"));
            }
            self.null_selector(constraint, &place);
        }
    }

    fn null_selector(&mut self, holder: &Value, place: &str) {
        if at(holder, &["labelSelector"]).is_null() {
            self.lines
                .push(format!("{place}.labelSelector: a null labelSelector results in matching no pod"));
        }
    }

    fn volumes(&mut self, spec: &Value) {
        for (i, volume) in items(spec, "volumes").iter().enumerate() {
            for (plugin, why) in DEPRECATED_VOLUMES {
                if volume.get(plugin).is_some() {
                    // The path is that of the internal field.
                    let shown = if plugin == "storageos" { "storageOS" } else { plugin };
                    self.lines.push(format!("{}.volumes[{i}].{shown}: {why}", self.spec));
                }
            }
            let claim = at(volume, &["ephemeral", "volumeClaimTemplate", "spec"]);
            if !claim.is_null() {
                let place = format!("{}.volumes[{i}].ephemeral.volumeClaimTemplate.spec", self.spec);
                self.lines.extend(claim_warnings(claim, &place));
            }
        }
        self.lines.extend(pod_volume_warnings::overlaps(spec));
    }

    fn duplicates(&mut self, spec: &Value, list: &str, member: &str) {
        let mut seen: Vec<&str> = Vec::new();
        for (i, item) in items(spec, list).iter().enumerate() {
            let value = text(item, member);
            if seen.contains(&value) {
                self.lines.push(format!("{}.{list}[{i}].{member}: duplicate {member} {value:?}", self.spec));
            } else {
                seen.push(value);
            }
        }
    }

    fn fractional(&mut self, list: &Value, place: impl FnOnce(&Self) -> String, resource: &str) {
        let Some(value) = list.get(resource) else { return };
        if quantity::is_fractional(value) {
            let shown = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            let place = place(self);
            self.lines.push(format!(
                "{place}[{resource}]: fractional byte value {shown:?} is invalid, must be an integer"
            ));
        }
    }

    fn environment(&mut self, container: &Value, place: impl Fn(&Self) -> String) {
        let mut seen: Vec<&str> = Vec::new();
        for (i, variable) in items(container, "env").iter().enumerate() {
            let name = text(variable, "name");
            if !seen.contains(&name) {
                seen.push(name);
                continue;
            }
            let reference = format!("$({name})");
            let value = text(variable, "value");
            if variable.get("valueFrom").is_some() || value == reference || !value.contains(&reference) {
                let place = place(self);
                self.lines.push(format!(
                    "{place}.env[{i}]: hides previous definition of {name:?}, which may be dropped when using apply"
                ));
            }
        }
    }

    fn ports(&mut self, spec: &Value) {
        // The list of containers, the one in it, the port of that.
        type Place = (&'static str, usize, usize);
        // Place, host address and host port of each port, by container port and protocol.
        type Known<'a> = HashMap<(i64, &'a str), Vec<(Place, &'a str, i64)>>;
        let mut known = Known::new();
        let mut named: HashMap<&str, Place> = HashMap::new();
        let base = &self.spec;
        let path = |(list, at, i): &Place| format!("{base}.{list}[{at}].ports[{i}]");
        let mut of_names = Vec::new();
        for (container, list, at) in containers(spec) {
            for (i, port) in items(container, "ports").iter().enumerate() {
                let place: Place = (list, at, i);
                let number = |member: &str| port.get(member).and_then(Value::as_i64).unwrap_or(0);
                let (host_ip, host_port) = (text(port, "hostIP"), number("hostPort"));
                if !host_ip.is_empty() && host_port == 0 {
                    self.lines.push(format!(
                        "{}: hostIP set without hostPort: {{Name:{} HostPort:0 ContainerPort:{} Protocol:{} HostIP:{host_ip}}}",
                        path(&place),
                        text(port, "name"),
                        number("containerPort"),
                        text(port, "protocol"),
                    ));
                }
                let others = known.entry((number("containerPort"), text(port, "protocol"))).or_default();
                for (other, other_ip, other_port) in others.iter() {
                    let how = if host_ip == *other_ip && host_port == *other_port {
                        "duplicate"
                    } else if host_port == 0 || *other_port == 0 {
                        "overlapping"
                    } else if host_port == *other_port && host_ip.is_empty() != other_ip.is_empty() {
                        "dangerously ambiguous"
                    } else {
                        continue;
                    };
                    if self.lines.len() < LINES_MAX {
                        self.lines.push(format!(
                            "{}: {how} port definition with {}",
                            path(&place),
                            path(other)
                        ));
                    }
                }
                others.push((place, host_ip, host_port));
                let name = text(port, "name");
                if name.is_empty() {
                    continue;
                }
                match named.get(name) {
                    Some(other) => {
                        let (place, other) = (path(&place), path(other));
                        of_names.push(format!(
                            "{place}: duplicate port name {name:?} with {other}, services and probes that select ports by name will use {other}"
                        ));
                    }
                    None => drop(named.insert(name, place)),
                }
            }
        }
        self.lines.extend(of_names);
    }

    fn affinity(&mut self, spec: &Value) {
        for kind in ["podAffinity", "podAntiAffinity"] {
            let terms = at(spec, &["affinity", kind]);
            if terms.is_null() {
                continue;
            }
            let base = format!("{}.affinity.{kind}", self.spec);
            for (i, term) in items(terms, "requiredDuringSchedulingIgnoredDuringExecution").iter().enumerate()
            {
                self.null_selector(
                    term,
                    &format!("{base}.requiredDuringSchedulingIgnoredDuringExecution[{i}]"),
                );
            }
            for (i, term) in
                items(terms, "preferredDuringSchedulingIgnoredDuringExecution").iter().enumerate()
            {
                let place =
                    format!("{base}.preferredDuringSchedulingIgnoredDuringExecution[{i}].podAffinityTerm");
                self.null_selector(at(term, &["podAffinityTerm"]), &place);
            }
        }
    }
}

/// Warns of a name that is no hostname, where one is made of it: `what`.
pub(super) fn of_name(object: &Value, what: &str) -> Vec<String> {
    let problems = apiserver_meta::names::dns1123_label(crate::object::name(object));
    if problems.is_empty() {
        return Vec::new();
    }
    vec![format!(
        "metadata.name: this is used in {what}, which can result in surprising behavior; a DNS label is recommended: [{}]",
        problems.join(" ")
    )]
}

/// Warnings of what makes Pods of a template and names them after itself.
pub(super) fn of_namesake(object: &Value, template: &Value, path: &str) -> Vec<String> {
    let mut all = of_name(object, "Pod names and hostnames");
    all.extend(warnings(template, path));
    all
}

#[cfg(test)]
#[path = "pod_warnings_tests.rs"]
mod tests;
