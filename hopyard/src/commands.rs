//! Commands beside a running instance: status, env, trace, rules, curl, down. They go through its API server and its
//! uplink, as any client would.

use std::io::{IsTerminal, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use dataplane_network::proxy::Origin;
use hopyard_trace as trace;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client};

use crate::error::Error;
use crate::instance::{Instance, Lock};

/// How a trace is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Output {
    #[default]
    Text,
    Json,
    Mermaid,
}

/// How rules are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum RulesFormat {
    #[default]
    Nft,
    Iptables,
}

fn failed(error: impl std::fmt::Display) -> Error {
    Error::Failed(error.to_string())
}

/// Writes to standard output; a closed pipe ends the writing, not the program.
pub(crate) fn print(text: &str) {
    drop(std::io::stdout().write_all(text.as_bytes()));
}

/// A client of the instance that runs in `dir`; a `$KUBECONFIG` of the user's own is not consulted.
pub(crate) async fn client(dir: &Path) -> Result<Client, Error> {
    let instance = Instance::read(dir)?;
    let kubeconfig = Kubeconfig::read_from(&instance.kubeconfig).map_err(failed)?;
    let config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
        .await
        .map_err(failed)?;
    Client::try_from(config).map_err(failed)
}

/// `hopyard env`.
pub(crate) fn env(dir: &Path) -> Result<(), Error> {
    let instance = Instance::read(dir)?;
    print(&format!(
        "export KUBECONFIG={}\nexport HOPYARD_UPLINK=socks5h://{}\nexport HOPYARD_DNS={}\n",
        instance.kubeconfig.display(),
        instance.uplink,
        instance.dns
    ));
    Ok(())
}

/// `hopyard status`.
pub(crate) async fn status(dir: &Path, json: bool) -> Result<(), Error> {
    let instance = Instance::read(dir)?;
    let client = client(dir).await?;
    let world = crate::world::read(&client).await?;
    let ready = |conditions: Option<&Vec<k8s_openapi::api::core::v1::PodCondition>>| {
        conditions
            .into_iter()
            .flatten()
            .any(|condition| condition.type_ == "Ready" && condition.status == "True")
    };
    let ready_pods = world
        .pods
        .iter()
        .filter(|pod| ready(pod.status.as_ref().and_then(|status| status.conditions.as_ref())))
        .count();
    let targets: usize = world.cloud.target_groups.iter().map(|group| group.targets.len()).sum();
    if json {
        let value = serde_json::json!({
            "instance": instance,
            "nodes": world.nodes.len(),
            "pods": {"total": world.pods.len(), "ready": ready_pods},
            "services": world.services.len(),
            "ingresses": world.ingresses.len(),
            "loadBalancers": world.cloud.load_balancers.len(),
            "targets": targets,
        });
        print(&format!("{value:#}\n"));
        return Ok(());
    }
    print(&format!(
        "running        pid {}\nAPI server     https://{}\nkubeconfig     {}\nuplink         socks5h://{}\nDNS            {}\nnodes          {}\npods           {} ({ready_pods} ready)\nservices       {}\ningresses      {}\nload balancers {} ({targets} targets)\n",
        instance.pid,
        instance.api,
        instance.kubeconfig.display(),
        instance.uplink,
        instance.dns,
        world.nodes.len(),
        world.pods.len(),
        world.services.len(),
        world.ingresses.len(),
        world.cloud.load_balancers.len(),
    ));
    for balancer in &world.cloud.load_balancers {
        print(&format!("               {}\n", balancer.dns_name));
    }
    Ok(())
}

/// A trace as text.
pub(crate) fn render(trace: &trace::Trace, output: Output) -> Result<String, Error> {
    Ok(match output {
        Output::Text => trace::text(trace, trace::Style { color: std::io::stdout().is_terminal() }),
        Output::Json => serde_json::to_string_pretty(trace).map_err(failed)? + "\n",
        Output::Mermaid => trace::mermaid(trace),
    })
}

/// The request that the arguments of `hopyard trace` mean.
pub(crate) fn request(
    url: &str,
    from: &str,
    method: &str,
    headers: &[String],
) -> Result<trace::Request, Error> {
    let from = trace::From::parse(from).ok_or_else(|| {
        Error::Usage(format!("--from {from}: expected internet, pod/NAMESPACE/NAME or node/NAME"))
    })?;
    let mut request = trace::Request::get(url, from).map_err(|error| Error::Usage(error.to_string()))?;
    request.method = method.to_ascii_uppercase();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    request.now_s = now.map_or(0, |now| now.as_secs());
    for header in headers {
        let (name, value) = header
            .split_once(':')
            .ok_or_else(|| Error::Usage(format!("--header {header}: expected \"Name: value\"")))?;
        request.headers.push((name.trim().to_owned(), value.trim().to_owned()));
    }
    Ok(request)
}

/// `hopyard trace`. Ends with 1 where the path does.
pub(crate) async fn trace(dir: &Path, request: &trace::Request, output: Output) -> Result<(), Error> {
    let world = crate::world::read(&client(dir).await?).await?;
    let traced = trace::trace(&world, request);
    print(&render(&traced, output)?);
    match traced.outcome {
        trace::Outcome::DeadEnd(_) => Err(Error::DeadEnd),
        trace::Outcome::Delivered { .. }
        | trace::Outcome::ApiServer { .. }
        | trace::Outcome::Answered { .. } => Ok(()),
    }
}

/// `hopyard rules`.
pub(crate) async fn rules(dir: &Path, node: &str, format: RulesFormat) -> Result<(), Error> {
    let programs = crate::world::programs(&client(dir).await?).await?;
    let program = programs.get(node).ok_or_else(|| {
        let known: Vec<&str> = programs.nodes().map(|node| node.name.as_str()).collect();
        Error::Failed(format!("no node {node:?}; there are {}", known.join(", ")))
    })?;
    let text = match format {
        RulesFormat::Nft => proxy_agent_nft::nftables(&program),
        RulesFormat::Iptables => proxy_agent_nft::iptables(&program),
    };
    print(&text);
    Ok(())
}

/// `hopyard curl`: curl through the uplink, from wherever.
pub(crate) async fn curl(dir: &Path, from: &str, arguments: &[String]) -> Result<(), Error> {
    let instance = Instance::read(dir)?;
    let mut command = std::process::Command::new("curl");
    // Piped, curl would draw its meter over what the terminal shows.
    command.arg("--no-progress-meter").arg("--proxy").arg(format!("socks5h://{}", instance.uplink));
    if from != "internet" {
        let origin = Origin::parse(from).ok_or_else(|| {
            Error::Usage(format!("--from {from}: expected internet, pod/NAMESPACE/NAME or node/NAME"))
        })?;
        check_origin(&client(dir).await?, &origin).await?;
        command.arg("--proxy-user").arg(format!("{from}:"));
    }
    command.arg("--cacert").arg(dir.join("pki/ca.crt")).args(arguments);
    let status =
        command.status().map_err(|error| Error::Failed(format!("curl could not be started: {error}")))?;
    if status.success() { Ok(()) } else { Err(Error::Exit(status.code().unwrap_or(1) as u8)) }
}

/// From where there is nothing no request can come, and curl could not say why.
async fn check_origin(client: &Client, origin: &Origin) -> Result<(), Error> {
    let (found, missing) = match origin {
        Origin::Internet => return Ok(()),
        Origin::Pod { namespace, name } => {
            let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
            let found = pods.get_metadata_opt(name).await.map_err(failed)?.is_some();
            (
                found,
                format!("no Pod {namespace}/{name}; kubectl get pods -n {namespace} shows those there are"),
            )
        }
        Origin::Node(name) => {
            let nodes: Api<Node> = Api::all(client.clone());
            let found = nodes.get_metadata_opt(name).await.map_err(failed)?.is_some();
            (found, format!("no node {name:?}; kubectl get nodes shows those there are"))
        }
    };
    if found { Ok(()) } else { Err(Error::Failed(missing)) }
}

/// `hopyard down`: asks the instance to stop and waits until it has.
pub(crate) fn down(dir: &Path) -> Result<(), Error> {
    let instance = Instance::read(dir)?;
    let status = std::process::Command::new("kill")
        .arg("-TERM")
        .arg(instance.pid.to_string())
        .status()
        .map_err(|error| Error::Failed(format!("kill could not be started: {error}")))?;
    if !status.success() {
        return Err(Error::Failed(format!("process {} could not be told to stop", instance.pid)));
    }
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(10) {
        if Lock::take(dir).is_ok() {
            print("stopped\n");
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Err(Error::Failed(format!("process {} did not stop within 10 s", instance.pid)))
}
