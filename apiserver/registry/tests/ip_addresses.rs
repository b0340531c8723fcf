//! IPAddresses of Services: they come and go with them, hold what others hold, and are put right again.

mod common;

use std::net::Ipv4Addr;

use apiserver_json::{Value, json};
use apiserver_registry::{
    AddressProblem, AddressRepair, Changed, Cidr, DeleteOptions, Registry, ServiceRanges, document,
};
use apiserver_storage::{Op, Storage, Write};
use common::call;

/// Six addresses.
fn ranges() -> ServiceRanges {
    ServiceRanges {
        primary: Cidr::v4(Ipv4Addr::new(10, 0, 0, 0), 29),
        secondary: None,
        node_ports: (30000, 30099),
    }
}

async fn cluster() -> Registry {
    let registry = common::registry(ranges(), &[]);
    create(&registry, "namespaces", json!({"metadata": {"name": "default"}})).await.expect("a namespace");
    let range = json!({"metadata": {"name": "kubernetes"}, "spec": {"cidrs": ["10.0.0.0/29"]}});
    create(&registry, "servicecidrs", range).await.expect("a range");
    registry
}

fn row(registry: &Registry, name: &str) -> std::sync::Arc<apiserver_registry::Resource> {
    let group = if matches!(name, "ipaddresses" | "servicecidrs") { "networking.k8s.io" } else { "" };
    registry.catalogue().get(group, "v1", name).expect("a built-in kind").clone()
}

async fn create(registry: &Registry, resource: &str, mut object: Value) -> Result<Value, String> {
    let row = row(registry, resource);
    object["apiVersion"] = row.api_version().into();
    object["kind"] = row.kind.clone().into();
    let written =
        registry.create(&call(&row, "default"), object).await.map_err(|status| status.to_string())?;
    Ok(apiserver_json::from_slice(&written.bytes).expect("JSON"))
}

async fn service(registry: &Registry, name: &str, spec: Value) -> Result<String, String> {
    let mut object = json!({"metadata": {"name": name}, "spec": {"type": "ClusterIP", "ports": [{"port": 80, "protocol": "TCP"}]}});
    for (member, value) in spec.as_object().into_iter().flatten() {
        object["spec"][member] = value.clone();
    }
    let made = create(registry, "services", object).await?;
    Ok(made["spec"]["clusterIP"].as_str().unwrap_or("").to_owned())
}

async fn remove(registry: &Registry, resource: &str, name: &str) {
    let row = row(registry, resource);
    let gone = registry.delete(&call(&row, "default"), name, &DeleteOptions::default()).await;
    assert!(gone.is_ok(), "{gone:?}");
}

async fn set_type(registry: &Registry, name: &str, kind: &str) -> Value {
    let row = row(registry, "services");
    let change = |old: Option<&Value>| {
        let mut next = old.cloned().unwrap_or_default();
        next["spec"]["type"] = kind.into();
        if kind == "ExternalName" {
            next["spec"]["externalName"] = "example.com".into();
            for member in ["clusterIP", "clusterIPs"] {
                next["spec"].as_object_mut().expect("a spec").remove(member);
            }
        }
        Ok(Changed::Patched(next))
    };
    let written = registry.update(&call(&row, "default"), name, false, change).await;
    apiserver_json::from_slice(&written.expect("it is updated").0.bytes).expect("JSON")
}

fn addresses(registry: &Registry) -> Vec<String> {
    let snapshot = registry.cache().snapshot("/registry/networking.k8s.io/ipaddresses/");
    let held = |address: Value| {
        let parent = &address["spec"]["parentRef"];
        let text = |value: &Value| value.as_str().unwrap_or("").to_owned();
        format!("{} {}", text(&address["metadata"]["name"]), text(&parent["name"]))
    };
    snapshot.objects.values().map(|found| held(found.parse())).collect()
}

#[tokio::test]
async fn an_address_comes_and_goes_with_its_service() {
    let registry = cluster().await;
    let ip = service(&registry, "a", json!({})).await.expect("a Service");
    assert_eq!(addresses(&registry), [format!("{ip} a")]);
    let found = registry.cache().get(&format!("/registry/networking.k8s.io/ipaddresses/{ip}"));
    let object = found.expect("an IPAddress").parse();
    let labels = json!({"ipaddress.kubernetes.io/ip-family": "IPv4", "ipaddress.kubernetes.io/managed-by": "ipallocator.k8s.io"});
    assert_eq!(object["metadata"]["labels"], labels);
    assert_eq!(
        object["spec"]["parentRef"],
        json!({"resource": "services", "namespace": "default", "name": "a"})
    );
    assert_eq!(object["metadata"]["managedFields"][0]["manager"], "kube-apiserver");

    // No address, no object; and one is given or taken with a change of the type.
    assert_eq!(service(&registry, "headless", json!({"clusterIP": "None"})).await.as_deref(), Ok("None"));
    let external = json!({"type": "ExternalName", "externalName": "example.com"});
    service(&registry, "b", external).await.expect("a Service");
    assert_eq!(addresses(&registry), [format!("{ip} a")]);
    set_type(&registry, "b", "ClusterIP").await;
    assert_eq!(addresses(&registry).len(), 2);
    set_type(&registry, "b", "ExternalName").await;
    assert_eq!(addresses(&registry), [format!("{ip} a")]);

    let row = row(&registry, "services");
    let dry = apiserver_registry::Call { dry_run: true, ..call(&row, "default") };
    let object = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "dry"}, "spec": {"type": "ClusterIP", "ports": [{"port": 1, "protocol": "TCP"}]}});
    registry.create(&dry, object).await.expect("a dry run");
    registry.delete(&dry, "a", &DeleteOptions::default()).await.expect("a dry run");
    assert_eq!(addresses(&registry), [format!("{ip} a")]);
    remove(&registry, "services", "a").await;
    assert_eq!(addresses(&registry), Vec::<String>::new());
}

#[tokio::test]
async fn an_address_of_somebody_else_is_taken() {
    let registry = cluster().await;
    let gateway = json!({"group": "gateway.networking.k8s.io", "resource": "gateways", "namespace": "default", "name": "g"});
    let object = json!({"metadata": {"name": "10.0.0.3"}, "spec": {"parentRef": gateway}});
    create(&registry, "ipaddresses", object).await.expect("an IPAddress");
    let refused = service(&registry, "a", json!({"clusterIP": "10.0.0.3"})).await.expect_err("it is taken");
    assert!(
        refused.contains("failed to allocate IP 10.0.0.3: provided IP is already allocated"),
        "{refused}"
    );
    for edge in ["10.0.0.0", "10.0.0.7", "10.0.0.8"] {
        let refused =
            service(&registry, "a", json!({"clusterIP": edge})).await.expect_err("it is in no range");
        assert!(refused.contains("the provided network does not match the current range"), "{refused}");
    }
    for i in 0..5 {
        let ip = service(&registry, &format!("s{i}"), json!({})).await.expect("five are free");
        assert_ne!(ip, "10.0.0.3");
    }
    let full = service(&registry, "one-more", json!({})).await.expect_err("nothing is left");
    assert_eq!(
        full,
        "Internal error occurred: failed to allocate a serviceIP for Service \"one-more\": range is full"
    );
    remove(&registry, "ipaddresses", "10.0.0.3").await;
    assert_eq!(service(&registry, "one-more", json!({})).await.as_deref(), Ok("10.0.0.3"));
}

async fn change(registry: &Registry, name: &str, spec: Value) -> Result<Value, String> {
    let row = row(registry, "services");
    let change = |old: Option<&Value>| {
        let mut next = old.cloned().unwrap_or_default();
        for (member, value) in spec.as_object().into_iter().flatten() {
            next["spec"][member] = value.clone();
        }
        Ok(Changed::Object(next))
    };
    let written = registry.update(&call(&row, "default"), name, false, change).await;
    let written = written.map_err(|status| status.to_string())?;
    Ok(apiserver_json::from_slice(&written.0.bytes).expect("JSON"))
}

#[tokio::test]
async fn a_service_of_both_families_has_an_address_of_each() {
    let secondary = "fd00::/124".parse().ok();
    let registry = common::registry(ServiceRanges { secondary, ..ranges() }, &[]);
    create(&registry, "namespaces", json!({"metadata": {"name": "default"}})).await.expect("a namespace");
    let held = |service: &Value| {
        let ips = service["spec"]["clusterIPs"].as_array().into_iter().flatten();
        let mut held: Vec<String> = ips.filter_map(|ip| Some(format!("{} a", ip.as_str()?))).collect();
        held.sort();
        held
    };
    service(&registry, "a", json!({"ipFamilyPolicy": "PreferDualStack"})).await.expect("a Service");
    let made = change(&registry, "a", json!({})).await.expect("it stays as it is");
    assert_eq!(made["spec"]["ipFamilies"], json!(["IPv4", "IPv6"]));
    assert_eq!(addresses(&registry), held(&made));
    assert_eq!(addresses(&registry).len(), 2);
    let found = registry.cache().snapshot("/registry/networking.k8s.io/ipaddresses/");
    let revisions: std::collections::BTreeSet<u64> =
        found.objects.values().map(|found| found.revision()).collect();
    assert_eq!(revisions.len(), 2, "a watcher that goes on from one of them would miss the other");

    // One of them is let go of, and taken again; and both, with the type and with the Service.
    let single = json!({"ipFamilyPolicy": "SingleStack"});
    let first = change(&registry, "a", single).await.expect("one family is enough");
    assert_eq!(first["spec"]["clusterIPs"], json!([made["spec"]["clusterIP"]]));
    assert_eq!(addresses(&registry), held(&first));
    let both =
        change(&registry, "a", json!({"ipFamilyPolicy": "RequireDualStack"})).await.expect("both again");
    assert_eq!((addresses(&registry), addresses(&registry).len()), (held(&both), 2));
    set_type(&registry, "a", "ExternalName").await;
    assert_eq!(addresses(&registry), Vec::<String>::new());
    set_type(&registry, "a", "ClusterIP").await;
    remove(&registry, "services", "a").await;
    assert_eq!(addresses(&registry), Vec::<String>::new());

    let v6 = service(&registry, "v6", json!({"ipFamilies": ["IPv6"]})).await.expect("the other family alone");
    assert!(v6.starts_with("fd00::"), "{v6}");
    let row = row(&registry, "ipaddresses");
    let found = registry.cache().get(&row.key(None, &v6)).expect("an IPAddress").parse();
    assert_eq!(found["metadata"]["labels"]["ipaddress.kubernetes.io/ip-family"], "IPv6");
    // A range that is too large for upstream gives nothing.
    let large = json!({"metadata": {"name": "large"}, "spec": {"cidrs": ["fd01::/48"]}});
    create(&registry, "servicecidrs", large).await.expect("a range");
    let of_large = json!({"ipFamilies": ["IPv6"], "clusterIP": "fd01::1"});
    let refused = service(&registry, "large", of_large).await.expect_err("nobody gives it");
    assert!(refused.contains("the provided network does not match the current range"), "{refused}");
    // What is refused halfway leaves nothing behind.
    let taken = json!({"clusterIP": "10.0.0.5", "clusterIPs": ["10.0.0.5", v6], "ipFamilyPolicy": "RequireDualStack"});
    assert!(service(&registry, "b", taken).await.is_err());
    assert_eq!(addresses(&registry), [format!("{v6} v6")]);
    assert_eq!(service(&registry, "b", json!({"clusterIP": "10.0.0.5"})).await.as_deref(), Ok("10.0.0.5"));
}

#[tokio::test]
async fn addresses_come_from_every_range_that_is_ready_and_stays() {
    let registry = cluster().await;
    for i in 0..6 {
        service(&registry, &format!("s{i}"), json!({})).await.expect("six are free");
    }
    let full = "Internal error occurred: failed to allocate a serviceIP for Service \"more\": range is full";
    assert_eq!(service(&registry, "more", json!({})).await.expect_err("nothing is left"), full);
    let second = |name: &str, cidr: &str, finalizers: &[&str]| json!({"metadata": {"name": name, "finalizers": finalizers}, "spec": {"cidrs": [cidr]}});
    create(&registry, "servicecidrs", second("second", "10.1.0.0/28", &["x.io/y"])).await.expect("a range");
    let ip = service(&registry, "more", json!({})).await.expect("there is room again");
    assert!(ip.starts_with("10.1.0."), "{ip}");
    // Not the one that chance has just given away.
    let free = if ip == "10.1.0.14" { "10.1.0.12" } else { "10.1.0.14" };
    let fixed = service(&registry, "fixed", json!({"clusterIP": free})).await;
    assert_eq!(fixed.as_deref(), Ok(free));

    // One that goes gives nothing more.
    let row = row(&registry, "servicecidrs");
    let going = registry.delete(&call(&row, "default"), "second", &DeleteOptions::default()).await;
    assert!(going.is_ok(), "{going:?}");
    assert!(service(&registry, "late", json!({})).await.is_err());
    let refused = service(&registry, "late", json!({"clusterIP": "10.1.0.13"})).await.expect_err("it goes");
    assert!(refused.contains("the provided network does not match the current range"), "{refused}");
}

fn reasons(problems: &[AddressProblem]) -> Vec<(&str, &str, &str)> {
    problems.iter().map(|problem| (problem.kind, problem.name.as_str(), problem.reason)).collect()
}

#[tokio::test]
async fn what_does_not_agree_is_put_right() {
    let registry = cluster().await;
    let mut state = AddressRepair::default();
    service(&registry, "a", json!({"clusterIP": "10.0.0.2"})).await.expect("a Service");
    assert_eq!(registry.repair_addresses(&mut state).await, []);

    remove(&registry, "ipaddresses", "10.0.0.2").await;
    // Nobody else is given it meanwhile.
    assert!(service(&registry, "b", json!({"clusterIP": "10.0.0.2"})).await.is_err());
    let problems = registry.repair_addresses(&mut state).await;
    assert_eq!(reasons(&problems), [("Service", "a", "ClusterIPNotAllocated")]);
    assert_eq!(problems[0].message, "Cluster IP [IPv4]: 10.0.0.2 is not allocated; repairing");
    assert_eq!(addresses(&registry), ["10.0.0.2 a"]);
    assert_eq!(registry.repair_addresses(&mut state).await, []);

    // Somebody else's in its place.
    remove(&registry, "ipaddresses", "10.0.0.2").await;
    let wrong = json!({"metadata": {"name": "10.0.0.2"}, "spec": {"parentRef": {"group": "x", "resource": "services", "name": "y"}}});
    create(&registry, "ipaddresses", wrong).await.expect("an IPAddress");
    let problems = registry.repair_addresses(&mut state).await;
    assert_eq!(reasons(&problems), [("Service", "a", "ClusterIPNotAllocated")]);
    assert_eq!(addresses(&registry), ["10.0.0.2 a"]);

    // Left behind by a server that ended, and one that is just written.
    let leaked = |ip: &str, created: String| {
        let labels = json!({"ipaddress.kubernetes.io/managed-by": "ipallocator.k8s.io"});
        let object = json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "IPAddress",
            "metadata": {"name": ip, "creationTimestamp": created, "labels": labels},
            "spec": {"parentRef": {"resource": "services", "namespace": "default", "name": "gone"}},
        });
        let key = format!("/registry/networking.k8s.io/ipaddresses/{ip}").into();
        registry.store().commit(vec![Write { key, op: Op::Create(document(&object)) }])
    };
    leaked("10.0.0.3", "2020-01-01T00:00:00Z".to_owned()).await.expect("it is stored");
    leaked("10.0.0.4", apiserver_registry::now()).await.expect("it is stored");
    let problems = registry.repair_addresses(&mut state).await;
    assert_eq!(reasons(&problems), [("IPAddress", "10.0.0.3", "IPAddressNotAllocated")]);
    assert_eq!(addresses(&registry), ["10.0.0.2 a", "10.0.0.4 gone"]);
}
