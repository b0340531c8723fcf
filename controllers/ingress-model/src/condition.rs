//! Conditions of a rule: from host and path of an Ingress, and from `conditions.NAME` annotations.
//!
//! Quotas on values are the cloud's to refuse.

use crate::annotations::{Annotations, scalar, texts};
use ccm_mock_aws_api::elbv2::{
    HttpHeaderConfig, QueryStringConfig, QueryStringKeyValuePair, RuleCondition, Values,
};
use serde_json::Value;

fn values(value: &Value, config: &str) -> Option<Values> {
    let config = value.get(config)?;
    Some(Values { values: texts(config, "values"), regex_values: texts(config, "regexvalues") })
}

fn one(value: &Value) -> Result<RuleCondition, String> {
    let field = scalar(value, "field").unwrap_or_default();
    let missing = |config: &str| format!("missing {config}");
    let mut out = RuleCondition { field: field.clone(), ..Default::default() };
    match field.as_str() {
        "host-header" => {
            let config = values(value, "hostheaderconfig").ok_or_else(|| missing("hostHeaderConfig"))?;
            out.host_header_config = Some(config);
        }
        "path-pattern" => {
            let config = values(value, "pathpatternconfig").ok_or_else(|| missing("pathPatternConfig"))?;
            out.path_pattern_config = Some(config);
        }
        "http-request-method" => {
            let config =
                values(value, "httprequestmethodconfig").ok_or_else(|| missing("httpRequestMethodConfig"))?;
            out.http_request_method_config = Some(config);
        }
        "source-ip" => {
            let config = values(value, "sourceipconfig").ok_or_else(|| missing("sourceIPConfig"))?;
            out.source_ip_config = Some(config);
        }
        "http-header" => {
            let config = value.get("httpheaderconfig").ok_or_else(|| missing("httpHeaderConfig"))?;
            out.http_header_config = Some(HttpHeaderConfig {
                http_header_name: scalar(config, "httpheadername").unwrap_or_default(),
                values: texts(config, "values"),
                regex_values: texts(config, "regexvalues"),
            });
        }
        "query-string" => {
            let config = value.get("querystringconfig").ok_or_else(|| missing("queryStringConfig"))?;
            let pairs = config.get("values").and_then(Value::as_array).into_iter().flatten();
            let pair = |p: &Value| QueryStringKeyValuePair {
                key: scalar(p, "key"),
                value: scalar(p, "value").unwrap_or_default(),
            };
            out.query_string_config = Some(QueryStringConfig { values: pairs.map(pair).collect() });
        }
        other => return Err(format!("unknown condition field: {other}")),
    }
    Ok(out)
}

/// The conditions of a `conditions.NAME` annotation.
pub(crate) fn annotated(annotations: Annotations<'_>, name: &str) -> Result<Vec<RuleCondition>, String> {
    let name = format!("conditions.{name}");
    let Some(value) = annotations.json(&name)? else { return Ok(Vec::new()) };
    let list = value.as_array().ok_or_else(|| annotations.not_json(&name, "expected a list"))?;
    list.iter().map(one).collect::<Result<_, _>>().map_err(|why| annotations.not_json(&name, &why))
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
