//! Webhooks that really listen, asked by the real API server, driven by an unmodified kubectl.

mod conversion;
mod server;

use std::net::TcpListener;
use std::sync::atomic::Ordering;

use e2e::{Instance, stderr, stdout, wait_for};
use serde_json::{Value, json};

use server::{Reply, Server, allow, deny, patch};

const POD: &str = "apiVersion: v1\nkind: Pod\nmetadata: {name: web, labels: {app: web}}\n\
                   spec: {containers: [{name: web, image: nginx}]}\n";

fn config_map(name: &str) -> String {
    format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}, labels: {{app: {name}}}}}\n")
}

/// A webhook of a configuration, for ConfigMaps and Pods unless `extra` says otherwise.
fn hook(name: &str, server: &Server, path: &str, extra: Value) -> Value {
    let mut hook = json!({
        "name": format!("{name}.example.com"),
        "clientConfig": {"url": server.url(path), "caBundle": server.ca_bundle},
        "rules": [{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps", "pods"]}],
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
    });
    if let (Some(hook), Value::Object(extra)) = (hook.as_object_mut(), extra) {
        hook.extend(extra);
    }
    hook
}

fn configure(instance: &Instance, kind: &str, name: &str, webhooks: Value) {
    let configuration = json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": format!("{kind}WebhookConfiguration"),
        "metadata": {"name": name},
        "webhooks": webhooks,
    });
    instance.apply(&configuration.to_string());
}

fn create(instance: &Instance, manifest: &str, more: &[&str]) -> std::process::Output {
    instance.kubectl_with(&[&["create", "-f", "-"], more].concat(), manifest)
}

#[test]
fn a_webhook_changes_a_pod_and_warns() {
    let instance = Instance::apiserver(&[]);
    let server = Server::start(&["127.0.0.1"], |_, _| {
        let mut reply = patch(&json!([
            {"op": "add", "path": "/metadata/labels/injected", "value": "yes"},
            {"op": "add", "path": "/spec/containers/-", "value": {"name": "sidecar", "image": "envoy"}},
        ]));
        if let Reply::Review(response) = &mut reply {
            response["warnings"] = json!(["a sidecar was added"]);
        }
        reply
    });
    configure(&instance, "Mutating", "m", json!([hook("m", &server, "/mutate", json!({}))]));
    let created = create(&instance, POD, &[]);
    assert!(created.status.success(), "{}", stderr(&created));
    assert!(stderr(&created).contains("Warning: a sidecar was added"), "{}", stderr(&created));
    let columns = "jsonpath={.metadata.labels.injected} {.spec.containers[*].name} {.spec.containers[1].imagePullPolicy}";
    assert_eq!(instance.kubectl_ok(&["get", "pod", "web", "-o", columns]), "yes web sidecar Always");
    let asked = server.asked();
    let (path, request) = asked.first().expect("it was asked");
    assert_eq!((path.as_str(), &request["operation"]), ("/mutate?timeout=10s", &json!("CREATE")));
    let options = &request["options"];
    assert_eq!(
        (&options["kind"], &options["fieldManager"], &options["fieldValidation"]),
        (&json!("CreateOptions"), &json!("kubectl-create"), &json!("Strict"))
    );
    assert!(request["userInfo"]["groups"].as_array().is_some_and(|groups| !groups.is_empty()));
    // The next call goes over the same connection.
    for name in ["a", "b"] {
        drop(create(&instance, &config_map(name), &[]));
    }
    assert_eq!((server.asked().len(), server.connections.load(Ordering::Relaxed)), (2, 1));
}

#[test]
fn a_webhook_denies_with_its_own_words() {
    let instance = Instance::apiserver(&[]);
    let server = Server::start(&["127.0.0.1"], |_, request| match request["operation"].as_str() {
        Some("DELETE") => deny(409, "Conflict", "it is needed"),
        _ if request["name"] == "good" => allow(),
        _ => deny(422, "Invalid", "no such thing here"),
    });
    let everything = json!([{"operations": ["CREATE", "DELETE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"]}]);
    configure(&instance, "Validating", "v", json!([hook("v", &server, "/", json!({"rules": everything}))]));
    let refused = create(&instance, &config_map("bad"), &[]);
    assert_eq!(
        stderr(&refused).trim(),
        "The request is invalid: error when creating \"STDIN\": admission webhook \"v.example.com\" denied the request: no such thing here",
    );
    assert!(create(&instance, &config_map("good"), &[]).status.success());
    let kept = instance.kubectl(&["delete", "configmap", "good"]);
    assert_eq!(
        stderr(&kept).trim(),
        "Error from server (Conflict): admission webhook \"v.example.com\" denied the request: it is needed"
    );
    let kept = instance.kubectl(&["delete", "configmaps", "--all"]);
    assert!(stderr(&kept).contains("denied the request: it is needed"), "{}", stderr(&kept));
    instance.kubectl_ok(&["get", "configmap", "good"]);
    // A webhook is never asked about configurations: they can always be taken back.
    instance.kubectl_ok(&["delete", "validatingwebhookconfiguration", "v"]);
    instance.kubectl_ok(&["delete", "configmap", "good"]);
}

#[test]
fn what_does_not_answer_fails_closed_or_open() {
    let instance = Instance::apiserver(&[]);
    let server = Server::start(&["127.0.0.1"], |path, _| match path.split('?').next() {
        Some("/silent") => Reply::Silence,
        Some("/broken") => Reply::Http("500 Internal Server Error\r\nContent-Type: text/plain", "boom"),
        Some("/moved") => Reply::Http("302 Found\r\nLocation: /\r\nContent-Type: text/plain", "there"),
        _ => Reply::Http("200 OK\r\nContent-Type: application/json", "{}"),
    });
    let port = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address").port();
    let other = Server::start(&["127.0.0.1"], |_, _| allow());
    let named = Server::start(&["localhost"], |_, _| allow());
    let at =
        |url: String, server: &Server| json!({"clientConfig": {"url": url, "caBundle": server.ca_bundle}});
    let a = server.address;
    for (case, extra, want) in [
        (
            "down",
            at(format!("https://127.0.0.1:{port}/down"), &server),
            format!(
                "Post \"https://127.0.0.1:{port}/down?timeout=10s\": dial tcp 127.0.0.1:{port}: connect: connection refused"
            ),
        ),
        (
            "silent",
            json!({"timeoutSeconds": 1, "clientConfig": {"url": server.url("/silent"), "caBundle": server.ca_bundle}}),
            format!("Post \"https://{a}/silent?timeout=1s\": context deadline exceeded"),
        ),
        (
            "broken",
            at(server.url("/broken"), &server),
            "an error on the server (\"boom\") has prevented the request from succeeding".to_owned(),
        ),
        (
            "moved",
            at(server.url("/moved"), &server),
            "the server responded with the status code 302 but did not return more information".to_owned(),
        ),
        (
            "untrusted",
            at(server.url("/x"), &other),
            format!(
                "Post \"https://{a}/x?timeout=10s\": tls: failed to verify certificate: x509: certificate signed by unknown authority (possibly because of \"x509: ECDSA verification failure\" while trying to verify candidate authority certificate \"rcgen self signed cert\")"
            ),
        ),
        (
            "misnamed",
            at(named.url("/x"), &named),
            format!(
                "Post \"https://{}/x?timeout=10s\": tls: failed to verify certificate: x509: cannot validate certificate for 127.0.0.1 because it doesn't contain any IP SANs",
                named.address
            ),
        ),
    ] {
        let mut extra = extra;
        extra["objectSelector"] = json!({"matchLabels": {"app": case}});
        configure(&instance, "Validating", "v", json!([hook(case, &server, "/", extra.clone())]));
        let refused = create(&instance, &config_map(case), &[]);
        assert_eq!(
            stderr(&refused).trim(),
            format!(
                "Error from server (InternalError): error when creating \"STDIN\": Internal error occurred: failed calling webhook \"{case}.example.com\": failed to call webhook: {want}"
            ),
        );
        extra["failurePolicy"] = "Ignore".into();
        configure(&instance, "Validating", "v", json!([hook(case, &server, "/", extra)]));
        let created = create(&instance, &config_map(case), &[]);
        assert!(created.status.success(), "{case}: {}", stderr(&created));
    }
    configure(&instance, "Validating", "v", json!([hook("empty", &server, "/empty", json!({}))]));
    let refused = create(&instance, &config_map("e"), &[]);
    assert!(
        stderr(&refused).contains("received invalid webhook response: webhook response was absent"),
        "{}",
        stderr(&refused)
    );
    // A certificate that vouches for itself.
    let itself = json!({"clientConfig": {"url": other.url("/x"), "caBundle": other.own_bundle}});
    configure(&instance, "Validating", "v", json!([hook("itself", &server, "/", itself)]));
    let created = create(&instance, &config_map("f"), &[]);
    assert!(created.status.success(), "{}", stderr(&created));
    assert_eq!(other.asked().len(), 1);
}

#[test]
fn selectors_conditions_dry_runs_and_second_rounds() {
    let instance = Instance::apiserver(&[]);
    let server = Server::start(&["127.0.0.1"], |path, request| match path.split('?').next() {
        Some("/late") if request["object"]["metadata"]["labels"].get("late").is_none() => {
            patch(&json!([{"op": "add", "path": "/metadata/labels/late", "value": "yes"}]))
        }
        _ => allow(),
    });
    instance.kubectl_ok(&["create", "namespace", "quiet"]);
    instance.kubectl_ok(&["label", "namespace", "quiet", "webhooks=off"]);
    let paths = || -> Vec<String> {
        let path = |(path, _): (String, Value)| path.split('?').next().unwrap_or_default().to_owned();
        server.asked().into_iter().map(path).collect()
    };
    let unlabelled = json!({"namespaceSelector": {"matchExpressions": [{"key": "webhooks", "operator": "DoesNotExist"}]}, "reinvocationPolicy": "IfNeeded"});
    configure(
        &instance,
        "Mutating",
        "m",
        json!([
            hook("namespace", &server, "/namespace", unlabelled),
            hook("object", &server, "/object", json!({"objectSelector": {"matchLabels": {"app": "x"}}})),
            hook(
                "met",
                &server,
                "/met",
                json!({"matchConditions": [{"name": "n", "expression": "object.metadata.name.startsWith('a')"}]})
            ),
            hook("late", &server, "/late", json!({})),
        ]),
    );
    drop(create(&instance, &config_map("a"), &[]));
    assert_eq!(paths(), ["/namespace", "/met", "/late", "/namespace"]);
    drop(create(&instance, &config_map("x"), &["-n", "quiet"]));
    assert_eq!(paths(), ["/object", "/late"]);
    let dry = create(
        &instance,
        &config_map("dry"),
        &["--dry-run=server", "-o", "jsonpath={.metadata.labels.late}"],
    );
    assert_eq!((stdout(&dry), paths().len()), ("yes".to_owned(), 3));
    assert!(!instance.kubectl(&["get", "configmap", "dry"]).status.success(), "nothing was stored");
    let wrong = json!([hook(
        "w",
        &server,
        "/",
        json!({"matchConditions": [{"name": "n", "expression": "object."}]})
    )]);
    let configuration = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingWebhookConfiguration", "metadata": {"name": "w"}, "webhooks": wrong});
    let refused = instance.kubectl_with(&["create", "-f", "-"], &configuration.to_string());
    assert!(
        stderr(&refused).contains(
            "webhooks[0].matchConditions[0].expression: Invalid value: \"object.\": compilation failed"
        ),
        "{}",
        stderr(&refused)
    );
}

#[test]
fn an_update_that_changes_nothing_writes_nothing_and_a_scale_is_a_scale() {
    let instance = Instance::apiserver(&[]);
    let server = Server::start(&["127.0.0.1"], |path, request| match path.split('?').next() {
        Some("/scale") if request["object"]["spec"]["replicas"].as_i64() > Some(3) => {
            deny(403, "Forbidden", &format!("no {} with so many", request["kind"]["kind"]))
        }
        Some("/scale") => allow(),
        _ => patch(&json!([{"op": "add", "path": "/metadata/labels/injected", "value": "yes"}])),
    });
    let rules = |resource: &str| json!([{"operations": ["CREATE", "UPDATE"], "apiGroups": ["*"], "apiVersions": ["*"], "resources": [resource]}]);
    configure(
        &instance,
        "Mutating",
        "m",
        json!([hook("m", &server, "/", json!({"rules": rules("configmaps")}))]),
    );
    configure(
        &instance,
        "Validating",
        "v",
        json!([hook("v", &server, "/scale", json!({"rules": rules("*/scale")}))]),
    );
    let version =
        || instance.kubectl_ok(&["get", "configmap", "c", "-o", "jsonpath={.metadata.resourceVersion}"]);
    let manifest = config_map("c");
    for apply in [
        &["apply", "-f", "-"][..],
        &["apply", "--server-side", "--force-conflicts", "-f", "-"],
        &["replace", "-f", "-"],
    ] {
        let again = || {
            let applied = instance.kubectl_with(apply, &manifest);
            assert!(applied.status.success(), "{apply:?}: {}", stderr(&applied));
            version()
        };
        assert_eq!(again(), again(), "{apply:?}");
    }
    let owners = instance.kubectl_ok(&["get", "configmap", "c", "--show-managed-fields", "-o", "json"]);
    let owners: Value = serde_json::from_str(&owners).expect("JSON");
    assert_eq!(owners["metadata"]["labels"]["injected"], "yes");
    assert!(!owners["metadata"]["managedFields"].to_string().contains("f:injected"), "{owners}");
    instance.kubectl_ok(&["create", "deployment", "web", "--image", "nginx"]);
    let refused = instance.kubectl(&["scale", "deployment", "web", "--replicas", "5"]);
    assert!(
        stderr(&refused).contains("denied the request: no \"Scale\" with so many"),
        "{}",
        stderr(&refused)
    );
    instance.kubectl_ok(&["scale", "deployment", "web", "--replicas", "2"]);
}

#[test]
fn plugins_can_be_turned_off() {
    let instance = Instance::apiserver(&[
        "--disable-admission-plugins",
        "MutatingAdmissionWebhook,ValidatingAdmissionWebhook",
    ]);
    let server = Server::start(&["127.0.0.1"], |_, _| deny(403, "Forbidden", "no"));
    configure(&instance, "Mutating", "m", json!([hook("m", &server, "/", json!({}))]));
    configure(&instance, "Validating", "v", json!([hook("v", &server, "/", json!({}))]));
    let created = create(&instance, &config_map("c"), &[]);
    assert!(created.status.success() && server.asked().is_empty(), "{}", stderr(&created));
}

#[test]
fn a_service_of_the_cluster_is_asked_through_its_pods() {
    let instance = Instance::up(&["--nodes", "1"]);
    let server = Server::start(&["guard.default.svc"], |_, request| match request["operation"].as_str() {
        Some("CONNECT") => deny(403, "Forbidden", &format!("{} is watched", request["object"]["command"])),
        _ => deny(403, "Forbidden", "guarded"),
    });
    instance.apply(&format!(
        "apiVersion: v1\nkind: Pod\n\
         metadata: {{name: guard, labels: {{app: guard}}, annotations: {{hopyard.dev/upstream: '{}'}}}}\n\
         spec: {{containers: [{{name: guard, image: guard, ports: [{{containerPort: 8443}}]}}]}}\n---\n\
         apiVersion: v1\nkind: Service\nmetadata: {{name: guard}}\n\
         spec: {{selector: {{app: guard}}, ports: [{{port: 443, targetPort: 8443}}]}}\n",
        server.address
    ));
    let service = |name: &str| json!({"clientConfig": {"service": {"namespace": "default", "name": name, "path": "/check"}, "caBundle": server.ca_bundle}});
    wait_for("the guard to be ready", || {
        let addresses = "jsonpath={.subsets[*].addresses[*].ip}";
        !stdout(&instance.kubectl(&["get", "endpoints", "guard", "-o", addresses])).is_empty()
    });
    configure(&instance, "Validating", "v", json!([hook("v", &server, "/", service("guard"))]));
    let refused = create(&instance, &config_map("c"), &[]);
    assert!(
        stderr(&refused).ends_with("admission webhook \"v.example.com\" denied the request: guarded\n"),
        "{}",
        stderr(&refused)
    );
    let mut exec = service("guard");
    exec["rules"] = json!([{"operations": ["CONNECT"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods/exec"]}]);
    configure(&instance, "Validating", "v", json!([hook("v", &server, "/", exec)]));
    let refused = instance.kubectl(&["exec", "guard", "--", "env"]);
    assert!(stderr(&refused).contains("denied the request: [\"env\"] is watched"), "{}", stderr(&refused));
    configure(&instance, "Validating", "v", json!([hook("v", &server, "/", service("nobody"))]));
    let refused = create(&instance, &config_map("c"), &[]);
    assert!(
        stderr(&refused).contains("failed to call webhook: Post \"https://nobody.default.svc:443/check?timeout=10s\": service \"nobody\" not found"),
        "{}",
        stderr(&refused)
    );
}
