//! What an object uses of a ResourceQuota, which quotas count it, and whether it fits.
//!
//! Admission asks before a write, the controller adds up what is there: both call the same functions. Objects are
//! trees, as they are served; the time is an argument. `k8s.io/apiserver/pkg/quota/v1` upstream.

pub mod amount;
pub mod amounts;
mod claim;
pub mod fit;
pub mod measure;
mod pod;
mod requirements;
pub mod scope;
mod service;
#[cfg(test)]
mod tests;
pub mod usage;

pub use amount::Amount;
pub use amounts::Amounts;
pub use measure::Measure;

use serde_json::Value;

fn text<'a>(object: &'a Value, member: &str) -> &'a str {
    object.get(member).and_then(Value::as_str).unwrap_or("")
}

fn items<'a>(object: &'a Value, member: &str) -> &'a [Value] {
    object.get(member).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}
