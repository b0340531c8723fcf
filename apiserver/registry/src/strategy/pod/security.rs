//! Security contexts of Pods and containers: `validatePodSpecSecurityContext`, `ValidateSecurityContext` upstream.

use apiserver_json::{Map, Value, json};
use apiserver_meta::field::{FieldError, Problem};
use apiserver_meta::names;
use apiserver_schema::internal_json;

use super::super::shared::{
    at, below, check_range, check_rule, check_set_enum, go_struct, has, is_true, items, text,
};
use super::Spec;
use super::paths::check_relative;

/// Ids of users and groups.
const IDS: (i64, i64) = (0, i32::MAX as i64);
const PROFILES: &[&str] = &["Localhost", "RuntimeDefault", "Unconfined"];
const LOCAL_PROFILE: &[(&str, &str)] = &[("Type", "type"), ("LocalhostProfile", "localhostProfile")];
/// Length of a path a profile may have.
const PROFILE_BYTES_MAX: usize = 4095;

/// Errors of the Pod's own context.
pub(super) fn check_pod(pod: &Spec, errors: &mut Vec<FieldError>) {
    let context = at(pod.spec, &["securityContext"]);
    let path = below(&pod.path, "securityContext");
    let shares_processes = is_true(pod.spec, "shareProcessNamespace");
    if context.as_object().is_none_or(Map::is_empty) && !shares_processes {
        return;
    }
    for member in ["fsGroup", "runAsUser", "runAsGroup"] {
        check_range(context, member, IDS, &path, errors);
    }
    for (i, group) in items(context, "supplementalGroups").iter().enumerate() {
        let wrapped = json!({"group": group});
        let before = errors.len();
        check_range(&wrapped, "group", IDS, "", errors);
        for error in errors.iter_mut().skip(before) {
            error.field = format!("{path}.supplementalGroups[{i}]");
        }
    }
    if shares_processes && is_true(pod.spec, "hostPID") {
        let why = "ShareProcessNamespace and HostPID cannot both be enabled";
        errors.push(FieldError::invalid(format!("{path}.shareProcessNamespace"), &true.into(), why));
    }
    check_sysctls(context, &below(&path, "sysctls"), pod, errors);
    check_set_enum(context, "fsGroupChangePolicy", &path, &["Always", "OnRootMismatch"], errors);
    check_seccomp(at(context, &["seccompProfile"]), &below(&path, "seccompProfile"), errors);
    check_windows(at(context, &["windowsOptions"]), &below(&path, "windowsOptions"), errors);
    check_apparmor(at(context, &["appArmorProfile"]), &below(&path, "appArmorProfile"), errors);
    check_set_enum(context, "supplementalGroupsPolicy", &path, &["Merge", "Strict"], errors);
    // The other policy, MountOption, is of a feature that is off.
    check_set_enum(context, "seLinuxChangePolicy", &path, &["Recursive"], errors);
}

const SYSCTL_WHY: &str = "must have at most 253 characters and match regex ^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$";
/// Parameters of the kernel that belong to a namespace of its own.
const IPC_SYSCTLS: &[&str] = &[
    "kernel.sem",
    "kernel.shmall",
    "kernel.shmmax",
    "kernel.shmmni",
    "kernel.shm_rmid_forced",
    "kernel.shm",
    "kernel.msgmax",
    "kernel.msgmnb",
    "kernel.msgmni",
    "kernel.msg",
];

fn is_sysctl(name: &str) -> bool {
    let edge = |byte: Option<&u8>| byte.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    name.len() <= 253
        && name.split(['.', '/']).all(|part| {
            edge(part.as_bytes().first())
                && edge(part.as_bytes().last())
                && part
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_')
        })
}

fn check_sysctls(context: &Value, path: &str, pod: &Spec, errors: &mut Vec<FieldError>) {
    let mut seen: Vec<&str> = Vec::new();
    for (i, sysctl) in items(context, "sysctls").iter().enumerate() {
        let path = format!("{path}[{i}].name");
        let name = text(sysctl, "name");
        if name.is_empty() {
            errors.push(FieldError::required(&path, ""));
        } else if !is_sysctl(name) {
            errors.push(FieldError::invalid(&path, &name.into(), SYSCTL_WHY));
        } else if seen.contains(&name) {
            errors.push(FieldError::duplicate(&path, &name.into()));
        }
        seen.push(name);
        let dotted = name.replace('/', ".");
        let why = if dotted.starts_with("net.") && is_true(pod.spec, "hostNetwork") {
            "may not be specified when 'hostNetwork' is true"
        } else if (dotted.starts_with("fs.mqueue.") || IPC_SYSCTLS.contains(&dotted.as_str()))
            && is_true(pod.spec, "hostIPC")
        {
            "may not be specified when 'hostIPC' is true"
        } else {
            continue;
        };
        errors.push(FieldError::invalid(path, &name.into(), why));
    }
}

/// Errors of a container's context, which is beside the container's path.
pub(super) fn check_container(context: &Value, container: &str, pod: &Spec, errors: &mut Vec<FieldError>) {
    if !context.is_object() {
        return;
    }
    let path = below(container, "securityContext");
    check_range(context, "runAsUser", IDS, &path, errors);
    check_range(context, "runAsGroup", IDS, &path, errors);
    check_set_enum(context, "procMount", &path, &["Default", "Unmasked"], errors);
    if text(context, "procMount") == "Unmasked" && pod.uses_host_users() {
        let why = "`hostUsers` must be false to use `Unmasked`";
        errors.push(FieldError::invalid(format!("{path}.procMount"), &"Unmasked".into(), why));
    }
    check_seccomp(at(context, &["seccompProfile"]), &below(&path, "seccompProfile"), errors);
    if at(context, &["allowPrivilegeEscalation"]) == &json!(false) {
        let mut clash = |what: &str| {
            errors.push(FieldError {
                problem: Problem::Invalid,
                field: path.clone(),
                value: internal_json("core.SecurityContext", context),
                detail: format!("cannot set `allowPrivilegeEscalation` to false and {what}"),
            });
        };
        if is_true(context, "privileged") {
            clash("`privileged` to true");
        }
        for _ in items(at(context, &["capabilities"]), "add")
            .iter()
            .filter(|capability| *capability == "CAP_SYS_ADMIN")
        {
            clash("`capabilities.Add` CAP_SYS_ADMIN");
        }
    }
    check_windows(at(context, &["windowsOptions"]), &below(&path, "windowsOptions"), errors);
    check_apparmor(at(context, &["appArmorProfile"]), &below(&path, "appArmorProfile"), errors);
}

fn check_seccomp(profile: &Value, path: &str, errors: &mut Vec<FieldError>) {
    if !profile.is_object() {
        return;
    }
    let kind = text(profile, "type");
    if kind.is_empty() {
        let why = "type is required when seccompProfile is set";
        errors.push(FieldError::required(format!("{path}.type"), why));
    } else {
        check_set_enum(profile, "type", path, PROFILES, errors);
    }
    let place = below(path, "localhostProfile");
    match (kind, profile.get("localhostProfile").and_then(Value::as_str)) {
        ("Localhost", None) => {
            errors.push(FieldError::required(place, "must be set when seccomp type is Localhost"));
        }
        ("Localhost", Some(file)) => check_relative(file, &place, errors),
        (_, Some(_)) => errors.push(FieldError {
            problem: Problem::Invalid,
            field: place,
            value: go_struct(profile, LOCAL_PROFILE),
            detail: "can only be set when seccomp type is Localhost".into(),
        }),
        (_, None) => {}
    }
}

/// Errors of an AppArmor profile: `ValidateAppArmorProfileField`.
pub(super) fn check_apparmor(profile: &Value, path: &str, errors: &mut Vec<FieldError>) {
    if !profile.is_object() {
        return;
    }
    let place = below(path, "localhostProfile");
    let needed = "must be set when AppArmor type is Localhost";
    match (text(profile, "type"), profile.get("localhostProfile").and_then(Value::as_str)) {
        ("Localhost", None) => errors.push(FieldError::required(place, needed)),
        ("Localhost", Some(name)) => {
            if name.trim() != name {
                let why = "must not be padded with whitespace";
                errors.push(FieldError::invalid(&place, &name.into(), why));
            } else if name.is_empty() {
                errors.push(FieldError::required(&place, needed));
            }
            if name.len() > PROFILE_BYTES_MAX {
                errors.push(FieldError::too_long(place, PROFILE_BYTES_MAX));
            }
        }
        ("RuntimeDefault" | "Unconfined", Some(name)) => {
            let why = "can only be set when AppArmor type is Localhost";
            errors.push(FieldError::invalid(place, &name.into(), why));
        }
        ("RuntimeDefault" | "Unconfined", None) => {}
        ("", _) => {
            let why = "type is required when appArmorProfile is set";
            errors.push(FieldError::required(format!("{path}.type"), why));
        }
        _ => check_set_enum(profile, "type", path, PROFILES, errors),
    }
}

/// Bytes a credential spec of a Windows domain may have.
const CREDENTIAL_BYTES_MAX: usize = 64 << 10;

fn check_windows(options: &Value, path: &str, errors: &mut Vec<FieldError>) {
    if let Some(name) = options.get("gmsaCredentialSpecName").and_then(Value::as_str) {
        check_rule(name, names::dns1123_subdomain, format_args!("{path}.gmsaCredentialSpecName"), errors);
    }
    if let Some(spec) = options.get("gmsaCredentialSpec").and_then(Value::as_str) {
        let why = match spec.len() {
            0 => "gmsaCredentialSpec cannot be an empty string",
            1..=CREDENTIAL_BYTES_MAX => "",
            _ => "gmsaCredentialSpec size must be under 64 KiB",
        };
        if !why.is_empty() {
            errors.push(FieldError::invalid(format!("{path}.gmsaCredentialSpec"), &spec.into(), why));
        }
    }
    if let Some(name) = options.get("runAsUserName").and_then(Value::as_str) {
        for why in windows_user_problems(name) {
            errors.push(FieldError::invalid(format!("{path}.runAsUserName"), &name.into(), why));
        }
    }
}

/// What is wrong with `[DOMAIN\]USER`.
fn windows_user_problems(name: &str) -> Vec<&'static str> {
    if name.is_empty() {
        return vec!["runAsUserName cannot be an empty string"];
    }
    if name.chars().any(|c| c.is_ascii_control()) {
        return vec!["runAsUserName cannot contain control characters"];
    }
    let parts: Vec<&str> = name.split('\\').collect();
    let (domain, user) = match parts.as_slice() {
        [user] => (None, *user),
        [domain, user] => (Some(*domain), *user),
        _ => return vec!["runAsUserName cannot contain more than one backslash"],
    };
    let mut problems = Vec::new();
    if domain.is_some_and(|domain| domain.len() >= 256) {
        problems.push("runAsUserName's Domain length must be under 256 characters");
    }
    if domain.is_some_and(|domain| !is_windows_domain(domain)) {
        problems.push("runAsUserName's Domain doesn't match the NetBios nor the DNS format");
    }
    match user.len() {
        0 => problems.push("runAsUserName's User cannot be empty"),
        1..=104 => {}
        _ => problems.push("runAsUserName's User length must not be longer than 104 characters"),
    }
    if !user.is_empty() && user.chars().all(|c| c == '.' || c == ' ') {
        problems.push("runAsUserName's User cannot contain only periods or spaces");
    }
    if user.chars().any(|c| "\"/\\:;|=,+*?<>@[]".contains(c)) {
        problems.push("runAsUserName's User cannot contain the following characters: \"/\\:;|=,+*?<>@[]");
    }
    problems
}

fn is_windows_domain(domain: &str) -> bool {
    let net_bios = (1..=15).contains(&domain.chars().count())
        && !domain.starts_with('.')
        && !domain.contains(|c: char| "\\/:*?\"<>|".contains(c));
    net_bios || names::dns1123_subdomain(&domain.to_lowercase()).is_empty()
}

/// Containers that are processes of a Windows host: `validateWindowsHostProcessPod`.
pub(super) fn check_host_process(pod: &Spec, errors: &mut Vec<FieldError>) {
    let asked = |holder| at(holder, &["securityContext", "windowsOptions", "hostProcess"]).as_bool();
    let of_pod = asked(pod.spec);
    let (mut all, mut some) = (true, false);
    for (container, path) in pod.containers() {
        let own = asked(container);
        if let (Some(of_pod), Some(own)) = (of_pod, own)
            && of_pod != own
        {
            let path = format!("{path}.securityContext.windowsOptions.hostProcess");
            let why = format!("pod hostProcess value must be identical if both are specified, was {of_pod}");
            errors.push(FieldError::invalid(path, &own.into(), why));
        }
        let is_process = own.or(of_pod) == Some(true);
        all &= is_process;
        some |= is_process;
    }
    if some && !all {
        let why =
            "If pod contains any hostProcess containers then all containers must be HostProcess containers";
        errors.push(FieldError::invalid(&pod.path, &"".into(), why));
    }
    if some && !is_true(pod.spec, "hostNetwork") {
        let why = "hostNetwork must be true if pod contains any hostProcess containers";
        errors.push(FieldError::invalid(format!("{}.hostNetwork", pod.path), &false.into(), why));
    }
}

/// What does not go with users of the Pod's own: `validateHostUsers`.
pub(super) fn check_host_users(pod: &Spec, errors: &mut Vec<FieldError>) {
    if pod.uses_host_users() {
        return;
    }
    let why = "when `hostUsers` is false";
    for (member, shown) in [("hostNetwork", "hostNetwork"), ("hostPID", "HostPID"), ("hostIPC", "HostIPC")] {
        if is_true(pod.spec, member) {
            errors.push(FieldError::forbidden(format!("{}.{shown}", pod.path), why));
        }
    }
    for (container, path) in pod.containers() {
        if !items(container, "volumeDevices").is_empty() {
            errors.push(FieldError::forbidden(format!("{path}.volumeDevices"), why));
        }
    }
}

/// What the Pod's operating system knows nothing of: `validateOS`, `validateLinux`, `validateWindows`.
pub(super) fn check_os(pod: &Spec, errors: &mut Vec<FieldError>) {
    let Some(os) = pod.spec.get("os").filter(|os| !os.is_null()) else { return };
    let context = at(pod.spec, &["securityContext"]);
    let path = &pod.path;
    match text(os, "name") {
        "" => errors.push(FieldError::required(format!("{path}.os.name"), "")),
        "linux" => {
            let why = "windows options cannot be set for a linux pod";
            forbid(context, &below(path, "securityContext"), &["windowsOptions"], why, errors);
            for (container, path) in pod.containers() {
                let context = at(container, &["securityContext"]);
                forbid(context, &format!("{path}.securityContext"), &["windowsOptions"], why, errors);
            }
        }
        "windows" => {
            let why = "cannot be set for a windows pod";
            let own = below(path, "securityContext");
            forbid(context, &own, &["appArmorProfile", "seLinuxOptions"], why, errors);
            if has(pod.spec, "hostUsers") {
                errors.push(FieldError::forbidden(format!("{path}.hostUsers"), why));
            }
            for member in ["hostPID", "hostIPC"] {
                if is_true(pod.spec, member) {
                    errors.push(FieldError::forbidden(format!("{path}.{member}"), why));
                }
            }
            forbid(
                context,
                &own,
                &["seccompProfile", "fsGroup", "fsGroupChangePolicy", "sysctls"],
                why,
                errors,
            );
            forbid(pod.spec, path, &["shareProcessNamespace"], why, errors);
            forbid(context, &own, NOT_OF_WINDOWS_PODS, why, errors);
            for (container, path) in pod.containers() {
                let context = at(container, &["securityContext"]);
                forbid(context, &format!("{path}.securityContext"), NOT_OF_WINDOWS, why, errors);
            }
        }
        other => {
            errors.push(FieldError::not_supported(format!("{path}.os"), &other.into(), &["linux", "windows"]))
        }
    }
}

const NOT_OF_WINDOWS_PODS: &[&str] =
    &["runAsUser", "runAsGroup", "supplementalGroups", "supplementalGroupsPolicy", "seLinuxChangePolicy"];
const NOT_OF_WINDOWS: &[&str] = &[
    "appArmorProfile",
    "seLinuxOptions",
    "seccompProfile",
    "capabilities",
    "readOnlyRootFilesystem",
    "privileged",
    "allowPrivilegeEscalation",
    "procMount",
    "runAsUser",
    "runAsGroup",
];

fn forbid(object: &Value, path: &str, members: &[&str], why: &str, errors: &mut Vec<FieldError>) {
    for member in members.iter().filter(|member| has(object, member)) {
        errors.push(FieldError::forbidden(format!("{path}.{member}"), why));
    }
}
