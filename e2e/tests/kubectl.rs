//! kubectl on the API server: what people type all day.

use e2e::{Instance, stdout, wait_for};

#[test]
fn everyday_commands() {
    let instance = Instance::up(&[]);
    assert!(instance.kubectl_ok(&["api-resources"]).contains("deployments"));
    assert!(instance.kubectl_ok(&["explain", "deployment.spec.strategy"]).contains("rollingUpdate"));
    wait_for("nodes", || instance.kubectl_ok(&["get", "nodes"]).matches(" Ready ").count() == 3);

    instance.kubectl_ok(&["apply", "-f", "manifests/journey/web.yaml"]);
    instance.kubectl_ok(&["rollout", "status", "deployment/web", "--timeout=60s"]);
    assert!(instance.kubectl_ok(&["get", "pods", "-l", "app=web", "-o", "wide"]).contains("1/1"));
    instance.kubectl_ok(&["scale", "deployment/web", "--replicas=5"]);
    instance.kubectl_ok(&["rollout", "status", "deployment/web", "--timeout=60s"]);
    instance.kubectl_ok(&["label", "deployment/web", "tier=front"]);
    instance.kubectl_ok(&["annotate", "deployment/web", "note=x"]);
    instance.kubectl_ok(&["patch", "deployment/web", "-p", r#"{"spec":{"minReadySeconds":0}}"#]);
    instance.kubectl_ok(&["apply", "--server-side", "--force-conflicts", "-f", "manifests/journey/web.yaml"]);
    instance.kubectl_ok(&["wait", "--for=condition=Available", "deployment/web", "--timeout=60s"]);
    assert!(instance.kubectl_ok(&["describe", "deployment/web"]).contains("RollingUpdateStrategy"));
    assert!(!instance.kubectl_ok(&["logs", "deployment/web"]).is_empty());
    instance.kubectl_ok(&["rollout", "restart", "deployment/web"]);
    instance.kubectl_ok(&["rollout", "status", "deployment/web", "--timeout=60s"]);
    instance.kubectl_ok(&["delete", "-f", "manifests/journey/web.yaml", "--timeout=60s"]);
    wait_for("the Pods to go", || instance.kubectl_ok(&["get", "pods", "-o", "name"]).is_empty());
}

#[test]
fn bad_input_gets_a_clear_answer() {
    let instance = Instance::up(&[]);
    let output = instance.kubectl(&["create", "service", "clusterip", "x", "--tcp=99999:80"]);
    assert!(!output.status.success());
    let output = instance.kubectl(&["get", "nonsense"]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("the server doesn't have a resource type"));
    let second = std::process::Command::new(e2e::binary())
        .args(["up", "--listen", "127.0.0.1:0", "--data-dir"])
        .arg(instance.dir())
        .output()
        .expect("hopyard runs");
    assert_eq!(second.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&second.stderr).contains("another hopyard uses"));
    let usage =
        std::process::Command::new(e2e::binary()).arg("up").arg("--nodes=0").output().expect("hopyard runs");
    assert_eq!(usage.status.code(), Some(64), "{}", stdout(&usage));
}
