//! Probes, asked once: a request, a connection, a call or a command, from the node the Pod runs on. What is said of a
//! failure is what kubelets say (`pkg/probe`).

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use bytes::{Buf, Bytes};
use controllers_workloads::ProbeTarget;
use dataplane_network::CLIENT;
use dataplane_network::proxy::{Origin, World};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use k8s_openapi::api::core::v1::Pod;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::plane::Plane;

/// Bytes of a command's output that are told.
const OUTPUT_MAX: usize = 10 << 10;
/// Messages of a command that wait to be read.
const OUTPUT_QUEUE: usize = 16;
/// `grpc.health.v1.HealthCheckResponse` that says SERVING.
const SERVING: [u8; 2] = [0x08, 0x01];

impl Plane {
    /// Asks a probe's question.
    ///
    /// # Errors
    /// What a kubelet would say of the answer.
    pub(crate) async fn ask(&self, pod: &Pod, target: &ProbeTarget, timeout: Duration) -> Result<(), String> {
        match target {
            ProbeTarget::Exec { container, command } => self.run_probe(pod, container, command).await,
            ProbeTarget::Tcp { host, port } => self.dial(pod, host, *port).await.map(drop),
            ProbeTarget::Grpc { host, port, service } => {
                let stream = self.dial(pod, host, *port).await?;
                call_health(stream, service).await.unwrap_or_else(|_| {
                    // Go's client goes on trying until its time is up.
                    let seconds = timeout.as_secs();
                    Err(format!(
                        "timeout: failed to connect service \"{host}:{port}\" within {seconds}s: context deadline exceeded"
                    ))
                })
            }
            // Simulated containers speak plain HTTP: a TLS handshake would fail as it does against such a server.
            ProbeTarget::Http { tls: true, host, port, .. } => {
                self.dial(pod, host, *port).await?;
                Err("http: server gave HTTP response to HTTPS client".to_owned())
            }
            ProbeTarget::Http { host, port, path, headers, .. } => {
                get(self.dial(pod, host, *port).await?, &format!("{host}:{port}"), path, headers).await
            }
        }
    }

    async fn dial(&self, pod: &Pod, host: &str, port: u16) -> Result<TcpStream, String> {
        let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()).unwrap_or("");
        let source = self.address(&Origin::Node(node.to_owned())).unwrap_or(CLIENT);
        let ip: Ipv4Addr = host.parse().map_err(|_| format!("dial tcp: lookup {host}: no such host"))?;
        let destination = SocketAddrV4::new(ip, port);
        let connected = self.fabric.connect(SocketAddrV4::new(source, 0), destination).await;
        let connection =
            connected.map_err(|_| format!("dial tcp {destination}: connect: connection refused"))?;
        Ok(connection.stream)
    }

    async fn run_probe(&self, pod: &Pod, container: &str, command: &[String]) -> Result<(), String> {
        let (said, mut heard) = tokio::sync::mpsc::channel::<Bytes>(OUTPUT_QUEUE);
        let streams = dataplane_workload::Streams {
            stdin: None,
            stdout: Some(said.clone()),
            stderr: Some(said),
            tty: false,
        };
        let place = (pod.metadata.uid.as_deref().unwrap_or(""), container);
        let listen = async {
            let mut output = Vec::new();
            while let Some(bytes) = heard.recv().await {
                let room = OUTPUT_MAX.saturating_sub(output.len()).min(bytes.len());
                output.extend_from_slice(&bytes[..room]);
            }
            output
        };
        match tokio::join!(self.workloads.exec(place, command, streams, self), listen) {
            (Ok(0), _) => Ok(()),
            (Ok(_), output) => Err(String::from_utf8_lossy(&output).into_owned()),
            (Err(error), _) => Err(error.to_string()),
        }
    }
}

async fn get(
    mut stream: TcpStream,
    place: &str,
    path: &str,
    headers: &[(String, String)],
) -> Result<(), String> {
    let mut request = format!(
        "GET {path} HTTP/1.1\r\nHost: {place}\r\nUser-Agent: kube-probe/1.36\r\nConnection: close\r\n"
    );
    for (name, value) in headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    request.push_str("\r\n");
    stream.write_all(request.as_bytes()).await.map_err(|error| error.to_string())?;
    let mut head = vec![0; 64];
    let length = stream.read(&mut head).await.map_err(|error| error.to_string())?;
    let line = String::from_utf8_lossy(&head[..length]).into_owned();
    let status: u16 = line
        .split(' ')
        .nth(1)
        .and_then(|code| code.parse().ok())
        .ok_or_else(|| "malformed HTTP response".to_owned())?;
    if (200..400).contains(&status) {
        Ok(())
    } else {
        Err(format!("HTTP probe failed with statuscode: {status}"))
    }
}

/// Calls `grpc.health.v1.Health/Check`: the answer, or an error where no gRPC is spoken.
async fn call_health(stream: TcpStream, service: &str) -> Result<Result<(), String>, hyper::Error> {
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
    let driver = tokio::spawn(connection);
    let answer = async {
        let request = http::Request::post("http://health/grpc.health.v1.Health/Check")
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(Full::new(question(service)));
        let Ok(request) = request else { return Ok(Err("the request cannot be made".to_owned())) };
        let response = sender.send_request(request).await?;
        let headers = response.headers().clone();
        let body = response.into_body().collect().await?;
        let code =
            body.trailers().and_then(|trailers| trailers.get("grpc-status")).or(headers.get("grpc-status"));
        let code = code.and_then(|code| code.to_str().ok()).map(str::to_owned);
        let mut bytes = body.to_bytes();
        bytes.advance(bytes.len().min(5));
        Ok(match code.as_deref() {
            Some("0") if bytes[..] == SERVING => Ok(()),
            Some("0") => Err("service unhealthy (responded with \"NOT_SERVING\")".to_owned()),
            Some("12") => {
                Err("error: this server does not implement the grpc health protocol (grpc.health.v1.Health)"
                    .to_owned())
            }
            other => Err(format!("error: health rpc probe failed: status {}", other.unwrap_or("missing"))),
        })
    }
    .await;
    driver.abort();
    answer
}

/// A framed `HealthCheckRequest`: no compression, length, field 1.
fn question(service: &str) -> Bytes {
    let mut message = Vec::new();
    // Longer names are no names of services; their length would need more than one byte.
    if let Some(length) = u8::try_from(service.len()).ok().filter(|length| (1..128).contains(length)) {
        message.extend([0x0A, length]);
        message.extend(service.as_bytes());
    }
    let mut frame = vec![0];
    frame.extend((message.len() as u32).to_be_bytes());
    frame.extend(message);
    frame.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::service::service_fn;

    /// A server that answers health checks with this status and message.
    async fn serve(status: &'static str, message: &'static [u8]) -> TcpStream {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let (socket, _) = listener.accept().await.unwrap();
            let service = service_fn(move |request: http::Request<hyper::body::Incoming>| async move {
                let asked = request.into_body().collect().await.unwrap().to_bytes();
                assert_eq!(asked[..], [0, 0, 0, 0, 5, 0x0A, 3, b'w', b'e', b'b']);
                let mut framed = vec![0, 0, 0, 0, message.len() as u8];
                framed.extend(message);
                let trailers = http::HeaderMap::from_iter([(
                    http::HeaderName::from_static("grpc-status"),
                    http::HeaderValue::from_static(status),
                )]);
                let body = Full::new(Bytes::from(framed)).with_trailers(async move { Some(Ok(trailers)) });
                Ok::<_, hyper::Error>(http::Response::new(body))
            });
            let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            drop(server.serve_connection(TokioIo::new(socket), service).await);
        });
        TcpStream::connect(address).await.unwrap()
    }

    #[tokio::test]
    async fn a_service_is_healthy_when_it_says_so() {
        let unhealthy = "service unhealthy (responded with \"NOT_SERVING\")";
        let table: [(&str, &[u8], Option<&str>); 4] = [
            ("0", &SERVING, None),
            ("0", &[0x08, 0x02], Some(unhealthy)),
            ("0", &[], Some(unhealthy)),
            (
                "12",
                &[],
                Some(
                    "error: this server does not implement the grpc health protocol (grpc.health.v1.Health)",
                ),
            ),
        ];
        for (status, message, why) in table {
            let answer = call_health(serve(status, message).await, "web").await.unwrap();
            assert_eq!(answer.err().as_deref(), why, "{status} {message:?}");
        }
    }
}
