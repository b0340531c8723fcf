//! Tokens that a Secret of the type `kubernetes.io/service-account-token` holds: whoever runs the token controller signs
//! them, and they live as long as their Secret. `pkg/serviceaccount/legacy.go` upstream.

use apiserver_json::{Value, json};
use apiserver_meta::Status;
use apiserver_registry::{Call, Changed, Registry, Requester, Warnings, object};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::authn::User;

/// Who issues them, whatever `--service-account-issuer` says.
pub(super) const ISSUER: &str = "kubernetes/serviceaccount";

const INVALID_SINCE: &str = "kubernetes.io/legacy-token-invalid-since";
const AUTO_GENERATED: &str = "Use tokens from the TokenRequest API or manually created secret-based tokens instead of auto-generated secret-based tokens.";
const LAST_USED: &str = "kubernetes.io/legacy-token-last-used";

/// What such a token says.
pub(super) fn claims((namespace, secret): (&str, &str), (account, uid): (&str, &str)) -> Value {
    json!({
        "iss": ISSUER,
        "sub": format!("system:serviceaccount:{namespace}:{account}"),
        "kubernetes.io/serviceaccount/namespace": namespace,
        "kubernetes.io/serviceaccount/secret.name": secret,
        "kubernetes.io/serviceaccount/service-account.name": account,
        "kubernetes.io/serviceaccount/service-account.uid": uid,
    })
}

/// The user of a token that one of the keys signed.
///
/// # Errors
/// Why it is not believed.
pub(super) fn user(
    token: &str,
    claims: &Value,
    registry: &Registry,
    warnings: &Warnings,
) -> Result<User, String> {
    let [namespace, secret, name, uid] = parts(claims)?;
    let object = |plural: &str, name: &str| {
        let found = registry.cache().get(&format!("/registry/core/{plural}/{namespace}/{name}"))?;
        Some(found.parse())
    };
    let held = object("secrets", secret).filter(|held| !object::is_deleting(held));
    let held = held.ok_or("Token has been invalidated")?;
    let copy = held["data"]["token"].as_str().and_then(|text| STANDARD.decode(text).ok());
    if copy.as_deref() != Some(token.as_bytes()) {
        return Err("Token does not match server's copy".to_owned());
    }
    let Some(account) = object("serviceaccounts", name) else {
        return Err(format!("serviceaccounts {name:?} not found"));
    };
    if object::is_deleting(&account) {
        return Err(format!("ServiceAccount {namespace}/{name} has been deleted"));
    }
    let own = object::uid(&account);
    if own != uid {
        return Err(format!("ServiceAccount UID ({own}) does not match claim ({uid})"));
    }
    note_use(registry, namespace, &held);
    let label = |key: &str| held.get("metadata").and_then(|m| m.get("labels")?.get(key)?.as_str());
    if label(INVALID_SINCE).is_some_and(|since| !since.is_empty()) {
        return Err(format!(
            "the token in secret {namespace}/{secret} for service account {namespace}/{name} has been marked invalid. Use tokens from the TokenRequest API or manually created secret-based tokens, or remove the '{INVALID_SINCE}' label from the secret to temporarily allow use of this token"
        ));
    }
    let secrets = account["secrets"].as_array().into_iter().flatten();
    if secrets.into_iter().any(|reference| reference["name"] == *secret) {
        warnings.add(AUTO_GENERATED.to_owned());
    }
    Ok(User {
        name: format!("system:serviceaccount:{namespace}:{name}"),
        uid: uid.to_owned(),
        groups: vec!["system:serviceaccounts".into(), format!("system:serviceaccounts:{namespace}")],
        ..User::default()
    })
}

/// Namespace, Secret, account and its uid.
fn parts(claims: &Value) -> Result<[&str; 4], String> {
    let text = |claim: &str| claims.get(claim).and_then(Value::as_str).unwrap_or("");
    if text("sub").is_empty() {
        return Err("sub claim is missing".to_owned());
    }
    let mut parts = [""; 4];
    let claims = [
        ("namespace", "namespace"),
        ("secret.name", "secretName"),
        ("service-account.name", "serviceAccountName"),
        ("service-account.uid", "serviceAccountUID"),
    ];
    for (part, (claim, shown)) in parts.iter_mut().zip(claims) {
        *part = text(&format!("kubernetes.io/serviceaccount/{claim}"));
        if part.is_empty() {
            return Err(format!("{shown} claim is missing"));
        }
    }
    let [namespace, _, name, _] = parts;
    if text("sub") != format!("system:serviceaccount:{namespace}:{name}") {
        return Err("sub claim is invalid".to_owned());
    }
    Ok(parts)
}

/// Says of a Secret that it was used today, once a day; nobody waits for that.
fn note_use(registry: &Registry, namespace: &str, secret: &Value) {
    let now = jiff::Timestamp::now();
    let day = |at: jiff::Timestamp| at.strftime("%Y-%m-%d").to_string();
    let (today, tomorrow) = (day(now), day(now + jiff::SignedDuration::from_hours(24)));
    let known = secret.get("metadata").and_then(|m| m.get("labels")?.get(LAST_USED)?.as_str());
    let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
    if known.is_some_and(|known| known == today || known == tomorrow) {
        return;
    }
    let (registry, namespace) = (registry.clone(), namespace.to_owned());
    let (name, uid) = (object::name(secret).to_owned(), object::uid(secret).to_owned());
    runtime.spawn(async move {
        let catalogue = registry.catalogue();
        let Some(resource) = catalogue.get("", "v1", "secrets") else { return };
        let call = Call {
            resource,
            namespace: Some(&namespace),
            subresource: "",
            manager: "kube-apiserver",
            dry_run: false,
            requester: Requester::default(),
        };
        let change = |live: Option<&Value>| {
            let live = live.filter(|live| object::uid(live) == uid);
            let mut next = live.ok_or_else(|| Status::not_found(&resource.group_resource(), &name))?.clone();
            let labels = object::metadata_mut(&mut next).entry("labels").or_insert_with(|| json!({}));
            labels[LAST_USED] = today.clone().into();
            Ok(Changed::Patched(next))
        };
        if let Err(error) = registry.update(&call, &name, false, change).await {
            tracing::warn!(error = %error, secret = name, namespace, "the last use of a token could not be noted");
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_says_whose_it_is_and_where_it_is_held() {
        let full = super::claims(("n", "s"), ("a", "u"));
        assert_eq!(parts(&full), Ok(["n", "s", "a", "u"]));
        for (claim, value, want) in [
            ("sub", "", "sub claim is missing"),
            ("kubernetes.io/serviceaccount/namespace", "", "namespace claim is missing"),
            ("kubernetes.io/serviceaccount/secret.name", "", "secretName claim is missing"),
            ("kubernetes.io/serviceaccount/service-account.name", "", "serviceAccountName claim is missing"),
            ("kubernetes.io/serviceaccount/service-account.uid", "", "serviceAccountUID claim is missing"),
            ("kubernetes.io/serviceaccount/namespace", "m", "sub claim is invalid"),
        ] {
            let mut claims = full.clone();
            claims[claim] = value.into();
            assert_eq!(parts(&claims), Err(want.to_owned()), "{claim}");
        }
    }
}
