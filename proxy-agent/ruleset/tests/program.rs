//! The program of node-1 for the golden objects: what one packet meets, and invariants over random Services.
//!
//! Text of the tables is tested in the `nft` crate.

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use proptest::prelude::*;
use proxy_agent_ruleset::*;
use serde::Deserialize;
use std::net::Ipv4Addr;

fn node(name: &str) -> Node {
    Node {
        name: name.into(),
        zone: if name == "node-1" { "us-east-1a" } else { "us-east-1b" }.into(),
        ip: Ipv4Addr::new(10, 0, if name == "node-1" { 1 } else { 2 }, 10),
        cluster_cidr: "10.0.0.0/8".parse().expect("block"),
        service_cidr: "10.96.0.0/16".parse().expect("block"),
    }
}

fn services() -> Vec<Service> {
    serde_yaml_ng::Deserializer::from_str(include_str!("data/objects.yaml"))
        .map(|d| serde_json::Value::deserialize(d).expect("yaml"))
        .filter(|o| o["kind"] == "Service")
        .map(|mut o| {
            let ip = match o["metadata"]["name"].as_str() {
                Some("lb") => Some("192.0.2.60"),
                Some("lb-local") => Some("192.0.2.61"),
                _ => None,
            };
            if let Some(ip) = ip {
                o["status"] = serde_json::json!({"loadBalancer": {"ingress": [{"ip": ip}]}});
            }
            serde_json::from_value(o).expect("a Service")
        })
        .collect()
}

fn slices() -> Vec<EndpointSlice> {
    let list: serde_json::Value =
        serde_json::from_str(include_str!("data/endpointslices.json")).expect("json");
    serde_json::from_value(list["items"].clone()).expect("slices")
}

fn key(service: &Service) -> ServiceKey {
    ServiceKey {
        namespace: service.metadata.namespace.clone().unwrap_or_default(),
        name: service.metadata.name.clone().unwrap_or_default(),
    }
}

fn program(name: &str) -> Program {
    let (mut program, slices) = (Program::new(node(name)), slices());
    for service in services() {
        let own: Vec<&EndpointSlice> = slices
            .iter()
            .filter(|s| {
                s.metadata.labels.as_ref().and_then(|l| l.get("kubernetes.io/service-name"))
                    == service.metadata.name.as_ref()
            })
            .collect();
        let built = build_service(&service, own.iter().copied(), program.node());
        program.set_service(&key(&service), Some(built));
    }
    program
}

fn packet(source: &str, destination: &str, port: u16) -> Packet {
    Packet {
        source: source.parse().expect("source"),
        source_port: 40000,
        destination: destination.parse().expect("destination"),
        destination_port: port,
        protocol: Protocol::Tcp,
    }
}

#[test]
fn what_a_packet_meets() {
    let program = program("node-1");
    // source, destination, port, random number, verdict
    let table = [
        ("10.0.1.99", "10.96.1.1", 80, 2, "10.0.2.23:8080 from 10.0.1.99"),
        ("10.0.1.21", "10.96.1.1", 80, 0, "10.0.1.21:8080 from 10.0.1.10"), // hairpin
        ("198.51.100.10", "10.96.1.1", 443, 1, "10.0.1.22:8443 from 10.0.1.10"),
        ("10.0.1.99", "10.96.1.1", 81, 0, "reject"), // invalid port of a cluster IP
        ("10.0.1.99", "10.96.200.1", 80, 0, "drop"), // unallocated cluster IP
        ("10.0.1.99", "10.96.1.2", 80, 0, "reject"), // no endpoints
        ("10.0.9.9", "10.0.1.10", 30080, 1, "10.0.2.32:8080 from 10.0.1.10"),
        ("198.51.100.10", "10.0.1.10", 30081, 7, "10.0.1.33:8080 from 198.51.100.10"),
        ("10.0.1.99", "10.0.1.10", 30083, 0, "10.0.2.64:8080 from 10.0.1.99"), // short-circuit
        ("198.51.100.10", "10.0.1.10", 30083, 0, "drop"),                      // Local, none here
        ("203.0.113.9", "192.0.2.60", 8080, 0, "10.0.1.61:80 from 10.0.1.10"),
        ("192.0.2.9", "192.0.2.60", 8080, 0, "drop"), // source ranges
        ("10.0.1.99", "10.96.1.11", 80, 5, "10.0.1.91:8080 from 10.0.1.99"), // same zone
        ("10.0.1.99", "10.96.1.12", 80, 5, "10.0.1.101:8080 from 10.0.1.99"), // terminating
        ("10.0.1.99", "10.0.2.23", 8080, 0, "10.0.2.23:8080 from 10.0.1.99"), // not a service
    ];
    for (source, destination, port, random, expected) in table {
        let run = evaluate(
            &program,
            packet(source, destination, port),
            Entry::Arriving,
            Choice::Random(random),
            &NoAffinity,
        );
        let got = match run.verdict {
            Verdict::Accept { destination: (ip, port), source } => format!("{ip}:{port} from {source}"),
            Verdict::Reject => "reject".into(),
            Verdict::Drop => "drop".into(),
        };
        assert_eq!(got, expected, "{source} -> {destination}:{port}");
    }
}

#[test]
fn affinity_sticks() {
    struct Second;
    impl Affinity for Second {
        fn remembers(&self, set: &str, _: Ipv4Addr) -> bool {
            set.ends_with("10.0.2.52/8080")
        }
    }
    let program = program("node-1");
    let first = packet("10.0.1.99", "10.96.1.6", 80);
    let run = evaluate(&program, first, Entry::Arriving, Choice::Random(0), &Second);
    assert_eq!(run.remember, Some("affinity-WBZWR5WF-shop/affinity/tcp/http__10.0.2.52/8080"));
    let run = evaluate(
        &program,
        first,
        Entry::Arriving,
        Choice::Endpoint(Ipv4Addr::new(10, 0, 1, 51), 8080),
        &NoAffinity,
    );
    assert!(
        matches!(run.verdict, Verdict::Accept { destination: (ip, _), .. } if ip == Ipv4Addr::new(10, 0, 1, 51))
    );
}

#[test]
fn steps_name_line_and_field() {
    let program = program("node-1");
    let run = evaluate(
        &program,
        packet("10.0.9.9", "10.0.1.10", 30080),
        Entry::Arriving,
        Choice::Random(0),
        &NoAffinity,
    );
    let hit = run.steps.iter().find(|s| s.element.is_some()).expect("an element");
    assert_eq!(
        hit.line(),
        "ip daddr @nodeport-ips meta l4proto . th dport vmap @service-nodeports → tcp . 30080 : goto external-4STDNQSM-shop/node-port/tcp/http"
    );
    assert_eq!(hit.source().expect("source").to_string(), "Service shop/node-port spec.ports[http].nodePort");
}

#[test]
fn taking_a_service_away_leaves_the_others() {
    let mut program = program("node-1");
    let all: Vec<ServiceKey> = program.services().map(|(k, _)| k.clone()).collect();
    for key in &all {
        assert!(program.set_service(key, None));
        assert!(!program.set_service(key, None), "twice changes nothing");
    }
    assert_eq!(program.service_chains().count(), 0);
    assert_eq!(BASE_SETS.iter().map(|s| program.elements(s.name).count()).sum::<usize>(), 0);
}

proptest! {
    #[test]
    fn every_translation_ends_at_a_usable_endpoint(random: u64, last in 1u8..120, port in prop_oneof![Just(80u16), Just(443), Just(30080), Just(30081), Just(30083), 1u16..65535], ip in 1u8..14, second: bool) {
        let name = if second { "node-2" } else { "node-1" };
        let program = program(name);
        let destination = if port >= 30000 { program.node().ip } else { Ipv4Addr::new(10, 96, 1, ip) };
        let run = evaluate(&program, Packet {
            source: Ipv4Addr::new(10, 0, 1, last), source_port: 1, destination, destination_port: port, protocol: Protocol::Tcp,
        }, Entry::Arriving, Choice::Random(random), &NoAffinity);
        if let (true, Verdict::Accept { destination: (ip, port), .. }) = (run.translated, run.verdict) {
            let usable = program.services().flat_map(|(_, s)| &s.ports).flat_map(|p| &p.endpoints)
                .any(|e| e.ip == ip && e.port == port && (e.ready || (e.serving && e.terminating)));
            prop_assert!(usable, "{ip}:{port}");
        }
        for step in &run.steps {
            if let Statement::Jump(to) | Statement::Goto(to) = &step.rule.statement {
                prop_assert!(program.chain(to).is_some(), "missing chain {to}");
            }
        }
    }
}
