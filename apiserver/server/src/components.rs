//! What `kubectl get componentstatuses` shows: how the components that stand beside the API server are.
//!
//! Nothing of it is stored: each is asked when somebody wants to know, all at the same time. Where they are is fixed, as
//! upstream fixes it; no flag moves them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use apiserver_json::json;
use apiserver_registry::{Listing, Resource, Selectors, document};
use apiserver_storage::Store;
use apiserver_watchcache::Object;
use bytes::Bytes;
use http::header::{ACCEPT, CONNECTION, HOST, USER_AGENT};
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::rt::TokioIo;

use crate::service::ApiServer;
use crate::webhooks;

/// How long a component may take: `componentstatus`'s `probeTimeOut`.
const PATIENCE: Duration = Duration::from_secs(20);
/// As much of an answer as is shown: `probe/http`'s `maxRespBodyLength`.
const ANSWER_BYTES_MAX: usize = 10 << 10;

/// How a component is asked.
#[derive(Clone, Copy, Debug)]
enum Component {
    /// `/healthz` on this port of this machine, whatever its certificate is.
    Https(u16),
    Store,
}

const COMPONENTS: [(&str, Component); 3] = [
    ("controller-manager", Component::Https(10257)),
    ("scheduler", Component::Https(10259)),
    ("etcd-0", Component::Store),
];

/// What asking came to: the status of the condition and its message.
type Outcome = (&'static str, String);

/// Whether the objects of a resource are made when they are read.
pub(crate) fn are(resource: &Resource) -> bool {
    resource.group.is_empty() && resource.kind == "ComponentStatus"
}

/// One of them; `None` where there is no such component.
pub(crate) async fn get(server: &ApiServer, name: &str) -> Option<Bytes> {
    let (name, component) = COMPONENTS.into_iter().find(|(known, _)| *known == name)?;
    Some(shown(name, ask(server, component).await))
}

/// All of them that are selected.
pub(crate) async fn list(server: &ApiServer, resource: &Resource, selectors: &Selectors) -> Listing {
    let asked = COMPONENTS.map(|(name, component)| async move { (name, ask(server, component).await) });
    let objects = futures::future::join_all(asked)
        .await
        .into_iter()
        .map(|(name, outcome)| Arc::new(Object::of(resource.key(None, name), 0, shown(name, outcome))));
    let objects = objects.filter(|object| selectors.select(resource, object)).collect();
    Listing { revision: 0, objects, next: None, remaining: None }
}

/// The object of a component, as stored ones are written.
fn shown(name: &str, (status, message): Outcome) -> Bytes {
    let mut condition = json!({"type": "Healthy", "status": status});
    if !message.is_empty() {
        condition["message"] = message.into();
    }
    let object = json!({
        "apiVersion": "v1",
        "kind": "ComponentStatus",
        "metadata": {"name": name},
        "conditions": [condition],
    });
    document(&object).bytes
}

async fn ask(server: &ApiServer, component: Component) -> Outcome {
    match component {
        Component::Https(port) => https(SocketAddr::from(([127, 0, 0, 1], port)), PATIENCE).await,
        Component::Store => store(server.registry().store()).await,
    }
}

async fn store(store: &Store) -> Outcome {
    let answered = tokio::time::timeout(PATIENCE, store.catch_up()).await;
    if answered.is_ok_and(|outcome| outcome.is_ok()) {
        return ("True", "ok".to_owned());
    }
    ("False", String::new())
}

async fn https(address: SocketAddr, patience: Duration) -> Outcome {
    let failed = |why: String| ("False", format!("Get \"https://{address}/healthz\": {why}"));
    match tokio::time::timeout(patience, health(address)).await {
        Ok(Ok((status, body))) if status.is_success() => ("True", body),
        // What an answer says is shown of good ones only.
        Ok(Ok((status, _))) => ("False", format!("HTTP probe failed with statuscode: {}", status.as_u16())),
        Ok(Err(why)) => failed(why),
        Err(_) => {
            failed("context deadline exceeded (Client.Timeout exceeded while awaiting headers)".to_owned())
        }
    }
}

/// # Errors
/// The sentence of Go's client.
async fn health(address: SocketAddr) -> Result<(StatusCode, String), String> {
    let socket = webhooks::connect_unverified(address).await?;
    let plain = |error: hyper::Error| error.to_string();
    let (mut sender, driver) =
        hyper::client::conn::http1::handshake(TokioIo::new(socket)).await.map_err(plain)?;
    let request = Request::get("/healthz")
        .header(HOST, address.to_string())
        .header(USER_AGENT, "kube-probe/1.36")
        .header(ACCEPT, "*/*")
        .header(CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(|error| error.to_string())?;
    let exchange = async {
        let response = sender.send_request(request).await.map_err(plain)?;
        let status = response.status();
        let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
        let body = body.map(|body| body.to_bytes()).unwrap_or_default();
        Ok((status, String::from_utf8_lossy(&body).into_owned()))
    };
    tokio::pin!(exchange);
    // The connection is driven here: it goes with the answer, and with the patience of who waits for it.
    tokio::select! {
        outcome = &mut exchange => outcome,
        ended = driver => match exchange.await {
            Ok(answer) => Ok(answer),
            Err(why) => Err(ended.err().map_or(why, |error| error.to_string())),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    /// Answers one connection over TLS.
    async fn component(answer: &'static str) -> SocketAddr {
        let authority = rcgen::generate_simple_self_signed(["nobody.example".to_owned()]).unwrap();
        let key = rustls::pki_types::PrivateKeyDer::try_from(authority.signing_key.serialize_der()).unwrap();
        let config =
            rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_no_client_auth()
                .with_single_cert(vec![authority.cert.der().clone()], key)
                .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let (socket, _) = listener.accept().await.unwrap();
            let mut stream = tokio_rustls::TlsAcceptor::from(Arc::new(config)).accept(socket).await.unwrap();
            let mut request = [0; 1024];
            let length = stream.read(&mut request).await.unwrap();
            assert!(request[..length].starts_with(b"GET /healthz HTTP/1.1\r\n"));
            stream.write_all(answer.as_bytes()).await.unwrap();
            stream.shutdown().await.unwrap();
        });
        address
    }

    #[tokio::test]
    async fn a_component_is_what_it_answers() {
        for (answer, want) in [
            ("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", ("True", "ok")),
            ("HTTP/1.1 200 OK\r\n\r\nok", ("True", "ok")),
            (
                "HTTP/1.1 500 Oh\r\ncontent-length: 6\r\n\r\nsecret",
                ("False", "HTTP probe failed with statuscode: 500"),
            ),
        ] {
            let (status, message) = https(component(answer).await, PATIENCE).await;
            assert_eq!((status, message.as_str()), want, "{answer}");
        }
    }

    #[tokio::test]
    async fn who_is_not_there_or_says_nothing_is_unhealthy() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (status, message) = https(address, Duration::from_millis(50)).await;
        assert_eq!(status, "False");
        assert!(message.ends_with("(Client.Timeout exceeded while awaiting headers)"), "{message}");
        drop(listener);
        let want =
            format!("Get \"https://{address}/healthz\": dial tcp {address}: connect: connection refused");
        assert_eq!(https(address, PATIENCE).await, ("False", want));
    }
}
