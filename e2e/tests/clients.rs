//! Clients of other ages and languages: the oldest and the newest kubectl, helm, the Python client.
//!
//! `e2e/clients/install target/clients` gets them. Where one is not there its test says so and was not run.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use e2e::{Instance, stderr, stdout, wait_for};

/// Where a client is, if it is.
fn installed(name: &str) -> Option<PathBuf> {
    let path = e2e::root().join("target/clients").join(name);
    if path.exists() {
        return Some(path);
    }
    eprintln!("no {name}: not run; e2e/clients/install target/clients gets it");
    None
}

/// Runs a client on the instance and gives what it printed; the test fails where the client does.
fn run(instance: &Instance, program: &Path, arguments: &[&str]) -> String {
    let output = output(instance, program, arguments);
    assert!(output.status.success(), "{arguments:?}: {}\n{}", stdout(&output), stderr(&output));
    stdout(&output)
}

fn output(instance: &Instance, program: &Path, arguments: &[&str]) -> Output {
    Command::new(program)
        .env("KUBECONFIG", instance.dir().join("kubeconfig"))
        // What a client caches of one server is not true of the next.
        .env("HOME", instance.dir())
        .args(arguments)
        .current_dir(e2e::root())
        .output()
        .expect("the client runs")
}

fn everyday(kubectl: &Path) {
    let instance = Instance::up(&[]);
    let kubectl = |arguments: &[&str]| run(&instance, kubectl, arguments);
    wait_for("nodes", || kubectl(&["get", "nodes"]).matches(" Ready ").count() == 3);
    assert!(kubectl(&["api-resources"]).contains("deployments"));
    assert!(kubectl(&["explain", "deployment.spec.strategy"]).contains("rollingUpdate"));
    kubectl(&["apply", "-f", "manifests/journey/web.yaml"]);
    kubectl(&["rollout", "status", "deployment/web", "--timeout=60s"]);
    assert!(kubectl(&["get", "pods", "-l", "app=web", "-o", "wide"]).contains("1/1"));
    kubectl(&["scale", "deployment/web", "--replicas=2"]);
    kubectl(&["set", "image", "deployment/web", "nginx=nginx:1.28"]);
    kubectl(&["rollout", "status", "deployment/web", "--timeout=60s"]);
    kubectl(&["rollout", "undo", "deployment/web"]);
    kubectl(&["rollout", "status", "deployment/web", "--timeout=60s"]);
    kubectl(&["label", "deployment/web", "tier=front"]);
    kubectl(&["patch", "deployment/web", "-p", r#"{"metadata":{"annotations":{"a":"b"}}}"#]);
    kubectl(&[
        "patch",
        "deployment/web",
        "--type=json",
        "-p",
        r#"[{"op":"remove","path":"/metadata/annotations/a"}]"#,
    ]);
    kubectl(&["apply", "--server-side", "--force-conflicts", "-f", "manifests/journey/web.yaml"]);
    assert_eq!(kubectl(&["diff", "-f", "manifests/journey/web.yaml"]), "");
    kubectl(&["wait", "--for=condition=Available", "deployment/web", "--timeout=60s"]);
    assert!(kubectl(&["describe", "deployment/web"]).contains("RollingUpdateStrategy"));
    // kubectl picks any of them, the old one those that are about to go, too.
    wait_for("the old Pods to go", || kubectl(&["get", "pods", "-o", "name"]).lines().count() == 3);
    assert!(!kubectl(&["logs", "deployment/web"]).is_empty());
    assert!(kubectl(&["exec", "deployment/web", "--", "hostname"]).starts_with("web-"));
    assert!(kubectl(&["auth", "can-i", "--list"]).contains("*.*"));
    assert!(kubectl(&["get", "events"]).contains("ScalingReplicaSet"));
    kubectl(&["create", "configmap", "settings", "--from-literal=a=b"]);
    assert_eq!(kubectl(&["get", "configmap", "settings", "-o", "jsonpath={.data.a}"]), "b");
    kubectl(&["delete", "-f", "manifests/journey/web.yaml", "--timeout=60s"]);
    wait_for("the Pods to go", || kubectl(&["get", "pods", "-o", "name"]).is_empty());
}

#[test]
fn the_oldest_kubectl_that_is_still_packaged() {
    if let Some(kubectl) = installed("kubectl-1.20") {
        everyday(&kubectl);
    }
}

#[test]
fn the_newest_kubectl() {
    if let Some(kubectl) = installed("kubectl-1.37") {
        everyday(&kubectl);
    }
}

#[test]
fn helm_installs_upgrades_rolls_back_and_uninstalls() {
    let Some(helm) = installed("helm") else { return };
    let instance = Instance::up(&[]);
    let helm = |arguments: &[&str]| run(&instance, &helm, arguments);
    let greeting = || instance.kubectl_ok(&["get", "configmap", "shop", "-o", "jsonpath={.data.greeting}"]);
    let ready =
        || instance.kubectl_ok(&["get", "deployment", "shop", "-o", "jsonpath={.status.readyReplicas}"]);
    let chart = "e2e/clients/chart";

    helm(&["install", "shop", chart, "--wait", "--timeout", "60s"]);
    assert_eq!((greeting(), ready()), ("hello".into(), "1".into()));
    let changes = ["--set", "replicas=3,greeting=again", "--wait", "--timeout", "60s"];
    helm(&[&["upgrade", "shop", chart], &changes[..]].concat());
    assert_eq!((greeting(), ready()), ("again".into(), "3".into()));
    helm(&["rollback", "shop", "1", "--wait", "--timeout", "60s"]);
    assert_eq!((greeting(), ready()), ("hello".into(), "1".into()));
    assert_eq!(helm(&["history", "shop"]).lines().count(), 4, "a head and three revisions");
    assert!(helm(&["status", "shop"]).contains("STATUS: deployed"));
    helm(&["uninstall", "shop", "--wait", "--timeout", "60s"]);
    let left = instance.kubectl_ok(&["get", "all,configmaps,secrets", "-l", "owner=helm", "-o", "name"]);
    assert_eq!(left, "");
    wait_for("the Pods to go", || instance.kubectl_ok(&["get", "pods", "-o", "name"]).is_empty());
}

#[test]
fn the_python_client_watches_patches_and_applies() {
    let Some(python) = installed("python/bin/python") else { return };
    let instance = Instance::up(&[]);
    wait_for("nodes", || instance.kubectl_ok(&["get", "nodes"]).matches(" Ready ").count() == 3);
    let kubeconfig = instance.dir().join("kubeconfig").display().to_string();
    assert_eq!(run(&instance, &python, &["e2e/clients/python.py", &kubeconfig]), "ok\n");
}
