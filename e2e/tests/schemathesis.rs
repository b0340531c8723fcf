//! Requests made from the published OpenAPI document by somebody else's tool: none is answered with a server error.
//!
//! `e2e/clients/install target/clients` gets the tool; where it is not there the test says so and was not run. Longer, from
//! another seed each time: `HOPYARD_FUZZ_SECONDS=600 cargo test -p e2e --test schemathesis`.

use std::process::Command;

use e2e::{Instance, stdout};

/// How long it takes unless it is told otherwise.
const SECONDS: &str = "45";
/// Streams: they end when the client does.
const STREAMS: &str = "/watch/|/proxy|/exec|/attach|/portforward";

#[test]
fn no_request_of_the_document_is_a_server_error() {
    let tool = e2e::root().join("target/clients/schemathesis/bin/schemathesis");
    if !tool.exists() {
        eprintln!("no schemathesis: not run; e2e/clients/install target/clients gets it");
        return;
    }
    let instance = Instance::apiserver(&[]);
    let file =
        |name: &str| std::fs::read(instance.dir().join("pki").join(name)).expect("a file of the instance");
    // One file for both, as Python's client wants them.
    let pair = instance.dir().join("admin.pem");
    std::fs::write(&pair, [file("admin.crt"), file("admin.key")].concat()).expect("a file");
    let long = std::env::var("HOPYARD_FUZZ_SECONDS").ok();
    let url = instance.kubectl_ok(&["config", "view", "-o", "jsonpath={.clusters[0].cluster.server}"]);
    let mut command = Command::new(tool);
    command
        .env("SCHEMATHESIS_HOOKS", e2e::root().join("e2e/clients/schemathesis_checks.py"))
        .current_dir(instance.dir())
        .args(["run", &format!("{url}/openapi/v2"), "--checks", "no_server_error", "--phases", "fuzzing"])
        .arg("--tls-verify")
        .arg(instance.dir().join("pki/ca.crt"))
        .arg("--request-cert")
        .arg(&pair)
        .args([
            "--exclude-path-regex",
            STREAMS,
            "--suppress-health-check",
            "all",
            "--no-color",
            "--warnings",
            "off",
        ])
        .args(["--max-time", long.as_deref().unwrap_or(SECONDS)]);
    if long.is_none() {
        command.args(["--seed", "1"]);
    }
    let said = stdout(&command.output().expect("the tool runs"));
    // A watch that was asked for is read until the tool loses patience, which it calls an error.
    assert!(said.contains(" generated"), "nothing was sent:\n{said}");
    assert!(!said.contains("no_server_error"), "{said}");
}
