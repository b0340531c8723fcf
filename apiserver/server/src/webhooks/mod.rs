//! The client that calls webhooks: HTTPS, one pool of connections for each `clientConfig`.
//!
//! What goes wrong is told in the sentences of Go's client, because they end up in the answer of the request that
//! was to be admitted, or whose object was to be converted.

mod address;
mod dial;
mod endpoints;
mod pool;
mod response;
mod tls;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use apiserver_registry::{WebhookCaller, WebhookError, WebhookTarget};
use apiserver_watchcache::Cache;
use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;

use self::address::Address;
use self::pool::Pool;
use crate::node_proxy::{Connection, Nodes};

/// Targets that are remembered; when there are more, all are made anew.
const TARGETS_MAX: usize = 256;

/// A connection to whoever listens there.
///
/// # Errors
/// The sentence of Go's dialer.
pub(crate) async fn connect(host: &str, port: u16) -> Result<Box<dyn Connection>, String> {
    dial::dial_host(host, port).await
}

/// As [`connect`], over TLS, whoever it is.
///
/// # Errors
/// The sentence of Go's dialer, or of its TLS.
pub(crate) async fn connect_unverified(host: &str, port: u16) -> Result<Box<dyn Connection>, String> {
    let socket = dial::dial_host(host, port).await?;
    Ok(Box::new(tls::connect(&tls::unverified()?, host, socket).await?))
}

/// Calls webhooks.
pub(crate) struct Client {
    reach: Arc<dial::Reach>,
    pools: Mutex<HashMap<WebhookTarget, Arc<Pool>>>,
}

impl Client {
    pub(crate) fn new(cache: Arc<Cache>, nodes: Option<Arc<dyn Nodes>>) -> Self {
        Self { reach: Arc::new(dial::Reach { cache, nodes }), pools: Mutex::default() }
    }

    fn pool(&self, target: &WebhookTarget) -> Result<Arc<Pool>, String> {
        let mut pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pool) = pools.get(target) {
            return Ok(pool.clone());
        }
        let address = Address::of(&target.address)?;
        let tls = tls::config(&target.ca_bundle)?;
        let pool = Arc::new(Pool::new(self.reach.clone(), address, tls));
        if pools.len() >= TARGETS_MAX {
            pools.clear();
        }
        pools.insert(target.clone(), pool.clone());
        Ok(pool)
    }

    async fn post(
        &self,
        target: &WebhookTarget,
        body: Bytes,
        timeout: Duration,
    ) -> Result<Bytes, WebhookError> {
        let pool = self.pool(target).map_err(WebhookError::Config)?;
        let seconds = timeout.as_secs();
        let sent = tokio::time::timeout(timeout, async { response::read(pool.post(seconds, body).await?) });
        let outcome = match sent.await {
            Ok(outcome) => outcome,
            Err(_) => Err(response::Failed::Sending("context deadline exceeded".to_owned())),
        };
        outcome.map_err(|failed| match failed {
            response::Failed::Sending(why) => {
                WebhookError::Call(format!("Post {:?}: {why}", pool.address().url(seconds)))
            }
            response::Failed::Answer(why) => WebhookError::Call(why),
        })
    }
}

impl WebhookCaller for Client {
    fn call<'a>(
        &'a self,
        target: &'a WebhookTarget,
        body: Bytes,
        timeout: Duration,
    ) -> BoxFuture<'a, Result<Bytes, WebhookError>> {
        self.post(target, body, timeout).boxed()
    }
}
