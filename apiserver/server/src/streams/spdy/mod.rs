//! SPDY/3.1, as far as the clients of Kubernetes speak it: streams, header blocks, pings; no flow control.

mod dictionary;
mod frame;
mod headers;
mod session;

pub(crate) use session::{Opened, serve};
