//! The way out of the registry: somebody who can call webhooks.

use std::time::Duration;

use apiserver_json::Value;
use bytes::Bytes;
use futures::future::BoxFuture;

use crate::strategy::shared::{number, text};

/// Where a webhook is, and whose certificates it is believed with: `clientConfig`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct WebhookTarget {
    pub address: WebhookAddress,
    /// PEM; empty means the authorities that the machine trusts.
    pub ca_bundle: Vec<u8>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum WebhookAddress {
    Url(String),
    Service { namespace: String, name: String, port: u16, path: String },
}

impl WebhookTarget {
    /// Reads a `clientConfig`.
    pub fn of(config: &Value) -> Self {
        let address = match config.get("service").filter(|service| service.is_object()) {
            Some(service) => WebhookAddress::Service {
                namespace: text(service, "namespace").to_owned(),
                name: text(service, "name").to_owned(),
                port: number(service, "port").and_then(|port| u16::try_from(port).ok()).unwrap_or(443),
                path: text(service, "path").to_owned(),
            },
            None => WebhookAddress::Url(text(config, "url").to_owned()),
        };
        let ca_bundle = apiserver_meta::base64::decode(text(config, "caBundle")).unwrap_or_default();
        Self { address, ca_bundle }
    }
}

/// Why a webhook gave no answer, in the words of Go's client.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WebhookError {
    /// Nobody can be called with such a `clientConfig`.
    #[error("could not get REST client: {0}")]
    Config(String),
    #[error("failed to call webhook: {0}")]
    Call(String),
}

/// Calls webhooks. The server gives one to the registry.
pub trait WebhookCaller: Send + Sync {
    /// Posts JSON and gives the body of a good answer.
    fn call<'a>(
        &'a self,
        target: &'a WebhookTarget,
        body: Bytes,
        timeout: Duration,
    ) -> BoxFuture<'a, Result<Bytes, WebhookError>>;
}
