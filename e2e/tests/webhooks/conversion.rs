//! A conversion webhook between two versions of a custom resource: `hostPort` of v1 is `host` and `port` of v2.

use std::process::Output;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use e2e::{Instance, stderr, wait_for};
use serde_json::{Value, json};

use crate::server::{Reply, Server};

const GROUP: &str = "stable.example.com";
const V1: &str = "crontabs.v1.stable.example.com";
const V2: &str = "crontabs.v2.stable.example.com";

fn definition(server: &Server) -> Value {
    let version = |name: &str, members: Value| {
        let spec = json!({"type": "object", "properties": members});
        json!({
            "name": name, "served": true, "storage": name == "v1",
            "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": spec}}},
        })
    };
    let mut second = version("v2", json!({"host": {"type": "string"}, "port": {"type": "string"}}));
    second["selectableFields"] = json!([{"jsonPath": ".spec.host"}]);
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("crontabs.{GROUP}")},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {"plural": "crontabs", "kind": "CronTab"},
            "versions": [version("v1", json!({"hostPort": {"type": "string"}})), second],
            "conversion": {"strategy": "Webhook", "webhook": {
                "conversionReviewVersions": ["v1", "v1beta1"],
                "clientConfig": {"url": server.url("/convert"), "caBundle": server.ca_bundle},
            }},
        },
    })
}

fn convert(object: &Value, wanted: &Value) -> Value {
    let mut object = object.clone();
    object["apiVersion"] = wanted.clone();
    let spec = &object["spec"];
    let text = |member: &str| spec[member].as_str().unwrap_or("").to_owned();
    object["spec"] = if wanted == &json!(format!("{GROUP}/v2")) {
        let place = text("hostPort");
        let (host, port) = place.split_once(':').unwrap_or((&place, ""));
        json!({"host": host, "port": port, "unknown": "is dropped"})
    } else {
        json!({"hostPort": format!("{}:{}", text("host"), text("port"))})
    };
    object
}

/// A server that converts while it is well.
fn converter() -> (Server, Arc<AtomicBool>) {
    let well = Arc::new(AtomicBool::new(true));
    let is_well = well.clone();
    let server = Server::start(&["127.0.0.1"], move |_, request| {
        if !is_well.load(Ordering::Relaxed) {
            return Reply::Review(json!({"result": {"status": "Failure", "message": "not today"}}));
        }
        let objects = request["objects"].as_array().cloned().unwrap_or_default();
        let converted: Vec<Value> =
            objects.iter().map(|object| convert(object, &request["desiredAPIVersion"])).collect();
        Reply::Review(json!({"result": {"status": "Success"}, "convertedObjects": converted}))
    });
    (server, well)
}

fn cron_tab(version: &str, name: &str, spec: &Value) -> String {
    let metadata = json!({"name": name});
    json!({"apiVersion": format!("{GROUP}/{version}"), "kind": "CronTab", "metadata": metadata, "spec": spec})
        .to_string()
}

fn spec(instance: &Instance, resource: &str, name: &str) -> Value {
    let output = instance.kubectl_ok(&["get", resource, name, "-o", "jsonpath={.spec}"]);
    serde_json::from_str(&output).expect("a spec")
}

#[test]
fn every_version_is_read_and_written_through_the_webhook() {
    let instance = Instance::apiserver(&[]);
    let (server, well) = converter();
    instance.apply(&definition(&server).to_string());
    wait_for("v2 is served", || instance.kubectl(&["get", V2]).status.success());

    instance.apply(&cron_tab("v1", "a", &json!({"hostPort": "a.com:1"})));
    instance.apply(&cron_tab("v1", "b", &json!({"hostPort": "b.com:2"})));
    assert!(server.asked().is_empty(), "what is stored and asked for in one version is not converted");

    // What a list needs is asked for at once.
    let hosts = instance.kubectl_ok(&["get", V2, "-o", "jsonpath={.items[*].spec.host}"]);
    let asked = server.asked();
    assert_eq!((hosts.as_str(), asked.len()), ("a.com b.com", 1));
    let (path, request) = &asked[0];
    assert_eq!(
        (path.as_str(), &request["desiredAPIVersion"]),
        ("/convert?timeout=30s", &json!("stable.example.com/v2"))
    );
    assert_eq!(request["objects"].as_array().map(Vec::len), Some(2));
    assert_eq!(spec(&instance, V2, "a"), json!({"host": "a.com", "port": "1"}));

    // Fields are selected in the version that is asked for.
    let chosen = instance.kubectl_ok(&["get", V2, "--field-selector", "spec.host=b.com", "-o", "name"]);
    assert_eq!(chosen.trim(), "crontab.stable.example.com/b");

    // A write in either version is seen in both.
    instance.apply(&cron_tab("v2", "c", &json!({"host": "c.com", "port": "3"})));
    instance.kubectl_ok(&["patch", V2, "a", "--type", "merge", "-p", r#"{"spec": {"port": "9"}}"#]);
    assert_eq!(spec(&instance, V1, "c"), json!({"hostPort": "c.com:3"}));
    assert_eq!(spec(&instance, V1, "a"), json!({"hostPort": "a.com:9"}));
    let applied = cron_tab("v2", "c", &json!({"host": "c.com", "port": "4"}));
    let output = instance.kubectl_with(&["apply", "--server-side", "--force-conflicts", "-f", "-"], &applied);
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(spec(&instance, V1, "c"), json!({"hostPort": "c.com:4"}));

    // A watch shows the version it was opened in, and begins with the state as it is.
    let watch =
        ["get", V2, "--watch", "--request-timeout=3s", "-o", "jsonpath={.metadata.name}={.spec.port} "];
    let shown = std::thread::scope(|scope| {
        let shown = scope.spawn(|| instance.kubectl(&watch));
        std::thread::sleep(std::time::Duration::from_secs(1));
        instance.apply(&cron_tab("v1", "b", &json!({"hostPort": "b.com:8"})));
        shown.join().expect("no panic")
    });
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert_eq!(shown.trim(), "a=9 b=2 c=4 b=8");

    // A webhook that fails is told of, in upstream's words, and what needs none goes on.
    well.store(false, Ordering::Relaxed);
    let failed = |output: Output, from: &str| {
        let want = format!("conversion webhook for {GROUP}/{from}, Kind=CronTab failed: not today");
        assert!(stderr(&output).contains(&want), "{}", stderr(&output));
    };
    failed(instance.kubectl(&["get", V2, "a"]), "v1");
    failed(instance.kubectl(&["get", V2]), "v1");
    failed(instance.kubectl(&["delete", V2, "a"]), "v1");
    let new = cron_tab("v2", "d", &json!({"host": "d.com"}));
    failed(instance.kubectl_with(&["create", "-f", "-"], &new), "v2");
    assert_eq!(spec(&instance, V1, "a"), json!({"hostPort": "a.com:9"}));
    assert!(!instance.kubectl(&["get", V1, "d"]).status.success(), "it was not stored");

    // Nor does it hold up the end of the definition and its objects.
    instance.kubectl_ok(&["delete", "crd", &format!("crontabs.{GROUP}"), "--timeout=20s"]);
}
