//! Values that only Kubernetes' libraries have.

use std::sync::Arc;

use apiserver_json::Map;

use super::authz::Stage;
use super::net::Cidr;
use super::quantity::Quantity;
use super::semver::Semver;
use super::url::Url;
use crate::authority::{Check, Verdict};

/// One of them.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Opaque {
    Quantity(Quantity),
    Ip(std::net::IpAddr),
    Cidr(Cidr),
    Url(Url),
    Semver(Semver),
    Format(&'static str),
    Check(Stage, Check),
    Verdict(Verdict),
    /// What an expression made of a type that is named after its place in an object, and what of it is named otherwise.
    Made {
        name: Arc<str>,
        members: Map,
        misplaced: Vec<String>,
    },
}

impl Opaque {
    pub(crate) fn type_name(&self) -> &str {
        match self {
            Self::Quantity(_) => "kubernetes.Quantity",
            Self::Ip(_) => "net.IP",
            Self::Cidr(_) => "net.CIDR",
            Self::Url(_) => "kubernetes.URL",
            Self::Semver(_) => "kubernetes.Semver",
            Self::Format(_) => "kubernetes.NamedFormat",
            Self::Check(Stage::Authorizer, _) => "kubernetes.authorization.Authorizer",
            Self::Check(Stage::Path, _) => "kubernetes.authorization.PathCheck",
            Self::Check(Stage::Group, _) => "kubernetes.authorization.GroupCheck",
            Self::Check(Stage::Resource, _) => "kubernetes.authorization.ResourceCheck",
            Self::Verdict(_) => "kubernetes.authorization.Decision",
            Self::Made { name, .. } => name,
        }
    }

    pub(crate) fn string(&self) -> Option<String> {
        match self {
            Self::Ip(ip) => Some(ip.to_string()),
            Self::Cidr(cidr) => Some(cidr.to_string()),
            _ => None,
        }
    }

    /// What costs are counted by.
    pub(crate) fn size(&self) -> Option<usize> {
        match self {
            Self::Ip(ip) => Some(if ip.is_ipv4() { 4 } else { 16 }),
            Self::Cidr(cidr) => Some(usize::from(cidr.bits).div_ceil(8)),
            _ => None,
        }
    }
}
