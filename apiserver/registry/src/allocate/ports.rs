//! The node ports of a Service.

use std::collections::{HashMap, HashSet};

use apiserver_json::{Map, Value};
use apiserver_meta::field::FieldError;

use super::pool::Allocator;
use super::{Claim, Owner, node_ports};
use crate::object;
use crate::strategy::service::needs_node_ports;

/// The port whose trouble is upstream's own error, not the Service's.
pub(super) const HEALTH_PORT: &str = "spec.healthCheckNodePort";

/// Two ports of one update that ask for the same: upstream's own error, and not in words for one.
pub(super) const TWICE: &str = "spec.ports[].nodePort";

pub(super) fn claim_ports(
    allocator: &mut Allocator,
    claim: &mut Claim,
    key: &Owner,
    service: &mut Value,
    old: Option<&Value>,
) -> Result<(), FieldError> {
    let kind = service.pointer("/spec/type").and_then(Value::as_str).unwrap_or("").to_owned();
    let allocates =
        service.pointer("/spec/allocateLoadBalancerNodePorts").and_then(Value::as_bool) != Some(false);
    if !needs_node_ports(&kind) {
        return Ok(());
    }
    let held = old.map(node_ports).unwrap_or_default();
    let holds = |port: &u16| held.binary_search(port).is_ok();
    let mut taken: HashSet<u16> = node_ports(service).into_iter().collect();
    // A port number given to the first protocol serves the same service port's other protocols too.
    let mut by_port: HashMap<i64, u16> = HashMap::new();
    let mut pairs: HashSet<(String, u16)> = HashSet::new();
    let Some(ports) = service.pointer_mut("/spec/ports").and_then(Value::as_array_mut) else { return Ok(()) };
    for (i, port) in ports.iter_mut().enumerate() {
        let number = port.get("port").and_then(Value::as_i64).unwrap_or(0);
        let given = port.get("nodePort").and_then(Value::as_i64).filter(|given| *given != 0);
        let in_words = |why: String, given: i64| {
            FieldError::invalid(format!("spec.ports[{i}].nodePort"), &given.into(), why)
        };
        let given = match given.map(|given| (given, u16::try_from(given))) {
            Some((_, Ok(port))) => Some(port),
            // No port at all; a dry run does not mind.
            Some((_, Err(_))) if claim.dry_run => continue,
            Some((given, Err(_))) => return Err(in_words(out_of_range(allocator), given)),
            None => None,
        };
        let node_port = match given {
            Some(given) => {
                // Ports of one number share a node port, whatever their protocols; an update is not that strict.
                let shared = match old {
                    None => by_port.get(&number) == Some(&given),
                    Some(_) => claim.ports.contains(&given) || holds(&given),
                };
                claim_port(allocator, claim, key, given, shared)
                    .map_err(|why| in_words(why, given.into()))?;
                given
            }
            None if kind == "NodePort" || allocates => {
                let next = match by_port.get(&number).filter(|_| old.is_none()) {
                    Some(shared) => *shared,
                    None if claim.dry_run => claim.made_up_port(),
                    None => allocator.free_port(&taken).ok_or_else(|| {
                        FieldError::internal(
                            format!("spec.ports[{i}].nodePort"),
                            "failed to allocate a nodePort: range is full",
                        )
                    })?,
                };
                allocator.ports.insert(next, key.clone());
                claim.ports.insert(next);
                port["nodePort"] = next.into();
                taken.insert(next);
                next
            }
            None => continue,
        };
        let protocol = port.get("protocol").and_then(Value::as_str).unwrap_or("").to_owned();
        let pair = (protocol, node_port);
        if old.is_some() && pairs.contains(&pair) {
            return Err(FieldError::internal(
                TWICE,
                format!("duplicate nodePort: {{{} {}}}", pair.0, pair.1),
            ));
        }
        pairs.insert(pair);
        by_port.insert(number, node_port);
    }
    claim_health_port(allocator, claim, key, object::member_mut(service, "spec"), &taken, &held)
}

/// The port where nodes tell a load balancer whether they have endpoints of a Service.
fn claim_health_port(
    allocator: &mut Allocator,
    claim: &mut Claim,
    key: &Owner,
    spec: &mut Map,
    taken: &HashSet<u16>,
    held: &[u16],
) -> Result<(), FieldError> {
    let is = |member: &str, value: &str| spec.get(member).and_then(Value::as_str) == Some(value);
    if !is("type", "LoadBalancer") || !is("externalTrafficPolicy", "Local") {
        return Ok(());
    }
    let asked = spec.get("healthCheckNodePort").and_then(Value::as_i64).filter(|port| *port != 0);
    let refuse = |why: String, port: i64| {
        FieldError::internal(
            HEALTH_PORT,
            format!("failed to allocate requested HealthCheck NodePort {port}: {why}"),
        )
    };
    let given = match asked.map(|port| (port, u16::try_from(port))) {
        Some((_, Ok(port))) => {
            let ours = held.binary_search(&port).is_ok();
            return claim_port(allocator, claim, key, port, ours).map_err(|why| refuse(why, port.into()));
        }
        // Its rules say that it is none.
        Some((_, Err(_))) if claim.dry_run => return Ok(()),
        Some((port, Err(_))) => return Err(refuse(out_of_range(allocator), port)),
        None if claim.dry_run => Some(claim.made_up_port()),
        None => allocator.free_port(taken),
    };
    if let Some(port) = given {
        allocator.ports.insert(port, key.clone());
        claim.ports.insert(port);
        spec.insert("healthCheckNodePort".into(), port.into());
    }
    Ok(())
}

fn claim_port(
    allocator: &mut Allocator,
    claim: &mut Claim,
    key: &Owner,
    port: u16,
    ours: bool,
) -> Result<(), String> {
    let (first, last) = allocator.ranges.node_ports;
    match allocator.ports.get(&port) {
        Some(owner) if owner == key && ours => Ok(()),
        Some(_) => Err("provided port is already allocated".to_owned()),
        // A dry run looks only at what is taken.
        None if claim.dry_run || (first..=last).contains(&port) => {
            allocator.ports.insert(port, key.clone());
            claim.ports.insert(port);
            Ok(())
        }
        None => Err(out_of_range(allocator)),
    }
}

fn out_of_range(allocator: &Allocator) -> String {
    let (first, last) = allocator.ranges.node_ports;
    format!("provided port is not in the valid range. The range of valid ports is {first}-{last}")
}

#[cfg(test)]
mod tests {
    use apiserver_json::json;

    use super::super::ServiceRanges;
    use super::*;

    #[test]
    fn what_is_only_tried_is_given_the_port_after_its_last() {
        for (asked, want) in [
            (&[0][..], &[32769][..]),
            (&[0, 0], &[32769, 32770]),
            (&[30000, 0, 0], &[30000, 30001, 30002]),
            (&[30005, 30001, 0], &[30005, 30001, 30006]),
        ] {
            let mut allocator = Allocator::new(ServiceRanges::default());
            let mut claim = Claim::nothing();
            claim.dry_run = true;
            let ports: Vec<Value> = (1..)
                .zip(asked)
                .map(|(port, asked)| json!({"port": port, "protocol": "TCP", "nodePort": asked}))
                .collect();
            let mut service = json!({"spec": {"type": "NodePort", "ports": ports}});
            claim_ports(&mut allocator, &mut claim, &"/mine".into(), &mut service, None).unwrap();
            let given: Vec<u64> = service["spec"]["ports"]
                .as_array()
                .unwrap()
                .iter()
                .filter_map(|port| port["nodePort"].as_u64())
                .collect();
            assert_eq!(given, want, "{asked:?}");
        }
    }

    #[test]
    fn an_update_may_not_name_a_port_twice_of_one_protocol() {
        for (protocols, fails) in [(["TCP", "UDP"], false), (["TCP", "TCP"], true)] {
            let mut allocator = Allocator::new(ServiceRanges::default());
            let mut claim = Claim::nothing();
            let port = |protocol: &str| json!({"port": 1, "protocol": protocol, "nodePort": 30001});
            let mut service = json!({"spec": {"type": "NodePort", "ports": protocols.map(port)}});
            let old = json!({"spec": {"type": "NodePort", "ports": []}});
            let outcome = claim_ports(&mut allocator, &mut claim, &"/mine".into(), &mut service, Some(&old));
            assert_eq!(outcome.is_err_and(|error| error.field == TWICE), fails, "{protocols:?}");
        }
    }
}
