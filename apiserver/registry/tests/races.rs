//! Two writers of one object: whose change is made again, and who is told.

mod common;

use apiserver_json::{Value, json};
use apiserver_meta::Status;
use apiserver_registry::{Changed, DeleteOptions, ServiceRanges};
use common::call;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::runtime::Handle;

fn with(live: Option<&Value>, key: &str) -> Value {
    let mut object = live.cloned().unwrap_or_default();
    object["data"][key] = json!("set");
    object
}

/// Updates the ConfigMap through `change`, whose first run is overtaken by another writer.
async fn overtaken(change: fn(Value) -> Changed) -> (Result<Value, Status>, usize) {
    overtaken_by(change, false).await
}

/// As [`overtaken`], or by a deletion.
async fn overtaken_by(change: fn(Value) -> Changed, deletion: bool) -> (Result<Value, Status>, usize) {
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
                let call = call(&config_maps, "default");
                let overtake = async {
                    if deletion {
                        registry.delete(&call, "busy", &DeleteOptions::default()).await.map(drop)
                    } else {
                        registry.update(&call, "busy", false, other).await.map(drop)
                    }
                };
                tokio::task::block_in_place(|| Handle::current().block_on(overtake))?;
            }
            Ok(change(with(live, "own")))
        })
        .await;
    (outcome.map(|(written, _)| apiserver_json::from_slice(&written.bytes).expect("JSON")), runs)
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
async fn who_loses_against_a_deletion_is_told_that_the_object_is_gone() {
    for change in [Changed::Object, Changed::Patched] {
        let (outcome, _) = overtaken_by(change, true).await;
        assert_eq!(outcome.expect_err("there is no object").code, 404);
    }
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

fn definition(i: usize) -> Value {
    let (plural, kind) = (format!("things{i}"), format!("Thing{i}"));
    let names =
        json!({"plural": plural, "singular": plural, "kind": kind, "listKind": format!("{kind}List")});
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{plural}.example.com")},
        "spec": {"group": "example.com", "scope": "Namespaced", "names": names, "versions": [{
            "name": "v1", "served": true, "storage": true,
            "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}]},
        "status": {"acceptedNames": names, "storedVersions": ["v1"], "conditions": [
            {"type": "NamesAccepted", "status": "True", "reason": "NoConflicts", "message": "m", "lastTransitionTime": "2026-01-01T00:00:00Z"},
            {"type": "Established", "status": "True", "reason": "InitialNamesAccepted", "message": "m", "lastTransitionTime": "2026-01-01T00:00:00Z"}]},
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_definition_that_is_served_stays_served() {
    const DEFINITIONS: usize = 60;
    let registry = common::registry(ServiceRanges::default(), &[]);
    let catalogue = registry.catalogue();
    let definitions =
        catalogue.get("apiextensions.k8s.io", "v1", "customresourcedefinitions").expect("a built-in kind");
    let done = Arc::new(AtomicBool::new(false));
    let others: Vec<_> = (0..3)
        .map(|_| {
            let (registry, done) = (registry.clone(), done.clone());
            std::thread::spawn(move || {
                while !done.load(Ordering::Relaxed) {
                    registry.reload_custom();
                }
            })
        })
        .collect();
    let makers = (0..DEFINITIONS).map(|i| {
        let (registry, definitions) = (registry.clone(), definitions.clone());
        tokio::spawn(async move {
            let whole = definition(i);
            let name = whole["metadata"]["name"].as_str().expect("a name").to_owned();
            registry.create(&call(&definitions, ""), whole.clone()).await.expect("it is created");
            let status = apiserver_registry::Call { subresource: "status", ..call(&definitions, "") };
            let establish = |live: Option<&Value>| {
                let mut live = live.cloned().unwrap_or_default();
                live["status"] = whole["status"].clone();
                Ok(Changed::Patched(live))
            };
            registry.update(&status, &name, false, establish).await.expect("it is established");
            for _ in 0..2000 {
                let served = registry.catalogue().get("example.com", "v1", &format!("things{i}")).is_some();
                assert!(served, "{name} was served");
                tokio::task::yield_now().await;
            }
        })
    });
    for maker in futures::future::join_all(makers).await {
        maker.expect("it ends");
    }
    done.store(true, Ordering::Relaxed);
    others.into_iter().for_each(|other| other.join().expect("it ends"));
}
