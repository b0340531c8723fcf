//! `application/vnd.kubernetes.protobuf`: an envelope that names the kind, and in it the Go type's message.
//!
//! The messages are facts of the API's Go types (`data/protobuf.tsv`). Reading gives the JSON tree that a message
//! means; writing gives, byte for byte, what Go's generated code writes for the object that a tree means. Nothing is
//! defaulted or checked here.

mod read;
mod special;
mod table;
#[cfg(test)]
mod tests;
mod write;

pub use read::{ProtobufError, from_protobuf, from_protobuf_as};
pub use write::{
    Message, to_protobuf, write_event, write_list_head, write_list_item, write_message, write_prefix,
    write_suffix,
};

/// What every body begins with.
pub const MAGIC: &[u8] = b"k8s\0";
/// Nesting that a body may have; JSON bodies have the same bound.
const DEPTH_MAX: usize = 120;
