//! The hops on nodes: kube-proxy's rules, the CNI's route, and the container.
//!
//! What the rules do is `ruleset::evaluate`'s.

use crate::diagnose;
use crate::hop::{Hop, Layer, Outcome, Packet};
use crate::walk::{Walk, dead};
use crate::world::full_name;
use ccm_mock_aws_api::layout::{CONTROL_PLANE, VPC_ID};
use k8s_openapi::api::core::v1::Pod;
use proxy_agent_ruleset::{Choice, Entry, NoAffinity, Protocol, Statement, Verdict, evaluate};
use std::net::SocketAddrV4;

impl Walk<'_> {
    /// A connection that starts on a node or in one of its Pods.
    pub(crate) fn leave_node(&mut self, node: &str, entry: Entry) -> Outcome {
        if let Some(outcome) = self.rules(node, entry) {
            return outcome;
        }
        let to = *self.packet.destination.ip();
        match self.world.node_at(to) {
            Some(other) if other != node => {
                self.over_the_vpc();
                self.at_node(&other)
            }
            Some(_) => self.on_node(node),
            None => {
                self.between_nodes(node);
                self.deliver()
            }
        }
    }

    /// To a Pod of another node the VPC leads.
    fn between_nodes(&mut self, node: &str) {
        let pod = self.world.pod_at(*self.packet.destination.ip());
        let of = pod.and_then(|pod| pod.spec.as_ref()?.node_name.as_deref());
        if of.is_some_and(|of| of != node) {
            self.over_the_vpc();
        }
    }

    /// From one interface of the VPC to the one that holds the destination address.
    pub(crate) fn over_the_vpc(&mut self) {
        let route = Hop::new(
            Layer::Vpc,
            "VPC 10.0.0.0/16",
            "the local route of every route table leads to the interface that holds the address",
        );
        let held = self
            .world
            .interface_of(*self.packet.destination.ip())
            .map(|n| format!("NetworkInterface {} spec.privateIpAddresses", n.network_interface_id));
        let object = held.or_else(|| Some(format!("Vpc {VPC_ID} spec.cidrBlock")));
        self.hops.push(Hop { object, ..route }.packet(self.packet, self.packet));
    }

    /// A connection that arrives at a node's own address.
    pub(crate) fn at_node(&mut self, node: &str) -> Outcome {
        let hop = Hop::new(Layer::Node, node, "arrives at the node's interface")
            .object(format!("Node {node} status.addresses"));
        self.hops.push(hop.packet(self.packet, self.packet));
        if let Some(outcome) = self.rules(node, Entry::Arriving) {
            return outcome;
        }
        if self.world.node_at(*self.packet.destination.ip()).is_some() {
            return self.on_node(node);
        }
        self.between_nodes(node);
        self.deliver()
    }

    /// No rule takes the packet any further: kube-proxy answers health checks of load balancers, and nobody anything else.
    fn on_node(&mut self, node: &str) -> Outcome {
        let to = self.packet.destination;
        let program = self.world.programs.get(node);
        let Some((service, endpoints)) = program.and_then(|program| program.health_check(to.port())) else {
            return diagnose::nobody_on_node(self.world, node, to);
        };
        let name = format!("{}/{}", service.namespace, service.name);
        let hop = Hop::new(
            Layer::Rules,
            node,
            format!("listens on {} for health checks of Service {name}", to.port()),
        )
        .object(format!("Service {name} spec.healthCheckNodePort"));
        self.hops.push(hop.packet(self.packet, self.packet));
        Outcome::Answered {
            by: format!("kube-proxy on {node}"),
            status: if endpoints > 0 { 200 } else { 503 },
            text: format!("{endpoints} ready endpoints of Service {name} are here"),
        }
    }

    /// Walk a node's program; an outcome if the packet ends there.
    fn rules(&mut self, node: &str, entry: Entry) -> Option<Outcome> {
        let Some(program) = self.world.programs.get(node) else {
            let fix = "the agent builds one as soon as the Node has an InternalIP";
            return Some(dead(node, "there is no rule program for this node", fix));
        };
        let seen = self.request.observed.destination;
        let choice =
            seen.map_or(Choice::Random(self.request.random), |(ip, port)| Choice::Endpoint(ip, port));
        let packet = proxy_agent_ruleset::Packet {
            source: *self.packet.source.ip(),
            source_port: self.packet.source.port(),
            destination: *self.packet.destination.ip(),
            destination_port: self.packet.destination.port(),
            protocol: Protocol::Tcp,
        };
        let run = evaluate(program, packet, entry, choice, &NoAffinity);
        let acted =
            |s: &&proxy_agent_ruleset::Step<'_>| s.hit && !matches!(s.rule.statement, Statement::Jump(_));
        let lines: Vec<String> =
            run.steps.iter().filter(acted).map(|s| format!("{}: {}", s.chain, s.line())).collect();
        let source = run.steps.iter().filter(acted).find_map(|s| s.source()).map(ToString::to_string);
        let (destination, from) = match run.verdict {
            Verdict::Accept { destination: (ip, port), source } => (SocketAddrV4::new(ip, port), source),
            verdict => {
                let word = if verdict == Verdict::Reject { "rejects" } else { "drops" };
                let mut hop = Hop::new(Layer::Rules, node, format!("{word} the packet"));
                (hop.because, hop.object) = (lines, source);
                self.hops.push(hop.packet(self.packet, self.packet));
                return Some(diagnose::blocked(self.world, program, self.packet, verdict));
            }
        };
        if !run.translated && !run.masqueraded {
            let address = self.packet.destination.ip();
            let hop =
                Hop::new(Layer::Rules, node, format!("no rule is about {address}; it goes on as it is"))
                    .object("Services, spec.clusterIP and spec.ports");
            self.hops.push(hop.packet(self.packet, self.packet));
            return None;
        }
        let after = Packet { source: SocketAddrV4::new(from, self.packet.source.port()), destination };
        let mut done = Vec::new();
        if run.translated {
            let chosen = run
                .steps
                .iter()
                .find_map(|s| s.chosen)
                .map_or(String::new(), |(i, n)| format!(" (endpoint {} of {n})", i + 1));
            done.push(format!("DNAT to {destination}{chosen}"));
        }
        if run.masqueraded {
            done.push(format!("masquerades the source as {from}"));
        }
        let mut hop = Hop::new(Layer::Rules, node, done.join(", "));
        (hop.because, hop.object) = (lines, source);
        self.change(hop, after, "conntrack undoes the translation");
        None
    }

    /// Deliver to whatever has the destination address.
    pub(crate) fn deliver(&mut self) -> Outcome {
        let to = self.packet.destination;
        if to == CONTROL_PLANE {
            return self.at_api_server();
        }
        let Some(pod) = self.world.pod_at(*to.ip()) else {
            return diagnose::no_pod(self.world, &self.request.from.place(), to);
        };
        let name = full_name(&pod.metadata);
        let node = pod.spec.as_ref().and_then(|s| s.node_name.clone()).unwrap_or_default();
        let interface = self.world.interface_of(*to.ip());
        let (device, held) = match interface {
            Some(nic) => {
                let index = nic.attachment.as_ref().map_or(0, |a| a.device_index);
                (
                    format!("eth{index}"),
                    Some(format!("NetworkInterface {} spec.privateIpAddresses", nic.network_interface_id)),
                )
            }
            None => ("eth0".to_string(), None),
        };
        let hop = Hop::new(
            Layer::Cni,
            &node,
            format!("comes in on {device}; the host route {}/32 leads to the Pod's interface", to.ip()),
        )
        .because(format!("ip route: {} dev eni{} scope link", to.ip(), short_hash(&name)));
        let hop = Hop { object: held, ..hop };
        self.hops.push(hop.packet(self.packet, self.packet));
        self.at_container(pod, &name)
    }

    fn at_api_server(&mut self) -> Outcome {
        self.over_the_vpc();
        let hop = Hop::new(
            Layer::ApiServer,
            "kube-apiserver",
            "asks who it is, and RBAC what they may; without a token it is system:anonymous",
        );
        let hop = hop.object("EndpointSlice default/kubernetes endpoints");
        self.hops.push(hop.packet(self.packet, self.packet));
        Outcome::ApiServer { address: self.packet.destination }
    }

    fn at_container(&mut self, pod: &Pod, name: &str) -> Outcome {
        let to = self.packet.destination;
        if let Some(outcome) = diagnose::pod_cannot_answer(pod, name) {
            return outcome;
        }
        let containers = pod.spec.iter().flat_map(|s| &s.containers);
        let declared: Vec<(String, String, u16)> = containers
            .flat_map(|c| {
                let image = c.image.clone().unwrap_or_default();
                c.ports.iter().flatten().filter_map(move |p| {
                    Some((c.name.clone(), image.clone(), u16::try_from(p.container_port).ok()?))
                })
            })
            .collect();
        let found = declared.iter().find(|(_, _, port)| *port == to.port());
        let first = pod.spec.iter().flat_map(|s| &s.containers).next();
        if found.is_none() && !declared.is_empty() {
            let chose = |hop: &Hop| {
                matches!(hop.layer, Layer::Rules | Layer::TargetGroup) && hop.before != hop.after
                    || hop.layer == Layer::Target
            };
            let translated = self.hops.iter().any(chose);
            return diagnose::wrong_port(self.world, pod, name, (to, translated), &declared);
        }
        let (container, image) = match (found, first) {
            (Some((container, image, _)), _) => (container.clone(), image.clone()),
            (None, Some(c)) => (c.name.clone(), c.image.clone().unwrap_or_default()),
            (None, None) => (String::new(), String::new()),
        };
        let hop = Hop::new(
            Layer::Container,
            format!("Pod {name}"),
            format!("container {container} ({image}) listens on {}", to.port()),
        )
        .object(format!("Pod {name} spec.containers[{container}].ports"));
        self.hops.push(hop.packet(self.packet, self.packet));
        if self.tls_to_target {
            return dead(
                format!("Pod {name}"),
                "502: the target group speaks HTTPS, the container plain HTTP, so they do not agree on TLS",
                "set alb.ingress.kubernetes.io/backend-protocol to HTTP",
            );
        }
        Outcome::Delivered { pod: name.to_string(), address: to }
    }
}

/// The name the VPC CNI gives a Pod's host side ends in a hash; eleven hex digits stand for it.
fn short_hash(name: &str) -> String {
    let hash = ccm_mock_aws_api::names::fnv1a(name.as_bytes());
    format!("{hash:016x}").chars().take(11).collect()
}
