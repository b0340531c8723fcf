//! Runs Pods without containers: an image's name says what its container does, at the Pod's own address.
//!
//! No image is pulled and no command is run; `exec` has nothing to run in. An image that is not known is an error.

mod behaviour;
mod image;
mod logs;
mod run;

pub use image::{Behaviour, behaviour_of};
pub use logs::{Line, Logs};
pub use run::{Bound, Error, Workloads};
