//! `kubectl port-forward`: SPDY/3.1 streams, plain or tunnelled through a WebSocket, to a port of a Pod.

use std::sync::Arc;

use apiserver_meta::Status;
use serde_json::Value;

use crate::dispatch::{Answer, Context};
use crate::node_proxy::Nodes;

/// Refuses until the stream protocol is served.
pub(crate) fn answer(
    _: &Context,
    _: Arc<dyn Nodes>,
    _: &Value,
    _: Option<hyper::upgrade::OnUpgrade>,
) -> Result<Answer, Status> {
    Err(Status::new(
        501,
        "NotImplemented",
        "port-forward is not supported by this server yet; use `kubectl proxy` and the pod's proxy subresource",
    ))
}
