//! From a question to an answer, with who said what on the way.
//!
//! CNAMEs and aliases are followed across all zones the asker can see.

use crate::zones::{Answer, Code, Record, Step, Type, View, Zones};
use ccm_mock_aws_api::route53::{HostedZone, RecordType, ResourceRecordSet};
use std::net::Ipv4Addr;

/// CNAMEs followed before giving up.
const MAX_CHAIN: usize = 8;
const BALANCER_TTL: u32 = 60;
const CLUSTER_TTL: u32 = 30;
const VPC_RESOLVER: &str = "VPC resolver 10.0.0.2";

fn kind(r#type: RecordType) -> Type {
    match r#type {
        RecordType::A => Type::A,
        RecordType::Aaaa => Type::Aaaa,
        RecordType::Cname => Type::Cname,
        RecordType::Txt => Type::Txt,
        RecordType::Ns => Type::Ns,
        RecordType::Soa => Type::Soa,
        RecordType::Mx => Type::Mx,
        RecordType::Srv => Type::Srv,
        RecordType::Caa => Type::Caa,
    }
}

fn below<'a>(name: &'a str, zone: &str) -> Option<&'a str> {
    let zone = zone.trim_end_matches('.');
    if name == zone { Some("") } else { name.strip_suffix(zone)?.strip_suffix('.') }
}

fn record(name: &str, r#type: Type, ttl: u32, data: impl Into<String>) -> Record {
    Record { name: format!("{name}."), r#type, ttl, data: data.into() }
}

struct Walk<'a> {
    zones: &'a Zones,
    view: &'a View,
    answer: Answer,
}

enum Next {
    Done,
    Follow(String),
}

/// Answer a question. `name` may have a trailing dot; it is taken as it is, without search names.
pub fn resolve(zones: &Zones, name: &str, r#type: Type, view: &View) -> Answer {
    let answer = Answer { code: Code::NoError, records: vec![], authority: vec![], steps: vec![] };
    let mut walk = Walk { zones, view, answer };
    let mut name = name.trim_end_matches('.').to_ascii_lowercase();
    for _ in 0..MAX_CHAIN {
        match walk.one(&name, r#type) {
            Next::Done => break,
            Next::Follow(next) => name = next,
        }
    }
    walk.answer
}

/// The names a client tries in turn: a Pod's search list with `ndots:5`, otherwise the name alone.
pub fn search_names(zones: &Zones, name: &str, view: &View) -> Vec<String> {
    let View::Cluster { namespace } = view else { return vec![name.trim_end_matches('.').to_string()] };
    if let Some(full) = name.strip_suffix('.') {
        return vec![full.to_string()];
    }
    let domain = zones.domain();
    let mut searched: Vec<String> =
        [format!("{namespace}.svc.{domain}"), format!("svc.{domain}"), domain.to_string()]
            .iter()
            .map(|suffix| format!("{name}.{suffix}"))
            .collect();
    if name.matches('.').count() >= 5 {
        searched.insert(0, name.to_string());
    } else {
        searched.push(name.to_string());
    }
    searched
}

/// Resolve as a client does: the first of the search names that has records; the steps of all tries.
pub fn lookup(zones: &Zones, name: &str, r#type: Type, view: &View) -> Answer {
    let mut steps = Vec::new();
    let mut last = None;
    for candidate in search_names(zones, name, view) {
        let mut answer = resolve(zones, &candidate, r#type, view);
        steps.append(&mut answer.steps);
        let found = !answer.records.is_empty();
        last = Some(answer);
        if found {
            break;
        }
    }
    let empty = Answer { code: Code::NxDomain, records: vec![], authority: vec![], steps: vec![] };
    Answer { steps, ..last.unwrap_or(empty) }
}

impl Walk<'_> {
    fn step(
        &mut self,
        server: &str,
        name: &str,
        r#type: Type,
        answer: String,
        ttl: Option<u32>,
        source: Option<String>,
    ) {
        let question = format!("{name} {type}");
        self.answer.steps.push(Step { server: server.into(), question, answer, ttl, source });
    }

    fn one(&mut self, name: &str, r#type: Type) -> Next {
        if let (View::Cluster { .. }, Some(rest)) = (self.view, below(name, self.zones.domain())) {
            let labels: Vec<String> = rest.rsplit('.').map(str::to_string).collect();
            return self.cluster(name, &labels, r#type);
        }
        if let Some(balancer) = self.zones.balancers.get(name).cloned() {
            let texts: Vec<String> = balancer.addresses.iter().map(Ipv4Addr::to_string).collect();
            let source = Some(format!("LoadBalancer {} status.availabilityZones", balancer.name));
            if r#type == Type::A {
                self.answer.records.extend(texts.iter().map(|ip| record(name, Type::A, BALANCER_TTL, ip)));
            }
            self.step("elb.amazonaws.com", name, r#type, texts.join(", "), Some(BALANCER_TTL), source);
            return Next::Done;
        }
        if let Some(zone) = self.hosted(name) {
            return self.zone(&zone, name, r#type);
        }
        if let (View::Vpc | View::Cluster { .. }, Some(ip)) = (self.view, private_name(name)) {
            if r#type == Type::A {
                self.answer.records.push(record(name, Type::A, CLUSTER_TTL * 2, ip.to_string()));
            }
            self.step(VPC_RESOLVER, name, r#type, ip.to_string(), Some(60), None);
            return Next::Done;
        }
        let server = if *self.view == View::Internet { "public DNS" } else { VPC_RESOLVER };
        let known: Vec<&str> = self.zones.hosted.iter().map(|z| z.name.trim_end_matches('.')).collect();
        let hint = if known.is_empty() {
            "there is no hosted zone".to_string()
        } else {
            format!("hosted zones: {}", known.join(", "))
        };
        let elb = name.ends_with(".amazonaws.com");
        let text = if elb {
            "no such load balancer".to_string()
        } else {
            format!("no zone is about this name ({hint})")
        };
        self.answer.code = if elb { Code::NxDomain } else { Code::Refused };
        self.step(server, name, r#type, text, None, None);
        Next::Done
    }

    fn hosted(&self, name: &str) -> Option<HostedZone> {
        let visible = |z: &&HostedZone| !z.private_zone || *self.view != View::Internet;
        let fitting = self.zones.hosted.iter().filter(visible).filter(|z| below(name, &z.name).is_some());
        fitting.max_by_key(|z| (z.name.len(), z.private_zone)).cloned()
    }

    fn zone(&mut self, zone: &HostedZone, name: &str, r#type: Type) -> Next {
        let server = zone
            .name_servers
            .first()
            .map_or("Route 53".to_string(), |ns| format!("Route 53 {}", ns.trim_end_matches('.')));
        let sets = matching(zone, name);
        if sets.is_empty() {
            self.answer.code = Code::NxDomain;
            self.soa(zone);
            let text = format!("NXDOMAIN: zone {} has no such record", zone.name.trim_end_matches('.'));
            self.step(&server, name, r#type, text, None, Some(format!("HostedZone {}", zone.object_name)));
            return Next::Done;
        }
        let wanted = sets
            .iter()
            .find(|s| kind(s.r#type) == r#type)
            .or_else(|| sets.iter().find(|s| s.r#type == RecordType::Cname));
        let Some(set) = wanted else {
            self.soa(zone);
            self.step(&server, name, r#type, "no records of this type".into(), None, None);
            return Next::Done;
        };
        let source = Some(format!(
            "HostedZone {} spec.resourceRecordSets[{} {}]",
            zone.object_name, set.name, set.r#type
        ));
        if let Some(alias) = &set.alias_target {
            let target = alias.dns_name.trim_end_matches('.').to_ascii_lowercase();
            let target = target.strip_prefix("dualstack.").unwrap_or(&target).to_string();
            self.step(&server, name, r#type, format!("alias {target}"), Some(BALANCER_TTL), source);
            // The asker sees the alias's own name: Route 53 follows the target itself.
            let before = self.answer.records.len();
            let next = self.one(&target, r#type);
            for found in self.answer.records.iter_mut().skip(before) {
                found.name = format!("{name}.");
                found.ttl = BALANCER_TTL;
            }
            return next;
        }
        let ttl = set.ttl.unwrap_or(300);
        let values = set.resource_records.clone();
        self.answer.records.extend(values.iter().map(|v| record(name, kind(set.r#type), ttl, v)));
        let text = if set.r#type == RecordType::Cname {
            format!("CNAME {}", values.join(", "))
        } else {
            values.join(", ")
        };
        self.step(&server, name, r#type, text, Some(ttl), source);
        match values.first() {
            Some(target) if set.r#type == RecordType::Cname && r#type != Type::Cname => {
                Next::Follow(target.trim_end_matches('.').to_ascii_lowercase())
            }
            _ => Next::Done,
        }
    }

    fn soa(&mut self, zone: &HostedZone) {
        let soa = zone.resource_record_sets.iter().find(|r| r.r#type == RecordType::Soa);
        if let Some((soa, data)) = soa.and_then(|s| Some((s, s.resource_records.first()?))) {
            let name = zone.name.trim_end_matches('.');
            self.answer.authority.push(record(name, Type::Soa, soa.ttl.unwrap_or(900), data));
        }
    }

    /// Names below the cluster's domain; `labels` from the right: `svc`, namespace, Service, …
    fn cluster(&mut self, name: &str, labels: &[String], r#type: Type) -> Next {
        const SERVER: &str = "cluster DNS 10.96.0.10";
        let label = |i: usize| labels.get(i).map(String::as_str).unwrap_or_default();
        if label(0) == "pod"
            && labels.len() == 3
            && let Ok(ip) = label(2).replace('-', ".").parse::<Ipv4Addr>()
        {
            if r#type == Type::A {
                self.answer.records.push(record(name, Type::A, CLUSTER_TTL, ip.to_string()));
            }
            self.step(SERVER, name, r#type, ip.to_string(), Some(CLUSTER_TTL), None);
            return Next::Done;
        }
        let key = (label(1).to_string(), label(2).to_string());
        let service = if label(0) == "svc" { self.zones.services.get(&key).cloned() } else { None };
        let Some(service) = service else {
            self.answer.code = Code::NxDomain;
            self.soa_cluster();
            self.step(SERVER, name, r#type, "NXDOMAIN: no such Service".into(), None, None);
            return Next::Done;
        };
        let source = |field: &str| Some(format!("Service {}/{} {field}", key.0, key.1));
        if let Some(external) = &service.external_name {
            self.answer.records.push(record(
                name,
                Type::Cname,
                CLUSTER_TTL,
                format!("{}.", external.trim_end_matches('.')),
            ));
            self.step(
                SERVER,
                name,
                r#type,
                format!("CNAME {external}"),
                Some(CLUSTER_TTL),
                source("spec.externalName"),
            );
            return Next::Follow(external.trim_end_matches('.').to_ascii_lowercase());
        }
        let (records, field) = match labels.len() {
            3 => match service.cluster_ip {
                Some(ip) => (vec![record(name, Type::A, CLUSTER_TTL, ip.to_string())], "spec.clusterIP"),
                None => (
                    service
                        .endpoints
                        .iter()
                        .map(|(_, ip)| record(name, Type::A, CLUSTER_TTL, ip.to_string()))
                        .collect(),
                    "endpoints",
                ),
            },
            4 => {
                let host = service
                    .endpoints
                    .iter()
                    .filter(|(host, _)| service.cluster_ip.is_none() && host == label(3));
                (
                    host.map(|(_, ip)| record(name, Type::A, CLUSTER_TTL, ip.to_string())).collect(),
                    "endpoints[].hostname",
                )
            }
            5 => {
                let (protocol, port) = (label(3).trim_start_matches('_'), label(4).trim_start_matches('_'));
                let base = format!("{}.{}.svc.{}.", key.1, key.0, self.zones.domain());
                let found = service.ports.iter().filter(|(n, p, _)| n == port && p == protocol);
                let targets: Vec<String> = match service.cluster_ip {
                    Some(_) => vec![base],
                    None => service.endpoints.iter().map(|(host, _)| format!("{host}.{base}")).collect(),
                };
                let all = found.flat_map(|(_, _, n)| targets.iter().map(move |t| format!("0 100 {n} {t}")));
                (all.map(|data| record(name, Type::Srv, CLUSTER_TTL, data)).collect(), "spec.ports")
            }
            _ => (Vec::new(), ""),
        };
        if records.is_empty() {
            self.answer.code = if labels.len() == 3 { Code::NoError } else { Code::NxDomain };
            self.soa_cluster();
            self.step(
                SERVER,
                name,
                r#type,
                "no addresses: the Service has no ready endpoints".into(),
                None,
                source(field),
            );
            return Next::Done;
        }
        let texts: Vec<&str> = records.iter().map(|r| r.data.as_str()).collect();
        self.step(SERVER, name, r#type, texts.join(", "), Some(CLUSTER_TTL), source(field));
        self.answer.records.extend(records.into_iter().filter(|r| r.r#type == r#type));
        Next::Done
    }

    fn soa_cluster(&mut self) {
        let domain = self.zones.domain();
        let data = format!("ns.dns.{domain}. hostmaster.{domain}. 1 7200 1800 86400 {CLUSTER_TTL}");
        self.answer.authority.push(record(domain, Type::Soa, CLUSTER_TTL, data));
    }
}

/// Record sets of a name: its own, or those of the closest wildcard.
fn matching<'a>(zone: &'a HostedZone, name: &str) -> Vec<&'a ResourceRecordSet> {
    let owned = |owner: &str| -> Vec<&'a ResourceRecordSet> {
        let same = |s: &&ResourceRecordSet| {
            s.name.replace("\\052", "*").trim_end_matches('.').eq_ignore_ascii_case(owner)
        };
        zone.resource_record_sets.iter().filter(same).collect()
    };
    let exact = owned(name);
    if !exact.is_empty() {
        return exact;
    }
    let mut rest = name;
    while let Some((_, parent)) = rest.split_once('.') {
        let wild = owned(&format!("*.{parent}"));
        if !wild.is_empty() {
            return wild;
        }
        if below(parent, &zone.name).is_none_or(str::is_empty) {
            break;
        }
        rest = parent;
    }
    Vec::new()
}

/// `ip-10-0-16-4.ec2.internal`.
fn private_name(name: &str) -> Option<Ipv4Addr> {
    name.strip_prefix("ip-")?.strip_suffix(".ec2.internal")?.replace('-', ".").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::ClusterService;
    use crate::zones::Balancer;
    use ccm_mock_aws_api::route53::AliasTarget;

    const LB: &str = "web-1.us-east-1.elb.amazonaws.com";

    fn zones() -> Zones {
        let set = |name: &str, r#type, values: &[&str], alias: Option<&str>| ResourceRecordSet {
            name: name.into(),
            r#type,
            ttl: alias.is_none().then_some(300),
            resource_records: values.iter().map(|v| v.to_string()).collect(),
            alias_target: alias.map(|a| AliasTarget { dns_name: a.into(), ..Default::default() }),
        };
        let zone = HostedZone {
            name: "shop.test.".into(),
            object_name: "shop".into(),
            name_servers: vec!["ns-1.awsdns-01.com.".into()],
            resource_record_sets: vec![
                set("shop.test.", RecordType::A, &[], Some(LB)),
                set("www.shop.test.", RecordType::Cname, &["shop.test."], None),
                set("\\052.dev.shop.test.", RecordType::A, &["192.0.2.7"], None),
                set("shop.test.", RecordType::Soa, &["ns. host. 1 2 3 4 5"], None),
            ],
            ..Default::default()
        };
        let mut zones = Zones { hosted: vec![zone], ..Default::default() };
        let addresses = vec![Ipv4Addr::new(127, 66, 1, 1), Ipv4Addr::new(127, 66, 1, 2)];
        zones.balancers.insert(LB.into(), Balancer { name: "web".into(), addresses });
        let web = ClusterService {
            cluster_ip: Some(Ipv4Addr::new(10, 96, 0, 7)),
            ports: vec![("http".into(), "tcp".into(), 80)],
            ..Default::default()
        };
        zones.services.insert(("default".into(), "web".into()), web);
        let db = ClusterService {
            endpoints: vec![("db-0".into(), Ipv4Addr::new(10, 0, 16, 9))],
            ..Default::default()
        };
        zones.services.insert(("data".into(), "db".into()), db);
        let ext = ClusterService { external_name: Some("www.shop.test".into()), ..Default::default() };
        zones.services.insert(("default".into(), "ext".into()), ext);
        zones
    }

    #[test]
    fn names_lead_where_they_should() {
        let pod = View::Cluster { namespace: "default".into() };
        let (two, none) = ("127.66.1.1 127.66.1.2", "");
        let table = [
            ("shop.test", Type::A, View::Internet, two, Code::NoError),
            ("WWW.shop.test.", Type::A, View::Internet, "shop.test. 127.66.1.1 127.66.1.2", Code::NoError),
            ("x.dev.shop.test", Type::A, View::Internet, "192.0.2.7", Code::NoError),
            ("no.shop.test", Type::A, View::Internet, none, Code::NxDomain),
            ("shop.test", Type::Txt, View::Internet, none, Code::NoError),
            ("other.test", Type::A, View::Internet, none, Code::Refused),
            (LB, Type::A, View::Vpc, two, Code::NoError),
            ("web.default.svc.cluster.local", Type::A, pod.clone(), "10.96.0.7", Code::NoError),
            ("web.default.svc.cluster.local", Type::A, View::Internet, none, Code::Refused),
            ("db.data.svc.cluster.local", Type::A, pod.clone(), "10.0.16.9", Code::NoError),
            ("db-0.db.data.svc.cluster.local", Type::A, pod.clone(), "10.0.16.9", Code::NoError),
            (
                "_http._tcp.web.default.svc.cluster.local",
                Type::Srv,
                pod.clone(),
                "0 100 80 web.default.svc.cluster.local.",
                Code::NoError,
            ),
            ("10-0-16-9.default.pod.cluster.local", Type::A, pod.clone(), "10.0.16.9", Code::NoError),
            ("no.default.svc.cluster.local", Type::A, pod.clone(), none, Code::NxDomain),
            ("ip-10-0-16-4.ec2.internal", Type::A, View::Vpc, "10.0.16.4", Code::NoError),
        ];
        let zones = zones();
        for (name, r#type, view, expected, code) in table {
            let answer = resolve(&zones, name, r#type, &view);
            let data: Vec<&str> = answer.records.iter().map(|r| r.data.as_str()).collect();
            assert_eq!((data.join(" ").as_str(), answer.code), (expected, code), "{name} {type}");
        }
    }

    #[test]
    fn a_pod_searches_and_every_server_is_named() {
        let pod = View::Cluster { namespace: "default".into() };
        let found = lookup(&zones(), "db.data", Type::A, &pod);
        assert_eq!(found.addresses(), [Ipv4Addr::new(10, 0, 16, 9)]);
        assert_eq!(found.steps.len(), 2, "{:?}", found.steps);
        let found = lookup(&zones(), "ext", Type::A, &pod);
        let servers: Vec<&str> = found.steps.iter().map(|s| s.server.as_str()).collect();
        assert_eq!(
            servers,
            [
                "cluster DNS 10.96.0.10",
                "Route 53 ns-1.awsdns-01.com",
                "Route 53 ns-1.awsdns-01.com",
                "elb.amazonaws.com"
            ]
        );
    }
}
