//! The trace agrees with reality: many requests of many shapes are sent and traced, and both went the same way.

use e2e::{Instance, stdout, wait_for};
use serde_json::Value;

/// Four Services with a Pod each, so that who answers says which Service it was.
fn backends() -> String {
    (1..=4)
        .map(|i| {
            format!(
                "---\n{{apiVersion: v1, kind: Pod, metadata: {{name: s{i}, labels: {{app: s{i}}}}}, \
                 spec: {{containers: [{{name: echo, image: ealen/echo-server, ports: [{{containerPort: 80}}]}}]}}}}\n\
                 ---\n{{apiVersion: v1, kind: Service, metadata: {{name: s{i}}}, \
                 spec: {{type: NodePort, selector: {{app: s{i}}}, ports: [{{port: 80}}]}}}}\n"
            )
        })
        .collect()
}

const ROUTES: &str = include_str!("data/routes.yaml");

/// One request, as curl and as the tracer are asked for it.
#[derive(Debug, Clone)]
struct Asked {
    url: String,
    from: &'static str,
    method: &'static str,
    headers: Vec<&'static str>,
}

/// Where it went, in the words of either side.
#[derive(Debug, Default, PartialEq, Eq)]
struct Way {
    listener: String,
    rule: String,
    target_group: String,
    pod: String,
    status: u16,
}

fn between<'a>(text: &'a str, before: &str, after: &str) -> &'a str {
    text.split(before).nth(1).and_then(|rest| rest.split(after).next()).unwrap_or("")
}

/// What the load balancer's access log says of the request with this trace id.
fn logged(log: &str, id: &str) -> Option<Way> {
    let line = log.lines().filter(|line| line.contains(id)).find_map(|line| {
        let line: Value = serde_json::from_str(line).ok()?;
        line["line"].as_str().map(str::to_owned)
    })?;
    let balancer = between(&line, " app/", "/");
    let url = between(&line, "\"", "\"").split(' ').nth(1).unwrap_or("").to_owned();
    let port = url.splitn(3, ':').nth(2).unwrap_or("").split('/').next().unwrap_or("").to_owned();
    let rule = line.split("\"-\" \"-\" ").nth(1).and_then(|rest| rest.split(' ').next()).unwrap_or("");
    Some(Way {
        listener: format!("{balancer}:{port}"),
        rule: if rule == "0" { "default".into() } else { rule.to_owned() },
        target_group: between(&line, ":targetgroup/", "/").to_owned(),
        pod: String::new(),
        status: 0,
    })
}

fn sent(instance: &Instance, asked: &Asked, number: usize) -> Way {
    let id = format!("1-{number:08x}-0123456789abcdef01234567");
    let header = format!("X-Amzn-Trace-Id: Root={id}");
    let mut arguments = vec!["curl", "--from", asked.from, "-sS", "--max-time", "10", "-w", "\n%{http_code}"];
    arguments.extend(["-X", asked.method, "-H", &header]);
    asked.headers.iter().for_each(|header| arguments.extend(["-H", header]));
    arguments.push(&asked.url);
    let text = stdout(&instance.hopyard(&arguments));
    let (body, status) = text.rsplit_once('\n').unwrap_or(("", "0"));
    let seen: Value = serde_json::from_str(body).unwrap_or_default();
    let mut way = Way::default();
    // Only an ALB writes it; it does so before it answers, the log takes a moment.
    if text.contains("X-Amzn") || asked.url.contains("example.com") {
        wait_for("the access log", || logged(&instance.log(), &id).map(|found| way = found).is_some());
    }
    way.pod = seen["pod"].as_str().map(|pod| format!("default/{pod}")).unwrap_or_default();
    way.status = status.parse().unwrap_or(0);
    way
}

fn traced(instance: &Instance, asked: &Asked) -> (Way, Value) {
    let mut arguments = vec!["trace", &asked.url, "--from", asked.from, "-o", "json", "-X", asked.method];
    asked.headers.iter().for_each(|header| arguments.extend(["-H", header]));
    let output = instance.hopyard(&arguments);
    let trace: Value = serde_json::from_slice(&output.stdout).expect("a trace is JSON");
    let place = |layer: &str| {
        let hops = trace["hops"].as_array().expect("hops");
        let hop = hops.iter().find(|hop| hop["layer"] == layer);
        hop.and_then(|hop| hop["place"].as_str()).unwrap_or("").to_owned()
    };
    let outcome = &trace["outcome"];
    let status = match outcome["kind"].as_str() {
        Some("delivered") => 200,
        Some("answered") => outcome["status"].as_u64().and_then(|s| s.try_into().ok()).unwrap_or(0),
        // `404: no rule matches …`
        _ => outcome["cause"]
            .as_str()
            .unwrap_or("")
            .split(':')
            .next()
            .and_then(|s| s.parse().ok())
            .unwrap_or(0),
    };
    let way = Way {
        listener: place("listener"),
        rule: place("rule").rsplit(' ').next().unwrap_or("").to_owned(),
        target_group: place("target-group"),
        pod: outcome["pod"].as_str().unwrap_or("").to_owned(),
        status,
    };
    (way, trace)
}

/// Every path with every variant of method, header and query, on every host.
fn requests() -> Vec<Asked> {
    let paths = [
        "/",
        "/cart",
        "/cart/x",
        "/cart/canary",
        "/carts",
        "/exact",
        "/exact/",
        "/api",
        "/api/v1",
        "/api/v2",
        "/api/v2/x",
        "/apiv2",
        "/img/a.png",
        "/img/a/b.png",
        "/img/a.jpg",
        "/old/page",
        "/tea",
        "/one",
        "/gone",
        "/two",
    ];
    let variants: [(&str, &[&str], &str); 4] =
        [("GET", &[], ""), ("POST", &[], ""), ("GET", &["X-Canary: yes"], ""), ("GET", &[], "?version=2")];
    let mut all = Vec::new();
    for host in ["shop.example.com", "shop.example.com:8080", "a.wild.example.com", "nodes.example.com"] {
        for (i, path) in paths.iter().enumerate() {
            for (j, (method, headers, query)) in variants.iter().enumerate() {
                // All of the first host; of the others a part that reaches every path and every variant.
                if host == "shop.example.com" || (i + j) % 4 == 0 {
                    all.push(Asked {
                        url: format!("http://{host}{path}{query}"),
                        from: "internet",
                        method,
                        headers: headers.to_vec(),
                    });
                }
            }
        }
    }
    all
}

fn ready(instance: &Instance) {
    instance.kubectl_ok(&[
        "wait",
        "--for=condition=Ready",
        "pod/s1",
        "pod/s2",
        "pod/s3",
        "pod/s4",
        "--timeout=60s",
    ]);
    wait_for("all targets to be healthy", || {
        let states = instance.kubectl_ok(&[
            "get",
            "targetgroups",
            "-o",
            "jsonpath={.items[*].status.summary.healthy}",
        ]);
        let states: Vec<&str> = states.split(' ').collect();
        states.len() >= 7 && states.iter().all(|state| ["1/1", "3/3"].contains(state))
    });
    wait_for("names", || {
        instance.hopyard(&["trace", "http://nodes.example.com/two"]).status.success()
            && instance.hopyard(&["trace", "http://a.wild.example.com/"]).status.success()
    });
}

#[test]
fn requests_go_where_the_trace_says() {
    let instance = Instance::up_with_access_log(&["--log", "json"]);
    instance.apply(&format!("{}---\n{ROUTES}", backends()));
    ready(&instance);
    let mut rules = std::collections::BTreeSet::new();
    for (number, asked) in requests().iter().enumerate() {
        let real = sent(&instance, asked, number);
        let (said, trace) = traced(&instance, asked);
        assert_eq!(said, real, "{asked:?}\n{trace:#}");
        rules.insert(format!("{} {}", real.listener, real.rule));
    }
    assert!(rules.len() >= 24, "many rules were taken: {rules:?}");

    // A weighted forward: whichever group it was is one the trace names, and each gets its share.
    let split = Asked {
        url: "http://shop.example.com/split".into(),
        from: "internet",
        method: "GET",
        headers: vec![],
    };
    let (said, trace) = traced(&instance, &split);
    assert!(["default/s1", "default/s4"].contains(&said.pod.as_str()), "{trace:#}");
    let mut first = 0;
    for number in 0..40 {
        let real = sent(&instance, &split, 100_000 + number);
        assert_eq!((&real.listener, &real.rule, real.status), (&said.listener, &said.rule, 200));
        assert!(["default/s1", "default/s4"].contains(&real.pod.as_str()), "{real:?}");
        first += usize::from(real.pod == "default/s1");
    }
    assert!((18..40).contains(&first), "3 of 4 go to the first: {first} of 40");
}

#[test]
fn every_way_into_the_cluster_is_traced_as_it_is() {
    let instance = Instance::up_with_access_log(&["--log", "json"]);
    instance.apply(&format!("{}---\n{ROUTES}", backends()));
    ready(&instance);
    let hostname = instance.kubectl_ok(&[
        "get",
        "service",
        "lb",
        "-o",
        "jsonpath={.status.loadBalancer.ingress[0].hostname}",
    ]);
    let of = |template: &str| {
        instance.kubectl_ok(&["get", "service", "s2", "-o", &format!("jsonpath={template}")])
    };
    let (ip, node_port) = (of("{.spec.clusterIP}"), of("{.spec.ports[0].nodePort}"));
    let node =
        instance.kubectl_ok(&["get", "node", "node-3", "-o", "jsonpath={.status.addresses[0].address}"]);
    let pod = instance.kubectl_ok(&["get", "pod", "s4", "-o", "jsonpath={.status.podIP}"]);
    let inside = "pod/default/s1";
    let ways = [
        (format!("http://{hostname}:8080/"), "internet", "default/s3"),
        (format!("http://{hostname}:8080/"), inside, "default/s3"),
        ("http://s2.default.svc.cluster.local/".to_owned(), inside, "default/s2"),
        ("http://s2/".to_owned(), inside, "default/s2"),
        (format!("http://{ip}/"), "node/node-1", "default/s2"),
        (format!("http://{node}:{node_port}/"), inside, "default/s2"),
        (format!("http://{node}:{node_port}/"), "node/node-1", "default/s2"),
        (format!("http://{pod}/"), inside, "default/s4"),
        ("http://nodes.example.com/two".to_owned(), inside, "default/s4"),
        // A Pod that reaches itself through its own Service.
        ("http://s1/".to_owned(), inside, "default/s1"),
    ];
    for (url, from, pod) in ways {
        let asked = Asked { url, from, method: "GET", headers: vec![] };
        let output = instance.hopyard(&["curl", "--from", from, "-sS", "--max-time", "10", &asked.url]);
        let seen: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        let (said, trace) = traced(&instance, &asked);
        assert_eq!(format!("default/{}", seen["pod"].as_str().unwrap_or("")), pod, "{asked:?}");
        assert_eq!(said.pod, pod, "{asked:?}\n{trace:#}");
        // The Pod saw the address that the trace says it did.
        let last = trace["hops"].as_array().and_then(|hops| hops.last()).expect("a last hop");
        let source =
            last["before"]["source"].as_str().unwrap_or("").split(':').next().unwrap_or("").to_owned();
        let saw = seen["remoteAddr"].as_str().unwrap_or("").split(':').next().unwrap_or("").to_owned();
        // A load balancer stands in several zones and an instance target may be any node.
        let any_of_several = trace.to_string().contains("\"layer\":\"listener\"");
        assert!(any_of_several || source == saw, "the Pod saw {saw}, the trace says {source}: {asked:?}");
        // The reply undoes every translation: it ends where the request began.
        let reply = trace["reply"].as_array().and_then(|hops| hops.last()).expect("a reply");
        let client =
            trace["hops"].as_array().and_then(|hops| hops.iter().find(|hop| hop["layer"] == "client"));
        let client = client.expect("a client");
        assert_eq!(reply["before"]["destination"], client["before"]["source"], "{asked:?}");
    }
}
