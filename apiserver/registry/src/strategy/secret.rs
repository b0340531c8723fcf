//! Secrets: `ValidateSecret` upstream, and what it wants of each type.

use apiserver_json::{Value, json};
use apiserver_meta::field::FieldError;
use apiserver_meta::json::go_error;
use apiserver_meta::{base64, names};
use apiserver_schema::json_kind;

use super::core::{DATA_BYTES_MAX, immutable_data};
use super::pem;
use super::shared::{at, default_text, text};
use super::{PLAIN, Strategy};

pub(super) static SECRET: Strategy = Strategy {
    warns_again: true,
    tells_empty: true,
    update_checks: super::order::CHANGES_THEN_NEW,
    default: |secret| {
        // stringData is written into data and never stored.
        let Some(object) = secret.as_object_mut() else { return };
        if let Some(Value::Object(strings)) = object.remove("stringData") {
            let data = object.entry("data").or_insert_with(|| json!({}));
            if let Some(data) = data.as_object_mut() {
                for (key, value) in strings {
                    data.insert(key, base64::encode(value.as_str().unwrap_or("").as_bytes()).into());
                }
            }
        }
        default_text(object, "type", "Opaque");
    },
    validate_create: validate,
    validate_update: |secret, old| {
        let mut errors = Vec::new();
        if text(secret, "type") != text(old, "type") {
            errors.push(FieldError::invalid("type", &text(secret, "type").into(), "field is immutable"));
        }
        immutable_data(secret, old, &["data"], &mut errors);
        errors
    },
    validate_fields: |secret, _| validate(secret),
    warnings,
    ..PLAIN
};

const ACCOUNT: &str = "kubernetes.io/service-account.name";

fn validate(secret: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let mut size = 0;
    for (key, value) in secret.get("data").and_then(Value::as_object).into_iter().flatten() {
        for problem in names::config_map_key(key) {
            errors.push(FieldError::invalid(format!("data[{key}]"), &key.clone().into(), problem));
        }
        size += value.as_str().map_or(0, |text| text.len() / 4 * 3);
    }
    if size > DATA_BYTES_MAX {
        errors.push(FieldError::too_long("data", DATA_BYTES_MAX));
    }
    let has = |key: &str| secret["data"].get(key).is_some();
    let mut require = |key: &str| errors.push(FieldError::required(format!("data[{key}]"), ""));
    match text(secret, "type") {
        "kubernetes.io/dockercfg" => check_json(secret, ".dockercfg", &mut errors),
        "kubernetes.io/dockerconfigjson" => check_json(secret, ".dockerconfigjson", &mut errors),
        // Either may be empty, but one must be there.
        "kubernetes.io/basic-auth" if !has("username") && !has("password") => {
            ["username", "password"].into_iter().for_each(require);
        }
        "kubernetes.io/ssh-auth" if text(&secret["data"], "ssh-privatekey").is_empty() => {
            require("ssh-privatekey");
        }
        "kubernetes.io/tls" => ["tls.crt", "tls.key"].into_iter().filter(|key| !has(key)).for_each(require),
        // Of a token only the account is asked for: the rest may come later.
        "kubernetes.io/service-account-token" => {
            let account = at(secret, &["metadata", "annotations", ACCOUNT]);
            if account.as_str().is_none_or(str::is_empty) {
                errors.push(FieldError::required(format!("metadata.annotations[{ACCOUNT}]"), ""));
            }
        }
        _ => {}
    }
    errors
}

fn decoded(secret: &Value, key: &str) -> Vec<u8> {
    base64::decode(text(&secret["data"], key)).unwrap_or_default()
}

fn check_json(secret: &Value, key: &str, errors: &mut Vec<FieldError>) {
    let path = format!("data[{key}]");
    if secret["data"].get(key).is_none() {
        errors.push(FieldError::required(path, ""));
    } else if let Some(why) = no_object(&decoded(secret, key)) {
        errors.push(FieldError::invalid(path, &"<secret contents redacted>".into(), why));
    }
}

/// Why Go's decoder takes this for no JSON object.
fn no_object(bytes: &[u8]) -> Option<String> {
    match apiserver_json::from_slice::<Value>(bytes) {
        Ok(Value::Object(_) | Value::Null) => None,
        Ok(other) => {
            let kind = json_kind(&other);
            Some(format!("json: cannot unmarshal {kind} into Go value of type map[string]interface {{}}"))
        }
        Err(error) => Some(go_error(bytes, &error)),
    }
}

/// What `tls.X509KeyPair` would say of a certificate and key that are none.
fn warnings(secret: &Value) -> Vec<String> {
    if text(secret, "type") != "kubernetes.io/tls" {
        return Vec::new();
    }
    let (certificate, key) = (decoded(secret, "tls.crt"), decoded(secret, "tls.key"));
    let (certificate, key) = (String::from_utf8_lossy(&certificate), String::from_utf8_lossy(&key));
    pair_problem(&certificate, &key).into_iter().collect()
}

fn pair_problem(certificate: &str, key: &str) -> Option<String> {
    let is_key = |kind: &str| kind == "PRIVATE KEY" || kind.ends_with(" PRIVATE KEY");
    let kinds = |text| pem::blocks(text).into_iter().map(|block| block.kind).collect::<Vec<_>>();
    let (certificates, keys) = (kinds(certificate), kinds(key));
    if !certificates.contains(&"CERTIFICATE") {
        return Some(match certificates.as_slice() {
            [] => "tls: failed to find any PEM data in certificate input".to_owned(),
            [only] if only.ends_with("PRIVATE KEY") => {
                "tls: failed to find certificate PEM data in certificate input, but did find a private key; PEM inputs may have been switched".to_owned()
            }
            others => format!(
                "tls: failed to find \"CERTIFICATE\" PEM block in certificate input after skipping PEM blocks of the following types: [{}]",
                others.join(" ")
            ),
        });
    }
    if keys.iter().any(|kind| is_key(kind)) {
        return None;
    }
    Some(match keys.as_slice() {
        [] => "tls: failed to find any PEM data in key input".to_owned(),
        ["CERTIFICATE"] => {
            "tls: found a certificate rather than a key in the PEM for the private key".to_owned()
        }
        others => format!(
            "tls: failed to find PEM block with type ending in \"PRIVATE KEY\" in key input after skipping PEM blocks of the following types: [{}]",
            others.join(" ")
        ),
    })
}
