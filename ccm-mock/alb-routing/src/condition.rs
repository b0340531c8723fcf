//! Whether a condition holds, and if not, what was expected and what the request had.
//!
//! Values of a condition are alternatives; conditions of a rule must all hold.

use crate::{RequestHead, glob};
use ccm_mock_aws_api::elbv2::{QueryStringKeyValuePair, RuleCondition, Values};
use std::fmt;
use std::net::IpAddr;

/// Why a condition does not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mismatch {
    /// `host-header`, `path-pattern`, …
    pub field: String,
    /// What the rule wants.
    pub expected: String,
    /// What the request has.
    pub actual: String,
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is {}, rule wants {}", self.field, self.actual, self.expected)
    }
}

fn any(values: &[String], regexes: &[String], text: &str, ignore_case: bool) -> bool {
    values.iter().any(|v| glob::matches(v, text, ignore_case))
        || regexes.iter().any(|r| {
            let built = regex::RegexBuilder::new(r).case_insensitive(ignore_case).size_limit(1 << 20).build();
            built.is_ok_and(|re| re.is_match(text))
        })
}

fn in_values(values: &Values, text: &str, ignore_case: bool) -> bool {
    any(&values.values, &values.regex_values, text, ignore_case)
}

fn in_cidr(cidr: &str, ip: IpAddr) -> bool {
    let (address, prefix) = cidr.split_once('/').unwrap_or((cidr, ""));
    let (Ok(network), Ok(bits)) = (
        address.parse::<IpAddr>(),
        prefix.parse::<u32>().or_else(|e| if prefix.is_empty() { Ok(128) } else { Err(e) }),
    ) else {
        return false;
    };
    match (network, ip) {
        (IpAddr::V4(network), IpAddr::V4(ip)) => {
            let mask = u32::MAX.checked_shl(32u32.saturating_sub(bits)).unwrap_or(0);
            u32::from(network) & mask == u32::from(ip) & mask
        }
        (IpAddr::V6(network), IpAddr::V6(ip)) => {
            let mask = u128::MAX.checked_shl(128u32.saturating_sub(bits)).unwrap_or(0);
            u128::from(network) & mask == u128::from(ip) & mask
        }
        _ => false,
    }
}

fn in_query(pairs: &[QueryStringKeyValuePair], query: &str) -> bool {
    let given: Vec<(&str, &str)> =
        query.split('&').filter(|p| !p.is_empty()).map(|p| p.split_once('=').unwrap_or((p, ""))).collect();
    pairs.iter().any(|want| {
        given.iter().any(|(key, value)| {
            want.key.as_ref().is_none_or(|k| glob::matches(k, key, true))
                && glob::matches(&want.value, value, true)
        })
    })
}

fn header<'a>(head: &'a RequestHead, name: &'a str) -> impl Iterator<Item = &'a str> {
    head.headers.iter().filter(move |(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str())
}

/// True if the condition holds.
pub(crate) fn holds(condition: &RuleCondition, head: &RequestHead) -> bool {
    if let Some(v) = &condition.host_header_config {
        return in_values(v, head.hostname(), true);
    }
    if let Some(v) = &condition.path_pattern_config {
        return in_values(v, &head.path, false);
    }
    if let Some(v) = &condition.http_request_method_config {
        return v.values.contains(&head.method);
    }
    if let Some(v) = &condition.source_ip_config {
        return v.values.iter().any(|c| in_cidr(c, head.source_ip));
    }
    if let Some(c) = &condition.http_header_config {
        return header(head, &c.http_header_name).any(|value| any(&c.values, &c.regex_values, value, true));
    }
    if let Some(c) = &condition.query_string_config {
        return in_query(&c.values, head.query.as_deref().unwrap_or_default());
    }
    false
}

/// Why the condition does not hold; None if it does.
pub fn mismatch(condition: &RuleCondition, head: &RequestHead) -> Option<Mismatch> {
    if holds(condition, head) {
        return None;
    }
    let quote = |text: &str| if text.is_empty() { "empty".to_string() } else { text.to_string() };
    let actual = match condition.field.as_str() {
        "host-header" => quote(head.hostname()),
        "path-pattern" => quote(&head.path),
        "http-request-method" => head.method.clone(),
        "source-ip" => head.source_ip.to_string(),
        "query-string" => quote(head.query.as_deref().unwrap_or_default()),
        "http-header" => {
            let name = condition
                .http_header_config
                .as_ref()
                .map(|c| c.http_header_name.as_str())
                .unwrap_or_default();
            let values: Vec<&str> = header(head, name).collect();
            if values.is_empty() { "absent".into() } else { values.join(", ") }
        }
        _ => "unknown".into(),
    };
    let summary = condition.summary();
    let expected = summary.split_once(' ').map_or(summary.clone(), |(_, rest)| rest.to_string());
    Some(Mismatch { field: condition.field.clone(), expected, actual })
}
