//! Plans against the fake cloud: what is made, that a second run writes nothing, that nothing is left.

use super::*;
use ccm_mock_aws_api::operation::*;
use ccm_mock_aws_api::{Answer, AwsFuture, Operation};
use ccm_mock_fake_aws::State;
use controllers_ingress_model::{Group, PREFIX, build, check, membership};
use k8s_openapi::api::networking::v1::Ingress;
use serde_json::{Value, json};
use std::sync::Mutex;

struct Fake {
    state: Mutex<State>,
    writes: Mutex<Vec<&'static str>>,
}

impl Fake {
    fn new() -> Arc<Fake> {
        Arc::new(Fake { state: Mutex::new(State::bootstrap(3)), writes: Mutex::default() })
    }

    fn writes(&self) -> Vec<&'static str> {
        std::mem::take(&mut *self.writes.lock().expect("lock"))
    }

    fn state(&self) -> State {
        self.state.lock().expect("lock").clone()
    }
}

impl Aws for Fake {
    fn call(&self, operation: Operation) -> AwsFuture<'_, Answer> {
        Box::pin(async move {
            let name = operation.name();
            let mut state = self.state.lock().expect("lock");
            let (next, answer) = state.apply(operation, 0)?;
            *state = next;
            if !name.starts_with("Describe") && !name.starts_with("List") {
                self.writes.lock().expect("lock").push(name);
            }
            Ok(answer)
        })
    }
}

fn paths(all: &[(&str, &str)]) -> Value {
    let path = |(path, service): &(&str, &str)| json!({"path": path, "pathType": "Prefix", "backend": {"service": {"name": service, "port": {"number": 80}}}});
    json!([{"host": "a.example", "http": {"paths": all.iter().map(path).collect::<Vec<_>>()}}])
}

async fn plan(fake: &Arc<Fake>, annotations: Value, rules: Value) -> Plan {
    let annotations: serde_json::Map<String, Value> = annotations
        .as_object()
        .into_iter()
        .flatten()
        .map(|(key, value)| (format!("{PREFIX}{key}"), value.clone()))
        .collect();
    let object = json!({
        "metadata": {"namespace": "default", "name": "web", "annotations": annotations},
        "spec": {"rules": rules},
    });
    let ingress: Arc<Ingress> = Arc::new(serde_json::from_value(object).expect("an Ingress"));
    let service = |name: &str| {
        let object = json!({
            "metadata": {"namespace": "default", "name": name, "uid": name},
            "spec": {"ports": [{"port": 80, "targetPort": 80, "nodePort": 30080}]},
        });
        let service = serde_json::from_value(object).expect("a Service");
        (("default".to_string(), name.to_string()), Arc::new(service))
    };
    let aws: Arc<dyn Aws> = fake.clone();
    let group = Group {
        cluster: "kind".into(),
        id: membership(&ingress).expect("a group").0,
        members: vec![ingress],
        services: [service("web"), service("cart")].into(),
        certificates: aws.send(ListCertificates::default()).await.expect("certificates"),
        subnets: aws.send(DescribeSubnets::default()).await.expect("subnets"),
        target_groups: Default::default(),
    };
    build(&check(&group).expect("a checked group"))
}

async fn apply(fake: &Arc<Fake>, plan: &Plan) -> (Option<String>, Vec<&'static str>) {
    let mut session = Session::new(fake.clone(), Bindings::default(), plan);
    let hostname = session.apply().await.expect("applied");
    assert_eq!(session.changes.is_empty(), fake.writes.lock().expect("lock").is_empty());
    (hostname, fake.writes())
}

#[tokio::test]
async fn a_plan_is_made_once_changed_in_place_and_removed_whole() {
    let fake = Fake::new();
    let internet = || {
        json!({
            "scheme": "internet-facing", "target-type": "ip", "tags": "team=a",
            "load-balancer-attributes": "idle_timeout.timeout_seconds=30",
            "target-group-attributes": "deregistration_delay.timeout_seconds=5",
        })
    };
    let first = plan(&fake, internet(), paths(&[("/", "web")])).await;
    let (hostname, writes) = apply(&fake, &first).await;
    assert!(hostname.expect("a host name").starts_with("k8s-default-web-4dac25c253-"));
    let expected = [
        "CreateSecurityGroup",
        "AuthorizeSecurityGroupIngress",
        "CreateTargetGroup",
        "ModifyTargetGroupAttributes",
        "CreateLoadBalancer",
        "ModifyLoadBalancerAttributes",
        "CreateListener",
        "CreateRule",
    ];
    assert_eq!(writes, expected);
    assert_eq!(apply(&fake, &first).await.1, Vec::<&str>::new());

    let second = plan(&fake, internet(), paths(&[("/cart", "cart"), ("/", "web")])).await;
    let (_, writes) = apply(&fake, &second).await;
    assert_eq!(
        writes,
        ["CreateTargetGroup", "ModifyTargetGroupAttributes", "SetRulePriorities", "CreateRule", "AddTags"]
    );
    assert_eq!(apply(&fake, &second).await.1, Vec::<&str>::new());

    let (_, writes) = apply(&fake, &first).await;
    assert_eq!(writes, ["SetRulePriorities", "DeleteRule", "AddTags", "DeleteTargetGroup"]);
    assert_eq!(apply(&fake, &first).await.1, Vec::<&str>::new());

    let (hostname, _) = apply(&fake, &Plan::empty("kind", "default/web")).await;
    assert_eq!(hostname, None);
    let (state, bare) = (fake.state(), State::bootstrap(3));
    assert!(state.load_balancers.is_empty() && state.listeners.is_empty() && state.rules.is_empty());
    assert!(state.target_groups.is_empty());
    assert_eq!(state.security_groups.len(), bare.security_groups.len());
}

#[tokio::test]
async fn deletion_protection_does_not_outlive_its_annotation() {
    let fake = Fake::new();
    let annotations = json!({
        "target-type": "instance", "load-balancer-attributes": "deletion_protection.enabled=true",
    });
    apply(&fake, &plan(&fake, annotations, paths(&[("/", "web")])).await).await;
    let (_, writes) = apply(&fake, &Plan::empty("kind", "default/web")).await;
    assert_eq!(writes[..2], ["ModifyLoadBalancerAttributes", "DeleteLoadBalancer"]);
    assert!(fake.state().load_balancers.is_empty());
}

#[tokio::test]
async fn another_scheme_replaces_the_load_balancer() {
    let fake = Fake::new();
    let of = |scheme: &str| json!({"scheme": scheme, "target-type": "instance"});
    apply(&fake, &plan(&fake, of("internal"), paths(&[("/", "web")])).await).await;
    let public = plan(&fake, of("internet-facing"), paths(&[("/", "web")])).await;
    let (_, writes) = apply(&fake, &public).await;
    assert_eq!(writes, ["DeleteLoadBalancer", "CreateLoadBalancer", "CreateListener", "CreateRule"]);
    assert_eq!(apply(&fake, &public).await.1, Vec::<&str>::new());
}

#[tokio::test]
async fn what_the_cloud_refuses_is_told_with_the_annotation_it_came_from() {
    let redirect = |config: &str| format!(r#"{{"type":"redirect","redirectConfig":{{{config}}}}}"#);
    let fixed = |config: &str| format!(r#"{{"type":"fixed-response","fixedResponseConfig":{{{config}}}}}"#);
    let sticky = |seconds: u32| {
        format!(
            r#"{{"type":"forward","forwardConfig":{{"targetGroups":[{{"serviceName":"web","servicePort":80}}],
            "targetGroupStickinessConfig":{{"enabled":true,"durationSeconds":{seconds}}}}}}}"#
        )
    };
    let condition = |field: &str, config: &str| format!(r#"[{{"field":"{field}",{config}}}]"#);
    let values = |field: &str, name: &str, value: &str| {
        condition(field, &format!(r#""{name}":{{"httpHeaderName":"Host","values":["{value}"]}}"#))
    };
    let six = condition("path-pattern", r#""pathPatternConfig":{"values":["/1","/2","/3","/4","/5","/6"]}"#);
    let long = fixed(&format!(r#""statusCode":"200","messageBody":"{}""#, "x".repeat(1100)));
    // annotation, its value, a part of the sentence
    let table: Vec<(&str, String, &str)> = vec![
        ("actions.act", redirect(r#""host":"x.y","statusCode":"HTTP_307""#), "[HTTP_301, HTTP_302]"),
        ("actions.act", redirect(r#""host":"x.y","protocol":"FTP","statusCode":"HTTP_301""#), "'FTP'"),
        (
            "actions.act",
            redirect(r#""host":"x.y","path":"nolead","statusCode":"HTTP_301""#),
            "begin with a '/'",
        ),
        ("actions.act", fixed(r#""statusCode":"200","contentType":"image/png""#), "'image/png'"),
        ("actions.act", fixed(r#""statusCode":"999""#), "must be 2XX, 4XX or 5XX"),
        ("actions.act", fixed(r#""statusCode":"abc""#), "must be 2XX, 4XX or 5XX"),
        ("actions.act", long, "at most 1024 bytes"),
        ("actions.act", sticky(9_999_999), "stickiness duration"),
        (
            "conditions.act",
            values("source-ip", "sourceIpConfig", "notacidr"),
            "'notacidr' is not a valid CIDR",
        ),
        (
            "conditions.act",
            values("http-header", "httpHeaderConfig", "1"),
            "header name 'Host' is not allowed",
        ),
        ("conditions.act", values("http-request-method", "httpRequestMethodConfig", "get it"), "'get it'"),
        ("conditions.act", values("host-header", "hostHeaderConfig", "nodots"), "'nodots' must contain"),
        ("conditions.act", six, "A rule can only have '5' condition values"),
        ("target-group-attributes", "slow_start.duration_seconds=5".into(), "0 or a number from 30 to 900"),
        ("healthcheck-path", "nolead".into(), "must begin with a '/'"),
        ("success-codes", "abc".into(), "must be within"),
        ("certificate-arn", "arn:aws:acm:none".into(), "is not valid"),
        ("load-balancer-attributes", "idle_timeout.timeout_seconds=5000".into(), "from 1 to 4000"),
        ("listener-attributes.HTTP-80", "nonsense=5".into(), "'nonsense' is not recognized"),
        ("security-groups", "sg-none".into(), "sg-none"),
    ];
    for (name, value, sentence) in table {
        let fake = Fake::new();
        let backend = |name: &str| json!({"service": {"name": name, "port": {"name": "use-annotation"}}});
        let rules = json!([{"host": "a.example", "http": {"paths": [
            {"path": "/web", "pathType": "Prefix", "backend": {"service": {"name": "web", "port": {"number": 80}}}},
            {"path": "/", "pathType": "Prefix", "backend": backend("act")},
        ]}}]);
        // Innocent annotations that a search for quoted words would find.
        let mut annotations = json!({
            "target-type": "ip", "group.order": "5",
            "actions.act": r#"{"type":"fixed-response","fixedResponseConfig":{"statusCode":"200"}}"#,
            "tags": "five=5,html=/", "target-group-attributes": "deregistration_delay.timeout_seconds=5",
        });
        annotations[name] = json!(value);
        let plan = plan(&fake, annotations, rules).await;
        let mut session = Session::new(fake.clone(), Bindings::default(), &plan);
        let refusal = session.apply().await.expect_err(name);
        assert!(refusal.error.message.contains(sentence), "{name}={value}: {refusal}");
        let blamed: Vec<&str> = refusal.blamed.iter().map(String::as_str).collect();
        assert_eq!(blamed, [format!("{PREFIX}{name} of Ingress default/web")], "{name}={value}: {refusal}");
    }
}
