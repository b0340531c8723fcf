//! Byte streams over an upgraded connection, for port-forward, exec and attach; messages of the server, for watches and logs.
//!
//! `upgrade` decides which protocol is spoken; `spdy` and `channels` carry streams over it, `websocket` both; a
//! `pipe` is one stream, whatever carries it.

pub(crate) mod channels;
mod conduct;
pub(crate) mod outlet;
pub(crate) mod pipe;
pub(crate) mod spdy;
pub(crate) mod upgrade;
pub(crate) mod websocket;
