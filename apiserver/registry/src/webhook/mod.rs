//! What all webhooks have in common, those of admission and those that convert: where they are, who calls them, and
//! the outside of what is sent and answered.

mod caller;
mod envelope;

pub use caller::{WebhookAddress, WebhookCaller, WebhookError, WebhookTarget};
pub(crate) use envelope::{Envelope, Version};
