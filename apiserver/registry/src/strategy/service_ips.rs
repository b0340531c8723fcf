//! Cluster IPs of a Service and their families, in a cluster whose Services have IPv4 alone:
//! `pkg/registry/core/service/storage/alloc.go` and `ValidateServiceClusterIPsRelatedFields` upstream.

use apiserver_json::{Map, Value, json};
use apiserver_meta::field::FieldError;

use super::shared::{has, items, text};

const FAMILIES: &[&str] = &["IPv4", "IPv6"];
const POLICIES: &[&str] = &["PreferDualStack", "RequireDualStack", "SingleStack"];
const NOT_FOR_NAMES: &str = "may not be set for ExternalName services";

/// An older client knows `clusterIP` only: `clusterIPs` follows it.
pub(super) fn pair(spec: &mut Map) {
    let single = spec.get("clusterIP").and_then(Value::as_str).filter(|ip| !ip.is_empty()).map(str::to_owned);
    if let Some(ip) = single
        && spec.get("clusterIPs").and_then(Value::as_array).is_none_or(<[_]>::is_empty)
    {
        spec.insert("clusterIPs".into(), json!([ip]));
    }
}

/// What a client means that changes one of `clusterIP` and `clusterIPs` and knows, or sends, the other as it was:
/// `normalizeClusterIPs`.
pub(super) fn normalise(spec: &mut Map, old: &Value) {
    let (ip, old_ip) = (spec.get("clusterIP").and_then(Value::as_str).unwrap_or(""), text(old, "clusterIP"));
    let ips = spec.get("clusterIPs").and_then(Value::as_array).unwrap_or_default();
    let old_ips = items(old, "clusterIPs");
    let follows = if ip == old_ip {
        (ips.is_empty() && !old_ips.is_empty()).then(|| json!(old_ips))
    } else {
        (ips == old_ips).then(|| if ip.is_empty() { Value::Null } else { json!([ip]) })
    };
    match follows {
        Some(Value::Null) => drop(spec.remove("clusterIPs")),
        Some(ips) => drop(spec.insert("clusterIPs".into(), ips)),
        None => {}
    }
}

fn is_headless(spec: &Value) -> bool {
    items(spec, "clusterIPs").first().is_some_and(|ip| ip == "None")
}

/// Without a selector a headless Service is whatever its author says.
fn is_free(spec: &Value) -> bool {
    let selects =
        spec.get("selector").and_then(Value::as_object).is_some_and(|selector| !selector.is_empty());
    is_headless(spec) && !selects
}

/// Fills in the policy and the families: `initIPFamilyFields`. What is wrong is left for `errors`.
pub(super) fn fill_families(service: &mut Value) {
    let Some(spec) = service.get_mut("spec") else { return };
    if text(spec, "type") == "ExternalName" || !errors(spec).is_empty() {
        return;
    }
    let free = is_free(spec);
    let Some(spec) = spec.as_object_mut() else { return };
    let policy = if free { "RequireDualStack" } else { "SingleStack" };
    let policy = spec.entry("ipFamilyPolicy").or_insert_with(|| policy.into()).clone();
    let families = spec.entry("ipFamilies").or_insert_with(|| json!([]));
    let Some(families) = families.as_array_mut() else { return };
    if families.is_empty() {
        families.push("IPv4".into());
    }
    if free && families.len() == 1 && policy != "SingleStack" {
        let other = if families[0] == "IPv4" { "IPv6" } else { "IPv4" };
        families.push(other.into());
    }
}

/// What is wrong with IPs and families. Where anything is, nothing else of the Service is looked at.
pub(crate) fn errors(spec: &Value) -> Vec<FieldError> {
    if text(spec, "type") == "ExternalName" {
        return Vec::new();
    }
    let mut errors = related_errors(spec);
    if errors.is_empty() {
        errors = single_stack_errors(spec);
    }
    if !errors.is_empty() || is_free(spec) {
        return errors;
    }
    let mut errors = Vec::new();
    if text(spec, "ipFamilyPolicy") == "RequireDualStack" {
        let why = "this cluster is not configured for dual-stack services";
        errors.push(FieldError::invalid("spec.ipFamilyPolicy", &"RequireDualStack".into(), why));
    }
    for (i, family) in items(spec, "ipFamilies").iter().enumerate().filter(|(_, family)| **family != "IPv4") {
        let path = format!("spec.ipFamilies[{i}]");
        errors.push(FieldError::invalid(path, family, "not configured on this cluster"));
    }
    errors
}

/// A Service of one family has one address.
fn single_stack_errors(spec: &Value) -> Vec<FieldError> {
    let policy = "SingleStack";
    let mut errors = unknown_family_errors(spec);
    let is_single = match text(spec, "ipFamilyPolicy") {
        "" => !is_free(spec),
        given => given == policy,
    };
    if !is_single {
        return errors;
    }
    let several = [("clusterIPs", "cluster IPs"), ("ipFamilies", "IP families")];
    let several = several.iter().filter(|(member, _)| items(spec, member).len() == 2);
    let told = several.map(|(_, what)| {
        let why =
            format!("must be 'RequireDualStack' or 'PreferDualStack' when multiple {what} are specified");
        FieldError::invalid("spec.ipFamilyPolicy", &policy.into(), why)
    });
    errors.splice(0..0, told);
    errors
}

/// An address whose family is not said has the family it looks like, which the cluster must have.
fn unknown_family_errors(spec: &Value) -> Vec<FieldError> {
    let (ips, families) = (items(spec, "clusterIPs"), items(spec, "ipFamilies"));
    let inferred = ips.iter().enumerate().skip(families.len());
    inferred
        .filter(|(_, ip)| ip.as_str().is_some_and(|ip| ip.contains(':')))
        .map(|(i, _)| {
            let why = "IPv6 is not configured on this cluster";
            FieldError::invalid(format!("spec.clusterIPs[{i}]"), &json!(ips), why)
        })
        .collect()
}

fn related_errors(spec: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let (ip, ips) = (text(spec, "clusterIP"), items(spec, "clusterIPs"));
    let mut wrong = |why: &str| errors.push(FieldError::invalid("spec.clusterIPs", &json!(ips), why));
    match ips.first() {
        Some(_) if ip.is_empty() => wrong("must be empty when `clusterIP` is not specified"),
        Some(first) if *first != ip => wrong("first value must match `clusterIP`"),
        None if !ip.is_empty() => errors.push(FieldError::required("spec.clusterIPs", "")),
        _ => {}
    }
    let families = items(spec, "ipFamilies");
    for (i, family) in families.iter().enumerate() {
        let path = || format!("spec.ipFamilies[{i}]");
        if !family.as_str().is_some_and(|family| FAMILIES.contains(&family)) {
            errors.push(FieldError::not_supported(path(), family, FAMILIES));
        }
        if families[..i].contains(family) {
            errors.push(FieldError::duplicate(path(), family));
        }
    }
    let policy = text(spec, "ipFamilyPolicy");
    if spec.get("ipFamilyPolicy").is_some_and(Value::is_string) && !POLICIES.contains(&policy) {
        errors.push(FieldError::not_supported("spec.ipFamilyPolicy", &policy.into(), POLICIES));
    }
    let before = errors.len();
    for (i, ip) in ips.iter().enumerate() {
        match ip.as_str().unwrap_or("") {
            "None" if i == 0 => {
                if ips.len() > 1 {
                    let why = "'None' must be the first and only value";
                    errors.push(FieldError::invalid("spec.clusterIPs", &json!(ips), why));
                }
            }
            // The first one is told of it.
            "None" if ips[0] == "None" => {}
            ip => super::shared::check_ip(ip, format!("spec.clusterIPs[{i}]"), &mut errors),
        }
    }
    let invalid = errors.len() > before;
    if ips.len() > 2 {
        errors.push(FieldError::invalid("spec.clusterIPs", &json!(ips), "may only hold up to 2 values"));
    }
    if invalid {
        return errors;
    }
    let is_v6 = |ip: &Value| ip.as_str().is_some_and(|ip| ip.contains(':'));
    if ips.len() > 1 && (ips.len() > 2 || is_v6(&ips[0]) == is_v6(&ips[1])) {
        let why = "may specify no more than one IP for each IP family";
        errors.push(FieldError::invalid("spec.clusterIPs", &json!(ips), why));
    }
    if !is_headless(spec) {
        for (i, (ip, family)) in ips.iter().zip(families).enumerate() {
            let family = family.as_str().unwrap_or("");
            if (family == "IPv6") != is_v6(ip) {
                let why = format!("expected an {family} value as indicated by `ipFamilies[{i}]`");
                errors.push(FieldError::invalid(format!("spec.clusterIPs[{i}]"), ip, why));
            }
        }
    }
    errors
}

/// A name has neither.
pub(super) fn check_external_name(spec: &Value, errors: &mut Vec<FieldError>) {
    let has_ips = !items(spec, "clusterIPs").is_empty() || !text(spec, "clusterIP").is_empty();
    for (member, is_set) in [
        ("clusterIPs", has_ips),
        ("ipFamilies", !items(spec, "ipFamilies").is_empty()),
        ("ipFamilyPolicy", has(spec, "ipFamilyPolicy")),
    ] {
        if is_set {
            errors.push(FieldError::forbidden(format!("spec.{member}"), NOT_FOR_NAMES));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[rustfmt::skip]
    fn what_is_wrong_with_addresses() {
        for (spec, want) in [
            (json!({}), &[][..]),
            (json!({"clusterIP": "10.96.1.1", "clusterIPs": ["10.96.1.2"]}), &[r#"spec.clusterIPs: Invalid value: ["10.96.1.2"]: first value must match `clusterIP`"#]),
            (json!({"clusterIPs": ["10.96.1.2"]}), &[r#"spec.clusterIPs: Invalid value: ["10.96.1.2"]: must be empty when `clusterIP` is not specified"#]),
            (json!({"clusterIP": "abc", "clusterIPs": ["abc"]}), &[r#"spec.clusterIPs[0]: Invalid value: "abc": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"#]),
            (json!({"clusterIP": "None", "clusterIPs": ["None", "10.96.1.1"]}), &[r#"spec.clusterIPs: Invalid value: ["None","10.96.1.1"]: 'None' must be the first and only value"#]),
            (json!({"ipFamilies": ["IPv6"]}), &[r#"spec.ipFamilies[0]: Invalid value: "IPv6": not configured on this cluster"#]),
            (json!({"ipFamilyPolicy": "SingleStack", "ipFamilies": ["IPv4", "IPv6"]}), &[r#"spec.ipFamilyPolicy: Invalid value: "SingleStack": must be 'RequireDualStack' or 'PreferDualStack' when multiple IP families are specified"#]),
            (json!({"ipFamilies": ["IPv4", "IPv4"]}), &[r#"spec.ipFamilies[1]: Duplicate value: "IPv4""#]),
            (json!({"ipFamilyPolicy": "RequireDualStack"}), &[r#"spec.ipFamilyPolicy: Invalid value: "RequireDualStack": this cluster is not configured for dual-stack services"#]),
            (json!({"ipFamilyPolicy": "Foo", "ipFamilies": ["x"]}), &[r#"spec.ipFamilies[0]: Unsupported value: "x": supported values: "IPv4", "IPv6""#, r#"spec.ipFamilyPolicy: Unsupported value: "Foo": supported values: "PreferDualStack", "RequireDualStack", "SingleStack""#]),
            (json!({"clusterIP": "10.96.1.1", "clusterIPs": ["10.96.1.1"], "ipFamilies": ["IPv6"]}), &[r#"spec.clusterIPs[0]: Invalid value: "10.96.1.1": expected an IPv6 value as indicated by `ipFamilies[0]`"#]),
            (json!({"clusterIP": "None", "clusterIPs": ["None"], "ipFamilyPolicy": "RequireDualStack"}), &[]),
        ] {
            let told: Vec<String> = errors(&spec).iter().map(ToString::to_string).collect();
            assert_eq!(told, want, "{spec}");
        }
    }

    #[test]
    fn one_of_ip_and_ips_follows_the_other() {
        let old = json!({"clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1"]});
        for (sent, want) in [
            (json!({"clusterIP": "10.0.0.1"}), json!({"clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1"]})),
            (json!({"clusterIPs": ["10.0.0.1"]}), json!({})),
            (
                json!({"clusterIP": "10.0.0.2", "clusterIPs": ["10.0.0.1"]}),
                json!({"clusterIP": "10.0.0.2", "clusterIPs": ["10.0.0.2"]}),
            ),
            (
                json!({"clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.2"]}),
                json!({"clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.2"]}),
            ),
        ] {
            let mut spec = sent.as_object().cloned().unwrap_or_default();
            normalise(&mut spec, &old);
            assert_eq!(Value::Object(spec), want, "{sent}");
        }
    }

    #[test]
    fn families_are_filled_in() {
        for (spec, policy, families) in [
            (json!({}), "SingleStack", json!(["IPv4"])),
            (json!({"ipFamilyPolicy": "PreferDualStack"}), "PreferDualStack", json!(["IPv4"])),
            (
                json!({"clusterIP": "None", "clusterIPs": ["None"]}),
                "RequireDualStack",
                json!(["IPv4", "IPv6"]),
            ),
            (
                json!({"clusterIP": "None", "clusterIPs": ["None"], "selector": {"a": "b"}}),
                "SingleStack",
                json!(["IPv4"]),
            ),
        ] {
            let mut service = json!({"spec": spec});
            fill_families(&mut service);
            assert_eq!(service["spec"]["ipFamilyPolicy"], policy, "{spec}");
            assert_eq!(service["spec"]["ipFamilies"], families, "{spec}");
        }
    }
}
