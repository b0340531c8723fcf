//! Cluster IPs and node ports under concurrent writers: given out once, and all of them come back.

mod common;

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use apiserver_json::{Value, json};
use apiserver_registry::{Call, Cidr, DeleteOptions, ServiceRanges};
use common::call;
use futures::future::join_all;

const PORTS: usize = 40;

fn service(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": {
        "type": "NodePort", "ports": [{"port": 80, "protocol": "TCP", "targetPort": 80}]}})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_given_out_is_unique_and_comes_back() {
    let ranges = ServiceRanges {
        primary: Cidr::v4(Ipv4Addr::new(10, 0, 0, 0), 26),
        secondary: None,
        node_ports: (30000, 30000 + PORTS as u16 - 1),
    };
    let registry = common::registry(ranges, &[]);
    let catalogue = registry.catalogue();
    let resource = |name: &str| catalogue.get("", "v1", name).expect("a built-in kind").clone();
    let (namespaces, services) = (resource("namespaces"), resource("services"));
    let default = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "default"}});
    registry.create(&call(&namespaces, "default"), default).await.expect("a namespace is created");

    for round in 0..3 {
        // Twice as many writers as ports, in pairs of one name: one of each pair loses, and must give back.
        let writers = (0..PORTS * 2).map(|i| {
            let (registry, services) = (registry.clone(), services.clone());
            tokio::spawn(async move {
                let name = format!("s-{}", i / 2);
                registry
                    .create(&call(&services, "default"), service(&name))
                    .await
                    .map(|written| written.bytes)
            })
        });
        let outcomes: Vec<_> =
            join_all(writers).await.into_iter().map(|done| done.expect("no panic")).collect();
        let mut created: Vec<Value> =
            outcomes.iter().flatten().map(|bytes| apiserver_json::from_slice(bytes).expect("JSON")).collect();
        // A pair may lose twice while the other holds the last port: who is missing gets one now.
        for i in 0..PORTS {
            let name = format!("s-{i}");
            if !created.iter().any(|service| service["metadata"]["name"] == name.as_str()) {
                let written = registry.create(&call(&services, "default"), service(&name)).await;
                let bytes = written.unwrap_or_else(|status| panic!("round {round}, {name}: {status}")).bytes;
                created.push(apiserver_json::from_slice(&bytes).expect("JSON"));
            }
        }
        let ports: BTreeSet<u64> =
            created.iter().filter_map(|service| service["spec"]["ports"][0]["nodePort"].as_u64()).collect();
        let ips: BTreeSet<&str> =
            created.iter().filter_map(|service| service["spec"]["clusterIP"].as_str()).collect();
        assert_eq!((created.len(), ports.len(), ips.len()), (PORTS, PORTS, PORTS), "round {round}");
        assert_eq!((ports.first(), ports.last()), (Some(&30000), Some(&30039)));
        let refused = registry.create(&call(&services, "default"), service("one-more")).await;
        assert!(refused.is_err_and(|status| status.to_string().contains("nodePort")), "the range is full");

        let deletions = (0..PORTS).map(|i| {
            let (registry, services) = (registry.clone(), services.clone());
            tokio::spawn(async move {
                let name = format!("s-{i}");
                registry.delete(&call(&services, "default"), &name, &DeleteOptions::default()).await.map(drop)
            })
        });
        for done in join_all(deletions).await {
            done.expect("no panic").expect("a Service is deleted");
        }
    }
}

#[tokio::test]
async fn what_is_only_tried_takes_nothing_from_anybody() {
    let registry = common::registry(ServiceRanges::default(), &[]);
    let catalogue = registry.catalogue();
    let resource = |name: &str| catalogue.get("", "v1", name).expect("a built-in kind").clone();
    let (namespaces, services) = (resource("namespaces"), resource("services"));
    let default = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "default"}});
    registry.create(&call(&namespaces, "default"), default).await.expect("a namespace is created");
    let with = |name: &str, ports: &[u16]| {
        let ports = ports.iter().enumerate();
        let ports: Vec<Value> = ports
            .map(|(i, asked)| json!({"name": format!("p{i}"), "port": i + 1, "protocol": "TCP", "nodePort": asked}))
            .collect();
        let mut service = service(name);
        service["spec"]["ports"] = ports.into();
        service
    };
    let create = async |service: Value| registry.create(&call(&services, "default"), service).await;
    create(with("holder", &[30001])).await.expect("nobody has it");
    let tried = Call { dry_run: true, ..call(&services, "default") };
    let written = registry.create(&tried, with("tried", &[30000, 0])).await.expect("it could be");
    let guessed: Value = apiserver_json::from_slice(&written.bytes).expect("JSON");
    assert_eq!(guessed["spec"]["ports"][1]["nodePort"], 30001, "a guess");
    assert!(create(with("thief", &[30001])).await.is_err(), "it is the holder's");
    create(with("other", &[30000])).await.expect("what was tried has nothing");
}
