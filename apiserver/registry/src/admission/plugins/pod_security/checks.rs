//! The checks of the Pod Security Standards: `k8s.io/pod-security-admission/policy` upstream.
//!
//! A check is a row of [`CHECKS`]. What it finds is a reason and where it found it, worded as upstream does.

use std::collections::BTreeSet;

use apiserver_json::Value;

use super::Level;
use crate::strategy::shared::{at, items, number, text};

/// The newest minor version in which a check changed; `latest` is this one.
pub(super) const NEWEST: u32 = 35;

/// A Pod, or the template of some.
pub(super) struct Pod<'a> {
    pub metadata: &'a Value,
    pub spec: &'a Value,
}

/// Why a Pod is refused, and the details.
type Finding = Option<(String, String)>;

struct Check {
    level: Level,
    /// The minor version that has it first.
    since: u32,
    /// The minor version since which the restricted level has a stricter one in its place.
    replaced: Option<u32>,
    find: fn(&Pod<'_>, u32) -> Finding,
}

const fn baseline(find: fn(&Pod<'_>, u32) -> Finding) -> Check {
    Check { level: Level::Baseline, since: 0, replaced: None, find }
}

const fn restricted(since: u32, find: fn(&Pod<'_>, u32) -> Finding) -> Check {
    Check { level: Level::Restricted, since, replaced: None, find }
}

/// In the order their findings are told.
const CHECKS: &[Check] = &[
    baseline(app_armor),
    Check { replaced: Some(22), ..baseline(capabilities) },
    baseline(host_namespaces),
    Check { replaced: Some(0), ..baseline(host_path) },
    baseline(host_ports),
    Check { since: 34, ..baseline(probe_hosts) },
    baseline(privileged),
    Check { replaced: Some(35), ..baseline(proc_mount) },
    baseline(se_linux),
    Check { replaced: Some(19), ..baseline(seccomp) },
    baseline(sysctls),
    baseline(host_process),
    restricted(8, privilege_escalation),
    restricted(22, capabilities_restricted),
    restricted(35, |pod, _| any_proc_mount(pod)),
    restricted(0, volumes),
    restricted(0, non_root),
    restricted(23, root_user),
    restricted(19, seccomp_restricted),
];

/// What a level of a version finds wrong with a Pod: reasons with their details, then the reasons alone.
pub(super) fn find(level: Level, minor: u32, pod: &Pod<'_>) -> Option<(String, String)> {
    let due = |check: &&Check| match (level, check.level) {
        (Level::Privileged, _) | (Level::Baseline, Level::Restricted) => false,
        (Level::Restricted, Level::Baseline) => check.replaced.is_none_or(|version| minor < version),
        _ => true,
    };
    let checks = CHECKS.iter().filter(due).filter(|check| check.since <= minor);
    let findings: Vec<(String, String)> = checks.filter_map(|check| (check.find)(pod, minor)).collect();
    if findings.is_empty() {
        return None;
    }
    let one = |(reason, detail): &(String, String)| match detail.as_str() {
        "" => reason.clone(),
        detail => format!("{reason} ({detail})"),
    };
    let details: Vec<String> = findings.iter().map(one).collect();
    let reasons: Vec<String> = findings.into_iter().map(|(reason, _)| reason).collect();
    Some((details.join(", "), reasons.join(", ")))
}

impl<'a> Pod<'a> {
    fn containers(&self) -> impl Iterator<Item = &'a Value> {
        let spec = self.spec;
        ["initContainers", "containers", "ephemeralContainers"].into_iter().flat_map(|list| items(spec, list))
    }

    /// Names of the containers of which something is true.
    fn where_in(&self, is_bad: impl FnMut(&&'a Value) -> bool) -> Vec<&'a str> {
        self.containers().filter(is_bad).map(|container| text(container, "name")).collect()
    }

    fn is_windows(&self) -> bool {
        text(at(self.spec, &["os"]), "name") == "windows"
    }

    /// In a user namespace of its own a Pod's root is nobody outside.
    fn is_apart(&self, minor: u32) -> bool {
        minor >= 35 && at(self.spec, &["hostUsers"]) == false
    }

    fn context(&self) -> &'a Value {
        at(self.spec, &["securityContext"])
    }
}

fn context<'a>(container: &'a Value, path: &[&str]) -> &'a Value {
    at(at(container, &["securityContext"]), path)
}

fn found(reason: &str, detail: String) -> Finding {
    Some((reason.to_owned(), detail))
}

fn plural<'a>(one: &'a str, many: &'a str, count: usize) -> &'a str {
    if count == 1 { one } else { many }
}

/// Who uses what: `containers "a", "b" use hostPort 80`.
fn uses(who: &str, count: usize, what: &str, which: &str) -> String {
    format!("{who} {} {what} {which}", plural("uses", "use", count))
}

fn quoted<T: AsRef<str>>(names: impl IntoIterator<Item = T>) -> String {
    let names: Vec<String> = names.into_iter().map(|name| format!("\"{}\"", name.as_ref())).collect();
    names.join(", ")
}

/// `containers "a", "b"`.
fn named(containers: &[&str]) -> String {
    format!("{} {}", plural("container", "containers", containers.len()), quoted(containers))
}

/// `pod and container "a"`: who set something; empty where nobody did.
fn setters(by_pod: bool, containers: &[&str]) -> String {
    let by_pod = by_pod.then(|| "pod".to_owned());
    let by_containers = (!containers.is_empty()).then(|| named(containers));
    by_pod.into_iter().chain(by_containers).collect::<Vec<_>>().join(" and ")
}

/// Bad values of a member of the security contexts of a Pod and its containers, and who set them.
fn bad_values(pod: &Pod<'_>, path: &[&str], is_good: fn(&str) -> bool) -> (String, BTreeSet<String>) {
    let mut values = BTreeSet::new();
    let mut is_bad = |holder: &Value| match at(holder, path) {
        value if at(holder, &path[..1]).is_null() || is_good(value.as_str().unwrap_or("")) => false,
        value => {
            values.insert(value.as_str().unwrap_or("").to_owned());
            true
        }
    };
    let by_pod = is_bad(pod.context());
    let containers = pod.where_in(|container| is_bad(at(container, &["securityContext"])));
    (setters(by_pod, &containers), values)
}

fn app_armor(pod: &Pod<'_>, _: u32) -> Finding {
    const PREFIX: &str = "container.apparmor.security.beta.kubernetes.io/";
    let is_good = |kind: &str| matches!(kind, "RuntimeDefault" | "Localhost");
    let (mut setters, values) = bad_values(pod, &["appArmorProfile", "type"], is_good);
    let is_allowed =
        |value: &str| value.is_empty() || value == "runtime/default" || value.starts_with("localhost/");
    let annotations = at(pod.metadata, &["annotations"]).as_object().into_iter().flatten();
    let forbidden: Vec<String> = annotations
        .filter(|(key, value)| key.starts_with(PREFIX) && !is_allowed(value.as_str().unwrap_or("")))
        .map(|(key, value)| format!("{key}={:?}", value.as_str().unwrap_or("")))
        .collect();
    if !forbidden.is_empty() {
        let and = if setters.is_empty() { "" } else { " and " };
        setters.push_str(and);
        setters.push_str(plural("annotation", "annotations", forbidden.len()));
    }
    if setters.is_empty() {
        return None;
    }
    let values: Vec<String> = values.into_iter().chain(forbidden).collect();
    let reason = plural("forbidden AppArmor profile", "forbidden AppArmor profiles", values.len());
    found(reason, format!("{setters} must not set AppArmor profile type to {}", quoted(values)))
}

/// Containers that add a capability that is not allowed, and which these are.
fn added<'a>(pod: &Pod<'a>, allowed: &[&str]) -> (Vec<&'a str>, BTreeSet<&'a str>) {
    let mut forbidden = BTreeSet::new();
    let containers = pod.where_in(|container| {
        let added = items(context(container, &["capabilities"]), "add").iter().filter_map(Value::as_str);
        let bad: Vec<&str> = added.filter(|name| !allowed.contains(name)).collect();
        forbidden.extend(bad.iter().copied());
        !bad.is_empty()
    });
    (containers, forbidden)
}

fn told_added(containers: &[&str], forbidden: &BTreeSet<&str>) -> String {
    format!(
        "{} must not include {} in securityContext.capabilities.add",
        named(containers),
        quoted(forbidden)
    )
}

fn capabilities(pod: &Pod<'_>, _: u32) -> Finding {
    const ALLOWED: &[&str] = &[
        "AUDIT_WRITE",
        "CHOWN",
        "DAC_OVERRIDE",
        "FOWNER",
        "FSETID",
        "KILL",
        "MKNOD",
        "NET_BIND_SERVICE",
        "SETFCAP",
        "SETGID",
        "SETPCAP",
        "SETUID",
        "SYS_CHROOT",
    ];
    let (containers, forbidden) = added(pod, ALLOWED);
    if containers.is_empty() {
        return None;
    }
    found("non-default capabilities", told_added(&containers, &forbidden))
}

fn capabilities_restricted(pod: &Pod<'_>, minor: u32) -> Finding {
    if minor >= 25 && pod.is_windows() {
        return None;
    }
    let keeps = pod.where_in(|container| {
        !items(context(container, &["capabilities"]), "drop").iter().any(|name| name == "ALL")
    });
    let (containers, forbidden) = added(pod, &["NET_BIND_SERVICE"]);
    let mut details = Vec::new();
    if !keeps.is_empty() {
        details.push(format!("{} must set securityContext.capabilities.drop=[\"ALL\"]", named(&keeps)));
    }
    if !containers.is_empty() {
        details.push(told_added(&containers, &forbidden));
    }
    if details.is_empty() { None } else { found("unrestricted capabilities", details.join("; ")) }
}

fn host_namespaces(pod: &Pod<'_>, _: u32) -> Finding {
    let members = ["hostNetwork", "hostPID", "hostIPC"];
    let set: Vec<String> = members
        .iter()
        .filter(|member| at(pod.spec, &[member]) == true)
        .map(|member| format!("{member}=true"))
        .collect();
    if set.is_empty() { None } else { found("host namespaces", set.join(", ")) }
}

fn told_volumes(names: &[&str]) -> String {
    format!("{} {}", plural("volume", "volumes", names.len()), quoted(names))
}

fn host_path(pod: &Pod<'_>, _: u32) -> Finding {
    let volumes = items(pod.spec, "volumes").iter();
    let names: Vec<&str> = volumes
        .filter(|volume| !at(volume, &["hostPath"]).is_null())
        .map(|volume| text(volume, "name"))
        .collect();
    if names.is_empty() { None } else { found("hostPath volumes", told_volumes(&names)) }
}

fn host_ports(pod: &Pod<'_>, _: u32) -> Finding {
    let mut ports = BTreeSet::new();
    let containers = pod.where_in(|container| {
        let used = items(container, "ports").iter().filter_map(|port| number(port, "hostPort"));
        let used: Vec<String> = used.filter(|port| *port != 0).map(|port| port.to_string()).collect();
        let is_bad = !used.is_empty();
        ports.extend(used);
        is_bad
    });
    if containers.is_empty() {
        return None;
    }
    let what = plural("hostPort", "hostPorts", ports.len());
    let ports = ports.into_iter().collect::<Vec<_>>().join(", ");
    found("hostPort", uses(&named(&containers), containers.len(), what, &ports))
}

fn probe_hosts(pod: &Pod<'_>, _: u32) -> Finding {
    const HANDLERS: &[&[&str]] = &[
        &["livenessProbe"],
        &["readinessProbe"],
        &["startupProbe"],
        &["lifecycle", "postStart"],
        &["lifecycle", "preStop"],
    ];
    let mut hosts = BTreeSet::new();
    let containers = pod.where_in(|container| {
        let handlers = HANDLERS.iter().map(|path| at(container, path));
        let used: Vec<&str> = handlers
            .flat_map(|handler| ["httpGet", "tcpSocket"].map(|kind| text(at(handler, &[kind]), "host")))
            .filter(|host| !host.is_empty())
            .collect();
        hosts.extend(used.iter().copied());
        !used.is_empty()
    });
    let containers: Vec<&str> = BTreeSet::from_iter(containers).into_iter().collect();
    if containers.is_empty() {
        return None;
    }
    let what = plural("probe or lifecycle host", "probe or lifecycle hosts", hosts.len());
    found("probe or lifecycle host", uses(&named(&containers), containers.len(), what, &quoted(hosts)))
}

fn privileged(pod: &Pod<'_>, _: u32) -> Finding {
    let containers = pod.where_in(|container| context(container, &["privileged"]) == true);
    if containers.is_empty() {
        return None;
    }
    found("privileged", format!("{} must not set securityContext.privileged=true", named(&containers)))
}

fn proc_mount(pod: &Pod<'_>, minor: u32) -> Finding {
    if pod.is_apart(minor) { None } else { any_proc_mount(pod) }
}

fn any_proc_mount(pod: &Pod<'_>) -> Finding {
    let mut kinds = BTreeSet::new();
    let containers = pod.where_in(|container| match context(container, &["procMount"]).as_str() {
        None | Some("Default") => false,
        Some(kind) => {
            kinds.insert(kind);
            true
        }
    });
    if containers.is_empty() {
        return None;
    }
    let detail =
        format!("{} must not set securityContext.procMount to {}", named(&containers), quoted(kinds));
    found("procMount", detail)
}

fn se_linux(pod: &Pod<'_>, minor: u32) -> Finding {
    let (mut types, mut user, mut role) = (BTreeSet::new(), false, false);
    let mut is_bad = |holder: &Value| {
        let options = at(holder, &["seLinuxOptions"]);
        let kind = text(options, "type");
        let is_allowed = matches!(kind, "" | "container_t" | "container_init_t" | "container_kvm_t")
            || (minor >= 31 && kind == "container_engine_t");
        if !is_allowed {
            types.insert(kind.to_owned());
        }
        let (has_user, has_role) = (!text(options, "user").is_empty(), !text(options, "role").is_empty());
        user |= has_user;
        role |= has_role;
        !is_allowed || has_user || has_role
    };
    let by_pod = is_bad(pod.context());
    let containers = pod.where_in(|container| is_bad(at(container, &["securityContext"])));
    let setters = setters(by_pod, &containers);
    if setters.is_empty() {
        return None;
    }
    let mut data = Vec::new();
    if !types.is_empty() {
        data.push(format!("{} {}", plural("type", "types", types.len()), quoted(types)));
    }
    data.extend(user.then(|| "user may not be set".to_owned()));
    data.extend(role.then(|| "role may not be set".to_owned()));
    let detail = format!("{setters} set forbidden securityContext.seLinuxOptions: {}", data.join("; "));
    found("seLinuxOptions", detail)
}

fn is_good_seccomp(kind: &str) -> bool {
    matches!(kind, "Localhost" | "RuntimeDefault")
}

fn seccomp(pod: &Pod<'_>, minor: u32) -> Finding {
    if minor < 19 {
        return seccomp_annotations(pod);
    }
    let (setters, values) = bad_values(pod, &["seccompProfile", "type"], is_good_seccomp);
    if setters.is_empty() {
        return None;
    }
    let values = quoted(values);
    found("seccompProfile", format!("{setters} must not set securityContext.seccompProfile.type to {values}"))
}

/// How profiles were asked for before they had a field.
fn seccomp_annotations(pod: &Pod<'_>) -> Finding {
    let is_good = |value: &str| {
        matches!(value, "runtime/default" | "docker/default") || value.starts_with("localhost/")
    };
    let keys = pod
        .containers()
        .map(|container| {
            format!("container.seccomp.security.alpha.kubernetes.io/{}", text(container, "name"))
        })
        .chain(["seccomp.security.alpha.kubernetes.io/pod".to_owned()]);
    let forbidden: BTreeSet<String> = keys
        .filter_map(|key| {
            let value = at(pod.metadata, &["annotations", &key]).as_str()?;
            (!is_good(value)).then(|| format!("{key}={value:?}"))
        })
        .collect();
    if forbidden.is_empty() {
        return None;
    }
    let what = plural("annotation", "annotations", forbidden.len());
    let list = forbidden.into_iter().collect::<Vec<_>>().join(", ");
    found("seccompProfile", format!("forbidden {what} {list}"))
}

fn seccomp_restricted(pod: &Pod<'_>, minor: u32) -> Finding {
    if minor >= 25 && pod.is_windows() {
        return None;
    }
    if let Some(finding) = seccomp(pod, minor) {
        return Some(finding);
    }
    if !at(pod.context(), &["seccompProfile"]).is_null() {
        return None;
    }
    let without = pod.where_in(|container| context(container, &["seccompProfile"]).is_null());
    if without.is_empty() {
        return None;
    }
    let detail = format!(
        "pod or {} must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\"",
        named(&without)
    );
    found("seccompProfile", detail)
}

/// Names of sysctls, and the minor version since which they are allowed.
const SYSCTLS: &[(&str, u32)] = &[
    ("kernel.shm_rmid_forced", 0),
    ("net.ipv4.ip_local_port_range", 0),
    ("net.ipv4.tcp_syncookies", 0),
    ("net.ipv4.ping_group_range", 0),
    ("net.ipv4.ip_unprivileged_port_start", 0),
    ("net.ipv4.ip_local_reserved_ports", 27),
    ("net.ipv4.tcp_keepalive_time", 29),
    ("net.ipv4.tcp_fin_timeout", 29),
    ("net.ipv4.tcp_keepalive_intvl", 29),
    ("net.ipv4.tcp_keepalive_probes", 29),
    ("net.ipv4.tcp_rmem", 32),
    ("net.ipv4.tcp_wmem", 32),
];

fn sysctls(pod: &Pod<'_>, minor: u32) -> Finding {
    let is_allowed = |name: &str| SYSCTLS.iter().any(|(known, since)| *known == name && *since <= minor);
    let names = items(pod.context(), "sysctls").iter().map(|sysctl| text(sysctl, "name"));
    let forbidden: Vec<&str> = names.filter(|name| !is_allowed(name)).collect();
    if forbidden.is_empty() { None } else { found("forbidden sysctls", forbidden.join(", ")) }
}

fn host_process(pod: &Pod<'_>, _: u32) -> Finding {
    let is_set = |context: &Value| at(context, &["windowsOptions", "hostProcess"]) == true;
    let containers = pod.where_in(|container| is_set(at(container, &["securityContext"])));
    let setters = setters(is_set(pod.context()), &containers);
    if setters.is_empty() {
        return None;
    }
    found("hostProcess", format!("{setters} must not set securityContext.windowsOptions.hostProcess=true"))
}

fn privilege_escalation(pod: &Pod<'_>, minor: u32) -> Finding {
    if minor >= 25 && pod.is_windows() {
        return None;
    }
    let containers = pod.where_in(|container| context(container, &["allowPrivilegeEscalation"]) != false);
    if containers.is_empty() {
        return None;
    }
    let detail = format!("{} must set securityContext.allowPrivilegeEscalation=false", named(&containers));
    found("allowPrivilegeEscalation != false", detail)
}

fn volumes(pod: &Pod<'_>, _: u32) -> Finding {
    const ALLOWED: &[&str] = &[
        "configMap",
        "csi",
        "downwardAPI",
        "emptyDir",
        "ephemeral",
        "image",
        "persistentVolumeClaim",
        "projected",
        "secret",
    ];
    let (mut names, mut kinds) = (Vec::new(), BTreeSet::new());
    for volume in items(pod.spec, "volumes") {
        let members = volume.as_object().into_iter().flatten().map(|(key, _)| key.as_str());
        let sources: Vec<&str> = members.filter(|key| *key != "name").collect();
        if !sources.iter().any(|source| ALLOWED.contains(source)) {
            names.push(text(volume, "name"));
            kinds.insert(sources.first().copied().unwrap_or("unknown"));
        }
    }
    if names.is_empty() {
        return None;
    }
    let what = plural("restricted volume type", "restricted volume types", kinds.len());
    found("restricted volume types", uses(&told_volumes(&names), names.len(), what, &quoted(kinds)))
}

fn non_root(pod: &Pod<'_>, minor: u32) -> Finding {
    if pod.is_apart(minor) {
        return None;
    }
    let reason = "runAsNonRoot != true";
    let of_pod = at(pod.context(), &["runAsNonRoot"]);
    let refuse = pod.where_in(|container| context(container, &["runAsNonRoot"]) == false);
    let setters = setters(of_pod == false, &refuse);
    if !setters.is_empty() {
        return found(reason, format!("{setters} must not set securityContext.runAsNonRoot=false"));
    }
    let silent = pod.where_in(|container| context(container, &["runAsNonRoot"]).is_null());
    if of_pod == true || silent.is_empty() {
        return None;
    }
    found(reason, format!("pod or {} must set securityContext.runAsNonRoot=true", named(&silent)))
}

fn root_user(pod: &Pod<'_>, minor: u32) -> Finding {
    if pod.is_apart(minor) {
        return None;
    }
    let is_root = |context: &Value| number(context, "runAsUser") == Some(0);
    let containers = pod.where_in(|container| is_root(at(container, &["securityContext"])));
    let setters = setters(is_root(pod.context()), &containers);
    if setters.is_empty() {
        None
    } else {
        found("runAsUser=0", format!("{setters} must not set runAsUser=0"))
    }
}
