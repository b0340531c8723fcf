//! Which kinds upstream knows, served or not: what is said of a body that is of another kind depends on it.

use apiserver_json::Value;
use apiserver_meta::{GroupVersion, GroupVersionKind};

/// Kinds that upstream can still read though no path serves their version.
const UNSERVED: &[(&str, &str, &[&str])] = &[
    ("admission.k8s.io", "v1", &["AdmissionReview"]),
    ("admission.k8s.io", "v1beta1", &["AdmissionReview"]),
    (
        "admissionregistration.k8s.io",
        "v1alpha1",
        &[
            "MutatingAdmissionPolicy",
            "MutatingAdmissionPolicyBinding",
            "ValidatingAdmissionPolicy",
            "ValidatingAdmissionPolicyBinding",
        ],
    ),
    (
        "admissionregistration.k8s.io",
        "v1beta1",
        &[
            "MutatingWebhookConfiguration",
            "ValidatingWebhookConfiguration",
            "ValidatingAdmissionPolicy",
            "ValidatingAdmissionPolicyBinding",
            "MutatingAdmissionPolicy",
            "MutatingAdmissionPolicyBinding",
        ],
    ),
    ("apps", "v1beta1", &["Deployment", "StatefulSet", "ControllerRevision", "Scale", "DeploymentRollback"]),
    (
        "apps",
        "v1beta2",
        &["Deployment", "StatefulSet", "ControllerRevision", "DaemonSet", "ReplicaSet", "Scale"],
    ),
    ("authentication.k8s.io", "v1alpha1", &["SelfSubjectReview"]),
    ("authentication.k8s.io", "v1beta1", &["TokenReview", "SelfSubjectReview"]),
    (
        "authorization.k8s.io",
        "v1beta1",
        &[
            "LocalSubjectAccessReview",
            "SelfSubjectAccessReview",
            "SelfSubjectRulesReview",
            "SubjectAccessReview",
        ],
    ),
    ("batch", "v1beta1", &["CronJob"]),
    ("certificates.k8s.io", "v1alpha1", &["ClusterTrustBundle"]),
    (
        "certificates.k8s.io",
        "v1beta1",
        &["CertificateSigningRequest", "ClusterTrustBundle", "PodCertificateRequest"],
    ),
    ("coordination.k8s.io", "v1alpha2", &["LeaseCandidate"]),
    ("coordination.k8s.io", "v1beta1", &["Lease", "LeaseCandidate"]),
    ("discovery.k8s.io", "v1beta1", &["EndpointSlice"]),
    ("events.k8s.io", "v1beta1", &["Event"]),
    (
        "extensions",
        "v1beta1",
        &["Deployment", "DaemonSet", "ReplicaSet", "Ingress", "NetworkPolicy", "Scale", "DeploymentRollback"],
    ),
    ("flowcontrol.apiserver.k8s.io", "v1beta1", &["FlowSchema", "PriorityLevelConfiguration"]),
    ("flowcontrol.apiserver.k8s.io", "v1beta2", &["FlowSchema", "PriorityLevelConfiguration"]),
    ("flowcontrol.apiserver.k8s.io", "v1beta3", &["FlowSchema", "PriorityLevelConfiguration"]),
    ("imagepolicy.k8s.io", "v1alpha1", &["ImageReview"]),
    ("internal.apiserver.k8s.io", "v1alpha1", &["StorageVersion"]),
    ("networking.k8s.io", "v1beta1", &["Ingress", "IngressClass", "IPAddress", "ServiceCIDR"]),
    ("node.k8s.io", "v1alpha1", &["RuntimeClass"]),
    ("node.k8s.io", "v1beta1", &["RuntimeClass"]),
    ("policy", "v1beta1", &["PodDisruptionBudget", "Eviction"]),
    ("rbac.authorization.k8s.io", "v1alpha1", &["Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding"]),
    ("rbac.authorization.k8s.io", "v1beta1", &["Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding"]),
    ("resource.k8s.io", "v1alpha3", &["DeviceTaintRule", "ResourcePoolStatusRequest"]),
    (
        "resource.k8s.io",
        "v1beta1",
        &["DeviceClass", "ResourceClaim", "ResourceClaimTemplate", "ResourceSlice"],
    ),
    (
        "resource.k8s.io",
        "v1beta2",
        &["DeviceClass", "DeviceTaintRule", "ResourceClaim", "ResourceClaimTemplate", "ResourceSlice"],
    ),
    ("scheduling.k8s.io", "v1alpha2", &["PodGroup", "Workload"]),
    ("scheduling.k8s.io", "v1beta1", &["PriorityClass"]),
    ("storage.k8s.io", "v1alpha1", &["CSIStorageCapacity", "VolumeAttachment", "VolumeAttributesClass"]),
    (
        "storage.k8s.io",
        "v1beta1",
        &[
            "StorageClass",
            "VolumeAttachment",
            "CSIDriver",
            "CSINode",
            "CSIStorageCapacity",
            "VolumeAttributesClass",
        ],
    ),
    ("storagemigration.k8s.io", "v1beta1", &["StorageVersionMigration"]),
];

/// Kinds of the core group that are parts of requests or of nothing at all.
const CORE: &[&str] = &[
    "List",
    "NodeProxyOptions",
    "PodAttachOptions",
    "PodExecOptions",
    "PodLogOptions",
    "PodPortForwardOptions",
    "PodProxyOptions",
    "PodStatusResult",
    "RangeAllocation",
    "SerializedReference",
    "ServiceProxyOptions",
];

/// Kinds that every version has.
const EVERYWHERE: &[&str] = &[
    "APIGroup",
    "APIGroupList",
    "APIResourceList",
    "APIVersions",
    "CreateOptions",
    "DeleteOptions",
    "GetOptions",
    "ListOptions",
    "PatchOptions",
    "Status",
    "UpdateOptions",
    "WatchEvent",
];

/// Whether upstream can read a kind.
fn is_registered(gvk: &GroupVersionKind) -> bool {
    let (group, version, kind) = (gvk.group.as_str(), gvk.version.as_str(), gvk.kind.as_str());
    let served = apiserver_schema::kinds().any(|(of, at, _, _)| (of, at) == (group, version));
    let unserved = UNSERVED.iter().find(|(of, at, _)| (*of, *at) == (group, version));
    if EVERYWHERE.contains(&kind) {
        return served || unserved.is_some();
    }
    let plain = kind.strip_suffix("List").unwrap_or(kind);
    let own = |kind: &str| {
        apiserver_schema::kinds().any(|(of, at, known, _)| (of, at, known) == (group, version, kind))
    };
    own(kind)
        || (plain != kind && own(plain))
        || (group.is_empty() && version == "v1" && CORE.contains(&kind))
        || unserved.is_some_and(|(_, _, kinds)| kinds.contains(&plain))
}

/// The Go package of a group's kinds as upstream holds them in memory.
fn package<'a>(group: &'a str, kind: &str) -> &'a str {
    match (group, kind) {
        ("" | "events.k8s.io", _) => "core",
        ("internal.apiserver.k8s.io", _) => "apiserverinternal",
        ("extensions", "Ingress" | "NetworkPolicy") => "networking",
        ("extensions" | "apps", "Scale") => "autoscaling",
        ("extensions", _) => "apps",
        (group, _) => group.split('.').next().unwrap_or(group),
    }
}

/// Why an object that says it is of the first kind cannot be taken for one of the second. None if it can.
pub(crate) fn mistaken_kind(
    sent: &GroupVersionKind,
    wanted: &GroupVersionKind,
    value: &Value,
) -> Option<String> {
    if sent == wanted {
        return None;
    }
    // These have schemes of their own, which nobody else reads.
    let is_apart = matches!(wanted.group.as_str(), "apiextensions.k8s.io" | "apiregistration.k8s.io");
    let is_old = sent.version == "v1beta1" && (&sent.group, &sent.kind) == (&wanted.group, &wanted.kind);
    if !(is_registered(sent) || is_apart && is_old) {
        return Some(format!(
            "no kind {:?} is registered for version {:?} in scheme \"pkg/api/legacyscheme/scheme.go:30\"",
            sent.kind,
            sent.api_version()
        ));
    }
    let target = package(&wanted.group, &wanted.kind);
    if sent.kind == wanted.kind && package(&sent.group, &sent.kind) == target {
        return None;
    }
    // Upstream reads the object as what it says it is before it finds that it is something else.
    if let Some(schema) = apiserver_schema::builtin(&sent.group, &sent.version, &sent.kind)
        && let Err(error) =
            apiserver_schema::decode(&schema, &mut value.clone(), apiserver_schema::Decode::Json)
    {
        return Some(error.message);
    }
    Some(format!(
        "converting ({}.{}) to ({target}.{}): unknown conversion",
        sent.version, sent.kind, wanted.kind
    ))
}

/// What an object says it is; what it leaves out is what it is wanted to be.
///
/// # Errors
/// The text about a version that is none.
pub fn said_kind(value: &Value, wanted: &GroupVersionKind) -> Result<GroupVersionKind, String> {
    let text = |member: &str| value.get(member).and_then(Value::as_str).unwrap_or("");
    let (api_version, kind) = (text("apiVersion"), text("kind"));
    if api_version.matches('/').count() > 1 {
        return Err(format!("unexpected GroupVersion string: {api_version}"));
    }
    let kind = if kind.is_empty() { &wanted.kind } else { kind };
    let said = GroupVersion::parse(api_version);
    let version = match said.version.as_str() {
        "" if said.group.is_empty() => {
            return Ok(GroupVersionKind { kind: kind.to_owned(), ..wanted.clone() });
        }
        "" if said.group == wanted.group => &wanted.version,
        version => version,
    };
    Ok(GroupVersionKind::new(&*said.group, version, kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_kinds_are_told_apart() {
        let none = |kind: &str, version: &str| {
            format!(
                "no kind {kind:?} is registered for version {version:?} in scheme \"pkg/api/legacyscheme/scheme.go:30\""
            )
        };
        let other = |from: &str, to: &str| format!("converting ({from}) to ({to}): unknown conversion");
        for (sent, wanted, expected) in [
            (("", "v1", "Secret"), ("", "v1", "ConfigMap"), Some(other("v1.Secret", "core.ConfigMap"))),
            (
                ("", "v1", "SecretList"),
                ("", "v1", "ConfigMap"),
                Some(other("v1.SecretList", "core.ConfigMap")),
            ),
            (("", "v1", "List"), ("", "v1", "ConfigMap"), Some(other("v1.List", "core.ConfigMap"))),
            (("", "v2", "ConfigMap"), ("", "v1", "ConfigMap"), Some(none("ConfigMap", "v2"))),
            (
                ("node.k8s.io", "v1alpha1", "RuntimeClass"),
                ("", "v1", "ConfigMap"),
                Some(other("v1alpha1.RuntimeClass", "core.ConfigMap")),
            ),
            (
                ("apiextensions.k8s.io", "v1beta1", "CustomResourceDefinition"),
                ("apiextensions.k8s.io", "v1", "CustomResourceDefinition"),
                None,
            ),
            (
                ("apiextensions.k8s.io", "v1beta1", "CustomResourceDefinition"),
                ("", "v1", "ConfigMap"),
                Some(none("CustomResourceDefinition", "apiextensions.k8s.io/v1beta1")),
            ),
            (("", "v1", "Eviction"), ("", "v1", "ConfigMap"), Some(none("Eviction", "v1"))),
            (
                ("apps", "v1", "Status"),
                ("apps", "v1", "Deployment"),
                Some(other("v1.Status", "apps.Deployment")),
            ),
            (("apps", "v1", "Pod"), ("apps", "v1", "Deployment"), Some(none("Pod", "apps/v1"))),
            (("extensions", "v1beta1", "Deployment"), ("apps", "v1", "Deployment"), None),
            (("extensions", "v1beta1", "Ingress"), ("networking.k8s.io", "v1", "Ingress"), None),
            (
                ("autoscaling", "v1", "HorizontalPodAutoscaler"),
                ("autoscaling", "v2", "HorizontalPodAutoscaler"),
                None,
            ),
        ] {
            let gvk =
                |(group, version, kind): (&str, &str, &str)| GroupVersionKind::new(group, version, kind);
            assert_eq!(mistaken_kind(&gvk(sent), &gvk(wanted), &Value::Null), expected, "{sent:?}");
        }
    }

    #[test]
    fn what_is_not_said_is_what_is_wanted() {
        let wanted = GroupVersionKind::new("apps", "v1", "Deployment");
        for (api_version, expected) in [
            ("", Ok("apps/v1")),
            ("/", Ok("apps/v1")),
            ("apps/", Ok("apps/v1")),
            ("/v1", Ok("v1")),
            ("a/b/c", Err("unexpected GroupVersion string: a/b/c")),
        ] {
            let value = apiserver_json::json!({"apiVersion": api_version});
            let said = said_kind(&value, &wanted).map(|gvk| gvk.api_version());
            assert_eq!(said, expected.map(str::to_owned).map_err(str::to_owned), "{api_version}");
        }
    }
}
