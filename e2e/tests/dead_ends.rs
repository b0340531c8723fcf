//! A path that ends says where, why and what to change, for real manifests; and the real request ends there too.

use e2e::{Instance, stdout, wait_for};
use serde_json::Value;

/// An nginx with a Service and an Ingress, as it works.
const WORKING: &str = r#"
---
apiVersion: v1
kind: Pod
metadata: {name: NAME, labels: {app: NAME}}
spec:
  containers:
  - name: nginx
    image: nginx
    ports: [{containerPort: 80}]
    readinessProbe: {httpGet: {path: /, port: 80}, periodSeconds: 1}
---
apiVersion: v1
kind: Service
metadata: {name: NAME}
spec: {selector: {app: NAME}, ports: [{port: 80, targetPort: 80}]}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: NAME
  annotations:
    alb.ingress.kubernetes.io/scheme: internet-facing
    alb.ingress.kubernetes.io/target-type: ip
    alb.ingress.kubernetes.io/healthcheck-path: /
    alb.ingress.kubernetes.io/healthcheck-interval-seconds: '5'
    alb.ingress.kubernetes.io/healthcheck-timeout-seconds: '2'
spec:
  ingressClassName: alb
  rules:
  - host: NAME.example.com
    http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: NAME, port: {number: 80}}}}]}
"#;

const ZONE: &str = "
---
apiVersion: aws.hopyard.dev/v1
kind: HostedZone
metadata: {name: example.com}
spec: {name: example.com}
";

/// What is broken, what is asked, what really happens, and the words the trace finds for it.
struct Case {
    name: &'static str,
    broken: (&'static str, &'static str),
    path: &'static str,
    answer: &'static str,
    place: &'static str,
    cause: &'static str,
    fix: &'static str,
}

const CASES: &[Case] = &[
    Case { name: "works", broken: ("", ""), path: "/", answer: "200", place: "", cause: "", fix: "" },
    Case {
        name: "norule",
        broken: ("path: /, pathType: Prefix", "path: /only, pathType: Prefix"),
        path: "/other",
        answer: "404",
        place: "rule default",
        cause: "404: no rule matches host norule.example.com and path /other",
        fix: "Path /only",
    },
    Case {
        name: "noservice",
        broken: ("service: {name: noservice,", "service: {name: missing,"),
        path: "/",
        answer: "503",
        place: "rule 1",
        cause: "Ingress default/noservice names Service missing",
        fix: "create the Service",
    },
    Case {
        name: "noselect",
        broken: ("selector: {app: noselect}", "selector: {app: nobody}"),
        path: "/",
        answer: "503",
        place: "k8s-default-noselect-",
        cause: "the selector of Service default/noselect (app=nobody) matches no Pod",
        fix: "change spec.selector of Service default/noselect",
    },
    Case {
        name: "notready",
        broken: ("readinessProbe: {httpGet: {path: /,", "readinessProbe: {httpGet: {path: /none,"),
        path: "/",
        answer: "503",
        place: "k8s-default-notready-",
        cause: "no Pod of Service default/notready is ready: default/notready",
        fix: "kubectl describe pod",
    },
    Case {
        name: "wrongport",
        broken: ("targetPort: 80", "targetPort: 8081"),
        path: "/",
        answer: "502",
        place: "Pod default/wrongport",
        cause: "nothing listens on 8081",
        fix: "set targetPort of Service default/wrongport to 80",
    },
    Case {
        name: "notls",
        broken: ("healthcheck-path: /\n", "backend-protocol: HTTPS\n"),
        path: "/",
        answer: "502",
        place: "Pod default/notls",
        cause: "502: the target group speaks HTTPS, the container plain HTTP",
        fix: "backend-protocol to HTTP",
    },
    Case {
        name: "inside",
        broken: ("scheme: internet-facing", "scheme: internal"),
        path: "/",
        answer: "000",
        place: "internet",
        cause: "a private address of the internal load balancer k8s-default-inside-",
        fix: "set its scheme to internet-facing",
    },
    Case {
        name: "noaction",
        broken: ("{name: noaction, port: {number: 80}}", "{name: greet, port: {name: use-annotation}}"),
        path: "/",
        answer: "503",
        place: "rule 1",
        cause: "503: a path of the Ingress names an action",
        fix: "alb.ingress.kubernetes.io/actions.",
    },
    Case {
        name: "execprobe",
        broken: (
            "readinessProbe: {httpGet: {path: /, port: 80},",
            "readinessProbe: {exec: {command: [cat, /nope]},",
        ),
        path: "/",
        answer: "503",
        place: "k8s-default-execprob-",
        cause: "no Pod of Service default/execprobe is ready: default/execprobe",
        fix: "kubectl describe pod",
    },
];

#[test]
fn a_broken_path_says_where_why_and_what_to_change() {
    let instance = Instance::up(&["--nodes", "2"]);
    let mut all = ZONE.to_owned();
    for case in CASES {
        let manifest = WORKING.replace("NAME", case.name);
        let (from, to) = case.broken;
        assert!(manifest.contains(from), "{}", case.name);
        all.push_str(&if from.is_empty() { manifest } else { manifest.replace(from, to) });
    }
    all.push_str(
        &WORKING.replace("NAME", "unhealthy").replace("healthcheck-path: /", "healthcheck-path: /none"),
    );
    instance.apply(&all);
    for case in CASES {
        let url = format!("http://{}.example.com{}", case.name, case.path);
        wait_for(&format!("{} from {url}", case.answer), || {
            stdout(&instance.curl(&["-o", "/dev/null", "-w", "%{http_code}", &url])) == case.answer
        });
        // Health and readiness may still be settling where the answer is the same already.
        let mut trace = Value::Null;
        let outcome = |trace: &Value| {
            let text = |member: &str| trace["outcome"][member].as_str().unwrap_or("").to_owned();
            [text("place"), text("cause"), text("fix")]
        };
        let holds = |trace: &Value| {
            let wanted = [case.place, case.cause, case.fix];
            outcome(trace).iter().zip(wanted).all(|(text, wanted)| text.contains(wanted))
        };
        wait_for(&format!("the trace of {url} to say {:?}", case.cause), || {
            let output = instance.hopyard(&["trace", &url, "-o", "json"]);
            trace = serde_json::from_slice(&output.stdout).unwrap_or_default();
            let dead_end = trace["outcome"]["kind"] == "dead-end";
            assert_eq!(output.status.code(), Some(i32::from(dead_end)));
            dead_end != case.cause.is_empty() && holds(&trace)
        });
    }

    // What a probe's command said is what its Event says.
    let events = instance.kubectl_ok(&["get", "events", "--field-selector", "reason=Unhealthy"]);
    assert!(events.contains("Readiness probe failed: cat: /nope: No such file"), "{events}");

    // No such name: neither for the tracer nor for curl.
    let nowhere = instance.hopyard(&["trace", "http://nowhere.example.com/"]);
    let text = stdout(&nowhere);
    assert!(
        text.contains("no such record") && text.contains("add a record for nowhere.example.com"),
        "{text}"
    );
    assert!(!instance.curl(&["http://nowhere.example.com/"]).status.success());
    // A port without a listener.
    let port = stdout(&instance.hopyard(&["trace", "http://works.example.com:81/"]));
    assert!(port.contains("it listens on HTTP 80") && port.contains("listen-ports"), "{port}");
    assert!(!instance.curl(&["http://works.example.com:81/"]).status.success());

    // No healthy target: an ALB sends requests all the same, and the trace says what is wrong.
    wait_for("an unhealthy target", || {
        instance.kubectl_ok(&["get", "targetgroups", "-o", "json"]).contains("Target.ResponseCodeMismatch")
    });
    let text = stdout(&instance.hopyard(&["trace", "http://unhealthy.example.com/"]));
    for part in [
        "no target of k8s-default-unhealth-",
        "Health checks failed with these codes: [404]",
        "asks HTTP /none",
        "change alb.ingress.kubernetes.io/healthcheck-path",
        "✓ answered by Pod default/unhealthy",
    ] {
        assert!(text.contains(part), "no {part:?} in\n{text}");
    }
}
