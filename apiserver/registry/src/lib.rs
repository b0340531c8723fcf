//! The table of kinds and what happens to an object on its way in: defaults, rules, allocation, ownership.
//!
//! A verb is written once, here, for every kind; what differs is data in the [`Catalogue`] or functions in a
//! [`strategy::Strategy`]. HTTP, users and permissions are the server's business.

mod admin_access;
mod admission;
mod allocate;
mod catalogue;
pub mod columns;
mod conversion;
mod convert;
mod create;
pub mod custom;
mod decode;
mod definition;
mod delete;
mod embedded;
mod encode;
mod fields;
mod first_error;
mod ip_addresses;
mod list;
pub mod naming;
mod noted_times;
pub mod object;
mod registry;
pub mod scale;
mod scheme;
mod shared;
mod size;
pub mod strategy;
mod trees;
mod turns;
mod update;
mod webhook;

pub use admission::plugins::names as admission_plugins;
pub use admission::{Operation, Requester, Warnings};
pub use allocate::{Cidr, Exhausted, OWN_RANGE, ServiceRanges};
pub use apiserver_cel::{Authority, Check, Verdict};
pub use apiserver_storage::UnderWay;
pub use catalogue::{Catalogue, Column, Group, Resource, Subresource, compare_versions, default_columns};
pub use conversion::needs_settling;
pub use convert::annotations::convert_annotations;
pub use convert::{from_stored, to_stored, unfolded};
pub use decode::{
    Body, FieldValidation, cannot_handle, cannot_handle_as, check_sent_kind, check_types, decode,
    mistaken_document, read, settle, told_apart, unrecognized,
};
pub use definition::conditions as definition_conditions;
pub use delete::{DeleteOptions, Deleted, Propagation};
pub use encode::document;
pub use fields::{check as check_field_selector, of as selectable_fields};
pub use ip_addresses::{AddressProblem, AddressRepair};
pub use list::{Listing, Page, Selectors, cache_error, identity};
pub use registry::{Call, Registry, Written, now, random_suffix};
pub use scheme::said_kind;
pub use shared::{StoredValues, claims_of_new, layout as etcd_layout};
pub use update::{Changed, Preconditions, record_owner, record_sender, reset_fields};
pub use webhook::{WebhookAddress, WebhookCaller, WebhookError, WebhookTarget};
