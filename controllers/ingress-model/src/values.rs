//! Values of annotations that no other step reads closely: a wrong one is refused all the same.

use crate::annotations::{Annotations, about};
use k8s_openapi::api::networking::v1::Ingress;
use std::net::IpAddr;

/// What a value must be.
#[derive(Debug, Clone, Copy)]
enum Form {
    Bool,
    Map,
    Json,
    Cidrs,
    /// One of these words; and what upstream calls them.
    Word(&'static [&'static str], &'static str),
    /// One of these words, of which only the first changes nothing: the others are not simulated.
    Only(&'static [&'static str], &'static str),
    /// Begins so, or is `none`; and what AWS says of others.
    Begins(&'static str, &'static str),
}

use Form::{Begins, Bool, Cidrs, Json, Map, Only, Word};

/// Annotation and form. One that ends in a dot is a prefix.
const FORMS: &[(&str, Form)] = &[
    ("ip-address-type", Word(&["ipv4", "dualstack", "dualstack-without-public-ipv4"], "IPAddressType")),
    ("inbound-cidrs", Cidrs),
    ("ssl-policy", Begins("ELBSecurityPolicy-", "SSLPolicyNotFound: SSL policy not found")),
    ("auth-type", Only(&["none", "cognito", "oidc"], "authType")),
    (
        "auth-on-unauthenticated-request",
        Word(&["authenticate", "allow", "deny"], "authOnUnauthenticatedRequest"),
    ),
    ("use-regex-path-match", Bool),
    ("multi-cluster-target-group", Bool),
    ("manage-backend-security-group-rules", Bool),
    ("shield-advanced-protection", Bool),
    ("target-node-labels", Map),
    ("wafv2-acl-arn", Begins("arn:", "WAFInvalidParameterException: the ARN isn't valid")),
    ("mutual-authentication", Json),
    ("minimum-load-balancer-capacity", Map),
    ("transforms.", Json),
];

/// Checks all annotations of an Ingress.
///
/// # Errors
/// Upstream's sentence about the first that is wrong, with its name.
pub(crate) fn check(ingress: &Ingress) -> Result<(), String> {
    let annotations = Annotations::of(ingress.metadata.annotations.as_ref());
    for name in annotations.names() {
        let form = FORMS
            .iter()
            .find(|(known, _)| if known.ends_with('.') { name.starts_with(known) } else { *known == name });
        if let (Some((_, form)), Some(value)) = (form, annotations.text(name)) {
            check_value(&annotations, name, value, *form)?;
        }
    }
    Ok(())
}

fn check_value(annotations: &Annotations<'_>, name: &str, value: &str, form: Form) -> Result<(), String> {
    match form {
        Bool => annotations.boolean(name).map(drop),
        Map => annotations.map(name).map(drop),
        Json => annotations.json(name).map(drop),
        Cidrs => match value.split(',').map(str::trim).find(|cidr| !is_cidr(cidr)) {
            Some(wrong) => Err(about(format!("invalid CIDR address: {wrong}"), name)),
            None => Ok(()),
        },
        Word(words, what) | Only(words, what) if !words.contains(&value) => {
            Err(about(format!("unknown {what}: {value}"), name))
        }
        Only(words, what) if words.first() != Some(&value) => {
            Err(about(format!("{what} {value} is not simulated: nobody would be asked who they are"), name))
        }
        Begins(start, why) if value != "none" && !value.starts_with(start) => {
            Err(about(format!("{why}: {value}"), name))
        }
        Word(..) | Only(..) | Begins(..) => Ok(()),
    }
}

fn is_cidr(text: &str) -> bool {
    let Some((address, length)) = text.split_once('/') else { return false };
    let most = match address.parse::<IpAddr>() {
        Ok(IpAddr::V4(_)) => 32,
        Ok(IpAddr::V6(_)) => 128,
        Err(_) => return false,
    };
    length.parse::<u8>().is_ok_and(|length| length <= most)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::annotations::PREFIX;
    use serde_json::json;

    #[test]
    fn a_wrong_value_is_refused_by_the_name_of_its_annotation() {
        let table = [
            ("ip-address-type", "ipv9", Some("unknown IPAddressType: ipv9")),
            ("ip-address-type", "dualstack", None),
            ("inbound-cidrs", "10.0.0.0/8, 300.0.0.0/8", Some("invalid CIDR address: 300.0.0.0/8")),
            ("inbound-cidrs", "10.0.0.0/8,2001:db8::/32", None),
            ("ssl-policy", "nope", Some("SSL policy not found: nope")),
            ("ssl-policy", "ELBSecurityPolicy-TLS13-1-2-2021-06", None),
            ("auth-type", "magic", Some("unknown authType: magic")),
            ("auth-type", "oidc", Some("authType oidc is not simulated")),
            ("auth-type", "none", None),
            ("use-regex-path-match", "perhaps", Some("failed to parse bool annotation")),
            ("use-regex-path-match", "true", None),
            ("multi-cluster-target-group", "perhaps", Some("strconv.ParseBool: parsing \"perhaps\"")),
            ("manage-backend-security-group-rules", "perhaps", Some("invalid syntax")),
            ("target-node-labels", "zz", Some("failed to parse stringMap annotation")),
            ("target-node-labels", "a=b", None),
            ("wafv2-acl-arn", "zz", Some("WAFInvalidParameterException")),
            ("wafv2-acl-arn", "none", None),
            ("mutual-authentication", "x", Some("failed to parse json annotation")),
            ("transforms.echo", "x", Some("failed to parse json annotation")),
            ("transforms.echo", "[]", None),
            ("of-somebody-else", "x", None),
        ];
        for (name, value, why) in table {
            let ingress: Ingress = serde_json::from_value(
                json!({"metadata": {"annotations": {format!("{PREFIX}{name}"): value}}}),
            )
            .unwrap();
            let said = check(&ingress).err();
            let fits = match (&said, why) {
                (Some(said), Some(why)) => said.contains(why) && said.contains(name),
                (None, None) => true,
                _ => false,
            };
            assert!(fits, "{name}={value}: {said:?}");
        }
    }
}
