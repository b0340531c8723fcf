//! What the real kube-proxy 1.36 programmed for the golden objects, against ours; order of elements and chains aside.

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use proxy_agent_nft::{diff, fake::FakeNft, full, iptables, nftables};
use proxy_agent_ruleset::{Node, Program, ServiceKey, build_service};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

fn inputs() -> (Vec<Service>, Vec<EndpointSlice>) {
    let mut objects: Vec<Value> = serde_yaml_ng::Deserializer::from_str(include_str!("data/objects.yaml"))
        .map(|d| Value::deserialize(d).expect("yaml"))
        .filter(|o| o["kind"] == "Service")
        .collect();
    for o in &mut objects {
        for (name, ip) in [("lb", "192.0.2.60"), ("lb-local", "192.0.2.61")] {
            if o["metadata"]["name"] == name {
                o["status"] = json!({"loadBalancer": {"ingress": [{"ip": ip}]}});
            }
        }
    }
    objects.push(json!({"metadata": {"name": "kubernetes", "namespace": "default"},
        "spec": {"clusterIP": "10.96.0.1", "ports": [{"name": "https", "port": 443, "targetPort": 16443}]}}));
    let mut list: Value = serde_json::from_str(include_str!("data/endpointslices.json")).expect("json");
    list["items"].as_array_mut().expect("items").push(json!({
        "metadata": {"name": "kubernetes", "namespace": "default", "labels": {"kubernetes.io/service-name": "kubernetes"}},
        "addressType": "IPv4", "ports": [{"name": "https", "port": 16443, "protocol": "TCP"}],
        "endpoints": [{"addresses": ["10.0.1.10"], "conditions": {"ready": true}}]}));
    (
        objects.into_iter().map(|o| serde_json::from_value(o).expect("a Service")).collect(),
        serde_json::from_value(list["items"].clone()).expect("slices"),
    )
}

fn program_without(skip: &[&str]) -> Program {
    let (services, slices) = inputs();
    let mut program = Program::new(Node {
        name: "node-1".into(),
        zone: "us-east-1a".into(),
        ip: Ipv4Addr::new(10, 0, 1, 10),
        cluster_cidr: "10.0.0.0/8".parse().expect("block"),
        service_cidr: "10.96.0.0/16".parse().expect("block"),
    });
    for service in services {
        let (ns, name) = (
            service.metadata.namespace.clone().unwrap_or_default(),
            service.metadata.name.clone().unwrap_or_default(),
        );
        if skip.contains(&name.as_str()) {
            continue;
        }
        let own: Vec<&EndpointSlice> = slices
            .iter()
            .filter(|s| s.metadata.namespace.as_deref() == Some(&ns))
            .filter(|s| {
                s.metadata.labels.as_ref().and_then(|l| l.get("kubernetes.io/service-name")) == Some(&name)
            })
            .collect();
        let built = build_service(&service, own.iter().copied(), program.node());
        program.set_service(&ServiceKey { namespace: ns, name }, Some(built));
    }
    program
}

/// Blocks of an `nft list`: heading to lines; elements of a set as one sorted list.
fn blocks(text: &str) -> BTreeMap<String, Vec<String>> {
    let joined = text.replace(",\n\t\t\t     ", ", ");
    let mut out: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut heading = String::new();
    for line in joined.lines().map(str::trim) {
        if line.ends_with('{') {
            heading = line.to_string();
            out.entry(heading.clone()).or_default();
        } else if let Some(elements) = line.strip_prefix("elements = { ") {
            let mut list: Vec<String> =
                elements.trim_end_matches(" }").split(", ").map(str::to_string).collect();
            list.sort();
            out.entry(heading.clone()).or_default().extend(list);
        } else if !line.is_empty() && line != "}" {
            out.entry(heading.clone()).or_default().push(line.to_string());
        }
    }
    out
}

#[test]
fn nftables_is_what_kube_proxy_programs() {
    let (ours, theirs) =
        (blocks(&nftables(&program_without(&[]))), blocks(include_str!("data/nftables-node-1.txt")));
    for (heading, lines) in &theirs {
        assert_eq!(ours.get(heading), Some(lines), "{heading}");
    }
    assert_eq!(ours.keys().collect::<Vec<_>>(), theirs.keys().collect::<Vec<_>>());
}

/// Lines of an `iptables-save` by table and chain; order within a chain matters except where Services come in any order.
fn chains(text: &str) -> BTreeMap<String, Vec<String>> {
    let mut out: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut table = String::new();
    for line in text.lines() {
        if line.starts_with('*') {
            table = line.to_string();
        } else if let Some(rest) = line.strip_prefix("-A ") {
            let chain = rest.split(' ').next().unwrap_or_default();
            out.entry(format!("{table} {chain}")).or_default().push(line.to_string());
        } else {
            out.entry(format!("{table} {line}")).or_default();
        }
    }
    let unordered: BTreeSet<&str> = ["KUBE-SERVICES", "KUBE-NODEPORTS", "KUBE-EXTERNAL-SERVICES"].into();
    for (name, lines) in &mut out {
        if unordered.contains(name.split(' ').nth(1).unwrap_or_default()) {
            lines.sort();
        }
    }
    out
}

#[test]
fn iptables_is_what_kube_proxy_programs() {
    let (ours, theirs) =
        (chains(&iptables(&program_without(&[]))), chains(include_str!("data/iptables-node-1.txt")));
    for (name, lines) in &theirs {
        assert_eq!(ours.get(name), Some(lines), "{name}");
    }
    assert_eq!(ours.keys().collect::<Vec<_>>(), theirs.keys().collect::<Vec<_>>());
}

#[test]
fn one_service_changed_touches_that_service_only() {
    let (with, without) = (program_without(&[]), program_without(&["web"]));
    let mut kernel = FakeNft::default();
    kernel.apply(&full(&with)).expect("full");
    let before = kernel.clone();
    let remove = diff(&with, &without);
    for command in &remove.commands {
        let text = command.to_string();
        assert!(
            text.contains("shop/web/") || text.contains("10.96.1.1") || text.contains("10.0.1.2"),
            "{text}"
        );
    }
    kernel.apply(&remove).expect("remove");
    let mut fresh = FakeNft::default();
    fresh.apply(&full(&without)).expect("full");
    assert_eq!(kernel, fresh);
    kernel.apply(&diff(&without, &with)).expect("add");
    assert_eq!(kernel, before);
    assert!(diff(&with, &with).commands.is_empty());
}

#[test]
fn the_fake_refuses_what_a_kernel_refuses() {
    let program = program_without(&[]);
    let mut transaction = full(&program);
    let missing = transaction
        .commands
        .iter()
        .position(|c| c.to_string().starts_with("add chain ip kube-proxy service-KHN6"))
        .expect("chain");
    transaction.commands.remove(missing);
    let mut kernel = FakeNft::default();
    assert!(kernel.apply(&transaction).is_err());
    assert_eq!(kernel, FakeNft::default(), "all or nothing");
}
