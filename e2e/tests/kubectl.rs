//! kubectl on the API server: what people type all day.

use e2e::{Instance, stderr, stdout, wait_for};

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

/// Runs kubectl edit with a script for an editor.
fn edit(instance: &Instance, object: &str, script: &str) -> std::process::Output {
    std::process::Command::new("kubectl")
        .env("KUBE_EDITOR", script)
        .arg("--kubeconfig")
        .arg(instance.dir().join("kubeconfig"))
        .args(["edit", object])
        .output()
        .expect("kubectl runs")
}

#[test]
fn edit_describe_explain_and_lists() {
    let instance = Instance::up(&["--apply", concat!(env!("CARGO_MANIFEST_DIR"), "/../manifests/journey")]);
    instance.kubectl_ok(&["rollout", "status", "deployment/web", "--timeout=60s"]);

    let edited = edit(&instance, "deployment/web", "sed -i s/replicas:.3/replicas:\\ 4/");
    assert!(stdout(&edited).contains("deployment.apps/web edited"), "{}", stderr(&edited));
    let replicas = ["get", "deployment", "web", "-o", "jsonpath={.spec.replicas}"];
    assert_eq!(instance.kubectl_ok(&replicas), "4");
    let refused = edit(&instance, "deployment/web", "sed -i s/replicas:.4/replicas:\\ -1/");
    assert!(!refused.status.success());
    assert!(stderr(&refused).contains("is invalid"), "{}", stderr(&refused));
    assert_eq!(instance.kubectl_ok(&replicas), "4");

    wait_for("a healthy load balancer", || {
        let states = "jsonpath={.items[*].status.summary.healthy}";
        instance.kubectl_ok(&["get", "targetgroups", "-o", states]) == "4/4"
    });
    // What describe shows of a kind when everything about the object is there.
    let described = [
        ("pods", "Successfully assigned default/web-"),
        ("services", "Endpoints:                10.0."),
        ("ingresses", "web:80 (10.0."),
        ("nodes", "ProviderID:                   aws:///us-east-1"),
        ("nodes", "topology.kubernetes.io/zone=us-east-1a"),
        ("deployments", "NewReplicaSet:   web-"),
        ("loadbalancers", "internet-facing"),
        ("listeners", "Ssl Policy:"),
        ("listenerrules", "Host packet-journey.com and Path /*"),
        ("targetgroups", "10.0.16.5:80 healthy"),
    ];
    for (kind, text) in described {
        let shown = instance.kubectl_ok(&["describe", kind]);
        assert!(shown.contains(text), "describe {kind} lacks {text:?}:\n{shown}");
    }
    let wide =
        instance.kubectl_ok(&["get", "loadbalancers,listeners,listenerrules,targetgroups", "-o", "wide"]);
    for text in ["DNS NAME", "ADDRESSES", "DEFAULT ACTION", "CONDITIONS", "HEALTHY", "4/4", "127.66.1.1"] {
        assert!(wide.contains(text), "no {text} in\n{wide}");
    }
    for (kind, field) in [
        ("pod", "readinessProbe"),
        ("service", "externalTrafficPolicy"),
        ("ingress", "ingressClassName"),
        ("endpointslice", "endpoints"),
        ("customresourcedefinition", "openAPIV3Schema"),
        ("targetgroup", "healthCheck"),
        ("listenerrule", "hostHeaderConfig"),
    ] {
        let explained = instance.kubectl_ok(&["explain", "--recursive", kind]);
        assert!(explained.contains(field), "explain {kind} lacks {field}:\n{explained}");
    }

    // A List is checked against the whole OpenAPI document, which kubectl wants in protobuf.
    let list = "---\n{apiVersion: v1, kind: List, items: [{apiVersion: v1, kind: ConfigMap, metadata: {name: a}}, \
                {apiVersion: v1, kind: ConfigMap, metadata: {name: b}}]}";
    let created = instance.kubectl_with(&["create", "-f", "-"], list);
    assert_eq!(stdout(&created), "configmap/a created\nconfigmap/b created\n", "{}", stderr(&created));
    let wrong = list.replace("metadata: {name: b}", "metadata: {name: b}, daat: {}");
    let refused = instance.kubectl_with(&["apply", "-f", "-"], &wrong);
    assert!(stderr(&refused).contains("unknown field \"daat\""), "{}", stderr(&refused));
    let labels = ["get", "pods", "-l", "app in (web),tier!=x", "-o", "yaml"];
    assert_eq!(instance.kubectl_ok(&labels).matches("kind: Pod").count(), 4);
    let watched = instance.kubectl_ok(&["get", "pods", "-w", "--request-timeout=1s"]);
    assert!(watched.contains("web-"), "{watched}");

    // Events are the same objects in both groups.
    for events in ["events.v1.", "events.events.k8s.io"] {
        let shown = instance.kubectl_ok(&["get", events]);
        assert!(shown.contains("pod/web-") && shown.contains("Successfully assigned"), "{shown}");
        assert!(!shown.contains("<unknown>"), "{shown}");
    }
}

#[test]
fn memory_keeps_everything_but_nothing_for_long() {
    let instance = Instance::up(&["--store", "memory", "--nodes", "1"]);
    instance.kubectl_ok(&["create", "deployment", "web", "--image=nginx"]);
    instance.kubectl_ok(&["rollout", "status", "deployment/web", "--timeout=60s"]);
    assert!(!instance.dir().join("store").exists(), "nothing is written");
    let dir = instance.kill();
    let instance = Instance::up_in(dir, &["--store", "memory", "--nodes", "1"]);
    assert!(instance.kubectl_ok(&["get", "deployments", "-o", "name"]).is_empty());
}
