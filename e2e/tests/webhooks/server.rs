//! A webhook: an HTTPS server with a certificate of its own, answered by a function.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};

/// What a webhook does with a request.
pub(crate) enum Reply {
    /// The `response` of a review; its uid is filled in.
    Review(Value),
    /// Any HTTP answer: its head's first lines and its body.
    Http(&'static str, &'static str),
    /// Says nothing until the client goes.
    Silence,
}

pub(crate) fn allow() -> Reply {
    Reply::Review(json!({"allowed": true}))
}

pub(crate) fn deny(code: u16, reason: &str, message: &str) -> Reply {
    let status = json!({"code": code, "reason": reason, "message": message});
    Reply::Review(json!({"allowed": false, "status": status}))
}

pub(crate) fn patch(operations: &Value) -> Reply {
    let patch = STANDARD.encode(operations.to_string());
    Reply::Review(json!({"allowed": true, "patchType": "JSONPatch", "patch": patch}))
}

type Handler = dyn Fn(&str, &Value) -> Reply + Send + Sync;

/// A running webhook; its threads end with the test's process.
pub(crate) struct Server {
    pub address: SocketAddr,
    /// The authority of its certificate, as a `caBundle`.
    pub ca_bundle: String,
    /// The certificate itself, as a `caBundle`.
    pub own_bundle: String,
    pub connections: Arc<AtomicUsize>,
    asked: Arc<Mutex<Vec<(String, Value)>>>,
}

impl Server {
    /// Serves as these names; `handle` is given the path with its query, and the review's request.
    pub(crate) fn start(
        names: &[&str],
        handle: impl Fn(&str, &Value) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut authority = CertificateParams::new(Vec::new()).expect("no names");
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let authority = CertifiedIssuer::self_signed(authority, key).expect("an authority");
        let key = KeyPair::generate().expect("a key");
        let leaf = CertificateParams::new(names).expect("names").signed_by(&key, &authority);
        let leaf = leaf.expect("a certificate");
        let chain: Vec<CertificateDer<'static>> = vec![leaf.der().clone()];
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .expect("key and certificate fit");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let server = Self {
            address: listener.local_addr().expect("an address"),
            ca_bundle: STANDARD.encode(authority.pem()),
            own_bundle: STANDARD.encode(leaf.pem()),
            connections: Arc::default(),
            asked: Arc::default(),
        };
        let (connections, asked) = (server.connections.clone(), server.asked.clone());
        let (config, handle): (_, Arc<Handler>) = (Arc::new(config), Arc::new(handle));
        std::thread::spawn(move || {
            for socket in listener.incoming().flatten() {
                connections.fetch_add(1, Ordering::Relaxed);
                let (config, handle, asked) = (config.clone(), handle.clone(), asked.clone());
                std::thread::spawn(move || serve(socket, config, &*handle, &asked));
            }
        });
        server
    }

    /// Paths and requests since the last look.
    pub(crate) fn asked(&self) -> Vec<(String, Value)> {
        std::mem::take(&mut *self.asked.lock().expect("no panic"))
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("https://{}{path}", self.address)
    }
}

fn serve(
    socket: TcpStream,
    config: Arc<ServerConfig>,
    handle: &Handler,
    asked: &Mutex<Vec<(String, Value)>>,
) -> Option<()> {
    let session = ServerConnection::new(config).ok()?;
    let mut stream = BufReader::new(StreamOwned::new(session, socket));
    loop {
        let mut first = String::new();
        stream.read_line(&mut first).ok()?;
        let path = first.split(' ').nth(1)?.to_owned();
        let mut length = 0;
        loop {
            let mut line = String::new();
            stream.read_line(&mut line).ok()?;
            if line.trim().is_empty() {
                break;
            }
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().ok()?;
            }
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body).ok()?;
        let review: Value = serde_json::from_slice(&body).ok()?;
        let request = review["request"].clone();
        let reply = handle(&path, &request);
        asked.lock().expect("no panic").push((path, request.clone()));
        let (head, body) = match reply {
            Reply::Review(mut response) => {
                response["uid"] = request["uid"].clone();
                let review =
                    json!({"apiVersion": review["apiVersion"], "kind": review["kind"], "response": response});
                ("200 OK\r\nContent-Type: application/json", review.to_string())
            }
            Reply::Http(head, body) => (head, body.to_owned()),
            Reply::Silence => {
                // Until the client closes the connection.
                drop(stream.read(&mut [0]));
                return None;
            }
        };
        let answer = format!("HTTP/1.1 {head}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        stream.get_mut().write_all(answer.as_bytes()).ok()?;
        stream.get_mut().flush().ok()?;
    }
}
