//! The way from the server to Pods: logs, and HTTP through Pods and Services.
//!
//! What stands behind it is a [`Nodes`] that the composition gives; without one these subresources say so.

use std::pin::Pin;
use std::sync::Arc;

use apiserver_json::{Value, json};
use apiserver_meta::Status;
use apiserver_registry::{Call, Operation, Resource};
use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::BodyExt;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{mpsc, watch};

use crate::body::RequestBody;
use crate::dispatch::{self, Answer, Context};
use crate::pod_log;
use crate::remote_command::Kind;

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
    if let Some(options) = connect_options(&context, resource) {
        let call = Call { subresource: &context.info.subresource, ..call };
        let name = &context.info.name;
        context.server.registry().admit_request(&call, name, Operation::Connect, options).await?;
    }
    let below = context.info.subresource.as_str();
    if resource.kind == "Pod" && below != "proxy" {
        if below != "log" {
            dispatch::may_also(&context, "create")?;
        }
        let pod = context.server.registry().get(&call, &context.info.name)?.parse();
        if below == "log" {
            pod_log::check_options(&context)?;
            pod_log::container(&context, &pod)?;
        }
        if pod.pointer("/spec/nodeName").and_then(Value::as_str).is_none_or(str::is_empty) {
            return match below {
                // Nobody has written anything yet.
                "log" => Ok(Answer::empty(StatusCode::NO_CONTENT)),
                _ => {
                    let name = &context.info.name;
                    Err(Status::bad_request(format!("pod {name} does not have a host assigned")))
                }
            };
        }
    }
    let Some(nodes) = context.server.inner.config.nodes.clone() else {
        return Err(Status::new(
            501,
            "NotImplemented",
            format!("{below} needs nodes, and this server was started without any"),
        ));
    };
    match (resource.kind.as_str(), below) {
        ("Pod", "log") => {
            let pod = context.server.registry().get(&call, &context.info.name)?.parse();
            pod_log::answer(&context, nodes.as_ref(), &pod).await
        }
        ("Pod", "portforward") => {
            dispatch::may_also(&context, "create")?;
            let pod = context.server.registry().get(&call, &context.info.name)?.parse();
            crate::portforward::answer(&context, nodes, &pod, upgrade)
        }
        ("Pod", subresource @ ("exec" | "attach")) => {
            dispatch::may_also(&context, "create")?;
            let kind = if subresource == "exec" { Kind::Exec } else { Kind::Attach };
            let pod = context.server.registry().get(&call, &context.info.name)?.parse();
            crate::remote_command::answer(&context, kind, nodes, &pod, upgrade)
        }
        ("Pod", "proxy") => {
            let (name, port) = split_port(&context.info.name);
            let pod = context.server.registry().get(&call, name)?.parse();
            let port = match port {
                Some(port) => port,
                None => first_port(&pod),
            };
            forward(&context, nodes.as_ref(), &pod_ip(&pod)?, port, body).await
        }
        ("Service", "proxy") => service(&context, &call, nodes.as_ref(), body).await,
        (kind, subresource) => {
            Err(Status::new(501, "NotImplemented", format!("{subresource} of a {kind} is not supported")))
        }
    }
}

/// What admission is shown of a connection: the options in its query. Reading a log is none.
fn connect_options(context: &Context<'_>, resource: &Resource) -> Option<Value> {
    let below = resource.subresource(&context.info.subresource).filter(|below| below.name != "log")?;
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
            let ports: Vec<i64> = query
                .all("ports")
                .flat_map(|list| list.split(','))
                .filter_map(|port| port.parse().ok())
                .collect();
            if !ports.is_empty() {
                options["ports"] = json!(ports);
            }
        }
        _ if context.info.rest.is_empty() => {}
        _ => options["path"] = context.info.rest.trim_start_matches('/').into(),
    }
    Some(options)
}

fn pod_ip(pod: &Value) -> Result<String, Status> {
    let ip = pod.pointer("/status/podIP").and_then(Value::as_str).unwrap_or("");
    if ip.is_empty() {
        return Err(Status::bad_request(format!(
            "pod {} has no address yet",
            apiserver_registry::object::name(pod)
        )));
    }
    Ok(ip.to_owned())
}

fn first_port(pod: &Value) -> u16 {
    let port = pod.pointer("/spec/containers/0/ports/0/containerPort").and_then(Value::as_u64);
    port.and_then(|port| u16::try_from(port).ok()).unwrap_or(80)
}

/// `[scheme:]name[:port]`.
fn split_port(name: &str) -> (&str, Option<u16>) {
    let name = name.strip_prefix("http:").or_else(|| name.strip_prefix("https:")).unwrap_or(name);
    match name.split_once(':') {
        Some((name, port)) => (name, port.parse().ok()),
        None => (name, None),
    }
}

async fn service(
    context: &Context<'_>,
    call: &apiserver_registry::Call<'_>,
    nodes: &dyn Nodes,
    body: RequestBody,
) -> Result<Answer, Status> {
    let name = context.info.name.strip_prefix("http:").unwrap_or(&context.info.name);
    let (name, wanted) = name.split_once(':').unwrap_or((name, ""));
    let service = context.server.registry().get(call, name)?.parse();
    let ports = service.pointer("/spec/ports").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let port = ports.iter().find(|port| {
        wanted.is_empty()
            || port["name"] == wanted
            || port["port"].as_u64().is_some_and(|number| number.to_string() == wanted)
    });
    let unavailable = || {
        Status::new(
            503,
            "ServiceUnavailable",
            format!("no endpoints available for service {:?}", context.info.name),
        )
    };
    let port_name = port.ok_or_else(unavailable)?["name"].as_str().unwrap_or("");
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
            return forward(context, nodes, address, target, body).await;
        }
    }
    Err(unavailable())
}

/// Sends the request on to a Pod and its answer back.
async fn forward(
    context: &Context<'_>,
    nodes: &dyn Nodes,
    ip: &str,
    port: u16,
    body: RequestBody,
) -> Result<Answer, Status> {
    let failed =
        |why: String| Status::new(503, "ServiceUnavailable", format!("error trying to reach service: {why}"));
    let connection = nodes.connect(ip.to_owned(), port).await.map_err(failed)?;
    let (mut sender, driver) = hyper::client::conn::http1::handshake(TokioIo::new(connection))
        .await
        .map_err(|error| failed(error.to_string()))?;
    tokio::spawn(async move {
        if let Err(error) = driver.await {
            tracing::debug!(error = %error, "a proxied connection ended early");
        }
    });
    let mut request =
        Request::builder().method(context.method.clone()).uri(format!("/{}", context.info.rest));
    for (name, value) in context.headers {
        let hop = ["host", "authorization", "connection", "accept-encoding"].contains(&name.as_str());
        if !hop {
            request = request.header(name, value);
        }
    }
    let request = request
        .header(http::header::HOST, format!("{ip}:{port}"))
        .body(body.map_err(std::io::Error::other).boxed_unsync())
        .map_err(|error| failed(error.to_string()))?;
    let response = sender.send_request(request).await.map_err(|error| failed(error.to_string()))?;
    let (parts, body) = response.into_parts();
    let mut answer = Answer::text(parts.status, "");
    if let Some(content_type) = parts.headers.get(http::header::CONTENT_TYPE) {
        answer.content_type = content_type.clone();
    }
    answer.body = body.map_err(|error| Box::new(error) as crate::body::BoxError).boxed_unsync();
    Ok(answer)
}
