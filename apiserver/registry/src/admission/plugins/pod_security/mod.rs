//! PodSecurity: the Pod Security Standards, as labels of a namespace ask for them.
//!
//! Pods are refused or warned of, what makes Pods is warned of, and a namespace that gets a stricter level is told of
//! the Pods that it would not take any more. `k8s.io/pod-security-admission` upstream.

mod checks;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use apiserver_json::Value;
use apiserver_meta::Status;
use apiserver_meta::field::FieldError;

use self::checks::{NEWEST, Pod};
use super::Refusal;
use crate::object;
use crate::registry::{Call, Registry};
use crate::strategy::shared::{at, items, text};

pub(super) const NAME: &str = "PodSecurity";
/// Subresources of a Pod that are looked at, too.
pub(super) const BELOW: &[&str] = &["ephemeralcontainers"];

const PREFIX: &str = "pod-security.kubernetes.io/";
/// Pods of a namespace that are looked at when its level changes.
const PODS_MAX: usize = 3000;

/// How strict a standard is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    Privileged,
    Baseline,
    Restricted,
}

/// A level as a version has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Standard {
    level: Level,
    /// The minor version; `None` is the latest.
    minor: Option<u32>,
}

impl Standard {
    const NONE: Self = Self { level: Level::Privileged, minor: None };

    fn find(self, pod: &Pod<'_>) -> Option<(String, String)> {
        if self.level == Level::Privileged {
            return None;
        }
        checks::find(self.level, self.minor.unwrap_or(NEWEST).min(NEWEST), pod)
    }
}

impl std::fmt::Display for Standard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let level = match self.level {
            Level::Privileged => "privileged",
            Level::Baseline => "baseline",
            Level::Restricted => "restricted",
        };
        match self.minor {
            None => write!(f, "{level}:latest"),
            Some(minor) => write!(f, "{level}:v1.{minor}"),
        }
    }
}

fn parse_level(text: &str) -> Result<Level, &'static str> {
    match text {
        "privileged" => Ok(Level::Privileged),
        "baseline" => Ok(Level::Baseline),
        "restricted" => Ok(Level::Restricted),
        _ => Err("must be one of privileged, baseline, restricted"),
    }
}

fn parse_version(text: &str) -> Result<Option<u32>, &'static str> {
    if text == "latest" {
        return Ok(None);
    }
    let digits = text.strip_prefix("v1.").filter(|digits| *digits == "0" || !digits.starts_with('0'));
    let digits = digits.filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
    digits.and_then(|digits| digits.parse().ok()).map(Some).ok_or("must be \"latest\" or \"v1.x\"")
}

/// What a namespace asks for: what is enforced, what is warned of, and what is wrong with the labels that say so.
struct Policy {
    enforce: Standard,
    warn: Standard,
    errors: Vec<FieldError>,
}

impl Policy {
    fn of(labels: &Value) -> Self {
        let mut errors = Vec::new();
        let mut standards = [Standard::NONE; 3];
        let mut level_is_good = false;
        for (mode, standard) in ["enforce", "audit", "warn"].iter().zip(&mut standards) {
            let mut wrong = |label: &str, why| {
                let path = format!("metadata.labels[{label}]");
                errors.push(FieldError::invalid(path, at(labels, &[label]), why));
            };
            let label = format!("{PREFIX}{mode}");
            if let Some(text) = at(labels, &[&label]).as_str() {
                // Who errs is refused more rather than less, but warned of nothing.
                let otherwise = if *mode == "enforce" { Level::Restricted } else { Level::Privileged };
                let level = parse_level(text);
                level_is_good |= *mode == "enforce" && level.is_ok();
                standard.level = level.unwrap_or_else(|why| {
                    wrong(&label, why);
                    otherwise
                });
            }
            let label = format!("{PREFIX}{mode}-version");
            if let Some(text) = at(labels, &[&label]).as_str() {
                standard.minor = parse_version(text).unwrap_or_else(|why| {
                    wrong(&label, why);
                    None
                });
            }
        }
        let [enforce, _, mut warn] = standards;
        let is_set = |label: &str| !at(labels, &[&format!("{PREFIX}{label}")]).is_null();
        if !is_set("warn") && level_is_good && enforce.level > warn.level {
            warn.level = enforce.level;
            if !is_set("warn-version") {
                warn.minor = enforce.minor;
            }
        }
        Self { enforce, warn, errors }
    }

    /// The policy of the namespace of a request; `None` where it has none.
    fn of_namespace(registry: &Registry, call: &Call<'_>) -> Option<Self> {
        let catalogue = registry.catalogue();
        let key = catalogue.get("", "v1", "namespaces")?.key(None, call.namespace?);
        let namespace = registry.cache().get(&key)?;
        // Every Pod asks: a namespace that cannot have a policy is not parsed.
        std::str::from_utf8(namespace.bytes()).ok().filter(|json| json.contains(PREFIX))?;
        Some(Self::of(at(&namespace.parse(), &["metadata", "labels"])))
    }
}

fn warn(call: &Call<'_>, standard: Standard, pod: &Pod<'_>) {
    if let Some((details, _)) = standard.find(pod) {
        call.requester.warn(format!("would violate PodSecurity \"{standard}\": {details}"));
    }
}

/// Refuses a Pod its namespace does not take, and warns of one it would rather not.
pub(super) fn check_pod(
    registry: &Registry,
    call: &Call<'_>,
    pod: &Value,
    old: Option<&Value>,
) -> Result<(), Refusal> {
    let Some(policy) = Policy::of_namespace(registry, call) else { return Ok(()) };
    if old.is_some_and(|old| !is_significant(at(pod, &["spec"]), at(old, &["spec"]))) {
        return Ok(());
    }
    let pod = Pod { metadata: at(pod, &["metadata"]), spec: at(pod, &["spec"]) };
    let enforce = policy.enforce;
    if let Some((details, _)) = enforce.find(&pod) {
        return Err(format!("violates PodSecurity \"{enforce}\": {details}").into());
    }
    warn(call, policy.warn, &pod);
    Ok(())
}

/// A Pod is looked at again when it gets another image, or a container more.
fn is_significant(spec: &Value, old: &Value) -> bool {
    let differs = |list: &str| {
        let (new, old) = (items(spec, list), items(old, list));
        new.len() != old.len()
            || new.iter().zip(old).any(|(new, old)| text(new, "image") != text(old, "image"))
    };
    ["containers", "initContainers", "ephemeralContainers"].into_iter().any(differs)
}

/// Warns of what will make Pods that its namespace would rather not take.
pub(super) fn check_template(
    registry: &Registry,
    call: &Call<'_>,
    owner: &Value,
    _: Option<&Value>,
) -> Result<(), Refusal> {
    let Some(policy) = Policy::of_namespace(registry, call) else { return Ok(()) };
    let template = match call.resource.kind.as_str() {
        "PodTemplate" => at(owner, &["template"]),
        "CronJob" => at(owner, &["spec", "jobTemplate", "spec", "template"]),
        _ => at(owner, &["spec", "template"]),
    };
    if !template.is_null() {
        let pod = Pod { metadata: at(template, &["metadata"]), spec: at(template, &["spec"]) };
        warn(call, policy.warn, &pod);
    }
    Ok(())
}

/// Refuses a namespace whose labels are no policy, and tells of the Pods that a stricter one would not take.
pub(super) fn check_namespace(
    registry: &Registry,
    call: &Call<'_>,
    namespace: &Value,
    old: Option<&Value>,
) -> Result<(), Refusal> {
    let policy = Policy::of(at(namespace, &["metadata", "labels"]));
    let before = old.map(|old| Policy::of(at(old, &["metadata", "labels"])));
    let name = object::name(namespace);
    let was_as_wrong = before.as_ref().is_some_and(|before| before.errors == policy.errors);
    if !policy.errors.is_empty() && !was_as_wrong {
        return Err(Refusal::Whole(Status::invalid(&call.resource.gvk(), name, &policy.errors)));
    }
    let Some(before) = before.map(|before| before.enforce) else { return Ok(()) };
    let enforce = policy.enforce;
    let is_relaxed = enforce.minor == before.minor && enforce.level <= before.level;
    if enforce.level > Level::Privileged && enforce != before && !is_relaxed {
        warn_of_pods(registry, call, name, enforce);
    }
    Ok(())
}

/// Pods of a namespace that a standard would not take, with the first of those that have the same wrong.
fn warn_of_pods(registry: &Registry, call: &Call<'_>, namespace: &str, enforce: Standard) {
    let pods = super::objects(registry, "", "pods", Some(namespace));
    let mut violations: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for pod in pods.iter().take(PODS_MAX) {
        let seen = Pod { metadata: at(pod, &["metadata"]), spec: at(pod, &["spec"]) };
        if let Some((_, reasons)) = enforce.find(&seen) {
            violations.entry(reasons).or_default().push(object::name(pod));
        }
    }
    if pods.len() > PODS_MAX {
        call.requester.warn(format!(
            "new PodSecurity enforce level only checked against the first {PODS_MAX} of {} existing pods",
            pods.len()
        ));
    }
    if violations.is_empty() {
        return;
    }
    call.requester.warn(format!(
        "existing pods in namespace \"{namespace}\" violate the new PodSecurity enforce level \"{enforce}\""
    ));
    let told = |(reasons, names): (String, Vec<&str>)| {
        let first = names.iter().min().copied().unwrap_or("");
        match names.len() {
            1 => format!("{first}: {reasons}"),
            2 => format!("{first} (and 1 other pod): {reasons}"),
            count => format!("{first} (and {} other pods): {reasons}", count - 1),
        }
    };
    let mut told: Vec<String> = violations.into_iter().map(told).collect();
    told.sort();
    told.into_iter().for_each(|text| call.requester.warn(text));
}
