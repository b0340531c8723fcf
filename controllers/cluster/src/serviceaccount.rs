//! Every namespace has a ServiceAccount `default` and the ConfigMap `kube-root-ca.crt`.
//!
//! Tokens are another loop's.

use controllers_kit::{Cache, Caches, Done, Error, Key, Queue};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, ServiceAccount};
use serde_json::json;
use std::sync::Arc;

const ACCOUNT: &str = "default";
const ROOT_CA: &str = "kube-root-ca.crt";
const DESCRIPTION: &str = "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the internal service IP or kubernetes.default.svc. No other usage is guaranteed across distributions of Kubernetes clusters.";

struct Loop {
    namespaces: Cache<Namespace>,
    accounts: Cache<ServiceAccount>,
    maps: Cache<ConfigMap>,
    root_ca: String,
}

pub(crate) async fn run(caches: Caches, root_ca: String) {
    let (namespaces, accounts, maps) =
        (caches.of::<Namespace>(), caches.of::<ServiceAccount>(), caches.of::<ConfigMap>());
    let queue: Queue<Key> = Queue::new();
    namespaces.wake(&queue);
    let q = queue.clone();
    accounts.on_change(move |change| {
        if change.key.name == ACCOUNT && change.new.is_none() {
            q.add(Key::new("", &change.key.namespace), change.story());
        }
    });
    let q = queue.clone();
    maps.on_change(move |change| {
        if change.key.name == ROOT_CA {
            q.add(Key::new("", &change.key.namespace), change.story());
        }
    });
    namespaces.synced().await;
    accounts.synced().await;
    maps.synced().await;
    let this = Arc::new(Loop { namespaces, accounts, maps, root_ca });
    controllers_kit::run("serviceaccount", queue, 2, move |key| {
        let this = this.clone();
        async move { this.reconcile(key).await }
    })
    .await;
}

impl Loop {
    async fn reconcile(&self, key: Key) -> Result<Done, Error> {
        let mut done = Done::nothing();
        let Some(namespace) = self.namespaces.get(&key) else { return Ok(done) };
        let ending = namespace.metadata.deletion_timestamp.is_some()
            || namespace.status.as_ref().is_some_and(|s| s.phase.as_deref() == Some("Terminating"));
        if ending {
            return Ok(done);
        }
        if self.accounts.get(&Key::new(&key.name, ACCOUNT)).is_none() {
            let account =
                serde_json::from_value(json!({"metadata": {"name": ACCOUNT, "namespace": key.name}}))?;
            if there(self.accounts.create(&account).await)? {
                done.note("created ServiceAccount default");
            }
        }
        let data = json!({"ca.crt": self.root_ca});
        let map = Key::new(&key.name, ROOT_CA);
        match self.maps.get(&map) {
            None => {
                let object = serde_json::from_value(json!({
                    "metadata": {"name": ROOT_CA, "namespace": key.name,
                        "annotations": {"kubernetes.io/description": DESCRIPTION}},
                    "data": data,
                }))?;
                if there(self.maps.create(&object).await)? {
                    done.note("created ConfigMap kube-root-ca.crt");
                }
            }
            Some(current) => {
                let same = current
                    .data
                    .as_ref()
                    .is_some_and(|d| d.len() == 1 && d.get("ca.crt") == Some(&self.root_ca));
                if !same {
                    let mut object = (*current).clone();
                    object.data = serde_json::from_value(data)?;
                    self.maps.replace_object(&object).await?;
                    done.note("restored ConfigMap kube-root-ca.crt");
                }
            }
        }
        Ok(done)
    }
}

/// False if it was there already, or if the namespace is on its way out.
fn there<T>(result: Result<T, Error>) -> Result<bool, Error> {
    match result {
        Ok(_) => Ok(true),
        Err(error) if error.is_already_exists() || error.is_not_found() || error.is_code(403) => Ok(false),
        Err(error) => Err(error),
    }
}
