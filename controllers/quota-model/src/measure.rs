//! How a resource is measured: by what its objects ask for, or by counting them.

use jiff::Timestamp;
use serde_json::Value;

use crate::amount::Amount;
use crate::amounts::Amounts;
use crate::scope::Requirement;
use crate::{claim, pod, service};

/// Resources that had a name of their own before all could be counted.
const ALIASES: &[&str] = &["configmaps", "resourcequotas", "replicationcontrollers", "secrets"];

/// How a resource is measured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Measure {
    Pods,
    Services,
    Claims,
    /// Counted under these names.
    Objects(Vec<String>),
}

/// What is done to an object.
#[derive(Clone, Copy, Debug)]
pub struct Change<'a> {
    pub new: &'a Value,
    /// What it was; `None` where it is new.
    pub old: Option<&'a Value>,
    pub subresource: &'a str,
}

impl Measure {
    /// How a resource is measured; `None` for what no quota counts.
    pub fn of(group: &str, resource: &str) -> Option<Self> {
        Some(match (group, resource) {
            ("" | "events.k8s.io", "events") => return None,
            ("", "pods") => Self::Pods,
            ("", "services") => Self::Services,
            ("", "persistentvolumeclaims") => Self::Claims,
            ("", _) if ALIASES.contains(&resource) => {
                Self::Objects(vec![format!("count/{resource}"), resource.to_owned()])
            }
            ("", _) => Self::Objects(vec![format!("count/{resource}")]),
            _ => Self::Objects(vec![format!("count/{resource}.{group}")]),
        })
    }

    /// Is this amount one of the resource's?
    pub fn counts(&self, name: &str) -> bool {
        match self {
            Self::Pods => pod::counts(name),
            Self::Services => service::NAMES.contains(&name),
            Self::Claims => claim::counts(name),
            Self::Objects(names) => names.iter().any(|known| known == name),
        }
    }

    /// May such a change raise what is used?
    pub fn looks_at(&self, change: Change<'_>) -> bool {
        match (self, change.subresource, change.old) {
            (_, "", None) | (Self::Pods, "resize", Some(_)) => true,
            (Self::Services, "", Some(_)) | (Self::Claims, "" | "status", Some(_)) => true,
            (Self::Pods, "", Some(old)) => pod::is_terminating(old) != pod::is_terminating(change.new),
            _ => false,
        }
    }

    /// What an object uses.
    pub fn usage(&self, object: &Value, now: Timestamp) -> Amounts {
        match self {
            Self::Pods => pod::usage(object, now),
            Self::Services => service::usage(object),
            Self::Claims => claim::usage(object),
            Self::Objects(names) => names.iter().map(|name| (name.clone(), Amount::count(1))).collect(),
        }
    }

    /// Does an object meet all requirements? What is only counted meets none.
    pub fn matches(&self, requirements: &[Requirement<'_>], object: &Value) -> bool {
        requirements.iter().all(|requirement| match self {
            Self::Pods => pod::matches(requirement, object),
            Self::Claims => claim::matches(requirement, object),
            Self::Services | Self::Objects(_) => false,
        })
    }

    /// What the object ought to say where these amounts are limited.
    pub fn unsaid(&self, object: &Value, limited: &[&str]) -> Option<String> {
        if *self == Self::Pods { pod::unsaid(object, limited) } else { None }
    }
}
