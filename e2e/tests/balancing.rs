//! Who gets a request: algorithms, draining, session affinity and traffic policies, seen from both ends.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};

use e2e::{Instance, stdout, wait_for};

/// A server of the test's own behind a Pod: answers its name; `/hold` waits until it is let go.
struct Backend {
    port: u16,
    state: Arc<(Mutex<State>, Condvar)>,
}

#[derive(Default)]
struct State {
    held: usize,
    released: bool,
}

impl Backend {
    fn start(name: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let state = Arc::new((Mutex::new(State::default()), Condvar::new()));
        let shared = state.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = shared.clone();
                std::thread::spawn(move || answer(stream, name, &shared));
            }
        });
        Self { port, state }
    }

    fn held(&self) -> usize {
        self.state.0.lock().expect("nobody panics with it").held
    }

    fn release(&self) {
        self.state.0.lock().expect("nobody panics with it").released = true;
        self.state.1.notify_all();
    }

    /// A Pod in front of it, with the label `app`.
    fn pod(&self, name: &str) -> String {
        format!(
            "---\n{{apiVersion: v1, kind: Pod, metadata: {{name: {name}, labels: {{app: slow}}, \
             annotations: {{hopyard.dev/upstream: '127.0.0.1:{}'}}}}, \
             spec: {{containers: [{{name: server, image: example.com/own:1, ports: [{{containerPort: 80}}]}}]}}}}\n",
            self.port
        )
    }
}

fn answer(stream: TcpStream, name: &str, shared: &(Mutex<State>, Condvar)) {
    let mut reader = BufReader::new(stream);
    let (mut line, mut path) = (String::new(), String::new());
    while line != "\r\n" {
        line.clear();
        if !matches!(reader.read_line(&mut line), Ok(length) if length > 0) {
            return;
        }
        if path.is_empty() {
            path = line.split(' ').nth(1).unwrap_or("").to_owned();
        }
    }
    if path == "/hold" {
        let mut state = shared.0.lock().expect("nobody panics with it");
        state.held += 1;
        let mut state = shared.1.wait_while(state, |state| !state.released).expect("nobody panics with it");
        state.held -= 1;
    }
    let text =
        format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{name}", name.len());
    drop(reader.get_mut().write_all(text.as_bytes()));
}

const SLOW: &str = "
---
apiVersion: v1
kind: Service
metadata: {name: slow}
spec: {selector: {app: slow}, ports: [{port: 80}]}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: slow
  annotations:
    alb.ingress.kubernetes.io/scheme: internet-facing
    alb.ingress.kubernetes.io/target-type: ip
spec:
  ingressClassName: alb
  rules:
  - host: slow.packet-journey.com
    http:
      paths:
      - {path: /, pathType: Prefix, backend: {service: {name: slow, port: {number: 80}}}}
---
apiVersion: aws.hopyard.dev/v1
kind: HostedZone
metadata: {name: packet-journey.com}
spec: {name: packet-journey.com}
";

const URL: &str = "http://slow.packet-journey.com/";

fn get(instance: &Instance, path: &str) -> String {
    stdout(&instance.curl(&[&format!("{URL}{path}")]))
}

fn two_slow_pods(instance: &Instance, a: &Backend, b: &Backend) {
    instance.apply(&format!("{SLOW}{}{}", a.pod("a"), b.pod("b")));
    wait_for("two healthy targets", || {
        let states = "jsonpath={.items[*].status.summary.healthy}";
        instance.kubectl_ok(&["get", "targetgroups", "-o", states]) == "2/2"
    });
    wait_for("an answer", || ["a", "b"].contains(&get(instance, "").as_str()));
}

/// Starts a request that is held; answers which backend has it.
fn hold(instance: &Arc<Instance>, backends: [&Backend; 2]) -> (std::thread::JoinHandle<String>, usize) {
    let before = backends.map(Backend::held);
    let shared = instance.clone();
    let request = std::thread::spawn(move || get(&shared, "hold"));
    let mut at = None;
    wait_for("a held request", || {
        at = (0..2).find(|i| backends[*i].held() > before[*i]);
        at.is_some()
    });
    (request, at.expect("one of them has it"))
}

#[test]
fn least_outstanding_requests_avoids_the_busy_target_and_round_robin_does_not() {
    let instance = Arc::new(Instance::up(&["--nodes", "2"]));
    let (a, b) = (Backend::start("a"), Backend::start("b"));
    two_slow_pods(&instance, &a, &b);
    let (first, busy) = hold(&instance, [&a, &b]);
    let turns: Vec<String> = (0..8).map(|_| get(&instance, "")).collect();
    assert_eq!(turns.iter().filter(|name| *name == "a").count(), 4, "round robin takes turns: {turns:?}");

    instance.kubectl_ok(&[
        "annotate",
        "ingress/slow",
        "alb.ingress.kubernetes.io/target-group-attributes=load_balancing.algorithm.type=least_outstanding_requests",
    ]);
    wait_for("the attribute", || {
        let shown =
            instance.kubectl_ok(&["get", "targetgroups", "-o", "jsonpath={.items[*].spec.attributes}"]);
        shown.contains("least_outstanding_requests")
    });
    let free = ["a", "b"][1 - busy];
    for _ in 0..8 {
        assert_eq!(get(&instance, ""), free, "the one with a request under way is left alone");
    }
    // With one on each, the next goes to either; two there and one here leaves the other.
    a.release();
    b.release();
    assert_eq!(first.join().expect("it is answered"), ["a", "b"][busy]);
}

#[test]
fn a_deregistered_target_finishes_what_it_has_and_gets_nothing_new() {
    let instance = Arc::new(Instance::up(&["--nodes", "2"]));
    let (a, b) = (Backend::start("a"), Backend::start("b"));
    two_slow_pods(&instance, &a, &b);
    let (request, busy) = hold(&instance, [&a, &b]);
    let (name, other) = (["a", "b"][busy], ["a", "b"][1 - busy]);
    instance.kubectl_ok(&["delete", "pod", name, "--wait=false"]);
    wait_for("the target to drain", || {
        let states = "jsonpath={.items[*].status.targets[*].state}";
        instance.kubectl_ok(&["get", "targetgroups", "-o", states]).contains("draining")
    });
    for _ in 0..8 {
        assert_eq!(get(&instance, ""), other);
    }
    [&a, &b][busy].release();
    assert_eq!(request.join().expect("it is answered"), name, "what was under way is finished");
    instance.kubectl_ok(&["wait", "--for=delete", &format!("pod/{name}"), "--timeout=60s"]);
}

const ECHO: &str = "
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: echo}
spec:
  replicas: 3
  selector: {matchLabels: {app: echo}}
  template:
    metadata: {labels: {app: echo}}
    spec: {containers: [{name: echo, image: ealen/echo-server, ports: [{containerPort: 80}]}]}
---
apiVersion: v1
kind: Service
metadata: {name: any}
spec: {selector: {app: echo}, ports: [{port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: sticky}
spec: {selector: {app: echo}, sessionAffinity: ClientIP, ports: [{port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: near}
spec: {selector: {app: one}, internalTrafficPolicy: Local, ports: [{port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: cluster}
spec: {type: LoadBalancer, selector: {app: one}, ports: [{port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: local}
spec: {type: LoadBalancer, externalTrafficPolicy: Local, selector: {app: one}, ports: [{port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: nobody}
spec: {selector: {app: nobody}, ports: [{port: 80}]}
---
apiVersion: v1
kind: Pod
metadata: {name: one, labels: {app: one}}
spec: {nodeSelector: {kubernetes.io/hostname: node-2}, containers: [{name: echo, image: ealen/echo-server, ports: [{containerPort: 80}]}]}
---
apiVersion: v1
kind: Pod
metadata: {name: client}
spec: {nodeSelector: {kubernetes.io/hostname: node-1}, containers: [{name: pause, image: registry.k8s.io/pause:3.10}]}
---
apiVersion: v1
kind: Pod
metadata: {name: neighbour}
spec: {nodeSelector: {kubernetes.io/hostname: node-2}, containers: [{name: pause, image: registry.k8s.io/pause:3.10}]}
";

fn seen(instance: &Instance, from: &str, url: &str) -> serde_json::Value {
    let output = instance.hopyard(&["curl", "--from", from, "-sS", "--max-time", "5", url]);
    serde_json::from_slice(&output.stdout).unwrap_or_default()
}

fn pods(instance: &Instance, from: &str, url: &str) -> std::collections::BTreeSet<String> {
    (0..12).map(|_| seen(instance, from, url)["pod"].as_str().unwrap_or("nobody").to_owned()).collect()
}

fn balancer(instance: &Instance, service: &str) -> String {
    let mut hostname = String::new();
    wait_for("a hostname", || {
        let path = "jsonpath={.status.loadBalancer.ingress[0].hostname}";
        hostname = instance.kubectl_ok(&["get", "service", service, "-o", path]);
        !hostname.is_empty()
    });
    hostname
}

/// How many of the targets behind a load balancer of a Service are healthy.
fn healthy(instance: &Instance, service: &str) -> String {
    let rows = "jsonpath={range .items[*]}{.metadata.name} {.status.summary.healthy}{\"\\n\"}{end}";
    let rows = instance.kubectl_ok(&["get", "targetgroups", "-o", rows]);
    let row = rows.lines().find(|row| row.starts_with(&format!("k8s-default-{service}-"))).unwrap_or("");
    row.split(' ').nth(1).unwrap_or("").to_owned()
}

#[test]
fn attributes_in_annotations_are_honoured() {
    let instance = Arc::new(Instance::up(&["--nodes", "1"]));
    let (a, b) = (Backend::start("a"), Backend::start("b"));
    two_slow_pods(&instance, &a, &b);
    let annotate = |name: &str, value: &str| {
        let value = format!("alb.ingress.kubernetes.io/{name}={value}");
        instance.kubectl_ok(&["annotate", "--overwrite", "ingress/slow", &value]);
    };
    // A cookie keeps a client with its target, and the trace says so.
    annotate("target-group-attributes", "stickiness.enabled=true,deregistration_delay.timeout_seconds=1");
    let jar = instance.dir().join("jar").display().to_string();
    let with_jar = || stdout(&instance.curl(&["-b", &jar, "-c", &jar, URL]));
    let cookie = || {
        let jar = std::fs::read_to_string(&jar).unwrap_or_default();
        let line = jar.lines().find(|line| line.contains("\tAWSALB\t")).map(str::to_owned);
        line.and_then(|line| line.rsplit('\t').next().map(str::to_owned))
    };
    let mut who = String::new();
    wait_for("a cookie", || {
        who = with_jar();
        cookie().is_some()
    });
    for _ in 0..6 {
        assert_eq!(with_jar(), who);
    }
    let header = format!("Cookie: AWSALB={}", cookie().expect("it is there"));
    let trace = stdout(&instance.hopyard(&["trace", URL, "-H", &header]));
    assert!(trace.contains("kept by cookie AWSALB"), "{trace}");
    // A request that is still running when the delay of its target is over ends with 502.
    let (request, at) = hold(&instance, [&a, &b]);
    instance.kubectl_ok(&["label", "pod", ["a", "b"][at], "app-"]);
    let answer = request.join().expect("an answer");
    assert!(answer.contains("502 Bad Gateway"), "{answer}");
    [&a, &b].into_iter().for_each(Backend::release);
    // A protected load balancer stays until the annotation says otherwise.
    annotate("load-balancer-attributes", "deletion_protection.enabled=true");
    let attribute = "jsonpath={.items[*].spec.attributes.deletion_protection\\.enabled}";
    let protected = || instance.kubectl_ok(&["get", "loadbalancers", "-o", attribute]);
    wait_for("the protection", || protected() == "true");
    instance.kubectl_ok(&["delete", "ingress", "slow", "--wait=false"]);
    wait_for("a Warning", || {
        let events = instance.events("Ingress", "slow");
        events.iter().any(|e| e.contains("FailedBuildModel") && e.contains("deletion_protection is enabled"))
    });
    // An edit at the load balancer's own object counts at once, or is taken back.
    let patch = |spec: &str| {
        let name = instance.kubectl_ok(&["get", "loadbalancers", "-o", "name"]);
        instance.kubectl_ok(&["patch", name.trim(), "--type", "merge", "-p", spec]);
    };
    patch(r#"{"spec":{"scheme":"internal"}}"#);
    let scheme = "jsonpath={.items[*].spec.scheme}";
    wait_for("the scheme to be put right", || {
        instance.kubectl_ok(&["get", "loadbalancers", "-o", scheme]) == "internet-facing"
    });
    patch(r#"{"spec":{"attributes":{"deletion_protection.enabled":"false"}}}"#);
    annotate("load-balancer-attributes", "deletion_protection.enabled=false");
    wait_for("the load balancer to go", || {
        instance.kubectl_ok(&["get", "loadbalancers,ingresses", "-o", "name"]).is_empty()
    });
}

#[test]
fn services_keep_clients_and_policies() {
    let instance = Instance::up(&[]);
    instance.apply(ECHO);
    instance.kubectl_ok(&["rollout", "status", "deployment/echo", "--timeout=60s"]);
    instance.kubectl_ok(&[
        "wait",
        "--for=condition=Ready",
        "pod/one",
        "pod/client",
        "pod/neighbour",
        "--timeout=60s",
    ]);
    let client = "pod/default/client";
    wait_for("all endpoints", || pods(&instance, client, "http://any/").len() == 3);
    assert_eq!(pods(&instance, client, "http://sticky/").len(), 1, "a client stays with its Pod");

    // internalTrafficPolicy Local: from the Pod's own node only.
    assert_eq!(seen(&instance, "pod/default/neighbour", "http://near/")["pod"], "one");
    let dropped = instance.hopyard(&["curl", "--from", client, "-sS", "--max-time", "2", "http://near/"]);
    assert!(!dropped.status.success());
    let trace = instance.hopyard(&["trace", "http://near/", "--from", client]);
    assert!(stdout(&trace).contains("internalTrafficPolicy"), "{}", stdout(&trace));

    // No endpoints: refused at once, not timed out.
    let refused = instance.hopyard(&["curl", "--from", client, "-sS", "--max-time", "5", "http://nobody/"]);
    assert_eq!(refused.status.code(), Some(97), "the proxy says connection refused");

    // externalTrafficPolicy: Cluster goes through any node and hides the client, Local through the Pod's and keeps it.
    let (cluster, local) = (balancer(&instance, "cluster"), balancer(&instance, "local"));
    wait_for("all nodes to be healthy", || healthy(&instance, "cluster") == "3/3");
    wait_for("the node of the Pod to be healthy", || healthy(&instance, "local") == "1/3");
    for _ in 0..6 {
        let through = seen(&instance, "internet", &format!("http://{local}/"));
        assert!(through["remoteAddr"].as_str().unwrap_or("").starts_with("198.51.100.10:"), "{through}");
    }
    let hidden = seen(&instance, "internet", &format!("http://{cluster}/"));
    assert!(hidden["remoteAddr"].as_str().unwrap_or("").starts_with("10.0."), "{hidden}");
}
