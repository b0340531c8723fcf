//! Logs of containers: which is meant, and what may be asked of it.

use apiserver_json::Value;
use apiserver_meta::field::{FieldError, go_parse_int};
use apiserver_meta::{GroupVersionKind, Status};
use bytes::Bytes;
use futures::{StreamExt, stream};
use http::{HeaderMap, HeaderValue, StatusCode};
use hyper::upgrade::OnUpgrade;
use tokio_tungstenite::tungstenite::Message;

use crate::answer::Answer;
use crate::body;
use crate::context::Context;
use crate::node_proxy::{Chunks, NodeRequest, Nodes};
use crate::remote_command::container_of;
use crate::streams::outlet;
use crate::streams::upgrade::{self, Refusal};

/// What the query of a log may not say: `ValidatePodLogOptions`, after what cannot be read at all.
pub(crate) fn check_options(context: &Context<'_>) -> Result<(), Status> {
    let number =
        |name: &str| context.query.get(name).map(go_parse_int).transpose().map_err(Status::bad_request);
    let since_seconds = number("sinceSeconds")?;
    let since_time = context.query.get("sinceTime");
    if let Some(text) = since_time.filter(|text| !matches!(*text, "" | "null")) {
        apiserver_schema::normalise_time(text).map_err(Status::bad_request)?;
    }
    let mut errors = Vec::new();
    for (name, least, why) in
        [("tailLines", 0, "must be greater than or equal to 0"), ("limitBytes", 1, "must be greater than 0")]
    {
        if let Some(given) = number(name)?.filter(|given| *given < least) {
            errors.push(FieldError::invalid(name, &given.into(), why));
        }
    }
    match (since_seconds, since_time) {
        // The place is upstream's.
        (Some(_), Some(_)) => errors.push(FieldError::forbidden(
            "[]",
            "at most one of `sinceTime` or `sinceSeconds` may be specified",
        )),
        (Some(seconds), None) if seconds < 1 => {
            errors.push(FieldError::invalid("sinceSeconds", &seconds.into(), "must be greater than 0"));
        }
        _ => {}
    }
    // A feature that is off by default.
    if context.query.get("stream").is_some() {
        errors.push(FieldError::forbidden("stream", "may not be specified"));
    }
    let kind = GroupVersionKind::new("", "v1", "PodLogOptions");
    if errors.is_empty() { Ok(()) } else { Err(Status::invalid(&kind, &context.info.name, &errors)) }
}

/// The subprotocols of a log, as bytes or as Base64.
const PROTOCOLS: &[&str] = &["binary.k8s.io", "base64.binary.k8s.io"];

/// A container's log.
pub(crate) async fn answer(
    context: &Context<'_>,
    nodes: &dyn Nodes,
    pod: &Value,
    connection: Option<OnUpgrade>,
) -> Result<Answer, Status> {
    let name = apiserver_registry::object::name(pod);
    let container = container_of(pod, context.query.text("container"))?;
    if context.query.flag("previous") {
        return Err(Status::bad_request(format!(
            "previous terminated container {container:?} in pod {name:?} not found"
        )));
    }
    let request = NodeRequest {
        namespace: apiserver_registry::object::namespace(pod).to_owned(),
        pod: name.to_owned(),
        uid: apiserver_registry::object::uid(pod).to_owned(),
        container: container.clone(),
        follow: context.query.flag("follow"),
        timestamps: context.query.flag("timestamps"),
        tail_lines: context.query.get("tailLines").and_then(|text| text.parse().ok()),
    };
    let mut answer = Answer::text(StatusCode::OK, "");
    let chunks = match nodes.logs(request).await {
        Ok(chunks) => chunks,
        // Its end is known, its log is not: the node has been restarted since.
        Err(_)
            if matches!(
                pod.pointer("/status/phase").and_then(Value::as_str),
                Some("Succeeded" | "Failed")
            ) =>
        {
            let all =
                pod.pointer("/status/containerStatuses").and_then(Value::as_array).into_iter().flatten();
            let id =
                all.filter(|status| status["name"] == *container).find_map(|s| s["containerID"].as_str());
            return Ok(Answer::text(
                StatusCode::OK,
                format!("unable to retrieve container logs for {}", id.unwrap_or(&container)),
            ));
        }
        Err(why) => {
            return Err(Status::bad_request(format!(
                "container {container:?} in pod {name:?} is waiting to start: {why}"
            )));
        }
    };
    if upgrade::wants_websocket(context.headers) {
        let switched = switch(context.headers, connection, chunks);
        return Ok(switched.unwrap_or_else(|refusal| *refusal));
    }
    answer.content_type = HeaderValue::from_static("text/plain");
    answer.body = body::stream(chunks.map(Ok));
    Ok(answer)
}

/// The log as messages. A message without anything in it comes first, as upstream sends it.
fn switch(headers: &HeaderMap, connection: Option<OnUpgrade>, chunks: Chunks) -> Result<Answer, Refusal> {
    let protocol = match upgrade::subprotocols(headers).as_slice() {
        [] => "",
        offered => upgrade::negotiate_channels(offered, PROTOCOLS)?,
    };
    let answer = upgrade::to_websocket(headers, protocol)?;
    let connection = upgrade::taken(connection)?;
    let base64 = protocol == PROTOCOLS[1];
    let nothing = if base64 { Message::text("") } else { Message::binary(Bytes::new()) };
    let messages = chunks.map(move |chunk| Ok(outlet::parts(&chunk, base64)));
    let messages = stream::iter([Ok(vec![nothing])]).chain(messages);
    upgrade::run(connection, move |io| outlet::serve(io, messages, None));
    Ok(answer)
}
