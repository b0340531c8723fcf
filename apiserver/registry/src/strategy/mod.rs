//! The rules of each kind, as a table: what is defaulted, checked, kept, and what a status split means.
//!
//! A strategy holds functions over plain JSON; the verbs that call them are the same for every kind.

use apiserver_json::Value;
use apiserver_meta::field::FieldError;
use apiserver_meta::names;
use apiserver_schema::FieldSet;

use crate::admission::Requester;

pub(crate) mod addresses;
mod admission;
mod api_service;
mod apps;
mod autoscaling;
mod batch;
mod conditions;
mod core;
mod cron;
mod csr;
mod devices;
mod disruption;
mod endpoint_slice;
mod event;
mod flow;
mod job;
mod job_status;
#[cfg(test)]
mod kind_tests;
mod limit_range;
mod match_resources;
#[cfg(test)]
mod more_kind_tests;
mod networking;
mod node;
pub(crate) mod pem;
mod persistent;
pub(crate) mod pod;
mod pod_volume_warnings;
mod pod_warnings;
mod policy;
mod quota;
mod rbac;
#[cfg(test)]
mod recorded;
mod resources;
mod scheduling;
mod secret;
pub(crate) mod service;
pub(crate) mod service_ips;
mod service_rules;
mod service_warnings;
pub(crate) mod shared;
mod small;
mod storage;
#[cfg(test)]
mod table;
mod volume_spec;
mod volumes;
pub(crate) mod webhooks;
mod workload;
#[cfg(test)]
mod workload_tests;

pub(crate) use csr::organizations_asked_for;
pub use job::check_domain_path;
pub(crate) use scheduling::is_system_class as is_system_priority_class;

/// A step of a kind's own validation of an update.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpdateCheck {
    /// All of the metadata, as of a new object.
    Metadata,
    /// What changed in the metadata.
    MetadataChanges,
    /// `validate_fields`.
    Fields,
    /// `validate_update`, or what a subresource has in its place.
    Own,
}

/// The steps in the order in which upstream tells their errors, as the kinds have them.
mod order {
    use super::UpdateCheck::{self, Fields, Metadata, MetadataChanges, Own};

    pub(super) const PLAIN: &[UpdateCheck] = &[MetadataChanges, Own];
    pub(super) const OWN: &[UpdateCheck] = &[Own];
    pub(super) const METADATA_FIRST: &[UpdateCheck] = &[Metadata, Own];
    pub(super) const CHANGES_THEN_METADATA: &[UpdateCheck] = &[MetadataChanges, Metadata, Own];
    pub(super) const METADATA_THEN_CHANGES: &[UpdateCheck] = &[Metadata, MetadataChanges, Own];
    /// Looked at as a new object, and for what changed afterwards.
    pub(super) const NEW_THEN_CHANGES: &[UpdateCheck] = &[Metadata, Fields, MetadataChanges, Own];
    /// Looked at for what changed, and as a new object afterwards.
    pub(super) const CHANGES_THEN_NEW: &[UpdateCheck] = &[MetadataChanges, Own, Metadata, Fields];
    /// Upstream looks twice, and says it twice.
    pub(super) const NEW_TWICE: &[UpdateCheck] = &[Metadata, Fields, Metadata, Fields, Own];
}

/// What a status update leaves as it is in the metadata of most kinds that keep any of it.
pub(crate) const ALL_KEPT: &[&str] = &["labels", "annotations", "ownerReferences", "finalizers"];

/// The rules of one kind.
#[derive(Debug)]
pub struct Strategy {
    /// Fills in defaults after decoding, on create and update alike.
    pub default: fn(&mut Value),
    /// Adjusts a new object after defaults: what the server decides.
    pub prepare_create: fn(&mut Value),
    /// Adjusts an updated object: what an update may not touch.
    pub prepare_update: fn(&mut Value, &Value),
    /// Adjusts an updated status.
    pub prepare_status: fn(&mut Value, &Value),
    pub validate_create: fn(&Value) -> Vec<FieldError>,
    pub validate_update: fn(&Value, &Value) -> Vec<FieldError>,
    /// What is looked at in an updated object as in a new one, where its metadata is looked at in between.
    pub validate_fields: fn(&Value, &Value) -> Vec<FieldError>,
    pub validate_status: fn(&Value, &Value) -> Vec<FieldError>,
    /// Notes in a new object who asked for it.
    pub requested: fn(&mut Value, &Requester<'_>),
    /// The rules of a subresource that writes a part of the object.
    pub part: fn(&str) -> Option<&'static Part>,
    /// Fields that a verb or a subresource sets back; `None` for the usual ones.
    pub resets: fn(&str) -> Option<&'static FieldSet>,
    pub name_rule: fn(&str) -> Vec<String>,
    /// The prefix of a generated name has to be one, too.
    pub checks_prefix: bool,
    /// What the kind itself looks at in an update, after the server did at the metadata.
    pub update_checks: &'static [UpdateCheck],
    /// Members of the metadata that a status update leaves as they are.
    pub status_keeps: &'static [&'static str],
    /// Finalizers without a domain must be the server's own.
    pub standard_finalizers: bool,
    /// Texts for `Warning` headers.
    pub warnings: fn(&Value) -> Vec<String>,
    /// An update is warned of anything at all.
    pub warns_of_updates: bool,
    /// An update is warned of what was there before, too.
    pub warns_again: bool,
    /// An update that changes the spec is warned of what was there before alone.
    pub warns_of_old: bool,
    /// An update is warned where it changes this.
    pub warned_member: Option<&'static [&'static str]>,
    /// A new object without labels shares its template's, with what the server adds to these.
    pub shares_labels: bool,
    /// An update that moves the generation is.
    pub warns_of_template: bool,
    /// `status` is written through the status subresource only.
    pub status: bool,
    /// `prepare_create` looks at the `status` that was sent, and replaces it.
    pub creation_reads_status: bool,
    /// `metadata.generation` counts changes of everything but metadata and status.
    pub generation: bool,
    /// It counts changes of annotations, too.
    pub annotations_count: bool,
    /// A list or map that was sent empty differs from a missing one.
    pub tells_empty: bool,
    /// Upstream has no cache of these, and tells its store's answers in other words.
    pub read_from_store: bool,
    /// By what tables are sorted before names: the lowest comes first.
    pub table_order: fn(&Value) -> i64,
    /// PUT to a missing name creates it.
    pub create_on_update: bool,
    /// An update without a resourceVersion is taken.
    pub unconditional_update: bool,
    /// DELETE answers with the object, not with a Status.
    pub delete_returns_object: bool,
}

/// The rules of a subresource: what an update through it may not touch, and what is wrong with it.
#[derive(Debug)]
pub struct Part {
    pub prepare: fn(&mut Value, &Value),
    pub validate: fn(&Value, &Value) -> Vec<FieldError>,
}

fn no_change(_: &mut Value) {}

fn no_change_on_update(_: &mut Value, _: &Value) {}

fn no_errors(_: &Value) -> Vec<FieldError> {
    Vec::new()
}

fn no_errors_on_update(_: &Value, _: &Value) -> Vec<FieldError> {
    Vec::new()
}

fn no_warnings(_: &Value) -> Vec<String> {
    Vec::new()
}

/// What a kind without rules of its own does.
pub const PLAIN: Strategy = Strategy {
    default: no_change,
    prepare_create: no_change,
    prepare_update: no_change_on_update,
    prepare_status: no_change_on_update,
    validate_create: no_errors,
    validate_update: no_errors_on_update,
    validate_fields: no_errors_on_update,
    validate_status: no_errors_on_update,
    requested: |_, _| {},
    part: |_| None,
    resets: |_| None,
    name_rule: names::dns1123_subdomain,
    checks_prefix: true,
    update_checks: order::PLAIN,
    status_keeps: &[],
    standard_finalizers: true,
    warnings: no_warnings,
    warns_of_updates: true,
    warns_again: false,
    warns_of_old: false,
    warned_member: None,
    read_from_store: false,
    table_order: |_| 0,
    shares_labels: false,
    warns_of_template: false,
    status: false,
    creation_reads_status: false,
    generation: false,
    annotations_count: false,
    tells_empty: false,
    create_on_update: false,
    unconditional_update: true,
    delete_returns_object: false,
};

impl Strategy {
    /// True if the kind has rules beyond its schema.
    pub fn has_own_rules(&'static self) -> bool {
        let plain = [&PLAIN_KIND, &GIVEN_BACK, &WITH_STATUS, &WITH_GENERATION];
        !plain.into_iter().any(|plain| std::ptr::eq(plain, self))
    }
}

/// The strategy of custom resources; their schema checks come from the definition.
pub static CUSTOM: Strategy = Strategy {
    unconditional_update: false,
    generation: true,
    standard_finalizers: false,
    warnings: crate::custom::finalizer_warnings,
    ..PLAIN
};

static PLAIN_KIND: Strategy = PLAIN;
static WITH_STATUS: Strategy = Strategy { status: true, prepare_update: shared::keep_status, ..PLAIN };
static GIVEN_BACK: Strategy = Strategy { delete_returns_object: true, ..PLAIN };
static WITH_GENERATION: Strategy =
    Strategy { generation: true, unconditional_update: false, standard_finalizers: false, ..PLAIN };

/// The strategy of a built-in kind.
pub fn of(group: &str, kind: &str) -> &'static Strategy {
    match (group, kind) {
        ("", "Pod") => &pod::POD,
        ("", "PodTemplate") => &apps::POD_TEMPLATE,
        ("", "Service") => &service::SERVICE,
        ("", "ComponentStatus") => &core::COMPONENT_STATUS,
        ("", "Endpoints") => &core::ENDPOINTS,
        ("", "ConfigMap") => &core::CONFIG_MAP,
        ("", "Secret") => &secret::SECRET,
        ("", "Namespace") => &core::NAMESPACE,
        ("", "ServiceAccount") => &core::SERVICE_ACCOUNT,
        ("", "Event") => &event::EVENT,
        ("events.k8s.io", "Event") => &event::NEW_EVENT,
        ("", "Node") => &node::NODE,
        ("", "ReplicationController") => &apps::REPLICATION_CONTROLLER,
        ("", "PersistentVolumeClaim") => &persistent::PERSISTENT_VOLUME_CLAIM,
        ("", "PersistentVolume") => &persistent::PERSISTENT_VOLUME,
        ("", "ResourceQuota") => &quota::RESOURCE_QUOTA,
        ("", "LimitRange") => &limit_range::LIMIT_RANGE,
        ("scheduling.k8s.io", "PriorityClass") => &scheduling::PRIORITY_CLASS,
        ("apps", "Deployment") => &apps::DEPLOYMENT,
        ("apps", "ReplicaSet") => &apps::REPLICA_SET,
        ("apps", "StatefulSet") => &apps::STATEFUL_SET,
        ("apps", "DaemonSet") => &apps::DAEMON_SET,
        ("batch", "Job") => &batch::JOB,
        ("batch", "CronJob") => &batch::CRON_JOB,
        ("networking.k8s.io", "Ingress") => &networking::INGRESS,
        ("networking.k8s.io", "IngressClass") => &small::INGRESS_CLASS,
        ("networking.k8s.io", "NetworkPolicy") => &policy::NETWORK_POLICY,
        ("discovery.k8s.io", "EndpointSlice") => &endpoint_slice::ENDPOINT_SLICE,
        ("coordination.k8s.io", "Lease") => &networking::LEASE,
        ("rbac.authorization.k8s.io", "Role" | "ClusterRole") => &rbac::ROLE,
        ("rbac.authorization.k8s.io", "RoleBinding" | "ClusterRoleBinding") => &rbac::BINDING,
        ("autoscaling", "HorizontalPodAutoscaler") => &autoscaling::AUTOSCALER,
        ("networking.k8s.io", "ServiceCIDR") => &addresses::SERVICE_CIDR,
        ("networking.k8s.io", "IPAddress") => &addresses::IP_ADDRESS,
        ("storage.k8s.io", "VolumeAttachment") => &storage::VOLUME_ATTACHMENT,
        ("storage.k8s.io", "StorageClass") => &storage::STORAGE_CLASS,
        ("storage.k8s.io", "CSIDriver") => &storage::CSI_DRIVER,
        ("storage.k8s.io", "CSINode") => &storage::CSI_NODE,
        ("storage.k8s.io", "CSIStorageCapacity") => &storage::CSI_STORAGE_CAPACITY,
        ("storage.k8s.io", "VolumeAttributesClass") => &storage::VOLUME_ATTRIBUTES_CLASS,
        ("node.k8s.io", "RuntimeClass") => &small::RUNTIME_CLASS,
        ("apps", "ControllerRevision") => &small::CONTROLLER_REVISION,
        ("certificates.k8s.io", "CertificateSigningRequest") => &csr::REQUEST,
        ("resource.k8s.io", "ResourceClaim") => &devices::CLAIM,
        ("resource.k8s.io", "ResourceClaimTemplate") => &devices::CLAIM_TEMPLATE,
        ("resource.k8s.io", "DeviceClass") => &devices::CLASS,
        ("resource.k8s.io", "ResourceSlice") => &devices::SLICE,
        ("resource.k8s.io", _) => &GIVEN_BACK,
        ("apiregistration.k8s.io", "APIService") => &api_service::API_SERVICE,
        ("policy", "PodDisruptionBudget") => &disruption::DISRUPTION_BUDGET,
        ("admissionregistration.k8s.io", "ValidatingAdmissionPolicy") => &admission::POLICY,
        ("admissionregistration.k8s.io", "ValidatingAdmissionPolicyBinding") => &admission::BINDING,
        ("admissionregistration.k8s.io", "MutatingAdmissionPolicy") => &admission::MUTATING_POLICY,
        ("admissionregistration.k8s.io", "MutatingAdmissionPolicyBinding") => &admission::MUTATING_BINDING,
        ("flowcontrol.apiserver.k8s.io", "FlowSchema") => &flow::FLOW_SCHEMA,
        ("flowcontrol.apiserver.k8s.io", "PriorityLevelConfiguration") => &flow::PRIORITY_LEVEL,
        ("apiextensions.k8s.io", "CustomResourceDefinition") => &crate::definition::DEFINITION,
        (
            "admissionregistration.k8s.io",
            "ValidatingWebhookConfiguration" | "MutatingWebhookConfiguration",
        ) => &webhooks::WEBHOOKS,
        ("admissionregistration.k8s.io", _) => &WITH_GENERATION,
        _ => &PLAIN_KIND,
    }
}
