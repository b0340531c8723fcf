//! `kubectl exec` and `kubectl attach`: the streams of a process, and how it ended.
//!
//! Versions differ in how the end is told: a text before the fourth, a Status from it on. The fifth is a WebSocket's,
//! where the client can close its input.

use std::sync::Arc;

use apiserver_json::{Value, json};
use apiserver_meta::Status;
use bytes::Bytes;
use http::StatusCode;
use hyper::upgrade::OnUpgrade;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use crate::answer::Answer;
use crate::context::Context;
use crate::limits;
use crate::node_proxy::{Nodes, Process, ProcessStreams, TerminalSize};
use crate::portforward::target_of;
use crate::streams::channels::{self, Channel, Framing, Use};
use crate::streams::pipe::{Sink, Source};
use crate::streams::spdy::{self, Opened};
use crate::streams::upgrade::{self, Refusal, Wanted};

/// Protocols over SPDY, the best first.
const PROTOCOLS: &[&str] = &["v4.channel.k8s.io", "v3.channel.k8s.io", "v2.channel.k8s.io", "channel.k8s.io"];

/// The protocol of a WebSocket in which the client can close its input.
const CLOSING: &str = "v5.channel.k8s.io";

/// Protocols of other WebSockets.
const CHANNEL_PROTOCOLS: &[&str] =
    &["channel.k8s.io", "base64.channel.k8s.io", "v4.channel.k8s.io", "v4.base64.channel.k8s.io"];

/// What is done with a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Exec,
    Attach,
}

/// Which streams a client asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Asked {
    stdin: bool,
    stdout: bool,
    stderr: bool,
    tty: bool,
}

/// How the end of a process is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    /// Only failures, as a text.
    Text,
    /// A Status.
    Status,
    /// A Status that a translator of upstream has read and written again.
    Translated,
}

/// All that is known before the streams are there.
#[derive(Clone)]
struct Job {
    nodes: Arc<dyn Nodes>,
    kind: Kind,
    process: Process,
    asked: Asked,
}

/// The streams of a process.
struct Streams {
    stdin: Option<Source>,
    /// Where the client would read its own input: its end says that no more is wanted.
    stdin_sink: Option<Sink>,
    stdout: Option<Sink>,
    stderr: Option<Sink>,
    resize: Option<Source>,
    error: Sink,
}

/// Takes the connection of a request over, where it asks for that in a way that is understood.
pub(crate) fn answer(
    context: &Context,
    kind: Kind,
    nodes: Arc<dyn Nodes>,
    pod: &Value,
    upgrade: Option<OnUpgrade>,
) -> Result<Answer, Status> {
    let container = container_of(pod, context.query.text("container"))?;
    let target = target_of(pod)?;
    let wanted =
        upgrade::wanted(context.headers).ok_or_else(|| Status::bad_request("Upgrade request required"))?;
    let asked = asked(context);
    let answer = if asked.stdin || asked.stdout || asked.stderr {
        if is_running(pod, &container) {
            let command = context.query.all("command").map(str::to_owned).collect();
            let process = Process { target, container, command, tty: asked.tty };
            switch(context, wanted, Job { nodes, kind, process, asked }, upgrade)
        } else {
            let text = match kind {
                Kind::Exec => format!("container not found ({container:?})"),
                Kind::Attach => {
                    format!("container {container} not found in pod {}_{}", target.pod, target.namespace)
                }
            };
            Err(upgrade::refusal(StatusCode::INTERNAL_SERVER_ERROR, text))
        }
    } else {
        let text = "you must specify at least 1 of stdin, stdout, stderr";
        Err(upgrade::refusal(StatusCode::BAD_REQUEST, text))
    };
    Ok(answer.unwrap_or_else(|refusal| *refusal))
}

fn asked(context: &Context) -> Asked {
    let flag = |name| context.query.flag(name);
    let tty = flag("tty");
    // A terminal has one output.
    Asked { stdin: flag("stdin"), stdout: flag("stdout"), stderr: flag("stderr") && !tty, tty }
}

/// The container that is meant: `validateContainer` of upstream's Pod strategy.
pub(crate) fn container_of(pod: &Value, asked: &str) -> Result<String, Status> {
    let name = apiserver_registry::object::name(pod);
    let list = |member: &str| pod["spec"][member].as_array().unwrap_or_default();
    let names = |member: &str| list(member).iter().filter_map(|container| container["name"].as_str());
    let all: Vec<&str> =
        ["initContainers", "containers", "ephemeralContainers"].into_iter().flat_map(names).collect();
    match (asked, list("containers")) {
        ("", [only]) => Ok(only["name"].as_str().unwrap_or("").to_owned()),
        ("", []) => Err(Status::bad_request(format!("a container name must be specified for pod {name}"))),
        ("", _) => Err(Status::bad_request(format!(
            "a container name must be specified for pod {name}, choose one of: [{}]",
            all.join(" ")
        ))),
        (asked, _) if all.contains(&asked) => Ok(asked.to_owned()),
        (asked, _) => Err(Status::bad_request(format!("container {asked} is not valid for pod {name}"))),
    }
}

fn is_running(pod: &Value, container: &str) -> bool {
    let statuses = |member: &str| pod["status"][member].as_array().unwrap_or_default();
    ["containerStatuses", "ephemeralContainerStatuses"]
        .into_iter()
        .flat_map(statuses)
        .any(|status| status["name"] == container && status.pointer("/state/running").is_some())
}

fn switch(
    context: &Context,
    wanted: Wanted,
    job: Job,
    upgrade: Option<OnUpgrade>,
) -> Result<Answer, Refusal> {
    let (headers, stop) = (context.headers, context.server.stopping());
    match wanted {
        Wanted::Spdy => {
            let (protocol, answer) = upgrade::to_spdy(headers, PROTOCOLS)?;
            let upgrade = upgrade::taken(upgrade)?;
            upgrade::run(upgrade, move |io| {
                spdy::serve(io, stop, move |streams| async move {
                    match timeout(limits::STREAM_CREATION_MAX, gather(streams, job.asked, protocol)).await {
                        Ok(Some(streams)) => run(job, streams, ending(protocol)).await,
                        Ok(None) => {}
                        Err(_) => tracing::debug!("timed out waiting for client to create streams"),
                    }
                })
            });
            Ok(answer)
        }
        Wanted::WebSocket(offered) | Wanted::Tunnel(offered) => {
            let protocol = if offered.iter().any(|name| name == CLOSING) {
                CLOSING
            } else if offered.is_empty() {
                ""
            } else {
                upgrade::negotiate_channels(&offered, CHANNEL_PROTOCOLS)?
            };
            let answer = upgrade::to_websocket(headers, protocol)?;
            let upgrade = upgrade::taken(upgrade)?;
            let framing = Framing { base64: protocol.contains("base64"), closes: protocol == CLOSING };
            let uses = uses(job.asked);
            upgrade::run(upgrade, move |io| async move {
                channels::serve(io, framing, &uses, stop, |channels| async move {
                    if let Some(streams) = streams_of(channels, job.asked) {
                        run(job, streams, ending(protocol)).await;
                    }
                })
                .await;
            });
            Ok(answer)
        }
    }
}

fn ending(protocol: &str) -> Ending {
    match protocol {
        CLOSING => Ending::Translated,
        "v4.channel.k8s.io" | "v4.base64.channel.k8s.io" => Ending::Status,
        _ => Ending::Text,
    }
}

/// Waits for the streams that were asked for; nothing where the client leaves first.
async fn gather(mut opened: mpsc::Receiver<Opened>, asked: Asked, protocol: &'static str) -> Option<Streams> {
    let resizes = asked.tty && matches!(protocol, "v4.channel.k8s.io" | "v3.channel.k8s.io");
    let mut missing =
        1 + [asked.stdin, asked.stdout, asked.stderr, resizes].into_iter().filter(|wanted| *wanted).count();
    let (mut error, mut stdin, mut stdout, mut stderr, mut resize) = (None, None, None, None, None);
    while missing > 0 {
        let Opened { headers, source, sink, .. } = opened.recv().await?;
        let place = match headers.get("streamtype") {
            "error" => &mut error,
            "stdin" => &mut stdin,
            "stdout" => &mut stdout,
            "stderr" => &mut stderr,
            "resize" => &mut resize,
            other => {
                tracing::debug!(stream_type = other, "a stream of no known type is refused");
                sink.reset().await;
                continue;
            }
        };
        if place.is_some() {
            sink.reset().await;
            continue;
        }
        sink.accept().await.ok()?;
        *place = Some((source, sink));
        missing -= 1;
    }
    let (stdin, stdin_sink) = stdin.unzip();
    let mut streams = Streams {
        stdin,
        stdin_sink,
        stdout: stdout.map(|(_, sink)| sink),
        stderr: stderr.map(|(_, sink)| sink),
        resize: resize.map(|(source, _)| source),
        error: error?.1,
    };
    if protocol == "channel.k8s.io"
        && let Some(sink) = streams.stdin_sink.take()
    {
        // The first version ends its side of the input at once.
        sink.finish().await;
    }
    Some(streams)
}

fn uses(asked: Asked) -> [Use; 5] {
    let client = |wanted| if wanted { Use::Client } else { Use::Nobody };
    let server = |wanted| if wanted { Use::Server } else { Use::Nobody };
    [client(asked.stdin), server(asked.stdout), server(asked.stderr), Use::Server, Use::Client]
}

/// Channels by their numbers: input, output, errors, how it ended, size of the terminal.
fn streams_of(channels: Vec<Channel>, asked: Asked) -> Option<Streams> {
    let [stdin, stdout, stderr, error, resize] = <[Channel; 5]>::try_from(channels).ok()?;
    Some(Streams {
        stdin: asked.stdin.then_some(stdin.source),
        stdin_sink: None,
        stdout: asked.stdout.then_some(stdout.sink),
        stderr: asked.stderr.then_some(stderr.sink),
        resize: asked.tty.then_some(resize.source),
        error: error.sink,
    })
}

/// Runs the process and tells how it ended.
async fn run(job: Job, streams: Streams, ending: Ending) {
    let Streams { stdin, stdin_sink, stdout, stderr, resize, error } = streams;
    // A client of channels waits for a message that says that all is well.
    let first = [stdout.as_ref(), stderr.as_ref()].into_iter().flatten().next().unwrap_or(&error);
    if first.announce().await.is_err() {
        return;
    }
    let (out, from_out) = mpsc::channel(limits::STREAM_CHUNKS_MAX);
    let (err, from_err) = mpsc::channel(limits::STREAM_CHUNKS_MAX);
    let (size, sizes) = watch::channel(TerminalSize::default());
    let (typed, input) = mpsc::channel(limits::STREAM_CHUNKS_MAX);
    let given = ProcessStreams {
        stdin: stdin.is_some().then_some(input),
        stdout: stdout.is_some().then_some(out),
        stderr: stderr.is_some().then_some(err),
        size: sizes,
    };
    let process = job.process.clone();
    let running = async move {
        match job.kind {
            Kind::Exec => job.nodes.exec(process, given).await,
            Kind::Attach => job.nodes.attach(process, given).await.map(|()| 0),
        }
    };
    let carrying = async { tokio::join!(running, carry(from_out, stdout), carry(from_err, stderr)).0 };
    let feeding = async {
        tokio::join!(feed(stdin, typed), follow_sizes(resize, &size));
        std::future::pending().await
    };
    let outcome = tokio::select! { outcome = carrying => outcome, () = feeding => return };
    let text = told(job.kind, &job.process.command, outcome, ending);
    if !text.is_empty() && error.write(text.into()).await.is_err() {
        return;
    }
    error.finish().await;
    if let Some(sink) = stdin_sink {
        sink.finish().await;
    }
}

/// Hands input on until the client has said all, or the process has heard enough.
async fn feed(from: Option<Source>, to: mpsc::Sender<Bytes>) {
    let Some(mut from) = from else { return };
    while let Some(bytes) = from.next().await {
        if to.send(bytes).await.is_err() {
            return;
        }
    }
}

/// Hands output on until the process has closed it.
async fn carry(mut from: mpsc::Receiver<Bytes>, to: Option<Sink>) {
    let Some(to) = to else { return };
    while let Some(bytes) = from.recv().await {
        if to.write(bytes).await.is_err() {
            return;
        }
    }
    to.finish().await;
}

/// Sizes of the terminal as the client tells them, one JSON object after the other.
async fn follow_sizes(source: Option<Source>, size: &watch::Sender<TerminalSize>) {
    let Some(mut source) = source else { return };
    let mut kept = Vec::new();
    while let Some(bytes) = source.next().await {
        kept.extend_from_slice(&bytes);
        let mut values = apiserver_json::Deserializer::from_slice(&kept).into_iter::<Value>();
        let mut read = 0;
        while let Some(Ok(value)) = values.next() {
            let number =
                |name: &str| value[name].as_u64().and_then(|number| u16::try_from(number).ok()).unwrap_or(0);
            size.send_replace(TerminalSize { width: number("Width"), height: number("Height") });
            read = values.byte_offset();
        }
        kept.drain(..read);
        if kept.len() > limits::TERMINAL_SIZE_BYTES_MAX {
            return;
        }
    }
}

/// What the error stream says at the end; nothing where that is the message.
fn told(kind: Kind, command: &[String], outcome: Result<i32, String>, ending: Ending) -> String {
    let status = match outcome {
        Ok(0) if ending == Ending::Text => return String::new(),
        Ok(0) => json!({"metadata": {}, "status": "Success"}),
        Ok(code) => {
            let why = match ending {
                Ending::Translated => format!("command terminated with exit code {code}"),
                Ending::Text | Ending::Status => {
                    format!("error executing command [{}], exit code {code}", command.join(" "))
                }
            };
            json!({
                "metadata": {},
                "status": "Failure",
                "message": format!("command terminated with non-zero exit code: {why}"),
                "reason": "NonZeroExitCode",
                "details": {"causes": [{"reason": "ExitCode", "message": code.to_string()}]},
            })
        }
        Err(why) => {
            let what = match kind {
                Kind::Exec => "error executing command in container",
                Kind::Attach => "error attaching to container",
            };
            let mut why = format!("{what}: {why}");
            if ending == Ending::Translated {
                why = format!("Internal error occurred: {why}");
            }
            json!({
                "metadata": {},
                "status": "Failure",
                "message": format!("Internal error occurred: {why}"),
                "reason": "InternalError",
                "details": {"causes": [{"message": why}]},
                "code": 500,
            })
        }
    };
    match ending {
        Ending::Text => status["message"].as_str().unwrap_or("").to_owned(),
        Ending::Status | Ending::Translated => status.to_string(),
    }
}

#[cfg(test)]
mod tests;
