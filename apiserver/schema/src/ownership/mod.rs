//! Field ownership: server-side apply, and who owns what after any other write.
//!
//! The semantics are those of structured-merge-diff, the bookkeeping that of upstream's field manager. An object's
//! entries are read from and written to `metadata.managedFields`; nothing else remembers anything.

mod apply;
mod check;
mod configure;
mod conflict;
mod entries;
mod fresh;
mod last_applied;
mod manager;
mod merge;
mod scale;
mod set;
mod text;
mod walk;

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;

pub use apply::{apply, describe};
pub use configure::configure;
pub use conflict::{ApplyError, Conflict};
pub use entries::Operation;
pub use manager::{Manager, Versions, update};
pub use scale::ScaleOwners;
pub use set::{FieldSet, print_path};
