//! The log tells the whole way from `apply` to routable, as text and as JSON, and Events tell the same story.

use e2e::{Instance, stdout, wait_for};
use serde_json::Value;

const JOURNEY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../manifests/journey");

/// Who says what on the way; each is one line of a loop.
const CHAIN: &[(&str, &str)] = &[
    ("deployment", "created ReplicaSet web-"),
    ("replicaset", "created 3 pods"),
    ("scheduler", "bound to node-"),
    ("vpc-cni", "addresses on eni-"),
    ("kubelet", "started with address 10.0."),
    ("kubelet", "Ready"),
    ("endpointslice", "3 ready"),
    ("endpoints", "3 ready addresses"),
    ("kube-proxy", "rules of 3 nodes lead to 10.0."),
    ("ingress", "created load balancer k8s-default-web-"),
    ("ingress", "created rule 443:1"),
    ("load-balancer", "listens on 127.66.1.1:443"),
    ("targets", "registered 10.0."),
    ("health-check", ":80 is healthy"),
    ("external-dns", "UPSERT A packet-journey.com."),
];

fn routable(instance: &Instance) {
    wait_for("an answer", || {
        let url = "https://packet-journey.com/";
        stdout(&instance.curl(&["-o", "/dev/null", "-w", "%{http_code}", url])) == "200"
    });
    wait_for("three healthy targets", || {
        let states = "jsonpath={.items[*].status.summary.healthy}";
        instance.kubectl_ok(&["get", "targetgroups", "-o", states]) == "3/3"
    });
}

#[test]
fn every_loop_says_what_it_changed_why_and_how_long_it_took() {
    let instance = Instance::up(&["--log", "json", "--apply", JOURNEY]);
    routable(&instance);
    let lines: Vec<Value> =
        instance.log().lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let reconciled: Vec<&Value> = lines.iter().filter(|line| line["message"] == "reconciled").collect();
    for line in &reconciled {
        for member in ["timestamp", "controller", "object", "cause", "change"] {
            let text = line[member].as_str().unwrap_or("");
            assert!(!text.is_empty(), "no {member} in {line}");
        }
        assert!(line["elapsed_ms"].is_number(), "no duration in {line}");
        assert!(!line["object"].as_str().unwrap_or("").contains("arn:"), "objects have names: {line}");
    }
    for (controller, change) in CHAIN {
        let said = reconciled.iter().any(|line| {
            line["controller"] == *controller && line["change"].as_str().unwrap_or("").contains(change)
        });
        assert!(said, "{controller} never said {change:?}");
    }
    // Nothing goes on being changed once all is as it should be.
    let count = || instance.log().lines().filter(|line| line.contains("\"reconciled\"")).count();
    let settled = count();
    instance.kubectl_ok(&["annotate", "namespace", "default", "seen=yes"]);
    instance.kubectl_ok(&["get", "pods"]);
    assert_eq!(count(), settled, "an unchanged world is left alone");

    // Events tell the same story.
    let events = instance.kubectl_ok(&["get", "events", "-o", "jsonpath={range .items[*]}{.reason} {end}"]);
    for reason in [
        "ScalingReplicaSet",
        "SuccessfulCreate",
        "Scheduled",
        "Pulled",
        "Created",
        "Started",
        "SuccessfullyReconciled",
        "NodeReady",
    ] {
        assert!(events.contains(reason), "no Event {reason}: {events}");
    }
}

#[test]
fn the_text_reads_as_one_line_a_change() {
    let instance = Instance::up(&["--apply", JOURNEY]);
    routable(&instance);
    let log = instance.log();
    for (controller, change) in CHAIN {
        let line = log.lines().find(|line| {
            line.contains(&format!(" INFO reconciled controller=\"{controller}\" object="))
                && line.contains(change)
        });
        let line = line.unwrap_or_else(|| panic!("{controller} never said {change:?}:\n{log}"));
        assert!(line.contains(" cause=\"") && line.contains(" elapsed_ms="), "{line}");
    }
    let applied = log.find("applied object=\"service/web\"").expect("what was applied is said");
    let healthy = log.find(":80 is healthy").expect("targets became healthy");
    assert!(applied < healthy);
    instance.kubectl_ok(&["delete", "ingress", "web", "--timeout=30s"]);
    wait_for("the way back to be told", || {
        let log = instance.log();
        ["deleted load balancer k8s-default-web-", "DELETE A packet-journey.com."]
            .iter()
            .all(|text| log.contains(text))
    });
}
