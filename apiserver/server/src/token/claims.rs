//! What a token says of its account, of what it is bound to and of its time, held against what is so now:
//! `pkg/serviceaccount/claims.go` upstream.

use std::collections::BTreeMap;

use apiserver_json::Value;
use apiserver_registry::{Registry, object};
use jiff::Timestamp;

use crate::authn::{CREDENTIAL_ID, User};

/// How far clocks may be apart, in seconds; what has been deleted for as long is gone for tokens.
const LEEWAY: i64 = 60;

const INVALIDATED: &str = "service account token has been invalidated";

/// Whether a token counts at this time, in seconds since 1970.
///
/// # Errors
/// Why it does not.
pub(super) fn check_times(claims: &Value, now: i64) -> Result<(), String> {
    let at = |claim: &str| claims[claim].as_i64();
    let why = if at("nbf").is_some_and(|from| now + LEEWAY < from) {
        "service account token is not valid yet"
    } else if at("exp").is_some_and(|end| now - LEEWAY > end) {
        "service account token has expired"
    } else if at("iat").is_some_and(|issued| now + LEEWAY < issued) {
        "service account token is issued in the future"
    } else {
        return Ok(());
    };
    Err(why.to_owned())
}

/// The user of a token whose account, and what it is bound to, is still there.
///
/// # Errors
/// Why it is not believed.
pub(super) fn user(claims: &Value, registry: &Registry) -> Result<User, String> {
    let kubernetes = &claims["kubernetes.io"];
    let text = |value: &Value, member: &str| value[member].as_str().unwrap_or("").to_owned();
    let namespace = text(kubernetes, "namespace");
    let account = &kubernetes["serviceaccount"];
    let (name, uid) = (text(account, "name"), text(account, "uid"));
    let found = find(registry, &format!("/registry/core/serviceaccounts/{namespace}/{name}"));
    let found = found.ok_or_else(|| format!("serviceaccounts {name:?} not found"))?;
    if found.uid != uid {
        return Err(format!("service account UID ({}) does not match claim ({uid})", found.uid));
    }
    if found.is_gone {
        return Err(format!("service account {namespace}/{name} has been deleted"));
    }
    let mut extra = BTreeMap::new();
    let mut tell = |kind: &str, what: &str, value: String| {
        if !value.is_empty() {
            extra.insert(format!("authentication.kubernetes.io/{kind}-{what}"), vec![value]);
        }
    };
    for (kind, plural) in [("secret", "secrets"), ("pod", "pods"), ("node", "nodes")] {
        let Some(bound) = kubernetes.get(kind).filter(|bound| bound.is_object()) else { continue };
        let (bound_name, bound_uid) = (text(bound, "name"), text(bound, "uid"));
        // The node of a Pod is only told.
        if kind != "node" || kubernetes.get("pod").is_none() {
            let place = if kind == "node" { String::new() } else { format!("{namespace}/") };
            let found = find(registry, &format!("/registry/core/{plural}/{place}{bound_name}"));
            let found = found.ok_or(INVALIDATED)?;
            if found.uid != bound_uid {
                return Err(format!(
                    "{kind} UID ({}) does not match service account {kind} ref claim ({bound_uid})",
                    found.uid
                ));
            }
            if found.is_gone {
                return Err(INVALIDATED.to_owned());
            }
        }
        if kind != "secret" {
            tell(kind, "name", bound_name);
            tell(kind, "uid", bound_uid);
        }
    }
    if let Some(id) = claims["jti"].as_str() {
        extra.insert(CREDENTIAL_ID.to_owned(), vec![format!("JTI={id}")]);
    }
    Ok(User {
        name: format!("system:serviceaccount:{namespace}:{name}"),
        uid,
        groups: vec!["system:serviceaccounts".into(), format!("system:serviceaccounts:{namespace}")],
        extra,
    })
}

struct Found {
    uid: String,
    /// Its deletion is so long ago that only finalizers keep it.
    is_gone: bool,
}

fn find(registry: &Registry, key: &str) -> Option<Found> {
    let found = registry.cache().get(key)?.parse();
    let deleted = object::text(&found, "deletionTimestamp").parse::<Timestamp>().ok();
    let is_gone = deleted.is_some_and(|at| at.as_second() < Timestamp::now().as_second() - LEEWAY);
    Some(Found { uid: object::uid(&found).to_owned(), is_gone })
}

#[cfg(test)]
mod tests {
    use super::*;
    use apiserver_json::json;

    #[test]
    fn a_token_has_its_time() {
        for (claims, want) in [
            (json!({"nbf": 1000, "iat": 1000, "exp": 1600}), ""),
            (json!({"exp": 940}), ""),
            (json!({"exp": 939}), "service account token has expired"),
            (json!({"nbf": 1060}), ""),
            (json!({"nbf": 1061, "exp": 1}), "service account token is not valid yet"),
            (json!({"iat": 1061}), "service account token is issued in the future"),
            (json!({}), ""),
        ] {
            assert_eq!(check_times(&claims, 1000).err().unwrap_or_default(), want, "{claims}");
        }
    }
}
