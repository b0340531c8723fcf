//! Requests to the API server over TLS, one connection each, as its administrator.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use e2e::daemon::Daemon;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

pub(crate) const JSON: &str = "application/json";
/// Rows as kubectl prints them, without the objects.
pub(crate) const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io";
pub(crate) const METADATA: &str = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io";

/// How long the server may be silent.
const SILENCE: Duration = Duration::from_secs(300);

type Stream = BufReader<StreamOwned<ClientConnection, TcpStream>>;

/// Where a server is, and who asks.
#[derive(Clone)]
pub(crate) struct Place {
    config: Arc<ClientConfig>,
    address: String,
}

pub(crate) struct Api {
    place: Place,
    stream: Option<Stream>,
}

fn told(error: impl std::fmt::Display) -> String {
    error.to_string()
}

impl Place {
    pub(crate) fn of(daemon: &Daemon) -> Result<Self, String> {
        let pki = daemon.dir.join("data/pki");
        let server = daemon.server().ok_or("there is no kubeconfig")?;
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(pki.join("ca.crt")).map_err(told)?).map_err(told)?;
        let chain = CertificateDer::pem_file_iter(pki.join("admin.crt")).map_err(told)?;
        let chain = chain.collect::<Result<Vec<_>, _>>().map_err(told)?;
        let key = PrivateKeyDer::from_pem_file(pki.join("admin.key")).map_err(told)?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(told)?
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, key)
            .map_err(told)?;
        Ok(Self { config: Arc::new(config), address: server.trim_start_matches("https://").to_owned() })
    }

    pub(crate) fn api(&self) -> Api {
        Api { place: self.clone(), stream: None }
    }

    fn connect(&self) -> Result<Stream, String> {
        let socket = TcpStream::connect(&self.address).map_err(told)?;
        socket.set_nodelay(true).map_err(told)?;
        socket.set_read_timeout(Some(SILENCE)).map_err(told)?;
        let name = ServerName::try_from("localhost").map_err(told)?;
        let session = ClientConnection::new(self.config.clone(), name).map_err(told)?;
        Ok(BufReader::with_capacity(64 << 10, StreamOwned::new(session, socket)))
    }
}

/// Sends a request, and reads the first line of its answer.
fn ask(mut stream: Stream, request: &str) -> Result<(Stream, String), String> {
    stream.get_mut().write_all(request.as_bytes()).map_err(told)?;
    let mut line = String::new();
    if stream.read_line(&mut line).map_err(told)? == 0 {
        return Err("the connection was closed".to_owned());
    }
    Ok((stream, line))
}

impl Api {
    /// The status and the body of the answer, which is read piece by piece by `take`.
    fn exchange(
        &mut self,
        (method, path, accept): (&str, &str, &str),
        body: &str,
        take: &mut dyn FnMut(&[u8]),
    ) -> Result<u16, String> {
        let kind = if method == "PATCH" { "application/merge-patch+json" } else { JSON };
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nAccept: {accept}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n{body}",
            self.place.address,
            body.len()
        );
        let (mut stream, mut line) = match self.stream.take().map(|kept| ask(kept, &request)) {
            Some(Ok(answered)) => answered,
            // A server closes connections that were idle for long.
            Some(Err(_)) if method != "POST" => ask(self.place.connect()?, &request)?,
            Some(Err(why)) => return Err(why),
            None => ask(self.place.connect()?, &request)?,
        };
        let status = line.split(' ').nth(1).and_then(|code| code.parse().ok()).ok_or("no HTTP answer")?;
        let (mut length, mut chunked) = (0, false);
        loop {
            line.clear();
            stream.read_line(&mut line).map_err(told)?;
            let header = line.trim().to_ascii_lowercase();
            if header.is_empty() {
                break;
            }
            if let Some(value) = header.strip_prefix("content-length:") {
                length = value.trim().parse().map_err(told)?;
            }
            chunked |= header == "transfer-encoding: chunked";
        }
        while chunked {
            line.clear();
            stream.read_line(&mut line).map_err(told)?;
            let size = usize::from_str_radix(line.trim(), 16).map_err(told)?;
            piece(&mut stream, size, take)?;
            line.clear();
            stream.read_line(&mut line).map_err(told)?;
            chunked = size > 0;
        }
        piece(&mut stream, length, take)?;
        self.stream = Some(stream);
        Ok(status)
    }

    /// An answer as a whole; anything but success is an error.
    pub(crate) fn send(
        &mut self,
        method: &str,
        path: &str,
        accept: &str,
        body: &str,
    ) -> Result<Vec<u8>, String> {
        let mut all = Vec::new();
        let status = self.exchange((method, path, accept), body, &mut |part| all.extend_from_slice(part))?;
        if (200..300).contains(&status) {
            return Ok(all);
        }
        Err(format!("{method} {path}: {status} {}", String::from_utf8_lossy(&all)))
    }

    pub(crate) fn get(&mut self, path: &str, accept: &str) -> Result<Vec<u8>, String> {
        self.send("GET", path, accept, "")
    }

    /// Reads an answer to its end and answers its length.
    pub(crate) fn drain(&mut self, path: &str) -> Result<usize, String> {
        let mut length = 0;
        match self.exchange(("GET", path, JSON), "", &mut |part| length += part.len())? {
            200 => Ok(length),
            status => Err(format!("GET {path}: {status}")),
        }
    }

    /// Hands every line of a watch to `take` until the server ends it.
    pub(crate) fn watch(
        &mut self,
        path: &str,
        accept: &str,
        take: &mut dyn FnMut(&[u8]),
    ) -> Result<(), String> {
        let mut rest = Vec::new();
        let status = self.exchange(("GET", path, accept), "", &mut |part| {
            rest.extend_from_slice(part);
            while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
                take(&rest[..end]);
                rest.drain(..=end);
            }
        })?;
        if status == 200 { Ok(()) } else { Err(format!("GET {path}: {status}")) }
    }
}

fn piece(stream: &mut Stream, size: usize, take: &mut dyn FnMut(&[u8])) -> Result<(), String> {
    let mut left = size;
    while left > 0 {
        let buffer = stream.fill_buf().map_err(told)?;
        let length = buffer.len().min(left);
        if length == 0 {
            return Err("the answer ended early".to_owned());
        }
        take(&buffer[..length]);
        stream.consume(length);
        left -= length;
    }
    Ok(())
}

/// Sends these requests over so many connections at once; the first error ends it.
pub(crate) fn send_all(
    place: &Place,
    connections: usize,
    requests: &[(String, String)],
    done: &(dyn Fn(usize) + Sync),
) -> Result<(), String> {
    let next = std::sync::atomic::AtomicUsize::new(0);
    let work = || -> Result<(), String> {
        let mut api = place.api();
        loop {
            let at = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            let Some((path, body)) = requests.get(at) else { return Ok(()) };
            api.send("POST", path, JSON, body)?;
            done(at + 1);
        }
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..connections).map(|_| scope.spawn(work)).collect();
        workers
            .into_iter()
            .try_for_each(|worker| worker.join().map_err(|_| "a client panicked".to_owned())?)
    })
}
