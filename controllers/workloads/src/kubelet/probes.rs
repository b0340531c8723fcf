//! Startup, readiness and liveness probes, really asked, and what follows from their answers.

use super::Loop;
use super::exits::{CRASH_BACKOFF, Exit, begin};
use super::runtime::{ProbeOutcome, ProbeTarget};
use controllers_kit::pods;
use k8s_openapi::api::core::v1::{Container, Pod, Probe};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use std::sync::Arc;
use std::time::Duration;

/// How long a Pod that was just started waits for what its probes say first.
const FIRST_ANSWER: Duration = Duration::from_millis(5);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Startup,
    Readiness,
    Liveness,
}

impl Kind {
    fn word(self) -> &'static str {
        match self {
            Kind::Startup => "Startup",
            Kind::Readiness => "Readiness",
            Kind::Liveness => "Liveness",
        }
    }
}

fn seconds(value: Option<i32>, default: u64) -> Duration {
    Duration::from_secs(value.and_then(|v| u64::try_from(v).ok()).filter(|v| *v > 0).unwrap_or(default))
}

impl Loop {
    /// Look after a container until it ends or this is aborted: probe it, and run it again when it has to be.
    pub(super) async fn watch_container(self: Arc<Self>, pod: Arc<Pod>, container: Container) {
        loop {
            if let Some(exit) = self.refused(&pod, &container) {
                if !self.ended(&pod, &container, exit).await {
                    return;
                }
                continue;
            }
            tokio::select! {
                kind = self.until_unhealthy(&pod, &container) => self.restart(&pod, &container, kind).await,
                code = self.runtime.run(&pod, &container.name) => {
                    if !self.ended(&pod, &container, Exit::of(code)).await {
                        return;
                    }
                }
            }
        }
    }

    /// Probe a container until a probe says that it has to be restarted.
    async fn until_unhealthy(&self, pod: &Arc<Pod>, container: &Container) -> Kind {
        if let Some(probe) = &container.startup_probe {
            if !self.until_decided(pod, container, probe, Kind::Startup).await {
                return Kind::Startup;
            }
            let ready = container.readiness_probe.is_none();
            self.set(pod, container, |c| (c.started, c.ready) = (true, ready));
        }
        let readiness = async {
            match &container.readiness_probe {
                Some(probe) => self.keep_ready(pod, container, probe).await,
                None => std::future::pending().await,
            }
        };
        let liveness = async {
            match &container.liveness_probe {
                Some(probe) => while self.until_decided(pod, container, probe, Kind::Liveness).await {},
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = readiness => Kind::Readiness,
            () = liveness => Kind::Liveness,
        }
    }

    /// What is ready as soon as it runs is said to be both in one write, not in two.
    pub(super) async fn first_answers(&self, pod: &Pod, uid: &str) {
        let at_once = |probe: &Probe| probe.initial_delay_seconds.unwrap_or(0) == 0;
        let asked = |c: &Container| c.startup_probe.iter().chain(&c.readiness_probe).all(at_once);
        if pod.spec.iter().flat_map(|spec| &spec.containers).all(asked) {
            // Later answers are told when they come.
            drop(tokio::time::timeout(FIRST_ANSWER, self.runs.all_ready(uid)).await);
        }
    }

    pub(super) fn set(
        &self,
        pod: &Pod,
        container: &Container,
        change: impl FnOnce(&mut super::state::Container),
    ) {
        let uid = pod.metadata.uid.as_deref().unwrap_or_default();
        if let Some(key) = self.runs.update(uid, &container.name, change) {
            let cause = format!("container {} of Pod {key} changed", container.name);
            self.queue.add(key, cause);
        }
    }

    async fn ask(&self, pod: &Pod, container: &Container, probe: &Probe, kind: Kind) -> bool {
        let Some(target) = target(pod, container, probe) else { return true };
        match self.runtime.probe(pod, &target, seconds(probe.timeout_seconds, 1)).await {
            ProbeOutcome::Success => true,
            ProbeOutcome::Failure(text) => {
                self.warn(pod, "Unhealthy", format!("{} probe failed: {text}", kind.word()));
                false
            }
        }
    }

    /// Startup: true at the first success, false at the failure threshold. Liveness: false at the threshold,
    /// true after a success.
    async fn until_decided(&self, pod: &Pod, container: &Container, probe: &Probe, kind: Kind) -> bool {
        if let Some(delay) = probe.initial_delay_seconds.filter(|_| kind == Kind::Startup) {
            tokio::time::sleep(seconds(Some(delay), 0)).await;
        } else if kind == Kind::Liveness {
            tokio::time::sleep(seconds(probe.initial_delay_seconds, 0)).await;
        }
        let mut failures = 0;
        loop {
            if self.ask(pod, container, probe, kind).await {
                if kind == Kind::Startup {
                    return true;
                }
                failures = 0;
            } else {
                failures += 1;
                if failures >= probe.failure_threshold.unwrap_or(3) {
                    return false;
                }
            }
            tokio::time::sleep(seconds(probe.period_seconds, 10)).await;
        }
    }

    async fn keep_ready(&self, pod: &Pod, container: &Container, probe: &Probe) {
        tokio::time::sleep(seconds(probe.initial_delay_seconds, 0)).await;
        let (mut successes, mut failures) = (0, 0);
        loop {
            if self.ask(pod, container, probe, Kind::Readiness).await {
                (successes, failures) = (successes + 1, 0);
            } else {
                (successes, failures) = (0, failures + 1);
            }
            if successes >= probe.success_threshold.unwrap_or(1) {
                self.set(pod, container, |c| c.ready = true);
            } else if failures >= probe.failure_threshold.unwrap_or(3) {
                self.set(pod, container, |c| c.ready = false);
            }
            tokio::time::sleep(seconds(probe.period_seconds, 10)).await;
        }
    }

    async fn restart(&self, pod: &Arc<Pod>, container: &Container, kind: Kind) {
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        let word = kind.word().to_lowercase();
        self.tell(
            pod,
            "Killing",
            format!("Container {} failed {word} probe, will be restarted", container.name),
        );
        self.runtime.stop(&uid, Duration::from_secs(2)).await;
        let mut restarts = 0;
        self.set(pod, container, |c| {
            let killed = Exit { code: 137, reason: "Error", message: None };
            c.last = Some(killed.told(&c.state));
            c.restarts += 1;
            restarts = c.restarts;
            (c.ready, c.started) = (false, false);
        });
        if restarts > 1 {
            self.back_off(pod, container, restarts - 1).await;
        }
        while let Err(error) = self.runtime.start(pod).await {
            self.warn(pod, "Failed", format!("Error: {error}"));
            tokio::time::sleep(CRASH_BACKOFF).await;
        }
        self.tell(pod, "Started", format!("Started container {}", container.name));
        self.set(pod, container, |c| begin(c, container));
    }
}

/// Where a probe goes; None where it says nothing, which validation refuses.
fn target(pod: &Pod, container: &Container, probe: &Probe) -> Option<ProbeTarget> {
    let ip = || pods::pod_ip(pod).unwrap_or_default().to_string();
    if let Some(get) = &probe.http_get {
        let headers = get.http_headers.iter().flatten().map(|h| (h.name.clone(), h.value.clone())).collect();
        let path = get.path.clone().filter(|p| !p.is_empty()).unwrap_or_else(|| "/".into());
        return Some(ProbeTarget::Http {
            tls: get.scheme.as_deref() == Some("HTTPS"),
            host: get.host.clone().filter(|h| !h.is_empty()).unwrap_or_else(ip),
            port: port(container, &get.port),
            path: if path.starts_with('/') { path } else { format!("/{path}") },
            headers,
        });
    }
    if let Some(socket) = &probe.tcp_socket {
        let host = socket.host.clone().filter(|h| !h.is_empty()).unwrap_or_else(ip);
        return Some(ProbeTarget::Tcp { host, port: port(container, &socket.port) });
    }
    if let Some(exec) = &probe.exec {
        let command = exec.command.clone().unwrap_or_default();
        return Some(ProbeTarget::Exec { container: container.name.clone(), command });
    }
    let grpc = probe.grpc.as_ref()?;
    Some(ProbeTarget::Grpc {
        host: ip(),
        port: u16::try_from(grpc.port).unwrap_or(0),
        service: grpc.service.clone().unwrap_or_default(),
    })
}

/// A number, or the container's port of that name; 0, which fails, if there is none.
fn port(container: &Container, port: &IntOrString) -> u16 {
    let number = match port {
        IntOrString::Int(number) => *number,
        IntOrString::String(name) => {
            let named = container.ports.iter().flatten().find(|p| p.name.as_deref() == Some(name));
            named.map(|p| p.container_port).or_else(|| name.parse().ok()).unwrap_or(0)
        }
    };
    u16::try_from(number).unwrap_or(0)
}
