//! The main job with real clients: manifests in, a request over them, its trace, and nothing left behind.

use e2e::{Instance, stdout, wait_for};

#[test]
fn a_request_reaches_a_pod_and_is_explained() {
    let instance = Instance::up(&["--apply", concat!(env!("CARGO_MANIFEST_DIR"), "/../manifests/journey")]);
    instance.kubectl_ok(&["rollout", "status", "deployment/web", "--timeout=60s"]);

    // Three replicas, three zones.
    let nodes = instance.kubectl_ok(&["get", "pods", "-o", "jsonpath={.items[*].spec.nodeName}"]);
    let nodes: std::collections::BTreeSet<&str> = nodes.split(' ').collect();
    assert_eq!(nodes.len(), 3, "{nodes:?}");

    // The answer over HTTPS, through the zone, the load balancer and the Pod.
    wait_for("an answer", || {
        stdout(&instance.curl(&["-o", "/dev/null", "-w", "%{http_code}", "https://packet-journey.com/"]))
            == "200"
    });
    let redirect = instance.curl(&[
        "-o",
        "/dev/null",
        "-w",
        "%{http_code} %{redirect_url}",
        "http://packet-journey.com/a?b=c",
    ]);
    assert_eq!(stdout(&redirect), "301 https://packet-journey.com:443/a?b=c");

    // The load balancer's objects and the Ingress say the same.
    let hostname = instance.kubectl_ok(&[
        "get",
        "ingress",
        "web",
        "-o",
        "jsonpath={.status.loadBalancer.ingress[0].hostname}",
    ]);
    assert!(hostname.starts_with("k8s-default-web-"), "{hostname}");
    let states =
        instance.kubectl_ok(&["get", "targetgroups", "-o", "jsonpath={.items[*].status.targets[*].state}"]);
    assert_eq!(states, "healthy healthy healthy");

    // DNS answers dig.
    let dns = instance.address("dns");
    let (ip, port) = dns.rsplit_once(':').expect("an address");
    let dig = std::process::Command::new("dig")
        .args([&format!("@{ip}"), "-p", port, "+short", "packet-journey.com"])
        .output()
        .expect("dig runs");
    assert!(stdout(&dig).lines().any(|line| line.starts_with("127.66.")), "{}", stdout(&dig));

    // The trace ends at a Pod, there and back.
    let trace = instance.hopyard(&["trace", "https://packet-journey.com/", "-o", "json"]);
    assert!(trace.status.success());
    let trace: serde_json::Value = serde_json::from_slice(&trace.stdout).expect("a trace is JSON");
    assert_eq!(trace["outcome"]["kind"], "delivered", "{trace:#}");
    assert!(trace["outcome"]["pod"].as_str().unwrap_or_default().starts_with("default/web-"), "{trace:#}");
    assert!(!trace["reply"].as_array().expect("a reply").is_empty());
    let dead_end = instance.hopyard(&["trace", "https://nowhere.packet-journey.com/"]);
    assert_eq!(dead_end.status.code(), Some(1));

    // Deleting the Ingress deletes what it caused.
    instance.kubectl_ok(&["delete", "ingress", "web", "--timeout=30s"]);
    wait_for("the load balancer to go", || {
        !instance.kubectl_ok(&["get", "loadbalancers,targetgroups", "-o", "name"]).contains("web")
    });
}

#[test]
fn a_load_balancer_service_is_reached_through_its_node_ports() {
    let instance =
        Instance::up(&["--apply", concat!(env!("CARGO_MANIFEST_DIR"), "/../manifests/load-balancer")]);
    instance.kubectl_ok(&["rollout", "status", "deployment/whoami", "--timeout=60s"]);
    let mut hostname = String::new();
    wait_for("a hostname", || {
        hostname = instance.kubectl_ok(&[
            "get",
            "service",
            "whoami",
            "-o",
            "jsonpath={.status.loadBalancer.ingress[0].hostname}",
        ]);
        !hostname.is_empty()
    });
    let url = format!("http://{hostname}:8080/");
    wait_for("an answer", || {
        stdout(&instance.curl(&["-o", "/dev/null", "-w", "%{http_code}", &url])) == "200"
    });
    assert!(stdout(&instance.curl(&[&url])).contains("Hostname: whoami-"));
}

#[test]
fn killed_it_comes_back_with_everything() {
    let instance = Instance::up(&[]);
    instance.kubectl_ok(&["create", "configmap", "kept", "--from-literal=a=b"]);
    let dir = instance.kill();
    let instance = Instance::up_in(dir, &[]);
    assert_eq!(instance.kubectl_ok(&["get", "configmap", "kept", "-o", "jsonpath={.data.a}"]), "b");
}

#[test]
fn killed_it_converges_again() {
    let instance = Instance::up(&["--apply", concat!(env!("CARGO_MANIFEST_DIR"), "/../manifests/journey")]);
    let code = |instance: &Instance| {
        stdout(&instance.curl(&["-o", "/dev/null", "-w", "%{http_code}", "https://packet-journey.com/"]))
    };
    let pods = |instance: &Instance| {
        let columns =
            "jsonpath={range .items[*]}{.metadata.name} {.status.podIP} {.spec.nodeName}{\"\\n\"}{end}";
        instance.kubectl_ok(&["get", "pods", "--sort-by=.metadata.name", "-o", columns])
    };
    wait_for("an answer", || code(&instance) == "200");
    instance.kubectl_ok(&["rollout", "status", "deployment/web", "--timeout=60s"]);
    let before = pods(&instance);
    // Acknowledged a moment before the end.
    instance.kubectl_ok(&["scale", "deployment/web", "--replicas=5"]);
    let dir = instance.kill();
    let instance = Instance::up_in(dir, &[]);
    let replicas = ["get", "deployment", "web", "-o", "jsonpath={.spec.replicas}"];
    assert_eq!(instance.kubectl_ok(&replicas), "5");
    instance.kubectl_ok(&["rollout", "status", "deployment/web", "--timeout=60s"]);
    wait_for("an answer after the restart", || code(&instance) == "200");
    wait_for("five healthy targets", || {
        let states = "jsonpath={.items[*].status.summary.healthy}";
        instance.kubectl_ok(&["get", "targetgroups", "-o", states]) == "5/5"
    });
    let after = pods(&instance);
    assert!(before.lines().all(|pod| after.contains(pod)), "Pods stay where they were:\n{before}\n{after}");
    for _ in 0..10 {
        assert_eq!(code(&instance), "200");
    }
}
