//! `spec.conversion`: its strategy, and the webhook that belongs to one of them.

use apiserver_json::Value;
use apiserver_meta::field::FieldError;

use crate::strategy::pem;
use crate::strategy::shared::{default, has, items, text};
use crate::strategy::webhooks::{check_client, check_versions};

/// No strategy is one too; a webhook's port is 443, and one that says nothing is none.
pub(super) fn fill_in(spec: &mut apiserver_json::Map) {
    let conversion = spec.entry("conversion").or_insert_with(|| apiserver_json::json!({"strategy": "None"}));
    let Some(conversion) = conversion.as_object_mut() else { return };
    let Some(webhook) = conversion.get_mut("webhook") else { return };
    let service = webhook.pointer_mut("/clientConfig/service").and_then(Value::as_object_mut);
    if let Some(service) = service {
        default(service, "port", 443);
    }
    if !has(webhook, "clientConfig") && items(webhook, "conversionReviewVersions").is_empty() {
        conversion.remove("webhook");
    }
}

/// Errors of the conversion; `old` is the definition before.
pub(super) fn validate(definition: &Value, old: Option<&Value>, errors: &mut Vec<FieldError>) {
    let spec = &definition["spec"];
    let conversion = &spec["conversion"];
    let strategy = text(conversion, "strategy");
    let path = "spec.conversion";
    if strategy != "None" && spec["preserveUnknownFields"] == Value::Bool(true) {
        let why = "must be None if spec.preserveUnknownFields is true";
        errors.push(FieldError::invalid(format!("{path}.strategy"), &strategy.into(), why));
    }
    match strategy {
        "" => errors.push(FieldError::required(format!("{path}.strategy"), "")),
        "None" | "Webhook" => {}
        other => {
            let known = &["None", "Webhook"];
            errors.push(FieldError::not_supported(format!("{path}.strategy"), &other.into(), known));
        }
    }
    // Upstream's words are those of its internal type, where both are members of the conversion.
    let client_path = format!("{path}.webhookClientConfig");
    let versions_path = format!("{path}.conversionReviewVersions");
    let webhook = &conversion["webhook"];
    if strategy != "Webhook" {
        let why = "should not be set when strategy is not set to Webhook";
        if has(webhook, "clientConfig") {
            errors.push(FieldError::forbidden(client_path, why));
        }
        if !items(webhook, "conversionReviewVersions").is_empty() {
            errors.push(FieldError::forbidden(versions_path, why));
        }
        return;
    }
    if has(webhook, "clientConfig") {
        check_client(&webhook["clientConfig"], &client_path, errors);
        check_bundle(definition, old, &client_path, errors);
    } else {
        errors.push(FieldError::required(client_path, "required when strategy is set to Webhook"));
    }
    let versions = items(webhook, "conversionReviewVersions");
    if versions.is_empty() {
        errors.push(FieldError::required(&*versions_path, ""));
    }
    let known = old.is_none_or(|old| recognizes(&old["spec"]["conversion"]));
    check_versions(versions, &versions_path, known, super::label, errors);
}

/// A bundle that holds no certificates may stay, and come to a definition that is not established: it is not, then.
fn check_bundle(definition: &Value, old: Option<&Value>, path: &str, errors: &mut Vec<FieldError>) {
    let is_established = |old: &Value| crate::custom::has_condition(old, "Established");
    if !old.is_some_and(|old| is_established(old) && bundle_problem(old).is_none()) {
        return;
    }
    if let Some(why) = bundle_problem(definition) {
        let bundle = definition.pointer(BUNDLE).and_then(Value::as_str).unwrap_or("");
        let shown = apiserver_meta::base64::decode(bundle).unwrap_or_default();
        let field = format!("{path}.caBundle");
        errors.push(FieldError::invalid(field, &apiserver_json::json!(shown), why));
    }
}

const BUNDLE: &str = "/spec/conversion/webhook/clientConfig/caBundle";

/// Why the bundle of a definition's webhook holds no certificates.
pub(crate) fn bundle_problem(definition: &Value) -> Option<String> {
    let bundle = definition.pointer(BUNDLE).and_then(Value::as_str).filter(|bundle| !bundle.is_empty())?;
    let bytes = apiserver_meta::base64::decode(bundle).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let blocks = pem::blocks(&text);
    let mut certificates = blocks.iter().filter(|block| block.kind == "CERTIFICATE" && !block.has_headers);
    let is_read = |block: &pem::Block<'_>| x509_parser::parse_x509_certificate(&block.bytes).is_ok();
    match certificates.next() {
        Some(first) if is_read(first) || certificates.any(is_read) => None,
        Some(_) => Some(
            "unable to load root certificates: failed to parse certificate: x509: malformed certificate"
                .into(),
        ),
        None => Some("unable to load root certificates: unable to parse bytes as PEM block".into()),
    }
}

/// What was stored without a version that is known may stay so.
fn recognizes(conversion: &Value) -> bool {
    let versions = items(&conversion["webhook"], "conversionReviewVersions");
    versions.is_empty() || versions.iter().any(|version| version == "v1" || version == "v1beta1")
}

#[cfg(test)]
mod tests {
    use apiserver_json::json;

    use super::*;

    #[test]
    fn conversions_are_checked() {
        let webhook = |client: Value, versions: Value| json!({"strategy": "Webhook", "webhook": {"clientConfig": client, "conversionReviewVersions": versions}});
        let url = || json!({"url": "https://a.example.com/convert"});
        for (conversion, want) in [
            (json!({"strategy": "None"}), vec![]),
            (json!({}), vec!["spec.conversion.strategy: Required value"]),
            (
                json!({"strategy": "X"}),
                vec![
                    "spec.conversion.strategy: Unsupported value: \"X\": supported values: \"None\", \"Webhook\"",
                ],
            ),
            (webhook(url(), json!(["v1"])), vec![]),
            (
                webhook(
                    json!({"service": {"namespace": "n", "name": "s", "port": 443}}),
                    json!(["v9", "v1beta1"]),
                ),
                vec![],
            ),
            (
                json!({"strategy": "Webhook"}),
                vec![
                    "spec.conversion.webhookClientConfig: Required value: required when strategy is set to Webhook",
                    "spec.conversion.conversionReviewVersions: Required value",
                ],
            ),
            (
                webhook(json!({}), json!(["v1"])),
                vec![
                    "spec.conversion.webhookClientConfig: Required value: exactly one of url or service is required",
                ],
            ),
            (
                webhook(json!({"url": "http://a"}), json!(["v1"])),
                vec![
                    "spec.conversion.webhookClientConfig.url: Invalid value: \"http\": 'https' is the only allowed URL scheme; desired format: https://host[/path]",
                ],
            ),
            (
                webhook(url(), json!(["v9"])),
                vec![
                    "spec.conversion.conversionReviewVersions: Invalid value: [\"v9\"]: must include at least one of v1, v1beta1",
                ],
            ),
            (
                webhook(url(), json!(["v1", "v1"])),
                vec!["spec.conversion.conversionReviewVersions[1]: Invalid value: \"v1\": duplicate version"],
            ),
            (
                json!({"strategy": "None", "webhook": {"clientConfig": url(), "conversionReviewVersions": ["v1"]}}),
                vec![
                    "spec.conversion.webhookClientConfig: Forbidden: should not be set when strategy is not set to Webhook",
                    "spec.conversion.conversionReviewVersions: Forbidden: should not be set when strategy is not set to Webhook",
                ],
            ),
        ] {
            let mut errors = Vec::new();
            validate(&json!({"spec": {"conversion": conversion}}), None, &mut errors);
            let found: Vec<String> = errors.iter().map(ToString::to_string).collect();
            assert_eq!(found, want, "{conversion}");
        }
    }

    #[test]
    fn what_was_stored_without_a_known_version_may_stay() {
        let conversion = json!({"strategy": "Webhook", "webhook": {
            "clientConfig": {"url": "https://a"}, "conversionReviewVersions": ["v9"],
        }});
        let definition = json!({"spec": {"conversion": conversion}});
        let mut errors = Vec::new();
        validate(&definition, Some(&definition), &mut errors);
        assert_eq!(errors, []);
    }

    #[test]
    fn defaults_are_filled_in() {
        for (conversion, want) in [
            (Value::Null, json!(null)),
            (json!({"strategy": "None", "webhook": {}}), json!({"strategy": "None"})),
            (
                json!({"webhook": {"clientConfig": {"service": {"name": "s"}}}}),
                json!({"webhook": {"clientConfig": {"service": {"name": "s", "port": 443}}}}),
            ),
        ] {
            let mut spec = apiserver_json::Map::from_iter([("conversion".to_owned(), conversion)]);
            fill_in(&mut spec);
            assert_eq!(spec["conversion"], want);
        }
        let mut spec = apiserver_json::Map::new();
        fill_in(&mut spec);
        assert_eq!(spec["conversion"], json!({"strategy": "None"}));
    }
}
