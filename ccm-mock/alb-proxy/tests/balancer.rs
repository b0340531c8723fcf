//! Load balancers over real sockets: an API server that only keeps what it is given, Pods that say who they are.

use ccm_mock_alb_proxy::{Decisions, run};
use ccm_mock_aws_api::elbv2::*;
use ccm_mock_aws_api::operation::*;
use ccm_mock_aws_api::{Aws, layout};
use ccm_mock_fake_aws::{Cloud, HealthReport, Issuer, Report};
use dataplane_l7::{ConnectionInfo, Handler, full, serve_connection};
use dataplane_network::Fabric;
use http::{Request, Response};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::watch;

/// What stands for the API server.
#[derive(Default)]
struct Api {
    store: Mutex<HashMap<String, Value>>,
    patches: Mutex<Vec<Value>>,
    full: AtomicBool,
}

fn client(api: Arc<Api>) -> kube::Client {
    let service = tower::service_fn(move |request: Request<kube::client::Body>| {
        let api = api.clone();
        async move {
            let (parts, body) = request.into_parts();
            let bytes = body.collect().await?.to_bytes();
            let sent: Value = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
            let path = parts.uri.path().to_string();
            if parts.method == "PATCH" {
                api.patches.lock().expect("patches").push(sent.clone());
            }
            let (code, answer) = if parts.method == "PATCH" && api.full.load(Ordering::Relaxed) {
                (
                    507,
                    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": "disk full", "code": 507}),
                )
            } else {
                answer(&mut api.store.lock().expect("store"), parts.method.as_str(), &path, sent)
            };
            Ok::<_, tower::BoxError>(
                Response::builder()
                    .status(code)
                    .body(kube::client::Body::from(answer.to_string().into_bytes()))?,
            )
        }
    });
    kube::Client::new(service, "default")
}

fn answer(store: &mut HashMap<String, Value>, method: &str, path: &str, sent: Value) -> (u16, Value) {
    let missing = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": "not found", "reason": "NotFound", "code": 404});
    match method {
        "POST" => {
            let name = sent["metadata"]["name"].as_str().unwrap_or_default();
            store.insert(format!("{path}/{name}"), sent.clone());
            (201, sent)
        }
        "PATCH" => match store.get_mut(path) {
            Some(object) => (200, object.clone()),
            None => (404, missing),
        },
        "DELETE" => (200, store.remove(path).unwrap_or(missing)),
        _ => match store.get(path) {
            Some(object) => (200, object.clone()),
            None if path.contains("/secrets/") => (404, missing),
            None => (
                200,
                json!({"apiVersion": "v1", "kind": "List", "metadata": {"resourceVersion": "1"}, "items": []}),
            ),
        },
    }
}

struct World {
    cloud: Arc<Cloud>,
    aws: Arc<dyn Aws>,
    fabric: Fabric,
    decisions: Decisions,
    ca_pem: String,
}

async fn cloud() -> (Arc<Api>, Arc<Cloud>, String) {
    let key = rcgen::KeyPair::generate().expect("key");
    let mut params = rcgen::CertificateParams::new(Vec::new()).expect("params");
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let ca = params.self_signed(&key).expect("ca");
    let issuer = Issuer::new(&ca.pem(), &key.serialize_pem()).expect("issuer");
    let api = Arc::new(Api::default());
    let cloud = Cloud::start(client(api.clone()), issuer, 3, ccm_mock_aws_api::layout::PRIVATE_SUBNET_PREFIX)
        .await
        .expect("cloud");
    (api, cloud, ca.pem())
}

async fn world() -> World {
    let (_, cloud, ca_pem) = cloud().await;
    let fabric = Fabric::new();
    let (proxy, running) = run(cloud.clone(), fabric.clone());
    tokio::spawn(running);
    World { aws: cloud.clone(), cloud, fabric, decisions: proxy.decisions(), ca_pem }
}

/// A Pod that answers its name and what it saw; it stops accepting when the sender says so.
async fn pod(fabric: &Fabric, ip: [u8; 4], name: &'static str) -> watch::Sender<bool> {
    let handler: Handler = Arc::new(move |request, info| {
        Box::pin(async move {
            let seen: HashMap<String, String> = request
                .headers()
                .iter()
                .map(|(n, v)| (n.to_string(), v.to_str().unwrap_or_default().to_string()))
                .collect();
            Response::new(full(
                json!({"pod": name, "peer": info.peer.ip().to_string(), "headers": seen}).to_string(),
            ))
        })
    });
    serve(fabric, ip, handler).await
}

async fn serve(fabric: &Fabric, ip: [u8; 4], handler: Handler) -> watch::Sender<bool> {
    fabric.add_pod(ip.into(), "node-1");
    let listener = fabric.listen(SocketAddrV4::new(ip.into(), 80)).await.expect("listen");
    let (stop, stopped) = watch::channel(false);
    let mut ending = stopped.clone();
    tokio::spawn(async move {
        loop {
            tokio::select! {
                accepted = listener.accept() => {
                    let Ok(accepted) = accepted else { return };
                    let info = ConnectionInfo { peer: accepted.peer, local: listener.address(), scheme: "http", tls: None };
                    tokio::spawn(serve_connection(accepted.stream, info, handler.clone(), stopped.clone()));
                }
                _ = ending.changed() => return,
            }
        }
    });
    stop
}

fn balancer(name: &str, kind: LoadBalancerType) -> CreateLoadBalancer {
    CreateLoadBalancer {
        name: name.into(),
        r#type: kind,
        scheme: Scheme::InternetFacing,
        subnets: (1..=2).map(layout::public_subnet_id).collect(),
        security_groups: vec![],
        ip_address_type: "ipv4".into(),
        tags: vec![],
    }
}

fn group(name: &str, protocol: Protocol) -> CreateTargetGroup {
    CreateTargetGroup {
        name: name.into(),
        protocol,
        protocol_version: None,
        port: 80,
        vpc_id: layout::VPC_ID.into(),
        target_type: TargetType::Ip,
        health_check: HealthCheck::default_for(protocol),
        tags: vec![],
    }
}

async fn path(
    aws: &Arc<dyn Aws>,
    name: &str,
    kind: LoadBalancerType,
    protocol: Protocol,
    port: u16,
) -> (LoadBalancer, TargetGroup) {
    let lb = aws.send(balancer(name, kind)).await.expect("balancer");
    let to = if protocol == Protocol::Tcp { Protocol::Tcp } else { Protocol::Http };
    let tg = aws.send(group(name, to)).await.expect("group");
    let certificates = if protocol == Protocol::Https {
        let request = RequestCertificate { domain_name: "shop.test.com".into(), ..Default::default() };
        vec![aws.send(request).await.expect("certificate").certificate_arn]
    } else {
        vec![]
    };
    let listener = CreateListener {
        load_balancer_arn: lb.load_balancer_arn.clone(),
        port,
        protocol,
        ssl_policy: None,
        certificates,
        default_actions: vec![Action::forward(&tg.target_group_arn)],
        tags: vec![],
    };
    aws.send(listener).await.expect("listener");
    (lb, tg)
}

impl World {
    async fn path(
        &self,
        name: &str,
        kind: LoadBalancerType,
        protocol: Protocol,
        port: u16,
    ) -> (LoadBalancer, TargetGroup) {
        path(&self.aws, name, kind, protocol, port).await
    }

    async fn register(&self, tg: &TargetGroup, ip: &str) {
        let targets = vec![TargetDescription::new(ip, 80)];
        self.aws
            .send(RegisterTargets { target_group_arn: tg.target_group_arn.clone(), targets })
            .await
            .expect("register");
    }

    async fn until(&self, what: &str, mut holds: impl FnMut(&ccm_mock_fake_aws::State) -> bool) {
        let mut states = self.cloud.watch();
        let wait = states.wait_for(|s| holds(s));
        tokio::time::timeout(Duration::from_secs(5), wait)
            .await
            .unwrap_or_else(|_| panic!("{what}"))
            .expect("cloud");
    }

    async fn healthy(&self, tg: &TargetGroup, count: usize) {
        let arn = tg.target_group_arn.clone();
        self.until("healthy", |s| {
            s.target_groups[&arn].targets.iter().filter(|t| t.state == HealthState::Healthy).count() == count
        })
        .await;
    }

    async fn open(&self, lb: &LoadBalancer, port: u16) -> tokio::net::TcpStream {
        let arn = lb.load_balancer_arn.clone();
        self.until("listening", |s| !s.load_balancers[&arn].endpoints.is_empty()).await;
        let ip: Ipv4Addr =
            lb.availability_zones[0].load_balancer_addresses[0].ip_address.parse().expect("ip");
        let from = SocketAddrV4::new(dataplane_network::CLIENT, 0);
        self.fabric.connect(from, SocketAddrV4::new(ip, port)).await.expect("connect").stream
    }

    async fn get(&self, lb: &LoadBalancer, port: u16, extra: &str) -> (u16, String) {
        let mut stream = self.open(lb, port).await;
        talk(&mut stream, extra).await
    }
}

async fn talk<S: AsyncReadExt + AsyncWriteExt + Unpin>(stream: &mut S, extra: &str) -> (u16, String) {
    let request = format!("GET /x?y=1 HTTP/1.1\r\nHost: shop.test.com\r\nConnection: close\r\n{extra}\r\n");
    stream.write_all(request.as_bytes()).await.expect("write");
    let mut text = String::new();
    let _ = stream.read_to_string(&mut text).await;
    let code = text.split(' ').nth(1).and_then(|c| c.parse().ok()).unwrap_or(0);
    (code, text)
}

#[tokio::test]
async fn a_request_reaches_a_pod_and_is_remembered() {
    let w = world().await;
    let _pod = pod(&w.fabric, [10, 0, 16, 20], "a").await;
    let (lb, tg) = w.path("web", LoadBalancerType::Application, Protocol::Http, 18080).await;
    assert_eq!(w.get(&lb, 18080, "").await.0, 503, "no targets");
    w.register(&tg, "10.0.16.20").await;
    w.healthy(&tg, 1).await;
    let (code, text) =
        w.get(&lb, 18080, "X-Amzn-Trace-Id: Root=1-00000001-0123456789abcdef01234567\r\n").await;
    assert_eq!(code, 200, "{text}");
    assert!(
        text.contains("\"x-forwarded-for\":\"198.51.100.10\"")
            && text.contains("\"x-forwarded-port\":\"18080\""),
        "{text}"
    );
    assert!(text.contains("\"peer\":\"10.0.1."), "{text}");
    let decision = w.decisions.get("Root=1-00000001-0123456789abcdef01234567").expect("decision");
    assert_eq!(
        (decision.target_id.as_deref(), decision.status, decision.priority.as_deref()),
        (Some("10.0.16.20"), 200, Some("default"))
    );
}

/// Nothing here touches a socket: time passes when nobody has anything to do.
#[tokio::test(start_paused = true)]
async fn a_target_that_answers_at_once_is_written_once() {
    let (api, cloud, _) = cloud().await;
    let aws: Arc<dyn Aws> = cloud.clone();
    let (_, tg) = path(&aws, "once", LoadBalancerType::Application, Protocol::Http, 18085).await;
    let register = |id: &str| RegisterTargets {
        target_group_arn: tg.target_group_arn.clone(),
        targets: vec![TargetDescription::new(id, 80)],
    };
    let told = |id: &str| -> Vec<Value> {
        let patches = api.patches.lock().expect("patches");
        let targets = patches.iter().map(|patch| patch["status"]["targets"].clone());
        let of = |target: &Value| target.as_array().into_iter().flatten().find(|t| t["id"] == id).cloned();
        targets.filter_map(|targets| of(&targets)).collect()
    };
    aws.send(register("10.0.16.1")).await.expect("it is registered");
    assert_eq!(told("10.0.16.1")[0]["state"], "initial", "nobody has looked at it");

    let (checked, mut states) = (cloud.clone(), cloud.watch());
    let arn = tg.target_group_arn.clone();
    let checks = tokio::spawn(async move {
        let is_new = |state: &Arc<ccm_mock_fake_aws::State>| state.target_groups[&arn].targets.len() == 2;
        drop(states.wait_for(is_new).await);
        let found = HealthReport {
            target_group_arn: arn,
            id: "10.0.16.2".into(),
            port: 80,
            state: HealthState::Healthy,
            reason: None,
            description: None,
        };
        checked.report(Report::Health(vec![found])).await.expect("it is written");
    });
    aws.send(register("10.0.16.2")).await.expect("it is registered");
    checks.await.expect("no panic");
    let states: Vec<Value> = told("10.0.16.2").iter().map(|target| target["state"].clone()).collect();
    assert_eq!(states, ["healthy"], "what was found at once is written along");

    api.full.store(true, Ordering::Relaxed);
    aws.send(register("10.0.16.3")).await.expect_err("nothing can be written");
    let there = cloud.state().target_groups[&tg.target_group_arn].targets.len();
    assert_eq!(there, 2, "what was not written is not there");
}

#[tokio::test]
async fn https_has_the_certificate_of_the_name() {
    let w = world().await;
    let _pod = pod(&w.fabric, [10, 0, 16, 21], "a").await;
    let (lb, tg) = w.path("tls", LoadBalancerType::Application, Protocol::Https, 18443).await;
    w.register(&tg, "10.0.16.21").await;
    w.healthy(&tg, 1).await;
    use rustls::pki_types::pem::PemObject;
    let mut roots = rustls::RootCertStore::empty();
    roots
        .add(rustls::pki_types::CertificateDer::from_pem_slice(w.ca_pem.as_bytes()).expect("pem"))
        .expect("root");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("tls");
    let config = config.with_root_certificates(roots).with_no_client_auth();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let stream = w.open(&lb, 18443).await;
    let mut tls =
        connector.connect("shop.test.com".try_into().expect("name"), stream).await.expect("handshake");
    let (code, text) = talk(&mut tls, "").await;
    assert_eq!(code, 200, "{text}");
    assert!(text.contains("\"x-forwarded-proto\":\"https\""), "{text}");
}

#[tokio::test]
async fn replacing_pods_under_load_loses_nothing() {
    let w = Arc::new(world().await);
    let (lb, tg) = w.path("roll", LoadBalancerType::Application, Protocol::Http, 18081).await;
    let mut old = pod(&w.fabric, [10, 0, 16, 30], "p").await;
    w.register(&tg, "10.0.16.30").await;
    w.healthy(&tg, 1).await;
    let (done, finished) = watch::channel(false);
    let load = |w: Arc<World>, lb: LoadBalancer, finished: watch::Receiver<bool>| async move {
        let mut answers = Vec::new();
        while !*finished.borrow() {
            answers.push(w.get(&lb, 18081, "").await.0);
        }
        answers
    };
    let clients: Vec<_> =
        (0..4).map(|_| tokio::spawn(load(w.clone(), lb.clone(), finished.clone()))).collect();
    for round in 31..41u8 {
        let new = pod(&w.fabric, [10, 0, 16, round], "p").await;
        w.register(&tg, &format!("10.0.16.{round}")).await;
        w.healthy(&tg, 2).await;
        let targets = vec![TargetDescription::new(format!("10.0.16.{}", round - 1), 80)];
        w.aws
            .send(DeregisterTargets { target_group_arn: tg.target_group_arn.clone(), targets })
            .await
            .expect("deregister");
        old.send_replace(true);
        old = new;
    }
    done.send_replace(true);
    for client in clients {
        let answers = client.await.expect("client");
        assert!(!answers.is_empty() && answers.iter().all(|code| *code == 200), "{answers:?}");
    }
    old.send_replace(true);
}

#[tokio::test]
async fn a_request_that_outlives_the_deregistration_delay_gets_502() {
    let w = world().await;
    // Health checks are answered, requests never.
    let asked = Arc::new(tokio::sync::Notify::new());
    let told = asked.clone();
    let handler: Handler = Arc::new(move |request, _| {
        let told = told.clone();
        Box::pin(async move {
            if request.headers().contains_key("x-slow") {
                told.notify_one();
                std::future::pending::<()>().await;
            }
            Response::new(full(String::new()))
        })
    });
    let _pod = serve(&w.fabric, [10, 0, 16, 50], handler).await;
    let (lb, tg) = w.path("drain", LoadBalancerType::Application, Protocol::Http, 18084).await;
    let target_group_arn = tg.target_group_arn.clone();
    let attributes = [("deregistration_delay.timeout_seconds".to_string(), "1".to_string())].into();
    let modify = ModifyTargetGroupAttributes { target_group_arn: target_group_arn.clone(), attributes };
    w.aws.send(modify).await.expect("attributes");
    w.register(&tg, "10.0.16.50").await;
    w.healthy(&tg, 1).await;
    let began = std::time::Instant::now();
    let root = "Root=1-00000002-0123456789abcdef01234567";
    let extra = format!("X-Slow: 1\r\nX-Amzn-Trace-Id: {root}\r\n");
    let drained = async {
        asked.notified().await;
        let targets = vec![TargetDescription::new("10.0.16.50", 80)];
        w.aws.send(DeregisterTargets { target_group_arn, targets }).await.expect("deregister");
        let mut states = w.cloud.watch();
        let mut ticks = tokio::time::interval(Duration::from_millis(20));
        let is_gone = |state: &Arc<ccm_mock_fake_aws::State>| {
            state.target_groups[&tg.target_group_arn].targets.is_empty()
        };
        loop {
            tokio::select! {
                _ = states.wait_for(is_gone) => break,
                _ = ticks.tick() => w.cloud.report(Report::Tick).await.map(drop).expect("tick"),
            }
        }
        std::future::pending::<()>().await;
    };
    let (code, text) = tokio::select! {
        answer = w.get(&lb, 18084, &extra) => answer,
        () = drained => (0, String::new()),
    };
    assert_eq!(code, 502, "{text}");
    let took = began.elapsed();
    assert!((Duration::from_secs(1)..Duration::from_secs(10)).contains(&took), "{took:?}");
    let decision = w.decisions.get(root).expect("decision");
    assert_eq!(decision.error.as_deref(), Some("the deregistration delay ran out"));
}

/// The value of a cookie that an answer sets.
fn cookie<'a>(answer: &'a str, name: &str) -> Option<&'a str> {
    let start = format!("set-cookie: {name}=");
    answer.lines().find_map(|line| line.strip_prefix(&start)).and_then(|rest| rest.split(';').next())
}

/// The Pod that answered.
fn answered(answer: &str) -> Option<&str> {
    answer.split("\"pod\":\"").nth(1).and_then(|rest| rest.split('"').next())
}

#[tokio::test]
async fn cookies_keep_a_client_with_its_target_group_and_target() {
    let w = world().await;
    let mut groups = Vec::new();
    let (lb, first) = w.path("sticky", LoadBalancerType::Application, Protocol::Http, 18085).await;
    groups.push(first);
    groups.push(w.aws.send(group("sticky-b", Protocol::Http)).await.expect("group"));
    let names = [["a1", "a2", "a3"], ["b1", "b2", "b3"]];
    let mut stop = HashMap::new();
    for (g, tg) in groups.iter().enumerate() {
        for (i, name) in names[g].into_iter().enumerate() {
            let last = u8::try_from(60 + 10 * g + i).expect("small");
            stop.insert(name, pod(&w.fabric, [10, 0, 16, last], name).await);
            w.register(tg, &format!("10.0.16.{last}")).await;
        }
        let attributes = [("stickiness.enabled".to_string(), "true".to_string())].into();
        let target_group_arn = tg.target_group_arn.clone();
        w.aws.send(ModifyTargetGroupAttributes { target_group_arn, attributes }).await.expect("attributes");
    }
    let tuple = |tg: &TargetGroup| TargetGroupTuple {
        target_group_arn: tg.target_group_arn.clone(),
        weight: Some(1),
    };
    let mut action = Action::forward_weighted(groups.iter().map(tuple).collect());
    if let Some(config) = &mut action.forward_config {
        config.target_group_stickiness_config =
            Some(TargetGroupStickinessConfig { enabled: true, duration_seconds: Some(200) });
    }
    let listener_arn = w.cloud.state().listeners.keys().next().expect("a listener").clone();
    w.aws
        .send(ModifyListener {
            listener_arn,
            port: None,
            protocol: None,
            ssl_policy: None,
            certificates: None,
            default_actions: Some(vec![action]),
        })
        .await
        .expect("listener");
    for tg in &groups {
        w.healthy(tg, 3).await;
    }
    let (code, text) = w.get(&lb, 18085, "").await;
    assert_eq!(code, 200, "{text}");
    let who = answered(&text).expect("a Pod").to_string();
    for name in ["AWSALB", "AWSALBCORS", "AWSALBTG", "AWSALBTGCORS"] {
        assert!(cookie(&text, name).is_some(), "{name} in {text}");
    }
    let both = |text: &str| {
        let value = |name| cookie(text, name).expect("a cookie").to_string();
        format!("Cookie: x=y; AWSALBTG={}; AWSALB={}\r\n", value("AWSALBTG"), value("AWSALB"))
    };
    let mut cookies = both(&text);
    for _ in 0..12 {
        let (_, text) = w.get(&lb, 18085, &cookies).await;
        assert_eq!(answered(&text), Some(who.as_str()), "{text}");
        cookies = both(&text);
    }
    // Without them they come around.
    let mut seen = std::collections::HashSet::new();
    for _ in 0..60 {
        seen.extend(answered(&w.get(&lb, 18085, "").await.1).map(str::to_string));
    }
    assert_eq!(seen.len(), 6, "{seen:?}");
    // Its target gone, the client gets another one of the same target group, and a cookie for that.
    let index = usize::from(who.starts_with('b'));
    let last = names[index].iter().position(|name| *name == who).expect("known") + 60 + 10 * index;
    let targets = vec![TargetDescription::new(format!("10.0.16.{last}"), 80)];
    let target_group_arn = groups[index].target_group_arn.clone();
    w.aws.send(DeregisterTargets { target_group_arn, targets }).await.expect("deregister");
    let (_, text) = w.get(&lb, 18085, &cookies).await;
    let other = answered(&text).expect("a Pod").to_string();
    assert!(other != who && other[..1] == who[..1], "{other} after {who}");
    let (_, text) = w.get(&lb, 18085, &both(&text)).await;
    assert_eq!(answered(&text), Some(other.as_str()));
}

#[tokio::test]
async fn a_network_load_balancer_passes_bytes() {
    let w = world().await;
    let _pod = pod(&w.fabric, [10, 0, 16, 40], "n").await;
    let (lb, tg) = w.path("nlb", LoadBalancerType::Network, Protocol::Tcp, 18082).await;
    w.register(&tg, "10.0.16.40").await;
    w.healthy(&tg, 1).await;
    let (code, text) = w.get(&lb, 18082, "").await;
    assert_eq!(code, 200);
    assert!(!text.contains("x-forwarded-for"), "{text}");
}

#[tokio::test]
async fn a_deleted_balancer_stops_listening() {
    let w = world().await;
    let (lb, _) = w.path("gone", LoadBalancerType::Application, Protocol::Http, 18083).await;
    assert_eq!(w.get(&lb, 18083, "").await.0, 503);
    w.aws.send(DeleteLoadBalancer { load_balancer_arn: lb.load_balancer_arn.clone() }).await.expect("delete");
    let ip: Ipv4Addr = lb.availability_zones[0].load_balancer_addresses[0].ip_address.parse().expect("ip");
    let to = SocketAddrV4::new(ip, 18083);
    let closed = async {
        while w.fabric.connect(SocketAddrV4::new(dataplane_network::CLIENT, 0), to).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), closed).await.expect("closed");
}
