//! `healthCheckNodePort`s: every node answers how many ready endpoints of the Service it has, so that load balancers
//! leave out nodes without one. Paths are not looked at, as kube-proxy's server does not.

use std::collections::BTreeMap;
use std::net::SocketAddrV4;
use std::sync::Arc;

use dataplane_network::{Fabric, Listener};
use proxy_agent_agent::{Agent, Programs};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;

/// Longest head of a request that is read.
const HEAD_MAX: usize = 4096;

/// Keeps a listener open for each node and port that is asked for.
pub(crate) async fn run(agent: Arc<Agent>, fabric: Fabric) {
    let mut programs = agent.watch();
    // Dropping the set ends every server in it.
    let mut servers = JoinSet::new();
    let mut open: BTreeMap<(String, u16), tokio::task::AbortHandle> = BTreeMap::new();
    loop {
        let wanted = places(&programs.borrow_and_update());
        open.retain(|place, server| {
            let keep = wanted.contains_key(place);
            if !keep {
                server.abort();
            }
            keep
        });
        for (place, address) in wanted {
            if open.contains_key(&place) {
                continue;
            }
            match fabric.listen(address).await {
                Ok(listener) => {
                    let server = servers.spawn(serve(agent.clone(), place.clone(), listener));
                    open.insert(place, server);
                }
                Err(error) => tracing::warn!(%address, %error, "a healthCheckNodePort cannot be answered"),
            }
        }
        while servers.try_join_next().is_some() {}
        if programs.changed().await.is_err() {
            return;
        }
    }
}

/// Nodes and ports, and the addresses they are at.
fn places(programs: &Programs) -> BTreeMap<(String, u16), SocketAddrV4> {
    let mut out = BTreeMap::new();
    let ports = programs.health_check_ports();
    for node in programs.nodes().filter(|_| !ports.is_empty()) {
        for port in &ports {
            out.insert((node.name.clone(), *port), SocketAddrV4::new(node.ip, *port));
        }
    }
    out
}

async fn serve(agent: Arc<Agent>, (node, port): (String, u16), listener: Listener) {
    loop {
        let Ok(accepted) = listener.accept().await else { return };
        let answer = answer(&agent.programs(), &node, port);
        tokio::spawn(async move {
            let mut stream = accepted.stream;
            let mut head = Vec::with_capacity(256);
            while !head.ends_with(b"\r\n\r\n") && head.len() < HEAD_MAX {
                match stream.read_buf(&mut head).await {
                    Ok(length) if length > 0 => {}
                    _ => return,
                }
            }
            // Who asked and is gone needs no answer.
            drop(stream.write_all(answer.as_bytes()).await);
        });
    }
}

/// What kube-proxy answers: 200 where there is an endpoint to send to, else 503.
fn answer(programs: &Programs, node: &str, port: u16) -> String {
    let program = programs.get(node);
    let found = program.as_ref().and_then(|program| program.health_check(port));
    let (namespace, name, endpoints) =
        found.map_or(("", "", 0), |(key, endpoints)| (key.namespace.as_str(), key.name.as_str(), endpoints));
    let status = if endpoints > 0 { "200 OK" } else { "503 Service Unavailable" };
    let body = format!(
        "{{\n\t\"service\": {{\n\t\t\"namespace\": \"{namespace}\",\n\t\t\"name\": \"{name}\"\n\t}},\n\t\"localEndpoints\": {endpoints},\n\t\"serviceProxyHealthy\": true\n}}"
    );
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nX-Content-Type-Options: nosniff\r\nX-Load-Balancing-Endpoint-Weight: {endpoints}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}
