//! Checking targets over real connections, with AWS's states and reasons.
//!
//! A new target is checked at once. While it is initial, failures are retried quickly and do not count: a Pod whose
//! node has not programmed its rules yet is in service as soon as it can be.

use crate::matcher;
use crate::proxy::Control;
use crate::targets::{self, Unreachable};
use ccm_mock_aws_api::elbv2::{HealthCheck, HealthState, Protocol, TargetGroup};
use ccm_mock_aws_api::health::Reason;
use ccm_mock_aws_api::names;
use ccm_mock_fake_aws::{HealthReport, Report};
use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::AbortHandle;

/// Pauses between the first checks of a new target.
const QUICK_MS: [u64; 7] = [5, 10, 25, 50, 100, 250, 500];

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    group: String,
    id: String,
    port: u16,
}

#[derive(Debug, Clone, PartialEq)]
struct Plan {
    check: HealthCheck,
    source: Ipv4Addr,
    target: SocketAddrV4,
    /// What the state says now; a target registered again starts over.
    initial: bool,
}

/// The running checks.
#[derive(Default)]
pub(crate) struct Checks {
    running: HashMap<Key, (Plan, AbortHandle)>,
}

impl Drop for Checks {
    fn drop(&mut self) {
        self.running.values().for_each(|(_, task)| task.abort());
    }
}

fn plan(control: &Control, group: &TargetGroup, id: &str, port: u16, initial: bool) -> Option<Plan> {
    let state = control.state();
    let balancer = group.load_balancer_arns.first().and_then(|arn| state.load_balancers.get(arn))?;
    let source = targets::interface(balancer, Ipv4Addr::UNSPECIFIED)?;
    let mut target = targets::address(&state, group, id, port)?;
    if let Ok(port) = group.health_check.port.parse() {
        target.set_port(port);
    }
    Some(Plan { check: group.health_check.clone(), source, target, initial })
}

impl Checks {
    /// Start checks of new targets, end those of targets that are gone, draining or unused.
    pub(crate) fn reconcile(&mut self, control: &Arc<Control>) {
        let state = control.state();
        let mut wanted: HashMap<Key, Plan> = HashMap::new();
        for group in state.target_groups.values().filter(|g| g.health_check.enabled) {
            for target in &group.targets {
                if matches!(
                    target.state,
                    HealthState::Draining | HealthState::Unused | HealthState::Unavailable
                ) {
                    continue;
                }
                let fresh = target.reason.as_deref() == Some(Reason::RegistrationInProgress.as_str());
                let key =
                    Key { group: group.target_group_arn.clone(), id: target.id.clone(), port: target.port };
                if let Some(plan) = plan(control, group, &target.id, target.port, fresh) {
                    wanted.insert(key, plan);
                }
            }
        }
        self.running.retain(|key, (plan, task)| {
            let keep = wanted.get(key).is_some_and(|w| {
                w.check == plan.check
                    && w.source == plan.source
                    && w.target == plan.target
                    && (plan.initial || !w.initial)
            });
            if !keep {
                task.abort();
            } else if let Some(w) = wanted.get(key) {
                plan.initial = w.initial;
            }
            keep
        });
        for (key, plan) in wanted {
            self.running.entry(key.clone()).or_insert_with(|| {
                let task = tokio::spawn(watch(control.clone(), key, plan.clone()));
                (plan, task.abort_handle())
            });
        }
    }
}

/// The state machine of one target.
struct Machine {
    state: HealthState,
    successes: u32,
    failures: u32,
}

type Outcome = Result<(), (Reason, String)>;

impl Machine {
    /// Take in a result; answers the new state if it is to be reported.
    fn step(&mut self, check: &HealthCheck, outcome: &Outcome) -> Option<HealthState> {
        let next = match outcome {
            Ok(()) => {
                (self.successes, self.failures) = (self.successes + 1, 0);
                let enough =
                    self.state == HealthState::Initial || self.successes >= check.healthy_threshold_count;
                if enough { HealthState::Healthy } else { self.state }
            }
            Err(_) => {
                (self.successes, self.failures) = (0, self.failures + 1);
                if self.failures >= check.unhealthy_threshold_count {
                    HealthState::Unhealthy
                } else {
                    self.state
                }
            }
        };
        let changed = next != self.state;
        self.state = next;
        changed.then_some(next)
    }
}

async fn watch(control: Arc<Control>, key: Key, plan: Plan) {
    let known = control
        .state()
        .target_groups
        .get(&key.group)
        .and_then(|g| g.targets.iter().find(|t| t.is(&key.id, key.port)).map(|t| t.state));
    let mut machine = Machine { state: known.unwrap_or(HealthState::Initial), successes: 0, failures: 0 };
    let interval = Duration::from_secs(plan.check.interval_seconds.max(1).into());
    let mut quick = QUICK_MS.iter();
    loop {
        let began = Instant::now();
        let outcome = check(&control, &plan).await;
        if machine.state == HealthState::Initial
            && outcome.is_err()
            && let Some(pause) = quick.next()
        {
            tokio::time::sleep(Duration::from_millis(*pause)).await;
            continue;
        }
        if let Some(state) = machine.step(&plan.check, &outcome) {
            let (reason, description) = match outcome {
                Ok(()) => (None, None),
                Err((reason, description)) => (Some(reason), Some(description)),
            };
            let object = names::target_group_name(&key.group);
            let cause = description.clone().unwrap_or_else(|| {
                format!("{} {} on {} succeeded", plan.check.protocol, plan.check.path, plan.target)
            });
            let change = format!("{}:{} is {state}", key.id, key.port);
            let elapsed_ms = began.elapsed().as_micros() as f64 / 1000.0;
            tracing::info!(controller = "health-check", object = %object, cause, change, elapsed_ms, "reconciled");
            let report = HealthReport {
                target_group_arn: key.group.clone(),
                id: key.id.clone(),
                port: key.port,
                state,
                reason,
                description,
            };
            // Reported apart, so that a slow write does not hold up the next check, nor its end lose the report.
            let cloud = control.cloud.clone();
            let reported = tokio::spawn(async move { cloud.report(Report::Health(vec![report])).await });
            if let Ok(Err(error)) = reported.await {
                tracing::warn!(%error, "target health could not be written");
            }
        }
        tokio::time::sleep(interval).await;
    }
}

async fn check(control: &Control, plan: &Plan) -> Outcome {
    let timeout = Duration::from_secs(plan.check.timeout_seconds.max(1).into());
    match tokio::time::timeout(timeout, probe(control, plan)).await {
        Ok(outcome) => outcome,
        Err(_) => Err((Reason::Timeout, Reason::Timeout.description().into())),
    }
}

async fn probe(control: &Control, plan: &Plan) -> Outcome {
    let failed = |_: std::io::Error| {
        (Reason::FailedHealthChecks, Reason::FailedHealthChecks.description().to_string())
    };
    let mut connection = match targets::reach(&control.fabric, plan.source, plan.target, plan.check.protocol)
        .await
    {
        Ok(connection) => connection,
        Err(Unreachable::Timeout(_)) => return Err((Reason::Timeout, Reason::Timeout.description().into())),
        Err(Unreachable::Refused(_)) => {
            return Err((Reason::FailedHealthChecks, Reason::FailedHealthChecks.description().into()));
        }
    };
    if !matches!(plan.check.protocol, Protocol::Http | Protocol::Https) {
        return Ok(());
    }
    let path = if plan.check.path.is_empty() { "/" } else { &plan.check.path };
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nUser-Agent: ELB-HealthChecker/2.0\r\nAccept-Encoding: gzip, compressed\r\n\r\n",
        plan.target
    );
    connection.stream.write_all(request.as_bytes()).await.map_err(failed)?;
    let mut head = Vec::with_capacity(256);
    while !head.contains(&b'\n') && head.len() < 4096 {
        if connection.stream.read_buf(&mut head).await.map_err(failed)? == 0 {
            break;
        }
    }
    let line = String::from_utf8_lossy(&head);
    let code = line
        .strip_prefix("HTTP/1.")
        .and_then(|l| l.split(' ').nth(1))
        .and_then(|c| c.trim().parse::<u16>().ok());
    match code {
        Some(code) if matcher::matches(&plan.check.matcher, code) => Ok(()),
        Some(code) => {
            Err((Reason::ResponseCodeMismatch, format!("Health checks failed with these codes: [{code}]")))
        }
        None => Err((Reason::FailedHealthChecks, Reason::FailedHealthChecks.description().into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_success_is_enough_at_first_only() {
        use HealthState::*;
        let check = HealthCheck {
            healthy_threshold_count: 2,
            unhealthy_threshold_count: 2,
            ..HealthCheck::default_for(Protocol::Http)
        };
        let mut machine = Machine { state: Initial, successes: 0, failures: 0 };
        let bad: Outcome = Err((Reason::Timeout, String::new()));
        let table = [
            (&Ok(()), Some(Healthy)),
            (&bad, None),
            (&bad, Some(Unhealthy)),
            (&Ok(()), None),
            (&Ok(()), Some(Healthy)),
            (&bad, None),
            (&Ok(()), None),
        ];
        for (i, (outcome, expected)) in table.into_iter().enumerate() {
            assert_eq!(machine.step(&check, outcome), expected, "row {i}");
        }
    }
}
