//! Runs Pods without containers: an image's name says what its container does, at the Pod's own address.
//!
//! No image is pulled and nothing is run on the machine: commands in containers are a few tools, answered from what
//! the Pod is. An image that is not known is an error.

mod behaviour;
mod console;
mod exec;
mod image;
mod logs;
mod run;

pub use console::Attached;
pub use exec::{Entry, ExecError, Input, Streams, Surroundings, entry};
pub use image::{Behaviour, behaviour_of};
pub use logs::{Line, Logs};
pub use run::{Error, Workloads};
