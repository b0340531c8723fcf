//! The words of the Kubernetes API: Status, field errors, names, selectors, resource identities.
//!
//! A pure crate: plain values in, plain values out. It knows no storage, no HTTP and no clock.

pub mod base64;
pub mod duration;
pub mod field;
pub mod gvk;
pub mod json;
pub mod names;
pub mod outline;
pub mod packed;
pub mod quantity;
pub mod re2;
pub mod selector;
pub mod status;
pub mod url;

pub use gvk::{GroupResource, GroupVersion, GroupVersionKind};
pub use status::Status;
