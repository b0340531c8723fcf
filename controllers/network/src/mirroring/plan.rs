//! The slices that mirror an Endpoints object, and the fewest writes that lead there. Pure.

use super::MANAGER;
use crate::ports::Port;
use crate::slices::{MANAGED_BY, SERVICE_NAME, Step, TRIGGER, endpoint_ports, endpoints, ports_of};
use controllers_kit::meta::controller_reference;
use k8s_openapi::api::core::v1::{EndpointAddress, EndpointSubset, Endpoints};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointSlice};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

/// Most addresses of a subset that are mirrored.
pub(super) const ADDRESSES_MAX: usize = 1000;
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// What is to be done.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Plan {
    pub(super) steps: Vec<Step>,
    /// Addresses that had no room.
    pub(super) skipped: usize,
}

/// The writes that make `existing` mirror these Endpoints, or go if there are none to mirror.
pub(super) fn build(mirrored: Option<&Endpoints>, existing: &[Arc<EndpointSlice>]) -> Plan {
    let mut plan = Plan::default();
    let mut leftover: Vec<Arc<EndpointSlice>> = existing.to_vec();
    let mut new = Vec::new();
    for slice in mirrored.map(|found| wanted(found, &mut plan.skipped)).unwrap_or_default() {
        let group = (slice.address_type.clone(), ports_of(&slice));
        match leftover.iter().position(|old| (old.address_type.clone(), ports_of(old)) == group) {
            Some(at) => plan.steps.extend(update(&leftover.remove(at), slice)),
            None => new.push(slice),
        }
    }
    // A slice to be created takes the place of one to be deleted; the type of addresses can't change.
    for slice in new {
        match leftover.iter().position(|old| old.address_type == slice.address_type) {
            Some(at) => plan.steps.extend(update(&leftover.remove(at), slice)),
            None => plan.steps.push(Step::Create(slice)),
        }
    }
    plan.steps.extend(leftover.into_iter().map(Step::Delete));
    plan
}

/// `old` made what `new` says, unless it is.
fn update(old: &EndpointSlice, new: EndpointSlice) -> Option<Step> {
    let same = endpoints(old) == endpoints(&new)
        && ports_of(old) == ports_of(&new)
        && old.metadata.labels == new.metadata.labels
        && old.metadata.annotations.clone().unwrap_or_default()
            == new.metadata.annotations.clone().unwrap_or_default();
    let metadata = ObjectMeta {
        labels: new.metadata.labels,
        annotations: new.metadata.annotations,
        owner_references: new.metadata.owner_references,
        ..old.metadata.clone()
    };
    (!same).then_some(Step::Update(EndpointSlice { metadata, ..new }))
}

fn wanted(mirrored: &Endpoints, skipped: &mut usize) -> Vec<EndpointSlice> {
    let mut groups: BTreeMap<(&str, Vec<Port>), Vec<Endpoint>> = BTreeMap::new();
    for subset in mirrored.subsets.iter().flatten() {
        let ports = ports(subset);
        let ready = subset.addresses.iter().flatten().map(|address| (address, true));
        let all: Vec<_> = ready
            .chain(subset.not_ready_addresses.iter().flatten().map(|address| (address, false)))
            .collect();
        *skipped += all.len().saturating_sub(ADDRESSES_MAX);
        for (address, ready) in all.into_iter().take(ADDRESSES_MAX) {
            // The API server lets nothing else in.
            let Ok(ip) = address.ip.parse::<IpAddr>() else { continue };
            let family = if ip.is_ipv4() { "IPv4" } else { "IPv6" };
            let group = groups.entry((family, ports.clone())).or_default();
            let endpoint = endpoint(address, ip, ready);
            if !group
                .iter()
                .any(|known| known.addresses == endpoint.addresses && known.target_ref == endpoint.target_ref)
                && group.len() < ADDRESSES_MAX
            {
                group.push(endpoint);
            }
        }
    }
    groups.into_iter().map(|((family, ports), found)| slice(mirrored, family, &ports, found)).collect()
}

fn ports(subset: &EndpointSubset) -> Vec<Port> {
    let one = |port: &k8s_openapi::api::core::v1::EndpointPort| Port {
        name: port.name.clone().unwrap_or_default(),
        port: port.port,
        protocol: port.protocol.clone().unwrap_or_else(|| "TCP".into()),
        app_protocol: port.app_protocol.clone(),
    };
    subset.ports.iter().flatten().map(one).collect()
}

fn endpoint(address: &EndpointAddress, ip: IpAddr, ready: bool) -> Endpoint {
    Endpoint {
        addresses: vec![ip.to_string()],
        conditions: Some(EndpointConditions { ready: Some(ready), ..Default::default() }),
        hostname: address.hostname.clone().filter(|name| !name.is_empty()),
        node_name: address.node_name.clone(),
        target_ref: address.target_ref.clone(),
        ..Default::default()
    }
}

fn slice(mirrored: &Endpoints, family: &str, ports: &[Port], found: Vec<Endpoint>) -> EndpointSlice {
    let metadata = &mirrored.metadata;
    let name = metadata.name.clone().unwrap_or_default();
    let mut labels = metadata.labels.clone().unwrap_or_default();
    labels.insert(SERVICE_NAME.into(), name.clone());
    labels.insert(MANAGED_BY.into(), MANAGER.into());
    let mut annotations = metadata.annotations.clone().unwrap_or_default();
    annotations.retain(|key, _| key != TRIGGER && key != LAST_APPLIED);
    EndpointSlice {
        metadata: ObjectMeta {
            generate_name: Some(format!("{name}-")),
            namespace: metadata.namespace.clone(),
            labels: Some(labels),
            annotations: Some(annotations).filter(|all| !all.is_empty()),
            owner_references: Some(vec![controller_reference(mirrored)]),
            ..Default::default()
        },
        address_type: family.into(),
        endpoints: Some(found),
        ports: endpoint_ports(ports),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn mirrored(subsets: Value) -> Endpoints {
        let annotations = json!({LAST_APPLIED: "{}", TRIGGER: "now", "team": "data"});
        serde_json::from_value(json!({
            "metadata": {"name": "db", "namespace": "default", "uid": "e", "labels": {"app": "db"}, "annotations": annotations},
            "subsets": subsets,
        }))
        .unwrap()
    }

    fn written(plan: Plan) -> Vec<Arc<EndpointSlice>> {
        let slice = |(i, step)| match step {
            Step::Create(mut slice) => {
                slice.metadata.name = Some(format!("db-{i}"));
                Arc::new(slice)
            }
            Step::Update(slice) => Arc::new(slice),
            Step::Delete(slice) => panic!("{slice:?}"),
        };
        plan.steps.into_iter().enumerate().map(slice).collect()
    }

    #[test]
    fn each_family_and_each_set_of_ports_has_a_slice_and_the_second_run_writes_nothing() {
        let endpoints = mirrored(json!([
            {"addresses": [{"ip": "10.1.2.3"}, {"ip": "fd00::1"}], "notReadyAddresses": [{"ip": "10.1.2.4", "nodeName": "node-1"}],
                "ports": [{"port": 5432, "protocol": "TCP"}]},
            {"addresses": [{"ip": "10.1.2.3"}], "ports": [{"name": "metrics", "port": 9187, "protocol": "TCP"}]},
        ]));
        let slices = written(build(Some(&endpoints), &[]));
        assert_eq!(slices.len(), 3);
        let first = &slices[0];
        assert_eq!(
            serde_json::to_value(&first.endpoints).unwrap(),
            json!([
                {"addresses": ["10.1.2.3"], "conditions": {"ready": true}},
                {"addresses": ["10.1.2.4"], "conditions": {"ready": false}, "nodeName": "node-1"},
            ])
        );
        assert_eq!(serde_json::to_value(&first.metadata.annotations).unwrap(), json!({"team": "data"}));
        assert_eq!(
            serde_json::to_value(&first.metadata.labels).unwrap(),
            json!({
                "app": "db", SERVICE_NAME: "db", MANAGED_BY: MANAGER,
            })
        );
        assert_eq!(slices.iter().filter(|slice| slice.address_type == "IPv6").count(), 1);
        assert_eq!(build(Some(&endpoints), &slices), Plan::default());
    }

    #[test]
    fn other_ports_reuse_a_slice_and_nothing_to_mirror_deletes_all() {
        let with = |port| mirrored(json!([{"addresses": [{"ip": "10.1.2.3"}], "ports": [{"port": port}]}]));
        let old = written(build(Some(&with(5432)), &[]));
        let new = written(build(Some(&with(5433)), &old));
        assert_eq!(new[0].metadata.name, old[0].metadata.name);
        assert_eq!(new[0].ports.as_ref().unwrap()[0].port, Some(5433));
        assert_eq!(build(None, &new).steps, [Step::Delete(new[0].clone())]);
    }

    #[test]
    fn a_subset_has_room_for_a_thousand() {
        let many: Vec<Value> =
            (0..1003).map(|i| json!({"ip": format!("10.1.{}.{}", i / 250, i % 250)})).collect();
        let plan = build(Some(&mirrored(json!([{"addresses": many, "ports": [{"port": 1}]}]))), &[]);
        assert_eq!(plan.skipped, 3);
        assert_eq!(endpoints(&written(plan)[0]).len(), 1000);
    }
}
