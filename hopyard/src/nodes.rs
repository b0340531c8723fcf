//! The API server's way to the nodes of this process: logs, connections into Pods, commands in their containers.

use std::net::{Ipv4Addr, SocketAddrV4};

use apiserver_server::{Chunks, Connection, NodeRequest, Nodes, PodTarget, Process, ProcessStreams, Promise};
use bytes::Bytes;
use dataplane_network::CLIENT;
use dataplane_network::proxy::{Origin, World};
use dataplane_workload::{Attached, ExecError, Surroundings};
use k8s_openapi::api::core::v1::ServicePort;
use tokio::sync::broadcast::error::RecvError;

use crate::plane::Plane;

impl Nodes for Plane {
    fn logs(&self, request: NodeRequest) -> Promise<'_, Result<Chunks, String>> {
        Box::pin(async move {
            let logs = self
                .workloads
                .logs(&request.uid, Some(&request.container))
                .ok_or_else(|| "ContainerCreating".to_owned())?;
            let all = logs.since(0);
            let skip = request.tail_lines.map_or(0, |tail| all.len().saturating_sub(tail));
            let next = all.last().map_or(0, |line| line.index + 1);
            let timestamps = request.timestamps;
            let first = render(&all[skip..], timestamps);
            if !request.follow {
                return Ok(Box::pin(futures::stream::iter([first])) as Chunks);
            }
            let rest =
                futures::stream::unfold((logs, next, Some(first)), move |(logs, next, first)| async move {
                    if let Some(first) = first {
                        return Some((first, (logs, next, None)));
                    }
                    if !logs.wait(next).await {
                        return None;
                    }
                    let lines = logs.since(next);
                    let after = lines.last().map_or(next, |line| line.index + 1);
                    Some((render(&lines, timestamps), (logs, after, None)))
                });
            Ok(Box::pin(rest) as Chunks)
        })
    }

    fn port_forward(&self, target: PodTarget, port: u16) -> Promise<'_, Result<Box<dyn Connection>, String>> {
        Box::pin(async move {
            let sandbox = target.sandbox();
            let ip: Option<Ipv4Addr> =
                target.ip.parse().ok().filter(|_| self.workloads.is_running(&target.uid));
            let ip = ip.ok_or_else(|| format!("failed to find sandbox {sandbox:?} in store: not found"))?;
            // Inside the Pod's network namespace, where it is its own client.
            let source = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0);
            match self.fabric.connect(source, SocketAddrV4::new(ip, port)).await {
                Ok(connection) => Ok(Box::new(connection.stream) as Box<dyn Connection>),
                Err(error) => {
                    tracing::debug!(error = %error, port, "nothing to forward to");
                    Err(format!(
                        "failed to execute portforward in network namespace \"/var/run/netns/cni-{}\": failed to connect to localhost:{port} inside namespace {sandbox:?}, IPv4: dial tcp4 127.0.0.1:{port}: connect: connection refused IPv6 dial tcp6 [::1]:{port}: connect: connection refused",
                        target.uid
                    ))
                }
            }
        })
    }

    fn exec(&self, process: Process, streams: ProcessStreams) -> Promise<'_, Result<i32, String>> {
        Box::pin(async move {
            let streams = dataplane_workload::Streams {
                stdin: streams.stdin,
                stdout: streams.stdout,
                stderr: streams.stderr,
                tty: process.tty,
            };
            let place = (process.target.uid.as_str(), process.container.as_str());
            self.workloads.exec(place, &process.command, streams, self).await.map_err(|error| match error {
                ExecError::NotRunning => {
                    "failed to exec in container: container is in CONTAINER_EXITED state".to_owned()
                }
                error => {
                    let id = format!("{:032x}{:032x}", rand::random::<u128>(), rand::random::<u128>());
                    format!(
                        "failed to exec in container: failed to start exec {id:?}: OCI runtime exec failed: exec failed: unable to start container process: {error}: unknown"
                    )
                }
            })
        })
    }

    fn attach(&self, process: Process, streams: ProcessStreams) -> Promise<'_, Result<(), String>> {
        Box::pin(async move {
            let uid = process.target.uid.as_str();
            if let Some(console) = self.workloads.attach(uid, &process.container, streams.stdin.is_some()) {
                converse(console, streams).await;
                return Ok(());
            }
            let logs = self.workloads.logs(uid, Some(&process.container));
            let logs = logs.filter(|_| self.workloads.is_running(uid)).ok_or_else(|| {
                "failed to attach container: container is in CONTAINER_EXITED state".to_owned()
            })?;
            // A process without a console reads nothing; what it says from now on is its log.
            drop(streams.stdin);
            let Some(out) = streams.stdout else {
                self.workloads.stopped(uid).await;
                return Ok(());
            };
            let mut next = logs.since(0).last().map_or(0, |line| line.index + 1);
            let mut running = true;
            while running {
                tokio::select! {
                    more = logs.wait(next) => running = more,
                    () = self.workloads.stopped(uid) => running = false,
                }
                let lines = logs.since(next);
                next = lines.last().map_or(next, |line| line.index + 1);
                if !lines.is_empty() && out.send(render(&lines, false)).await.is_err() {
                    return Ok(());
                }
            }
            Ok(())
        })
    }

    fn connect(&self, pod_ip: String, port: u16) -> Promise<'_, Result<Box<dyn Connection>, String>> {
        Box::pin(async move {
            let ip: Ipv4Addr = pod_ip.parse().map_err(|_| format!("{pod_ip} is no IPv4 address"))?;
            let source = SocketAddrV4::new(CLIENT, 0);
            let connection = self
                .fabric
                .connect(source, SocketAddrV4::new(ip, port))
                .await
                .map_err(|error| error.to_string())?;
            Ok(Box::new(connection.stream) as Box<dyn Connection>)
        })
    }
}

/// Carries what is typed to a process and what it says back, until it ends or nobody looks any more.
async fn converse(console: Attached, streams: ProcessStreams) {
    let Attached { input, mut said } = console;
    let typing = async {
        if let (Some(mut typed), Some(input)) = (streams.stdin, input) {
            while let Some(bytes) = typed.recv().await {
                if input.send(bytes).await.is_err() {
                    break;
                }
            }
        }
        // Whoever has typed all waits for what it comes to.
        std::future::pending::<()>().await;
    };
    let showing = async {
        loop {
            let bytes = match said.recv().await {
                Ok(bytes) => bytes,
                Err(RecvError::Lagged(_)) => continue,
                Err(RecvError::Closed) => return,
            };
            if let Some(out) = &streams.stdout
                && out.send(bytes).await.is_err()
            {
                return;
            }
        }
    };
    tokio::select! {
        () = typing => {}
        () = showing => {}
    }
}

impl Surroundings for Plane {
    fn resolve(&self, namespace: &str, pod: &str, name: &str) -> Vec<Ipv4Addr> {
        let origin = Origin::Pod { namespace: namespace.to_owned(), name: pod.to_owned() };
        World::resolve(self, &origin, name)
    }

    fn service_variables(&self, namespace: &str) -> Vec<(String, String)> {
        let programs = self.agent.programs();
        let mut variables = Vec::new();
        for service in programs.services() {
            let metadata = &service.metadata;
            let (of, name) =
                (metadata.namespace.as_deref().unwrap_or(""), metadata.name.as_deref().unwrap_or(""));
            let wanted =
                if namespace.is_empty() { (of, name) == ("default", "kubernetes") } else { of == namespace };
            let spec = service.spec.as_ref().filter(|_| wanted);
            if let Some(spec) = spec
                && let Some(ip) = spec.cluster_ip.as_deref().filter(|ip| !matches!(*ip, "" | "None"))
            {
                add_service(&mut variables, name, ip, spec.ports.as_deref().unwrap_or(&[]));
            }
        }
        variables
    }
}

/// What a kubelet tells new containers of a Service: `pkg/kubelet/envvars`.
fn add_service(variables: &mut Vec<(String, String)>, name: &str, ip: &str, ports: &[ServicePort]) {
    let upper = |text: &str| text.to_uppercase().replace('-', "_");
    let name = upper(name);
    let mut add = |rest: &str, value: String| variables.push((format!("{name}_{rest}"), value));
    add("SERVICE_HOST", ip.to_owned());
    for (i, port) in ports.iter().enumerate() {
        let number = port.port;
        let protocol = port.protocol.as_deref().unwrap_or("TCP");
        let url = format!("{}://{ip}:{number}", protocol.to_lowercase());
        if i == 0 {
            add("SERVICE_PORT", number.to_string());
            add("PORT", url.clone());
        }
        if let Some(port_name) = port.name.as_deref().filter(|name| !name.is_empty()) {
            add(&format!("SERVICE_PORT_{}", upper(port_name)), number.to_string());
        }
        let prefix = format!("PORT_{number}_{protocol}");
        add(&prefix, url);
        add(&format!("{prefix}_PROTO"), protocol.to_lowercase());
        add(&format!("{prefix}_PORT"), number.to_string());
        add(&format!("{prefix}_ADDR"), ip.to_owned());
    }
}

fn render(lines: &[dataplane_workload::Line], timestamps: bool) -> Bytes {
    let mut text = String::new();
    for line in lines {
        if timestamps {
            text.push_str(&line.time);
            text.push(' ');
        }
        text.push_str(&line.text);
        text.push('\n');
    }
    Bytes::from(text)
}
