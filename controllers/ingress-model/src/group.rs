//! Which group an Ingress is in, and everything a plan is made from.
//!
//! Whether an Ingress belongs to the controller at all (its class) is not decided here.

use crate::annotations::{Annotations, about};
use ccm_mock_aws_api::acm::Certificate;
use ccm_mock_aws_api::ec2::Subnet;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::networking::v1::Ingress;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// A group: named by annotation (no namespace), or of the one Ingress of this namespace and name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct GroupId {
    /// Empty for a group named by annotation.
    pub namespace: String,
    /// Name of the group or of the Ingress.
    pub name: String,
}

impl GroupId {
    /// True if it is named by annotation and can have several members.
    pub fn is_explicit(&self) -> bool {
        self.namespace.is_empty()
    }

    /// The finalizer its members carry.
    pub fn finalizer(&self) -> String {
        if self.is_explicit() {
            format!("group.ingress.k8s.aws/{}", self.name)
        } else {
            "ingress.k8s.aws/resources".into()
        }
    }
}

impl fmt::Display for GroupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_explicit() {
            f.write_str(&self.name)
        } else {
            write!(f, "{}/{}", self.namespace, self.name)
        }
    }
}

/// A group with everything its members refer to.
#[derive(Debug, Clone, Default)]
pub struct Group {
    /// Name of the cluster.
    pub cluster: String,
    /// Which group.
    pub id: GroupId,
    /// Members, in any order.
    pub members: Vec<Arc<Ingress>>,
    /// Services by namespace and name; one that is missing does not exist.
    pub services: BTreeMap<(String, String), Arc<Service>>,
    /// Certificates that can be discovered.
    pub certificates: Vec<Certificate>,
    /// Subnets that can be discovered.
    pub subnets: Vec<Subnet>,
    /// ARNs of target groups by name, for actions that name one.
    pub target_groups: BTreeMap<String, String>,
}

/// Why there is no plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// Upstream's sentence.
    pub reason: String,
    /// True if something outside the cluster may make it right without any object changing.
    pub outside: bool,
}

impl From<String> for Refused {
    fn from(reason: String) -> Self {
        Refused { reason, outside: false }
    }
}

/// Namespace and name of an Ingress.
pub(crate) fn key(ingress: &Ingress) -> (String, String) {
    let meta = &ingress.metadata;
    (meta.namespace.clone().unwrap_or_default(), meta.name.clone().unwrap_or_default())
}

/// The attribute of a load balancer that keeps it from being deleted.
pub const DELETION_PROTECTION: &str = "deletion_protection.enabled";

/// Upstream's refusal to let go an Ingress that is being deleted while its annotation protects the load balancer.
///
/// # Errors
/// When it does.
pub fn deletable(ingress: &Ingress) -> Result<(), String> {
    let annotations = Annotations::of(ingress.metadata.annotations.as_ref());
    let name = "load-balancer-attributes";
    // What cannot be read protects nothing: it made no load balancer either.
    let attributes = annotations.map(name).unwrap_or_default();
    if attributes.get(DELETION_PROTECTION).is_none_or(|value| value != "true") {
        return Ok(());
    }
    let (_, of) = key(ingress);
    Err(about(format!("deletion_protection is enabled, cannot delete the ingress: {of}"), name))
}

fn valid_name(name: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.';
    let edge = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    name.len() <= 63 && name.bytes().all(inner) && edge(name.bytes().next()) && edge(name.bytes().last())
}

/// The group of an Ingress and its place in it.
///
/// # Errors
/// When group.name or group.order is not valid.
pub fn membership(ingress: &Ingress) -> Result<(GroupId, i64), String> {
    let (namespace, name) = key(ingress);
    let annotations = Annotations::of(ingress.metadata.annotations.as_ref());
    let Some(group) = annotations.text("group.name") else {
        return Ok((GroupId { namespace, name }, 0));
    };
    if !valid_name(group) {
        let why = format!(
            "invalid ingress group: groupName must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character: {group}"
        );
        return Err(about(why, "group.name"));
    }
    let order = annotations.integer("group.order")?.unwrap_or(0);
    if !(-1000..=1000).contains(&order) {
        let why = format!(
            "explicit ingress group order must be within [-1000:1000], Ingress: {namespace}/{name}, order: {order}"
        );
        return Err(about(why, "group.order"));
    }
    Ok((GroupId { namespace: String::new(), name: group.to_string() }, order))
}
