//! Structural schemas: decoding, pruning, defaulting, patches, apply and field ownership.
//!
//! A pure crate: plain values in, plain values out. It knows how values of a kind are shaped and how they merge;
//! what a kind means (its defaults, its validation, its status) is the registry's business.

mod crd;
mod decode;
mod empties;
mod fields;
mod golang;
mod internal;
mod node;
mod openapi;
mod ownership;
mod patch;
pub mod protobuf;
mod quantity;
mod strict;
mod time;
mod types;

pub use crd::{
    apply_defaults, decode_embedded, decode_metadata, drop_nulls, drop_untyped_nulls, from_crd_schema, prune,
    prune_part, structure, validate, validate_change, value_errors,
};
pub use decode::{Decode, DecodeError, Unknown, decode, decode_sent, json_kind, zero};
pub use empties::{Empties, empties};
pub use golang::display as go_display;
pub use internal::{internal_diff, internal_json};
pub use node::{Field, List, ListKind, Object, Patch, Rules, Schema, Shape, Slot};
pub use openapi::{OpenApi, field_descriptions, group_versions, openapi_definitions, openapi_definitions_of};
pub use ownership::{
    ApplyError, Conflict, FieldSet, Manager, Operation, ScaleOwners, Versions, apply, configure, describe,
    print_path, update,
};
pub use patch::{
    MAX_OPERATIONS, PatchError, json_patch, merge_patch, shown_patched, strategic_merge, strict_operations,
    touched_by, unknown_patch_fields,
};
pub use protobuf::{MAGIC as PROTOBUF_MAGIC, ProtobufError, from_protobuf, from_protobuf_as, to_protobuf};
pub use quantity::normalise_quantity;
pub use strict::{duplicate_fields, strict_errors};
pub use time::{normalise_micro_time, normalise_time};
pub use types::{builtin, definition_of, kinds};
