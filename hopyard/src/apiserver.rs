//! Starts the API server: store, cache, registry, certificates, sockets. `hopyard apiserver` is this alone; `up`
//! builds on it.

use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use apiserver_registry::{Cidr, Registry, ServiceRanges};
use apiserver_server::{ApiServer, Authentication, Config, Nodes, ServiceAccountKeys, User};
use apiserver_storage::{
    Durability, Engine, EngineError, Local, LogEngine, MemoryEngine, Publish, SledEngine, Storage,
};
use apiserver_watchcache::Cache;
use tokio::net::TcpListener;

use crate::error::Error;
use crate::etcd::EtcdFlags;
use crate::pki::Pki;

/// Where objects are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Store {
    /// In a log of files of its own.
    #[default]
    Log,
    /// In a sled database; after a failed write it takes no more until a restart.
    Sled,
    /// Nowhere: they end with the process.
    Memory,
}

/// When a write is answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum DurabilityArg {
    /// After it is on stable storage.
    #[default]
    Commit,
    /// At once; synced twice a second.
    Interval,
    /// At once; never synced.
    None,
}

/// How it is decided who may do what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum AuthorizationMode {
    /// Roles and bindings.
    #[value(name = "RBAC")]
    Rbac,
    /// Everybody may do everything.
    #[value(name = "AlwaysAllow")]
    AlwaysAllow,
}

/// The admission plugin that needs a loop that makes accounts.
pub(crate) const SERVICE_ACCOUNT: &str = "ServiceAccount";

/// Flags of `hopyard apiserver`, named as kube-apiserver's.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    /// Directory of the store and the certificates (default: ~/.hopyard)
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Address to listen on
    #[arg(long, default_value = "127.0.0.1")]
    pub bind_address: IpAddr,
    /// Address that others find the server at, in the endpoints of the `kubernetes` Service (default: where it listens)
    #[arg(long, value_name = "IP")]
    pub advertise_address: Option<IpAddr>,
    /// Port to listen on; 0 takes a free one
    #[arg(long, default_value_t = 6443)]
    pub secure_port: u16,
    /// Range of cluster IPs, or one of each IP family, the first for Services that ask for none
    #[arg(long, value_name = "CIDR[,CIDR]", default_value = "10.96.0.0/16", value_parser = parse_cidrs)]
    pub service_cluster_ip_range: (Cidr, Option<Cidr>),
    /// Range of node ports
    #[arg(long, default_value = "30000-32767", value_parser = parse_ports)]
    pub service_node_port_range: (u16, u16),
    /// File of static bearer tokens: token,user,uid[,"group1,group2"]
    #[arg(long, value_name = "FILE")]
    pub token_auth_file: Option<PathBuf>,
    /// Certificate authorities of client certificates, instead of the server's own
    #[arg(long, value_name = "FILE")]
    pub client_ca_file: Option<PathBuf>,
    /// Certificate chain of the server, instead of a generated one
    #[arg(long, value_name = "FILE", requires = "tls_private_key_file")]
    pub tls_cert_file: Option<PathBuf>,
    /// Key of the server's certificate
    #[arg(long, value_name = "FILE", requires = "tls_cert_file")]
    pub tls_private_key_file: Option<PathBuf>,
    /// Key that signs service account tokens (RSA, P-256 or P-384), instead of a generated one
    #[arg(long, value_name = "FILE")]
    pub service_account_signing_key_file: Option<PathBuf>,
    /// Keys of which one signed a service account token that is believed, instead of the one that signs; may be repeated
    #[arg(long, value_name = "FILE")]
    pub service_account_key_file: Vec<PathBuf>,
    /// Issuer of service account tokens; may be repeated: the first issues, all are believed
    #[arg(long, value_name = "URL")]
    pub service_account_issuer: Vec<String>,
    /// Whom service account tokens address unless they say otherwise, instead of the issuers
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    pub api_audiences: Vec<String>,
    /// Who may do what: RBAC always counts, AlwaysAllow beside it lets everybody, and nobody without credentials
    #[arg(long, value_enum, value_delimiter = ',', default_value = "RBAC", value_name = "MODES")]
    pub authorization_mode: Vec<AuthorizationMode>,
    /// Allow requests without credentials where RBAC lets them
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set)]
    pub anonymous_auth: bool,
    /// Admission plugins to turn on beside the default ones: ServiceAccount, which needs something that makes accounts
    #[arg(long, value_delimiter = ',', value_name = "NAMES", value_parser = parse_plugin)]
    pub enable_admission_plugins: Vec<String>,
    /// Admission plugins to turn off
    #[arg(long, value_delimiter = ',', value_name = "NAMES", value_parser = parse_plugin)]
    pub disable_admission_plugins: Vec<String>,
    /// Where objects are kept
    #[arg(long, value_enum, default_value_t)]
    pub store: Store,
    /// When a write is answered
    #[arg(long, value_enum, default_value_t)]
    pub durability: DurabilityArg,
    #[command(flatten)]
    pub etcd: EtcdFlags,
}

/// One range of cluster IPs, or one of each family.
pub(crate) fn parse_cidrs(text: &str) -> Result<(Cidr, Option<Cidr>), String> {
    const WANTED: &str = "such as 10.96.0.0/16, fd00:10:96::/112 or both, separated by a comma";
    let parse = |text: &str| {
        let cidr: Cidr = text.trim().parse().map_err(|()| format!("{text:?} is no range {WANTED}"))?;
        if cidr.network().is_ipv6() && cidr.prefix_len() < 64 {
            return Err(format!("{cidr}: the shortest prefix of an IPv6 range is /64"));
        }
        // The network's own and the broadcast address are among those 8 that kube-apiserver wants.
        if cidr.size() < 6 {
            return Err(format!("{cidr}: a range must have 8 addresses at least"));
        }
        Ok(cidr)
    };
    let mut parts = text.split(',').map(parse);
    let first = parts.next().unwrap_or_else(|| Err(format!("expected a range {WANTED}")))?;
    let second = parts.next().transpose()?;
    if parts.next().is_some() {
        return Err("expected two ranges at most".to_owned());
    }
    if second.is_some_and(|second| second.network().is_ipv4() == first.network().is_ipv4()) {
        return Err("expected two ranges of different IP families".to_owned());
    }
    Ok((first, second))
}

/// The name of an admission plugin that can be turned off.
pub(crate) fn parse_plugin(text: &str) -> Result<String, String> {
    let known = apiserver_registry::admission_plugins();
    if known.contains(text) {
        return Ok(text.to_owned());
    }
    Err(format!("expected some of {}", known.into_iter().collect::<Vec<_>>().join(", ")))
}

pub(crate) fn parse_ports(text: &str) -> Result<(u16, u16), String> {
    let parsed =
        text.split_once('-').and_then(|(first, last)| Some((first.parse().ok()?, last.parse().ok()?)));
    parsed
        .filter(|(first, last)| 0 < *first && first <= last)
        .ok_or_else(|| "expected a range such as 30000-32767".to_owned())
}

/// A server that is ready to be served.
pub(crate) struct Started {
    pub server: ApiServer,
    pub listener: TcpListener,
    pub tls: apiserver_server::Acceptor,
    pub keys: Arc<ServiceAccountKeys>,
    pub address: SocketAddr,
    pub pki: Pki,
}

impl Options {
    /// Without a controller manager no namespace has a default account: a server alone does not ask for one.
    fn disabled_plugins(&self) -> BTreeSet<String> {
        let mut disabled = BTreeSet::from([SERVICE_ACCOUNT.to_owned()]);
        disabled.retain(|name| !self.enable_admission_plugins.contains(name));
        disabled.extend(self.disable_admission_plugins.iter().cloned());
        disabled
    }

    pub(crate) fn data_dir(&self) -> PathBuf {
        place(self.data_dir.as_deref())
    }
}

/// `$HOPYARD_DATA_DIR`, else `.hopyard` in the home directory.
pub(crate) fn default_data_dir() -> PathBuf {
    if let Some(dir) = std::env::var_os("HOPYARD_DATA_DIR") {
        return dir.into();
    }
    std::env::var_os("HOME")
        .map_or_else(|| PathBuf::from(".hopyard"), |home| Path::new(&home).join(".hopyard"))
}

/// The directory that is meant, whatever directory other commands are called in.
pub(crate) fn place(data_dir: Option<&Path>) -> PathBuf {
    let dir = data_dir.map_or_else(default_data_dir, Path::to_owned);
    std::path::absolute(&dir).unwrap_or(dir)
}

/// Listens on an address.
pub(crate) async fn listen(address: SocketAddr) -> Result<TcpListener, Error> {
    let place = address.to_string();
    TcpListener::bind(address).await.map_err(|source| match source.kind() {
        std::io::ErrorKind::AddrInUse => Error::PortTaken { place },
        _ => Error::Listen { place, source },
    })
}

/// Opens everything and fills the store with what a fresh server holds. The `kubernetes` Service leads to `endpoint`, or
/// else to where the server listens.
pub(crate) async fn start(
    options: &Options,
    nodes: Option<Arc<dyn Nodes>>,
    endpoint: Option<SocketAddr>,
) -> Result<Started, Error> {
    let listener = listen(SocketAddr::new(options.bind_address, options.secure_port)).await?;
    let address = listener
        .local_addr()
        .map_err(|source| Error::Listen { place: options.bind_address.to_string(), source })?;
    let advertise = options
        .advertise_address
        .map_or_else(|| advertised(address), |ip| SocketAddr::new(ip, address.port()));
    // One that listens everywhere is called on loopback by those on this machine.
    let own =
        if address.ip().is_unspecified() { IpAddr::V4(std::net::Ipv4Addr::LOCALHOST) } else { address.ip() };
    let dir = options.data_dir();
    let endpoint = endpoint.unwrap_or(advertise);
    let pki = Pki::open(&dir.join("pki"), &[own, advertise.ip(), endpoint.ip()])?;
    let registry = open_registry(options, &dir).await?;
    let keys = Arc::new(service_account_keys(options, &pki)?);
    let always_allows = options.authorization_mode.contains(&AuthorizationMode::AlwaysAllow);
    let authentication = Authentication {
        tokens: options.token_auth_file.as_deref().map(read_tokens).transpose()?.unwrap_or_default(),
        service_accounts: Some(keys.clone()),
        // As upstream: who may everything is somebody.
        anonymous: options.anonymous_auth && !always_allows,
    };
    let read = |path: &PathBuf| -> Result<(String, String), Error> {
        let text = std::fs::read_to_string(path).map_err(|error| Error::path(path, error))?;
        Ok((path.display().to_string(), text))
    };
    let ours = |text: &str| ("pki".to_owned(), text.to_owned());
    let client_ca = options.client_ca_file.as_ref().map_or_else(|| Ok(ours(&pki.ca_pem)), read)?;
    let (chain, key) = match (&options.tls_cert_file, &options.tls_private_key_file) {
        (Some(chain), Some(key)) => (read(chain)?, read(key)?),
        _ => (ours(&pki.server_chain_pem), ours(&pki.server_key_pem)),
    };
    let tls = crate::pki::tls_from((&chain.0, &chain.1), (&key.0, &key.1), (&client_ca.0, &client_ca.1))?;
    let config = Config {
        authentication: Arc::new(authentication),
        always_allows,
        nodes,
        ca_pem: pki.ca_pem.clone(),
        version: apiserver_server::VERSION.to_owned(),
        advertise,
        endpoint,
    };
    let server = ApiServer::new(registry, config);
    apiserver_server::bootstrap(&server).await.map_err(|status| Error::Failed(status.to_string()))?;
    let tls = tls.acceptor().map_err(|error| Error::Certificates(error.to_string()))?;
    Ok(Started { server, listener, tls, keys, address: SocketAddr::new(own, address.port()), pki })
}

/// What signs the tokens that Secrets hold.
pub(crate) fn token_signer(keys: Arc<ServiceAccountKeys>) -> controllers_cluster::TokenSigner {
    Arc::new(move |of| keys.issue_for_secret((of.namespace, of.secret), (of.account, of.account_uid)))
}

fn service_account_keys(options: &Options, pki: &Pki) -> Result<ServiceAccountKeys, Error> {
    let wrong = |path: &Path, why: String| Error::Certificates(format!("{}: {why}", path.display()));
    let keys = match &options.service_account_signing_key_file {
        Some(path) => {
            ServiceAccountKeys::new(&crate::pki::read_key(path)?).map_err(|why| wrong(path, why))?
        }
        None => ServiceAccountKeys::new(&pki.token_key).map_err(Error::Certificates)?,
    };
    let files = &options.service_account_key_file;
    let read = |path: &PathBuf| std::fs::read_to_string(path).map_err(|error| Error::path(path, error));
    let pems = files.iter().map(read).collect::<Result<Vec<_>, _>>()?;
    let keys = keys.verified_by(&pems).map_err(|(place, why)| wrong(&files[place], why))?;
    Ok(keys.issued_by(options.service_account_issuer.clone(), options.api_audiences.clone()))
}

/// Where Pods are told to find the server: one that listens everywhere names the address this machine has to others.
fn advertised(address: SocketAddr) -> SocketAddr {
    if !address.ip().is_unspecified() {
        return address;
    }
    // Nothing is sent: a route is looked up. The address is of a network that documentation only speaks of.
    let own = std::net::UdpSocket::bind((std::net::Ipv4Addr::UNSPECIFIED, 0)).and_then(|socket| {
        socket.connect((std::net::Ipv4Addr::new(192, 0, 2, 1), 9))?;
        socket.local_addr()
    });
    let ip = own.map_or(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), |own| own.ip());
    SocketAddr::new(ip, address.port())
}

async fn open_registry(options: &Options, dir: &Path) -> Result<Registry, Error> {
    let cache = Arc::new(Cache::default());
    let store: apiserver_storage::Store = if options.etcd.are_given() {
        options.etcd.open(cache.clone()).await?.into()
    } else {
        let durability = match options.durability {
            DurabilityArg::Commit => Durability::Commit,
            DurabilityArg::Interval => Durability::Interval,
            DurabilityArg::None => Durability::None,
        };
        let store = open_local(options.store, durability, dir, cache.clone())?;
        cache.advance_to(store.revision());
        cache.raise_floor(store.floor());
        Arc::new(store).into()
    };
    let (primary, secondary) = options.service_cluster_ip_range;
    let ranges = ServiceRanges { primary, secondary, node_ports: options.service_node_port_range };
    Ok(Registry::new(store, cache, ranges, options.disabled_plugins()))
}

/// Opens a store in a directory, which nobody else may use meanwhile.
pub(crate) fn open_local(
    store: Store,
    durability: Durability,
    dir: &Path,
    publish: impl Publish,
) -> Result<Local, Error> {
    let opened =
        open_engine(store, &dir.join("store")).and_then(|engine| Local::open(engine, durability, publish));
    opened.map_err(|error| match error {
        EngineError::InUse => Error::DirInUse { dir: dir.to_owned() },
        EngineError::OtherEngine { maker } => Error::OtherStore { dir: dir.to_owned(), maker },
        error => Error::Store { dir: dir.to_owned(), why: error.chain() },
    })
}

fn open_engine(store: Store, dir: &Path) -> Result<Box<dyn Engine>, EngineError> {
    Ok(match store {
        Store::Log => Box::new(LogEngine::open(dir)?),
        Store::Sled => Box::new(SledEngine::open(dir)?),
        Store::Memory => Box::new(MemoryEngine),
    })
}

/// Reads `token,user,uid,"group1,group2"` lines.
fn read_tokens(path: &Path) -> Result<HashMap<String, User>, Error> {
    let text = std::fs::read_to_string(path).map_err(|error| Error::path(path, error))?;
    let mut tokens = HashMap::new();
    for (i, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let mut parts = line.splitn(4, ',').map(str::trim);
        let (Some(token), Some(name), Some(uid)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(Error::Usage(format!(
                "{}:{}: expected token,user,uid[,\"groups\"]",
                path.display(),
                i + 1
            )));
        };
        let groups = parts.next().unwrap_or("").trim_matches('"').split(',').map(str::trim);
        let groups = groups.filter(|group| !group.is_empty()).map(str::to_owned).collect();
        tokens.insert(
            token.to_owned(),
            User { name: name.to_owned(), uid: uid.to_owned(), groups, ..User::default() },
        );
    }
    Ok(tokens)
}

/// `hopyard apiserver`: serves until it is told to stop.
pub(crate) async fn run(options: &Options) -> Result<(), Error> {
    let began = std::time::Instant::now();
    let started = start(options, None, None).await?;
    let kubeconfig = options.data_dir().join("kubeconfig");
    let url = format!("https://{}", started.address);
    crate::pki::write_private(&kubeconfig, started.pki.kubeconfig(&url).as_bytes())?;
    tracing::info!(url, kubeconfig = %kubeconfig.display(), elapsed_ms = began.elapsed().as_millis() as u64, "ready");
    let housekeeping = tokio::spawn(apiserver_server::run_housekeeping(started.server.clone()));
    apiserver_server::serve(
        started.server.clone(),
        started.listener,
        Some(started.tls),
        Box::pin(stop_signal()),
    )
    .await;
    housekeeping.abort();
    started.server.registry().store().close();
    Ok(())
}

/// Resolves on Ctrl-C or SIGTERM.
pub(crate) async fn stop_signal() {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let Ok(mut terminate) = signal(SignalKind::terminate()) {
            tokio::select! {
                _ = tokio::signal::ctrl_c() => {}
                _ = terminate.recv() => {}
            }
            return;
        }
    }
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
}
