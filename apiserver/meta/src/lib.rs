//! The words of the Kubernetes API: field errors, Status, names, selectors, quantities, times.
//!
//! A pure crate: plain values in, plain values out. It knows no storage, no HTTP and no clock.

pub mod field;
