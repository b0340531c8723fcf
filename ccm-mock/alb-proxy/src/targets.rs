//! Counters of targets, where a target really is, and connections to it.
//!
//! Which target is next is decided by `alb-routing` from these numbers.

use ccm_mock_alb_routing::{Algorithm, candidates, select};
use ccm_mock_aws_api::elbv2::{LoadBalancer, Protocol, TargetGroup, TargetHealthDescription, TargetType};
use ccm_mock_fake_aws::State;
use dataplane_l7::{Stream, tls_to_target};
use dataplane_network::{Connection, Error, Fabric};
use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::watch;

/// AWS gives a target ten seconds to accept.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Counters by target group and by target; clones share them.
#[derive(Clone, Default)]
pub(crate) struct Counters {
    cursors: Arc<Mutex<HashMap<String, Arc<AtomicU64>>>>,
    in_flight: Arc<Mutex<HashMap<String, Arc<AtomicUsize>>>>,
}

/// A request under way; dropping it ends it.
pub(crate) struct InFlight(Arc<AtomicUsize>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The name of a target in counters and connection pools.
pub(crate) fn key(group: &TargetGroup, target: &TargetHealthDescription) -> String {
    format!("{}|{}:{}", group.target_group_arn, target.id, target.port)
}

impl Counters {
    fn cursor(&self, arn: &str) -> u64 {
        let mut cursors = self.cursors.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(cursor) = cursors.get(arn) {
            return cursor.fetch_add(1, Ordering::Relaxed);
        }
        cursors.insert(arn.to_string(), Arc::new(AtomicU64::new(1)));
        0
    }

    fn count(&self, key: &str) -> Arc<AtomicUsize> {
        let mut in_flight = self.in_flight.lock().unwrap_or_else(PoisonError::into_inner);
        in_flight.entry(key.to_string()).or_default().clone()
    }

    /// One more request to a target.
    pub(crate) fn begin(&self, key: &str) -> InFlight {
        let count = self.count(key);
        count.fetch_add(1, Ordering::Relaxed);
        InFlight(count)
    }

    /// Forget targets that are not registered any more.
    pub(crate) fn retain(&self, state: &State) {
        let known: std::collections::HashSet<String> =
            state.target_groups.values().flat_map(|g| g.targets.iter().map(|t| key(g, t))).collect();
        self.in_flight.lock().unwrap_or_else(PoisonError::into_inner).retain(|k, _| known.contains(k));
        self.cursors
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .retain(|k, _| state.target_groups.contains_key(k));
    }

    /// The next target, leaving out those already tried.
    pub(crate) fn next<'a>(
        &self,
        group: &'a TargetGroup,
        tried: &[String],
    ) -> Option<&'a TargetHealthDescription> {
        let mut possible = candidates(&group.targets);
        possible.indexes.retain(|i| !tried.contains(&key(group, &group.targets[*i])));
        let cursor = self.cursor(&group.target_group_arn);
        let load = |i: usize| self.count(&key(group, &group.targets[i])).load(Ordering::Relaxed);
        let index = select(Algorithm::of(&group.attributes), &possible, cursor, load)?;
        group.targets.get(index)
    }
}

/// Ends when a target has left its target group: its deregistration delay is over. Never, if the group itself went.
pub(crate) async fn left(
    mut states: watch::Receiver<Arc<State>>,
    target_group_arn: String,
    id: String,
    port: u16,
) {
    let gone = |state: &Arc<State>| {
        let group = state.target_groups.get(&target_group_arn);
        group.is_some_and(|group| !group.targets.iter().any(|target| target.is(&id, port)))
    };
    if states.wait_for(gone).await.is_err() {
        // Nobody tells of targets any more.
        std::future::pending::<()>().await;
    }
}

/// The address of a target: itself, or its instance's.
pub(crate) fn address(state: &State, group: &TargetGroup, id: &str, port: u16) -> Option<SocketAddrV4> {
    let text = match group.target_type {
        TargetType::Ip => id,
        TargetType::Instance => state.instances.get(id)?.private_ip_address.as_str(),
    };
    Some(SocketAddrV4::new(text.parse().ok()?, port))
}

/// The address of a load balancer's interface behind one of its addresses; its first one if unknown.
pub(crate) fn interface(balancer: &LoadBalancer, address: Ipv4Addr) -> Option<Ipv4Addr> {
    let all = || balancer.availability_zones.iter().flat_map(|z| &z.load_balancer_addresses);
    let text = address.to_string();
    let found =
        all().find(|a| a.ip_address == text || a.private_ipv4_address == text).or_else(|| all().next());
    found.and_then(|a| a.private_ipv4_address.parse().ok())
}

/// Why a target could not be reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Unreachable {
    /// Refused or no route.
    Refused(String),
    /// No answer in time.
    Timeout(String),
}

/// A connection that speaks what the target group speaks, and where it really went.
pub(crate) struct Reached {
    pub(crate) stream: Stream,
    pub(crate) destination: SocketAddrV4,
    pub(crate) node: Option<String>,
}

/// Connect to a target, with TLS where its protocol has it.
pub(crate) async fn reach(
    fabric: &Fabric,
    source: Ipv4Addr,
    target: SocketAddrV4,
    protocol: Protocol,
) -> Result<Reached, Unreachable> {
    let Connection { stream, destination, node, .. } = connect(fabric, source, target).await?;
    let mut stream: Stream = Box::new(stream);
    if protocol == Protocol::Https {
        let secured =
            tokio::time::timeout(CONNECT_TIMEOUT, tls_to_target(stream, (*target.ip()).into())).await;
        stream = match secured {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => {
                return Err(Unreachable::Refused(format!(
                    "{target} and the load balancer did not agree on TLS: {error}"
                )));
            }
            Err(_) => return Err(Unreachable::Timeout(format!("{target} did not answer the TLS handshake"))),
        };
    }
    Ok(Reached { stream, destination, node })
}

/// Connect to a target.
pub(crate) async fn connect(
    fabric: &Fabric,
    source: Ipv4Addr,
    target: SocketAddrV4,
) -> Result<Connection, Unreachable> {
    match tokio::time::timeout(CONNECT_TIMEOUT, fabric.connect(SocketAddrV4::new(source, 0), target)).await {
        Ok(Ok(connection)) => Ok(connection),
        Ok(Err(error @ Error::Dropped(_))) => Err(Unreachable::Timeout(error.to_string())),
        Ok(Err(error)) => Err(Unreachable::Refused(error.to_string())),
        Err(_) => Err(Unreachable::Timeout(format!(
            "{target} did not accept within {} s",
            CONNECT_TIMEOUT.as_secs()
        ))),
    }
}
