//! What bad input gets: upstream's Status for manifests, an Event on the object for what is found out later.

use std::process::Command;

use e2e::{Instance, stderr, stdout, wait_for};

/// Somebody's Ingress for the Service `web`, with annotations.
fn ingress(name: &str, annotations: &[(&str, &str)]) -> String {
    let mut lines = String::new();
    for (name, value) in annotations {
        lines.push_str(&format!("    alb.ingress.kubernetes.io/{name}: '{value}'\n"));
    }
    format!(
        "---\napiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata:\n  name: {name}\n  annotations:\n{lines}\
         spec:\n  ingressClassName: alb\n  rules:\n  - host: {name}.packet-journey.com\n    http:\n      paths:\n\
         \x20     - {{path: /, pathType: Prefix, backend: {{service: {{name: web, port: {{number: 80}}}}}}}}\n"
    )
}

#[test]
fn invalid_manifests_get_upstreams_status() {
    let instance = Instance::up(&["--nodes", "1"]);
    instance.kubectl_ok(&["create", "configmap", "taken"]);
    let pods = "/api/v1/namespaces/default/pods";
    let configmaps = "/api/v1/namespaces/default/configmaps";
    let no_containers = r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"x"}}"#;
    let taken = r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"taken"}}"#;
    let bad_name = r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"Not_A_Name"}}"#;
    let wrong_kind = r#"{"apiVersion":"v1","kind":"Secret","metadata":{"name":"x"}}"#;
    let wrong_type = r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":7}}"#;
    let nowhere = "/api/v1/namespaces/nowhere/configmaps";
    let deep = "[".repeat(200_000);
    let cases: [(&str, &str, &str, u16, &str, &str); 11] = [
        ("POST", pods, no_containers, 422, "Invalid", "spec.containers: Required value"),
        ("POST", configmaps, bad_name, 422, "Invalid", "metadata.name: Invalid value"),
        ("POST", configmaps, taken, 409, "AlreadyExists", "configmaps \\\"taken\\\" already exists"),
        ("POST", nowhere, taken, 404, "NotFound", "namespaces \\\"nowhere\\\" not found"),
        ("GET", "/api/v1/namespaces/default/pods/none", "", 404, "NotFound", "pods \\\"none\\\" not found"),
        ("POST", configmaps, "{\"apiVersion\":\"v1\",\"ki", 400, "BadRequest", "json parse error"),
        ("POST", configmaps, wrong_kind, 400, "BadRequest", "Secret"),
        ("POST", configmaps, wrong_type, 400, "BadRequest", "cannot unmarshal number"),
        ("POST", configmaps, &deep, 400, "BadRequest", "couldn't get version/kind"),
        ("GET", "/api/v1/pods?labelSelector=%21%21", "", 400, "BadRequest", "unable to parse requirement"),
        ("GET", "/api/v1/pods?limit=many", "", 400, "BadRequest", "strconv"),
    ];
    for (method, path, body, code, reason, text) in cases {
        let sent = body_file(&instance, body);
        let data = format!("@{sent}");
        let mut arguments = vec!["-X", method, "-H", "content-type: application/json"];
        if !body.is_empty() {
            arguments.extend(["--data-binary", &data]);
        }
        let (answer, status) = instance.api(path, &arguments);
        let shown = &answer[..answer.len().min(600)];
        assert_eq!(status, code, "{method} {path}: {shown}");
        assert!(
            answer.contains(&format!("\"reason\": \"{reason}\"")) && answer.contains(text),
            "{path}: {shown}"
        );
    }
    // Every fault of a manifest is named at once, by its field.
    let many = "---\n{apiVersion: apps/v1, kind: Deployment, metadata: {name: many}, spec: {replicas: -1, \
        selector: {matchLabels: {a: b}}, template: {metadata: {labels: {a: c}}, \
        spec: {containers: [{name: x, ports: [{containerPort: 70000}]}]}}}}";
    let output = instance.kubectl_with(&["create", "-f", "-"], many);
    for field in
        ["spec.replicas", "spec.template.metadata.labels", "containers[0].image", "ports[0].containerPort"]
    {
        assert!(stderr(&output).contains(field), "{field}: {}", stderr(&output));
    }
    let typo =
        "---\n{apiVersion: v1, kind: Service, metadata: {name: x}, spec: {typo: 1, ports: [{port: 80}]}}";
    let output = instance.kubectl_with(&["create", "-f", "-"], typo);
    assert!(stderr(&output).contains("unknown field \"spec.typo\""), "{}", stderr(&output));
    let unknown = "---\n{apiVersion: v1, kind: Nonsense, metadata: {name: x}}";
    let output = instance.kubectl_with(&["create", "-f", "-"], unknown);
    assert!(stderr(&output).contains("no matches for kind \"Nonsense\""), "{}", stderr(&output));
    // A stale write loses.
    let stale = r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"taken","resourceVersion":"1"}}"#;
    let arguments = ["-X", "PUT", "-H", "content-type: application/json", "--data-binary", stale];
    let (answer, status) = instance.api(&format!("{configmaps}/taken"), &arguments);
    assert!(status == 409 && answer.contains("the object has been modified"), "{answer}");
}

fn body_file(instance: &Instance, body: &str) -> String {
    let path = instance.dir().join("body");
    std::fs::write(&path, body).expect("a file");
    path.display().to_string()
}

#[test]
fn a_broken_annotation_is_named_on_its_ingress_and_others_go_on() {
    let instance = Instance::up(&["--apply", concat!(env!("CARGO_MANIFEST_DIR"), "/../manifests/journey")]);
    // name of the Ingress, annotation, value, and a part of the sentence
    let broken = [
        ("scheme", "sideways", "unknown scheme"),
        ("listen-ports", "[{HTTP: 80}]", "failed to parse json annotation"),
        ("target-type", "pod", "unknown targetType"),
        ("backend-protocol", "FTP", "unknown backend protocol"),
        ("healthcheck-interval-seconds", "often", "failed to parse int64 annotation"),
        ("healthcheck-path", "no-slash", "must begin with a"),
        ("success-codes", "abc", "must be within"),
        ("target-group-attributes", "load_balancing.algorithm.type=random", "must be one of"),
        ("ssl-redirect", "443", "listener does not exist"),
        ("group.name", "Not_A_Group", "invalid ingress group"),
        ("certificate-arn", "arn:aws:acm:us-east-1:123456789012:certificate/none", "is not valid"),
        ("actions.web", "{\"type\":", "failed to parse json annotation"),
        (
            "actions.web",
            r#"{"type":"redirect","redirectConfig":{"host":"x.y","statusCode":"HTTP_307"}}"#,
            "enum value set: [HTTP_301, HTTP_302]",
        ),
        (
            "conditions.web",
            r#"[{"field":"source-ip","sourceIpConfig":{"values":["notacidr"]}}]"#,
            "'notacidr' is not a valid CIDR block",
        ),
        (
            "conditions.web",
            r#"[{"field":"path-pattern","pathPatternConfig":{"values":["/1","/2","/3","/4","/5"]}}]"#,
            "A rule can only have '5' condition values",
        ),
        ("healthcheck-protocol", "TCP", "healthCheckProtocol must be within [HTTP, HTTPS]: TCP"),
        ("ip-address-type", "ipv9", "unknown IPAddressType: ipv9"),
        ("inbound-cidrs", "300.0.0.0/8", "invalid CIDR address: 300.0.0.0/8"),
        ("auth-type", "magic", "unknown authType: magic"),
        ("use-regex-path-match", "perhaps", "failed to parse bool annotation"),
        ("target-node-labels", "zz", "failed to parse stringMap annotation"),
    ];
    for (number, (annotation, value, _)) in broken.iter().enumerate() {
        let mut annotations = vec![(*annotation, *value)];
        if *annotation != "target-type" {
            annotations.push(("target-type", "ip"));
        }
        let mut manifest = ingress(&format!("broken-{number}"), &annotations);
        if annotation.starts_with("actions.") {
            manifest = manifest.replace("number: 80", "name: use-annotation");
        }
        instance.apply(&manifest);
    }
    for (number, (annotation, _, sentence)) in broken.iter().enumerate() {
        let name = format!("broken-{number}");
        let named = format!("alb.ingress.kubernetes.io/{annotation}");
        wait_for(&format!("a Warning about {annotation}"), || {
            let events = instance.events("Ingress", &name);
            events.iter().any(|e| e.starts_with("Warning ") && e.contains(&named) && e.contains(sentence))
        });
        let described = instance.kubectl_ok(&["describe", "ingress", &name]);
        assert!(described.contains(&named) && described.contains("Warning"), "{described}");
    }
    // An Ingress that comes after them works, and so does the one that was there before.
    instance.apply(&ingress("good", &[("target-type", "ip"), ("scheme", "internet-facing")]));
    for host in ["https://packet-journey.com/", "http://good.packet-journey.com/"] {
        wait_for(&format!("an answer of {host}"), || {
            stdout(&instance.curl(&["-o", "/dev/null", "-w", "%{http_code}", host])) == "200"
        });
    }
    // Put right, a broken one works too.
    instance.kubectl_ok(&[
        "annotate",
        "--overwrite",
        "ingress/broken-0",
        "alb.ingress.kubernetes.io/scheme=internet-facing",
    ]);
    wait_for("the repaired Ingress", || {
        let url = "http://broken-0.packet-journey.com/";
        stdout(&instance.curl(&["-o", "/dev/null", "-w", "%{http_code}", url])) == "200"
    });
}

#[test]
fn a_full_port_range_is_told_on_the_service() {
    let instance = Instance::up(&["--nodes", "1"]);
    let service = |name: &str, ports: usize| {
        let ports: Vec<String> = (0..ports).map(|i| format!("{{name: p{i}, port: {}}}", 1000 + i)).collect();
        format!(
            "---\n{{apiVersion: v1, kind: Service, metadata: {{name: {name}}}, spec: {{type: NodePort, \
             selector: {{app: x}}, ports: [{}]}}}}\n",
            ports.join(", ")
        )
    };
    // 2768 ports: 27 Services take 2700 of them, one more 68.
    let mut all: String = (0..27).map(|i| service(&format!("many-{i}"), 100)).collect();
    all.push_str(&service("last", 68));
    instance.apply(&all);
    instance.kubectl_ok(&["create", "service", "clusterip", "late", "--tcp=80"]);
    let output = instance.kubectl(&["patch", "service", "late", "-p", r#"{"spec":{"type":"NodePort"}}"#]);
    let sentence = "Internal error occurred: failed to allocate a nodePort: range is full";
    assert!(stderr(&output).contains(sentence), "{}", stderr(&output));
    wait_for("an Event on the Service", || {
        let events = instance.events("Service", "late");
        events.iter().any(|e| e.starts_with("Warning PortRangeFull Port range 30000-32767 is full"))
    });
    assert!(instance.kubectl_ok(&["describe", "service", "late"]).contains("PortRangeFull"));
    // One that was never created is named all the same, and a freed port is given out again.
    let output = instance.kubectl(&["create", "service", "nodeport", "never", "--tcp=80"]);
    assert!(!output.status.success());
    wait_for("an Event about it", || !instance.events("Service", "never").is_empty());
    instance.kubectl_ok(&["delete", "service", "many-3"]);
    instance.kubectl_ok(&["create", "service", "nodeport", "never", "--tcp=80"]);
}

#[test]
fn an_exhausted_subnet_is_told_on_the_pods_that_wait() {
    // A /28 has 11 addresses: the node's, nine for Pods on its interface, and one, which is too few for another one.
    let instance = Instance::up(&["--nodes", "2", "--zones", "2", "--private-subnet-prefix", "28"]);
    instance.kubectl_ok(&["create", "deployment", "crowd", "--image=nginx", "--replicas=26"]);
    let running = || {
        let selector = "--field-selector=status.phase=Running";
        instance.kubectl_ok(&["get", "pods", selector, "-o", "name"]).lines().count()
    };
    wait_for("all addresses to be used", || running() == 18);
    let pending = "jsonpath={.items[*].metadata.name}";
    let selector = "--field-selector=status.phase=Pending";
    let names = instance.kubectl_ok(&["get", "pods", selector, "-o", pending]);
    let names: Vec<&str> = names.split_whitespace().collect();
    assert_eq!(names.len(), 8);
    for name in &names {
        wait_for("an Event on the Pod", || {
            let events = instance.events("Pod", name);
            events.iter().any(|e| {
                e.starts_with("Warning FailedCreatePodSandBox")
                    && e.contains("InsufficientFreeAddressesInSubnet")
            })
        });
    }
    // Addresses of Pods that go are for those that wait.
    instance.kubectl_ok(&["scale", "deployment/crowd", "--replicas=16"]);
    instance.kubectl_ok(&["rollout", "status", "deployment/crowd", "--timeout=60s"]);
}

#[test]
fn an_unknown_image_is_told_on_the_pod() {
    let instance = Instance::up(&["--nodes", "1"]);
    instance.kubectl_ok(&["run", "mystery", "--image=example.com/acme/unheard:1"]);
    wait_for("an Event on the Pod", || {
        let events = instance.events("Pod", "mystery");
        events.iter().any(|e| e.starts_with("Warning Failed Failed to pull image") && e.contains("not found"))
            && events.iter().any(|e| e == "Warning Failed Error: ErrImagePull")
    });
    let reason = "jsonpath={.status.phase} {.status.containerStatuses[0].state.waiting.reason}";
    let said = instance.kubectl_ok(&["get", "pod", "mystery", "-o", reason]);
    assert!(["Pending ErrImagePull", "Pending ImagePullBackOff"].contains(&said.as_str()), "{said}");
    wait_for("the back-off", || {
        instance.kubectl_ok(&["get", "pod", "mystery", "-o", reason]) == "Pending ImagePullBackOff"
    });
    instance.kubectl_ok(&["set", "image", "pod/mystery", "mystery=nginx"]);
    instance.kubectl_ok(&["wait", "--for=condition=Ready", "pod/mystery", "--timeout=60s"]);
}

#[test]
fn what_cannot_start_says_why_in_one_line() {
    let instance = Instance::up(&["--nodes", "1"]);
    let refused = |arguments: &[&str], code: i32, text: &str| {
        let output = Command::new(e2e::binary()).args(arguments).output().expect("hopyard runs");
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
        assert!(said.contains(text) && said.trim_end().lines().count() == 1, "{arguments:?}: {said}");
    };
    let scratch = instance.dir().join("scratch");
    std::fs::create_dir_all(&scratch).expect("a directory");
    let path = |name: &str| scratch.join(name).display().to_string();
    let data_dir = instance.dir().display().to_string();
    let api = instance.address("api");
    let free = ["--listen", "127.0.0.1:0"];

    let up = |dir: &str| ["up", free[0], free[1], "--data-dir", dir].map(str::to_owned);
    let line = |all: &[String], code, text: &str| {
        refused(&all.iter().map(String::as_str).collect::<Vec<_>>(), code, text);
    };
    line(&up(&data_dir), 1, "another hopyard uses");
    refused(
        &["up", "--listen", &api, "--data-dir", &path("port")],
        1,
        "is taken: another process listens there",
    );
    std::fs::write(path("file"), "").expect("a file");
    line(&up(&path("file")), 1, "not a directory");
    refused(&["up", "--apply", "/does/not/exist", "--data-dir", &path("apply")], 1, "/does/not/exist");
    refused(&["status", "--data-dir", &path("nothing")], 1, "nothing runs in");
    refused(&["rules", "node-9", "--data-dir", &data_dir], 1, "there are node-1");
    refused(&["trace", "ftp://x", "--data-dir", &data_dir], 64, "not an http or https URL");
    refused(&["trace", "http://x", "--from", "moon", "--data-dir", &data_dir], 64, "expected internet, pod/");
    for usage in [&["up", "--nodes", "0"][..], &["up", "--listen", "here"], &["fly"], &["up", "--store", "x"]]
    {
        let output = Command::new(e2e::binary()).args(usage).output().expect("hopyard runs");
        assert_eq!(output.status.code(), Some(64), "{usage:?}");
    }

    // A store that is damaged is not taken for an empty one.
    let dir = instance.kill();
    let segment = dir.join("store/0000000001.log");
    let mut bytes = std::fs::read(&segment).expect("it is there");
    bytes[100] ^= 1;
    std::fs::write(&segment, bytes).expect("it is ours");
    line(&up(&dir.display().to_string()), 1, "0000000001.log is damaged at byte");
    std::fs::remove_file(segment).expect("it is there");
    line(&up(&dir.display().to_string()), 1, "it held objects once and is empty now");
    drop(std::fs::remove_dir_all(dir));
}
