//! Byte streams over an upgraded connection, for port-forward, exec and attach.
//!
//! `upgrade` decides which protocol is spoken; `spdy` and `channels` carry streams over it, `websocket` both; a
//! `pipe` is one stream, whatever carries it.

pub(crate) mod channels;
mod conduct;
pub(crate) mod pipe;
pub(crate) mod spdy;
pub(crate) mod upgrade;
pub(crate) mod websocket;
