//! CEL, the expression language of validation rules and admission policies, as Kubernetes 1.36 speaks it.
//!
//! The grammar is the `cel` crate's. Types, costs and values are ours, because Kubernetes' messages and limits depend
//! on them, and because values here are views of the JSON that is validated.
//!
//! Pure: expressions see what they are given. Every evaluation is paid for, so that none can take long.

mod ast;
mod authority;
mod check;
mod convert;
mod decl;
mod device;
mod equal;
mod escape;
mod eval;
mod functions;
mod issue;
mod library;
mod macros;
mod operators;
mod parse;
mod program;
mod spend;
mod templates;
mod types;
mod unify;
mod value;

mod cost;
mod crd;
mod price;
mod size;

pub use authority::{Authority, Check, Verdict};
pub use device::device_selector_error;

pub use crd::{Findings, Rules, SchemaErrors, schema_errors};

mod policy;

pub use policy::{Decision, Input, Mutated, Policy, condition_errors, mutating_policy_errors, policy_errors};
