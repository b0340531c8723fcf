//! Real etcd servers for tests: their processes end with the test, their directories with the value.

use std::io::{Read, Write};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(60);

/// The etcds of this machine, the distribution's first: their paths. `ETCD_BINARY` names one instead.
pub(crate) fn binaries() -> Vec<PathBuf> {
    if let Some(path) = std::env::var_os("ETCD_BINARY") {
        return vec![path.into()];
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().find(|dir| dir.join("Cargo.lock").exists());
    let clients = root.map(|root| root.join("target/clients"));
    let installed = clients.into_iter().flat_map(|dir| ["etcd-3.5", "etcd-3.6"].map(|name| dir.join(name)));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|dir| dir.join("etcd")).find(|path| path.exists());
    found.into_iter().chain(installed.filter(|path| path.exists())).collect()
}

/// As [`binaries`], of which a test needs one: where there is none it says that it was not run.
pub(crate) fn binaries_for(test: &str) -> Vec<PathBuf> {
    let found = binaries();
    if found.is_empty() {
        eprintln!("SKIPPED {test}: there is no etcd here; Debian's package is etcd-server");
    }
    found
}

/// A cluster of members.
pub(crate) struct EtcdCluster {
    binary: PathBuf,
    dir: PathBuf,
    members: Vec<Member>,
    scheme: &'static str,
    flags: Vec<String>,
}

struct Member {
    client: String,
    peer: String,
    /// Where it says how it is, in clear text whatever clients speak.
    metrics: String,
    child: Option<Child>,
}

impl EtcdCluster {
    pub(crate) fn start(binary: &Path, members: usize) -> Self {
        Self::start_with(binary, fresh_address(), members, "http", &[])
    }

    /// One member at an address of its own that speaks TLS, with these flags about certificates.
    pub(crate) fn start_tls(binary: &Path, address: Ipv4Addr, flags: &[String]) -> Self {
        Self::start_with(binary, address, 1, "https", flags)
    }

    fn start_with(
        binary: &Path,
        address: Ipv4Addr,
        members: usize,
        scheme: &'static str,
        flags: &[String],
    ) -> Self {
        let dir = std::env::temp_dir().join(format!("hopyard-etcd-{address}"));
        drop(std::fs::remove_dir_all(&dir));
        std::fs::create_dir_all(&dir).expect("a temporary directory");
        let member = |i| {
            let at = |port: usize| format!("{address}:{}", port + 10 * i);
            Member { client: at(2379), peer: at(2380), metrics: at(2381), child: None }
        };
        let members = (0..members).map(member).collect();
        let mut cluster = Self { binary: binary.to_owned(), dir, members, scheme, flags: flags.to_vec() };
        for i in 0..cluster.members.len() {
            cluster.launch(i);
        }
        cluster.wait_until_it_answers();
        cluster
    }

    fn launch(&mut self, i: usize) {
        let all: Vec<String> = self
            .members
            .iter()
            .enumerate()
            .map(|(i, member)| format!("m{i}=http://{}", member.peer))
            .collect();
        let log = std::fs::File::create(self.dir.join(format!("log{i}"))).expect("a log file");
        let member = &self.members[i];
        // It dies with the thread that runs the test, however that ends.
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL"])
            .arg(&self.binary)
            .args(["--name", &format!("m{i}"), "--data-dir"])
            .arg(self.dir.join(format!("m{i}")))
            .args(["--listen-client-urls", &format!("{}://{}", self.scheme, member.client)])
            .args(["--advertise-client-urls", &format!("{}://{}", self.scheme, member.client)])
            .args(["--listen-metrics-urls", &format!("http://{}", member.metrics)])
            .args(["--listen-peer-urls", &format!("http://{}", member.peer)])
            .args(["--initial-advertise-peer-urls", &format!("http://{}", member.peer)])
            .args(["--initial-cluster", &all.join(",")])
            .args(["--unsafe-no-fsync", "--heartbeat-interval", "50", "--election-timeout", "500"])
            .args(&self.flags)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("it is shared"))
            .stderr(log)
            .spawn()
            .expect("setpriv is there and etcd starts");
        self.members[i].child = Some(child);
    }

    fn wait_until_it_answers(&mut self) {
        let end = Instant::now() + PATIENCE;
        while !self.members.iter().all(|member| is_healthy(&member.metrics)) {
            for (i, member) in self.members.iter_mut().enumerate() {
                let ended = member.child.as_mut().and_then(|child| child.try_wait().ok()?);
                let log = || std::fs::read_to_string(self.dir.join(format!("log{i}"))).unwrap_or_default();
                assert!(ended.is_none(), "etcd does not start:\n{}", log());
            }
            assert!(Instant::now() < end, "etcd does not answer");
            std::thread::park_timeout(Duration::from_millis(20));
        }
    }

    /// URLs of the members.
    pub(crate) fn servers(&self) -> Vec<String> {
        self.members.iter().map(|member| format!("{}://{}", self.scheme, member.client)).collect()
    }

    /// The member that leads.
    pub(crate) fn leader(&self) -> usize {
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end {
            let leads = |member: &Member| {
                get(&member.metrics, "/metrics")
                    .is_some_and(|text| text.contains("\netcd_server_is_leader 1"))
            };
            if let Some(leader) =
                self.members.iter().position(|member| member.child.is_some() && leads(member))
            {
                return leader;
            }
            std::thread::park_timeout(Duration::from_millis(20));
        }
        panic!("nobody leads");
    }

    /// Ends a member as a power cut would.
    pub(crate) fn kill(&mut self, member: usize) {
        if let Some(mut child) = self.members[member].child.take() {
            drop(child.kill());
            drop(child.wait());
        }
    }

    /// Starts a member again that was killed.
    pub(crate) fn restart(&mut self, member: usize) {
        self.launch(member);
    }

    /// Takes away what a member keeps, which does not run.
    pub(crate) fn lose(&self, member: usize) {
        std::fs::remove_dir_all(self.dir.join(format!("m{member}"))).expect("its directory");
    }

    /// Cuts a member off: its connections stay, but nothing comes from it.
    pub(crate) fn stop(&self, member: usize) {
        self.signal(member, "-STOP");
    }

    /// Lets a member go on that was stopped.
    pub(crate) fn resume(&self, member: usize) {
        self.signal(member, "-CONT");
    }

    fn signal(&self, member: usize, signal: &str) {
        let child = self.members[member].child.as_ref().expect("it runs");
        let status = Command::new("kill").arg(signal).arg(child.id().to_string()).status();
        assert!(status.expect("kill runs").success());
    }
}

impl Drop for EtcdCluster {
    fn drop(&mut self) {
        for i in 0..self.members.len() {
            self.kill(i);
        }
        drop(std::fs::remove_dir_all(&self.dir));
    }
}

/// An address of this machine that nobody else has, so that a member that starts again finds its ports as it left them.
pub(crate) fn fresh_address() -> Ipv4Addr {
    static COUNT: AtomicU8 = AtomicU8::new(1);
    let [.., high, low] = std::process::id().to_be_bytes();
    Ipv4Addr::new(127, COUNT.fetch_add(1, Ordering::Relaxed), high, low.max(1))
}

fn is_healthy(address: &str) -> bool {
    get(address, "/health").is_some_and(|text| text.contains("\"true\""))
}

fn get(address: &str, path: &str) -> Option<String> {
    let mut stream = std::net::TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    write!(stream, "GET {path} HTTP/1.0\r\n\r\n").ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    Some(text)
}
