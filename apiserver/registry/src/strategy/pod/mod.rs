//! Pods and Pod templates: `pkg/apis/core/validation` and `pkg/registry/core/pod/strategy.go` upstream.

use std::sync::LazyLock;

use apiserver_json::Value;
use apiserver_meta::field::FieldError;
use apiserver_meta::names;
use apiserver_schema::FieldSet;

use super::shared::{at, check_optional, check_range, check_rule, check_set_enum, items, number, text};
use super::{PLAIN, Strategy, resources};

mod annotations;
pub(in crate::strategy) mod apparmor;
mod containers;
pub(crate) mod defaults;
mod env;
mod level;
mod mounts;
mod network;
pub(crate) mod paths;
mod prepare;
mod probes;
mod projected;
pub(crate) mod scheduling;
mod security;
pub(crate) mod sources;
mod status;
pub(crate) mod subresources;
#[cfg(test)]
mod tests;
mod update;
pub(crate) mod volumes;

pub(crate) use defaults::default_spec;
pub(crate) use prepare::{drop_disabled, keep_priority, tolerate_lost_nodes};

/// What a status update of a Pod sets back.
static SPEC_AND_OWNERS: LazyLock<FieldSet> = LazyLock::new(|| {
    FieldSet::of(&[&["spec"], &["metadata", "deletionTimestamp"], &["metadata", "ownerReferences"]])
});

pub(super) static POD: Strategy = Strategy {
    resets: |subresource| (subresource == "status").then(|| &*SPEC_AND_OWNERS),
    update_checks: super::order::CHANGES_THEN_METADATA,
    status_keeps: &["ownerReferences"],
    default: defaults::default_pod,
    prepare_create: prepare::create,
    requested: apparmor::adopt,
    prepare_update: |new, old| {
        super::shared::keep_status(new, old);
        drop_disabled(super::shared::at_mut(new, &["spec"]));
    },
    validate_create,
    validate_update: update::check,
    prepare_status: status::prepare,
    validate_status: status::check,
    warnings: |pod| {
        let mut all = super::pod_warnings::of_name(pod, "the Pod's hostname");
        all.extend(super::pod_warnings::warnings(pod, ""));
        all
    },
    status: true,
    creation_reads_status: true,
    generation: true,
    delete_returns_object: true,
    ..PLAIN
};

/// A Pod's spec being checked, and what its parts need to know of the rest.
pub(crate) struct Spec<'a> {
    spec: &'a Value,
    path: String,
    /// Not a template.
    is_pod: bool,
    /// The Pod's name, where it is known.
    name: &'a str,
    /// Volumes that are right, by name.
    volumes: Vec<(&'a str, &'a Value)>,
    /// Names of the Pod's claims.
    claims: Vec<&'a str>,
    /// Seconds its end may take.
    grace: Option<i64>,
}

impl<'a> Spec<'a> {
    fn of(spec: &'a Value, path: &str) -> Self {
        let mut claims: Vec<&str> = items(spec, "resourceClaims")
            .iter()
            .map(|claim| text(claim, "name"))
            .filter(|name| !name.is_empty())
            .collect();
        claims.sort_unstable();
        claims.dedup();
        Self {
            spec,
            path: path.to_owned(),
            is_pod: false,
            name: "",
            volumes: Vec::new(),
            claims,
            grace: number(spec, "terminationGracePeriodSeconds"),
        }
    }

    fn of_pod(pod: &'a Value) -> Self {
        Self { is_pod: true, name: crate::object::name(pod), ..Self::of(at(pod, &["spec"]), "spec") }
    }

    /// All containers with their paths, in the order upstream visits them.
    fn containers(&self) -> impl Iterator<Item = (&'a Value, ContainerPath<'_>)> {
        ["initContainers", "containers", "ephemeralContainers"].into_iter().flat_map(move |list| {
            let containers = items(self.spec, list).iter().enumerate();
            containers.map(move |(at, container)| (container, ContainerPath { spec: &self.path, list, at }))
        })
    }

    /// Do the Pod's users have the ids they have on the host?
    fn uses_host_users(&self) -> bool {
        self.spec.get("hostUsers").and_then(Value::as_bool) != Some(false)
    }
}

/// The path of a container, written where it is shown.
#[derive(Clone, Copy)]
struct ContainerPath<'a> {
    spec: &'a str,
    list: &'static str,
    at: usize,
}

impl std::fmt::Display for ContainerPath<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}[{}]", self.spec, self.list, self.at)
    }
}

/// Errors of a new Pod: `ValidatePodCreate`.
fn validate_create(pod: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let spec = Spec::of_pod(pod);
    let annotated = annotations::of(at(pod, &["metadata"]));
    check_pod(pod, &mut errors);
    if !items(spec.spec, "ephemeralContainers").is_empty() {
        errors.push(FieldError::forbidden("spec.ephemeralContainers", "cannot be set on create"));
    }
    if !text(spec.spec, "nodeName").is_empty() && !items(spec.spec, "schedulingGates").is_empty() {
        let why = "cannot be set until all schedulingGates have been cleared";
        errors.push(FieldError::forbidden("spec.nodeName", why));
    }
    annotations::check_match(annotated, &spec, &mut errors);
    errors
}

/// What holds of a Pod whenever it is written: `validatePodMetadataAndSpec`, but for the common metadata.
fn check_pod(pod: &Value, errors: &mut Vec<FieldError>) {
    let spec = Spec::of_pod(pod);
    annotations::check(annotations::of(at(pod, &["metadata"])), "metadata.annotations", &spec, errors);
    let spec = check_spec(spec, errors);
    volumes::check_token_projections(spec.spec, &spec.path, errors);
    containers::check_images(&spec, errors);
}

/// Errors of a Pod template at `path`: `ValidatePodTemplateSpec`.
pub(crate) fn check_template(template: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let metadata = at(template, &["metadata"]);
    crate::object::validate_labels(metadata.get("labels"), format_args!("{path}.labels"), errors);
    let place = format!("{path}.annotations");
    crate::object::validate_annotations(metadata.get("annotations"), &place, errors);
    let spec = Spec::of(at(template, &["spec"]), &format!("{path}.spec"));
    let annotated = annotations::of(metadata);
    annotations::check(annotated, &place, &spec, errors);
    let spec = check_spec(spec, errors);
    annotations::check_match(annotated, &spec, errors);
    if !items(spec.spec, "ephemeralContainers").is_empty() {
        let why = "ephemeral containers not allowed in pod template";
        errors.push(FieldError::forbidden(format!("{path}.spec.ephemeralContainers"), why));
    }
}

/// Errors of a Pod's spec, in upstream's order: `ValidatePodSpec`.
fn check_spec<'a>(mut pod: Spec<'a>, errors: &mut Vec<FieldError>) -> Spec<'a> {
    let (spec, path) = (pod.spec, pod.path.clone());
    if pod.grace.is_none() {
        errors.push(FieldError::required(format!("{path}.terminationGracePeriodSeconds"), ""));
    }
    pod.volumes = volumes::check(&pod, errors);
    containers::check_pod_claims(&pod, errors);
    containers::check(&pod, errors);
    level::check(&pod, errors);
    network::check_host_network(&pod, errors);
    let policies = ["Always", "OnFailure", "Never"];
    check_set_enum(spec, "restartPolicy", &path, &policies, errors);
    let policies = ["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"];
    check_set_enum(spec, "dnsPolicy", &path, &policies, errors);
    crate::object::validate_labels(spec.get("nodeSelector"), format_args!("{path}.nodeSelector"), errors);
    security::check_pod(&pod, errors);
    scheduling::check_affinity(&pod, errors);
    network::check_dns(&pod, errors);
    scheduling::check_gates(&pod, errors);
    scheduling::check_spread(&pod, errors);
    security::check_host_process(&pod, errors);
    security::check_host_users(&pod, errors);
    network::check_hostname_override(&pod, errors);
    check_optional(spec, "serviceAccountName", names::dns1123_subdomain, &path, errors);
    check_optional(spec, "nodeName", names::dns1123_subdomain, &path, errors);
    check_range(spec, "activeDeadlineSeconds", (1, i64::from(i32::MAX)), &path, errors);
    check_optional(spec, "hostname", names::dns1123_label, &path, errors);
    check_optional(spec, "subdomain", names::dns1123_label, &path, errors);
    scheduling::check_tolerations(items(spec, "tolerations"), format_args!("{path}.tolerations"), errors);
    network::check_host_aliases(&pod, errors);
    check_optional(spec, "priorityClassName", names::dns1123_subdomain, &path, errors);
    if let Some(class) = spec.get("runtimeClassName").and_then(Value::as_str) {
        check_rule(class, names::dns1123_subdomain, format_args!("{path}.runtimeClassName"), errors);
    }
    if spec.get("preemptionPolicy").is_some_and(|policy| policy == "") {
        errors.push(FieldError::required(format!("{path}.preemptionPolicy"), ""));
    } else {
        check_set_enum(spec, "preemptionPolicy", &path, &["PreemptLowerPriority", "Never"], errors);
    }
    if let Some(overhead) = spec.get("overhead") {
        let path = format!("{path}.overhead");
        resources::validate(&apiserver_json::json!({"limits": overhead}), &path, errors);
    }
    security::check_os(&pod, errors);
    env::check_file_volumes(&pod, errors);
    pod
}
