//! The hops inside a load balancer: listener, rule, target group, target.
//!
//! Which rule and which target is `alb_routing`'s.

use crate::hop::{BALANCER, Hop, Layer, Outcome, Packet};
use crate::walk::{Start, Walk, dead};
use crate::world::full_name;
use crate::{diagnose, origin};
use ccm_mock_alb_routing::{
    Algorithm, Outcome as Routed, RequestHead, candidates, choose_target_group, passed_over, route, select,
    sticky_target, sticky_target_group,
};
use ccm_mock_aws_api::acm::name_covers;
use ccm_mock_aws_api::elbv2::{
    Listener, LoadBalancer, LoadBalancerType, Protocol, Rule, TargetGroup, TargetGroupStickinessConfig,
    TargetHealthDescription, TargetType,
};
use ccm_mock_aws_api::names::object_name;
use std::net::{Ipv4Addr, SocketAddrV4};

/// Port of the load balancer's own connection in a trace.
const BALANCER_PORT: u16 = 41_022;

pub(crate) fn health_line(target: &TargetHealthDescription) -> String {
    let reason = target
        .reason
        .as_ref()
        .map_or(String::new(), |r| format!(" ({r}: {})", target.description.as_deref().unwrap_or_default()));
    format!("{}:{} {}{reason}", target.id, target.port, target.state)
}

impl Walk<'_> {
    fn head(&self) -> RequestHead {
        RequestHead {
            method: self.request.method.clone(),
            scheme: self.request.scheme.clone(),
            host: self.request.host.clone(),
            path: self.request.path.clone(),
            query: self.request.query.clone(),
            headers: self.request.headers.clone(),
            source_ip: (*self.packet.source.ip()).into(),
        }
    }

    /// The packet has reached an interface of a load balancer.
    pub(crate) fn at_balancer(&mut self, balancer: &LoadBalancer, interface: Ipv4Addr) -> Outcome {
        let name = balancer.load_balancer_name.clone();
        let zone = balancer.availability_zones.iter().find(|z| {
            z.load_balancer_addresses.iter().any(|a| a.private_ipv4_address == interface.to_string())
        });
        let zone = zone.map_or(String::new(), |z| format!(" in {} ({})", z.zone_name, z.subnet_id));
        let hop = Hop::new(
            Layer::LoadBalancer,
            &name,
            format!("{} {} load balancer{zone}", balancer.scheme, balancer.r#type),
        )
        .object(format!("LoadBalancer {} spec", object_name(&name)))
        .made_from(origin::of_balancer(self.world, &balancer.tags));
        self.hops.push(hop.packet(self.packet, self.packet));
        let port = self.packet.destination.port();
        let listeners: Vec<Listener> = self
            .world
            .cloud
            .listeners
            .iter()
            .filter(|l| l.load_balancer_arn == balancer.load_balancer_arn)
            .cloned()
            .collect();
        let Some(listener) = listeners.iter().find(|l| l.port == port) else {
            return diagnose::no_listener(self.world, &name, self.request, &listeners);
        };
        if let Some(outcome) = self.at_listener(listener, &name) {
            return outcome;
        }
        if balancer.r#type == LoadBalancerType::Network {
            let groups = listener
                .default_actions
                .iter()
                .flat_map(|a| a.target_groups())
                .map(|(arn, w)| (arn.to_string(), w))
                .collect();
            return self.forward(balancer, interface, groups, None);
        }
        self.at_rules(balancer, listener, interface)
    }

    fn at_listener(&mut self, listener: &Listener, balancer: &str) -> Option<Outcome> {
        let place = format!("{balancer}:{}", listener.port);
        let mut hop =
            Hop::new(Layer::Listener, &place, format!("{} on port {}", listener.protocol, listener.port))
                .object(format!("Listener {}-{} spec", object_name(balancer), listener.port))
                .made_from(origin::of_listener(self.world, listener));
        let encrypted = matches!(listener.protocol, Protocol::Https | Protocol::Tls);
        let web = matches!(listener.protocol, Protocol::Http | Protocol::Https);
        if encrypted {
            let of = |arn: &str| self.world.cloud.certificates.iter().find(|c| c.certificate_arn == arn);
            let all: Vec<_> = listener.certificates.iter().filter_map(|c| of(&c.certificate_arn)).collect();
            let host = &self.request.host;
            let named = all.iter().find(|c| c.subject_alternative_names.iter().any(|n| name_covers(n, host)));
            match (named, all.first()) {
                (Some(certificate), _) => {
                    hop = hop.because(format!(
                        "TLS ends here with the certificate for {} ({})",
                        certificate.subject_alternative_names.join(", "),
                        certificate.certificate_arn
                    ));
                }
                (None, Some(default)) => {
                    let text = format!(
                        "no certificate of {place} is for {host}; the default one is for {}, so clients will not trust it",
                        default.subject_alternative_names.join(", ")
                    );
                    self.warnings.push(text.clone());
                    hop = hop.because(text);
                }
                (None, None) => {
                    self.hops.push(hop.packet(self.packet, self.packet));
                    let fix = "add a certificate for the host: alb.ingress.kubernetes.io/certificate-arn, or a Certificate object that covers it";
                    return Some(dead(place, "the listener has no certificate that can be used", fix));
                }
            }
        }
        self.hops.push(hop.packet(self.packet, self.packet));
        let https = self.request.scheme == "https";
        if web && https != encrypted {
            let (said, asked) = if encrypted { ("HTTPS", "http") } else { ("HTTP", "https") };
            let fix = format!(
                "use {}://, or change the listener's protocol (alb.ingress.kubernetes.io/listen-ports)",
                if encrypted { "https" } else { "http" }
            );
            return Some(dead(place, format!("the listener speaks {said}, the request is {asked}"), fix));
        }
        None
    }

    fn at_rules(&mut self, balancer: &LoadBalancer, listener: &Listener, interface: Ipv4Addr) -> Outcome {
        let rules: Vec<Rule> = self
            .world
            .cloud
            .rules
            .iter()
            .filter(|r| r.listener_arn == listener.listener_arn)
            .cloned()
            .collect();
        let head = self.head();
        let decision = route(listener, &rules, &head);
        let not_taken: Vec<String> = passed_over(&rules, &head)
            .into_iter()
            .map(|(rule, why)| format!("rule {}: {why}", rule.priority))
            .collect();
        let (priority, conditions) = match decision.rule {
            Some(rule) if !rule.is_default => {
                let all: Vec<String> = rule.conditions.iter().map(|c| c.summary()).collect();
                (rule.priority.clone(), all.join(" and "))
            }
            _ => ("default".to_string(), "no rule matched, so the default one applies".to_string()),
        };
        let place = format!("{}:{} rule {priority}", balancer.load_balancer_name, listener.port);
        let action = decision.action.map_or("no action".to_string(), |a| a.summary());
        let hop = Hop::new(Layer::Rule, &place, action.clone())
            .because(conditions)
            .object(format!(
                "ListenerRule {}-{}-{priority} spec",
                object_name(&balancer.load_balancer_name),
                listener.port
            ))
            .made_from(origin::of_rule(self.world, listener, decision.rule))
            .not_taken(not_taken);
        self.hops.push(hop.packet(self.packet, self.packet));
        match decision.outcome {
            Routed::Redirect { status, location } => {
                Outcome::Answered { by: BALANCER.to_owned(), status, text: format!("go to {location}") }
            }
            Routed::FixedResponse { status, body, .. } => diagnose::fixed_response(
                self.world,
                self.request,
                &rules,
                &place,
                priority == "default",
                status,
                &body,
            ),
            Routed::Forward { target_groups, stickiness } => {
                self.forward(balancer, interface, target_groups, stickiness.as_ref())
            }
        }
    }

    fn forward(
        &mut self,
        balancer: &LoadBalancer,
        interface: Ipv4Addr,
        groups: Vec<(String, u32)>,
        stickiness: Option<&TargetGroupStickinessConfig>,
    ) -> Outcome {
        let name = &balancer.load_balancer_name;
        let seen =
            self.request.observed.target_group_arn.clone().filter(|arn| groups.iter().any(|(a, _)| a == arn));
        let kept = sticky_target_group(stickiness, &groups, &self.head(), self.request.now_s);
        let by_cookie = kept.is_some_and(|arn| seen.as_ref().is_none_or(|seen| seen == arn));
        let chosen = seen.or_else(|| {
            kept.or_else(|| choose_target_group(&groups, self.request.random)).map(str::to_string)
        });
        let found = chosen.and_then(|arn| {
            self.world.cloud.target_groups.iter().find(|t| t.target_group_arn == arn).cloned()
        });
        let Some(group) = found else {
            return dead(
                name,
                "503: no target group has a weight above 0",
                "give one of the target groups a weight (alb.ingress.kubernetes.io/actions.*)",
            );
        };
        let possible = candidates(&group.targets);
        let lines: Vec<String> = group.targets.iter().map(health_line).collect();
        let healthy = possible.indexes.len();
        let state = if possible.fail_open {
            "none is healthy, so all get traffic (fail open)".to_string()
        } else {
            format!("{healthy} of {} targets can be used", group.targets.len())
        };
        let mut hop = Hop::new(
            Layer::TargetGroup,
            &group.target_group_name,
            format!("{} to {} targets on port {}; {state}", group.protocol, group.target_type, group.port),
        )
        .object(format!("TargetGroup {} status.targets", object_name(&group.target_group_name)))
        .made_from(
            diagnose::service_of(self.world, &group)
                .map(|s| format!("Service {} spec.selector", full_name(&s.metadata))),
        );
        hop.because = lines;
        if by_cookie {
            hop = hop.because("the request's cookie AWSALBTG keeps the client with this target group");
        }
        self.hops.push(hop.packet(self.packet, self.packet));
        let Some((target, cookie)) = self.pick(&group, &possible) else {
            return diagnose::no_targets(self.world, &group);
        };
        if possible.fail_open {
            let first = diagnose::unhealthy(&group, &target);
            self.warnings.push(first);
        }
        self.send_to_target(balancer, interface, &group, &target, cookie)
    }

    fn pick(
        &self,
        group: &TargetGroup,
        possible: &ccm_mock_alb_routing::Candidates,
    ) -> Option<(TargetHealthDescription, Option<&'static str>)> {
        let kept = sticky_target(group, possible, &self.head(), self.request.now_s);
        let kept = kept.and_then(|(index, cookie)| Some((group.targets.get(index)?.clone(), Some(cookie))));
        if let Some((id, port)) = &self.request.observed.target
            && let Some(seen) = group.targets.iter().find(|t| t.is(id, *port))
        {
            return kept.filter(|(target, _)| target == seen).or_else(|| Some((seen.clone(), None)));
        }
        if kept.is_some() {
            return kept;
        }
        let index = select(Algorithm::of(&group.attributes), possible, self.request.random, |_| 0)?;
        Some((group.targets.get(index)?.clone(), None))
    }

    fn send_to_target(
        &mut self,
        balancer: &LoadBalancer,
        interface: Ipv4Addr,
        group: &TargetGroup,
        target: &TargetHealthDescription,
        cookie: Option<&'static str>,
    ) -> Outcome {
        let name = &balancer.load_balancer_name;
        let address = match group.target_type {
            TargetType::Ip => target.id.parse::<Ipv4Addr>().ok(),
            TargetType::Instance => self
                .world
                .cloud
                .instances
                .iter()
                .find(|i| i.instance_id == target.id)
                .and_then(|i| i.private_ip_address.parse().ok()),
        };
        let Some(ip) = address else {
            return dead(
                name,
                format!("target {} has no address: the instance is gone", target.id),
                "the CCM registers nodes again when they return",
            );
        };
        let network = balancer.r#type == LoadBalancerType::Network;
        let keep = network
            && group.target_type == TargetType::Instance
            && group.attributes.get("preserve_client_ip.enabled").is_none_or(|v| v == "true");
        let source = if keep { self.packet.source } else { SocketAddrV4::new(interface, BALANCER_PORT) };
        let after = Packet { source, destination: SocketAddrV4::new(ip, target.port) };
        let algorithm =
            group.attributes.get("load_balancing.algorithm.type").map_or("flow hash", String::as_str);
        // A client that is kept with a target is not counted out.
        let algorithm = cookie.map_or(algorithm.to_string(), |cookie| format!("kept by cookie {cookie}"));
        let action = match group.target_type {
            TargetType::Ip => {
                format!("chooses {}:{} ({algorithm}, {})", target.id, target.port, target.state)
            }
            TargetType::Instance => format!(
                "chooses {} at {ip}, node port {} ({algorithm}, {})",
                target.id, target.port, target.state
            ),
        };
        let added = if network {
            vec![]
        } else {
            vec![format!(
                "adds X-Forwarded-For: {}, X-Forwarded-Proto: {}, X-Forwarded-Port, X-Amzn-Trace-Id",
                self.packet.source.ip(),
                self.request.scheme
            )]
        };
        let mut hop = Hop::new(Layer::Target, name, action)
            .object(format!("TargetGroup {} spec.attributes", object_name(&group.target_group_name)));
        hop.because = added;
        let how = if network {
            "passes the bytes back on the client's connection"
        } else {
            "passes the answer back on the client's connection"
        };
        self.tls_to_target = group.protocol == Protocol::Https;
        self.change(hop, after, how);
        self.over_the_vpc();
        self.connect(Start::Vpc)
    }
}
