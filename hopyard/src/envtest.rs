//! A drop-in for envtest: this binary under the names `kube-apiserver` and `etcd`, with the flags that
//! controller-runtime's `envtest` passes, and the command that lays out those names.
//!
//! The API server keeps its state in memory and its certificates where `--cert-dir` says; `etcd` only answers
//! whether it is healthy. Both end with the process that started them, however that ended.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use apiserver_server::User;
use clap::ValueEnum;
use controllers_kit::Caches;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::apiserver::{self, AuthorizationMode, DurabilityArg, Options, Store};
use crate::error::Error;
use crate::etcd::EtcdFlags;

/// Runs the workload, namespace and garbage collection loops beside the API server when it is `1`.
const CONTROLLERS: &str = "HOPYARD_CONTROLLERS";
/// How often a child looks whether its parent is still there.
const PARENT_CHECK: Duration = Duration::from_millis(500);
const NAMES: [&str; 2] = ["kube-apiserver", "etcd"];

/// The name this binary was called by, where it is one of envtest's.
pub(crate) fn personality() -> Option<&'static str> {
    let called = std::env::args_os().next()?;
    let name = Path::new(&called).file_name()?.to_str()?.to_owned();
    NAMES.into_iter().find(|known| *known == name)
}

/// Runs as `kube-apiserver` or `etcd`, with the arguments of the process.
pub(crate) fn run(name: &str) -> Result<(), Error> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|argument| matches!(argument.as_str(), "--help" | "-h")) {
        print!("{}", help(name));
        return Ok(());
    }
    if arguments.iter().any(|argument| argument == "--version") {
        println!("{}", if name == "etcd" { "etcd Version: 3.6.8" } else { apiserver_server::VERSION });
        return Ok(());
    }
    let flags = Flags::parse(&arguments)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| Error::Failed(format!("no runtime: {error}")))?;
    runtime.block_on(async {
        let work = async { if name == "etcd" { etcd(&flags).await } else { kube_apiserver(&flags).await } };
        tokio::select! {
            done = work => done,
            () = parent_gone() => Ok(()),
        }
    })
}

/// Links the names into `dir`; gives the line that tells envtest of it.
pub(crate) fn lay_out(dir: &Path) -> Result<String, Error> {
    let binary = std::env::current_exe().map_err(|error| Error::Failed(format!("where am I: {error}")))?;
    std::fs::create_dir_all(dir).map_err(|error| Error::path(dir, error))?;
    for name in NAMES {
        link(&binary, &dir.join(name))?;
    }
    // envtest hands out a kubectl too; the one of the machine serves.
    if let Some(kubectl) = on_path("kubectl") {
        link(&kubectl, &dir.join("kubectl"))?;
    }
    let dir = dir.canonicalize().map_err(|error| Error::path(dir, error))?;
    Ok(format!("export KUBEBUILDER_ASSETS={}", dir.display()))
}

fn link(target: &Path, place: &Path) -> Result<(), Error> {
    match std::fs::symlink_metadata(place) {
        Ok(found) if found.is_symlink() => {
            std::fs::remove_file(place).map_err(|error| Error::path(place, error))?
        }
        Ok(_) => {
            return Err(Error::Failed(format!("{} is there already, and is no link", place.display())));
        }
        Err(_) => {}
    }
    std::os::unix::fs::symlink(target, place).map_err(|error| Error::path(place, error))
}

fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(name)).find(|file| file.is_file())
}

/// Flags as both binaries take them: `--name=value`, `--name value`, `--name`. Of those that take one value the last counts.
struct Flags(BTreeMap<String, Vec<String>>);

impl Flags {
    fn parse(arguments: &[String]) -> Result<Self, Error> {
        let mut flags = BTreeMap::<String, Vec<String>>::new();
        let mut rest = arguments.iter().peekable();
        while let Some(argument) = rest.next() {
            if argument.is_empty() {
                continue;
            }
            let Some(flag) = argument.strip_prefix("--").or_else(|| argument.strip_prefix('-')) else {
                return Err(Error::Usage(format!("{argument}: flags begin with --")));
            };
            let (name, value) = match flag.split_once('=') {
                Some((name, value)) => (name, value.to_owned()),
                None => {
                    let value = rest.next_if(|next| !next.starts_with('-'));
                    (flag, value.cloned().unwrap_or_else(|| "true".to_owned()))
                }
            };
            flags.entry(name.to_owned()).or_default().push(value);
        }
        Ok(Self(flags))
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name)?.last().map(String::as_str).filter(|value| !value.is_empty())
    }

    /// Every value of a flag that may be repeated.
    fn texts(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0.get(name).into_iter().flatten().map(String::as_str).filter(|value| !value.is_empty())
    }

    /// The items of a flag that takes a list.
    fn items(&self, name: &str) -> impl Iterator<Item = &str> {
        self.texts(name).flat_map(|list| list.split(','))
    }

    fn path(&self, name: &str) -> Option<PathBuf> {
        self.text(name).map(PathBuf::from)
    }

    fn parsed<T: std::str::FromStr>(&self, name: &str, default: T) -> Result<T, Error> {
        match self.text(name) {
            None => Ok(default),
            Some(text) => text.parse().map_err(|_| Error::Usage(format!("--{name}={text}: not understood"))),
        }
    }
}

/// Flags of kube-apiserver that do something here.
const SERVED: [&str; 17] = [
    "advertise-address",
    "api-audiences",
    "authorization-mode",
    "disable-admission-plugins",
    "bind-address",
    "cert-dir",
    "client-ca-file",
    "secure-port",
    "service-account-issuer",
    "service-account-key-file",
    "service-account-signing-key-file",
    "service-cluster-ip-range",
    "service-node-port-range",
    "tls-cert-file",
    "tls-private-key-file",
    "token-auth-file",
    "anonymous-auth",
];

/// Flags that envtest passes and that ask for what is the case anyway.
const IMPLIED: [&str; 5] =
    ["allow-privileged", "enable-admission-plugins", "etcd-servers", "v", "watch-cache"];

fn help(name: &str) -> String {
    if name == "etcd" {
        return "Hopyard in the place of etcd: answers /health; the API server keeps the state.\n\n\
            --listen-client-urls URL   where to answer\n\
            --listen-peer-urls, --advertise-client-urls, --data-dir, --unsafe-no-fsync   taken, without effect\n"
            .to_owned();
    }
    let mut text = format!(
        "Hopyard in the place of kube-apiserver {}: state in memory, gone with the process.\n\
         {CONTROLLERS}=1 runs the workload, namespace and garbage collection loops beside it.\n\n",
        apiserver_server::VERSION
    );
    for flag in SERVED {
        text.push_str(&format!("      --{flag}\n"));
    }
    text.push_str("\nTaken, without effect:\n");
    for flag in IMPLIED {
        text.push_str(&format!("      --{flag}\n"));
    }
    text
}

/// The modes that are known here. RBAC always counts; who needs another is told that it does nothing.
fn authorization_modes(flags: &Flags) -> Vec<AuthorizationMode> {
    let mode = |name: &str| {
        let known = AuthorizationMode::from_str(name, false);
        if known.is_err() {
            eprintln!("kube-apiserver: --authorization-mode={name} has no effect here");
        }
        known.ok()
    };
    flags.items("authorization-mode").filter_map(mode).collect()
}

async fn kube_apiserver(flags: &Flags) -> Result<(), Error> {
    for name in
        flags.0.keys().filter(|name| !SERVED.contains(&name.as_str()) && !IMPLIED.contains(&name.as_str()))
    {
        eprintln!("kube-apiserver: --{name} has no effect here");
    }
    let dir = flags
        .path("cert-dir")
        .ok_or_else(|| Error::Usage("--cert-dir: needed, for the certificates".to_owned()))?;
    let beside = |name: &str| Some(dir.join(name)).filter(|path| path.is_file());
    let range = flags.text("service-cluster-ip-range").unwrap_or("10.0.0.0/24");
    let ports = flags.text("service-node-port-range").unwrap_or("30000-32767");
    let usage = |flag: &str, why: String| Error::Usage(format!("--{flag}: {why}"));
    let options = Options {
        bind_address: flags.parsed("bind-address", std::net::Ipv4Addr::LOCALHOST.into())?,
        advertise_address: flags
            .text("advertise-address")
            .map(|_| flags.parsed("advertise-address", std::net::Ipv4Addr::LOCALHOST.into()))
            .transpose()?,
        secure_port: flags.parsed("secure-port", 6443)?,
        service_cluster_ip_range: apiserver::parse_cidrs(range)
            .map_err(|why| usage("service-cluster-ip-range", why))?,
        service_node_port_range: apiserver::parse_ports(ports)
            .map_err(|why| usage("service-node-port-range", why))?,
        token_auth_file: flags.path("token-auth-file"),
        client_ca_file: flags.path("client-ca-file"),
        tls_cert_file: flags.path("tls-cert-file").or_else(|| beside("apiserver.crt")),
        tls_private_key_file: flags.path("tls-private-key-file").or_else(|| beside("apiserver.key")),
        service_account_signing_key_file: flags.path("service-account-signing-key-file"),
        service_account_key_file: flags.texts("service-account-key-file").map(PathBuf::from).collect(),
        service_account_issuer: flags.texts("service-account-issuer").map(str::to_owned).collect(),
        api_audiences: flags.items("api-audiences").map(str::to_owned).collect(),
        authorization_mode: authorization_modes(flags),
        anonymous_auth: flags.parsed("anonymous-auth", true)?,
        // As in kube-apiserver; envtest turns it off unless it is told not to.
        enable_admission_plugins: vec![apiserver::SERVICE_ACCOUNT.to_owned()],
        disable_admission_plugins: flags.items("disable-admission-plugins").map(str::to_owned).collect(),
        store: Store::Memory,
        durability: DurabilityArg::None,
        etcd: EtcdFlags::default(),
        data_dir: Some(dir),
    };
    let started = apiserver::start(&options, None, None).await?;
    let mut tasks = vec![tokio::spawn(apiserver_server::run_housekeeping(started.server.clone()))];
    if std::env::var(CONTROLLERS).is_ok_and(|value| value == "1") {
        let client = kube::Client::new(
            started
                .server
                .in_process(User::master("system:kube-controller-manager"), "kube-controller-manager"),
            "default",
        );
        let caches = Caches::new(client);
        tasks.push(tokio::spawn(controllers_workloads::run(caches.clone())));
        tasks.push(tokio::spawn(controllers_workloads::run_scheduler(caches.clone())));
        tasks.push(tokio::spawn(controllers_cluster::run(
            caches,
            started.pki.ca_pem.clone(),
            Some(started.pki.signer()?),
            Some(apiserver::token_signer(started.keys.clone())),
        )));
    }
    eprintln!("kube-apiserver: https://{}", started.address);
    apiserver_server::serve(
        started.server,
        started.listener,
        Some(started.tls),
        Box::pin(apiserver::stop_signal()),
    )
    .await;
    for task in tasks {
        task.abort();
    }
    Ok(())
}

/// Answers `/health` as etcd does, until it is told to stop.
async fn etcd(flags: &Flags) -> Result<(), Error> {
    let url = flags.text("listen-client-urls").unwrap_or("http://127.0.0.1:2379");
    let place = url.split(',').next().unwrap_or(url).trim_start_matches("http://").trim_end_matches('/');
    let address: SocketAddr = place
        .replace("localhost", "127.0.0.1")
        .parse()
        .map_err(|_| Error::Usage(format!("--listen-client-urls={url}: expected http://IP:PORT")))?;
    let listener = apiserver::listen(address).await?;
    let serve = async {
        loop {
            match listener.accept().await {
                Ok((socket, _)) => drop(tokio::spawn(answer_health(socket))),
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    };
    tokio::select! {
        () = serve => Ok(()),
        () = apiserver::stop_signal() => Ok(()),
    }
}

/// One request, one answer, and the connection ends.
async fn answer_health(mut socket: tokio::net::TcpStream) {
    const REQUEST_BYTES_MAX: usize = 8 << 10;
    let mut request = Vec::new();
    while !request.windows(4).any(|end| end == b"\r\n\r\n") {
        let mut chunk = [0; 1024];
        match socket.read(&mut chunk).await {
            Ok(length) if length > 0 && request.len() < REQUEST_BYTES_MAX => request.extend(&chunk[..length]),
            _ => return,
        }
    }
    let path = String::from_utf8_lossy(&request).split(' ').nth(1).unwrap_or("").to_owned();
    let (status, body) = match path.as_str() {
        "/health" | "/livez" | "/readyz" => ("200 OK", "{\"health\":\"true\",\"reason\":\"\"}"),
        "/version" => ("200 OK", "{\"etcdserver\":\"3.6.8\",\"etcdcluster\":\"3.6.0\"}"),
        _ => ("404 Not Found", "404 page not found"),
    };
    let answer = format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    // A client that went away needs no answer.
    drop(socket.write_all(answer.as_bytes()).await);
}

/// Resolves when the process that started this one is gone: a test that was killed leaves nothing behind.
async fn parent_gone() {
    let parent = std::os::unix::process::parent_id();
    let mut ticks = tokio::time::interval(PARENT_CHECK);
    loop {
        ticks.tick().await;
        if std::os::unix::process::parent_id() != parent {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_read_in_every_form() {
        let arguments = ["--a=1", "--b", "2", "--c", "-d=x=y", "", "--a=3", "--e="].map(str::to_owned);
        let flags = Flags::parse(&arguments).unwrap();
        assert_eq!(flags.text("a"), Some("3"));
        assert_eq!(flags.text("b"), Some("2"));
        assert_eq!(flags.text("c"), Some("true"));
        assert_eq!(flags.text("d"), Some("x=y"));
        assert_eq!(flags.text("e"), None);
        assert!(Flags::parse(&["x".to_owned()]).is_err());
        assert!(matches!(flags.parsed::<u16>("d", 1), Err(Error::Usage(_))));
        assert_eq!(flags.parsed("nope", 7).unwrap(), 7);
    }
}
