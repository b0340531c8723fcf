//! The kinds that loops read and write. Their JSON is read and written here and nowhere else: that is compiled once,
//! not once in each crate that uses them.

use k8s_openapi::api::apps::v1::{ControllerRevision, DaemonSet, Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{
    ConfigMap, Endpoints, Event, Namespace, Node, PersistentVolume, PersistentVolumeClaim, Pod,
    ReplicationController, ResourceQuota, Secret, Service, ServiceAccount,
};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::{Ingress, IngressClass, ServiceCIDR};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::rbac::v1::ClusterRole;
use k8s_openapi::api::storage::v1::VolumeAttributesClass;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::core::PartialObjectMeta;

/// Makes types with serde and `kube::Resource` into an [`Object`](crate::Object).
#[macro_export]
macro_rules! objects {
    ($($kind:ty),* $(,)?) => {
        $(impl $crate::Object for $kind {
            fn from_tree(tree: $crate::Tree) -> ::serde_json::Result<Self> {
                ::serde_json::from_value(tree)
            }

            fn to_json(&self) -> ::serde_json::Result<Vec<u8>> {
                ::serde_json::to_vec(self)
            }
        })*
    };
}

objects! {
    CertificateSigningRequest, ClusterRole, ConfigMap, ControllerRevision, CronJob, DaemonSet, Deployment, EndpointSlice, Endpoints, Event, Ingress,
    IngressClass, Job, Lease, Namespace, Node, PersistentVolume, PersistentVolumeClaim, Pod, PodDisruptionBudget, ReplicaSet, ReplicationController, ResourceQuota, Secret, Service, ServiceAccount,
    ServiceCIDR, StatefulSet, VolumeAttributesClass, PartialObjectMeta<CustomResourceDefinition>,
}
