//! The open connections to one webhook, and a request on one of them.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;

use super::address::Address;
use super::dial::{Reach, go_error};
use super::response::{Answer, Failed, collect};
use super::tls;

/// As many as Go's client keeps, and as long.
const IDLE_MAX: usize = 25;
const IDLE_FOR: Duration = Duration::from_secs(90);

const USER_AGENT: &str = "kube-apiserver-admission";

type Sender = SendRequest<Full<Bytes>>;

pub(super) struct Pool {
    reach: Arc<Reach>,
    address: Address,
    tls: Arc<ClientConfig>,
    idle: Mutex<Vec<(Instant, Sender)>>,
}

impl Pool {
    pub(super) fn new(reach: Arc<Reach>, address: Address, tls: Arc<ClientConfig>) -> Self {
        Self { reach, address, tls, idle: Mutex::default() }
    }

    pub(super) fn address(&self) -> &Address {
        &self.address
    }

    /// Posts a body and reads the answer whole.
    pub(super) async fn post(&self, timeout_s: u64, body: Bytes) -> Result<Answer, Failed> {
        let (mut sender, response) = self.send(timeout_s, body).await?;
        let answer = collect(response).await?;
        if sender.ready().await.is_ok() {
            let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
            if idle.len() < IDLE_MAX {
                idle.push((Instant::now(), sender));
            }
        }
        Ok(answer)
    }

    async fn send(&self, timeout_s: u64, body: Bytes) -> Result<(Sender, Response<Incoming>), Failed> {
        while let Some(mut sender) = self.take() {
            match sender.send_request(self.request(timeout_s, body.clone())?).await {
                Ok(response) => return Ok((sender, response)),
                // The webhook closed it while it was idle: it has read nothing.
                Err(error) if error.is_canceled() || error.is_closed() || error.is_incomplete_message() => {}
                Err(error) => return Err(failed(&error)),
            }
        }
        let mut sender = self.connect().await.map_err(Failed::Sending)?;
        let sent = sender.send_request(self.request(timeout_s, body)?).await;
        sent.map(|response| (sender, response)).map_err(|error| failed(&error))
    }

    /// The connection that was used last, where it is open still.
    fn take(&self) -> Option<Sender> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|(since, sender)| since.elapsed() < IDLE_FOR && !sender.is_closed());
        idle.pop().map(|(_, sender)| sender)
    }

    async fn connect(&self) -> Result<Sender, String> {
        let socket = self.reach.dial(&self.address).await?;
        let socket = tls::connect(&self.tls, &self.address.host, socket).await?;
        let (sender, driver) = handshake(TokioIo::new(socket)).await.map_err(|error| error.to_string())?;
        tokio::spawn(async move {
            if let Err(error) = driver.await {
                tracing::debug!(error = %error, "a connection to a webhook ended early");
            }
        });
        Ok(sender)
    }

    fn request(&self, timeout_s: u64, body: Bytes) -> Result<Request<Full<Bytes>>, Failed> {
        Request::post(self.address.path_and_query(timeout_s))
            .header(header::HOST, &self.address.authority)
            .header(header::USER_AGENT, USER_AGENT)
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::ACCEPT, "application/json, */*")
            .body(Full::new(body))
            .map_err(|error| Failed::Sending(error.to_string()))
    }
}

fn failed(error: &hyper::Error) -> Failed {
    let source = std::error::Error::source(error).and_then(|source| source.downcast_ref::<std::io::Error>());
    Failed::Sending(match source {
        _ if error.is_incomplete_message() || error.is_canceled() => "EOF".to_owned(),
        Some(source) => tls::why(source).unwrap_or_else(|| go_error(source)),
        None if error.is_parse() => format!("net/http: HTTP/1.x transport connection broken: {error}"),
        None => error.to_string(),
    })
}
