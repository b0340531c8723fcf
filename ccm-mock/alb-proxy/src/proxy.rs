//! Sockets, certificates and health checks kept in step with the state of the cloud.
//!
//! Requests do not wait for this loop: they read the state themselves. It opens what is new and closes what is gone.

use crate::decision::Decisions;
use crate::health::Checks;
use crate::targets::Counters;
use crate::{http_listener, tcp_listener};
use ccm_mock_aws_api::elbv2::{Endpoint, Listener, Protocol, Rule};
use ccm_mock_aws_api::names;
use ccm_mock_fake_aws::{Cloud, Report, State};
use dataplane_l7::{Certificates, ConnectionInfo, Handler, Pool};
use dataplane_network::{Fabric, Listener as Socket};
use futures::FutureExt;
use futures::future::BoxFuture;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// What every request and check shares.
pub struct Control {
    pub(crate) cloud: Arc<Cloud>,
    pub(crate) fabric: Fabric,
    pub(crate) pool: Pool,
    pub(crate) counters: Counters,
    /// What was decided for the last requests.
    pub decisions: Decisions,
    states: watch::Receiver<Arc<State>>,
    rules: RwLock<HashMap<String, Arc<Vec<Rule>>>>,
    certificates: RwLock<HashMap<String, Certificates>>,
    destinations: Mutex<HashMap<String, SocketAddrV4>>,
}

impl Control {
    pub(crate) fn state(&self) -> Arc<State> {
        self.states.borrow().clone()
    }

    /// The state of every moment from now on.
    pub(crate) fn states(&self) -> watch::Receiver<Arc<State>> {
        self.states.clone()
    }

    pub(crate) fn rules_of(&self, listener_arn: &str) -> Arc<Vec<Rule>> {
        self.rules
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(listener_arn)
            .cloned()
            .unwrap_or_default()
    }

    pub(crate) fn certificates_of(&self, listener: &Listener) -> Option<Certificates> {
        let secure = matches!(listener.protocol, Protocol::Https | Protocol::Tls);
        let known = self.certificates.read().unwrap_or_else(PoisonError::into_inner);
        if secure { known.get(&listener.listener_arn).cloned() } else { None }
    }

    /// Where kept connections of a target lead.
    pub(crate) fn remember(&self, key: &str, destination: SocketAddrV4) {
        self.destinations.lock().unwrap_or_else(PoisonError::into_inner).insert(key.to_string(), destination);
    }

    pub(crate) fn remembered(&self, key: &str) -> Option<SocketAddrV4> {
        self.destinations.lock().unwrap_or_else(PoisonError::into_inner).get(key).copied()
    }

    fn index_rules(&self, state: &State) {
        let mut by_listener: HashMap<String, Vec<Rule>> = HashMap::new();
        for rule in state.rules.values() {
            by_listener.entry(rule.listener_arn.clone()).or_default().push(rule.as_ref().clone());
        }
        let mut known = self.rules.write().unwrap_or_else(PoisonError::into_inner);
        *known = by_listener.into_iter().map(|(arn, rules)| (arn, Arc::new(rules))).collect();
    }
}

/// The running load balancers.
#[derive(Clone)]
pub struct Proxy {
    control: Arc<Control>,
}

impl Proxy {
    /// What was decided for the last requests.
    pub fn decisions(&self) -> Decisions {
        self.control.decisions.clone()
    }
}

/// Start following the cloud. The future runs until the cloud is gone.
pub fn run(cloud: Arc<Cloud>, fabric: Fabric) -> (Proxy, BoxFuture<'static, ()>) {
    let states = cloud.watch();
    let control = Arc::new(Control {
        cloud,
        fabric,
        pool: Pool::new(),
        counters: Counters::default(),
        decisions: Decisions::default(),
        states,
        rules: RwLock::default(),
        certificates: RwLock::default(),
        destinations: Mutex::default(),
    });
    (Proxy { control: control.clone() }, follow(control).boxed())
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Place {
    listener_arn: String,
    address: SocketAddrV4,
    private: SocketAddrV4,
}

struct Open {
    endpoint: Endpoint,
    fabric: Fabric,
    private: SocketAddrV4,
    accepting: tokio::task::AbortHandle,
    shutdown: watch::Sender<bool>,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.fabric.remove_alias(self.private);
        self.accepting.abort();
        self.shutdown.send_replace(true);
    }
}

/// How often what could not be opened is tried again.
const RETRY: Duration = Duration::from_secs(1);

async fn follow(control: Arc<Control>) {
    let mut states = control.states.clone();
    let mut open: HashMap<Place, Open> = HashMap::new();
    let mut checks = Checks::default();
    let mut loaded: HashMap<String, Vec<String>> = HashMap::new();
    loop {
        let state = states.borrow_and_update().clone();
        control.index_rules(&state);
        control.counters.retain(&state);
        load_certificates(&control, &state, &mut loaded).await;
        let complete = sockets(&control, &state, &mut open).await;
        checks.reconcile(&control);
        publish(&control, &state, &open).await;
        let changed = if complete {
            states.changed().await
        } else {
            tokio::time::timeout(RETRY, states.changed()).await.unwrap_or(Ok(()))
        };
        if changed.is_err() {
            return;
        }
    }
}

fn places(state: &State) -> HashSet<Place> {
    let mut wanted = HashSet::new();
    for listener in state.listeners.values() {
        let Some(balancer) = state.load_balancers.get(&listener.load_balancer_arn) else { continue };
        for address in balancer.availability_zones.iter().flat_map(|z| &z.load_balancer_addresses) {
            let (Ok(ip), Ok(private)) =
                (address.ip_address.parse::<Ipv4Addr>(), address.private_ipv4_address.parse::<Ipv4Addr>())
            else {
                continue;
            };
            wanted.insert(Place {
                listener_arn: listener.listener_arn.clone(),
                address: SocketAddrV4::new(ip, listener.port),
                private: SocketAddrV4::new(private, listener.port),
            });
        }
    }
    wanted
}

async fn sockets(control: &Arc<Control>, state: &State, open: &mut HashMap<Place, Open>) -> bool {
    let wanted = places(state);
    open.retain(|place, _| wanted.contains(place));
    let mut complete = true;
    for place in wanted {
        if open.contains_key(&place) {
            continue;
        }
        let began = Instant::now();
        let name = names::load_balancer_name(&place.listener_arn);
        match control.fabric.listen(place.address).await {
            Ok(socket) => {
                let endpoint =
                    Endpoint { address: place.address.to_string(), bound: socket.bound().to_string() };
                control.fabric.alias(place.private, socket.bound());
                let (shutdown, ending) = watch::channel(false);
                let kind = state.listeners.get(&place.listener_arn).map(|l| l.protocol);
                let task = tokio::spawn(accept(control.clone(), place.clone(), socket, kind, ending));
                let cause = format!("listener on port {} added", place.address.port());
                let change = format!("listens on {}{}", endpoint.address, elsewhere(&endpoint));
                let elapsed_ms = began.elapsed().as_micros() as f64 / 1000.0;
                tracing::info!(controller = "load-balancer", object = %name, cause, change, elapsed_ms, "reconciled");
                let opened = Open {
                    endpoint,
                    fabric: control.fabric.clone(),
                    private: place.private,
                    accepting: task.abort_handle(),
                    shutdown,
                };
                open.insert(place, opened);
            }
            Err(error) => {
                tracing::warn!(controller = "load-balancer", object = %name, address = %place.address, %error, "cannot listen, will retry");
                complete = false;
            }
        }
    }
    complete
}

/// Where an address really is, if it could not be had as it is.
fn elsewhere(endpoint: &Endpoint) -> String {
    if endpoint.bound == endpoint.address { String::new() } else { format!(" (here: {})", endpoint.bound) }
}

async fn publish(control: &Control, state: &State, open: &HashMap<Place, Open>) {
    for balancer in state.load_balancers.values() {
        let mine = |place: &Place| {
            state
                .listeners
                .get(&place.listener_arn)
                .is_some_and(|l| l.load_balancer_arn == balancer.load_balancer_arn)
        };
        let endpoints: BTreeMap<SocketAddrV4, Endpoint> = open
            .iter()
            .filter(|(place, _)| mine(place))
            .map(|(place, o)| (place.address, o.endpoint.clone()))
            .collect();
        let endpoints: Vec<Endpoint> = endpoints.into_values().collect();
        if endpoints != balancer.endpoints {
            let report =
                Report::Endpoints { load_balancer_arn: balancer.load_balancer_arn.clone(), endpoints };
            if let Err(error) = control.cloud.report(report).await {
                tracing::warn!(%error, "endpoints could not be written");
            }
        }
    }
}

/// Keys are read once per certificate; a listener is loaded again when its list of certificates changes.
async fn load_certificates(control: &Control, state: &State, loaded: &mut HashMap<String, Vec<String>>) {
    loaded.retain(|arn, _| state.listeners.contains_key(arn));
    for listener in state.listeners.values() {
        let mut wanted = Vec::new();
        let mut fingerprint = Vec::new();
        for certificate in &listener.certificates {
            if let Some(known) = state
                .certificates
                .get(&certificate.certificate_arn)
                .filter(|c| !c.certificate_chain.is_empty())
            {
                fingerprint.push(format!("{} {}", known.certificate_arn, known.serial));
                wanted.push(known.clone());
            }
        }
        if wanted.is_empty() || loaded.get(&listener.listener_arn) == Some(&fingerprint) {
            continue;
        }
        let mut entries = Vec::new();
        for certificate in &wanted {
            match control.cloud.private_key(certificate.id()).await {
                Ok(Some(key)) => entries.push((
                    certificate.subject_alternative_names.clone(),
                    certificate.certificate_chain.clone(),
                    key,
                )),
                Ok(None) => tracing::warn!(arn = %certificate.certificate_arn, "certificate has no key"),
                Err(error) => tracing::warn!(%error, "certificate key cannot be read"),
            }
        }
        let resolver = {
            let mut all = control.certificates.write().unwrap_or_else(PoisonError::into_inner);
            all.entry(listener.listener_arn.clone()).or_default().clone()
        };
        match resolver.set(&entries) {
            Ok(()) if entries.len() == wanted.len() => {
                loaded.insert(listener.listener_arn.clone(), fingerprint);
            }
            Ok(()) => {}
            Err(error) => tracing::warn!(%error, "certificate cannot be used"),
        }
    }
}

async fn accept(
    control: Arc<Control>,
    place: Place,
    socket: Socket,
    protocol: Option<Protocol>,
    ending: watch::Receiver<bool>,
) {
    let web = matches!(protocol, Some(Protocol::Http | Protocol::Https));
    loop {
        let accepted = match socket.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::debug!(%error, "accept");
                tokio::time::sleep(Duration::from_millis(10)).await;
                continue;
            }
        };
        if web {
            tokio::spawn(connection(control.clone(), place.clone(), accepted, ending.clone()));
        } else {
            tokio::spawn(tcp_listener::serve(
                control.clone(),
                place.listener_arn.clone(),
                place.address,
                accepted,
            ));
        }
    }
}

async fn connection(
    control: Arc<Control>,
    place: Place,
    accepted: dataplane_network::Accepted,
    ending: watch::Receiver<bool>,
) {
    let state = control.state();
    let Some(listener) = state.listeners.get(&place.listener_arn).cloned() else { return };
    let mut info = ConnectionInfo { peer: accepted.peer, local: place.address, scheme: "http", tls: None };
    let arn = place.listener_arn;
    let shared = control.clone();
    let handler: Handler = Arc::new(move |request, info| {
        Box::pin(http_listener::serve(shared.clone(), arn.clone(), request, info))
    });
    let result = if listener.protocol == Protocol::Https {
        info.scheme = "https";
        let Some(certificates) = control.certificates_of(&listener) else { return };
        let Ok(acceptor) = dataplane_l7::acceptor(&certificates) else { return };
        match tokio::time::timeout(Duration::from_secs(10), acceptor.accept(accepted.stream)).await {
            Ok(Ok(stream)) => dataplane_l7::serve_connection(stream, info, handler, ending).await,
            Ok(Err(error)) => Err(error.into()),
            Err(_) => return,
        }
    } else {
        dataplane_l7::serve_connection(accepted.stream, info, handler, ending).await
    };
    if let Err(error) = result {
        tracing::debug!(%error, "client connection");
    }
}
