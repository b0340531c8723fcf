//! What the columns of built-in kinds say of themselves, in the API's own words.

use std::collections::HashMap;
use std::sync::OnceLock;

/// Where a column's text comes from.
enum Text {
    /// The documentation of a field: type name, path.
    Field(&'static str, &'static [&'static str]),
    Words(&'static str),
}

use Text::{Field, Words};

const POD_SPEC: &str = "io.k8s.api.core.v1.PodSpec";
const POD_STATUS: &str = "io.k8s.api.core.v1.PodStatus";
const SERVICE_SPEC: &str = "io.k8s.api.core.v1.ServiceSpec";
const NODE_STATUS: &str = "io.k8s.api.core.v1.NodeStatus";
const NODE_INFO: &str = "io.k8s.api.core.v1.NodeSystemInfo";
const DAEMON_STATUS: &str = "io.k8s.api.apps.v1.DaemonSetStatus";
const NAMES: Text = Words("Names of each container in the template.");
const IMAGES: Text = Words("Images referenced by each container in the template.");

const ROLE_REF: &str = "RoleRef can reference a Role in the current namespace or a ClusterRole in the global namespace. If the RoleRef cannot be resolved, the Authorizer must return an error.";
const CLUSTER_ROLE_REF: &str = "RoleRef can only reference a ClusterRole in the global namespace. If the RoleRef cannot be resolved, the Authorizer must return an error.";

const TEXTS: &[(&str, &str, Text)] = &[
    ("Pod", "Ready", Words("The aggregate readiness state of this pod for accepting traffic.")),
    ("Pod", "Status", Words("The aggregate status of the containers in this pod.")),
    (
        "Pod",
        "Restarts",
        Words(
            "The number of times the containers in this pod have been restarted and when the last container in this pod has restarted.",
        ),
    ),
    ("Pod", "IP", Field(POD_STATUS, &["podIP"])),
    ("Pod", "Node", Field(POD_SPEC, &["nodeName"])),
    ("Pod", "Nominated Node", Field(POD_STATUS, &["nominatedNodeName"])),
    ("Pod", "Readiness Gates", Field(POD_SPEC, &["readinessGates"])),
    ("Service", "Type", Field(SERVICE_SPEC, &["type"])),
    ("Service", "Cluster-IP", Field(SERVICE_SPEC, &["clusterIP"])),
    ("Service", "External-IP", Field(SERVICE_SPEC, &["externalIPs"])),
    ("Service", "Port(s)", Field(SERVICE_SPEC, &["ports"])),
    ("Service", "Selector", Field(SERVICE_SPEC, &["selector"])),
    ("Endpoints", "Endpoints", Field("io.k8s.api.core.v1.Endpoints", &["subsets"])),
    ("ConfigMap", "Data", Field("io.k8s.api.core.v1.ConfigMap", &["data"])),
    ("Secret", "Type", Field("io.k8s.api.core.v1.Secret", &["type"])),
    ("Secret", "Data", Field("io.k8s.api.core.v1.Secret", &["data"])),
    ("Namespace", "Status", Words("The status of the namespace")),
    ("Node", "Status", Words("The status of the node")),
    ("Node", "Roles", Words("The roles of the node")),
    ("Node", "Version", Field(NODE_INFO, &["kubeletVersion"])),
    ("Node", "Internal-IP", Field(NODE_STATUS, &["addresses"])),
    ("Node", "External-IP", Field(NODE_STATUS, &["addresses"])),
    ("Node", "OS-Image", Field(NODE_INFO, &["osImage"])),
    ("Node", "Kernel-Version", Field(NODE_INFO, &["kernelVersion"])),
    ("Node", "Container-Runtime", Field(NODE_INFO, &["containerRuntimeVersion"])),
    ("ReplicaSet", "Desired", Field("io.k8s.api.apps.v1.ReplicaSetSpec", &["replicas"])),
    ("ReplicaSet", "Current", Field("io.k8s.api.apps.v1.ReplicaSetStatus", &["replicas"])),
    ("ReplicaSet", "Ready", Field("io.k8s.api.apps.v1.ReplicaSetStatus", &["readyReplicas"])),
    ("ReplicaSet", "Selector", Field("io.k8s.api.apps.v1.ReplicaSetSpec", &["selector"])),
    ("Deployment", "Ready", Words("Number of the pod with ready state")),
    ("Deployment", "Up-to-date", Field("io.k8s.api.apps.v1.DeploymentStatus", &["updatedReplicas"])),
    ("Deployment", "Available", Field("io.k8s.api.apps.v1.DeploymentStatus", &["availableReplicas"])),
    ("Deployment", "Selector", Field("io.k8s.api.apps.v1.DeploymentSpec", &["selector"])),
    ("StatefulSet", "Ready", Words("Number of the pod with ready state")),
    ("DaemonSet", "Desired", Field(DAEMON_STATUS, &["desiredNumberScheduled"])),
    ("DaemonSet", "Current", Field(DAEMON_STATUS, &["currentNumberScheduled"])),
    ("DaemonSet", "Ready", Field(DAEMON_STATUS, &["numberReady"])),
    ("DaemonSet", "Up-to-date", Field(DAEMON_STATUS, &["updatedNumberScheduled"])),
    ("DaemonSet", "Available", Field(DAEMON_STATUS, &["numberAvailable"])),
    ("DaemonSet", "Node Selector", Field(POD_SPEC, &["nodeSelector"])),
    ("DaemonSet", "Selector", Field("io.k8s.api.apps.v1.DaemonSetSpec", &["selector"])),
    (
        "Ingress",
        "Class",
        Words("The name of the IngressClass resource that should be used for additional configuration"),
    ),
    ("Ingress", "Hosts", Words("Hosts that incoming requests are matched against before the ingress rule")),
    ("Ingress", "Address", Words("Address is a list containing ingress points for the load-balancer")),
    ("Ingress", "Ports", Words("Ports of TLS configurations that open")),
    ("IngressClass", "Controller", Words("Controller that is responsible for handling this class")),
    ("IngressClass", "Parameters", Words("A reference to a resource with additional parameters")),
    ("NetworkPolicy", "Pod-Selector", Field("io.k8s.api.networking.v1.NetworkPolicySpec", &["podSelector"])),
    ("RoleBinding", "Role", Words(ROLE_REF)),
    ("RoleBinding", "Users", Words("Users in the roleBinding")),
    ("RoleBinding", "Groups", Words("Groups in the roleBinding")),
    ("RoleBinding", "ServiceAccounts", Words("ServiceAccounts in the roleBinding")),
    ("ClusterRoleBinding", "Role", Words(CLUSTER_ROLE_REF)),
    ("ClusterRoleBinding", "Users", Words("Users in the clusterRoleBinding")),
    ("ClusterRoleBinding", "Groups", Words("Groups in the clusterRoleBinding")),
    ("ClusterRoleBinding", "ServiceAccounts", Words("ServiceAccounts in the clusterRoleBinding")),
    ("EndpointSlice", "AddressType", Field("io.k8s.api.discovery.v1.EndpointSlice", &["addressType"])),
    ("EndpointSlice", "Ports", Field("io.k8s.api.discovery.v1.EndpointSlice", &["ports"])),
    ("EndpointSlice", "Endpoints", Field("io.k8s.api.discovery.v1.EndpointSlice", &["endpoints"])),
    ("Lease", "Holder", Field("io.k8s.api.coordination.v1.LeaseSpec", &["holderIdentity"])),
];

/// The text of a column; empty where none is known.
pub(crate) fn of(kind: &str, column: &str) -> String {
    static FOUND: OnceLock<HashMap<(&str, &str), String>> = OnceLock::new();
    let found = FOUND.get_or_init(|| {
        let fields: Vec<(&'static str, &[&str])> = TEXTS
            .iter()
            .filter_map(|(_, _, text)| match text {
                Field(definition, path) => Some((*definition, *path)),
                Words(_) => None,
            })
            .collect();
        let mut described = apiserver_schema::field_descriptions(&fields).into_iter();
        TEXTS
            .iter()
            .map(|(kind, column, text)| {
                let text = match text {
                    Field(..) => described.next().flatten().unwrap_or_default(),
                    Words(words) => (*words).to_owned(),
                };
                ((*kind, *column), text)
            })
            .collect()
    });
    if let Some(text) = found.get(&(kind, column)) {
        return text.clone();
    }
    let shared = [("Containers", NAMES), ("Images", IMAGES)];
    match shared.iter().find(|(name, _)| *name == column) {
        Some((_, Words(words))) => (*words).to_owned(),
        _ => String::new(),
    }
}
