//! Stickiness: cookies that keep a client with a target group of a weighted forward, and with a target of a group.
//!
//! A cookie says until when it counts and, as a digest, what it stands for: nothing is remembered, nothing is told to the
//! client, and one that stands for nothing there is any more is as good as none. Attributes of the cookies other than how
//! long they live are the proxy's business.

use crate::{Candidates, RequestHead};
use ccm_mock_aws_api::elbv2::{
    Attributes, Protocol, TargetGroup, TargetGroupStickinessConfig, TargetHealthDescription,
};
use sha2::{Digest, Sha256};

/// Names a target group of a forward.
const GROUP_COOKIE: &str = "AWSALBTG";
/// Names a target.
const TARGET_COOKIE: &str = "AWSALB";
/// Names a target for as long as the application's own cookie is there.
const APP_COOKIE: &str = "AWSALBAPP-0";
/// What is added to the name of a cookie that browsers send across sites.
const CORS: &str = "CORS";

const WEEK_S: u64 = 604_800;
const DAY_S: u64 = 86_400;
/// Hex digits of a digest: as many as nobody meets twice.
const DIGITS: usize = 48;

/// A cookie to be set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cookie {
    /// `AWSALB`, …
    pub name: String,
    /// Opaque to everybody else.
    pub value: String,
    /// Seconds until it expires.
    pub lives_s: u64,
    /// Whether it is for requests across sites.
    pub cross_site: bool,
}

/// What a target group's attributes ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stickiness<'a> {
    /// `lb_cookie`, for this many seconds from the last answer.
    LbCookie(u64),
    /// `app_cookie`: the application's cookie, and seconds.
    AppCookie(&'a str, u64),
}

impl<'a> Stickiness<'a> {
    /// None where it is off, and for target groups that NLBs use.
    pub fn of(group: &'a TargetGroup) -> Option<Self> {
        let text = |key: &str| group.attributes.get(key).map_or("", String::as_str);
        let web = matches!(group.protocol, Protocol::Http | Protocol::Https);
        if !web || text("stickiness.enabled") != "true" {
            return None;
        }
        match text("stickiness.type") {
            "lb_cookie" => {
                let seconds = seconds(&group.attributes, "stickiness.lb_cookie.duration_seconds");
                Some(Stickiness::LbCookie(seconds))
            }
            "app_cookie" => {
                let seconds = seconds(&group.attributes, "stickiness.app_cookie.duration_seconds");
                Some(Stickiness::AppCookie(text("stickiness.app_cookie.cookie_name"), seconds))
            }
            _ => None,
        }
    }
}

fn seconds(attributes: &Attributes, key: &str) -> u64 {
    attributes.get(key).and_then(|v| v.parse().ok()).unwrap_or(DAY_S)
}

fn value(words: &str, until_s: u64) -> String {
    let digest = Sha256::digest(format!("{until_s}|{words}").as_bytes());
    let hex: String = digest.iter().map(|b| format!("{b:02x}")).collect();
    format!("{until_s:x}-{}", &hex[..DIGITS])
}

/// Whether a value stands for these words and still counts.
fn stands_for(given: &str, words: &str, now_s: u64) -> bool {
    let until_s = given.split_once('-').and_then(|(until, _)| u64::from_str_radix(until, 16).ok());
    until_s.is_some_and(|until_s| until_s > now_s && value(words, until_s) == given)
}

fn words(group: &TargetGroup, target: &TargetHealthDescription) -> String {
    format!("{}|{}|{}", group.target_group_arn, target.id, target.port)
}

/// The value of a cookie of the request.
fn cookie<'h>(head: &'h RequestHead, name: &str) -> Option<&'h str> {
    let lines = head.headers.iter().filter(|(header, _)| header.eq_ignore_ascii_case("cookie"));
    let mut pairs =
        lines.flat_map(|(_, line)| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(given, _)| *given == name).map(|(_, value)| value)
}

/// Of a cookie and its twin for requests across sites, the one the request has.
fn either<'h>(head: &'h RequestHead, name: &str) -> Option<&'h str> {
    cookie(head, name).or_else(|| cookie(head, &format!("{name}{CORS}")))
}

/// The target group that the client is to stay with.
pub fn sticky_target_group<'a>(
    config: Option<&TargetGroupStickinessConfig>,
    target_groups: &'a [(String, u32)],
    head: &RequestHead,
    now_s: u64,
) -> Option<&'a str> {
    let given = config.filter(|config| config.enabled).and_then(|_| either(head, GROUP_COOKIE))?;
    // Without any weight nothing is forwarded at all.
    let any = target_groups.iter().any(|(_, weight)| *weight > 0);
    let mut all = target_groups.iter().filter(|_| any).map(|(arn, _)| arn.as_str());
    all.find(|arn| stands_for(given, arn, now_s))
}

/// The target that the client is to stay with, among those that can be used; and the cookie that says so.
pub fn sticky_target(
    group: &TargetGroup,
    candidates: &Candidates,
    head: &RequestHead,
    now_s: u64,
) -> Option<(usize, &'static str)> {
    let (name, given) = match Stickiness::of(group)? {
        Stickiness::LbCookie(_) => (TARGET_COOKIE, either(head, TARGET_COOKIE)?),
        Stickiness::AppCookie(own, _) => {
            cookie(head, own)?;
            (APP_COOKIE, cookie(head, APP_COOKIE)?)
        }
    };
    let named = |i: &&usize| {
        group.targets.get(**i).is_some_and(|target| stands_for(given, &words(group, target), now_s))
    };
    candidates.indexes.iter().find(named).map(|index| (*index, name))
}

/// The cookies to be set when the client is sent to a target group.
pub fn target_group_cookies(
    config: Option<&TargetGroupStickinessConfig>,
    target_group_arn: &str,
    now_s: u64,
) -> Vec<Cookie> {
    let Some(config) = config.filter(|config| config.enabled) else { return Vec::new() };
    let lives_s = u64::from(config.duration_seconds.unwrap_or(0));
    twins(GROUP_COOKIE, value(target_group_arn, now_s + lives_s), lives_s)
}

/// The cookies to be set when the client is sent to a target. `app_sets` says whether the target's answer sets the
/// application's cookie.
pub fn target_cookies(
    group: &TargetGroup,
    target: &TargetHealthDescription,
    now_s: u64,
    app_sets: impl Fn(&str) -> bool,
) -> Vec<Cookie> {
    match Stickiness::of(group) {
        Some(Stickiness::LbCookie(lives_s)) => {
            twins(TARGET_COOKIE, value(&words(group, target), now_s + lives_s), lives_s)
        }
        Some(Stickiness::AppCookie(own, counts_s)) if app_sets(own) => {
            let value = value(&words(group, target), now_s + counts_s);
            // Browsers keep it for a week; how long it counts is said in it.
            vec![Cookie { name: APP_COOKIE.into(), value, lives_s: WEEK_S, cross_site: false }]
        }
        _ => Vec::new(),
    }
}

fn twins(name: &str, value: String, lives_s: u64) -> Vec<Cookie> {
    vec![
        Cookie { name: name.into(), value: value.clone(), lives_s, cross_site: false },
        Cookie { name: format!("{name}{CORS}"), value, lives_s, cross_site: true },
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::candidates;
    use crate::tests::{head, targets};
    use ccm_mock_aws_api::elbv2::{HealthCheck, HealthState, TargetType};
    use ccm_mock_aws_api::limits;

    fn group(arn: &str, states: &[HealthState], attributes: &[(&str, &str)]) -> TargetGroup {
        let mut all = limits::target_group_attributes(Protocol::Http);
        all.extend(attributes.iter().map(|(k, v)| (k.to_string(), v.to_string())));
        TargetGroup {
            target_group_arn: arn.into(),
            target_group_name: "tg".into(),
            protocol: Protocol::Http,
            port: 80,
            protocol_version: None,
            target_type: TargetType::Ip,
            vpc_id: String::new(),
            ip_address_type: String::new(),
            health_check: HealthCheck::default_for(Protocol::Http),
            load_balancer_arns: Vec::new(),
            targets: targets(states),
            attributes: all,
            tags: Vec::new(),
        }
    }

    fn with(cookies: &[(&str, &str)]) -> RequestHead {
        let line: Vec<String> = cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let mut head = head("GET", "http://a.test/");
        head.headers.push(("Cookie".into(), line.join("; ")));
        head
    }

    /// Cookies, states, the time, the target.
    type Row<'a> = (&'a [(&'a str, &'a str)], &'a [HealthState], u64, Option<usize>);

    const LB: &[(&str, &str)] =
        &[("stickiness.enabled", "true"), ("stickiness.lb_cookie.duration_seconds", "60")];

    #[test]
    fn a_target_is_kept_while_the_cookie_counts_and_the_target_can_be_used() {
        use HealthState::*;
        let of = |states: &[HealthState]| group("arn:1", states, LB);
        let set = target_cookies(&of(&[Healthy; 3]), &of(&[Healthy; 3]).targets[2], 1000, |_| false);
        let names: Vec<(&str, u64, bool)> =
            set.iter().map(|c| (c.name.as_str(), c.lives_s, c.cross_site)).collect();
        assert_eq!(names, [("AWSALB", 60, false), ("AWSALBCORS", 60, true)]);
        let given = set[0].value.as_str();
        assert!(!given.contains("t2"), "{given} tells nothing");
        let table: [Row<'_>; 9] = [
            (&[("AWSALB", given)], &[Healthy; 3], 1001, Some(2)),
            (&[("x", "y"), ("AWSALBCORS", given)], &[Healthy; 3], 1059, Some(2)),
            (&[("AWSALB", given)], &[Healthy; 3], 1060, None),
            (&[("AWSALB", given)], &[Healthy, Healthy, Unhealthy], 1001, None),
            (&[("AWSALB", given)], &[Healthy, Healthy, Draining], 1001, None),
            (&[("AWSALB", given)], &[Unhealthy, Unhealthy, Unhealthy], 1001, Some(2)),
            (&[("AWSALB", given)], &[Healthy; 2], 1001, None),
            (&[("AWSALB", "nonsense")], &[Healthy; 3], 1001, None),
            (&[], &[Healthy; 3], 1001, None),
        ];
        for (i, (cookies, states, now_s, expected)) in table.into_iter().enumerate() {
            let group = of(states);
            let found = sticky_target(&group, &candidates(&group.targets), &with(cookies), now_s);
            assert_eq!(found, expected.map(|index| (index, "AWSALB")), "row {i}");
        }
        let elsewhere = group("arn:2", &[Healthy; 3], LB);
        let found =
            sticky_target(&elsewhere, &candidates(&elsewhere.targets), &with(&[("AWSALB", given)]), 1001);
        assert_eq!(found, None, "of another target group");
        let off = group("arn:1", &[Healthy; 3], &[]);
        assert_eq!(sticky_target(&off, &candidates(&off.targets), &with(&[("AWSALB", given)]), 1001), None);
        assert!(target_cookies(&off, &off.targets[0], 1000, |_| true).is_empty());
    }

    #[test]
    fn an_application_cookie_is_needed_beside_ours() {
        let attributes = [
            ("stickiness.enabled", "true"),
            ("stickiness.type", "app_cookie"),
            ("stickiness.app_cookie.cookie_name", "session"),
            ("stickiness.app_cookie.duration_seconds", "60"),
        ];
        let group = group("arn:1", &[HealthState::Healthy; 2], &attributes);
        assert!(target_cookies(&group, &group.targets[1], 1000, |name| name == "other").is_empty());
        let set = target_cookies(&group, &group.targets[1], 1000, |name| name == "session");
        assert_eq!((set.len(), set[0].name.as_str(), set[0].lives_s), (1, "AWSALBAPP-0", 604_800));
        let ours = ("AWSALBAPP-0", set[0].value.as_str());
        let found = |cookies: &[(&str, &str)], now_s| {
            sticky_target(&group, &candidates(&group.targets), &with(cookies), now_s).map(|(index, _)| index)
        };
        assert_eq!(found(&[("session", "1"), ours], 1001), Some(1));
        assert_eq!(found(&[ours], 1001), None);
        assert_eq!(found(&[("session", "1"), ours], 1060), None);
    }

    #[test]
    fn a_target_group_is_kept_among_those_of_the_action() {
        let config = |enabled| TargetGroupStickinessConfig { enabled, duration_seconds: Some(200) };
        let set = target_group_cookies(Some(&config(true)), "arn:b", 1000);
        let names: Vec<(&str, u64)> = set.iter().map(|c| (c.name.as_str(), c.lives_s)).collect();
        assert_eq!(names, [("AWSALBTG", 200), ("AWSALBTGCORS", 200)]);
        assert!(target_group_cookies(Some(&config(false)), "arn:b", 1000).is_empty());
        let head = with(&[("AWSALBTG", &set[0].value)]);
        let groups = |all: &[(&str, u32)]| -> Vec<(String, u32)> {
            all.iter().map(|(arn, weight)| (arn.to_string(), *weight)).collect()
        };
        // target groups, whether stickiness is on, the time, the one kept
        let table = [
            (groups(&[("arn:a", 9), ("arn:b", 1)]), true, 1199, Some("arn:b")),
            (groups(&[("arn:a", 9), ("arn:b", 0)]), true, 1199, Some("arn:b")),
            (groups(&[("arn:a", 0), ("arn:b", 0)]), true, 1199, None),
            (groups(&[("arn:a", 9), ("arn:c", 1)]), true, 1199, None),
            (groups(&[("arn:a", 9), ("arn:b", 1)]), true, 1200, None),
            (groups(&[("arn:a", 9), ("arn:b", 1)]), false, 1199, None),
        ];
        for (all, enabled, now_s, expected) in table {
            let found = sticky_target_group(Some(&config(enabled)), &all, &head, now_s);
            assert_eq!(found, expected, "{all:?} at {now_s}");
        }
    }
}
