//! Two writers of one object: whose change is made again, and who is told.

mod common;

use apiserver_meta::Status;
use apiserver_registry::{Changed, ServiceRanges};
use common::call;
use serde_json::{Value, json};
use tokio::runtime::Handle;

fn with(live: Option<&Value>, key: &str) -> Value {
    let mut object = live.cloned().unwrap_or_default();
    object["data"][key] = json!("set");
    object
}

/// Updates the ConfigMap through `change`, whose first run is overtaken by another writer.
async fn overtaken(change: fn(Value) -> Changed) -> (Result<Value, Status>, usize) {
    let registry = common::registry(ServiceRanges::default(), &[]);
    let catalogue = registry.catalogue();
    let resource = |name: &str| catalogue.get("", "v1", name).expect("a built-in kind").clone();
    let (namespaces, config_maps) = (resource("namespaces"), resource("configmaps"));
    let default = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "default"}});
    registry.create(&call(&namespaces, "default"), default).await.expect("a namespace is created");
    let empty = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "busy"}});
    registry.create(&call(&config_maps, "default"), empty).await.expect("a ConfigMap is created");

    let mut runs = 0;
    let outcome = registry
        .update(&call(&config_maps, "default"), "busy", false, |live| {
            runs += 1;
            if runs == 1 {
                let other = |live: Option<&Value>| Ok(Changed::Patched(with(live, "other")));
                tokio::task::block_in_place(|| {
                    Handle::current().block_on(registry.update(
                        &call(&config_maps, "default"),
                        "busy",
                        false,
                        other,
                    ))
                })?;
            }
            Ok(change(with(live, "own")))
        })
        .await;
    (outcome.map(|(written, _)| serde_json::from_slice(&written.bytes).expect("JSON")), runs)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_made_from_the_live_object_is_made_again() {
    for change in [Changed::Patched, Changed::Applied] {
        let (outcome, runs) = overtaken(change).await;
        let object = outcome.expect("the change is made");
        assert_eq!((runs, &object["data"]), (2, &json!({"own": "set", "other": "set"})));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_object_a_client_sent_with_its_version_is_refused() {
    let (outcome, runs) = overtaken(Changed::Object).await;
    let status = outcome.expect_err("the client's version is old");
    assert_eq!((runs, status.code), (1, 409), "{status}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_that_insists_on_a_version_is_refused() {
    let insist = |mut object: Value| {
        object["metadata"]["resourceVersion"] = json!("2");
        Changed::Patched(object)
    };
    let (outcome, _) = overtaken(insist).await;
    assert_eq!(outcome.expect_err("the version is old").code, 409);
}
