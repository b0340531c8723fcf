//! Cluster IPs of a Service and their families: `pkg/registry/core/service/storage/alloc.go` and
//! `ValidateServiceClusterIPsRelatedFields` upstream.

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

/// Fills in the policy and the families of a Service, in a cluster that has these: `initIPFamilyFields`. Answers what is wrong
/// with them and the addresses; where anything is, nothing else of the Service is looked at.
pub(crate) fn settle(spec: &mut Value, old: Option<&Value>, cluster: &[&str]) -> Vec<FieldError> {
    if text(spec, "type") == "ExternalName" || old.is_some_and(|old| prefers_both_still(spec, old)) {
        return Vec::new();
    }
    let free = is_free(spec);
    let Some(map) = spec.as_object_mut() else { return Vec::new() };
    if !map.get("ipFamilyPolicy").is_some_and(Value::is_string) {
        let before = old.map(|old| text(old, "ipFamilyPolicy")).filter(|policy| !policy.is_empty());
        let policy = before.unwrap_or(if free { "RequireDualStack" } else { "SingleStack" });
        map.insert("ipFamilyPolicy".into(), policy.into());
    }
    let mut errors = related_errors(spec, old);
    if !errors.is_empty() {
        return errors;
    }
    if let Some(old) = old {
        release_second(spec, old, &mut errors);
    }
    let policy = text(spec, "ipFamilyPolicy").to_owned();
    let invalid = |why: String| FieldError::invalid("spec.ipFamilyPolicy", &policy.as_str().into(), why);
    if policy == "SingleStack" {
        let several = [("clusterIPs", "cluster IPs"), ("ipFamilies", "IP families")];
        let several = several.iter().filter(|(member, _)| items(spec, member).len() == 2);
        errors.extend(several.map(|(_, what)| {
            invalid(format!(
                "must be 'RequireDualStack' or 'PreferDualStack' when multiple {what} are specified"
            ))
        }));
    }
    let mut families = items(spec, "ipFamilies").to_vec();
    infer_families(items(spec, "clusterIPs"), &mut families, cluster, &mut errors);
    if !errors.is_empty() {
        return errors;
    }
    if !free {
        if policy == "RequireDualStack" && cluster.len() < 2 {
            errors.push(invalid("this cluster is not configured for dual-stack services".into()));
        }
        let has = |family: &Value| family.as_str().is_some_and(|family| cluster.contains(&family));
        for (i, family) in families.iter().enumerate().filter(|(_, family)| !has(family)) {
            let path = format!("spec.ipFamilies[{i}]");
            errors.push(FieldError::invalid(path, family, "not configured on this cluster"));
        }
        if !errors.is_empty() {
            return errors;
        }
    }
    if families.is_empty() {
        families.extend(cluster.first().map(|family| Value::from(*family)));
    }
    if policy != "SingleStack" && families.len() == 1 && (free || cluster.len() == 2) {
        families.push(if families[0] == "IPv4" { "IPv6" } else { "IPv4" }.into());
    }
    spec["ipFamilies"] = families.into();
    errors
}

/// Neither gains nor loses a family that the cluster gained or lost meanwhile: it did not ask for that.
pub(crate) fn prefers_both_still(spec: &Value, old: &Value) -> bool {
    let prefers = |spec: &Value| text(spec, "ipFamilyPolicy") == "PreferDualStack";
    let same = |member: &str| items(spec, member) == items(old, member);
    prefers(spec)
        && (prefers(old) || text(old, "ipFamilyPolicy").is_empty())
        && matches!(text(spec, "type"), "ClusterIP" | "NodePort" | "LoadBalancer")
        && text(spec, "type") == text(old, "type")
        && same("clusterIPs")
        && same("ipFamilies")
}

/// Who asks for one family, and for nothing else, lets go of the other; and who lets go of it must ask for one.
fn release_second(spec: &mut Value, old: &Value, errors: &mut Vec<FieldError>) {
    let is_single = text(spec, "ipFamilyPolicy") == "SingleStack";
    for (member, what) in [("clusterIPs", "cluster IP"), ("ipFamilies", "IP family")] {
        let (now, before) = (items(spec, member), items(old, member));
        if is_single && now == before && now.len() > 1 {
            let first = now[0].clone();
            spec[member] = json!([first]);
        } else if !is_single && !now.is_empty() && now.len() < before.len() {
            let why = format!("must be 'SingleStack' to release the secondary {what}");
            errors.push(FieldError::invalid("spec.ipFamilyPolicy", &spec["ipFamilyPolicy"], why));
        }
    }
}

/// An address whose family is not said has the family it looks like, which the cluster must have.
fn infer_families(ips: &[Value], families: &mut Vec<Value>, cluster: &[&str], errors: &mut Vec<FieldError>) {
    for (i, ip) in ips.iter().enumerate().skip(families.len()).filter(|(_, ip)| **ip != "None") {
        let family = if ip.as_str().is_some_and(|ip| ip.contains(':')) { "IPv6" } else { "IPv4" };
        if cluster.contains(&family) {
            families.push(family.into());
        } else {
            let why = format!("{family} is not configured on this cluster");
            errors.push(FieldError::invalid(format!("spec.clusterIPs[{i}]"), &json!(ips), why));
        }
    }
}

/// `ValidateServiceClusterIPsRelatedFields`.
pub(super) fn related_errors(spec: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if text(spec, "type") == "ExternalName" {
        return errors;
    }
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
            // Whatever it is, it was good enough once.
            _ if old.is_some_and(|old| items(old, "clusterIPs").contains(ip)) => {}
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
    if ips.len() > 1 && ips.iter().all(|ip| is_v6(ip) == is_v6(&ips[0])) {
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
            (json!({"type": "ExternalName", "clusterIPs": ["x"], "ipFamilyPolicy": "Foo"}), &[]),
            (json!({"clusterIP": "fd00::2", "clusterIPs": ["fd00::2", "10.96.1.1", "10.96.1.2"]}), &[r#"spec.clusterIPs: Invalid value: ["fd00::2","10.96.1.1","10.96.1.2"]: may only hold up to 2 values"#]),
            (json!({"clusterIP": "None", "clusterIPs": ["None", "None"]}), &[r#"spec.clusterIPs: Invalid value: ["None","None"]: 'None' must be the first and only value"#, r#"spec.clusterIPs[1]: Invalid value: "None": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"#]),
        ] {
            let told = settle(&mut spec.clone(), None, &["IPv4"]);
            assert_eq!(told.iter().map(ToString::to_string).collect::<Vec<_>>(), want, "{spec}");
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
        let (one, both, turned) = (&["IPv4"][..], &["IPv4", "IPv6"][..], &["IPv6", "IPv4"][..]);
        let free = json!({"clusterIP": "None", "clusterIPs": ["None"]});
        let selects = json!({"clusterIP": "None", "clusterIPs": ["None"], "selector": {"a": "b"}});
        let prefers = json!({"ipFamilyPolicy": "PreferDualStack"});
        let v6 = json!({"ipFamilies": ["IPv6"], "ipFamilyPolicy": "PreferDualStack"});
        let fixed = json!({"clusterIP": "fd00::7", "clusterIPs": ["fd00::7"]});
        for (spec, cluster, policy, families) in [
            (json!({}), one, "SingleStack", json!(["IPv4"])),
            (json!({}), turned, "SingleStack", json!(["IPv6"])),
            (prefers.clone(), one, "PreferDualStack", json!(["IPv4"])),
            (prefers.clone(), both, "PreferDualStack", json!(["IPv4", "IPv6"])),
            (prefers, turned, "PreferDualStack", json!(["IPv6", "IPv4"])),
            (v6, both, "PreferDualStack", json!(["IPv6", "IPv4"])),
            (fixed, both, "SingleStack", json!(["IPv6"])),
            (free.clone(), one, "RequireDualStack", json!(["IPv4", "IPv6"])),
            (free, turned, "RequireDualStack", json!(["IPv6", "IPv4"])),
            (selects, both, "SingleStack", json!(["IPv4"])),
        ] {
            let mut settled = spec.clone();
            assert!(settle(&mut settled, None, cluster).is_empty(), "{spec}");
            assert_eq!(settled["ipFamilyPolicy"], policy, "{spec}");
            assert_eq!(settled["ipFamilies"], families, "{spec}");
        }
    }

    #[test]
    fn a_second_family_is_let_go_of_by_name_alone() {
        let old = json!({
            "type": "ClusterIP", "ipFamilyPolicy": "PreferDualStack", "ipFamilies": ["IPv4", "IPv6"],
            "clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1", "fd00::1"],
        });
        let changed = |change: Value| {
            let mut spec = old.clone();
            for (member, value) in change.as_object().into_iter().flatten() {
                spec[member] = value.clone();
            }
            let errors = settle(&mut spec, Some(&old), &["IPv4", "IPv6"]);
            (spec, errors.iter().map(ToString::to_string).collect::<Vec<_>>())
        };
        assert_eq!(changed(json!({})), (old.clone(), vec![]));
        let (spec, errors) = changed(json!({"ipFamilyPolicy": "SingleStack"}));
        assert!(errors.is_empty(), "{errors:?}");
        assert_eq!((&spec["clusterIPs"], &spec["ipFamilies"]), (&json!(["10.0.0.1"]), &json!(["IPv4"])));
        let (_, errors) = changed(json!({"clusterIPs": ["10.0.0.1"]}));
        let want = r#"spec.ipFamilyPolicy: Invalid value: "PreferDualStack": must be 'SingleStack' to release the secondary cluster IP"#;
        assert_eq!(errors, [want]);
    }
}
