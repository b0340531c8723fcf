//! What the fake refuses, what it repeats, and that a state survives being written as objects.

use crate::report::{HealthReport, Report};
use crate::state::State;
use ccm_mock_aws_api::elbv2::*;
use ccm_mock_aws_api::operation::*;
use ccm_mock_aws_api::{Answer, Code, Request, layout};
use std::collections::BTreeMap;

struct World(State);

impl World {
    fn new() -> Self {
        World(State::bootstrap(3))
    }
    fn send<R: Request>(&mut self, request: R) -> Result<R::Answer, ccm_mock_aws_api::Error> {
        let (state, answer) = self.0.apply(request.into(), 1_000)?;
        let changes = self.0.changes_to(&state);
        assert!(self.0 == state || !changes.is_empty(), "every change is an object");
        self.0 = state;
        Ok(R::answer(answer).expect("its own answer"))
    }
    fn refused<R: Request>(&mut self, request: R) -> Code {
        let before = self.0.clone();
        let Err(error) = self.0.apply(request.into(), 1_000) else { panic!("not refused") };
        assert_eq!(before, self.0);
        error.code
    }
    fn balancer(&mut self, name: &str) -> LoadBalancer {
        self.send(balancer(name)).expect("balancer")
    }
    fn group(&mut self, name: &str) -> TargetGroup {
        self.send(group(name)).expect("group")
    }
    fn listener(&mut self, lb: &LoadBalancer, port: u16, action: Action) -> Listener {
        self.send(listener(lb, port, action)).expect("listener")
    }
}

fn balancer(name: &str) -> CreateLoadBalancer {
    CreateLoadBalancer {
        name: name.into(),
        r#type: LoadBalancerType::Application,
        scheme: Scheme::InternetFacing,
        subnets: (1..=3).map(layout::public_subnet_id).collect(),
        security_groups: vec![],
        ip_address_type: "ipv4".into(),
        tags: vec![],
    }
}

fn group(name: &str) -> CreateTargetGroup {
    CreateTargetGroup {
        name: name.into(),
        protocol: Protocol::Http,
        protocol_version: None,
        port: 80,
        vpc_id: layout::VPC_ID.into(),
        target_type: TargetType::Ip,
        health_check: HealthCheck::default_for(Protocol::Http),
        tags: vec![],
    }
}

fn listener(lb: &LoadBalancer, port: u16, action: Action) -> CreateListener {
    CreateListener {
        load_balancer_arn: lb.load_balancer_arn.clone(),
        port,
        protocol: Protocol::Http,
        ssl_policy: None,
        certificates: vec![],
        default_actions: vec![action],
        tags: vec![],
    }
}

fn path(value: &str) -> Vec<RuleCondition> {
    vec![RuleCondition::path_pattern(vec![value.into()])]
}

#[test]
fn a_path_from_balancer_to_target() {
    let mut w = World::new();
    let (lb, tg) = (w.balancer("web"), w.group("tg"));
    assert_eq!(lb.availability_zones.len(), 3);
    assert_eq!(lb.availability_zones[1].load_balancer_addresses[0].ip_address, "127.66.1.2");
    let target = TargetDescription::new("10.0.16.20", 8080);
    let register =
        RegisterTargets { target_group_arn: tg.target_group_arn.clone(), targets: vec![target.clone()] };
    w.send(register.clone()).expect("register");
    let health = |w: &World| w.0.target_groups[&tg.target_group_arn].targets[0].clone();
    assert_eq!(health(&w).reason.as_deref(), Some("Target.NotInUse"));
    let listener = w.listener(&lb, 80, Action::forward(&tg.target_group_arn));
    assert_eq!(health(&w).reason.as_deref(), Some("Elb.RegistrationInProgress"));
    let report = HealthReport {
        target_group_arn: tg.target_group_arn.clone(),
        id: "10.0.16.20".into(),
        port: 8080,
        state: HealthState::Healthy,
        reason: None,
        description: None,
    };
    w.0 = w.0.report(Report::Health(vec![report]), 0);
    assert_eq!((health(&w).state, health(&w).reason), (HealthState::Healthy, None));
    w.send(register.clone()).expect("again");
    assert_eq!(health(&w).state, HealthState::Healthy, "registering twice changes nothing");
    w.send(DeregisterTargets { target_group_arn: tg.target_group_arn.clone(), targets: vec![target] })
        .expect("deregister");
    assert_eq!(health(&w).state, HealthState::Draining);
    assert_eq!(w.0.next_deadline_ms(), Some(301_000));
    assert_eq!(
        w.refused(DeleteTargetGroup { target_group_arn: tg.target_group_arn.clone() }),
        Code::ResourceInUse
    );
    w.0 = w.0.report(Report::Tick, 301_000);
    assert!(w.0.target_groups[&tg.target_group_arn].targets.is_empty());
    w.send(DeleteLoadBalancer { load_balancer_arn: lb.load_balancer_arn.clone() }).expect("delete");
    w.send(DeleteTargetGroup { target_group_arn: tg.target_group_arn.clone() }).expect("delete");
    assert!(!w.0.listeners.contains_key(&listener.listener_arn));
    assert_eq!(w.0, State { cursors: w.0.cursors.clone(), ..State::bootstrap(3) }, "nothing is left behind");
}

#[test]
fn what_is_refused() {
    let mut w = World::new();
    let (lb, tg) = (w.balancer("web"), w.group("tg"));
    let l = w.listener(&lb, 80, Action::fixed_response("404", None, None));
    let rule = |priority, value: &str| CreateRule {
        listener_arn: l.listener_arn.clone(),
        priority,
        conditions: path(value),
        actions: vec![Action::forward(&tg.target_group_arn)],
        tags: vec![],
    };
    let first = w.send(rule(1, "/a")).expect("rule");
    assert_eq!(w.send(rule(1, "/a")).expect("the same again").rule_arn, first.rule_arn);
    let six = (0..6).map(|i| format!("/{i}")).collect();
    let table = [
        (w.refused(rule(1, "/b")), Code::PriorityInUse),
        (w.refused(rule(0, "/b")), Code::ValidationError),
        (
            w.refused(CreateRule { conditions: vec![RuleCondition::path_pattern(six)], ..rule(2, "") }),
            Code::ValidationError,
        ),
        (
            w.refused(CreateRule { actions: vec![Action::forward("no")], ..rule(2, "/b") }),
            Code::TargetGroupNotFound,
        ),
        (w.refused(CreateTargetGroup { port: 81, ..group("tg") }), Code::DuplicateTargetGroupName),
        (
            w.refused(CreateLoadBalancer { scheme: Scheme::Internal, ..balancer("web") }),
            Code::DuplicateLoadBalancerName,
        ),
        (
            w.refused(CreateLoadBalancer { subnets: vec![layout::public_subnet_id(1)], ..balancer("x") }),
            Code::ValidationError,
        ),
        (
            w.refused(CreateListener {
                protocol: Protocol::Https,
                ..listener(&lb, 443, Action::forward(&tg.target_group_arn))
            }),
            Code::CertificateNotFound,
        ),
        (
            w.refused(CreateListener {
                protocol: Protocol::Tcp,
                ..listener(&lb, 81, Action::forward(&tg.target_group_arn))
            }),
            Code::UnsupportedProtocol,
        ),
        (w.refused(listener(&lb, 80, Action::forward(&tg.target_group_arn))), Code::DuplicateListener),
        (
            w.refused(listener(&lb, 81, Action::redirect(RedirectConfig::default()))),
            Code::InvalidLoadBalancerAction,
        ),
        (
            w.refused(DescribeLoadBalancers { names: vec!["no".into()], ..Default::default() }),
            Code::LoadBalancerNotFound,
        ),
        (w.refused(CreateTargetGroup { name: "-x".into(), ..group("x") }), Code::ValidationError),
    ];
    for (i, (got, expected)) in table.into_iter().enumerate() {
        assert_eq!(got, expected, "row {i}");
    }
    let other = w.balancer("other");
    assert_eq!(
        w.refused(listener(&other, 80, Action::forward(&tg.target_group_arn))),
        Code::TargetGroupAssociationLimit
    );
    for priority in 2..=100 {
        w.send(rule(priority, "/x")).expect("within the quota");
    }
    assert_eq!(w.refused(rule(101, "/x")), Code::TooManyRules);
    let swap = vec![(first.rule_arn.clone(), 500)];
    assert_eq!(w.send(SetRulePriorities { rule_priorities: swap }).expect("moved")[0].priority, "500");
}

#[test]
fn interfaces_and_addresses_are_limited_by_the_type() {
    let mut w = World::new();
    let subnet_id = layout::private_subnet_id(1);
    let run = RunInstances {
        subnet_id: subnet_id.clone(),
        instance_type: "t3.medium".into(),
        count: 1,
        ..Default::default()
    };
    let instance = w.send(run).expect("instance").remove(0);
    assert_eq!(instance.private_ip_address, "10.0.16.4");
    let primary = w
        .send(DescribeNetworkInterfaces {
            instance_id: Some(instance.instance_id.clone()),
            ..Default::default()
        })
        .expect("eni")
        .remove(0);
    let assign = |count| AssignPrivateIpAddresses {
        network_interface_id: primary.network_interface_id.clone(),
        secondary_private_ip_address_count: count,
        ..Default::default()
    };
    assert_eq!(w.send(assign(5)).expect("5 more").len(), 5);
    assert_eq!(w.refused(assign(1)), Code::PrivateIpAddressLimitExceeded);
    let mut attach = |index| {
        let eni = w
            .send(CreateNetworkInterface { subnet_id: subnet_id.clone(), ..Default::default() })
            .expect("eni");
        w.0.apply(
            AttachNetworkInterface {
                network_interface_id: eni.network_interface_id.clone(),
                instance_id: instance.instance_id.clone(),
                device_index: index,
            }
            .into(),
            0,
        )
        .map(|(s, a)| {
            w.0 = s;
            a
        })
    };
    assert!(matches!(attach(1), Ok(Answer::AttachNetworkInterface(_))));
    assert!(attach(2).is_ok());
    assert_eq!(attach(3).expect_err("the type has 3").code, Code::AttachmentLimitExceeded);
    w.send(TerminateInstances { instance_ids: vec![instance.instance_id.clone()] }).expect("terminate");
    assert!(w.0.network_interfaces.values().all(|n| n.attachment.is_none()));
}

#[test]
fn record_batches_are_all_or_nothing() {
    use ccm_mock_aws_api::route53::*;
    let mut w = World::new();
    let zone = w.send(CreateHostedZone { name: "example.com".into(), ..Default::default() }).expect("zone");
    let set = |name: &str| ResourceRecordSet {
        name: name.into(),
        r#type: RecordType::A,
        ttl: Some(60),
        resource_records: vec!["192.0.2.1".into()],
        alias_target: None,
    };
    let change = |action, name| Change { action, resource_record_set: set(name) };
    let batch = |changes| ChangeResourceRecordSets { hosted_zone_id: zone.id.clone(), changes };
    w.send(batch(vec![change(ChangeAction::Upsert, "www.example.com")])).expect("upsert");
    let bad = vec![
        change(ChangeAction::Create, "new.example.com"),
        change(ChangeAction::Create, "www.example.com"),
    ];
    assert_eq!(w.refused(batch(bad)), Code::InvalidChangeBatch);
    assert_eq!(
        w.refused(batch(vec![change(ChangeAction::Create, "www.other.com")])),
        Code::InvalidChangeBatch
    );
    assert_eq!(w.refused(DeleteHostedZone { id: zone.id.clone() }), Code::HostedZoneNotEmpty);
    w.send(batch(vec![change(ChangeAction::Delete, "www.example.com")])).expect("delete");
    w.send(DeleteHostedZone { id: zone.id.clone() }).expect("delete");
}

#[test]
fn a_state_survives_as_objects() {
    let mut w = World::new();
    let (lb, tg) = (w.balancer("web"), w.group("tg"));
    w.listener(&lb, 80, Action::forward(&tg.target_group_arn));
    w.send(CreateHostedZone { name: "example.com".into(), ..Default::default() }).expect("zone");
    w.send(RequestCertificate { domain_name: "example.com".into(), ..Default::default() })
        .expect("certificate");
    let objects: BTreeMap<(String, String), serde_json::Value> = State::default()
        .changes_to(&w.0)
        .into_iter()
        .map(|c| ((c.kind.to_string(), c.name), c.new.expect("all are new")))
        .collect();
    let mut loaded = State::default();
    for ((kind, name), object) in &objects {
        loaded.load(kind, object).unwrap_or_else(|e| panic!("{kind} {name}: {e}"));
    }
    loaded.loaded();
    assert!(w.0.changes_to(&loaded).is_empty(), "{:?}", w.0.changes_to(&loaded));
}

#[test]
fn certificates_are_signed_by_the_given_ca() {
    let key = rcgen::KeyPair::generate().expect("key");
    let mut params = rcgen::CertificateParams::new(Vec::new()).expect("params");
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params.distinguished_name.push(rcgen::DnType::CommonName, "Test CA");
    let ca = params.self_signed(&key).expect("ca");
    let issuer = crate::Issuer::new(&ca.pem(), &key.serialize_pem()).expect("issuer");
    let (issued, key) = issuer
        .issue(&["shop.example.com".into(), "*.shop.example.com".into()], 1_763_700_000_000)
        .expect("issued");
    assert_eq!(issued.facts.names, ["shop.example.com", "*.shop.example.com"]);
    assert_eq!(issued.facts.issuer, "Test CA");
    assert!(issued.facts.not_before.starts_with("2025-11-20"), "{}", issued.facts.not_before);
    assert!(key.contains("PRIVATE KEY"));
}
