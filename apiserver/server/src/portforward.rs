//! `kubectl port-forward`: connections to ports of a Pod, as streams of one session.
//!
//! A connection is a pair of streams: one for its bytes, one for what went wrong with it. Any text on the latter makes
//! kubectl give up the whole session, so it is only written where a connection could not be made.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use apiserver_json::Value;
use apiserver_meta::Status;
use bytes::{Bytes, BytesMut};
use http::StatusCode;
use hyper::upgrade::OnUpgrade;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use crate::answer::Answer;
use crate::context::Context;
use crate::limits;
use crate::node_proxy::{Connection, Nodes, PodTarget};
use crate::streams::channels::{self, Channel, Framing, Use};
use crate::streams::pipe::{Sink, Source};
use crate::streams::spdy::{self, Opened};
use crate::streams::upgrade::{self, Refusal, Wanted};
use crate::streams::websocket::{self, Tunnel};

/// The protocol of both transports.
const PROTOCOLS: &[&str] = &["portforward.k8s.io"];

/// The older protocols: numbered channels, and ports in the query.
const CHANNEL_PROTOCOLS: &[&str] = &["v4.channel.k8s.io", "v4.base64.channel.k8s.io"];

/// Where connections lead.
#[derive(Clone)]
struct Target {
    nodes: Arc<dyn Nodes>,
    pod: PodTarget,
}

/// Takes the connection of a request over, where it asks for that in a way that is understood.
pub(crate) fn answer(
    context: &Context,
    nodes: Arc<dyn Nodes>,
    pod: &Value,
    upgrade: Option<OnUpgrade>,
) -> Result<Answer, Status> {
    let wanted =
        upgrade::wanted(context.headers).ok_or_else(|| Status::bad_request("Upgrade request required"))?;
    let pod = target_of(pod)?;
    let answer = if pod.ip.is_empty() {
        let text = format!("pod not found (\"{}_{}\")", pod.pod, pod.namespace);
        Err(upgrade::refusal(StatusCode::INTERNAL_SERVER_ERROR, text))
    } else {
        switch(context, wanted, Target { nodes, pod }, upgrade)
    };
    Ok(answer.unwrap_or_else(|refusal| *refusal))
}

/// What a stream needs to know of a Pod.
pub(crate) fn target_of(pod: &Value) -> Result<PodTarget, Status> {
    let text = |pointer: &str| pod.pointer(pointer).and_then(Value::as_str).unwrap_or("").to_owned();
    let name = text("/metadata/name");
    if text("/spec/nodeName").is_empty() {
        return Err(Status::bad_request(format!("pod {name} does not have a host assigned")));
    }
    Ok(PodTarget {
        namespace: text("/metadata/namespace"),
        pod: name,
        uid: text("/metadata/uid"),
        ip: text("/status/podIP"),
    })
}

fn switch(
    context: &Context,
    wanted: Wanted,
    target: Target,
    upgrade: Option<OnUpgrade>,
) -> Result<Answer, Refusal> {
    let (headers, stop) = (context.headers, context.server.stopping());
    match wanted {
        Wanted::Spdy => {
            let (_, answer) = upgrade::to_spdy(headers, PROTOCOLS)?;
            let upgrade = upgrade::taken(upgrade)?;
            upgrade::run(upgrade, |io| spdy::serve(io, stop, |streams| forward_all(streams, target)));
            Ok(answer)
        }
        Wanted::Tunnel(protocols) => {
            let answer = upgrade::to_tunnel(headers, &protocols, PROTOCOLS)?;
            let upgrade = upgrade::taken(upgrade)?;
            upgrade::run(upgrade, |io| async {
                let tunnel = Tunnel::new(websocket::socket(io).await);
                spdy::serve(tunnel, stop, |streams| forward_all(streams, target)).await;
            });
            Ok(answer)
        }
        Wanted::WebSocket(protocols) => {
            let ports = ports(context).map_err(|text| upgrade::refusal(StatusCode::BAD_REQUEST, text))?;
            let protocol = match protocols.as_slice() {
                [] => "",
                offered => upgrade::negotiate_channels(offered, CHANNEL_PROTOCOLS)?,
            };
            let answer = upgrade::to_websocket(headers, protocol)?;
            let upgrade = upgrade::taken(upgrade)?;
            let framing = Framing { base64: protocol.contains("base64"), closes: false };
            upgrade::run(upgrade, move |io| async move {
                let uses: Vec<Use> = ports.iter().flat_map(|_| [Use::Both, Use::Server]).collect();
                channels::serve(io, framing, &uses, stop, |channels| forward_ports(channels, ports, target))
                    .await;
            });
            Ok(answer)
        }
    }
}

/// The ports of the query, for the protocols that name them there.
fn ports(context: &Context) -> Result<Vec<u16>, String> {
    let mut ports = Vec::new();
    for value in context.query.all("ports").chain(context.query.all("port")) {
        for text in value.split(',') {
            ports.push(port_of(text)?);
        }
    }
    match ports.len() {
        0 => Err("query parameter \"port\" is required".to_owned()),
        1..=limits::FORWARDED_PORTS_MAX => Ok(ports),
        _ => Err(format!("more than {} ports", limits::FORWARDED_PORTS_MAX)),
    }
}

fn port_of(text: &str) -> Result<u16, String> {
    match text.parse() {
        Ok(0) => Err(format!("port {text:?} must be > 0")),
        Ok(port) => Ok(port),
        Err(_) => Err(format!(
            "unable to parse {text:?} as a port: strconv.ParseUint: parsing {text:?}: invalid syntax"
        )),
    }
}

/// Streams of a connection, as they arrive.
struct Pair {
    error: Option<Sink>,
    data: Option<(Source, Sink)>,
    port: u16,
    since: Instant,
}

/// Pairs the streams of a session and forwards each pair, until the session ends.
async fn forward_all(mut streams: mpsc::Receiver<Opened>, target: Target) {
    let mut pairs: HashMap<String, Pair> = HashMap::new();
    let mut connections = JoinSet::new();
    loop {
        let oldest = pairs.values().map(|pair| pair.since).min();
        let late = oldest.map(|since| since + limits::STREAM_CREATION_MAX);
        tokio::select! {
            Some(_) = connections.join_next() => {}
            () = sleep_until(late.unwrap_or_else(Instant::now)), if late.is_some() => {
                give_up(&mut pairs).await;
            }
            opened = streams.recv() => {
                let Some(opened) = opened else { return };
                if let Some(pair) = add(&mut pairs, opened).await {
                    connections.spawn(forward_pair(pair, target.clone()));
                }
            }
        }
    }
}

/// Tells the client of streams that lack their other half for too long.
async fn give_up(pairs: &mut HashMap<String, Pair>) {
    let now = Instant::now();
    let late: Vec<String> = pairs
        .iter()
        .filter(|(_, pair)| pair.since + limits::STREAM_CREATION_MAX <= now)
        .map(|(request, _)| request.clone())
        .collect();
    for request in late {
        let Some(pair) = pairs.remove(&request) else { continue };
        if let Some(error) = pair.error {
            say(error, format!("(request={request}) timed out waiting for streams")).await;
        }
        if let Some((_, data)) = pair.data {
            data.reset().await;
        }
    }
}

/// Writes a text and ends the stream; nobody may be there to read it.
async fn say(error: Sink, text: String) {
    if error.write(text.into()).await.is_ok() {
        error.finish().await;
    }
}

/// A complete pair, once its second stream is here.
async fn add(pairs: &mut HashMap<String, Pair>, opened: Opened) -> Option<Pair> {
    let Opened { id, headers, source, sink } = opened;
    let data = match headers.get("streamtype") {
        "data" => true,
        "error" => false,
        other => {
            tracing::debug!(stream_type = other, "a stream of no known type is refused");
            sink.reset().await;
            return None;
        }
    };
    let Ok(port) = port_of(headers.get("port")) else {
        sink.reset().await;
        return None;
    };
    if sink.accept().await.is_err() {
        return None;
    }
    let request = match headers.get("requestid") {
        // Clients before requests had names open the streams of a connection one after the other.
        "" if data => id.saturating_sub(2).to_string(),
        "" => id.to_string(),
        request => request.to_owned(),
    };
    if pairs.len() >= limits::STREAMS_MAX && !pairs.contains_key(&request) {
        sink.reset().await;
        return None;
    }
    let new = || Pair { error: None, data: None, port, since: Instant::now() };
    let pair = pairs.entry(request.clone()).or_insert_with(new);
    if data && pair.data.is_none() {
        pair.port = port;
        pair.data = Some((source, sink));
    } else if !data && pair.error.is_none() {
        pair.error = Some(sink);
    } else {
        let kind = if data { "data" } else { "error" };
        sink.reset().await;
        if let Some(error) = &pair.error {
            let text =
                format!("error processing stream for request {request}: {kind} stream already assigned");
            if error.write(text.into()).await.is_err() {
                tracing::trace!("the client is gone");
            }
        }
        return None;
    }
    if pair.data.is_some() && pair.error.is_some() { pairs.remove(&request) } else { None }
}

async fn forward_pair(pair: Pair, target: Target) {
    let Pair { error: Some(error), data: Some((source, sink)), port, .. } = pair else { return };
    match target.nodes.port_forward(target.pod.clone(), port).await {
        Ok(connection) => {
            carry(connection, source, sink).await;
            error.finish().await;
        }
        Err(why) => {
            say(error, failure(&target.pod, port, &why)).await;
            sink.reset().await;
        }
    }
}

/// What went wrong, in the words of upstream's streaming server.
fn failure(pod: &PodTarget, port: u16, why: &str) -> String {
    format!("error forwarding port {port} to pod {}, uid : {why}", pod.sandbox())
}

/// Each port is one connection, on two channels that begin with the port's number.
async fn forward_ports(channels: Vec<Channel>, ports: Vec<u16>, target: Target) {
    let mut connections = JoinSet::new();
    let mut channels = channels.into_iter();
    for port in ports {
        let (Some(data), Some(error)) = (channels.next(), channels.next()) else { return };
        let target = target.clone();
        connections.spawn(async move {
            let number = Bytes::copy_from_slice(&port.to_le_bytes());
            if data.sink.write(number.clone()).await.is_err() || error.sink.write(number).await.is_err() {
                return;
            }
            let Channel { source, sink } = data;
            match target.nodes.port_forward(target.pod.clone(), port).await {
                Ok(connection) => carry(connection, source, sink).await,
                Err(why) => say(error.sink, failure(&target.pod, port, &why)).await,
            }
        });
    }
    while connections.join_next().await.is_some() {}
}

/// Carries bytes both ways until both sides are done, or one is and the other stays silent.
async fn carry(connection: Box<dyn Connection>, mut source: Source, sink: Sink) {
    let (mut read, mut write) = tokio::io::split(connection);
    let gone = sink.gone();
    // Odd while the Pod is awaited; it changes with every read.
    let reads = AtomicU64::new(0);
    let up = async {
        while let Some(bytes) = source.next().await {
            if write.write_all(&bytes).await.is_err() {
                return;
            }
        }
        // The Pod may be gone already.
        drop(write.shutdown().await);
    };
    let down = async {
        let mut buffer = BytesMut::new();
        loop {
            buffer.reserve(limits::STREAM_CHUNK_BYTES);
            reads.fetch_add(1, Ordering::Relaxed);
            let read = read.read_buf(&mut buffer).await;
            reads.fetch_add(1, Ordering::Relaxed);
            // A connection that the Pod resets has ended, no more: the others of the session go on.
            if matches!(read, Ok(0) | Err(_)) || sink.write(buffer.split().freeze()).await.is_err() {
                return;
            }
        }
    };
    let both = async {
        let (mut up, mut down) = (std::pin::pin!(up), std::pin::pin!(down));
        tokio::select! {
            () = &mut up => {
                let silence = async {
                    loop {
                        let before = reads.load(Ordering::Relaxed);
                        sleep(limits::FORWARD_LINGER).await;
                        if before % 2 == 1 && reads.load(Ordering::Relaxed) == before {
                            return;
                        }
                    }
                };
                tokio::select! { () = &mut down => {} () = silence => {} }
            }
            () = &mut down => {}
        }
    };
    tokio::select! { () = both => {} () = gone.cancelled() => {} }
    sink.finish().await;
}
