//! The walk: from the client over names and gateways to whatever owns the destination address.
//!
//! Load balancers are `balancer`, nodes and Pods are `cluster`.

use crate::diagnose;
use crate::hop::{BALANCER, Diagnosis, Hop, Layer, Outcome, Packet, Trace};
use crate::request::{From, Request};
use crate::world::World;
use ccm_mock_aws_api::elbv2::LoadBalancer;
use ccm_mock_aws_api::layout::CLIENT_IP;
use dataplane_dns::{Type, View, lookup};
use std::net::{Ipv4Addr, SocketAddrV4};

/// Ports of the connections in a trace; real ones are picked by the machines.
const CLIENT_PORT: u16 = 52_344;
/// The client's address at home: its router writes the public one.
const HOME_IP: Ipv4Addr = Ipv4Addr::new(192, 168, 178, 23);
/// What hops outside of the cluster and its cloud are made from: no object of theirs.
const OUTSIDE: &str = "outside the cluster";
/// Connections followed before giving up on a world that goes in circles.
const MAX_CONNECTIONS: usize = 4;

/// A place that changed addresses on the way there, and so has something to undo.
pub(crate) struct Undo {
    pub(crate) layer: Layer,
    pub(crate) place: String,
    pub(crate) how: String,
    pub(crate) object: Option<String>,
    pub(crate) before: Packet,
}

pub(crate) struct Walk<'a> {
    pub(crate) world: &'a World,
    pub(crate) request: &'a Request,
    pub(crate) hops: Vec<Hop>,
    pub(crate) undo: Vec<Undo>,
    pub(crate) packet: Packet,
    pub(crate) warnings: Vec<String>,
    pub(crate) connections: usize,
    /// The load balancer speaks TLS with its target.
    pub(crate) tls_to_target: bool,
}

pub(crate) fn dead(place: impl Into<String>, cause: impl Into<String>, fix: impl Into<String>) -> Outcome {
    Outcome::DeadEnd(Diagnosis { place: place.into(), cause: cause.into(), fix: fix.into() })
}

/// Where a connection starts.
pub(crate) enum Start {
    Internet,
    Pod(String),
    Node(String),
    /// Inside the VPC but on no node: a load balancer's interface.
    Vpc,
}

/// Trace a request.
pub fn trace(world: &World, request: &Request) -> Trace {
    let nowhere = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0);
    let packet = Packet { source: nowhere, destination: nowhere };
    let mut walk = Walk {
        world,
        request,
        hops: vec![],
        undo: vec![],
        packet,
        warnings: vec![],
        connections: 0,
        tls_to_target: false,
    };
    let (from, outcome) = walk.begin();
    let reply = walk.reply(&outcome);
    Trace {
        request: format!("{} {}", request.method, request.url()),
        from,
        hops: walk.hops,
        reply,
        outcome,
        warnings: walk.warnings,
    }
}

impl Walk<'_> {
    fn begin(&mut self) -> (String, Outcome) {
        let (from, start, view, source) = match &self.request.from {
            From::Internet => ("internet".to_string(), Start::Internet, View::Internet, Some(HOME_IP)),
            From::Pod(namespace, name) => {
                let from = format!("pod/{namespace}/{name}");
                let Some(pod) = self.world.pod(namespace, name) else {
                    let fix = format!("kubectl get pods -n {namespace} lists those there are");
                    return (from.clone(), dead(from, "there is no such Pod to start from", fix));
                };
                let node = pod.spec.as_ref().and_then(|s| s.node_name.clone()).unwrap_or_default();
                let ip = pod.status.as_ref().and_then(|s| s.pod_ip.as_ref()).and_then(|ip| ip.parse().ok());
                (from, Start::Pod(node), View::Cluster { namespace: namespace.clone() }, ip)
            }
            From::Node(name) => {
                (format!("node/{name}"), Start::Node(name.clone()), View::Vpc, self.world.node_ip(name))
            }
        };
        let Some(source) = source else {
            let there = match &self.request.from {
                From::Node(name) => self.world.nodes.iter().any(|n| n.metadata.name.as_ref() == Some(name)),
                _ => true,
            };
            let (cause, fix) = if there {
                ("the place to start from has no address", "wait until it has one")
            } else {
                ("there is no such node to start from", "kubectl get nodes lists those there are")
            };
            return (from.clone(), dead(from, cause, fix));
        };
        let destination = match self.resolve(&view) {
            Ok(ip) => ip,
            Err(outcome) => return (from, outcome),
        };
        self.packet = Packet {
            source: SocketAddrV4::new(source, CLIENT_PORT),
            destination: SocketAddrV4::new(destination, self.request.port),
        };
        let action = format!("{} {}", self.request.method, self.request.url());
        let mut hop = Hop::new(Layer::Client, &from, action).packet(self.packet, self.packet);
        hop.object = match &self.request.from {
            From::Internet => Some(OUTSIDE.to_string()),
            From::Pod(namespace, name) => Some(format!("Pod {namespace}/{name} status.podIP")),
            From::Node(name) => Some(format!("Node {name} status.addresses")),
        };
        self.hops.push(hop);
        (from, self.connect(start))
    }

    fn resolve(&mut self, view: &View) -> Result<Ipv4Addr, Outcome> {
        if let Ok(ip) = self.request.host.parse() {
            return Ok(ip);
        }
        let answer = lookup(&self.world.zones, &self.request.host, Type::A, view);
        for step in &answer.steps {
            let mut hop = Hop::new(Layer::Dns, &step.server, format!("{} → {}", step.question, step.answer));
            if let Some(ttl) = step.ttl {
                hop = hop.because(format!("TTL {ttl} s"));
            }
            hop.object = step.source.clone().or_else(|| Some(asked(&step.server, view)));
            self.hops.push(hop);
        }
        let addresses = answer.addresses();
        let seen = self.request.observed.balancer_address.filter(|ip| addresses.contains(ip));
        let index = usize::try_from(self.request.random % addresses.len().max(1) as u64).unwrap_or(0);
        seen.or(addresses.get(index).copied())
            .ok_or_else(|| diagnose::name(self.world, self.request, view, &answer))
    }

    /// The load balancer that an address belongs to, and the interface address behind it.
    pub(crate) fn balancer_at(&self, ip: Ipv4Addr) -> Option<(&LoadBalancer, Ipv4Addr, bool)> {
        let text = ip.to_string();
        self.world.cloud.load_balancers.iter().find_map(|balancer| {
            let all = balancer.availability_zones.iter().flat_map(|z| &z.load_balancer_addresses);
            let address = all.into_iter().find(|a| a.ip_address == text || a.private_ipv4_address == text)?;
            Some((balancer, address.private_ipv4_address.parse().ok()?, address.ip_address == text))
        })
    }

    /// Follow the current packet from a place.
    pub(crate) fn connect(&mut self, start: Start) -> Outcome {
        self.connections += 1;
        if self.connections > MAX_CONNECTIONS {
            return dead(
                "the request",
                "it goes in circles",
                "look at the hops above for a load balancer that is its own target",
            );
        }
        let to = *self.packet.destination.ip();
        if let Some((balancer, private, public)) = self.balancer_at(to) {
            let balancer = balancer.clone();
            if !public && matches!(start, Start::Internet) {
                return diagnose::internal_balancer(self.world, &balancer, to);
            }
            if public {
                self.over_the_internet(&start, private, &balancer);
            }
            return self.at_balancer(&balancer, private);
        }
        match start {
            Start::Internet => diagnose::address_from_internet(to),
            Start::Pod(node) => self.leave_node(&node, proxy_agent_ruleset::Entry::Arriving),
            Start::Node(node) => self.leave_node(&node, proxy_agent_ruleset::Entry::Local),
            Start::Vpc => match self.world.node_at(to) {
                Some(node) => self.at_node(&node),
                None => self.deliver(),
            },
        }
    }

    fn translate(&mut self, hop: Hop, after: Packet, how: &str) {
        let before = self.packet;
        let (place, object) = (hop.place.clone(), hop.object.clone());
        self.undo.push(Undo { layer: hop.layer, place, how: how.into(), object, before });
        self.hops.push(hop.packet(before, after));
        self.packet = after;
    }

    pub(crate) fn change(&mut self, hop: Hop, after: Packet, how: &str) {
        self.translate(hop, after, how);
    }

    fn over_the_internet(&mut self, start: &Start, private: Ipv4Addr, balancer: &LoadBalancer) {
        match start {
            Start::Internet => {
                let hop = Hop::new(
                    Layer::Uplink,
                    "the user's uplink",
                    "leaves the home network; its router's NAT writes the public address",
                )
                .object(OUTSIDE);
                let public = CLIENT_IP.parse().unwrap_or(HOME_IP);
                let after =
                    Packet { source: SocketAddrV4::new(public, self.packet.source.port()), ..self.packet };
                self.translate(hop, after, "its router's NAT writes the address at home back");
            }
            Start::Pod(node) | Start::Node(node) => {
                let nat = self.nat_of(node);
                if let Some((id, public)) = nat {
                    let after = Packet {
                        source: SocketAddrV4::new(public, self.packet.source.port()),
                        ..self.packet
                    };
                    let hop = Hop::new(
                        Layer::NatGateway,
                        &id,
                        "leaves the VPC: 0.0.0.0/0 of the private subnet leads to the NAT gateway",
                    )
                    .object(format!("NatGateway {id} status.natGatewayAddresses"));
                    self.translate(hop, after, "writes the private address back");
                }
            }
            Start::Vpc => {}
        }
        let gateway = self
            .world
            .cloud
            .internet_gateways
            .first()
            .map_or("igw".to_string(), |g| g.internet_gateway_id.clone());
        let after =
            Packet { destination: SocketAddrV4::new(private, self.packet.destination.port()), ..self.packet };
        let hop = Hop::new(
            Layer::InternetGateway,
            gateway,
            format!("enters the VPC: {} is the public address of {private}", self.packet.destination.ip()),
        )
        .object(format!("LoadBalancer {} status.availabilityZones", balancer.load_balancer_name));
        self.translate(hop, after, "writes the public address back");
    }

    fn nat_of(&self, node: &str) -> Option<(String, Ipv4Addr)> {
        let ip = self.world.node_ip(node)?;
        let zone = self.world.interface_of(ip).map(|n| n.availability_zone.clone());
        let gateways = &self.world.cloud.nat_gateways;
        let in_zone = |subnet: &str| {
            let nic = self.world.cloud.network_interfaces.iter().find(|n| n.subnet_id == subnet);
            nic.map(|n| n.availability_zone.clone()) == zone
        };
        let gateway = gateways.iter().find(|g| in_zone(&g.subnet_id)).or(gateways.first())?;
        Some((gateway.nat_gateway_id.clone(), gateway.nat_gateway_addresses.first()?.public_ip.parse().ok()?))
    }

    /// The way back: each change of addresses undone, last one first.
    fn reply(&self, outcome: &Outcome) -> Vec<Hop> {
        let mut hops = Vec::new();
        let mut packet = self.packet.reversed();
        match outcome {
            Outcome::DeadEnd(_) => return hops,
            Outcome::Delivered { .. } => {
                let container = self.hops.iter().rev().find(|h| h.layer == Layer::Container);
                let place = container.map_or("the Pod", |h| &h.place);
                let object = container.and_then(|h| h.object.clone());
                let hop = Hop { object, ..Hop::new(Layer::Container, place, "answers") };
                hops.push(hop.packet(packet, packet));
            }
            Outcome::ApiServer { .. } => {
                let server = self.hops.iter().rev().find(|h| h.layer == Layer::ApiServer);
                let object = server.and_then(|h| h.object.clone());
                let place = server.map_or("kube-apiserver", |h| &h.place);
                let hop = Hop { object, ..Hop::new(Layer::ApiServer, place, "answers") };
                hops.push(hop.packet(packet, packet));
            }
            Outcome::Answered { by, status, .. } => {
                let layer = if by == BALANCER { Layer::LoadBalancer } else { Layer::Rules };
                let answerer = self.hops.iter().rev().find(|h| h.layer == layer);
                let place = answerer.map_or(by.as_str(), |h| &h.place);
                let object = answerer.and_then(|h| h.object.clone());
                let hop = Hop::new(layer, place, format!("answers {status} itself"));
                hops.push(Hop { object, ..hop }.packet(packet, packet));
            }
        }
        for undo in self.undo.iter().rev() {
            let after = undo.before.reversed();
            let hop = Hop { object: undo.object.clone(), ..Hop::new(undo.layer, &undo.place, &undo.how) };
            hops.push(hop.packet(packet, after));
            packet = after;
        }
        let client = self.hops.iter().find(|h| h.layer == Layer::Client);
        let object = client.and_then(|h| h.object.clone());
        let place = client.map_or("client", |h| &h.place);
        hops.push(Hop { object, ..Hop::new(Layer::Client, place, "has the answer") }.packet(packet, packet));
        hops
    }
}

/// What a server looked through that has nothing of the name.
fn asked(server: &str, view: &View) -> String {
    match view {
        View::Cluster { .. } if server.contains("cluster") => "Services, metadata.name".to_string(),
        _ => "HostedZones, spec.resourceRecordSets".to_string(),
    }
}
