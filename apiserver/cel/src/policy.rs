//! Validating admission policies: their expressions compiled, and what they say of a request.

mod compile;
mod evaluate;
mod types;

pub use compile::{Policy, condition_errors, mutating_policy_errors, policy_errors};
pub use evaluate::{Decision, Input};
