//! What AWS refuses in the conditions of a rule.
//!
//! Matching is `alb-routing`.

use ccm_mock_aws_api::elbv2::{RuleCondition, Values};
use ccm_mock_aws_api::{Code, Error, Parameter, limits};
use std::net::IpAddr;

/// Says what is wrong with a value.
type Wrong = fn(&str) -> Option<&'static str>;

/// Field, whether a rule has it once at most, and what is wrong with a value of it.
const FIELDS: &[(&str, bool, Wrong)] = &[
    ("http-request-method", true, method),
    ("source-ip", true, cidr),
    ("path-pattern", true, length),
    ("http-header", false, length),
    ("query-string", false, length),
    ("host-header", true, host),
];

fn invalid(message: impl Into<String>) -> Error {
    Error::new(Code::ValidationError, message).of(Parameter::Conditions)
}

fn length(value: &str) -> Option<&'static str> {
    match value.chars().count() {
        0 => Some("must have at least 1 character"),
        n if n > limits::CONDITION_VALUE_LENGTH => Some("must be at most 128 characters"),
        _ => None,
    }
}

fn host(value: &str) -> Option<&'static str> {
    let known = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'*' | b'?');
    let last = value.rsplit_once('.').map(|(_, last)| last);
    match last {
        _ if length(value).is_some() => length(value),
        _ if !value.bytes().all(known) => Some("contains a character that is not valid"),
        None => Some("must contain at least one '.'"),
        Some(last) if last.is_empty() || !last.bytes().all(|b| b.is_ascii_alphabetic()) => {
            Some("can have only letters after the last '.'")
        }
        Some(_) => None,
    }
}

fn method(value: &str) -> Option<&'static str> {
    let known = |b: u8| b.is_ascii_uppercase() || matches!(b, b'-' | b'_');
    match value.len() {
        0 => length(value),
        n if n > limits::CONDITION_NAME_LENGTH => Some("must be at most 40 characters"),
        _ if !value.bytes().all(known) => Some("can contain only the characters A-Z, '-' and '_'"),
        _ => None,
    }
}

fn cidr(value: &str) -> Option<&'static str> {
    let most = |ip: IpAddr| if ip.is_ipv4() { 32u8 } else { 128 };
    let parts = value.split_once('/').and_then(|(ip, bits)| Some((ip.parse().ok()?, bits.parse().ok()?)));
    match parts {
        Some((ip, bits)) if (0..=most(ip)).contains(&bits) => None,
        _ => Some("is not a valid CIDR block"),
    }
}

fn header_name(name: &str) -> Option<&'static str> {
    let known = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    match name.len() {
        0 => Some("must have at least 1 character"),
        n if n > limits::CONDITION_NAME_LENGTH => Some("must be at most 40 characters"),
        _ if name.eq_ignore_ascii_case("host") => Some("is not allowed: use a 'host-header' condition"),
        _ if !name.bytes().all(known) => Some("contains a character that is not valid"),
        _ => None,
    }
}

fn regex(value: &str) -> Option<&'static str> {
    // Without a limit one of few characters could take all the memory there is.
    let read = regex::RegexBuilder::new(value).size_limit(1 << 20).build();
    length(value).or_else(|| read.is_err().then_some("is not a valid regular expression"))
}

/// All texts that a request is compared with, without regular expressions.
fn values_of(condition: &RuleCondition) -> Vec<&str> {
    let plain = [
        &condition.host_header_config,
        &condition.path_pattern_config,
        &condition.http_request_method_config,
        &condition.source_ip_config,
    ];
    let plain = plain.into_iter().flatten().flat_map(|v: &Values| &v.values);
    let header = condition.http_header_config.iter().flat_map(|c| &c.values);
    let query = condition.query_string_config.iter().flat_map(|c| &c.values);
    let query = query.flat_map(|pair| pair.key.iter().chain([&pair.value]));
    plain.chain(header).chain(query).map(String::as_str).collect()
}

fn regexes_of(condition: &RuleCondition) -> impl Iterator<Item = &str> {
    let plain = [&condition.host_header_config, &condition.path_pattern_config];
    let plain = plain.into_iter().flatten().flat_map(|v| &v.regex_values);
    let header = condition.http_header_config.iter().flat_map(|c| &c.regex_values);
    plain.chain(header).map(String::as_str)
}

fn check_one(condition: &RuleCondition, earlier: &[RuleCondition]) -> Result<(), Error> {
    let field = condition.field.as_str();
    let Some((_, single, wrong)) = FIELDS.iter().find(|(known, ..)| *known == field) else {
        let known: Vec<&str> = FIELDS.iter().map(|(known, ..)| *known).collect();
        let message = format!("Condition field '{field}' must be one of '[{}]'", known.join(", "));
        return Err(invalid(message).element(field));
    };
    if condition.value_count() == 0 {
        return Err(invalid("A condition value must be specified"));
    }
    if *single && earlier.iter().any(|c| c.field == field) {
        return Err(invalid(format!("A rule can only have one '{field}' condition")));
    }
    if let Some(config) = &condition.http_header_config
        && let Some(why) = header_name(&config.http_header_name)
    {
        let name = &config.http_header_name;
        return Err(invalid(format!("The HTTP header name '{name}' {why}")).element(name));
    }
    let plain = values_of(condition).into_iter().map(|value| (value, wrong(value)));
    for (value, why) in plain.chain(regexes_of(condition).map(|value| (value, regex(value)))) {
        if let Some(why) = why {
            return Err(invalid(format!("The '{field}' condition value '{value}' {why}")).element(value));
        }
    }
    Ok(())
}

/// What AWS refuses in the conditions of a rule.
pub(crate) fn check_conditions(conditions: &[RuleCondition]) -> Result<(), Error> {
    if conditions.is_empty() {
        return Err(invalid("A rule must have at least one condition"));
    }
    let count: usize = conditions.iter().map(RuleCondition::value_count).sum();
    if count > limits::CONDITION_VALUES {
        let most = limits::CONDITION_VALUES;
        return Err(invalid(format!("A rule can only have '{most}' condition values")));
    }
    for (i, condition) in conditions.iter().enumerate() {
        check_one(condition, &conditions[..i])?;
    }
    let wildcards: usize =
        conditions.iter().flat_map(values_of).map(|value| value.matches(['*', '?']).count()).sum();
    if wildcards > limits::CONDITION_WILDCARDS {
        let most = limits::CONDITION_WILDCARDS;
        return Err(invalid(format!("A rule can only have '{most}' condition wildcards")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use ccm_mock_aws_api::elbv2::{HttpHeaderConfig, QueryStringConfig, QueryStringKeyValuePair};

    fn texts(values: &[&str]) -> Vec<String> {
        values.iter().map(|v| v.to_string()).collect()
    }

    fn header(name: &str, values: &[&str]) -> RuleCondition {
        RuleCondition {
            field: "http-header".into(),
            http_header_config: Some(HttpHeaderConfig {
                http_header_name: name.into(),
                values: texts(values),
                ..Default::default()
            }),
            ..Default::default()
        }
    }

    fn query(value: &str) -> RuleCondition {
        let pair = QueryStringKeyValuePair { key: Some("v".into()), value: value.into() };
        RuleCondition {
            field: "query-string".into(),
            query_string_config: Some(QueryStringConfig { values: vec![pair] }),
            ..Default::default()
        }
    }

    fn pattern(regex: &str) -> RuleCondition {
        let values = Values { values: Vec::new(), regex_values: texts(&[regex]) };
        RuleCondition { path_pattern_config: Some(values), ..RuleCondition::path_pattern(Vec::new()) }
    }

    #[test]
    fn values_are_refused_by_their_field() {
        let hosts = |all: &[&str]| RuleCondition::host_header(texts(all));
        let paths = |all: &[&str]| RuleCondition::path_pattern(texts(all));
        let methods = |all: &[&str]| RuleCondition::http_request_method(texts(all));
        let sources = |all: &[&str]| RuleCondition::source_ip(texts(all));
        let long = "x".repeat(129);
        // the condition, a part of the sentence, the element to blame
        let table = [
            (hosts(&["*.example.com", "a-?.b.test"]), None, None),
            (hosts(&["a.b", "nodots"]), Some("must contain at least one '.'"), Some("nodots")),
            (hosts(&["10.0.0.1"]), Some("only letters after the last"), Some("10.0.0.1")),
            (hosts(&["a b.test"]), Some("character that is not valid"), Some("a b.test")),
            (paths(&["/a", "*.jpg"]), None, None),
            (paths(&[&long]), Some("at most 128"), Some(long.as_str())),
            (paths(&[""]), Some("at least 1"), Some("")),
            (paths(&[]), Some("A condition value must be specified"), None),
            (paths(&["/1", "/2", "/3", "/4", "/5", "/6"]), Some("only have '5' condition values"), None),
            (paths(&["/****", "/???"]), Some("only have '6' condition wildcards"), None),
            (pattern("^/v[0-9]+/"), None, None),
            (pattern("^/v["), Some("not a valid regular expression"), Some("^/v[")),
            (methods(&["GET", "M-SEARCH"]), None, None),
            (methods(&["get it"]), Some("only the characters A-Z"), Some("get it")),
            (sources(&["10.0.0.0/8", "2001:db8::/32"]), None, None),
            (sources(&["notacidr"]), Some("not a valid CIDR"), Some("notacidr")),
            (sources(&["10.0.0.0/33"]), Some("not a valid CIDR"), Some("10.0.0.0/33")),
            (sources(&["10.0.0.1"]), Some("not a valid CIDR"), Some("10.0.0.1")),
            (header("X-Beta", &["*"]), None, None),
            (header("Host", &["*"]), Some("use a 'host-header' condition"), Some("Host")),
            (header("X Beta", &["*"]), Some("character that is not valid"), Some("X Beta")),
            (query("1?"), None, None),
            (query(""), Some("at least 1"), Some("")),
        ];
        for (condition, why, element) in table {
            let said = check_conditions(std::slice::from_ref(&condition)).err();
            assert_eq!(said.is_some(), why.is_some(), "{condition:?}: {said:?}");
            let Some(said) = said else { continue };
            assert!(said.message.contains(why.unwrap_or_default()), "{said}");
            assert_eq!((said.parameter, said.element.as_deref()), (Some(Parameter::Conditions), element));
        }
        assert!(check_conditions(&[paths(&["/a"]), paths(&["/b"])]).is_err());
    }
}
