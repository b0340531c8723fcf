//! Trees of JSON, as objects are inside the API server.
//!
//! They are used as `serde_json`'s are, and say the same, but are made of fewer pieces: short text, and
//! thus nearly every key, lies where it is used, an object is one sorted list of its members, and long text is shared by
//! the trees it was cloned into. Most of what a write costs is making, searching, cloning and dropping trees.

use std::sync::Arc;

mod access;
mod convert;
mod macros;
mod map;
mod name;
mod parse;
mod read;
mod skip;
mod write;

pub use convert::ToValue;
pub use map::{Entry, Map};
pub use name::is_same as is_same_name;
pub use parse::{Parsed, parse};
pub use serde_json::{Deserializer, Error, Number, from_slice, from_str};
pub use skip::{Cursor, member, split_value};
pub use smol_str::SmolStr;
use thin_vec::ThinVec;
pub use write::{escape, plain_length, write, write_escaped, write_text};

/// Parts of `serde_json` that know nothing of trees.
pub mod value {
    pub use serde_json::value::RawValue;
}

/// Members as they are read, in any order.
pub type Members = ThinVec<(SmolStr, Value)>;

/// Items of an array. Like members, they are one pointer away, with how many they are: a value is as small as a text.
pub type Items = ThinVec<Value>;

/// Any JSON.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum Value {
    #[default]
    Null,
    Bool(bool),
    Number(Number),
    String(SmolStr),
    Array(Items),
    Object(Map),
    /// The text of an object that nobody looked into: written as it is, equal to the same text only.
    Raw(Arc<str>),
}

#[cfg(test)]
mod tests;
