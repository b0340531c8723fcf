//! A cluster of a given size in one process: `cargo bench -p e2e --bench scale -- --nodes N --pods P --services S`.
//!
//! It is loaded with real requests over TLS, has to converge and come to rest, answers, and starts again. Progress goes to
//! standard error, the table to standard output; the exit code is 1 where something does not converge or a figure is missed.

mod api;
mod change;
mod rest;
mod world;

use std::time::{Duration, Instant};

use api::{Place, send_all};
use e2e::daemon::{self, Daemon};
use e2e::figure::{self, Figure};
use world::Size;

/// Clients that load at the same time.
const CLIENTS: usize = 16;
/// Pods after which memory is told on the way.
const STAGES: &[usize] = &[10_000, 50_000];
const ROUNDS: usize = 10;
const GETS: usize = 200;

pub(crate) fn progress(text: &str) {
    use std::sync::OnceLock;
    static BEGAN: OnceLock<Instant> = OnceLock::new();
    eprintln!("{:7.1} s  {text}", BEGAN.get_or_init(Instant::now).elapsed().as_secs_f64());
}

fn argument(name: &str, default: usize) -> usize {
    let arguments: Vec<String> = std::env::args().collect();
    let at = arguments.iter().position(|argument| argument == name);
    at.and_then(|at| arguments.get(at + 1)?.parse().ok()).unwrap_or(default)
}

fn seconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64()
}

/// Waits until a count is what it should be.
fn until(
    what: &str,
    wanted: usize,
    (daemon, deadline): (&mut Daemon, Instant),
    mut count: impl FnMut() -> Result<usize, String>,
) -> Result<(), String> {
    let mut told = None;
    loop {
        let began = Instant::now();
        let now = count()?;
        if now == wanted {
            return Ok(());
        }
        if told.is_none_or(|(at, before): (Instant, usize)| before != now && at.elapsed().as_secs() >= 5) {
            progress(&format!("{now} of {wanted} {what}"));
            told = Some((Instant::now(), now));
        }
        if !daemon.runs() {
            return Err(format!("hopyard has ended with {now} of {wanted} {what}"));
        }
        if Instant::now() > deadline {
            return Err(format!("{now} of {wanted} {what} when the time was up"));
        }
        // Who asks takes a core from what is asked about.
        std::thread::sleep((began.elapsed() * 4).max(Duration::from_millis(100)));
    }
}

fn wait_ready(daemon: &mut Daemon, deadline: Instant) -> Result<Place, String> {
    loop {
        if let Ok(place) = Place::of(daemon)
            && rest::answers(&place)
        {
            return Ok(place);
        }
        if Instant::now() > deadline || !daemon.runs() {
            return Err("it is not ready".to_owned());
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn directory_mib(dir: &std::path::Path) -> f64 {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let size = |entry: std::fs::DirEntry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => directory_mib(&entry.path()),
        Ok(metadata) => metadata.len() as f64 / f64::from(1 << 20),
        Err(_) => 0.0,
    };
    entries.map(size).sum()
}

/// Heartbeats are the nodes' own: each renews its lease every ten seconds, and each of these writes is synced.
fn cpu_max(size: &Size) -> f64 {
    2.0 + size.nodes as f64 / 100.0
}

/// Creates what there is not yet of so many applications, and waits until all of it is there and rests.
fn stage(
    (daemon, place, deadline): (&mut Daemon, &Place, Instant),
    size: &Size,
    applications: std::ops::Range<usize>,
    figures: &mut Vec<Figure>,
) -> Result<(), String> {
    let (began, pods) = (Instant::now(), size.pods_of(applications.end));
    let requests = size.create(applications);
    progress(&format!("creating {} Services and Deployments", requests.len()));
    send_all(place, CLIENTS, &requests, &|done| {
        if done % 5000 == 0 {
            progress(&format!("{done} of {} created", requests.len()));
        }
    })?;
    figures.push(Figure::told(
        format!("{} Services and Deployments created", requests.len()),
        "s",
        seconds(began),
    ));
    let mut api = place.api();
    until("Pods ready", pods, (daemon, deadline), || world::ready_pods(&mut api))?;
    until("endpoints ready in EndpointSlices", pods, (daemon, deadline), || {
        world::ready_endpoints(&mut api)
    })?;
    until("addresses in Endpoints", pods, (daemon, deadline), || world::addresses(&mut api))?;
    progress(&format!("{pods} Pods are ready and endpoints"));
    figures.push(Figure::told(format!("{pods} Pods ready and in EndpointSlices"), "s", seconds(began)));
    let (rests, cpu) = rest::wait(daemon, place, cpu_max(size), deadline)?;
    figures.push(Figure::told("everything at rest", "s", (rests - began).as_secs_f64()));
    figures.push(Figure::new("CPU at rest", cpu_max(size), "%", vec![cpu]));
    figures.push(Figure::told(format!("resident with {pods} Pods"), "MiB", daemon.resident_mib()));
    Ok(())
}

fn reads(place: &Place, size: &Size, figures: &mut Vec<Figure>) -> Result<(), String> {
    let mut api = place.api();
    api.get("/version", api::JSON)?;
    let began = Instant::now();
    let length = api.drain("/api/v1/pods")?;
    figures.push(Figure::told(
        format!("list of all Pods, {} MB", length / 1_000_000),
        "ms",
        seconds(began) * 1000.0,
    ));
    let mut gets = Vec::new();
    for i in 0..GETS {
        let application = i * size.services / GETS;
        let path = format!("/api/v1/namespaces/{}/services/app-{application}", size.namespace(application));
        let began = Instant::now();
        api.get(&path, api::JSON)?;
        gets.push(seconds(began) * 1000.0);
    }
    figures.push(Figure::new("get of a Service", f64::INFINITY, "ms", gets));
    Ok(())
}

fn scenario(size: &Size, deadline: Instant, figures: &mut Vec<Figure>) -> Result<(), String> {
    let nodes = size.nodes.to_string();
    let mut arguments =
        vec!["up", "--listen", "127.0.0.1:0", "--log", "json", "--nodes", &nodes, "--instance-type"];
    arguments.push(size.instance_type());
    // The usual subnets have room for 4,000 addresses.
    if size.pods + 5 * size.nodes > 10_000 {
        arguments.extend(["--private-subnet-prefix", "16"]);
    }
    let (mut daemon, began) = (Daemon::start(&arguments), Instant::now());
    let result = measured(&mut daemon, &arguments, (size, began, deadline), figures);
    if result.is_err() {
        let log = daemon.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(20)..].iter().for_each(|line| eprintln!("{line}"));
    }
    result
}

fn measured(
    daemon: &mut Daemon,
    arguments: &[&str],
    (size, began, deadline): (&Size, Instant, Instant),
    figures: &mut Vec<Figure>,
) -> Result<(), String> {
    let place = wait_ready(daemon, deadline)?;
    figures.push(Figure::told("fresh `up` to /readyz ok", "ms", seconds(began) * 1000.0));
    let mut api = place.api();
    until("nodes ready and without taints", size.nodes, (&mut *daemon, deadline), || {
        world::ready_nodes(&mut api)
    })?;
    progress(&format!("{} nodes are ready", size.nodes));
    figures.push(Figure::told(format!("{} nodes ready", size.nodes), "s", seconds(began)));
    send_all(&place, CLIENTS, &size.create_namespaces(), &|_| {})?;
    let mut first = 0;
    for pods in STAGES.iter().copied().filter(|pods| *pods < size.pods).chain([size.pods]) {
        let last = size.applications(pods);
        stage((&mut *daemon, &place, deadline), size, first..last, figures)?;
        first = last;
    }
    reads(&place, size, figures)?;
    progress("changing Pods");
    let effects = change::measure(daemon, &place, size, ROUNDS)?;
    figures.push(Figure::new("deleted Pod out of its EndpointSlice", 1000.0, "ms", effects.in_slice));
    figures.push(Figure::new("deleted Pod out of every node's rule program", 1000.0, "ms", effects.in_rules));
    rest::wait(daemon, &place, cpu_max(size), deadline)?;
    figures.push(Figure::told("data directory", "MiB", directory_mib(&daemon.dir.join("data"))));
    restart(daemon, arguments, (size, deadline), figures)
}

fn restart(
    daemon: &mut Daemon,
    arguments: &[&str],
    (size, deadline): (&Size, Instant),
    figures: &mut Vec<Figure>,
) -> Result<(), String> {
    progress("restarting");
    let began = Instant::now();
    daemon.stop();
    figures.push(Figure::told("stop", "s", seconds(began)));
    // What the last one left says where it listened.
    drop(std::fs::remove_file(daemon.dir.join("data/kubeconfig")));
    daemon.start_again(arguments);
    let began = Instant::now();
    let place = wait_ready(daemon, deadline)?;
    figures.push(Figure::told("restart to /readyz ok", "s", seconds(began)));
    let mut api = place.api();
    until("Pods ready", size.pods, (&mut *daemon, deadline), || world::ready_pods(&mut api))?;
    let (rests, _) = rest::wait(daemon, &place, cpu_max(size), deadline)?;
    figures.push(Figure::told("restart to everything at rest", "s", (rests - began).as_secs_f64()));
    figures.push(Figure::told("resident after the restart", "MiB", daemon.resident_mib()));
    Ok(())
}

fn main() {
    let size = Size {
        nodes: argument("--nodes", 20).max(1),
        pods: argument("--pods", 300).max(1),
        services: argument("--services", 30).max(1),
    };
    let deadline = Instant::now() + Duration::from_secs(60 * argument("--minutes", 60) as u64);
    daemon::build_release();
    let mut figures = Vec::new();
    let result = scenario(&size, deadline, &mut figures);
    println!("{} nodes, {} Pods, {} Services", size.nodes, size.pods, size.services);
    figure::print(&figures);
    if let Err(error) = &result {
        println!("FAILED: {error}");
    }
    if result.is_err() || !figures.iter().all(Figure::kept) {
        std::process::exit(1);
    }
}
