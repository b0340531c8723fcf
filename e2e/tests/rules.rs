//! The printed rules are what the kernel's own tools take in. Where those tools or user namespaces are missing this
//! says so and ends.

use std::io::Write;
use std::process::{Command, Output, Stdio};

use e2e::{Instance, stderr, stdout};

const SERVICES: &str = "
---
apiVersion: v1
kind: Service
metadata: {name: local}
spec: {type: LoadBalancer, sessionAffinity: ClientIP, externalTrafficPolicy: Local, internalTrafficPolicy: Local, selector: {app: web}, ports: [{port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: nobody}
spec: {type: NodePort, selector: {app: nobody}, ports: [{name: a, port: 80}, {name: b, port: 53, protocol: UDP}]}
";

/// Runs a shell line in a network namespace of its own, without root.
fn in_namespace(line: &str, input: &str) -> Option<Output> {
    let mut child = Command::new("unshare")
        .args(["-rn", "sh", "-c", line])
        .env("PATH", "/usr/sbin:/sbin:/usr/bin:/bin")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .ok()?;
    // A command that is not there reads nothing.
    drop(child.stdin.take()?.write_all(input.as_bytes()));
    child.wait_with_output().ok()
}

fn works(line: &str) -> bool {
    let works = in_namespace(line, "").is_some_and(|output| output.status.success());
    if !works {
        eprintln!("skipped: `{line}` does not run in a user namespace here");
    }
    works
}

#[test]
fn the_kernels_tools_take_them_in() {
    let instance = Instance::up(&["--apply", concat!(env!("CARGO_MANIFEST_DIR"), "/../manifests/journey")]);
    instance.apply(SERVICES);
    instance.kubectl_ok(&["rollout", "status", "deployment/web", "--timeout=60s"]);
    let mut rules = String::new();
    e2e::wait_for("rules with endpoints", || {
        rules = stdout(&instance.hopyard(&["rules", "node-1"]));
        rules.contains("dnat ip to") && rules.contains("default/nobody:b")
    });
    if works("nft list ruleset") {
        let loaded = in_namespace("nft -f - && nft list table ip kube-proxy", &rules).expect("nft runs");
        assert!(loaded.status.success(), "{}\n{rules}", stderr(&loaded));
        // Up to the order of elements and where lines break, it lists what it was given.
        let words = |text: &str| {
            let mut words: Vec<String> = text
                .split([' ', ',', '\n', '\t'])
                .filter(|word| !word.is_empty())
                .map(str::to_owned)
                .collect();
            words.sort();
            words
        };
        assert_eq!(words(&stdout(&loaded)), words(&rules));
    }
    if works("iptables-restore --test < /dev/null") {
        let rules = stdout(&instance.hopyard(&["rules", "node-1", "--format", "iptables"]));
        let tested = in_namespace("iptables-restore --test", &rules).expect("iptables-restore runs");
        assert!(tested.status.success(), "{}\n{rules}", stderr(&tested));
    }
}
