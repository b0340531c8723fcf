//! `hopyard controller-manager`: the loops as a process of their own, over any API server. Flags are named as
//! kube-controller-manager's.

use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use controllers_cluster::{AuthorityError, SigningAuthority, TokenSigner};
use controllers_kit::{Caches, Election, Ended, Running};
use kube::Client;
use kube::config::{Config, KubeConfigOptions, Kubeconfig};

use crate::apiserver::stop_signal;
use crate::error::Error;

/// Flags of `hopyard controller-manager`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    /// How to reach the API server, and as whom
    #[arg(long, value_name = "FILE", env = "KUBECONFIG")]
    pub kubeconfig: PathBuf,
    /// Certificate authority that Pods are given, instead of the kubeconfig's
    #[arg(long, value_name = "FILE")]
    pub root_ca_file: Option<PathBuf>,
    /// Certificate of the authority that signs approved requests for certificates; without it nobody does
    #[arg(long, value_name = "FILE", requires = "cluster_signing_key_file")]
    pub cluster_signing_cert_file: Option<PathBuf>,
    /// Its key
    #[arg(long, value_name = "FILE", requires = "cluster_signing_cert_file")]
    pub cluster_signing_key_file: Option<PathBuf>,
    /// No certificate lasts longer
    #[arg(long, value_name = "DURATION", default_value = "8760h0m0s", value_parser = crate::duration::parse)]
    pub cluster_signing_duration: Duration,
    /// Key that signs the tokens of Secrets that ask for one; without it they get none
    #[arg(long, value_name = "FILE")]
    pub service_account_private_key_file: Option<PathBuf>,
    /// Wait to lead before anything is done; without it, nobody else may run the same loops
    #[arg(long, value_name = "BOOL", default_value_t = true, action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true")]
    pub leader_elect: bool,
    /// How long others wait for a leader that says nothing
    #[arg(long, value_name = "DURATION", default_value = "15s", value_parser = crate::duration::parse)]
    pub leader_elect_lease_duration: Duration,
    /// How long a leader goes on that cannot renew its Lease
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = crate::duration::parse)]
    pub leader_elect_renew_deadline: Duration,
    /// How long to wait between two looks at the Lease
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = crate::duration::parse)]
    pub leader_elect_retry_period: Duration,
    /// Name of the Lease; kube-controller-manager's takes turns with that
    #[arg(long, value_name = "NAME", default_value = "kube-controller-manager")]
    pub leader_elect_resource_name: String,
    /// Namespace of the Lease
    #[arg(long, value_name = "NAME", default_value = "kube-system")]
    pub leader_elect_resource_namespace: String,
}

impl Options {
    fn election(&self) -> Result<Election, Error> {
        let election = Election {
            namespace: self.leader_elect_resource_namespace.clone(),
            name: self.leader_elect_resource_name.clone(),
            identity: format!("{}_{}", host_name(), uuid::Uuid::new_v4()),
            lease_duration: self.leader_elect_lease_duration,
            renew_deadline: self.leader_elect_renew_deadline,
            retry_period: self.leader_elect_retry_period,
        };
        // As client-go has it: else two might lead at a time, or nobody for long.
        if election.lease_duration <= election.renew_deadline {
            return Err(Error::Usage(
                "--leader-elect-lease-duration must be greater than --leader-elect-renew-deadline".to_owned(),
            ));
        }
        if election.renew_deadline <= election.retry_period.mul_f64(1.2) {
            return Err(Error::Usage(
                "--leader-elect-renew-deadline must be greater than 1.2 times --leader-elect-retry-period"
                    .to_owned(),
            ));
        }
        if election.retry_period.is_zero() {
            return Err(Error::Usage("--leader-elect-retry-period must be greater than zero".to_owned()));
        }
        Ok(election)
    }
}

/// Runs until it is told to stop, or the lead is lost.
pub(crate) async fn run(options: &Options) -> Result<(), Error> {
    let election = options.election()?;
    let config = config(options).await?;
    let root_ca = match &options.root_ca_file {
        Some(path) => std::fs::read_to_string(path).map_err(|source| Error::path(path, source))?,
        None => config.root_cert.iter().flatten().map(|der| pem(der)).collect(),
    };
    let authority = authority(options)?;
    let tokens = tokens(options)?;
    let failed = |error: kube::Error| Error::Failed(format!("no client: {error}"));
    let client = Client::try_from(config).map_err(failed)?;
    let caches = Caches::new(client.clone());
    let work = || loops(caches, root_ca, authority, tokens);
    if !options.leader_elect {
        tokio::select! {
            () = work() => {}
            () = stop_signal() => {}
        }
        return Ok(());
    }
    match election.lead(client, work, stop_signal()).await {
        Ended::Stopped => Ok(()),
        Ended::Lost => Err(Error::Failed("the lead was lost; others do the work now".to_owned())),
    }
}

/// The loops that need no nodes of this process.
fn loops(
    caches: Caches,
    root_ca: String,
    authority: Option<SigningAuthority>,
    tokens: Option<TokenSigner>,
) -> Running {
    Box::pin(controllers_kit::all(vec![
        tokio::spawn(controllers_workloads::run(caches.clone())),
        tokio::spawn(controllers_workloads::run_scheduler(caches.clone())),
        tokio::spawn(controllers_network::run_endpoints(caches.clone())),
        tokio::spawn(controllers_cluster::run(caches, root_ca, authority, tokens)),
    ]))
}

/// Who signs tokens, where that is asked for.
fn tokens(options: &Options) -> Result<Option<TokenSigner>, Error> {
    let Some(path) = &options.service_account_private_key_file else { return Ok(None) };
    let key = crate::pki::read_key(path)?;
    let keys = apiserver_server::ServiceAccountKeys::new(&key)
        .map_err(|why| Error::Certificates(format!("{}: {why}", path.display())))?;
    Ok(Some(crate::apiserver::token_signer(std::sync::Arc::new(keys))))
}

/// Who signs certificates, where that is asked for.
fn authority(options: &Options) -> Result<Option<SigningAuthority>, Error> {
    let (Some(certificate), Some(key)) =
        (&options.cluster_signing_cert_file, &options.cluster_signing_key_file)
    else {
        return Ok(None);
    };
    let read = |path: &PathBuf| std::fs::read_to_string(path).map_err(|source| Error::path(path, source));
    SigningAuthority::new(&read(certificate)?, &read(key)?, options.cluster_signing_duration)
        .map(Some)
        .map_err(|why| unusable(&why, certificate, key))
}

/// The fault of one of the two files.
fn unusable(why: &AuthorityError, certificate: &Path, key: &Path) -> Error {
    let key = key.display();
    Error::Certificates(match why {
        AuthorityError::Certificate(_) => format!("{}: {why}", certificate.display()),
        AuthorityError::Key(_) => format!("{key}: {why}"),
        AuthorityError::KeyForm(_) => {
            format!("{key}: {why}: use what `openssl pkcs8 -topk8 -nocrypt -in {key}` prints")
        }
    })
}

async fn config(options: &Options) -> Result<Config, Error> {
    let path = &options.kubeconfig;
    std::fs::File::open(path).map_err(|source| Error::path(path, source))?;
    let place = path.display();
    let failed = |error: kube::config::KubeconfigError| Error::Failed(format!("{place}: {error}"));
    let kubeconfig = Kubeconfig::read_from(path).map_err(failed)?;
    Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.map_err(failed)
}

fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = name.trim();
    if name.is_empty() { "hopyard".to_owned() } else { name.to_owned() }
}

/// A certificate as text.
fn pem(der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let lines: String =
        text.as_bytes().chunks(64).map(|line| String::from_utf8_lossy(line).into_owned() + "\n").collect();
    format!("-----BEGIN CERTIFICATE-----\n{lines}-----END CERTIFICATE-----\n")
}
