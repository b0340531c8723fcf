//! What `kubectl get componentstatuses` shows: how the components that stand beside the API server are.
//!
//! Nothing of it is stored: each is asked when somebody wants to know, all at the same time. Where they are is fixed, as
//! upstream fixes it; no flag moves them.

mod probe;

use std::sync::Arc;
use std::time::Duration;

use apiserver_json::json;
use apiserver_registry::{Listing, Resource, Selectors, document};
use apiserver_storage::Store;
use apiserver_watchcache::Object;
use bytes::Bytes;
use http::Uri;

use crate::service::ApiServer;

/// How long a component may take: `componentstatus`'s `probeTimeOut`.
const PATIENCE: Duration = Duration::from_secs(20);

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

/// What asking came to: the members of the condition.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    status: &'static str,
    message: String,
    error: String,
}

impl Outcome {
    fn healthy(message: impl Into<String>) -> Self {
        Self { status: "True", message: message.into(), error: String::new() }
    }

    fn unhealthy(message: impl Into<String>) -> Self {
        Self { status: "False", message: message.into(), error: String::new() }
    }

    fn unknown(message: impl Into<String>, error: impl Into<String>) -> Self {
        Self { status: "Unknown", message: message.into(), error: error.into() }
    }
}

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
fn shown(name: &str, outcome: Outcome) -> Bytes {
    let mut condition = json!({"type": "Healthy", "status": outcome.status});
    for (member, text) in [("message", outcome.message), ("error", outcome.error)] {
        if !text.is_empty() {
            condition[member] = text.into();
        }
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
        Component::Https(port) => {
            let authority = format!("127.0.0.1:{port}");
            let url = Uri::builder().scheme("https").authority(authority).path_and_query("/healthz").build();
            match url {
                Ok(url) => probe::ask(url, PATIENCE).await,
                Err(why) => Outcome::unknown("", format!("failed to construct probe request: {why}")),
            }
        }
        Component::Store => store(server.registry().store()).await,
    }
}

async fn store(store: &Store) -> Outcome {
    let error = match tokio::time::timeout(PATIENCE, store.catch_up()).await {
        Ok(Ok(())) => return Outcome::healthy("ok"),
        Ok(Err(error)) => error.to_string(),
        Err(_) => "context deadline exceeded".to_owned(),
    };
    Outcome { error, ..Outcome::unhealthy("") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_has_what_there_is_to_say() {
        for (outcome, want) in [
            (Outcome::healthy("ok"), r#"{"message":"ok","status":"True","type":"Healthy"}"#),
            (Outcome::unhealthy(""), r#"{"status":"False","type":"Healthy"}"#),
            (
                Outcome::unknown("", "unexpected EOF"),
                r#"{"error":"unexpected EOF","status":"Unknown","type":"Healthy"}"#,
            ),
        ] {
            let object: apiserver_json::Value = apiserver_json::from_slice(&shown("x", outcome)).unwrap();
            assert_eq!(object["conditions"][0].to_string(), want);
        }
    }
}
