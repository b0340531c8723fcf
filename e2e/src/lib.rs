//! The harness of the end-to-end tests: a real `hopyard up` in a directory of its own, and real clients on it.
//!
//! It waits on conditions, never on the clock, and shows the log of an instance that failed its test.

pub mod daemon;
pub mod figure;
mod judge;

pub use judge::Judge;

use std::ffi::OsStr;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

/// How long a condition may take to come true.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// How long a tool may run, in seconds: one that waits for ever would hold the tests up for ever.
const TOOL_SECONDS_MAX: &str = "300";

/// The root of the repository.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map(Path::to_owned).unwrap_or_default()
}

/// The binary, beside the tests in the target directory; built where it is missing. `HOPYARD_BINARY` names another.
pub fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("HOPYARD_BINARY") {
        return path.into();
    }
    let exe = std::env::current_exe().expect("a test knows its own path");
    let profile = exe.parent().and_then(Path::parent).expect("tests live in target/<profile>/deps");
    let path = profile.join("hopyard");
    if !path.exists() {
        let release = profile.ends_with("release").then_some("--release");
        let status = Command::new(env!("CARGO"))
            .arg("build")
            .args(release)
            .args(["-p", "hopyard", "--target-dir"])
            .arg(profile.parent().expect("a profile has a parent"))
            .current_dir(root())
            .status()
            .expect("cargo runs");
        assert!(status.success(), "hopyard builds");
    }
    path
}

/// A running instance; dropping it stops it and removes its directory.
pub struct Instance {
    child: Child,
    dir: PathBuf,
}

impl Instance {
    /// Starts `hopyard up` with these arguments and waits until it says where it listens.
    pub fn up(arguments: &[&str]) -> Self {
        Self::up_in(fresh_dir(), arguments)
    }

    /// As [`Instance::up`], with the access log of the load balancers in its log.
    pub fn up_with_access_log(arguments: &[&str]) -> Self {
        Self::start(fresh_dir(), arguments, "info,access_log=debug")
    }

    /// Starts `hopyard apiserver` alone, in memory unless it is told of an etcd, and waits until it answers.
    pub fn apiserver(arguments: &[&str]) -> Self {
        let store = if arguments.contains(&"--etcd-servers") { &[][..] } else { &["--store", "memory"] };
        Self::apiserver_in(fresh_dir(), &[store, arguments].concat())
    }

    /// Starts `hopyard apiserver` alone, in a directory that may hold an earlier one's data, and waits until it answers.
    pub fn apiserver_in(dir: PathBuf, arguments: &[&str]) -> Self {
        drop(std::fs::remove_file(dir.join("kubeconfig")));
        std::fs::create_dir_all(&dir).expect("a temporary directory");
        let log = std::fs::File::create(dir.join("log")).expect("a log file");
        let child = Command::new(binary())
            .args(["apiserver", "--secure-port", "0", "--data-dir"])
            .arg(&dir)
            .args(arguments)
            .env("RUST_LOG", "info")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("hopyard starts");
        let mut instance = Self { child, dir };
        wait_for("the API server to be ready", || {
            if let Ok(Some(status)) = instance.child.try_wait() {
                panic!("hopyard ended with {status}:\n{}", instance.log());
            }
            instance.dir.join("kubeconfig").exists()
                && stdout(&instance.kubectl(&["get", "--raw", "/readyz"])) == "ok"
        });
        instance
    }

    /// As [`Instance::up`], in a directory that may hold an earlier instance's data.
    pub fn up_in(dir: PathBuf, arguments: &[&str]) -> Self {
        Self::start(dir, arguments, "info")
    }

    fn start(dir: PathBuf, arguments: &[&str], filter: &str) -> Self {
        std::fs::create_dir_all(&dir).expect("a temporary directory");
        drop(std::fs::remove_file(dir.join("instance.json")));
        let log = std::fs::File::create(dir.join("log")).expect("a log file");
        let child = Command::new(binary())
            .args(["up", "--listen", "127.0.0.1:0", "--data-dir"])
            .arg(&dir)
            .args(arguments)
            .env("RUST_LOG", filter)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("hopyard starts");
        let mut instance = Self { child, dir };
        wait_for("hopyard to be up", || {
            if let Ok(Some(status)) = instance.child.try_wait() {
                panic!("hopyard ended with {status}:\n{}", instance.log());
            }
            instance.dir.join("instance.json").exists()
        });
        instance
    }

    /// What the instance logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir.join("log")).unwrap_or_default()
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// A member of its `instance.json`; an API server alone has an address for its API only.
    pub fn address(&self, member: &str) -> String {
        if member == "api" && !self.dir.join("instance.json").exists() {
            let text = std::fs::read_to_string(self.dir.join("kubeconfig")).expect("the server is up");
            let server = text.lines().find_map(|line| line.trim().strip_prefix("server: https://"));
            return server.expect("a kubeconfig names its server").to_owned();
        }
        let text = std::fs::read_to_string(self.dir.join("instance.json")).expect("the instance is up");
        let value: Value = serde_json::from_str(&text).expect("it is JSON");
        value[member].as_str().unwrap_or_default().to_owned()
    }

    /// Runs kubectl on it. A server that does not answer fails the test.
    pub fn kubectl(&self, arguments: &[&str]) -> Output {
        Command::new("timeout")
            .args([TOOL_SECONDS_MAX, "kubectl", "--kubeconfig"])
            .arg(self.dir.join("kubeconfig"))
            .args(arguments)
            .current_dir(root())
            .output()
            .expect("kubectl runs")
    }

    /// What kubectl printed; the test fails where kubectl does.
    pub fn kubectl_ok(&self, arguments: &[&str]) -> String {
        let output = self.kubectl(arguments);
        assert!(
            output.status.success(),
            "kubectl {arguments:?}:\n{}\n--- log\n{}",
            String::from_utf8_lossy(&output.stderr),
            tail(&self.log())
        );
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Runs kubectl with this on its standard input.
    pub fn kubectl_with(&self, arguments: &[&str], input: &str) -> Output {
        let mut child = Command::new("timeout")
            .args([TOOL_SECONDS_MAX, "kubectl", "--kubeconfig"])
            .arg(self.dir.join("kubeconfig"))
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("kubectl runs");
        child.stdin.take().expect("it was asked for").write_all(input.as_bytes()).expect("kubectl reads");
        child.wait_with_output().expect("kubectl ends")
    }

    /// Applies manifests.
    pub fn apply(&self, manifests: &str) {
        let output = self.kubectl_with(&["apply", "-f", "-"], manifests);
        assert!(output.status.success(), "{}\n{manifests}", stderr(&output));
    }

    /// `type reason message` of the Events about an object, such as `Pod/web`.
    pub fn events(&self, kind: &str, name: &str) -> Vec<String> {
        let selector = format!("involvedObject.kind={kind},involvedObject.name={name}");
        let columns = "jsonpath={range .items[*]}{.type} {.reason} {.message}{\"\\n\"}{end}";
        let text = self.kubectl_ok(&["get", "events", "--field-selector", &selector, "-o", columns]);
        text.lines().map(str::to_owned).collect()
    }

    /// Asks the API server itself, as its administrator; the body and the HTTP status.
    pub fn api(&self, path: &str, arguments: &[&str]) -> (String, u16) {
        let file = |name: &str| self.dir.join("pki").join(name);
        let output = Command::new("curl")
            .args(["-sS", "--max-time", "10", "-w", "\n%{http_code}"])
            .args([OsStr::new("--cacert"), file("ca.crt").as_os_str()])
            .args([OsStr::new("--cert"), file("admin.crt").as_os_str()])
            .args([OsStr::new("--key"), file("admin.key").as_os_str()])
            .args(arguments)
            .arg(format!("https://{}{path}", self.address("api")))
            .output()
            .expect("curl runs");
        let text = stdout(&output);
        let (body, status) = text.rsplit_once('\n').unwrap_or(("", "0"));
        (body.to_owned(), status.parse().unwrap_or(0))
    }

    /// Runs hopyard itself on it.
    pub fn hopyard(&self, arguments: &[&str]) -> Output {
        let (command, rest) = arguments.split_first().expect("a command");
        Command::new("timeout")
            .arg(TOOL_SECONDS_MAX)
            .arg(binary())
            .arg(command)
            .arg("--data-dir")
            .arg(&self.dir)
            .args(rest)
            .output()
            .expect("hopyard runs")
    }

    /// curl through the uplink, trusting the instance's authority.
    pub fn curl(&self, arguments: &[&str]) -> Output {
        Command::new("curl")
            .args(["-sS", "--max-time", "10", "-x"])
            .arg(format!("socks5h://{}", self.address("uplink")))
            .arg("--cacert")
            .arg(self.dir.join("pki/ca.crt"))
            .args(arguments)
            .output()
            .expect("curl runs")
    }

    /// Ends it as a power cut would, and leaves its data.
    pub fn kill(mut self) -> PathBuf {
        drop(self.child.kill());
        drop(self.child.wait());
        let dir = std::mem::take(&mut self.dir);
        drop(self);
        dir
    }
}

/// A directory that nothing is in.
pub fn fresh_dir() -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let dir = std::env::temp_dir().join(format!("hopyard-e2e-{}-{number}", std::process::id()));
    drop(std::fs::remove_dir_all(&dir));
    dir
}

impl Drop for Instance {
    fn drop(&mut self) {
        if self.dir.as_os_str().is_empty() {
            return;
        }
        if std::thread::panicking() {
            eprintln!("--- log of the instance\n{}", tail(&self.log()));
        }
        drop(Command::new("kill").arg("-TERM").arg(self.child.id().to_string()).status());
        let began = Instant::now();
        while matches!(self.child.try_wait(), Ok(None)) && began.elapsed() < PATIENCE {
            std::thread::park_timeout(Duration::from_millis(5));
        }
        let stays = matches!(self.child.try_wait(), Ok(None));
        drop(self.child.kill());
        drop(self.child.wait());
        let log = self.log();
        drop(std::fs::remove_dir_all(&self.dir));
        assert!(
            !stays || std::thread::panicking(),
            "hopyard does not end when it is told to:\n{}",
            tail(&log)
        );
    }
}

fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(60)..].join("\n")
}

/// Waits until something is true; the test fails where it does not become so.
pub fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    let began = Instant::now();
    while !condition() {
        assert!(began.elapsed() < PATIENCE, "waited {} s in vain for {what}", PATIENCE.as_secs());
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

/// Standard error as text.
pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Standard output as text.
pub fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}
