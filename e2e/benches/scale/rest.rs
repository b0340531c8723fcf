//! Rest: nothing is written any more but the heartbeats of the nodes, and the process has next to nothing to do.

use std::time::{Duration, Instant};

use e2e::daemon::Daemon;
use serde_json::Value;

use crate::api::{JSON, METADATA, Place};

/// How long nothing may happen.
const QUIET_SECONDS: u64 = 5;

/// Everything that loops write here, but Leases: those are the heartbeats.
const WATCHED: &[&str] = &[
    "/api/v1/pods",
    "/api/v1/services",
    "/api/v1/endpoints",
    "/api/v1/nodes",
    "/api/v1/namespaces",
    "/api/v1/serviceaccounts",
    "/api/v1/configmaps",
    "/api/v1/events",
    "/apis/apps/v1/deployments",
    "/apis/apps/v1/replicasets",
    "/apis/discovery.k8s.io/v1/endpointslices",
    "/apis/aws.hopyard.dev/v1/networkinterfaces",
    "/apis/aws.hopyard.dev/v1/instances",
    "/apis/aws.hopyard.dev/v1/targetgroups",
];

/// What was seen while nothing should happen.
pub(crate) struct Look {
    /// Resources that were written, and how often.
    pub(crate) moved: Vec<(&'static str, usize)>,
    /// Share of one core.
    pub(crate) cpu: f64,
}

fn events(place: &Place, path: &str) -> Result<usize, String> {
    let mut api = place.api();
    let bytes = api.get(
        &format!("{path}?limit=1"),
        METADATA.replace("PartialObjectMetadata", "PartialObjectMetadataList").as_str(),
    )?;
    let list: Value = serde_json::from_slice(&bytes).map_err(|error| error.to_string())?;
    let version = list["metadata"]["resourceVersion"].as_str().unwrap_or("0");
    let mut count = 0;
    let watch = format!("{path}?watch=1&timeoutSeconds={QUIET_SECONDS}&resourceVersion={version}");
    api.watch(&watch, METADATA, &mut |_| count += 1)?;
    Ok(count)
}

fn look(daemon: &Daemon, place: &Place) -> Result<Look, String> {
    let (began, before) = (Instant::now(), daemon.cpu_seconds());
    let counts: Vec<Result<usize, String>> = std::thread::scope(|scope| {
        let watches: Vec<_> = WATCHED.iter().map(|path| scope.spawn(|| events(place, path))).collect();
        let panicked = || Err("a watch panicked".to_owned());
        watches.into_iter().map(|watch| watch.join().unwrap_or_else(|_| panicked())).collect()
    });
    let cpu = (daemon.cpu_seconds() - before) / began.elapsed().as_secs_f64() * 100.0;
    let mut moved = Vec::new();
    for (path, count) in WATCHED.iter().zip(counts) {
        match count? {
            0 => {}
            count => moved.push((*path, count)),
        }
    }
    Ok(Look { moved, cpu })
}

/// Looks until there is rest: since when, and the CPU it takes. An error says what does not rest.
pub(crate) fn wait(
    daemon: &mut Daemon,
    place: &Place,
    cpu_max: f64,
    deadline: Instant,
) -> Result<(Instant, f64), String> {
    loop {
        let began = Instant::now();
        let seen = look(daemon, place)?;
        if seen.moved.is_empty() && seen.cpu <= cpu_max {
            return Ok((began, seen.cpu));
        }
        let moved: Vec<String> =
            seen.moved.iter().map(|(path, count)| format!("{count} events of {path}")).collect();
        let what = format!("{:.0} % CPU, {} in {QUIET_SECONDS} s", seen.cpu, moved.join(", "));
        crate::progress(&format!("no rest yet: {what}"));
        if !daemon.runs() {
            return Err("hopyard has ended".to_owned());
        }
        if Instant::now() > deadline {
            return Err(format!("it does not come to rest: {what}"));
        }
        // What is busy needs the processor more than who asks.
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// The body of a get, to see that a server answers.
pub(crate) fn answers(place: &Place) -> bool {
    place.api().get("/readyz", JSON).is_ok_and(|body| body == b"ok")
}
