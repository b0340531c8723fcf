//! Admission policies: their expressions compiled, and what they say of a request or make of an object.

mod compile;
mod evaluate;
mod mutate;
mod types;

pub use compile::{Policy, condition_errors, mutating_policy_errors, policy_errors};
pub use evaluate::{Decision, Input};
pub use mutate::Mutated;
