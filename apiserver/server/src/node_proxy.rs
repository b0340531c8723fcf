//! The way from the server to Pods: logs, and HTTP through Pods and Services.
//!
//! What stands behind it is a [`Nodes`] that the composition gives; without one these subresources say so.

use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;

use apiserver_json::{Value, json};
use apiserver_meta::field::go_quote;
use apiserver_meta::{GroupResource, Status};
use apiserver_registry::{Call, Operation, Resource};
use bytes::Bytes;
use http::header::{ACCEPT_ENCODING, AUTHORIZATION, CONNECTION, HOST, SEC_WEBSOCKET_PROTOCOL};
use http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode};
use http_body_util::BodyExt;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{mpsc, watch};

use crate::answer::Answer;
use crate::body::RequestBody;
use crate::context::Context;
use crate::pod_log;
use crate::remote_command::{self, Kind};
use crate::streams::upgrade;

/// A connection to a port of a Pod.
pub trait Connection: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Connection for T {}

/// A boxed future, so that the trait stays object-safe.
pub type Promise<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A log as it comes.
pub type Chunks = Pin<Box<dyn futures::Stream<Item = Bytes> + Send>>;

/// What is asked of a Pod's log.
#[derive(Clone, Debug, Default)]
pub struct NodeRequest {
    pub namespace: String,
    pub pod: String,
    pub uid: String,
    pub container: String,
    pub follow: bool,
    pub timestamps: bool,
    pub tail_lines: Option<usize>,
}

/// The Pod that a stream leads to.
#[derive(Clone, Debug, Default)]
pub struct PodTarget {
    pub namespace: String,
    pub pod: String,
    pub uid: String,
    pub ip: String,
}

impl PodTarget {
    /// The name of its sandbox, as errors of a container runtime show it.
    pub fn sandbox(&self) -> String {
        self.uid.replace('-', "")
    }
}

/// A process in a container: one that is started, or the container's own.
#[derive(Clone, Debug, Default)]
pub struct Process {
    pub target: PodTarget,
    pub container: String,
    pub command: Vec<String>,
    pub tty: bool,
}

/// Columns and rows; zero where nobody has told them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TerminalSize {
    pub width: u16,
    pub height: u16,
}

/// The streams of a process, those that the client asked for. Each ends when its sender is dropped.
pub struct ProcessStreams {
    pub stdin: Option<mpsc::Receiver<Bytes>>,
    pub stdout: Option<mpsc::Sender<Bytes>>,
    pub stderr: Option<mpsc::Sender<Bytes>>,
    pub size: watch::Receiver<TerminalSize>,
}

/// The server's way to the nodes.
pub trait Nodes: Send + Sync {
    /// A container's log, as chunks that end when the log does.
    fn logs(&self, request: NodeRequest) -> Promise<'_, Result<Chunks, String>>;

    /// Connects to a port of a Pod from inside it, as its `localhost`. An error is a sentence for the user.
    fn port_forward(&self, target: PodTarget, port: u16) -> Promise<'_, Result<Box<dyn Connection>, String>>;

    /// Runs a command in a container and gives its exit code. An error says why it could not be started.
    fn exec(&self, process: Process, streams: ProcessStreams) -> Promise<'_, Result<i32, String>>;

    /// Joins a container's own process until it ends.
    fn attach(&self, process: Process, streams: ProcessStreams) -> Promise<'_, Result<(), String>>;

    /// Connects to a port of a Pod.
    fn connect(&self, pod_ip: String, port: u16) -> Promise<'_, Result<Box<dyn Connection>, String>>;
}

/// Answers the subresources that lead to a node.
pub(crate) async fn answer(
    context: Context<'_>,
    resource: &Arc<Resource>,
    body: RequestBody,
    upgrade: Option<hyper::upgrade::OnUpgrade>,
) -> Result<Answer, Status> {
    let call = context.plain_call(resource);
    let below = context.info.subresource.as_str();
    if below == "log" {
        pod_log::check_options(&context)?;
    }
    if let Some(options) = connect_options(&context, resource)? {
        let call = Call { subresource: below, ..call };
        let name = &context.info.name;
        context.server.registry().admit_request(&call, name, Operation::Connect, options).await?;
    }
    let name = match below {
        "proxy" => place(&context, resource)?.name,
        _ => &context.info.name,
    };
    if resource.kind == "Service" {
        let (ip, port) = service_address(&context, &call)?;
        return forward(&context, nodes(&context, "")?.as_ref(), &ip, port, body).await;
    }
    if !matches!(below, "log" | "proxy") {
        crate::access::may_also(&context, "create")?;
    }
    let object = context.server.registry().get(&call, name)?.parse();
    if below == "proxy" {
        return match resource.kind.as_str() {
            "Pod" => {
                let (ip, port) = pod_address(&context, resource, &object)?;
                forward(&context, nodes(&context, "")?.as_ref(), &ip, port, body).await
            }
            kind => {
                let text = format!("{below} of a {kind} is not supported");
                Err(Status::new(501, "NotImplemented", text))
            }
        };
    }
    if below != "portforward" {
        remote_command::container_of(&object, context.query.text("container"))?;
    }
    let node = object.pointer("/spec/nodeName").and_then(Value::as_str).unwrap_or("");
    match (node, below) {
        // Nobody has written anything yet.
        ("", "log") => return Ok(Answer::empty(StatusCode::NO_CONTENT)),
        ("", _) => return Err(Status::bad_request(format!("pod {name} does not have a host assigned"))),
        _ => {}
    }
    let nodes = nodes(&context, node)?;
    match below {
        "log" => pod_log::answer(&context, nodes.as_ref(), &object, upgrade).await,
        "portforward" => crate::portforward::answer(&context, nodes, &object, upgrade),
        "exec" => remote_command::answer(&context, Kind::Exec, nodes, &object, upgrade),
        _ => remote_command::answer(&context, Kind::Attach, nodes, &object, upgrade),
    }
}

/// The way to the nodes. A server without any still knows which node there is none of.
fn nodes(context: &Context<'_>, node: &str) -> Result<Arc<dyn Nodes>, Status> {
    if let Some(nodes) = context.server.inner.config.nodes.clone() {
        return Ok(nodes);
    }
    let registry = context.server.registry();
    let catalogue = registry.catalogue();
    if let Some(resource) = catalogue.get("", "v1", "nodes").filter(|_| !node.is_empty())
        && registry.get(&Call { namespace: None, ..context.plain_call(resource) }, node).is_err()
    {
        // Upstream tells of the resource that was asked for.
        return Err(Status::not_found(&GroupResource::new("", &*context.info.resource), node));
    }
    let below = &context.info.subresource;
    let text = format!("{below} needs nodes, and this server was started without any");
    Err(Status::new(501, "NotImplemented", text))
}

/// What admission is shown of a connection: the options in its query. Reading a log is none.
fn connect_options(context: &Context<'_>, resource: &Resource) -> Result<Option<Value>, Status> {
    let below = resource.subresource(&context.info.subresource).filter(|below| below.name != "log");
    let Some(below) = below else { return Ok(None) };
    let mut options = json!({"apiVersion": "v1", "kind": below.kind});
    let query = context.query;
    match below.name.as_str() {
        "exec" | "attach" => {
            for member in ["stdin", "stdout", "stderr", "tty"].into_iter().filter(|member| query.flag(member))
            {
                options[member] = true.into();
            }
            if let Some(container) = query.get("container").filter(|container| !container.is_empty()) {
                options["container"] = container.into();
            }
            if below.name == "exec" {
                options["command"] = query.all("command").collect();
            }
        }
        "portforward" => {
            let ports: Vec<u16> = query
                .all("ports")
                .flat_map(|list| list.split(','))
                .map(forwarded_port)
                .collect::<Result<_, String>>()
                .map_err(Status::bad_request)?;
            if !ports.is_empty() {
                options["ports"] = json!(ports);
            }
        }
        _ if context.info.rest.is_empty() => {}
        _ => options["path"] = context.info.rest.trim_start_matches('/').into(),
    }
    Ok(Some(options))
}

/// A port of the query, or what Go says of it.
fn forwarded_port(text: &str) -> Result<u16, String> {
    text.parse().map_err(|error: std::num::ParseIntError| {
        let is_far = *error.kind() == std::num::IntErrorKind::PosOverflow;
        let why = if is_far { "value out of range" } else { "invalid syntax" };
        format!("cannot convert to []int32: strconv.ParseUint: parsing {}: {why}", go_quote(text))
    })
}

/// What stands in the place of a name: `[scheme:]name[:port]`.
struct Place<'a> {
    name: &'a str,
    port: &'a str,
}

fn place<'a>(context: &'a Context<'_>, resource: &Resource) -> Result<Place<'a>, Status> {
    let asked = &context.info.name;
    let mut parts = asked.split(':');
    let place = match [parts.next(), parts.next(), parts.next(), parts.next()] {
        [Some(name), None, ..] => Some(Place { name, port: "" }),
        [Some(name), Some(port), None, _] => Some(Place { name, port }),
        [Some("" | "http" | "https"), Some(name), Some(port), None] => Some(Place { name, port }),
        _ => None,
    };
    let kind = resource.kind.to_lowercase();
    place
        .filter(|place| !place.name.is_empty())
        .ok_or_else(|| Status::bad_request(format!("invalid {kind} request {}", go_quote(asked))))
}

/// Where the proxy of a Pod leads: the port that was asked for, or the first one of its containers.
fn pod_address(context: &Context<'_>, resource: &Resource, pod: &Value) -> Result<(String, u16), Status> {
    let ip = pod.pointer("/status/podIP").and_then(Value::as_str).unwrap_or("");
    let allowed = ip.parse::<IpAddr>().is_ok_and(|ip| {
        let is_local = match ip {
            IpAddr::V4(ip) => ip.is_link_local() || ip.is_broadcast(),
            IpAddr::V6(ip) => ip.is_unicast_link_local(),
        };
        !(is_local || ip.is_unspecified() || ip.is_loopback() || ip.is_multicast())
    });
    if !allowed {
        return Err(Status::bad_request("address not allowed"));
    }
    let asked = place(context, resource)?.port;
    let port = if asked.is_empty() {
        let containers = pod.pointer("/spec/containers").and_then(Value::as_array).into_iter().flatten();
        let first = containers.filter_map(|container| container["ports"][0]["containerPort"].as_u64()).next();
        first.and_then(|port| u16::try_from(port).ok()).unwrap_or(80)
    } else {
        asked.parse().map_err(|_| unreached(&format!("dial tcp: lookup tcp/{asked}: unknown port")))?
    };
    Ok((ip.to_owned(), port))
}

fn unreached(why: &str) -> Status {
    unavailable(format!("error trying to reach service: {why}"))
}

fn unavailable(text: String) -> Status {
    Status::new(503, "ServiceUnavailable", text)
}

/// Where the proxy of a Service leads: an endpoint of the port that was asked for, by its number or its name.
fn service_address(context: &Context<'_>, call: &Call<'_>) -> Result<(String, u16), Status> {
    let Place { name, port: asked } = place(context, call.resource)?;
    let port_name = match asked.parse::<i64>() {
        Ok(number) => {
            let service = context.server.registry().get(call, name)?.parse();
            let ports = service.pointer("/spec/ports").and_then(Value::as_array);
            let port = ports.into_iter().flatten().find(|port| port["port"].as_i64() == Some(number));
            let none = || unavailable(format!("no service port {number} found for service {name:?}"));
            port.ok_or_else(none)?["name"].as_str().unwrap_or("").to_owned()
        }
        Err(_) => asked.to_owned(),
    };
    let scope = format!("/registry/discovery.k8s.io/endpointslices/{}/", context.info.scope().unwrap_or(""));
    let snapshot = context.server.registry().cache().snapshot("/registry/discovery.k8s.io/endpointslices/");
    for found in
        snapshot.scope(&scope).filter(|slice| slice.label("kubernetes.io/service-name") == Some(name))
    {
        let slice = found.parse();
        let target = slice["ports"]
            .as_array()
            .into_iter()
            .flatten()
            .find(|port| port["name"].as_str().unwrap_or("") == port_name);
        let target = target.and_then(|port| port["port"].as_u64()).and_then(|port| u16::try_from(port).ok());
        let ready = slice["endpoints"]
            .as_array()
            .into_iter()
            .flatten()
            .find(|endpoint| endpoint.pointer("/conditions/ready") != Some(&Value::Bool(false)));
        if let (Some(target), Some(address)) =
            (target, ready.and_then(|endpoint| endpoint["addresses"][0].as_str()))
        {
            return Ok((address.to_owned(), target));
        }
    }
    // Upstream knows a Service by its Endpoints.
    let registry = context.server.registry();
    let catalogue = registry.catalogue();
    if let Some(resource) = catalogue.get("", "v1", "endpoints") {
        registry
            .get(&Call { resource, ..context.plain_call(resource) }, name)
            .map_err(|_| Status::not_found(&call.resource.group_resource(), name))?;
    }
    Err(unavailable(format!("no endpoints available for service {:?}", context.info.name)))
}

/// The headers of a request that a Pod is shown: none that say who asks, and no token among the subprotocols.
fn passed_on(headers: &HeaderMap) -> HeaderMap {
    let mut left = headers.clone();
    for hop in [HOST, AUTHORIZATION, CONNECTION, ACCEPT_ENCODING, SEC_WEBSOCKET_PROTOCOL] {
        left.remove(hop);
    }
    let protocols = upgrade::subprotocols(headers).join(", ");
    if let (false, Ok(protocols)) = (protocols.is_empty(), HeaderValue::from_str(&protocols)) {
        left.insert(SEC_WEBSOCKET_PROTOCOL, protocols);
    }
    left
}

/// What an answer says of its way from a Pod to here alone; its length is found out anew.
const OF_ONE_WAY: [HeaderName; 8] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    http::header::PROXY_AUTHENTICATE,
    http::header::TE,
    http::header::TRAILER,
    http::header::TRANSFER_ENCODING,
    http::header::UPGRADE,
    http::header::CONTENT_LENGTH,
];

/// The headers of a Pod's answer that the client is shown.
fn passed_back(headers: &HeaderMap) -> impl Iterator<Item = (HeaderName, HeaderValue)> + '_ {
    let shown = headers.iter().filter(|(name, _)| !OF_ONE_WAY.contains(name));
    shown.map(|(name, value)| (name.clone(), value.clone()))
}

/// Sends the request on to a Pod and its answer back.
async fn forward(
    context: &Context<'_>,
    nodes: &dyn Nodes,
    ip: &str,
    port: u16,
    body: RequestBody,
) -> Result<Answer, Status> {
    let failed = |why: String| unreached(&why);
    let connection = nodes.connect(ip.to_owned(), port).await.map_err(failed)?;
    let (mut sender, driver) = hyper::client::conn::http1::handshake(TokioIo::new(connection))
        .await
        .map_err(|error| failed(error.to_string()))?;
    tokio::spawn(async move {
        if let Err(error) = driver.await {
            tracing::debug!(error = %error, "a proxied connection ended early");
        }
    });
    let place = match context.sent_query {
        "" => format!("/{}", context.info.rest),
        query => format!("/{}?{query}", context.info.rest),
    };
    let mut request = Request::builder().method(context.method.clone()).uri(place);
    for (name, value) in &passed_on(context.headers) {
        request = request.header(name, value);
    }
    let request = request
        .header(http::header::HOST, format!("{ip}:{port}"))
        .body(body.map_err(std::io::Error::other).boxed_unsync())
        .map_err(|error| failed(error.to_string()))?;
    let response = sender.send_request(request).await.map_err(|error| failed(error.to_string()))?;
    let (parts, body) = response.into_parts();
    let mut answer = Answer::empty(parts.status);
    answer.headers.extend(passed_back(&parts.headers));
    answer.body = body.map_err(|error| Box::new(error) as crate::body::BoxError).boxed_unsync();
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_pod_says_is_passed_back_but_for_its_connection() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("content-type", "text/html"),
            ("location", "/x"),
            ("set-cookie", "a=b"),
            ("set-cookie", "c=d"),
            ("connection", "close"),
            ("transfer-encoding", "chunked"),
            ("content-length", "5"),
        ] {
            headers.append(name, HeaderValue::from_static(value));
        }
        let mut left: Vec<String> = passed_back(&headers).map(|(name, _)| name.to_string()).collect();
        left.sort();
        assert_eq!(left, ["content-type", "location", "set-cookie", "set-cookie"]);
    }

    #[test]
    fn a_pod_is_not_shown_who_asks() {
        let mut headers = HeaderMap::new();
        let token = "base64url.bearer.authorization.k8s.io.dG9r";
        for (name, value) in [
            (AUTHORIZATION, "Bearer tok"),
            (SEC_WEBSOCKET_PROTOCOL, token),
            (SEC_WEBSOCKET_PROTOCOL, &format!("a, {token}, b")),
            (http::header::ACCEPT, "text/plain"),
        ] {
            headers.append(name, HeaderValue::from_str(value).unwrap());
        }
        let left = passed_on(&headers);
        let shown: Vec<_> =
            left.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
        assert_eq!(shown.len(), 2);
        assert!(shown.contains(&("accept", "text/plain")));
        assert!(shown.contains(&("sec-websocket-protocol", "a, b")));
    }
}
