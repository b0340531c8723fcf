//! From one Pod's change to what it causes in a world of that size: its EndpointSlice, as a client sees it, and the rule
//! programs of all nodes, as the agent says in its log when they are published.

use std::io::{Read, Seek, SeekFrom};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use e2e::daemon::Daemon;
use serde_json::Value;

use crate::api::{JSON, Place};
use crate::world::Size;

/// How long an effect may take before the measurement is given up.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Default)]
pub(crate) struct Effects {
    pub(crate) in_slice: Vec<f64>,
    pub(crate) in_rules: Vec<f64>,
}

fn milliseconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1000.0
}

/// Deletes a Pod of some applications, one after the other.
pub(crate) fn measure(daemon: &Daemon, place: &Place, size: &Size, rounds: usize) -> Result<Effects, String> {
    let mut effects = Effects::default();
    let step = (size.services / rounds.max(1)).max(1);
    for application in (0..size.services).step_by(step).take(rounds) {
        one(daemon, place, (&size.namespace(application), &format!("app-{application}")), &mut effects)?;
    }
    Ok(effects)
}

fn one(
    daemon: &Daemon,
    place: &Place,
    (namespace, application): (&str, &str),
    effects: &mut Effects,
) -> Result<(), String> {
    let mut api = place.api();
    let slices = format!(
        "/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices?labelSelector=app%3D{application}"
    );
    let list: Value = serde_json::from_slice(&api.get(&slices, JSON)?).map_err(|error| error.to_string())?;
    let endpoint = &list["items"][0]["endpoints"][0];
    let pod = endpoint["targetRef"]["name"].as_str().ok_or("an EndpointSlice is empty")?.to_owned();
    let address = endpoint["addresses"][0].as_str().unwrap_or_default().to_owned();
    let version = list["metadata"]["resourceVersion"].as_str().unwrap_or_default().to_owned();
    let (seen, sees) = mpsc::channel();
    let watch = format!("{slices}&watch=1&timeoutSeconds=10&resourceVersion={version}");
    let mut watcher = place.api();
    let ip = address.clone();
    // It ends by itself; what it says after the first event is of the successor.
    std::thread::spawn(move || {
        watcher.watch(&watch, JSON, &mut |line| {
            let event: Value = serde_json::from_slice(line).unwrap_or_default();
            let mut endpoints = event["object"]["endpoints"].as_array().into_iter().flatten();
            if !endpoints.any(|e| e["addresses"][0] == ip.as_str() && e["conditions"]["ready"] == true) {
                // Nobody listens after the first.
                let _ = seen.send(Instant::now());
            }
        })
    });
    let offset = std::fs::metadata(daemon.dir.join("log")).map_or(0, |log| log.len());
    let began = Instant::now();
    api.send("DELETE", &format!("/api/v1/namespaces/{namespace}/pods/{pod}"), JSON, "")?;
    let at =
        sees.recv_timeout(PATIENCE).map_err(|_| format!("the EndpointSlice of {application} keeps {pod}"))?;
    effects.in_slice.push((at - began).as_secs_f64() * 1000.0);
    let service = format!("{namespace}/{application}");
    while !published(daemon, offset, &service, &address) {
        if began.elapsed() > PATIENCE {
            return Err(format!("the rules of {service} keep {address}"));
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    effects.in_rules.push(milliseconds(began));
    Ok(())
}

/// Whether the log says, after this place in it, that the rules of the Service lead elsewhere.
fn published(daemon: &Daemon, offset: u64, service: &str, address: &str) -> bool {
    let mut text = String::new();
    let Ok(mut log) = std::fs::File::open(daemon.dir.join("log")) else { return false };
    if log.seek(SeekFrom::Start(offset)).is_err() || log.read_to_string(&mut text).is_err() {
        return false;
    }
    let ours = |line: &&str| line.contains("\"kube-proxy\"") && line.contains(&format!("\"{service}\""));
    let lines = text.lines().filter(ours);
    lines.filter_map(|line| serde_json::from_str::<Value>(line).ok()).any(|line| {
        let mut words = line["change"].as_str().unwrap_or("").split([' ', ',']);
        !words.any(|word| word == address)
    })
}
