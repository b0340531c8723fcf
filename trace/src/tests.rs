//! A small world, requests through it, and the ways in which it can be broken.

use super::*;
use crate::request::Request;
use ccm_mock_aws_api::elbv2::*;
use ccm_mock_aws_api::layout;
use ccm_mock_aws_api::operation::*;
use ccm_mock_fake_aws::{HealthReport, Report, State};
use dataplane_dns::cluster_service;
use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use proxy_agent_ruleset::{Program, ServiceKey, build_service};
use serde_json::{Value, from_value, json};

struct Setup {
    state: State,
    pods: Vec<Value>,
    service: Value,
    endpoints: Vec<Value>,
    zone_record: bool,
}

impl Setup {
    fn each_target_group(&mut self, change: impl Fn(&mut TargetGroup)) {
        let names: Vec<_> = self.state.target_groups.keys().cloned().collect();
        for name in names {
            self.state
                .target_groups
                .get_mut(&name)
                .map(std::sync::Arc::make_mut)
                .map(&change)
                .expect("it is there");
        }
    }
}

fn send<R: ccm_mock_aws_api::Request>(state: &mut State, request: R) -> R::Answer {
    let (next, answer) = state.apply(request.into(), 0).expect("accepted");
    *state = next;
    R::answer(answer).expect("own answer")
}

fn pod(name: &str, node: &str, ip: &str) -> Value {
    json!({"metadata": {"name": name, "namespace": "default", "uid": name, "labels": {"app": "web"}},
        "spec": {"nodeName": node, "containers": [{"name": "nginx", "image": "nginx", "ports": [{"containerPort": 80}]}]},
        "status": {"phase": "Running", "podIP": ip, "conditions": [{"type": "Ready", "status": "True"}]}})
}

/// Node ports and Pods of both modes: an ALB in ip mode for shop.test.com, and an NLB on port 8080.
fn setup() -> Setup {
    let mut state = State::bootstrap(2);
    for zone in 1..=2 {
        let tags = vec![ccm_mock_aws_api::Tag::new("Name", format!("node-{zone}"))];
        let run =
            RunInstances { subnet_id: layout::private_subnet_id(zone), count: 1, tags, ..Default::default() };
        let instance = send(&mut state, run).remove(0);
        let nic = send(
            &mut state,
            DescribeNetworkInterfaces { instance_id: Some(instance.instance_id), ..Default::default() },
        )
        .remove(0);
        send(
            &mut state,
            AssignPrivateIpAddresses {
                network_interface_id: nic.network_interface_id,
                secondary_private_ip_address_count: 1,
                ..Default::default()
            },
        );
    }
    let balancer = |name: &str, kind| CreateLoadBalancer {
        name: name.into(),
        r#type: kind,
        scheme: Scheme::InternetFacing,
        subnets: (1..=2).map(layout::public_subnet_id).collect(),
        security_groups: vec![],
        ip_address_type: "ipv4".into(),
        tags: vec![],
    };
    let group = |name: &str, protocol, port, kind| CreateTargetGroup {
        name: name.into(),
        protocol,
        protocol_version: None,
        port,
        vpc_id: layout::VPC_ID.into(),
        target_type: kind,
        health_check: HealthCheck::default_for(protocol),
        tags: vec![ccm_mock_aws_api::Tag::new("ingress.k8s.aws/resource", "default/shop-web:80")],
    };
    let alb = send(&mut state, balancer("web", LoadBalancerType::Application));
    let nlb = send(&mut state, balancer("nlb", LoadBalancerType::Network));
    let ip = send(&mut state, group("tg-ip", Protocol::Http, 80, TargetType::Ip));
    let instance = send(&mut state, group("tg-instance", Protocol::Tcp, 30080, TargetType::Instance));
    let listener = |lb: &LoadBalancer, port, protocol, action| CreateListener {
        load_balancer_arn: lb.load_balancer_arn.clone(),
        port,
        protocol,
        ssl_policy: None,
        certificates: vec![],
        default_actions: vec![action],
        tags: vec![],
    };
    let http =
        send(&mut state, listener(&alb, 80, Protocol::Http, Action::fixed_response("404", None, None)));
    send(&mut state, listener(&nlb, 8080, Protocol::Tcp, Action::forward(&instance.target_group_arn)));
    for (priority, host, arn) in
        [(1, "other.test.com", &ip.target_group_arn), (2, "shop.test.com", &ip.target_group_arn)]
    {
        let conditions = vec![
            RuleCondition::host_header(vec![host.into()]),
            RuleCondition::path_pattern(vec!["/*".into()]),
        ];
        send(
            &mut state,
            CreateRule {
                listener_arn: http.listener_arn.clone(),
                priority,
                conditions,
                actions: vec![Action::forward(arn)],
                tags: vec![],
            },
        );
    }
    let ips = ["10.0.16.5", "10.0.32.5"];
    let targets = ips.iter().map(|ip| TargetDescription::new(*ip, 80)).collect();
    send(&mut state, RegisterTargets { target_group_arn: ip.target_group_arn.clone(), targets });
    let ids: Vec<String> = state.instances.keys().cloned().collect();
    let targets = ids.iter().map(|id| TargetDescription::new(id, 30080)).collect();
    send(&mut state, RegisterTargets { target_group_arn: instance.target_group_arn.clone(), targets });
    let healthy = |arn: &str, id: &str, port| HealthReport {
        target_group_arn: arn.into(),
        id: id.into(),
        port,
        state: HealthState::Healthy,
        reason: None,
        description: None,
    };
    let mut reports: Vec<HealthReport> = ips.iter().map(|i| healthy(&ip.target_group_arn, i, 80)).collect();
    reports.extend(ids.iter().map(|id| healthy(&instance.target_group_arn, id, 30080)));
    state = state.report(Report::Health(reports), 0);
    Setup {
        state,
        pods: vec![pod("web-1", "node-1", ips[0]), pod("web-2", "node-2", ips[1])],
        service: json!({"metadata": {"name": "web", "namespace": "default"}, "spec": {"type": "NodePort", "clusterIP": "10.96.0.7",
            "selector": {"app": "web"}, "ports": [{"name": "http", "port": 80, "targetPort": 80, "nodePort": 30080}]}}),
        endpoints: ips
            .iter()
            .zip(["node-1", "node-2"])
            .map(|(ip, node)| json!({"addresses": [ip], "nodeName": node, "conditions": {"ready": true}}))
            .collect(),
        zone_record: true,
    }
}

fn list<T: Clone>(map: &ccm_mock_fake_aws::Map<T>) -> Vec<T> {
    map.values().map(|v| v.as_ref().clone()).collect()
}

impl Setup {
    fn world(mut self) -> World {
        if self.zone_record {
            use ccm_mock_aws_api::route53::*;
            let zone =
                send(&mut self.state, CreateHostedZone { name: "test.com".into(), ..Default::default() });
            let lb = self
                .state
                .load_balancers
                .values()
                .find(|l| l.load_balancer_name == "web")
                .expect("lb")
                .clone();
            let alias = |name: &str| Change {
                action: ChangeAction::Create,
                resource_record_set: ResourceRecordSet {
                    name: name.into(),
                    r#type: RecordType::A,
                    ttl: None,
                    resource_records: vec![],
                    alias_target: Some(AliasTarget { dns_name: lb.dns_name.clone(), ..Default::default() }),
                },
            };
            let changes = vec![alias("shop.test.com"), alias("unknown.test.com")];
            send(&mut self.state, ChangeResourceRecordSets { hosted_zone_id: zone.id, changes });
        }
        let service: Service = from_value(self.service).expect("service");
        let slice: EndpointSlice = from_value(json!({"metadata": {"name": "web-a", "namespace": "default", "labels": {"kubernetes.io/service-name": "web"}},
            "addressType": "IPv4", "ports": [{"name": "http", "port": 80, "protocol": "TCP"}], "endpoints": self.endpoints})).expect("slice");
        let state = &self.state;
        let mut world = World {
            cloud: Cloud {
                load_balancers: list(&state.load_balancers),
                listeners: list(&state.listeners),
                rules: list(&state.rules),
                target_groups: list(&state.target_groups),
                instances: list(&state.instances),
                network_interfaces: list(&state.network_interfaces),
                internet_gateways: list(&state.internet_gateways),
                nat_gateways: list(&state.nat_gateways),
                certificates: list(&state.certificates),
            },
            pods: self.pods.into_iter().map(|p| from_value::<Pod>(p).expect("pod")).collect(),
            ..Default::default()
        };
        world.zones.hosted = list(&state.hosted_zones);
        world.zones.set_balancers(&world.cloud.load_balancers);
        world.zones.services.insert(("default".into(), "web".into()), cluster_service(&service, [&slice]));
        for instance in state.instances.values() {
            let name = ccm_mock_aws_api::tag(&instance.tags, "Name").unwrap_or_default();
            world.nodes.push(from_value(json!({"metadata": {"name": name}, "spec": {"providerID": ccm_mock_aws_api::names::provider_id(&instance.availability_zone, &instance.instance_id)},
                "status": {"addresses": [{"type": "InternalIP", "address": instance.private_ip_address}]}})).expect("node"));
            let mut program = Program::new(proxy_agent_ruleset::Node {
                name: name.into(),
                zone: instance.availability_zone.clone(),
                ip: instance.private_ip_address.parse().expect("ip"),
                cluster_cidr: "10.0.0.0/16".parse().expect("block"),
                service_cidr: "10.96.0.0/16".parse().expect("block"),
            });
            let key = ServiceKey { namespace: "default".into(), name: "web".into() };
            program.set_service(&key, Some(build_service(&service, [&slice], program.node())));
            world.programs.insert(name.into(), program);
        }
        world.services.push(service);
        world.endpoint_slices.push(slice);
        world
    }
}

fn layers(trace: &Trace) -> String {
    trace.hops.iter().map(|h| h.layer.to_string()).collect::<Vec<_>>().join(" ")
}

#[test]
fn from_the_internet_to_a_pod_and_back() {
    let world = setup().world();
    let mut request = Request::get("http://shop.test.com/cart?x=1", From::Internet).expect("url");
    request.random = 1;
    let trace = trace(&world, &request);
    assert_eq!(
        layers(&trace),
        "dns dns client uplink igw balancer listener rule targets target vpc cni container",
        "{}",
        text(&trace, Style::default())
    );
    assert_eq!(
        trace.outcome,
        Outcome::Delivered { pod: "default/web-2".into(), address: "10.0.32.5:80".parse().expect("address") }
    );
    let rule = trace.hops.iter().find(|h| h.layer == Layer::Rule).expect("rule");
    assert_eq!(rule.not_taken, ["rule 1: host-header is shop.test.com, rule wants other.test.com"]);
    let back: Vec<String> = trace.reply.iter().map(|h| h.layer.to_string()).collect();
    assert_eq!(back, ["container", "target", "igw", "uplink", "client"]);
    let nameless = trace.hops.iter().chain(&trace.reply).filter(|h| h.object.is_none());
    assert_eq!(nameless.count(), 0, "{}", text(&trace, Style::default()));
    let uplink = trace.hops.iter().find(|h| h.layer == Layer::Uplink).expect("uplink");
    assert_eq!(uplink.after.map(|p| p.source.ip().to_string()).as_deref(), Some(layout::CLIENT_IP));
    let last = trace.reply.last().and_then(|h| h.before).expect("packet");
    let first = trace.hops.iter().find(|h| h.layer == Layer::Client).and_then(|h| h.before).expect("packet");
    assert_eq!(last, first.reversed(), "the reply ends where the request began");
    let shown = text(&trace, Style { color: true });
    assert!(shown.contains("✓") && shown.contains("✗ rule 1"), "{shown}");
    let diagram = mermaid(&trace);
    assert!(diagram.starts_with("sequenceDiagram\n    participant p0 as internet\n"), "{diagram}");
    let place = |of: &str| {
        let line = diagram.lines().find(|line| line.ends_with(&format!(" as {of}"))).expect("a participant");
        line.split_whitespace().nth(1).expect("an id").to_string()
    };
    let (pod, balancer) = (place("Pod default/web-2"), place("web"));
    assert!(diagram.contains(&format!("Note over {pod}: answers")), "{diagram}");
    assert!(diagram.contains(&format!("    {pod}-->>{balancer}: passes the answer back")), "{diagram}");
    assert!(!diagram.contains("p0->>p0"), "{diagram}");
    assert!(serde_json::to_string(&trace).expect("json").contains("\"layer\":\"internet-gateway\""));
}

#[test]
fn a_cookie_keeps_the_client_with_its_target() {
    let mut world = setup().world();
    let group =
        world.cloud.target_groups.iter_mut().find(|t| t.target_type == TargetType::Ip).expect("a group");
    group.attributes.insert("stickiness.enabled".into(), "true".into());
    let cookies = ccm_mock_alb_routing::target_cookies(group, &group.targets[0], 1000, |_| false);
    // what of the cookie is sent, when, and how the target is chosen
    for (value, now_s, how) in [
        (cookies[0].value.as_str(), 1001, "chooses 10.0.16.5:80 (kept by cookie AWSALB, healthy)"),
        (cookies[0].value.as_str(), 200_000, "chooses 10.0.32.5:80 (round_robin, healthy)"),
        ("nonsense", 1001, "chooses 10.0.32.5:80 (round_robin, healthy)"),
    ] {
        let mut request = Request::get("http://shop.test.com/", From::Internet).expect("url");
        (request.random, request.now_s) = (1, now_s);
        request.headers.push(("Cookie".into(), format!("AWSALB={value}")));
        let trace = trace(&world, &request);
        let target = trace.hops.iter().find(|h| h.layer == Layer::Target).expect("a target");
        assert_eq!(target.action, how);
    }
}

#[test]
fn through_a_node_port_and_from_inside() {
    let world = setup().world();
    let nlb = world
        .cloud
        .load_balancers
        .iter()
        .find(|l| l.load_balancer_name == "nlb")
        .expect("nlb")
        .dns_name
        .clone();
    let mut request = Request::get(&format!("http://{nlb}:8080/"), From::Internet).expect("url");
    request.observed.destination = Some(("10.0.32.5".parse().expect("ip"), 80));
    let through = trace(&world, &request);
    assert_eq!(
        layers(&through),
        "dns client uplink igw balancer listener targets target vpc node kube-proxy vpc cni container",
        "{}",
        text(&through, Style::default())
    );
    assert!(matches!(&through.outcome, Outcome::Delivered { pod, .. } if pod == "default/web-2"));
    let rules = through.hops.iter().find(|h| h.layer == Layer::Rules).expect("rules");
    assert!(rules.because.iter().any(|l| l.contains("vmap @service-nodeports → tcp . 30080")), "{rules:?}");
    assert_eq!(rules.object.as_deref(), Some("Service default/web spec.ports[http].nodePort"));
    let from = From::Pod("default".into(), "web-1".into());
    let inside =
        trace(&world, &Request::get("http://web.default.svc.cluster.local/", from.clone()).expect("url"));
    assert!(layers(&inside).ends_with("dns client kube-proxy cni container"), "{}", layers(&inside));
    let api = trace(&world, &Request::get("https://10.0.0.10/version", from.clone()).expect("url"));
    assert_eq!(layers(&api), "client kube-proxy vpc api server", "{}", text(&api, Style::default()));
    assert_eq!(api.outcome, Outcome::ApiServer { address: layout::CONTROL_PLANE });
    let nameless = api.hops.iter().chain(&api.reply).filter(|h| h.object.is_none());
    assert_eq!(nameless.count(), 0, "{}", text(&api, Style::default()));
    let out = trace(&world, &Request::get("http://shop.test.com/", from).expect("url"));
    assert!(layers(&out).contains("nat gateway igw balancer"), "{}", text(&out, Style::default()));
}

#[test]
fn kube_proxy_answers_health_checks() {
    let mut setup = setup();
    setup.service["spec"]["type"] = json!("LoadBalancer");
    setup.service["spec"]["externalTrafficPolicy"] = json!("Local");
    setup.service["spec"]["healthCheckNodePort"] = json!(30999);
    setup.endpoints.truncate(1);
    let world = setup.world();
    for (node, status) in [("node-1", 200), ("node-2", 503)] {
        let ip = world.programs.get(node).expect("a program").node().ip;
        let from = From::Pod("default".into(), "web-1".into());
        let told = trace(&world, &Request::get(&format!("http://{ip}:30999/healthz"), from).expect("url"));
        let text = text(&told, Style::default());
        assert!(text.contains(&format!("✓ answered {status} by kube-proxy on {node}: ")), "{text}");
        assert!(told.reply.iter().any(|hop| hop.layer == Layer::Rules && hop.place == node), "{text}");
    }
}

#[test]
fn addresses_that_lead_nowhere() {
    let world = setup().world();
    for (url, cause, fix) in [
        ("http://127.0.0.1/", "127.0.0.1 is Pod default/web-1 itself", "ask for the address or name"),
        ("http://1.2.3.4/", "nobody on the internet has the address 1.2.3.4", "kubectl get loadbalancers"),
        ("http://10.0.48.99/", "no Pod has the address 10.0.48.99", "kubectl get pods -A -o wide"),
        // No Service sent it there: none is to be changed.
        ("http://10.0.32.5:8081/", "nothing listens on 8081", "use port 80"),
    ] {
        let from = From::Pod("default".into(), "web-1".into());
        let text = text(&trace(&world, &Request::get(url, from).expect("url")), Style::default());
        assert!(text.contains(cause) && text.contains(&format!("fix   {fix}")), "{text}");
    }
    let refused = Request::get("http://[::1]/", From::Internet).expect_err("no IPv6");
    assert!(refused.to_string().ends_with("the network has IPv4 alone"), "{refused}");
}

#[test]
fn dead_ends_say_why_and_what_to_change() {
    type Break = fn(&mut Setup);
    let no_selector: Break = |s| {
        s.service["spec"]["selector"] = json!({"app": "nobody"});
        s.endpoints.clear();
        s.each_target_group(|group| group.targets.clear());
    };
    let not_ready: Break = |s| {
        s.endpoints.clear();
        s.each_target_group(|group| group.targets.clear());
        s.pods.iter_mut().for_each(|p| p["status"]["conditions"][0]["status"] = json!("False"));
    };
    let wrong_port: Break = |s| {
        s.pods.iter_mut().for_each(|p| p["spec"]["containers"][0]["ports"][0]["containerPort"] = json!(8080))
    };
    let no_record: Break = |s| s.zone_record = false;
    let unhealthy: Break = |s| s.pods.clear();
    let no_words: Break = |s| {
        if let Some(spec) = s.service["spec"].as_object_mut() {
            spec.remove("selector");
        }
        s.endpoints.clear();
    };
    let empty: Break = |s| {
        s.pods.clear();
        s.endpoints.clear();
        s.each_target_group(|group| group.targets.clear());
    };
    let internal: Break = |s| {
        let names: Vec<_> = s.state.load_balancers.keys().cloned().collect();
        for name in names {
            let balancer =
                s.state.load_balancers.get_mut(&name).map(std::sync::Arc::make_mut).expect("it is there");
            balancer.scheme = Scheme::Internal;
            let zones = balancer.availability_zones.iter_mut();
            for address in zones.flat_map(|zone| &mut zone.load_balancer_addresses) {
                address.ip_address.clear();
            }
        }
    };
    let encrypted: Break = |s| {
        s.each_target_group(|group| group.protocol = Protocol::Https);
    };
    let cases: [(&str, &str, Break, &str, &str); 19] = [
        ("http://shop.test.com/", "internet", internal, "internal load balancer web", "internet-facing"),
        (
            "http://shop.test.com/",
            "internet",
            encrypted,
            "502: the target group speaks HTTPS",
            "backend-protocol",
        ),
        ("http://shop.test.com/", "internet", empty, "matches no Pod", "has 0 replicas"),
        ("http://shop.test.com/", "node/nope", |_| {}, "no such node", "kubectl get nodes"),
        (
            "http://web.default.svc.cluster.local/",
            "node/node-1",
            |_| {},
            "which nodes do not ask",
            "--from pod/",
        ),
        (
            "http://web/",
            "pod/default/web-1",
            no_words,
            "has no selector",
            "spec.selector, or an EndpointSlice",
        ),
        ("http://shop.test.com/", "internet", no_record, "no zone is about this name", "apply a HostedZone"),
        (
            "http://missing.test.com/",
            "internet",
            |_| {},
            "has no such record",
            "add a record for missing.test.com",
        ),
        (
            "http://unknown.test.com/",
            "internet",
            |_| {},
            "404: no rule matches host unknown.test.com",
            "Host shop.test.com and Path /*",
        ),
        (
            "http://shop.test.com:81/",
            "internet",
            |_| {},
            "connection refused: it listens on HTTP 80",
            r#"listen-ports: '[{"HTTP":80},{"HTTP":81}]'"#,
        ),
        (
            "https://shop.test.com/",
            "internet",
            |_| {},
            "connection refused: it listens on HTTP 80",
            r#"listen-ports: '[{"HTTP":80},{"HTTPS":443}]'"#,
        ),
        ("https://shop.test.com:80/", "internet", |_| {}, "the listener speaks HTTP", "use http://"),
        (
            "http://shop.test.com/",
            "internet",
            no_selector,
            "the selector of Service default/web (app=nobody) matches no Pod",
            "Pods in the namespace have app=web",
        ),
        (
            "http://shop.test.com/",
            "internet",
            not_ready,
            "no Pod of Service default/web is ready",
            "kubectl describe pod",
        ),
        (
            "http://shop.test.com/",
            "internet",
            wrong_port,
            "nothing listens on 80",
            "set targetPort of Service default/web to 8080",
        ),
        ("http://shop.test.com/", "internet", unhealthy, "still names", "kubectl get pods"),
        (
            "http://web.default.svc.cluster.local/",
            "internet",
            |_| {},
            "a name inside the cluster",
            "--from pod/",
        ),
        (
            "http://web:81/",
            "pod/default/web-1",
            |_| {},
            "Service default/web has no port 81",
            "use one of its ports: 80",
        ),
        (
            "http://web/",
            "pod/default/web-1",
            not_ready,
            "no Pod of Service default/web is ready",
            "kubectl describe pod",
        ),
    ];
    for (url, from, broken, cause, fix) in cases {
        let mut setup = setup();
        broken(&mut setup);
        let world = setup.world();
        let trace = trace(&world, &Request::get(url, From::parse(from).expect("from")).expect("url"));
        let shown = text(&trace, Style::default());
        let Outcome::DeadEnd(end) = &trace.outcome else { panic!("{url}: {shown}") };
        assert!(end.cause.contains(cause) && end.fix.contains(fix), "{url} {from}\n{shown}");
        assert!(trace.reply.is_empty());
    }
}
