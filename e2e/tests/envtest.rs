//! The binary in the place of envtest's `kube-apiserver` and `etcd`: an existing controller-runtime suite runs
//! unchanged, and nothing is left behind.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use e2e::{stderr, stdout, wait_for};

fn assets(name: &str) -> PathBuf {
    let dir = std::env::temp_dir().join(format!("hopyard-e2e-envtest-{name}-{}", std::process::id()));
    let laid_out =
        Command::new(e2e::binary()).arg("envtest-assets").arg(&dir).output().expect("hopyard runs");
    assert!(laid_out.status.success(), "{}", stderr(&laid_out));
    let line = stdout(&laid_out);
    assert!(line.starts_with("export KUBEBUILDER_ASSETS=/"), "{line}");
    dir
}

/// The suite in `e2e/go`: a manager with a reconciler over a custom resource, client-go informers, and typed and
/// metadata clients that take nothing but protobuf. Where there is no Go, there is nobody who would run one.
#[test]
fn a_controller_runtime_suite_runs_unchanged() {
    if Command::new("go").arg("version").output().is_err() {
        eprintln!("no go on this machine: the suite was not run");
        return;
    }
    let dir = assets("suite");
    let suite = Command::new("go")
        .args(["test", "-count=1", "./..."])
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("go"))
        .env("KUBEBUILDER_ASSETS", &dir)
        .output()
        .expect("go runs");
    assert!(suite.status.success(), "{}\n{}", stdout(&suite), stderr(&suite));
    std::fs::remove_dir_all(&dir).expect("the directory was ours");
}

/// A test runner that is killed leaves no server behind.
#[test]
fn the_server_ends_with_the_process_that_started_it() {
    let dir = assets("orphan");
    let certificates = dir.join("certificates");
    std::fs::create_dir_all(&certificates).expect("a directory can be made");
    let script = format!(
        "{}/kube-apiserver --cert-dir={} --secure-port=0 --etcd-servers=http://127.0.0.1:1 --made-up=1 & echo $!; wait",
        dir.display(),
        certificates.display()
    );
    let mut runner = Command::new("sh")
        .args(["-c", &script])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("sh runs");
    let mut lines =
        std::io::BufRead::lines(std::io::BufReader::new(runner.stdout.take().expect("it is piped")));
    let pid = lines.next().expect("sh says the pid").expect("it is text");
    let mut log =
        std::io::BufRead::lines(std::io::BufReader::new(runner.stderr.take().expect("it is piped")));
    let mut said = Vec::new();
    let url = loop {
        let line = log.next().expect("the server says where it is").expect("it is text");
        if let Some((_, url)) = line.split_once("https://") {
            break format!("https://{url}");
        }
        said.push(line);
    };
    assert_eq!(said, ["kube-apiserver: --made-up has no effect here"]);
    let healthz = || {
        let curl = Command::new("curl").args(["-sk", &format!("{url}/healthz")]).output().expect("curl runs");
        stdout(&curl)
    };
    wait_for("/healthz", || healthz() == "ok");
    runner.kill().expect("the runner can be killed");
    runner.wait().expect("it was ours");
    wait_for("the end of the server", || !Path::new(&format!("/proc/{pid}")).exists());
    std::fs::remove_dir_all(&dir).expect("the directory was ours");
}
