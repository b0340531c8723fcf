//! Custom resources: reading a CRD's schema, and pruning, defaulting and validating objects by it.
//!
//! CEL rules (`x-kubernetes-validations`) are not evaluated here; they need an expression engine.

mod defaults;
mod embedded;
mod formats;
mod parse;
mod prune;
mod structural;
mod validate;

#[cfg(test)]
mod tests;

pub use defaults::{apply_defaults, drop_nulls, drop_untyped_nulls};
pub use embedded::decode_embedded;
pub use parse::from_crd_schema;
pub use prune::{decode_metadata, prune, prune_part};
pub use structural::structure;
pub use validate::{validate, validate_change, value_errors};

/// A compiled pattern may take this much memory.
const PATTERN_MAX: usize = 10 << 20;

/// Fields every API object has.
fn is_meta(key: &str) -> bool {
    matches!(key, "apiVersion" | "kind" | "metadata")
}
