//! `x-kubernetes-validations` of custom resource definitions.

mod compile;
mod definition;
mod field_path;
mod validate;

pub use compile::Rules;
pub use definition::{SchemaErrors, schema_errors};
pub use validate::Findings;
