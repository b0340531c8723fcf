//! `hopyard demo`: from manifests to a real request, and its way there and back.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use hopyard_trace as trace;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::apiserver;
use crate::commands::{Output, print, render};
use crate::error::Error;
use crate::up;

/// Flags of `hopyard demo`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    /// End after the trace
    #[arg(long)]
    pub once: bool,
    /// What to request
    #[arg(long, default_value = "https://packet-journey.com/")]
    pub url: String,
    /// Seconds to wait until the request is answered
    #[arg(long, default_value_t = 30)]
    pub patience: u64,
    /// Manifests to apply, instead of the built-in ones
    #[arg(long, value_name = "PATH")]
    pub manifests: Vec<PathBuf>,
    /// Directory of the demo's data; a new one by default
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
}

/// The manifests of `manifests/journey`, so that the binary needs no files.
const JOURNEY: &[(&str, &str)] = &[
    ("cloud.yaml", include_str!("../../manifests/journey/cloud.yaml")),
    ("web.yaml", include_str!("../../manifests/journey/web.yaml")),
    ("ingress.yaml", include_str!("../../manifests/journey/ingress.yaml")),
];

/// An answer as it came over the wire.
struct Answer {
    status: u16,
    head: String,
    body: String,
}

/// Runs the demo.
pub(crate) async fn run(options: &Options) -> Result<(), Error> {
    let began = Instant::now();
    let temporary = options.data_dir.is_none();
    let dir = options
        .data_dir
        .clone()
        .unwrap_or_else(|| std::env::temp_dir().join(format!("hopyard-demo-{}", std::process::id())));
    let outcome = journey(options, dir.clone(), began).await;
    if temporary {
        // It was ours alone.
        drop(std::fs::remove_dir_all(&dir));
    }
    outcome
}

async fn journey(options: &Options, dir: PathBuf, began: Instant) -> Result<(), Error> {
    let documents =
        if options.manifests.is_empty() { built_in()? } else { crate::apply::read(&options.manifests)? };
    let running = up::start(&up::Options {
        data_dir: Some(dir),
        apply: Vec::new(),
        listen: "127.0.0.1:0".parse().map_err(|_| Error::Failed("no loopback".to_owned()))?,
        nodes: 3,
        zones: 3,
        instance_type: "m5.large".to_owned(),
        private_subnet_prefix: ccm_mock_aws_api::layout::PRIVATE_SUBNET_PREFIX,
        store: apiserver::Store::default(),
        durability: apiserver::DurabilityArg::default(),
        etcd: crate::etcd::EtcdFlags::default(),
        disable_admission_plugins: Vec::new(),
        detach: false,
    })
    .await?;
    for object in crate::apply::apply(&running.client, running.server.registry(), documents).await? {
        tracing::info!(object, elapsed_ms = began.elapsed().as_millis() as u64, "applied");
    }
    let outcome = request_and_trace(options, &running, began).await;
    if outcome.is_ok() && !options.once {
        eprint!("{}", up::welcome(&running.instance));
        apiserver::stop_signal().await;
    }
    running.stop().await;
    outcome
}

fn built_in() -> Result<Vec<(String, serde_json::Value)>, Error> {
    use serde::Deserialize;
    let mut documents = Vec::new();
    for (name, text) in JOURNEY {
        for document in serde_yaml_ng::Deserializer::from_str(text) {
            let value = serde_json::Value::deserialize(document)
                .map_err(|error| Error::Failed(format!("{name}: {error}")))?;
            documents.push(((*name).to_owned(), value));
        }
    }
    Ok(documents)
}

/// Waits until the request is delivered, sends it for real, and prints answer and trace.
async fn request_and_trace(options: &Options, running: &up::Running, began: Instant) -> Result<(), Error> {
    let asked = trace::Request::get(&options.url, trace::From::Internet)
        .map_err(|error| Error::Usage(error.to_string()))?;
    let answer = wait_until_answered(&asked, running, Duration::from_secs(options.patience)).await;
    let mut request = asked;
    let decision = running.proxy.decisions().latest(1).into_iter().next();
    if let (Some(decision), Ok(_)) = (&decision, &answer) {
        request.observed = trace::Observed {
            target_group_arn: decision.target_group_arn.clone(),
            target: decision.target_id.clone().zip(decision.target_port),
            destination: decision.destination.map(|address| (*address.ip(), address.port())),
            balancer_address: Some(*decision.address.ip()),
        };
    }
    let world = crate::world::read(&running.client).await?;
    let traced = trace::trace(&world, &request);
    if let Ok(answer) = &answer {
        print(&format!("\n{}\n{}\n\n", answer.head.lines().next().unwrap_or(""), preview(&answer.body)));
    }
    print(&render(&traced, Output::Text)?);
    tracing::info!(elapsed_ms = began.elapsed().as_millis() as u64, "traced");
    answer.map(|_| ())
}

/// The first lines of a body.
fn preview(body: &str) -> String {
    let lines: Vec<&str> = body.lines().take(12).collect();
    lines.join("\n")
}

async fn wait_until_answered(
    request: &trace::Request,
    running: &up::Running,
    patience: Duration,
) -> Result<Answer, Error> {
    let deadline = Instant::now() + patience;
    // Whatever makes the request routable changes the cloud: look again then.
    let mut changes = running.plane.cloud.get().map(|cloud| cloud.watch());
    loop {
        let last = match send(request, running).await {
            Ok(answer) if answer.status < 500 => return Ok(answer),
            Ok(answer) => format!("HTTP {}", answer.status),
            Err(why) => why,
        };
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Error::Failed(format!(
                "{} was not answered within {} s: {last}",
                request.url(),
                patience.as_secs()
            )));
        }
        let pause = left.min(Duration::from_millis(100));
        match &mut changes {
            Some(changes) => drop(tokio::time::timeout(pause, changes.changed()).await),
            None => tokio::time::sleep(pause).await,
        }
    }
}

/// Sends the request through the uplink, as a client on the internet.
async fn send(request: &trace::Request, running: &up::Running) -> Result<Answer, String> {
    let stream = socks(running.instance.uplink, &request.host, request.port).await?;
    let target = match &request.query {
        Some(query) => format!("{}?{query}", request.path),
        None => request.path.clone(),
    };
    let text = format!(
        "GET {target} HTTP/1.1\r\nHost: {}\r\nUser-Agent: hopyard-demo\r\nAccept: application/json\r\nConnection: close\r\n\r\n",
        request.host
    );
    if request.scheme == "https" {
        exchange(tls(stream, &request.host, &running.dir).await?, &text).await
    } else {
        exchange(stream, &text).await
    }
}

async fn exchange(
    mut stream: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
    text: &str,
) -> Result<Answer, String> {
    stream.write_all(text.as_bytes()).await.map_err(|error| error.to_string())?;
    let mut raw = Vec::new();
    // A peer that closes without a goodbye has said all it wanted.
    drop(stream.read_to_end(&mut raw).await);
    let text = String::from_utf8_lossy(&raw).into_owned();
    let (head, body) = text.split_once("\r\n\r\n").ok_or_else(|| "the answer broke off".to_owned())?;
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|code| code.parse().ok())
        .ok_or_else(|| "no HTTP answer".to_owned())?;
    let chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
    Ok(Answer { status, head: head.to_owned(), body: if chunked { dechunk(body) } else { body.to_owned() } })
}

fn dechunk(body: &str) -> String {
    let mut out = String::new();
    let mut rest = body;
    while let Some((size, tail)) = rest.split_once("\r\n") {
        let Ok(size) = usize::from_str_radix(size.trim(), 16) else { break };
        let Some(chunk) = tail.get(..size).filter(|chunk| !chunk.is_empty()) else { break };
        out.push_str(chunk);
        rest = tail.get(size + 2..).unwrap_or("");
    }
    out
}

/// SOCKS5 with the name left to the proxy.
async fn socks(proxy: std::net::SocketAddr, host: &str, port: u16) -> Result<TcpStream, String> {
    let failed = |error: std::io::Error| error.to_string();
    let mut stream = TcpStream::connect(proxy).await.map_err(failed)?;
    stream.write_all(&[5, 1, 0]).await.map_err(failed)?;
    let mut chosen = [0; 2];
    stream.read_exact(&mut chosen).await.map_err(failed)?;
    let length = u8::try_from(host.len()).map_err(|_| "the host name is too long".to_owned())?;
    let mut request = vec![5, 1, 0, 3, length];
    request.extend(host.as_bytes());
    request.extend(port.to_be_bytes());
    stream.write_all(&request).await.map_err(failed)?;
    let mut reply = [0; 10];
    stream.read_exact(&mut reply).await.map_err(failed)?;
    match reply[1] {
        0 => Ok(stream),
        4 => Err(format!("{host}: no such host")),
        5 => Err(format!("{host}:{port}: connection refused")),
        code => Err(format!("{host}:{port}: the uplink answered {code}")),
    }
}

/// TLS that trusts the instance's own authority, which the certificate manager issues from.
async fn tls(
    stream: TcpStream,
    host: &str,
    dir: &std::path::Path,
) -> Result<tokio_rustls::client::TlsStream<TcpStream>, String> {
    use rustls::pki_types::pem::PemObject;
    let pem = std::fs::read(dir.join("pki/ca.crt")).map_err(|error| error.to_string())?;
    let mut roots = rustls::RootCertStore::empty();
    let ca = rustls::pki_types::CertificateDer::from_pem_slice(&pem).map_err(|error| error.to_string())?;
    roots.add(ca).map_err(|error| error.to_string())?;
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = rustls::pki_types::ServerName::try_from(host.to_owned()).map_err(|error| error.to_string())?;
    tokio_rustls::TlsConnector::from(std::sync::Arc::new(config))
        .connect(name, stream)
        .await
        .map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_are_joined() {
        assert_eq!(dechunk("4\r\nWiki\r\n5\r\npedia\r\n0\r\n\r\n"), "Wikipedia");
        assert_eq!(dechunk("zz"), "");
    }

    #[test]
    fn the_built_in_manifests_are_read() {
        let kinds: Vec<String> = built_in()
            .unwrap()
            .into_iter()
            .map(|(_, value)| value["kind"].as_str().unwrap_or("").to_owned())
            .collect();
        assert!(kinds.contains(&"Ingress".to_owned()), "{kinds:?}");
    }
}
