//! `hopyard up`: everything in one process, and the order in which it starts.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use apiserver_server::{ApiServer, User};
use ccm_mock_alb_proxy::Proxy;
use ccm_mock_aws_api as aws;
use ccm_mock_fake_aws::{Cloud, Issuer};
use controllers_kit::Caches;
use controllers_workloads::NodeSpec;
use futures::StreamExt;
use k8s_openapi::api::core::v1::Node;
use kube::Client;
use kube::runtime::WatchStreamExt;
use tokio::net::{TcpListener, UdpSocket};
use tokio::task::JoinHandle;

use crate::apiserver::{self, DurabilityArg, Store};
use crate::error::Error;
use crate::etcd::EtcdFlags;
use crate::instance::{Instance, Lock};
use crate::logging::Format;
use crate::machines;
use crate::plane::Plane;

/// Flags of `hopyard up`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    /// Directory of everything that is kept (default: ~/.hopyard)
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Manifests to apply once everything runs (files or folders)
    #[arg(long, value_name = "PATH", num_args = 1..)]
    pub apply: Vec<PathBuf>,
    /// Address of the API server; port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:6443")]
    pub listen: SocketAddr,
    /// Nodes
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=5000))]
    pub nodes: u16,
    /// Availability zones
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(2..=6))]
    pub zones: u8,
    /// Instance type of the nodes
    #[arg(long, default_value = "m5.large", value_parser = instance_type)]
    pub instance_type: String,
    /// Prefix length of the private subnets, at the first start: /28 has room for 11 addresses, /16 for 65,531
    #[arg(long, default_value_t = aws::layout::PRIVATE_SUBNET_PREFIX, value_parser = clap::value_parser!(u8).range(16..=28))]
    pub private_subnet_prefix: u8,
    /// Where objects are kept
    #[arg(long, value_enum, default_value_t)]
    pub store: Store,
    /// When a write is answered
    #[arg(long, value_enum, default_value_t)]
    pub durability: DurabilityArg,
    /// Admission plugins to turn off, such as ServiceAccount: then no Pod has an account, and none a token
    #[arg(long, value_delimiter = ',', value_name = "NAMES", value_parser = apiserver::parse_plugin)]
    pub disable_admission_plugins: Vec<String>,
    #[command(flatten)]
    pub etcd: EtcdFlags,
    /// Return once everything runs, and leave it running
    #[arg(long)]
    pub detach: bool,
}

fn instance_type(name: &str) -> Result<String, String> {
    match aws::instance_types::instance_type(name) {
        Some(_) => Ok(name.to_owned()),
        None => Err("not known; try m5.large or t3.medium".to_owned()),
    }
}

impl Options {
    pub(crate) fn data_dir(&self) -> PathBuf {
        apiserver::place(self.data_dir.as_deref())
    }
}

/// A running instance.
pub(crate) struct Running {
    pub instance: Instance,
    pub client: Client,
    pub server: ApiServer,
    pub plane: Plane,
    pub proxy: Proxy,
    pub dir: PathBuf,
    _lock: Lock,
    serving: JoinHandle<()>,
    stop: tokio::sync::watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
}

/// Starts everything; each part says when it is there.
pub(crate) async fn start(options: &Options) -> Result<Running, Error> {
    let began = Instant::now();
    let step = |what: &str, place: String| {
        tracing::info!(place, elapsed_ms = began.elapsed().as_millis() as u64, "{what}");
    };
    let dir = options.data_dir();
    let lock = Lock::take(&dir)?;
    // One that a killed process left speaks of ports that are somebody else's by now.
    Instance::remove(&dir);
    let plane = Plane::new();
    let api = apiserver::Options {
        data_dir: Some(dir.clone()),
        bind_address: options.listen.ip(),
        secure_port: options.listen.port(),
        advertise_address: None,
        service_cluster_ip_range: (apiserver_registry::Cidr::v4(Ipv4Addr::new(10, 96, 0, 0), 16), None),
        service_node_port_range: (30000, 32767),
        token_auth_file: None,
        client_ca_file: None,
        tls_cert_file: None,
        tls_private_key_file: None,
        service_account_signing_key_file: None,
        service_account_key_file: Vec::new(),
        service_account_issuer: Vec::new(),
        api_audiences: Vec::new(),
        authorization_mode: vec![apiserver::AuthorizationMode::Rbac],
        anonymous_auth: true,
        enable_admission_plugins: vec![apiserver::SERVICE_ACCOUNT.to_owned()],
        disable_admission_plugins: options.disable_admission_plugins.clone(),
        store: options.store,
        durability: options.durability,
        etcd: options.etcd.clone(),
    };
    let endpoint = aws::layout::CONTROL_PLANE;
    let started = apiserver::start(&api, Some(Arc::new(plane.clone())), Some(endpoint.into())).await?;
    plane.fabric.lend(endpoint, started.address);
    let server = started.server.clone();
    let kubeconfig = dir.join("kubeconfig");
    crate::pki::write_private(
        &kubeconfig,
        started.pki.kubeconfig(&format!("https://{}", started.address)).as_bytes(),
    )?;
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let serving = serve(&started.server, started.listener, started.tls, stopped);
    step("API server", format!("https://{}", started.address));

    let client = client(&server, "hopyard");
    let mut tasks = vec![tokio::spawn(apiserver_server::run_housekeeping(server.clone()))];
    let cloud = start_cloud(options, &client, &plane, &started.pki, &mut tasks).await?;
    step("cloud", format!("VPC {} with {} zones", aws::layout::VPC_CIDR, options.zones));

    let (proxy, balancing) = ccm_mock_alb_proxy::run(cloud.clone(), plane.fabric.clone());
    tasks.push(tokio::spawn(balancing));
    tasks.push(tokio::spawn(plane.agent.clone().run(client.clone())));
    tasks.push(tokio::spawn(crate::health_ports::run(plane.agent.clone(), plane.fabric.clone())));
    let (uplink, dns) = open_doors(&plane, &mut tasks).await?;
    step("uplink proxy", format!("socks5h://{uplink}"));
    step("DNS", dns.to_string());

    let specs = machines::start(options, &cloud, &plane).await?;
    let trust = Trust {
        ca_pem: started.pki.ca_pem.clone(),
        certificates: started.pki.signer()?,
        tokens: apiserver::token_signer(started.keys.clone()),
    };
    start_loops(&server, cloud, &plane, specs, trust, &mut tasks);
    nodes_ready(&client, options.nodes).await;
    step("nodes and loops", format!("{} × {}", options.nodes, options.instance_type));

    let instance = Instance { pid: std::process::id(), api: started.address, uplink, dns, kubeconfig };
    instance.write(&dir)?;
    Ok(Running { instance, client, server, plane, proxy, dir, _lock: lock, serving, stop, tasks })
}

/// A client without a socket, for what is a program of its own elsewhere.
fn client(server: &ApiServer, program: &'static str) -> Client {
    Client::new(server.in_process(User::master(&format!("system:{program}")), program), "default")
}

fn serve(
    server: &ApiServer,
    listener: TcpListener,
    tls: apiserver_server::Acceptor,
    mut stopped: tokio::sync::watch::Receiver<bool>,
) -> JoinHandle<()> {
    let server = server.clone();
    tokio::spawn(async move {
        let stop = async move {
            // A closed channel stops as well.
            drop(stopped.wait_for(|stop| *stop).await);
        };
        apiserver_server::serve(server, listener, Some(tls), Box::pin(stop)).await;
    })
}

async fn start_cloud(
    options: &Options,
    client: &Client,
    plane: &Plane,
    pki: &crate::pki::Pki,
    tasks: &mut Vec<JoinHandle<()>>,
) -> Result<Arc<Cloud>, Error> {
    let failed = |error: &dyn std::fmt::Display| Error::Failed(format!("the cloud did not start: {error}"));
    ccm_mock_fake_aws::install_crds(client).await.map_err(|error| failed(&error))?;
    let issuer = Issuer::new(&pki.ca_pem, &pki.ca_key_pem).map_err(|error| failed(&error))?;
    let cloud = Cloud::start(client.clone(), issuer, options.zones, options.private_subnet_prefix)
        .await
        .map_err(|error| failed(&error))?;
    // The cell is filled once, here.
    drop(plane.cloud.set(cloud.clone()));
    tasks.push(tokio::spawn(cloud.clone().run()));
    Ok(cloud)
}

/// The uplink proxy and DNS, on free loopback ports.
async fn open_doors(
    plane: &Plane,
    tasks: &mut Vec<JoinHandle<()>>,
) -> Result<(SocketAddr, SocketAddr), Error> {
    let failed = |source| Error::Listen { place: "127.0.0.1".to_owned(), source };
    let uplink = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(failed)?;
    let uplink_address = uplink.local_addr().map_err(failed)?;
    tasks.push(tokio::spawn(dataplane_network::proxy::serve(
        uplink,
        plane.fabric.clone(),
        Arc::new(plane.clone()),
    )));
    let (udp, tcp, dns_address) = same_port().await.map_err(failed)?;
    let zones = plane.clone();
    let snapshot: dataplane_dns::Snapshot = Arc::new(move || zones.zones());
    // One port for people: public names, the VPC's and the cluster's, as a Pod of the default namespace sees them.
    let view = dataplane_dns::View::Cluster { namespace: "default".to_owned() };
    tasks.push(tokio::spawn(dataplane_dns::serve(udp, tcp, snapshot, view)));
    Ok((uplink_address, dns_address))
}

/// Tries until a port is free for UDP and TCP.
const PORT_TRIES: usize = 32;

/// A free port for both: the one that UDP gets may be somebody's TCP port.
async fn same_port() -> std::io::Result<(UdpSocket, TcpListener, SocketAddr)> {
    let mut last = std::io::Error::from(std::io::ErrorKind::AddrInUse);
    for _ in 0..PORT_TRIES {
        let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = udp.local_addr()?;
        match TcpListener::bind(address).await {
            Ok(tcp) => return Ok((udp, tcp, address)),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// How long nodes may take before what needs them is applied all the same.
const NODES_PATIENCE: Duration = Duration::from_secs(5);

/// Waits until Pods can be placed on every node: what is applied before would all go to the first ones.
async fn nodes_ready(client: &Client, count: u16) {
    let usable = |node: &Node| {
        let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
        let ready = conditions.filter(|c| c.type_ == "Ready").any(|c| c.status == "True");
        let tainted = node.spec.iter().any(|spec| spec.taints.as_ref().is_some_and(|all| !all.is_empty()));
        ready && !tainted
    };
    let all_usable = async {
        let mut nodes = controllers_kit::watch::<Node>(client.clone()).applied_objects();
        let mut seen = BTreeSet::new();
        while let Some(node) = nodes.next().await {
            if let Ok(node) = node
                && usable(&node)
            {
                seen.insert(node.metadata.name.unwrap_or_default());
            }
            if seen.len() >= usize::from(count) {
                return;
            }
        }
    };
    if tokio::time::timeout(NODES_PATIENCE, all_usable).await.is_err() {
        tracing::warn!("not all nodes are ready yet; kubectl describe node says why");
    }
}

/// What the loops hand out of the cluster's own keys.
struct Trust {
    ca_pem: String,
    certificates: controllers_cluster::SigningAuthority,
    tokens: controllers_cluster::TokenSigner,
}

fn start_loops(
    server: &ApiServer,
    cloud: Arc<Cloud>,
    plane: &Plane,
    specs: Vec<NodeSpec>,
    trust: Trust,
    tasks: &mut Vec<JoinHandle<()>>,
) {
    let caches = Caches::new(client(server, "kube-controller-manager"));
    let of = |program| caches.written_by(client(server, program));
    let aws: Arc<dyn aws::Aws> = cloud;
    let cni = controllers_network::Cni::new(caches.clone(), aws.clone());
    tasks.push(tokio::spawn(controllers_network::run(caches.clone(), cni.clone())));
    tasks.push(tokio::spawn(controllers_workloads::run_kubelets(
        of("kubelet"),
        specs,
        Arc::new(plane.clone()),
        cni,
    )));
    tasks.push(tokio::spawn(controllers_workloads::run(caches.clone())));
    tasks.push(tokio::spawn(controllers_workloads::run_scheduler(of("kube-scheduler"))));
    let Trust { ca_pem, certificates, tokens } = trust;
    let cluster = controllers_cluster::run(caches.clone(), ca_pem, Some(certificates), Some(tokens));
    tasks.push(tokio::spawn(cluster));
    tasks.push(tokio::spawn(ccm_mock_loops::run(of("aws-cloud-controller-manager"), aws.clone())));
    // The AWS Load Balancer Controller's binary is called `controller`.
    tasks.push(tokio::spawn(controllers_ingress::run(of("controller"), aws, "hopyard".to_owned())));
}

impl Running {
    /// Ends everything and leaves nothing behind but the data.
    pub(crate) async fn stop(self) {
        for task in &self.tasks {
            task.abort();
        }
        self.stop.send_replace(true);
        if tokio::time::timeout(Duration::from_secs(3), self.serving).await.is_err() {
            tracing::debug!("the API server did not drain in time");
        }
        self.server.registry().store().close();
        Instance::remove(&self.dir);
    }
}

/// Runs until it is told to stop. What is printed for people is left out where the log is for programs.
pub(crate) async fn run(options: &Options, format: Format) -> Result<(), Error> {
    let documents = crate::apply::read(&options.apply)?;
    let running = start(options).await?;
    for applied in crate::apply::apply(&running.client, running.server.registry(), documents).await? {
        tracing::info!(object = applied, "applied");
    }
    match format {
        Format::Text => eprint!("{}", welcome(&running.instance)),
        Format::Json => {
            let Instance { kubeconfig, uplink, dns, .. } = &running.instance;
            tracing::info!(kubeconfig = %kubeconfig.display(), uplink = %uplink, dns = %dns, "ready");
        }
    }
    apiserver::stop_signal().await;
    tracing::info!("stopping");
    running.stop().await;
    Ok(())
}

/// How to use what runs.
pub(crate) fn welcome(instance: &Instance) -> String {
    format!(
        "\n  export KUBECONFIG={}\n  kubectl get nodes\n  curl -x socks5h://{} http://…\n  dig @{} -p {} …\n\n",
        instance.kubeconfig.display(),
        instance.uplink,
        instance.dns.ip(),
        instance.dns.port(),
    )
}
