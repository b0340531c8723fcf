//! A running hopyard of the release build, to be measured: started in a directory of its own, stopped and removed when
//! dropped.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// Clock ticks of `/proc/PID/stat` in a second; every Linux says 100 to programs.
const TICKS: f64 = 100.0;

/// Brings the release binary up to date, unless another one is named.
pub fn build_release() {
    if std::env::var_os("HOPYARD_BINARY").is_some() {
        return;
    }
    let status = Command::new(env!("CARGO"))
        .args(["build", "--release", "--locked", "-p", "hopyard"])
        .current_dir(crate::root())
        .status()
        .expect("cargo runs");
    assert!(status.success(), "hopyard builds");
}

/// How long a clean release build takes.
pub fn clean_build() -> Duration {
    let dir = std::env::temp_dir().join(format!("hopyard-clean-build-{}", std::process::id()));
    let began = Instant::now();
    let status = Command::new(env!("CARGO"))
        .args(["build", "--release", "--locked", "-p", "hopyard", "--target-dir"])
        .arg(&dir)
        .current_dir(crate::root())
        .status()
        .expect("cargo runs");
    let elapsed = began.elapsed();
    drop(std::fs::remove_dir_all(&dir));
    assert!(status.success(), "hopyard builds");
    elapsed
}

/// One of them.
pub struct Daemon {
    child: Child,
    output: Option<BufReader<ChildStdout>>,
    /// Its log is `log` in it, its data `data`.
    pub dir: PathBuf,
}

impl Daemon {
    /// Starts it with these arguments; its log goes to `log` in its directory.
    pub fn start(arguments: &[&str]) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("hopyard-figures-{}-{number}", std::process::id()));
        drop(std::fs::remove_dir_all(&dir));
        std::fs::create_dir_all(&dir).expect("a temporary directory");
        let mut child = Self::spawn(&dir, arguments);
        let output = child.stdout.take().map(BufReader::new);
        Self { child, output, dir }
    }

    fn spawn(dir: &Path, arguments: &[&str]) -> Child {
        let log = std::fs::File::create(dir.join("log")).expect("a log file");
        Command::new(crate::binary())
            .args(arguments)
            .arg("--data-dir")
            .arg(dir.join("data"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .expect("hopyard starts")
    }

    /// Stops it as a user does and waits until it has ended; its directory stays.
    pub fn stop(&mut self) {
        drop(Command::new("kill").arg("-TERM").arg(self.child.id().to_string()).status());
        drop(self.child.wait());
    }

    /// Starts it again on its data, with an empty log.
    pub fn start_again(&mut self, arguments: &[&str]) {
        self.child = Self::spawn(&self.dir, arguments);
        self.output = self.child.stdout.take().map(BufReader::new);
    }

    /// False once it has ended by itself.
    pub fn runs(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Reads its output until a line holds this text.
    pub fn wait_for_output(&mut self, text: &str) {
        let mut line = String::new();
        let output = self.output.as_mut().expect("its output is piped");
        while !line.contains(text) {
            line.clear();
            let length = output.read_line(&mut line).expect("its output can be read");
            assert!(length > 0, "it ended without {text:?}: {}", self.log());
        }
    }

    /// What it logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir.join("log")).unwrap_or_default()
    }

    /// Where its API server listens, as soon as there is a kubeconfig.
    pub fn server(&self) -> Option<String> {
        let kubeconfig = std::fs::read_to_string(self.dir.join("data/kubeconfig")).ok()?;
        let line = kubeconfig.lines().find_map(|line| line.trim().strip_prefix("server: "))?;
        Some(line.trim_matches('"').to_owned())
    }

    /// curl on a path of its API server, as its administrator.
    pub fn curl(&self, path: &str) -> Option<Command> {
        let pki = self.dir.join("data/pki");
        let mut command = Command::new("curl");
        command.arg("-sN").arg("--cacert").arg(pki.join("ca.crt")).arg("--cert").arg(pki.join("admin.crt"));
        command.arg("--key").arg(pki.join("admin.key")).arg(format!("{}{path}", self.server()?));
        Some(command)
    }

    /// Asks `/readyz` with curl, a new process each time, until it says ok. What curl takes counts as well.
    pub fn wait_until_ready(&self) {
        let ready = |mut curl: Command| curl.output().is_ok_and(|output| output.stdout == b"ok");
        while !self.curl("/readyz").is_some_and(ready) {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// kubectl on it.
    pub fn kubectl(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("kubectl");
        command.arg("--kubeconfig").arg(self.dir.join("data/kubeconfig")).args(arguments);
        command
    }

    /// Processor time used so far.
    pub fn cpu_seconds(&self) -> f64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).expect("it runs");
        let rest = stat.rsplit(')').next().unwrap_or("");
        // Fields 14 and 15 of the line; the first two are before the bracket.
        rest.split_whitespace().skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>()
            / TICKS
    }

    /// Resident memory.
    pub fn resident_mib(&self) -> f64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or("");
        line.split_whitespace().next().and_then(|kib| kib.parse::<f64>().ok()).unwrap_or(f64::NAN) / 1024.0
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.stop();
        drop(std::fs::remove_dir_all(&self.dir));
    }
}
