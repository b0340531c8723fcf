//! From a change of a Pod to its effect: in target groups as a client of the API server sees them, and in the nodes'
//! rule programs as the agent says in its log the moment they are published.
//!
//! A Pod counts as Ready, or as deleted, when the watch event that says so has arrived here. All times are of this
//! machine's one clock.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::Value;

use e2e::daemon::Daemon;

/// How long an effect may take before the measurement is given up.
const PATIENCE: Duration = Duration::from_secs(10);

/// A second Ingress to the same Service, so that there is more than one target group to be in.
const SECOND: &str = r#"{
  "apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
  "metadata": {"name": "second", "namespace": "default", "annotations": {
    "alb.ingress.kubernetes.io/scheme": "internet-facing", "alb.ingress.kubernetes.io/target-type": "ip"}},
  "spec": {"ingressClassName": "alb", "rules": [{"host": "second.packet-journey.com", "http": {"paths": [
    {"path": "/", "pathType": "Prefix", "backend": {"service": {"name": "web", "port": {"number": 80}}}}]}}]}}"#;

/// Milliseconds of each round.
#[derive(Default)]
pub(crate) struct Effects {
    pub(crate) in_groups: Vec<f64>,
    pub(crate) in_rules: Vec<f64>,
    pub(crate) out_of_groups: Vec<f64>,
    pub(crate) out_of_rules: Vec<f64>,
    /// Rounds that were measured again because the hypervisor took the CPU away in them.
    pub(crate) again: usize,
}

/// Seconds since midnight, as the log's timestamps have them too.
type Time = f64;

fn now() -> Time {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64()) % 86_400.0
}

/// The time in `2026-01-31T23:59:59.123456Z`.
fn time_of(timestamp: &str) -> Option<Time> {
    let clock = timestamp.split('T').nth(1)?.trim_end_matches('Z');
    let parts: Vec<f64> = clock.split(':').filter_map(|part| part.parse().ok()).collect();
    let [hours, minutes, seconds] = parts[..] else { return None };
    Some(hours * 3600.0 + minutes * 60.0 + seconds)
}

/// What watches have told, with the time each thing was told first.
#[derive(Default)]
struct Seen {
    /// Ready Pods by name: address and time.
    ready: BTreeMap<String, (String, Time)>,
    /// Pods that are being deleted, by name.
    deleted: BTreeMap<String, Time>,
    /// Healthy addresses of each target group, after each of its events.
    groups: BTreeMap<String, Vec<(Time, BTreeSet<String>)>>,
}

type Shared = Arc<Mutex<Seen>>;

fn lock(seen: &Shared) -> MutexGuard<'_, Seen> {
    seen.lock().expect("nobody panics with it")
}

/// A watch by curl, which ends with the value.
struct Watch(Child);

impl Watch {
    fn start(daemon: &Daemon, path: &str, seen: &Shared, take: fn(&mut Seen, Time, &Value)) -> Self {
        let mut command = daemon.curl(&format!("{path}?watch=1")).expect("it runs");
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("curl starts");
        let output = child.stdout.take().expect("its output is piped");
        let seen = seen.clone();
        std::thread::spawn(move || {
            // One event a line.
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                let at = now();
                if let Ok(event) = serde_json::from_str::<Value>(&line) {
                    take(&mut lock(&seen), at, &event["object"]);
                }
            }
        });
        Self(child)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn items<'a>(object: &'a Value, pointer: &str) -> impl Iterator<Item = &'a Value> {
    object.pointer(pointer).and_then(Value::as_array).into_iter().flatten()
}

fn take_pod(seen: &mut Seen, at: Time, pod: &Value) {
    let name = pod["metadata"]["name"].as_str().unwrap_or("").to_owned();
    if pod["metadata"]["deletionTimestamp"].is_string() {
        seen.deleted.entry(name).or_insert(at);
        return;
    }
    let ready = items(pod, "/status/conditions").any(|c| c["type"] == "Ready" && c["status"] == "True");
    if let (true, Some(ip)) = (ready, pod["status"]["podIP"].as_str()) {
        seen.ready.entry(name).or_insert((ip.to_owned(), at));
    }
}

fn take_group(seen: &mut Seen, at: Time, group: &Value) {
    let healthy = items(group, "/status/targets")
        .filter(|target| target["state"] == "healthy")
        .filter_map(|target| target["id"].as_str().map(str::to_owned))
        .collect();
    let name = group["metadata"]["name"].as_str().unwrap_or("").to_owned();
    seen.groups.entry(name).or_default().push((at, healthy));
}

/// When the last of the target groups came to hold the address, or to hold it no longer.
fn in_groups(seen: &Shared, ip: &str, holds: bool) -> Option<Time> {
    lock(seen).groups.values().try_fold(0.0, |latest: Time, history| {
        // The first of the unbroken run of such events at the end.
        let run = history.iter().rev().take_while(|(_, healthy)| healthy.contains(ip) == holds).last()?;
        Some(latest.max(run.0))
    })
}

/// When the agent published rules of the Service that lead to the address, or lead there no longer, for good.
fn in_rules(daemon: &Daemon, ip: &str, holds: bool) -> Option<Time> {
    let log = daemon.log();
    let lines = log.lines().filter(|line| line.contains("\"kube-proxy\"") && line.contains("default/web"));
    let mut found = None;
    for line in lines.filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
        let leads = line["change"].as_str().unwrap_or("").split([' ', ',']).any(|word| word == ip);
        if leads != holds {
            found = None;
        } else if found.is_none() {
            found = time_of(line["timestamp"].as_str().unwrap_or(""));
        }
    }
    found
}

/// Looks now and then: the times are noted as things happen, and who looks takes a core from what is measured.
fn until<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(began.elapsed() < PATIENCE, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Milliseconds; an effect may be seen before its cause is.
fn between(cause: Time, effect: Time) -> f64 {
    ((effect - cause) * 1000.0).max(0.0)
}

fn run(mut command: std::process::Command) {
    let output = command.output().expect("kubectl runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// How often a round is measured again, at most, for each that counts.
const AGAIN_MAX: usize = 3;

/// Time that a hypervisor gave to others while this machine had work, in the kernel's ticks of 10 ms; it only grows.
fn stolen() -> u64 {
    let text = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    text.lines().next().and_then(|line| line.split_whitespace().nth(8)?.parse().ok()).unwrap_or(0)
}

/// Deletes a Pod so many times and follows it out, and its successor in.
pub(crate) fn measure(rounds: usize) -> Effects {
    let journey = e2e::root().join("manifests/journey").display().to_string();
    let daemon = Daemon::start(&["up", "--listen", "127.0.0.1:0", "--log", "json", "--apply", &journey]);
    until("the manifests", || daemon.log().contains("\"service/web\"").then_some(()));
    let second = daemon.dir.join("second.json");
    std::fs::write(&second, SECOND).expect("a file");
    run(daemon.kubectl(&["apply", "-f", &second.display().to_string()]));
    run(daemon.kubectl(&["scale", "deployment/web", "--replicas=2"]));

    let seen = Shared::default();
    let _watches = [
        Watch::start(&daemon, "/api/v1/namespaces/default/pods", &seen, take_pod),
        Watch::start(&daemon, "/apis/aws.hopyard.dev/v1/targetgroups", &seen, take_group),
    ];
    let settled = || {
        let seen = lock(&seen);
        let full =
            |history: &Vec<(Time, BTreeSet<String>)>| history.last().is_some_and(|(_, h)| h.len() == 2);
        (seen.groups.len() == 2 && seen.groups.values().all(full)).then_some(())
    };
    let mut effects = Effects::default();
    while effects.in_rules.len() < rounds {
        until("two target groups with two targets", settled);
        let before = stolen();
        let alive = |seen: &Seen| -> Vec<(String, (String, Time))> {
            let alive = seen.ready.iter().filter(|(name, _)| !seen.deleted.contains_key(*name));
            alive.map(|(name, pod)| (name.clone(), pod.clone())).collect()
        };
        let (name, (old, _)) = until("two Pods", || {
            let alive = alive(&lock(&seen));
            (alive.len() == 2).then(|| alive.into_iter().next()).flatten()
        });
        let known: BTreeSet<String> = lock(&seen).ready.keys().cloned().collect();
        // Not by kubectl, whose runtime would keep both cores busy in the very milliseconds that are measured.
        let mut delete = daemon.curl(&format!("/api/v1/namespaces/default/pods/{name}")).expect("it runs");
        delete.args(["-X", "DELETE"]);
        run(delete);
        let deleted = until("the deletion", || lock(&seen).deleted.get(&name).copied());
        let (new, ready) = until("a successor", || {
            let alive = alive(&lock(&seen));
            alive.into_iter().find(|(name, _)| !known.contains(name)).map(|(_, pod)| pod)
        });
        let out_of_groups = until("the target groups to let go", || in_groups(&seen, &old, false));
        let out_of_rules = until("the rules to let go", || in_rules(&daemon, &old, false));
        let in_groups = until("the target groups to take it in", || in_groups(&seen, &new, true));
        let in_rules = until("the rules to take it in", || in_rules(&daemon, &new, true));
        // The figures are for two cores: a round in which they were somebody else's says nothing of them.
        if stolen() > before && effects.again < AGAIN_MAX * rounds {
            effects.again += 1;
            continue;
        }
        effects.out_of_groups.push(between(deleted, out_of_groups));
        effects.out_of_rules.push(between(deleted, out_of_rules));
        effects.in_groups.push(between(ready, in_groups));
        effects.in_rules.push(between(ready, in_rules));
    }
    effects
}
