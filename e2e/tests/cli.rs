//! The commands of the binary beside `up`: what they print and how they end.

use std::process::Command;

use e2e::{Instance, stderr, stdout, wait_for};

#[test]
fn the_commands_of_a_running_instance() {
    let instance = Instance::up(&["--apply", concat!(env!("CARGO_MANIFEST_DIR"), "/../manifests/journey")]);
    instance.kubectl_ok(&["rollout", "status", "deployment/web", "--timeout=60s"]);
    let url = "https://packet-journey.com/";
    wait_for("an answer", || {
        stdout(&instance.hopyard(&["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", url])) == "200"
    });

    let env = stdout(&instance.hopyard(&["env"]));
    for name in ["export KUBECONFIG=", "export HOPYARD_UPLINK=socks5h://127.0.0.1:", "export HOPYARD_DNS="] {
        assert!(env.contains(name), "{env}");
    }
    let status = stdout(&instance.hopyard(&["status"]));
    assert!(status.contains("pods           3 (3 ready)") && status.contains("load balancers 1"), "{status}");
    let kubeconfig = instance.dir().join("kubeconfig");
    let mode = Command::new("stat").args(["-c", "%a"]).arg(&kubeconfig).output().expect("stat runs");
    assert_eq!(stdout(&mode).trim(), "600");
    let store = instance.dir().join("store");
    let mode = Command::new("stat").args(["-c", "%a"]).arg(store).output().expect("stat runs");
    assert_eq!(stdout(&mode).trim(), "700", "Secrets are in it");
    let nobody = instance.hopyard(&["curl", "--from", "pod/x/y", "http://web/"]);
    let said = String::from_utf8_lossy(&nobody.stderr).into_owned();
    assert_eq!(
        (nobody.status.code(), said.contains("no Pod x/y; kubectl get pods -n x")),
        (Some(1), true),
        "{said}"
    );

    let text = stdout(&instance.hopyard(&["trace", url]));
    for part in ["Route 53", "igw-", "rule 1", "TLS ends here", "and back", "✓ answered by Pod default/web-"]
    {
        assert!(text.contains(part), "no {part:?} in\n{text}");
    }
    assert!(stdout(&instance.hopyard(&["trace", url, "-o", "mermaid"])).starts_with("sequenceDiagram\n"));
    let json = stdout(&instance.hopyard(&["trace", url, "-o", "json", "--from", "node/node-1"]));
    assert!(json.contains("\"from\": \"node/node-1\""), "{json}");

    assert!(stdout(&instance.hopyard(&["rules", "node-1"])).starts_with("table ip kube-proxy {"));
    let iptables = stdout(&instance.hopyard(&["rules", "node-1", "--format", "iptables"]));
    assert!(iptables.contains("*nat") && iptables.contains("KUBE-SERVICES"), "{iptables}");

    // From inside, cluster names and cluster IPs work, by curl and by trace.
    let pod = instance.kubectl_ok(&["get", "pods", "-o", "jsonpath={.items[0].metadata.name}"]);
    let from = format!("pod/default/{pod}");
    for name in ["web.default.svc.cluster.local", "web.default", "web"] {
        let url = format!("http://{name}/");
        let answer =
            instance.hopyard(&["curl", "--from", &from, "-s", "-w", "%{http_code}", "-o", "/dev/null", &url]);
        assert_eq!(stdout(&answer), "200", "{url}: {}", stderr(&answer));
        assert!(instance.hopyard(&["trace", &url, "--from", &from]).status.success());
    }
    assert!(
        !instance.hopyard(&["curl", "-s", "http://web/"]).status.success(),
        "the internet knows no such name"
    );

    let bash = Command::new(e2e::binary()).args(["completions", "bash"]).output().expect("hopyard runs");
    assert!(stdout(&bash).contains("_hopyard()"));
}

#[test]
fn a_directory_that_is_not_there_is_not_saved() {
    let dir = std::env::temp_dir().join(format!("hopyard-e2e-unsaved-{}", std::process::id()));
    drop(std::fs::remove_dir_all(&dir));
    let file = dir.with_extension("snapshot");
    std::fs::write(&file, "an older one").expect("a file");
    let mut save = Command::new(e2e::binary());
    let output = save.args(["snapshot", "save"]).arg(&file).arg("--data-dir").arg(&dir).output();
    let output = output.expect("hopyard runs");
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("there is no store"), "{}", stderr(&output));
    assert!(!dir.exists());
    assert_eq!(std::fs::read_to_string(&file).expect("the file"), "an older one");
    std::fs::remove_file(&file).expect("it is ours");
}

#[test]
fn detached_it_runs_until_it_is_told_to_stop() {
    let dir = std::env::temp_dir().join(format!("hopyard-e2e-detached-{}", std::process::id()));
    drop(std::fs::remove_dir_all(&dir));
    let run = |arguments: &[&str]| {
        let mut all: Vec<&str> = arguments.to_vec();
        let dir = dir.display().to_string();
        all.extend(["--data-dir", &dir]);
        Command::new(e2e::binary()).args(&all).output().expect("hopyard runs")
    };
    let up = run(&["up", "--detach", "--listen", "127.0.0.1:0", "--nodes", "1"]);
    assert!(up.status.success(), "{}", stderr(&up));
    assert!(stderr(&up).contains("export KUBECONFIG="), "{}", stderr(&up));
    assert!(stdout(&run(&["status"])).contains("nodes          1"));
    let again = run(&["up", "--detach", "--listen", "127.0.0.1:0"]);
    assert!(again.status.code() == Some(1) && stderr(&again).contains("another hopyard uses"));
    assert_eq!(stdout(&run(&["down"])), "stopped\n");
    assert_eq!(run(&["status"]).status.code(), Some(1));
    assert!(!dir.join("instance.json").exists());
    drop(std::fs::remove_dir_all(&dir));
}

#[test]
fn killed_and_detached_again_it_speaks_of_itself() {
    let parent = std::env::temp_dir().join(format!("hopyard-e2e-again-{}", std::process::id()));
    drop(std::fs::remove_dir_all(&parent));
    std::fs::create_dir_all(&parent).expect("a directory");
    let inside = |arguments: &[&str]| {
        let mut command = Command::new(e2e::binary());
        command
            .args(arguments)
            .args(["--data-dir", "data"])
            .current_dir(&parent)
            .output()
            .expect("hopyard runs")
    };
    let up = ["up", "--detach", "--listen", "127.0.0.1:0", "--nodes", "1"];
    let first = inside(&up);
    assert!(first.status.success(), "{}", stderr(&first));
    let said = stderr(&first);
    assert!(said.contains("INFO API server") && said.contains("elapsed_ms="), "{said}");
    assert!(!said.contains("reconciled"), "{said}");
    // A relative directory is the same one for commands that are called elsewhere.
    let data = parent.join("data").display().to_string();
    let elsewhere = |command: &str| {
        Command::new(e2e::binary()).args([command, "--data-dir", &data]).output().expect("hopyard runs")
    };
    assert!(stdout(&elsewhere("env")).contains(&format!("export KUBECONFIG={data}/kubeconfig")));
    let status = stdout(&elsewhere("status"));
    let pid = status.lines().find_map(|line| line.strip_prefix("running        pid ")).expect("a pid");
    let killed = Command::new("kill").args(["-9", pid]).status().expect("kill runs");
    assert!(killed.success());
    let mut again = inside(&up);
    wait_for("the killed process to be gone", || {
        if !again.status.success() {
            again = inside(&up);
        }
        again.status.success()
    });
    let status = elsewhere("status");
    let uplink =
        stdout(&status).lines().find_map(|line| line.strip_prefix("uplink         ").map(str::to_owned));
    assert!(stderr(&again).contains(&uplink.expect("an uplink")), "{}\n{}", stderr(&again), stdout(&status));
    assert!(elsewhere("down").status.success());
    drop(std::fs::remove_dir_all(&parent));
}

#[test]
fn the_demo_ends_with_an_answer_and_its_trace() {
    let demo = |arguments: &[&str]| {
        Command::new(e2e::binary()).args(["demo", "--once"]).args(arguments).output().expect("hopyard runs")
    };
    let output = demo(&[]);
    let text = stdout(&output);
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(text.contains("HTTP/1.1 200 OK") && text.contains("Welcome to nginx!"), "{text}");
    assert!(text.contains("✓ answered by Pod default/web-"), "{text}");
    // The trace of a request that was sent names the Pod that answered it.
    let answered =
        text.split("<!-- pod ").nth(1).and_then(|rest| rest.split(' ').next()).expect("the page says who");
    assert!(text.contains(&format!("✓ answered by Pod {answered} at ")), "{text}");
    // A request that nobody answers ends with a diagnosis and not with success.
    let output = demo(&["--url", "https://nowhere.packet-journey.com/", "--patience", "2"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stdout(&output).contains("nowhere.packet-journey.com"), "{}", stdout(&output));
}

#[test]
fn the_api_server_alone() {
    let dir = std::env::temp_dir().join(format!("hopyard-e2e-apiserver-{}", std::process::id()));
    drop(std::fs::remove_dir_all(&dir));
    std::fs::create_dir_all(&dir).expect("a directory");
    let port = free_port();
    let mut child = Killed(
        Command::new(e2e::binary())
            .args(["apiserver", "--bind-address", "127.0.0.1", "--secure-port", &port, "--data-dir"])
            .arg(&dir)
            .args(["--service-cluster-ip-range", "10.55.0.0/24", "--service-node-port-range", "31000-31010"])
            .stderr(std::process::Stdio::null())
            .spawn()
            .expect("hopyard starts"),
    );
    let kubectl = |arguments: &[&str]| -> std::process::Output {
        let kubeconfig = dir.join("kubeconfig");
        Command::new("kubectl")
            .arg("--kubeconfig")
            .arg(kubeconfig)
            .args(arguments)
            .output()
            .expect("kubectl runs")
    };
    wait_for("the API server", || stdout(&kubectl(&["get", "--raw", "/readyz"])) == "ok");
    assert!(kubectl(&["create", "service", "nodeport", "a", "--tcp=80"]).status.success());
    let spec = stdout(&kubectl(&[
        "get",
        "service",
        "a",
        "-o",
        "jsonpath={.spec.clusterIP} {.spec.ports[0].nodePort}",
    ]));
    assert!(spec.starts_with("10.55.0.") && spec.contains(" 310"), "{spec}");
    assert!(stdout(&kubectl(&["version"])).contains("Server Version: v1.36"));
    assert!(stdout(&kubectl(&["get", "nodes", "-o", "name"])).is_empty(), "nothing else runs");
    drop(Command::new("kill").arg("-TERM").arg(child.0.id().to_string()).status());
    assert!(child.0.wait().expect("it ends").success());
    drop(std::fs::remove_dir_all(&dir));
}

/// A process that does not outlive its test.
struct Killed(std::process::Child);

impl Drop for Killed {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn free_port() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").port().to_string()
}
