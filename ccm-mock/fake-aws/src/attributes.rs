//! Attributes of load balancers, listeners and target groups: which there are, what they can be, what goes together.
//!
//! What they do is the proxy's business.

use crate::listeners::web;
use ccm_mock_aws_api::elbv2::{Attributes, Protocol};
use ccm_mock_aws_api::{Code, Error, Parameter, limits};

fn invalid(message: impl Into<String>, key: &str) -> Error {
    Error::new(Code::ValidationError, message).of(Parameter::Attributes).element(key)
}

/// Change known attributes; an unknown key is refused.
pub(crate) fn set_attributes(all: &mut Attributes, changes: Attributes, what: &str) -> Result<(), Error> {
    if let Some(key) = changes.keys().find(|k| !all.contains_key(*k) && !k.starts_with("routing.http.")) {
        return Err(invalid(format!("{what} attribute key '{key}' is not recognized"), key));
    }
    for (key, value) in &changes {
        if let Some(allowed) = limits::attribute_range(key).filter(|allowed| !allowed.contains(value)) {
            let message = format!("{what} attribute '{key}' must be {allowed}, not '{value}'");
            return Err(invalid(message, key));
        }
    }
    all.extend(changes);
    Ok(())
}

/// Attributes of a target group that AWS does not have together: key, what it is, whether it is wrong, and why.
type Together = (&'static str, fn(&Attributes) -> bool, &'static str);

const ALGORITHM: &str = "load_balancing.algorithm.type";

fn is(all: &Attributes, key: &str, value: &str) -> bool {
    all.get(key).is_some_and(|v| v == value)
}

fn app_cookie(all: &Attributes) -> bool {
    is(all, "stickiness.enabled", "true") && is(all, "stickiness.type", "app_cookie")
}

fn cookie_name(all: &Attributes) -> &str {
    all.get("stickiness.app_cookie.cookie_name").map_or("", String::as_str)
}

/// Of target groups that ALBs use.
const WEB: &[Together] = &[
    (
        "stickiness.type",
        |all| !is(all, "stickiness.type", "lb_cookie") && !is(all, "stickiness.type", "app_cookie"),
        "must be one of lb_cookie, app_cookie for target groups of HTTP and HTTPS",
    ),
    (
        "stickiness.app_cookie.cookie_name",
        |all| app_cookie(all) && cookie_name(all).is_empty(),
        "must be specified when the stickiness type is app_cookie",
    ),
    (
        "stickiness.app_cookie.cookie_name",
        |all| {
            ["AWSALB", "AWSALBAPP", "AWSALBTG"].iter().any(|reserved| cookie_name(all).starts_with(reserved))
        },
        "cannot begin with AWSALB, AWSALBAPP or AWSALBTG: these are reserved",
    ),
    (
        "slow_start.duration_seconds",
        |all| !is(all, "slow_start.duration_seconds", "0") && !is(all, ALGORITHM, "round_robin"),
        "cannot be set unless load_balancing.algorithm.type is round_robin",
    ),
    (
        "load_balancing.algorithm.anomaly_mitigation",
        |all| {
            is(all, "load_balancing.algorithm.anomaly_mitigation", "on")
                && !is(all, ALGORITHM, "weighted_random")
        },
        "cannot be on unless load_balancing.algorithm.type is weighted_random",
    ),
];

/// Of target groups that NLBs use.
const OTHER: &[Together] = &[(
    "stickiness.type",
    |all| is(all, "stickiness.type", "lb_cookie") || is(all, "stickiness.type", "app_cookie"),
    "must be one of source_ip, source_ip_dest_ip, source_ip_dest_ip_proto for target groups of TCP, TLS and UDP",
)];

/// What AWS refuses in the attributes of a target group taken together.
pub(crate) fn check_target_group_attributes(protocol: Protocol, all: &Attributes) -> Result<(), Error> {
    let table = if web(protocol) { WEB } else { OTHER };
    match table.iter().find(|(_, wrong, _)| wrong(all)) {
        Some((key, _, why)) => Err(invalid(format!("Target group attribute '{key}' {why}"), key)),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Protocol, changes, a part of the sentence.
    type Row = (Protocol, &'static [(&'static str, &'static str)], Option<&'static str>);

    #[test]
    fn target_groups_have_what_goes_together() {
        let table: &[Row] = &[
            (Protocol::Http, &[("slow_start.duration_seconds", "30")], None),
            (Protocol::Http, &[("slow_start.duration_seconds", "0")], None),
            (Protocol::Http, &[("slow_start.duration_seconds", "5")], Some("0 or a number from 30 to 900")),
            (
                Protocol::Http,
                &[("slow_start.duration_seconds", "30"), (ALGORITHM, "least_outstanding_requests")],
                Some("unless load_balancing.algorithm.type is round_robin"),
            ),
            (
                Protocol::Http,
                &[("load_balancing.algorithm.anomaly_mitigation", "on")],
                Some("unless load_balancing.algorithm.type is weighted_random"),
            ),
            (Protocol::Http, &[("stickiness.type", "source_ip")], Some("one of lb_cookie, app_cookie")),
            (Protocol::Tcp, &[("stickiness.type", "source_ip_dest_ip")], None),
            (Protocol::Tcp, &[("stickiness.type", "lb_cookie")], Some("one of source_ip")),
            (
                Protocol::Http,
                &[("stickiness.enabled", "true"), ("stickiness.type", "app_cookie")],
                Some("must be specified"),
            ),
            (
                Protocol::Http,
                &[
                    ("stickiness.enabled", "true"),
                    ("stickiness.type", "app_cookie"),
                    ("stickiness.app_cookie.cookie_name", "session"),
                ],
                None,
            ),
            (Protocol::Http, &[("stickiness.app_cookie.cookie_name", "AWSALBX")], Some("reserved")),
            (Protocol::Http, &[("stickiness.lb_cookie.duration_seconds", "0")], Some("from 1 to 604800")),
            (Protocol::Http, &[("nonsense", "1")], Some("'nonsense' is not recognized")),
        ];
        for (protocol, changes, why) in table {
            let mut all = limits::target_group_attributes(*protocol);
            let changes = changes.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
            let said = set_attributes(&mut all, changes, "Target group")
                .and_then(|()| check_target_group_attributes(*protocol, &all))
                .err();
            assert_eq!(said.is_some(), why.is_some(), "{all:?}: {said:?}");
            let Some(said) = said else { continue };
            assert!(said.message.contains(why.unwrap_or_default()), "{said}");
            assert_eq!(said.parameter, Some(Parameter::Attributes));
            assert!(said.element.is_some());
        }
    }
}
