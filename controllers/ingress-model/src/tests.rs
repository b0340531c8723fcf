//! Tables: Ingresses in, plans or upstream's refusals out.

use crate::*;
use ccm_mock_aws_api::acm::{Certificate, CertificateStatus, CertificateType};
use ccm_mock_aws_api::ec2::Subnet;
use ccm_mock_aws_api::{Tag, tag};
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::networking::v1::Ingress;
use serde_json::{Value, json};
use std::sync::Arc;

fn ingress(name: &str, annotations: Value, rules: Value) -> Arc<Ingress> {
    let annotations: serde_json::Map<String, Value> = annotations
        .as_object()
        .into_iter()
        .flatten()
        .map(|(key, value)| (format!("{PREFIX}{key}"), value.clone()))
        .collect();
    let object = json!({
        "metadata": {"namespace": "default", "name": name, "annotations": annotations},
        "spec": {"ingressClassName": "alb", "rules": rules},
    });
    Arc::new(serde_json::from_value(object).expect("an Ingress"))
}

fn path(path: &str, kind: &str, service: &str) -> Value {
    json!({"path": path, "pathType": kind, "backend": {"service": {"name": service, "port": {"number": 80}}}})
}

fn host(host: &str, paths: Vec<Value>) -> Value {
    json!({"host": host, "http": {"paths": paths}})
}

fn subnet(index: u8) -> Subnet {
    Subnet {
        subnet_id: format!("subnet-{index}"),
        availability_zone: format!("zone-{index}"),
        tags: vec![Tag::new("kubernetes.io/role/elb", "1"), Tag::new("kubernetes.io/role/internal-elb", "")],
        ..Default::default()
    }
}

fn certificate(id: &str, domain: &str) -> Certificate {
    Certificate {
        certificate_arn: id.into(),
        domain_name: domain.into(),
        subject_alternative_names: Vec::new(),
        status: CertificateStatus::Issued,
        r#type: CertificateType::AmazonIssued,
        key_algorithm: String::new(),
        issuer: String::new(),
        serial: String::new(),
        not_before: String::new(),
        not_after: String::new(),
        certificate_chain: String::new(),
        tags: Vec::new(),
        object_name: String::new(),
    }
}

fn group(members: Vec<Arc<Ingress>>) -> Group {
    let service = |name: &str| -> Arc<Service> {
        let object = json!({
            "metadata": {"namespace": "default", "name": name, "uid": format!("uid-{name}")},
            "spec": {"ports": [{"name": "http", "port": 80, "targetPort": 8080}]},
        });
        Arc::new(serde_json::from_value(object).expect("a Service"))
    };
    let (id, _) = membership(&members[0]).expect("a group");
    Group {
        cluster: "kind".into(),
        id,
        members,
        services: ["web", "cart"]
            .map(|name| (("default".to_string(), name.to_string()), service(name)))
            .into(),
        certificates: vec![
            certificate("arn:wild", "*.shop.example"),
            certificate("arn:exact", "a.shop.example"),
        ],
        subnets: vec![subnet(1), subnet(2)],
        target_groups: Default::default(),
    }
}

fn plan(members: Vec<Arc<Ingress>>) -> Plan {
    build(&check(&group(members)).expect("a plan"))
}

fn rule_table(plan: &Plan, port: u16) -> Vec<String> {
    let listener = plan.listeners.iter().find(|l| l.port == port).expect("a listener");
    let line = |r: &RulePlan| {
        let conditions: Vec<String> = r.conditions.iter().map(|c| c.summary()).collect();
        format!("{} {} => {}", r.priority, conditions.join(" & "), r.actions[0].summary())
    };
    listener.rules.iter().map(line).collect()
}

#[test]
fn https_with_redirect_makes_two_listeners_and_one_target_group() {
    let annotations = json!({
        "scheme": "internet-facing", "target-type": "ip",
        "listen-ports": "[{\"HTTP\":80},{\"HTTPS\":443}]", "ssl-redirect": "443",
    });
    let rules = json!([host("a.shop.example", vec![path("/", "Prefix", "web")])]);
    let plan = plan(vec![ingress("web", annotations, rules)]);
    let balancer = plan.load_balancer.clone().expect("a load balancer");
    assert_eq!(balancer.name, "k8s-default-web-4dac25c253");
    assert_eq!(balancer.subnets, ["subnet-1", "subnet-2"]);
    assert_eq!(
        plan.listeners[0].default_actions[0].summary(),
        "redirect 301 HTTPS://#{host}:443/#{path}?#{query}"
    );
    assert!(plan.listeners[0].rules.is_empty());
    assert_eq!(plan.listeners[1].certificates, ["arn:exact", "arn:wild"]);
    assert_eq!(plan.listeners[1].default_actions[0].summary(), "fixed 404");
    let expected = ["1 Host a.shop.example & Path /* => forward default/web-web:80"];
    assert_eq!(rule_table(&plan, 443), expected);
    assert_eq!(plan.target_groups.len(), 1);
    assert_eq!((plan.target_groups[0].port, plan.target_groups[0].health_check.interval_seconds), (8080, 15));
    let text = serde_json::to_string(&plan).expect("JSON");
    assert_eq!(serde_json::from_str::<Plan>(&text).expect("a plan"), plan);
}

#[test]
fn rules_follow_members_then_the_spec_and_paths_by_type_and_length() {
    let of_group = |order: &str| json!({"group.name": "shop", "group.order": order, "target-type": "ip"});
    let late = ingress("a", of_group("10"), json!([host("z.example", vec![path("/", "Prefix", "cart")])]));
    let paths = vec![
        path("/img/*", "ImplementationSpecific", "web"),
        path("/a", "Prefix", "web"),
        path("/longer/", "Prefix", "cart"),
        path("/exact", "Exact", "web"),
    ];
    let early = ingress(
        "b",
        of_group("-1"),
        json!([host("b.example", paths), host("a.example", vec![path("/", "Prefix", "web")])]),
    );
    let plan = plan(vec![late, early]);
    assert_eq!(plan.stack, "shop");
    let expected = [
        "1 Host b.example & Path /exact => forward default/b-web:80",
        "2 Host b.example & Path /longer or /longer/* => forward default/b-cart:80",
        "3 Host b.example & Path /a or /a/* => forward default/b-web:80",
        "4 Host b.example & Path /img/* => forward default/b-web:80",
        "5 Host a.example & Path /* => forward default/b-web:80",
        "6 Host z.example & Path /* => forward default/a-cart:80",
    ];
    assert_eq!(rule_table(&plan, 80), expected);
    assert_eq!(plan.listeners[0].rules[5].tags[RESOURCE_TAG], "80:6");
}

#[test]
fn annotated_actions_and_conditions_are_read_without_case() {
    let annotations = json!({
        "target-type": "ip",
        "actions.split": r#"{"Type":"forward","ForwardConfig":{"TargetGroups":[
            {"ServiceName":"web","ServicePort":"80","Weight":90},{"ServiceName":"cart","ServicePort":80,"Weight":10}]}}"#,
        "actions.away": r#"{"type":"redirect","redirectConfig":{"host":"new.example","statusCode":"HTTP_302"}}"#,
        "conditions.split": r#"[{"Field":"http-header","HttpHeaderConfig":{"HttpHeaderName":"X-Beta","Values":["1"]}},
            {"field":"host-header","hostHeaderConfig":{"values":["b.example"]}}]"#,
    });
    let action = |name: &str| json!({"path": "/", "pathType": "Prefix", "backend": {"service": {"name": name, "port": {"name": "use-annotation"}}}});
    let rules = json!([
        host("a.example", vec![action("split")]),
        host("c.example", vec![action("away"), action("gone"), path("/x", "Exact", "missing")])
    ]);
    let plan = plan(vec![ingress("web", annotations, rules)]);
    let expected = [
        "1 Header X-Beta: 1 & Host a.example or b.example & Path /* => forward default/web-web:80:90, default/web-cart:80:10",
        "2 Host c.example & Path /x => fixed 503 \"Backend service does not exist\"",
        "3 Host c.example & Path /* => redirect 302 #{protocol}://new.example:#{port}/#{path}?#{query}",
    ];
    assert_eq!(rule_table(&plan, 80), expected);
}

#[test]
fn what_is_wrong_is_named() {
    let rules = || json!([host("a.example", vec![path("/", "Prefix", "web")])]);
    let forward = |port: &str| {
        format!(
            r#"{{"type":"forward","forwardConfig":{{"targetGroups":[{{"serviceName":"web","servicePort":{port}}}]}}}}"#
        )
    };
    let annotated = || {
        let backend = json!({"service": {"name": "act", "port": {"name": "use-annotation"}}});
        json!([host("a.example", vec![json!({"path": "/", "pathType": "Prefix", "backend": backend})])])
    };
    let table = [
        (json!({"scheme": "public"}), rules(), "unknown scheme: public (alb.ingress.kubernetes.io/scheme)"),
        (
            json!({"target-type": "pod"}),
            rules(),
            "ingress: default/web: unknown targetType: pod (alb.ingress.kubernetes.io/target-type)",
        ),
        (
            json!({}),
            rules(),
            "ingress: default/web: TargetGroup port is empty. When using Instance targets, your service must be of type 'NodePort' or 'LoadBalancer'",
        ),
        (
            json!({"target-type": "ip", "listen-ports": "[{\"HTTPS\":443}]"}),
            rules(),
            "ingress: default/web: no certificate found for host: a.example",
        ),
        (
            json!({"target-type": "ip", "ssl-redirect": "443"}),
            rules(),
            "listener does not exist for SSLRedirect port: 443 (alb.ingress.kubernetes.io/ssl-redirect)",
        ),
        (
            json!({"target-type": "ip"}),
            json!([host("a", vec![path("/x*", "Prefix", "web")])]),
            "ingress: default/web: prefix path shouldn't contain wildcards: /x*",
        ),
        (
            json!({"target-type": "ip", "healthcheck-protocol": "TCP"}),
            rules(),
            "ingress: default/web: healthCheckProtocol must be within [HTTP, HTTPS]: TCP (alb.ingress.kubernetes.io/healthcheck-protocol)",
        ),
        (
            json!({"target-type": "ip", "healthcheck-port": "99999", "actions.act": forward("80")}),
            annotated(),
            "ingress: default/web: failed to resolve healthCheckPort: unable to find port 99999 on service default/web (alb.ingress.kubernetes.io/healthcheck-port)",
        ),
        (
            json!({"target-type": "ip", "actions.act": forward("81")}),
            annotated(),
            "ingress: default/web: unable to find port 81 on service default/web (alb.ingress.kubernetes.io/actions.act)",
        ),
        (
            json!({"target-type": "ip", "conditions.web": r#"[{"field":"path-pattern","pathPatternConfig":{"values":[]}}]"#}),
            rules(),
            "ingress: default/web: invalid pathPatternConfig: values cannot be empty (alb.ingress.kubernetes.io/conditions.web)",
        ),
        (
            json!({"target-type": "ip", "conditions.web": r#"[{"field":"path-pattern","pathPatternConfig":{"regexValues":["^/x"]}}]"#}),
            rules(),
            "ingress: default/web: path-pattern condition cannot have both values and regexValues (alb.ingress.kubernetes.io/conditions.web)",
        ),
    ];
    for (annotations, rules, reason) in table {
        let refused = check(&group(vec![ingress("web", annotations, rules)])).expect_err(reason);
        assert_eq!(refused.reason, reason);
    }
    let bad = ingress("web", json!({"listen-ports": "[{\"TCP\":80}]"}), rules());
    let refused = check(&group(vec![bad])).expect_err("a refusal");
    assert!(refused.reason.contains("alb.ingress.kubernetes.io/listen-ports"), "{}", refused.reason);
}

#[test]
fn a_protected_load_balancer_keeps_its_ingress() {
    let table = [
        (json!({"load-balancer-attributes": "deletion_protection.enabled=true"}), false),
        (
            json!({"load-balancer-attributes": "idle_timeout.timeout_seconds=5,deletion_protection.enabled=true"}),
            false,
        ),
        (json!({"load-balancer-attributes": "deletion_protection.enabled=false"}), true),
        (json!({"load-balancer-attributes": "nonsense"}), true),
        (json!({}), true),
    ];
    for (annotations, fine) in table {
        let said = deletable(&ingress("web", annotations.clone(), json!([])));
        assert_eq!(said.is_ok(), fine, "{annotations}: {said:?}");
        assert_eq!(
            said.err().unwrap_or_default(),
            if fine {
                ""
            } else {
                "deletion_protection is enabled, cannot delete the ingress: web (alb.ingress.kubernetes.io/load-balancer-attributes)"
            }
        );
    }
}

#[test]
fn members_must_agree() {
    let of_group = |scheme: &str| json!({"group.name": "shop", "scheme": scheme, "target-type": "ip"});
    let rules = || json!([host("a.example", vec![path("/", "Prefix", "web")])]);
    let members =
        vec![ingress("a", of_group("internal"), rules()), ingress("b", of_group("internet-facing"), rules())];
    let refused = check(&group(members)).expect_err("a refusal");
    assert_eq!(
        refused.reason,
        "conflicting scheme: map[internal:{} internet-facing:{}] (alb.ingress.kubernetes.io/scheme)"
    );
    let of_port = |listen: &str| json!({"group.name": "shop", "listen-ports": listen, "target-type": "ip", "certificate-arn": "arn:exact"});
    let members = vec![
        ingress("a", of_port(r#"[{"HTTP": 8080}]"#), rules()),
        ingress("b", of_port(r#"[{"HTTPS": 8080}]"#), rules()),
    ];
    let refused = check(&group(members)).expect_err("a refusal");
    assert_eq!(
        refused.reason,
        "failed to merge listenPort config for port: 8080: conflicting protocol (alb.ingress.kubernetes.io/listen-ports)"
    );
}

#[test]
fn tags_name_cluster_group_and_resource() {
    let annotations = json!({"target-type": "ip", "tags": "team=a"});
    let plan =
        plan(vec![ingress("web", annotations, json!([host("a.example", vec![path("/", "Prefix", "web")])]))]);
    let tags: Vec<Tag> = plan.target_groups[0].tags.iter().map(|(k, v)| Tag::new(k, v)).collect();
    assert_eq!(tag(&tags, RESOURCE_TAG), Some("default/web-web:80"));
    assert_eq!(tag(&tags, STACK_TAG), Some("default/web"));
    assert_eq!(tag(&tags, CLUSTER_TAG), Some("kind"));
    assert_eq!(tag(&tags, "team"), Some("a"));
}
