//! What AWS says: nouns, operations, errors, quotas, names, and the Kubernetes objects they are written as.
//!
//! Values only. It decides nothing: refusing, allocating and answering is `fake-aws`, matching is `alb-routing`.

pub mod acm;
mod action;
pub mod crd;
mod crd_fields;
pub mod ec2;
pub mod elbv2;
pub mod error;
pub mod health;
pub mod instance_types;
pub mod layout;
pub mod limits;
pub mod names;
pub mod object;
pub mod operation;
pub mod route53;
mod text_enum;

pub use error::{Code, Error, Parameter};
pub use object::{GROUP, Resource, VERSION};
pub use operation::{Answer, Aws, AwsFuture, Operation, Request};

use serde::{Deserialize, Serialize};

/// A key and value attached to a resource.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Tag {
    /// Tag key.
    pub key: String,
    /// Tag value; may be empty.
    #[serde(default)]
    pub value: String,
}

impl Tag {
    /// A tag of this key and value.
    pub fn new(key: impl Into<String>, value: impl Into<String>) -> Self {
        Tag { key: key.into(), value: value.into() }
    }
}

/// The value of tag `key`, if present.
pub fn tag<'a>(tags: &'a [Tag], key: &str) -> Option<&'a str> {
    tags.iter().find(|t| t.key == key).map(|t| t.value.as_str())
}
