//! The user's uplink on loopback: SOCKS5 and HTTP (CONNECT and absolute form) on one port.
//!
//! Names are resolved by the cluster's zones and nothing else. A user name `pod/namespace/name` or `node/name` makes
//! the request start there. It does not reach the real internet.

use crate::fabric::{CLIENT, Error, Fabric};
use base64::Engine;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

/// Where a request starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// The user's machine.
    Internet,
    /// A Pod.
    Pod {
        /// Namespace.
        namespace: String,
        /// Name.
        name: String,
    },
    /// A node.
    Node(String),
}

impl Origin {
    /// `internet`, `pod/namespace/name` or `node/name`.
    pub fn parse(text: &str) -> Option<Origin> {
        let parts: Vec<&str> = text.split('/').collect();
        match parts.as_slice() {
            [""] | ["internet"] => Some(Origin::Internet),
            ["pod", namespace, name] => {
                Some(Origin::Pod { namespace: namespace.to_string(), name: name.to_string() })
            }
            ["node", name] => Some(Origin::Node(name.to_string())),
            _ => None,
        }
    }
}

/// What the proxy asks about the world.
pub trait World: Send + Sync {
    /// The address of an origin; None if there is no such Pod or node.
    fn address(&self, origin: &Origin) -> Option<Ipv4Addr>;
    /// The addresses of a name as seen from an origin.
    fn resolve(&self, origin: &Origin, name: &str) -> Vec<Ipv4Addr>;
}

/// Longest head of a proxy request.
const MAX_HEAD: usize = 16 * 1024;

/// Accept until the listener fails.
pub async fn serve(listener: TcpListener, fabric: Fabric, world: Arc<dyn World>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else { return };
        let (fabric, world) = (fabric.clone(), world.clone());
        tokio::spawn(async move {
            let _ = stream.set_nodelay(true);
            if let Err(error) = client(stream, &fabric, world.as_ref()).await {
                tracing::debug!(%error, "proxy client");
            }
        });
    }
}

async fn client(stream: TcpStream, fabric: &Fabric, world: &dyn World) -> std::io::Result<()> {
    let mut first = [0u8; 1];
    stream.peek(&mut first).await?;
    if first[0] == 5 { socks(stream, fabric, world).await } else { http(stream, fabric, world).await }
}

enum Failure {
    NoSuchOrigin,
    NoSuchName,
    Network(Error),
}

async fn open(
    fabric: &Fabric,
    world: &dyn World,
    origin: &Origin,
    host: &str,
    port: u16,
) -> Result<TcpStream, Failure> {
    let source = match origin {
        Origin::Internet => CLIENT,
        origin => world.address(origin).ok_or(Failure::NoSuchOrigin)?,
    };
    let addresses = match host.parse::<Ipv4Addr>() {
        Ok(ip) => vec![ip],
        Err(_) => world.resolve(origin, host),
    };
    let mut last = Failure::NoSuchName;
    for ip in addresses {
        // The internet has no way to private addresses, whoever listens there.
        if *origin == Origin::Internet && ip.is_private() {
            last = Failure::Network(Error::NoRoute(SocketAddrV4::new(ip, port), source));
            continue;
        }
        match fabric.connect(SocketAddrV4::new(source, 0), SocketAddrV4::new(ip, port)).await {
            Ok(connection) => return Ok(connection.stream),
            Err(error) => last = Failure::Network(error),
        }
    }
    Err(last)
}

async fn socks(mut stream: TcpStream, fabric: &Fabric, world: &dyn World) -> std::io::Result<()> {
    let mut head = [0u8; 2];
    stream.read_exact(&mut head).await?;
    let mut methods = vec![0u8; head[1].into()];
    stream.read_exact(&mut methods).await?;
    let mut origin = Some(Origin::Internet);
    if methods.contains(&2) {
        stream.write_all(&[5, 2]).await?;
        let _version = stream.read_u8().await?;
        let user = short_text(&mut stream).await?;
        let _password = short_text(&mut stream).await?;
        origin = Origin::parse(&user);
        stream.write_all(&[1, u8::from(origin.is_none())]).await?;
    } else if methods.contains(&0) {
        stream.write_all(&[5, 0]).await?;
    } else {
        return stream.write_all(&[5, 0xff]).await;
    }
    let Some(origin) = origin else { return Ok(()) };
    let mut request = [0u8; 4];
    stream.read_exact(&mut request).await?;
    let host = match request[3] {
        1 => Ipv4Addr::from(stream.read_u32().await?).to_string(),
        3 => short_text(&mut stream).await?,
        _ => return reply(&mut stream, 8).await,
    };
    let port = stream.read_u16().await?;
    if request[1] != 1 {
        return reply(&mut stream, 7).await;
    }
    match open(fabric, world, &origin, &host, port).await {
        Ok(mut upstream) => {
            reply(&mut stream, 0).await?;
            copy_bidirectional(&mut stream, &mut upstream).await.map(|_| ())
        }
        Err(failure) => {
            let code = match failure {
                Failure::NoSuchOrigin => 2,
                Failure::NoSuchName | Failure::Network(Error::Dropped(_)) => 4,
                Failure::Network(Error::Refused(_)) => 5,
                Failure::Network(Error::NoRoute(..)) => 3,
                Failure::Network(Error::Io(_)) => 1,
            };
            reply(&mut stream, code).await
        }
    }
}

async fn short_text(stream: &mut TcpStream) -> std::io::Result<String> {
    let mut bytes = vec![0u8; stream.read_u8().await?.into()];
    stream.read_exact(&mut bytes).await?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

async fn reply(stream: &mut TcpStream, code: u8) -> std::io::Result<()> {
    stream.write_all(&[5, code, 0, 1, 0, 0, 0, 0, 0, 0]).await
}

struct Head {
    connect: bool,
    host: String,
    port: u16,
    origin: Option<Origin>,
    /// The request as the origin server gets it; empty for CONNECT.
    forwarded: Vec<u8>,
}

async fn http(mut stream: TcpStream, fabric: &Fabric, world: &dyn World) -> std::io::Result<()> {
    let mut buffer = Vec::with_capacity(1024);
    let end = loop {
        if let Some(at) = buffer.windows(4).position(|w| w == b"\r\n\r\n") {
            break at + 4;
        }
        if buffer.len() > MAX_HEAD || stream.read_buf(&mut buffer).await? == 0 {
            return Ok(());
        }
    };
    let Some(head) = parse(&buffer[..end]) else {
        return stream
            .write_all(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
            .await;
    };
    let Some(origin) = head.origin.clone() else {
        let text =
            b"HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
        return stream.write_all(text).await;
    };
    match open(fabric, world, &origin, &head.host, head.port).await {
        Ok(mut upstream) => {
            if head.connect {
                stream.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await?;
            }
            upstream.write_all(&head.forwarded).await?;
            upstream.write_all(&buffer[end..]).await?;
            copy_bidirectional(&mut stream, &mut upstream).await.map(|_| ())
        }
        Err(failure) => {
            let why = match failure {
                Failure::NoSuchOrigin => "no such Pod or node to start from".to_string(),
                Failure::NoSuchName => format!("{} does not resolve", head.host),
                Failure::Network(error) => error.to_string(),
            };
            let text = format!(
                "HTTP/1.1 502 Bad Gateway\r\ncontent-type: text/plain\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{why}\n",
                why.len() + 1
            );
            stream.write_all(text.as_bytes()).await
        }
    }
}

fn parse(bytes: &[u8]) -> Option<Head> {
    let mut headers = [httparse::EMPTY_HEADER; 96];
    let mut request = httparse::Request::new(&mut headers);
    request.parse(bytes).ok()?;
    let (method, target) = (request.method?, request.path?);
    let connect = method == "CONNECT";
    let (authority, path) = if connect {
        (target, "")
    } else {
        let rest = target.strip_prefix("http://")?;
        let at = rest.find(['/', '?']).unwrap_or(rest.len());
        rest.split_at(at)
    };
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) => (host, port.parse().ok()?),
        None => (authority, if connect { 443 } else { 80 }),
    };
    let mut origin = Some(Origin::Internet);
    let mut forwarded = Vec::new();
    if !connect {
        let slash = if path.starts_with('/') { "" } else { "/" };
        forwarded.extend_from_slice(
            format!("{method} {slash}{path} HTTP/1.1\r\nConnection: close\r\n").as_bytes(),
        );
    }
    for header in request.headers.iter() {
        let name = header.name.to_ascii_lowercase();
        if name == "proxy-authorization" {
            origin = user(header.value).and_then(|user| Origin::parse(&user));
        } else if !connect && !matches!(name.as_str(), "proxy-connection" | "connection") {
            forwarded.extend_from_slice(header.name.as_bytes());
            forwarded.extend_from_slice(b": ");
            forwarded.extend_from_slice(header.value);
            forwarded.extend_from_slice(b"\r\n");
        }
    }
    if !connect {
        forwarded.extend_from_slice(b"\r\n");
    }
    Some(Head { connect, host: host.to_string(), port, origin, forwarded })
}

fn user(value: &[u8]) -> Option<String> {
    let encoded = std::str::from_utf8(value).ok()?.strip_prefix("Basic ")?;
    let decoded = base64::engine::general_purpose::STANDARD.decode(encoded.trim()).ok()?;
    Some(String::from_utf8(decoded).ok()?.split(':').next()?.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Names;
    impl World for Names {
        fn address(&self, origin: &Origin) -> Option<Ipv4Addr> {
            (*origin == Origin::Node("node-1".into())).then_some(Ipv4Addr::new(10, 0, 16, 4))
        }
        fn resolve(&self, _: &Origin, name: &str) -> Vec<Ipv4Addr> {
            if name == "web.test" { vec![Ipv4Addr::new(127, 66, 250, 1)] } else { vec![] }
        }
    }

    async fn start() -> (std::net::SocketAddr, Fabric) {
        let fabric = Fabric::new();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let address = listener.local_addr().expect("address");
        tokio::spawn(serve(listener, fabric.clone(), Arc::new(Names)));
        (address, fabric)
    }

    #[tokio::test]
    async fn socks_and_http_reach_a_name() {
        let (address, fabric) = start().await;
        let listener =
            fabric.listen(SocketAddrV4::new(Ipv4Addr::new(127, 66, 250, 1), 8099)).await.expect("listen");
        let mut client = TcpStream::connect(address).await.expect("connect");
        client.write_all(&[5, 1, 2, 1, 11]).await.expect("greeting");
        client.write_all(b"node/node-1\x00").await.expect("user");
        client.write_all(&[5, 1, 0, 3, 8]).await.expect("request");
        client.write_all(b"web.test").await.expect("host");
        client.write_all(&8099u16.to_be_bytes()).await.expect("port");
        let accepted = listener.accept().await.expect("accept");
        assert_eq!(*accepted.peer.ip(), Ipv4Addr::new(10, 0, 16, 4));
        let mut client = TcpStream::connect(address).await.expect("connect");
        client
            .write_all(b"GET http://web.test:8099/x HTTP/1.1\r\nHost: web.test:8099\r\n\r\n")
            .await
            .expect("request");
        let mut accepted = listener.accept().await.expect("accept");
        assert_eq!(*accepted.peer.ip(), CLIENT);
        let mut bytes = vec![0; 17];
        accepted.stream.read_exact(&mut bytes).await.expect("head");
        assert_eq!(bytes, b"GET /x HTTP/1.1\r\n");
        let inside = SocketAddrV4::new(Ipv4Addr::new(10, 0, 16, 9), 8099);
        let _listener = fabric.listen(inside).await.expect("listen");
        let mut client = TcpStream::connect(address).await.expect("connect");
        client.write_all(b"CONNECT 10.0.16.9:8099 HTTP/1.1\r\n\r\n").await.expect("request");
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.expect("answer");
        assert!(answer.starts_with("HTTP/1.1 502") && answer.contains("no route"), "{answer}");
        let mut client = TcpStream::connect(address).await.expect("connect");
        client.write_all(b"CONNECT nowhere.test:443 HTTP/1.1\r\n\r\n").await.expect("request");
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.expect("answer");
        assert!(
            answer.starts_with("HTTP/1.1 502") && answer.contains("nowhere.test does not resolve"),
            "{answer}"
        );
    }
}
