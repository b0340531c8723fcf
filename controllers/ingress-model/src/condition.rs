//! Conditions of a rule: from host and path of an Ingress, and from `conditions.NAME` annotations.
//!
//! Quotas on values are the cloud's to refuse.

use crate::annotations::Annotations;
use crate::json::{Wrong, invalid, list, object, text, texts};
use ccm_mock_aws_api::elbv2::{
    HttpHeaderConfig, QueryStringConfig, QueryStringKeyValuePair, RuleCondition, Values,
};
use serde_json::Value;

/// A config that is a list of values, and what it is called.
fn values(value: &Value, config: &str) -> Result<Option<Values>, Wrong> {
    let members = object(value, config)?.ok_or_else(|| invalid(format!("missing {config}")))?;
    let values = Values { values: texts(members, "values")?, regex_values: texts(members, "regexValues")? };
    not_empty(config, values.values.len() + values.regex_values.len())?;
    Ok(Some(values))
}

fn not_empty(config: &str, count: usize) -> Result<(), Wrong> {
    if count == 0 { Err(invalid("values cannot be empty").within(config)) } else { Ok(()) }
}

fn query_string(value: &Value) -> Result<Option<QueryStringConfig>, Wrong> {
    let config = "queryStringConfig";
    let members = object(value, config)?.ok_or_else(|| invalid(format!("missing {config}")))?;
    let mut values = Vec::new();
    for pair in list(members, "values")? {
        let value = text(pair, "value")?.unwrap_or_default();
        if value.is_empty() {
            return Err(invalid("value cannot be empty").within(config));
        }
        values.push(QueryStringKeyValuePair { key: text(pair, "key")?, value });
    }
    not_empty(config, values.len())?;
    Ok(Some(QueryStringConfig { values }))
}

fn one(value: &Value) -> Result<RuleCondition, Wrong> {
    let field = text(value, "field")?.unwrap_or_default();
    let mut out = RuleCondition { field: field.clone(), ..Default::default() };
    match field.as_str() {
        "host-header" => out.host_header_config = values(value, "hostHeaderConfig")?,
        "path-pattern" => out.path_pattern_config = values(value, "pathPatternConfig")?,
        "http-request-method" => out.http_request_method_config = values(value, "httpRequestMethodConfig")?,
        "source-ip" => out.source_ip_config = values(value, "sourceIPConfig")?,
        "http-header" => {
            let config = "httpHeaderConfig";
            let Values { values, regex_values } = values(value, config)?.unwrap_or_default();
            let name = object(value, config)?.map_or(Ok(None), |members| text(members, "httpHeaderName"))?;
            let http_header_name = name.unwrap_or_default();
            out.http_header_config = Some(HttpHeaderConfig { http_header_name, values, regex_values });
        }
        "query-string" => out.query_string_config = query_string(value)?,
        other => return Err(invalid(format!("unknown condition field: {other}"))),
    }
    Ok(out)
}

/// The conditions of a `conditions.NAME` annotation.
pub(crate) fn annotated(annotations: Annotations<'_>, name: &str) -> Result<Vec<RuleCondition>, String> {
    let name = format!("conditions.{name}");
    let Some(value) = annotations.json(&name)? else { return Ok(Vec::new()) };
    let list = value.as_array().ok_or_else(|| annotations.not_json(&name, "expected a list"))?;
    list.iter().map(one).collect::<Result<_, _>>().map_err(|wrong: Wrong| wrong.tell(annotations, &name))
}

/// Every text that conditions compare with, as a refusal may name it.
pub(crate) fn elements(conditions: &[RuleCondition]) -> Vec<String> {
    let mut out = Vec::new();
    for condition in conditions {
        let plain = [
            &condition.host_header_config,
            &condition.path_pattern_config,
            &condition.http_request_method_config,
            &condition.source_ip_config,
        ];
        out.extend(plain.into_iter().flatten().flat_map(|v| v.values.iter().chain(&v.regex_values).cloned()));
        if let Some(config) = &condition.http_header_config {
            out.push(config.http_header_name.clone());
            out.extend(config.values.iter().chain(&config.regex_values).cloned());
        }
        for pair in condition.query_string_config.iter().flat_map(|config| &config.values) {
            out.extend(pair.key.clone());
            out.push(pair.value.clone());
        }
    }
    out
}

/// Upstream's order: annotated conditions, host-header, path-pattern; `/*` if there is none at all.
pub(crate) fn combine(
    host: Option<&str>,
    paths: Vec<String>,
    annotated: Vec<RuleCondition>,
) -> Result<Vec<RuleCondition>, String> {
    let mut hosts = Values::of(host.map(str::to_string).into_iter().collect());
    let mut paths = Values::of(paths);
    let mut out = Vec::new();
    for condition in annotated {
        let merged = match (condition.host_header_config, condition.path_pattern_config) {
            (Some(more), _) => Some((&mut hosts, more)),
            (_, Some(more)) => Some((&mut paths, more)),
            (None, None) => {
                out.push(RuleCondition { host_header_config: None, path_pattern_config: None, ..condition });
                None
            }
        };
        if let Some((into, more)) = merged {
            into.values.extend(more.values);
            into.regex_values.extend(more.regex_values);
        }
    }
    for (name, values) in [("host-header", &hosts), ("path-pattern", &paths)] {
        if !values.values.is_empty() && !values.regex_values.is_empty() {
            return Err(format!("{name} condition cannot have both values and regexValues"));
        }
    }
    let is_set = |v: &Values| !v.values.is_empty() || !v.regex_values.is_empty();
    if is_set(&hosts) {
        out.push(RuleCondition { host_header_config: Some(hosts), ..RuleCondition::host_header(Vec::new()) });
    }
    if is_set(&paths) {
        let condition = RuleCondition::path_pattern(Vec::new());
        out.push(RuleCondition { path_pattern_config: Some(paths), ..condition });
    }
    if out.is_empty() {
        out.push(RuleCondition::path_pattern(vec!["/*".into()]));
    }
    Ok(out)
}

/// Path patterns of a path of an Ingress.
pub(crate) fn path_patterns(path: &str, path_type: &str) -> Result<Vec<String>, String> {
    let wild = path.contains(['*', '?']);
    match path_type {
        _ if path.is_empty() => Ok(Vec::new()),
        "Exact" if wild => Err(format!("exact path shouldn't contain wildcards: {path}")),
        "Prefix" if wild => Err(format!("prefix path shouldn't contain wildcards: {path}")),
        "Prefix" if path == "/" => Ok(vec!["/*".into()]),
        "Prefix" => {
            let path = path.trim_end_matches('/');
            Ok(vec![path.to_string(), format!("{path}/*")])
        }
        "Exact" | "ImplementationSpecific" | "" => Ok(vec![path.to_string()]),
        other => Err(format!("unsupported pathType: {other}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::annotations::PREFIX;

    #[test]
    fn conditions_that_upstream_refuses_are_named() {
        // the annotation, a part of the sentence
        let table = [
            (r#"{"field":"path-pattern"}"#, "expected a list"),
            (r#"[{"field":"moon-phase"}]"#, "unknown condition field: moon-phase"),
            (r#"[{"field":"path-pattern"}]"#, "missing pathPatternConfig"),
            (
                r#"[{"field":"path-pattern","pathPatternConfig":{"values":[]}}]"#,
                "invalid pathPatternConfig: values cannot be empty",
            ),
            (
                r#"[{"field":"source-ip","sourceIpConfig":{"values":"10.0.0.0/8"}}]"#,
                "json: cannot unmarshal string into Go struct field values of type []string",
            ),
            (
                r#"[{"field":"host-header","hostHeaderConfig":{"values":["a.b",7]}}]"#,
                "json: cannot unmarshal number into Go struct field values of type string",
            ),
            (
                r#"[{"field":"http-header","httpHeaderConfig":{"httpHeaderName":"X"}}]"#,
                "invalid httpHeaderConfig: values cannot be empty",
            ),
            (
                r#"[{"field":"query-string","queryStringConfig":{"values":[{"key":"v"}]}}]"#,
                "invalid queryStringConfig: value cannot be empty",
            ),
        ];
        for (value, why) in table {
            let map = [(format!("{PREFIX}conditions.x"), value.to_string())].into();
            let said = annotated(Annotations::of(Some(&map)), "x").expect_err(value);
            assert!(said.contains(why) && said.contains("alb.ingress.kubernetes.io/conditions.x"), "{said}");
        }
    }
}
