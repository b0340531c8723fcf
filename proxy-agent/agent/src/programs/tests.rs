//! Programs follow what they are built from, and what nodes share is what each would have alone.

use super::*;
use crate::Agent;
use proptest::prelude::*;
use proxy_agent_ruleset::{BASE_SETS, Choice, Entry, Packet, Protocol, Verdict};
use serde_json::{from_value, json};

fn node(name: &str, ip: &str) -> Input {
    Input::Node(
        from_value(
            json!({"metadata": {"name": name, "labels": {"topology.kubernetes.io/zone": "us-east-1a"}},
        "status": {"addresses": [{"type": "InternalIP", "address": ip}]}}),
        )
        .expect("node"),
    )
}

fn slice(name: &str, ips: &[&str]) -> Input {
    let endpoints: Vec<_> = ips
        .iter()
        .map(|ip| json!({"addresses": [ip], "nodeName": "node-1", "conditions": {"ready": true}}))
        .collect();
    Input::Slice(from_value(json!({"metadata": {"namespace": "default", "name": name, "labels": {"kubernetes.io/service-name": "web"}},
        "addressType": "IPv4", "ports": [{"name": "http", "port": 80, "protocol": "TCP"}], "endpoints": endpoints})).expect("slice"))
}

fn service() -> Input {
    Input::Service(
        from_value(
            json!({"metadata": {"namespace": "default", "name": "web"}, "spec": {"clusterIP": "10.96.0.7",
        "sessionAffinity": "ClientIP", "type": "NodePort",
        "ports": [{"name": "http", "port": 80, "nodePort": 30080, "targetPort": 80}]}}),
        )
        .expect("service"),
    )
}

#[test]
fn programs_follow_their_inputs_in_any_order() {
    let block = |text: &str| text.parse().expect("block");
    let agent =
        Agent::new(Config { cluster_cidr: block("10.0.0.0/16"), service_cidr: block("10.96.0.0/16") });
    let programs = |inputs| agent.apply(inputs).iter().map(|c| c.programs).collect::<Vec<_>>();
    assert!(programs(vec![slice("a", &["10.0.16.20"])]).is_empty());
    assert_eq!(
        programs(vec![node("node-1", "10.0.16.4"), service(), node("node-2", "10.0.32.4")]),
        [1, 1, 2]
    );
    assert!(programs(vec![service()]).is_empty(), "the same again changes nothing");
    let changed = agent.apply(vec![slice("b", &["10.0.16.21"])]);
    let told = Changed {
        object: "default/web".into(),
        cause: "EndpointSlice default/b changed".into(),
        change: "rules of 2 nodes lead to 10.0.16.20, 10.0.16.21".into(),
        programs: 2,
    };
    assert_eq!(changed, [told]);
    let packet = Packet {
        source: "10.0.16.99".parse().expect("ip"),
        source_port: 1,
        destination: "10.96.0.7".parse().expect("ip"),
        destination_port: 80,
        protocol: Protocol::Tcp,
    };
    let to = |n| match agent.evaluate("node-2", packet, Entry::Arriving, Choice::Random(n)) {
        Some(Verdict::Accept { destination: (ip, _), .. }) => ip.to_string(),
        other => format!("{other:?}"),
    };
    assert_eq!((to(1), to(0)), ("10.0.16.21".into(), "10.0.16.21".into()), "the client is remembered");
    assert_eq!(programs(vec![Input::SlicesAre(vec![("default".into(), "a".into())])]), [2]);
    assert_eq!(to(1), "10.0.16.20");
    assert_eq!(programs(vec![Input::ServicesAre(vec![])]), [2]);
    assert_eq!(to(0), "Some(Drop)", "the cluster IP is nobody's");
    assert_eq!(programs(vec![Input::NodesAre(vec![])]), [1, 1]);
    assert!(agent.programs().get("node-1").is_none());
}

/// Endpoints of a slice: node, zone hint, node hint, ready, and the last byte of the address.
type Place = (Option<u8>, Option<u8>, Option<u8>, bool, u8);

#[derive(Debug, Clone)]
enum Step {
    Node(u8, u8),
    NodeGone(u8),
    /// With what kind it is.
    Service(u8, usize),
    ServiceGone(u8),
    Slice(u8, u8, Vec<Place>),
    SliceGone(u8),
}

const KINDS: usize = 5;

fn service_of(number: u8, kind: usize) -> Service {
    let kinds: [serde_json::Value; KINDS] = [
        json!({"type": "ClusterIP"}),
        json!({"type": "NodePort", "externalTrafficPolicy": "Local", "sessionAffinity": "ClientIP"}),
        json!({"type": "ClusterIP", "internalTrafficPolicy": "Local"}),
        json!({"type": "LoadBalancer", "loadBalancerSourceRanges": ["10.0.16.0/31", "192.0.2.0/24"]}),
        json!({"type": "LoadBalancer", "externalTrafficPolicy": "Local", "healthCheckNodePort": 31000 + i32::from(number)}),
    ];
    let mut spec = kinds[kind % KINDS].clone();
    spec["clusterIP"] = format!("10.96.0.{number}").into();
    spec["ports"] =
        json!([{"name": "http", "port": 80, "nodePort": 30000 + i32::from(number), "targetPort": 80}]);
    from_value(json!({
        "metadata": {"namespace": "default", "name": format!("s{number}")}, "spec": spec,
        "status": {"loadBalancer": {"ingress": [{"ip": format!("192.0.2.{number}")}]}},
    }))
    .expect("a Service")
}

fn slice_of(number: u8, service: u8, places: &[Place]) -> EndpointSlice {
    let name = |node: &u8| format!("node-{node}");
    let endpoint = |(node, zone, hint, ready, ip): &Place| {
        json!({
            "addresses": [format!("10.0.16.{ip}")], "nodeName": node.as_ref().map(name), "conditions": {"ready": ready},
            "hints": {
                "forZones": zone.map(|zone| vec![json!({"name": zone.to_string()})]),
                "forNodes": hint.as_ref().map(|node| vec![json!({"name": name(node)})]),
            },
        })
    };
    from_value(json!({
        "metadata": {"namespace": "default", "name": format!("e{number}"),
            "labels": {"kubernetes.io/service-name": format!("s{service}")}},
        "addressType": "IPv4", "ports": [{"name": "http", "port": 80, "protocol": "TCP"}],
        "endpoints": places.iter().map(endpoint).collect::<Vec<_>>(),
    }))
    .expect("a slice")
}

fn node_at(number: u8, zone: u8) -> Node {
    from_value(json!({
        "metadata": {"name": format!("node-{number}"), "labels": {"topology.kubernetes.io/zone": zone.to_string()}},
        "status": {"addresses": [{"type": "InternalIP", "address": format!("10.0.16.{number}")}]},
    }))
    .expect("a Node")
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    use proptest::option::weighted;
    let place =
        (weighted(0.8, 0..4u8), weighted(0.6, 0..2u8), weighted(0.4, 0..4u8), any::<bool>(), 100..110u8);
    let step = prop_oneof![
        2 => (0..4u8, 0..2u8).prop_map(|(node, zone)| Step::Node(node, zone)),
        1 => (0..4u8).prop_map(Step::NodeGone),
        3 => (0..3u8, 0..KINDS).prop_map(|(service, kind)| Step::Service(service, kind)),
        1 => (0..3u8).prop_map(Step::ServiceGone),
        4 => (0..4u8, 0..3u8, proptest::collection::vec(place, 0..5))
            .prop_map(|(slice, service, places)| Step::Slice(slice, service, places)),
        1 => (0..4u8).prop_map(Step::SliceGone),
    ];
    proptest::collection::vec(step, 0..40)
}

proptest! {
    /// What is shared between nodes is what each of them would have alone.
    #[test]
    fn a_nodes_program_is_the_one_built_for_it_alone(steps in steps()) {
        let block = |text: &str| text.parse().expect("block");
        let config = Config { cluster_cidr: block("10.0.0.0/16"), service_cidr: block("10.96.0.0/16") };
        let mut programs = Programs::new(config.clone());
        let (mut nodes, mut services, mut slices) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        let key = |prefix: &str, number: u8| ("default".to_owned(), format!("{prefix}{number}"));
        for step in steps {
            let input = match step {
                Step::Node(number, zone) => {
                    nodes.insert(number, node_at(number, zone));
                    Input::Node(node_at(number, zone))
                }
                Step::NodeGone(number) => {
                    nodes.remove(&number);
                    Input::NodeGone((String::new(), format!("node-{number}")))
                }
                Step::Service(number, kind) => {
                    services.insert(number, service_of(number, kind));
                    Input::Service(service_of(number, kind))
                }
                Step::ServiceGone(number) => {
                    services.remove(&number);
                    Input::ServiceGone(key("s", number))
                }
                Step::Slice(number, service, places) => {
                    slices.insert(number, (service, slice_of(number, service, &places)));
                    Input::Slice(slice_of(number, service, &places))
                }
                Step::SliceGone(number) => {
                    slices.remove(&number);
                    Input::SliceGone(key("e", number))
                }
            };
            programs.apply(vec![input]);
            // What was asked for before a change must not be there after it.
            for number in 0..4 {
                programs.get(&format!("node-{number}"));
            }
        }
        prop_assert_eq!(programs.nodes().count(), nodes.len());
        for (number, node) in nodes {
            let mut alone = Program::new(node_of(&node, &config).expect("it has an address"));
            for (of, service) in &services {
                let its = slices.values().filter(|(owner, _)| owner == of).map(|(_, slice)| slice);
                let built = build_service(service, its.collect::<Vec<_>>(), alone.node());
                let (namespace, name) = key("s", *of);
                alone.set_service(&ServiceKey { namespace, name }, Some(built));
            }
            let shared = programs.get(&format!("node-{number}")).expect("a program");
            prop_assert_eq!(shared.node(), alone.node());
            prop_assert_eq!(shared.frame(), alone.frame());
            prop_assert!(shared.services().eq(alone.services()), "{:?} {:?}", shared, alone);
            prop_assert!(shared.service_chains().eq(alone.service_chains()));
            for set in BASE_SETS {
                // Of what two Services bring, the one that was set last says where it is from.
                let texts = |program: &Program| program.elements(set.name).map(ToString::to_string).collect::<Vec<_>>();
                prop_assert_eq!(texts(&shared), texts(&alone), "{}", set.name);
            }
        }
        let ports: BTreeSet<u16> = services
            .values()
            .filter_map(|s| u16::try_from(s.spec.as_ref()?.health_check_node_port?).ok())
            .collect();
        prop_assert_eq!(programs.health_check_ports(), ports);
    }
}
