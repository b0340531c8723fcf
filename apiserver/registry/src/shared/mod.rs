//! What a store that other API servers use too asks of the registry: where objects are in it and what their values mean, as
//! kube-apiserver has both.

pub(crate) mod claims;
pub(crate) mod layout;
mod values;

pub use claims::claims_of_new;
pub use layout::layout;
pub use values::StoredValues;
