//! Loops as processes of their own, over API servers that share an etcd: one leads, and whatever becomes of it, the next
//! one goes on.

#[path = "../../apiserver/storage/tests/support/etcd_server.rs"]
#[expect(dead_code, reason = "other tests use the rest of it")]
mod etcd_server;

use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};

use e2e::{Instance, wait_for};
use etcd_server::{EtcdCluster, binaries_for};
use jiff::Timestamp;
use serde_json::{Value, json};

const LEASE: &str = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/kube-controller-manager";
const LEASE_SECONDS: f64 = 3.0;

/// A `hopyard controller-manager`.
struct Manager {
    child: Child,
    log: PathBuf,
}

impl Manager {
    fn start(server: &Instance, name: &str) -> Self {
        let log = server.dir().join(name);
        let child = Command::new(e2e::binary())
            .args(["controller-manager", "--leader-elect-lease-duration", "3s"])
            .args(["--leader-elect-renew-deadline", "2s", "--leader-elect-retry-period", "500ms"])
            .arg("--kubeconfig")
            .arg(server.dir().join("kubeconfig"))
            .env("RUST_LOG", "info")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log).expect("a log file"))
            .spawn()
            .expect("hopyard starts");
        Self { child, log }
    }

    fn says(&self, text: &str) -> bool {
        std::fs::read_to_string(&self.log).unwrap_or_default().contains(text)
    }

    fn leads(&self) -> bool {
        self.says(" leading")
    }

    /// How it ended.
    fn end(&mut self) -> ExitStatus {
        let mut ended = None;
        wait_for("the loops to end", || {
            ended = self.child.try_wait().expect("a child of ours");
            ended.is_some()
        });
        ended.expect("it has ended")
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn read(server: &Instance, path: &str) -> Value {
    serde_json::from_str(&server.api(path, &[]).0).unwrap_or_default()
}

fn deployment(replicas: u32) -> String {
    let labels = json!({"app": "web"});
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
        "spec": {"replicas": replicas, "selector": {"matchLabels": labels}, "template": {
            "metadata": {"labels": labels}, "spec": {"containers": [{"name": "web", "image": "nginx"}]}}},
    })
    .to_string()
}

/// Whoever leads makes that many Pods.
fn works(server: &Instance, replicas: u32) {
    server.apply(&deployment(replicas));
    wait_for(&format!("{replicas} Pods"), || {
        let pods = read(server, "/api/v1/namespaces/default/pods");
        pods["items"].as_array().is_some_and(|pods| pods.len() == replicas as usize)
    });
}

fn time(lease: &Value, member: &str) -> Timestamp {
    lease["spec"][member].as_str().and_then(|text| text.parse().ok()).expect("a time")
}

#[test]
fn the_next_one_leads_when_the_leader_is_gone() {
    let Some(binary) = binaries_for("the_next_one_leads_when_the_leader_is_gone").into_iter().next() else {
        return;
    };
    let cluster = EtcdCluster::start(&binary, 1);
    let over = || Instance::apiserver(&["--etcd-servers", &cluster.servers().join(",")]);
    let (one, other) = (over(), over());

    let mut first = Manager::start(&one, "first");
    wait_for("the first to lead", || first.leads());
    let mut second = Manager::start(&other, "second");
    wait_for("the second to wait", || second.says("waiting to lead"));
    works(&other, 2);

    // Killed: the next one leads when the Lease has run out.
    first.child.kill().expect("a child of ours");
    first.end();
    let before = read(&other, LEASE);
    wait_for("the second to lead", || second.leads());
    let after = read(&other, LEASE);
    assert_eq!(after["spec"]["leaseTransitions"], 1);
    assert_ne!(before["spec"]["holderIdentity"], after["spec"]["holderIdentity"]);
    let gap = time(&after, "acquireTime").duration_since(time(&before, "renewTime")).as_secs_f64();
    assert!(gap >= LEASE_SECONDS, "it was taken {gap} s after it was renewed");
    works(&one, 3);
    let events = read(&one, "/api/v1/namespaces/kube-system/events");
    let told =
        |event: &Value| event["reason"] == "LeaderElection" && event["involvedObject"]["kind"] == "Lease";
    assert!(events["items"].as_array().is_some_and(|events| events.iter().any(told)), "{events}");

    // Cut off from its API server: it ends, and the next one goes on.
    let third = Manager::start(&one, "third");
    wait_for("the third to wait", || third.says("waiting to lead"));
    drop(other);
    assert_eq!(second.end().code(), Some(1));
    wait_for("the third to lead", || third.leads());
    works(&one, 4);
}

#[test]
fn a_leader_that_is_stopped_gives_the_lead_back() {
    let server = Instance::apiserver(&[]);
    let mut first = Manager::start(&server, "first");
    wait_for("the first to lead", || first.leads());
    let second = Manager::start(&server, "second");
    wait_for("the second to wait", || second.says("waiting to lead"));
    let pid = first.child.id().to_string();
    assert!(Command::new("kill").arg(&pid).status().expect("kill runs").success());
    assert_eq!(first.end().code(), Some(0));
    wait_for("the second to lead", || second.leads());
    assert_eq!(read(&server, LEASE)["spec"]["leaseTransitions"], 1);
    works(&server, 1);
}
