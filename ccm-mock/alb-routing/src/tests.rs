//! Tables of requests against rules, and what must hold for any of them.

use super::*;
use ccm_mock_aws_api::elbv2::*;
use proptest::prelude::*;

pub(crate) fn head(method: &str, url: &str) -> RequestHead {
    let (scheme, rest) = url.split_once("://").expect("scheme");
    let (host, path) = rest.split_once('/').expect("path");
    let (path, query) = path.split_once('?').map_or((path, None), |(p, q)| (p, Some(q.to_string())));
    RequestHead {
        method: method.into(),
        scheme: scheme.into(),
        host: host.into(),
        path: format!("/{path}"),
        query,
        headers: vec![("User-Agent".into(), "Mozilla/5.0 (Chrome)".into())],
        source_ip: "198.51.100.10".parse().expect("ip"),
    }
}

fn listener() -> Listener {
    Listener {
        listener_arn: "l".into(),
        load_balancer_arn: "lb".into(),
        port: 80,
        protocol: Protocol::Http,
        ssl_policy: None,
        certificates: vec![],
        default_actions: vec![Action::fixed_response("404", None, None)],
        attributes: Default::default(),
        tags: vec![],
    }
}

fn rule(priority: &str, conditions: Vec<RuleCondition>) -> Rule {
    let actions = vec![Action::forward(format!("tg-{priority}"))];
    Rule { priority: priority.into(), conditions, actions, ..Default::default() }
}

fn texts(values: &[&str]) -> Vec<String> {
    values.iter().map(|v| v.to_string()).collect()
}

#[test]
fn the_first_rule_that_matches_wins() {
    let header = RuleCondition {
        field: "http-header".into(),
        http_header_config: Some(HttpHeaderConfig {
            http_header_name: "user-agent".into(),
            values: texts(&["*chrome*"]),
            regex_values: vec![],
        }),
        ..Default::default()
    };
    let query = RuleCondition {
        field: "query-string".into(),
        query_string_config: Some(QueryStringConfig {
            values: vec![QueryStringKeyValuePair { key: Some("v".into()), value: "1?".into() }],
        }),
        ..Default::default()
    };
    let rules = vec![
        rule(
            "10",
            vec![
                RuleCondition::host_header(texts(&["*.example.com"])),
                RuleCondition::path_pattern(texts(&["/cart", "/cart/*"])),
            ],
        ),
        rule("2", vec![RuleCondition::http_request_method(texts(&["POST"]))]),
        rule("30", vec![RuleCondition::source_ip(texts(&["10.0.0.0/8"]))]),
        rule("40", vec![query]),
        rule("50", vec![RuleCondition::host_header(texts(&["agent.test"])), header]),
        Rule {
            priority: "default".into(),
            is_default: true,
            actions: vec![Action::fixed_response("404", None, None)],
            ..Default::default()
        },
    ];
    let table = [
        ("GET", "http://shop.example.com/cart", "10"),
        ("GET", "http://SHOP.example.com:8080/cart/1/2", "10"),
        ("GET", "http://shop.example.com/Cart", "default"),
        ("GET", "http://example.com/cart", "default"),
        ("POST", "http://shop.example.com/cart", "2"),
        ("GET", "http://a.b/x?w=0&V=12", "40"),
        ("GET", "http://a.b/x?v=123", "default"),
        ("GET", "http://agent.test/", "50"),
    ];
    let listener = listener();
    for (method, url, priority) in table {
        let decision = route(&listener, &rules, &head(method, url));
        assert_eq!(decision.rule.map(|r| r.priority.as_str()), Some(priority), "{method} {url}");
    }
    let passed = passed_over(&rules, &head("GET", "http://shop.example.com/x?v=1"));
    assert_eq!(passed.len(), 5);
    assert_eq!(passed[0].1.to_string(), "http-request-method is GET, rule wants POST");
    assert_eq!(passed[1].1.to_string(), "path-pattern is /x, rule wants /cart or /cart/*");
}

#[test]
fn redirects_fill_their_placeholders() {
    let table = [
        (
            RedirectConfig { protocol: "HTTPS".into(), port: "443".into(), ..Default::default() },
            "https://a.test:443/x/y?q=1",
        ),
        (
            RedirectConfig { host: "www.#{host}".into(), query: String::new(), ..Default::default() },
            "http://www.a.test:80/x/y",
        ),
        (
            RedirectConfig { path: "/new/#{path}".into(), ..Default::default() },
            "http://a.test:80/new/x/y?q=1",
        ),
    ];
    for (config, expected) in table {
        assert_eq!(location(&config, 80, &head("GET", "http://a.test/x/y?q=1")), expected);
    }
}

pub(crate) fn targets(states: &[HealthState]) -> Vec<TargetHealthDescription> {
    let target = |(i, state): (usize, &HealthState)| TargetHealthDescription {
        id: format!("t{i}"),
        port: 80,
        availability_zone: None,
        state: *state,
        reason: None,
        description: None,
        draining_until_ms: None,
    };
    states.iter().enumerate().map(target).collect()
}

#[test]
fn selection_prefers_healthy_and_fails_open() {
    use HealthState::*;
    let mixed = candidates(&targets(&[Healthy, Draining, Unhealthy, Healthy]));
    assert_eq!(mixed, Candidates { indexes: vec![0, 3], fail_open: false });
    assert_eq!(select(Algorithm::RoundRobin, &mixed, 1, |_| 0), Some(3));
    assert_eq!(select(Algorithm::LeastOutstandingRequests, &mixed, 1, |i| i), Some(0));
    let none = candidates(&targets(&[Unhealthy, Draining]));
    assert_eq!(none, Candidates { indexes: vec![0], fail_open: true });
    assert_eq!(select(Algorithm::RoundRobin, &candidates(&[]), 1, |_| 0), None);
}

proptest! {
    #[test]
    fn weights_are_respected(weights in proptest::collection::vec(0u32..999, 1..5), random: u64) {
        let groups: Vec<(String, u32)> = weights.iter().enumerate().map(|(i, w)| (i.to_string(), *w)).collect();
        match choose_target_group(&groups, random) {
            Some(arn) => prop_assert!(weights[arn.parse::<usize>().expect("index")] > 0),
            None => prop_assert!(weights.iter().all(|w| *w == 0)),
        }
    }

    #[test]
    fn globs_match_what_they_were_made_from(text in "[a-c/]{0,8}", at in 0usize..9) {
        let cut = at.min(text.len());
        let (before, after) = (format!("{}*", &text[..cut]), format!("*{}", &text[cut..]));
        prop_assert!(glob_matches(&before, &text, false));
        prop_assert!(glob_matches(&after, &text, false));
        prop_assert!(glob_matches(&text, &text.to_uppercase(), true));
    }
}
