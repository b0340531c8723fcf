//! What a Pod reaches beside other Pods' Services: the API server, and endpoints that somebody wrote by hand.

use e2e::{Instance, stdout, wait_for};

const PODS: &str = "---
{apiVersion: v1, kind: Pod, metadata: {name: client}, spec: {containers: [{name: c, image: nginx}]}}
---
{apiVersion: v1, kind: Pod, metadata: {name: backend}, spec: {containers: [{name: c, image: ealen/echo-server, ports: [{containerPort: 80}]}]}}
";

const CLIENT: &str = "pod/default/client";

fn ready() -> Instance {
    let instance = Instance::up(&[]);
    instance.apply(PODS);
    instance.kubectl_ok(&["wait", "--for=condition=Ready", "pod/client", "pod/backend", "--timeout=60s"]);
    instance
}

#[test]
fn a_pod_reaches_the_api_server() {
    let instance = ready();
    let get = |arguments: &[&str], path: &str| {
        let url = format!("https://kubernetes.default.svc{path}");
        let mut all = vec!["curl", "--from", CLIENT, "-sS", "--max-time", "10", "-w", "\n%{http_code}"];
        all.extend(arguments);
        all.push(&url);
        stdout(&instance.hopyard(&all))
    };
    assert!(get(&[], "/version").contains("\"gitVersion\": \"v1.36."), "{}", get(&[], "/version"));
    let nobody = get(&[], "/api/v1/namespaces");
    assert!(nobody.contains("system:anonymous") && nobody.ends_with("403"), "{nobody}");
    let token = instance.kubectl_ok(&["create", "token", "default"]);
    let header = format!("Authorization: Bearer {}", token.trim());
    let account = get(&["-H", &header], "/api/v1/namespaces");
    assert!(account.contains("system:serviceaccount:default:default"), "{account}");

    let trace =
        stdout(&instance.hopyard(&["trace", "https://kubernetes.default.svc/version", "--from", CLIENT]));
    assert!(trace.contains("DNAT to 10.0.0.10:443"), "{trace}");
    assert!(trace.ends_with("✓ answered by the API server at 10.0.0.10:443\n"), "{trace}");

    // Whatever becomes of its endpoints, they come back.
    instance.kubectl_ok(&["delete", "endpointslice", "kubernetes"]);
    let dir = instance.kill();
    let instance = Instance::up_in(dir, &[]);
    let slice = instance.kubectl_ok(&[
        "get",
        "endpointslice",
        "kubernetes",
        "-o",
        "jsonpath={.endpoints[0].addresses[0]}",
    ]);
    assert_eq!(slice, "10.0.0.10");
}

#[test]
fn endpoints_written_by_hand_are_reached() {
    let instance = ready();
    let ip = instance.kubectl_ok(&["get", "pod", "backend", "-o", "jsonpath={.status.podIP}"]);
    instance.apply(&format!(
        "---\n{{apiVersion: v1, kind: Service, metadata: {{name: byhand}}, spec: {{ports: [{{port: 8080}}]}}}}\n---\n\
         {{apiVersion: v1, kind: Endpoints, metadata: {{name: byhand}}, \
         subsets: [{{addresses: [{{ip: {ip}}}], ports: [{{port: 80}}]}}]}}"
    ));
    let get = || {
        let url = "http://byhand:8080/";
        instance.hopyard(&["curl", "--from", CLIENT, "-sS", "--max-time", "5", url])
    };
    wait_for("the backend to answer", || stdout(&get()).contains("\"pod\""));
    let slice = "jsonpath={.items[*].metadata.labels.endpointslice\\.kubernetes\\.io/managed-by}";
    let manager = || {
        instance.kubectl_ok(&[
            "get",
            "endpointslices",
            "-l",
            "kubernetes.io/service-name=byhand",
            "-o",
            slice,
        ])
    };
    assert_eq!(manager(), "endpointslicemirroring-controller.k8s.io");
    instance.kubectl_ok(&["delete", "endpoints", "byhand"]);
    wait_for("the slice to go", || manager().is_empty());
    wait_for("a refusal", || get().status.code() == Some(97));
}
