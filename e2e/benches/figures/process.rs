//! A running hopyard of the release build: started in a directory of its own, stopped and removed when dropped.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// Clock ticks of `/proc/PID/stat` in a second; every Linux says 100 to programs.
const TICKS: f64 = 100.0;

/// Brings the release binary up to date, unless another one is named.
pub(crate) fn build_release() {
    if std::env::var_os("HOPYARD_BINARY").is_some() {
        return;
    }
    let status = Command::new(env!("CARGO"))
        .args(["build", "--release", "--locked", "-p", "hopyard"])
        .current_dir(e2e::root())
        .status()
        .expect("cargo runs");
    assert!(status.success(), "hopyard builds");
}

/// How long a clean release build takes.
pub(crate) fn clean_build() -> Duration {
    let dir = std::env::temp_dir().join(format!("hopyard-clean-build-{}", std::process::id()));
    let began = Instant::now();
    let status = Command::new(env!("CARGO"))
        .args(["build", "--release", "--locked", "-p", "hopyard", "--target-dir"])
        .arg(&dir)
        .current_dir(e2e::root())
        .status()
        .expect("cargo runs");
    let elapsed = began.elapsed();
    drop(std::fs::remove_dir_all(&dir));
    assert!(status.success(), "hopyard builds");
    elapsed
}

pub(crate) struct Daemon {
    child: Child,
    output: Option<BufReader<ChildStdout>>,
    pub(crate) dir: PathBuf,
}

impl Daemon {
    /// Starts it with these arguments; its log goes to `log` in its directory.
    pub(crate) fn start(arguments: &[&str]) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("hopyard-figures-{}-{number}", std::process::id()));
        drop(std::fs::remove_dir_all(&dir));
        std::fs::create_dir_all(&dir).expect("a temporary directory");
        let log = std::fs::File::create(dir.join("log")).expect("a log file");
        let mut child = Command::new(e2e::binary())
            .args(arguments)
            .arg("--data-dir")
            .arg(dir.join("data"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .expect("hopyard starts");
        let output = child.stdout.take().map(BufReader::new);
        Self { child, output, dir }
    }

    /// Reads its output until a line holds this text.
    pub(crate) fn wait_for_output(&mut self, text: &str) {
        let mut line = String::new();
        let output = self.output.as_mut().expect("its output is piped");
        while !line.contains(text) {
            line.clear();
            let length = output.read_line(&mut line).expect("its output can be read");
            assert!(length > 0, "it ended without {text:?}: {}", self.log());
        }
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.dir.join("log")).unwrap_or_default()
    }

    /// Asks `/readyz` with curl, a new process each time, until it says ok. What curl takes counts as well.
    pub(crate) fn wait_until_ready(&self) {
        let authority = self.dir.join("data/pki/ca.crt");
        let mut address = None;
        loop {
            if address.is_none() {
                let kubeconfig =
                    std::fs::read_to_string(self.dir.join("data/kubeconfig")).unwrap_or_default();
                address = kubeconfig
                    .lines()
                    .find_map(|line| Some(line.trim().strip_prefix("server: ")?.to_owned()));
            }
            if let Some(address) = &address {
                let url = format!("{}/readyz", address.trim_matches('"'));
                let output = Command::new("curl").arg("-s").arg("--cacert").arg(&authority).arg(url).output();
                if output.is_ok_and(|output| output.stdout == b"ok") {
                    return;
                }
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// kubectl on it.
    pub(crate) fn kubectl(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("kubectl");
        command.arg("--kubeconfig").arg(self.dir.join("data/kubeconfig")).args(arguments);
        command
    }

    /// Processor time used so far.
    pub(crate) fn cpu_seconds(&self) -> f64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).expect("it runs");
        let rest = stat.rsplit(')').next().unwrap_or("");
        // Fields 14 and 15 of the line; the first two are before the bracket.
        rest.split_whitespace().skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>()
            / TICKS
    }

    pub(crate) fn resident_mib(&self) -> f64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or("");
        line.split_whitespace().next().and_then(|kib| kib.parse::<f64>().ok()).unwrap_or(f64::NAN) / 1024.0
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        drop(Command::new("kill").arg("-TERM").arg(self.child.id().to_string()).status());
        drop(self.child.wait());
        drop(std::fs::remove_dir_all(&self.dir));
    }
}
