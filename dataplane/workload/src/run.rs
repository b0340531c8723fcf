//! Starting and stopping Pods: a listener for each port of each container, and an end that lets requests finish.
//!
//! It keeps nothing across restarts; whoever watches Pods starts them again.

use crate::behaviour::{self, Identity};
use crate::console::{Attached, Consoles, find};
use crate::exec::{Entry, entry};
use crate::image::{Behaviour, behaviour_with};
use crate::logs::Logs;
use dataplane_l7::{ConnectionInfo, Handler, serve_connection};
use dataplane_network::{Fabric, Inside};
use hyper::body::Body as _;
use k8s_openapi::api::core::v1::{Container, Pod};
use std::collections::{BTreeMap, HashMap};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::copy_bidirectional;
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};

/// Annotation that puts a local server in a Pod's place.
pub(crate) const UPSTREAM: &str = "hopyard.dev/upstream";

/// Why a Pod cannot run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Nobody knows what the image does.
    #[error(
        "Failed to pull image \"{image}\": no built-in behaviour; annotate the Pod with hopyard.dev/upstream: 127.0.0.1:PORT to put a local server in its place"
    )]
    UnknownImage {
        /// Container.
        container: String,
        /// Image.
        image: String,
    },
    /// `status.podIP` is missing or no IPv4 address.
    #[error("pod has no IPv4 address yet")]
    NoAddress,
    /// The annotation is no address.
    #[error("annotation hopyard.dev/upstream is not an address: {0}")]
    Upstream(String),
    /// No socket.
    #[error("port {port}: {error}")]
    Listen {
        /// Port.
        port: u16,
        /// Reason.
        error: String,
    },
}

struct Running {
    pod: Arc<Pod>,
    ip: Ipv4Addr,
    stop: watch::Sender<bool>,
    logs: BTreeMap<String, Logs>,
    consoles: Consoles,
    /// Ends when the last connection has.
    busy: mpsc::Sender<()>,
    idle: mpsc::Receiver<()>,
}

/// The Pods that run in this process; clones share them.
#[derive(Clone)]
pub struct Workloads {
    fabric: Fabric,
    running: Arc<Mutex<HashMap<String, Running>>>,
    /// The Pod at each address.
    at: Arc<Mutex<HashMap<Ipv4Addr, String>>>,
    /// Logs of Pods that have stopped, until their objects go.
    stopped: Arc<Mutex<HashMap<String, BTreeMap<String, Logs>>>>,
}

#[derive(Clone)]
enum Service {
    Answer(Behaviour, Identity),
    Upstream(String),
}

#[derive(Clone)]
struct Serving {
    service: Service,
    logs: Logs,
    stop: watch::Receiver<bool>,
    busy: mpsc::Sender<()>,
}

fn argument(container: &Container, name: &str) -> Option<String> {
    let words: Vec<&String> =
        container.command.iter().flatten().chain(container.args.iter().flatten()).collect();
    let (one, two) = (format!("-{name}"), format!("--{name}"));
    words.iter().enumerate().find_map(|(i, word)| {
        if **word == one || **word == two {
            return words.get(i + 1).map(|w| w.to_string());
        }
        word.strip_prefix(&two).or_else(|| word.strip_prefix(&one))?.strip_prefix('=').map(str::to_string)
    })
}

/// The ports a container listens on: those its arguments say, those it declares, or its image's usual one.
fn ports(container: &Container, behaviour: Behaviour, usual: u16) -> Vec<u16> {
    let number = |text: String| text.rsplit(':').next().and_then(|p| p.parse::<u16>().ok());
    let told = match behaviour {
        Behaviour::HttpEcho => argument(container, "listen").and_then(number),
        Behaviour::Netexec => argument(container, "http-port").and_then(number),
        Behaviour::Whoami | Behaviour::ServeHostname | Behaviour::Echo => {
            argument(container, "port").and_then(number)
        }
        _ => None,
    };
    if let Some(port) = told {
        return vec![port];
    }
    let tcp =
        |p: &&k8s_openapi::api::core::v1::ContainerPort| p.protocol.as_deref().unwrap_or("TCP") == "TCP";
    let declared: Vec<u16> = container
        .ports
        .iter()
        .flatten()
        .filter(tcp)
        .filter_map(|p| u16::try_from(p.container_port).ok())
        .collect();
    if declared.is_empty() && usual != 0 { vec![usual] } else { declared }
}

impl Workloads {
    /// Nothing runs yet.
    pub fn new(fabric: Fabric) -> Self {
        Workloads { fabric, running: Arc::default(), at: Arc::default(), stopped: Arc::default() }
    }

    fn running(&self) -> std::sync::MutexGuard<'_, HashMap<String, Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn at(&self) -> std::sync::MutexGuard<'_, HashMap<Ipv4Addr, String>> {
        self.at.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Run a Pod at its address; doing it again changes nothing. When it returns, every port accepts connections.
    pub async fn start(&self, pod: &Arc<Pod>) -> Result<(), Error> {
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        if self.is_running(&uid) {
            return Ok(());
        }
        let ip = pod
            .status
            .as_ref()
            .and_then(|s| s.pod_ip.as_ref())
            .and_then(|ip| ip.parse::<Ipv4Addr>().ok())
            .ok_or(Error::NoAddress)?;
        let node = pod.spec.as_ref().and_then(|s| s.node_name.clone()).unwrap_or_default();
        let plan = plan(pod, ip, &node)?;
        let (stop, stopping) = watch::channel(false);
        let (busy, idle) = mpsc::channel(1);
        let (mut logs, mut opened) = (BTreeMap::new(), Vec::<(Inside, Serving)>::new());
        self.fabric.add_pod(ip, &node);
        for (container, service, ports) in plan {
            let lines = Logs::default();
            for port in ports {
                let address = SocketAddrV4::new(ip, port);
                if opened.iter().any(|(listener, _)| listener.address() == address) {
                    lines.write(format!("bind() to 0.0.0.0:{port} failed (98: Address already in use)"));
                    continue;
                }
                let listener = self
                    .fabric
                    .listen_within(address)
                    .await
                    .map_err(|e| Error::Listen { port, error: e.to_string() })?;
                lines.write(format!("listening on {address}"));
                let serving = Serving {
                    service: service.clone(),
                    logs: lines.clone(),
                    stop: stopping.clone(),
                    busy: busy.clone(),
                };
                opened.push((listener, serving));
            }
            logs.insert(container, lines);
        }
        for (listener, serving) in opened {
            tokio::spawn(accept(listener, serving));
        }
        self.at().insert(ip, uid.clone());
        let consoles = Consoles::default();
        let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
        containers.filter(|c| is_command(pod, &c.name)).for_each(|c| consoles.open(c));
        self.running().insert(uid, Running { pod: pod.clone(), ip, stop, logs, consoles, busy, idle });
        Ok(())
    }

    /// A Pod that runs has one more container, as its object says now. One that serves listens nowhere: its Pod has the
    /// ports already.
    pub fn add(&self, pod: &Arc<Pod>, container: &str) {
        let uid = pod.metadata.uid.as_deref().unwrap_or_default();
        if let Some(running) = self.running().get_mut(uid) {
            running.pod = pod.clone();
            running.logs.entry(container.to_owned()).or_default();
            if let Some(found) = find(pod, container).filter(|_| is_command(pod, container)) {
                running.consoles.open(&found);
            }
        }
    }

    /// The console of a container whose process reads, for somebody who may type.
    pub fn attach(&self, uid: &str, container: &str, types: bool) -> Option<Attached> {
        self.consoles(uid)?.attach(container, types)
    }

    pub(crate) fn consoles(&self, uid: &str) -> Option<Consoles> {
        self.running().get(uid).map(|running| running.consoles.clone())
    }

    /// Stop a Pod: no new connections, requests under way may finish within `grace`.
    pub async fn stop(&self, uid: &str, grace: Duration) {
        let Some(running) = self.running().remove(uid) else { return };
        let Running { pod, ip, stop, logs, busy, mut idle, .. } = running;
        for (container, lines) in &logs {
            if entry(&pod, container) == Entry::Image {
                lines.write("signal 15 (SIGTERM) received, exiting");
            }
            lines.close();
        }
        stop.send_replace(true);
        drop(busy);
        if tokio::time::timeout(grace, idle.recv()).await.is_err() {
            tracing::debug!(%ip, "grace period over with requests under way");
        }
        let mut at = self.at();
        if at.get(&ip).is_some_and(|there| there == uid) {
            at.remove(&ip);
            self.fabric.remove(ip);
        }
        drop(at);
        self.stopped.lock().unwrap_or_else(PoisonError::into_inner).insert(uid.to_string(), logs);
    }

    /// Forget the logs of a Pod whose object is gone.
    pub fn forget(&self, uid: &str) {
        self.stopped.lock().unwrap_or_else(PoisonError::into_inner).remove(uid);
    }

    /// True while a Pod runs.
    pub fn is_running(&self, uid: &str) -> bool {
        self.running().contains_key(uid)
    }

    /// A running Pod as it was when it started, and its address.
    pub(crate) fn pod(&self, uid: &str) -> Option<(Arc<Pod>, Ipv4Addr)> {
        self.running().get(uid).map(|running| (running.pod.clone(), running.ip))
    }

    /// An empty log for a container that begins anew.
    pub(crate) fn fresh_logs(&self, uid: &str, container: &str) -> Option<Logs> {
        let (mut running, lines) = (self.running(), Logs::default());
        let before = running.get_mut(uid)?.logs.insert(container.to_owned(), lines.clone());
        before.iter().for_each(Logs::close);
        Some(lines)
    }

    pub(crate) fn fabric(&self) -> &Fabric {
        &self.fabric
    }

    /// Resolves when a Pod that runs is stopped; at once where none does.
    pub async fn stopped(&self, uid: &str) {
        let stop = self.running().get(uid).map(|running| running.stop.subscribe());
        if let Some(mut stop) = stop {
            // A channel that is closed has stopped too.
            drop(stop.wait_for(|stopping| *stopping).await);
        }
    }

    /// The lines of a container; without a name those of the first.
    pub fn logs(&self, uid: &str, container: Option<&str>) -> Option<Logs> {
        let find = |logs: &BTreeMap<String, Logs>| match container {
            Some(name) => logs.get(name).cloned(),
            None => logs.values().next().cloned(),
        };
        let live = self.running().get(uid).and_then(|r| find(&r.logs));
        live.or_else(|| self.stopped.lock().unwrap_or_else(PoisonError::into_inner).get(uid).and_then(find))
    }
}

fn is_command(pod: &Pod, container: &str) -> bool {
    matches!(entry(pod, container), Entry::Command(_))
}

type Plan = Vec<(String, Service, Vec<u16>)>;

fn plan(pod: &Pod, ip: Ipv4Addr, node: &str) -> Result<Plan, Error> {
    let upstream = pod.metadata.annotations.as_ref().and_then(|a| a.get(UPSTREAM)).map(|text| {
        let text = text.trim().trim_start_matches("http://").trim_end_matches('/').to_string();
        text.rsplit_once(':')
            .and_then(|(_, port)| port.parse::<u16>().ok())
            .map(|_| text.clone())
            .ok_or(Error::Upstream(text))
    });
    let upstream = upstream.transpose()?;
    let mut out = Vec::new();
    for container in pod.spec.iter().flat_map(|s| &s.containers) {
        let image = container.image.clone().unwrap_or_default();
        let command = container.command.iter().flatten().skip(1);
        let arguments: Vec<String> = command.chain(container.args.iter().flatten()).cloned().collect();
        let known = behaviour_with(&image, &arguments);
        let (behaviour, usual) = match (known, &upstream) {
            (Some(known), _) => known,
            (None, Some(_)) => (Behaviour::Echo, 80),
            (None, None) => return Err(Error::UnknownImage { container: container.name.clone(), image }),
        };
        // Whatever runs a command does not run its image's server.
        let listening = match entry(pod, &container.name) {
            Entry::Image => ports(container, behaviour, usual),
            _ => Vec::new(),
        };
        let service = match &upstream {
            Some(address) => Service::Upstream(address.clone()),
            None => Service::Answer(
                behaviour,
                Identity {
                    pod: pod.metadata.name.clone().unwrap_or_default(),
                    namespace: pod.metadata.namespace.clone().unwrap_or_default(),
                    node: node.into(),
                    ip: ip.to_string(),
                    container: container.name.clone(),
                    image,
                    text: argument(container, "text").unwrap_or_else(|| "hello-world".into()),
                },
            ),
        };
        out.push((container.name.clone(), service, listening));
    }
    Ok(out)
}

/// How long a stopping Pod still accepts: routing learns of its end a moment later than the Pod itself.
const LINGER: Duration = Duration::from_millis(150);

async fn stopped(mut stop: watch::Receiver<bool>) {
    let _ = stop.wait_for(|stopping| *stopping).await;
    tokio::time::sleep(LINGER).await;
}

async fn accept(listener: Inside, serving: Serving) {
    let address = listener.address();
    let end = stopped(serving.stop.clone());
    tokio::pin!(end);
    loop {
        let accepted = tokio::select! {
            biased;
            accepted = listener.accept() => accepted,
            () = &mut end => return,
        };
        let serving = serving.clone();
        tokio::spawn(async move {
            match &serving.service {
                Service::Upstream(upstream) => {
                    let mut stream = accepted.stream;
                    match TcpStream::connect(upstream.as_str()).await {
                        Ok(mut local) => {
                            let _ = copy_bidirectional(&mut stream, &mut local).await;
                        }
                        Err(error) => serving.logs.write(format!("connect() to {upstream} failed: {error}")),
                    }
                }
                Service::Answer(behaviour, me) => {
                    let info =
                        ConnectionInfo { peer: accepted.peer, local: address, scheme: "http", tls: None };
                    let handler = handler(*behaviour, me.clone(), serving.logs.clone());
                    if let Err(error) =
                        serve_connection(accepted.stream, info, handler, serving.stop.clone()).await
                    {
                        tracing::trace!(%error, "pod connection");
                    }
                }
            }
            drop(serving.busy);
        });
    }
}

fn handler(behaviour: Behaviour, me: Identity, logs: Logs) -> Handler {
    let me = Arc::new(me);
    Arc::new(move |request, info| {
        let (me, logs) = (me.clone(), logs.clone());
        Box::pin(async move {
            let header = |name: &str| {
                request.headers().get(name).and_then(|v| v.to_str().ok()).unwrap_or("-").to_owned()
            };
            let [referer, agent, forwarded] = ["referer", "user-agent", "x-forwarded-for"].map(header);
            let asked = format!("{} {} HTTP/1.1", request.method(), request.uri());
            let response = behaviour::respond(behaviour, &me, request, &info).await;
            let time = jiff::Timestamp::now().strftime("%d/%b/%Y:%H:%M:%S +0000");
            let (status, bytes) = (response.status().as_u16(), response.body().size_hint().lower());
            // nginx's usual format: the last field tells whom a load balancer speaks for.
            logs.write(format!(
                "{} - - [{time}] \"{asked}\" {status} {bytes} \"{referer}\" \"{agent}\" \"{forwarded}\"",
                info.peer.ip()
            ));
            response
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    fn pod(image: &str, extra: serde_json::Value) -> Arc<Pod> {
        let mut pod = json!({"metadata": {"name": "web-1", "namespace": "default", "uid": "u1"},
            "spec": {"nodeName": "node-1", "containers": [{"name": "c", "image": image}]}, "status": {"podIP": "10.0.16.20"}});
        for (path, value) in extra.as_object().into_iter().flatten() {
            if let Some(place) = pod.pointer_mut(path) {
                for (key, value) in value.as_object().into_iter().flatten() {
                    place[key] = value.clone();
                }
            }
        }
        Arc::new(serde_json::from_value(pod).expect("a Pod"))
    }

    async fn get(
        fabric: &Fabric,
        port: u16,
        path: &str,
        extra: &str,
    ) -> Result<String, dataplane_network::Error> {
        let from = SocketAddrV4::new(Ipv4Addr::new(10, 0, 1, 5), 0);
        let mut stream =
            fabric.connect(from, SocketAddrV4::new(Ipv4Addr::new(10, 0, 16, 20), port)).await?.stream;
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{extra}\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut text = String::new();
        stream.read_to_string(&mut text).await?;
        Ok(text)
    }

    #[tokio::test]
    async fn images_answer_as_they_should() {
        let args = json!({"/spec/containers/0": {"args": ["-text=hi there", "-listen=:8000"]}});
        let declared = json!({"/spec/containers/0": {"ports": [{"containerPort": 8080}]}});
        let table = [
            ("nginx", json!({}), 80, "/", "", "Welcome to nginx!"),
            ("nginx", json!({}), 80, "/no", "", "404 Not Found"),
            ("httpd:2.4", json!({}), 80, "/", "", "It works!"),
            ("hashicorp/http-echo", args, 8000, "/", "", "hi there"),
            ("traefik/whoami", json!({}), 80, "/", "", "Hostname: web-1"),
            ("registry.k8s.io/e2e-test-images/agnhost:2.53", json!({}), 8080, "/clientip", "", "10.0.1.5:"),
            ("ealen/echo-server", declared.clone(), 8080, "/a?b=c", "", "\"remoteAddr\": \"10.0.1.5:"),
            ("ealen/echo-server", declared, 8080, "/x", "Accept: text/html\r\n", "<h1>web-1</h1>"),
        ];
        for (image, extra, port, path, headers, expected) in table {
            let fabric = Fabric::new();
            let workloads = Workloads::new(fabric.clone());
            workloads.start(&pod(image, extra)).await.expect("start");
            let text = get(&fabric, port, path, headers).await.expect("answer");
            assert!(text.contains(expected), "{image} {path}: {text}");
            assert!(workloads.logs("u1", None).expect("logs").since(0).len() >= 2);
            workloads.stop("u1", Duration::from_secs(1)).await;
            assert!(matches!(get(&fabric, port, path, "").await, Err(dataplane_network::Error::NoRoute(..))));
        }
    }

    #[tokio::test]
    async fn a_local_server_takes_a_pods_place_and_unknown_images_are_errors() {
        let workloads = Workloads::new(Fabric::new());
        let unknown = workloads.start(&pod("my/app", json!({}))).await;
        assert!(matches!(unknown, Err(Error::UnknownImage { .. })));
        let local = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let address = local.local_addr().expect("address").to_string();
        let annotated = json!({"/metadata": {"annotations": {UPSTREAM: address}}});
        workloads.start(&pod("my/app", annotated)).await.expect("start");
        let fabric = workloads.fabric.clone();
        let asked = tokio::spawn(async move { get(&fabric, 80, "/", "").await });
        let (mut stream, _) = local.accept().await.expect("accept");
        stream
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\nconnection: close\r\n\r\nlocal")
            .await
            .expect("write");
        drop(stream);
        assert!(asked.await.expect("task").expect("answer").ends_with("local"));
    }

    #[tokio::test]
    async fn stopping_lets_requests_finish() {
        let workloads = Workloads::new(Fabric::new());
        workloads.start(&pod("ealen/echo-server", json!({}))).await.expect("start");
        let to = SocketAddrV4::new(Ipv4Addr::new(10, 0, 16, 20), 80);
        let from = SocketAddrV4::new(Ipv4Addr::new(10, 0, 1, 5), 0);
        let mut stream = workloads.fabric.connect(from, to).await.expect("connect").stream;
        stream.write_all(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nab").await.expect("half");
        let lines = workloads.logs("u1", None).expect("logs");
        let other = workloads.clone();
        let stopping = tokio::spawn(async move { other.stop("u1", Duration::from_secs(5)).await });
        assert!(lines.wait(1).await);
        stream.write_all(b"cd").await.expect("rest");
        let mut text = String::new();
        stream.read_to_string(&mut text).await.expect("answer");
        assert!(text.contains("\"body\": \"abcd\""), "{text}");
        stopping.await.expect("stopped");
    }
}
