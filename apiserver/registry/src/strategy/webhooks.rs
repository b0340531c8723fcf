//! Configurations of admission webhooks: `pkg/apis/admissionregistration/validation` upstream.

use apiserver_json::{Value, json};
use apiserver_meta::field::FieldError;
use apiserver_meta::names;

use super::match_resources::check_rule as check_match_rule;
use super::shared::{
    PORT_RANGE, at, at_mut, check_label_selector, check_rule, check_set_enum, default, has, items, items_mut,
    number, text,
};
use super::{PLAIN, Strategy};

pub(super) static WEBHOOKS: Strategy = Strategy {
    update_checks: super::order::METADATA_FIRST,
    default: |configuration| {
        let mutates = text(configuration, "kind") == "MutatingWebhookConfiguration";
        for hook in items_mut(configuration, "webhooks") {
            default_hook(hook, mutates);
        }
    },
    validate_create: validate,
    validate_update: |configuration, _| validate(configuration),
    generation: true,
    tells_empty: true,
    unconditional_update: false,
    standard_finalizers: false,
    ..PLAIN
};

fn default_hook(hook: &mut Value, mutates: bool) {
    for rule in items_mut(hook, "rules").filter_map(Value::as_object_mut) {
        default(rule, "scope", "*");
    }
    if let Some(service) = at_mut(hook, &["clientConfig", "service"]) {
        default(service, "port", 443);
    }
    let Some(hook) = hook.as_object_mut() else { return };
    default(hook, "failurePolicy", "Fail");
    default(hook, "matchPolicy", "Equivalent");
    default(hook, "namespaceSelector", json!({}));
    default(hook, "objectSelector", json!({}));
    default(hook, "timeoutSeconds", 10);
    if mutates {
        default(hook, "reinvocationPolicy", "Never");
    }
}

fn validate(configuration: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let mut seen: Vec<&str> = Vec::new();
    for (i, hook) in items(configuration, "webhooks").iter().enumerate() {
        let path = format!("webhooks[{i}]");
        check_hook(hook, &path, &mut errors);
        let versions = items(hook, "admissionReviewVersions");
        if versions.is_empty() {
            let why = "must specify one of v1, v1beta1";
            errors.push(FieldError::required(format!("{path}.admissionReviewVersions"), why));
        }
        let path_of_versions = format!("{path}.admissionReviewVersions");
        check_versions(versions, &path_of_versions, true, names::dns1035_label, &mut errors);
        let name = text(hook, "name");
        if seen.contains(&name) {
            errors.push(FieldError::duplicate(format!("{path}.name"), &name.into()));
        }
        seen.extend((!name.is_empty()).then_some(name));
    }
    errors
}

fn check_hook(hook: &Value, path: &str, errors: &mut Vec<FieldError>) {
    check_full_name(text(hook, "name"), &format!("{path}.name"), errors);
    for (i, rule) in items(hook, "rules").iter().enumerate() {
        check_match_rule(rule, &format!("{path}.rules[{i}]"), errors);
    }
    check_set_enum(hook, "failurePolicy", path, &["Fail", "Ignore"], errors);
    check_set_enum(hook, "matchPolicy", path, &["Equivalent", "Exact"], errors);
    if has(hook, "sideEffects") {
        check_set_enum(hook, "sideEffects", path, &["None", "NoneOnDryRun"], errors);
    } else {
        let why = "must specify one of None, NoneOnDryRun";
        errors.push(FieldError::required(format!("{path}.sideEffects"), why));
    }
    if let Some(seconds) = number(hook, "timeoutSeconds").filter(|seconds| !(1..=30).contains(seconds)) {
        let why = "the timeout value must be between 1 and 30 seconds";
        errors.push(FieldError::invalid(format!("{path}.timeoutSeconds"), &seconds.into(), why));
    }
    for member in ["namespaceSelector", "objectSelector"] {
        check_label_selector(at(hook, &[member]), &format!("{path}.{member}"), errors);
    }
    check_set_enum(hook, "reinvocationPolicy", path, &["IfNeeded", "Never"], errors);
    check_client(at(hook, &["clientConfig"]), &format!("{path}.clientConfig"), errors);
    errors.extend(apiserver_cel::condition_errors(hook, path));
}

/// Errors of where a webhook is: at a URL or behind a Service.
pub(crate) fn check_client(client: &Value, path: &str, errors: &mut Vec<FieldError>) {
    match (client.get("url").and_then(Value::as_str), client.get("service")) {
        (Some(url), None) => check_url(url, &format!("{path}.url"), errors),
        (None, Some(service)) => check_service(service, &format!("{path}.service"), errors),
        _ => errors.push(FieldError::required(path, "exactly one of url or service is required")),
    }
}

/// `a.example.com`: `IsFullyQualifiedName`.
fn check_full_name(name: &str, path: &str, errors: &mut Vec<FieldError>) {
    if name.is_empty() {
        errors.push(FieldError::required(path, ""));
        return;
    }
    let before = errors.len();
    check_rule(name, names::dns1123_subdomain, path, errors);
    if errors.len() == before && name.split('.').count() < 3 {
        let why = "should be a domain with at least three segments separated by dots";
        errors.push(FieldError::invalid(path, &name.into(), why));
    }
}

/// Errors of the versions of a review that a webhook takes, of which one must be `known`.
pub(crate) fn check_versions(
    versions: &[Value],
    path: &str,
    known: bool,
    rule: fn(&str) -> Vec<String>,
    errors: &mut Vec<FieldError>,
) {
    for (i, version) in versions.iter().enumerate() {
        let path = format!("{path}[{i}]");
        if versions.iter().take(i).any(|known| known == version) {
            errors.push(FieldError::invalid(path, version, "duplicate version"));
        } else {
            check_rule(version.as_str().unwrap_or(""), rule, &path, errors);
        }
    }
    let is_known = versions.iter().any(|version| version == "v1" || version == "v1beta1");
    if known && !is_known && !versions.is_empty() {
        let why = "must include at least one of v1, v1beta1";
        errors.push(FieldError::invalid(path, &json!(versions), why));
    }
}

fn check_url(url: &str, path: &str, errors: &mut Vec<FieldError>) {
    let form = "; desired format: https://host[/path]";
    if let Some(why) = apiserver_meta::url::error(url) {
        errors.push(FieldError::required(path, format!("url must be a valid URL: {why}{form}")));
        return;
    }
    let (rest, fragment) = url.split_once('#').unwrap_or((url, ""));
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (scheme, rest) = rest.split_once(':').unwrap_or(("", rest));
    let authority = rest.strip_prefix("//").map_or("", |rest| rest.split('/').next().unwrap_or(""));
    let (user, host) = authority.rsplit_once('@').unwrap_or(("", authority));
    if scheme != "https" {
        let why = format!("'https' is the only allowed URL scheme{form}");
        errors.push(FieldError::invalid(path, &scheme.into(), why));
    }
    if host.is_empty() {
        errors.push(FieldError::invalid(path, &"".into(), format!("host must be specified{form}")));
    }
    for (value, why) in [
        (user, "user information is not permitted in the URL"),
        (fragment, "fragments are not permitted in the URL"),
        (query, "query parameters are not permitted in the URL"),
    ] {
        if !value.is_empty() {
            errors.push(FieldError::invalid(path, &value.into(), why));
        }
    }
}

fn check_service(service: &Value, path: &str, errors: &mut Vec<FieldError>) {
    // Upstream mixes the two up, so that each is reported as the other.
    for (shown, member) in [("name", "namespace"), ("namespace", "name")] {
        if text(service, member).is_empty() {
            errors.push(FieldError::required(format!("{path}.{shown}"), ""));
        }
    }
    let port = number(service, "port").unwrap_or(0);
    if !(1..=65535).contains(&port) {
        let why = format!("port is not valid: {PORT_RANGE}");
        errors.push(FieldError::invalid(format!("{path}.port"), &port.into(), why));
    }
    let url = text(service, "path");
    let mut wrong = |why: String| errors.push(FieldError::invalid(format!("{path}.path"), &url.into(), why));
    match url {
        "" | "/" => return,
        "//" => return wrong("segment[0] may not be empty".to_owned()),
        _ => {}
    }
    if !url.starts_with('/') {
        wrong("must start with a '/'".to_owned());
    }
    let mut rest = url.chars();
    rest.next();
    let rest = rest.as_str();
    for (i, step) in rest.strip_suffix('/').unwrap_or(rest).split('/').enumerate() {
        if step.is_empty() {
            wrong(format!("segment[{i}] may not be empty"));
        } else {
            names::dns1123_subdomain(step).into_iter().for_each(|why| wrong(format!("segment[{i}]: {why}")));
        }
    }
}
