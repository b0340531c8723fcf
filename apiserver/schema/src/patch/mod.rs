//! Patches: RFC 6902, RFC 7386 and strategic merge, with upstream's error texts.
//!
//! A patch is applied to a tree in memory. Decoding the result, and everything after it, is the caller's.

mod directives;
mod json;
mod merge;
mod order;
mod shown;
mod strategic;

use std::fmt;

pub use json::{MAX_OPERATIONS, json_patch, strict_operations, unknown_patch_fields};
pub use merge::merge_patch;
pub use shown::{shown_patched, touched_by};
pub use strategic::strategic_merge;

/// Why a patch was refused, and as what the server answers it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PatchError {
    /// The patch is no patch: 400 BadRequest with this text.
    BadRequest(String),
    /// The patch cannot be applied to this object: 422 Invalid with this text (JSON patch).
    Unprocessable(String),
    /// As that: a test of the patch found something else.
    TestFailed(String),
    /// 413 RequestEntityTooLarge.
    TooLarge(String),
    /// Strategic merge refused the content: 500 without a reason.
    Failed(String),
}

impl PatchError {
    /// The sentence without its kind.
    pub fn message(&self) -> &str {
        match self {
            Self::BadRequest(text)
            | Self::Unprocessable(text)
            | Self::TestFailed(text)
            | Self::TooLarge(text)
            | Self::Failed(text) => text,
        }
    }
}

impl fmt::Display for PatchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.message())
    }
}

impl std::error::Error for PatchError {}
